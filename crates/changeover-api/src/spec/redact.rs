//! `[evidence] redact`: whose values are never shown. A column is redacted by either side's name, and whatever is made of
//! it on the way to the other side with it: there it would be the same value under another name.

use super::{KeyColumn, SetColumn, Source, Spec, TableSpec};

/// A column that `redact` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redacted<'s> {
    /// Where it stands: `evidence.redact[0]`, for [`Spec::locate`].
    pub at: usize,
    /// The mapping, where one is named.
    pub mapping: Option<&'s str>,
    /// The column.
    pub column: &'s str,
}

impl Spec {
    /// The columns that `redact` names, but for `*`.
    pub fn redacted(&self) -> impl Iterator<Item = Redacted<'_>> {
        let entries = self.evidence.redact.iter().enumerate().filter(|(_, entry)| *entry != "*");
        entries.map(|(at, entry)| match entry.rsplit_once('.') {
            Some((mapping, column)) => Redacted { at, mapping: Some(mapping), column },
            None => Redacted { at, mapping: None, column: entry },
        })
    }

    /// Each mapping with the columns that are made of a redacted one.
    pub(super) fn implied_redactions(&self) -> Vec<(String, String)> {
        let mut implied = Vec::new();
        for named in self.redacted() {
            for table in
                self.tables.iter().filter(|table| named.mapping.is_none_or(|name| name == table.name))
            {
                implied.extend(made_of(table, named.column).into_iter().map(|c| (table.name.clone(), c)));
            }
        }
        implied.sort();
        implied.dedup();
        implied
    }
}

/// The columns of either side that get their values from this one, whichever side has it.
fn made_of(table: &TableSpec, column: &str) -> Vec<String> {
    let mut names = vec![column.to_owned()];
    // The old side's column on its way to the new one; then what comes back of that.
    names.extend(over(&table.set, &names));
    names.extend(over(&table.back, &names));
    for entry in &table.key {
        let KeyColumn::Columns { old, new } = entry else { continue };
        let is = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        match (is(old), is(new)) {
            (true, false) => names.push(new.clone()),
            (false, true) => names.push(old.clone()),
            _ => {}
        }
    }
    names.split_off(1)
}

/// Those of the columns whose expression uses one of the names.
fn over(columns: &[SetColumn], names: &[String]) -> Vec<String> {
    let uses = |from: &Source| match from {
        Source::Sql(sql) => names.iter().any(|name| mentions(sql, name)),
        Source::Const(_) => false,
    };
    columns.iter().filter(|column| uses(&column.from)).map(|column| column.column.clone()).collect()
}

/// Whether SQL may use a column. A word of a text that is spelled the same counts as well: one column too many is hidden then.
fn mentions(sql: &str, column: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    if column.chars().all(in_word) {
        return sql.split(|c| !in_word(c)).any(|word| word.eq_ignore_ascii_case(column));
    }
    sql.to_lowercase().contains(&column.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn spec(redact: &str) -> Spec {
        let text = format!(
            "format = 1\nname = \"b\"\n[store.a]\nurl = \"sqlite:a.db\"\n[store.c]\nurl = \"sqlite:c.db\"\n\
             [[table]]\nold = \"a:t\"\nnew = \"c:u\"\nkey = {{ id = \"uid\" }}\n\
             set = {{ passenger = \"trim(name)\", kind = {{ const = \"name\" }}, seat = '\"seat no\" + 0' }}\n\
             back = {{ name = \"passenger\", initial = \"substr(Passenger, 1, 1)\" }}\n\
             [evidence]\nredact = [{redact}]\n"
        );
        Spec::parse(Path::new("b.toml"), &text).unwrap()
    }

    #[test]
    fn a_column_is_redacted_by_either_sides_name_and_with_what_is_made_of_it() {
        let hides = |redact: &str| {
            let spec = spec(redact);
            let names = ["id", "uid", "name", "passenger", "initial", "kind", "seat no", "seat"];
            names.into_iter().filter(|name| spec.evidence.redacts("t", name)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(hides("\"name\""), "name passenger initial");
        assert_eq!(hides("\"t.NAME\""), "name passenger initial");
        assert_eq!(hides("\"passenger\""), "name passenger initial");
        assert_eq!(hides("\"initial\""), "initial");
        assert_eq!(hides("\"id\""), "id uid");
        assert_eq!(hides("\"uid\""), "id uid");
        assert_eq!(hides("\"seat no\""), "seat no seat");
        assert_eq!(hides(""), "");
        assert!(!spec("\"name\"").evidence.redacts("other", "passenger"));
    }
}
