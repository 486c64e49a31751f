//! `changeover retire`: the end. Removes what was installed and renames the old tables; drops no data.

use clap::Args;

use super::advance::Overrides;
use crate::args::{Sure, Which};
use crate::confirm::confirm;
use crate::error::{CliError, Exit};
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration, and which gates to pass.
#[derive(Debug, Args)]
#[command(after_help = "\
Afterwards there is no way back by `rollback`. The old tables are renamed to NAME_retired and never \
dropped: do that by hand, when you are certain. `changeover audit` names each.")]
pub(crate) struct RetireArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    sure: Sure,

    #[command(flatten)]
    overrides: Overrides,
}

/// Asks the run to retire the old side.
///
/// # Errors
/// If there is no run, a gate is closed, or the old tables can't be locked.
pub(crate) async fn answer(args: &RetireArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.overrides.because)?;
    let consequence = "Retiring ends the migration: everything that was installed is removed, the old tables are \
                       renamed, and there is no way back by `rollback`. No data is dropped.";
    if !confirm(args.sure, terminal, consequence, "Retire the old side?")? {
        return Ok(Exit::No);
    }
    let done = remote.retire(&args.overrides.list()).await?;
    show::moved::show(&done, terminal)?;
    Ok(Exit::Done)
}
