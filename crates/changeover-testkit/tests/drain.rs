//! The draining of a log, alone: its order, its patience, its lock; and that a dual write syncs exactly what it claimed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::Value;
use changeover::engine::{
    Coverage, Drain, DrainHandle, DrainOptions, Fate, Links, TableMirror, drain_under_lock,
};
use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover::mirror::Mirror;
use changeover::store::Store;
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::Fence;
use changeover::store::guard::{Chunk, ChunkState, Guarded, Scope};
use changeover::value::Key;
use changeover_protocol::Side;
use changeover_protocol::fault::FaultPoint;
use changeover_testkit::Collation;
use changeover_testkit::memory::Weather;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use common::{TABLE, World, row};

async fn captured(world: &World) {
    world.old.install(CaptureOptions { bound: 1_000_000, overflow: true }).await.unwrap();
}

fn drain(world: &World) -> (JoinHandle<()>, DrainHandle) {
    let source: Arc<dyn Store> = Arc::new(world.old.clone());
    let (drain, handle) = Drain::new(Arc::clone(&world.links), source, DrainOptions::default()).unwrap();
    (tokio::spawn(drain.run()), handle)
}

fn key(id: i64) -> Key {
    Key::new(TABLE, id)
}

#[tokio::test(start_paused = true)]
async fn a_number_that_becomes_visible_late_is_not_skipped() {
    let world = World::new(Collation::Binary);
    captured(&world).await;
    let mut slow = world.old.begin_write().await;
    slow.put(TABLE, row(1, "slow", "a"));
    world.old.put(TABLE, row(2, "fast", "b")).await.unwrap();
    let (_drain, _handle) = drain(&world);
    common::until_drained(&world.old).await;
    assert_eq!(world.new.rows(TABLE), [row(2, "FAST", "b")]);
    slow.commit().unwrap();
    common::until_drained(&world.old).await;
    world.assert_level();
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_stays_dirty_and_named_and_the_rest_goes_on() {
    let world = World::refusing(|row| {
        let refused = row.0[1] == Value::Text("BAD".into());
        refused.then(|| ("state".to_owned(), "no such state here".to_owned()))
    });
    captured(&world).await;
    let (_drain, handle) = drain(&world);
    world.old.put(TABLE, row(1, "bad", "a")).await.unwrap();
    for id in 2..50 {
        world.old.put(TABLE, row(id, "good", "b")).await.unwrap();
    }
    let mut status = handle.subscribe();
    status.wait_for(|status| status.synced == 48 && status.depth.entries == 1).await.unwrap();
    let shown = handle.status();
    assert_eq!((shown.refused, &shown.refusals[0].key), (1, &key(1)));
    assert_eq!(shown.refusals[0].why, "no such state here");
    // It is tried again, but seldom.
    world.new.set_weather(Weather::slow(Duration::from_millis(1)));
    let plan = FaultPlan::new().install();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let tries = plan.passed(FaultPoint::ClaimGuardTaken);
    assert!((5..=40).contains(&tries), "{tries} tries in an hour");
    // Its next change is tried at once.
    let changed = Instant::now();
    world.old.put(TABLE, row(1, "good", "a")).await.unwrap();
    common::until_drained(&world.old).await;
    assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
    world.assert_level();
}

async fn mark(world: &World, state: ChunkState) {
    let chunk = Chunk {
        table: TABLE.into(),
        generation: 1,
        number: 0,
        after: None,
        upto: Some(key(100)),
        state,
        rows: 0,
    };
    let mut tx = world.new.begin(Scope::Marks).await.unwrap();
    tx.mark(&chunk).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_dropped_given_back_or_synced_by_its_chunks_state() {
    for collation in [Collation::Binary, Collation::Backwards] {
        let world = World::new(collation);
        captured(&world).await;
        world.links.cover(Side::New, Coverage::Generation(1));
        // In both orders, 500 and 5 lie on different sides of the bound.
        let (inside, beyond) = if collation == Collation::Binary { (5, 500) } else { (500, 5) };
        mark(&world, ChunkState::Begun).await;
        world.old.put(TABLE, row(inside, "in", "a")).await.unwrap();
        world.old.put(TABLE, row(beyond, "beyond", "b")).await.unwrap();
        let (_drain, handle) = drain(&world);
        let mut status = handle.subscribe();
        status.wait_for(|status| status.deferred == 1 && status.left_to_backfill == 1).await.unwrap();
        assert_eq!(world.old.logged().len(), 1, "the one waits, the other was dropped");
        assert!(world.new.rows(TABLE).is_empty());
        mark(&world, ChunkState::Done).await;
        common::until_drained(&world.old).await;
        assert_eq!(world.new.rows(TABLE), [row(inside, "IN", "a")]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_and_what_came_meanwhile_is_synced() {
    let world = World::new(Collation::Binary);
    captured(&world).await;
    world.new.set_weather(Weather { failing: 1.0, ..Weather::default() });
    let (_drain, handle) = drain(&world);
    world.old.put(TABLE, row(1, "a", "a")).await.unwrap();
    let mut status = handle.subscribe();
    status.wait_for(|status| status.error.is_some()).await.unwrap();
    let plan = FaultPlan::new().install();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = plan.passed(FaultPoint::ClaimTaken);
    assert!((60..=250).contains(&tries), "{tries} tries in ten minutes");
    world.new.set_weather(Weather::default());
    common::until_drained(&world.old).await;
    status.wait_for(|status| status.error.is_none()).await.unwrap();
    world.assert_level();
}

#[tokio::test(start_paused = true)]
async fn an_overflow_is_seen() {
    let world = World::new(Collation::Binary);
    world.old.install(CaptureOptions { bound: 10, overflow: true }).await.unwrap();
    for id in 0..30 {
        world.old.put(TABLE, row(id, "a", "a")).await.unwrap();
    }
    let (_drain, handle) = drain(&world);
    handle.subscribe().wait_for(|status| status.looked && status.depth.entries == 0).await.unwrap();
    assert!(
        handle.status().depth.overflowed,
        "the rows that weren't logged are missing: {:?}",
        handle.status()
    );
    assert!(world.new.rows(TABLE).len() < 30);
}

#[tokio::test(start_paused = true)]
async fn the_locks_holder_drains_to_the_end_or_says_what_is_left() {
    let world = World::refusing(|row| (row.0[0] == Value::Int(3)).then(|| ("id".into(), "no".into())));
    captured(&world).await;
    for id in 0..2_000 {
        world.old.put(TABLE, row(id, "a", &format!("m{id}"))).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut lock = world.old.lock(Duration::from_secs(1), Duration::from_secs(30)).await.unwrap();
    let drained = drain_under_lock(&world.links, Side::Old, lock.as_mut(), deadline).await.unwrap();
    assert_eq!((drained.synced, drained.refused.len(), drained.in_time), (1_999, 1, true));
    assert!(!drained.is_empty());
    drop(lock);
    assert_eq!(
        world.old.logged().len(),
        2_000,
        "what was discarded under a lock that was given up is there again"
    );
    let mut lock = world.old.lock(Duration::from_secs(1), Duration::from_secs(30)).await.unwrap();
    let late = drain_under_lock(&world.links, Side::Old, lock.as_mut(), Instant::now()).await.unwrap();
    assert!(!late.in_time);
}

/// A change that is logged between a dual write's claim and its sync isn't discarded by it.
#[tokio::test(start_paused = true)]
async fn a_dual_write_discards_only_what_it_claimed() {
    let world = World::new(Collation::Binary);
    captured(&world).await;
    let mirror = TableMirror::new(Arc::clone(&world.links));
    world.old.put(TABLE, row(1, "first", "a")).await.unwrap();
    let pause = PausedAt::default();
    FaultPlan::new().with(FaultPoint::ClaimAuthorityRead, 1, Fault::Pause(pause.clone())).install();
    let levelling = tokio::spawn(async move { mirror.level(Side::Old, &[key(1)]).await });
    pause.reached().await;
    world.old.put(TABLE, row(1, "second", "a")).await.unwrap();
    pause.go_on();
    assert_eq!(levelling.await.unwrap().unwrap().synced, 1);
    assert_eq!(world.old.logged().len(), 1, "the second change is dirty still");
    let mirror = TableMirror::new(Arc::clone(&world.links));
    assert!(mirror.is_dirty(&key(1)).await);
    assert_eq!(mirror.level(Side::Old, &[key(1)]).await.unwrap().synced, 1);
    assert!(!mirror.is_dirty(&key(1)).await);
    world.assert_level();
}

/// A process that was paused under the guard can't put an older value later: the other one waits.
#[tokio::test(start_paused = true)]
async fn a_paused_sync_puts_nothing_stale() {
    let world = World::new(Collation::Binary);
    world.old.put(TABLE, row(1, "first", "a")).await.unwrap();
    let pause = PausedAt::default();
    FaultPlan::new().with(FaultPoint::ClaimAuthorityRead, 1, Fault::Pause(pause.clone())).install();
    let links: Arc<Links> = Arc::clone(&world.links);
    let paused = tokio::spawn(async move { links.sync(Side::Old, &[key(1)]).await });
    pause.reached().await;
    world.old.put(TABLE, row(1, "second", "a")).await.unwrap();
    let busy = world.links.sync(Side::Old, &[key(1)]).await;
    assert!(busy.is_err_and(|error| error.retryable()), "the guard is held");
    pause.go_on();
    paused.await.unwrap().unwrap();
    world.links.sync(Side::Old, &[key(1)]).await.unwrap();
    world.assert_level();
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_that_was_overtaken_goes_round_again() {
    let world = World::conditional();
    world.old.put(TABLE, row(1, "first", "a")).await.unwrap();
    let pause = PausedAt::default();
    FaultPlan::new().with(FaultPoint::ClaimAuthorityRead, 1, Fault::Pause(pause.clone())).install();
    let links: Arc<Links> = Arc::clone(&world.links);
    let paused = tokio::spawn(async move { links.sync(Side::Old, &[key(1)]).await });
    pause.reached().await;
    world.old.put(TABLE, row(1, "second", "a")).await.unwrap();
    world.links.sync(Side::Old, &[key(1)]).await.unwrap();
    pause.go_on();
    paused.await.unwrap().unwrap();
    world.assert_level();
}

/// A sync of key 1 that waits for its guard, while this is said and done.
async fn while_it_waits_for_its_guard(
    before: Coverage,
    meanwhile: impl AsyncFnOnce(&World),
) -> (World, Fate) {
    let world = World::new(Collation::Binary);
    captured(&world).await;
    world.old.put(TABLE, row(1, "now", "a")).await.unwrap();
    world.links.cover(Side::New, before);
    let held = world.new.begin(Scope::Keys(&[key(1)])).await.unwrap();
    let links = Arc::clone(&world.links);
    let sync = tokio::spawn(async move { links.sync(Side::Old, &[key(1)]).await });
    // Time passes only once everybody waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
    meanwhile(&world).await;
    drop(held);
    let fate = sync.await.unwrap().unwrap().fates.remove(0);
    (world, fate)
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_begins_while_a_sync_waits_for_its_guard_is_heeded() {
    let (world, fate) = while_it_waits_for_its_guard(Coverage::All, async |world| {
        world.links.cover(Side::New, Coverage::Generation(1));
        mark(world, ChunkState::Begun).await;
    })
    .await;
    assert_eq!(fate, Fate::Deferred, "what the chunk has read may be older, and is written later");
    assert!(world.new.rows(TABLE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_ends_while_a_sync_waits_for_its_guard_keeps_no_key_back() {
    let (world, fate) = while_it_waits_for_its_guard(Coverage::Generation(1), async |world| {
        world.links.cover(Side::New, Coverage::All);
    })
    .await;
    assert_eq!(fate, Fate::Synced, "no backfill is to come that would read it");
    world.assert_level();
}
