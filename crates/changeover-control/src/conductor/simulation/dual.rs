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

/// By then the instances have spoken, and an older state is noticed.
const NOTICED: Duration = Duration::from_secs(8);

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
        let (network, of_run) = (Arc::clone(self), Arc::clone(conductor));
        tokio::spawn(async move {
            loop {
                let target = targets.borrow_and_update().clone();
                network.inner().target = target.clone();
                let instances: Vec<_> = network
                    .inner()
                    .instances
                    .iter()
                    .map(|(id, handle)| (id.clone(), handle.clone()))
                    .collect();
                for (id, handle) in instances {
                    // As one who listens does before its beat was answered: it passes over what it is told.
                    let acked = *handle.acknowledged().borrow();
                    if of_run.believed(&id.to_string(), acked).await.is_err() {
                        continue;
                    }
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
        let acked = match &event {
            ControlEvent::Heartbeat { id, acked, .. }
            | ControlEvent::Acknowledge { id, version: acked, .. } => Some((id.to_string(), *acked)),
            _ => None,
        };
        if let Some((id, acked)) = acked
            && conductor.believed(&id, acked).await.is_err()
        {
            return Err(Unheard::Lost);
        }
        conductor.instances_heard().await;
        if conductor.stopped().is_some() {
            return Err(Unheard::Lost);
        }
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

impl<'w> Reached<'w> {
    /// Dies, and somebody puts an older state in the place of the last one; an operator tries to move all the same. Where it
    /// is noticed, the right state is put back; where it isn't, the older one is as good, but for the instances that are gone
    /// and that it counts again.
    async fn crash_with_older_state(self, random: &mut Random) -> Result<Self, String> {
        let world = self.run.world();
        let Some(last) = world.put_back()? else { return self.crash(random).await };
        let reached = self.crash(random).await?;
        if random.chance(0.5) {
            let _refused = tokio::time::timeout(NOTICED, any_move(&reached.run, Share::ALL, random)).await;
        }
        tokio::time::sleep(NOTICED).await;
        if reached.run.conductor().stopped().is_none() {
            reached.forget_the_gone().await;
            return Ok(reached);
        }
        drop(world.replace_state(last));
        let reached = reached.crash(random).await?;
        // Somebody who came meanwhile knows what the older one's run published, and shows it to this one.
        tokio::time::sleep(NOTICED).await;
        if reached.run.conductor().stopped().is_some() {
            reached.adopt().await?;
        }
        reached.forget_the_gone().await;
        Ok(reached)
    }

    /// Takes the databases' word; where they don't tell, the phase that the right state says.
    async fn adopt(&self) -> Result<(), String> {
        let conductor = self.run.conductor();
        let told = conductor.adopt().await;
        let adopted = match told {
            Err(ControlError::Refused(_)) => conductor.adopt_in(Some(self.run.record().place.phase)).await,
            told => told,
        };
        adopted.map(drop).map_err(|error| format!("it can't be adopted: {error}"))
    }

    async fn forget_the_gone(&self) {
        let gone: Vec<String> = {
            let inner = self.network.inner();
            let record = self.run.record();
            let known = record.instances.keys();
            known.filter(|id| !inner.instances.contains_key(id)).map(ToString::to_string).collect()
        };
        for id in gone {
            // It may have been forgotten meanwhile.
            let _known = self.run.conductor().forget(&id).await;
        }
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
            reached = if random.chance(0.3) {
                reached.crash_with_older_state(random).await?
            } else {
                reached.crash(random).await?
            };
            outcome.crashes += 1;
        } else {
            any_move(&reached.run, part, random).await?;
        }
        reached.run.until_at_rest().await?;
        if random.chance(0.4) {
            world.back_up()?;
        }
    }
    fleet.stop_traffic().await;
    world.set_weather(Weather::default);
    reached.run.until_at_rest().await?;
    // What a dead instance had sent is over by then.
    tokio::time::sleep(WRITE_LIFETIME).await;
    let place = reached.run.record().place;
    let phase = place.phase;
    reached.run.until_verified().await?;
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
