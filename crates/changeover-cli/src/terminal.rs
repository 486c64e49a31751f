//! Where words go: standard output for data, standard error for talk; with colours and a width, if it is a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use owo_colors::{OwoColorize as _, Style};
use serde::Serialize;

use crate::args::Color;
use crate::error::CliError;

/// Wider than this, lines are hard to read.
const WIDEST: usize = 120;
/// The width where nobody tells.
const USUAL: usize = 100;

/// What is known of both outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Answers are JSON.
    pub(crate) json: bool,
    /// How answers are coloured.
    pub(crate) out: Paint,
    /// How talk is coloured.
    pub(crate) err: Paint,
    /// Whether standard error is a terminal, so that a line may be rewritten.
    pub(crate) live: bool,
    /// Columns that a line may take.
    pub(crate) width: usize,
}

impl Terminal {
    pub(crate) fn new(json: bool, color: Color) -> Self {
        let paint = |is_terminal: bool| Paint {
            on: wants_colour(color, is_terminal, &|name| std::env::var_os(name)),
        };
        Self {
            json,
            out: paint(io::stdout().is_terminal()),
            err: paint(io::stderr().is_terminal()),
            live: io::stderr().is_terminal(),
            width: width(),
        }
    }

    /// Writes an answer. For a program that reads it: each is written whole, with its line's end.
    ///
    /// # Errors
    /// If standard output can't be written. A reader that has gone away (`| head`) is no error.
    pub(crate) fn answer(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
            true => out.flush(),
            false => out.write_all(b"\n").and_then(|()| out.flush()),
        });
        match written {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::Machine { doing: "writing to standard output", cause: cause.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Writes an answer as one JSON object over several lines.
    ///
    /// # Errors
    /// As [`Terminal::answer`].
    pub(crate) fn answer_json(&self, answer: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(answer)
            .map_err(|cause| CliError::Machine { doing: "writing JSON", cause: cause.to_string() })?;
        self.answer(&text)
    }

    /// Says something to the person in front of it. Nobody listening is no error.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    /// Whether there are colours.
    pub(crate) on: bool,
}

impl Paint {
    fn with(self, text: impl fmt::Display, style: Style) -> String {
        if self.on { text.style(style).to_string() } else { text.to_string() }
    }

    /// What to look at first.
    pub(crate) fn strong(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().bold())
    }

    /// What can be overlooked.
    pub(crate) fn faint(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().dimmed())
    }

    /// As it should be.
    pub(crate) fn good(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().green())
    }

    /// Look at it.
    pub(crate) fn warn(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().yellow())
    }

    /// Wrong.
    pub(crate) fn bad(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().red().bold())
    }

    /// Something to be typed.
    pub(crate) fn code(self, text: impl fmt::Display) -> String {
        self.with(text, Style::new().cyan())
    }
}

/// Whether colours are wanted: the flag first, then the environment's customs, then the terminal.
fn wants_colour(
    color: Color,
    is_terminal: bool,
    variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
        Color::Auto if is_set("CLICOLOR_FORCE") => true,
        Color::Auto => is_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let seen = || {
        let size = |fd: &dyn std::os::fd::AsFd| {
            rustix::termios::tcgetwinsize(fd.as_fd()).ok().map(|size| size.ws_col)
        };
        size(&io::stdout()).or_else(|| size(&io::stderr())).map(usize::from)
    };
    told.or_else(seen).filter(|width| *width > 0).unwrap_or(USUAL).clamp(40, WIDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_flag_then_the_customs_then_the_terminal() {
        let none = |_: &str| None;
        assert!(wants_colour(Color::Auto, true, &none));
        assert!(!wants_colour(Color::Auto, false, &none));
        assert!(wants_colour(Color::Always, false, &|_| Some("1".into())));
        assert!(!wants_colour(Color::Never, true, &none));
        assert!(!wants_colour(Color::Auto, true, &|name| (name == "NO_COLOR").then(|| "1".into())));
        assert!(wants_colour(Color::Auto, false, &|name| (name == "CLICOLOR_FORCE").then(|| "1".into())));
        assert!(!wants_colour(Color::Auto, true, &|name| (name == "TERM").then(|| "dumb".into())));
    }

    #[test]
    fn without_colours_a_text_is_itself() {
        let (plain, coloured) = (Paint { on: false }, Paint { on: true });
        assert_eq!(plain.bad("no"), "no");
        assert!(coloured.bad("no").contains("\u{1b}["));
    }
}
