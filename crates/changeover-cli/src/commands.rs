//! The commands, each in a file with its arguments, its help and its answer.

pub(crate) mod abort;
pub(crate) mod adopt;
pub(crate) mod advance;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod init;
pub(crate) mod instances;
pub(crate) mod mismatches;
pub(crate) mod pause;
pub(crate) mod rehearse;
pub(crate) mod retire;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod verify;

use std::path::Path;

use changeover_api::Spec;

use crate::args::Command;
use crate::demo;
use crate::error::{CliError, Exit};
use crate::terminal::Terminal;

/// Does what was asked for.
///
/// # Errors
/// Whatever stood in the way.
pub(crate) async fn dispatch(command: Command, terminal: &Terminal) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::answer(&args, terminal).await,
        Command::Check(args) => check::answer(&args, terminal).await,
        Command::Rehearse(args) => rehearse::answer(&args, terminal).await,
        Command::Copy(args) => copy::answer(&args, terminal).await,
        Command::Verify(args) => verify::answer(&args, terminal).await,
        Command::Run(args) => run::answer(&args, terminal).await,
        Command::Worker(args) => run::work(args, terminal).await,
        Command::Status(args) => status::answer(&args, terminal).await,
        Command::Advance(args) => advance::answer(&args, terminal).await,
        Command::Rollback(args) => rollback::answer(&args, terminal).await,
        Command::Pause(args) => pause::answer(&args, true, terminal).await,
        Command::Resume(args) => pause::answer(&args, false, terminal).await,
        Command::Mismatches(args) => mismatches::answer(&args, terminal).await,
        Command::Audit(args) => audit::answer(&args, terminal).await,
        Command::Instances(args) => instances::answer(&args, terminal).await,
        Command::Adopt(args) => adopt::answer(&args, terminal).await,
        Command::Retire(args) => retire::answer(&args, terminal).await,
        Command::Abort(args) => abort::answer(&args, terminal).await,
        Command::Spec(args) => spec::answer(&args, terminal),
        Command::Demo(args) => demo::answer(args, terminal).await,
        Command::DemoInstance(args) => demo::instance(args).await,
    }
}

/// Reads a spec whose stores' URLs can be found.
fn read_spec(file: &Path) -> Result<Spec, CliError> {
    let spec = Spec::read(file)?;
    spec.resolve_stores()?;
    Ok(spec)
}
