//! Reads: the authority's answer is the caller's, whatever the follower does; what was compared is counted as what it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use changeover::compare::Comparison;
use changeover::evidence::{Cohort, CohortEvidence, Dropped};
use changeover::samples::Redaction;
use changeover::shadow::ShadowSettings;
use changeover::{Migration, Phase, Side};
use common::Failed;
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq)]
struct Booking {
    id: i64,
    state: &'static str,
    seen_ms: u64,
}

fn booking(state: &'static str) -> Booking {
    Booking { id: 1, state, seen_ms: 5 }
}

fn in_shadow() -> Migration {
    with(ShadowSettings::default())
}

fn with(settings: ShadowSettings) -> Migration {
    Migration::builder("bookings")
        .clock(changeover::clock::RuntimeClock::start())
        .shadow(settings)
        .redaction(Redaction::none().columns(["token"]))
        .standalone(Phase::Shadow)
}

async fn evidence(migration: &Migration) -> CohortEvidence {
    // Longer than all tries of a mismatch together; the clock is paused.
    tokio::time::sleep(Duration::from_secs(20)).await;
    migration.evidence().operations[0].cohorts[&Cohort::Control].clone()
}

#[tokio::test(start_paused = true)]
async fn each_phase_answers_from_its_side() {
    for (phase, side) in [
        (Phase::Old, Side::Old),
        (Phase::Shadow, Side::Old),
        (Phase::ReverseShadow, Side::New),
        (Phase::New, Side::New),
    ] {
        let migration = Migration::standalone("bookings", phase);
        let answer = migration.read("get", ("booking", 1)).run(|side| async move { Ok::<_, Failed>(side) });
        assert_eq!(answer.await, Ok(side), "{phase}");
        let answer = migration.call("list", ()).run(|side| async move { Ok::<_, Failed>(side) });
        assert_eq!(answer.await, Ok(side), "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_answers_are_a_match_and_different_ones_a_mismatch_with_its_input() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "read by Debug only")]
    struct Request {
        id: i64,
        token: &'static str,
    }
    let migration = in_shadow();
    for n in 0..3 {
        let state = move |side| if side == Side::New && n > 0 { "CANCELLED" } else { "cancelled" };
        let request = Request { id: 1, token: "hush" };
        let answer = migration
            .read("booking.get", ("booking", 1))
            .input(&request)
            .run(move |side| async move { Ok::<_, Failed>(booking(state(side))) })
            .await;
        assert_eq!(answer, Ok(booking("cancelled")));
    }
    let seen = evidence(&migration).await;
    assert_eq!((seen.matches, seen.mismatches_persistent, seen.compared()), (1, 2, 3));
    let samples = migration.evidence().samples;
    assert_eq!((samples.len(), samples[0].count), (1, 2));
    assert_eq!(samples[0].shape, "state");
    assert!(samples[0].old.contains("cancelled") && samples[0].new.contains("CANCELLED"));
    let input = samples[0].input.as_ref().unwrap();
    assert!(input.contains("id: 1") && !input.contains("hush"), "{input}");
}

#[tokio::test(start_paused = true)]
async fn rules_views_and_closures_compare_as_they_say() {
    let migration = in_shadow();
    let seen = |side| Booking { seen_ms: if side == Side::Old { 1 } else { 2 }, ..booking("ok") };
    let call = move |side| async move { Ok::<_, Failed>(seen(side)) };
    let read = || migration.read("booking.get", ("booking", 1));
    read().rule("seen_at is not compared", |b: &mut Booking| b.seen_ms = 0).run(call).await.unwrap();
    read().view(|b: &Booking| b.state).run(call).await.unwrap();
    read().compare(|a: &Booking, b: &Booking| a.id == b.id).run(call).await.unwrap();
    let explained = |_: &Booking, _: &Booking| Comparison::differ("clock", "old is before new");
    read().compare(explained).run(call).await.unwrap();
    let seen = evidence(&migration).await;
    assert_eq!((seen.matches, seen.mismatches_persistent), (2, 1));
    assert_eq!(seen.matches_by_rule["seen_at is not compared"], 1);
    assert_eq!(migration.evidence().samples[0].shape, "clock");
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_goes_away_is_transient() {
    let migration = in_shadow();
    let calls = Arc::new(AtomicUsize::new(0));
    let read = migration.read("booking.get", ("booking", 1)).run(move |side| {
        let behind = side == Side::New && calls.fetch_add(1, SeqCst) < 2;
        async move { Ok::<_, Failed>(booking(if behind { "open" } else { "cancelled" })) }
    });
    read.await.unwrap();
    let seen = evidence(&migration).await;
    assert_eq!((seen.mismatches_transient, seen.mismatches_persistent), (1, 0));
    assert!(migration.evidence().samples.is_empty());
}

/// A key that is written without a pause, and read beside it: how its reads are counted. `lag`: how long the follower
/// takes to answer; `broken`: it never answers right.
async fn reads_of_a_busy_key(lag: Duration, broken: bool) -> CohortEvidence {
    let migration = in_shadow();
    let row = Arc::new(AtomicUsize::new(0));
    let writer = tokio::spawn({
        let row = Arc::clone(&row);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(7)).await;
                row.fetch_add(1, SeqCst);
            }
        }
    });
    for _ in 0..50 {
        let row = Arc::clone(&row);
        let read = migration.read("booking.get", ("booking", 1)).run(move |side| {
            let row = Arc::clone(&row);
            async move {
                if side == Side::New {
                    tokio::time::sleep(lag).await;
                }
                let row = row.load(SeqCst);
                Ok::<_, Failed>(if broken && side == Side::New { usize::MAX } else { row })
            }
        });
        read.await.unwrap();
        tokio::time::sleep(Duration::from_millis(11)).await;
    }
    let seen = evidence(&migration).await;
    writer.abort();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_of_a_key_that_is_always_being_written_is_no_mismatch() {
    let seen = reads_of_a_busy_key(Duration::from_millis(40), false).await;
    assert_eq!((seen.mismatches_persistent, seen.matches), (0, 0));
    assert_eq!(seen.mismatches_transient + seen.dropped[&Dropped::Unsettled], 50);
}

#[tokio::test(start_paused = true)]
async fn a_bug_on_a_key_that_is_written_often_is_found_where_it_stands_still_between() {
    let seen = reads_of_a_busy_key(Duration::from_millis(2), true).await;
    assert!(seen.mismatches_persistent > 40, "{seen:?}");
    assert_eq!(seen.mismatches_persistent + seen.dropped[&Dropped::Unsettled], 50);
}

#[tokio::test(start_paused = true)]
async fn a_comparison_that_takes_one_side_for_the_other_still_sees_that_a_side_stood_still() {
    let migration = in_shadow();
    let read = migration
        .read("booking.get", ("booking", 1))
        .compare(|old: &i32, new: &i32| *new == *old + 100)
        .run(|side| async move { Ok::<_, Failed>(if side == Side::Old { 1 } else { 2 }) });
    read.await.unwrap();
    assert_eq!(evidence(&migration).await.mismatches_persistent, 1);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_fails_is_an_error_and_both_match_only_where_it_is_said() {
    let migration = in_shadow();
    let fails = |which: Option<Side>| {
        move |side| async move {
            if which.is_none_or(|which| which == side) { Err(Failed::Store("gone")) } else { Ok(1) }
        }
    };
    let read = || migration.read("booking.get", ("booking", 1));
    assert_eq!(read().run(fails(Some(Side::New))).await, Ok(1));
    assert_eq!(read().run(fails(Some(Side::Old))).await, Err(Failed::Store("gone")));
    read().run(fails(None)).await.unwrap_err();
    read().errors_by(|error: &Failed| Some(format!("{error:?}"))).run(fails(None)).await.unwrap_err();
    let seen = evidence(&migration).await;
    assert_eq!((seen.errors_new, seen.errors_old, seen.errors_both, seen.matches), (1, 1, 1, 1));
    assert_eq!(seen.old.failed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_hangs_costs_the_caller_nothing_and_is_dropped_at_its_deadline() {
    let migration = in_shadow();
    let began = Instant::now();
    let read = migration.read("booking.get", ("booking", 1)).run(|side| async move {
        if side == Side::New {
            std::future::pending::<()>().await;
        }
        Ok::<_, Failed>(1)
    });
    assert_eq!(read.await, Ok(1));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(migration.evidence().shadow_calls_running, 1);
    let seen = evidence(&migration).await;
    assert_eq!((seen.dropped[&Dropped::Deadline], seen.compared()), (1, 0));
    assert_eq!(migration.evidence().shadow_calls_running, 0);
}

/// Panics wherever it is told to.
struct Bomb(&'static str);

impl Clone for Bomb {
    fn clone(&self) -> Self {
        assert!(self.0 != "clone", "planted");
        Self(self.0)
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        assert!(self.0 != "eq", "planted");
        self.0 == other.0 && self.0 != "debug"
    }
}

impl fmt::Debug for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(self.0 != "debug", "planted");
        f.write_str(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn no_panic_of_a_shadow_reaches_the_caller() {
    for what in ["clone", "eq", "debug", "call", "future"] {
        let migration = in_shadow();
        let answer = migration
            .read("booking.get", ("booking", 1))
            .input(&Bomb(what))
            .run(move |side| {
                assert!(side == Side::Old || what != "call", "planted");
                async move {
                    assert!(side == Side::Old || what != "future", "planted");
                    Ok::<_, Failed>(Bomb(what))
                }
            })
            .await;
        assert_eq!(answer.unwrap().0, what);
        let seen = evidence(&migration).await;
        let (dropped, errors) = (seen.dropped[&Dropped::Panicked], seen.errors_new);
        let expected = match what {
            "clone" | "eq" => (1, 0),
            "debug" => (0, 0),
            _ => (0, 1),
        };
        assert_eq!((dropped, errors), expected, "{what}");
        assert_eq!(seen.mismatches_persistent, u64::from(what == "debug"), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_compared_is_counted_with_its_reason() {
    let hangs = |side| async move {
        if side == Side::New {
            std::future::pending::<()>().await;
        }
        Ok::<_, Failed>(1)
    };
    let migration = with(ShadowSettings { sample: 0.0, ..ShadowSettings::default() });
    migration.read("get", ()).run(hangs).await.unwrap();
    assert_eq!(evidence(&migration).await.dropped[&Dropped::Sample], 1);

    let migration = with(ShadowSettings { running_max: 2, ..ShadowSettings::default() });
    for _ in 0..5 {
        migration.read("get", ()).run(hangs).await.unwrap();
    }
    let seen = evidence(&migration).await;
    assert_eq!((seen.dropped[&Dropped::Budget], seen.dropped[&Dropped::Deadline]), (3, 2));

    let migration = in_shadow();
    let fails = |side| async move { if side == Side::New { Err(Failed::Store("sick")) } else { Ok(1) } };
    for _ in 0..30 {
        assert_eq!(migration.read("get", ()).run(fails).await, Ok(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seen = evidence(&migration).await;
    assert_eq!((seen.errors_new, seen.dropped[&Dropped::Breaker]), (20, 10));

    let migration = in_shadow();
    let read = migration.read("get", ()).run(|_| std::future::pending::<Result<(), Failed>>());
    tokio::time::timeout(Duration::from_millis(1), read).await.unwrap_err();
    assert_eq!(evidence(&migration).await.dropped[&Dropped::CallerGone], 1);
}

#[tokio::test(start_paused = true)]
async fn in_old_and_new_nothing_is_shadowed_and_every_error_is_counted() {
    let migration = Migration::standalone("bookings", Phase::New);
    for n in 0..128 {
        let call = move |side| async move {
            assert_eq!(side, Side::New);
            if n % 64 == 0 { Err(Failed::Store("gone")) } else { Ok(n) }
        };
        let _ = migration.read("get", ("booking", n)).run(call).await;
    }
    let seen = migration.evidence().operations[0].cohorts[&Cohort::Treatment].clone();
    assert_eq!((seen.new.calls, seen.new.failed, seen.old.calls), (128, 2, 0));
}
