//! The clock of an instance: leases and holds are counted by it.
//!
//! It must run on while the machine sleeps: a laptop or a virtual machine that was suspended for an hour has
//! been out of touch for an hour, and a clock that stood still meanwhile would call its lease fresh.

use std::fmt::Debug;

use changeover_protocol::time::Millis;

/// Tells the time since some moment of its own, in milliseconds. It never goes back.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Millis;
}

/// The system's clock, which runs on while the machine sleeps (`CLOCK_BOOTTIME` on Linux).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let now = rustix::time::clock_gettime(RUNS_ON);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
        Millis(seconds.saturating_mul(1_000).saturating_add(millis))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const RUNS_ON: rustix::time::ClockId = rustix::time::ClockId::Boottime;
// On Apple's systems and the BSDs this one counts the time asleep too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RUNS_ON: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

/// The runtime's clock: for tests, which pause it, and for simulations.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeClock {
    start: tokio::time::Instant,
}

impl RuntimeClock {
    /// A clock that says 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_clock_never_goes_back() {
        let first = SystemClock.now();
        assert!(first.0 > 0);
        assert!(SystemClock.now() >= first);
    }
}
