//! Writes: both sides have them when they are acknowledged, and a follower that is sick loses nothing and stops nobody.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use changeover::event::Event;
use changeover::keyed::RouteBy;
use changeover::protocol::Step;
use changeover::write::Ack;
use changeover::{Key, Phase, Refused, Side};
use common::{Failed, Mood, Stores, builder, registered, write};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_is_on_both_sides_and_its_journal_is_empty() {
    let stores = Stores::new();
    let migration = builder(&stores).standalone(Phase::Shadow);
    write(&migration, &stores, 1, 7).await.unwrap();
    assert_eq!((stores.get(Side::Old, 1), stores.get(Side::New, 1)), (Some(7), Some(7)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(migration.vitals().dirty_keys, 0);
}

#[tokio::test(start_paused = true)]
async fn in_reverse_shadow_the_new_side_is_written_first_and_in_new_alone() {
    let stores = Stores::new();
    let migration = builder(&stores).standalone(Phase::ReverseShadow);
    write(&migration, &stores, 1, 7).await.unwrap();
    assert!(stores.is_level() && stores.get(Side::New, 1) == Some(7));
    let migration = builder(&stores).standalone(Phase::New);
    write(&migration, &stores, 2, 8).await.unwrap();
    assert_eq!((stores.get(Side::Old, 2), stores.get(Side::New, 2)), (None, Some(8)));
}

/// What a sick follower does to a write: how long the caller waited, and what it was told.
async fn with_sick_follower(mood: Mood, ack: Ack) -> (Duration, Result<(), Failed>, Arc<Stores>, Vec<Event>) {
    let stores = Stores::new();
    stores.mood(mood);
    let migration = builder(&stores).ack(ack).standalone(Phase::Shadow);
    let mut events = migration.events().listen();
    let began = Instant::now();
    let told = write(&migration, &stores, 1, 7).await;
    let waited = began.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told_events = Vec::new();
    while let Ok(event) = events.try_recv() {
        told_events.push(event);
    }
    assert_eq!(stores.get(Side::Old, 1), Some(7), "the authority has it in any case");
    (waited, told, stores, told_events)
}

#[tokio::test(start_paused = true)]
async fn with_ack_both_a_sick_follower_costs_the_deadline_and_leaves_the_key_dirty_with_an_alert() {
    for mood in [Mood::Hangs, Mood::Fails, Mood::Panics] {
        let (waited, told, stores, events) = with_sick_follower(mood, Ack::Both).await;
        assert_eq!(told, Ok(()), "{mood:?}");
        assert!(waited <= Duration::from_millis(1_005), "{mood:?} {waited:?}");
        assert_eq!(stores.dirty_keys().into_iter().collect::<Vec<_>>(), ["booking(1)"]);
        let is_alert = |event: &Event| matches!(event, Event::LeftDirty { keys: 1, .. });
        assert!(events.iter().any(is_alert), "{mood:?} {events:?}");
        stores.mood(Mood::Well);
        stores.repair(Side::Old);
        assert!(stores.is_level() && stores.journal.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn with_ack_authority_the_caller_does_not_wait_for_the_follower() {
    let (waited, told, stores, _) = with_sick_follower(Mood::Hangs, Ack::Authority).await;
    assert_eq!((waited, told), (Duration::ZERO, Ok(())));
    assert_eq!(stores.dirty_keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_ack_both_or_error_the_caller_is_told_that_the_outcome_is_not_known() {
    let (_, told, stores, _) = with_sick_follower(Mood::Hangs, Ack::BothOrError).await;
    let Err(Failed::Refused(refused)) = told else { panic!("{told:?}") };
    assert!(refused.outcome_unknown() && !refused.retryable());
    assert_eq!(stores.dirty_keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_no_write_and_is_an_unclean_event() {
    let stores = Stores::new();
    *stores.journal_fails.lock().unwrap() = true;
    let migration = builder(&stores).standalone(Phase::Shadow);
    write(&migration, &stores, 1, 7).await.unwrap();
    assert!(stores.is_level());
    assert_eq!(migration.events().unclean(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_callers_only_when_the_authoritys_closure_panicked() {
    let stores = Stores::new();
    let migration = builder(&stores).standalone(Phase::Shadow);
    let caller = {
        let (migration, stores) = (migration.clone(), Arc::clone(&stores));
        tokio::spawn(async move {
            migration
                .write("booking.put", ("booking", 1))
                .run(move |side| async move {
                    stores.put(side, 1, 7);
                    assert!(side == Side::New, "planted");
                    Ok::<_, Failed>(())
                })
                .await
        })
    };
    assert!(caller.await.unwrap_err().is_panic());
    // What it did before it panicked is kept in step all the same, and looked at again later.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(stores.is_level());
    let dirty = stores.dirty.lock().unwrap();
    assert_eq!(dirty[0].2, Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn an_error_leaves_the_keys_dirty_unless_it_is_declared_as_settled() {
    for (settled, dirty) in [(true, 0), (false, 1)] {
        let stores = Stores::new();
        let migration = builder(&stores).standalone(Phase::Shadow);
        let told = migration
            .write("booking.put", ("booking", 1))
            .settled(move |error: &Failed| settled && *error == Failed::Store("unique"))
            .run(|_| async { Err::<(), _>(Failed::Store("unique")) })
            .await;
        assert_eq!(told, Err(Failed::Store("unique")));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(stores.dirty_keys().len(), dirty);
        assert_eq!(stores.journal.lock().unwrap().len(), dirty);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_the_database_generates_are_levelled_too() {
    let stores = Stores::new();
    let migration = builder(&stores).standalone(Phase::Shadow);
    let rows = Arc::clone(&stores);
    let id = migration
        .write("booking.create", ())
        .run_keyed(move |side| async move {
            rows.put(side, 99, 1);
            Ok::<_, Failed>((99, ("booking", 99)))
        })
        .await
        .unwrap();
    assert_eq!(id, 99);
    assert!(stores.is_level());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(stores.journal.lock().unwrap().is_empty());
    let refused = migration.write("booking.create", ()).run(|_| async { Ok::<_, Failed>(()) }).await;
    assert!(matches!(refused, Err(Failed::Refused(Refused::NoKey { .. }))));
}

#[tokio::test(start_paused = true)]
async fn one_write_takes_the_keys_of_one_slot() {
    let stores = Stores::new();
    let ok = |_| async { Ok::<_, Failed>(()) };
    let migration = builder(&stores).standalone(Phase::Old);
    let refused = migration.write("swap", [("booking", 1), ("booking", 2)]).run(ok).await;
    assert!(matches!(refused, Err(Failed::Refused(Refused::SlotsDiffer { .. }))), "{refused:?}");
    migration.write("swap", [("booking", 1), ("booking", 2)]).route_by("customer-10").run(ok).await.unwrap();
    let migration = builder(&stores).route("seat", RouteBy::KeyValue(0)).standalone(Phase::Old);
    migration.write("swap", [("seat", 7, "A"), ("seat", 7, "B")]).run(ok).await.unwrap();
    let migration = builder(&stores).moves_all_keys_at_once().standalone(Phase::Old);
    migration.write("swap", vec![Key::new("booking", 1), Key::new("booking", 2)]).run(ok).await.unwrap();
}

/// Polls a write so many times and drops it. Whether it was done before.
async fn dropped_after(polls: usize, stores: &Arc<Stores>, migration: &changeover::Migration) -> bool {
    let mut future = Box::pin(write(migration, stores, 1, 7));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            return true;
        }
        // Everybody else gets to run in between: the write's task goes one step on.
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_write_cancelled_at_any_await_leaves_nothing_apart() {
    for mood in [Mood::Well, Mood::Hangs, Mood::Fails] {
        let mut done = false;
        for polls in 0..40 {
            let stores = Stores::new();
            stores.mood(mood);
            let (migration, handle) = registered(builder(&stores), Step::Shadow);
            done |= dropped_after(polls, &stores, &migration).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            // Either it never began, or it is on both sides, or its key is known to be dirty.
            let began = stores.get(Side::Old, 1).is_some();
            assert_eq!(began, polls > 0, "{mood:?} {polls}");
            assert!(stores.is_level() || stores.dirty_keys().contains("booking(1)"), "{mood:?} {polls}");
            // And nothing is left running: the next step is acknowledged.
            handle.offer(common::target(2, Step::HoldOld)).await.unwrap();
            handle.acknowledged().wait_for(|version| version.0 == 2).await.unwrap();
        }
        // A sick follower is waited for by the clock, which stands still between the polls.
        assert_eq!(done, mood == Mood::Well, "{mood:?}: forty polls reach the end of a write");
    }
}
