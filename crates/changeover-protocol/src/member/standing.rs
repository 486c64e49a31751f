//! What an instance may do now: the cheap, immutable snapshot that the hot path looks at.
//!
//! A new one is made whenever the instance adopts a target or hears from the control plane; operations keep
//! the one that they began under, and show it again before their answer is given out.

use std::sync::Arc;

use crate::slots::Slot;
use crate::step::{Plan, Step};
use crate::target::Target;
use crate::time::Millis;

/// What becomes of an instance that the control plane has not heard of for its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum OnSilence {
    /// It serves on, at the step it knows; moves wait for it.
    StaticStability,
    /// It refuses everything, and moves go on without it. Only where the store refuses stale epochs itself.
    Fence,
}

/// Whether an operation reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

/// What an instance may do now. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The target that it executes. Shared: a standing is made anew with every heartbeat.
    pub target: Arc<Target>,
    /// Until when a held write may wait, by the instance's clock; `None` while nothing is held, and in a hold
    /// without a budget.
    pub held_until: Option<Millis>,
    /// Until when it counts as heard, by the instance's clock; `None` if it has never been heard.
    pub heard_until: Option<Millis>,
    /// How often it has been out of touch for longer than its lease.
    pub lapses: u32,
    /// What it does when it is out of touch, outside the holds.
    pub on_silence: OnSilence,
    /// It is stopping, or was told that it isn't counted any more.
    pub closed: Option<Closed>,
}

/// Why an instance takes no operations any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// It is stopping.
    Stopping,
    /// The control plane doesn't count it: it was forgotten, or said goodbye.
    NotCounted,
}

/// Whether an operation may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It runs, like this.
    Run(Plan),
    /// It is a held write: wait for a new standing, at most until then, and ask again.
    Wait {
        /// By the instance's clock.
        until: Millis,
    },
    /// It is refused; nothing has been done.
    Refuse(Refused),
}

/// Why an operation is refused. All of these may be tried again later, most of them soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A hold lasts longer than its budget.
    HoldOverBudget,
    /// Writes are stopped for a copy, for as long as that takes.
    WritesStopped,
    /// This instance is out of touch with the control plane, in a hold or under `on_silence = "fence"`.
    OutOfTouch,
    /// This instance is stopping.
    Stopping,
    /// The control plane doesn't count this instance any more.
    NotCounted,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HoldOverBudget => "writes are held for longer than the budget allows: try again",
            Self::WritesStopped => "writes are stopped while the data is copied: try again later",
            Self::OutOfTouch => "this instance is out of touch with the control plane: try again",
            Self::Stopping => "this instance is stopping: try another",
            Self::NotCounted => "this instance is not counted by the control plane: it must register anew",
        })
    }
}

/// What an operation keeps of the standing that it began under, to show it before its answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Whether the answer is only worth something while the lease lasts.
    leased: bool,
    lapses: u32,
}

impl Standing {
    /// Whether an operation on this slot may begin. Outside the holds, and without `on_silence = "fence"`, the
    /// time isn't looked at: see [`Standing::needs_clock`].
    #[must_use]
    pub fn admit(&self, now: Millis, slot: Slot, access: Access) -> Admission {
        self.admit_step(now, self.target.step(slot), access)
    }

    /// The same for an operation without a key: only reads can be.
    #[must_use]
    pub fn admit_keyless(&self, now: Millis, access: Access) -> Admission {
        self.admit_step(now, self.target.keyless_step(), access)
    }

    fn admit_step(&self, now: Millis, step: Step, access: Access) -> Admission {
        match self.closed {
            Some(Closed::Stopping) => return Admission::Refuse(Refused::Stopping),
            Some(Closed::NotCounted) => return Admission::Refuse(Refused::NotCounted),
            None => {}
        }
        let plan = step.plan();
        let reads_are_leased = self.on_silence == OnSilence::Fence || self.target.is_second_hold(step);
        let is_leased = match access {
            Access::Read => reads_are_leased,
            Access::Write => self.on_silence == OnSilence::Fence || step.is_hold(),
        };
        let is_silent = is_leased && !self.in_touch(now);
        let is_held = access == Access::Write && step.is_hold();
        match self.held_until {
            // Whoever waits does nothing: out of touch it may wait for word as well as for the hold's end.
            Some(until) if is_held && now < until => Admission::Wait { until },
            _ if is_silent => Admission::Refuse(Refused::OutOfTouch),
            _ if !is_held => Admission::Run(plan),
            Some(_) => Admission::Refuse(Refused::HoldOverBudget),
            None => Admission::Refuse(Refused::WritesStopped),
        }
    }

    /// Whether the time matters for this slot; where it doesn't, any may be given to [`Standing::admit`].
    #[must_use]
    pub fn needs_clock(&self, slot: Slot) -> bool {
        self.on_silence == OnSilence::Fence || self.target.step(slot).is_hold()
    }

    /// What an operation that begins now on a slot at this step keeps.
    #[must_use]
    pub fn ticket(&self, step: Step) -> Ticket {
        let leased = self.on_silence == OnSilence::Fence || self.target.is_second_hold(step);
        Ticket { leased, lapses: self.lapses }
    }

    /// Whether the answer of an operation that began with this ticket may be given out *now*, under the present
    /// standing. If not, a read is refused as out of touch, and a write's outcome is unknown.
    ///
    /// A read that began in the second hold may have read long after the fleet went back without this instance:
    /// so the lease must have held from its beginning to its end, not only at both.
    #[must_use]
    pub fn may_answer(&self, now: Millis, ticket: Ticket) -> bool {
        !ticket.leased || (ticket.lapses == self.lapses && self.in_touch(now))
    }

    fn in_touch(&self, now: Millis) -> bool {
        self.heard_until.is_some_and(|until| now < until)
    }
}
