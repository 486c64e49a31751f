//! Runs simulations of whole migrations, seed by seed: `simulate --seeds N --start S`. A seed that fails is printed, with
//! what was found, and `simulate --seeds 1 --start SEED` runs it again. With `--broken VARIANT` it must fail: that shows the
//! seeds at which a broken variant is found.

use std::process::ExitCode;

use changeover_testkit::simulation::{Broken, Simulated, simulate};

/// What is asked for.
struct Arguments {
    seeds: u64,
    start: u64,
    broken: Broken,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        report(&format!(
            "usage: simulate [--seeds N] [--start S] [--broken {:?}]; or CHANGEOVER_SEEDS=N, CHANGEOVER_START=S",
            Broken::ALL
        ));
        return ExitCode::from(2);
    };
    let Arguments { seeds, start, broken } = arguments;
    let (mut failed, mut total) = (0_u64, Simulated::default());
    for seed in start..start.saturating_add(seeds) {
        match simulate(seed, broken) {
            Ok(done) => {
                total.reads += done.reads;
                total.writes += done.writes;
                total.moves += done.moves;
                total.crashes += done.crashes;
            }
            Err(wrong) => {
                failed += 1;
                report(&format!("seed {seed}: {wrong}"));
            }
        }
    }
    report(&format!(
        "{seeds} seeds from {start}: {failed} failed; {} reads, {} writes, {} moves, {} crashes",
        total.reads, total.writes, total.moves, total.crashes
    ));
    if (failed == 0) == (broken == Broken::Nothing) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many seeds, the first, and what is to be broken: from the command line, or from the environment.
fn arguments() -> Option<Arguments> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().ok());
    let mut seeds = number("CHANGEOVER_SEEDS").unwrap_or(Some(20))?;
    let mut start = number("CHANGEOVER_START").unwrap_or(Some(0))?;
    let mut broken = Broken::Nothing;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seeds" => seeds = value.parse().ok()?,
            "--start" => start = value.parse().ok()?,
            "--broken" => broken = Broken::ALL.into_iter().find(|broken| format!("{broken:?}") == value)?,
            _ => return None,
        }
    }
    Some(Arguments { seeds, start, broken })
}

#[allow(clippy::print_stderr, reason = "this is the command's talk")]
fn report(line: &str) {
    eprintln!("{line}");
}
