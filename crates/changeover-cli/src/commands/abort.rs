//! `changeover abort`: gives the migration up while the old side still answers. The new side's rows stay.

use clap::Args;

use crate::args::{Because, Sure, Which};
use crate::confirm::confirm;
use crate::error::{CliError, Exit};
use crate::patience::with_word;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration.
#[derive(Debug, Args)]
#[command(after_help = "\
Only while the old side is the authority (old, shadow). From reverse-shadow on: `changeover rollback` \
first. The service notices nothing; the new side's rows stay where they are.")]
pub(crate) struct AbortArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    sure: Sure,

    #[command(flatten)]
    because: Because,
}

/// Asks the run to give up.
///
/// # Errors
/// If there is no run, or the new side is the authority.
pub(crate) async fn answer(args: &AbortArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.because)?;
    let consequence = "Everything that was installed is removed, and the copy starts from nothing if the migration is \
                       begun again. The new side's rows stay.";
    if !confirm(args.sure, terminal, consequence, "Give this migration up?")? {
        return Ok(Exit::No);
    }
    let moved = with_word(&remote, terminal, remote.abort()).await?;
    show::moved::show(&moved, terminal)?;
    Ok(Exit::Done)
}
