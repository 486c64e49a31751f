//! `changeover init`: looks at both databases and writes a spec, with every guess marked.

use std::path::{Path, PathBuf};

use changeover_api::spec::StoreUrl;
use clap::Args;

use crate::error::{CliError, Exit};
use crate::terminal::Terminal;

/// The two databases, and what to write.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  changeover init old.db new.db
  changeover init sqlite:/srv/legacy.db sqlite:/srv/flights.db --name flights

Tables are matched by name, columns by name and type; what isn't certain is marked `guess` in the \
file, what found no match is a comment to be filled in. Look at each, then: changeover check NAME.toml")]
pub(crate) struct InitArgs {
    /// The old side's database: a file, or sqlite:PATH
    #[arg(value_name = "OLD")]
    old: String,

    /// The new side's database
    #[arg(value_name = "NEW")]
    new: String,

    /// The migration's name. Default: the table's if it is only one, else the old database's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The file to write. Default: NAME.toml; - for standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}
