//! `kill -9` at the named gaps of the fence, the claims and the chunks, in the real binary; then it is started again,
//! goes on, and both sides are equal. Needs the feature `faults`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]
#![cfg(feature = "faults")]

mod support;

use support::{Place, is_settled, wait_for};

/// Starts a run that kills itself at this point, does `act` until it has, kills what is left of it, and starts one that
/// lives.
fn killed_at(place: &Place, point: &str, act: impl Fn(&Place)) {
    killed_by(place, &format!("{point}:kill"), act);
}

/// The same by a plan of several faults.
fn killed_by(place: &Place, plan: &str, act: impl Fn(&Place)) {
    let run = place.start(&[], &[("CHANGEOVER_FAULT", plan)]);
    wait_for(&format!("it is killed by {plan}"), || {
        act(place);
        place.read("run.err").contains("ended unasked")
    });
    run.kill();
    place.write("run.err", "");
}

/// The application's writes, on whichever side takes them: at most one does at any time.
fn write_anywhere(place: &Place) {
    let old = place
        .open("old.db")
        .execute_batch("UPDATE bookings SET price = coalesce(price, 0) + 1 WHERE id % 9 = 0");
    let new = place
        .open("new.db")
        .execute_batch("UPDATE booking SET price = coalesce(price, 0) + 1 WHERE booking_id % 9 = 1");
    assert!(old.is_err() || new.is_err(), "both sides took a write");
}

#[test]
fn the_copy_goes_on_after_a_kill_at_every_gap() {
    for point in ["chunk-begun", "chunk-read", "chunk-written", "chunk-done"] {
        let place = Place::with_bookings(3_000);
        killed_at(&place, point, |place| {
            place.changeover(&["advance", "--to", "shadow"]);
        });
        let run = place.run();
        place.changeover(&["advance", "--to", "shadow"]);
        run.until(point, is_settled);
        place.until_equal_sides();
    }
}

#[test]
fn the_mirror_goes_on_after_a_kill_at_every_gap() {
    for point in [
        "claim-taken",
        "claim-state-read",
        "claim-guard-taken",
        "claim-authority-read",
        "claim-follower-written",
        "claim-follower-committed",
        "claim-deleted",
    ] {
        let place = Place::with_bookings(200);
        let run = place.run();
        place.changeover(&["advance"]).expect(0);
        run.until("settled", is_settled);
        run.kill();
        killed_at(&place, point, write_anywhere);
        let run = place.run();
        run.until(point, is_settled);
        place.until_equal_sides();
    }
}

#[test]
fn a_move_goes_on_or_back_after_a_kill_at_every_gap_of_the_fence() {
    for gap in
        ["preconditions-held", "recorded", "locked", "drained", "prepared", "moved", "crossed", "opened"]
    {
        for (way, from, command) in [("forward", "shadow", "advance"), ("back", "reverse-shadow", "rollback")]
        {
            let point = format!("{way}-{gap}");
            let place = Place::with_bookings(100);
            let run = place.run();
            place.changeover(&["advance"]).expect(0);
            run.until("settled", is_settled);
            if from == "reverse-shadow" {
                place.changeover(&["advance"]).expect(0);
                run.until("settled", is_settled);
            }
            run.kill();
            killed_at(&place, &point, |place| {
                place.changeover(&[command]);
            });
            let run = place.run();
            let status = run.until(&point, is_settled);
            assert!(
                matches!(status["phase"].as_str(), Some("shadow" | "reverse-shadow")),
                "{point}: {status}"
            );
            write_anywhere(&place);
            run.until(&point, is_settled);
            place.until_equal_sides();
        }
    }
}

#[test]
fn a_fence_that_is_being_undone_is_undone_after_a_kill_at_every_gap() {
    for point in ["undo-raised", "undo-locked", "undo-opened"] {
        let place = Place::with_bookings(100);
        let run = place.run();
        place.changeover(&["advance"]).expect(0);
        run.until("settled", is_settled);
        run.kill();
        killed_by(&place, &format!("forward-moved:error,{point}:kill"), |place| {
            place.changeover(&["advance"]);
        });
        let run = place.run();
        run.until(point, is_settled);
        write_anywhere(&place);
        place.until_equal_sides();
    }
}
