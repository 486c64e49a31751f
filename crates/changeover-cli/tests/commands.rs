//! What a command does when it is given once too often, and what everybody is told while the state can't be believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{Place, Running, is_settled, wait_for};

/// Forward so many phases.
#[track_caller]
fn forward(place: &Place, run: &Running<'_>, phases: &[&str]) {
    for phase in phases {
        place.changeover(&["advance", "--to", phase]).expect(0);
        if *phase == "shadow" {
            run.until("copied and verified", is_settled);
        }
    }
}

#[test]
fn an_advance_too_many_retires_nothing() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow", "reverse-shadow", "new"]);
    // Its gates are all open: nothing but this stands between a second `advance` and the end of every way back.
    place.changeover(&["advance"]).expect(1).says("changeover retire");
    place.changeover(&["advance", "--to", "retired"]).expect(1).says("changeover retire");
    assert_eq!(place.json(&["status"], 0)["phase"], "new");
    assert_eq!(place.number("old.db", "SELECT count(*) FROM bookings"), 20, "its tables keep their names");
    place.changeover(&["rollback"]).expect(0);
    run.stop();
}

#[test]
fn a_retired_migration_says_that_it_is_over_whatever_is_asked() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow", "reverse-shadow", "new"]);
    place.sql("new.db", "UPDATE booking SET price = 1");
    run.until("the log of the way back is seen", |status| !status["logs"][0].is_null());
    place.changeover(&["retire", "--yes"]).expect(0);
    assert_eq!(place.json(&["status"], 0)["logs"], serde_json::json!([]), "the log is gone");
    let over = |commands: &[&[&str]]| {
        for command in commands {
            let ended = place.changeover(command).expect(1);
            ended.says("the migration `bookings` is over: it was retired on 20").says("a name of its own");
        }
    };
    let moves: [&[&str]; 4] =
        [&["advance"], &["rollback"], &["rollback", "--to", "old"], &["abort", "--yes"]];
    over(&moves);
    // Killed, it has left its file; stopped, it hasn't.
    run.kill();
    let again: &[&str] = &["run", "bookings.toml", "--listen", "127.0.0.1:0"];
    for _ in 0..2 {
        over(&moves);
        over(&[again, &["pause"], &["retire", "--yes"]]);
        let _ = std::fs::remove_file(place.path(".changeover/bookings.run"));
    }
    let shown = place.changeover(&["status"]).expect(0).out;
    assert!(shown.contains("the migration is over") && !shown.contains("changeover run"), "{shown}");
}

#[test]
fn an_advance_to_where_it_is_already_is_no_failure() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow", "shadow", "reverse-shadow", "reverse-shadow"]);
    let moved = place.json(&["advance", "--to", "reverse-shadow"], 0);
    assert_eq!((&moved["phase"], &moved["flag"]), (&"reverse-shadow".into(), &2.into()), "{moved}");
    run.stop();
}

#[test]
fn while_the_state_is_not_believed_the_flag_says_what_the_databases_say() {
    let place = Place::with_bookings(20);
    let run = place.run_with(&["--flag-file", "the.flag"], &[]);
    forward(&place, &run, &["shadow", "reverse-shadow"]);
    wait_for("the flag", || place.read("the.flag") == "2\n");
    run.kill();
    std::fs::remove_dir_all(place.path(".changeover")).expect("the state");

    // The state that is made anew says `old`; by that a service would read the follower, which nobody mirrors to now.
    let run = place.run_with(&["--flag-file", "the.flag"], &[]);
    let status = run.until("it has stopped", |status| status["stopped"].is_string());
    assert_eq!(place.read("the.flag"), "2\n");
    assert_eq!(status["flag"], 2, "{status}");
    assert_eq!(status["rollback"]["safe"], false, "{status}");
    assert!(status["rollback"]["command"].is_null() && status["next"].is_null(), "{status}");
    let shown = place.changeover(&["status"]).expect(0);
    assert!(shown.out.starts_with("bookings: state and databases disagree"), "{}", shown.out);
    assert!(
        !shown.out.contains("changeover rollback") && !shown.out.contains("changeover advance"),
        "{}",
        shown.out
    );

    place.changeover(&["adopt", "--yes"]).expect(0);
    assert_eq!(place.read("the.flag"), "2\n");
    run.until("it goes on", |status| status["stopped"].is_null() && status["next"]["phase"] == "new");
    run.stop();
}

#[test]
fn a_column_that_comes_while_it_runs_is_left_behind_by_no_move() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow"]);
    // The service is deployed anew, with a column more.
    place.sql(
        "old.db",
        "ALTER TABLE bookings ADD COLUMN seat TEXT; UPDATE bookings SET seat = '12F' WHERE id = 3",
    );
    place.sql("new.db", "ALTER TABLE booking ADD COLUMN seat TEXT");
    place.changeover(&["advance"]).expect(1).says("seat TEXT").says("started again");
    // At once, and not when the run looks again.
    let status = place.json(&["status"], 0);
    assert!(status["next"]["refused"].to_string().contains("seat TEXT"), "{status}");
    assert!(status["alerts"].to_string().contains("seat TEXT"), "{status}");
    let shown = place.changeover(&["status"]).expect(0).out;
    let blocked = shown.lines().find(|line| line.trim_start().starts_with("blocked by"));
    assert!(blocked.is_some_and(|line| line.contains("the tables aren't as they were")), "{shown}");
    let told =
        || place.json(&["audit", "--limit", "1000"], 0).to_string().matches("has got seat TEXT").count();
    wait_for("the run has told the audit", || told() > 0);
    let status = run.until("it is told once", |status| status["alerts"].to_string().contains("seat TEXT"));
    assert_eq!(status["alerts"].to_string().matches("the tables aren't as they were").count(), 1, "{status}");
    run.stop();

    let run = place.run();
    place.changeover(&["verify", "bookings.toml", "--repair"]).expect(0);
    run.until("verified by the new plan", is_settled);
    place.changeover(&["advance"]).expect(0);
    assert_eq!(place.rows("new.db", "SELECT seat FROM booking WHERE booking_id = 3"), ["Text(\"12F\")"]);
    run.stop();
}

#[test]
fn a_run_does_not_begin_where_a_column_that_was_carried_has_nowhere_to_go() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow"]);
    run.stop();
    place.sql("new.db", "ALTER TABLE booking RENAME COLUMN price TO cents");
    place.sql("old.db", "UPDATE bookings SET price = 777 WHERE id = 3");
    place
        .changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"])
        .expect(2)
        .says("no column price any more")
        .says("Put the column back");
    place.sql("new.db", "ALTER TABLE booking RENAME COLUMN cents TO price");
    let run = place.run();
    run.until("it goes on", is_settled);
    place.until_equal_sides();
    run.stop();
}

#[test]
fn a_rollback_that_waits_for_a_locked_file_says_so_and_ends_with_the_reason() {
    let place = Place::with_bookings(20);
    let run = place.run();
    forward(&place, &run, &["shadow", "reverse-shadow"]);
    // Somebody's long transaction on the side that is gone to, and a change that must reach it first.
    let lock = place.open("old.db");
    lock.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    place.sql("new.db", "UPDATE booking SET price = 4711 WHERE booking_id = 3");
    let said = std::fs::File::create(place.path("rollback.err")).expect("a file");
    let mut command = place.command(&["rollback"]);
    let mut rollback =
        command.stdout(std::process::Stdio::null()).stderr(said).spawn().expect("the binary can be started");
    wait_for("it says what it waits for", || {
        let said = place.read("rollback.err");
        said.contains("Still under way") && said.contains("old.db is locked by")
    });
    drop(lock);
    let code = rollback.wait().expect("its end").code();
    assert_eq!(code, Some(1), "given up, and not out of reach: {}", place.read("rollback.err"));

    place.changeover(&["rollback"]).expect(0);
    assert_eq!(place.rows("old.db", "SELECT price FROM bookings WHERE id = 3"), ["Integer(4711)"]);
    run.stop();
}
