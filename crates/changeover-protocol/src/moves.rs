//! What each move means for the follower, what makes the last verification void, and whether a rollback is
//! safe now.

use std::fmt;

use crate::gate::Stuck;
use crate::place::Place;
use crate::step::{Phase, Side};
use crate::target::Direction;
use crate::time::Millis;

/// What carries each change from the authority to the follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Mirror {
    /// The instance that wrote the authority syncs the keys.
    DualWrite,
    /// Triggers in the authority log the keys; workers sync them; the store has a fence.
    Capture,
}

/// Something after which the last full verification no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "event")
)]
pub enum UncleanEvent {
    /// An instance was lost, and its journal with it: which keys it left dirty isn't known.
    JournalLost {
        /// The instance.
        instance: String,
    },
    /// An instance was declared gone, by an operator, an orchestrator or `forget_after`.
    Forgotten {
        /// The instance.
        instance: String,
    },
    /// A side's server isn't the one it was: another identity, timeline or GTID set.
    ServerChanged {
        /// The side.
        side: Side,
        /// What was seen, and what was expected.
        detail: String,
    },
    /// A captured table, its partitions or its triggers changed, and nobody said why.
    TableChanged {
        /// The table.
        table: String,
        /// What changed.
        detail: String,
    },
    /// The log reached its bound and was emptied, or stopped.
    LogOverflowed {
        /// The authority whose log it was.
        side: Side,
    },
    /// A journal couldn't be written while writes went on.
    JournalUnwritable {
        /// The instance.
        instance: String,
        /// Why.
        detail: String,
    },
    /// Keys known only after the write were lost in the window before they were journalled.
    KeysUnknown {
        /// The instance.
        instance: String,
        /// The operation's name.
        operation: String,
    },
    /// What refuses the application's writes to the side that follows was removed: others may have written there.
    FenceRemoved {
        /// The side.
        side: Side,
    },
    /// The answering side's log of changes is gone, as in a content of its database from before the migration.
    LogRemoved {
        /// The side.
        side: Side,
    },
    /// A rollback left keys behind.
    LeftBehind {
        /// How many are known; nothing where the log that would say so can't be read.
        keys: Option<u64>,
    },
}

impl UncleanEvent {
    /// The name that formats use, as in `forgotten`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JournalLost { .. } => "journal-lost",
            Self::Forgotten { .. } => "forgotten",
            Self::ServerChanged { .. } => "server-changed",
            Self::TableChanged { .. } => "table-changed",
            Self::LogOverflowed { .. } => "log-overflowed",
            Self::JournalUnwritable { .. } => "journal-unwritable",
            Self::KeysUnknown { .. } => "keys-unknown",
            Self::FenceRemoved { .. } => "fence-removed",
            Self::LogRemoved { .. } => "log-removed",
            Self::LeftBehind { .. } => "left-behind",
        }
    }
}

impl fmt::Display for UncleanEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JournalLost { instance } => write!(f, "instance {instance} was lost with its journal"),
            Self::Forgotten { instance } => write!(f, "instance {instance} was declared gone"),
            Self::ServerChanged { side, detail } => write!(f, "the {side} side's server changed: {detail}"),
            Self::TableChanged { table, detail } => {
                write!(f, "table {table} changed outside the migration: {detail}")
            }
            Self::LogOverflowed { side } => {
                write!(f, "the log of changes on the {side} side reached its bound")
            }
            Self::JournalUnwritable { instance, detail } => {
                write!(f, "instance {instance} could not write its journal: {detail}")
            }
            Self::KeysUnknown { instance, operation } => write!(
                f,
                "instance {instance} died in `{operation}` before the keys it wrote were in its journal"
            ),
            Self::FenceRemoved { side } => write!(
                f,
                "the fence of the {side} side was removed from outside, as by a table that was rebuilt: what others wrote there \
                 until it was put back is on no other side"
            ),
            Self::LogRemoved { side } => write!(
                f,
                "the log of changes on the {side} side was gone, as in a backup from before the migration: what the other side has \
                 beyond it may be nowhere else"
            ),
            Self::LeftBehind { keys: Some(keys) } => write!(f, "a rollback left {keys} known keys behind"),
            Self::LeftBehind { keys: None } => {
                f.write_str("a rollback left keys behind, nobody knows how many")
            }
        }
    }
}

/// How a way back from `new` stands: past it, the old side must be filled anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum WayBack {
    /// The log of the new side still holds every change since `new` was entered.
    Open,
    /// There is no such log, or it is over its bound in time or size.
    Closed,
}

/// What one move means for the follower: a row of the design's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// A new generation of the backfill begins towards this side once all have acknowledged; verification is
    /// open again.
    NewGeneration {
        /// The side that is filled.
        toward: Side,
    },
    /// The mirror stops, the follower is stale, its generation and its chunk marks end.
    GenerationEnds,
    /// Authority and follower change places; verification keeps counting.
    PlacesChange,
    /// The mirror stops; a captured log goes on filling for the way back.
    MirrorStops,
    /// The log kept for the way back is drained first.
    DrainWayBack,
    /// Nothing is mirrored on either end: the copy is made inside the hold.
    CopyInHold {
        /// The side that is filled.
        toward: Side,
    },
    /// What Changeover installed is removed.
    Retire,
}

/// What the move from one place to another, its neighbour, means for the follower.
///
/// `way_back` counts only on the way from `new`.
#[must_use]
pub fn consequence(from: Place, to: Place, mirror: Mirror, way_back: WayBack) -> Consequence {
    match (from.phase, to.phase) {
        (_, Phase::Retired) => Consequence::Retire,
        (Phase::New, Phase::ReverseShadow) => match (mirror, way_back) {
            (Mirror::Capture, WayBack::Open) => Consequence::DrainWayBack,
            _ => Consequence::NewGeneration { toward: Side::Old },
        },
        (Phase::Old, Phase::Shadow) => Consequence::NewGeneration { toward: Side::New },
        (Phase::Old, _) => Consequence::CopyInHold { toward: Side::New },
        (Phase::New | Phase::Retired, _) => Consequence::CopyInHold { toward: Side::Old },
        // Without `reverse-shadow` nothing is carried to the old side, and nothing logged: what was copied to it on an earlier
        // way back is stale from the first write on.
        (_, Phase::Old) | (Phase::Shadow, Phase::New) => Consequence::GenerationEnds,
        (_, Phase::New) => Consequence::MirrorStops,
        (Phase::Shadow | Phase::ReverseShadow, _) => Consequence::PlacesChange,
    }
}

/// The way that a move from one place to another goes.
#[must_use]
pub fn direction(from: Place, to: Place) -> Direction {
    if to.is_past(from) { Direction::Forward } else { Direction::Back }
}

/// Which kind of rollback there would be now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum RollbackKind {
    /// Nothing has moved: there is nothing to roll back.
    Nothing,
    /// Within the hold budget, nothing left behind.
    Instant,
    /// The way back's log is drained first, or the old side is filled anew.
    Slow,
    /// An instance is silent: it would wait for it, until it is heard or declared gone.
    Waits,
    /// Only by leaving keys behind.
    LeavesBehind,
    /// The migration is retired.
    Never,
}

/// *Rollback is safe now*: yes or no, since when, and because of what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RollbackSafety {
    /// Whether a rollback now would lose nothing.
    pub safe: bool,
    /// Which kind it would be.
    pub kind: RollbackKind,
    /// Since when this has been so.
    pub since: Millis,
    /// Because of what, in words.
    pub because: String,
}

/// What is known now of what a rollback needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackFacts {
    /// Where the migration stands.
    pub place: Place,
    /// Since when.
    pub entered: Millis,
    /// What carries the changes.
    pub mirror: Mirror,
    /// How the way back from `new` stands.
    pub way_back: WayBack,
    /// Keys whose follower copy isn't known to be equal; `None` if the authority can't say.
    pub dirty_keys: Option<u64>,
    /// How many of them can be synced within the hold budget.
    pub drainable_keys: u64,
    /// Those that can't be synced at all, because the follower refuses them.
    pub stuck: Stuck,
    /// Since when the dirty keys have been as they are: fewer than can be drained, or not.
    pub dirty_since: Millis,
    /// Live instances that have not been heard of for their lease.
    pub silent: Vec<String>,
    /// Since when there has been one.
    pub silent_since: Millis,
    /// Whether a generation of the backfill towards the old side is under way or due.
    pub backfill_toward_old: bool,
    /// Whether a copy towards the old side is made with writes refused, because no phase mirrors them meanwhile.
    pub fills_in_hold: bool,
}

/// Whether a rollback is safe now: it needs the barrier, and no dirty key within the hold budget.
#[must_use]
pub fn rollback_safety(facts: &RollbackFacts) -> RollbackSafety {
    let answer = |safe, kind, since, because: String| RollbackSafety { safe, kind, since, because };
    let entered = facts.entered;
    match facts.place.phase {
        Phase::Old => {
            return answer(true, RollbackKind::Nothing, entered, "the migration is in `old`".to_owned());
        }
        Phase::Retired => {
            return answer(false, RollbackKind::Never, entered, "the migration is retired".to_owned());
        }
        // Reads and writes are the old side's; leaving the mirror needs the barrier alone.
        Phase::Shadow | Phase::ReverseShadow | Phase::New => {}
    }
    if !facts.silent.is_empty() {
        let because = format!("no word from {}: a rollback would wait for it", facts.silent.join(", "));
        return answer(false, RollbackKind::Waits, facts.silent_since.max(entered), because);
    }
    if facts.place.phase == Phase::Shadow {
        return answer(true, RollbackKind::Instant, entered, "the old side has every write".to_owned());
    }
    let Some(dirty) = facts.dirty_keys else {
        let because = "the authority does not say which keys are dirty".to_owned();
        return answer(false, RollbackKind::LeavesBehind, facts.dirty_since.max(entered), because);
    };
    if facts.place.phase == Phase::New {
        return safety_from_new(facts, dirty);
    }
    if facts.stuck.keys > 0 {
        let because = format!("{}. It would be left behind", facts.stuck);
        return answer(false, RollbackKind::LeavesBehind, facts.dirty_since.max(entered), because);
    }
    if facts.backfill_toward_old {
        let because = "the old side is still being filled".to_owned();
        return answer(true, RollbackKind::Slow, entered, because);
    }
    if dirty > facts.drainable_keys {
        let because = format!(
            "{dirty} keys are dirty, and {} can be synced within the hold budget",
            facts.drainable_keys
        );
        return answer(false, RollbackKind::LeavesBehind, facts.dirty_since.max(entered), because);
    }
    let because = format!("the old side is kept in step, {dirty} keys dirty");
    answer(true, RollbackKind::Instant, facts.dirty_since.max(entered), because)
}

fn safety_from_new(facts: &RollbackFacts, dirty: u64) -> RollbackSafety {
    let filled = if facts.fills_in_hold {
        "the old side must be filled anew first, and writes are refused meanwhile"
    } else {
        "the old side must be filled anew first"
    };
    let because = match (facts.mirror, facts.way_back) {
        (Mirror::Capture, WayBack::Open) => {
            format!("the log of the new side holds all {dirty} changed keys; they are drained first")
        }
        // Without a phase that mirrors there never was a log to go back by.
        (Mirror::Capture, WayBack::Closed) if facts.fills_in_hold => filled.to_owned(),
        (Mirror::Capture, WayBack::Closed) => format!("the log of the way back is over: {filled}"),
        (Mirror::DualWrite, _) => format!("nothing is mirrored in `new`: {filled}"),
    };
    RollbackSafety { safe: true, kind: RollbackKind::Slow, since: facts.entered, because }
}
