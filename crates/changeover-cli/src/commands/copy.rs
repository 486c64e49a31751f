//! `changeover copy`: copies everything once, compares it, and ends. Installs nothing on the old side.

use std::path::PathBuf;

use clap::Args;

/// What to copy.
#[derive(Debug, Args)]
#[command(after_help = "\
For databases that nobody writes to meanwhile: nothing is installed on the old side, so a change \
during the copy can't be followed. It is noticed, said, and the exit code is 1. For a database in \
use: `changeover run`.

Interrupted, it goes on when called again. With --json the answer is one object: the tables with \
their counts, each difference, rows per second, bytes, memory.

Exit codes: 0 everything is there and equal; 1 there are differences, or rows that can't be carried.")]
pub(crate) struct CopyArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
}
