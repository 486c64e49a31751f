//! Everything of a spec but stores and tables: how the fleet moves, what the gates ask for, how fast the copy
//! may be, what is kept of changes and of evidence. All of it may change while a migration runs.

use std::collections::BTreeMap;
use std::time::Duration;

use changeover::Phase;
use changeover::protocol::gate::CallLimit;
use changeover::protocol::member::OnSilence;
use changeover::write::Ack;

use super::reader::{Fields, Findings, Node};

/// How an `ack` is written.
pub(crate) const ACKS: [(&str, Ack); 3] =
    [("both", Ack::Both), ("authority", Ack::Authority), ("both-or-error", Ack::BothOrError)];

/// How an `on_silence` is written.
pub(super) const SILENCES: [(&str, OnSilence); 2] =
    [("static-stability", OnSilence::StaticStability), ("fence", OnSilence::Fence)];

/// How the fleet moves.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetSpec {
    /// When a dual write is acknowledged.
    pub ack: Ack,
    /// What an instance does that is out of touch with the control plane.
    pub on_silence: OnSilence,
    /// After how long a silent instance is declared gone; never, if not given.
    pub forget_after: Option<Duration>,
    /// How long after it was sent the server may still run a write; the service enforces it by a server-side
    /// time-out.
    pub write_lifetime: Duration,
    /// How long writes may be held in a move.
    pub hold_budget: Duration,
    /// How long an instance may go on in a hold without an answer of the control plane.
    pub hold_lease: Duration,
    /// How long a move forward waits, outside the holds, for instances that don't acknowledge, before it is given up.
    pub patience: Duration,
}

impl Default for FleetSpec {
    fn default() -> Self {
        Self {
            ack: Ack::Both,
            on_silence: OnSilence::StaticStability,
            forget_after: None,
            write_lifetime: Duration::from_secs(30),
            hold_budget: Duration::from_secs(2),
            hold_lease: Duration::from_millis(500),
            patience: Duration::from_mins(1),
        }
    }
}

/// `[gate]`: what must hold before a phase may be entered.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSpec {
    /// What is asked of comparisons; without it no comparison is asked for, and `status` says so.
    pub mismatch: Option<MismatchGate>,
    /// How much worse the new side's calls may be than the old side's. Not given: the default, where `mismatch` is
    /// given, because whoever compares measures; else nothing is asked.
    pub calls: Option<CallsGate>,
    /// How long a phase must have held before the next may be entered. A phase that isn't here has no bake time.
    pub bake: BTreeMap<Phase, Duration>,
}

/// The gate on shadow calls, for each operation and cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MismatchGate {
    /// The most that the rate of mismatches may be, at the upper end of its confidence interval, in per cent.
    pub max_percent: f64,
    /// The fewest comparisons that count as evidence.
    pub over: u64,
}

/// The gate on the calls' errors and latency, for each operation and cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallsGate {
    /// By how much the new side's error rate may be above the old side's, in per cent of the calls.
    pub errors_percent: f64,
    /// How many times the old side's p99 the new side's may be.
    pub slower_by: f64,
    /// And how much longer still, so that very fast calls aren't held against each other.
    pub slack: Duration,
    /// The fewest calls of each side that count as evidence.
    pub over: u64,
}

impl CallsGate {
    /// The default: 0.5 % more errors, half as slow again and 5 ms, over 1,000 calls, or fewer where fewer comparisons
    /// are asked for.
    #[must_use]
    pub fn beside(mismatch: Option<MismatchGate>) -> Self {
        let default = CallLimit::default();
        Self {
            errors_percent: default.more_errors * 100.0,
            slower_by: default.slower_by,
            slack: Duration::from_secs_f64(default.slower_ms / 1_000.0),
            over: mismatch.map_or(default.over, |gate| gate.over.min(default.over)),
        }
    }
}

/// The bake times that hold where a spec says nothing else.
pub const DEFAULT_BAKE: [(Phase, Duration); 2] =
    [(Phase::ReverseShadow, Duration::from_hours(7 * 24)), (Phase::New, Duration::from_hours(7 * 24))];

/// `[backfill]` and `[verification]`: how fast a walk over the tables may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSpec {
    /// At most so many rows for each second; as fast as the stores go, if not given.
    pub rate: Option<u64>,
    /// About so many bytes are one chunk.
    pub chunk_bytes: u64,
    /// At most so many rows are one chunk.
    pub chunk_rows: u64,
    /// While the authority takes longer than this for a chunk's first row, the walk gives way; never, if not given.
    pub give_way: Option<Duration>,
    /// While a replica of either side is further behind than this, the walk rests.
    pub lag: Duration,
    /// While more of the application's statements run at once on either side, the walk rests; never, if not given.
    pub running: Option<u64>,
}

impl Default for PaceSpec {
    fn default() -> Self {
        Self {
            rate: None,
            chunk_bytes: 1 << 20,
            chunk_rows: 1_000,
            give_way: None,
            lag: Duration::from_secs(10),
            running: None,
        }
    }
}

/// `[capture]`: what is kept of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureSpec {
    /// At most so many changes wait in the log (counted as its newest id less its oldest).
    pub bound: u64,
    /// How long the log of the new side is kept filling in `new`.
    pub way_back_time: Duration,
    /// How large it may become.
    pub way_back_bytes: u64,
}

impl Default for CaptureSpec {
    fn default() -> Self {
        Self { bound: 10_000_000, way_back_time: Duration::from_hours(30 * 24), way_back_bytes: 1 << 30 }
    }
}

/// `[evidence]`: what is kept of what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceSpec {
    /// Columns whose values are never shown nor kept: `column` in every table, `mapping.column` in one, `*` for all.
    pub redact: Vec<String>,
    /// Each mapping with the columns that are made of one of these on the way to the other side.
    pub(super) implied: Vec<(String, String)>,
}

impl EvidenceSpec {
    /// Whether this column's values may not be shown. Either side's name will do, in whatever case.
    #[must_use]
    pub fn redacts(&self, mapping: &str, column: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(column);
        self.redact.iter().any(|entry| {
            entry == "*"
                || is(entry)
                || entry.strip_prefix(mapping).and_then(|rest| rest.strip_prefix('.')).is_some_and(is)
        }) || self.implied.iter().any(|(table, name)| table == mapping && is(name))
    }

    /// The names of all columns that are redacted in some mapping; nothing of `*`.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let named = self.redact.iter().filter(|entry| *entry != "*");
        let named = named.map(|entry| entry.rsplit_once('.').map_or(entry.as_str(), |(_, column)| column));
        named.chain(self.implied.iter().map(|(_, column)| column.as_str()))
    }
}

/// Reads what stands at the top of the file.
pub(super) fn read_fleet(root: &mut Fields<'_>, found: &mut Findings) -> FleetSpec {
    let default = FleetSpec::default();
    let mut time = |name: &'static str, otherwise: Duration| {
        let node = root.get(name, found);
        let given = node.and_then(|node| node.duration(found).map(|time| (node, time)));
        match given {
            Some((node, time)) if time.is_zero() => {
                found.error(node.at, format!("`{name}` is no time at all"), None);
                otherwise
            }
            Some((_, time)) => time,
            None => otherwise,
        }
    };
    let write_lifetime = time("write_lifetime", default.write_lifetime);
    let hold_budget = time("hold_budget", default.hold_budget);
    let hold_lease = time("hold_lease", default.hold_lease);
    let patience = time("patience", default.patience);
    let forget_after = Some(time("forget_after", Duration::ZERO)).filter(|time| !time.is_zero());
    FleetSpec {
        ack: root.get("ack", found).and_then(|node| node.one_of(&ACKS, found)).unwrap_or(default.ack),
        on_silence: root
            .get("on_silence", found)
            .and_then(|node| node.one_of(&SILENCES, found))
            .unwrap_or(default.on_silence),
        forget_after,
        write_lifetime,
        hold_budget,
        hold_lease,
        patience,
    }
}

/// Reads `[gate]`.
pub(super) fn read_gate(node: Option<Node<'_>>, found: &mut Findings) -> GateSpec {
    let mut gate = GateSpec { mismatch: None, calls: None, bake: DEFAULT_BAKE.into() };
    let Some(mut fields) = node.and_then(|node| node.fields("a table: write [gate]", found)) else {
        return gate;
    };
    gate.mismatch = fields.get("mismatch", found).and_then(|node| read_mismatch(node, found));
    gate.calls = fields.get("calls", found).and_then(|node| read_calls(node, gate.mismatch, found));
    if let Some(node) = fields.get("bake", found) {
        read_bake(node, &mut gate.bake, found);
    }
    fields.finish(top_level, found);
    gate
}

fn read_mismatch(node: Node<'_>, found: &mut Findings) -> Option<MismatchGate> {
    let mut fields = node.fields("a table, as in { max = \"0.01 %\", over = 10000 }", found)?;
    let hint = "Say how many mismatches may be, as in max = \"0.01 %\"";
    let max = fields.require("max", hint, found).and_then(|node| node.percent(found));
    let hint = "Say how many comparisons count as evidence, as in over = 10000";
    let over = fields.require("over", hint, found).and_then(|node| node.count(found));
    fields.finish(|_| None, found);
    Some(MismatchGate { max_percent: max?, over: over? })
}

fn read_calls(node: Node<'_>, mismatch: Option<MismatchGate>, found: &mut Findings) -> Option<CallsGate> {
    let want = "a table, as in { errors = \"0.5 %\", slower_by = 1.5, slack = \"5ms\", over = 1000 }";
    let mut fields = node.fields(want, found)?;
    let mut calls = CallsGate::beside(mismatch);
    if let Some(errors) = fields.get("errors", found).and_then(|node| node.percent(found)) {
        calls.errors_percent = errors;
    }
    let hint = "So many times the old side's p99 may the new side's be";
    if let Some(times) = fields.get("slower_by", found).and_then(|node| node.above_zero(hint, found)) {
        calls.slower_by = times;
    }
    if let Some(slack) = fields.get("slack", found).and_then(|node| node.duration(found)) {
        calls.slack = slack;
    }
    if let Some(over) = fields.get("over", found).and_then(|node| node.count(found)) {
        calls.over = over;
    }
    fields.finish(|_| None, found);
    Some(calls)
}

fn read_bake(node: Node<'_>, bake: &mut BTreeMap<Phase, Duration>, found: &mut Findings) {
    let want = "a table from phases to times, as in { reverse-shadow = \"7d\" }";
    let Some(fields) = node.fields(want, found) else { return };
    for (name, node) in fields.all(found) {
        let time = node.duration(found);
        let Some(phase) = read_phase(name, &node, found) else { continue };
        if phase == Phase::Old || phase == Phase::Retired {
            let hint =
                "A bake time is how long `shadow`, `reverse-shadow` or `new` must have held".to_owned();
            found.error(node.name_at, format!("`{phase}` has no bake time"), hint);
        } else if let Some(time) = time {
            bake.insert(phase, time);
        }
    }
}

/// Reads a phase's name; the node is where it stands.
pub(super) fn read_phase(name: &str, node: &Node<'_>, found: &mut Findings) -> Option<Phase> {
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == name);
    if phase.is_none() {
        let hint = match super::suggest::nearest(name, Phase::ALL.map(Phase::name)) {
            Some(name) => format!("Did you mean \"{name}\"?"),
            None => "The phases are old, shadow, reverse-shadow and new".to_owned(),
        };
        found.error(node.name_at.clone(), format!("there is no phase {name:?}"), hint);
    }
    phase
}

/// Reads `[backfill]` or `[verification]`.
pub(super) fn read_pace(node: Option<Node<'_>>, found: &mut Findings) -> PaceSpec {
    let mut pace = PaceSpec::default();
    let Some(mut fields) = node.and_then(|node| node.fields("a table", found)) else { return pace };
    pace.rate = fields.get("rate", found).and_then(|node| node.rate(found));
    if let Some(bytes) = fields.get("chunk", found).and_then(|node| node.size(found)) {
        pace.chunk_bytes = bytes;
    }
    if let Some(rows) = fields.get("chunk_rows", found).and_then(|node| node.count(found)) {
        pace.chunk_rows = rows;
    }
    pace.give_way = fields.get("give_way", found).and_then(|node| node.duration(found));
    if let Some(lag) = fields.get("lag", found).and_then(|node| node.duration(found)) {
        pace.lag = lag;
    }
    pace.running = fields.get("running", found).and_then(|node| node.count(found));
    fields.finish(top_level, found);
    pace
}

/// Reads `[capture]`.
pub(super) fn read_capture(node: Option<Node<'_>>, found: &mut Findings) -> CaptureSpec {
    let mut capture = CaptureSpec::default();
    let Some(mut fields) = node.and_then(|node| node.fields("a table: write [capture]", found)) else {
        return capture;
    };
    if let Some(bound) = fields.get("bound", found).and_then(|node| node.count(found)) {
        capture.bound = bound;
    }
    let want = "a table, as in { time = \"30d\", size = \"1 GiB\" }";
    if let Some(mut way_back) = fields.get("way_back", found).and_then(|node| node.fields(want, found)) {
        if let Some(time) = way_back.get("time", found).and_then(|node| node.duration(found)) {
            capture.way_back_time = time;
        }
        if let Some(bytes) = way_back.get("size", found).and_then(|node| node.size(found)) {
            capture.way_back_bytes = bytes;
        }
        way_back.finish(|_| None, found);
    }
    fields.finish(top_level, found);
    capture
}

/// Reads `[evidence]`.
pub(super) fn read_evidence(node: Option<Node<'_>>, found: &mut Findings) -> EvidenceSpec {
    let mut evidence = EvidenceSpec::default();
    let Some(mut fields) = node.and_then(|node| node.fields("a table: write [evidence]", found)) else {
        return evidence;
    };
    let want = "an array of columns, as in [\"email\", \"bookings.note\"]";
    let items = fields.get("redact", found).and_then(|node| node.items(want, found)).unwrap_or_default();
    for item in items {
        evidence.redact.extend(item.text("a column, mapping.column, or \"*\"", found).map(str::to_owned));
    }
    fields.finish(top_level, found);
    evidence
}

/// A field of the top that was written into a section: TOML has no way back to the top.
pub(super) fn top_level(name: &str) -> Option<&'static str> {
    super::TOP_LEVEL.contains(&name).then_some("at the top of the file, before the first [section]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_redacted_by_any_of_its_names() {
        let evidence = |entries: &[&str]| EvidenceSpec {
            redact: entries.iter().map(|&entry| entry.to_owned()).collect(),
            ..EvidenceSpec::default()
        };
        assert!(evidence(&["Email"]).redacts("bookings", "email"));
        assert!(evidence(&["email"]).redacts("bookings", "email"));
        assert!(evidence(&["bookings.email"]).redacts("bookings", "email"));
        assert!(!evidence(&["bookings.email"]).redacts("users", "email"));
        assert!(!evidence(&["bookings.email"]).redacts("book", "email"));
        assert!(evidence(&["*"]).redacts("users", "name"));
        assert!(!evidence(&[]).redacts("users", "name"));
    }
}
