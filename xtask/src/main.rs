//! The project's own tasks: `cargo xtask test`, `servers`, `soak`, `ci`, `bench`, `model`, `tidy`.
//!
//! Each is a list of ordinary commands, printed as they run, so that anyone can run one by hand; only `tidy`
//! looks at the tree itself.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to a person at a terminal")]

mod links;
mod run;
mod servers;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All tests: small and seeded, under 15 minutes on 2 cores. Installs the database servers that are missing, where it may.
    Test,
    /// What `test` does first: installs the database servers that are missing.
    Servers,
    /// What takes longer: the models with larger bounds, many seeds of the simulation, every fault point both ways,
    /// memory for ten million rows. All of it ends within an hour on 2 cores that have nothing else to do.
    Soak {
        /// One part of it. All if none is named.
        #[arg(value_enum)]
        part: Option<run::Part>,
        /// How many seeds of the simulation; 25 or so a second.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// How many times every fault point is met, each time with other seeds; some 4 minutes each.
        #[arg(long, default_value_t = 3)]
        rounds: u64,
    },
    /// What CI runs: formatting, clippy with warnings denied, tidy, the docs and their links, the tests.
    Ci,
    /// Measures beside the limit of each, in one run.
    Bench {
        /// What to measure: switch, copy, verify, capture, and `memory` for soak. All but the last if none is named.
        what: Vec<String>,
        /// Print an array of objects instead of a table.
        #[arg(long)]
        json: bool,
        /// Rows of the tables in copy, verify and capture (1 million in files; on servers 5 million narrow ones, and 1
        /// million wide ones, which are a fifth of this); memory takes as many, and ten times as many.
        #[arg(long)]
        rows: Option<u64>,
        /// Of the cases on servers only those whose name has this text in it, as `postgresql → postgresql` or `wide`; and
        /// none in files.
        #[arg(long)]
        only: Option<String>,
    },
    /// The models of the protocol, exhaustively within larger bounds, with the number of states.
    Model,
    /// Checks the tree: crates' arrows, module headers, reasons of lint exceptions, links, paths of a machine.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test => run::test(),
        Task::Servers => servers::provide(),
        Task::Soak { part, seeds, rounds } => run::soak(part, seeds, rounds),
        Task::Ci => run::ci(),
        Task::Bench { what, json, rows, only } => run::bench(&what, json, rows, only.as_deref()),
        Task::Model => run::model(),
        Task::Tidy => tidy::tidy(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("cargo xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
