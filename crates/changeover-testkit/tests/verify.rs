//! Verification and repair over stores in memory: what is damaged is always found, what is only late never counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{
    Backfill, BackfillOptions, DifferenceKind, Drain, DrainOptions, Verification, VerifyOptions,
    VerifyReport, repair,
};
use changeover::store::capture::CaptureOptions;
use changeover::store::{BatchBudget, Store};
use changeover::value::Key;
use changeover_protocol::Side;
use changeover_testkit::memory::Weather;
use changeover_testkit::{Collation, Random};
use proptest::prelude::*;

use common::{TABLE, World, row};

/// By rows alone, and by digests of so many.
const ROADS: [Option<u64>; 2] = [None, Some(16)];

fn options(authority: Side, segment_rows: u64) -> VerifyOptions {
    by(None, authority, segment_rows)
}

fn by(digest_rows: Option<u64>, authority: Side, segment_rows: u64) -> VerifyOptions {
    let batch = BatchBudget { rows: 7, bytes: 1 << 20 };
    VerifyOptions { segment_rows, batch, digest_rows, ..VerifyOptions::new(authority) }
}

async fn verified(world: &World, options: VerifyOptions) -> VerifyReport {
    Verification::new(Arc::clone(&world.links), options).0.run().await.unwrap()
}

async fn level(collation: Collation, rows: i64) -> World {
    let world = World::new(collation);
    world.fill(rows);
    let (backfill, _handle) =
        Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
    backfill.run().await.unwrap();
    world.old.compute_digests();
    world.new.compute_digests();
    world
}

#[tokio::test(start_paused = true)]
async fn what_is_the_same_is_clean_and_all_of_it_was_compared() {
    for collation in [Collation::Binary, Collation::Backwards] {
        let world = level(collation, 100).await;
        for road in ROADS {
            let report = verified(&world, by(road, Side::Old, 30)).await;
            assert!(report.is_clean(), "{report:?}");
            let table = &report.tables[0];
            assert_eq!((table.rows_old, table.rows_new, table.compared), (100, 100, 100));
            let by_digest = road.is_some() && collation == Collation::Binary;
            assert_eq!(table.by_digest, if by_digest { 100 } else { 0 });
            assert!(!report.both_sides_empty());
        }
    }
    assert!(verified(&World::new(Collation::Binary), options(Side::Old, 30)).await.both_sides_empty());
}

/// Changed, missing, extra; on either side; in the first, the last, the only segment; either authority.
#[tokio::test(start_paused = true)]
async fn deliberate_damage_is_always_found_and_repaired() {
    use DifferenceKind::{Differing, Extra, Missing};
    for collation in [Collation::Binary, Collation::Backwards] {
        for (rows, segment, road) in
            [(100, 10, None), (100, 1_000, None), (1, 1_000, None), (100, 40, ROADS[1]), (1, 1_000, ROADS[1])]
        {
            for at in [0, rows / 2, rows - 1] {
                for authority in [Side::Old, Side::New] {
                    for damage in [Differing, Missing, Extra] {
                        let world = level(collation, rows).await;
                        let follower = if authority == Side::Old { &world.new } else { &world.old };
                        let key = match damage {
                            Extra => Key::new(TABLE, [-1, rows][(at % 2) as usize]),
                            _ => Key::new(TABLE, at),
                        };
                        let id = match &key.values()[0] {
                            changeover::Value::Int(n) => *n,
                            other => panic!("{other}"),
                        };
                        match damage {
                            Missing => follower.damage_delete(&key),
                            _ => follower.damage_put(TABLE, row(id, "DAMAGED", "damaged")),
                        }
                        let report = verified(&world, by(road, authority, segment)).await;
                        let case =
                            format!("{collation:?} {rows} {segment} {road:?} {at} {authority} {damage}");
                        assert_eq!(report.differences.len(), 1, "{case}: {report:?}");
                        let found = &report.differences[0];
                        assert_eq!((&found.key, found.kind), (&key, damage), "{case}");
                        let named: Vec<&str> = found.columns.iter().map(|c| c.column.as_str()).collect();
                        let expected: &[&str] =
                            if damage == Differing { &["state", "mail"] } else { &["id", "state", "mail"] };
                        assert_eq!(named, expected, "{case}");
                        let repaired =
                            repair(&world.links, &report.differences, &options(authority, segment)).await;
                        assert!(repaired.unwrap().is_clean(), "{case}");
                        assert!(verified(&world, by(road, authority, segment)).await.is_clean(), "{case}");
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_only_late_are_no_differences_and_damage_among_them_is() {
    let all =
        [(1, Collation::Binary, None), (2, Collation::Backwards, None), (3, Collation::Binary, ROADS[1])];
    for (seed, collation, road) in all {
        let world = World::unique(collation);
        world.old.compute_digests();
        world.new.compute_digests();
        world.fill(200);
        let log = world.old.capture().unwrap();
        log.install(CaptureOptions { bound: 1_000_000, overflow: true }).await.unwrap();
        let (backfill, _handle) =
            Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
        backfill.run().await.unwrap();
        world.new.set_weather(Weather::slow(Duration::from_millis(3)));
        let source: Arc<dyn Store> = Arc::new(world.old.clone());
        let (drain, _drain_handle) =
            Drain::new(Arc::clone(&world.links), source, DrainOptions::default()).unwrap();
        let drain = tokio::spawn(drain.run());
        let writer = tokio::spawn(common::write_for_a_while(world.old.clone(), seed, 100_000));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let report = verified(&world, by(road, Side::Old, 50)).await;
        assert!(report.is_clean(), "{:?}", report.differences);
        let mut transient = report.tables[0].transient;
        for _ in 0..20 {
            let report = verified(&world, by(road, Side::Old, 50)).await;
            assert!(report.is_clean(), "{:?}", report.differences);
            transient += report.tables[0].transient;
        }
        assert!(transient > 0, "the writers were too slow for this test");
        // Beyond the keys that the writers touch.
        world.new.damage_put(TABLE, row(5_000, "DAMAGED", "nobody"));
        let report = verified(&world, by(road, Side::Old, 50)).await;
        assert_eq!(report.differences.len(), 1);
        assert_eq!(report.differences[0].key, Key::new(TABLE, 5_000_i64));
        writer.abort();
        drain.abort();
    }
}

/// A key that somebody writes without a pause, and whose mirror doesn't come by: it is dirty at each look.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_never_clean_is_compared_under_its_guard() {
    let world = level(Collation::Binary, 10).await;
    let log = world.old.capture().unwrap();
    log.install(CaptureOptions { bound: 1_000, overflow: true }).await.unwrap();
    world.old.put(TABLE, row(3, "changed", "m")).await.unwrap();
    let report = verified(&world, options(Side::Old, 50)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.tables[0].under_guard, 1);
    assert_eq!(
        world.new.raw_row(&Key::new(TABLE, 3_i64)).unwrap(),
        row(3, "BOOKED", "mail-3"),
        "nothing is written"
    );
}

/// The row and its write-back image are two reads: a change between them is no row that the old side refuses.
#[tokio::test(start_paused = true)]
async fn a_key_that_changes_while_it_is_compared_is_no_difference_and_damage_beside_it_is() {
    let world = level(Collation::Binary, 10).await;
    let log = world.new.capture().unwrap();
    log.install(CaptureOptions { bound: 1_000_000, overflow: true }).await.unwrap();
    world.new.set_weather(Weather::slow(Duration::from_millis(3)));
    let hot = world.new.clone();
    let writer = tokio::spawn(async move {
        for n in 0_u64.. {
            hot.put(TABLE, row(3, &format!("S{n}"), "m")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for _ in 0..20 {
        let report = verified(&world, options(Side::New, 50)).await;
        assert!(report.is_clean(), "{:?}", report.differences);
    }
    world.old.damage_put(TABLE, row(7, "damaged", "x"));
    let report = verified(&world, options(Side::New, 50)).await;
    assert_eq!(
        report.differences.iter().map(|d| d.key.clone()).collect::<Vec<_>>(),
        [Key::new(TABLE, 7_i64)]
    );
    writer.abort();
}

/// A row that waits in the log because the follower refuses it is named with the reason, and nothing else is said of it.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_never_clean_because_it_is_refused_is_named_with_the_reason() {
    let world = World::refusing(|row| {
        (row.0[1] == changeover::Value::from("NO")).then(|| ("state".to_owned(), "never".to_owned()))
    });
    world.fill(10);
    let (backfill, _handle) =
        Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
    backfill.run().await.unwrap();
    let log = world.old.capture().unwrap();
    log.install(CaptureOptions { bound: 1_000, overflow: true }).await.unwrap();
    world.old.put(TABLE, row(3, "no", "m")).await.unwrap();
    let report = verified(&world, options(Side::Old, 50)).await;
    assert_eq!((report.tables[0].refused, report.tables[0].differences()), (1, 1), "{report:?}");
    assert_eq!(report.differences[0].why.as_deref(), Some("never"));
}

/// What waits in the log is compared as a sync would leave it; with a value that another row keeps, it would leave nothing so.
#[tokio::test(start_paused = true)]
async fn a_row_that_waits_for_a_unique_value_is_equal_only_if_it_is_to_be_had() {
    let world = World::unique_on_the_new_side();
    world.fill(10);
    let (backfill, _handle) =
        Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
    backfill.run().await.unwrap();
    let log = world.old.capture().unwrap();
    log.install(CaptureOptions { bound: 1_000, overflow: true }).await.unwrap();
    // Exchanged, three ways.
    for (id, mail) in [(1, "mail-2"), (2, "mail-3"), (3, "mail-1")] {
        world.old.put(TABLE, row(id, "booked", mail)).await.unwrap();
    }
    let report = verified(&world, options(Side::Old, 50)).await;
    assert!(report.is_clean(), "{report:?}");
    // Row 8 keeps it, on both sides.
    world.old.put(TABLE, row(7, "booked", "mail-8")).await.unwrap();
    let report = verified(&world, options(Side::Old, 50)).await;
    let found: Vec<_> = report.differences.iter().map(|d| (d.key.clone(), d.kind)).collect();
    assert_eq!(found, [(Key::new(TABLE, 7_i64), DifferenceKind::Refused)], "{report:?}");
    assert!(report.differences[0].why.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_mapped_is_named_and_the_gate_stays_shut() {
    let world = World::refusing(|row| {
        (row.0[0] == changeover::Value::Int(5)).then(|| ("state".to_owned(), "no".to_owned()))
    });
    world.fill(20);
    let (backfill, _handle) =
        Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
    backfill.run().await.unwrap();
    let report = verified(&world, options(Side::Old, 50)).await;
    assert_eq!(report.tables[0].missing, 1);
    let repaired = repair(&world.links, &report.differences, &options(Side::Old, 50)).await.unwrap();
    assert!(!repaired.is_clean());
    assert_eq!(repaired.refused[0].why, "no");
}

#[tokio::test(start_paused = true)]
async fn a_verification_goes_on_from_its_checkpoint() {
    let roads = ROADS.into_iter().flat_map(|road| [(Collation::Binary, road), (Collation::Backwards, road)]);
    for (collation, road) in roads {
        let world = level(collation, 100).await;
        world.new.damage_delete(&Key::new(TABLE, 4_i64));
        world.new.damage_delete(&Key::new(TABLE, 96_i64));
        let whole = verified(&world, by(road, Side::Old, 20)).await;
        let slow = VerifyOptions { rows_per_second_max: Some(100), ..by(road, Side::Old, 20) };
        let (verification, handle) = Verification::new(Arc::clone(&world.links), slow);
        let run = tokio::spawn(verification.run());
        let mut shown = handle.subscribe();
        shown.wait_for(|progress| progress.checkpoint.after.is_some()).await.unwrap();
        run.abort();
        let checkpoint = handle.progress().checkpoint;
        assert!(checkpoint.rows() < 200, "it had not ended");
        let rest = VerifyOptions { resume: Some(checkpoint), ..by(road, Side::Old, 20) };
        let resumed = verified(&world, rest).await;
        assert_eq!((resumed.tables, resumed.differences), (whole.tables, whole.differences));
    }
}

/// Digests that were to be had and are no more, as after an upgrade of one server: the rest is read, and each row counts once.
#[tokio::test(start_paused = true)]
async fn a_verification_by_digests_goes_on_without_them() {
    let world = level(Collation::Binary, 100).await;
    [4_i64, 96].into_iter().for_each(|id| world.new.damage_delete(&Key::new(TABLE, id)));
    let slow = VerifyOptions { rows_per_second_max: Some(100), ..by(ROADS[1], Side::Old, 20) };
    let (verification, handle) = Verification::new(Arc::clone(&world.links), slow);
    let run = tokio::spawn(verification.run());
    let mut shown = handle.subscribe();
    shown.wait_for(|progress| progress.checkpoint.tables[0].by_digest > 0).await.unwrap();
    run.abort();
    let rest = VerifyOptions { resume: Some(handle.progress().checkpoint), ..by(None, Side::Old, 20) };
    let report = verified(&world, rest).await;
    let table = &report.tables[0];
    assert_eq!((table.rows_old, table.rows_new, table.missing), (100, 98, 2), "{table:?}");
    assert!((1..98).contains(&table.by_digest), "{table:?}");
}

#[tokio::test(start_paused = true)]
async fn more_differences_than_are_kept_are_counted() {
    let world = World::new(Collation::Binary);
    world.fill(500);
    let few = VerifyOptions { differences_kept: 10, ..options(Side::Old, 100) };
    let report = verified(&world, few).await;
    assert_eq!((report.differences.len(), report.tables[0].missing), (10, 500));
}

/// However many differ, one walk repairs them all, in bounded memory; what can't be written counts, and is named.
#[tokio::test(start_paused = true)]
async fn a_walk_that_repairs_leaves_only_what_cannot_be_written() {
    let roads = ROADS.into_iter().flat_map(|road| [(Collation::Binary, road), (Collation::Backwards, road)]);
    for (collation, road) in roads {
        let world = level(collation, 3_000).await;
        for id in 0..2_000 {
            world.new.damage_put(TABLE, row(id, "DAMAGED", &format!("mail-{id}")));
        }
        (2_000..2_500).for_each(|id| world.new.damage_delete(&Key::new(TABLE, id)));
        (3_000..3_400).for_each(|id| world.new.damage_put(TABLE, row(id, "NEVER", "x")));
        let repairing = VerifyOptions { repair: true, differences_kept: 10, ..by(road, Side::Old, 700) };
        let report = verified(&world, repairing).await;
        assert!(report.is_clean() && report.differences.is_empty(), "{:?}", report.tables);
        let table = &report.tables[0];
        assert_eq!((table.repaired, table.compared), (2_900, 3_000), "{table:?}");
        world.assert_level();
    }
    let refuses = |row: &changeover::Row| {
        let refused = row.0[0] == changeover::Value::Int(7);
        refused.then(|| ("id".to_owned(), "seven is taken".to_owned()))
    };
    let world = World::refusing(refuses);
    world.fill(20);
    let repairing = VerifyOptions { repair: true, ..options(Side::Old, 100) };
    let report = verified(&world, repairing).await;
    assert_eq!(report.tables[0].repaired, 19, "{report:?}");
    assert_eq!((report.tables[0].refused, report.differences[0].key.clone()), (1, Key::new(TABLE, 7_i64)));
}

#[tokio::test(start_paused = true)]
async fn two_rows_under_one_key_are_found() {
    let mut mapping = changeover_testkit::Mapping::alike(TABLE, &["id", "state", "mail"]);
    // Two old rows become one new key.
    mapping.set = Arc::new(|row| {
        let mut row = row.clone();
        if row.0[0] == changeover::Value::Int(8) {
            row.0[0] = 7_i64.into();
        }
        Ok(Some(row))
    });
    let world = World::mapped(mapping);
    world.fill(10);
    let report = verified(&world, options(Side::Old, 100)).await;
    let twice = report.differences.iter().find(|d| d.kind == DifferenceKind::Refused).unwrap();
    assert_eq!(twice.key, Key::new(TABLE, 7_i64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any set of damaged rows is what is found, no more and no less.
    #[test]
    fn the_damage_found_is_the_damage_done(
        seed in any::<u64>(), rows in 1_i64..80, damages in 0_usize..12, segment in 1_u64..100, backwards in any::<bool>(),
        road in prop::option::of(16_u64..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let collation = if backwards { Collation::Backwards } else { Collation::Binary };
            let world = level(collation, rows).await;
            let mut random = Random::new(seed);
            let mut damaged = std::collections::BTreeSet::new();
            for _ in 0..damages {
                let id = random.below(rows as u64 + 10) as i64;
                if random.chance(0.3) && id < rows {
                    world.new.damage_delete(&Key::new(TABLE, id));
                } else {
                    world.new.damage_put(TABLE, row(id, "DAMAGED", "x"));
                }
                damaged.insert(id);
            }
            let report = verified(&world, by(road, Side::Old, segment)).await;
            let found: std::collections::BTreeSet<i64> = report.differences.iter().map(|d| match d.key.values()[0] {
                changeover::Value::Int(n) => n,
                _ => panic!(),
            }).collect();
            assert_eq!(found, damaged);
        });
    }
}
