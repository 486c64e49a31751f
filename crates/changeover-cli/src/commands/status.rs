//! `changeover status`: where the migration stands, what it waits for, and how to undo.

use changeover_api::ClientError;
use changeover_api::wire::Status;
use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::locate::{self, Found};
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
    let status = match Remote::of(&found) {
        Ok(remote) => match remote.status().await {
            // Killed: its file is still there.
            Err(CliError::Client(error)) if matches!(*error, ClientError::Unreachable { .. }) => {
                of_file(&found, CliError::Client(error)).await?
            }
            answer => answer?,
        },
        Err(error) => of_file(&found, error).await?,
    };
    show::status::show(&status, terminal)?;
    Ok(Exit::Done)
}

/// What the state file says; `otherwise` is the error where there is none.
async fn of_file(found: &Found, otherwise: CliError) -> Result<Status, CliError> {
    let Some(spec) = found.spec() else { return Err(otherwise) };
    let status = changeover_control::status_of_file(spec, &found.state).await?;
    status.ok_or(otherwise)
}
