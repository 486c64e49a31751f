//! `status` while rows are copied: how far each table is, how fast it goes, how long it takes still.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{Place, SPEC};

#[test]
fn each_table_s_progress_is_told_with_the_rate_and_the_time_left() {
    let place = Place::with_bookings(400);
    let more = "CREATE TABLE seat (id INTEGER PRIMARY KEY, label TEXT);";
    place.sql("new.db", more);
    place.sql("old.db", &format!("{more} INSERT INTO seat VALUES (1, 'a'), (2, 'b'), (3, 'c');"));
    let second = "[[table]]\nold = \"legacy:seat\"\nnew = \"flights:seat\"\nkey = { id = \"id\" }\n";
    // Slow enough to be looked at.
    place.write("bookings.toml", format!("{SPEC}{second}[backfill]\nrate = 200\nchunk_rows = 20\n"));
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    let status = run.until("the first table is under way, at a known rate", |status| {
        let backfill = &status["backfill"];
        backfill["tables"].as_array().is_some_and(|tables| {
            tables.len() == 2 && tables.iter().any(|table| table["rows"].as_u64().is_some_and(|n| n > 20))
        }) && backfill["done"] == false
            && backfill["rows_per_second"].as_u64().is_some_and(|rate| rate > 0)
            && backfill["left_ms"].as_u64().is_some()
    });
    let table = |name: &str| {
        let tables = status["backfill"]["tables"].as_array().expect("tables");
        tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {status}"))
    };
    let bookings = table("bookings");
    assert!(bookings["percent"].as_u64().is_some_and(|percent| percent < 100), "{status}");
    assert_eq!((&bookings["done"], &bookings["rows_all"]), (&false.into(), &400.into()), "{status}");
    assert!(!table("seat").is_null());

    let shown = place.changeover(&["status"]).expect(0).out;
    for wanted in ["rows/s", "left", "TABLE", "bookings", "seat"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    run.stop();
    // What a run has copied stands in the databases, and its state doesn't count it: nothing is said of 0 rows then.
    let shown = place.changeover(&["status"]).expect(0).out;
    assert!(shown.contains("isn't complete") && shown.contains("how far it is, a run knows"), "{shown}");
    let run = place.run();
    let status = run.until("all is copied", |status| status["backfill"]["done"] == true);
    let tables = status["backfill"]["tables"].as_array().expect("tables");
    let ends: Vec<_> =
        tables.iter().map(|t| (t["rows"].as_u64(), t["percent"].as_u64(), t["done"].as_bool())).collect();
    let mut expected = [(Some(400), Some(100), Some(true)), (Some(3), Some(100), Some(true))];
    if tables[0]["table"] == "seat" {
        expected.reverse();
    }
    assert_eq!(ends, expected, "{status}");

    // What was counted is known to whoever finds the copy complete: the next run, and the state without one.
    let counted = |status: &serde_json::Value| {
        let backfill = &status["backfill"];
        assert_eq!((&backfill["done"], &backfill["rows"]), (&true.into(), &403.into()), "{status}");
        assert_eq!(backfill["tables"].as_array().map(Vec::len), Some(2), "{status}");
    };
    counted(&status);
    run.kill();
    let run = place.run();
    counted(&place.json(&["status"], 0));
    run.stop();
    counted(&place.json(&["status"], 0));
}
