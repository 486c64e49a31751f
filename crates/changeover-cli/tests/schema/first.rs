//! `init` on servers, and what there isn't on them.

use changeover_testkit::servers::Postgres;

use crate::home::{Kind, Pair};
use crate::support::Ended;

/// Runs `init` with these variables set.
fn init(pair: &Pair, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = pair.place.command(arguments);
    command.envs(variables.iter().copied());
    Ended::of(arguments, command.output().expect("the binary can be started"))
}

#[test]
fn init_matches_the_tables_of_two_servers_and_writes_no_password() {
    let pair = Pair::of(Kind::Postgres, Kind::MariaDb);
    pair.old.sql(
        &pair.place,
        "CREATE TABLE bookings (id bigint PRIMARY KEY, \"Seat No\" integer, \"order\" text, gone text); CREATE TABLE log (what text); \
         INSERT INTO bookings VALUES (1, 2, 'x', 'y')",
    );
    pair.new.sql(
        &pair.place,
        "CREATE TABLE booking (id bigint PRIMARY KEY, `seat no` int, orders longtext) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
    );
    let role = Postgres::shared().create_role("reader", "hunter2");
    pair.old.sql(&pair.place, &format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    let with_password = Postgres::shared().url_as(&role, "hunter2", &pair.old.name);
    let new_url = pair.new.url();
    let ended =
        init(&pair, &["init", &with_password, "env:FLIGHTS", "--name", "m"], &[("FLIGHTS", &new_url)])
            .expect(0);
    ended.says("Set OLD_URL to the whole URL");
    let spec = pair.place.read("m.toml");
    assert!(!format!("{spec}{}{}", ended.out, ended.err).contains("hunter2"), "{spec}");
    for said in [
        "url_env = \"OLD_URL\"",
        "url_env = \"FLIGHTS\"",
        ":public.bookings\"",
        ":booking\"",
        "key = { id = \"id\" }",
        "set.orders = '\"order\"'",
        "back.gone",
        "table log resembles none",
    ] {
        assert!(
            spec.contains(said)
                || spec.contains(&said.replace('\'', "\"").replace("\"\"order\"\"", "\"\\\"order\\\"\"")),
            "{said}: {spec}"
        );
    }
    let variables = [("OLD_URL", with_password.as_str()), ("FLIGHTS", new_url.as_str())];
    init(&pair, &["copy", "m.toml"], &variables).expect(0);
    assert_eq!(pair.new.rows(&pair.place, "SELECT id, `seat no`, orders FROM booking"), "1\t2\tx");
}

#[test]
fn init_into_an_empty_server_and_the_tables_made_is_a_copy() {
    for (from, to) in
        [(Kind::MariaDb, Kind::Postgres), (Kind::Sqlite, Kind::MariaDb), (Kind::Postgres, Kind::Sqlite)]
    {
        let pair = Pair::of(from, to);
        pair.old.sql(&pair.place, "CREATE TABLE users (id varchar(9) PRIMARY KEY, n int); INSERT INTO users VALUES ('a', 1), ('b', NULL)");
        pair.place
            .changeover(&["init", &pair.old.url(), &pair.new.url(), "--name", "m"])
            .expect(0)
            .says("no tables yet");
        pair.place.changeover(&["copy", "m.toml", "--create-tables"]).expect(0);
        assert_eq!(
            pair.new.rows(&pair.place, "SELECT count(*) FROM users"),
            if to == Kind::Sqlite { "Integer(2)" } else { "2" }
        );
    }
}

#[test]
fn init_says_which_server_can_not_be_reached() {
    let pair = Pair::of(Kind::Sqlite, Kind::Sqlite);
    let ended =
        pair.place.changeover(&["init", "postgres://app:hunter2@127.0.0.1:1/flights", "new.db"]).expect(3);
    assert!(!format!("{}{}", ended.out, ended.err).contains("hunter2"), "{}", ended.err);
    ended.says("127.0.0.1:1/flights");
    pair.place
        .changeover(&["init", "env:NO_SUCH_VARIABLE", "new.db"])
        .expect(2)
        .says("NO_SUCH_VARIABLE isn't set");
}

#[test]
fn a_rehearsal_on_a_server_says_that_there_is_none_and_what_to_do() {
    let pair = Pair::of(Kind::Sqlite, Kind::Postgres);
    let table = "CREATE TABLE users (id INTEGER PRIMARY KEY, n INTEGER)";
    pair.old.sql(&pair.place, table);
    pair.new.sql(&pair.place, table);
    pair.spec("[[table]]\nold = \"old:users\"\nnew = \"new:users\"\nkey = { id = \"id\" }\n");
    pair.place
        .changeover(&["rehearse", "m.toml"])
        .expect(2)
        .says("there is no rehearsal with store new")
        .says("check --data");
    let checked = pair.place.changeover(&["check", "m.toml"]).expect(0);
    assert!(!checked.err.contains("rehearse") && checked.err.contains("changeover run"), "{}", checked.err);
}
