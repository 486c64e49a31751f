//! `changeover status`: where the migration stands, what it waits for, and how to undo.

use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::locate;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration.
#[derive(Debug, Args)]
#[command(after_help = "\
Where the migration doesn't run, its state file is read, and the answer says so.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

/// Asks the run; where none answers, its state file.
///
/// # Errors
/// If there is neither.
pub(crate) async fn answer(args: &StatusArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let found = locate::find(&args.which)?;
    let status = Remote::of(&found)?.status().await?;
    show::status::show(&status, terminal)?;
    Ok(Exit::Done)
}
