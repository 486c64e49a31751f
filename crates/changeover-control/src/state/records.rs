//! What the state keeps, as values.

use std::borrow::Cow;

use changeover_protocol::Side;
use changeover_protocol::gate::VerificationEvidence;
use serde::{Deserialize, Serialize};

/// The number of a version of the control record: each write adds one. 0: there is none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The control record as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its revision.
    pub revision: Revision,
    /// The protocol's control state, in JSON.
    pub record: String,
}

/// What an audit entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditKind {
    /// A run began, ended, or took a migration over.
    Run,
    /// A person or a program asked for something.
    Request,
    /// A move between phases began, was completed, given up or undone.
    Move,
    /// A gate was overridden.
    Override,
    /// An instance came, went, fell silent or was forgotten.
    Instance,
    /// A generation or a verification began or ended.
    Copy,
    /// Something after which the last verification no longer counts.
    Unclean,
    /// Something was installed in a database, or removed.
    Install,
    /// Something a person should look at.
    Alert,
    /// An unexpected failure, by name and cause.
    Failure,
}

impl AuditKind {
    /// The name that formats use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Request => "request",
            Self::Move => "move",
            Self::Override => "override",
            Self::Instance => "instance",
            Self::Copy => "copy",
            Self::Unclean => "unclean",
            Self::Install => "install",
            Self::Alert => "alert",
            Self::Failure => "failure",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::Run,
            Self::Request,
            Self::Move,
            Self::Override,
            Self::Instance,
            Self::Copy,
            Self::Unclean,
            Self::Install,
            Self::Alert,
            Self::Failure,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// An audit entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: a person as they say they are, `run`, or an instance.
    pub who: String,
    /// What about.
    pub kind: AuditKind,
    /// One sentence for a person.
    pub text: String,
    /// Why, as whoever asked for it said.
    pub why: Option<String>,
}

/// An audit entry as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, rising without end.
    pub id: i64,
    /// What was written.
    pub entry: NewAudit,
}

/// What is counted of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// Shadow calls whose answers were equal.
    Match,
    /// Equal by a rule.
    MatchByRule,
    /// Unlike at first, equal when run again.
    Transient,
    /// Unlike, and still so when run again.
    Persistent,
    /// One side failed.
    Error,
    /// Not compared: budget, deadline or sample.
    Dropped,
    /// Operations on a side.
    Calls(Side),
    /// Of these, failed.
    Failed(Side),
    /// Of these, whose latency lies in the library's bucket of this number.
    Latency(Side, u8),
}

impl Counter {
    /// The name in the state.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Match => "match",
            Self::MatchByRule => "match-by-rule",
            Self::Transient => "transient",
            Self::Persistent => "persistent",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Calls(Side::Old) => "old-calls",
            Self::Calls(Side::New) => "new-calls",
            Self::Failed(Side::Old) => "old-failed",
            Self::Failed(Side::New) => "new-failed",
            Self::Latency(side, bucket) => return Cow::Owned(format!("{side}-latency-{bucket}")),
        })
    }

    /// The counter of this name; `None` for one that a newer version counts.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let latency = |side: Side| {
            let bucket = name.strip_prefix(side.name())?.strip_prefix("-latency-")?;
            Some(Self::Latency(side, bucket.parse().ok()?))
        };
        Some(match name {
            "match" => Self::Match,
            "match-by-rule" => Self::MatchByRule,
            "transient" => Self::Transient,
            "persistent" => Self::Persistent,
            "error" => Self::Error,
            "dropped" => Self::Dropped,
            "old-calls" => Self::Calls(Side::Old),
            "new-calls" => Self::Calls(Side::New),
            "old-failed" => Self::Failed(Side::Old),
            "new-failed" => Self::Failed(Side::New),
            _ => return latency(Side::Old).or_else(|| latency(Side::New)),
        })
    }
}

/// Where a count belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EvidenceKey {
    /// When the window begins, in milliseconds since 1970: ten seconds, later a whole hour.
    pub window_ms: u64,
    /// The operation's name.
    pub operation: String,
    /// Whether it ran with the new side as authority (`treatment`) or the old (`control`).
    pub treatment: bool,
    /// What is counted.
    pub counter: Counter,
}

/// A sum over windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceSum {
    /// The operation's name.
    pub operation: String,
    /// Treatment or control.
    pub treatment: bool,
    /// What is counted.
    pub counter: Counter,
    /// How many.
    pub count: u64,
}

/// The longest detail of a sample that is kept; a longer one is cut.
pub const MAX_SAMPLE_BYTES: usize = 64 << 10;

/// A mismatch to be kept, redacted already by whoever found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSample {
    /// The operation's name.
    pub operation: String,
    /// What makes it the same as another: which fields differ, and how.
    pub shape: String,
    /// When it was seen, in milliseconds since 1970.
    pub at_ms: u64,
    /// How often, since it was last told.
    pub count: u64,
    /// The rest, in JSON.
    pub detail: String,
}

/// A mismatch as it is kept: the first of its shape, and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The operation's name.
    pub operation: String,
    /// The shape.
    pub shape: String,
    /// When the first was seen, in milliseconds since 1970.
    pub first_ms: u64,
    /// When the last was seen.
    pub last_ms: u64,
    /// How many.
    pub count: u64,
    /// The first one's detail, in JSON.
    pub detail: String,
}

/// The result of a verification that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationRecord {
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// What the gate looks at.
    pub evidence: VerificationEvidence,
    /// The report, in JSON.
    pub report: String,
}

/// A generation of the backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRecord {
    /// Its number, from 1.
    pub number: u64,
    /// The side that is written.
    pub toward: Side,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When all chunks were done.
    pub done_ms: Option<u64>,
    /// When it ended: its marks no longer count.
    pub ended_ms: Option<u64>,
    /// The mapping that it copies by, as a digest of the spec: another one needs another generation.
    pub plan: String,
}
