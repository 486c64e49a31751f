//! `rehearse` on copies of real databases: the whole way, and nothing of it seen by the databases of the spec.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking"
)]

mod support;

use support::{OLD_IMAGE, Place, SPEC};

#[test]
fn it_goes_forward_back_and_forward_and_touches_nothing() {
    let place = Place::with_bookings(500);
    let before = place.rows("old.db", OLD_IMAGE);
    let report = place.json(&["rehearse", "bookings.toml"], 0);
    let moves: Vec<String> = report["moves"]
        .as_array()
        .expect("moves")
        .iter()
        .map(|step| {
            format!("{} > {}", step["from"].as_str().expect("from"), step["to"].as_str().expect("to"))
        })
        .collect();
    assert_eq!(
        moves,
        [
            "old > shadow",
            "shadow > reverse-shadow",
            "reverse-shadow > shadow",
            "shadow > reverse-shadow",
            "reverse-shadow > new"
        ]
    );
    assert!(report["longest_hold_ms"].as_u64().is_some_and(|ms| ms > 0), "{report}");
    assert!(report["estimated_hours"].as_f64().is_some_and(|hours| hours > 0.0), "{report}");
    assert_eq!(report["clean"], true);
    assert_eq!(place.rows("old.db", OLD_IMAGE), before);
    assert_eq!(place.number("new.db", "SELECT count(*) FROM booking"), 0);
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
    assert!(!place.path(".changeover").exists(), "it has a state of its own");
}

#[test]
fn where_no_phase_mirrors_it_measures_how_long_writes_are_refused() {
    for (phases, moves) in [
        (&["old", "new"][..], &[("old", "new", true), ("new", "old", true), ("old", "new", true)][..]),
        (
            &["old", "reverse-shadow", "new"],
            &[
                ("old", "reverse-shadow", true),
                ("reverse-shadow", "old", true),
                ("old", "reverse-shadow", true),
                ("reverse-shadow", "new", false),
            ],
        ),
    ] {
        let place = Place::with_bookings(2_000);
        let spec = SPEC.replacen("[store.legacy]", &format!("phases = {phases:?}\n[store.legacy]"), 1);
        let spec = if phases.len() == 2 { spec.replace("reverse-shadow = \"0s\", ", "") } else { spec };
        place.write("bookings.toml", spec);
        let report = place.json(&["rehearse", "bookings.toml"], 0);
        let made: Vec<(String, String, bool)> = report["moves"]
            .as_array()
            .expect("moves")
            .iter()
            .map(|step| {
                let name = |end: &str| step[end].as_str().expect("a phase").to_owned();
                (name("from"), name("to"), step["held_ms"].as_u64() > Some(0))
            })
            .collect();
        let wanted: Vec<_> =
            moves.iter().map(|(a, b, held)| ((*a).to_owned(), (*b).to_owned(), *held)).collect();
        assert_eq!(made, wanted, "{report}");
    }
}

#[test]
fn rows_that_can_not_be_carried_are_found_before_it_matters() {
    let place = Place::with_bookings(20);
    place.sql("old.db", "INSERT INTO bookings VALUES (99, 'c', 'booked', 'twelve', NULL)");
    let ended = place.changeover(&["rehearse", "bookings.toml"]).expect(1);
    let all = format!("{}{}", ended.out, ended.err);
    assert!(all.contains("99") && all.contains("price") && all.contains("It stopped"), "{all}");
    // Nor does it wait for ever where a run would go on trying.
    let spec = SPEC.replacen("[store.legacy]", "phases = [\"old\", \"new\"]\n[store.legacy]", 1);
    place.write("bookings.toml", spec.replace("reverse-shadow = \"0s\", ", ""));
    let ended = place.changeover(&["rehearse", "bookings.toml"]).expect(1);
    let all = format!("{}{}", ended.out, ended.err);
    assert!(all.contains("99") && all.contains("It stopped"), "{all}");
}

#[test]
fn the_copies_stay_where_they_were_wanted_and_overwrite_nothing() {
    let place = Place::with_bookings(20);
    place.changeover(&["rehearse", "bookings.toml", "--folder", "copies"]).expect(0);
    assert_eq!(place.number("copies/flights.db", "SELECT count(*) FROM booking"), 20);
    let again = place.changeover(&["rehearse", "bookings.toml", "--folder", "copies"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    again.says("is there already");
}

#[test]
fn what_a_run_would_refuse_in_the_real_databases_a_rehearsal_refuses_too() {
    let place = Place::with_bookings(20);
    place.sql("old.db", "PRAGMA journal_mode = DELETE");
    place.changeover(&["rehearse", "bookings.toml"]).expect(2).says("PRAGMA journal_mode = WAL");
}

#[test]
fn a_migration_that_has_begun_is_not_rehearsed() {
    let place = Place::with_bookings(20);
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    let ended = place.changeover(&["rehearse", "bookings.toml"]).expect(1);
    ended.says("has begun").says("changeover status");
    assert!(!ended.err.contains("adopt"), "nothing is to be adopted: {}", ended.err);
    run.stop();
}
