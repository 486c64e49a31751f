//! What opens and closes each gate. No evidence closes every gate that was asked for.

use super::*;
use crate::control::Generation;
use crate::place::Share;

const DAY: u64 = 86_400_000;

fn limits() -> Limits {
    Limits {
        mismatch: Some(MismatchLimit { max_rate: 0.0001, over: 10_000 }),
        calls: Some(CallLimit::default()),
        ..Limits::default()
    }
}

fn nothing(phase: Phase) -> Evidence {
    Evidence {
        now: Millis(0),
        place: Place::whole(phase),
        since: Millis(0),
        last_unclean: None,
        backfill: None,
        verification: None,
        stuck: Stuck::default(),
        comparisons: vec![],
        calls: vec![],
        old_side: OldSide::NotLooked,
    }
}

fn clean(phase: Phase) -> Evidence {
    let calls = SideCalls { calls: 100_000, errors: 0, p99_ms: 4.0 };
    Evidence {
        now: Millis(10 * DAY),
        backfill: Some(BackfillEvidence { generation: Generation(1), done: 9, chunks: 9, complete: true }),
        verification: Some(VerificationEvidence {
            generation: Generation(1),
            began: Millis(100),
            full: true,
            rows_compared: 1_000,
            both_sides_empty: false,
            differences: 0,
            refused: 0,
        }),
        comparisons: vec![Comparisons {
            operation: "booking.get".to_owned(),
            cohort: Cohort::at(Place::whole(phase))[0],
            matches: 100_000,
            mismatches: 0,
            errors: 0,
            dropped: 0,
        }],
        calls: vec![Calls {
            operation: "booking.get".to_owned(),
            cohort: Cohort::at(Place::whole(phase))[0],
            old: calls,
            new: calls,
        }],
        old_side: OldSide::Watched { last_touched: None, since: Millis(0) },
        ..nothing(phase)
    }
}

fn is_closed(gate: Gate, evidence: &Evidence) -> bool {
    matches!(evaluate(gate, evidence, &limits()), Verdict::Closed { .. })
}

#[test]
fn a_row_that_the_mirror_cannot_carry_closes_the_gate_at_once_and_is_named() {
    let mut evidence = clean(Phase::ReverseShadow);
    evidence.stuck = Stuck { keys: 2, first: Some("bookings(7): seats is NULL".to_owned()) };
    let Verdict::Closed { because, .. } = evaluate(Gate::Verification, &evidence, &limits()) else {
        panic!("it is open");
    };
    assert_eq!(because, "2 rows can't be carried: bookings(7): seats is NULL");
}

#[test]
fn no_evidence_closes_every_gate_and_clean_evidence_opens_it() {
    for gate in Gate::ALL {
        assert!(is_closed(gate, &nothing(Phase::ReverseShadow)), "{gate}");
        let verdict = evaluate(gate, &clean(Phase::ReverseShadow), &limits());
        assert_eq!(verdict, Verdict::Open, "{gate}");
    }
}

#[test]
fn ways_back_and_shadow_have_no_gate() {
    for from in Phase::ALL {
        for into in [Phase::Old, Phase::Shadow] {
            assert!(judge(into, Phases::ALL, &nothing(from), &limits(), &[]).is_open());
        }
    }
}

#[test]
fn the_gates_are_those_of_the_table() {
    use Gate::{Backfill, BakeTime, ErrorsAndLatency, Mismatches, OldUntouched, Verification};
    let into = |from, to| gates_into(Place::whole(from), to, Phases::ALL);
    let reverse = [Backfill, Verification, Mismatches, BakeTime];
    assert_eq!(into(Phase::Shadow, Phase::ReverseShadow), reverse);
    let new = [Verification, Mismatches, ErrorsAndLatency, BakeTime];
    assert_eq!(into(Phase::ReverseShadow, Phase::New), new);
    assert_eq!(into(Phase::New, Phase::Retired), [BakeTime, OldUntouched]);
    let without = Phases { shadow: true, reverse_shadow: false };
    assert!(gates_into(Place::whole(Phase::Shadow), Phase::New, without).contains(&Backfill));
}

#[test]
fn a_verification_counts_only_if_it_began_after_the_last_unclean_event() {
    let mut evidence = clean(Phase::Shadow);
    for (at, closed) in [(99, false), (100, true), (101, true)] {
        evidence.last_unclean = Some(Millis(at));
        assert_eq!(is_closed(Gate::Verification, &evidence), closed, "at {at}");
    }
}

#[test]
fn a_verification_with_a_flaw_does_not_count() {
    type Flaw = fn(&mut VerificationEvidence);
    let flaws: [Flaw; 5] = [
        |v| v.differences = 1,
        |v| v.refused = 1,
        |v| v.full = false,
        |v| v.rows_compared = 0,
        |v| v.generation = Generation(0),
    ];
    for flaw in flaws {
        let mut evidence = clean(Phase::Shadow);
        flaw(evidence.verification.as_mut().unwrap());
        assert!(is_closed(Gate::Verification, &evidence), "{:?}", evidence.verification);
    }
}

#[test]
fn empty_tables_can_be_verified() {
    let mut evidence = clean(Phase::Shadow);
    let v = evidence.verification.as_mut().unwrap();
    (v.rows_compared, v.both_sides_empty) = (0, true);
    assert!(!is_closed(Gate::Verification, &evidence));
}

#[test]
fn one_operation_with_too_few_comparisons_closes_the_gate() {
    let mut evidence = clean(Phase::Shadow);
    let few = Comparisons {
        operation: "rare".to_owned(),
        matches: 9_999,
        dropped: 1,
        ..evidence.comparisons[0].clone()
    };
    evidence.comparisons.push(few);
    assert!(is_closed(Gate::Mismatches, &evidence), "dropped is not compared");
}

#[test]
fn it_is_the_upper_bound_that_must_be_below_the_limit() {
    let mut evidence = clean(Phase::Shadow);
    evidence.comparisons[0].matches = 20_000;
    let Verdict::Closed { needs, .. } = evaluate(Gate::Mismatches, &evidence, &limits()) else {
        panic!("20,000 matches say nothing of a rate of 1 in 10,000");
    };
    let more: u64 = needs.split(' ').next().unwrap().parse().unwrap();
    evidence.comparisons[0].matches += more;
    assert!(!is_closed(Gate::Mismatches, &evidence), "what it says it needs is what it needs");
    evidence.comparisons[0].mismatches = 20;
    assert!(is_closed(Gate::Mismatches, &evidence));
}

#[test]
fn errors_count_against_the_new_side() {
    let mut evidence = clean(Phase::Shadow);
    evidence.comparisons[0].errors = 50;
    assert!(is_closed(Gate::Mismatches, &evidence));
}

#[test]
fn a_gate_that_is_not_asked_for_keeps_nothing_back_but_says_so() {
    let verdict = evaluate(Gate::Mismatches, &nothing(Phase::Shadow), &Limits::default());
    assert!(matches!(&verdict, Verdict::NotAsked(why) if why.contains("no reads compared")));
    assert!(verdict.is_open());
}

#[test]
fn a_slower_or_failing_new_side_closes_the_gate() {
    let mut slow = clean(Phase::ReverseShadow);
    slow.calls[0].new.p99_ms = 12.0;
    assert!(is_closed(Gate::ErrorsAndLatency, &slow));
    let mut failing = clean(Phase::ReverseShadow);
    failing.calls[0].new.errors = 700;
    assert!(is_closed(Gate::ErrorsAndLatency, &failing));
    failing.calls[0].old.errors = 700;
    assert!(!is_closed(Gate::ErrorsAndLatency, &failing), "the old side fails as often");
}

#[test]
fn bake_time_counts_from_when_the_phase_was_entered() {
    let mut evidence = clean(Phase::ReverseShadow);
    evidence.since = Millis(3 * DAY + 1);
    assert!(is_closed(Gate::BakeTime, &evidence));
    evidence.since = Millis(3 * DAY);
    assert!(!is_closed(Gate::BakeTime, &evidence));
}

#[test]
fn the_old_side_must_have_been_watched_for_as_long_as_it_must_be_quiet() {
    let mut evidence = clean(Phase::New);
    evidence.old_side = OldSide::Watched { last_touched: None, since: Millis(9 * DAY) };
    assert!(is_closed(Gate::OldUntouched, &evidence));
    evidence.old_side = OldSide::Watched { last_touched: Some(Millis(4 * DAY)), since: Millis(0) };
    assert!(is_closed(Gate::OldUntouched, &evidence));
    evidence.old_side = OldSide::CannotTell;
    assert!(!is_closed(Gate::OldUntouched, &evidence));
}

#[test]
fn an_override_needs_a_reason_and_passes_its_own_gate_only() {
    let evidence = nothing(Phase::New);
    let give = |gate, reason: &str| Override { gate, reason: reason.to_owned() };
    let judged = |overrides: &[Override]| judge(Phase::Retired, Phases::ALL, &evidence, &limits(), overrides);
    assert_eq!(judged(&[]).blocking().count(), 2);
    assert_eq!(judged(&[give(Gate::BakeTime, " ")]).blocking().count(), 2);
    assert_eq!(judged(&[give(Gate::BakeTime, "holidays")]).blocking().count(), 1);
    assert!(judged(&[give(Gate::BakeTime, "holidays"), give(Gate::OldUntouched, "looked")]).is_open());
}

#[test]
fn going_back_needs_certainty_where_going_forward_needs_the_lack_of_doubt() {
    let mut evidence = clean(Phase::ReverseShadow);
    evidence.comparisons[0].matches = 1_000;
    evidence.comparisons[0].mismatches = 1;
    assert!(is_closed(Gate::Mismatches, &evidence));
    assert_eq!(
        reason_to_go_back(&evidence, &limits(), &Accepted::default()),
        None,
        "one mismatch may be chance"
    );
    evidence.comparisons[0].mismatches = 30;
    assert!(reason_to_go_back(&evidence, &limits(), &Accepted::default()).unwrap().contains("booking.get"));
    evidence.place = Place::whole(Phase::Shadow);
    assert_eq!(
        reason_to_go_back(&evidence, &limits(), &Accepted::default()),
        None,
        "there is nothing to go back from"
    );
}

#[test]
fn what_an_override_accepted_sends_nothing_back_and_what_is_worse_does() {
    let mut evidence = clean(Phase::Shadow);
    (evidence.comparisons[0].matches, evidence.comparisons[0].mismatches) = (970, 30);
    let known = Override { gate: Gate::Mismatches, reason: "a known one".to_owned() };
    let into = Phase::ReverseShadow;
    let judged = |overrides: &[Override]| judge(into, Phases::ALL, &evidence, &limits(), overrides);
    assert!(Accepted::by(&judged(&[]), &evidence).is_empty(), "nobody overrode anything");
    let accepted = Accepted::by(&judged(&[known]), &evidence);
    evidence.place = Place::whole(into);
    assert!(reason_to_go_back(&evidence, &limits(), &Accepted::default()).is_some());
    assert_eq!(reason_to_go_back(&evidence, &limits(), &accepted), None);
    (evidence.comparisons[0].matches, evidence.comparisons[0].mismatches) = (900, 100);
    assert!(
        reason_to_go_back(&evidence, &limits(), &accepted).is_some(),
        "it is worse than what was accepted"
    );
    evidence.comparisons[0].mismatches = 30;
    evidence.comparisons[0].operation = "booking.list".to_owned();
    assert!(reason_to_go_back(&evidence, &limits(), &accepted).is_some(), "another operation's");
}

/// Evidence is counted in windows, so that a place begins with a little of the cohort that was there before it. After a
/// way back this closed the gate for good: no key was left in that cohort to compare more of.
#[test]
fn nothing_is_asked_of_a_cohort_that_no_key_is_in_any_more() {
    let mut evidence = clean(Phase::Shadow);
    let left = Comparisons { cohort: Cohort::Treatment, matches: 468, ..Comparisons::none("booking.get") };
    evidence.comparisons.push(left);
    let few = SideCalls { calls: 3, errors: 0, p99_ms: 4.0 };
    let calls = Calls { operation: "booking.get".to_owned(), cohort: Cohort::Treatment, old: few, new: few };
    evidence.calls.push(calls);
    assert!(!is_closed(Gate::Mismatches, &evidence));
    assert!(!is_closed(Gate::ErrorsAndLatency, &evidence));
    evidence.place = Place::reversed(Share::slots(100));
    assert!(is_closed(Gate::Mismatches, &evidence));
    assert!(is_closed(Gate::ErrorsAndLatency, &evidence));
}

#[test]
fn each_operation_is_compared_for_the_keys_that_have_moved_before_more_of_them_do() {
    let mut evidence = clean(Phase::Shadow);
    assert!(!is_closed(Gate::Mismatches, &evidence));
    evidence.place = Place::reversed(Share::slots(100));
    assert!(is_closed(Gate::Mismatches, &evidence), "no moved key has been compared");
    let moved = Comparisons { cohort: Cohort::Treatment, ..evidence.comparisons[0].clone() };
    evidence.comparisons.push(moved);
    assert!(!is_closed(Gate::Mismatches, &evidence));
    evidence.place = Place::whole(Phase::ReverseShadow);
    evidence.comparisons.pop();
    assert!(is_closed(Gate::Mismatches, &evidence), "only keys from before the move have been");
}

#[test]
fn what_is_still_to_pass_is_rounded_up() {
    for (ms, told) in [
        (982, "982 ms"),
        (1_000, "1 s"),
        (1_982, "2 s"),
        (59_001, "1 min"),
        (61_000, "2 min"),
        (3_599_999, "1 h 0 min"),
        (86_399_999, "1 d 0 h"),
        (90_000_000, "1 d 1 h"),
        (90_000_001, "1 d 2 h"),
    ] {
        assert_eq!(evidence::still_to_pass(Millis(ms)), told, "{ms}");
    }
}
