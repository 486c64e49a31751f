//! `changeover run`: a migration, in one process that watches another, until it is told to stop.
//!
//! This process only watches: it starts itself once more as the worker ([`WORKER`]), which does everything, and kills
//! it if it stalls while it holds a lock. See `changeover_control::supervisor`.

use std::ffi::OsString;
use std::path::PathBuf;

use changeover_api::Spec;
use changeover_control::supervisor::{Ended, Supervised, supervise};
use clap::Args;
use tokio::sync::watch;

use crate::error::{CliError, Exit};
use crate::terminal::Terminal;

/// The hidden command that makes this binary a worker.
pub(crate) const WORKER: &str = "run-worker";

/// What to run, and how it is reached.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
It starts where it was: killed at any moment and started again, it goes on. Nothing moves by itself:
`changeover advance` does, from another terminal in this folder. Ctrl-C stops it; what stays installed
is told then, and the service goes on meanwhile.

People without the library read the flag: `--flag-file PATH`, or GET /v1/migrations/NAME/flag; 0 to 3 for
old, shadow, reverse-shadow, new.")]
pub(crate) struct RunArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,

    /// Where the API listens; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    pub(crate) listen: String,

    /// Keep the flag, 0 to 3, in this file as well; it is replaced atomically
    #[arg(long, value_name = "PATH")]
    pub(crate) flag_file: Option<PathBuf>,

    /// Where the state is kept. Default: .changeover/NAME.db beside the spec
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

impl RunArgs {
    /// The worker's arguments: the same, with the hidden command.
    fn for_worker(&self, terminal: &Terminal, verbose: u8) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![WORKER.into(), self.spec.clone().into()];
        arguments.extend(["--listen".into(), self.listen.clone().into()]);
        for (name, path) in [("--flag-file", &self.flag_file), ("--state", &self.state)] {
            if let Some(path) = path {
                arguments.extend([name.into(), path.clone().into()]);
            }
        }
        if terminal.json {
            arguments.push("--json".into());
        }
        arguments.extend((0..verbose).map(|_| "--verbose".into()));
        let color = if terminal.err.on { "always" } else { "never" };
        arguments.extend(["--color".into(), color.into()]);
        arguments
    }
}
