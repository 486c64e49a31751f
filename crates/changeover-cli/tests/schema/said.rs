//! What `check` says of types and constraints: just what doesn't fit, and in which direction; nothing of pairs that hold the same.

use serde_json::Value;

use crate::home::{Kind, Pair};

const TABLE: &str = "[[table]]\nold = \"old:things\"\nnew = \"new:thing\"\nkey = { id = \"id\" }\n";

/// What is found, but for notes on what is silent or made by default: severity and words.
fn found(pair: &Pair, code: i32) -> Vec<(String, String)> {
    let report = pair.place.json(&["check", "m.toml"], code);
    let one = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        (text("severity"), format!("{}: {} {}", text("column"), text("what"), text("remedy")))
    };
    report["findings"].as_array().expect("findings").iter().map(one).collect()
}

#[test]
fn exact_pairs_are_nothing_to_be_told_and_others_by_their_values() {
    let pair = Pair::of(Kind::Postgres, Kind::MariaDb);
    let alike = "id bigint PRIMARY KEY, b smallint, n int, ti time(3), v varchar(9)";
    pair.old.sql(
        &pair.place,
        &format!("CREATE TABLE things ({alike}, da date, ts timestamp, big bigint, short text)"),
    );
    let plain = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin";
    pair.new.sql(
        &pair.place,
        &format!("CREATE TABLE thing ({alike}, da date, ts datetime(6), big int, short varchar(5)) {plain}"),
    );
    pair.spec(TABLE);
    let found = found(&pair, 0);
    let has = |severity: &str, said: &str| {
        assert!(found.iter().any(|(is, what)| is == severity && what.contains(said)), "{said}: {found:#?}");
    };
    has("note", "big: the new side has no place for integers below -2147483648 or above 2147483647, in big");
    has("note", "short: the new side has no place for texts of more than 5 characters, in short");
    has("note", "da, ts: the new side has no place for infinite dates, in da, ts");
    has(
        "note",
        "da, ts: the old side has no place for zero and impossible dates, which the new side may come to have in da, ts",
    );
    has("note", "NUL characters, which the new side may come to have in v, short");
    has(
        "note",
        "da, ts: the new side has no place for dates before 0000-01-01 or after 9999-12-31, in da, ts",
    );
    has("warning", "ti: the old side has no place for times below 00:00:00 or above 24:00:00");
    assert!(
        !found
            .iter()
            .any(|(_, said)| ["id", "b", "n"].iter().any(|column| said.starts_with(&format!("{column}:")))),
        "{found:#?}"
    );
}

#[test]
fn constraints_that_a_follower_does_not_keep_are_told() {
    let pair = Pair::of(Kind::Postgres, Kind::Postgres);
    pair.old.sql(&pair.place, "CREATE TABLE things (id numeric PRIMARY KEY, place int, during int4range)");
    pair.new.sql(
        &pair.place,
        "CREATE TABLE thing (id numeric PRIMARY KEY, place int CONSTRAINT one_each UNIQUE DEFERRABLE INITIALLY DEFERRED, \
         during int4range, EXCLUDE USING gist (during WITH &&))",
    );
    pair.spec(TABLE);
    let spec = pair.place.read("m.toml").replace("phases = [\"old\", \"new\"]\n", "");
    pair.place.write("m.toml", spec);
    let found = found(&pair, 0);
    for (severity, said) in [
        ("warning", "the unique constraint one_each of the new table thing is deferrable"),
        ("warning", "EXCLUDE USING gist"),
        ("warning", "id is numeric without a scale: 1.0 and 1.00"),
    ] {
        assert!(found.iter().any(|(is, what)| is == severity && what.contains(said)), "{said}: {found:#?}");
    }
    // By such a constraint no row can be found either.
    let other = Pair::of(Kind::Postgres, Kind::Postgres);
    other.old.sql(&other.place, "CREATE TABLE things (id int PRIMARY KEY)");
    other.new.sql(&other.place, "CREATE TABLE thing (id int UNIQUE DEFERRABLE)");
    other.spec(TABLE);
    other.place.changeover(&["check", "m.toml"]).expect(1);
}
