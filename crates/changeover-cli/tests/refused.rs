//! Rows that can't be carried: each is named, with its table, its value and what to do, and none is ever dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::Place;

/// A text key may be NULL in SQLite, also where it is the primary key; three rows of four here have one.
const KEYLESS: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE tags (name TEXT PRIMARY KEY, n INTEGER);
    INSERT INTO tags VALUES (NULL, 1), (NULL, 2), ('a', 3), (NULL, 4);";

const TAGS: &str = r#"format = 1
name = "bookings"

[store.old]
url = "sqlite:old.db"

[store.new]
url = "sqlite:new.db"

[[table]]
old = "old:tags"
new = "new:tags"
key = { name = "name" }

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

fn keyless() -> Place {
    let place = Place::empty();
    place.sql("old.db", KEYLESS);
    place.sql(
        "new.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE tags (name TEXT NOT NULL PRIMARY KEY, n INTEGER);",
    );
    place.write("bookings.toml", TAGS);
    place
}

#[track_caller]
fn refused(report: &Value) -> (&Value, &Value) {
    (&report["tables"][0]["refused"], &report["clean"])
}

#[test]
fn rows_without_a_key_are_named_by_copy_and_verify_and_are_no_success() {
    let place = keyless();
    for arguments in [
        &["copy", "bookings.toml"][..],
        &["verify", "bookings.toml"],
        &["verify", "bookings.toml", "--repair"],
        &["verify", "bookings.toml"],
    ] {
        let report = place.json(arguments, 1);
        assert_eq!(refused(&report), (&3.into(), &false.into()), "{arguments:?}: {report}");
        assert_eq!(report["tables"][0]["repaired"], 0, "{arguments:?}: {report}");
        let named = report["refusals"].as_array().unwrap();
        assert_eq!(named.len(), 3, "{report}");
        assert!(named[0]["why"].as_str().unwrap().contains("NULL"), "{report}");
    }
    place.changeover(&["rehearse", "bookings.toml"]).expect(1);
}

#[test]
fn rows_without_a_key_keep_the_gate_shut_until_they_have_one() {
    let place = keyless();
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("a verification", |status| !status["verification"]["last"].is_null());
    place.changeover(&["advance"]).expect(1).says("verification");

    place.sql("old.db", "UPDATE tags SET name = 'k' || n WHERE name IS NULL");
    let carried = "SELECT count(*) FROM tags";
    support::wait_for("the rows on the new side", || place.number("new.db", carried) == 4);
    place.changeover(&["verify", "bookings.toml"]).expect(0);
    place.changeover(&["advance"]).expect(0);
    run.stop();
}

#[test]
fn a_refused_row_is_shown_with_its_table_and_value_and_a_remedy_that_helps() {
    let place = Place::empty();
    let table = |strict: &str| {
        format!(
            "PRAGMA journal_mode = WAL; CREATE TABLE tags (name TEXT NOT NULL PRIMARY KEY, n INTEGER){strict};
             CREATE TABLE other (id INTEGER PRIMARY KEY, n INTEGER){strict};"
        )
    };
    place.sql("old.db", &table(""));
    place.sql("new.db", &table(" STRICT"));
    place.sql("old.db", "INSERT INTO tags VALUES ('a', 'twelve'), ('b', 2); INSERT INTO other VALUES (1, 1)");
    let other = "[[table]]\nold = \"old:other\"\nnew = \"new:other\"\nkey = { id = \"id\" }\n\n[gate]";
    place.write("bookings.toml", TAGS.replace("[gate]", other));

    let ended = place.changeover(&["copy", "bookings.toml"]).expect(1);
    let row = ended.out.lines().find(|line| line.contains("'twelve'")).unwrap_or_else(|| panic!("{ended:?}"));
    assert!(row.contains("tags"), "{row}");
    assert!(ended.out.contains("STRICT") && !ended.out.contains("carry"), "{}", ended.out);

    let report = place.json(&["verify", "bookings.toml"], 1);
    assert_eq!(report["refusals"][0]["value"], "'twelve'", "{report}");
    let ended = place.changeover(&["verify", "bookings.toml"]).expect(1);
    assert!(!ended.err.contains("--repair"), "it wouldn't help: {}", ended.err);
    let report = place.json(&["verify", "bookings.toml", "--repair"], 1);
    let counts = &report["tables"].as_array().unwrap().iter().find(|t| t["table"] == "tags").unwrap();
    assert_eq!((&counts["refused"], &counts["repaired"]), (&1.into(), &0.into()), "{report}");
}

#[test]
fn rows_that_are_on_the_new_side_before_are_told_of_by_all_that_would_delete_them() {
    let place = Place::with_bookings(20);
    place.sql("new.db", "INSERT INTO booking VALUES (3, 'x', 'Y', 1, NULL), (999, 'own', 'OWN', 1, NULL)");
    let check = place.changeover(&["check", "bookings.toml"]).expect(0).out;
    assert!(check.contains("holds 2 rows already"), "{check}");
    let run = place.run();
    run.until("it is an alert", |status| status["alerts"].to_string().contains("holds 2 rows already"));
    run.stop();
    let copied = place.changeover(&["copy", "bookings.toml"]).expect(0);
    copied.says("the new side had 2 rows before").says("deleted");
    place.assert_equal_sides();

    // Its own rows are no news to a migration that has begun.
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    let check = place.changeover(&["check", "bookings.toml"]).expect(0).out;
    assert!(!check.contains("already"), "{check}");
    run.stop();
}
