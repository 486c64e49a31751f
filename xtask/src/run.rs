//! The tasks that are lists of commands.

use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;

use crate::{servers, tidy};

/// A part of soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The models with larger bounds; the same as `cargo xtask model`.
    Models,
    /// Many seeds of the simulations: the library under a controller of the test kit's, and both kinds of migration under the
    /// conductor.
    Simulation,
    /// Every fault point: killed, failing and paused, at more passes and both ways.
    Faults,
    /// The memory of copy and verify for 1 and for 10 million rows.
    Memory,
}

/// The outcome of a task: what went wrong, for a person.
pub(crate) type Outcome = Result<(), String>;

fn cargo(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let told: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    eprintln!("$ {} cargo {}", told.join(" "), args.join(" "));
    let started = Instant::now();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .envs(env.iter().copied())
        .status()
        .map_err(|e| format!("cargo can't be started: {e}"))?;
    eprintln!("  … {:.0} s", started.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", args.join(" "))) }
}

/// How all tests are built: the fault points are compiled into the binary that the tests run, and into no other.
pub(crate) const TESTS: [&str; 4] = ["test", "--workspace", "--features", "changeover-cli/faults"];

/// All tests, once the database servers that they start are there.
pub(crate) fn test() -> Outcome {
    servers::provide()?;
    cargo(&TESTS, &[])
}

/// What takes longer than a test may: all of it within an hour on two cores that have nothing else to do.
pub(crate) fn soak(part: Option<Part>, seeds: u64, rounds: u64) -> Outcome {
    let asked = |this| part.is_none_or(|part| part == this);
    if asked(Part::Models) {
        model()?;
    }
    if asked(Part::Simulation) {
        simulation(seeds)?;
    }
    if asked(Part::Faults) {
        (0..rounds).try_for_each(faults)?;
    }
    if asked(Part::Memory) {
        bench(&["memory".to_owned()], false, None, None)?;
    }
    Ok(())
}

fn simulation(seeds: u64) -> Outcome {
    let seeds = seeds.to_string();
    cargo(
        &["run", "--release", "-p", "changeover-testkit", "--example", "simulate", "--", "--seeds", &seeds],
        &[],
    )?;
    cargo(
        &["test", "-p", "changeover-control", "--lib", "simulation::", "--", "--nocapture"],
        &[("CHANGEOVER_SEEDS", &seeds)],
    )
}

/// The matrix of faults, and no other test: the rest does the same whether it is soak or not. It is built as `test` does,
/// because that is built already, and it waits most of the time.
fn faults(round: u64) -> Outcome {
    let seed = (round * 1_000).to_string();
    cargo(
        &["test", "-p", "changeover-cli", "--features", "faults", "--test", "faults", "--test", "databases"],
        &[("CHANGEOVER_SOAK", "1"), ("CHANGEOVER_SEED", &seed)],
    )
}

/// What CI runs, the quick checks first.
pub(crate) fn ci() -> Outcome {
    cargo(&["fmt", "--all", "--check"], &[])?;
    tidy::tidy()?;
    cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "changeover-cli/faults",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )?;
    cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    test()?;
    // The README's first command names no package: what it runs must be the command. As the tests have built it.
    cargo(&["run", "--quiet", "--features", "faults", "--", "demo", "--help"], &[])
}

/// Measures beside the limit.
pub(crate) fn bench(what: &[String], json: bool, rows: Option<u64>, only: Option<&str>) -> Outcome {
    if what.is_empty() || what.iter().any(|what| matches!(&**what, "copy" | "verify" | "capture")) {
        servers::provide()?;
    }
    // Copy and verify are measured by the command itself, as its users run it.
    cargo(&["build", "--release", "--quiet", "-p", "changeover-cli"], &[])?;
    let mut args = vec!["run", "--release", "--quiet", "-p", "changeover-bench", "--"];
    args.extend(what.iter().map(String::as_str));
    if json {
        args.push("--json");
    }
    let rows = rows.map(|n| n.to_string());
    if let Some(rows) = &rows {
        args.extend(["--rows", rows]);
    }
    if let Some(only) = only {
        args.extend(["--only", only]);
    }
    cargo(&args, &[])
}

/// The models, with their larger bounds.
pub(crate) fn model() -> Outcome {
    cargo(
        &[
            "test",
            "--release",
            "-p",
            "changeover-protocol",
            "--tests",
            "--",
            "--nocapture",
            "--test-threads",
            "1",
        ],
        &[("CHANGEOVER_MODEL", "full")],
    )
}
