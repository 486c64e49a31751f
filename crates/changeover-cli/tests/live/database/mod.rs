//! The kinds of databases that a migration's tables may be in, as an application and a tester meet them: one trait each.
//!
//! Another kind is one more file beside these: how a database is made, how the application talks to it, how it writes each
//! kind of value and reads it back, and what is Changeover's in it.

mod mariadb;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Value;

pub use mariadb::MariaDbTables;
pub use postgres::PostgresTables;
pub use sqlite::SqliteFile;

use super::shape::Kind;

/// A database with tables of the service's.
pub trait Database: Send + Sync {
    /// Its URL, for the spec.
    fn url(&self) -> String;

    /// A connection as the application has it.
    fn connect(&self) -> Result<Box<dyn Application>, Failed>;

    /// The parameter of this number, as a value of this kind.
    fn parameter(&self, number: usize, kind: Kind) -> String;

    /// The SQL that reads a column of this kind, in the form that the prediction has it in.
    fn read(&self, column: &str, kind: Kind) -> String;

    /// The type that such a column has here; none where there is none for it.
    fn column(&self, kind: Kind) -> Option<&'static str>;

    /// What a key that the database gives out is declared as.
    fn generated(&self) -> &'static str;

    /// Whether there is `REPLACE INTO`.
    fn replaces(&self) -> bool;

    /// How a transaction that writes begins.
    fn begin(&self) -> &'static str;

    /// The names of all that is Changeover's in it.
    fn installed(&self) -> Vec<String>;
}

impl dyn Database + '_ {
    /// Executes SQL, as an administrator does.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        let done = self.connect().and_then(|mut db| db.batch(sql));
        done.unwrap_or_else(|failed| panic!("{}: {failed:?}: {sql}", self.url()));
    }

    /// The rows of a query, a text each.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.connect().and_then(|mut db| db.query(sql, &[]));
        let rows = rows.unwrap_or_else(|failed| panic!("{}: {failed:?}: {sql}", self.url()));
        rows.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" | ")).collect()
    }

    /// A single number.
    #[track_caller]
    pub fn number(&self, sql: &str) -> i64 {
        match &self.rows(sql)[..] {
            [row] => row.parse().unwrap_or_else(|_| panic!("{sql}: {row}")),
            rows => panic!("{sql}: {rows:?}"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("{bytes:x?}"),
    }
}

/// A connection of the application's.
pub trait Application: Send {
    /// Statements without parameters, such as BEGIN and ROLLBACK.
    fn batch(&mut self, sql: &str) -> Result<(), Failed>;

    /// A statement that changes rows: how many.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize, Failed>;

    /// A statement that answers.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, Failed>;

    /// Commits; where the connection is lost meanwhile, the failure says how the outcome can be asked for.
    fn commit(&mut self) -> Result<(), Failed>;
}

/// What a database or its driver says.
#[derive(Debug, Clone)]
pub struct Failed {
    pub why: Why,
    #[allow(dead_code, reason = "shown when a test fails")]
    pub said: String,
}

/// What an application may do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The database asks for the transaction to be tried again: after a look at the flag.
    Again,
    /// The connection is lost, or the server isn't there.
    Lost,
    /// The same, amid a COMMIT; the query says whether it was made, once the server is there again.
    InDoubt(String),
    /// Anything else: no application would know what to do.
    Other,
}

/// A migration's databases, by the names that its shapes have for them.
#[derive(Clone)]
pub struct Databases(BTreeMap<&'static str, Arc<dyn Database>>);

impl Databases {
    pub fn new(all: impl IntoIterator<Item = (&'static str, Arc<dyn Database>)>) -> Self {
        Self(all.into_iter().collect())
    }

    /// SQLite files of these names, in a folder.
    pub fn files(folder: &Path, names: &[&'static str]) -> Self {
        let file =
            |name: &&'static str| (*name, Arc::new(SqliteFile::new(&folder.join(name))) as Arc<dyn Database>);
        Self(names.iter().map(file).collect())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &dyn Database {
        &**self.0.get(name).unwrap_or_else(|| panic!("no database {name}"))
    }

    /// What is Changeover's in any of them.
    pub fn installed(&self) -> Vec<String> {
        self.0.values().flat_map(|database| database.installed()).collect()
    }
}
