//! How large the next chunk is, and when the copy gives way.

use std::time::Duration;

use tokio::time::Instant;

use super::BackfillOptions;
use super::chunk::Copied;

/// A chunk's first size, before anything is known of the rows.
const ROWS_FIRST: u64 = 1_000;
/// Fewer rows than that make a chunk only where a row is large.
const ROWS_LEAST: u64 = 32;
/// A chunk has no more rows than the rate allows in this time.
const RATED_CHUNK: Duration = Duration::from_millis(100);
/// The longest that the copy waits at once.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The size of chunks, from how the last ones went.
#[derive(Debug)]
pub(super) struct Pace {
    rows: u64,
    rows_max: u64,
    bytes_max: usize,
    chunk_time: Duration,
    rate_max: Option<u64>,
    response_max: Option<Duration>,
    /// By its rate, the copy may go on from here.
    allowed_at: Instant,
    /// How long the authority's slowness asks it to wait.
    slowed: Duration,
}

impl Pace {
    pub(super) fn new(options: &BackfillOptions) -> Self {
        let rows_max = options.chunk_rows_max.max(1);
        Self {
            rows: ROWS_FIRST.min(rows_max),
            rows_max,
            bytes_max: options.chunk_bytes_max,
            chunk_time: options.chunk_time,
            rate_max: options.rows_per_second_max.filter(|rate| *rate > 0),
            response_max: options.response_max,
            allowed_at: Instant::now(),
            slowed: Duration::ZERO,
        }
    }

    /// How many rows the next chunk should have.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes how a chunk went.
    pub(super) fn copied(&mut self, copied: &Copied) {
        if let Some(rate) = self.rate_max {
            let taken = Duration::from_secs_f64(copied.rows as f64 / rate as f64);
            self.allowed_at = self.allowed_at.max(Instant::now() - WAIT_MAX) + taken;
        }
        if copied.rows == 0 {
            return;
        }
        let seconds = copied.took.as_secs_f64().max(1e-6);
        let by_time = copied.rows as f64 * self.chunk_time.as_secs_f64() / seconds;
        let by_bytes = self.bytes_max as f64 / (copied.bytes as f64 / copied.rows as f64).max(1.0);
        // Within a chunk nothing keeps the rate: a long one would be a burst, and then a long wait.
        let rated = self.chunk_time.min(RATED_CHUNK).as_secs_f64();
        let by_rate = self.rate_max.map_or(f64::INFINITY, |rate| rate as f64 * rated);
        // One chunk that was fast by chance must not make a huge one.
        let by_growth = self.rows as f64 * 4.0;
        let least = ROWS_LEAST.min(self.rows_max) as f64;
        let wanted = by_time.min(by_growth).min(by_rate).max(least).min(by_bytes);
        // Positive and below rows_max, so the cast loses only the fraction.
        self.rows = (wanted.min(self.rows_max as f64) as u64).max(1);
    }

    /// Takes how long the authority took to answer one read.
    pub(super) fn answered(&mut self, within: Duration) {
        let Some(limit) = self.response_max else { return };
        if within <= limit {
            self.slowed = Duration::ZERO;
            return;
        }
        let over = within.as_secs_f64() / limit.as_secs_f64().max(1e-6);
        self.slowed = self.chunk_time.mul_f64(over.min(100.0)).min(WAIT_MAX);
    }

    pub(super) const fn response_limited(&self) -> bool {
        self.response_max.is_some()
    }

    /// Whether a wait is due before anything more is begun.
    pub(super) fn gives_way(&self) -> bool {
        !self.slowed.is_zero() || (self.rate_max.is_some() && self.allowed_at > Instant::now())
    }

    /// The wait that is due, once.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        let by_rate = match self.rate_max {
            Some(_) => self.allowed_at.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        };
        let wait = by_rate.max(std::mem::take(&mut self.slowed));
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(rows: u64, bytes: usize, took_ms: u64) -> Copied {
        Copied { rows, bytes, took: Duration::from_millis(took_ms), ..Copied::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_grow_to_their_time_and_shrink_at_once() {
        let mut pace = Pace::new(&BackfillOptions::default());
        pace.copied(&copied(1_000, 100_000, 10));
        assert_eq!(pace.rows(), 4_000, "not more than four times the last");
        pace.copied(&copied(4_000, 400_000, 40));
        assert_eq!(pace.rows(), 7_500);
        pace.copied(&copied(7_500, 750_000, 750));
        assert_eq!(pace.rows(), 750);
        pace.copied(&copied(750, 750 << 20, 1));
        assert_eq!(pace.rows(), 16, "16 MiB of rows of 1 MiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_on_average_and_waits_are_short() {
        for options in [BackfillOptions::default(), BackfillOptions::quiet()] {
            let mut pace = Pace::new(&BackfillOptions { rows_per_second_max: Some(20_000), ..options });
            let started = Instant::now();
            let mut rows = 0;
            while rows < 200_000 {
                let chunk = pace.rows();
                assert!(chunk <= 2_000, "a burst of {chunk} rows");
                pace.copied(&copied(chunk, 100, 1));
                rows += chunk;
                if let Some(wait) = pace.wait() {
                    assert!(wait < Duration::from_millis(200), "{wait:?}");
                    tokio::time::sleep(wait).await;
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            assert!((9.5..=10.5).contains(&seconds), "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_authority_makes_it_wait_and_a_fast_one_ends_that() {
        let mut pace = Pace::new(&BackfillOptions::default());
        pace.answered(Duration::from_millis(200));
        assert!(pace.gives_way());
        assert_eq!(pace.wait(), Some(Duration::from_millis(300)));
        assert!(!pace.gives_way(), "it looks again after each wait");
        pace.answered(Duration::from_secs(60));
        pace.answered(Duration::from_millis(1));
        assert!(!pace.gives_way());
    }
}
