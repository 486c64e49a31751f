//! A history as text, a line for each operation, so that a failing one can be kept, read by a person, cut down by
//! hand, and judged again.
//!
//! ```text
//! changeover-history 1
//! initial * absent
//! initial "booking/7" "confirmed"
//! op 3 "booking/7" write "cancelled" 1000 2000 ok
//! op 4 "booking/7" read 1500 2500 ok "confirmed"
//! op 5 "booking/7" delete 3000 - unknown
//! final "new" "booking/7" "cancelled"
//! end 3
//! ```
//!
//! After `op`: client, key, what, invoked, returned (ns; `-` if it never did), outcome (`ok`, `failed`, `unknown`),
//! and for an answered read what it saw. A content is `absent` or a quoted value; for `initial`, `*` stands for all
//! other keys and `unknown` for nobody looked. Quoted text escapes `"`, `\`, and line ends. `end` tells the number
//! of operations: a file that was cut short is not taken for a whole history. Lines that begin with `#` and empty
//! ones are comments.

use std::fmt;
use std::io::{self, BufRead, Write};

use crate::history::{Action, Content, History, HistoryError, Initial, OperationId, Outcome};

const HEADER: &str = "changeover-history 1";

/// A text that is no history.
#[derive(Debug)]
pub enum TextError {
    /// It could not be read.
    Io {
        /// The line that was to be read, counted from 1.
        line: usize,
        /// Why not.
        source: io::Error,
    },
    /// A line says nothing that a history says.
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what should be there.
        problem: String,
    },
    /// A line says what can't be.
    History {
        /// The line, counted from 1.
        line: usize,
        /// Why not.
        source: HistoryError,
    },
}

impl TextError {
    /// Whether trying again could help: only where reading failed.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// The line that it is about, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Io { line, .. } | Self::Line { line, .. } | Self::History { line, .. } => *line,
        }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { line, source } => write!(f, "line {line}: could not be read: {source}"),
            Self::Line { line, problem } => write!(f, "line {line}: {problem}"),
            Self::History { line, source } => write!(f, "line {line}: {source}"),
        }
    }
}

impl std::error::Error for TextError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Line { .. } => None,
            Self::History { source, .. } => Some(source),
        }
    }
}

impl History {
    /// Writes the history as text. Give it a buffered writer: there is a write for each line.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_text(&self, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "{HEADER}")?;
        writeln!(to, "initial * {}", initial_text(&self.default_initial))?;
        let mut named: Vec<_> = self.initial.iter().collect();
        named.sort_unstable_by_key(|(key, _)| *key);
        for (key, initial) in named {
            writeln!(to, "initial {} {}", quoted(key), initial_text(initial))?;
        }
        for operation in &self.operations {
            write!(to, "op {} {} ", operation.client, quoted(&operation.key))?;
            match &operation.action {
                Action::Read => write!(to, "read")?,
                Action::Write(value) => write!(to, "write {}", quoted(value))?,
                Action::Delete => write!(to, "delete")?,
            }
            match &operation.outcome {
                Outcome::Acknowledged { returned } => writeln!(to, " {} {returned} ok", operation.invoked)?,
                Outcome::Saw { returned, content } => {
                    writeln!(to, " {} {returned} ok {}", operation.invoked, content_text(content))?;
                }
                Outcome::Failed => writeln!(to, " {} - failed", operation.invoked)?,
                Outcome::Unknown => writeln!(to, " {} - unknown", operation.invoked)?,
            }
        }
        for seen in &self.finals {
            writeln!(
                to,
                "final {} {} {}",
                quoted(&seen.side),
                quoted(&seen.key),
                content_text(&seen.content)
            )?;
        }
        writeln!(to, "end {}", self.operations.len())
    }

    /// Reads a history from text.
    ///
    /// # Errors
    /// The first line that can't be read or makes no sense, by its number.
    pub fn read_text(from: impl BufRead) -> Result<Self, TextError> {
        let mut history = Self::new(Initial::Unknown);
        let (mut began, mut ended, mut last) = (false, false, 0);
        for (at, text) in from.lines().enumerate() {
            let line = at + 1;
            last = line;
            let text = text.map_err(|source| TextError::Io { line, source })?;
            let problem = |problem| TextError::Line { line, problem };
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if ended {
                return Err(problem("nothing may follow the line `end`".into()));
            }
            if !began {
                if text != HEADER {
                    return Err(problem(format!("expected {HEADER:?}, found {text:?}")));
                }
                began = true;
                continue;
            }
            let mut words = Words { rest: &text };
            match words.word("`initial`, `op`, `final` or `end`").map_err(problem)? {
                "initial" => read_initial(&mut words, &mut history).map_err(problem)?,
                "op" => {
                    let (id, outcome) = read_operation(&mut words, &mut history).map_err(problem)?;
                    history.complete(id, outcome).map_err(|source| TextError::History { line, source })?;
                }
                "final" => {
                    let (side, key) = (words.text("a side"), words.text("a key"));
                    let content = read_content(&mut words).map_err(problem)?;
                    history.set_final(&side.map_err(problem)?, &key.map_err(problem)?, content);
                }
                "end" => {
                    let count = words.number("the number of operations").map_err(problem)?;
                    if count != history.operations.len() as u64 {
                        let found = history.operations.len();
                        return Err(problem(format!(
                            "{count} operations should be here, but there are {found}"
                        )));
                    }
                    ended = true;
                }
                other => {
                    return Err(problem(format!(
                        "expected `initial`, `op`, `final` or `end`, found {other:?}"
                    )));
                }
            }
            words.end().map_err(problem)?;
        }
        if ended {
            return Ok(history);
        }
        let problem = "the text ends without the line `end`: it was cut short, dump the history again".into();
        Err(TextError::Line { line: last + 1, problem })
    }
}

fn read_initial(words: &mut Words<'_>, history: &mut History) -> Result<(), String> {
    let key = match words.rest.trim_start().strip_prefix('*') {
        Some(rest) => {
            words.rest = rest;
            None
        }
        None => Some(words.text("a key or `*`")?),
    };
    let initial = match words.rest.trim() {
        "unknown" => {
            words.rest = "";
            Initial::Unknown
        }
        _ => Initial::Known(read_content(words)?),
    };
    match key {
        None => history.default_initial = initial,
        Some(key) => history.set_initial(&key, initial),
    }
    Ok(())
}

fn read_operation(words: &mut Words<'_>, history: &mut History) -> Result<(OperationId, Outcome), String> {
    let client = words.number("the client's number")?;
    let key = words.text("a key")?;
    let action = match words.word("`read`, `write` or `delete`")? {
        "read" => Action::Read,
        "write" => Action::Write(words.text("the value written")?),
        "delete" => Action::Delete,
        other => return Err(format!("expected `read`, `write` or `delete`, found {other:?}")),
    };
    let invoked = words.number("the time of invocation in ns")?;
    let returned = match words.word("the time of return in ns, or `-`")? {
        "-" => None,
        word => Some(number(word, "the time of return in ns, or `-`")?),
    };
    let outcome = match (words.word("`ok`, `failed` or `unknown`")?, returned) {
        ("ok", Some(returned)) if action == Action::Read => {
            Outcome::Saw { returned, content: read_content(words)? }
        }
        ("ok", Some(returned)) => Outcome::Acknowledged { returned },
        ("ok", None) => return Err("an operation that is `ok` has a time of return".into()),
        ("failed", None) => Outcome::Failed,
        ("unknown", None) => Outcome::Unknown,
        ("failed" | "unknown", Some(_)) => {
            return Err("only an operation that is `ok` has a time of return".into());
        }
        (other, _) => return Err(format!("expected `ok`, `failed` or `unknown`, found {other:?}")),
    };
    Ok((history.begin(client, &key, action, invoked), outcome))
}

fn read_content(words: &mut Words<'_>) -> Result<Content, String> {
    let expected = "`absent` or a quoted value";
    if words.rest.trim_start().starts_with('"') {
        return Ok(Content::Value(words.text(expected)?));
    }
    match words.word(expected)? {
        "absent" => Ok(Content::Absent),
        other => Err(format!("expected {expected}, found {other:?}")),
    }
}

/// What is left of a line.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn word(&mut self, expected: &str) -> Result<&'t str, String> {
        let rest = self.rest.trim_start();
        let (word, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        self.rest = rest;
        if word.is_empty() {
            Err(format!("expected {expected}, found the end of the line"))
        } else {
            Ok(word)
        }
    }

    fn number(&mut self, expected: &str) -> Result<u64, String> {
        number(self.word(expected)?, expected)
    }

    /// Quoted text.
    fn text(&mut self, expected: &str) -> Result<Box<str>, String> {
        let Some(rest) = self.rest.trim_start().strip_prefix('"') else {
            let found = self.rest.trim_start();
            return Err(format!("expected {expected} in quotes, found {found:?}"));
        };
        let mut text = String::new();
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(text.into());
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, same @ ('"' | '\\'))) => text.push(same),
                    _ => return Err(r#"expected one of \n \r \" \\ after a backslash"#.into()),
                },
                other => text.push(other),
            }
        }
        Err(format!("the quotes around {expected} are never closed"))
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.trim() {
            "" => Ok(()),
            more => Err(format!("expected the end of the line, found {more:?}")),
        }
    }
}

fn number(word: &str, expected: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("expected {expected}, found {word:?}"))
}

fn initial_text(initial: &Initial) -> String {
    match initial {
        Initial::Known(content) => content_text(content),
        Initial::Unknown => "unknown".into(),
    }
}

fn content_text(content: &Content) -> String {
    match content {
        Content::Absent => "absent".into(),
        Content::Value(value) => quoted(value),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
