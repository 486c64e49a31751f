//! `changeover adopt`: go on after the state and the databases disagreed, with the databases' word.

use changeover_api::wire::Adopt;
use changeover_protocol::Phase;
use clap::Args;

use crate::args::{Because, Sure, Which};
use crate::confirm::confirm;
use crate::error::{CliError, Exit};
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration.
#[derive(Debug, Args)]
#[command(after_help = "\
When a state file was lost, or restored from a backup, it says other things than the databases do. \
The migration then stops, and `status` says where they disagree. `adopt` takes what the databases \
say (the fence, what is installed, the changes that wait) for the state, and verification starts anew.")]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    which: Which,

    /// With dual write, where the databases can't tell which side is read: the phase that the instances' step files name
    #[arg(long, value_name = "PHASE")]
    phase: Option<Phase>,

    #[command(flatten)]
    sure: Sure,

    #[command(flatten)]
    because: Because,
}

/// Asks the run to take the databases' word.
///
/// # Errors
/// If there is no run, or nothing to adopt.
pub(crate) async fn answer(args: &AdoptArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.because)?;
    let told = "What the databases can't say is taken from you: if the services stand in another phase, writes are lost. Look into the \
                instances' step files.";
    let consequence = "What the databases say becomes the state: what the state says otherwise is forgotten, and the \
                       verification starts anew.";
    let consequence = if args.phase.is_some() { told } else { consequence };
    if !confirm(args.sure, terminal, consequence, "Adopt what the databases say?")? {
        return Ok(Exit::No);
    }
    let moved = remote.adopt(&Adopt { phase: args.phase }).await?;
    show::moved::show(&moved, terminal)?;
    Ok(Exit::Done)
}
