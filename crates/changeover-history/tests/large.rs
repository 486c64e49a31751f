//! Size: what a check costs is counted in configurations, not in seconds, so these hold on any machine.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use changeover_history::{Action, Bounds, Content, Kind, Linearizable, Outcome, Reason, check};
use common::{many, simulate, with_outcomes};

#[test]
fn two_hundred_thousand_operations_with_different_values_cost_about_one_configuration_each() {
    let history = simulate(&many(200_000, 20, 20, 2, 1), None);
    let verdict = check(&history, &Bounds::default());
    println!("visited {}, at once {}", verdict.configurations_visited, verdict.max_concurrency_per_key);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.operations_checked > 195_000);
    assert!(verdict.configurations_visited < 3 * 200_000, "{}", verdict.configurations_visited);
}

#[test]
fn one_hot_key_with_twenty_clients_is_within_bounds() {
    let history = simulate(&many(50_000, 20, 1, 0, 2), None);
    let verdict = check(&history, &Bounds::default());
    println!("visited {}, at once {}", verdict.configurations_visited, verdict.max_concurrency_per_key);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.max_concurrency_per_key >= 18);
    assert!(verdict.configurations_visited < 10 * 50_000, "{}", verdict.configurations_visited);
}

#[test]
fn few_values_written_again_and_again_are_decided() {
    let history = simulate(&many(20_000, 8, 10, 2, 3), Some(4));
    let verdict = check(&history, &Bounds::default());
    println!("visited {}, at once {}", verdict.configurations_visited, verdict.max_concurrency_per_key);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.configurations_visited < 50 * 20_000, "{}", verdict.configurations_visited);
}

#[test]
fn a_bound_that_is_reached_is_undecided_and_never_clean() {
    let history = simulate(&many(2_000, 12, 1, 20, 4), Some(3));
    assert!(check(&history, &Bounds::default()).is_clean());
    for bounds in [Bounds { alive: 2, ..Bounds::default() }, Bounds { visited: 100, ..Bounds::default() }] {
        let verdict = check(&history, &bounds);
        assert_eq!(verdict.linearizable(), Linearizable::Undecided);
        assert!(!verdict.is_clean());
        assert_eq!(verdict.operations_checked, 0);
        let expected =
            if bounds.alive == 2 { Reason::Alive { limit: 2 } } else { Reason::Visited { limit: 100 } };
        assert_eq!(verdict.undecided[0].why, expected);
        assert!(verdict.to_string().starts_with("UNDECIDED (1 of 1 keys"), "{verdict}");
    }
}

#[test]
fn one_stale_read_in_a_large_history_is_told_in_a_few_operations() {
    let history = simulate(&many(40_000, 8, 1, 1, 5), None);
    let operations = history.operations();
    let value = Content::value(operations.iter().position(|o| matches!(o.action, Action::Write(_))).unwrap());
    let is_late_read = |o: &changeover_history::Operation| matches!(o.outcome, Outcome::Saw { .. });
    let victim = operations.iter().rposition(is_late_read).unwrap();
    let planted = with_outcomes(&history, |at, operation| match operation.outcome {
        Outcome::Saw { returned, .. } if at == victim => Outcome::Saw { returned, content: value.clone() },
        ref other => other.clone(),
    });
    let verdict = check(&planted, &Bounds::default());
    let violation = &verdict.violations[0];
    println!("{verdict}");
    assert_eq!((violation.kind, violation.witnesses.len(), violation.culprit), (Kind::Stale, 3, 2));
    assert!(violation.minimal);
}

/// More operations under way at once than fit one machine word, and more than fit any.
#[test]
fn hundreds_at_once_are_searched_and_thousands_are_undecided() {
    for (clients, expected) in [(300, Linearizable::Yes), (5_000, Linearizable::Undecided)] {
        let mut history = changeover_history::History::new(changeover_history::Initial::absent());
        for client in 0..clients {
            let write = history.begin(client, "k", Action::Write(client.to_string().into()), client);
            history.complete(write, Outcome::Acknowledged { returned: 10_000 + client }).unwrap();
        }
        let read = history.begin(9, "k", Action::Read, 5_000);
        history.complete(read, Outcome::Saw { returned: 6_000, content: Content::value(7) }).unwrap();
        assert_eq!(check(&history, &Bounds::default()).linearizable(), expected);
    }
}
