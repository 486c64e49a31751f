//! Shadow calls: the same call made to the follower too, compared, and never awaited by the caller.
//!
//! A call is first sampled, then (its authority having answered) let in by the cap and the operation's breaker; only
//! then is the answer kept and a task begun. What isn't compared is counted as dropped, with the reason, and never
//! as a match.

mod breaker;
mod caught;
mod task;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::breaker::{Breaker, Turned};
pub(crate) use self::caught::{caught, quietly};
pub(crate) use self::task::{Input, Job, keep as keep_answer};
use crate::value::Key;

/// How shadow calls are made.
#[derive(Debug, Clone)]
pub struct ShadowSettings {
    /// The share of calls that is shadowed, 0 to 1. Default: all of them.
    pub sample: f64,
    /// The same for single operations, by name.
    pub sample_of: HashMap<&'static str, f64>,
    /// How long one call may take. Default: 1 second.
    pub deadline: Duration,
    /// How many shadow calls may be under way, waiting for their next try included. Default: 64.
    pub running_max: usize,
    /// How long after a mismatch both sides are asked again; each further time waits four times as long. Default: 25 ms,
    /// so 25, 100 and 400 ms.
    pub ask_again_after: Duration,
    /// How many shapes of mismatches are kept. Default: 100.
    pub samples_max: usize,
}

impl Default for ShadowSettings {
    fn default() -> Self {
        Self {
            sample: 1.0,
            sample_of: HashMap::new(),
            deadline: Duration::from_secs(1),
            running_max: 64,
            ask_again_after: Duration::from_millis(25),
            samples_max: 100,
        }
    }
}

/// Tells whether a key's follower copy is known not to be level yet: a mismatch on it is transient.
///
/// For migrations whose mirror isn't in this process (capture): asks the log. It is asked after a mismatch only, with
/// the deadline of a shadow call; an error or a panic of its own is to be answered with `false`.
#[async_trait]
pub trait DirtyKeys: Send + Sync + 'static {
    /// Whether the key is dirty now.
    async fn is_dirty(&self, key: &Key) -> bool;
}

/// What all shadow calls of a migration share.
pub(crate) struct Shadow {
    pub(crate) settings: ShadowSettings,
    running: Arc<Semaphore>,
    pub(crate) dirty: Option<Arc<dyn DirtyKeys>>,
}

impl Shadow {
    pub(crate) fn new(settings: ShadowSettings, dirty: Option<Arc<dyn DirtyKeys>>) -> Self {
        let running = Arc::new(Semaphore::new(settings.running_max.min(Semaphore::MAX_PERMITS)));
        Self { settings, running, dirty }
    }

    /// Whether this call is in the sample. `rate`: the operation's own.
    pub(crate) fn is_sampled(&self, rate: Option<f64>) -> bool {
        let rate = rate.unwrap_or(self.settings.sample);
        rate >= 1.0 || (rate > 0.0 && chance() < rate)
    }

    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.running).try_acquire_owned().ok()
    }

    pub(crate) fn running(&self) -> u64 {
        self.settings.running_max.saturating_sub(self.running.available_permits()) as u64
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A number from 0 up to 1, by chance and without a pattern that traffic could fall in step with: xorshift64*
/// (Marsaglia; Vigna), seeded for each thread.
fn chance() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(1) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_as_large_as_asked_for() {
        let shadow = Shadow::new(ShadowSettings { sample: 0.1, ..ShadowSettings::default() }, None);
        let sampled = (0..100_000).filter(|_| shadow.is_sampled(None)).count();
        assert!((9_000..11_000).contains(&sampled), "{sampled}");
        assert!((0..1_000).all(|_| shadow.is_sampled(Some(1.0)) && !shadow.is_sampled(Some(0.0))));
    }
}
