//! A fence's lock under the supervisor's eye: every call on it that returns is a sign of life.

use std::time::Duration;

use async_trait::async_trait;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{Fence, FenceLock, FenceState};
use changeover::{StoreError, TableName};

use crate::error::ControlError;
use crate::supervisor::{Hold, Watchdog};

/// How often, and after how long a pause that doubles, a lock that wasn't got is tried again.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// A lock that is watched.
pub(super) struct Watched {
    lock: Box<dyn FenceLock>,
    // After the lock: the watch ends when the lock is gone.
    hold: Hold,
}

/// Takes the lock by short tries, with a pause that grows: gives way, and gives up with the name of whoever stood in the
/// way. Each try is short, so that a queue of the application's statements behind it is never ours to cause.
pub(super) async fn lock_patiently(
    fence: &dyn Fence,
    wait: Duration,
    stall: Duration,
    watchdog: &Watchdog,
) -> Result<Watched, ControlError> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        let hold = watchdog.hold(wait + stall);
        match fence.lock(wait, stall).await {
            Ok(lock) => {
                hold.beat();
                return Ok(Watched { lock, hold });
            }
            Err(StoreError::Busy { .. }) if tries < TRIES => {
                drop(hold);
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Watched {
    fn seen<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.hold.beat();
        answer
    }
}

#[async_trait]
impl FenceLock for Watched {
    async fn claim(&mut self, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let answer = self.lock.claim(limit).await;
        self.seen(answer)
    }

    async fn discard(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let answer = self.lock.discard(ids).await;
        self.seen(answer)
    }

    async fn counters(&mut self) -> Result<Vec<(TableName, i64)>, StoreError> {
        let answer = self.lock.counters().await;
        self.seen(answer)
    }

    async fn raise_counters(&mut self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        let answer = self.lock.raise_counters(at_least).await;
        self.seen(answer)
    }

    async fn capture_on(&mut self, options: CaptureOptions) -> Result<(), StoreError> {
        let answer = self.lock.capture_on(options).await;
        self.seen(answer)
    }

    async fn set(&mut self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        let answer = self.lock.set(state, epoch).await;
        self.seen(answer)
    }

    async fn beat(&mut self) -> Result<(), StoreError> {
        let answer = self.lock.beat().await;
        self.seen(answer)
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let Self { lock, hold } = *self;
        let answer = lock.commit().await;
        drop(hold);
        answer
    }
}
