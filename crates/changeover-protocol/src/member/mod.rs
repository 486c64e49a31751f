//! The instance's side of the protocol: it adopts targets, waits until what began under earlier ones has
//! ended, and acknowledges.
//!
//! Nothing here is on the hot path: that looks at the [`Standing`] which the machine makes anew when
//! something changes. The order of things on a new target is: operations begin under it at once; those from
//! before end ([`MemberEvent::Drained`]); the step file has it ([`MemberEvent::Remembered`]); then it is
//! acknowledged, and not before, or a restart could come back at a step that the fleet has left.

mod standing;

use std::fmt;
use std::sync::Arc;

pub use standing::{Access, Admission, Closed, OnSilence, Refused, Standing, Ticket};

use crate::target::{Target, Version};
use crate::time::Millis;

/// The identity of an instance: never used a second time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct InstanceId(pub String);

impl InstanceId {
    /// The identity of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an instance needs to know that no target tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberSettings {
    /// How long after a write whose outcome isn't known the server may still run it; it enforces that itself.
    pub write_lifetime_ms: Millis,
    /// By how much the instance's clock may be slow against the control plane's, in thousandths.
    pub drift_per_mille: u16,
    /// What it does when it is out of touch, outside the holds.
    pub on_silence: OnSilence,
}

impl Default for MemberSettings {
    /// 30 s, 1 %, static stability.
    fn default() -> Self {
        Self {
            write_lifetime_ms: Millis(30_000),
            drift_per_mille: 10,
            on_silence: OnSilence::StaticStability,
        }
    }
}

/// What an instance keeps in its step file: enough to go on from while the control plane is away.
///
/// It is valid while the barrier counts the instance. A goodbye deletes it first; a `forget` voids it: whoever
/// forgets asserts that the process *and this file* are gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Remembered {
    /// Who.
    pub instance: InstanceId,
    /// The target that it executed last.
    pub target: Target,
}

impl Remembered {
    /// The version of the target.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.target.version
    }
}

/// How an instance can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// There is a step file: go on from it, as the instance that it names, whether or not the control plane
    /// answers.
    Resume(Remembered),
    /// There is none: register, and start from what the control plane answers.
    Register,
    /// There is none, and the control plane doesn't answer: refuse to start.
    RefuseToGuess,
}

impl Start {
    /// What there is to do, given the step file and whether the control plane can be reached.
    ///
    /// A file whose target isn't valid is as good as none: an instance never guesses.
    #[must_use]
    pub fn decide(file: Option<Remembered>, control_plane_answers: bool) -> Self {
        match file {
            Some(remembered) if remembered.target.validate().is_ok() => Self::Resume(remembered),
            _ if control_plane_answers => Self::Register,
            _ => Self::RefuseToGuess,
        }
    }
}

/// What an instance is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MemberEvent {
    /// A target was pushed.
    Target(Target),
    /// A heartbeat was answered, with the target that was the present one when it was.
    Answered {
        /// When the heartbeat was *sent*, by this instance's clock.
        sent: Millis,
        /// The target in the answer.
        target: Target,
    },
    /// The control plane answered that it doesn't count this instance.
    Rejected,
    /// Every operation begun under a version before this one has ended: its outcome is known, or it was
    /// reported by [`MemberEvent::UnknownOutcome`] first.
    Drained {
        /// The version.
        below: Version,
    },
    /// A write begun under this version ended without an outcome: it timed out, or was cancelled or cut off.
    UnknownOutcome {
        /// The version it began under.
        version: Version,
    },
    /// The session of every such write is seen gone, or was terminated: the server runs none of those begun
    /// under versions up to this one any more.
    OutcomesSettled {
        /// The version.
        up_to: Version,
    },
    /// The step file has the target of this version, durably.
    Remembered {
        /// The version.
        version: Version,
    },
    /// The process is to stop in good order.
    Stop,
    /// The step file is deleted, durably.
    FileDeleted,
    /// Time has passed. Due every tenth of a lease while [`Member::is_waiting`], else not at all.
    Tick,
}

/// What the I/O layer does for an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MemberAction {
    /// Put this standing where operations look; count those that begin under its version by themselves; tell
    /// [`MemberEvent::Drained`] when those from before have ended.
    Stand(Standing),
    /// Write the step file, durably, and answer [`MemberEvent::Remembered`].
    Remember(Remembered),
    /// Tell the control plane; again with each heartbeat until it is known to have heard.
    Acknowledge {
        /// The version.
        version: Version,
    },
    /// Cut off the operations that began before this version: reads are refused, writes answered *unknown* and
    /// told by [`MemberEvent::UnknownOutcome`]; then [`MemberEvent::Drained`].
    CutOff {
        /// The version.
        below: Version,
    },
    /// Delete the step file, durably, and answer [`MemberEvent::FileDeleted`].
    DeleteFile,
    /// Say goodbye to the control plane; after this the process may end.
    Goodbye,
}

/// The machine of one instance. It lives in memory only; what outlives the process is [`Remembered`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    id: InstanceId,
    settings: MemberSettings,
    standing: Standing,
    adopted_at: Millis,
    held_since: Option<Millis>,
    drained_below: Version,
    remembered: Option<Version>,
    acknowledged: Version,
    cut_off: bool,
    /// Writes whose outcome isn't known: the version they began under, and when the server runs them no more.
    unknown: Vec<(Version, Millis)>,
    stopping: Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stopping {
    No,
    Draining,
    Deleting,
    Gone,
}

impl Member {
    /// An instance that has just registered with this target, and has run nothing: the control plane counts it
    /// as having acknowledged it. `sent` is when the registration was sent.
    #[must_use]
    pub fn registered(
        id: InstanceId,
        settings: MemberSettings,
        now: Millis,
        sent: Millis,
        target: Target,
    ) -> (Self, Vec<MemberAction>) {
        let version = target.version;
        let mut member = Self::new(id, settings, now, target);
        member.drained_below = version;
        member.acknowledged = version;
        member.hear(now, sent);
        let actions = member.start_actions();
        (member, actions)
    }

    /// An instance that goes on from its step file. Writes of the process before may still be waiting in the
    /// server, so nothing is acknowledged for as long as they may live. It hasn't been heard of: in a hold it
    /// refuses what a silent instance must.
    #[must_use]
    pub fn resumed(
        settings: MemberSettings,
        now: Millis,
        remembered: Remembered,
    ) -> (Self, Vec<MemberAction>) {
        let version = remembered.version();
        let mut member = Self::new(remembered.instance, settings, now, remembered.target);
        member.drained_below = version;
        member.remembered = Some(version);
        // Which version its writes began under isn't known: any before the first that is acknowledged from here.
        member.unknown.push((Version(0), now.plus(settings.write_lifetime_ms)));
        let actions = vec![MemberAction::Stand(member.standing.clone())];
        (member, actions)
    }

    fn new(id: InstanceId, settings: MemberSettings, now: Millis, target: Target) -> Self {
        let held_since = target.has_hold().then_some(now);
        let standing = Standing {
            held_until: None,
            heard_until: None,
            lapses: 0,
            on_silence: settings.on_silence,
            closed: None,
            target: Arc::new(target),
        };
        let mut member = Self {
            id,
            settings,
            standing,
            adopted_at: now,
            held_since,
            drained_below: Version(0),
            remembered: None,
            acknowledged: Version(0),
            cut_off: false,
            unknown: Vec::new(),
            stopping: Stopping::No,
        };
        member.set_held_until();
        member
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> &InstanceId {
        &self.id
    }

    /// What it may do now.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The version that it executes.
    #[must_use]
    pub fn version(&self) -> Version {
        self.standing.target.version
    }

    /// The last version that it acknowledged: what a heartbeat says.
    #[must_use]
    pub const fn acknowledged(&self) -> Version {
        self.acknowledged
    }

    /// Whether something is due by time alone: an acknowledgement, a cut-off, a goodbye.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stopping != Stopping::No || self.acknowledged < self.version() || !self.unknown.is_empty()
    }

    /// Takes one event, and says what to do. `now` is by the instance's own clock, which runs on while the
    /// machine sleeps.
    pub fn handle(&mut self, now: Millis, event: MemberEvent) -> Vec<MemberAction> {
        let mut actions = Vec::new();
        match event {
            MemberEvent::Target(target) => self.adopt(now, target, &mut actions),
            MemberEvent::Answered { sent, target } => self.answered(now, sent, target, &mut actions),
            MemberEvent::Rejected => self.close(Closed::NotCounted, &mut actions),
            MemberEvent::Drained { below } => self.drained_below = self.drained_below.max(below),
            MemberEvent::UnknownOutcome { version } => {
                self.unknown.push((version, now.plus(self.settings.write_lifetime_ms)));
            }
            MemberEvent::OutcomesSettled { up_to } => self.unknown.retain(|&(version, _)| version > up_to),
            MemberEvent::Remembered { version } => self.remembered = self.remembered.max(Some(version)),
            MemberEvent::Stop => self.stop(&mut actions),
            MemberEvent::FileDeleted => self.file_deleted(&mut actions),
            MemberEvent::Tick => self.tick(now, &mut actions),
        }
        self.unknown.retain(|&(_, until)| now < until);
        self.acknowledge(&mut actions);
        self.finish_stopping(&mut actions);
        actions
    }

    fn adopt(&mut self, now: Millis, target: Target, actions: &mut Vec<MemberAction>) {
        if self.take(now, target) {
            self.tell_adopted(actions);
        }
    }

    /// Takes the target over if it is a newer one.
    fn take(&mut self, now: Millis, target: Target) -> bool {
        if target.version <= self.version() || target.validate().is_err() || self.stopping == Stopping::Gone {
            return false;
        }
        self.held_since = match (target.has_hold(), self.held_since) {
            (true, None) => Some(now),
            (true, since) => since,
            (false, _) => None,
        };
        self.standing.target = Arc::new(target);
        self.adopted_at = now;
        self.cut_off = false;
        self.set_held_until();
        true
    }

    fn tell_adopted(&self, actions: &mut Vec<MemberAction>) {
        actions.push(MemberAction::Stand(self.standing.clone()));
        if matches!(self.stopping, Stopping::No | Stopping::Draining) {
            actions.push(self.remember());
        }
    }

    /// The answer's target is taken over together with the lease that the answer brings, never after it: the
    /// control plane, having heard from this instance, counts on it being at that target or a later one. An answer
    /// with an older target than this instance has seen comes from a replica that lags: it brings no lease, for those
    /// who count may not have heard.
    fn answered(&mut self, now: Millis, sent: Millis, target: Target, actions: &mut Vec<MemberAction>) {
        let is_stale = target.version < self.version();
        let is_new = self.take(now, target);
        let is_heard = !is_stale && self.hear(now, sent);
        if is_new {
            self.tell_adopted(actions);
        } else if is_heard {
            actions.push(MemberAction::Stand(self.standing.clone()));
        }
    }

    /// Counts the lease from the *sending* of what was answered, with a margin for the drift of both clocks.
    fn hear(&mut self, now: Millis, sent: Millis) -> bool {
        let lease = self.standing.target.hold_lease_ms;
        let margin = Millis(lease.0.saturating_mul(u64::from(self.settings.drift_per_mille)).div_ceil(1000));
        let until = sent.plus(lease.since(margin));
        if self.standing.heard_until.is_some_and(|old| until <= old) {
            return false;
        }
        if self.standing.heard_until.is_some_and(|old| now >= old) {
            self.standing.lapses = self.standing.lapses.saturating_add(1);
        }
        self.standing.heard_until = Some(until);
        true
    }

    fn set_held_until(&mut self) {
        let budget = self.standing.target.hold_budget_ms;
        self.standing.held_until = self.held_since.and_then(|since| budget.map(|budget| since.plus(budget)));
    }

    fn close(&mut self, closed: Closed, actions: &mut Vec<MemberAction>) {
        if self.standing.closed != Some(closed) {
            self.standing.closed = Some(closed);
            actions.push(MemberAction::Stand(self.standing.clone()));
        }
        if closed == Closed::NotCounted && self.stopping != Stopping::Gone {
            // The file is void: whoever forgot this instance asserted that it was gone.
            actions.push(MemberAction::DeleteFile);
        }
    }

    fn stop(&mut self, actions: &mut Vec<MemberAction>) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Draining;
            if self.standing.closed.is_none() {
                self.close(Closed::Stopping, actions);
            }
        }
    }

    fn tick(&mut self, now: Millis, actions: &mut Vec<MemberAction>) {
        let due = self.standing.target.cut_off_ms.is_some_and(|after| now >= self.adopted_at.plus(after));
        if due && !self.cut_off && self.drained_below < self.version() {
            self.cut_off = true;
            actions.push(MemberAction::CutOff { below: self.version() });
        }
    }

    fn acknowledge(&mut self, actions: &mut Vec<MemberAction>) {
        let version = self.version();
        let ended = self.drained_below >= version && self.unknown.iter().all(|&(began, _)| began >= version);
        if self.acknowledged < version
            && ended
            && self.remembered == Some(version)
            && matches!(self.stopping, Stopping::No | Stopping::Draining)
            && self.standing.closed != Some(Closed::NotCounted)
        {
            self.acknowledged = version;
            actions.push(MemberAction::Acknowledge { version });
        }
    }

    /// A goodbye is said when everything has ended and the file is gone, in this order: from then on nobody
    /// waits for this instance, so nothing of it may come back.
    fn finish_stopping(&mut self, actions: &mut Vec<MemberAction>) {
        let ended = self.drained_below > self.version() && self.unknown.is_empty();
        if self.stopping == Stopping::Draining && ended {
            self.stopping = Stopping::Deleting;
            actions.push(MemberAction::DeleteFile);
        }
    }

    fn file_deleted(&mut self, actions: &mut Vec<MemberAction>) {
        self.remembered = None;
        if self.stopping == Stopping::Deleting {
            self.stopping = Stopping::Gone;
            actions.push(MemberAction::Goodbye);
        }
    }

    fn start_actions(&self) -> Vec<MemberAction> {
        vec![MemberAction::Stand(self.standing.clone()), self.remember()]
    }

    fn remember(&self) -> MemberAction {
        MemberAction::Remember(Remembered {
            instance: self.id.clone(),
            target: Target::clone(&self.standing.target),
        })
    }
}
