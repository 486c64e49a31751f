//! The capability to capture changes: a log table that triggers write in the application's own transactions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use changeover::store::capture::{CaptureLog, CaptureOptions, Claim, Depth, KeyClaims};
use changeover::{Key, SlotRange, StoreError};

use super::claims::Log;
use super::fence;
use super::store::ServerStore;

/// How often the log is looked at: at first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LAST: Duration = Duration::from_millis(50);

/// How long a lock of the tables is kept by a process that says nothing more while it empties the log.
const RESET_STALL: Duration = Duration::from_secs(5);

#[async_trait]
impl CaptureLog for ServerStore {
    async fn install(&self, options: CaptureOptions) -> Result<(), StoreError> {
        let doing = "installing capture";
        let mut session = self.begin_change(doing).await?;
        let installed = async { Log::new(&self.inner, session.as_mut())?.install(options).await }.await;
        self.end_change(doing, session, installed).await
    }

    async fn remove(&self) -> Result<(), StoreError> {
        let doing = "removing capture";
        let mut session = self.begin_removal(doing).await?;
        let removed = async { Log::new(&self.inner, session.as_mut())?.remove().await }.await;
        self.end_removal(doing, session, removed).await
    }

    async fn installed(&self) -> Result<bool, StoreError> {
        let doing = "looking at the triggers";
        let mut session = self.inner.session(doing).await?;
        let whole = async { Log::new(&self.inner, session.as_mut())?.is_whole().await }.await;
        self.inner.given_back(doing, session, whole)
    }

    async fn claim(&self, after: i64, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let doing = "reading the log";
        let mut session = self.inner.session(doing).await?;
        let claims = async { Log::new(&self.inner, session.as_mut())?.claim(after, limit).await }.await;
        self.inner.given_back(doing, session, claims)
    }

    async fn claim_keys(&self, keys: &[Key]) -> Result<KeyClaims, StoreError> {
        let doing = "reading the log";
        let mut session = self.inner.session(doing).await?;
        let claims = async { Log::new(&self.inner, session.as_mut())?.claim_keys(keys).await }.await;
        self.inner.given_back(doing, session, claims)
    }

    async fn discard(&self, ids: &[i64]) -> Result<(), StoreError> {
        let doing = "discarding entries of the log";
        let mut session = self.inner.session(doing).await?;
        let discarded = async { Log::new(&self.inner, session.as_mut())?.discard(ids).await }.await;
        self.inner.given_back(doing, session, discarded)
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        let doing = "measuring the log";
        let mut session = self.inner.session(doing).await?;
        let depth = async { Log::new(&self.inner, session.as_mut())?.depth().await }.await;
        self.inner.given_back(doing, session, depth)
    }

    async fn dirty_in(&self, slots: SlotRange) -> Result<u64, StoreError> {
        let doing = "counting in the log";
        let mut session = self.inner.session(doing).await?;
        let dirty = async { Log::new(&self.inner, session.as_mut())?.dirty_in(slots).await }.await;
        self.inner.given_back(doing, session, dirty)
    }

    /// With the tables locked for a moment: a writer that found the log full has logged nothing, and what it commits later
    /// wouldn't be among what the new generation reads.
    async fn reset(&self) -> Result<(), StoreError> {
        let doing = "emptying the log";
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let reset = async {
            inner.make_own_tables(session.as_mut()).await?;
            Log::new(inner, session.as_mut())?.thin_out().await?;
            fence::lock(session.as_mut(), inner, inner.manners.lock_wait, RESET_STALL).await?;
            Log::new(inner, session.as_mut())?.reset().await
        };
        let reset = reset.await;
        self.end_change(doing, session, reset).await
    }

    /// Looked at every 2 ms at first, then ever less often, down to every 50 ms: a notice from the server would make its
    /// commits wait for each other.
    async fn changed(&self, at_most_ms: u64) {
        let until = tokio::time::Instant::now() + Duration::from_millis(at_most_ms);
        let mut pause = LOOK_FIRST;
        loop {
            match self.version().await {
                Ok((newest, entries)) => {
                    let (newest, entries) = (
                        self.seen.0.swap(newest, Ordering::Relaxed) != newest,
                        self.seen.1.swap(entries, Ordering::Relaxed) != entries,
                    );
                    if newest || entries {
                        return;
                    }
                }
                // Whoever asks next for the log itself learns why.
                Err(error) => tracing::warn!(%error, "looking for changes"),
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

impl ServerStore {
    async fn version(&self) -> Result<(i64, i64), StoreError> {
        let doing = "looking for changes";
        let mut session = self.inner.session(doing).await?;
        let version = async { Log::new(&self.inner, session.as_mut())?.version().await }.await;
        self.inner.given_back(doing, session, version)
    }
}
