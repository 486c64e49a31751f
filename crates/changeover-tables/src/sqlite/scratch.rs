//! One side's table in memory, as its database defines it: what becomes of a row there, tried without a change to anything.
//!
//! It is SQLite itself that converts, computes and compares there, by the very statements that the mirror uses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use changeover::{Key, Row, Side, TableName};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Batch, Connection};

use super::apply::insert;
use super::errors;
use super::pool::only_names_in_double_quotes;
use super::read::{Made, failed, raw_key};
use crate::plan::TablePlan;
use crate::shape::SideTable;
use crate::syntax::expression;

/// A side's table in memory, for one row at a time.
pub(super) struct Scratch {
    table: SideTable,
    connection: Connection,
}

impl Scratch {
    /// For what becomes of the values: whether the row may be there is not asked.
    pub(super) fn new(plan: &TablePlan, side: Side) -> rusqlite::Result<Self> {
        let scratch = Self::with_checks(plan, side)?;
        scratch.connection.pragma_update(None, "ignore_check_constraints", true)?;
        Ok(scratch)
    }

    /// As the database itself would judge a row that lies there alone.
    pub(super) fn with_checks(plan: &TablePlan, side: Side) -> rusqlite::Result<Self> {
        let table = SideTable::new(&super::sql::Sqlite, plan, side);
        let connection = Connection::open_in_memory()?;
        only_names_in_double_quotes(&connection)?;
        // One row at a time: whether it may lie beside others isn't asked.
        connection.pragma_update(None, "foreign_keys", false)?;
        // The first statement; the indexes and triggers that follow are nothing to a single row.
        if let Some(mut statement) = Batch::new(&connection, &table.info.definition).next()? {
            statement.raw_execute()?;
        }
        Ok(Self { table, connection })
    }

    /// The mapping.
    pub(super) const fn name(&self) -> &TableName {
        self.table.name()
    }

    /// Puts a row there, as the mirror would write it; the one before is gone. Whether the table takes it.
    pub(super) fn put(&self, row: &Row) -> rusqlite::Result<bool> {
        Ok(self.refused(row)?.is_none())
    }

    /// As [`Scratch::put`]: why the table doesn't take the row, if so.
    pub(super) fn refused(&self, row: &Row) -> rusqlite::Result<Option<rusqlite::Error>> {
        self.empty()?;
        match insert(&self.connection, &self.table, row) {
            Ok(()) => Ok(None),
            Err(error) if errors::is_refusal(&error) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Puts a row of these expressions there, each for a column; the other columns take their defaults.
    pub(super) fn put_computed(&self, values: &[(String, String)]) -> rusqlite::Result<bool> {
        self.empty()?;
        let list = |of: fn(&(String, String)) -> &str| values.iter().map(of).collect::<Vec<_>>().join(", ");
        let (columns, values) = (list(|(column, _)| column), list(|(_, value)| value));
        let put = self
            .connection
            .execute(&format!("INSERT INTO {} ({columns}) VALUES ({values})", self.table.table), []);
        match put {
            Ok(_) => Ok(true),
            Err(error) if errors::is_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn empty(&self) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM {}", self.table.table);
        self.connection.prepare_cached(&sql)?.raw_execute().map(drop)
    }

    /// What the row that is there goes back as; `None` where none is there.
    pub(super) fn write_back(&self) -> rusqlite::Result<Option<Made>> {
        let Some(image) = &self.table.back else { return Ok(None) };
        let sql = format!("SELECT {} FROM {}", image.select, self.table.table);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.raw_query();
        match rows.next() {
            Ok(Some(row)) => {
                let raw = raw_key(row, self.table.key.len())?;
                self.table.make(&self.connection, image, row, &raw, Row::default()).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) if errors::is_of_row(&error) => {
                let key = Key::composite(self.table.name().clone(), Vec::new());
                Ok(Some(Made::Refused(failed(key, &error))))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the row that is there is one of the mapping's.
    pub(super) fn is_in_scope(&self) -> rusqlite::Result<bool> {
        let sql = format!("SELECT count(*) FROM {} WHERE true{}", self.table.table, self.table.and_scope());
        self.connection.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0)).map(|rows| rows > 0)
    }

    /// The table's columns that an expression reads. SQLite says which: it asks for leave to read each.
    pub(super) fn columns_of(&self, sql: &str) -> rusqlite::Result<BTreeSet<String>> {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let asked = Arc::clone(&seen);
        self.connection.authorizer(Some(move |context: AuthContext<'_>| {
            if let AuthAction::Read { column_name, .. } = context.action {
                asked.lock().unwrap_or_else(PoisonError::into_inner).insert(column_name.to_owned());
            }
            Authorization::Allow
        }))?;
        let whole = format!("SELECT 1 FROM {} WHERE {}", self.table.table, expression(sql));
        let prepared = self.connection.prepare(&whole).map(drop);
        self.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        prepared?;
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(seen)
    }

    /// Whether an expression has a value without any row.
    pub(super) fn is_constant(&self, sql: &str) -> bool {
        self.connection.prepare(&format!("SELECT {}", expression(sql))).is_ok()
    }
}
