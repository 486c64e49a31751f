//! A state file that was deleted, or put back from a backup: nothing is done until the databases' word is adopted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{NEW_WRITE, Place, Running, is_settled};

#[test]
fn a_state_file_that_was_deleted_stops_it_until_the_databases_word_is_adopted() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.go(&["advance"], "reverse-shadow");
    run.kill();
    std::fs::remove_dir_all(place.path(".changeover")).expect("the state");
    let run = place.run();
    stopped_then_adopted(&place, &run, "reverse-shadow");
    place.sql("new.db", NEW_WRITE);
    run.until("it is verified anew", |status| status["verification"]["counts"] == true);
    place.until_equal_sides();
}

#[test]
fn a_state_file_from_a_backup_stops_it_until_the_databases_word_is_adopted() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    assert_eq!(run.stop().0, Some(0));
    let backup = std::fs::read(place.path(".changeover/bookings.db")).expect("the state");
    let run = place.run();
    run.until("settled", is_settled);
    place.go(&["advance"], "reverse-shadow");
    run.kill();
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path(&format!(".changeover/bookings.db{ending}")));
    }
    std::fs::write(place.path(".changeover/bookings.db"), backup).expect("the state");
    let run = place.run();
    stopped_then_adopted(&place, &run, "reverse-shadow");
    place.sql("new.db", NEW_WRITE);
    run.until("it is verified anew", |status| status["verification"]["counts"] == true);
    place.until_equal_sides();
}

#[track_caller]
fn stopped_then_adopted(place: &Place, run: &Running<'_>, phase: &str) {
    run.until("it has stopped", |status| status["stopped"].is_string());
    for command in
        [&["advance"][..], &["rollback"], &["abort", "--yes"], &["verify", "bookings.toml", "--repair"]]
    {
        place.changeover(command).expect(1).says("changeover adopt");
    }
    let status = place.changeover(&["status"]).expect(0);
    let first = status.out.lines().next().unwrap_or_default();
    assert!(first.contains("disagree") && first.contains("changeover adopt"), "{}", status.out);
    let adopted = place.json(&["adopt", "--yes"], 0);
    assert_eq!(adopted["phase"], phase, "{adopted}");
    run.until("it is adopted", |status| status["stopped"].is_null());
}
