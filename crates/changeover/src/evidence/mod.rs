//! Evidence: what is counted for each operation and cohort, and how it is handed to whoever decides on it.
//!
//! All of it is atomics. In steps `old` and `new` one call in 64 of each thread is timed and counted as 64, so that
//! the others cost nothing; errors are always counted. In the mirrored steps every call is.

mod histogram;
mod registry;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use changeover_protocol::Side;

pub use self::histogram::{BUCKETS, Latencies, bucket_end_micros};
pub(crate) use self::histogram::{Histogram, Recent};
pub use self::registry::{Operation, OperationRef};
pub(crate) use self::registry::{OperationState, Registry};
use crate::samples::Sample;

/// At most this many rules are counted by name for each operation; the others are counted together.
const RULES_MAX: usize = 64;
/// The name under which the rules beyond that are counted.
const OTHER_RULES: &str = "(other rules)";

/// In steps `old` and `new`, one call in this many is timed.
pub(crate) const TIMED_ONE_IN: u32 = 64;

/// The keys whose authority is the new side, or the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cohort {
    /// The old side is the authority.
    Control,
    /// The new side is.
    Treatment,
}

impl Cohort {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Control, Self::Treatment];

    /// The cohort of keys with this authority.
    #[must_use]
    pub const fn of(authority: Side) -> Self {
        match authority {
            Side::Old => Self::Control,
            Side::New => Self::Treatment,
        }
    }

    /// The name that formats use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Treatment => "treatment",
        }
    }
}

/// Why a shadow call's answer wasn't compared, or the call wasn't made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// It isn't in the sample.
    Sample,
    /// As many as may be were under way.
    Budget,
    /// It took longer than its deadline.
    Deadline,
    /// The breaker was open.
    Breaker,
    /// The caller went away before the authority had answered.
    CallerGone,
    /// The step changed meanwhile.
    StepChanged,
    /// Its key was written during every comparison: what the follower should have answered isn't known.
    Unsettled,
    /// The comparison itself, or what it needs of the answer, panicked.
    Panicked,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Sample,
        Self::Budget,
        Self::Deadline,
        Self::Breaker,
        Self::CallerGone,
        Self::StepChanged,
        Self::Unsettled,
        Self::Panicked,
    ];

    /// The name that formats use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Breaker => "breaker",
            Self::CallerGone => "caller-gone",
            Self::StepChanged => "step-changed",
            Self::Unsettled => "unsettled",
            Self::Panicked => "panicked",
        }
    }
}

/// What came of one shadow call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both answers are the same.
    Match,
    /// They are the same by this rule.
    MatchByRule(String),
    /// They differed, and then no more; or the key was known to be dirty.
    Transient,
    /// They differ, and still did when asked again.
    Persistent,
    /// One side failed, and the other didn't.
    Error(Side),
    /// Both failed, and nobody said that their errors are the same.
    BothFailed,
    /// It wasn't compared.
    Dropped(Dropped),
}

/// The counters of one operation and cohort.
#[derive(Debug)]
pub(crate) struct Counters {
    calls: [AtomicU64; 2],
    failed: [AtomicU64; 2],
    latency: [Histogram; 2],
    matches: AtomicU64,
    transient: AtomicU64,
    persistent: AtomicU64,
    errors: [AtomicU64; 2],
    both_failed: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    held: AtomicU64,
    held_longest_ms: AtomicU64,
    left_dirty: AtomicU64,
    unknown: AtomicU64,
    rules: Mutex<BTreeMap<String, u64>>,
}

const fn two() -> [AtomicU64; 2] {
    [const { AtomicU64::new(0) }; 2]
}

impl Counters {
    const fn new() -> Self {
        Self {
            calls: two(),
            failed: two(),
            latency: [const { Histogram::new() }; 2],
            matches: AtomicU64::new(0),
            transient: AtomicU64::new(0),
            persistent: AtomicU64::new(0),
            errors: two(),
            both_failed: AtomicU64::new(0),
            dropped: [const { AtomicU64::new(0) }; Dropped::ALL.len()],
            held: AtomicU64::new(0),
            held_longest_ms: AtomicU64::new(0),
            left_dirty: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            rules: Mutex::new(BTreeMap::new()),
        }
    }

    /// A call to one side has ended, successfully or not.
    pub(crate) fn called(&self, side: Side, latency: Duration, weight: u64) {
        self.calls[side as usize].fetch_add(weight, Relaxed);
        self.latency[side as usize].record(latency, weight);
    }

    pub(crate) fn failed(&self, side: Side) {
        self.failed[side as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn held(&self, for_ms: u64) {
        self.held.fetch_add(1, Relaxed);
        self.held_longest_ms.fetch_max(for_ms, Relaxed);
    }

    pub(crate) fn left_dirty(&self) {
        self.left_dirty.fetch_add(1, Relaxed);
    }

    pub(crate) fn unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }

    pub(crate) fn compared(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Match => &self.matches,
            Outcome::MatchByRule(rule) => return self.by_rule(rule),
            Outcome::Transient => &self.transient,
            Outcome::Persistent => &self.persistent,
            Outcome::Error(side) => &self.errors[side as usize],
            Outcome::BothFailed => &self.both_failed,
            Outcome::Dropped(why) => &self.dropped[why as usize],
        };
        counter.fetch_add(1, Relaxed);
    }

    fn by_rule(&self, rule: String) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule =
            if rules.len() < RULES_MAX || rules.contains_key(&rule) { rule } else { OTHER_RULES.to_owned() };
        *rules.entry(rule).or_default() += 1;
    }

    fn snapshot(&self) -> CohortEvidence {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let side = |side: Side| SideEvidence {
            calls: load(&self.calls[side as usize]),
            failed: load(&self.failed[side as usize]),
            latencies: self.latency[side as usize].snapshot(),
        };
        CohortEvidence {
            old: side(Side::Old),
            new: side(Side::New),
            matches: load(&self.matches),
            matches_by_rule: self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            mismatches_transient: load(&self.transient),
            mismatches_persistent: load(&self.persistent),
            errors_old: load(&self.errors[Side::Old as usize]),
            errors_new: load(&self.errors[Side::New as usize]),
            errors_both: load(&self.both_failed),
            dropped: Dropped::ALL.map(|why| (why, load(&self.dropped[why as usize]))).into(),
            writes_held: load(&self.held),
            write_held_longest_ms: load(&self.held_longest_ms),
            writes_left_dirty: load(&self.left_dirty),
            writes_unknown: load(&self.unknown),
        }
    }
}

/// What one instance has seen since it started.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceSnapshot {
    /// By operation, in the order of their names.
    pub operations: Vec<OperationEvidence>,
    /// The mismatches that are kept, the newest last.
    pub samples: Vec<Sample>,
    /// Mismatches whose samples had no room.
    pub samples_dropped: u64,
    /// Events since the process started.
    pub events: u64,
    /// Unclean events since the process started.
    pub unclean_events: u64,
    /// Shadow calls under way.
    pub shadow_calls_running: u64,
    /// Writes that wait for a hold to end.
    pub writes_waiting: u64,
    /// Operations under way, about.
    pub operations_running: u64,
    /// The longest p99.9 of any operation over the last two minutes, with its name.
    pub slowest: Option<(&'static str, Duration)>,
}

/// The evidence of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationEvidence {
    /// Its name.
    pub operation: &'static str,
    /// By cohort.
    pub cohorts: BTreeMap<Cohort, CohortEvidence>,
    /// Latencies of the authority over the last two minutes, both cohorts together.
    pub recent: Latencies,
}

/// The evidence of one operation and cohort. All counts are since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CohortEvidence {
    /// Calls to the old side.
    pub old: SideEvidence,
    /// Calls to the new side.
    pub new: SideEvidence,
    /// Comparisons: equal.
    pub matches: u64,
    /// Comparisons: equal by a rule, by its name.
    pub matches_by_rule: BTreeMap<String, u64>,
    /// Comparisons: different, and then no more.
    pub mismatches_transient: u64,
    /// Comparisons: different for good.
    pub mismatches_persistent: u64,
    /// Only the old side failed.
    pub errors_old: u64,
    /// Only the new side failed.
    pub errors_new: u64,
    /// Both failed, not known to be alike.
    pub errors_both: u64,
    /// Not compared, by the reason.
    pub dropped: BTreeMap<Dropped, u64>,
    /// Writes that waited for a hold to end.
    pub writes_held: u64,
    /// The longest such wait, in milliseconds.
    pub write_held_longest_ms: u64,
    /// Writes whose keys were left dirty, because the follower didn't get them in time.
    pub writes_left_dirty: u64,
    /// Writes that ended without a known outcome.
    pub writes_unknown: u64,
}

impl CohortEvidence {
    /// How many comparisons there were: matches and mismatches, without what failed or was dropped.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.matches
            + self.matches_by_rule.values().sum::<u64>()
            + self.mismatches_transient
            + self.mismatches_persistent
    }
}

/// The calls to one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideEvidence {
    /// How many. In steps `old` and `new` an estimate: one in 64 is counted, as 64.
    pub calls: u64,
    /// How many answered with an error. Always exact.
    pub failed: u64,
    /// How long they took.
    pub latencies: Latencies,
}
