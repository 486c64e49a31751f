//! What was found about a mapping, each with its place in the spec.

use changeover_api::Spec;
use changeover_api::spec::{KeyColumn, Location, TableSpec};
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
        let at = place(finding, spec);
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
            let at = place(finding, spec);
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

/// Where in the spec a finding belongs: the column's own entry if it has one, else the table.
fn place(finding: &Finding, spec: &Spec) -> Location {
    let Some((path, table)) = spec.table(finding.table.as_str()) else { return spec.locate("table") };
    match &finding.column {
        Some(column) => column_place(spec, &path, table, column),
        None => {
            for (side, reference) in [("new", &table.new), ("old", &table.old)] {
                if finding.what.contains(&format!("no table {reference}")) {
                    return spec.locate(&format!("{path}.{side}"));
                }
            }
            spec.locate(&path)
        }
    }
}

fn column_place(spec: &Spec, path: &str, table: &TableSpec, column: &str) -> Location {
    let is = |name: &str| name.eq_ignore_ascii_case(column);
    for part in &table.key {
        match part {
            KeyColumn::Columns { old, .. } | KeyColumn::OldConst { old, .. } if is(old) => {
                return spec.locate_name(&format!("{path}.key.{old}"));
            }
            KeyColumn::Columns { old, new } if is(new) => return spec.locate(&format!("{path}.key.{old}")),
            _ => {}
        }
    }
    for (field, columns) in [("set", &table.set), ("back", &table.back)] {
        if let Some(given) = columns.iter().find(|given| is(&given.column)) {
            return spec.locate_name(&format!("{path}.{field}.{}", given.column));
        }
    }
    match table.rules.iter().position(|rule| is(&rule.column)) {
        Some(n) => spec.locate(&format!("{path}.rules[{n}]")),
        None => spec.locate(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_finding_points_at_the_columns_own_entry() {
        let text = "format = 1\nname = \"b\"\n[store.a]\nurl = \"sqlite:a.db\"\n[store.c]\nurl = \"sqlite:c.db\"\n\
                    [[table]]\nold = \"a:t\"\nnew = \"c:u\"\nkey = { id = \"uid\" }\nset = { x = \"1\" }\n\
                    rules = [{ column = \"y\", ignore = true }]\n";
        let spec = Spec::parse(Path::new("b.toml"), text).unwrap();
        let at = |column: Option<&str>, what: &str| {
            let finding = Finding {
                severity: Severity::Error,
                table: "t".into(),
                column: column.map(str::to_owned),
                what: what.to_owned(),
                remedy: String::new(),
            };
            let at = place(&finding, &spec);
            (at.line, at.column)
        };
        assert_eq!(at(Some("id"), ""), (10, 9));
        assert_eq!(at(Some("uid"), ""), (10, 14));
        assert_eq!(at(Some("x"), ""), (11, 9));
        assert_eq!(at(Some("y"), "").0, 12);
        assert_eq!(at(None, "there is no table c:u"), (9, 7));
        assert_eq!(at(Some("elsewhere"), "").0, 7);
    }
}
