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

use kinds::{Kind, consolidated, one_file, pairs, simple, split, swapped, unkeyed};
use live::drive::FLAG;
use live::{FULL, Service, lives};

/// How many rows each logical table has before anything moves.
const ROWS: usize = 150;

/// Back to the very beginning in between.
const FROM_THE_START: &[&str] =
    &["shadow", "old", "shadow", "reverse-shadow", "shadow", "old", "shadow", "reverse-shadow", "new"];

/// A kind of migration on its way.
fn of(kind: &Kind, way: &[&'static str], seed: u64) {
    let place = kind.place();
    let databases = kind.databases(&place);
    let mut service = Service::new(&databases, &place.path(FLAG), kind.shapes, seed);
    if way.contains(&"old") {
        service = service.without_stragglers();
    }
    service.fill(ROWS);
    lives(&place, &databases, service, way);
    kind.assert_untouched(&place);
}

#[test]
fn four_phases_with_exchanged_unique_values_and_changed_keys() {
    of(&swapped(), FULL, 1);
}

#[test]
fn back_to_the_very_beginning_and_again() {
    of(&swapped(), FROM_THE_START, 2);
}

#[test]
fn composite_keys_without_rowids() {
    of(&pairs(), FULL, 3);
}

#[test]
fn a_unique_index_in_the_place_of_a_primary_key() {
    of(&unkeyed(), FULL, 8);
}

#[test]
fn two_old_databases_become_one_new_table() {
    of(&consolidated(), FULL, 4);
}

#[test]
fn one_old_table_becomes_two() {
    of(&split(), FULL, 5);
}

#[test]
fn both_tables_in_one_database() {
    of(&one_file(), FULL, 6);
}

#[test]
fn the_simple_path_there_and_back_and_there() {
    of(&simple(), &["new", "old", "new"], 7);
}
