//! The control plane's clock: milliseconds since 1970 that never go back and run on while the machine sleeps.
//!
//! Leases and bake times are counted by it. A step of the wall clock (somebody sets it, NTP jumps) must not make a lease
//! pass early, so the wall clock is read once, at the start, and from then on the boot clock is counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use changeover_protocol::Millis;

/// A clock. Cheap to copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_ms: u64,
    counted: Counted,
}

#[derive(Debug, Clone, Copy)]
enum Counted {
    /// Since this reading of the boot clock.
    Boot(Duration),
    /// By the async runtime, which a test may pause.
    Runtime(tokio::time::Instant),
}

impl Clock {
    /// The machine's clock, as it is for a run.
    #[must_use]
    pub fn system() -> Self {
        Self { wall_ms: wall_ms(), counted: Counted::Boot(boot()) }
    }

    /// A clock that follows the async runtime's time, so that it stands still where a test has paused that.
    #[must_use]
    pub fn runtime() -> Self {
        Self { wall_ms: wall_ms(), counted: Counted::Runtime(tokio::time::Instant::now()) }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        let passed = match self.counted {
            Counted::Boot(since) => boot().saturating_sub(since),
            Counted::Runtime(since) => since.elapsed(),
        };
        Millis(self.wall_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)))
    }
}

fn wall_ms() -> u64 {
    // A machine set to before 1970 counts from 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Elsewhere the monotonic clock is what there is; on macOS and the BSDs it may stand still in sleep, which makes leases
/// last longer, never shorter.
#[cfg(not(target_os = "linux"))]
fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_runtime_s_clock_moves_with_paused_time_alone() {
        let clock = Clock::runtime();
        let start = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now().since(start), Millis(1_500));
    }

    #[test]
    fn the_system_s_clock_shows_the_wall_s_time() {
        let clock = Clock::system();
        assert!(clock.now().0.abs_diff(wall_ms()) < 2_000);
    }
}
