//! The capability to capture changes, on SQLite: a log table that triggers write in the application's own transactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use changeover::store::capture::{CaptureLog, CaptureOptions, Claim, Depth, KeyClaims};
use changeover::{Key, SlotRange, StoreError};

use super::claims::Log;
use super::store::SqliteStore;

/// How often the file is looked at: at first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LAST: Duration = Duration::from_millis(50);

impl SqliteStore {
    async fn read_log<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Log<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .read(doing, move |session| {
                // One snapshot for what may be several statements.
                let transaction = session.connection.unchecked_transaction()?;
                work(&Log::new(&inner, &transaction))
            })
            .await
    }

    async fn write_log<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Log<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .write(doing, move |session| Ok(work(&Log::new(&inner, &session.connection))?))
            .await
    }

    async fn data_version(&self) -> Result<i64, StoreError> {
        self.poller
            .read("looking for changes", |session| {
                session.connection.query_row("PRAGMA data_version", [], |row| row.get(0))
            })
            .await
    }
}

#[async_trait]
impl CaptureLog for SqliteStore {
    async fn install(&self, options: CaptureOptions) -> Result<(), StoreError> {
        self.write_log("installing capture", move |log| log.install(options)).await
    }

    async fn remove(&self) -> Result<(), StoreError> {
        self.write_log("removing capture", |log| log.remove()).await
    }

    async fn installed(&self) -> Result<bool, StoreError> {
        self.read_log("looking at the triggers", |log| log.is_whole()).await
    }

    async fn claim(&self, after: i64, limit: usize) -> Result<Vec<Claim>, StoreError> {
        self.read_log("reading the log", move |log| log.claim(after, limit)).await
    }

    async fn claim_keys(&self, keys: &[Key]) -> Result<KeyClaims, StoreError> {
        let keys = keys.to_vec();
        self.read_log("reading the log", move |log| log.claim_keys(&keys)).await
    }

    async fn discard(&self, ids: &[i64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (inner, ids) = (Arc::clone(&self.inner), ids.to_vec());
        // An entry that comes back after a power cut is synced once more, and does no harm.
        self.inner
            .database
            .write_relaxed("discarding entries of the log", move |session| {
                Ok(Log::new(&inner, &session.connection).discard(&ids)?)
            })
            .await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.read_log("measuring the log", |log| log.depth()).await
    }

    async fn dirty_in(&self, slots: SlotRange) -> Result<u64, StoreError> {
        self.read_log("counting in the log", move |log| log.dirty_in(slots)).await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.write_log("emptying the log", |log| log.reset()).await
    }

    /// SQLite tells a connection by a number whether another one has committed since: looked at every 2 ms at first, then
    /// ever less often, down to every 50 ms.
    async fn changed(&self, at_most_ms: u64) {
        let until = tokio::time::Instant::now() + Duration::from_millis(at_most_ms);
        let mut pause = LOOK_FIRST;
        loop {
            match self.data_version().await {
                Ok(version) => {
                    if self.seen_version.swap(version, Ordering::Relaxed) != version {
                        return;
                    }
                }
                // Whoever asks next for the log itself learns why.
                Err(error) => tracing::debug!(%error, "looking for changes"),
            }
            let now = tokio::time::Instant::now();
            if now >= until {
                return;
            }
            tokio::time::sleep(pause.min(until - now)).await;
            pause = (pause * 3 / 2).min(LOOK_LAST);
        }
    }
}
