//! How a search is run, counted and judged.

use std::hash::Hash;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

/// Whether the larger bounds are asked for.
pub(crate) fn is_full() -> bool {
    std::env::var("CHANGEOVER_MODEL").is_ok_and(|value| value == "full")
}

/// What a search must find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expect {
    /// Nothing wrong, in every state that there is.
    Sound,
    /// A state that has not this property.
    Violates(&'static str),
}

/// Searches all states, prints how many there are, and compares what was found with what was to be.
pub(crate) fn check<M>(name: &str, model: M, expect: Expect)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    // A search that is cut off has shown nothing: it fails below, as one that isn't done.
    let limit = Duration::from_secs(if is_full() { 3_600 } else { 300 });
    let enough = match expect {
        Expect::Sound => HasDiscoveries::AnyFailures,
        Expect::Violates(property) => HasDiscoveries::AllOf([property].into()),
    };
    let checker = model.checker().finish_when(enough).timeout(limit).spawn_bfs().join();
    let states = checker.unique_state_count();
    let found: Vec<&str> = checker.discoveries().into_keys().collect();
    println!("model: {name}: {states} states, {expect:?}");
    match expect {
        Expect::Sound => {
            assert!(checker.is_done(), "{name}: cut off after {states} states");
            checker.assert_properties();
        }
        Expect::Violates(property) => {
            assert!(found.contains(&property), "{name}: nothing found in {states} states: it cannot fail");
        }
    }
}
