//! A share of the keys on each side: refused where both databases would give out ids, each by its own counter.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::{Place, SPEC};

/// What moves, in a service with the library in it.
fn dual_write(keys: &str) -> String {
    SPEC.replace("name = \"bookings\"\n", "name = \"bookings\"\nmirror = \"dual-write\"\n")
        .replace("key = { id = \"booking_id\" }\n", &format!("key = {{ id = \"booking_id\" }}\n{keys}"))
}

fn is_copied(status: &Value) -> bool {
    status["backfill"]["done"] == true && status["verification"]["counts"] == true
}

#[test]
fn two_counters_would_give_out_one_id_twice_so_check_warns_and_a_share_is_refused() {
    let place = Place::with_bookings(30);
    place.write("bookings.toml", dual_write(""));
    let checked = place.changeover(&["check", "bookings.toml"]).expect(0);
    let all = format!("{}{}", checked.out, checked.err).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(all.contains("give out one twice") && all.contains("keys = \"application\""), "{all}");

    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_copied);
    let ended = place.changeover(&["advance", "--share", "10%"]).expect(1);
    ended.says("bookings.id").says("twice").says("keys = \"application\"");
    let status = place.json(&["status"], 0);
    assert_eq!((&status["phase"], &status["moving"]), (&"shadow".into(), &Value::Null), "{status}");
    assert_eq!(place.json(&["advance"], 0)["phase"], "reverse-shadow", "all keys at once may go");
}

#[test]
fn where_the_application_chooses_the_ids_it_is_said_in_the_spec_at_any_time() {
    let place = Place::with_bookings(30);
    place.write("bookings.toml", dual_write(""));
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", is_copied);
    assert_eq!(run.stop().0, Some(0));

    place.write("bookings.toml", dual_write("keys = \"application\"\n"));
    let checked = place.changeover(&["check", "bookings.toml"]).expect(0);
    assert!(!checked.out.contains("twice") && !checked.err.contains("twice"), "{checked:?}");
    let run = place.run();
    run.until("copied and verified still", is_copied);
    let moved = place.json(&["advance", "--share", "10%"], 0);
    assert_eq!(moved["phase"], "reverse-shadow", "{moved}");
    assert!(moved["share_percent"].as_f64().is_some_and(|share| share > 9.0 && share < 11.0), "{moved}");
}

#[test]
fn a_store_on_both_sides_beside_another_old_one_is_refused() {
    let place = Place::with_bookings(3);
    place.sql(
        "new.db",
        "CREATE TABLE legacy (id INTEGER PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, price INTEGER, note BLOB);
         ALTER TABLE booking ADD COLUMN source TEXT NOT NULL DEFAULT 'a';",
    );
    let table = |old: &str, source: &str| {
        format!(
            "[[table]]\nold = \"{old}\"\nnew = \"flights:booking\"\nkey = {{ id = \"booking_id\" }}\n\
             set = {{ passenger = \"name\", status = \"upper(state)\", source = {{ const = \"{source}\" }} }}\n"
        )
    };
    let stores = SPEC.split("[[table]]").next().expect("the stores");
    place.write(
        "bookings.toml",
        format!("{stores}{}{}", table("legacy:bookings", "a"), table("flights:legacy", "b")),
    );
    let ended = place.changeover(&["check", "bookings.toml"]).expect(1);
    let all = format!("{}{}", ended.out, ended.err).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(all.contains("the store flights is on both sides") && all.contains("legacy"), "{all}");
    let ended = place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
}
