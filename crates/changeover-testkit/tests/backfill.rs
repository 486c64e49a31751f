//! The backfill and the drain of a log over stores in memory: under writers, with crashes at every fault point, in
//! both directions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::sync::Arc;

use changeover::engine::{Backfill, BackfillOptions, Coverage, Drain, DrainOptions};
use changeover::faults::{Fault, FaultPlan};
use changeover::store::Store;
use changeover::store::capture::CaptureOptions;
use changeover::value::{Key, Value};
use changeover_protocol::Side;
use changeover_protocol::chunk::Reading;
use changeover_protocol::fault::{Area, FaultPoint};
use changeover_testkit::memory::Weather;
use changeover_testkit::{Collation, MemoryStore};

use common::{TABLE, World, row};

/// Small chunks, so that a few hundred rows make many of them.
fn small() -> BackfillOptions {
    BackfillOptions { chunk_rows_max: 16, ..BackfillOptions::default() }
}

async fn copied(world: &World, toward: Side, generation: u64) -> u64 {
    world.links.cover(toward, Coverage::Generation(generation));
    let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), toward, generation, small());
    let report = backfill.run().await.unwrap();
    assert!(Backfill::is_complete(&world.links, toward, generation).await.unwrap());
    report.progress.rows()
}

#[tokio::test(start_paused = true)]
async fn all_rows_arrive_and_none_twice() {
    for collation in [Collation::Binary, Collation::Backwards] {
        let world = World::new(collation);
        world.fill(500);
        assert_eq!(copied(&world, Side::New, 1).await, 500);
        world.assert_level();
        let (again, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, small());
        assert_eq!(again.run().await.unwrap().progress.rows(), 500, "a complete generation copies nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_table_has_one_chunk() {
    let world = World::new(Collation::Binary);
    assert_eq!(copied(&world, Side::New, 1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_has_rows_loses_what_the_authority_lacks() {
    for collation in [Collation::Binary, Collation::Backwards] {
        for reading in [Reading::Logged, Reading::Guarded] {
            let world = World::new(collation);
            world.fill(100);
            for n in [-5_i64, 3, 50, 99, 100, 400] {
                world.new.damage_put(TABLE, row(n, "STALE", "x"));
            }
            world.links.cover(Side::New, Coverage::Generation(1));
            let options = BackfillOptions { reading: Some(reading), ..small() };
            let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, options);
            backfill.run().await.unwrap();
            world.assert_level();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_back_fills_the_old_side_and_leaves_alone_what_is_right() {
    let world = World::new(Collation::Binary);
    world.fill(60);
    copied(&world, Side::New, 1).await;
    // `Ok` is `OK` on the new side, and would be `ok` if it were written back.
    world.old.damage_put(TABLE, row(7, "Ok", "a"));
    world.new.damage_put(TABLE, row(7, "OK", "a"));
    world.new.damage_put(TABLE, row(8, "CHANGED", "b"));
    world.new.damage_delete(&Key::new(TABLE, 9_i64));
    world.new.damage_put(TABLE, row(1_000, "NEW", "c"));
    copied(&world, Side::Old, 2).await;
    world.assert_level();
    assert_eq!(world.old.raw_row(&Key::new(TABLE, 7_i64)).unwrap(), row(7, "Ok", "a"));
    assert_eq!(world.old.raw_row(&Key::new(TABLE, 8_i64)).unwrap(), row(8, "changed", "b"));
    assert!(world.old.raw_row(&Key::new(TABLE, 9_i64)).is_none());
}

#[tokio::test(start_paused = true)]
async fn unique_values_that_rows_exchanged_find_their_places() {
    for cycle in [2_i64, 3, 20] {
        let world = World::unique(Collation::Binary);
        world.fill(100);
        // The follower has them from before they were exchanged, across chunks.
        for n in 0..cycle {
            world.new.damage_put(TABLE, row(n * 5, "S", &format!("mail-{}", ((n + 1) % cycle) * 5)));
        }
        copied(&world, Side::New, 1).await;
        world.assert_level();
    }
}

/// Writers at work while the copy and the drain run, and the process dies at one point after another.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_fault_point_loses_and_resurrects_nothing() {
    let points = FaultPoint::ALL.iter().filter(|point| matches!(point.area(), Area::Claim | Area::Chunk));
    for (seed, point) in points.enumerate() {
        for nth in [1, 2, 7] {
            for collation in [Collation::Binary, Collation::Backwards] {
                let plan = FaultPlan::new().with(*point, nth, Fault::Error).install();
                run_under_writers(World::unique(collation), seed as u64 * 31 + nth).await;
                assert!(plan.passed(*point) >= nth, "{point} was come by {} times", plan.passed(*point));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rough_weather_loses_and_resurrects_nothing() {
    for seed in 0..12 {
        let world = World::unique(if seed % 2 == 0 { Collation::Binary } else { Collation::Backwards });
        world.old.set_weather(Weather::rough(seed, 0.02));
        world.new.set_weather(Weather::rough(seed + 100, 0.02));
        run_under_writers(world, seed).await;
    }
}

/// Copies and drains under writers. Errors end the run of either, as a crash would, and they are begun anew.
async fn run_under_writers(world: World, seed: u64) {
    world.fill(150);
    let log = world.old.capture().unwrap();
    while log.install(CaptureOptions { bound: 1_000_000, overflow: true }).await.is_err() {}
    world.links.cover(Side::New, Coverage::Generation(1));
    let writer = tokio::spawn(common::write_for_a_while(world.old.clone(), seed, 300));
    let drains: Vec<_> = (0..2)
        .map(|_| {
            let source: Arc<dyn Store> = Arc::new(world.old.clone());
            let options = DrainOptions { batch: 8, ..DrainOptions::default() };
            let (drain, handle) = Drain::new(Arc::clone(&world.links), source, options).unwrap();
            (tokio::spawn(drain.run()), handle)
        })
        .collect();
    loop {
        let options = BackfillOptions { failures_max: 0, ..small() };
        let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, options);
        match backfill.run().await {
            Ok(_) => break,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
    writer.await.unwrap();
    common::until_drained(&world.old).await;
    for (drain, handle) in drains {
        handle.stop();
        drain.await.unwrap();
    }
    world.assert_level();
}

#[tokio::test(start_paused = true)]
async fn a_pause_begins_no_chunk_and_a_resume_goes_on() {
    let world = World::new(Collation::Binary);
    world.fill(200);
    world.links.cover(Side::New, Coverage::Generation(1));
    let (backfill, handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, small());
    handle.pause();
    let run = tokio::spawn(backfill.run());
    let mut shown = handle.subscribe();
    shown.wait_for(|progress| progress.paused).await.unwrap();
    assert!(world.new.rows(TABLE).is_empty());
    handle.resume();
    assert_eq!(run.await.unwrap().unwrap().progress.rows(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_kept() {
    let world = World::new(Collation::Binary);
    world.fill(1_000);
    world.links.cover(Side::New, Coverage::Generation(1));
    let options = BackfillOptions { rows_per_second_max: Some(100), ..small() };
    let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, options);
    let seconds = backfill.run().await.unwrap().took.as_secs_f64();
    assert!((9.0..12.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_refused_is_named_and_the_rest_arrives() {
    let world = World::refusing(|row| {
        (row.0[0] == Value::Int(5)).then(|| ("state".to_owned(), "too good for this side".to_owned()))
    });
    world.fill(20);
    world.links.cover(Side::New, Coverage::Generation(1));
    let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, small());
    let report = backfill.run().await.unwrap();
    assert_eq!(report.progress.rows(), 19);
    assert_eq!(report.refusals.len(), 1);
    assert_eq!(report.refusals[0].key, Key::new(TABLE, 5_i64));
    assert_eq!(world.new.rows(TABLE).len(), 19);
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_transactions_is_filled_key_by_key() {
    let world = World::conditional();
    world.fill(50);
    world.new.damage_put(TABLE, row(900, "STALE", "x"));
    let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, small());
    backfill.run().await.unwrap();
    world.assert_level();
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_was_ended_writes_nothing_more() {
    for reading in [Reading::Logged, Reading::Guarded] {
        let world = World::new(Collation::Binary);
        world.fill(200);
        world.links.cover(Side::New, Coverage::Generation(1));
        let new: MemoryStore = world.new.clone();
        let forget = Fault::call(move || {
            let new = new.clone();
            async move { new.guarded().unwrap().forget_generations_below(2).await.unwrap() }
        });
        let _plan = FaultPlan::new().with(FaultPoint::ChunkRead, 3, forget).install();
        let options = BackfillOptions { reading: Some(reading), ..small() };
        let (backfill, _handle) = Backfill::new(Arc::clone(&world.links), Side::New, 1, options);
        let error = backfill.run().await.unwrap_err();
        assert!(error.to_string().contains("generation is over"), "{error}");
        assert_eq!(world.new.rows(TABLE).len(), 32);
    }
}
