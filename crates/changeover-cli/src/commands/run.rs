//! `changeover run`: a migration, in one process that watches another, until it is told to stop.
//!
//! This process only watches: it starts itself once more as the worker ([`WORKER`]), which does everything, and kills
//! it if it stalls while it holds a lock. See `changeover_control::supervisor`.

use std::ffi::OsString;
use std::path::PathBuf;

use changeover_api::Spec;
use changeover_api::secret::redact_url;
use changeover_control::jobs;
use changeover_control::supervisor::{Ended, Supervised, Watchdog, Word, stop_requested, supervise};
use changeover_control::{Clock, DEFAULT_LISTEN, Run, RunOptions};
use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use crate::error::{CliError, Exit};
use crate::show;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// The hidden command that makes this binary a worker.
pub(crate) const WORKER: &str = "run-worker";

/// What to run, and how it is reached.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
It starts where it was: killed at any moment and started again, it goes on. Nothing moves forward by \
itself: `changeover advance` does it, from another terminal in this folder. Ctrl-C stops it; what \
stays installed is told then, and the service goes on meanwhile.

Services without the library read the flag, 0 to 3 for old, shadow, reverse-shadow, new: from the \
file of --flag-file, which holds the digit and a line's end; or by GET /v1/migrations/NAME/flag, \
which answers {\"flag\":0,\"phase\":\"old\"} and wants no token.")]
pub(crate) struct RunArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,

    /// Where the API listens; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: String,

    /// Keep the flag in this file as well: a digit, 0 to 3, and a line's end. It is replaced atomically
    #[arg(long, value_name = "PATH")]
    pub(crate) flag_file: Option<PathBuf>,

    /// Where the state is kept. Default: .changeover/NAME.db beside the spec
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<String>,

    /// Copy as fast as the databases go: for quiet ones. Otherwise the copy keeps the spec's rate, and gives way to slow answers,
    /// to replicas that lag and to what else runs
    #[arg(long)]
    pub(crate) fast: bool,

    /// Make the new tables that aren't there first, as `changeover check` proposes them
    #[arg(long)]
    pub(crate) create_tables: bool,

    /// Stop when the standard input ends: for a program that starts this one, and may die
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,
}

/// A file, or `sqlite:PATH`. Other places are for fleets with several replicas, which this version doesn't run.
///
/// Not read by the command line's parser, which would show what it refuses, with a password.
pub(super) fn state(text: &str) -> Result<PathBuf, CliError> {
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(path.strip_prefix("//").unwrap_or(path).into()),
        Some((scheme, rest)) if rest.starts_with("//") || scheme == "sqlite" => Err(CliError::usage(
            format!("--state: {} isn't a place that this version keeps a state in", redact_url(text)),
            "Give a file, or sqlite:PATH.",
        )),
        _ => Ok(text.into()),
    }
}

/// Watches over the worker until it ends, or a signal says stop.
///
/// # Errors
/// If the spec is wrong, or the worker can't be started, or ends again and again.
pub(crate) async fn answer(args: &RunArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    // Told here once, and not by each worker that is started.
    let spec = super::read_spec(&args.spec)?;
    args.state.as_deref().map(state).transpose()?;
    if args.create_tables {
        show::created::tell(&jobs::create_tables(&spec).await?, terminal);
    }
    let program = std::env::current_exe().map_err(|cause| CliError::Machine {
        doing: "finding this program's own file",
        cause: cause.to_string(),
    })?;
    let worker = Supervised { program, arguments: worker_arguments(std::env::args_os().skip(1)) };
    let mut signals = Signals::listen()?;
    let (stop, stopped) = watch::channel(false);
    let told = |line: &str| {
        // Who reads the answers may be gone; the migration goes on.
        let _ = terminal.answer(line);
    };
    let supervised = supervise(&worker, stopped, told);
    tokio::pin!(supervised);
    let starter_gone = async {
        if !args.until_stdin_ends || stop_requested().wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = &mut supervised => ended?,
        () = starter_gone => {
            stop.send_replace(true);
            supervised.await?
        }
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

/// The worker: does everything, until the parent closes its standard input. Its standard output is the parent's, word by
/// word, so even an error goes there as one.
///
/// # Errors
/// None: they are told, and their exit code is the answer.
pub(crate) async fn work(args: RunArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let watchdog = Watchdog::parent();
    match work_until_stopped(args, &watchdog, terminal).await {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            if terminal.json {
                watchdog.tell(&Word::Out(show::error::as_json(&error).to_string()));
            }
            terminal.say(show::error::as_text(&error, terminal).trim_end());
            Ok(error.exit())
        }
    }
}

async fn work_until_stopped(args: RunArgs, watchdog: &Watchdog, terminal: &Terminal) -> Result<(), CliError> {
    // Ctrl-C reaches both processes; it is the parent that says what follows.
    let _signals = Signals::listen()?;
    let mut stopped = stop_requested();
    let spec = Spec::read(&args.spec)?;
    let name = spec.name.clone();
    let options = RunOptions {
        state: args.state.as_deref().map(state).transpose()?,
        listen: Some(args.listen),
        flag_file: args.flag_file,
        fast: args.fast,
        watchdog: watchdog.clone(),
        clock: Clock::system(),
        ..RunOptions::new(spec)
    };
    let mut run = tokio::select! {
        run = Run::start(options) => run?,
        // Told to stop before it was up: nothing was begun that has to be ended.
        _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
    };
    watchdog.tell(&Word::Up);
    if !run.address().ip().is_loopback() {
        let told = terminal.err.warn(format_args!(
            "{} can be reached from other machines, over plain HTTP: whoever sees the traffic can read the token, and with it \
             move the migration. Listen on 127.0.0.1, or let only a network that you trust come near.",
            run.address()
        ));
        terminal.say(show::block::paragraph(&told, 0, terminal).trim_end());
    }
    if terminal.json {
        let up =
            json!({ "event": "up", "migration": name, "address": run.address(), "run_file": run.run_file() });
        watchdog.tell(&Word::Out(up.to_string()));
    } else {
        let address = terminal.err.strong(format_args!("http://{}", run.address()));
        terminal.say(format_args!(
            "{name} runs; its API is at {address}, its token in {}.",
            run.run_file().display()
        ));
        terminal.say("Where it stands: changeover status. Ctrl-C stops it.");
    }
    // The parent's end is a stop as well.
    let lost = tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => None,
        lost = run.lost() => Some(lost),
    };
    if let Some(lost) = lost {
        run.give_way(&lost).await;
        return Err(lost.into());
    }
    let farewell = run.stop().await;
    if terminal.json {
        let ended = json!({ "event": "stopped", "migration": name, "lines": farewell.lines });
        watchdog.tell(&Word::Out(ended.to_string()));
    } else {
        for line in &farewell.lines {
            terminal.say(show::block::paragraph(line, 0, terminal).trim_end());
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_a_file() {
        for (given, path) in
            [("a/b.db", "a/b.db"), ("sqlite:a/b.db", "a/b.db"), ("sqlite:///a/b.db", "/a/b.db")]
        {
            assert_eq!(state(given).unwrap(), PathBuf::from(path));
        }
        let refused = state("postgres://app:hunter2@db/x").unwrap_err().to_string();
        assert!(refused.contains("postgres://app:***@db") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn the_worker_has_the_same_arguments() {
        let own = ["-v", "run", "run", "--listen", "127.0.0.1:0"].map(OsString::from);
        let worker = worker_arguments(own.into_iter());
        assert_eq!(worker, ["-v", WORKER, "run", "--listen", "127.0.0.1:0"].map(OsString::from));
    }
}
