//! Large rows: what is held in memory at once is bounded by bytes, and not only by the number of keys.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::sync::Arc;

use changeover::engine::{Fate, Verification, VerifyOptions};
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::value::Key;
use changeover_protocol::Side;
use changeover_testkit::Collation;

use common::{TABLE, World, row};

const ROWS: i64 = 9;
const ROW: usize = 3 << 20;
/// The bound, and the row that passes it.
const HELD: usize = (8 << 20) + ROW + 4_096;

fn large(of: &str) -> String {
    of.repeat(ROW / of.len())
}

fn keys() -> Vec<Key> {
    (0..ROWS).map(|id| Key::new(TABLE, id)).collect()
}

fn assert_bounded(world: &World, doing: &str) {
    for store in [&world.old, &world.new] {
        let held = store.largest_read();
        assert!(held <= HELD, "{doing}: {held} bytes at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_of_large_rows_holds_few_of_them_and_syncs_all() {
    for authority in [Side::Old, Side::New] {
        let world = World::new(Collation::Binary);
        let from = if authority == Side::Old { &world.old } else { &world.new };
        let state = if authority == Side::Old { "booked" } else { "BOOKED" };
        for id in 0..ROWS {
            from.damage_put(TABLE, row(id, state, &large("m")));
        }
        let synced = world.links.sync(authority, &keys()).await.unwrap();
        assert!(synced.fates.iter().all(|fate| *fate == Fate::Synced), "{:?}", synced.fates);
        assert_eq!(synced.written, ROWS as u64);
        world.assert_level();
        assert_bounded(&world, "sync");
        assert!(world.old.largest_read().max(world.new.largest_read()) > ROW, "several at once");
    }
}

/// Rows that exchange a unique value go together, however large they are.
#[tokio::test(start_paused = true)]
async fn large_rows_that_exchange_a_unique_value_are_synced_too() {
    let world = World::unique(Collation::Binary);
    let mail = |n: i64| format!("{n}{}", large("m"));
    for id in 0..ROWS {
        world.old.damage_put(TABLE, row(id, "booked", &mail((id + 1) % ROWS)));
        world.new.damage_put(TABLE, row(id, "BOOKED", &mail(id)));
    }
    let synced = world.links.sync(Side::Old, &keys()).await.unwrap();
    assert!(synced.fates.iter().all(|fate| *fate == Fate::Synced), "{:?}", synced.fates);
    world.assert_level();
}

/// With a log, and so under guards, and without one; missing, differing and extra rows.
#[tokio::test(start_paused = true)]
async fn a_verification_of_large_rows_holds_few_of_them_and_finds_every_difference() {
    for collation in [Collation::Binary, Collation::Backwards] {
        for captured in [true, false] {
            let world = World::new(collation);
            if captured {
                world.old.install(CaptureOptions { bound: 1_000, overflow: true }).await.unwrap();
            }
            for id in 0..ROWS {
                // The new side's rows are the large ones: how many fit isn't known from the old side's.
                world.old.damage_put(TABLE, row(id, "booked", "small"));
                world.new.damage_put(TABLE, row(id, "BOOKED", &large("n")));
            }
            let options = VerifyOptions { differences_kept: 3, ..VerifyOptions::new(Side::Old) };
            let report = Verification::new(Arc::clone(&world.links), options).0.run().await.unwrap();
            assert_eq!(report.tables[0].differing, ROWS as u64, "{report:?}");
            assert_bounded(&world, "verification");
        }
    }
}
