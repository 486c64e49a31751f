//! `changeover verify`: compares both sides row by row, with or without a service running; repairs if asked to.

use std::path::PathBuf;

use changeover_control::jobs;
use clap::Args;

use super::copy::rows_are;
use super::read_spec;
use crate::error::{CliError, Exit};
use crate::show::progress::Meter;
use crate::show::report::Report;
use crate::show::words;
use crate::terminal::Terminal;
use crate::who::who;

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
Every row of both sides is read, and a row that differs is read again while changes to it are on \
their way: only what stays different counts. With --repair the rows that differ are written anew on \
the follower, from the side that answers now, and compared again. While the migration keeps both \
sides in step, what was found is kept with its state: the gates look at it.

Exit codes: 0 equal (or repaired, and then equal); 1 there are differences, each named, or it was stopped.")]
pub(crate) struct VerifyArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Write the follower's rows that differ anew, and compare again
    #[arg(long)]
    repair: bool,

    /// The migration's state, where its run has it elsewhere. Default: as its run file says, or .changeover/NAME.db
    #[arg(long, value_name = "FILE")]
    state: Option<String>,
}

/// Compares, repairs, reports.
///
/// # Errors
/// If the spec is wrong, doesn't fit the databases, or one of them is out of reach.
pub(crate) async fn answer(args: &VerifyArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let spec = read_spec(&args.spec)?;
    let mut meter = Meter::new(terminal);
    let state = args.state.as_deref().map(super::run::state).transpose()?;
    let told = &mut |progress: &_| meter.show(progress);
    let asked = changeover_control::Asked::by(Some(who()), None);
    let verify = Box::pin(jobs::verify(&spec, state.as_deref(), args.repair, told));
    let done = tokio::select! {
        done = changeover_control::for_them(asked, verify) => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    };
    meter.end();
    let Some(done) = done else {
        let what = if args.repair { "What was written anew stays" } else { "Nothing was changed" };
        terminal.say(format_args!("Stopped before its end, so nothing is known. {what}."));
        return Ok(Exit::No);
    };
    let report = Report::of(&spec.name, done?);
    report.show(terminal)?;
    if !terminal.json {
        let paint = terminal.err;
        let repaired: u64 = report.tables.iter().map(|table| table.repaired).sum();
        if repaired > 0 {
            terminal.say(format_args!("{} written anew.", words::counted(repaired, "row")));
        }
        match report.wrong() {
            0 if report.waiting > 0 => {
                let rows = words::counted(report.waiting, "row");
                terminal
                    .say(paint.bad(format_args!("Both sides are equal but for {rows}. {}.", report.speed())));
            }
            0 => terminal.say(paint.good(format_args!("Both sides are equal. {}.", report.speed()))),
            n => {
                terminal.say(paint.bad(format_args!("{} on both sides. {}.", rows_are(n), report.speed())));
                // A row that can't be carried isn't mended by being written anew.
                if !args.repair && report.spec_changed.is_empty() && report.wrong() > report.refused() {
                    terminal.say("To write the follower's rows anew: add --repair");
                }
            }
        }
        let on_their_way: u64 = report.tables.iter().map(|table| table.on_their_way).sum();
        if report.waiting > 0 {
            terminal.say(format_args!(
                "{} changed since: the changes wait in the log, and no run is there to carry them. Start it: changeover run {}",
                words::counted(report.waiting, "row"),
                args.spec.display()
            ));
        } else if on_their_way > 0 {
            terminal.say(format_args!(
                "{} of these compared with the changes that are on their way still, or wait in the log.",
                words::counted(on_their_way, "row")
            ));
        }
        if !report.spec_changed.is_empty() {
            terminal.say(paint.warn(format_args!(
                "This spec isn't the one that the migration's run goes by: {}. The gates don't look at this result.",
                report.spec_changed.join("; ")
            )));
        }
        if let Some(state) = &report.kept_in {
            terminal.say(format_args!("The gates look at this result: it is kept in {}.", state.display()));
        }
    }
    Ok(if report.clean { Exit::Done } else { Exit::No })
}
