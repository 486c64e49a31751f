//! The `changeover` command: moves a live service from its old database to the new one, and back.
//!
//! Standard output is data, standard error is talk. Each command lives in [`commands`] with its arguments; what is
//! shown of its answer in [`show`].

mod args;
mod commands;
mod confirm;
mod demo;
mod draft;
mod error;
mod given;
mod locate;
mod logs;
mod memory;
mod patience;
mod remote;
mod show;
mod signals;
mod terminal;
mod who;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Color};
use self::error::CliError;
use self::terminal::Terminal;

/// How much stack the main thread's work may take: a debug build's async functions are large.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    memory::with_one_arena();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let terminal = Terminal::new(cli.json, cli.color);
    // The main thread's stack is the system's to size; one of our own is the same everywhere.
    let work = std::thread::Builder::new().name("main".to_owned()).stack_size(STACK_BYTES);
    let ended = work.spawn(move || answer(cli, &terminal)).map(std::thread::JoinHandle::join);
    match ended {
        Ok(Ok(code)) => code,
        // It has said so on standard error.
        Ok(Err(_panic)) => ExitCode::from(101),
        Err(_no_thread) => ExitCode::from(3),
    }
}

/// Arguments that aren't understood: in clap's own words; a program that asked for JSON gets that as well. Help and the
/// version come this way too, and are no errors.
fn not_understood(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let told = error.render().to_string();
        let told = told.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let message = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let mistake = CliError::usage(message, "Try --help.");
        let _ = Terminal::new(true, Color::default()).answer_json(&show::error::as_json(&mistake));
    }
    // As in clap: where nobody reads there is nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn answer(cli: Cli, terminal: &Terminal) -> ExitCode {
    logs::start(cli.verbose, terminal);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|cause| CliError::Machine { doing: "starting its threads", cause: cause.to_string() })
        .and_then(|runtime| {
            let result = runtime.block_on(commands::dispatch(cli.command, terminal));
            // A thread that still waits for a database must not keep the command from ending.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            show::error::show(&error, terminal);
            error.exit().into()
        }
    }
}
