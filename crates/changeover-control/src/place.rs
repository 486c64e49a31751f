//! Where in the spec something belongs that only the databases could tell.

use changeover_api::Spec;
use changeover_api::spec::{KeyColumn, Location, TableSpec};
use changeover_tables::plan::Finding;

/// Where in the spec a finding belongs: the column's own entry if it has one, else the table.
#[must_use]
pub fn place_of(finding: &Finding, spec: &Spec) -> Location {
    let Some((path, table)) = spec.table(finding.table.as_str()) else { return spec.locate("table") };
    // What is said of a field begins with the field's name.
    let of = |field: &str| finding.what.starts_with(&format!("`{field}`"));
    match &finding.column {
        Some(column) if of("rules") => rule_place(spec, &path, table, column),
        Some(column) => column_place(spec, &path, table, column),
        None => {
            for (side, reference) in [("new", &table.new), ("old", &table.old)] {
                if finding.what.contains(&format!("no table {reference}")) {
                    return spec.locate(&format!("{path}.{side}"));
                }
            }
            match ["where", "key"].into_iter().find(|field| of(field)) {
                Some(field) => spec.locate(&format!("{path}.{field}")),
                None => spec.locate(&path),
            }
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
    rule_place(spec, path, table, column)
}

fn rule_place(spec: &Spec, path: &str, table: &TableSpec, column: &str) -> Location {
    let is = |name: &str| name.eq_ignore_ascii_case(column);
    match table.rules.iter().position(|rule| is(&rule.column)) {
        Some(n) => spec.locate(&format!("{path}.rules[{n}]")),
        None => match spec.redacted().find(|named| is(named.column)) {
            Some(named) => spec.locate(&format!("evidence.redact[{}]", named.at)),
            None => spec.locate(path),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use changeover_tables::plan::Severity;

    use super::*;

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
            let at = place_of(&finding, &spec);
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
