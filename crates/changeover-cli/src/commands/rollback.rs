//! `changeover rollback`: back to the phase before. It waits for no gate.

use std::path::{Path, PathBuf};

use changeover_api::wire::Moved;
use changeover_control::jobs;
use changeover_protocol::Phase;
use clap::Args;

use crate::args::{Because, Which};
use crate::error::{CliError, Exit};
use crate::locate;
use crate::patience::with_word;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;
use crate::who::who;

/// Where back to.
#[derive(Debug, Args)]
#[command(after_help = "\
A rollback needs every service's word, as any move does, and that no change is still on its way to \
the side that takes over. When changes can't be carried any more, because the side that is left is \
dying, --leave-behind goes back all the same: it writes the keys that are known to be affected to a \
file, says what isn't known, and the verification starts anew. `changeover status` says beforehand \
which it would be. Where the new side's database is gone and no run starts without it, it goes back \
to old by itself.

Exit codes: 0 it is back; 1 it was given up, with the reason.")]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    which: Which,

    /// The phase to go back to. Default: the one before
    #[arg(long, value_name = "PHASE")]
    to: Option<Phase>,

    /// Go back although changes are lost by it, and write the keys that are known to this file
    #[arg(long, value_name = "FILE")]
    leave_behind: Option<PathBuf>,

    #[command(flatten)]
    because: Because,
}

/// Asks the run to go back.
///
/// # Errors
/// If there is no run, or the move was given up.
pub(crate) async fn answer(args: &RollbackArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    // The run has a working folder of its own.
    let file = args.leave_behind.as_ref().map(std::path::absolute).transpose();
    let file =
        file.map_err(|cause| CliError::usage(format!("--leave-behind: {cause}"), "Give the path of a file"))?;
    if let Some(taken) = file.as_ref().filter(|file| file.exists()) {
        let message = format!("{} is there already", taken.display());
        return Err(CliError::usage(
            message,
            "Name a file that isn't: what is left behind is not to be mixed up.",
        ));
    }
    let moved = match (ask(args, file.clone(), terminal).await, &file) {
        (Err(gone), Some(file)) if gone.is_no_answer() => without_a_run(args, file).await?.ok_or(gone)?,
        (answer, _) => answer?,
    };
    show::moved::show(&moved, terminal)?;
    Ok(Exit::Done)
}

async fn ask(args: &RollbackArgs, file: Option<PathBuf>, terminal: &Terminal) -> Result<Moved, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.because)?;
    with_word(&remote, terminal, remote.rollback(args.to, file)).await
}

/// No run answers, and none may start: the new side's database may be gone. `None`: nothing is known here to go back.
async fn without_a_run(args: &RollbackArgs, file: &Path) -> Result<Option<Moved>, CliError> {
    let found = locate::find(&args.which)?;
    let Some(spec) = found.spec().filter(|_| found.state.exists()) else { return Ok(None) };
    let asked = changeover_control::Asked::by(Some(who()), args.because.reason.clone());
    let back = jobs::abandon(&spec, &found.state, file);
    Ok(Some(changeover_control::for_them(asked, Box::pin(back)).await?))
}
