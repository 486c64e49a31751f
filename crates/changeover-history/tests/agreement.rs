//! The search against the definition. A second checker tries every order there is, so it is right by inspection and
//! good for a handful of operations only; on random small histories, linearizable or not, both must say the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use changeover_history::{
    Action, Bounds, Content, History, Initial, Linearizable, Operation, Outcome, check,
};
use proptest::prelude::*;

/// Whether there is an order: each operation that may come next (nothing left has returned before it was invoked) is
/// tried as the next one. `held` is `None` while nobody knows what is there.
fn some_order(left: &[&Operation], held: Option<&Content>) -> bool {
    // What is left needs no place when none of it was answered.
    if left.iter().all(|operation| operation.outcome.returned().is_none()) {
        return true;
    }
    let first_return =
        left.iter().filter_map(|operation| operation.outcome.returned()).min().unwrap_or(u64::MAX);
    (0..left.len()).any(|at| {
        let next = left[at];
        if next.invoked > first_return {
            return false;
        }
        let rest: Vec<_> =
            left.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, &o)| o).collect();
        match (&next.outcome, next.action.writes()) {
            (Outcome::Saw { content, .. }, _) => {
                held.is_none_or(|held| held == content) && some_order(&rest, Some(content))
            }
            (_, Some(written)) => some_order(&rest, Some(&written)),
            (_, None) => some_order(&rest, held),
        }
    })
}

fn by_trying_all(history: &History) -> bool {
    let initial = match history.initial("k0") {
        Initial::Known(content) => Some(content),
        Initial::Unknown => None,
    };
    let left: Vec<_> = history
        .operations()
        .iter()
        .filter(|operation| operation.outcome != Outcome::Failed)
        .filter(|operation| operation.action != Action::Read || operation.outcome != Outcome::Unknown)
        .collect();
    some_order(&left, initial)
}

/// Up to 8 operations on one key with whatever times, values and outcomes. Ties of the clock are frequent.
fn any_history() -> impl Strategy<Value = History> {
    let content = || prop_oneof![Just(Content::Absent), (0..3_u8).prop_map(Content::value)];
    let operation = (0..24_u64, 0..12_u64, 0..5_u8, 0..10_u8, content());
    let initial = prop_oneof![Just(Initial::Unknown), content().prop_map(Initial::Known)];
    (initial, proptest::collection::vec(operation, 1..9)).prop_map(|(initial, operations)| {
        let mut history = History::new(initial);
        for (client, (invoked, lasts, what, ends, content)) in operations.into_iter().enumerate() {
            let action = match (what, &content) {
                (0..3, _) => Action::Read,
                (_, Content::Value(value)) => Action::Write(value.clone()),
                (_, Content::Absent) => Action::Delete,
            };
            let returned = invoked + lasts;
            let outcome = match (ends, &action) {
                (0, _) => Outcome::Failed,
                (1 | 2, _) => Outcome::Unknown,
                (_, Action::Read) => Outcome::Saw { returned, content },
                _ => Outcome::Acknowledged { returned },
            };
            let id = history.begin(client as u64, "k0", action, invoked);
            history.complete(id, outcome).unwrap();
        }
        history
    })
}

proptest! {
    #![proptest_config(common::cases(20_000))]

    #[test]
    fn the_search_agrees_with_trying_every_order(history in any_history()) {
        let verdict = check(&history, &Bounds::default());
        let expected = if by_trying_all(&history) { Linearizable::Yes } else { Linearizable::No };
        prop_assert_eq!(verdict.linearizable(), expected, "{}", verdict);
    }

    /// The proof of a violation must be one by itself: its witnesses alone, as they were, have no order either.
    #[test]
    fn the_witnesses_of_a_violation_contradict_each_other_alone(history in any_history()) {
        for violation in check(&history, &Bounds::default()).violations {
            let mut alone = History::new(violation.initial.map_or(Initial::Unknown, Initial::Known));
            // Other writes of the values seen may be left out of the proof only where they could not help.
            for operation in history.operations() {
                let shown = violation.witnesses.iter().any(|witness| {
                    matches!(witness, changeover_history::Witness::Operation(shown) if shown == operation)
                });
                let id = alone.begin(operation.client, "k0", operation.action.clone(), operation.invoked);
                let outcome = match operation.outcome {
                    Outcome::Failed => Outcome::Failed,
                    _ if !shown => Outcome::Unknown,
                    _ => operation.outcome.clone(),
                };
                alone.complete(id, outcome).unwrap();
            }
            prop_assert!(violation.minimal);
            prop_assert!(!by_trying_all(&alone));
        }
    }
}
