//! `changeover rehearse`: forward, back, forward on copies of the databases.

use std::path::PathBuf;

use clap::Args;

/// What to rehearse.
#[derive(Debug, Args)]
#[command(after_help = "\
Both databases are copied (a snapshot: their users notice nothing), and the copies go through the \
whole migration: forward, back, forward. Told are how long locks were held, which rows were refused, \
and how long the real one would take. The databases of the spec are only read.")]
pub(crate) struct RehearseArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Where to put the copies; it must have room for both. Default: a temporary folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}
