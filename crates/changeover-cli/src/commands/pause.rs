//! `changeover pause` and `resume`: the copy and the verification rest, or go on. The mirror always goes on.

use clap::Args;

use crate::args::{Because, Which};
use crate::error::{CliError, Exit};
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    because: Because,
}

/// Asks the run.
///
/// # Errors
/// If there is no run, or it can't write its state.
pub(crate) async fn answer(args: &PauseArgs, paused: bool, terminal: &Terminal) -> Result<Exit, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.because)?;
    let done = remote.pause(paused).await?;
    show::done(&done, terminal)?;
    Ok(Exit::Done)
}
