//! Writing under a guard: locks of the follower's server that end with the transaction which writes.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::fence::FenceAt;
use changeover::store::guard::{Applied, Change, Chunk, Guarded, GuardedTx, Scope};
use changeover::store::unread::{UnreadLoad, UnreadStream};
use changeover::store::{RowBatch, Rows};
use changeover::value::code::encode;
use changeover::{Key, Side, StoreError, TableName};

use super::session::{DbError, Session, Trouble};
use super::store::{Inner, Manners, ServerStore};
use super::write::{self, Writer};
use super::{chunks, fence, point, unread};

/// Into so many parts the keys are put, each with a lock of its own.
const STRIPES: i64 = 1_024;

/// The parts that keys lie in, in the order in which all take their locks.
fn stripes(scope: Scope<'_>) -> Vec<i64> {
    let Scope::Keys(keys) = scope else { return Vec::new() };
    let mut stripes: Vec<i64> = keys.iter().map(stripe).collect();
    stripes.sort_unstable();
    stripes.dedup();
    stripes
}

fn stripe(key: &Key) -> i64 {
    let bytes = encode(key.values());
    let all = key.table.as_str().bytes().chain([0]).chain(bytes);
    let hash = all.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    i64::try_from((hash ^ hash >> 32) % STRIPES.unsigned_abs()).unwrap_or_default()
}

#[async_trait]
impl Guarded for ServerStore {
    async fn begin(&self, scope: Scope<'_>) -> Result<Box<dyn GuardedTx>, StoreError> {
        let doing = "taking the guard";
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let at = take(session.as_mut(), inner, scope).await;
        let at = at.map_err(|error| inner.place.error(doing, &error))?;
        if let Some(conflict) = fence::authority(inner, at) {
            return Err(conflict);
        }
        Ok(Box::new(ServerTx { inner: Arc::clone(inner), session: Some(session) }))
    }

    async fn chunks(&self, table: &TableName, generation: u64) -> Result<Vec<Chunk>, StoreError> {
        let doing = "reading the chunk marks";
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let all = chunks::all(session.as_mut(), inner.dialect, &inner.migration, table, generation).await;
        inner.given_back(doing, session, all)
    }

    async fn forget_generations_below(&self, generation: u64) -> Result<(), StoreError> {
        let doing = "ending a generation";
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let done = chunks::forget_below(session.as_mut(), inner.dialect, &inner.migration, generation).await;
        inner.given_back(doing, session, done)
    }
}

/// Takes the guard; how the fence stands, read once it is held.
async fn take(session: &mut dyn Session, inner: &Inner, scope: Scope<'_>) -> Result<FenceAt, DbError> {
    inner.make_own_tables(session).await?;
    let Manners { lock_wait, silent } = inner.manners;
    session.batch(&inner.dialect.begin_mirror(&inner.migration, lock_wait, silent)).await?;
    for (statement, locks) in inner.dialect.guard(&inner.guarded(), scope, &stripes(scope)) {
        let got = session.query(&statement.sql, &statement.params).await?.len();
        if got != locks {
            return Err(DbError::ours(
                Trouble::Other,
                format!("{got} of {locks} locks are there: a table of ours isn't whole"),
            ));
        }
    }
    fence::look(session, inner).await
}

/// A transaction that holds the guard. Dropped without a commit, its session is closed, and the server rolls back.
struct ServerTx {
    inner: Arc<Inner>,
    session: Option<Box<dyn Session>>,
}

impl ServerTx {
    fn error(&self, doing: &str, error: &DbError) -> StoreError {
        self.inner.place.error(doing, error)
    }
}

/// The session of a transaction that isn't over.
fn open(session: &mut Option<Box<dyn Session>>) -> Result<&mut dyn Session, DbError> {
    match session {
        Some(session) => Ok(session.as_mut()),
        None => Err(DbError::ours(Trouble::Other, "the transaction is over")),
    }
}

#[async_trait]
impl GuardedTx for ServerTx {
    async fn chunk(
        &mut self,
        table: &TableName,
        generation: u64,
        number: u64,
    ) -> Result<Option<Chunk>, StoreError> {
        let doing = "reading a chunk mark";
        let inner = Arc::clone(&self.inner);
        let found = async {
            let session = open(&mut self.session)?;
            chunks::get(session, inner.dialect, &inner.migration, (table, generation, number)).await
        };
        let found = found.await;
        found.map_err(|error| self.error(doing, &error))
    }

    async fn read_within(
        &mut self,
        table: &TableName,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        let inner = Arc::clone(&self.inner);
        let table = inner.table(table)?;
        let reading = point::Reading {
            dialect: inner.dialect,
            table,
            image: &table.canonical,
            in_transaction: table.side == Side::Old,
        };
        let rows = async { reading.rows(open(&mut self.session)?, keys, bytes).await };
        let rows = rows.await;
        rows.map_err(|error| self.error("reading rows under the guard", &error))
    }

    async fn apply(&mut self, changes: &[Change]) -> Result<Applied, StoreError> {
        let inner = Arc::clone(&self.inner);
        for change in changes {
            inner.table(&change.key.table)?;
        }
        let applied = async { Writer::new(&inner, open(&mut self.session)?).apply(changes).await };
        let applied = applied.await;
        applied.map_err(|error| self.error("writing rows", &error))
    }

    async fn in_the_way(&mut self, changes: &[Change]) -> Result<Vec<Key>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let found = async { Writer::new(&inner, open(&mut self.session)?).in_the_way(changes).await };
        let found = found.await;
        found.map_err(|error| self.error("looking for rows with the same unique values", &error))
    }

    async fn load(
        &mut self,
        table: &TableName,
        batch: RowBatch,
        replace: bool,
    ) -> Result<Applied, StoreError> {
        let doing = "loading rows";
        let inner = Arc::clone(&self.inner);
        let table = inner.table(table)?;
        if inner.info.side == Side::Old {
            return Err(inner.place.refused(
                doing,
                "the old side's rows aren't in the canonical image",
                "Rows go back by `apply`, with their write-back image",
            ));
        }
        let loaded =
            async { write::load(&inner, open(&mut self.session)?, table, batch.rows, replace).await };
        let loaded = loaded.await;
        loaded.map_err(|error| self.error(doing, &error))
    }

    async fn load_unread(
        &mut self,
        table: &TableName,
        stream: UnreadStream,
    ) -> Result<UnreadLoad, StoreError> {
        let inner = Arc::clone(&self.inner);
        let table = inner.table(table)?;
        let Some(columns) = table.unread.as_deref().filter(|_| table.side == Side::New) else {
            return Ok(UnreadLoad::Careful);
        };
        let loaded = async { unread::load(open(&mut self.session)?, table, columns, stream).await };
        let loaded = loaded.await;
        loaded.map_err(|error| self.error("loading rows", &error))?
    }

    async fn delete(&mut self, table: &TableName, keys: &[Key]) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        let table = inner.table(table)?;
        let deleted =
            async { Writer::new(&inner, open(&mut self.session)?).delete_present(table, keys).await };
        let deleted = deleted.await;
        deleted.map_err(|error| self.error("deleting rows", &error))
    }

    async fn mark(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let marked =
            async { chunks::put(open(&mut self.session)?, inner.dialect, &inner.migration, chunk).await };
        let marked = marked.await;
        marked.map_err(|error| self.error("marking a chunk", &error))
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let committed = async {
            if let Some(end) = self.inner.dialect.end_mirror() {
                session.batch(end).await?;
            }
            session.commit().await
        };
        committed.await.map_err(|error| self.error("committing rows", &error))?;
        session.release();
        Ok(())
    }
}
