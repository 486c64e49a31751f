//! `changeover status`: where the migration stands, what it waits for, and how to undo.

use std::time::Duration;

use clap::Args;

use crate::args::Which;
use crate::error::{CliError, Exit};
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Which migration.
#[derive(Debug, Args)]
#[command(after_help = "\
Where the migration doesn't run, its state file is read, and the answer says so.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    which: Which,
}
