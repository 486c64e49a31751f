//! Gates: named conditions on evidence that must hold before a phase may be entered.
//!
//! A gate looks at evidence, never at hope: what isn't known closes it. Each says *because* of what it is
//! closed and what it *needs*. Ways back wait for no gate.

mod back;
mod bound;
mod evidence;

use std::fmt;
use std::str::FromStr;

pub use back::{Accepted, reason_to_go_back};
pub use bound::{lower, trials_needed, upper};
pub use evidence::{
    BackfillEvidence, CallLimit, Calls, Cohort, Comparisons, Evidence, Limits, MismatchLimit, OldSide,
    SideCalls, Stuck, VerificationEvidence,
};

use crate::place::{Phases, Place};
use crate::step::{Phase, UnknownName};
use crate::time::Millis;

/// The gates that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Gate {
    /// The backfill's generation is complete.
    Backfill,
    /// A full verification is clean, and newer than the last unclean event.
    Verification,
    /// The mismatch rate's upper bound is below its limit, for each operation and cohort.
    Mismatches,
    /// The new side's errors and latency stand comparison with the old side's.
    ErrorsAndLatency,
    /// The phase has held for its bake time.
    BakeTime,
    /// Nobody has touched the old side for some days.
    OldUntouched,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Backfill,
        Self::Verification,
        Self::Mismatches,
        Self::ErrorsAndLatency,
        Self::BakeTime,
        Self::OldUntouched,
    ];

    /// The name that people and formats use, as in `bake-time`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Verification => "verification",
            Self::Mismatches => "mismatches",
            Self::ErrorsAndLatency => "errors-and-latency",
            Self::BakeTime => "bake-time",
            Self::OldUntouched => "old-untouched",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Gate {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|gate| gate.name() == s)
            .ok_or_else(|| UnknownName { what: "gate", given: s.to_owned() })
    }
}

/// Whether a gate is open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Verdict {
    /// It is.
    Open,
    /// It isn't.
    Closed {
        /// Because of what, in words.
        because: String,
        /// What would open it, in words.
        needs: String,
    },
    /// There is no such gate here, for this reason: the spec asks for none, or the store can't tell.
    NotAsked(String),
}

impl Verdict {
    fn closed(because: impl Into<String>, needs: impl Into<String>) -> Self {
        Self::Closed { because: because.into(), needs: needs.into() }
    }

    /// Whether it keeps nothing back.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

/// An operator's word that a gate is to be passed all the same. It is kept in the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Override {
    /// Which gate.
    pub gate: Gate,
    /// Why. An empty reason is none.
    pub reason: String,
}

/// One gate's verdict, and the operator's word on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GateResult {
    /// Which.
    pub gate: Gate,
    /// How it stands.
    pub verdict: Verdict,
    /// Why it is passed though it is closed, if it is.
    pub overridden: Option<String>,
}

impl GateResult {
    /// Whether it keeps nothing back.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict.is_open() || self.overridden.is_some()
    }
}

/// The gates into one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Judgement {
    /// Each of them.
    pub gates: Vec<GateResult>,
}

impl Judgement {
    /// Whether the phase may be entered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.gates.iter().all(GateResult::passes)
    }

    /// Those that keep it from being entered.
    pub fn blocking(&self) -> impl Iterator<Item = &GateResult> {
        self.gates.iter().filter(|result| !result.passes())
    }
}

/// Which gates lie on the way from a place into a phase.
///
/// Where `shadow` is left out nothing can be known before the hold: the copy and its verification happen in
/// it, and the control machine waits there for both.
#[must_use]
pub fn gates_into(from: Place, into: Phase, phases: Phases) -> &'static [Gate] {
    use Gate::{Backfill, BakeTime, ErrorsAndLatency, Mismatches, OldUntouched, Verification};
    match (into, from.phase) {
        (Phase::Old | Phase::Shadow, _) => &[],
        (Phase::Retired, _) => &[BakeTime, OldUntouched],
        (_, Phase::Old) => &[BakeTime],
        (Phase::ReverseShadow, _) => &[Backfill, Verification, Mismatches, BakeTime],
        (Phase::New, _) if phases.reverse_shadow => &[Verification, Mismatches, ErrorsAndLatency, BakeTime],
        (Phase::New, _) => &[Backfill, Verification, Mismatches, ErrorsAndLatency, BakeTime],
    }
}

/// Looks at every gate on the way from where the evidence was gathered into a phase.
#[must_use]
pub fn judge(
    into: Phase,
    phases: Phases,
    evidence: &Evidence,
    limits: &Limits,
    overrides: &[Override],
) -> Judgement {
    let word = |gate| {
        let given = overrides.iter().find(|o| o.gate == gate && !o.reason.trim().is_empty());
        given.map(|o| o.reason.clone())
    };
    let result = |&gate: &Gate| {
        let verdict = evaluate(gate, evidence, limits);
        let overridden = if verdict.is_open() { None } else { word(gate) };
        GateResult { gate, verdict, overridden }
    };
    Judgement { gates: gates_into(evidence.place, into, phases).iter().map(result).collect() }
}

/// How one gate stands.
#[must_use]
pub fn evaluate(gate: Gate, evidence: &Evidence, limits: &Limits) -> Verdict {
    match gate {
        Gate::Backfill => backfill(evidence),
        Gate::Verification => verification(evidence),
        Gate::Mismatches => mismatches(evidence, limits),
        Gate::ErrorsAndLatency => errors_and_latency(evidence, limits),
        Gate::BakeTime => bake_time(evidence, limits),
        Gate::OldUntouched => old_untouched(evidence, limits),
    }
}

/// Trip: a generation that isn't complete. Minimum evidence: a generation; where the record knows of none, because it was
/// adopted from the databases, a verification that compared every row. Recovery: it completes.
fn backfill(evidence: &Evidence) -> Verdict {
    match evidence.backfill {
        None if evidence.verification.is_some() && verification(evidence).is_open() => {
            Verdict::NotAsked("no backfill is known: the verification has compared every row".to_owned())
        }
        None => Verdict::closed("no backfill has been made", "a complete generation of the backfill"),
        Some(BackfillEvidence { complete: true, .. }) => Verdict::Open,
        // Nobody has counted, as where no run is there.
        Some(BackfillEvidence { generation, chunks: 0, .. }) => {
            Verdict::closed(format!("generation {generation} isn't complete"), "the generation to complete")
        }
        Some(BackfillEvidence { generation, done, .. }) => Verdict::closed(
            format!("generation {generation} isn't complete: {done} chunks are copied, and more are to come"),
            "the generation to complete",
        ),
    }
}

/// Trip: a difference, a row that can't be carried or compared, or an unclean event since. Minimum evidence: one full
/// verification of this generation. Recovery: repair, and a new verification.
fn verification(evidence: &Evidence) -> Verdict {
    let needs = "a full verification without a difference";
    if evidence.stuck.keys > 0 {
        let needs = "each to be mended, or a rule of the spec for it (`changeover status` names them)";
        return Verdict::closed(evidence.stuck.to_string(), needs);
    }
    let Some(v) = &evidence.verification else {
        return Verdict::closed("no full verification has been made", needs);
    };
    let of_this_generation = evidence.backfill.is_none_or(|b| b.generation == v.generation);
    if !v.full || !of_this_generation {
        return Verdict::closed("the last verification was not of all rows of this generation", needs);
    }
    if v.rows_compared == 0 && !v.both_sides_empty {
        return Verdict::closed("the last verification compared no rows", needs);
    }
    if v.differences > 0 || v.refused > 0 {
        let because = format!("{} rows differ, {} could not be mapped or compared", v.differences, v.refused);
        return Verdict::closed(because, "their repair, and a new verification");
    }
    // Began, not ended: an event in its middle may lie behind the point that it had come to.
    if evidence.last_unclean.is_some_and(|at| at >= v.began) {
        return Verdict::closed("something unclean happened since the last verification began", needs);
    }
    Verdict::Open
}

/// Trip: the upper bound of the rate of persistent mismatches and errors is not below its limit, for any
/// operation and cohort. Minimum evidence: `over` comparisons of each. Recovery: more comparisons, after a fix.
fn mismatches(evidence: &Evidence, limits: &Limits) -> Verdict {
    let Some(limit) = limits.mismatch else {
        return Verdict::NotAsked("no reads compared: the spec has no `[gate] mismatch`".to_owned());
    };
    if evidence.comparisons.is_empty() {
        let needs = format!("{} comparisons of each operation", limit.over);
        return Verdict::closed("no reads have been compared", needs);
    }
    let cohorts = Cohort::at(evidence.place);
    let here = || evidence.comparisons.iter().filter(|c| cohorts.contains(&c.cohort));
    let missing = || {
        let of_both =
            evidence.comparisons.iter().flat_map(|c| cohorts.iter().map(move |cohort| (c, *cohort)));
        let none = |operation: &str, cohort| !here().any(|c| c.operation == operation && c.cohort == cohort);
        of_both.filter(|(c, cohort)| none(&c.operation, *cohort)).find_map(|(c, cohort)| {
            mismatches_of(&Comparisons { cohort, ..Comparisons::none(&c.operation) }, limit)
        })
    };
    let closed = here().find_map(|c| mismatches_of(c, limit));
    closed.or_else(missing).unwrap_or(Verdict::Open)
}

fn mismatches_of(c: &Comparisons, limit: MismatchLimit) -> Option<Verdict> {
    let compared = c.compared();
    let of = format!("`{}` ({})", c.operation, c.cohort);
    if compared < limit.over.max(1) {
        let because = format!("{of} has been compared {compared} times ({} more were dropped)", c.dropped);
        return Some(Verdict::closed(because, format!("{} comparisons of it", limit.over.max(1))));
    }
    let bad = c.mismatches.saturating_add(c.errors);
    let bound = upper(bad, compared);
    if bound < limit.max_rate {
        return None;
    }
    let because = format!(
        "{of}: {} mismatches and {} errors in {compared} comparisons; the rate may be {:.4} %, the limit is {:.4} %",
        c.mismatches,
        c.errors,
        bound * 100.0,
        limit.max_rate * 100.0
    );
    let needs = match trials_needed(bad, limit.max_rate) {
        Some(trials) => format!("{} more comparisons without one", trials.saturating_sub(compared)),
        None => "a limit above zero".to_owned(),
    };
    Some(Verdict::closed(because, needs))
}

/// Trip: the new side's error rate may be above the old side's by more than is allowed, or its p99 is above the
/// old side's by more than the factor. Minimum evidence: `over` calls of each side. Recovery: a better new side.
fn errors_and_latency(evidence: &Evidence, limits: &Limits) -> Verdict {
    let Some(limit) = limits.calls else {
        return Verdict::NotAsked("no calls measured: no instance has the library in it".to_owned());
    };
    if evidence.calls.is_empty() {
        return Verdict::closed("no calls have been measured", format!("{} calls of each side", limit.over));
    }
    let cohorts = Cohort::at(evidence.place);
    let mut here = evidence.calls.iter().filter(|c| cohorts.contains(&c.cohort));
    here.find_map(|c| calls_of(c, limit)).unwrap_or(Verdict::Open)
}

fn calls_of(c: &Calls, limit: CallLimit) -> Option<Verdict> {
    let of = format!("`{}` ({})", c.operation, c.cohort);
    let least = limit.over.max(1);
    let fewest = c.new.calls.min(c.old.calls);
    if fewest < least {
        let because =
            format!("{of} has {} calls of the old side and {} of the new", c.old.calls, c.new.calls);
        return Some(Verdict::closed(because, format!("{least} of each")));
    }
    let may_be = upper(c.new.errors, c.new.calls);
    let allowed = c.old.error_rate() + limit.more_errors;
    if may_be > allowed {
        let because = format!(
            "{of}: the new side's error rate may be {:.3} %, the old side's is {:.3} %",
            may_be * 100.0,
            c.old.error_rate() * 100.0
        );
        return Some(Verdict::closed(because, format!("at most {:.3} %", allowed * 100.0)));
    }
    let slowest_ms = c.old.p99_ms * limit.slower_by + limit.slower_ms;
    if c.new.p99_ms > slowest_ms {
        let because =
            format!("{of}: p99 of the new side is {:.1} ms, of the old {:.1} ms", c.new.p99_ms, c.old.p99_ms);
        return Some(Verdict::closed(because, format!("at most {slowest_ms:.1} ms")));
    }
    None
}

/// Trip: the phase was entered less than its bake time ago. A part of the keys bakes nothing.
fn bake_time(evidence: &Evidence, limits: &Limits) -> Verdict {
    let bake = limits.bake_ms(evidence.place.phase);
    if evidence.place.is_partial() || bake == Millis(0) {
        return Verdict::Open;
    }
    let held = evidence.now.since(evidence.since);
    if held >= bake {
        return Verdict::Open;
    }
    Verdict::closed(
        format!("`{}` has held for {}", evidence.place.phase, evidence::duration(held)),
        format!("{} more", evidence::still_to_pass(bake.since(held))),
    )
}

/// Trip: the old side was read or written by someone else too recently. Only where the store can tell.
fn old_untouched(evidence: &Evidence, limits: &Limits) -> Verdict {
    let (last, since) = match evidence.old_side {
        OldSide::CannotTell => {
            return Verdict::NotAsked("the old store can't tell who touches it".to_owned());
        }
        OldSide::NotLooked => {
            return Verdict::closed("nobody has looked whether the old side is used", "a look at it");
        }
        OldSide::Watched { last_touched, since } => (last_touched, since),
    };
    let quiet = evidence.now.since(last.unwrap_or(since).max(since));
    if quiet >= limits.untouched_ms {
        return Verdict::Open;
    }
    let because = match last {
        Some(_) => format!("the old side was touched {} ago", evidence::duration(quiet)),
        None => format!("the old side has been watched for {}", evidence::duration(quiet)),
    };
    Verdict::closed(because, format!("{} without a touch", evidence::duration(limits.untouched_ms)))
}

#[cfg(test)]
mod tests;
