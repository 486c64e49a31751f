//! `changeover check`: the plan in plain words. Looks at both databases and changes nothing.

use std::path::PathBuf;

use changeover_control::jobs;
use clap::Args;

use super::read_spec;
use crate::error::{CliError, Exit};
use crate::show;
use crate::show::progress::Meter;
use crate::terminal::Terminal;

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 it can be run; 1 something stands in the way (each is named, with what to do); 2 the \
spec is wrong; 3 a database is out of reach.")]
pub(crate) struct CheckArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Read all rows as well: which of them can't be carried, and which values wouldn't find the way back
    #[arg(long)]
    data: bool,

    /// Try for real what a migration does on a server, on a table that is made for it and gone after: tables, triggers, locks
    #[arg(long)]
    probe: bool,
}

/// Looks, and tells.
///
/// # Errors
/// If the spec is wrong, or a database is out of reach.
pub(crate) async fn answer(args: &CheckArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let spec = read_spec(&args.spec)?;
    let mut meter = Meter::new(terminal);
    let mut tell = |progress: &jobs::JobProgress| meter.show(progress);
    let report = jobs::check(&spec, jobs::Ask { data: args.data, probe: args.probe }, &mut tell).await;
    meter.end();
    let report = report?;
    show::check::show(&report, &spec, args.data, terminal)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::No })
}
