//! Logs: to standard error, quiet unless asked for, and coloured on a terminal alone.

use tracing_subscriber::EnvFilter;

use crate::terminal::Terminal;

/// Starts logging: `-v` tells what is done, `-vv` everything of ours; `RUST_LOG` overrides both.
pub(crate) fn start(verbose: u8, terminal: &Terminal) {
    let usual = match verbose {
        0 => "warn",
        1 => "warn,changeover=info,changeover_control=info,changeover_tables=info,changeover_api=info",
        _ => "info,changeover=trace,changeover_control=trace,changeover_tables=trace,changeover_api=trace",
    };
    let told = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match told.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            terminal.say(format_args!("RUST_LOG isn't understood ({error}); it is left out of account"));
            EnvFilter::new(usual)
        }
        None => EnvFilter::new(usual),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal.err.on)
        .with_target(verbose > 1)
        .try_init();
    if let Err(error) = started {
        terminal.say(format_args!("no logs: {error}"));
    }
}
