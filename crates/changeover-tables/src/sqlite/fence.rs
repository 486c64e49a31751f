//! The fence, on SQLite: a row that says how it stands, and, unless it is open, triggers that refuse the application.
//!
//! A writer holds SQLite's one write lock, so it sees the triggers as they are: a transaction whose snapshot is older gets
//! `SQLITE_BUSY_SNAPSHOT` from its first write. The refusal is error 1811, `SQLITE_CONSTRAINT_TRIGGER`: the only one that a
//! trigger can raise.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::store::fence::{Fence, FenceAt, FenceLock, FenceState};
use changeover::{Side, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::install::{self, message, side_name, trigger_name};
use super::lock::SqliteLock;
use super::sql::name;
use super::store::{Inner, SqliteStore};
use super::triggers::{displaced, scoped};
use super::writer::WriteError;
use crate::shape::SideTable;

/// The table of the fences.
pub(super) const TABLE: &str = "changeover_fence";

const KINDS: [&str; 1] = ["fence"];

#[async_trait]
impl Fence for SqliteStore {
    async fn look(&self) -> Result<FenceAt, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .read("looking at the fence", move |session| look(&session.connection, &inner))
            .await
    }

    async fn is_whole(&self) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .read("looking at the fence", move |session| {
                let at = look(&session.connection, &inner)?;
                install::has_triggers(&session.connection, &wanted(&inner, at.state))
            })
            .await
    }

    async fn set(&self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .write("setting the fence", move |session| set(&session.connection, &inner, state, epoch))
            .await
    }

    async fn remove(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .write("removing the fence", move |session| {
                let connection = &session.connection;
                install::drop_triggers(connection, &KINDS, &inner.migration, inner.info.side)?;
                if install::exists(connection, TABLE)? {
                    connection.execute(
                        "DELETE FROM changeover_fence WHERE migration = ?1 AND side = ?2",
                        params![inner.migration, side_name(inner.info.side)],
                    )?;
                }
                Ok(())
            })
            .await
    }

    async fn lock(&self, wait: Duration, stall: Duration) -> Result<Box<dyn FenceLock>, StoreError> {
        let transaction = self.inner.database.begin_lock("locking the tables", wait, stall).await?;
        Ok(Box::new(SqliteLock { inner: Arc::clone(&self.inner), transaction }))
    }
}

fn look(connection: &Connection, inner: &Inner) -> rusqlite::Result<FenceAt> {
    let open = FenceAt { state: FenceState::Open, epoch: 0 };
    if !install::exists(connection, TABLE)? {
        return Ok(open);
    }
    let found = connection
        .prepare_cached("SELECT state, epoch FROM changeover_fence WHERE migration = ?1 AND side = ?2")?
        .query_row(params![inner.migration, side_name(inner.info.side)], |row| {
            let state = match row.get::<_, String>(0)?.as_str() {
                "open" => FenceState::Open,
                "shut" => FenceState::Shut,
                _ => FenceState::Moved,
            };
            Ok(FenceAt { state, epoch: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default() })
        })
        .optional()?;
    Ok(found.unwrap_or(open))
}

/// The mirror may not write where the fence has been opened: what it is about to put there was claimed before the move.
pub(super) fn check_is_no_authority(connection: &Connection, inner: &Inner) -> Result<(), WriteError> {
    match look(connection, inner)? {
        FenceAt { state: FenceState::Open, epoch } if epoch > 0 => {
            Err(WriteError::Store(StoreError::Conflict {
                store: inner.info.name.clone(),
                what: format!("the fence of {} ({})", inner.migration, side_name(inner.info.side)),
                expected: "a follower, which only the mirror writes".to_owned(),
                found: format!("the authority, opened by the move of epoch {epoch}"),
            }))
        }
        FenceAt { .. } => Ok(()),
    }
}

/// Sets the fence within the transaction that is open, if its epoch is at most this one.
pub(super) fn set(
    connection: &Connection,
    inner: &Inner,
    state: FenceState,
    epoch: u64,
) -> Result<(), WriteError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS changeover_fence (migration TEXT NOT NULL, side TEXT NOT NULL, state TEXT NOT NULL, \
         epoch INTEGER NOT NULL, PRIMARY KEY (migration, side)) WITHOUT ROWID",
    )?;
    let at = look(connection, inner)?;
    if at.epoch > epoch {
        return Err(WriteError::Store(StoreError::Conflict {
            store: inner.info.name.clone(),
            what: format!("the fence of {} ({})", inner.migration, side_name(inner.info.side)),
            expected: format!("an epoch of at most {epoch}"),
            found: format!("epoch {}", at.epoch),
        }));
    }
    let word = match state {
        FenceState::Open => "open",
        FenceState::Shut => "shut",
        FenceState::Moved => "moved",
    };
    connection.execute(
        "INSERT OR REPLACE INTO changeover_fence VALUES (?1, ?2, ?3, ?4)",
        params![inner.migration, side_name(inner.info.side), word, i64::try_from(epoch).unwrap_or(i64::MAX)],
    )?;
    let wanted = wanted(inner, state);
    if wanted.is_empty() || !install::has_triggers(connection, &wanted)? {
        install::drop_triggers(connection, &KINDS, &inner.migration, inner.info.side)?;
    }
    if state != FenceState::Open {
        // Only such a fence names columns.
        let mut in_part = inner.tables.iter().filter(|table| table.scope.is_some());
        in_part.try_for_each(|table| table.check_named_columns(connection))?;
    }
    install::put_triggers(connection, &wanted)?;
    Ok(())
}

/// The triggers that there must be in a state.
fn wanted(inner: &Inner, state: FenceState) -> Vec<(String, String)> {
    if state == FenceState::Open {
        return Vec::new();
    }
    inner.tables.iter().flat_map(|table| triggers(table, &inner.migration, state)).collect()
}

/// Whether a trigger whose name begins so, up to the migration, is of this side's fence.
pub(super) fn is_trigger(beginning: &str, side: Side) -> bool {
    beginning.starts_with("changeover_fence_") && beginning.ends_with(&format!("_{}", side_name(side)))
}

/// The triggers that refuse the application's writes to a mapping's rows.
pub(super) fn triggers(table: &SideTable, migration: &str, state: FenceState) -> Vec<(String, String)> {
    let words = match state {
        FenceState::Moved => format!(
            "changeover: {} has moved to {}; roll back, look at the flag, and run the transaction again",
            table.info.name, table.other
        ),
        _ => format!(
            "changeover: {} is kept in step with {} by the migration {migration}, and written by nobody else until it has \
             moved; roll back, look at the flag, and run the transaction again",
            table.info.name, table.other
        ),
    };
    let body = format!("SELECT RAISE(ABORT, {})", message(&words));
    let mut made = Vec::new();
    let mut trigger = |what: &str, event: &str, when: Option<String>| {
        let trigger = trigger_name(&format!("fence_{what}"), migration, table.side, table.name().as_str());
        let when = when.map(|when| format!(" WHEN {when}")).unwrap_or_default();
        let sql =
            format!("CREATE TRIGGER {} {event} ON {}{when} BEGIN {body}; END", name(&trigger), table.table);
        made.push((trigger, sql));
    };
    let Some(scope) = &table.scope else {
        trigger("insert", "BEFORE INSERT", None);
        trigger("update", "BEFORE UPDATE", None);
        trigger("delete", "BEFORE DELETE", None);
        return made;
    };
    // Only some of the table's rows: those that are the mapping's before the write, or would be after it, or that the write
    // would displace. The old side's `where` is asked of the row in the table: in a trigger's NEW it couldn't be.
    let (before, after) = match (scoped(table, "OLD"), scoped(table, "NEW")) {
        (Some(old), Some(new)) => (old, new),
        _ => (is_in_scope(table, "OLD", scope), is_in_scope(table, "NEW", scope)),
    };
    trigger("insert", "AFTER INSERT", Some(after.clone()));
    trigger("update", "BEFORE UPDATE", Some(before.clone()));
    trigger("update_into", "AFTER UPDATE", Some(after));
    trigger("delete", "BEFORE DELETE", Some(before));
    for (n, index) in table.info.unique.iter().enumerate().filter(|(_, index)| index.columns().is_some()) {
        let rows = format!(
            "EXISTS (SELECT 1 FROM {} WHERE {}{})",
            table.table,
            displaced(table, index),
            table.and_scope()
        );
        trigger(&format!("displace{n}_insert"), "BEFORE INSERT", Some(rows.clone()));
        trigger(&format!("displace{n}_update"), "BEFORE UPDATE", Some(rows));
    }
    made
}

/// The condition that the row in the table which `NEW` or `OLD` is has the mapping's `where`.
fn is_in_scope(table: &SideTable, row: &str, scope: &str) -> String {
    let same = table.key.iter().map(|k| {
        let column = name(&k.name);
        format!("{}.{column} IS {row}.{column} COLLATE BINARY", table.table)
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    format!("EXISTS (SELECT 1 FROM {} WHERE {same} AND {scope})", table.table)
}
