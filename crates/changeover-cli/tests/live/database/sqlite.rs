//! A SQLite file, as the application opens it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::{Application, Database, Failed, Why};
use crate::live::shape::Kind;

/// A file.
pub struct SqliteFile(PathBuf);

impl SqliteFile {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Database for SqliteFile {
    fn url(&self) -> String {
        format!("sqlite:{}", self.0.display())
    }

    fn connect(&self) -> Result<Box<dyn Application>, Failed> {
        let db = Connection::open(&self.0).map_err(|error| meaning(&error))?;
        db.busy_timeout(Duration::from_secs(5)).map_err(|error| meaning(&error))?;
        Ok(Box::new(Open(db)))
    }

    fn parameter(&self, number: usize, _: Kind) -> String {
        format!("?{number}")
    }

    fn read(&self, column: &str, _: Kind) -> String {
        column.to_owned()
    }

    fn column(&self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Number | Kind::Flag => Some("INTEGER"),
            Kind::Bytes => Some("BLOB"),
            Kind::Word | Kind::Unique | Kind::Money | Kind::Moment | Kind::Json | Kind::Uuid => Some("TEXT"),
            Kind::List => None,
        }
    }

    fn generated(&self) -> &'static str {
        "INTEGER PRIMARY KEY AUTOINCREMENT"
    }

    fn replaces(&self) -> bool {
        true
    }

    fn begin(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn installed(&self) -> Vec<String> {
        let sql =
            "SELECT type || ' ' || name FROM sqlite_master WHERE name LIKE 'changeover\\_%' ESCAPE '\\'";
        (self as &dyn Database).rows(sql)
    }
}

struct Open(Connection);

impl Application for Open {
    fn batch(&mut self, sql: &str) -> Result<(), Failed> {
        self.0.execute_batch(sql).map_err(|error| meaning(&error))
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize, Failed> {
        let mut statement = self.0.prepare_cached(sql).map_err(|error| meaning(&error))?;
        statement.execute(params_from_iter(parameters)).map_err(|error| meaning(&error))
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, Failed> {
        let mut statement = self.0.prepare(sql).map_err(|error| meaning(&error))?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|n| row.get(n)).collect();
        let rows = statement.query_map(params_from_iter(parameters), row).map_err(|error| meaning(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| meaning(&error))
    }

    fn commit(&mut self) -> Result<(), Failed> {
        self.batch("COMMIT")
    }
}

/// A fence, a lock, or a schema that has just changed: to be tried again, after a look at the flag.
fn meaning(error: &rusqlite::Error) -> Failed {
    let why = match error {
        rusqlite::Error::SqliteFailure(error, text) => match error.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => Why::Again,
            ErrorCode::ConstraintViolation
                if error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER
                    && text.as_ref().is_some_and(|text| text.contains("changeover")) =>
            {
                Why::Again
            }
            _ => Why::Other,
        },
        _ => Why::Other,
    };
    Failed { why, said: format!("{error:?}") }
}
