//! From guesses to a spec: what is certain as it stands, what isn't with a mark, what is missing as a comment to fill in.

use std::path::Path;

use changeover_api::spec::{Draft, DraftColumn, DraftStore, DraftTable, Source, TableRef};
use changeover_protocol::Side;
use changeover_protocol::moves::Mirror;
use changeover_tables::catalog::{Catalog, Engine, TableKind};
use changeover_tables::guess::{Certainty, GuessedColumn, GuessedTable, Guesses, NoTable};
use changeover_tables::mapping;

use crate::given::Given;

/// Both databases: the store's name, where it is, and what it says of itself.
pub(crate) struct Sides<'c> {
    pub(crate) old: (String, Given),
    pub(crate) new: (String, Given),
    pub(crate) catalogs: (&'c Catalog, &'c Catalog),
}

/// What the stores are called: as their files, if that makes two names.
pub(crate) fn store_names(old: &Path, new: &Path) -> (String, String) {
    let (old, new) = (plain_stem(old), plain_stem(new));
    if old.is_empty() || new.is_empty() || old == new {
        ("old".to_owned(), "new".to_owned())
    } else {
        (old, new)
    }
}

/// What the migration is called: as its only table, else as the old database.
pub(crate) fn migration_name(guesses: &Guesses, old: &Path) -> String {
    let table = match guesses.tables.as_slice() {
        [only] => plain(&only.old.table),
        _ => String::new(),
    };
    let name = if table.is_empty() { plain_stem(old) } else { table };
    if name.is_empty() { "migration".to_owned() } else { name }
}

fn plain_stem(path: &Path) -> String {
    plain(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// The letters, digits, `-` and `_` of a text, from its first letter or digit on.
fn plain(text: &str) -> String {
    let plain: String =
        text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
    plain.trim_start_matches(['-', '_']).chars().take(63).collect()
}

/// The spec.
pub(crate) fn draft(name: &str, guesses: &Guesses, sides: &Sides<'_>) -> Draft {
    let store = |(name, given): &(String, Given)| DraftStore {
        name: name.clone(),
        url: given.source.clone(),
        note: given.note.clone(),
    };
    let mut left_out: Vec<String> = Vec::new();
    for (side, alone) in [("old", &guesses.old_alone), ("new", &guesses.new_alone)] {
        left_out.extend(alone.iter().map(|table| {
            format!("The {side} side's table {table} resembles none of the other side's. To move it: a [[table]] of its own.")
        }));
    }
    left_out.extend(guesses.no_tables.iter().map(no_table));
    if guesses.tables.is_empty() {
        left_out.push(
            "No table of one side resembles one of the other: write a [[table]] with old, new and key."
                .to_owned(),
        );
    }
    Draft {
        intro: vec![
            format!("The migration `{name}`, as `changeover init` guessed it from both databases."),
            "Look at each line that says guess, and at what is commented out. Then: changeover check"
                .to_owned(),
        ],
        name: name.to_owned(),
        mirror: Mirror::Capture,
        stores: vec![store(&sides.old), store(&sides.new)],
        tables: guesses.tables.iter().map(|guessed| table(guessed, sides)).collect(),
        left_out,
    }
}

/// A view or a virtual table, with what becomes of it.
fn no_table(one: &NoTable) -> String {
    let NoTable { side, kind, name } = one;
    match (kind, side) {
        (TableKind::View, Side::Old) => {
            format!(
                "The old side's view {name} is left out: it holds no rows. If it is wanted: make it on the new side."
            )
        }
        (TableKind::View, Side::New) => {
            format!("The new side's view {name} is left alone: it holds no rows.")
        }
        _ => format!(
            "The {side} side's {name} is left out: it is a virtual table, or a part of one, and triggers can't see what \
             changes there. Where it can be made anew of other tables, do that on the new side."
        ),
    }
}

fn table(guessed: &GuessedTable, sides: &Sides<'_>) -> DraftTable {
    let mut notes = Vec::new();
    if guessed.to_be_made {
        notes.push(
            "guess: the new side has no tables yet; check proposes this one as the old one is".to_owned(),
        );
    } else if guessed.certainty == Certainty::Guess {
        notes.push("guess: these two tables have similar names or columns".to_owned());
    }
    if !guessed.key_note.is_empty() {
        notes.push(format!("Not moved before you decide by what its rows are known: {}.", guessed.key_note));
        notes.push("Then write the key, and take the # away from each line of this table.".to_owned());
    }
    let is_key = |column: &GuessedColumn| guessed.key.iter().any(|part| part.new == column.new);
    let columns: Vec<&GuessedColumn> = guessed.columns.iter().filter(|column| !is_key(column)).collect();
    let renamed = columns.iter().filter(|column| column.old.as_deref() != Some(&column.new));
    let (old_in, new_in) = (sides.catalogs.0.engine, sides.catalogs.1.engine);
    let set = renamed.clone().filter_map(|column| set_column(column, old_in)).collect();
    let mut back: Vec<DraftColumn> = renamed
        .filter_map(|column| {
            let old = column.old.as_ref()?;
            Some(DraftColumn {
                column: old.clone(),
                from: Some(sql(&column.new, new_in)),
                note: Some("guess".to_owned()),
            })
        })
        .collect();
    back.extend(
        guessed.left_behind.iter().filter(|name| !guessed.key.iter().any(|part| part.old == **name)).map(
            |column| DraftColumn {
                column: column.clone(),
                from: None,
                note: Some(
                    "no new column is made of it; without this line it keeps its value on the way back"
                        .to_owned(),
                ),
            },
        ),
    );
    let kinds = notes_on_types(&columns, sides);
    notes.extend(kinds);
    DraftTable {
        notes,
        name: None,
        old: reference(&guessed.old),
        new: reference(&guessed.new),
        key: guessed.key.iter().map(|part| (part.old.clone(), part.new.clone())).collect(),
        key_note: (guessed.key_certainty == Certainty::Guess).then(|| "guess".to_owned()),
        set,
        back,
    }
}

/// A new column that isn't the old one of the same name.
fn set_column(column: &GuessedColumn, old_in: Engine) -> Option<DraftColumn> {
    let guess = |note: &str| match note {
        "" => "guess: a like name".to_owned(),
        note => format!("guess: a like name; {note}"),
    };
    match &column.old {
        Some(old) => Some(DraftColumn {
            column: column.new.clone(),
            from: Some(sql(old, old_in)),
            note: Some(guess(&column.note)),
        }),
        None if column.needed => Some(DraftColumn {
            column: column.new.clone(),
            from: None,
            note: Some("needed: it is NOT NULL, without a default, and no old column is like it".to_owned()),
        }),
        None => Some(DraftColumn {
            column: column.new.clone(),
            from: None,
            note: Some("no old column is like it; without this line it takes its default".to_owned()),
        }),
    }
}

/// Columns of the same name and another type aren't in `set`, so what differs is said above.
fn notes_on_types(columns: &[&GuessedColumn], sides: &Sides<'_>) -> Vec<String> {
    let (old, new) = (&sides.catalogs.0.store, &sides.catalogs.1.store);
    columns
        .iter()
        .filter(|column| column.old.as_deref() == Some(&column.new) && !column.note.is_empty())
        .map(|column| format!("{}: another type ({}), in {old} and {new}", column.new, column.note))
        .collect()
}

/// Names of columns that are met often, and that mean something else without quotes.
const RESERVED: [&str; 30] = [
    "all",
    "and",
    "as",
    "asc",
    "by",
    "case",
    "check",
    "column",
    "condition",
    "default",
    "desc",
    "end",
    "for",
    "from",
    "group",
    "in",
    "index",
    "is",
    "key",
    "limit",
    "not",
    "offset",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "table",
    "to",
    "user",
];

/// A column's name as SQL: in quotes where it would be taken for another, or for none.
fn sql(column: &str, engine: Engine) -> Source {
    // Without quotes PostgreSQL makes capitals small.
    let is_letter =
        |c: char| if engine == Engine::Postgres { c.is_ascii_lowercase() } else { c.is_ascii_alphabetic() };
    let is_plain = column.chars().next().is_some_and(|c| is_letter(c) || c == '_')
        && column.chars().all(|c| is_letter(c) || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&column.to_ascii_lowercase().as_str());
    Source::Sql(match engine {
        _ if is_plain => column.to_owned(),
        Engine::MariaDb(..) | Engine::MySql => format!("`{}`", column.replace('`', "``")),
        Engine::Postgres | Engine::Sqlite => format!("\"{}\"", column.replace('"', "\"\"")),
    })
}

fn reference(table: &mapping::TableRef) -> TableRef {
    TableRef { store: table.store.clone(), schema: table.schema.clone(), table: table.table.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_called_as_their_files_if_that_makes_two_names() {
        let names = |old: &str, new: &str| store_names(Path::new(old), Path::new(new));
        assert_eq!(names("a/legacy.db", "b/flights.db"), ("legacy".to_owned(), "flights".to_owned()));
        assert_eq!(names("a/app.db", "b/app.db"), ("old".to_owned(), "new".to_owned()));
        assert_eq!(names("a/ü.db", "b/app.db"), ("old".to_owned(), "new".to_owned()));
    }

    #[test]
    fn a_name_that_is_no_plain_word_is_quoted() {
        let sql = |column: &str, engine| match sql(column, engine) {
            Source::Sql(sql) => sql,
            other => panic!("{other:?}"),
        };
        for (column, engine, expected) in [
            ("state", Engine::Sqlite, "state"),
            ("State", Engine::MySql, "State"),
            ("State", Engine::Postgres, "\"State\""),
            ("my col", Engine::Sqlite, "\"my col\""),
            ("2nd", Engine::Postgres, "\"2nd\""),
            ("order", Engine::MySql, "`order`"),
            ("a`b", Engine::MySql, "`a``b`"),
        ] {
            assert_eq!(sql(column, engine), expected);
        }
    }
}
