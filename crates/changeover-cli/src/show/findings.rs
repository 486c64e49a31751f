//! What was found about a mapping, each with its place in the spec.

use changeover_api::Spec;
use changeover_control::place_of;
use changeover_tables::plan::{Finding, Severity};
use serde_json::{Value, json};

use super::block;
use crate::terminal::Terminal;

/// The findings as text, the heaviest first.
pub(crate) fn text(findings: &[Finding], spec: &Spec, terminal: &Terminal) -> String {
    let mut text = String::new();
    for finding in findings {
        let paint = terminal.out;
        let severity = match finding.severity {
            Severity::Error => paint.bad("error"),
            Severity::Warning => paint.warn("warning"),
            Severity::Note => paint.faint("note"),
        };
        let at = place_of(finding, spec);
        let place = format!("{}:{}:{}", spec.file().display(), at.line, at.column);
        text.push_str(&block::paragraph(
            &format!("{severity} {place}: {}", finding.what.replace('\n', " ")),
            0,
            terminal,
        ));
        if !finding.remedy.is_empty() {
            text.push_str(&block::paragraph(&finding.remedy, 4, terminal));
        }
    }
    text
}

/// The findings for programs.
pub(crate) fn json(findings: &[Finding], spec: &Spec) -> Value {
    findings
        .iter()
        .map(|finding| {
            let at = place_of(finding, spec);
            json!({
                "severity": match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Note => "note",
                },
                "table": finding.table.as_str(),
                "column": finding.column,
                "what": finding.what,
                "remedy": finding.remedy,
                "file": spec.file().display().to_string(),
                "line": at.line,
                "at": at.column,
            })
        })
        .collect()
}
