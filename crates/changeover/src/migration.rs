//! What a service holds: a migration, cheap to clone, and the builder that makes it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use changeover_protocol::member::{
    Access, Admission, InstanceId, Member, MemberAction, MemberSettings, OnSilence, Remembered, Standing,
};
use changeover_protocol::slots::Slot;
use changeover_protocol::step::{Phase, Plan, Step};
use changeover_protocol::target::{Target, Version};
use changeover_protocol::time::Millis;

use crate::clock::{Clock, SystemClock};
use crate::event::Events;
use crate::evidence::{EvidenceSnapshot, Operation, OperationEvidence, OperationRef, Registry};
use crate::keyed::{Keyed, Keys, RouteBy, Router};
use crate::mirror::Mirror;
use crate::read::Read;
use crate::refused::Refused;
use crate::samples::{Redaction, Samples};
use crate::shadow::{DirtyKeys, Shadow, ShadowSettings};
use crate::switch::{Parts, StepFile, Switch, SwitchHandle, drive};
use crate::value::TableName;
use crate::write::{Ack, Write, WriteSettings};

/// A migration, as a service holds it: routes each operation to the side that its step says. Cheap to clone.
///
/// Nothing here asks the control plane anything: what to do is decided from memory.
#[derive(Debug, Clone)]
pub struct Migration {
    pub(crate) core: Arc<Core>,
}

/// What all clones of a migration share.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) switch: Arc<Switch>,
    pub(crate) router: Router,
    pub(crate) registry: Registry,
    pub(crate) samples: Samples,
    pub(crate) events: Events,
    pub(crate) shadow: Shadow,
    pub(crate) writes: WriteSettings,
    pub(crate) mirror: Option<Arc<dyn Mirror>>,
    /// Writes that wait for a hold to end.
    pub(crate) waiting: AtomicUsize,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("name", &self.name)
            .field("standing", &self.switch.standing())
            .finish_non_exhaustive()
    }
}

impl Migration {
    /// Begins to build a migration. The name is the spec's: it is part of the slots' hash.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// A migration that stays in one phase, without a control plane: for tests, and for code that is there before its
    /// migration begins.
    #[must_use]
    pub fn standalone(name: impl Into<String>, phase: Phase) -> Self {
        Self::builder(name).standalone(phase)
    }

    /// The migration's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// An operation by name, to be kept: it spares looking the name up in the mirrored steps.
    #[must_use]
    pub fn operation(&self, name: &'static str) -> Operation {
        Operation(self.core.registry.get(OperationRef::Name(name)))
    }

    /// A read: the closure given to `run` is called for the authority, whose answer is the caller's; in the mirrored
    /// steps it is called for the follower too, off the caller's path, and the answers are compared.
    ///
    /// `key` is the row's, as in `("bookings", 42)`, or `()` where a read has none: it then stays on one side until all
    /// keys have moved.
    pub fn read<'m, K: Keyed>(&'m self, operation: impl Into<OperationRef<'m>>, key: K) -> Read<'m, K> {
        Read::new(&self.core, operation.into(), key)
    }

    /// A call to a dependency that changes nothing, such as a service over HTTP. Routed, shadowed and compared like a
    /// [`Migration::read`].
    pub fn call<'m, K: Keyed>(&'m self, operation: impl Into<OperationRef<'m>>, key: K) -> Read<'m, K> {
        Read::new(&self.core, operation.into(), key)
    }

    /// A write of these keys: the closure given to `run` is called once, for the authority; the follower is levelled by
    /// a sync of the keys. In a hold it waits until the hold is over.
    ///
    /// All keys must lie in one slot, unless the migration was built with
    /// [`Builder::moves_all_keys_at_once`].
    pub fn write<'m>(&'m self, operation: impl Into<OperationRef<'m>>, keys: impl Keys) -> Write<'m> {
        Write::new(&self.core, operation.into(), keys.into_keys())
    }

    /// What this instance has seen since it started.
    #[must_use]
    pub fn evidence(&self) -> EvidenceSnapshot {
        let core = &self.core;
        let (samples, samples_dropped) = core.samples.snapshot();
        let operations = core.registry.snapshot(core.now_ms());
        EvidenceSnapshot {
            slowest: slowest(&operations),
            operations,
            samples,
            samples_dropped,
            events: core.events.count(),
            unclean_events: core.events.unclean(),
            shadow_calls_running: core.shadow.running(),
            writes_waiting: core.waiting.load(Relaxed) as u64,
            operations_running: core.switch.running(),
        }
    }

    /// How this instance is: what its heartbeats say.
    #[must_use]
    pub fn vitals(&self) -> changeover_protocol::control::Vitals {
        let operations = self.core.registry.snapshot(self.core.now_ms());
        let slowest = slowest(&operations).map(|(_, latency)| latency.as_millis());
        changeover_protocol::control::Vitals {
            dirty_keys: self.core.mirror.as_ref().map_or(0, |mirror| mirror.dirty()),
            slowest_ms: slowest.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        }
    }

    /// What happens in this instance.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.core.events
    }

    /// What this instance may do now.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.core.switch.standing()
    }

    /// The phase that the flag shows, as this instance knows it.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.standing().target.phase_shown
    }
}

/// The operation with the longest p99.9 over the last two minutes.
fn slowest(operations: &[OperationEvidence]) -> Option<(&'static str, Duration)> {
    let p999 = |seen: &OperationEvidence| Some((seen.operation, seen.recent.quantile(0.999)?));
    operations.iter().filter_map(p999).max_by_key(|&(_, latency)| latency)
}

impl Core {
    pub(crate) fn now_ms(&self) -> u64 {
        self.switch.clock.now().0
    }

    /// The step that keys of this slot are at now.
    pub(crate) fn step_now(&self, slot: Option<Slot>) -> Step {
        step_of(&self.switch.standing().target, slot)
    }
}

/// The step of a slot, or of operations without a key.
pub(crate) fn step_of(target: &Target, slot: Option<Slot>) -> Step {
    slot.map_or_else(|| target.keyless_step(), |slot| target.step(slot))
}

/// Asks a standing whether an operation may begin.
pub(crate) fn admit(standing: &Standing, now: Millis, slot: Option<Slot>, access: Access) -> Admission {
    match slot {
        Some(slot) => standing.admit(now, slot, access),
        None => standing.admit_keyless(now, access),
    }
}

/// The plan of a read that was admitted.
pub(crate) fn admitted(admission: Admission, operation: &'static str) -> Result<Plan, Refused> {
    match admission {
        Admission::Run(plan) => Ok(plan),
        Admission::Refuse(why) => Err(Refused::NotNow { operation, why }),
        // Only writes are held; if the protocol says otherwise, the caller may try again.
        Admission::Wait { .. } => {
            Err(Refused::NotNow { operation, why: changeover_protocol::member::Refused::HoldOverBudget })
        }
    }
}

/// Makes a [`Migration`]. Everything has a default but the way it starts: [`Builder::register`],
/// [`Builder::resume`] or [`Builder::standalone`].
pub struct Builder {
    name: String,
    clock: Arc<dyn Clock>,
    shadow: ShadowSettings,
    dirty: Option<Arc<dyn DirtyKeys>>,
    redaction: Redaction,
    mirror: Option<Arc<dyn Mirror>>,
    routes: HashMap<TableName, RouteBy>,
    writes: WriteSettings,
    member: MemberSettings,
    step_file: Option<StepFile>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

/// The instance can't be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a switch is driven by a task: build the migration inside of a Tokio runtime")]
pub struct NoRuntime;

impl Builder {
    fn new(name: String) -> Self {
        Self {
            name,
            clock: Arc::new(SystemClock),
            shadow: ShadowSettings::default(),
            dirty: None,
            redaction: Redaction::none(),
            mirror: None,
            routes: HashMap::new(),
            writes: WriteSettings::default(),
            member: MemberSettings::default(),
            step_file: None,
        }
    }

    /// The clock by which leases and holds are counted. Default: the system's, which runs on while the machine sleeps.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How shadow calls are made.
    #[must_use]
    pub fn shadow(mut self, settings: ShadowSettings) -> Self {
        self.shadow = settings;
        self
    }

    /// Who knows which keys are dirty, where the mirror isn't in this process.
    #[must_use]
    pub fn dirty_keys(mut self, dirty: Arc<dyn DirtyKeys>) -> Self {
        self.dirty = Some(dirty);
        self
    }

    /// What must not be shown of mismatches.
    #[must_use]
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// `mirror = "dual-write"`: the keys of each write are levelled by this. Without one the mirror is capture, and
    /// writes go to the authority alone.
    #[must_use]
    pub fn dual_write(mut self, mirror: Arc<dyn Mirror>) -> Self {
        self.mirror = Some(mirror);
        self
    }

    /// When a write is acknowledged. Default: when both sides have it.
    #[must_use]
    pub const fn ack(mut self, ack: Ack) -> Self {
        self.writes.ack = ack;
        self
    }

    /// How long the follower has to take a write. Default: 1 second.
    #[must_use]
    pub const fn sync_deadline(mut self, deadline: Duration) -> Self {
        self.writes.sync_deadline = deadline;
        self
    }

    /// How long after it was sent a server may still carry out a write whose outcome isn't known: enforced by a time-out
    /// of the server's own, such as `statement_timeout`. Default: 30 seconds.
    #[must_use]
    pub fn write_lifetime(mut self, lifetime: Duration) -> Self {
        self.writes.lifetime = lifetime;
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.member.write_lifetime_ms = Millis(lifetime_ms);
        self
    }

    /// An error from a write's closure tells its outcome: nothing of it runs any more when the closure has ended. True of
    /// stores in the process, such as SQLite; of a server only where every error is its own answer, never a lost
    /// connection or a time-out of the client's. Without this, an error that isn't declared with [`Write::settled`] is an
    /// outcome that isn't known, and moves wait until [`Builder::write_lifetime`] has passed.
    #[must_use]
    pub const fn errors_are_settled(mut self) -> Self {
        self.writes.errors_settled = true;
        self
    }

    /// How many writes may wait for a hold to end. Default: 10,000.
    #[must_use]
    pub const fn held_writes_max(mut self, max: usize) -> Self {
        self.writes.held_max = max;
        self
    }

    /// This migration never moves a share of its keys, so one write may take keys of several slots. Where it does all the
    /// same, such writes are refused.
    #[must_use]
    pub const fn moves_all_keys_at_once(mut self) -> Self {
        self.writes.all_at_once = true;
        self
    }

    /// By what a mapping's rows are put into slots: the spec's `route_by`. Default: the key.
    #[must_use]
    pub fn route(mut self, table: impl Into<TableName>, by: RouteBy) -> Self {
        self.routes.insert(table.into(), by);
        self
    }

    /// Where the instance remembers its step, so that it can start while the control plane is away. Without one it can't.
    #[must_use]
    pub fn step_file(mut self, file: StepFile) -> Self {
        self.step_file = Some(file);
        self
    }

    /// What it does when it is out of touch, outside the holds. Default: it serves on.
    #[must_use]
    pub const fn on_silence(mut self, on_silence: OnSilence) -> Self {
        self.member.on_silence = on_silence;
        self
    }

    /// Starts as a new instance that has just registered with this target; `sent` is when the registration was sent, by
    /// the clock of this builder ([`Builder::now`]).
    ///
    /// # Errors
    /// Called outside of a Tokio runtime.
    pub fn register(
        self,
        id: InstanceId,
        target: Target,
        sent: Millis,
    ) -> Result<(Migration, SwitchHandle), NoRuntime> {
        let (member, actions) = Member::registered(id, self.member, self.clock.now(), sent, target);
        self.driven(member, actions)
    }

    /// Starts as the instance that the step file names, whether or not the control plane answers.
    ///
    /// # Errors
    /// Called outside of a Tokio runtime.
    pub fn resume(self, remembered: Remembered) -> Result<(Migration, SwitchHandle), NoRuntime> {
        let (member, actions) = Member::resumed(self.member, self.clock.now(), remembered);
        self.driven(member, actions)
    }

    /// Stays in one phase, without a control plane.
    #[must_use]
    pub fn standalone(self, phase: Phase) -> Migration {
        let target = Target::uniform(Version(1), phase.step(), phase, Millis(500));
        let standing = Standing {
            target: target.into(),
            held_until: None,
            heard_until: None,
            lapses: 0,
            on_silence: OnSilence::StaticStability,
            closed: None,
        };
        self.migration(standing)
    }

    /// Now, by this builder's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    fn driven(
        mut self,
        member: Member,
        actions: Vec<MemberAction>,
    ) -> Result<(Migration, SwitchHandle), NoRuntime> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| NoRuntime)?;
        let file = self.step_file.take();
        let migration = self.migration(member.standing().clone());
        let switch = Arc::clone(&migration.core.switch);
        let events = migration.core.events.clone();
        let (handle, driver) = drive(Parts { member, actions, switch, file, events });
        runtime.spawn(driver);
        Ok((migration, handle))
    }

    fn migration(self, standing: Standing) -> Migration {
        let Self { name, clock, shadow, dirty, redaction, mirror, routes, writes, .. } = self;
        let core = Core {
            router: Router::new(&name, routes),
            switch: Arc::new(Switch::new(standing, clock)),
            registry: Registry::new(shadow.sample_of.clone()),
            samples: Samples::new(shadow.samples_max, redaction),
            events: Events::new(),
            shadow: Shadow::new(shadow, dirty),
            mirror,
            waiting: AtomicUsize::new(0),
            writes,
            name,
        };
        Migration { core: Arc::new(core) }
    }
}
