//! What gates look at, and against which limits.

use std::fmt;

use crate::control::Generation;
use crate::place::Place;
use crate::step::Phase;
use crate::time::Millis;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// Which keys an operation was for, where only a part of them has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Cohort {
    /// Keys that have not moved, or all keys while none has.
    Control,
    /// Keys that have moved.
    Treatment,
}

impl Cohort {
    /// The cohorts that there are at a place. What was counted of the other is of the time just before: none of its
    /// keys is left to be compared, so that nothing may be asked of it any more.
    #[must_use]
    pub const fn at(place: Place) -> &'static [Self] {
        match place.phase {
            Phase::Old | Phase::Shadow => &[Self::Control],
            Phase::ReverseShadow if place.is_partial() => &[Self::Control, Self::Treatment],
            Phase::ReverseShadow | Phase::New | Phase::Retired => &[Self::Treatment],
        }
    }
}

impl fmt::Display for Cohort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Control => "control",
            Self::Treatment => "treatment",
        })
    }
}

/// The backfill, as far as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BackfillEvidence {
    /// Which generation.
    pub generation: Generation,
    /// Chunks done.
    pub done: u64,
    /// Chunks in all.
    pub chunks: u64,
    /// Whether it is complete.
    pub complete: bool,
}

/// The last verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VerificationEvidence {
    /// The generation whose rows it compared.
    pub generation: Generation,
    /// When it began.
    pub began: Millis,
    /// Whether it was of all rows of both sides.
    pub full: bool,
    /// How many rows it compared.
    pub rows_compared: u64,
    /// It found no row on either side: there was nothing to compare.
    pub both_sides_empty: bool,
    /// Rows that differ, are missing, or shouldn't be there, and stayed so.
    pub differences: u64,
    /// Rows that could not be mapped or compared.
    pub refused: u64,
}

/// Comparisons of one operation's answers, for one cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Comparisons {
    /// The operation's name.
    pub operation: String,
    /// For which keys.
    pub cohort: Cohort,
    /// Equal, or equal by a rule.
    pub matches: u64,
    /// Different, and still so after the runs again.
    pub mismatches: u64,
    /// One side failed.
    pub errors: u64,
    /// Not compared: budget, deadline, sample. Never counted as a match.
    pub dropped: u64,
}

impl Comparisons {
    /// No comparison at all, of a key that hasn't moved.
    #[must_use]
    pub fn none(operation: &str) -> Self {
        Self {
            operation: operation.to_owned(),
            cohort: Cohort::Control,
            matches: 0,
            mismatches: 0,
            errors: 0,
            dropped: 0,
        }
    }

    /// How many answers were compared.
    #[must_use]
    pub const fn compared(&self) -> u64 {
        self.matches.saturating_add(self.mismatches).saturating_add(self.errors)
    }
}

/// One side's calls of one operation.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SideCalls {
    /// How many.
    pub calls: u64,
    /// How many failed.
    pub errors: u64,
    /// Their 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

impl SideCalls {
    /// The share of the calls that failed; 0 without a call.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.errors as f64 / self.calls as f64 }
    }
}

/// Calls of one operation on both sides, for one cohort.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Calls {
    /// The operation's name.
    pub operation: String,
    /// For which keys.
    pub cohort: Cohort,
    /// On the old side.
    pub old: SideCalls,
    /// On the new side.
    pub new: SideCalls,
}

/// What is known of others' use of the old side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum OldSide {
    /// The store has no way to tell.
    CannotTell,
    /// It has, and nobody has looked yet.
    NotLooked,
    /// It has been watched.
    Watched {
        /// When someone touched it last, if anyone did.
        last_touched: Option<Millis>,
        /// Since when it has been watched without a break.
        since: Millis,
    },
}

/// Rows that the mirror can't carry: the follower refuses them, whatever is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stuck {
    /// How many there are now.
    pub keys: u64,
    /// The first of them, by key and cause.
    pub first: Option<String>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} can't be carried", self.keys, if self.keys == 1 { "row" } else { "rows" })?;
        match &self.first {
            Some(first) => write!(f, ": {first}"),
            None => Ok(()),
        }
    }
}

/// All that gates look at, gathered at one moment.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Evidence {
    /// When it was gathered.
    pub now: Millis,
    /// Where the migration stands.
    pub place: Place,
    /// Since when.
    pub since: Millis,
    /// The last unclean event.
    pub last_unclean: Option<Millis>,
    /// The backfill.
    pub backfill: Option<BackfillEvidence>,
    /// The last verification.
    pub verification: Option<VerificationEvidence>,
    /// Rows that were changed since, and that the mirror can't carry.
    pub stuck: Stuck,
    /// The comparisons since the place was entered, for each operation and cohort that has run.
    pub comparisons: Vec<Comparisons>,
    /// The calls since the place was entered, for each operation and cohort that has run.
    pub calls: Vec<Calls>,
    /// Others' use of the old side.
    pub old_side: OldSide,
}

/// The limit of mismatches.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MismatchLimit {
    /// The rate that its upper bound must be below, as a part of 1.
    pub max_rate: f64,
    /// How many comparisons there must be at least, for each operation and cohort.
    pub over: u64,
}

/// The limits of the new side's errors and latency.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CallLimit {
    /// How many calls of each side there must be at least.
    pub over: u64,
    /// By how much the new side's error rate may be above the old side's, as a part of 1.
    pub more_errors: f64,
    /// How many times the old side's p99 the new side's may be.
    pub slower_by: f64,
    /// And how many milliseconds more, so that very fast calls aren't held against each other.
    pub slower_ms: f64,
}

impl Default for CallLimit {
    /// 1,000 calls, 0.5 % more errors, half as slow again and 5 ms.
    fn default() -> Self {
        Self { over: 1_000, more_errors: 0.005, slower_by: 1.5, slower_ms: 5.0 }
    }
}

/// The limits of all gates. What is `None` was not asked for.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Of mismatches.
    pub mismatch: Option<MismatchLimit>,
    /// Of errors and latency.
    pub calls: Option<CallLimit>,
    /// How long `old` must have held before it is left.
    pub bake_old_ms: Millis,
    /// How long `shadow` must have held.
    pub bake_shadow_ms: Millis,
    /// How long `reverse-shadow` must have held, for all keys.
    pub bake_reverse_shadow_ms: Millis,
    /// How long `new` must have held.
    pub bake_new_ms: Millis,
    /// How long nobody may have touched the old side.
    pub untouched_ms: Millis,
}

impl Default for Limits {
    /// No mismatch or call gate; seven days of `reverse-shadow`, seven of `new`, seven untouched.
    fn default() -> Self {
        Self {
            mismatch: None,
            calls: None,
            bake_old_ms: Millis(0),
            bake_shadow_ms: Millis(0),
            bake_reverse_shadow_ms: Millis(7 * DAY),
            bake_new_ms: Millis(7 * DAY),
            untouched_ms: Millis(7 * DAY),
        }
    }
}

impl Limits {
    /// The bake time of a phase.
    #[must_use]
    pub const fn bake_ms(&self, phase: Phase) -> Millis {
        match phase {
            Phase::Old => self.bake_old_ms,
            Phase::Shadow => self.bake_shadow_ms,
            Phase::ReverseShadow => self.bake_reverse_shadow_ms,
            Phase::New | Phase::Retired => self.bake_new_ms,
        }
    }
}

/// A length of time that is still to pass, in the same units: rounded up, so that whoever waits for as long has waited enough.
pub(super) fn still_to_pass(length: Millis) -> String {
    let unit = match length.0 {
        0..1_000 => 1,
        1_000..60_000 => 1_000,
        60_000..DAY => 60_000,
        _ => HOUR,
    };
    duration(Millis(length.0.div_ceil(unit).saturating_mul(unit)))
}

/// A length of time in the two units that people would use.
pub(super) fn duration(length: Millis) -> String {
    let ms = length.0;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", ms / 1_000),
        60_000..HOUR => format!("{} min", ms / 60_000),
        HOUR..DAY => format!("{} h {} min", ms / HOUR, ms % HOUR / 60_000),
        _ => format!("{} d {} h", ms / DAY, ms % DAY / HOUR),
    }
}
