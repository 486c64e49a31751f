//! What instances report: counted into windows, mismatches kept, events told.
//!
//! A batch that is sent twice counts once. An unclean event is told to the machine before the batch is taken: sent again
//! after a lost answer it is told again, which errs on the safe side.

use std::collections::BTreeMap;

use changeover::Side;
use changeover::evidence::Cohort;
use changeover_api::wire::{
    EventReport, EvidenceBatch, EvidenceTaken, MAX_EVENTS, MAX_SAMPLES, OperationEvidence,
};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::UncleanEvent;

use crate::conductor::{Conductor, window};
use crate::error::ControlError;
use crate::state::{Counter, EvidenceKey, NewSample};

/// Names longer than this are cut: they come from outside, and are kept.
const NAME_MAX: usize = 200;

/// The most operations in one batch.
const OPERATIONS_MAX: usize = 1_000;

/// The setting that counts the mismatches that there was no room for.
pub(crate) const SAMPLES_DROPPED: &str = "samples-dropped";

impl Conductor {
    /// Takes a batch of evidence from an instance.
    ///
    /// # Errors
    /// If it is larger than a batch may be, or the state can't be written: then it is to be sent again.
    pub async fn take_evidence(
        &self,
        instance: &str,
        batch: EvidenceBatch,
    ) -> Result<EvidenceTaken, ControlError> {
        let too_large = batch.samples.len() > MAX_SAMPLES
            || batch.events.len() > MAX_EVENTS
            || batch.operations.len() > OPERATIONS_MAX;
        if too_large {
            return Err(ControlError::Refused(format!(
                "a batch has at most {MAX_SAMPLES} samples, {MAX_EVENTS} events and {OPERATIONS_MAX} operations"
            )));
        }
        self.take_events(instance, &batch).await;
        let window_ms = window(self.clock.now().0);
        let counts = counts(&batch.operations, window_ms);
        let fresh = self.state.add_evidence((instance, batch.number), &counts).await?;
        if fresh {
            self.keep_samples(&batch).await?;
        }
        Ok(EvidenceTaken { number: batch.number, again: !fresh })
    }

    async fn keep_samples(&self, batch: &EvidenceBatch) -> Result<(), ControlError> {
        let mut dropped = batch.samples_dropped;
        for sample in &batch.samples {
            let detail = serde_json::json!({
                "key": sample.key, "input": sample.input, "old": sample.old, "new": sample.new,
                "detail": sample.detail,
            });
            let kept = NewSample {
                operation: cut(&sample.operation),
                shape: cut(&sample.shape),
                at_ms: sample.last_ms,
                count: sample.count,
                detail: detail.to_string(),
            };
            if !self.state.add_sample(&kept).await? {
                dropped += sample.count;
            }
        }
        if dropped > 0 {
            let known: u64 =
                self.state.setting(SAMPLES_DROPPED).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
            self.state.set(SAMPLES_DROPPED, Some(&known.saturating_add(dropped).to_string())).await?;
        }
        Ok(())
    }

    async fn take_events(&self, instance: &str, batch: &EvidenceBatch) {
        for event in &batch.events {
            if event.unclean {
                self.tell(ControlEvent::Unclean(unclean(instance, event))).await;
            } else if event.name == "left-dirty" || event.name == "row-refused" {
                self.alert(format!("instance {instance}: {}", event.detail)).await;
            } else {
                tracing::info!(instance, event = event.name, "{}", event.detail);
            }
        }
        if batch.unclean_dropped > 0 {
            let detail = format!("{} unclean events that there was no room to tell", batch.unclean_dropped);
            let event = UncleanEvent::JournalUnwritable { instance: instance.to_owned(), detail };
            self.tell(ControlEvent::Unclean(event)).await;
        }
    }
}

fn unclean(instance: &str, event: &EventReport) -> UncleanEvent {
    let instance = instance.to_owned();
    match event.name.as_str() {
        "keys-lost" | "wrong-slot" => {
            UncleanEvent::KeysUnknown { instance, operation: event.operation.clone().unwrap_or_default() }
        }
        _ => UncleanEvent::JournalUnwritable { instance, detail: event.detail.clone() },
    }
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

fn counts(operations: &[OperationEvidence], window_ms: u64) -> Vec<(EvidenceKey, u64)> {
    let mut counts = Vec::new();
    for evidence in operations {
        let mut add = |counter, count: u64| {
            if count > 0 {
                let treatment = evidence.cohort == Cohort::Treatment;
                let operation = cut(&evidence.operation);
                counts.push((EvidenceKey { window_ms, operation, treatment, counter }, count));
            }
        };
        add(Counter::Match, evidence.matches);
        add(Counter::MatchByRule, sum(&evidence.matches_by_rule));
        add(Counter::Transient, evidence.mismatches_transient);
        add(Counter::Persistent, evidence.mismatches_persistent);
        add(Counter::Error, evidence.errors_old + evidence.errors_new + evidence.errors_both);
        add(Counter::Dropped, sum(&evidence.dropped));
        for (side, calls) in [(Side::Old, &evidence.old), (Side::New, &evidence.new)] {
            add(Counter::Calls(side), calls.calls);
            add(Counter::Failed(side), calls.failed);
            for (bucket, count) in &calls.latencies {
                add(Counter::Latency(side, *bucket), *count);
            }
        }
    }
    counts
}

fn sum(by_name: &BTreeMap<String, u64>) -> u64 {
    by_name.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeover_api::wire::SideEvidence;

    #[test]
    fn what_is_dropped_is_counted_as_dropped_and_nothing_is_counted_as_zero() {
        let evidence = OperationEvidence {
            operation: "get".to_owned(),
            cohort: Cohort::Treatment,
            matches: 3,
            matches_by_rule: BTreeMap::from([("case".to_owned(), 2)]),
            mismatches_transient: 0,
            mismatches_persistent: 1,
            errors_old: 1,
            errors_new: 2,
            errors_both: 4,
            dropped: BTreeMap::from([("budget".to_owned(), 5), ("sample".to_owned(), 6)]),
            writes_held: 0,
            write_held_longest_ms: 0,
            writes_left_dirty: 0,
            writes_unknown: 0,
            old: SideEvidence { calls: 9, failed: 0, latencies: vec![(17, 9)] },
            new: SideEvidence::default(),
        };
        let counts = counts(&[evidence], 20_000);
        let of = |counter| counts.iter().find(|(key, _)| key.counter == counter).map(|(_, n)| *n);
        assert_eq!(of(Counter::MatchByRule), Some(2));
        assert_eq!(of(Counter::Error), Some(7));
        assert_eq!(of(Counter::Dropped), Some(11));
        assert_eq!(of(Counter::Latency(Side::Old, 17)), Some(9));
        assert_eq!(of(Counter::Transient), None);
        assert!(counts.iter().all(|(key, _)| key.treatment && key.window_ms == 20_000));
    }
}
