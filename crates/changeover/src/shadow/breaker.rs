//! The breaker of an operation's shadow calls: a sick follower isn't asked further.
//!
//! * **Trips** when at least half of the shadow calls in the window failed: an error where the authority had none, a
//!   panic, or a deadline that passed.
//! * **Minimum evidence:** 20 calls in the window.
//! * **Window:** 10 seconds, begun anew when it is over.
//! * **Recovers:** after 5 seconds one call is let through as a probe. Three good probes in a row close it; a bad one
//!   opens it again for twice as long, up to 60 seconds.

use std::sync::{Mutex, PoisonError};

const WINDOW_MS: u64 = 10_000;
const EVIDENCE_MIN: u32 = 20;
const OPEN_MS: u64 = 5_000;
const OPEN_MS_MAX: u64 = 60_000;
const PROBES: u32 = 3;

/// A breaker. Its lock is held for a few instructions, in shadow calls only.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { since_ms: u64, calls: u32, failures: u32 },
    Open { until_ms: u64, for_ms: u64 },
    Probing { under_way: bool, good: u32, for_ms: u64 },
}

/// What a result did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing.
    No,
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State::Closed { since_ms: 0, calls: 0, failures: 0 }))
    }

    /// Whether a call may be made now. One that may must be followed by [`Breaker::ended`].
    pub(crate) fn lets_through(&self, now_ms: u64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => true,
            State::Open { until_ms, for_ms } if now_ms >= until_ms => {
                *state = State::Probing { under_way: true, good: 0, for_ms };
                true
            }
            State::Probing { under_way: false, good, for_ms } => {
                *state = State::Probing { under_way: true, good, for_ms };
                true
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// A call that was let through has ended; `None`: without telling anything about the follower.
    pub(crate) fn ended(&self, now_ms: u64, good: Option<bool>) -> Turned {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, turned) = match *state {
            State::Closed { since_ms, calls, failures } => match good {
                None => (*state, Turned::No),
                Some(good) => counted(now_ms, since_ms, calls, failures, good),
            },
            State::Probing { good: before, for_ms, .. } => probed(now_ms, before, for_ms, good),
            // A call from before it opened.
            State::Open { .. } => (*state, Turned::No),
        };
        *state = next;
        turned
    }
}

fn counted(now_ms: u64, since_ms: u64, calls: u32, failures: u32, good: bool) -> (State, Turned) {
    let is_over = now_ms >= since_ms.saturating_add(WINDOW_MS);
    let (since_ms, calls, failures) = if is_over { (now_ms, 0, 0) } else { (since_ms, calls, failures) };
    let (calls, failures) = (calls + 1, failures + u32::from(!good));
    if calls >= EVIDENCE_MIN && failures * 2 >= calls {
        return (State::Open { until_ms: now_ms + OPEN_MS, for_ms: OPEN_MS }, Turned::Opened);
    }
    (State::Closed { since_ms, calls, failures }, Turned::No)
}

fn probed(now_ms: u64, before: u32, for_ms: u64, good: Option<bool>) -> (State, Turned) {
    match good {
        None => (State::Probing { under_way: false, good: before, for_ms }, Turned::No),
        Some(true) if before + 1 >= PROBES => {
            (State::Closed { since_ms: now_ms, calls: 0, failures: 0 }, Turned::Closed)
        }
        Some(true) => (State::Probing { under_way: false, good: before + 1, for_ms }, Turned::No),
        Some(false) => {
            let for_ms = (for_ms * 2).min(OPEN_MS_MAX);
            (State::Open { until_ms: now_ms + for_ms, for_ms }, Turned::No)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tripped() -> Breaker {
        let breaker = Breaker::new();
        for n in 1..=EVIDENCE_MIN {
            assert!(breaker.lets_through(1));
            let turned = breaker.ended(1, Some(n % 2 == 0));
            assert_eq!(turned == Turned::Opened, n == EVIDENCE_MIN, "after {n} calls");
        }
        breaker
    }

    #[test]
    fn it_trips_at_half_of_twenty_and_lets_nothing_through() {
        let breaker = tripped();
        assert!(!breaker.lets_through(1) && !breaker.lets_through(OPEN_MS));
    }

    #[test]
    fn failures_of_an_earlier_window_do_not_count() {
        let breaker = Breaker::new();
        for n in 0..EVIDENCE_MIN * 10 {
            assert_eq!(breaker.ended(u64::from(n) * 1_000, Some(false)), Turned::No);
        }
    }

    #[test]
    fn three_good_probes_close_it_one_at_a_time() {
        let breaker = tripped();
        let later = 1 + OPEN_MS;
        for n in 1..=PROBES {
            assert!(breaker.lets_through(later));
            assert!(!breaker.lets_through(later), "one probe at a time");
            assert_eq!(breaker.ended(later, Some(true)) == Turned::Closed, n == PROBES);
        }
        assert!(breaker.lets_through(later) && breaker.lets_through(later));
    }

    #[test]
    fn a_bad_probe_opens_it_for_twice_as_long() {
        let breaker = tripped();
        let later = 1 + OPEN_MS;
        assert!(breaker.lets_through(later));
        breaker.ended(later, Some(false));
        assert!(!breaker.lets_through(later + 2 * OPEN_MS - 1));
        assert!(breaker.lets_through(later + 2 * OPEN_MS));
    }

    #[test]
    fn a_probe_that_tells_nothing_makes_room_for_another() {
        let breaker = tripped();
        assert!(breaker.lets_through(1 + OPEN_MS));
        breaker.ended(1 + OPEN_MS, None);
        assert!(breaker.lets_through(1 + OPEN_MS));
    }
}
