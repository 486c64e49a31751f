//! `check --data` between servers and files: what doesn't fit, what CHECKs refuse, what is there twice, what comes back otherwise.

use serde_json::Value;

use crate::home::{Kind, Pair};

const TABLE: &str = "[[table]]\nold = \"old:things\"\nnew = \"new:thing\"\nkey = { id = \"id\" }\n";

/// The rows that are in such a trouble, and what is said of it.
#[track_caller]
fn troubles(report: &Value, kind: &str) -> Vec<(u64, String, String)> {
    let list = report["data"][0][kind].as_array().unwrap_or_else(|| panic!("{kind}: {report:#}"));
    let one = |trouble: &Value| {
        let text = |name: &str| trouble[name].as_str().unwrap_or_default().to_owned();
        let examples = trouble["examples"].to_string();
        (trouble["rows"].as_u64().unwrap_or_default(), text("column"), format!("{}; {examples}", text("why")))
    };
    list.iter().map(one).collect()
}

#[track_caller]
fn has(report: &Value, kind: &str, rows: u64, said: &[&str]) {
    let found = troubles(report, kind);
    let is_it = |(n, column, why): &&(u64, String, String)| {
        *n == rows && said.iter().all(|said| format!("{column}: {why}").contains(said))
    };
    assert_eq!(found.iter().filter(is_it).count(), 1, "{kind} {said:?}: {found:#?}");
}

#[test]
fn rows_are_tried_in_the_new_table_whatever_the_databases() {
    for (from, to) in [
        (Kind::Postgres, Kind::MariaDb),
        (Kind::MariaDb, Kind::Postgres),
        (Kind::Postgres, Kind::Postgres),
        (Kind::Sqlite, Kind::Postgres),
        (Kind::Postgres, Kind::Sqlite),
        (Kind::Sqlite, Kind::MariaDb),
    ] {
        let pair = Pair::of(from, to);
        pair.old.sql(
            &pair.place,
            "CREATE TABLE things (id integer PRIMARY KEY, n bigint, word varchar(40), code varchar(10)); \
             INSERT INTO things VALUES (1, 5, 'fine', 'a'), (2, -1, 'negative', 'b'), (3, 70000, 'too large', 'c'), \
             (4, 7, 'Mixed', 'd'), (5, 8, 'twice', 'd'), (6, -2, 'negative too', 'f'), (7, NULL, NULL, NULL)",
        );
        pair.new.sql(
            &pair.place,
            "CREATE TABLE thing (id integer PRIMARY KEY, n smallint, word varchar(40), code varchar(10) UNIQUE, \
             CONSTRAINT not_negative CHECK (n >= 0))",
        );
        let set = "set = { word = \"lower(word)\" }\nback = { word = \"word\" }\n";
        pair.spec(&format!("{TABLE}{set}"));
        let report = pair.place.json(&["check", "m.toml", "--data"], 1);
        let shown = format!("{from:?} to {to:?}");
        assert!(report["data"][0]["untried"].is_null(), "{shown}: {report:#}");
        // SQLite's own columns take any number.
        if to == Kind::Sqlite {
            has(&report, "forward", 2, &["not_negative", "(2)", "(6)"]);
        } else {
            has(&report, "forward", 1, &["n:", "(3)"]);
            let refused: u64 = troubles(&report, "forward").iter().map(|(rows, ..)| rows).sum();
            assert_eq!(refused, 3, "{shown}: {report:#}");
            has(&report, "forward", 2, &["not_negative", "thing"]);
        }
        has(&report, "duplicates", 2, &["code"]);
        has(&report, "otherwise", 1, &["word", "'Mixed' as 'mixed'"]);
        // Nothing is left behind, and a person sees the same.
        let told = pair.place.changeover(&["check", "m.toml", "--data"]).expect(1);
        for said in ["not_negative", "'Mixed' as 'mixed'", "would be there twice"] {
            let out = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(out.contains(said), "{shown}: {said}: {}", told.out);
        }
        let count = pair.new.rows(&pair.place, "SELECT count(*) FROM thing");
        assert!(count == "0" || count == "Integer(0)", "{shown}: {count}");
    }
}

/// Far more rows than a batch, most of which the table refuses: each is counted, and examples are few.
#[test]
fn many_refused_rows_are_counted_and_few_are_shown() {
    let pair = Pair::of(Kind::Postgres, Kind::Postgres);
    pair.old.sql(&pair.place, "CREATE TABLE things (id int PRIMARY KEY, n int); INSERT INTO things SELECT i, i % 3 FROM generate_series(1, 6000) i");
    pair.new.sql(&pair.place, "CREATE TABLE thing (id int PRIMARY KEY, n int CONSTRAINT zero_only CHECK (n = 0), even int GENERATED ALWAYS AS (n * 2) STORED)");
    pair.spec(TABLE);
    let report = pair.place.json(&["check", "m.toml", "--data"], 1);
    has(&report, "forward", 4000, &["zero_only"]);
    assert_eq!(report["data"][0]["rows"], 2000, "{report:#}");
    assert!(report["data"][0]["forward"][0]["examples"].as_array().expect("examples").len() <= 5);
}

/// What the new side doesn't let us do is said, and nothing is called fine that wasn't looked at.
#[test]
fn without_the_right_to_a_temporary_table_it_is_said_that_nothing_was_tried() {
    use changeover_testkit::servers::MariaDb;
    let pair = Pair::of(Kind::Sqlite, Kind::MariaDb);
    pair.old.sql(
        &pair.place,
        "CREATE TABLE things (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO things VALUES (1, -1)",
    );
    pair.new.sql(&pair.place, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint CHECK (n >= 0))");
    let user = MariaDb::shared().create_user("reader", "secret");
    MariaDb::shared().sql(
        "",
        &format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER ON {}.* TO {user}@'%'",
            pair.new.name
        ),
    );
    let url = MariaDb::shared().url_as(&user, "secret", &pair.new.name);
    pair.spec(TABLE);
    let spec =
        pair.place.read("m.toml").replace(&format!("url = \"{}\"", pair.new.url()), "url_env = \"NEW_URL\"");
    pair.place.write("m.toml", spec);
    let mut command = pair.place.command(&["check", "m.toml", "--data", "--json"]);
    let ended = crate::support::Ended::of(&["check"], command.env("NEW_URL", url).output().expect("started"));
    let why = ended.json()["data"][0]["untried"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("CREATE TEMPORARY TABLES"), "{why}: {}", ended.out);
}
