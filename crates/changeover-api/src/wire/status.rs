//! All that `status` shows: what a person needs first, then what explains it.

use changeover::protocol::gate::{Gate, GateResult, Verdict};
use changeover::protocol::moves::{Mirror, RollbackKind};
use changeover::protocol::target::Direction;
use changeover::{Phase, Side, Step};
use serde::{Deserialize, Serialize};

/// How a migration stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The migration's name.
    pub migration: String,
    /// When this was made, in milliseconds since 1970 by the run's clock.
    pub at_ms: u64,
    /// Whether a run said so, or only its state file.
    pub source: StatusSource,
    /// What carries the changes.
    pub mirror: Mirror,
    /// The phases that it has, without `retired`.
    pub phases: Vec<Phase>,
    /// The phase that it is in; while a move is under way, the one that the move came from.
    pub phase: Phase,
    /// The share of the keys that is in it, in per cent: less than 100 only in `reverse-shadow`.
    pub share_percent: f64,
    /// The flag: 0 to 3, as readers of it are told. While state and databases disagree it is what the databases say; nothing
    /// where they leave it open, or weren't asked.
    pub flag: Option<u8>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// What is next, and whether anything stands in its way. `None`: there is nothing further.
    pub next: Option<Next>,
    /// Whether a rollback is safe now.
    pub rollback: RollbackStatus,
    /// The move under way.
    pub moving: Option<Moving>,
    /// State and databases disagree, like this: nothing is done until `changeover adopt`.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Backfill and verification rest, because somebody asked for that.
    #[serde(default)]
    pub paused: bool,
    /// The instances that the barrier counts.
    pub instances: Vec<InstanceStatus>,
    /// Instances that are gone, whose last writes the servers may still run.
    #[serde(default)]
    pub ghosts: Vec<Ghost>,
    /// The generation of the backfill that counts.
    pub backfill: Option<BackfillStatus>,
    /// Verification.
    pub verification: VerificationStatus,
    /// The logs of changed keys, one for each side that has one.
    pub logs: Vec<LogStatus>,
    /// Comparisons of shadow calls since the phase was entered. Empty: *no reads compared*.
    pub comparisons: Vec<ComparisonStatus>,
    /// What is installed in the databases.
    pub installed: Vec<Installed>,
    /// By which roads each side is read and written.
    #[serde(default)]
    pub roads: Vec<RoadStatus>,
    /// Parts of the run that fail, and go on trying.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// What a person should look at, newest last.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// Where a status comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusSource {
    /// A run answered.
    Run,
    /// No run answers: this is what the state file says, from when one last wrote it.
    StateFile,
}

/// The next phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Which.
    pub phase: Phase,
    /// Its gates.
    pub gates: Vec<GateStatus>,
    /// Why no move is begun, whatever the gates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Next {
    /// The gates that are closed.
    pub fn blocked_by(&self) -> impl Iterator<Item = &GateStatus> {
        self.gates.iter().filter(|gate| !gate.open)
    }
}

/// How one gate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    /// Which.
    pub gate: Gate,
    /// Whether it keeps nothing back.
    pub open: bool,
    /// Why it is closed; or why it isn't asked here, as in *no reads compared*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What would open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// Why it is passed though it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
}

impl From<GateResult> for GateStatus {
    fn from(result: GateResult) -> Self {
        let open = result.passes();
        let (because, needs) = match result.verdict {
            Verdict::Open => (None, None),
            Verdict::Closed { because, needs } => (Some(because), Some(needs)),
            Verdict::NotAsked(because) => (Some(because), None),
        };
        Self { gate: result.gate, open, because, needs, overridden: result.overridden }
    }
}

/// *Rollback is safe now: yes or no, since when, and because of what.*
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStatus {
    /// Whether it would lose nothing.
    pub safe: bool,
    /// Which kind it would be: `nothing`, `instant`, `slow`, `leaves-behind`, `never`.
    pub kind: RollbackKind,
    /// Since when that has been so, in milliseconds since 1970.
    pub since_ms: u64,
    /// Because of what.
    pub because: String,
    /// About how long it would take, in milliseconds, where that is known.
    #[serde(default)]
    pub takes_ms: Option<u64>,
    /// Where it would go.
    #[serde(default)]
    pub to: Option<Phase>,
    /// The command that undoes the last move.
    #[serde(default)]
    pub command: Option<String>,
}

/// A move under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    /// Where its present leg comes from.
    pub from: Phase,
    /// Where its present leg goes.
    pub to: Phase,
    /// The share of the keys that the leg goes to, in per cent.
    pub to_share_percent: f64,
    /// Where all of it goes.
    pub goal: Phase,
    /// The way.
    pub direction: Direction,
    /// The step that the moving keys execute.
    pub step: Step,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Since when writes are held, in milliseconds since 1970.
    #[serde(default)]
    pub held_since_ms: Option<u64>,
    /// It turned around.
    #[serde(default)]
    pub turned: bool,
    /// Instances that haven't acknowledged the present target.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What it waits for, in words.
    #[serde(default)]
    pub waits_for: Option<String>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Who.
    pub id: String,
    /// The version that it acknowledged last.
    pub acked: u64,
    /// Whether that is the present one.
    pub current: bool,
    /// When it was heard last, in milliseconds since 1970.
    pub heard_ms: u64,
    /// It hasn't been heard for too long: moves wait for it.
    pub silent: bool,
    /// Its lease lapsed under `on_silence = "fence"`: moves don't wait for it.
    #[serde(default)]
    pub lapsed: bool,
    /// Keys in its journal that aren't known to be synced.
    pub dirty_keys: u64,
    /// The longest p99.9 of its operations, in milliseconds.
    #[serde(default)]
    pub slowest_ms: Option<u64>,
}

/// An instance that is gone, but whose writes may not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ghost {
    /// Who it was.
    pub id: String,
    /// Until when its writes may live, in milliseconds since 1970.
    pub until_ms: u64,
}

/// How far the backfill is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillStatus {
    /// The generation.
    pub generation: u64,
    /// The side that is filled.
    pub toward: Side,
    /// It is complete.
    pub done: bool,
    /// Rows copied, by this run and those before; nothing where nobody has counted: without a run, before it is complete.
    pub rows: Option<u64>,
    /// Rows that there are, about.
    #[serde(default)]
    pub rows_all: Option<u64>,
    /// Rows that can't be carried.
    pub refused: u64,
    /// Rows for each second.
    #[serde(default)]
    pub rows_per_second: Option<u64>,
    /// About how much time is left, in milliseconds.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// What it waits for: an error that may pass, a replica that lags, too much to do on either side.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// The same for each table, in the order of the copy. Empty where nobody has counted.
    #[serde(default)]
    pub tables: Vec<TableBackfill>,
}

/// How far the backfill of one table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableBackfill {
    /// The mapping's name.
    pub table: String,
    /// It is complete.
    pub done: bool,
    /// Rows copied, by this run and those before.
    pub rows: u64,
    /// Rows that there are, about; not less than those copied.
    pub rows_all: u64,
    /// The share that is copied, in per cent, rounded down.
    pub percent: u8,
    /// Rows that can't be carried.
    pub refused: u64,
}

/// How verification stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationStatus {
    /// One is under way: rows compared so far, and those that there are, about.
    #[serde(default)]
    pub running: Option<(u64, u64)>,
    /// Differences that it has found so far.
    #[serde(default)]
    pub running_differences: u64,
    /// The last that ended.
    #[serde(default)]
    pub last: Option<VerificationResult>,
    /// Whether the last one still counts; if not, why.
    pub counts: bool,
    /// Why it doesn't count.
    #[serde(default)]
    pub because: Option<String>,
}

/// A verification that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationResult {
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// Whether it found nothing.
    pub clean: bool,
    /// Rows compared.
    pub rows: u64,
    /// Differences.
    pub differences: u64,
    /// Rows that can't be mapped or compared.
    pub refused: u64,
}

/// A log of changed keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// The side that it is on.
    pub side: Side,
    /// Changes that wait in it.
    pub entries: u64,
    /// Its newest id less its oldest: what the bound is on.
    pub span: u64,
    /// The bound.
    pub bound: u64,
    /// It reached its bound, and changes were not logged.
    pub overflowed: bool,
    /// How far the follower is behind, in milliseconds, where that is known.
    #[serde(default)]
    pub lag_ms: Option<u64>,
}

/// Comparisons of one operation and cohort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonStatus {
    /// The operation.
    pub operation: String,
    /// `control` or `treatment`.
    pub cohort: String,
    /// Equal, by a rule, or different only for a moment.
    pub matches: u64,
    /// Different for good.
    pub mismatches: u64,
    /// One side failed.
    pub errors: u64,
    /// Not compared.
    pub dropped: u64,
}

/// Something that is installed in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The side.
    pub side: Side,
    /// The store's name.
    pub store: String,
    /// What: a table, a trigger, by its name.
    pub what: String,
}

/// By which roads a side's database is read and written, many rows at once; each for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoadStatus {
    /// The side.
    pub side: Side,
    /// The store's name.
    pub store: String,
    /// How rows come out.
    pub reads: String,
    /// How they go in.
    pub writes: String,
    /// Why not by a faster road, where there is one that the server doesn't allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// A part of the run that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which.
    pub part: String,
    /// Why.
    pub why: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_keeps_its_reason_whatever_its_verdict() {
        let result = |verdict, overridden: Option<&str>| {
            GateStatus::from(GateResult {
                gate: Gate::BakeTime,
                verdict,
                overridden: overridden.map(str::to_owned),
            })
        };
        let closed = || Verdict::Closed { because: "1 d of 7".to_owned(), needs: "6 d".to_owned() };
        assert!(!result(closed(), None).open);
        assert_eq!(result(closed(), None).needs.as_deref(), Some("6 d"));
        assert!(result(closed(), Some("a test system")).open);
        let not_asked = result(Verdict::NotAsked("no reads compared".to_owned()), None);
        assert!(not_asked.open);
        assert_eq!(not_asked.because.as_deref(), Some("no reads compared"));
    }
}
