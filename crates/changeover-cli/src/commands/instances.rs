//! `changeover instances`: the processes that take part; and saying of one that it is gone.

use clap::{Args, Subcommand};

use super::status::status_of;
use crate::args::{Because, Sure, Which};
use crate::confirm::confirm;
use crate::error::{CliError, Exit};
use crate::locate;
use crate::remote::{Remote, say_where_from};
use crate::show;
use crate::terminal::Terminal;

/// What about the instances.
#[derive(Debug, Args)]
pub(crate) struct InstancesArgs {
    #[command(flatten)]
    which: Which,

    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say that an instance is gone: its process and its file. Moves no longer wait for it
    #[command(after_help = "\
An instance that can't reach the control plane serves on, and every move waits for it: so forget one \
only when its process is dead and its step file is gone. If it still ran, it would go on writing by \
a step that nobody counts any more. The last verification no longer counts afterwards.")]
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
struct ForgetArgs {
    /// The instance, as `changeover instances` shows it
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    sure: Sure,

    #[command(flatten)]
    because: Because,
}

/// Lists them, or forgets one.
///
/// # Errors
/// If there is no run, or no such instance.
pub(crate) async fn answer(args: &InstancesArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let Some(What::Forget(forget)) = &args.what else {
        let found = locate::find(&args.which)?;
        let status = status_of(&found).await?;
        say_where_from(&found, terminal);
        show::instances::show(&status, terminal)?;
        return Ok(Exit::Done);
    };
    let remote = Remote::find(&forget.which).await?.because(&forget.because)?;
    let consequence = format!(
        "To forget {} is to say that its process is dead and its step file gone; if it still runs, it writes by a step \
         that nobody counts. The last verification no longer counts afterwards.",
        forget.id
    );
    if !confirm(forget.sure, terminal, &consequence, "Is it gone?")? {
        return Ok(Exit::No);
    }
    let done = remote.forget(&forget.id).await?;
    show::done(&done, terminal)?;
    Ok(Exit::Done)
}
