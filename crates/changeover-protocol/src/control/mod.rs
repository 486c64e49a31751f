//! The control plane's machine: one migration's durable record, and what each event makes of it.
//!
//! [`Control::apply`] is a pure function from a record, the time and an event to the next record and the
//! actions. The I/O layer stores the next record by compare-and-set on [`Control::revision`], and only then
//! carries the actions out. After a crash [`ControlEvent::Restarted`] gives the actions that may have been
//! lost; each can be carried out twice.

mod asks;
mod barrier;
mod event;
mod needs;
mod shift;

use std::collections::BTreeMap;

pub use event::{
    ControlAction, ControlEvent, Epoch, Generation, MoveReport, Outcome, Refusal, TurnReason, Vitals,
};
pub use shift::{FenceState, Shift};

use crate::member::{InstanceId, OnSilence};
use crate::moves::{Mirror, UncleanEvent, WayBack};
use crate::place::{Phases, Place};
use crate::step::{Phase, Side};
use crate::target::{Target, Version};
use crate::time::Millis;

/// What a migration is told once, by its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settings {
    /// What carries the changes.
    pub mirror: Mirror,
    /// Which phases there are.
    pub phases: Phases,
    /// How long writes may be held.
    pub hold_budget_ms: Millis,
    /// How long an instance may go on in a hold without an answer; and, where silence is fenced, at all.
    pub hold_lease_ms: Millis,
    /// How long after it was sent the server may still run a write.
    pub write_lifetime_ms: Millis,
    /// How long a move forward waits, outside the holds, before it is given up.
    pub patience_ms: Millis,
    /// What becomes of instances that aren't heard of.
    pub on_silence: OnSilence,
    /// After how long a silent instance is declared gone, if ever.
    pub forget_after_ms: Option<Millis>,
}

/// Settings that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidSettings {
    /// Nothing but the store itself can keep a silent instance from writing.
    FenceWithoutCapture,
    /// A lease or a budget of nothing.
    NoTime,
    /// A silent instance can't be told within the budget.
    LeaseOverBudget,
}

impl std::fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FenceWithoutCapture => {
                "`on_silence = \"fence\"` needs `mirror = \"capture\"`: the store must refuse stale epochs itself"
            }
            Self::NoTime => "the hold budget and the hold lease must be longer than nothing",
            Self::LeaseOverBudget => "the hold budget must be at least two hold leases long",
        })
    }
}

impl std::error::Error for InvalidSettings {}

impl Settings {
    /// Whether they fit together.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        if self.on_silence == OnSilence::Fence && self.mirror != Mirror::Capture {
            return Err(InvalidSettings::FenceWithoutCapture);
        }
        if self.hold_lease_ms == Millis(0) || self.hold_budget_ms == Millis(0) {
            return Err(InvalidSettings::NoTime);
        }
        if self.hold_lease_ms.times(2) > self.hold_budget_ms {
            return Err(InvalidSettings::LeaseOverBudget);
        }
        Ok(())
    }
}

impl Default for Settings {
    /// Dual write, all phases, 2 s, 500 ms, 30 s, 60 s, static stability, never.
    fn default() -> Self {
        Self {
            mirror: Mirror::DualWrite,
            phases: Phases::ALL,
            hold_budget_ms: Millis(2_000),
            hold_lease_ms: Millis(500),
            write_lifetime_ms: Millis(30_000),
            patience_ms: Millis(60_000),
            on_silence: OnSilence::StaticStability,
            forget_after_ms: None,
        }
    }
}

/// What the control plane knows of one instance that it counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Instance {
    /// The last version that it acknowledged.
    pub acked: Version,
    /// When it was heard last, by the control plane's clock.
    pub heard: Millis,
    /// How it was then.
    pub vitals: Vitals,
    /// Its lease lapsed under `on_silence = "fence"`: it isn't live until it is heard again.
    pub lapsed: bool,
}

/// An instance that is gone, but whose last writes the servers may still run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ghost {
    /// Who it was.
    pub instance: InstanceId,
    /// Until when its writes may live.
    pub until: Millis,
}

/// The generation of the backfill that counts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Backfill {
    /// Its number.
    pub generation: Generation,
    /// The side that it fills.
    pub toward: Side,
    /// Whether it is made inside a hold.
    pub in_hold: bool,
    /// Whether it is complete.
    pub done: bool,
}

/// The durable record of one migration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Control {
    /// One more with every change that must be stored; the record is written by compare-and-set on it.
    pub revision: u64,
    /// What the spec says.
    pub settings: Settings,
    /// What the fleet is to execute.
    pub target: Target,
    /// Where the migration stands: where its last completed move ended.
    pub place: Place,
    /// Since when: bake time counts from here.
    pub since: Millis,
    /// The move under way.
    pub shift: Option<Shift>,
    /// The instances that the barrier counts.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Those that are gone, but whose writes may not be.
    pub ghosts: Vec<Ghost>,
    /// The generation that counts, if any.
    pub backfill: Option<Backfill>,
    /// The number of the last generation.
    pub last_generation: Generation,
    /// The number of the last move that had a fence.
    pub epoch: Epoch,
    /// How the way back from `new` stands.
    pub way_back: WayBack,
    /// When the last unclean event was.
    pub last_unclean: Option<Millis>,
}

/// What an event makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The next record.
    pub next: Control,
    /// What to do once it is stored.
    pub actions: Vec<ControlAction>,
    /// Whether it must be stored: not for a heartbeat that changes nothing of weight.
    pub durable: bool,
}

impl Control {
    /// The record of a migration that begins: everything in `old`, nobody counted yet.
    #[must_use]
    pub fn new(settings: Settings, now: Millis) -> Self {
        let place = Place::whole(Phase::Old);
        Self {
            revision: 0,
            settings,
            target: Target::uniform(Version(1), place.phase.step(), place.phase, settings.hold_lease_ms),
            place,
            since: now,
            shift: None,
            instances: BTreeMap::new(),
            ghosts: Vec::new(),
            backfill: None,
            last_generation: Generation(0),
            epoch: Epoch(0),
            way_back: WayBack::Closed,
            last_unclean: None,
        }
    }

    /// Takes one event. `now` is by the clock of the state's store, the same for all replicas.
    ///
    /// # Errors
    ///
    /// Why the event is refused; the record stays as it is.
    pub fn apply(&self, now: Millis, event: ControlEvent) -> Result<Change, Refusal> {
        let mut next = self.clone();
        let mut actions = Vec::new();
        let is_heartbeat = matches!(event, ControlEvent::Heartbeat { .. });
        next.take(now, event, &mut actions)?;
        next.progress(now, &mut actions);
        let durable = !actions.is_empty() || if is_heartbeat { self.weighs(&next) } else { next != *self };
        if durable {
            next.revision = self.revision.saturating_add(1);
        }
        Ok(Change { next, actions, durable })
    }

    fn take(
        &mut self,
        now: Millis,
        event: ControlEvent,
        actions: &mut Vec<ControlAction>,
    ) -> Result<(), Refusal> {
        match event {
            ControlEvent::Register { id, expected } => self.register(now, id, expected)?,
            ControlEvent::Resume { id } => self.hear(now, &id)?,
            ControlEvent::Heartbeat { id, acked, vitals } => self.acknowledge(now, &id, acked, vitals)?,
            ControlEvent::Acknowledge { id, version, vitals } => {
                self.acknowledge(now, &id, version, vitals)?;
            }
            ControlEvent::Goodbye { id } => self.goodbye(&id)?,
            ControlEvent::Forget { id } => self.forget(now, &id, actions)?,
            ControlEvent::Advance { to, share } => self.advance(now, Place { phase: to, share })?,
            ControlEvent::Rollback { to, share, leave_behind } => {
                self.rollback(now, Place { phase: to, share }, leave_behind, actions)?;
            }
            ControlEvent::Tick => self.tick(now, actions),
            ControlEvent::Restarted => self.restarted(now, actions),
            ControlEvent::NextEpoch => self.epoch = self.epoch.next(),
            ControlEvent::KeysInSync { version, dirty, backfill_under_way } => {
                self.synced(now, version, dirty, backfill_under_way, actions);
            }
            ControlEvent::GenerationDone { generation } => self.generation_done(generation),
            ControlEvent::WayBackDrained => self.way_back_drained(),
            ControlEvent::WayBackEnded => self.way_back_ended(actions),
            ControlEvent::FenceMoved { epoch } => {
                self.fence_went(epoch, FenceState::Requested, FenceState::Moved);
            }
            ControlEvent::FenceOpened { epoch } => {
                self.fence_went(epoch, FenceState::Opening, FenceState::Opened);
            }
            ControlEvent::FenceUndone { epoch } => {
                self.fence_went(epoch, FenceState::Undoing, FenceState::Idle);
            }
            ControlEvent::FenceFailed { epoch, because } => self.fence_failed(now, epoch, because, actions),
            ControlEvent::Unclean(event) => self.unclean(now, event, actions),
        }
        Ok(())
    }

    fn unclean(&mut self, now: Millis, event: UncleanEvent, actions: &mut Vec<ControlAction>) {
        self.last_unclean = Some(now);
        actions.push(ControlAction::Unclean(event));
    }

    fn generation_done(&mut self, generation: Generation) {
        if let Some(backfill) = self.backfill.as_mut().filter(|b| b.generation == generation) {
            backfill.done = true;
        }
    }

    fn way_back_drained(&mut self) {
        if let Some(shift) = &mut self.shift {
            shift.drained = true;
        }
    }

    fn way_back_ended(&mut self, actions: &mut Vec<ControlAction>) {
        self.way_back = WayBack::Closed;
        if self.place.phase == Phase::New && self.shift.is_none() {
            self.end_generation(actions);
        }
    }

    fn begin_generation(&mut self, toward: Side, in_hold: bool, actions: &mut Vec<ControlAction>) {
        let generation = self.last_generation.next();
        self.last_generation = generation;
        self.backfill = Some(Backfill { generation, toward, in_hold, done: false });
        actions.push(ControlAction::BeginGeneration { generation, toward, in_hold });
    }

    fn end_generation(&mut self, actions: &mut Vec<ControlAction>) {
        if let Some(backfill) = self.backfill.take() {
            actions.push(ControlAction::EndGeneration { generation: backfill.generation });
        }
    }

    /// Nobody was heard while nobody listened: every lease is counted from now. What a crash may have kept
    /// from being carried out is given again.
    fn restarted(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        self.hear_all(now);
        actions.push(ControlAction::Publish(self.target.clone()));
        if let Some(b) = self.backfill.filter(|b| !b.done) {
            let Backfill { generation, toward, in_hold, .. } = b;
            actions.push(ControlAction::BeginGeneration { generation, toward, in_hold });
        }
        self.ask_again(actions);
    }

    /// Whether a heartbeat's change must be stored.
    ///
    /// While a move is under way, or silence has consequences, another replica must know who was heard. At the
    /// beginning of a move all count as heard just then, so that what wasn't stored before can't matter.
    fn weighs(&self, next: &Self) -> bool {
        let silence_matters = self.shift.is_some()
            || self.settings.on_silence == OnSilence::Fence
            || self.settings.forget_after_ms.is_some();
        let acked_or_lapsed =
            |control: &Self| control.instances.values().map(|i| (i.acked, i.lapsed)).collect::<Vec<_>>();
        silence_matters || acked_or_lapsed(self) != acked_or_lapsed(next) || self.target != next.target
    }
}
