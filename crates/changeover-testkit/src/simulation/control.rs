//! The control plane of a simulation: the protocol's machine, its actions carried out over a bad network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::engine::{Backfill, BackfillOptions, Coverage};
use changeover::store::capture::CaptureLog;
use changeover::switch::SwitchHandle;
use changeover_protocol::chunk::Reading;
use changeover_protocol::control::{
    Control, ControlAction, ControlEvent, Generation, Refusal, Settings, Vitals,
};
use changeover_protocol::member::{InstanceId, OnSilence};
use changeover_protocol::moves::Mirror;
use changeover_protocol::place::Phases;
use changeover_protocol::target::{Target, Version};
use changeover_protocol::time::Millis;
use changeover_protocol::{Phase, Side};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::fleet::{Plane, Unheard};
use super::{Broken, WRITE_LIFETIME, World, any_move};
use crate::random::Random;

pub(super) struct ControlPlane {
    world: Arc<World>,
    record: Mutex<Control>,
    inner: Mutex<Inner>,
    broken: Broken,
    started: Instant,
    changed: watch::Sender<u64>,
}

struct Inner {
    random: Random,
    /// The slowest message.
    slowest: Duration,
    instances: BTreeMap<InstanceId, SwitchHandle>,
    backfill: Option<AbortHandle>,
    down: bool,
}

fn settings() -> Settings {
    let phases = [Phase::Old, Phase::Shadow, Phase::ReverseShadow, Phase::New];
    Settings {
        mirror: Mirror::DualWrite,
        phases: Phases::from_list(&phases).expect("a list in order"),
        hold_budget_ms: Millis(2_000),
        hold_lease_ms: Millis(500),
        write_lifetime_ms: Millis(WRITE_LIFETIME.as_millis() as u64),
        patience_ms: Millis(20_000),
        on_silence: OnSilence::StaticStability,
        forget_after_ms: None,
    }
}

impl ControlPlane {
    pub(super) fn start(world: Arc<World>, mut random: Random, broken: Broken) -> Arc<Self> {
        let slowest = Duration::from_millis(*random.pick(&[5, 20, 120]));
        let inner = Inner { random, slowest, instances: BTreeMap::new(), backfill: None, down: false };
        let plane = Arc::new(Self {
            world,
            record: Mutex::new(Control::new(settings(), Millis(0))),
            inner: Mutex::new(inner),
            broken,
            started: Instant::now(),
            changed: watch::Sender::new(0),
        });
        let ticking = Arc::clone(&plane);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(25)).await;
                if !ticking.inner().down {
                    // A tick that is refused has nothing to say.
                    let _refused = ticking.apply(ControlEvent::Tick);
                }
            }
        });
        plane
    }

    fn now(&self) -> Millis {
        Millis(self.started.elapsed().as_millis() as u64)
    }

    fn record(&self) -> MutexGuard<'_, Control> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        self.record().place.phase
    }

    /// Whether no generation is under way.
    pub(super) fn backfilled(&self) -> bool {
        self.record().backfill.is_none_or(|backfill| backfill.done)
    }

    pub(super) fn next_move(&self, random: &mut Random) -> (ControlEvent, Phase) {
        let record = self.record();
        let (phase, phases) = (record.place.phase, record.settings.phases);
        any_move(phase, phases.after(phase), phases.before(phase), random)
    }

    /// A delay of the network.
    pub(super) async fn travel(&self) -> bool {
        let (delay, lost) = {
            let mut inner = self.inner();
            let slowest = inner.slowest;
            (inner.random.between(Duration::ZERO, slowest), inner.random.chance(0.05))
        };
        tokio::time::sleep(delay).await;
        !lost
    }

    /// The control plane goes away, with its backfill, and comes back with its record.
    pub(super) async fn restart(self: &Arc<Self>, away: Duration) {
        {
            let mut inner = self.inner();
            inner.down = true;
            if let Some(backfill) = inner.backfill.take() {
                backfill.abort();
            }
        }
        tokio::time::sleep(away).await;
        self.inner().down = false;
        let _refused = self.apply(ControlEvent::Restarted);
    }

    /// Answers when no move is under way and no backfill; with the phase.
    pub(super) async fn until_at_rest(&self) -> Phase {
        let mut changed = self.changed.subscribe();
        let _ended = changed
            .wait_for(|_| {
                let record = self.record();
                record.shift.is_none() && record.backfill.is_none_or(|backfill| backfill.done)
            })
            .await;
        self.phase()
    }

    fn apply(self: &Arc<Self>, event: ControlEvent) -> Result<(), Refusal> {
        let actions = {
            let mut record = self.record();
            let change = record.apply(self.now(), event)?;
            *record = change.next;
            change.actions
        };
        self.changed.send_modify(|n| *n += 1);
        actions.into_iter().for_each(|action| self.carry_out(action));
        Ok(())
    }

    fn carry_out(self: &Arc<Self>, action: ControlAction) {
        match action {
            ControlAction::Publish(target) => self.publish(&target),
            ControlAction::BeginGeneration { generation, toward, .. } => self.fill(generation, toward),
            ControlAction::EndGeneration { generation } => {
                if let Some(backfill) = self.inner().backfill.take() {
                    backfill.abort();
                }
                let follower = self.target().keyless_step().authority().other();
                if self.world.links.coverage(follower) == Coverage::Generation(generation.0) {
                    self.world.links.cover(follower, Coverage::Nothing);
                }
            }
            ControlAction::CheckSync { version } => self.check_sync(version),
            ControlAction::DrainWayBack => {
                let plane = Arc::clone(self);
                tokio::spawn(async move { plane.apply(ControlEvent::WayBackDrained) });
            }
            // Without a fence in the stores, an operator who reads, or a step file.
            _ => {}
        }
    }

    fn publish(self: &Arc<Self>, target: &Target) {
        let handles = self.inner().instances.clone();
        for (id, handle) in handles {
            let (plane, target) = (Arc::clone(self), target.clone());
            tokio::spawn(async move {
                if plane.broken == Broken::ForgedAcknowledgements {
                    let (version, vitals) = (target.version, Vitals::default());
                    let _late = plane.apply(ControlEvent::Acknowledge { id, version, vitals });
                }
                if plane.travel().await {
                    // An instance that is gone hears nothing.
                    let _gone = handle.offer(target).await;
                }
            });
        }
    }

    fn fill(self: &Arc<Self>, generation: Generation, toward: Side) {
        self.world.links.cover(toward, Coverage::Generation(generation.0));
        self.world.links.cover(toward.other(), Coverage::All);
        let plane = Arc::clone(self);
        let filling = tokio::spawn(async move {
            let options = BackfillOptions {
                chunk_rows_max: 5,
                reading: Some(Reading::Logged),
                ..BackfillOptions::default()
            };
            loop {
                let links = Arc::clone(&plane.world.links);
                let (backfill, _handle) = Backfill::new(links, toward, generation.0, options.clone());
                match backfill.run().await {
                    Ok(_) => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            let _refused = plane.apply(ControlEvent::GenerationDone { generation });
        });
        if let Some(before) = self.inner().backfill.replace(filling.abort_handle()) {
            before.abort();
        }
    }

    fn check_sync(self: &Arc<Self>, version: Version) {
        let plane = Arc::clone(self);
        tokio::spawn(async move {
            let mut dirty = 0;
            for store in [&plane.world.old, &plane.world.new] {
                match store.depth().await {
                    Ok(depth) => dirty += depth.entries,
                    // Asked again with the next tick.
                    Err(_) => return,
                }
            }
            // After the logs: whoever is at work still may hold what one of them said before.
            for side in [Side::Old, Side::New] {
                if plane.broken != Broken::WorkersForgotten {
                    dirty += plane.world.links.under_way(side);
                }
            }
            if plane.broken == Broken::NotDrained {
                dirty = 0;
            }
            let backfill_under_way = !plane.backfilled();
            let _late = plane.apply(ControlEvent::KeysInSync { version, dirty, backfill_under_way });
        });
    }
}

#[async_trait]
impl Plane for ControlPlane {
    fn target(&self) -> Target {
        self.record().target.clone()
    }

    async fn tell(self: Arc<Self>, event: ControlEvent) -> Result<Target, Unheard> {
        if !self.travel().await || self.inner().down {
            return Err(Unheard::Lost);
        }
        let refused = self.apply(event);
        let target = self.target();
        if !self.travel().await {
            return Err(Unheard::Lost);
        }
        refused.map(|()| target).map_err(|_| Unheard::Refused)
    }

    fn connect(&self, id: InstanceId, handle: SwitchHandle) {
        self.inner().instances.insert(id, handle);
    }

    fn disconnect(&self, id: &InstanceId) {
        self.inner().instances.remove(id);
    }

    fn broken(&self) -> Broken {
        self.broken
    }
}
