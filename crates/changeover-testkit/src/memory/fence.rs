//! The memory store's fence, and the lock on all of its tables.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{Fence, FenceAt, FenceLock, FenceState};
use changeover::value::TableName;
use tokio::sync::OwnedRwLockWriteGuard;
use tokio::time::Instant;

use super::{MemoryStore, Shared};

impl Shared {
    fn check_epoch(&self, epoch: u64) -> Result<(), StoreError> {
        let found = self.state().fence.epoch;
        if found <= epoch {
            return Ok(());
        }
        Err(StoreError::Conflict {
            store: self.info.name.clone(),
            what: "the fence's epoch".into(),
            expected: format!("at most {epoch}"),
            found: found.to_string(),
        })
    }

    /// The mirror writes a follower, and never where a move has opened the fence.
    pub(super) fn check_is_no_authority(&self) -> Result<(), StoreError> {
        let fence = self.state().fence;
        if fence.state != FenceState::Open || fence.epoch == 0 {
            return Ok(());
        }
        Err(StoreError::Conflict {
            store: self.info.name.clone(),
            what: "the fence".into(),
            expected: "a follower".into(),
            found: format!("opened by epoch {}", fence.epoch),
        })
    }

    fn busy(&self, what: &str) -> StoreError {
        StoreError::Busy { store: self.info.name.clone(), what: what.to_owned(), holder: None }
    }
}

#[async_trait]
impl Fence for MemoryStore {
    async fn look(&self) -> Result<FenceAt, StoreError> {
        self.shared.suffer("look").await?;
        Ok(self.state().fence)
    }

    async fn is_whole(&self) -> Result<bool, StoreError> {
        self.shared.suffer("look").await?;
        // It is a state, and nothing else that somebody could take away.
        Ok(true)
    }

    async fn set(&self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        self.shared.suffer("set").await?;
        {
            let _lock = self.shared.check_epoch(epoch)?;
            self.state().fence = FenceAt { state, epoch };
        }
        if self.shared.loses_reply() { Err(self.shared.unreachable("set")) } else { Ok(()) }
    }

    async fn remove(&self) -> Result<(), StoreError> {
        self.shared.suffer("remove").await?;
        self.state().fence = FenceAt { state: FenceState::Open, epoch: 0 };
        Ok(())
    }

    async fn lock(&self, wait: Duration, stall: Duration) -> Result<Box<dyn FenceLock>, StoreError> {
        self.shared.suffer("lock").await?;
        let writers = Arc::clone(&self.shared.writers).write_owned();
        let guard = tokio::time::timeout(wait, writers).await.map_err(|_| self.shared.busy("the tables"))?;
        let held = Arc::new(Mutex::new(Held { guard: Some(guard), until: Instant::now() + stall }));
        tokio::spawn(watch(Arc::clone(&held)));
        Ok(Box::new(MemoryLock {
            shared: Arc::clone(&self.shared),
            held,
            stall,
            discarded: HashSet::new(),
            counters: Vec::new(),
            capture: None,
            fence: None,
        }))
    }
}

struct Held {
    guard: Option<OwnedRwLockWriteGuard<()>>,
    until: Instant,
}

fn held(held: &Mutex<Held>) -> std::sync::MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the lock of a holder that stalls.
async fn watch(lock: Arc<Mutex<Held>>) {
    loop {
        let until = {
            let mut held = held(&lock);
            if held.guard.is_none() {
                return;
            }
            if held.until <= Instant::now() {
                held.guard = None;
                return;
            }
            held.until
        };
        tokio::time::sleep_until(until).await;
    }
}

struct MemoryLock {
    shared: Arc<Shared>,
    held: Arc<Mutex<Held>>,
    stall: Duration,
    discarded: HashSet<i64>,
    counters: Vec<(TableName, i64)>,
    capture: Option<CaptureOptions>,
    fence: Option<FenceAt>,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        held(&self.held).guard = None;
    }
}

impl MemoryLock {
    /// Each call is a sign of life; after the lock was ended, nothing of it may take effect.
    fn alive(&self) -> Result<(), StoreError> {
        let mut held = held(&self.held);
        if held.guard.is_none() || held.until <= Instant::now() {
            held.guard = None;
            return Err(self.shared.busy("the lock was ended, because its holder stalled: the tables"));
        }
        held.until = Instant::now() + self.stall;
        Ok(())
    }
}

#[async_trait]
impl FenceLock for MemoryLock {
    async fn claim(&mut self, limit: usize) -> Result<Vec<Claim>, StoreError> {
        self.shared.suffer("claim").await?;
        self.alive()?;
        let state = self.shared.state();
        let left = state.log.values().filter(|claim| !self.discarded.contains(&claim.id));
        Ok(left.take(limit).cloned().collect())
    }

    async fn discard(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        self.shared.suffer("discard").await?;
        self.alive()?;
        self.discarded.extend(ids);
        Ok(())
    }

    async fn counters(&mut self) -> Result<Vec<(TableName, i64)>, StoreError> {
        self.shared.suffer("counters").await?;
        self.alive()?;
        let state = self.shared.state();
        let names = self.shared.shapes.iter().map(|shape| shape.table.clone());
        Ok(names.zip(state.tables.iter().map(|table| table.counter)).collect())
    }

    async fn raise_counters(&mut self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        self.shared.suffer("raise_counters").await?;
        self.alive()?;
        self.counters.extend_from_slice(at_least);
        Ok(())
    }

    async fn capture_on(&mut self, options: CaptureOptions) -> Result<(), StoreError> {
        self.shared.suffer("capture_on").await?;
        self.alive()?;
        self.capture = Some(options);
        Ok(())
    }

    async fn set(&mut self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        self.shared.suffer("set").await?;
        self.alive()?;
        self.shared.check_epoch(epoch)?;
        self.fence = Some(FenceAt { state, epoch });
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), StoreError> {
        self.alive()
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.shared.suffer("commit").await?;
        self.alive()?;
        if let Some(fence) = self.fence {
            self.shared.check_epoch(fence.epoch)?;
        }
        {
            let mut state = self.shared.state();
            for id in &self.discarded {
                state.log.remove(id);
            }
            for (table, at_least) in &self.counters {
                if let Some(at) = self.shared.shapes.iter().position(|shape| shape.table == *table) {
                    state.tables[at].counter = state.tables[at].counter.max(*at_least);
                }
            }
            if let Some(options) = self.capture {
                state.capture = Some(options);
            }
            if let Some(fence) = self.fence {
                state.fence = fence;
            }
        }
        if self.shared.loses_reply() { Err(self.shared.unreachable("commit")) } else { Ok(()) }
    }
}
