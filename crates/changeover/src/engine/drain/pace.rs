//! How large a batch is: as large as what is synced in a second.
//!
//! A move waits for the batches that are under way, within its hold budget; and whoever waits for the guard of a batch's keys
//! (the batch beside it, a verification) gives up after a time. Over a slow network, or where the rows stand in each
//! other's way, a batch of full size takes longer than either: then no move would ever be made, and batches would wait for
//! each other in vain. So the size follows what the last batches took.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a batch should take at most: half of the default hold budget, and of what a lock is waited for.
const AIM: Duration = Duration::from_secs(1);

/// No batch is made smaller: what each takes besides its entries would be most of it.
const LEAST: usize = 64;

/// The size of the next batch.
#[derive(Debug)]
pub(super) struct Pace {
    size: AtomicUsize,
    most: usize,
}

impl Pace {
    /// Never above `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { size: AtomicUsize::new(LEAST.min(most)), most }
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// A batch of so many entries took so long.
    pub(super) fn took(&self, entries: usize, time: Duration) {
        let size = self.size();
        let next = if time > AIM {
            entries / 2
        } else if time <= AIM / 2 && entries >= size {
            // One that wasn't full says little of a larger one.
            size.saturating_mul(2)
        } else {
            return;
        };
        self.set(next);
    }

    /// A lock wasn't got in time: whoever has it has too much to do.
    pub(super) fn gave_way(&self) {
        self.set(self.size() / 2);
    }

    fn set(&self, size: usize) {
        let least = LEAST.min(self.most);
        self.size.store(size.clamp(least, self.most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_batches_take_within_its_bounds() {
        let pace = Pace::new(512);
        for _ in 0..10 {
            pace.took(pace.size(), Duration::from_millis(20));
        }
        assert_eq!(pace.size(), 512, "quick ones grow, to the most");
        pace.took(512, AIM.saturating_mul(16));
        assert_eq!(pace.size(), 256, "a slow one shrinks");
        pace.took(10, Duration::from_millis(1));
        assert_eq!(pace.size(), 256, "one that wasn't full says nothing");
        pace.took(256, AIM);
        assert_eq!(pace.size(), 256, "as it should be");
        pace.gave_way();
        assert_eq!(pace.size(), 128);
        for _ in 0..10 {
            pace.took(pace.size(), AIM.saturating_mul(2));
        }
        assert_eq!(pace.size(), LEAST);
    }

    #[test]
    fn a_smaller_bound_holds_both_ways() {
        let pace = Pace::new(3);
        pace.took(3, Duration::ZERO);
        assert_eq!(pace.size(), 3);
        pace.took(3, Duration::from_secs(9));
        assert_eq!(pace.size(), 3);
    }
}
