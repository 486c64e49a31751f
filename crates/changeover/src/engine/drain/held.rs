//! The keys of a log that wait: for their chunk's copy, or because the follower refuses them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::DrainOptions;
use crate::store::Refusal;
use crate::store::capture::Claim;
use crate::value::Key;

/// Keys that wait, each with the entries that were tried: an entry that wasn't is a change, and ends the wait.
pub(super) struct Held {
    keys: HashMap<Key, Waiting>,
    refused: u64,
    max: usize,
    deferred_wait: Duration,
    refused_wait: (Duration, Duration),
}

struct Waiting {
    /// In rising order.
    tried: Vec<i64>,
    until: Instant,
    wait: Duration,
    refusal: Option<Refusal>,
}

impl Held {
    pub(super) fn new(options: &DrainOptions) -> Self {
        Self {
            keys: HashMap::new(),
            refused: 0,
            max: options.held_max,
            deferred_wait: options.deferred_wait,
            refused_wait: options.refused_wait,
        }
    }

    /// The claims that are to be tried now, with all of their key's.
    pub(super) fn due(&self, claims: Vec<Claim>, now: Instant) -> Vec<Claim> {
        if self.keys.is_empty() {
            return claims;
        }
        let waits = |claim: &Claim| match self.keys.get(&claim.key) {
            Some(waiting) => waiting.until > now && waiting.tried.binary_search(&claim.id).is_ok(),
            None => false,
        };
        claims.into_iter().filter(|claim| !waits(claim)).collect()
    }

    pub(super) fn defer(&mut self, key: &Key, ids: Vec<i64>, now: Instant) {
        let wait = self.deferred_wait;
        self.hold(key, Waiting { tried: ids, until: now + wait, wait, refusal: None });
    }

    pub(super) fn refuse(&mut self, key: &Key, ids: Vec<i64>, refusal: Refusal, now: Instant) {
        let (least, most) = self.refused_wait;
        let before = self.keys.get(key).filter(|waiting| waiting.refusal.is_some());
        let wait = before.map_or(least, |waiting| (waiting.wait * 2).min(most));
        if before.is_none() {
            tracing::warn!(key = %key, column = ?refusal.column, why = %refusal.why, "a row can't be carried");
        }
        self.hold(key, Waiting { tried: ids, until: now + wait, wait, refusal: Some(refusal) });
    }

    fn hold(&mut self, key: &Key, mut waiting: Waiting) {
        let known = self.keys.contains_key(key);
        if !known && self.keys.len() >= self.max {
            return;
        }
        let before = self.release(key);
        waiting.tried.extend(before);
        waiting.tried.sort_unstable();
        waiting.tried.dedup();
        self.refused += u64::from(waiting.refusal.is_some());
        self.keys.insert(key.clone(), waiting);
    }

    /// The key waits no more. The entries that had been tried.
    pub(super) fn release(&mut self, key: &Key) -> Vec<i64> {
        let Some(waiting) = self.keys.remove(key) else { return Vec::new() };
        self.refused -= u64::from(waiting.refusal.is_some());
        waiting.tried
    }

    /// When the first of them is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.keys.values().map(|waiting| waiting.until).min()
    }

    /// Whether there are more than can be remembered.
    pub(super) fn crowded(&self) -> bool {
        self.keys.len() >= self.max
    }

    /// How many wait for their chunk, and how many are refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.keys.len() as u64 - self.refused, self.refused)
    }

    /// Up to so many of the refused, by name.
    pub(super) fn refusals(&self, limit: usize) -> Vec<Refusal> {
        if self.refused == 0 {
            return Vec::new();
        }
        self.keys.values().filter_map(|waiting| waiting.refusal.clone()).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use changeover_protocol::Slot;

    use super::*;

    fn claim(id: i64, key: i64) -> Claim {
        Claim { id, key: Key::new("t", key), slot: Slot::new(0), at_ms: 0 }
    }

    fn refusal(key: i64) -> Refusal {
        Refusal { key: Key::new("t", key), column: None, value: None, why: "too long".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_waits_longer_each_time_and_a_change_of_it_does_not_wait() {
        let mut held = Held::new(&DrainOptions::default());
        let key = Key::new("t", 1_i64);
        let now = Instant::now();
        held.refuse(&key, vec![5], refusal(1), now);
        assert!(held.due(vec![claim(5, 1)], now).is_empty());
        assert_eq!(
            held.due(vec![claim(5, 1), claim(3, 1), claim(6, 2)], now).len(),
            2,
            "3 became visible late"
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(held.due(vec![claim(5, 1)], later).len(), 1);
        held.refuse(&key, vec![5], refusal(1), later);
        assert!(held.due(vec![claim(5, 1)], later + Duration::from_secs(1)).is_empty());
        assert_eq!(held.counts(), (0, 1));
        held.release(&key);
        assert_eq!(held.counts(), (0, 0));
        assert_eq!(held.due(vec![claim(5, 1)], later).len(), 1);
    }
}
