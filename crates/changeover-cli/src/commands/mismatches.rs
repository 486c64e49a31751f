//! `changeover mismatches`: the answers of both sides that were not the same, one of each shape.

use changeover_api::wire::MismatchQuery;
use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::locate;
use crate::remote::{Remote, ask_or_read, say_where_from};
use crate::show;
use crate::terminal::Terminal;

/// Which of them.
#[derive(Debug, Args)]
#[command(after_help = "\
One of each shape is kept (which fields differ, and how), with its input where the service gives \
one, and how often it was seen. Values are redacted as the spec's [evidence] says.

When what caused them is mended, --mended says so: they are forgotten, the gate counts comparisons \
anew from then on, and the audit keeps what you said.")]
pub(crate) struct MismatchesArgs {
    #[command(flatten)]
    which: Which,

    /// Only those of this operation, as in booking.get
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// What caused them is mended: count anew. The audit keeps the text
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["operation", "limit"])]
    mended: Option<String>,
}

/// Lists them, the latest first; or says that they are mended.
///
/// # Errors
/// If there is no run.
pub(crate) async fn answer(args: &MismatchesArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let found = locate::find(&args.which)?;
    if let Some(reason) = &args.mended {
        show::done(&Remote::of(&found)?.mended(reason).await?, terminal)?;
        return Ok(Exit::Done);
    }
    let query = MismatchQuery { operation: args.operation.clone(), limit: Some(args.limit) };
    let ask = async |remote: Remote| remote.mismatches(&query).await;
    let read = async || changeover_control::mismatches_of_file(&found.state, &found.name, &query).await;
    let mismatches = ask_or_read(&found, ask, read).await?;
    say_where_from(&found, terminal);
    show::mismatches::show(&mismatches, terminal)?;
    Ok(Exit::Done)
}
