//! `changeover copy`: copies everything once, compares it, and ends. Installs nothing on the old side.

use std::path::PathBuf;

use changeover_control::jobs;
use clap::Args;

use super::read_spec;
use crate::error::{CliError, Exit};
use crate::show;
use crate::show::progress::Meter;
use crate::show::report::Report;
use crate::show::words;
use crate::terminal::Terminal;

/// What to copy.
#[derive(Debug, Args)]
#[command(after_help = "\
For databases that nobody writes to meanwhile: nothing is installed on the old side, so a change \
during the copy can't be followed. It is noticed, said, and the exit code is 1. For a database in \
use: `changeover run`.

Interrupted, it goes on when called again. With --json the answer is one object: the tables with \
their counts, each difference, rows per second, bytes, memory.

Exit codes: 0 everything is there and equal; 1 there are differences, rows that can't be carried, or it was stopped.")]
pub(crate) struct CopyArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Make the new tables that aren't there first, as `changeover check` proposes them
    #[arg(long)]
    create_tables: bool,
}

/// Copies, compares, reports.
///
/// # Errors
/// If the spec is wrong, doesn't fit the databases, or one of them is out of reach.
pub(crate) async fn answer(args: &CopyArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let spec = read_spec(&args.spec)?;
    if args.create_tables {
        show::created::tell(&jobs::create_tables(&spec).await?, terminal);
    }
    let mut meter = Meter::new(terminal);
    let mut tell = |progress: &jobs::JobProgress| meter.show(progress);
    let done = tokio::select! {
        done = jobs::copy(&spec, &mut tell) => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    };
    meter.end();
    let Some(done) = done else {
        terminal.say("Stopped. What was copied stays: the same command goes on from there.");
        return Ok(Exit::No);
    };
    let report = Report::of(&spec.name, done?);
    report.show(terminal)?;
    if terminal.json {
        return Ok(if report.clean { Exit::Done } else { Exit::No });
    }
    for table in report.tables.iter().filter(|table| table.rows_new_before > 0) {
        terminal.say(terminal.err.warn(format_args!(
            "{}: the new side had {} before. Those that the old side lacks were deleted, the others written anew.",
            words::one_line(&table.table),
            words::counted(table.rows_new_before, "row")
        )));
    }
    if report.changed_meanwhile {
        let changed = "The old side changed while it was copied: what was copied is no image of one moment.";
        terminal.say(terminal.err.bad(changed));
        terminal.say("Copy again while nobody writes; or, for a database in use: changeover run.");
    }
    match report.wrong() {
        0 if report.clean => {
            terminal
                .say(terminal.err.good(format_args!("Everything is copied and equal. {}.", report.speed())));
        }
        0 => {}
        n => terminal.say(terminal.err.bad(format_args!("{}. {}.", rows_are(n), report.speed()))),
    }
    Ok(if report.clean { Exit::Done } else { Exit::No })
}

/// `1 row isn't as it should be`, `3 rows aren't as they should be`.
pub(super) fn rows_are(n: u64) -> String {
    let verb = if n == 1 { "isn't as it" } else { "aren't as they" };
    format!("{} {verb} should be", words::counted(n, "row"))
}
