//! The operations that were seen, by name: found without a lock, bounded in number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use changeover_protocol::Side;

use super::{Cohort, Counters, OperationEvidence, Recent};
use crate::shadow::Breaker;

/// At most this many operations are told apart. Names are written in the code, so more is a mistake.
const OPERATIONS_MAX: usize = 1_024;
/// The name under which all others go.
const OTHERS: &str = "(other operations)";

/// An operation by its name, with its evidence. Made by `Migration::operation`; may be given wherever a name may.
#[derive(Debug, Clone)]
pub struct Operation(pub(crate) Arc<OperationState>);

/// What is kept of one operation.
#[derive(Debug)]
pub(crate) struct OperationState {
    pub(crate) name: &'static str,
    cohorts: [Counters; 2],
    recent: Recent,
    pub(crate) breaker: Breaker,
    /// The share of its calls that is shadowed, if not the migration's.
    pub(crate) sample: Option<f64>,
}

/// An operation as it was given: by name, or as a handle.
#[derive(Debug, Clone, Copy)]
pub enum OperationRef<'a> {
    /// By name.
    Name(&'static str),
    /// As a handle, which spares looking the name up.
    Handle(&'a Operation),
}

impl From<&'static str> for OperationRef<'_> {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a Operation> for OperationRef<'a> {
    fn from(operation: &'a Operation) -> Self {
        Self::Handle(operation)
    }
}

impl OperationRef<'_> {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Name(name) => name,
            Self::Handle(operation) => operation.0.name,
        }
    }
}

impl OperationState {
    pub(crate) fn counters(&self, authority: Side) -> &Counters {
        &self.cohorts[Cohort::of(authority) as usize]
    }

    /// The authority has answered: counted, and its latency taken into what decides on a hold.
    pub(crate) fn answered(
        &self,
        authority: Side,
        now_ms: u64,
        latency: Duration,
        weight: u64,
        failed: bool,
    ) {
        let counters = self.counters(authority);
        counters.called(authority, latency, weight);
        if failed {
            counters.failed(authority);
        }
        self.recent.record(now_ms, latency, weight);
    }

    fn snapshot(&self, now_ms: u64) -> OperationEvidence {
        OperationEvidence {
            operation: self.name,
            cohorts: Cohort::ALL.map(|cohort| (cohort, self.cohorts[cohort as usize].snapshot())).into(),
            recent: self.recent.snapshot(now_ms),
        }
    }
}

/// All operations of a migration. Found by a load and a hash; a new one copies the table, which ends when all
/// names that the code has were seen.
#[derive(Debug)]
pub(crate) struct Registry {
    operations: ArcSwap<HashMap<&'static str, Arc<OperationState>>>,
    samples: HashMap<&'static str, f64>,
}

impl Registry {
    pub(crate) fn new(samples: HashMap<&'static str, f64>) -> Self {
        Self { operations: ArcSwap::from_pointee(HashMap::new()), samples }
    }

    /// The operation that was meant.
    pub(crate) fn get(&self, operation: OperationRef<'_>) -> Arc<OperationState> {
        match operation {
            OperationRef::Handle(operation) => Arc::clone(&operation.0),
            OperationRef::Name(name) => self.by_name(name),
        }
    }

    fn by_name(&self, name: &'static str) -> Arc<OperationState> {
        let known = self.operations.load();
        if let Some(operation) = known.get(name) {
            return Arc::clone(operation);
        }
        let name = if known.len() < OPERATIONS_MAX { name } else { OTHERS };
        drop(known);
        let made = Arc::new(OperationState {
            name,
            cohorts: [const { Counters::new() }; 2],
            recent: Recent::new(),
            breaker: Breaker::new(),
            sample: self.samples.get(name).copied(),
        });
        let mut found = Arc::clone(&made);
        self.operations.rcu(|known| {
            let mut all = HashMap::clone(known);
            found = match all.entry(name) {
                Entry::Occupied(there) => Arc::clone(there.get()),
                Entry::Vacant(place) => Arc::clone(place.insert(Arc::clone(&made))),
            };
            all
        });
        found
    }

    /// The evidence of all, in the order of their names.
    pub(crate) fn snapshot(&self, now_ms: u64) -> Vec<OperationEvidence> {
        let known = self.operations.load();
        let mut all: Vec<_> = known.values().map(|operation| operation.snapshot(now_ms)).collect();
        all.sort_by_key(|operation| operation.operation);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_one_however_often_it_is_looked_up() {
        let registry = Registry::new(HashMap::new());
        let first = registry.by_name("booking.get");
        first.answered(Side::Old, 0, Duration::from_millis(1), 1, true);
        registry.by_name("booking.get").answered(Side::New, 0, Duration::from_millis(1), 64, false);
        let all = registry.snapshot(0);
        assert_eq!(all.len(), 1);
        let cohorts = &all[0].cohorts;
        assert_eq!((cohorts[&Cohort::Control].old.calls, cohorts[&Cohort::Control].old.failed), (1, 1));
        assert_eq!((cohorts[&Cohort::Treatment].new.calls, cohorts[&Cohort::Treatment].new.failed), (64, 0));
        assert_eq!(all[0].recent.count(), 65);
    }

    #[test]
    fn names_beyond_the_bound_go_together() {
        let registry = Registry::new(HashMap::new());
        for n in 0..OPERATIONS_MAX + 10 {
            registry.by_name(Box::leak(format!("op-{n}").into_boxed_str()));
        }
        assert_eq!(registry.snapshot(0).len(), OPERATIONS_MAX + 1);
    }
}
