//! The fence's lock, on SQLite: the one write transaction of the file. Whoever holds it sees all that was committed, and is
//! the only one who can drain the log; readers stay free.
//!
//! The writer's thread ends the transaction when the holder gives no sign of life for the time of `stall`. A process that is
//! stopped as a whole can't do that: whoever runs it has to see to it that it is killed, and SQLite then rolls back.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{FenceLock, FenceState};
use changeover::{StoreError, TableName};
use rusqlite::{Connection, OptionalExtension};

use super::claims::Log;
use super::fence;
use super::pool::Session;
use super::sql::name;
use super::store::{Inner, SqliteStore};
use super::writer::{Transaction, WriteError};
use crate::shape::SideTable;

pub(super) struct SqliteLock {
    pub(super) inner: Arc<Inner>,
    pub(super) transaction: Transaction,
}

impl SqliteLock {
    async fn run<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, &Connection) -> Result<T, WriteError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        self.transaction.run(doing, move |session| work(&inner, &session.connection)).await
    }
}

#[async_trait]
impl FenceLock for SqliteLock {
    async fn claim(&mut self, limit: usize) -> Result<Vec<Claim>, StoreError> {
        self.run(
            "draining the log",
            move |inner, connection| Ok(Log::new(inner, connection).claim(0, limit)?),
        )
        .await
    }

    async fn discard(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.run("draining the log", move |inner, connection| Ok(Log::new(inner, connection).discard(&ids)?))
            .await
    }

    async fn counters(&mut self) -> Result<Vec<(TableName, i64)>, StoreError> {
        self.run("reading the counters", |inner, connection| Ok(counters_of(inner, connection)?)).await
    }

    async fn raise_counters(&mut self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        let at_least = at_least.to_vec();
        self.run("raising the counters", move |inner, connection| {
            Ok(raise_all(connection, inner, &at_least)?)
        })
        .await
    }

    async fn capture_on(&mut self, options: CaptureOptions) -> Result<(), StoreError> {
        self.run("switching capture on", move |inner, connection| {
            Ok(Log::new(inner, connection).install(options)?)
        })
        .await
    }

    async fn set(&mut self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        self.run("setting the fence", move |inner, connection| fence::set(connection, inner, state, epoch))
            .await
    }

    async fn beat(&mut self) -> Result<(), StoreError> {
        self.run("keeping the lock", |_, _| Ok(())).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.transaction.commit("committing the fence").await
    }
}

impl SqliteStore {
    /// The same as [`FenceLock::counters`] without a lock: for a side that nobody writes to.
    ///
    /// # Errors
    /// What the database says.
    pub async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let read = move |session: &mut Session| counters_of(&inner, &session.connection);
        self.inner.database.read("reading the counters", read).await
    }
}

impl SqliteStore {
    pub(super) async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        let (inner, at_least) = (Arc::clone(&self.inner), at_least.to_vec());
        let raise = move |session: &mut Session| Ok(raise_all(&session.connection, &inner, &at_least)?);
        self.inner.database.write("raising the counters", raise).await
    }
}

fn raise_all(connection: &Connection, inner: &Inner, at_least: &[(TableName, i64)]) -> rusqlite::Result<()> {
    for table in &inner.tables {
        let wanted = at_least.iter().find(|(name, _)| name == table.name()).map(|(_, next)| next - 1);
        raise(connection, table, wanted)?;
    }
    Ok(())
}

/// For each table with a counter, the next value that it could give out.
fn counters_of(inner: &Inner, connection: &Connection) -> rusqlite::Result<Vec<(TableName, i64)>> {
    let mut counters = Vec::new();
    for table in &inner.tables {
        if let Some(last) = last_issued(connection, table)? {
            counters.push((table.name().clone(), last.saturating_add(1)));
        }
    }
    Ok(counters)
}

/// The last value that the table's counter gave out, or the greatest in use.
fn last_issued(connection: &Connection, table: &SideTable) -> rusqlite::Result<Option<i64>> {
    let Some(counter) = &table.counter else { return Ok(None) };
    // The table comes with a database's first AUTOINCREMENT, which this side needn't have.
    let counts = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let issued: Option<i64> = if connection.prepare_cached(counts)?.exists([])? {
        connection
            .query_row("SELECT max(seq) FROM sqlite_sequence WHERE name = ?1", [&table.info.name], |row| {
                row.get(0)
            })
            .optional()?
            .flatten()
    } else {
        None
    };
    let sql = format!("SELECT max({}) FROM {}", name(counter), table.table);
    let used: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(Some(issued.max(used).unwrap_or(0)))
}

fn raise(connection: &Connection, table: &SideTable, wanted: Option<i64>) -> rusqlite::Result<()> {
    let Some(last) = last_issued(connection, table)? else { return Ok(()) };
    let to = wanted.map_or(last, |wanted| wanted.max(last));
    let raised = connection.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
        rusqlite::params![table.info.name, to],
    )?;
    if raised == 0 {
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
            rusqlite::params![table.info.name, to],
        )?;
    }
    Ok(())
}
