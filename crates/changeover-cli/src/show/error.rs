//! Errors: for a person with the place in the spec and what to do, for a program as one JSON object.

use std::fmt;

use changeover_api::spec::{SpecError, SpecErrors};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::show::block;
use crate::terminal::Terminal;

/// Shows an error: to the person always, to a program (`--json`) on standard output as well.
pub(crate) fn show(error: &CliError, terminal: &Terminal) {
    if terminal.json {
        // A reader that is gone, or a full disk: it is told on standard error all the same.
        let _ = terminal.answer_json(&as_json(error));
    }
    terminal.say(as_text(error, terminal).trim_end());
}

/// An error as one object.
pub(crate) fn as_json(error: &CliError) -> Value {
    let mut object = json!({
        "code": error.code(),
        "class": error.exit().name(),
        "exit": error.exit() as u8,
        "message": error.to_string(),
    });
    if let Some(hint) = error.hint() {
        object["hint"] = hint.into();
    }
    if let Some(details) = error.details() {
        object["details"] = details.clone();
    }
    if let Some(errors) = error.places() {
        object["places"] = errors.errors.iter().map(place_as_json).collect();
    }
    json!({ "error": object })
}

/// One error of a spec.
pub(crate) fn place_as_json(error: &SpecError) -> Value {
    json!({
        "file": error.file.display().to_string(),
        "line": (error.line > 0).then_some(error.line),
        "column": (error.column > 0).then_some(error.column),
        "message": error.message,
        "hint": error.hint,
    })
}

/// An error for a person.
pub(crate) fn as_text(error: &CliError, terminal: &Terminal) -> String {
    if let Some(errors) = error.places() {
        return places(errors, terminal);
    }
    let mut text = format!("{} {error}", terminal.err.bad("error:"));
    if let Some(hint) = error.hint() {
        text.push('\n');
        text.push_str(hint);
    }
    block::paragraph(&text, 0, terminal)
}

/// All errors of a spec, each with the lines it points at.
fn places(errors: &SpecErrors, terminal: &Terminal) -> String {
    let theme = if terminal.err.on { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(terminal.width).with_links(false);
    let mut text = String::new();
    for error in &errors.errors {
        // First the one line that editors and other programs understand.
        text.push_str(&format!("{} {}: {}\n", terminal.err.bad("error:"), error.place(), error.message));
        let source = NamedSource::new(error.file.display().to_string(), errors.text.to_string());
        let excerpt = Excerpt { error, source };
        let mut drawn = String::new();
        if errors.text.is_empty() || handler.render_report(&mut drawn, &excerpt).is_err() {
            // No text to point into: the hint alone.
            drawn = error.hint.as_ref().map(|hint| format!("  help: {hint}\n")).unwrap_or_default();
        }
        // The message stands above already.
        for line in drawn.lines().skip_while(|line| !(line.contains("╭─") || line.contains("help:"))) {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    if errors.errors.len() > 1 {
        text.push_str(&format!("{} mistakes; nothing was done.\n", errors.errors.len()));
    }
    text
}

/// A spec's error in the form that miette draws.
#[derive(Debug)]
struct Excerpt<'e> {
    error: &'e SpecError,
    source: NamedSource<String>,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl std::error::Error for Excerpt<'_> {}

impl Diagnostic for Excerpt<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.error.span.clone();
        let length = span.len().max(1);
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), span.start, length))))
    }
}
