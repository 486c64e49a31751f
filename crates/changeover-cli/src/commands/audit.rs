//! `changeover audit`: everything that was done, by whom and when.

use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration, and how much.
#[derive(Debug, Args)]
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
    let entries = Remote::find(&args.which)?.audit(args.before, args.limit).await?;
    show::audit::show(&entries, terminal)?;
    Ok(Exit::Done)
}
