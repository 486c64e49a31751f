//! Writing under a guard: in SQLite, `BEGIN IMMEDIATE` on the follower. One writer at a time is more than a guard asks for.

use async_trait::async_trait;
use std::sync::Arc;

use changeover::store::guard::{Applied, Change, Chunk, Guarded, GuardedTx, Scope};
use changeover::store::{RowBatch, Rows};
use changeover::{Key, Side, StoreError, TableName};
use rusqlite::Connection;

use super::apply;
use super::chunks;
use super::errors;
use super::store::{Inner, SqliteStore};
use super::value::bind;
use super::writer::{Transaction, WriteError};
use crate::shape::SideTable;

#[async_trait]
impl Guarded for SqliteStore {
    async fn begin(&self, _scope: Scope<'_>) -> Result<Box<dyn GuardedTx>, StoreError> {
        let transaction = self.inner.database.begin("taking the guard").await?;
        let tx = SqliteTx { inner: Arc::clone(&self.inner), transaction };
        tx.run("taking the guard", |inner, connection| {
            super::fence::check_is_no_authority(connection, inner)
        })
        .await?;
        Ok(Box::new(tx))
    }

    async fn chunks(&self, table: &TableName, generation: u64) -> Result<Vec<Chunk>, StoreError> {
        let (inner, table) = (Arc::clone(&self.inner), table.clone());
        self.inner
            .database
            .read("reading the chunk marks", move |session| {
                chunks::all(&session.connection, &inner.migration, &table, generation)
            })
            .await
    }

    async fn forget_generations_below(&self, generation: u64) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .write("ending a generation", move |session| {
                Ok(chunks::forget_below(&session.connection, &inner.migration, generation)?)
            })
            .await
    }
}

/// A transaction that holds the guard.
struct SqliteTx {
    inner: Arc<Inner>,
    transaction: Transaction,
}

impl SqliteTx {
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
impl GuardedTx for SqliteTx {
    async fn chunk(
        &mut self,
        table: &TableName,
        generation: u64,
        number: u64,
    ) -> Result<Option<Chunk>, StoreError> {
        let table = table.clone();
        self.run("reading a chunk mark", move |inner, connection| {
            Ok(chunks::get(connection, &inner.migration, &table, generation, number)?)
        })
        .await
    }

    async fn read_within(
        &mut self,
        table: &TableName,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        let (table, keys) = (table.clone(), keys.to_vec());
        self.run("reading rows under the guard", move |inner, connection| {
            let table = inner.table(&table)?;
            Ok(table.read(connection, &table.canonical, &keys, bytes)?)
        })
        .await
    }

    async fn apply(&mut self, changes: &[Change]) -> Result<Applied, StoreError> {
        let changes = changes.to_vec();
        self.run("writing rows", move |inner, connection| {
            for change in &changes {
                inner.table(&change.key.table)?;
            }
            Ok(apply::apply(connection, &inner.tables, &changes)?)
        })
        .await
    }

    async fn load(
        &mut self,
        table: &TableName,
        batch: RowBatch,
        replace: bool,
    ) -> Result<Applied, StoreError> {
        let table = table.clone();
        self.run("loading rows", move |inner, connection| {
            let table = inner.table(&table)?;
            if inner.info.side == Side::Old {
                return Err(inner
                    .database
                    .place
                    .refused(
                        "loading rows",
                        "the old side's rows aren't in the canonical image",
                        "Rows go back by `apply`, with their write-back image",
                    )
                    .into());
            }
            Ok(load(connection, &inner.tables, table, batch, replace)?)
        })
        .await
    }

    async fn delete(&mut self, table: &TableName, keys: &[Key]) -> Result<u64, StoreError> {
        let (table, keys) = (table.clone(), keys.to_vec());
        self.run("deleting rows", move |inner, connection| {
            let table = inner.table(&table)?;
            let there = table.read_present(connection, &keys)?;
            let mut deleted = 0;
            for key in there {
                deleted += apply::delete(connection, table, key)?;
            }
            Ok(deleted)
        })
        .await
    }

    async fn mark(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let chunk = chunk.clone();
        self.run("marking a chunk", move |inner, connection| {
            Ok(chunks::put(connection, &inner.migration, &chunk)?)
        })
        .await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.transaction.commit("committing rows").await
    }
}

impl SideTable {
    /// Those of the keys that have a row, whatever is in it.
    fn read_present<'k>(&self, connection: &Connection, keys: &'k [Key]) -> rusqlite::Result<Vec<&'k Key>> {
        let sql = format!(
            "SELECT {} FROM {} WHERE {}{}",
            self.key_list(),
            self.table,
            self.has_key(1),
            self.and_scope()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut present = Vec::new();
        for key in keys {
            bind(&mut statement, 1, &*self.own_key(key.values()))?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let found = self.logged_key(connection, super::read::raw_key(row, self.key.len())?)?;
                if found == *key {
                    present.push(key);
                }
            }
        }
        Ok(present)
    }
}

/// Where nothing can be yet, rows are inserted without a look; a row that is there after all takes the careful road.
///
/// Where rows outside of the batch have to join it, what was inserted is deleted again. A savepoint would do that as
/// well, but SQLite then writes down every page before it is changed: that took a sixth of a copy's time.
fn load(
    connection: &Connection,
    tables: &[SideTable],
    table: &SideTable,
    batch: RowBatch,
    replace: bool,
) -> rusqlite::Result<Applied> {
    let mut applied = Applied::default();
    let (mut inserted, mut careful) = (Vec::new(), Vec::new());
    {
        let mut statement = connection.prepare_cached(apply::insert_sql(table))?;
        for row in batch.rows {
            if replace {
                careful.push(row);
                continue;
            }
            bind(&mut statement, 1, &row.0)?;
            match statement.raw_execute() {
                Ok(_) => inserted.push(row),
                Err(error) if errors::is_taken(&error) => careful.push(row),
                Err(error) if errors::is_refusal(&error) => {
                    applied.refused.push(apply::refused(&table.shape.key_of(&row), &error));
                }
                Err(error) => return Err(error),
            }
        }
    }
    applied.written = inserted.len() as u64;
    if !careful.is_empty() {
        let changes: Vec<Change> = careful
            .into_iter()
            .map(|row| Change { key: table.shape.key_of(&row), row: Some(row), back: None })
            .collect();
        let more = apply::apply(connection, tables, &changes)?;
        if !more.joins.is_empty() {
            for row in &inserted {
                apply::delete(connection, table, &table.shape.key_of(row))?;
            }
            return Ok(Applied { joins: more.joins, ..Applied::default() });
        }
        applied.written += more.written;
        applied.deleted += more.deleted;
        applied.unchanged += more.unchanged;
        applied.refused.extend(more.refused);
    }
    Ok(applied)
}
