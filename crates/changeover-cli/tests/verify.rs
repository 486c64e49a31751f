//! `verify` beside a run and without one: it knows which side is right, and the gates look at what it found.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{Place, Running, is_settled};

/// In `reverse-shadow`, with a run that keeps its state elsewhere and compares nothing by itself for now.
fn reversed_with_a_state_elsewhere(place: &Place) -> Running<'_> {
    let run = place.run_with(&["--state", "elsewhere/state.db"], &[]);
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_settled);
    place.changeover(&["advance"]).expect(0);
    place.changeover(&["pause"]).expect(0);
    run.until("settled again", is_settled);
    run
}

/// Someone with a tool that obeys no trigger.
fn corrupt_the_old_side(place: &Place) {
    let tool = place.open("old.db");
    tool.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("no triggers");
    tool.execute_batch("UPDATE bookings SET name = 'nobody' WHERE id = 7").expect("a write");
}

#[test]
fn a_state_elsewhere_is_found_and_the_gates_look_at_what_verify_found() {
    let place = Place::with_bookings(100);
    let run = reversed_with_a_state_elsewhere(&place);
    corrupt_the_old_side(&place);
    let found = place.json(&["verify", "bookings.toml"], 1);
    assert_eq!(found["tables"][0]["differing"], 1, "{found}");
    assert!(found["kept_in"].as_str().is_some_and(|path| path.ends_with("elsewhere/state.db")), "{found}");
    let status = run.until("the gates know it", |status| status["verification"]["counts"] == false);
    assert_eq!(status["verification"]["last"]["differences"], 1, "{status}");
    place.changeover(&["advance"]).expect(1).says("verification");

    // The new side answers now, and is right.
    place.changeover(&["verify", "bookings.toml", "--repair"]).expect(0).says("elsewhere/state.db");
    assert_eq!(place.rows("old.db", "SELECT name FROM bookings WHERE id = 7"), ["Text(\"passenger 7\")"]);
    place.until_equal_sides();
    run.until("the gates know that as well", |status| status["verification"]["counts"] == true);
    let audit = place.changeover(&["audit"]).expect(0).out;
    assert!(audit.contains("1 differ"), "{audit}");
    place.changeover(&["advance"]).expect(0);
    assert!(!place.path(".changeover/bookings.db").exists(), "no second state was made");
}

#[test]
fn without_its_run_a_state_elsewhere_has_to_be_named_before_anything_is_called_right() {
    let place = Place::with_bookings(50);
    let run = reversed_with_a_state_elsewhere(&place);
    corrupt_the_old_side(&place);
    assert_eq!(run.stop().0, Some(0));
    let ended = place.changeover(&["verify", "bookings.toml", "--repair"]).expect(1);
    ended.says("which side is right isn't known").says("--state FILE");
    place.changeover(&["verify", "bookings.toml", "--state", "nowhere.db"]).expect(3).says("nowhere.db");
    let state = ["verify", "bookings.toml", "--repair", "--state", "elsewhere/state.db"];
    place.changeover(&state).expect(0);
    assert_eq!(place.rows("old.db", "SELECT name FROM bookings WHERE id = 7"), ["Text(\"passenger 7\")"]);
    place.assert_equal_sides();
}

#[test]
fn a_run_that_was_killed_has_left_word_of_its_state() {
    let place = Place::with_bookings(50);
    let run = reversed_with_a_state_elsewhere(&place);
    corrupt_the_old_side(&place);
    run.kill();
    assert_eq!(place.json(&["status"], 0)["phase"], "reverse-shadow");
    place.changeover(&["verify", "bookings.toml", "--repair"]).expect(0);
    assert_eq!(place.rows("old.db", "SELECT name FROM bookings WHERE id = 7"), ["Text(\"passenger 7\")"]);
}

#[test]
fn rules_that_the_run_does_not_have_open_no_gate() {
    let place = Place::with_bookings(50);
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_settled);
    let lenient = place
        .read("bookings.toml")
        .replace("\n\n[gate]", "\nrules = [{ column = \"passenger\", ignore = true }]\n\n[gate]");
    place.write("bookings.toml", lenient);
    let compared = place.json(&["verify", "bookings.toml"], 0);
    assert!(compared["kept_in"].is_null(), "{compared}");
}

#[test]
fn what_waits_in_the_log_of_the_way_back_is_told_apart_from_what_is_equal() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_settled);
    place.changeover(&["advance"]).expect(0);
    place.changeover(&["advance"]).expect(0);
    place.sql("new.db", "UPDATE booking SET price = 4711 WHERE booking_id IN (3, 4)");
    let report = place.json(&["verify", "bookings.toml"], 0);
    assert_eq!(
        (&report["clean"], &report["tables"][0]["on_their_way"]),
        (&true.into(), &2.into()),
        "{report}"
    );
    place
        .changeover(&["verify", "bookings.toml"])
        .expect(0)
        .says("2 rows of these compared with the changes");
    run.stop();
}

/// The log's changes are carried by a run alone: without one, nobody may take the sides for equal.
#[test]
fn what_waits_for_a_run_that_is_not_there_is_not_equal() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_settled);
    assert_eq!(run.stop().0, Some(0));
    place.sql("old.db", "UPDATE bookings SET price = 4711 WHERE id IN (3, 4)");
    place.changeover(&["verify", "bookings.toml"]).expect(1).says("changeover run bookings.toml");
    let report = place.json(&["verify", "bookings.toml"], 1);
    assert_eq!((&report["clean"], &report["waiting"]), (&false.into(), &2.into()), "{report}");
    assert!(report["kept_in"].is_null(), "it is no proof for a gate: {report}");
    let run = place.run();
    run.until("it is carried", is_settled);
    assert_eq!(place.json(&["verify", "bookings.toml"], 0)["waiting"], 0);
}
