//! Start, rollback, start, complete: through the real binary, under a service that writes all the time, for each kind of
//! migration that a spec can say.

#![allow(unreachable_pub, reason = "modules that several test programs share")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

#[path = "life_cycle/kinds.rs"]
mod kinds;
mod live;
mod support;

use kinds::{Kind, consolidated, one_file, pairs, simple, split, swapped};
use live::drive::FLAG;
use live::{Drive, Life, Service, Side, Writer};
use support::wait_for;

/// How many rows each logical table has before anything moves.
const ROWS: usize = 150;

/// All four phases: forward, back, forward, complete; back from `new`, and complete again.
const FULL: &[&str] =
    &["shadow", "reverse-shadow", "shadow", "reverse-shadow", "new", "reverse-shadow", "new"];

/// Back to the very beginning in between.
const FROM_THE_START: &[&str] =
    &["shadow", "old", "shadow", "reverse-shadow", "shadow", "old", "shadow", "reverse-shadow", "new"];

/// A way, phase by phase, under writes; compared wherever both sides must be equal; then retired.
fn lives(kind: &Kind, way: &[&'static str], seed: u64) {
    let place = kind.place();
    let mut drive = Drive::new(&place);
    let mut service = Service::new(&place.path("."), FLAG, kind.shapes, seed);
    if way.contains(&"old") {
        service = service.without_stragglers();
    }
    service.fill(ROWS);
    let mut writer = Writer::begin(service);
    let _run = drive.run();
    for (leg, phase) in way.iter().enumerate() {
        assert_eq!(drive.go(phase, &writer), Life::Reached);
        drive.writes_on(&writer, 25);
        // In the first shadow after `old` the copy is still being made.
        if *phase == "reverse-shadow" || (*phase == "shadow" && leg > 0 && way[leg - 1] == "reverse-shadow") {
            let verified = place.changeover(&["verify", "bookings.toml", "--json"]);
            assert_eq!(verified.code, Some(0), "{phase}, under writes: {}\n{}", verified.out, verified.err);
        }
        if *phase == "reverse-shadow" {
            writer = Writer::begin(drive.compare(writer, phase));
        }
    }
    let service = writer.end();
    service.assert_held_by(Side::New, "in new");
    drive.assert_audit(way);
    place.changeover(&["retire", "--yes"]).expect(0);
    wait_for("nothing of ours stays", || kind.databases.iter().all(|db| place.installed(db).is_empty()));
    service.assert_held_by(Side::New, "retired");
    assert!(!drive.has_died(), "the worker died");
    kind.assert_untouched(&place);
}

#[test]
fn four_phases_with_exchanged_unique_values_and_changed_keys() {
    lives(&swapped(), FULL, 1);
}

#[test]
fn back_to_the_very_beginning_and_again() {
    lives(&swapped(), FROM_THE_START, 2);
}

#[test]
fn composite_keys_without_rowids() {
    lives(&pairs(), FULL, 3);
}

#[test]
fn two_old_databases_become_one_new_table() {
    lives(&consolidated(), FULL, 4);
}

#[test]
fn one_old_table_becomes_two() {
    lives(&split(), FULL, 5);
}

#[test]
fn both_tables_in_one_database() {
    lives(&one_file(), FULL, 6);
}

#[test]
fn the_simple_path_there_and_back_and_there() {
    lives(&simple(), &["new", "old", "new"], 7);
}
