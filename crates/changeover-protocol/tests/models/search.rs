//! How a search is run, counted and judged.
//!
//! Sound models are searched depth first, which keeps a fingerprint of each state and little else. Broken ones are
//! searched breadth first, which keeps whole states and finds the shortest way to the fault; they have the smallest
//! bounds in which they are found, also where larger ones are asked for.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Instant;

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

/// How many states may be come to, the known ones counted each time that they are come to again.
///
/// It is memory that they bound: a model that outgrows the machine fails here, and says so, before it is killed
/// without a word. Depth first it is some 5 bytes for each, breadth first some 200.
fn limit(expect: Expect) -> usize {
    match expect {
        Expect::Sound if is_full() => 1_000_000_000,
        Expect::Sound | Expect::Violates(_) => 20_000_000,
    }
}

/// Searches all states, prints how many there are, and compares what was found with what was to be.
pub(crate) fn check<M>(name: &str, model: M, expect: Expect)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    search(name, model, expect, limit(expect));
}

fn search<M>(name: &str, model: M, expect: Expect, limit: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let bounded = model.checker().target_state_count(limit);
    match expect {
        Expect::Sound => {
            // Tests run side by side; larger models one after the other, each on all cores.
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let bounded = bounded.threads(if is_full() { cores } else { 1 });
            judge(name, expect, limit, |enough| bounded.finish_when(enough).spawn_dfs().join());
        }
        Expect::Violates(_) => {
            judge(name, expect, limit, |enough| bounded.finish_when(enough).spawn_bfs().join());
        }
    }
}

fn judge<M, C>(name: &str, expect: Expect, limit: usize, run: impl FnOnce(HasDiscoveries) -> C)
where
    M: Model,
    M::State: Clone + std::fmt::Debug + Hash + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
    C: Checker<M>,
{
    let enough = match expect {
        Expect::Sound => HasDiscoveries::AnyFailures,
        Expect::Violates(property) => HasDiscoveries::AllOf([property].into()),
    };
    let started = Instant::now();
    let checker = run(enough.clone());
    let (states, seconds) = (checker.unique_state_count(), started.elapsed().as_secs_f64());
    println!("model: {name}: {states} states, {seconds:.1} s, {expect:?}");

    // A search that was cut off has shown nothing, unless it had found what it ends with. The checker doesn't tell:
    // it calls itself done in either case.
    let found = checker.discoveries().into_keys().collect();
    let is_found = enough.matches(&found, &checker.model().properties());
    let cut_off = !is_found && checker.state_count() >= limit;
    assert!(
        !cut_off,
        "{name}: cut off after {states} states, of which there may be many more: take smaller bounds"
    );
    match expect {
        Expect::Sound => checker.assert_properties(),
        Expect::Violates(_) => {
            assert!(is_found, "{name}: nothing found in all {states} states: it cannot fail")
        }
    }
}

#[cfg(test)]
mod tests {
    use stateright::Property;

    use super::*;

    /// Counts to 10 000; at one of them something is wrong.
    #[derive(Clone)]
    struct Counter {
        wrong_at: u32,
    }

    impl Model for Counter {
        type State = u32;
        type Action = ();

        fn init_states(&self) -> Vec<u32> {
            vec![0]
        }

        fn actions(&self, state: &u32, actions: &mut Vec<()>) {
            actions.extend((*state < 10_000).then_some(()));
        }

        fn next_state(&self, last: &u32, (): ()) -> Option<u32> {
            Some(last + 1)
        }

        fn properties(&self) -> Vec<Property<Self>> {
            vec![Property::always("right", |model: &Self, state: &u32| *state != model.wrong_at)]
        }
    }

    const NEVER: Counter = Counter { wrong_at: u32::MAX };
    const LATE: Counter = Counter { wrong_at: 9_000 };
    const WRONG: Expect = Expect::Violates("right");

    #[test]
    fn a_search_to_the_end_tells_sound_from_broken() {
        search("never", NEVER, Expect::Sound, 100_000);
        search("late", LATE, WRONG, 100_000);
    }

    #[test]
    #[should_panic(expected = "never: cut off after")]
    fn a_sound_search_that_is_cut_off_fails() {
        search("never", NEVER, Expect::Sound, 2_000);
    }

    #[test]
    #[should_panic(expected = "late: cut off after")]
    fn a_broken_search_that_is_cut_off_fails() {
        search("late", LATE, WRONG, 2_000);
    }

    #[test]
    #[should_panic(expected = "Unexpected \"right\"")]
    fn what_is_wrong_is_found_though_it_was_to_be_sound() {
        search("late", LATE, Expect::Sound, 100_000);
    }

    #[test]
    #[should_panic(expected = "it cannot fail")]
    fn nothing_wrong_is_not_enough_for_a_broken_one() {
        search("never", NEVER, WRONG, 100_000);
    }
}
