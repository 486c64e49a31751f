//! Rows that don't fit the other kind of database: each is named with key and column by all that come by it, none keeps the
//! others from being carried, and the gate stays shut until they are mended.

use std::sync::Arc;

use changeover_testkit::servers::Postgres;
use serde_json::Value;

use crate::live::{Database, PostgresTables, SqliteFile};
use crate::support::{Place, wait_for};

/// A table, its rows on the old side, and which of them don't fit.
struct Case {
    from_postgres: bool,
    /// The tables' columns beside the key, on either side.
    old: &'static str,
    new: &'static str,
    /// What else the new side needs before.
    first: &'static str,
    /// Rows that are carried.
    good: &'static [&'static str],
    /// Rows that aren't: the column, and what is said of it.
    bad: &'static [(&'static str, &'static str, &'static str)],
}

const SPEC: &str = r#"
[[table]]
old = "legacy:things"
new = "flights:thing"
key = { id = "id" }

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

/// The keys of rows that don't fit begin here.
const BAD: usize = 100;

struct World {
    place: Place,
    old: Arc<dyn Database>,
    new: Arc<dyn Database>,
}

impl World {
    fn of(case: &Case) -> Self {
        let place = Place::empty();
        let server = |name| Arc::new(PostgresTables::make(Postgres::shared(), name)) as Arc<dyn Database>;
        let file = |name: &str| Arc::new(SqliteFile::new(&place.path(name))) as Arc<dyn Database>;
        let (old, new) = if case.from_postgres {
            (server("old"), file("new.db"))
        } else {
            (file("old.db"), server("new"))
        };
        let file = if case.from_postgres { &new } else { &old };
        file.sql("PRAGMA journal_mode = WAL");
        if !case.first.is_empty() {
            new.sql(case.first);
        }
        let key = |from_postgres| if from_postgres { "bigint" } else { "INTEGER" };
        old.sql(&format!("CREATE TABLE things (id {} PRIMARY KEY, {})", key(case.from_postgres), case.old));
        new.sql(&format!("CREATE TABLE thing (id {} PRIMARY KEY, {})", key(!case.from_postgres), case.new));
        for (n, row) in case.good.iter().enumerate() {
            old.sql(&format!("INSERT INTO things VALUES ({n}, {row})"));
        }
        for (n, (row, ..)) in case.bad.iter().enumerate() {
            old.sql(&format!("INSERT INTO things VALUES ({}, {row})", BAD + n));
        }
        let stores = format!(
            "format = 1\nname = \"bookings\"\n\n[store.legacy]\nurl = {:?}\n\n[store.flights]\nurl = {:?}\n",
            old.url(),
            new.url()
        );
        place.write("bookings.toml", stores + SPEC);
        Self { place, old, new }
    }

    fn carried(&self) -> usize {
        usize::try_from(self.new.number("SELECT count(*) FROM thing")).expect("a count")
    }
}

/// All of them are named, and nothing else.
#[track_caller]
fn assert_named(case: &Case, refusals: &Value, by: &str) {
    let named = refusals.as_array().expect("refusals");
    assert_eq!(named.len(), case.bad.len(), "{by}: {refusals:#}");
    for (n, (row, column, why)) in case.bad.iter().enumerate() {
        let key = (BAD + n).to_string();
        let one = named.iter().find(|one| one["key"] == key.as_str());
        let one = one.unwrap_or_else(|| panic!("{by}: {key} ({row}) isn't named: {refusals:#}"));
        assert_eq!(one["column"], *column, "{by}: {row}: {one}");
        assert!(one["why"].as_str().is_some_and(|said| said.contains(why)), "{by}: {row}: {one}");
    }
}

fn refused(case: &Case) {
    // By the commands that work without a run.
    let world = World::of(case);
    for command in ["copy", "verify"] {
        let report = world.place.json(&[command, "bookings.toml"], 1);
        assert_eq!(report["tables"][0]["refused"], case.bad.len(), "{command}: {report}");
        assert_named(case, &report["refusals"], command);
        assert_eq!(world.carried(), case.good.len(), "{command}: the rest is carried");
    }

    // By a run: the gate stays shut, and the rest goes on.
    let world = World::of(case);
    let run = world.place.run();
    world.place.go(&["advance"], "shadow");
    run.until("a verification", |status| !status["verification"]["last"].is_null());
    let shut = world.place.changeover(&["advance"]).expect(1);
    shut.says("verification");
    world.old.sql(&format!("INSERT INTO things VALUES (50, {})", case.good[0]));
    wait_for("a row that fits", || world.carried() == case.good.len() + 1);
    let all = case.bad.len();
    let status = world.place.json(&["status"], 0);
    assert_eq!(status["backfill"]["tables"][0]["refused"], all, "status counts them: {status}");
    assert_eq!(status["verification"]["last"]["refused"], all, "status counts them: {status}");

    // One that the service writes while both sides are kept in step is no other.
    world.old.sql(&format!("INSERT INTO things VALUES ({}, {})", BAD + all, case.bad[0].0));
    let report = world.place.json(&["verify", "bookings.toml"], 1);
    assert_eq!(report["tables"][0]["refused"], all + 1, "{report}");
    let (mirrored, copied): (Vec<_>, Vec<_>) = report["refusals"]
        .as_array()
        .expect("refusals")
        .iter()
        .cloned()
        .partition(|one| one["key"] == (BAD + all).to_string().as_str());
    assert_named(case, &copied.into(), "verify in a run");
    assert_eq!(mirrored.len(), 1, "{report}");
    assert_eq!(mirrored[0]["column"], case.bad[0].1, "{report}");
    world.place.changeover(&["advance"]).expect(1);

    // Mended, nothing stands in the way any more.
    world.old.sql(&format!("DELETE FROM things WHERE id >= {BAD}"));
    run.until("a clean verification", |status| status["verification"]["counts"] == true);
    world.place.go(&["advance"], "reverse-shadow");
    assert_eq!(world.carried(), case.good.len() + 1);
}

#[test]
fn what_sqlite_has_no_place_for_is_named_and_keeps_the_gate_shut() {
    refused(&Case {
        from_postgres: true,
        old: "x double precision, n numeric, u numeric(20)",
        new: "x REAL, n TEXT, u INTEGER",
        first: "",
        good: &["1.5, 2.50, 3", "'-Infinity', NULL, NULL"],
        bad: &[
            ("'NaN', 1, 1", "x", "NaN"),
            ("1, 'NaN', 1", "n", "NaN"),
            ("1, 'Infinity', 1", "n", "infinite"),
            ("1, 1, 18446744073709551615", "u", "no floating-point number"),
        ],
    });
}

#[test]
fn what_postgresql_has_no_place_for_is_named_and_keeps_the_gate_shut() {
    refused(&Case {
        from_postgres: false,
        old: "word TEXT, short TEXT, mood TEXT, price TEXT, small INTEGER, made TEXT",
        new: "word text, short varchar(5), mood mood, price numeric(6, 2), small smallint, made timestamptz",
        first: "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        good: &[
            "'a', 'éèàùç', 'glad', '9999.99', 32767, '2026-01-02T03:04:05Z'",
            "NULL, NULL, NULL, NULL, NULL, NULL",
        ],
        bad: &[
            ("'a' || char(0) || 'b', 'a', 'sad', '1', 1, NULL", "word", "NUL"),
            ("'a', 'abcdef', 'sad', '1', 1, NULL", "short", "more than 5 characters"),
            ("'a', 'a', 'furious', '1', 1, NULL", "mood", "label"),
            ("'a', 'a', 'sad', '10000.00', 1, NULL", "price", "more than 6 digits"),
            ("'a', 'a', 'sad', '1.005', 1, NULL", "price", "more than 2 digits"),
            ("'a', 'a', 'sad', '1', 32768, NULL", "small", "32767"),
            ("'a', 'a', 'sad', '1', 1, '2026-01-02 03:04:05'", "made", "zone"),
        ],
    });
}
