//! `changeover status`: where the migration stands, what it waits for, and how to undo.

use changeover_api::wire::Status;
use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::locate::{self, Found};
use crate::remote::{Remote, ask_or_read};
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
    let status = status_of(&found).await?;
    show::status::show(&status, terminal)?;
    Ok(Exit::Done)
}

/// The status, of the run or of its state file.
///
/// # Errors
/// If there is neither.
pub(crate) async fn status_of(found: &Found) -> Result<Status, CliError> {
    let ask = async |remote: Remote| remote.status().await;
    let read = async || match found.spec() {
        Some(spec) => changeover_control::status_of_file(spec, &found.state).await,
        None => Ok(None),
    };
    ask_or_read(found, ask, read).await
}
