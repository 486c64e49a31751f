//! What the control plane is told, what it then does, and how it says no.

use std::fmt;

use crate::member::InstanceId;
use crate::moves::UncleanEvent;
use crate::place::{Place, Share};
use crate::step::{Phase, Side};
use crate::target::{Target, Version};
use crate::time::Millis;

/// The number of a move that the store's fence carries: a fence obeys only the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of one run of the backfill. Chunk marks of another number don't count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an instance says of itself with each heartbeat and each acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Vitals {
    /// Keys in its journal that aren't known to be synced.
    pub dirty_keys: u64,
    /// The longest p99.9 of its operations, in milliseconds; nothing if it has run none.
    pub slowest_ms: Option<u64>,
}

/// What the control plane is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlEvent {
    /// A new instance wants to be counted, having seen the target of this version.
    Register {
        /// Its identity, never used before.
        id: InstanceId,
        /// The version it has seen: refused if that is no longer the present one.
        expected: Version,
    },
    /// A process with a step file of this instance has started.
    Resume {
        /// The identity in the file.
        id: InstanceId,
    },
    /// A heartbeat arrived. Its answer is the target of the record that this event was applied to, always, and that
    /// record is the stored one: an answer from a cache would give out leases that nobody counts.
    Heartbeat {
        /// From whom.
        id: InstanceId,
        /// The version it has acknowledged last.
        acked: Version,
        /// How it is.
        vitals: Vitals,
    },
    /// Every operation that the instance began under earlier versions has ended.
    Acknowledge {
        /// From whom.
        id: InstanceId,
        /// The version it now executes, alone.
        version: Version,
        /// How it is.
        vitals: Vitals,
    },
    /// An instance has ended all its operations, deleted its step file, and leaves.
    Goodbye {
        /// Who.
        id: InstanceId,
    },
    /// Somebody asserts that the instance's process and its step file are gone. An unclean event.
    Forget {
        /// Who.
        id: InstanceId,
    },
    /// Go forward: to the next phase, or to a larger share of `reverse-shadow`. The gates have been looked at.
    Advance {
        /// The phase.
        to: Phase,
        /// The share of the keys; all, but into `reverse-shadow`.
        share: Share,
    },
    /// Go back, over as many phases as it takes. Waits for no gate.
    Rollback {
        /// The phase.
        to: Phase,
        /// The share of the keys that stays in `reverse-shadow`; all, but there.
        share: Share,
        /// Go back even though keys can't be synced; they have been written to a file.
        leave_behind: bool,
    },
    /// Time has passed. Due about every tenth of a lease while a move is under way, else every few seconds.
    Tick,
    /// This process has just taken over the record: nobody was heard while nobody listened.
    Restarted,
    /// The stores are about to be told, between moves, what no earlier state knows: by an epoch of its own, so that a state from
    /// before it is seen to be an older one.
    NextEpoch,
    /// The answer to [`ControlAction::CheckSync`]: what a look that skips nothing, begun after that action, found.
    KeysInSync {
        /// The version that was asked about.
        version: Version,
        /// Dirty keys among those that move.
        dirty: u64,
        /// Whether a generation of the backfill isn't done.
        backfill_under_way: bool,
    },
    /// The backfill of this generation is complete (and, in a hold without a budget, verified).
    GenerationDone {
        /// Which.
        generation: Generation,
    },
    /// The log that was kept for the way back is drained.
    WayBackDrained,
    /// The log for the way back went over its bound, in time or size.
    WayBackEnded,
    /// The fence of the side that is left says *moved*, for this epoch (stage 6).
    FenceMoved {
        /// Which.
        epoch: Epoch,
    },
    /// The fence of the side that is gone to is open, for this epoch (stage 7).
    FenceOpened {
        /// Which.
        epoch: Epoch,
    },
    /// The fence was undone: the side that was left takes writes again.
    FenceUndone {
        /// Which.
        epoch: Epoch,
    },
    /// The fence could not be moved, and nothing has been opened.
    FenceFailed {
        /// Which.
        epoch: Epoch,
        /// Why, with who stood in the way.
        because: String,
    },
    /// Something after which the last verification no longer counts.
    Unclean(UncleanEvent),
}

/// What the I/O layer does once the new record is stored. Each may be carried out again after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlAction {
    /// Tell every instance: push the target to all event streams.
    Publish(Target),
    /// Begin a generation of the backfill towards this side; all instances mirror.
    BeginGeneration {
        /// Its number.
        generation: Generation,
        /// The side that is filled.
        toward: Side,
        /// Made inside a hold, with writes refused: it is verified too before it is told done.
        in_hold: bool,
    },
    /// The generation is over: its chunk marks no longer count.
    EndGeneration {
        /// Its number.
        generation: Generation,
    },
    /// Drain the log kept for the way back; answer with [`ControlEvent::WayBackDrained`].
    DrainWayBack,
    /// Look whether any moving key is dirty and whether a backfill is under way; answer with
    /// [`ControlEvent::KeysInSync`]. Asked again with each tick until there is none.
    ///
    /// If nothing is dirty, the look then takes each guard of the moving keys on the follower once, and leaves this
    /// version as its word, before it answers: a worker that was paused with a claim of its own finds that it was
    /// overtaken (see [`claim`](crate::claim)). With one worker and claims that lock, that may be left out.
    ///
    /// On a rollback that leaves keys behind the guards are taken too, and the answer names what is known to be
    /// dirty, should the authority not say any more.
    CheckSync {
        /// The version, to be named in the answer.
        version: Version,
    },
    /// Move the store's fence up to its stage 6; answer [`ControlEvent::FenceMoved`] or
    /// [`ControlEvent::FenceFailed`].
    StartFence {
        /// The move's epoch.
        epoch: Epoch,
        /// The side that is left.
        from: Side,
        /// The log needn't be empty: what can't be synced is left behind.
        leave_behind: bool,
    },
    /// Open the fence of the side that is gone to; answer [`ControlEvent::FenceOpened`]. From now on there is
    /// only forward.
    OpenFence {
        /// The move's epoch.
        epoch: Epoch,
        /// The side that is opened.
        side: Side,
    },
    /// Undo the fence; answer [`ControlEvent::FenceUndone`].
    UndoFence {
        /// The epoch to raise it to.
        epoch: Epoch,
        /// The side that takes writes again.
        from: Side,
    },
    /// Void the step file and the identity: whoever comes with it is refused.
    Void(InstanceId),
    /// The last full verification no longer counts.
    Unclean(UncleanEvent),
    /// Tell the operator, and the audit.
    Report(MoveReport),
}

/// What became of a move, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MoveReport {
    /// Where it came from.
    pub from: Place,
    /// Where it goes.
    pub to: Place,
    /// What happened.
    pub outcome: Outcome,
    /// Who has not acknowledged the present target.
    pub missing: Vec<InstanceId>,
    /// How long writes have been held so far.
    pub held_ms: Millis,
    /// The longest p99.9 of any instance's operations, and whose.
    pub longest: Option<(InstanceId, u64)>,
}

/// What happened to a move.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// It is where it was to go, or at a phase on the way.
    Reached,
    /// It turns around, for this reason.
    TurnedAround(TurnReason),
    /// It is back where it came from.
    WentBack,
    /// It waits, and has waited longer than expected; it isn't given up, being a way back or past the point of
    /// no return.
    Waiting(String),
}

/// Why a move turned around.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum TurnReason {
    /// The holds did not complete within their budget.
    OverBudget {
        /// What was being waited for.
        waiting_for: String,
    },
    /// Somebody asked for a rollback.
    Asked,
    /// The store's fence could not be moved.
    Fence(String),
}

impl fmt::Display for TurnReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverBudget { waiting_for } => {
                write!(f, "it did not complete within its budget: {waiting_for}")
            }
            Self::Asked => f.write_str("a rollback was asked for"),
            Self::Fence(because) => write!(f, "the store's fence could not be moved: {because}"),
        }
    }
}

/// Why an event was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The version was another by the time the registration arrived: register again with this one.
    VersionMoved {
        /// The present target.
        current: Target,
    },
    /// This identity is counted already, or was forgotten: take a new one.
    IdentityTaken(InstanceId),
    /// Nobody of this name is counted: it said goodbye, or was forgotten. It must stop, or register anew.
    UnknownInstance(InstanceId),
    /// An acknowledgement of a version that has not been published.
    VersionUnknown {
        /// The version named.
        named: Version,
        /// The present one.
        current: Version,
    },
    /// A move is under way.
    MoveUnderWay {
        /// Where it goes.
        to: Place,
    },
    /// The phase isn't one of this migration's.
    NoSuchPhase(Phase),
    /// Moves forward go to the next phase only.
    NotNext {
        /// What was asked for.
        asked: Place,
        /// What is next.
        next: Option<Place>,
    },
    /// A rollback goes back, not forward.
    NotBack {
        /// What was asked for.
        asked: Place,
        /// Where the migration stands.
        at: Place,
    },
    /// Only a move into `reverse-shadow` with dual write and `shadow` can be for a share.
    NoShare,
    /// `retired` is never left.
    Retired,
    /// Operations are too slow for a hold: its budget would be over before they end.
    TooSlow {
        /// Whose.
        instance: InstanceId,
        /// Their p99.9.
        slowest_ms: u64,
        /// The budget.
        budget_ms: u64,
    },
    /// The backfill isn't complete.
    BackfillUnderWay(Generation),
    /// The new side takes writes already: this move can only be completed.
    PastNoReturn,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VersionMoved { current } => {
                write!(f, "the target moved on to version {}: register again with it", current.version)
            }
            Self::IdentityTaken(id) => write!(f, "instance {id} exists or existed: take a new identity"),
            Self::UnknownInstance(id) => write!(
                f,
                "instance {id} isn't counted (it said goodbye or was forgotten): it must stop, or register anew"
            ),
            Self::VersionUnknown { named, current } => {
                write!(f, "version {named} was never published; the present one is {current}")
            }
            Self::MoveUnderWay { to } => write!(f, "a move to {to} is under way: wait for it, or roll back"),
            Self::NoSuchPhase(phase) => write!(f, "this migration has no phase `{phase}`"),
            Self::NotNext { asked, next: Some(next) } => {
                write!(f, "a move forward goes one phase at a time: the next is {next}, not {asked}")
            }
            Self::NotNext { asked, next: None } => write!(f, "there is nothing to advance to, not {asked}"),
            Self::NotBack { asked, at } => write!(f, "{asked} isn't behind {at}: a rollback goes back"),
            Self::NoShare => f.write_str(
                "only a move between `shadow` and `reverse-shadow` with dual write can be for a share of the keys",
            ),
            Self::Retired => f.write_str("the migration is retired: there is no way on, and none back"),
            Self::TooSlow { instance, slowest_ms, budget_ms } => write!(
                f,
                "operations of {instance} take {slowest_ms} ms (p99.9), and a hold may last {budget_ms} ms: \
                 make them shorter or the budget larger"
            ),
            Self::BackfillUnderWay(generation) => {
                write!(f, "generation {generation} of the backfill isn't complete")
            }
            Self::PastNoReturn => {
                f.write_str("the side that is moved to takes writes already: the move must be completed first")
            }
        }
    }
}

impl std::error::Error for Refusal {}
