//! Writing a spec for a person to read on: what `changeover init` found, with its guesses marked as such.
//!
//! What is written can be read again by [`Spec::parse`](super::Spec::parse). Each column has a line of its own, so
//! that each guess can be looked at, and struck out, by itself.

use std::fmt::Write as _;

use changeover::Value;
use changeover::protocol::moves::Mirror;

use super::table::{Source, TableRef};
use super::{FORMAT, UrlSource};

/// A spec to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What stands above everything, a comment for each line.
    pub intro: Vec<String>,
    /// The migration's name.
    pub name: String,
    /// What carries the changes.
    pub mirror: Mirror,
    /// The stores.
    pub stores: Vec<DraftStore>,
    /// The tables.
    pub tables: Vec<DraftTable>,
    /// What was found and left out, with the reason: a comment for each line, after the tables.
    pub left_out: Vec<String>,
}

/// A store to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftStore {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// Where its URL comes from.
    pub url: UrlSource,
    /// What stands beside it as a comment.
    pub note: Option<String>,
}

/// A mapping to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftTable {
    /// What stands above it, a comment for each line.
    pub notes: Vec<String>,
    /// Its name, if the old table's isn't good enough.
    pub name: Option<String>,
    /// The table on the old side.
    pub old: TableRef,
    /// The table on the new side.
    pub new: TableRef,
    /// Old columns of the key, and what they are called on the new side. None: it is to be decided, and until then the
    /// whole table is a comment.
    pub key: Vec<(String, String)>,
    /// What stands beside the key.
    pub key_note: Option<String>,
    /// What columns of the new side are made of.
    pub set: Vec<DraftColumn>,
    /// What columns of the old side are made of.
    pub back: Vec<DraftColumn>,
}

/// A column to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftColumn {
    /// The column.
    pub column: String,
    /// What it is made of; unknown, it is written as a comment to be filled in.
    pub from: Option<Source>,
    /// What stands beside it, as in `guess: the only column with a like name`.
    pub note: Option<String>,
}

impl Draft {
    /// The spec as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        comments(&mut out, &self.intro);
        let mirror = match self.mirror {
            Mirror::Capture => "capture",
            Mirror::DualWrite => "dual-write",
        };
        let other = if self.mirror == Mirror::Capture { "dual-write" } else { "capture" };
        line(&mut out, &format!("format = {FORMAT}"), None);
        line(&mut out, &format!("name = {}", text(&self.name)), None);
        line(&mut out, &format!("mirror = \"{mirror}\""), Some(&format!("or \"{other}\"")));
        line(&mut out, "phases = [\"old\", \"shadow\", \"reverse-shadow\", \"new\"]", None);
        for store in &self.stores {
            self::store(&mut out, store);
        }
        for table in &self.tables {
            self::table(&mut out, table);
        }
        if !self.left_out.is_empty() {
            out.push('\n');
            comments(&mut out, &self.left_out);
        }
        out.push_str(GATE);
        out
    }
}

const GATE: &str = "
[gate]
# What must hold before the next phase may be entered. The gate on mismatches is for services that make
# shadow calls through the library; without them it would never open.
# mismatch = { max = \"0.01 %\", over = 10000 }
# calls = { errors = \"0.5 %\", slower_by = 1.5, slack = \"5ms\" }    # how much worse the new side may be
bake = { reverse-shadow = \"7d\", new = \"7d\" }    # how long a phase must have held before the next
";

fn store(out: &mut String, store: &DraftStore) {
    let _ = writeln!(out, "\n[store.{}]", key(&store.name));
    let entry = match &store.url {
        UrlSource::Given(url) => format!("url = {}", text(&url.to_string())),
        UrlSource::Env(name) => format!("url_env = {}", text(name)),
        UrlSource::File(path) => format!("url_file = {}", text(&path.display().to_string())),
    };
    line(out, &entry, store.note.as_deref());
}

/// Without its key a table can't be read again: it is there as a comment, to be filled in.
fn table(out: &mut String, table: &DraftTable) {
    out.push('\n');
    if !table.key.is_empty() {
        out.push_str("[[table]]\n");
        comments(out, &table.notes);
        return entries(out, table);
    }
    comments(out, &table.notes);
    let mut undecided = "[[table]]\n".to_owned();
    entries(&mut undecided, table);
    comments(out, &[undecided]);
}

fn entries(out: &mut String, table: &DraftTable) {
    if let Some(name) = &table.name {
        line(out, &format!("name = {}", text(name)), None);
    }
    line(out, &format!("old = {}", text(&table.old.to_string())), None);
    line(out, &format!("new = {}", text(&table.new.to_string())), None);
    let pairs: Vec<_> = table
        .key
        .iter()
        .map(|(old, new)| format!("{} = {}", key(&key_column(old)), text(&key_column(new))))
        .collect();
    let pairs = if pairs.is_empty() { "OLD_COLUMN = \"NEW_COLUMN\"".to_owned() } else { pairs.join(", ") };
    line(out, &format!("key = {{ {pairs} }}"), table.key_note.as_deref());
    columns(out, "set", &table.set);
    columns(out, "back", &table.back);
}

/// A key's column that the reader would take for an expression stands in double quotes.
fn key_column(name: &str) -> String {
    let is_plain = !name.contains(['(', ')', '\'', '"', '+', '*', '/', '|', ',', ';']);
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn columns(out: &mut String, field: &str, columns: &[DraftColumn]) {
    for DraftColumn { column, from, note } in columns {
        let name = key(column);
        let entry = match from {
            Some(Source::Sql(sql)) => format!("{field}.{name} = {}", text(sql)),
            Some(Source::Const(value)) => format!("{field}.{name} = {{ const = {} }}", constant(value)),
            None => format!("# {field}.{name} = \"\""),
        };
        line(out, &entry, note.as_deref());
    }
}

fn constant(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        // Debug keeps a point or an exponent, without which TOML would read an integer.
        Value::Real(number) => format!("{number:?}"),
        Value::Text(words) => text(words),
        // The others have no constant in a spec; whoever drafts gives SQL for them.
        other => text(&other.to_string()),
    }
}

fn comments(out: &mut String, lines: &[String]) {
    for line in lines.iter().flat_map(|text| text.lines()) {
        let _ = writeln!(out, "# {}", printable(line));
    }
}

fn line(out: &mut String, entry: &str, note: Option<&str>) {
    match note {
        Some(note) => {
            let _ = writeln!(out, "{entry}    # {}", printable(note));
        }
        None => {
            let _ = writeln!(out, "{entry}");
        }
    }
}

/// A comment ends with its line, and TOML allows no control characters in it.
fn printable(note: &str) -> String {
    note.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    // A JSON string is a basic string of TOML, but for DEL, which TOML wants escaped.
    if is_bare { name.to_owned() } else { serde_json::json!(name).to_string().replace('\u{7f}', "\\u007F") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::{Spec, StoreUrl};
    use super::*;

    fn draft(columns: &[(String, Source)]) -> Draft {
        let store = |name: &str, path: &str| DraftStore {
            name: name.to_owned(),
            url: UrlSource::Given(StoreUrl::Sqlite { path: path.into() }),
            note: None,
        };
        let at = |store: &str, table: &str| TableRef {
            store: store.to_owned(),
            schema: None,
            table: table.to_owned(),
        };
        let set = columns.iter().map(|(column, from)| DraftColumn {
            column: column.clone(),
            from: Some(from.clone()),
            note: Some("guess: a like name\nof a like type".to_owned()),
        });
        Draft {
            intro: vec!["Made by hand".to_owned()],
            name: "bookings".to_owned(),
            mirror: Mirror::Capture,
            stores: vec![store("old", "old \"1\".db"), store("new", "new.db")],
            tables: vec![DraftTable {
                notes: vec!["4 rows".to_owned()],
                name: None,
                old: at("old", "book.ings"),
                new: at("new", "booking"),
                key: vec![("id".to_owned(), "booking id".to_owned()), ("a+b".to_owned(), "x\"y".to_owned())],
                key_note: Some("guess".to_owned()),
                set: set.collect(),
                back: vec![DraftColumn {
                    column: "state".to_owned(),
                    from: None,
                    note: Some("?".to_owned()),
                }],
            }],
            left_out: vec!["table log: it has no key".to_owned()],
        }
    }

    #[test]
    fn a_draft_is_a_spec_with_its_guesses_beside_the_columns() {
        let sql = |sql: &str| Source::Sql(sql.to_owned());
        let columns = [
            ("status".to_owned(), sql("upper(state) || '\"\\'")),
            ("region".to_owned(), Source::Const(Value::Text("eu".to_owned()))),
            ("größe".to_owned(), Source::Const(Value::Real(2.0))),
        ];
        let text = draft(&columns).to_toml();
        let spec = Spec::parse(Path::new("x.toml"), &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let read: Vec<_> = spec.tables[0].set.iter().map(|c| (c.column.clone(), c.from.clone())).collect();
        assert_eq!(read, columns);
        assert_eq!(spec.tables[0].name, "book.ings");
        assert_eq!(spec.tables[0].back, []);
        assert!(text.contains("# back.state = \"\"    # ?"), "{text}");
        assert!(text.contains("# guess: a like name of a like type"), "{text}");
        assert!(text.contains("# mismatch = {"), "{text}");
        assert_eq!(spec.locate("table[0].set.region").line, spec.locate("table[0].set.status").line + 1);
    }

    #[test]
    fn a_table_whose_key_is_to_be_decided_is_a_comment() {
        let sql = |sql: &str| Source::Sql(sql.to_owned());
        let mut undecided = draft(&[("status".to_owned(), sql("state"))]);
        let decided = undecided.tables[0].clone();
        undecided.tables[0].key.clear();
        undecided.tables.push(decided);
        let text = undecided.to_toml();
        let spec = Spec::parse(Path::new("x.toml"), &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(spec.tables.len(), 1, "{text}");
        for line in
            ["# [[table]]", "# key = { OLD_COLUMN = \"NEW_COLUMN\" }    # guess", "# set.status = \"state\""]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    fn a_source() -> impl Strategy<Value = Source> {
        prop_oneof![
            "\\PC{1,30}".prop_map(Source::Sql),
            any::<i64>().prop_map(|n| Source::Const(Value::Int(n))),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| Source::Const(Value::Real(x))),
            any::<String>().prop_map(|text| Source::Const(Value::Text(text))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            columns in proptest::collection::btree_map(any::<String>(), a_source(), 0..6)
        ) {
            let columns: Vec<_> = columns.into_iter().filter(|(name, _)| !name.is_empty()).collect();
            let text = draft(&columns).to_toml();
            let spec = match Spec::parse(Path::new("x.toml"), &text) {
                Ok(spec) => spec,
                Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{text}"))),
            };
            let read: Vec<_> = spec.tables[0].set.iter().map(|c| (c.column.clone(), c.from.clone())).collect();
            prop_assert_eq!(read, columns);
        }
    }
}
