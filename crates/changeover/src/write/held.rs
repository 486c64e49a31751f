//! A write that waits for a hold to end: counted, bounded, and woken by every new standing.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use changeover_protocol::time::Millis;
use tokio::time::timeout;

use crate::migration::Core;
use crate::refused::Refused;

/// A place in the queue of held writes; given back when dropped.
pub(super) struct Held<'a> {
    core: &'a Core,
    /// The new standings that it has seen.
    changes: u64,
    /// When the wait began, by the instance's clock.
    pub(super) since: Millis,
}

impl<'a> Held<'a> {
    pub(super) fn begin(core: &'a Core, operation: &'static str) -> Result<Self, Refused> {
        let limit = core.writes.held_max;
        let place =
            core.waiting.fetch_update(AcqRel, Relaxed, |waiting| (waiting < limit).then_some(waiting + 1));
        if place.is_err() {
            return Err(Refused::TooManyHeld { operation, limit });
        }
        Ok(Self { core, changes: core.switch.changes(), since: core.switch.clock.now() })
    }

    /// Waits for a new standing, at most until then.
    pub(super) async fn wait(&mut self, until: Millis) {
        // At least one tick: the timer's milliseconds and the clock's needn't begin together.
        let left = Duration::from_millis(until.since(self.core.switch.clock.now()).0.max(1));
        // Over time or told: whoever waits looks again either way.
        let _ = timeout(left, self.core.switch.changed_since(self.changes)).await;
        self.changes = self.core.switch.changes();
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.core.waiting.fetch_sub(1, AcqRel);
    }
}
