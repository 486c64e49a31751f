//! What is seen *after* a move, and whether it says to go back.
//!
//! Who overrides a gate accepts what it told. Were that acted upon after the move, the override would be void at once: only
//! what is certainly worse than what was accepted says to go back. An override for want of evidence accepts nothing.

use std::collections::BTreeMap;

use super::bound::{lower, upper};
use super::evidence::{Cohort, Evidence, Limits};
use super::{Gate, Judgement};
use crate::step::Phase;

/// So many hits at least make a rate that is acted on: the lower bound of fewer is not to be relied on.
const FEWEST_HITS: u64 = 5;

/// What was accepted by overriding the gates into a phase: rates by operation, the upper bounds of what was seen then.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Accepted {
    /// Of comparisons, those that mismatch.
    pub mismatches: BTreeMap<String, f64>,
    /// Of calls of the new side, those that fail.
    pub errors: BTreeMap<String, f64>,
}

impl Accepted {
    /// What this judgement's overrides accept of this evidence.
    #[must_use]
    pub fn by(judgement: &Judgement, evidence: &Evidence) -> Self {
        let overridden = |gate| judgement.gates.iter().any(|r| r.gate == gate && r.overridden.is_some());
        let mut accepted = Self::default();
        if overridden(Gate::Mismatches) {
            let seen = evidence.comparisons.iter().filter(|c| c.mismatches > 0);
            for c in seen {
                raise(&mut accepted.mismatches, &c.operation, upper(c.mismatches, c.compared()));
            }
        }
        if overridden(Gate::ErrorsAndLatency) {
            for c in evidence.calls.iter().filter(|c| c.new.errors > 0) {
                raise(&mut accepted.errors, &c.operation, upper(c.new.errors, c.new.calls));
            }
        }
        accepted
    }

    /// Nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mismatches.is_empty() && self.errors.is_empty()
    }
}

fn raise(rates: &mut BTreeMap<String, f64>, operation: &str, rate: f64) {
    let known = rates.entry(operation.to_owned()).or_insert(rate);
    *known = known.max(rate);
}

/// Whether what is seen *after* a move says to go back: a limit is certainly passed, not only perhaps, and so is what was
/// accepted beyond it. The reason, in words.
#[must_use]
pub fn reason_to_go_back(evidence: &Evidence, limits: &Limits, accepted: &Accepted) -> Option<String> {
    if !matches!(evidence.place.phase, Phase::ReverseShadow | Phase::New) {
        return None;
    }
    mismatching(evidence, limits, accepted).or_else(|| failing(evidence, limits, accepted))
}

fn mismatching(evidence: &Evidence, limits: &Limits, accepted: &Accepted) -> Option<String> {
    let limit = limits.mismatch?;
    evidence.comparisons.iter().find_map(|c| {
        let surely = lower(c.mismatches, c.compared());
        let most = limit.max_rate.max(accepted.mismatches.get(&c.operation).copied().unwrap_or(0.0));
        let of = of(&c.operation, c.cohort);
        (c.mismatches >= FEWEST_HITS && surely > most)
            .then(|| format!("{of} mismatches in at least {:.3} % of its comparisons", surely * 100.0))
    })
}

fn failing(evidence: &Evidence, limits: &Limits, accepted: &Accepted) -> Option<String> {
    let limit = limits.calls?;
    evidence.calls.iter().filter(|c| c.new.calls >= limit.over.max(1)).find_map(|c| {
        let surely = lower(c.new.errors, c.new.calls);
        let most = c.old.error_rate() + limit.more_errors;
        let most = most.max(accepted.errors.get(&c.operation).copied().unwrap_or(0.0));
        let of = of(&c.operation, c.cohort);
        (c.new.errors >= FEWEST_HITS && surely > most)
            .then(|| format!("{of} fails on the new side in at least {:.3} % of its calls", surely * 100.0))
    })
}

fn of(operation: &str, cohort: Cohort) -> String {
    format!("`{operation}` ({cohort})")
}
