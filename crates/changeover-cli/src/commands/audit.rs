//! `changeover audit`: everything that was done, by whom and when.

use changeover_api::wire::AuditQuery;
use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::locate;
use crate::remote::{Remote, ask_or_read, say_where_from};
use crate::show;
use crate::terminal::Terminal;

/// Which migration, and how much.
#[derive(Debug, Args)]
#[command(after_help = "\
Who: the user and machine that the command was given on (behind sudo, whoever called it), or what \
CHANGEOVER_WHO says; `run` is the migration's own doing, other names are instances. Why: --reason, \
which every command takes that changes something. Where the migration doesn't run, its state file is \
read.")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    which: Which,

    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// Only those before the entry of this number, for going back further
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
}

/// Lists the audit, the oldest first, so that it reads as it happened.
///
/// # Errors
/// If there is neither a run nor a state.
pub(crate) async fn answer(args: &AuditArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let found = locate::find(&args.which)?;
    let query = AuditQuery { before: args.before, limit: Some(args.limit) };
    let ask = async |remote: Remote| remote.audit(&query).await;
    let read = async || changeover_control::audit_of_file(&found.state, &found.name, &query).await;
    let entries = ask_or_read(&found, ask, read).await?;
    say_where_from(&found, terminal);
    show::audit::show(&entries, terminal)?;
    Ok(Exit::Done)
}
