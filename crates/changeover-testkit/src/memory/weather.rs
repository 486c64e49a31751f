//! Bad weather: answers that take their time, calls that fail, replies that are lost after the work was done.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use changeover::StoreError;

use super::Shared;
use crate::random::Random;

/// The weather of a store.
#[derive(Debug, Clone)]
pub struct Weather {
    /// How long each call takes, at least and at most.
    pub latency: Option<(Duration, Duration)>,
    /// The probability that a call stalls, as one of a process that is paused, and for how long at most.
    pub stalling: (f64, Duration),
    /// The probability that a call fails before it does anything.
    pub failing: f64,
    /// The probability that a commit's reply is lost after it took effect.
    pub losing: f64,
    /// Calls that fail the next so many times, by the method's name.
    pub fail_next: HashMap<&'static str, u32>,
    /// What decides.
    pub random: Random,
}

impl Default for Weather {
    /// Calm.
    fn default() -> Self {
        Self {
            latency: None,
            stalling: (0.0, Duration::ZERO),
            failing: 0.0,
            losing: 0.0,
            fail_next: HashMap::new(),
            random: Random::new(0),
        }
    }
}

impl Weather {
    /// Slow and unreliable, by this seed.
    #[must_use]
    pub fn rough(seed: u64, failing: f64) -> Self {
        let latency = Some((Duration::ZERO, Duration::from_millis(5)));
        Self { latency, failing, losing: failing, random: Random::new(seed), ..Self::default() }
    }

    /// Every call takes that long.
    #[must_use]
    pub fn slow(latency: Duration) -> Self {
        Self { latency: Some((latency, latency)), ..Self::default() }
    }
}

impl Shared {
    /// Lets a call take its time, and fail.
    pub(super) async fn suffer(&self, call: &'static str) -> Result<(), StoreError> {
        let (wait, fails) = {
            let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
            let latency = weather.latency;
            let mut wait = latency.map(|(least, most)| weather.random.between(least, most));
            let (stalling, longest) = weather.stalling;
            if weather.random.chance(stalling) {
                wait = Some(weather.random.between(Duration::ZERO, longest));
            }
            let planned = weather.fail_next.get_mut(call).filter(|left| **left > 0);
            let planned = planned.map(|left| *left -= 1).is_some();
            let failing = weather.failing;
            (wait, planned || weather.random.chance(failing))
        };
        match wait {
            Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
            // Others get a turn at every call, as they would with a real store.
            _ => tokio::task::yield_now().await,
        }
        if fails { Err(self.unreachable(call)) } else { Ok(()) }
    }

    /// Whether the reply to something that was done is lost.
    pub(super) fn loses_reply(&self) -> bool {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let losing = weather.losing;
        weather.random.chance(losing)
    }

    pub(super) fn unreachable(&self, call: &str) -> StoreError {
        StoreError::Unreachable {
            store: self.info.name.clone(),
            doing: call.to_owned(),
            cause: "bad weather".into(),
        }
    }
}
