//! The type of a proposed column: one that holds every value of the old one exactly, or else what it doesn't hold, in words.
//!
//! An enum becomes text with a CHECK over its labels, not a type of its own: a label can be taken out of a CHECK again, and no
//! type is left behind when the table goes. Only between two PostgreSQLs the type itself goes along.

mod mysql;
mod postgres;
mod sqlite;

use crate::catalog::{ColumnInfo, Domain, Engine};
use crate::types::{Charset, Exact, TextType};

/// A proposed type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// As it stands in the statement.
    pub(super) sql: String,
    /// A condition on the column's values, with `{}` in the place of its name.
    pub(super) check: Option<String>,
    /// Which values of the old column have no place in it.
    pub(super) refused: Vec<String>,
    /// What of the old type isn't taken over, as a part of a sentence that ends with the column's name.
    pub(super) dropped: Vec<String>,
    /// A statement that has to come before.
    pub(super) before: Option<String>,
    /// How many bytes of a row's bounded room it takes, on MariaDB and MySQL.
    pub(super) in_row: u32,
}

impl Typed {
    fn plain(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }

    fn without(mut self, refused: impl Into<String>) -> Self {
        self.refused.push(refused.into());
        self
    }

    fn without_if(self, so: bool, refused: &str) -> Self {
        if so { self.without(refused) } else { self }
    }
}

/// Where a column goes, and what is asked of it there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Going {
    pub(super) from: Engine,
    pub(super) to: Engine,
    /// Whether the database gives out its values.
    pub(super) numbered: bool,
    /// How many columns the largest index has in which it is, with a text or bytes of any length; 0: it is in none.
    pub(super) indexed: u32,
}

impl Going {
    /// Whether both databases are of one kind, and of one family.
    pub(super) const fn is_among_equals(&self) -> bool {
        matches!(
            (self.from, self.to),
            (Engine::Sqlite, Engine::Sqlite)
                | (Engine::Postgres, Engine::Postgres)
                | (Engine::MariaDb(..), Engine::MariaDb(..))
                | (Engine::MySql, Engine::MySql)
        )
    }
}

/// The type for what an old column holds.
pub(super) fn typed(column: &ColumnInfo, going: Going) -> Typed {
    let (of, remark) = held(column);
    let mut typed = match going.to {
        Engine::Postgres if going.from == Engine::Postgres => postgres::again(column, &of, going),
        Engine::MariaDb(..) | Engine::MySql if going.is_among_equals() => mysql::again(column, &of),
        Engine::Postgres => postgres::typed(&of, going),
        Engine::MariaDb(..) | Engine::MySql => mysql::typed(&of, going),
        Engine::Sqlite => sqlite::typed(&of),
    };
    if let Some(remark) = remark {
        typed.refused.push(remark.to_owned());
    }
    typed
}

/// What a column holds, where its database doesn't insist on the type: what it is meant to hold; and which values may be there
/// that then have no place.
fn held(column: &ColumnInfo) -> (Exact, Option<&'static str>) {
    let text = || Exact::Text(ANY_TEXT);
    match &column.domain {
        Domain::Exact(exact) => (exact.of.clone(), None),
        Domain::Integer => (Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() }, None),
        Domain::Real => (Exact::Real { non_finite: true }, None),
        Domain::Number if column.declared.to_ascii_uppercase().contains("BOOL") => {
            (Exact::Bool, Some("numbers other than 0 and 1"))
        }
        Domain::Number => (Exact::Decimal { precision: None, scale: None }, None),
        Domain::Text => (text(), None),
        Domain::Bytes => (Exact::Bytes { max: None, padded: false }, None),
        Domain::Any | Domain::Loose => (text(), Some("bytes")),
    }
}

pub(super) const ANY_TEXT: TextType =
    TextType { max_chars: None, max_bytes: None, nul: true, padded: false, charset: Charset::Utf8 };

/// What is said of values that no other kind of database knows.
fn only_there(name: &str) -> String {
    format!("all values of the type {name}: give the column by `set`")
}

/// A text as a literal.
pub(super) fn quoted_text(text: &str, to: Engine) -> String {
    let text = text.replace('\'', "''");
    match to {
        Engine::MariaDb(..) | Engine::MySql => format!("'{}'", text.replace('\\', "\\\\")),
        Engine::Postgres | Engine::Sqlite => format!("'{text}'"),
    }
}

fn list(labels: &[Box<str>], to: Engine) -> String {
    labels.iter().map(|label| quoted_text(label, to)).collect::<Vec<_>>().join(", ")
}
