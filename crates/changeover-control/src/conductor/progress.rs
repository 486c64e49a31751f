//! What is under way in a run, for whoever looks: cheap to read, never the truth on anything that outlives the process.

use std::collections::BTreeMap;

use changeover::engine::backfill::TableProgress;
use changeover::store::capture::Depth;
use changeover_protocol::Side;
use changeover_protocol::gate::Stuck;

use super::gates::Chunks;

/// A run's progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The backfill, while one is under way or was made in this run.
    pub(crate) copy: Option<CopyProgress>,
    /// The verification that is under way.
    pub(crate) verify: Option<VerifyProgress>,
    /// How full the logs are, by side, all pairs together.
    pub(crate) logs: BTreeMap<Side, Depth>,
    /// Since when the dirty keys have been fewer than can be drained in a hold, or more; in milliseconds since 1970.
    pub(crate) dirty_since_ms: u64,
    /// Whether they are fewer.
    pub(crate) dirty_few: bool,
    /// Rows that the mirror can't carry.
    pub(crate) stuck: Stuck,
    /// How many keys are synced in a second, as seen.
    pub(crate) sync_rate: Option<f64>,
    /// How many changes are logged in a second, as seen.
    pub(crate) changes_per_second: Option<f64>,
    /// Parts that fail.
    pub(crate) troubles: BTreeMap<&'static str, Trouble>,
    /// Why nothing is done until `adopt`.
    pub(crate) stopped: Option<String>,
    /// What a person should look at, newest last; bounded.
    pub(crate) alerts: Vec<Told>,
}

/// What a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// When it was told first, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// When it was so last.
    last_ms: u64,
    /// What.
    pub(crate) text: String,
}

/// A part that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Why.
    pub(crate) why: String,
    /// Since when, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// How far the backfill is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CopyProgress {
    /// Rows copied, by this run and those before.
    pub(crate) rows: u64,
    /// Rows that there are, about.
    pub(crate) rows_all: u64,
    /// Rows in a second, by this run.
    pub(crate) rows_per_second: f64,
    /// About how much time is left, in milliseconds.
    pub(crate) left_ms: Option<u64>,
    /// What it waits for.
    pub(crate) waits_for: Option<String>,
    /// Chunks done.
    pub(crate) chunks_done: u64,
    /// Rows that can't be carried.
    pub(crate) refused: u64,
    /// When this run began with it, in milliseconds since 1970.
    pub(crate) began_ms: u64,
    /// When it was done.
    pub(crate) done_ms: Option<u64>,
    /// Each table, in the order of the copy.
    pub(crate) tables: Vec<TableProgress>,
}

/// How far the verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VerifyProgress {
    /// Rows compared.
    pub(crate) rows: u64,
    /// Rows that there are, about.
    pub(crate) rows_all: u64,
    /// Differences so far.
    pub(crate) differences: u64,
    /// When it began, in milliseconds since 1970.
    pub(crate) began_ms: u64,
}

/// What the alert of a row says that the mirror can't carry.
pub(crate) const STAYS_DIRTY: &str = "can't be carried, and stays dirty";

/// How many alerts are kept for the status; the audit has all.
const ALERTS: usize = 20;

/// And for how long after it was so last.
const ALERT_KEPT_MS: u64 = 3_600_000;

/// So many keys are synced in a second, where no rate was seen yet.
const SYNC_RATE: f64 = 2_000.0;

/// The parts that any move needs; those that one needs which changes the side that answers; and those that it needs forward.
const NEEDED_TO_MOVE: [&str; 4] = ["flag file", "barrier", "state", "audit"];
const NEEDED_TO_CROSS: [&str; 2] = ["fence", MIRROR];
const NEEDED_FORWARD: [&str; 1] = ["watch"];
/// The part that carries changes.
pub(crate) const MIRROR: &str = "mirror";
/// After this time a failure is none that passes by itself.
const LASTING_MS: u64 = 2_000;

impl Progress {
    /// Sets or clears a part's trouble; whether that is news.
    pub(crate) fn set_trouble(&mut self, part: &'static str, why: Option<String>, now_ms: u64) -> bool {
        match why {
            Some(why) => match self.troubles.get_mut(part) {
                Some(trouble) => {
                    let is_new = trouble.why != why;
                    trouble.why = why;
                    is_new
                }
                None => self.troubles.insert(part, Trouble { why, since_ms: now_ms }).is_none(),
            },
            None => self.troubles.remove(part).is_some(),
        }
    }

    /// Why a move would come to nothing, or leave something behind, if it was begun now: what it needs fails, and not only for
    /// a moment. `crosses`: it changes the side that answers.
    pub(crate) fn obstacle(&self, crosses: bool, now_ms: u64) -> Option<String> {
        let parts = NEEDED_TO_MOVE.iter().chain(NEEDED_TO_CROSS.iter().filter(|_| crosses));
        parts.into_iter().find_map(|part| self.lasting(part, now_ms))
    }

    /// The same of a move forward, which also wants to be known how things are.
    pub(crate) fn obstacle_forward(&self, now_ms: u64) -> Option<String> {
        let known = || NEEDED_FORWARD.iter().find_map(|part| self.lasting(part, now_ms));
        self.obstacle(true, now_ms).or_else(known)
    }

    /// Why changes are carried nowhere, if they aren't, and not only for a moment.
    pub(crate) fn mirror_fails(&self, now_ms: u64) -> Option<String> {
        self.lasting(MIRROR, now_ms)
    }

    fn lasting(&self, part: &str, now_ms: u64) -> Option<String> {
        let trouble = self.troubles.get(part)?;
        let lasts = now_ms.saturating_sub(trouble.since_ms) >= LASTING_MS;
        lasts.then(|| format!("{part}: {}", trouble.why))
    }

    /// Keeps an alert; whether it is news: nothing like it was told within the hour.
    pub(crate) fn alert(&mut self, now_ms: u64, text: String) -> bool {
        self.alerts.retain(|alert| now_ms.saturating_sub(alert.last_ms) < ALERT_KEPT_MS);
        if let Some(known) = self.alerts.iter_mut().find(|alert| alert.text == text) {
            known.last_ms = now_ms;
            return false;
        }
        if self.alerts.len() >= ALERTS {
            self.alerts.remove(0);
        }
        self.alerts.push(Told { at_ms: now_ms, last_ms: now_ms, text });
        true
    }

    /// Rows that couldn't be carried and that nobody names any more are carried: their alerts end.
    pub(crate) fn withdraw_refusals(&mut self, still: &[String]) {
        self.alerts.retain(|alert| !alert.text.contains(STAYS_DIRTY) || still.contains(&alert.text));
    }

    /// The alerts that still say something: told, or told again, within the hour.
    pub(crate) fn alerts(&self, now_ms: u64) -> impl Iterator<Item = &Told> {
        self.alerts.iter().filter(move |alert| now_ms.saturating_sub(alert.last_ms) < ALERT_KEPT_MS)
    }

    /// What the backfill's gate shows.
    pub(crate) fn chunks(&self) -> Chunks {
        let done = self.copy.as_ref().map_or(0, |copy| copy.chunks_done);
        // How many there will be isn't known before the last: at least one more, while it isn't done.
        let all = if self.copy.as_ref().is_some_and(|copy| copy.done_ms.is_some()) { done } else { done + 1 };
        Chunks { done, all }
    }

    /// How many changes may wait for the mirror when a move crosses: a quarter of what the hold's budget is enough for.
    pub(crate) fn may_wait(&self, hold_budget_ms: u64) -> u64 {
        // Positive, and far below what a u64 holds.
        (self.rate() * hold_budget_ms as f64 / 1_000.0 / 4.0).max(50.0) as u64
    }

    /// How many of them a rollback may find: half of it.
    pub(crate) fn drainable(&self, hold_budget_ms: u64) -> u64 {
        (self.rate() * hold_budget_ms as f64 / 1_000.0 / 2.0).max(100.0) as u64
    }

    /// How many keys are synced in a second, as far as is known.
    pub(crate) fn rate(&self) -> f64 {
        self.sync_rate.unwrap_or(SYNC_RATE).max(1.0)
    }

    /// Entries in the log of a side.
    pub(crate) fn dirty(&self, side: Side) -> Option<u64> {
        self.logs.get(&side).map(|depth| depth.entries)
    }
}
