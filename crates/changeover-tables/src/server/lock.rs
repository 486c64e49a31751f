//! The fence's lock: all tables of a side locked against writers in one transaction, readers free. The server itself ends it
//! when its holder gives no sign of life.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{FenceLock, FenceState};
use changeover::{StoreError, TableName, Value};

use super::claims::Log;
use super::fence;
use super::session::{DbError, Session, Trouble};
use super::store::{Inner, ServerStore};
use crate::shape::SideTable;

pub(super) struct ServerLock {
    pub(super) inner: Arc<Inner>,
    pub(super) session: Option<Box<dyn Session>>,
}

fn open(session: &mut Option<Box<dyn Session>>) -> Result<&mut dyn Session, DbError> {
    match session {
        Some(session) => Ok(session.as_mut()),
        None => Err(DbError::ours(Trouble::Other, "the lock was given up")),
    }
}

impl ServerLock {
    fn told<T>(&self, doing: &str, result: Result<T, DbError>) -> Result<T, StoreError> {
        result.map_err(|error| self.inner.place.error(doing, &error))
    }
}

#[async_trait]
impl FenceLock for ServerLock {
    async fn claim(&mut self, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let claims = async { Log::new(&inner, open(&mut self.session)?)?.claim(0, limit).await }.await;
        self.told("draining the log", claims)
    }

    async fn discard(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let discarded = async { Log::new(&inner, open(&mut self.session)?)?.discard(ids).await }.await;
        self.told("draining the log", discarded)
    }

    async fn counters(&mut self) -> Result<Vec<(TableName, i64)>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let counters = async { counters_of(&inner, open(&mut self.session)?).await }.await;
        self.told("reading the counters", counters)
    }

    async fn raise_counters(&mut self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let raised = async { raise_all(&inner, open(&mut self.session)?, at_least).await }.await;
        self.told("raising the counters", raised)
    }

    async fn capture_on(&mut self, options: CaptureOptions) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let on = async { Log::new(&inner, open(&mut self.session)?)?.install(options).await }.await;
        self.told("switching capture on", on)
    }

    async fn set(&mut self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let set = async { fence::set(open(&mut self.session)?, &inner, state, epoch).await }.await;
        self.told("setting the fence", set)?.map_or(Ok(()), Err)
    }

    async fn beat(&mut self) -> Result<(), StoreError> {
        let beat = async { open(&mut self.session)?.batch("SELECT 1").await }.await;
        self.told("keeping the lock", beat)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let doing = "committing the fence";
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let committed = session.commit().await;
        self.told(doing, committed)?;
        session.release();
        Ok(())
    }
}

impl ServerStore {
    /// The same as [`FenceLock::counters`] without a lock: for a side that nobody writes to.
    pub(super) async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        let doing = "reading the counters";
        let mut session = self.inner.session(doing).await?;
        let counters = counters_of(&self.inner, session.as_mut()).await;
        self.inner.given_back(doing, session, counters)
    }
}

/// For each table with a counter, the next value that it could give out.
async fn counters_of(inner: &Inner, session: &mut dyn Session) -> Result<Vec<(TableName, i64)>, DbError> {
    let mut counters = Vec::new();
    for table in &inner.tables {
        if let Some(next) = next(inner, session, table).await? {
            counters.push((table.name().clone(), next));
        }
    }
    Ok(counters)
}

/// The next value of the table's counter, above the greatest in use.
async fn next(inner: &Inner, session: &mut dyn Session, table: &SideTable) -> Result<Option<i64>, DbError> {
    let Some(counter) = &table.counter else { return Ok(None) };
    let Some(next) = inner.dialect.next_of_counter(session, table, counter).await? else { return Ok(None) };
    let sql = format!("SELECT max({}) FROM {}", table.syntax.name(counter), table.table);
    let rows = session.query(&sql, &[]).await?;
    let used = match rows.first().and_then(|row| row.first()) {
        Some(Value::Int(n)) => n.saturating_add(1),
        _ => next,
    };
    Ok(Some(next.max(used)))
}

/// Raises the counters of all tables.
pub(super) async fn raise_all(
    inner: &Inner,
    session: &mut dyn Session,
    at_least: &[(TableName, i64)],
) -> Result<(), DbError> {
    for table in &inner.tables {
        let wanted = at_least.iter().find(|(name, _)| name == table.name()).map(|(_, next)| *next);
        raise(inner, session, table, wanted).await?;
    }
    Ok(())
}

async fn raise(
    inner: &Inner,
    session: &mut dyn Session,
    table: &SideTable,
    wanted: Option<i64>,
) -> Result<(), DbError> {
    let Some(counter) = &table.counter else { return Ok(()) };
    let Some(next) = next(inner, session, table).await? else { return Ok(()) };
    let to = wanted.map_or(next, |wanted| wanted.max(next));
    inner.dialect.set_counter(inner, session, table, counter, to).await
}
