//! Whole migrations under simulated time: this conductor, over two stores in memory whose answers are late, lost, or never
//! come; applications that know of nothing but a flag, and look at it late, or instances with the library in them; a control
//! plane that dies at any moment and begins anew, without its state if need be; and an operator who changes their mind.
//!
//! One seed decides the weather, the traffic, the moves and the crashes; the clock stands still until everybody waits. What
//! must hold: no acknowledged write is lost, the sides are equal at rest, every move comes to an end, and the state and the
//! stores never disagree. [`Broken`] variants are made by the harness alone, and must be found.
//!
//! `CHANGEOVER_SEEDS=N` and `CHANGEOVER_START=S` choose the seeds; dual write, which takes longer, gets a tenth of them.

mod clients;
mod dual;
mod world;

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use changeover_protocol::moves::Mirror;
use changeover_protocol::{Phase, Share, Side};
use changeover_testkit::memory::{Sabotage, Weather};
use changeover_testkit::random::Random;
use tokio::time::Instant;

use self::clients::Clients;
use self::world::{Run, World};
use crate::error::ControlError;

/// What the harness breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The fence refuses nobody.
    NoFence,
    /// Entries of the log are deleted as they are claimed, before they are synced.
    ClaimsDeletedFirst,
    /// The authority is read as it was a moment ago, as from a replica.
    LaggingReads,
}

impl Broken {
    const fn sabotage(self) -> Sabotage {
        match self {
            Self::Nothing => Sabotage::None,
            Self::NoFence => Sabotage::NoFence,
            Self::ClaimsDeletedFirst => Sabotage::ClaimsDeletedFirst,
            Self::LaggingReads => Sabotage::LaggingReads,
        }
    }
}

/// What one simulation went through.
#[derive(Debug, Clone, Copy, Default)]
struct Simulated {
    writes: u64,
    refused: u64,
    moves: u64,
    crashes: u64,
}

const ALL: &str = r#"["old", "shadow", "reverse-shadow", "new"]"#;
const LEFT_OUT: [&str; 3] =
    [r#"["old", "new"]"#, r#"["old", "shadow", "new"]"#, r#"["old", "reverse-shadow", "new"]"#];

/// Of simulated time: whoever takes longer makes no progress.
const PATIENCE: Duration = Duration::from_secs(600);

fn simulate(seed: u64, broken: Broken) -> Result<Simulated, String> {
    alone(run(seed, broken))
}

/// On a thread and under a clock of its own.
fn alone(simulation: impl Future<Output = Result<Simulated, String>>) -> Result<Simulated, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(simulation)
}

async fn run(seed: u64, broken: Broken) -> Result<Simulated, String> {
    let mut random = Random::new(seed);
    let phases = if random.chance(0.6) { ALL } else { *random.pick(&LEFT_OUT) };
    let world = World::new(broken.sabotage(), Mirror::Capture, phases)?;
    match migrate(&world, &mut random).await {
        Ok(outcome) => Ok(outcome),
        Err(wrong) => Err(format!("{wrong}\n{}", world.audit().await)),
    }
}

async fn migrate(world: &World, random: &mut Random) -> Result<Simulated, String> {
    world.set_weather(|| rough(random));
    let mut run = Run::begin(world).await?;
    let clients = Clients::start(world, random);
    let mut outcome = Simulated::default();
    for _ in 0..3 + random.below(5) {
        tokio::time::sleep(random.between(Duration::from_millis(50), Duration::from_secs(1))).await;
        if random.chance(0.15) {
            run = run.crash(random).await?;
            outcome.crashes += 1;
        }
        outcome.moves += 1;
        if random.chance(0.35) {
            // Somewhere within it.
            let until = random.between(Duration::ZERO, Duration::from_millis(1_500));
            let _cut_off = tokio::time::timeout(until, any_move(&run, Share::ALL, random)).await;
            run = run.crash(random).await?;
            outcome.crashes += 1;
        } else {
            any_move(&run, Share::ALL, random).await?;
        }
        run.until_at_rest().await?;
        if random.chance(0.4) {
            world.back_up()?;
        }
    }
    let traffic = clients.stop().await?;
    (outcome.writes, outcome.refused) = (traffic.writes, traffic.refused);
    world.set_weather(Weather::default);
    run.until_at_rest().await?;
    run.until_verified().await?;
    let phase = run.record().place.phase;
    world.until_drained(phase).await?;
    world.compare(phase, &traffic.rows)?;
    world.no_difference_was_found().await?;
    run.end().await;
    Ok(outcome)
}

fn rough(random: &mut Random) -> Weather {
    let failing = if random.chance(0.5) { 0.02 } else { 0.0 };
    let slowest = Duration::from_millis(*random.pick(&[5, 5, 40]));
    let stalling = (0.01, Duration::from_millis(600));
    let latency = Some((Duration::ZERO, slowest));
    Weather { latency, stalling, ..Weather::rough(random.bits(), failing) }
}

/// One move, as an operator makes it: back, or forward as soon as the gates are open, for this share of the keys where the
/// next phase has shares. What is refused is no harm.
async fn any_move(run: &Run<'_>, part: Share, random: &mut Random) -> Result<(), String> {
    let phase = run.record().place.phase;
    let until = Instant::now() + PATIENCE;
    if phase == Phase::New || (phase != Phase::Old && random.chance(0.4)) {
        return back(run, until).await;
    }
    let share = if phase == Phase::Shadow { part } else { Share::ALL };
    // The gates wait for the copy and its verification.
    loop {
        match tokio::time::timeout_at(until, run.conductor().advance(None, share, &[])).await {
            Ok(Err(ControlError::Gates { blocked, .. })) if Instant::now() > until => {
                return Err(format!("the gates never open: {blocked:?}"));
            }
            Ok(Err(ControlError::Gates { .. })) => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(_) => return Ok(()),
            Err(_) => return Err(format!("an advance has no end: {:?}", run.record())),
        }
    }
}

async fn back(run: &Run<'_>, until: Instant) -> Result<(), String> {
    let rollback = run.conductor().rollback(None, Share::ALL, None);
    let ended = tokio::time::timeout_at(until, rollback).await.map(drop);
    ended.map_err(|_| format!("a rollback has no end: {:?}", run.record()))
}

/// So many seeds, or one in so many of those that are asked for.
fn seeds(default: u64, one_in: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let start = number("CHANGEOVER_START").unwrap_or(0);
    start..start + number("CHANGEOVER_SEEDS").map_or(default, |asked| asked.div_ceil(one_in))
}

/// Runs all seeds; what they went through, taken together.
fn all_seeds(seeds: Range<u64>, simulate: impl Fn(u64) -> Result<Simulated, String>) -> Simulated {
    let mut all = Simulated::default();
    let mut wrong = Vec::new();
    for seed in seeds {
        match simulate(seed) {
            Ok(done) => {
                all.writes += done.writes;
                all.refused += done.refused;
                all.moves += done.moves;
                all.crashes += done.crashes;
            }
            Err(what) => wrong.push(format!("seed {seed}: {what}")),
        }
    }
    println!("{all:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    all
}

#[test]
fn a_captured_migration_keeps_every_promise() {
    let all = all_seeds(seeds(25, 1), |seed| simulate(seed, Broken::Nothing));
    assert!(all.writes > 1_000 && all.refused > 10 && all.crashes > 5, "{all:?}");
}

#[test]
fn with_dual_write_every_key_is_linearizable_and_nothing_is_lost() {
    let all = all_seeds(seeds(8, 10), |seed| alone(dual::run(seed)));
    assert!(all.writes > 1_000 && all.moves > 20 && all.crashes > 3, "{all:?}");
}

#[test]
fn every_broken_variant_is_found_out() {
    for broken in [Broken::NoFence, Broken::ClaimsDeletedFirst, Broken::LaggingReads] {
        assert!((0..60).any(|seed| simulate(seed, broken).is_err()), "{broken:?} passes all seeds");
    }
}

/// The side that a flag of this phase writes to.
const fn written(flag: u8) -> Side {
    if flag >= Phase::ReverseShadow.flag() { Side::New } else { Side::Old }
}
