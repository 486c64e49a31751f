//! `changeover verify`: compares both sides row by row, with or without a service running; repairs if asked to.

use std::path::PathBuf;

use clap::Args;

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
Every row of both sides is read, and a row that differs is read again while changes to it are on \
their way: only what stays different counts. With --repair the rows that differ are written anew on \
the follower, from the side that answers now, and compared again.

Exit codes: 0 equal (or repaired, and then equal); 1 there are differences, each named.")]
pub(crate) struct VerifyArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Write the follower's rows that differ anew, and compare again
    #[arg(long)]
    repair: bool,
}
