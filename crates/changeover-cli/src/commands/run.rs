//! `changeover run`: a migration, in one process that watches another, until it is told to stop.
//!
//! This process only watches: it starts itself once more as the worker ([`WORKER`]), which does everything, and kills
//! it if it stalls while it holds a lock. See `changeover_control::supervisor`.

use std::ffi::OsString;
use std::path::PathBuf;

use changeover_api::Spec;
use changeover_control::supervisor::{Ended, Supervised, supervise};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::{CliError, Exit};
use crate::terminal::Terminal;

/// The hidden command that makes this binary a worker.
pub(crate) const WORKER: &str = "run-worker";

/// What to run, and how it is reached.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
It starts where it was: killed at any moment and started again, it goes on. Nothing moves forward by \
itself: `changeover advance` does it, from another terminal in this folder. Ctrl-C stops it; what \
stays installed is told then, and the service goes on meanwhile.

Services without the library read the flag: from the file of --flag-file, or by \
GET /v1/migrations/NAME/flag; 0 to 3 for old, shadow, reverse-shadow, new.")]
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

/// Watches over the worker until it ends, or a signal says stop.
///
/// # Errors
/// If the spec is wrong, or the worker can't be started, or ends again and again.
pub(crate) async fn answer(args: &RunArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    // Told here once, and not by each worker that is started.
    Spec::read(&args.spec)?.resolve_stores()?;
    let program = std::env::current_exe()
        .map_err(|cause| CliError::Machine { doing: "finding this program's own file", cause: cause.to_string() })?;
    let worker = Supervised { program, arguments: worker_arguments(std::env::args_os().skip(1)) };
    let mut signals = Signals::listen()?;
    let (stop, stopped) = watch::channel(false);
    let told = |line: &str| {
        // Who reads the answers may be gone; the migration goes on.
        let _ = terminal.answer(line);
    };
    let supervised = supervise(&worker, stopped, told);
    tokio::pin!(supervised);
    let ended = tokio::select! {
        ended = &mut supervised => ended?,
        () = signals.next() => {
            terminal.say("Stopping in good order; once more to kill it.");
            stop.send_replace(true);
            tokio::select! {
                ended = &mut supervised => ended?,
                () = signals.next() => Ended::Killed,
            }
        }
    };
    Ok(match ended {
        Ended::Exit(0) => Exit::Done,
        Ended::Exit(2) => Exit::Usage,
        Ended::Exit(3) | Ended::Killed => Exit::OutOfReach,
        Ended::Exit(_) => Exit::No,
    })
}

/// This command's own arguments, for the worker: only the command's name is another.
fn worker_arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_replaced = false;
    own.map(|argument| {
        if !is_replaced && argument == "run" {
            is_replaced = true;
            return WORKER.into();
        }
        argument
    })
    .collect()
}

/// Ctrl-C, and what a service manager sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|cause| CliError::Machine { doing: "listening to signals", cause: cause.to_string() })
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_has_the_same_arguments() {
        let own = ["-v", "run", "run", "--listen", "127.0.0.1:0"].map(OsString::from);
        let worker = worker_arguments(own.into_iter());
        assert_eq!(worker, ["-v", WORKER, "run", "--listen", "127.0.0.1:0"].map(OsString::from));
    }
}
