//! Runs simulations of whole migrations, seed by seed: `simulate --seeds N --start S`. A seed that fails is printed, with
//! what was found, and `simulate --seeds 1 --start SEED` runs it again.

use std::process::ExitCode;

use changeover_testkit::simulation::{Broken, Simulated, simulate};

fn main() -> ExitCode {
    let Some((seeds, start)) = arguments() else {
        report("usage: simulate [--seeds N] [--start S]; or CHANGEOVER_SEEDS=N, CHANGEOVER_START=S");
        return ExitCode::from(2);
    };
    let (mut failed, mut total) = (0_u64, Simulated::default());
    for seed in start..start.saturating_add(seeds) {
        match simulate(seed, Broken::Nothing) {
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
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many seeds, and the first: from the command line, or from the environment.
fn arguments() -> Option<(u64, u64)> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().ok());
    let mut seeds = number("CHANGEOVER_SEEDS").unwrap_or(Some(20))?;
    let mut start = number("CHANGEOVER_START").unwrap_or(Some(0))?;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => seeds = value,
            "--start" => start = value,
            _ => return None,
        }
    }
    Some((seeds, start))
}

#[allow(clippy::print_stderr, reason = "this is the command's talk")]
fn report(line: &str) {
    eprintln!("{line}");
}
