//! A spec's text, where things stand in it, and the errors that point there.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::secret::password_in;

/// Something that is wrong in a spec: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The file, as it was named by whoever asked for it.
    pub file: PathBuf,
    /// The line, from 1; 0 where there is no text to point into.
    pub line: usize,
    /// The column, from 1, in characters; 0 where there is no text to point into.
    pub column: usize,
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl SpecError {
    /// `FILE:LINE:COLUMN`, as editors and other programs understand it; the file alone where it couldn't be read.
    #[must_use]
    pub fn place(&self) -> String {
        match self.line {
            0 => self.file.display().to_string(),
            line => format!("{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

impl std::error::Error for SpecError {}

/// Everything that is wrong in a spec, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    /// The text, for whoever shows an excerpt. A password that stood in it is overwritten.
    pub text: Arc<str>,
    /// The errors: at least one.
    pub errors: Vec<SpecError>,
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// A place in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The bytes of the text.
    pub span: Range<usize>,
}

/// The text of a spec, and where each of its values stands.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: Arc<str>,
    /// By path: where the name stands, and where the value.
    places: HashMap<String, Place>,
}

#[derive(Debug, Clone)]
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.into(), places: HashMap::new() }
    }

    pub(super) fn note(&mut self, path: &str, name: Range<usize>, value: Range<usize>) {
        self.places.insert(path.to_owned(), Place { name, value });
    }

    /// Where the value of this path stands; of what it would be a part of, if it isn't in the file.
    pub(super) fn value_of(&self, path: &str) -> Range<usize> {
        self.place(path).map_or(0..0, |place| place.value.clone())
    }

    /// Where the name of this path stands.
    pub(super) fn name_of(&self, path: &str) -> Range<usize> {
        self.place(path).map_or(0..0, |place| place.name.clone())
    }

    /// Whether the file has a value of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    fn place(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    pub(super) fn location(&self, span: Range<usize>) -> Location {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Location {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
        }
    }

    pub(super) fn error(&self, span: Range<usize>, message: String, hint: Option<String>) -> SpecError {
        let Location { line, column, span } = self.location(span);
        SpecError { file: self.file.clone(), line, column, span, message, hint }
    }

    /// Overwrites whatever looks like a password, in a text that couldn't be read further.
    pub(super) fn hide_passwords(&mut self) {
        let mut line_start = 0;
        for line in Arc::clone(&self.text).split_inclusive('\n') {
            if let Some(at) = password_in(line.trim_end()) {
                self.hide(line_start + at.start..line_start + at.end);
            }
            line_start += line.len();
        }
    }

    /// Overwrites a part of the text, each byte by one, so that everything else stays where it is.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        let mut text = self.text.to_string();
        if text.is_char_boundary(span.start) && text.is_char_boundary(span.end) {
            text.replace_range(span.clone(), &"*".repeat(span.len()));
        }
        self.text = text.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_begin_at_one() {
        let text = "a = 1\nZoë = 2\n";
        let source = Source::new(Path::new("x.toml"), text);
        let at = source.location(text.find("= 2").unwrap()..text.len());
        assert_eq!((at.line, at.column), (2, 5));
        let end = source.location(text.len()..text.len());
        assert_eq!((end.line, end.column), (3, 1));
    }

    #[test]
    fn what_is_not_there_is_looked_for_in_what_it_would_be_part_of() {
        let mut source = Source::new(Path::new("x.toml"), "0123456789");
        source.note("table[0]", 0..1, 2..9);
        source.note("table[0].set", 3..4, 5..6);
        assert_eq!(source.value_of("table[0].set.status"), 5..6);
        assert_eq!(source.name_of("table[0].key"), 0..1);
        assert_eq!(source.value_of("store.x"), 0..0);
    }
}
