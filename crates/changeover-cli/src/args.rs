//! The command line: what all commands share, and the list of them. Each command's own arguments are in its file.

use std::path::PathBuf;

use changeover_api::wire::asked::MAX_WHY;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    abort, adopt, advance, audit, check, copy, init, instances, mismatches, pause, rehearse, retire,
    rollback, run, spec, status, verify,
};
use crate::demo;

const ABOUT: &str = "Moves a live service from its old database to the new one: no downtime, nothing lost, \
                     and a way back at every step.";

const GUIDE: &str = "\
How a migration goes:
  changeover init old.db new.db      write a spec: what moves, and what each column becomes
  changeover check bookings.toml     see the plan; nothing is changed
  changeover rehearse bookings.toml  try it on copies: forward, back, forward
  changeover run bookings.toml       start; all stays on the old side until you say otherwise
  changeover status                  where it stands, what it waits for, how to undo
  changeover advance                 the next phase: old > shadow > reverse-shadow > new
  changeover rollback                the phase before, at any time
  changeover retire                  the end: remove what was installed

For two databases that nobody writes to, `changeover copy bookings.toml` does it all at once.

Exit codes: 0 done; 1 the answer is no (differences, a closed gate); 2 the command or the spec is \
wrong; 3 a database, a file or a running migration is out of reach.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "changeover", version, about = ABOUT, after_help = GUIDE)]
#[command(disable_help_subcommand = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Write the answer as JSON to standard output
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,

    /// Tell more on standard error; twice for all. RUST_LOG says it in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub(crate) verbose: u8,

    /// Colours: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Everywhere"
    )]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The commands, in the order in which one comes to need them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at both databases and write a spec, with every guess marked
    Init(init::InitArgs),
    /// Show the plan in plain words: what becomes what, which locks, what would fail. Changes nothing
    Check(check::CheckArgs),
    /// Try it all on copies of the databases: forward, back, forward
    Rehearse(rehearse::RehearseArgs),
    /// Copy everything once, compare it, and end: for databases that nobody writes to meanwhile
    Copy(copy::CopyArgs),
    /// Compare both sides row by row, and repair what differs if asked to
    Verify(verify::VerifyArgs),
    /// Run a migration: mirror, copy, compare, and wait for `advance`. Until told to stop
    Run(run::RunArgs),
    /// Where the migration stands, what it waits for, and how to undo
    Status(status::StatusArgs),
    /// On to the next phase, if its gates are open
    Advance(advance::AdvanceArgs),
    /// Back to the phase before. Waits for no gate
    Rollback(rollback::RollbackArgs),
    /// Pause the copy and the verification; the mirror goes on
    Pause(pause::PauseArgs),
    /// Go on with the copy and the verification
    Resume(pause::PauseArgs),
    /// The answers of both sides that were not the same
    Mismatches(mismatches::MismatchesArgs),
    /// Everything that was done, by whom and when
    Audit(audit::AuditArgs),
    /// The processes that take part; or say of one that it is gone
    Instances(instances::InstancesArgs),
    /// Go on after state and databases disagreed (a state file lost or restored): the databases are right
    Adopt(adopt::AdoptArgs),
    /// End the migration on the new side: remove what was installed, rename the old tables
    Retire(retire::RetireArgs),
    /// Give the migration up on the old side: remove what was installed
    Abort(abort::AbortArgs),
    /// About the spec file itself
    Spec(spec::SpecArgs),
    /// Watch it all happen to a service made up for that, under traffic, with proof at the end
    Demo(demo::DemoArgs),
    /// One process of the demo's service.
    #[command(name = demo::INSTANCE, hide = true)]
    DemoInstance(demo::InstanceArgs),
    /// The worker that `run` watches over.
    #[command(name = run::WORKER, hide = true)]
    Worker(run::RunArgs),
}

/// Which migration is meant: by name, by its spec, or the only one that runs here.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// The migration's name; needed only where several run here
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The migration of this spec, wherever it lies
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
}

/// Why something is done, for the audit.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Because {
    /// Why. The audit keeps it, with who said it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    match (text.trim(), text.chars().count()) {
        ("", _) => Err("an empty reason is none".to_owned()),
        (_, length) if length > MAX_WHY => {
            Err(format!("it has {length} characters; the audit takes {MAX_WHY}"))
        }
        (text, _) => Ok(text.to_owned()),
    }
}

/// A question that is answered beforehand.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Sure {
    /// Don't ask; do it
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
