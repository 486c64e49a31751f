//! Asking before something is done that can't be undone.

use std::io::IsTerminal as _;

use dialoguer::Confirm;
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};

use crate::args::Sure;
use crate::error::CliError;
use crate::terminal::Terminal;

/// Asks whether to go on; `consequence` says what can't be undone. `false`: the answer was no.
///
/// # Errors
/// If nobody is there to be asked and `--yes` wasn't given.
pub(crate) fn confirm(
    sure: Sure,
    terminal: &Terminal,
    consequence: &str,
    question: &str,
) -> Result<bool, CliError> {
    if sure.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !terminal.live {
        return Err(CliError::usage(consequence, "To do it without being asked: add --yes"));
    }
    terminal.say(terminal.err.warn(consequence));
    let theme: &dyn Theme = if terminal.err.on { &ColorfulTheme::default() } else { &SimpleTheme };
    let answered = Confirm::with_theme(theme).with_prompt(question).default(false).interact_opt();
    match answered {
        Ok(Some(true)) => Ok(true),
        Ok(_) => {
            terminal.say("Nothing was done.");
            Ok(false)
        }
        Err(cause) => Err(CliError::Machine { doing: "asking", cause: cause.to_string() }),
    }
}
