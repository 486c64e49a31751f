//! The instances of a simulation: each the real library, a heartbeat, and clients.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::clock::RuntimeClock;
use changeover::engine::TableMirror;
use changeover::mirror::Mirror as _;
use changeover::switch::SwitchHandle;
use changeover::write::Ack;
use changeover::{Migration, Refused};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::member::InstanceId;
use changeover_protocol::target::Target;
use changeover_protocol::{Side, Writes};
use tokio::task::AbortHandle;

use super::doomed::{DoomedMirror, Life};
use super::register::{Registers, key, row, version};
use super::{Broken, KEYS, TABLE, WRITE_LIFETIME, World};
use crate::random::Random;

/// Why nothing came of a message to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// The control plane is away, or the message or its answer was lost.
    Lost,
    /// It was refused: nothing has changed.
    Refused,
}

/// The control plane as the instances know it: over a network that delays and loses.
#[async_trait]
pub trait Plane: Send + Sync + 'static {
    /// The target as it was last published.
    fn target(&self) -> Target;

    /// A message, and the present target as its answer.
    async fn tell(self: Arc<Self>, event: ControlEvent) -> Result<Target, Unheard>;

    /// From now on each new target is offered to this instance.
    fn connect(&self, id: InstanceId, handle: SwitchHandle);

    /// It is gone.
    fn disconnect(&self, id: &InstanceId);

    /// What the harness breaks.
    fn broken(&self) -> Broken {
        Broken::Nothing
    }
}

/// Clients of one instance.
const CLIENTS: u64 = 4;

/// All instances. Dropping it stops none of them.
pub struct Fleet {
    shared: Arc<Shared>,
    seats: Mutex<Vec<Seat>>,
}

struct Shared {
    world: Arc<World>,
    control: Arc<dyn Plane>,
    registers: Arc<Registers>,
    seats: u64,
    stopped: AtomicBool,
    working: AtomicU64,
    named: AtomicU64,
    ack: Ack,
}

/// The place of one instance: its keys are its successor's after a crash.
struct Seat {
    number: u64,
    id: InstanceId,
    tasks: Vec<AbortHandle>,
    life: Life,
}

/// What a closure of the simulated service answers.
enum Failed {
    Refused,
    Store,
}

impl From<Refused> for Failed {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

impl Fleet {
    /// Starts so many instances, each with its clients.
    pub fn start(
        seats: u64,
        world: &Arc<World>,
        control: &Arc<dyn Plane>,
        registers: &Arc<Registers>,
        random: &mut Random,
    ) -> Self {
        let shared = Arc::new(Shared {
            world: Arc::clone(world),
            control: Arc::clone(control),
            registers: Arc::clone(registers),
            seats,
            stopped: AtomicBool::new(false),
            working: AtomicU64::new(0),
            named: AtomicU64::new(0),
            ack: if random.chance(0.5) { Ack::Both } else { Ack::Authority },
        });
        let seats = (0..seats).map(|number| shared.seat(number, Duration::ZERO, random)).collect();
        Self { shared, seats: Mutex::new(seats) }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One instance dies: what it had sent to the stores may still be carried out. Somebody says that it is gone, and
    /// another takes its place.
    pub async fn crash(&self, random: &mut Random) {
        let at = random.below(self.shared.seats) as usize;
        let (number, id) = {
            let mut seats = self.seats();
            let seat = &mut seats[at];
            seat.life.end();
            seat.tasks.drain(..).for_each(|task| task.abort());
            (seat.number, seat.id.clone())
        };
        self.shared.control.disconnect(&id);
        tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(200))).await;
        while let Err(Unheard::Lost) =
            Arc::clone(&self.shared.control).tell(ControlEvent::Forget { id: id.clone() }).await
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Its keys have no other writer before the last of its writes is over.
        let seat = self.shared.seat(number, WRITE_LIFETIME, random);
        self.seats()[at] = seat;
    }

    /// Clients begin nothing more; answers when all have ended.
    pub async fn stop_traffic(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        while self.shared.working.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Shared {
    fn seat(self: &Arc<Self>, number: u64, first_write_after: Duration, random: &mut Random) -> Seat {
        let id = InstanceId::new(format!("i{}", self.named.fetch_add(1, Ordering::SeqCst)));
        let life = Life::new();
        let (shared, own, lives, mut random) = (Arc::clone(self), id.clone(), life.clone(), random.fork());
        let clients = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&clients);
        let task = tokio::spawn(async move {
            shared.live(number, own, lives, first_write_after, &started, &mut random).await;
        });
        let guard = tokio::spawn(async move {
            // Aborted with its seat; then the clients are, too.
            let _end = AbortAll(clients);
            std::future::pending::<()>().await;
        });
        Seat { number, id, tasks: vec![task.abort_handle(), guard.abort_handle()], life }
    }

    /// Registers, begins the clients, and says how it is.
    async fn live(
        self: &Arc<Self>,
        number: u64,
        id: InstanceId,
        life: Life,
        first_write_after: Duration,
        clients: &Mutex<Vec<AbortHandle>>,
        random: &mut Random,
    ) {
        let clock = RuntimeClock::start();
        let builder = || {
            Migration::builder("simulation")
                .clock(clock)
                .dual_write(Arc::new(DoomedMirror {
                    inner: TableMirror::new(Arc::clone(&self.world.links)),
                    life: life.clone(),
                }))
                .ack(self.ack)
                .write_lifetime(WRITE_LIFETIME)
        };
        let (migration, handle) = loop {
            let expected = self.control.target();
            let sent = builder().now();
            let register = ControlEvent::Register { id: id.clone(), expected: expected.version };
            match Arc::clone(&self.control).tell(register).await {
                Ok(target) if target.version == expected.version => {
                    break builder().register(id.clone(), target, sent).expect("within a runtime");
                }
                // Whether a lost registration was taken is found out by a heartbeat's answer.
                Ok(_) | Err(Unheard::Lost | Unheard::Refused) => {
                    let _unknown =
                        Arc::clone(&self.control).tell(ControlEvent::Goodbye { id: id.clone() }).await;
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
            }
        };
        self.control.connect(id.clone(), handle.clone());
        for client in 0..CLIENTS {
            let (shared, migration, random) = (Arc::clone(self), migration.clone(), random.fork());
            let life = life.clone();
            let task = tokio::spawn(async move {
                let working = Working::begin(Arc::clone(&shared));
                tokio::time::sleep(first_write_after).await;
                shared.client(&migration, &life, number, client, random).await;
                drop(working);
            });
            clients.lock().unwrap_or_else(PoisonError::into_inner).push(task.abort_handle());
        }
        self.beat(&migration, &handle, id).await;
    }

    async fn beat(self: &Arc<Self>, migration: &Migration, handle: &SwitchHandle, id: InstanceId) {
        let mut acknowledged = handle.acknowledged();
        loop {
            let (sent, acked, vitals) = (handle.now(), *acknowledged.borrow_and_update(), migration.vitals());
            match Arc::clone(&self.control)
                .tell(ControlEvent::Heartbeat { id: id.clone(), acked, vitals })
                .await
            {
                Ok(target) => {
                    let _ended = handle.answered(sent, target).await;
                }
                Err(Unheard::Refused) => {
                    let _ended = handle.rejected().await;
                }
                Err(Unheard::Lost) => {}
            }
            let _timeout = tokio::time::timeout(Duration::from_millis(50), acknowledged.changed()).await;
        }
    }

    /// Writes its own keys, reads all.
    async fn client(
        self: &Arc<Self>,
        migration: &Migration,
        life: &Life,
        seat: u64,
        client: u64,
        mut random: Random,
    ) {
        while !self.stopped.load(Ordering::SeqCst) {
            tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(30))).await;
            if random.chance(0.5) {
                let own: Vec<u64> = (0..KEYS)
                    .filter(|id| id % self.seats == seat && id / self.seats % CLIENTS == client)
                    .collect();
                if !own.is_empty() {
                    let id = *random.pick(&own);
                    self.write(migration, life, id, &mut random).await;
                }
            } else {
                let id = random.below(KEYS);
                self.read(migration, id, &mut random).await;
            }
        }
    }

    async fn write(self: &Arc<Self>, migration: &Migration, life: &Life, id: u64, random: &mut Random) {
        let version = self.registers.begin_write(id);
        let world = Arc::clone(&self.world);
        let life = life.clone();
        // What was sent may be carried out though its sender is dead: some is, and late; some never arrives.
        let arrives = random.chance(0.5);
        let delay = match random.chance(0.03) {
            true => random.between(Duration::ZERO, WRITE_LIFETIME / 2),
            false => random.between(Duration::ZERO, Duration::from_millis(10)),
        };
        if self.control.broken() == Broken::NotLookedAgain
            && let Some(step) = migration.standing().target.uniform_step()
            && step.plan().writes != Writes::Held
        {
            // The thread may be paused between the look and the count.
            let paused = random.between(Duration::ZERO, Duration::from_millis(300));
            self.write_as_seen(step.plan().writes, &life, id, version, delay + paused).await;
            return;
        }
        let written = migration
            .write("register.put", key(id))
            .run(move |side: Side| async move {
                let sent = async {
                    tokio::time::sleep(delay).await;
                    world.store(side).put(TABLE, row(id, version)).await.map_err(|_| Failed::Store)
                };
                let answer = if arrives { sent.await } else { life.or_never(sent).await };
                life.or_never(std::future::ready(answer)).await
            })
            .await;
        match written {
            Ok(()) => self.registers.acknowledged(id, version),
            Err(Failed::Refused | Failed::Store) => {
                self.registers.refused();
                // It may be carried out still; the key's next write must not be overtaken by it.
                tokio::time::sleep(WRITE_LIFETIME).await;
            }
        }
    }

    /// What the switch would do without its second look: nobody counts this write among those begun under the target that
    /// it has seen.
    async fn write_as_seen(&self, seen: Writes, life: &Life, id: u64, version: u64, delay: Duration) {
        let (side, mirrored) = match seen {
            Writes::To(side) => (side, false),
            Writes::Mirrored(side) => (side, true),
            Writes::Held => return,
        };
        let write = async {
            tokio::time::sleep(delay).await;
            self.world.store(side).put(TABLE, row(id, version)).await.map_err(|_| Failed::Store)?;
            if mirrored && self.ack == Ack::Both {
                let mirror = TableMirror::new(Arc::clone(&self.world.links));
                mirror.level(side, &[key(id)]).await.map_err(|_| Failed::Store)?;
            }
            Ok::<_, Failed>(())
        };
        match life.or_never(write).await {
            Ok(()) => self.registers.acknowledged(id, version),
            Err(_) => {
                self.registers.refused();
                tokio::time::sleep(WRITE_LIFETIME).await;
            }
        }
    }

    async fn read(self: &Arc<Self>, migration: &Migration, id: u64, random: &mut Random) {
        let least = self.registers.begin_read(id);
        let world = Arc::clone(&self.world);
        let delay = random.between(Duration::ZERO, Duration::from_millis(5));
        let read: Result<(u64, Side), Failed> = migration
            .read("register.get", key(id))
            .compare(|a: &(u64, Side), b: &(u64, Side)| a.0 == b.0)
            .run(move |side: Side| {
                let world = Arc::clone(&world);
                async move {
                    tokio::time::sleep(delay).await;
                    Ok::<_, Failed>((version(world.store(side).raw_row(&key(id)).as_ref()), side))
                }
            })
            .await;
        match read {
            Ok((seen, side)) => self.registers.read(id, least, seen, side.name()),
            Err(_) => self.registers.refused(),
        }
    }
}

/// Aborts the clients of an instance with it.
struct AbortAll(Arc<Mutex<Vec<AbortHandle>>>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

/// Counts a client that is at work, however it ends.
struct Working(Arc<Shared>);

impl Working {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.working.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}
