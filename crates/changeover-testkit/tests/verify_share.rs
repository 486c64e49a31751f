//! Verification and repair while a share of the keys has moved: each row is held against its own authority.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::sync::Arc;

use changeover::Value;
use changeover::engine::{
    Authority, Backfill, BackfillOptions, Difference, DifferenceKind, Verification, VerifyOptions, repair,
};
use changeover::keyed::slot_text;
use changeover::store::Store;
use changeover::store::capture::CaptureOptions;
use changeover::value::Key;
use changeover_protocol::target::assignments;
use changeover_protocol::{Millis, Phase, Side, Slot, Step, Target, Version};

use common::{TABLE, World, row};

const MIGRATION: &str = "bookings";
const ROWS: i64 = 60;

/// Slots below 512 have moved.
fn half() -> VerifyOptions {
    let step = |slot: Slot| if slot.number() < 512 { Step::ReverseShadow } else { Step::Shadow };
    let target = Target::uniform(Version(7), Step::Shadow, Phase::ReverseShadow, Millis(1_000));
    let target = Target { assignments: assignments(step), ..target };
    VerifyOptions::new(Authority::of(MIGRATION, &target))
}

fn authority_by(value: impl Into<Value>) -> Side {
    let slot = Slot::of(MIGRATION, &slot_text(&[value.into()]));
    if slot.number() < 512 { Side::New } else { Side::Old }
}

fn mail(id: i64) -> String {
    format!("mail-{id}")
}

/// Both sides equal, and both logs installed, as while a share has moved.
async fn level(world: World) -> World {
    world.fill(ROWS);
    let (backfill, _handle) =
        Backfill::new(Arc::clone(&world.links), Side::New, 1, BackfillOptions::default());
    backfill.run().await.unwrap();
    for store in [&world.old, &world.new] {
        let bounded = CaptureOptions { bound: 1_000_000, overflow: true };
        store.capture().unwrap().install(bounded).await.unwrap();
    }
    world
}

async fn differences(world: &World) -> Vec<Difference> {
    let (verification, _handle) = Verification::new(Arc::clone(&world.links), half());
    verification.run().await.unwrap().differences
}

/// On the follower of each of four rows: nothing, a change, a loss, and a row too many.
async fn damage_is_told_and_repaired_from_each_rows_own_authority(
    world: World,
    authority: impl Fn(i64) -> Side,
) {
    let world = level(world).await;
    let of = |side: Side, nth: usize| (0..ROWS).filter(|&id| authority(id) == side).nth(nth).unwrap();
    for side in [Side::Old, Side::New] {
        let follower = if side == Side::Old { &world.new } else { &world.old };
        let changed = of(side, 0);
        follower.damage_put(TABLE, row(changed, "DAMAGED", &mail(changed)));
        follower.damage_delete(&Key::new(TABLE, of(side, 1)));
        let extra = (ROWS..).find(|&id| authority(id) == side).unwrap();
        follower.damage_put(TABLE, row(extra, "NEVER", &mail(extra)));
    }
    let found = differences(&world).await;
    for kind in [DifferenceKind::Differing, DifferenceKind::Missing, DifferenceKind::Extra] {
        let of_kind = found.iter().filter(|difference| difference.kind == kind).count();
        assert_eq!(of_kind, 2, "{kind}: {found:?}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
    let repaired = repair(&world.links, &found, &half()).await.unwrap();
    assert!(repaired.is_clean(), "{repaired:?}");
    assert_eq!((repaired.written, repaired.deleted), (4, 2));
    assert!(differences(&world).await.is_empty());
    world.assert_level();
    let all = world.old.rows(TABLE);
    assert_eq!(all.len(), ROWS as usize);
    assert!(all.iter().all(|row| row.0[1] == Value::from("BOOKED")), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn each_key_is_held_against_its_own_authority() {
    let world = World::new(changeover_testkit::Collation::Binary);
    damage_is_told_and_repaired_from_each_rows_own_authority(world, authority_by).await;
}

#[tokio::test(start_paused = true)]
async fn where_another_column_makes_the_slot_the_rows_are_asked() {
    let world = World::routed_by_mail();
    damage_is_told_and_repaired_from_each_rows_own_authority(world, |id| authority_by(mail(id))).await;
}

/// A change of the very column that makes the slot: each row says that its own side is right, or that the other is.
#[tokio::test(start_paused = true)]
async fn a_row_that_both_sides_put_elsewhere_is_told_and_written_by_nobody() {
    let world = level(World::routed_by_mail()).await;
    let (stays, moved) = (0..ROWS)
        .find_map(|id| {
            let other = (0..ROWS).find(|&other| authority_by(mail(other)) != authority_by(mail(id)))?;
            Some((id, other))
        })
        .unwrap();
    world.new.damage_put(TABLE, row(stays, "BOOKED", &mail(moved)));
    let before = (world.old.rows(TABLE), world.new.rows(TABLE));
    let found = differences(&world).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].key, found[0].kind), (&Key::new(TABLE, stays), DifferenceKind::Differing));
    let repaired = repair(&world.links, &found, &half()).await.unwrap();
    assert_eq!(repaired.left.len(), 1, "{repaired:?}");
    assert_eq!((world.old.rows(TABLE), world.new.rows(TABLE)), before);
}

/// What the authority has logged is on its way, whichever side that is; the same damage beside it isn't.
#[tokio::test(start_paused = true)]
async fn what_waits_in_either_log_is_no_difference() {
    let world = level(World::new(changeover_testkit::Collation::Binary)).await;
    for side in [Side::Old, Side::New] {
        let authority = if side == Side::Old { &world.old } else { &world.new };
        let id = (0..ROWS).find(|&id| authority_by(id) == side).unwrap();
        authority.put(TABLE, row(id, "LATE", &mail(id))).await.unwrap();
    }
    assert_eq!(differences(&world).await, Vec::new());
    let damaged = (0..ROWS).rfind(|&id| authority_by(id) == Side::New).unwrap();
    world.old.damage_put(TABLE, row(damaged, "damaged", &mail(damaged)));
    let found = differences(&world).await;
    assert_eq!(found.iter().map(|found| &found.key).collect::<Vec<_>>(), [&Key::new(TABLE, damaged)]);
}
