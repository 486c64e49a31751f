//! A whole migration under simulated time: the protocol's controller, instances with the real library in them, the real
//! engine, two stores in memory; with messages that are late or lost, stores that fail, instances that crash, a control
//! plane that restarts, and an operator who changes their mind.
//!
//! Everything is decided by one seed, on one thread, with a clock that stands still until everybody waits. A [`Broken`]
//! variant is made by this harness alone (a meddling store, forged acknowledgements): the product has no switch for it,
//! and the checks must find each of them.

mod control;
mod doomed;
mod fleet;
mod register;

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{Coverage, Drain, DrainOptions, Links, Pair};
use changeover::store::Store;
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::place::Share;
use changeover_protocol::{Phase, Side};

use self::control::ControlPlane;
pub use self::fleet::{Fleet, Plane, Unheard};
pub use self::register::{Registers, row};
use crate::memory::{Mapping, MemoryStore, MemoryTable, Sabotage, Weather};
use crate::random::Random;

/// The table of the simulated service.
pub const TABLE: &str = "registers";
/// How many keys it has.
pub const KEYS: u64 = 24;
/// How long a write whose outcome isn't known may live.
pub const WRITE_LIFETIME: Duration = Duration::from_millis(1_500);

/// A rule that the harness breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// None: everything must hold.
    Nothing,
    /// Claims are deleted as they are taken, before the follower has committed.
    ClaimsDeletedFirst,
    /// Guards exclude nobody.
    NoGuard,
    /// The authority is read as it was a moment ago, as from a replica.
    LaggingReads,
    /// Acknowledgements are forged: the barrier waits for nobody.
    ForgedAcknowledgements,
    /// The controller is told that no key is dirty, without a look.
    NotDrained,
    /// The controller looks at the logs alone, not at workers that hold what a log has forgotten.
    WorkersForgotten,
    /// A write that has looked at the target goes on by what it saw, though it is counted only after the target has changed:
    /// what the switch's second look is there for.
    NotLookedAgain,
}

impl Broken {
    /// Every variant that must be found broken.
    pub const ALL: [Self; 7] = [
        Self::ClaimsDeletedFirst,
        Self::NoGuard,
        Self::LaggingReads,
        Self::ForgedAcknowledgements,
        Self::NotDrained,
        Self::WorkersForgotten,
        Self::NotLookedAgain,
    ];

    const fn sabotage(self) -> Sabotage {
        match self {
            Self::ClaimsDeletedFirst => Sabotage::ClaimsDeletedFirst,
            Self::NoGuard => Sabotage::NoGuard,
            Self::LaggingReads => Sabotage::LaggingReads,
            Self::Nothing
            | Self::ForgedAcknowledgements
            | Self::NotDrained
            | Self::WorkersForgotten
            | Self::NotLookedAgain => Sabotage::None,
        }
    }
}

/// What a simulation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Operations that were refused, or whose outcome isn't known.
    pub refused: u64,
    /// Moves that arrived.
    pub moves: u64,
    /// Moves that went back by themselves.
    pub turned: u64,
    /// Instances that crashed.
    pub crashes: u64,
    /// Keys that stood in a log when the traffic ended.
    pub drained: u64,
    /// Stands for every operation in its order, with its time and what came of it: the same seed, the same trace.
    pub trace: u64,
}

/// Runs one simulation to its end.
///
/// # Errors
/// What was found wrong: a stale read, a lost write, sides that differ at rest, or no progress.
pub fn simulate(seed: u64, broken: Broken) -> Result<Simulated, String> {
    // On a thread of its own: what an earlier simulation left in the thread (as a sampler's count) has no say.
    std::thread::scope(|scope| scope.spawn(|| on_this_thread(seed, broken)).join())
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
}

fn on_this_thread(seed: u64, broken: Broken) -> Result<Simulated, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        /// Of simulated time: a run that takes longer makes no progress.
        const PATIENCE: Duration = Duration::from_secs(900);
        match tokio::time::timeout(PATIENCE, run(seed, broken)).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no progress: the simulation didn't come to its end".into()),
        }
    })
}

/// The two stores of a simulation, as the instances know them.
pub struct World {
    /// The old side.
    pub old: MemoryStore,
    /// The new side.
    pub new: MemoryStore,
    /// By which the instances level what they write.
    pub links: Arc<Links>,
}

impl World {
    fn new(broken: Broken) -> Result<Self, String> {
        let table = || MemoryTable::new(Mapping::alike(TABLE, &["id", "version"]));
        let (old, new) =
            (MemoryStore::new(Side::Old, vec![table()]), MemoryStore::new(Side::New, vec![table()]));
        for store in [&old, &new] {
            store.sabotage(broken.sabotage());
        }
        let pair = Pair {
            table: TABLE.into(),
            old: Arc::new(old.clone()) as Arc<dyn Store>,
            new: Arc::new(new.clone()),
            rules: Vec::new(),
        };
        let links = Arc::new(Links::new(vec![pair]).map_err(|error| error.to_string())?);
        links.cover(Side::New, Coverage::Nothing);
        Ok(Self { old, new, links })
    }

    /// The store of a side.
    #[must_use]
    pub fn store(&self, side: Side) -> &MemoryStore {
        if side == Side::Old { &self.old } else { &self.new }
    }
}

async fn run(seed: u64, broken: Broken) -> Result<Simulated, String> {
    let mut random = Random::new(seed);
    let world = Arc::new(World::new(broken)?);
    let registers = Arc::new(Registers::new(KEYS));
    for key in 0..KEYS {
        world.old.damage_put(TABLE, row(key, 0));
    }
    for store in [&world.old, &world.new] {
        let options = CaptureOptions { bound: 1_000_000, overflow: false };
        store.install(options).await.map_err(|error| error.to_string())?;
    }
    let failing = if random.chance(0.5) { 0.02 } else { 0.0 };
    let slowest = Duration::from_millis(*random.pick(&[5, 5, 40]));
    for store in [&world.old, &world.new] {
        let latency = Some((Duration::ZERO, slowest));
        let stalling = (0.01, Duration::from_millis(600));
        store.set_weather(Weather { latency, stalling, ..Weather::rough(random.bits(), failing) });
    }
    let control = ControlPlane::start(Arc::clone(&world), random.fork(), broken);
    for side in [Side::Old, Side::New] {
        let source: Arc<dyn Store> = Arc::new(world.store(side).clone());
        let options = DrainOptions { batch: 4, ..DrainOptions::default() };
        let (drain, _handle) =
            Drain::new(Arc::clone(&world.links), source, options).map_err(|error| error.to_string())?;
        tokio::spawn(drain.run());
    }
    let instances = 2 + random.below(2);
    let plane: Arc<dyn Plane> = Arc::clone(&control) as Arc<dyn Plane>;
    let fleet = Fleet::start(instances, &world, &plane, &registers, &mut random);
    let mut outcome = Simulated::default();
    operate(&control, &fleet, &mut random, &mut outcome).await;
    fleet.stop_traffic().await;
    calm(&world, &control).await;
    outcome.drained = (world.old.logged().len() + world.new.logged().len()) as u64;
    at_rest(&world, &control).await?;
    (outcome.reads, outcome.writes, outcome.refused) = registers.counts();
    outcome.trace = registers.trace();
    registers.verdict()?;
    compare(&world, &control, &registers)?;
    Ok(outcome)
}

/// The operator: moves there and back, while instances crash and the control plane is away.
async fn operate(control: &Arc<ControlPlane>, fleet: &Fleet, random: &mut Random, outcome: &mut Simulated) {
    let moves = 4 + random.below(5);
    for _ in 0..moves {
        tokio::time::sleep(random.between(Duration::from_millis(50), Duration::from_millis(600))).await;
        if random.chance(0.25) {
            fleet.crash(random).await;
            outcome.crashes += 1;
        }
        if random.chance(0.2) {
            control.restart(random.between(Duration::ZERO, Duration::from_millis(400))).await;
        }
        let (event, to) = control.next_move(random);
        if Arc::clone(control).tell(event).await.is_err() {
            continue;
        }
        // In mid-move, too.
        if random.chance(0.15) {
            tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(80))).await;
            fleet.crash(random).await;
            outcome.crashes += 1;
        }
        if control.until_at_rest().await == to {
            outcome.moves += 1;
        } else {
            outcome.turned += 1;
        }
    }
}

async fn calm(world: &World, control: &Arc<ControlPlane>) {
    world.old.set_weather(Weather::default());
    world.new.set_weather(Weather::default());
    control.until_at_rest().await;
}

/// Waits until every log is empty, where the mirror is at work.
async fn at_rest(world: &World, control: &ControlPlane) -> Result<(), String> {
    // What a crashed instance left behind in a server is over by then.
    tokio::time::sleep(WRITE_LIFETIME).await;
    for _ in 0..10_000 {
        if world.old.logged().is_empty() && world.new.logged().is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!(
        "in {:?} the logs aren't drained: {:?} {:?}",
        control.phase(),
        world.old.logged(),
        world.new.logged()
    ))
}

/// At rest every acknowledged write is on the authority, and the sides are equal where they are kept in step.
fn compare(world: &World, control: &ControlPlane, registers: &Registers) -> Result<(), String> {
    let phase = control.phase();
    let authority = phase.step().authority();
    let rows = world.store(authority).raw_rows(TABLE);
    registers.check_rows(&rows)?;
    if phase.step().is_mirrored() && control.backfilled() {
        let (old, new) = (world.old.raw_rows(TABLE), world.new.raw_rows(TABLE));
        if old != new {
            return Err(format!("in {phase} the sides differ at rest: {old:?} {new:?}"));
        }
    }
    Ok(())
}

/// The next thing that an operator asks for.
fn any_move(
    phase: Phase,
    next: Option<Phase>,
    before: Option<Phase>,
    random: &mut Random,
) -> (ControlEvent, Phase) {
    let back = random.chance(0.35);
    match (next.filter(|next| *next != Phase::Retired && !back), before) {
        (Some(next), _) => {
            let share = if next == Phase::ReverseShadow && random.chance(0.3) {
                Share::percent(40.0).unwrap_or(Share::ALL)
            } else {
                Share::ALL
            };
            (ControlEvent::Advance { to: next, share }, next)
        }
        (None, Some(before)) => {
            (ControlEvent::Rollback { to: before, share: Share::ALL, leave_behind: false }, before)
        }
        (None, None) => (ControlEvent::Advance { to: Phase::Shadow, share: Share::ALL }, phase),
    }
}
