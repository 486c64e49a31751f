//! `check --probe`: what a migration does, tried for real, and nothing left of it.

use changeover_testkit::servers::{MariaDb, Postgres};
use serde_json::Value;

use crate::home::{Kind, Pair};
use crate::support::Ended;

const TABLE: &str = "[[table]]\nold = \"old:things\"\nnew = \"new:things\"\nkey = { id = \"id\" }\n";

/// Checks with this URL for the new side.
fn probed(pair: &Pair, url: &str, code: i32) -> Value {
    pair.spec(TABLE);
    let spec =
        pair.place.read("m.toml").replace(&format!("url = \"{}\"", pair.new.url()), "url_env = \"NEW_URL\"");
    pair.place.write("m.toml", spec);
    let arguments = ["check", "m.toml", "--probe", "--json"];
    let mut command = pair.place.command(&arguments);
    Ended::of(&arguments, command.env("NEW_URL", url).output().expect("started")).expect(code).json()
}

fn failed(report: &Value) -> Vec<String> {
    let all = report["probed"]["new"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    let what = |one: &Value| one["what"].as_str().unwrap_or_default().to_owned();
    all.iter().filter(|one| !one["failed"].is_null()).map(what).collect()
}

#[test]
fn what_can_be_done_is_done_and_nothing_is_left() {
    for (kind, left) in [
        (Kind::Postgres, "SELECT count(*) FROM pg_class WHERE relname LIKE 'changeover%'"),
        (
            Kind::MariaDb,
            "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE 'changeover%' AND TABLE_SCHEMA = DATABASE()",
        ),
    ] {
        let pair = Pair::of(Kind::Sqlite, kind);
        pair.old.sql(&pair.place, "CREATE TABLE things (id INTEGER PRIMARY KEY)");
        pair.new.sql(&pair.place, "CREATE TABLE things (id bigint PRIMARY KEY)");
        let report = probed(&pair, &pair.new.url(), 0);
        assert!(report["probed"]["new"].as_array().is_some_and(|all| all.len() > 4), "{report:#}");
        assert_eq!(failed(&report), Vec::<String>::new());
        assert_eq!(pair.new.rows(&pair.place, left), "0");
    }
}

#[test]
fn what_can_not_be_done_is_told_with_what_to_do() {
    let pair = Pair::of(Kind::Sqlite, Kind::Postgres);
    pair.old.sql(&pair.place, "CREATE TABLE things (id INTEGER PRIMARY KEY)");
    pair.new.sql(&pair.place, "CREATE TABLE things (id bigint PRIMARY KEY); CREATE SCHEMA changeover");
    let role = Postgres::shared().create_role("prober", "secret");
    pair.new.sql(&pair.place, &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON things TO {role}; GRANT CREATE, USAGE ON SCHEMA changeover TO {role}"));
    let report = probed(&pair, &Postgres::shared().url_as(&role, "secret", &pair.new.name), 0);
    assert_eq!(failed(&report), ["silence triggers and foreign keys for a transaction"], "{report:#}");
    // Without the right to make something nothing else can be tried.
    pair.new.sql(&pair.place, &format!("REVOKE CREATE ON SCHEMA changeover FROM {role}"));
    let report = probed(&pair, &Postgres::shared().url_as(&role, "secret", &pair.new.name), 1);
    assert_eq!(failed(&report), ["make the schema changeover, and a table in it"], "{report:#}");

    let pair = Pair::of(Kind::Sqlite, Kind::MariaDb);
    pair.old.sql(&pair.place, "CREATE TABLE things (id INTEGER PRIMARY KEY)");
    pair.new.sql(&pair.place, "CREATE TABLE things (id bigint PRIMARY KEY)");
    let user = MariaDb::shared().create_user("prober", "secret");
    MariaDb::shared().sql(
        "",
        &format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON {}.* TO {user}@'%'", pair.new.name),
    );
    let report = probed(&pair, &MariaDb::shared().url_as(&user, "secret", &pair.new.name), 1);
    assert_eq!(failed(&report), ["make a trigger", "make a temporary table"], "{report:#}");
}
