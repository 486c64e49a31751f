//! Latencies in fixed buckets: four to each doubling, from a microsecond up to half an hour, so that a quantile is
//! at most a fifth too high. Recording is one addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many buckets there are: 4 for each of 31 doublings.
pub const BUCKETS: usize = 4 * 31;

/// A histogram that any number of threads add to.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    pub(crate) fn record(&self, latency: Duration, weight: u64) {
        self.counts[bucket(latency)].fetch_add(weight, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latencies {
        Latencies { counts: self.counts.iter().map(|count| count.load(Relaxed)).collect() }
    }

    fn clear(&self) {
        for count in &self.counts {
            count.store(0, Relaxed);
        }
    }
}

/// The number of the bucket: the doubling, and the two bits below its highest.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let quarter = if doubling >= 2 { (micros >> (doubling - 2)) & 3 } else { (micros << (2 - doubling)) & 3 };
    // Below 4 · 64, so no cast loses anything.
    (doubling as usize * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The first latency that lies beyond this bucket, in microseconds.
#[must_use]
pub const fn bucket_end_micros(bucket: usize) -> u64 {
    let (doubling, quarter) = (bucket / 4, bucket as u64 % 4);
    let end = (4 + quarter + 1) << doubling;
    end.div_ceil(4)
}

/// A snapshot of latencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many lie in each bucket; the bounds are [`bucket_end_micros`].
    pub counts: Vec<u64>,
}

impl Latencies {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency that this share of them (0 to 1) doesn't exceed, rounded up to its bucket's end; `None` without any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        // A count's share is a count: rounding is all that the casts do.
        let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(bucket_end_micros(at)))
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.counts.resize(BUCKETS, 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self
    }
}

/// Latencies of the last one to two minutes: what decides whether a hold is short enough now.
#[derive(Debug)]
pub(crate) struct Recent {
    halves: [Histogram; 2],
    minute: AtomicU64,
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self { halves: [const { Histogram::new() }; 2], minute: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, now_ms: u64, latency: Duration, weight: u64) {
        let minute = self.turn(now_ms);
        self.half(minute).record(latency, weight);
    }

    pub(crate) fn snapshot(&self, now_ms: u64) -> Latencies {
        self.turn(now_ms);
        self.halves[0].snapshot().and(&self.halves[1].snapshot())
    }

    fn half(&self, minute: u64) -> &Histogram {
        if minute.is_multiple_of(2) { &self.halves[0] } else { &self.halves[1] }
    }

    /// Clears what is too old: the one who moves the minute on does it.
    fn turn(&self, now_ms: u64) -> u64 {
        let minute = now_ms / 60_000;
        let seen = self.minute.load(Relaxed);
        if minute > seen && self.minute.compare_exchange(seen, minute, Relaxed, Relaxed).is_ok() {
            self.half(minute).clear();
            if minute > seen + 1 {
                self.half(minute + 1).clear();
            }
        }
        minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_latency_lies_below_its_buckets_end_and_at_most_a_quarter_below(micros in 4_u64..1_000_000_000) {
            let end = bucket_end_micros(bucket(Duration::from_micros(micros)));
            prop_assert!(micros < end && end <= micros + micros / 4 + 1, "{micros} {end}");
        }
    }

    #[test]
    fn quantiles_come_from_the_right_bucket() {
        let histogram = Histogram::new();
        for _ in 0..999 {
            histogram.record(Duration::from_millis(1), 1);
        }
        histogram.record(Duration::from_secs(3), 1);
        let latencies = histogram.snapshot();
        assert!(latencies.quantile(0.999).unwrap() < Duration::from_millis(2));
        assert!(latencies.quantile(1.0).unwrap() >= Duration::from_secs(3));
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_two_minutes_old_is_forgotten() {
        let recent = Recent::new();
        recent.record(61_000, Duration::from_secs(5), 1);
        recent.record(121_000, Duration::from_millis(1), 1);
        assert_eq!(recent.snapshot(121_000).count(), 2);
        assert_eq!(recent.snapshot(181_000).count(), 1);
        assert_eq!(recent.snapshot(400_000).count(), 0);
    }
}
