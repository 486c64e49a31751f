//! What people and programs ask of a migration, and what they are answered.

use changeover::Phase;
use changeover::protocol::gate::{self, Gate};
use serde::{Deserialize, Serialize};

/// Go forward.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// The phase; the next, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Phase>,
    /// The share of the keys, in per cent; all, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<f64>,
    /// Gates that are passed though they are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// A gate that is passed though it is closed. It is kept in the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Which.
    pub gate: Gate,
    /// Why. An empty reason is none.
    pub reason: String,
}

impl From<Override> for gate::Override {
    fn from(word: Override) -> Self {
        Self { gate: word.gate, reason: word.reason }
    }
}

impl From<gate::Override> for Override {
    fn from(word: gate::Override) -> Self {
        Self { gate: word.gate, reason: word.reason }
    }
}

/// Go back. Waits for no gate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The phase; the one before, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Phase>,
    /// The share of the keys that stays in `reverse-shadow`, in per cent; only with that phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<f64>,
    /// Go back although keys can't be synced, and write those that are known to this file, on the machine of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_behind: Option<String>,
}

/// Take the databases' word for where the migration stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// The phase, where the databases can't tell it: what the instances' step files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

/// End the migration: `new` becomes `retired`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Gates that are passed though they are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// Begin a full verification now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Write the follower's rows that differ anew.
    #[serde(default)]
    pub repair: bool,
}

/// What came of asking for a move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Where the migration stands.
    pub phase: Phase,
    /// The share of the keys that is there, in per cent.
    pub share_percent: f64,
    /// The flag.
    pub flag: u8,
    /// What happened, in a sentence.
    pub text: String,
    /// How long writes were held, in milliseconds.
    pub held_ms: u64,
    /// It is under way still: `status` tells the rest.
    #[serde(default)]
    pub under_way: bool,
    /// What else a person should know: what was renamed, the SQL that drops it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What caused the mismatches so far was mended: comparisons count anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mended {
    /// What was mended, for the audit. An empty reason is none.
    pub reason: String,
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence.
    pub text: String,
}

/// Which mismatches are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MismatchQuery {
    /// Only those of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// At most so many; 20, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The mismatches that are kept, the latest seen first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatches {
    /// One for each operation and shape.
    pub mismatches: Vec<Mismatch>,
    /// Mismatches that were counted and whose samples had no room.
    #[serde(default)]
    pub dropped: u64,
}

/// A mismatch: the first that was seen of its shape, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The operation.
    pub operation: String,
    /// What differs, without the values.
    pub shape: String,
    /// How many there were.
    pub count: u64,
    /// When the first was seen, in milliseconds since 1970.
    pub first_ms: u64,
    /// When the last was.
    pub last_ms: u64,
    /// The key.
    #[serde(default)]
    pub key: Option<String>,
    /// The input.
    #[serde(default)]
    pub input: Option<String>,
    /// The old side's answer.
    #[serde(default)]
    pub old: Option<String>,
    /// The new side's answer.
    #[serde(default)]
    pub new: Option<String>,
    /// What the comparison said.
    #[serde(default)]
    pub detail: Option<String>,
}

/// Which part of the audit is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only entries with numbers below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// At most so many; 50, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A part of the audit, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The entries.
    pub entries: Vec<AuditEntry>,
}

/// One entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, rising without end.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: a person as they say they are ([`super::asked`]), `run`, or an instance.
    pub who: String,
    /// What about, as in `move` or `override`.
    pub kind: String,
    /// One sentence for a person.
    pub text: String,
    /// Why, as whoever asked for it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
