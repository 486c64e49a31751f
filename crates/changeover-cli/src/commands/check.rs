//! `changeover check`: the plan in plain words. Looks at both databases and changes nothing.

use std::path::PathBuf;

use clap::Args;

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 it can be run; 1 something stands in the way (each is named, with what to do); 2 the \
spec is wrong; 3 a database is out of reach.")]
pub(crate) struct CheckArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Read all rows as well: which of them can't be carried, and which values wouldn't find the way back
    #[arg(long)]
    data: bool,
}
