//! Dual write: the test kit's instances, with the library in them, under this conductor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::engine::{Coverage, Links};
use changeover::switch::SwitchHandle;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::Mirror;
use changeover_protocol::target::Target;
use changeover_protocol::{InstanceId, Share, Side};
use changeover_testkit::memory::{Sabotage, Weather};
use changeover_testkit::random::Random;
use changeover_testkit::simulation::{self as kit, Fleet, KEYS, Plane, Registers, Unheard, WRITE_LIFETIME};
use tokio::task::JoinHandle;

use super::world::{Run, World};
use super::{ALL, Simulated, any_move, rough};
use crate::conductor::Conductor;
use crate::error::ControlError;

/// The conductor as the instances reach it; nobody, while it is dead.
struct Network {
    inner: Mutex<Inner>,
}

struct Inner {
    conductor: Option<Arc<Conductor>>,
    target: Target,
    instances: BTreeMap<InstanceId, SwitchHandle>,
    random: Random,
    slowest: Duration,
}

impl Network {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message's way; `false` if it is lost.
    async fn travel(&self) -> bool {
        let (delay, lost) = {
            let mut inner = self.inner();
            let slowest = inner.slowest;
            (inner.random.between(Duration::ZERO, slowest), inner.random.chance(0.05))
        };
        tokio::time::sleep(delay).await;
        !lost
    }

    /// Offers each target of this conductor to every instance, as its stream of events does.
    fn follow(self: &Arc<Self>, conductor: &Arc<Conductor>) -> JoinHandle<()> {
        let mut targets = conductor.barrier.targets();
        self.inner().conductor = Some(Arc::clone(conductor));
        let network = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let target = targets.borrow_and_update().clone();
                network.inner().target = target.clone();
                for handle in network.inner().instances.values().cloned().collect::<Vec<_>>() {
                    let (network, target) = (Arc::clone(&network), target.clone());
                    tokio::spawn(async move {
                        if network.travel().await {
                            // An instance that is gone hears nothing.
                            let _gone = handle.offer(target).await;
                        }
                    });
                }
                if targets.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

#[async_trait]
impl Plane for Network {
    fn target(&self) -> Target {
        self.inner().target.clone()
    }

    async fn tell(self: Arc<Self>, event: ControlEvent) -> Result<Target, Unheard> {
        if !self.travel().await {
            return Err(Unheard::Lost);
        }
        let conductor = self.inner().conductor.clone().ok_or(Unheard::Lost)?;
        let answer = match conductor.barrier.apply(event, None).await {
            Ok(_) => Ok(conductor.barrier.record().target.clone()),
            Err(ControlError::Protocol(_)) => Err(Unheard::Refused),
            Err(_) => return Err(Unheard::Lost),
        };
        if self.travel().await { answer } else { Err(Unheard::Lost) }
    }

    fn connect(&self, id: InstanceId, handle: SwitchHandle) {
        self.inner().instances.insert(id, handle);
    }

    fn disconnect(&self, id: &InstanceId) {
        self.inner().instances.remove(id);
    }
}

/// A run, and what carries its targets to the instances.
struct Reached<'w> {
    run: Run<'w>,
    network: Arc<Network>,
    following: JoinHandle<()>,
}

impl<'w> Reached<'w> {
    async fn crash(self, random: &mut Random) -> Result<Self, String> {
        let Self { run, network, following } = self;
        network.inner().conductor = None;
        following.abort();
        let run = run.crash(random).await?;
        let following = network.follow(run.conducted());
        Ok(Self { run, network, following })
    }
}

/// One migration, its fleet, and an operator.
pub(super) async fn run(seed: u64) -> Result<Simulated, String> {
    let mut random = Random::new(seed);
    let world = World::new(Sabotage::None, Mirror::DualWrite, ALL)?;
    match migrate(&world, &mut random).await {
        Ok(outcome) => Ok(outcome),
        Err(wrong) => Err(format!("{wrong}\n{}", world.audit().await)),
    }
}

async fn migrate(world: &World, random: &mut Random) -> Result<Simulated, String> {
    world.set_weather(|| rough(random));
    let run = Run::begin(world).await?;
    let inner = Inner {
        conductor: None,
        target: run.record().target.clone(),
        instances: BTreeMap::new(),
        random: random.fork(),
        slowest: Duration::from_millis(*random.pick(&[5, 20, 120])),
    };
    let network = Arc::new(Network { inner: Mutex::new(inner) });
    let following = network.follow(run.conducted());
    let mut reached = Reached { run, network, following };
    let registers = Arc::new(Registers::new(KEYS));
    let plane: Arc<dyn Plane> = Arc::clone(&reached.network) as Arc<dyn Plane>;
    let site = Arc::new(kit::World {
        old: world.old.clone(),
        new: world.new.clone(),
        links: Arc::new(instances_links(world)?),
    });
    let fleet = Fleet::start(2 + random.below(2), &site, &plane, &registers, random);
    let mut outcome = Simulated::default();
    for _ in 0..3 + random.below(5) {
        tokio::time::sleep(random.between(Duration::from_millis(50), Duration::from_secs(1))).await;
        if random.chance(0.2) {
            fleet.crash(random).await;
            outcome.crashes += 1;
        }
        outcome.moves += 1;
        let part = if random.chance(0.3) { Share::percent(40.0).unwrap_or(Share::ALL) } else { Share::ALL };
        if random.chance(0.3) {
            let until = random.between(Duration::ZERO, Duration::from_millis(1_500));
            let _cut_off = tokio::time::timeout(until, any_move(&reached.run, part, random)).await;
            reached = reached.crash(random).await?;
            outcome.crashes += 1;
        } else {
            any_move(&reached.run, part, random).await?;
        }
        reached.run.until_at_rest().await?;
    }
    fleet.stop_traffic().await;
    world.set_weather(Weather::default);
    reached.run.until_at_rest().await?;
    // What a dead instance had sent is over by then.
    tokio::time::sleep(WRITE_LIFETIME).await;
    let place = reached.run.record().place;
    let phase = place.phase;
    world.until_drained(phase).await?;
    (_, outcome.writes, outcome.refused) = registers.counts();
    registers.verdict()?;
    if !place.is_partial() {
        registers.check_rows(&world.rows(phase))?;
    }
    world.are_equal(phase)?;
    reached.following.abort();
    reached.run.end().await;
    Ok(outcome)
}

/// The instances know nothing of the conductor's chunks.
fn instances_links(world: &World) -> Result<Links, String> {
    let links = world.links()?;
    for side in [Side::Old, Side::New] {
        links.cover(side, Coverage::All);
    }
    Ok(links)
}
