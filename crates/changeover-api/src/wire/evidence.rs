//! What an instance has seen since it last said so: counts, mismatches, events.
//!
//! Counts are what was *added* since the batch before. A batch has a number, and is sent again with the same number and
//! the same content until it is answered, so that nothing counts twice and a lost answer loses nothing.

use std::collections::BTreeMap;

use changeover::Side;
use changeover::evidence::Cohort;
use serde::{Deserialize, Serialize};

/// The most mismatches in one batch.
pub const MAX_SAMPLES: usize = 100;

/// The most events in one batch.
pub const MAX_EVENTS: usize = 256;

/// What an instance has seen since its last batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBatch {
    /// The batch's number: more than that of the one before, and the same when it is sent again.
    pub number: u64,
    /// When it was made, in milliseconds since 1970 by the instance's wall clock: for showing, not for counting.
    pub at_ms: u64,
    /// What was counted, by operation and cohort; only those where something was.
    #[serde(default)]
    pub operations: Vec<OperationEvidence>,
    /// Mismatches: at most [`MAX_SAMPLES`].
    #[serde(default)]
    pub samples: Vec<SampleReport>,
    /// Mismatches that there was no room for.
    #[serde(default)]
    pub samples_dropped: u64,
    /// What happened: at most [`MAX_EVENTS`].
    #[serde(default)]
    pub events: Vec<EventReport>,
    /// Events that there was no room for, or that were missed.
    #[serde(default)]
    pub events_dropped: u64,
    /// How many of those missed were unclean.
    #[serde(default)]
    pub unclean_dropped: u64,
}

impl EvidenceBatch {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
            && self.samples.is_empty()
            && self.events.is_empty()
            && self.samples_dropped == 0
            && self.events_dropped == 0
            && self.unclean_dropped == 0
    }
}

/// What was counted of one operation and cohort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationEvidence {
    /// The operation's name.
    pub operation: String,
    /// `control` (the old side is the authority) or `treatment`.
    #[serde(with = "cohort")]
    pub cohort: Cohort,
    /// Comparisons: equal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub matches: u64,
    /// Comparisons: equal by a rule, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matches_by_rule: BTreeMap<String, u64>,
    /// Comparisons: different, and then no more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mismatches_transient: u64,
    /// Comparisons: different for good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mismatches_persistent: u64,
    /// Only the old side failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_old: u64,
    /// Only the new side failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_new: u64,
    /// Both failed, not known to be alike.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_both: u64,
    /// Not compared, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Writes that waited for a hold.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writes_held: u64,
    /// The longest such wait since the process started, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub write_held_longest_ms: u64,
    /// Writes whose keys were left dirty.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writes_left_dirty: u64,
    /// Writes without a known outcome.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writes_unknown: u64,
    /// Calls to the old side.
    #[serde(default)]
    pub old: SideEvidence,
    /// Calls to the new side.
    #[serde(default)]
    pub new: SideEvidence,
}

impl OperationEvidence {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let counts = [
            self.matches,
            self.mismatches_transient,
            self.mismatches_persistent,
            self.errors_old,
            self.errors_new,
            self.errors_both,
            self.writes_held,
            self.writes_left_dirty,
            self.writes_unknown,
        ];
        counts == [0; 9]
            && self.matches_by_rule.is_empty()
            && self.dropped.is_empty()
            && self.old == SideEvidence::default()
            && self.new == SideEvidence::default()
    }
}

/// The calls to one side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideEvidence {
    /// How many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls: u64,
    /// How many of them failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// How many took how long: the number of the latency bucket (see [`changeover::evidence::bucket_end_micros`]), and
    /// how many lie in it; only those where any do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<(u8, u64)>,
}

/// A mismatch, standing for all of its shape; redacted by the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleReport {
    /// The operation.
    pub operation: String,
    /// What differs, without the values.
    pub shape: String,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The authority when it was found.
    pub authority: Side,
    /// The old side's answer.
    pub old: String,
    /// The new side's answer.
    pub new: String,
    /// What the comparison said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many there were since the batch before.
    pub count: u64,
    /// When the last was seen, in milliseconds since 1970.
    pub last_ms: u64,
}

/// Something that happened in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventReport {
    /// Its short name, as in `left-dirty`.
    pub name: String,
    /// Whether the last full verification no longer counts after it.
    pub unclean: bool,
    /// The operation, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The rest, in words.
    pub detail: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The batch is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceTaken {
    /// Its number.
    pub number: u64,
    /// It had been taken already, and wasn't counted again.
    #[serde(default)]
    pub again: bool,
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A cohort by its name.
mod cohort {
    use changeover::evidence::Cohort;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(cohort: &Cohort, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(cohort.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cohort, D::Error> {
        let name = String::deserialize(from)?;
        let found = Cohort::ALL.into_iter().find(|cohort| cohort.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("there is no cohort `{name}`")))
    }
}
