//! What was added to an instance's evidence between two snapshots, as the wire has it.

use std::collections::{BTreeMap, HashMap};

use changeover::evidence::{Cohort, CohortEvidence, EvidenceSnapshot, SideEvidence};
use changeover::samples::Sample;

use crate::wire;

/// What has been told so far, to be taken off the next snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    operations: HashMap<(&'static str, Cohort), CohortEvidence>,
    samples: HashMap<(&'static str, String), u64>,
    samples_dropped: u64,
}

/// What a batch says of counts and mismatches.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) operations: Vec<wire::OperationEvidence>,
    pub(super) samples: Vec<wire::SampleReport>,
    pub(super) samples_dropped: u64,
}

impl Told {
    /// What was added since; and what will have been told once that has. `wall_ms` turns a moment of the instance's
    /// clock into one of the wall's.
    pub(super) fn since(&self, now: &EvidenceSnapshot, wall_ms: impl Fn(u64) -> u64) -> (Self, Added) {
        let mut next = self.clone();
        let mut added = Added::default();
        for operation in &now.operations {
            for (&cohort, counts) in &operation.cohorts {
                let key = (operation.operation, cohort);
                let empty = CohortEvidence::default();
                let before = self.operations.get(&key).unwrap_or(&empty);
                if before != counts {
                    let report = operation_added(operation.operation, cohort, before, counts);
                    added.operations.extend((!report.is_empty()).then_some(report));
                    next.operations.insert(key, counts.clone());
                }
            }
        }
        let mut no_room = 0;
        for sample in &now.samples {
            let key = (sample.operation, sample.shape.clone());
            let before = self.samples.get(&key).copied().unwrap_or(0);
            // A shape that lost its place and came back counts from one again.
            let count = if sample.count >= before { sample.count - before } else { sample.count };
            next.samples.insert(key, sample.count);
            if count == 0 {
                continue;
            }
            if added.samples.len() < wire::MAX_SAMPLES {
                added.samples.push(sample_added(sample, count, wall_ms(sample.last_ms)));
            } else {
                no_room += count;
            }
        }
        // Only those that are kept can grow: the others needn't be remembered.
        next.samples.retain(|(operation, shape), _| {
            now.samples.iter().any(|sample| sample.operation == *operation && sample.shape == *shape)
        });
        added.samples_dropped = less(now.samples_dropped, self.samples_dropped) + no_room;
        next.samples_dropped = now.samples_dropped;
        (next, added)
    }
}

/// Counters only grow; one that didn't is taken as it is.
const fn less(now: u64, before: u64) -> u64 {
    now.saturating_sub(before)
}

fn operation_added(
    operation: &str,
    cohort: Cohort,
    before: &CohortEvidence,
    now: &CohortEvidence,
) -> wire::OperationEvidence {
    wire::OperationEvidence {
        operation: operation.to_owned(),
        cohort,
        matches: less(now.matches, before.matches),
        matches_by_rule: map_added(&before.matches_by_rule, &now.matches_by_rule, Clone::clone),
        mismatches_transient: less(now.mismatches_transient, before.mismatches_transient),
        mismatches_persistent: less(now.mismatches_persistent, before.mismatches_persistent),
        errors_old: less(now.errors_old, before.errors_old),
        errors_new: less(now.errors_new, before.errors_new),
        errors_both: less(now.errors_both, before.errors_both),
        dropped: map_added(&before.dropped, &now.dropped, |reason| reason.name().to_owned()),
        writes_held: less(now.writes_held, before.writes_held),
        // Not a count but a height: as it is.
        write_held_longest_ms: now.write_held_longest_ms,
        writes_left_dirty: less(now.writes_left_dirty, before.writes_left_dirty),
        writes_unknown: less(now.writes_unknown, before.writes_unknown),
        old: side_added(&before.old, &now.old),
        new: side_added(&before.new, &now.new),
    }
}

fn map_added<K: Ord>(
    before: &BTreeMap<K, u64>,
    now: &BTreeMap<K, u64>,
    name: impl Fn(&K) -> String,
) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(key, &count)| (name(key), less(count, before.get(key).copied().unwrap_or(0))))
        .filter(|&(_, count)| count > 0)
        .collect()
}

fn side_added(before: &SideEvidence, now: &SideEvidence) -> wire::SideEvidence {
    let bucket = |(n, &count): (usize, &u64)| {
        let added = less(count, before.latencies.counts.get(n).copied().unwrap_or(0));
        u8::try_from(n).ok().filter(|_| added > 0).map(|n| (n, added))
    };
    wire::SideEvidence {
        calls: less(now.calls, before.calls),
        failed: less(now.failed, before.failed),
        latencies: now.latencies.counts.iter().enumerate().filter_map(bucket).collect(),
    }
}

fn sample_added(sample: &Sample, count: u64, last_ms: u64) -> wire::SampleReport {
    wire::SampleReport {
        operation: sample.operation.to_owned(),
        shape: sample.shape.clone(),
        key: sample.key.clone(),
        input: sample.input.clone(),
        authority: sample.authority,
        old: sample.old.clone(),
        new: sample.new.clone(),
        detail: sample.detail.clone(),
        count,
        last_ms,
    }
}

#[cfg(test)]
mod tests {
    use changeover::evidence::{Dropped, Latencies, OperationEvidence};
    use proptest::prelude::*;

    use super::*;

    fn snapshot(counts: CohortEvidence, samples: Vec<Sample>) -> EvidenceSnapshot {
        EvidenceSnapshot {
            operations: vec![OperationEvidence {
                operation: "get",
                cohorts: [(Cohort::Control, counts)].into(),
                recent: Latencies::default(),
            }],
            samples,
            samples_dropped: 0,
            events: 0,
            unclean_events: 0,
            shadow_calls_running: 0,
            writes_waiting: 0,
            operations_running: 0,
            slowest: None,
        }
    }

    fn counts(n: u64) -> CohortEvidence {
        CohortEvidence {
            matches: n,
            matches_by_rule: [("ms".to_owned(), 2 * n)].into(),
            dropped: [(Dropped::Budget, 3 * n)].into(),
            old: SideEvidence { calls: 4 * n, failed: n, latencies: Latencies { counts: vec![0, n] } },
            ..CohortEvidence::default()
        }
    }

    proptest! {
        /// However often it is told, the parts add up to the whole.
        #[test]
        fn what_is_told_adds_up(steps in proptest::collection::vec(0_u64..5, 1..20)) {
            let (mut told, mut total, mut sum) = (Told::default(), 0, [0; 5]);
            for step in steps {
                total += step;
                let (next, added) = told.since(&snapshot(counts(total), Vec::new()), |ms| ms);
                told = next;
                prop_assert_eq!(added.operations.is_empty(), step == 0);
                for operation in added.operations {
                    sum[0] += operation.matches;
                    sum[1] += operation.matches_by_rule.values().sum::<u64>();
                    sum[2] += operation.dropped.get("budget").copied().unwrap_or(0);
                    sum[3] += operation.old.calls;
                    sum[4] += operation.old.latencies.iter().map(|&(_, n)| n).sum::<u64>();
                }
            }
            prop_assert_eq!(sum, [total, 2 * total, 3 * total, 4 * total, total]);
        }
    }

    #[test]
    fn a_mismatch_is_told_again_only_with_its_new_count() {
        let sample = |shape: &str, count: u64| Sample {
            operation: "get",
            shape: shape.to_owned(),
            key: None,
            input: None,
            authority: changeover::Side::Old,
            old: "1".to_owned(),
            new: "2".to_owned(),
            detail: None,
            count,
            first_ms: 5,
            last_ms: 7,
        };
        let tell = |told: &Told, samples: Vec<Sample>| {
            let (next, added) = told.since(&snapshot(counts(0), samples), |ms| ms + 1000);
            (next, added.samples.iter().map(|s| (s.shape.clone(), s.count, s.last_ms)).collect::<Vec<_>>())
        };
        let (told, said) = tell(&Told::default(), vec![sample("a", 2)]);
        assert_eq!(said, [("a".to_owned(), 2, 1007)]);
        let (told, said) = tell(&told, vec![sample("a", 2), sample("b", 1)]);
        assert_eq!(said, [("b".to_owned(), 1, 1007)]);
        let (told, said) = tell(&told, vec![sample("a", 5)]);
        assert_eq!(said, [("a".to_owned(), 3, 1007)]);
        assert_eq!(told.samples.len(), 1);
        let many = (0..150).map(|n| sample(&n.to_string(), 1)).collect();
        let (_, added) = told.since(&snapshot(counts(0), many), |ms| ms);
        assert_eq!((added.samples.len(), added.samples_dropped), (wire::MAX_SAMPLES, 50));
    }
}
