//! Evidence, gathered at one moment from the state and the record, for the protocol's gates to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use changeover::Side;
use changeover::evidence::{BUCKETS, Latencies};
use changeover_protocol::Control;
use changeover_protocol::gate::{
    self, Accepted, BackfillEvidence, Calls, Cohort, Comparisons, Evidence, Judgement, OldSide, Override,
    SideCalls, Stuck,
};
use changeover_protocol::{Millis, Phase};

use crate::error::ControlError;
use crate::state::{Counter, EvidenceSum, StateStore};

use super::Conductor;

/// What is known of the backfill's chunks at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Done.
    pub(crate) done: u64,
    /// In all, as far as is known.
    pub(crate) all: u64,
}

/// Evidence is counted in windows of so many milliseconds.
const WINDOW_MS: u64 = 5_000;

/// The setting that says from which window on comparisons count: what caused those before was mended.
pub(crate) const MENDED: &str = "mended_from_ms";

/// The setting that keeps what was accepted by overriding the gates into a phase.
fn accepted_into(phase: Phase) -> String {
    format!("accepted {phase}")
}

/// The first window that lies after a moment as a whole.
pub(crate) const fn window_after(at_ms: u64) -> u64 {
    window(at_ms) + WINDOW_MS
}

/// When the window begins that a moment lies in.
pub(crate) const fn window(at_ms: u64) -> u64 {
    at_ms - at_ms % WINDOW_MS
}

/// Gathers the evidence.
pub(crate) async fn gather(
    state: &dyn StateStore,
    control: &Control,
    now: Millis,
    chunks: Chunks,
    stuck: Stuck,
) -> Result<Evidence, ControlError> {
    // The window that the place was entered in is counted whole: it is short, and gates look at thousands.
    let mended = state.setting(MENDED).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let sums = state.evidence(window(control.since.0).max(mended)).await?;
    let verification = state.verifications(1).await?.pop();
    let comparisons = comparisons(&sums);
    let backfill = control.backfill.map(|backfill| BackfillEvidence {
        generation: backfill.generation,
        done: if backfill.done { chunks.all } else { chunks.done },
        chunks: chunks.all,
        complete: backfill.done,
    });
    Ok(Evidence {
        now,
        place: control.place,
        since: control.since,
        last_unclean: control.last_unclean,
        backfill,
        verification: verification.map(|record| record.evidence),
        stuck,
        calls: calls(&sums, &comparisons),
        comparisons,
        old_side: old_side(control),
    })
}

/// A fence refuses whoever touches the old side in `new`: nobody can. Without one the store can't tell.
fn old_side(control: &Control) -> OldSide {
    let fenced = control.settings.mirror == changeover_protocol::moves::Mirror::Capture;
    if fenced && control.place.phase == Phase::New {
        OldSide::Watched { last_touched: None, since: control.since }
    } else {
        OldSide::CannotTell
    }
}

/// Counters of one operation and cohort, by name.
type Grouped<'s> = BTreeMap<(&'s str, bool), Vec<(Counter, u64)>>;

fn grouped(sums: &[EvidenceSum]) -> Grouped<'_> {
    let mut groups = Grouped::new();
    for sum in sums {
        groups.entry((&sum.operation, sum.treatment)).or_default().push((sum.counter, sum.count));
    }
    groups
}

fn count(group: &[(Counter, u64)], counter: Counter) -> u64 {
    group.iter().filter(|(c, _)| *c == counter).map(|(_, n)| n).sum()
}

const fn cohort(treatment: bool) -> Cohort {
    if treatment { Cohort::Treatment } else { Cohort::Control }
}

fn comparisons(sums: &[EvidenceSum]) -> Vec<Comparisons> {
    let compared =
        [Counter::Match, Counter::MatchByRule, Counter::Persistent, Counter::Error, Counter::Dropped];
    grouped(sums)
        .into_iter()
        .filter(|(_, group)| group.iter().any(|(c, n)| compared.contains(c) && *n > 0))
        .map(|((operation, treatment), group)| Comparisons {
            operation: operation.to_owned(),
            cohort: cohort(treatment),
            // Unlike only while its key was dirty is as good as equal.
            matches: count(&group, Counter::Match)
                + count(&group, Counter::MatchByRule)
                + count(&group, Counter::Transient),
            mismatches: count(&group, Counter::Persistent),
            errors: count(&group, Counter::Error),
            dropped: count(&group, Counter::Dropped),
        })
        .collect()
}

/// Of the operations whose answers are compared: others run on one side alone, and there is nothing to hold them against.
fn calls(sums: &[EvidenceSum], comparisons: &[Comparisons]) -> Vec<Calls> {
    let is_compared = |operation: &str, cohort: Cohort| {
        comparisons.iter().any(|c| c.operation == operation && c.cohort == cohort && c.compared() > 0)
    };
    grouped(sums)
        .into_iter()
        .map(|((operation, treatment), group)| Calls {
            operation: operation.to_owned(),
            cohort: cohort(treatment),
            old: side_calls(&group, Side::Old),
            new: side_calls(&group, Side::New),
        })
        .filter(|calls| is_compared(&calls.operation, calls.cohort))
        .collect()
}

fn side_calls(group: &[(Counter, u64)], side: Side) -> SideCalls {
    let mut counts = vec![0; BUCKETS];
    for (counter, n) in group {
        if let Counter::Latency(of, bucket) = counter
            && *of == side
            && let Some(slot) = counts.get_mut(usize::from(*bucket))
        {
            *slot += n;
        }
    }
    let p99 = Latencies { counts }.quantile(0.99).unwrap_or(Duration::ZERO);
    SideCalls {
        calls: count(group, Counter::Calls(side)),
        errors: count(group, Counter::Failed(side)),
        p99_ms: p99.as_secs_f64() * 1_000.0,
    }
}

impl Conductor {
    /// All that gates look at, now.
    pub(crate) async fn evidence(&self) -> Result<Evidence, ControlError> {
        let control = self.barrier.record();
        let (chunks, stuck) = {
            let progress = self.progress.borrow();
            (progress.chunks(), progress.stuck.clone())
        };
        gather(&*self.state, &control, self.clock.now(), chunks, stuck).await
    }

    /// How the gates into a phase stand for a move: what its overrides accept is remembered for as long as that phase lasts.
    pub(super) async fn judge(&self, into: Phase, overrides: &[Override]) -> Result<Judgement, ControlError> {
        let evidence = self.evidence().await?;
        let judgement = gate::judge(into, self.plan.settings.phases, &evidence, &self.plan.limits, overrides);
        if judgement.is_open() {
            let accepted = Accepted::by(&judgement, &evidence);
            let text = (!accepted.is_empty()).then(|| serde_json::json!(accepted).to_string());
            self.state.set(&accepted_into(into), text.as_deref()).await?;
        }
        Ok(judgement)
    }

    /// Why what is seen in this phase says to go back, if it does.
    pub(super) async fn reason_to_go_back(&self) -> Result<Option<String>, ControlError> {
        let evidence = self.evidence().await?;
        let accepted = self.state.setting(&accepted_into(evidence.place.phase)).await?;
        // One that can't be read accepts nothing, which errs on the safe side.
        let accepted = accepted.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(gate::reason_to_go_back(&evidence, &self.plan.limits, &accepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(operation: &str, treatment: bool, counter: Counter, count: u64) -> EvidenceSum {
        EvidenceSum { operation: operation.to_owned(), treatment, counter, count }
    }

    #[test]
    fn cohorts_are_told_apart_and_dropped_is_no_match() {
        let sums = [
            sum("get", false, Counter::Match, 5),
            sum("get", false, Counter::Transient, 1),
            sum("get", false, Counter::Dropped, 9),
            sum("get", true, Counter::Persistent, 2),
            sum("put", false, Counter::Calls(Side::Old), 3),
        ];
        let compared = comparisons(&sums);
        assert_eq!(compared.len(), 2);
        assert_eq!((compared[0].matches, compared[0].dropped, compared[0].mismatches), (6, 9, 0));
        assert_eq!((compared[1].cohort, compared[1].mismatches), (Cohort::Treatment, 2));
    }

    #[test]
    fn an_operation_that_ran_on_one_side_alone_is_held_against_nothing() {
        let sums = [
            sum("get", false, Counter::Match, 10),
            sum("get", false, Counter::Calls(Side::Old), 10),
            sum("get", false, Counter::Calls(Side::New), 10),
            sum("get", false, Counter::Failed(Side::New), 4),
            sum("get", false, Counter::Latency(Side::New, 40), 10),
            sum("put", false, Counter::Calls(Side::Old), 10),
        ];
        let calls = calls(&sums, &comparisons(&sums));
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].new.errors, calls[0].old.errors), (4, 0));
        assert!(calls[0].new.p99_ms > 1.0 && calls[0].old.p99_ms == 0.0);
    }
}
