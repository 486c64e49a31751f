//! The spec file as a user meets it: each mistake with its place and its remedy, the schema, a first spec by `init`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{Place, SPEC};

/// What is wrong with the spec; where, as `line:column`; what is said; and the remedy.
const MISTAKES: &[(&str, &str, &str, &str, &str)] = &[
    ("format = 1\n", "format = 2\n", "1:10", "format 2 isn't known to this version", "Use a newer version"),
    ("name = \"bookings\"", "name = \"book ings\"", "2:8", "can't be called", "letters, digits"),
    (
        "format = 1\n",
        "format = 1\nmiror = \"capture\"\n",
        "2:1",
        "a spec has no `miror`",
        "Did you mean `mirror`?",
    ),
    ("name = \"bookings\"", "name = \"bookings", "2:17", "this isn't TOML", ""),
    ("legacy:bookings", "legcy:bookings", "11:7", "there is no store `legcy`", "Did you mean \"legacy\"?"),
    ("sqlite:old.db", "old.db", "5:7", "has no scheme", "Did you mean \"sqlite:old.db\"?"),
    (
        "reverse-shadow = \"0s\"",
        "reverse-shado = \"0s\"",
        "18:10",
        "there is no phase",
        "Did you mean \"reverse-shadow\"?",
    ),
    ("new = \"0s\"", "new = \"soon\"", "18:39", "a length of time", ""),
    ("key = { id = \"booking_id\" }\n", "", "10:1", "key", ""),
    ("[gate]", "[backfill]\nchunk_rows = 0\n[gate]", "18:14", "a whole number of at least 1, and is 0", ""),
];

#[test]
fn each_mistake_is_told_with_its_place_and_its_remedy() {
    for (right, wrong, place, message, remedy) in MISTAKES {
        let test = Place::with_bookings(1);
        assert!(SPEC.contains(right), "{right}");
        test.write("bookings.toml", SPEC.replacen(right, wrong, 1));
        for command in ["check", "copy", "verify", "run", "rehearse"] {
            let ended = test.changeover(&[command, "bookings.toml"]).expect(2);
            assert_eq!(ended.out, "", "{command}: standard output is data");
            ended.says(&format!("bookings.toml:{place}: ")).says(message).says(remedy);
        }
        let error = test.json(&["check", "bookings.toml"], 2);
        let places = error["error"]["places"].as_array().expect("places");
        let told = places.iter().find(|told| format!("{}:{}", told["line"], told["column"]) == *place);
        assert!(
            told.is_some_and(|told| told["message"].to_string().contains(&message.replace('"', ""))),
            "{error}"
        );
        assert!(!test.path(".changeover").exists(), "nothing was begun");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let test = Place::with_bookings(1);
    test.write(
        "bookings.toml",
        SPEC.replace("legacy:bookings", "lgacy:bookings").replace("\"0s\"", "\"later\""),
    );
    let error = test.json(&["check", "bookings.toml"], 2);
    assert_eq!(error["error"]["places"].as_array().map(Vec::len), Some(4), "{error}");
}

#[test]
fn a_password_in_clear_is_refused_and_never_shown() {
    let test = Place::with_bookings(1);
    test.write("bookings.toml", SPEC.replace("sqlite:new.db", "postgres://app:hunter2@db/flights"));
    for arguments in [
        &["check", "bookings.toml"][..],
        &["check", "bookings.toml", "--json"],
        &["-vv", "run", "bookings.toml"],
    ] {
        let ended = test.changeover(arguments).expect(2);
        ended.says("has a password in clear").says("url_env");
        assert!(
            !ended.out.contains("hunter2") && !ended.err.contains("hunter2"),
            "{}{}",
            ended.out,
            ended.err
        );
    }
}

#[test]
fn a_spec_that_is_not_there_is_a_mistake_of_the_command() {
    let test = Place::empty();
    test.changeover(&["check", "bookings.toml"])
        .expect(2)
        .says("error: bookings.toml: the spec can't be read: there is no such file")
        .says("changeover init OLD NEW");
    let error = test.json(&["check", "bookings.toml"], 2);
    assert!(error["error"]["places"][0]["line"].is_null(), "there is no line to point at: {error}");
}

#[test]
fn a_variable_that_is_not_set_is_named_with_its_line() {
    let test = Place::with_bookings(1);
    test.write("bookings.toml", SPEC.replace("url = \"sqlite:new.db\"", "url_env = \"FLIGHTS_URL\""));
    test.changeover(&["check", "bookings.toml"]).expect(2).says("bookings.toml:8:11").says("FLIGHTS_URL");
    let mut command = test.command(&["check", "bookings.toml"]);
    assert!(command.env("FLIGHTS_URL", "sqlite:new.db").status().expect("it starts").success());
}

#[test]
fn columns_and_tables_that_are_not_there_point_at_the_spec_as_well() {
    for (right, wrong, place, message) in [
        ("flights:booking\"", "flights:bookin\"", "12:7", "booking"),
        ("status = \"upper(state)\"", "stat = \"upper(state)\"", "14:29", "stat"),
        ("key = { id = ", "key = { idd = ", "13:9", "idd"),
    ] {
        let test = Place::with_bookings(1);
        test.write("bookings.toml", SPEC.replacen(right, wrong, 1));
        let ended = test.changeover(&["check", "bookings.toml"]).expect(1);
        let told = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains(&format!("error bookings.toml:{place}: ")) && told.contains(message),
            "{place}: {told}"
        );
        // To a copy it is a wrong spec.
        test.changeover(&["copy", "bookings.toml"]).expect(2).says(message);
    }
}

#[test]
fn an_expression_that_can_not_be_computed_points_at_its_line() {
    let test = Place::with_bookings(3);
    test.write("bookings.toml", SPEC.replacen("upper(state)", "uper(state)", 1));
    for arguments in [&["check", "bookings.toml"][..], &["check", "bookings.toml", "--data"]] {
        let ended = test.changeover(arguments).expect(1);
        assert!(ended.out.contains("bookings.toml:14:29: ") && ended.out.contains("uper"), "{}", ended.out);
    }
    test.changeover(&["copy", "bookings.toml"]).expect(2).says("uper(state)");
    test.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(2).says("uper(state)");
}

/// SQLite takes a name in double quotes that is no column's for a text: each row would get the word.
#[test]
fn what_is_no_expression_over_one_row_is_refused_with_its_place() {
    for (right, wrong, place, why) in [
        ("upper(state)", "upper(\\\"stat\\\")", "14:29", "no such column"),
        ("upper(state)", "max(state)", "14:29", "misuse of aggregate"),
        ("upper(state)", "?1", "14:29", "parameter"),
        ("key = {", "where = \"count(*) > 1\"\nkey = {", "13:9", "misuse of aggregate"),
        ("key = {", "where = '\"stae\" <> 1'\nkey = {", "13:9", "no such column"),
    ] {
        let test = Place::with_bookings(3);
        test.write("bookings.toml", SPEC.replacen(right, wrong, 1));
        let ended = test.changeover(&["check", "bookings.toml"]).expect(1);
        assert!(ended.out.contains(&format!("bookings.toml:{place}: ")), "{wrong}: {}", ended.out);
        assert!(ended.out.contains(why), "{wrong}: {}", ended.out);
        test.changeover(&["copy", "bookings.toml"]).expect(2).says(why);
    }
}

#[test]
fn check_tells_how_to_remove_everything_by_hand_before_anything_is_there() {
    let test = Place::with_bookings(3);
    let ended = test.changeover(&["check", "bookings.toml"]).expect(0);
    assert!(ended.out.contains("DROP TRIGGER") && ended.out.contains("changeover_"), "{}", ended.out);
    let report = test.json(&["check", "bookings.toml"], 0);
    for store in ["legacy", "flights"] {
        let name = if store == "legacy" { "old.db" } else { "new.db" };
        test.sql(name, report["removal"][store].as_str().expect("SQL"));
    }
}

#[test]
fn the_schema_is_one_that_editors_can_read() {
    let test = Place::empty();
    let schema = test.changeover(&["spec", "schema"]).expect(0).json();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["table"].is_object(), "{schema}");
}

#[test]
fn init_writes_a_spec_that_can_be_checked_with_its_guesses_marked() {
    let test = Place::with_bookings(20);
    let ended = test.changeover(&["init", "old.db", "new.db", "--name", "fresh"]).expect(0);
    ended.says("fresh.toml").says("changeover check fresh.toml");
    let spec = test.read("fresh.toml");
    assert!(spec.contains("old:bookings") && spec.contains("new:booking\""), "{spec}");
    assert!(spec.contains("guess"), "{spec}");
    // What no column fits is to be filled in by hand, and `check` says so.
    let ended = test.changeover(&["check", "fresh.toml"]).expect(1);
    assert!(ended.out.contains("fresh.toml:") && ended.out.contains("passenger"), "{}", ended.out);
}

#[test]
fn init_asks_for_no_way_back_of_what_the_database_computes() {
    let test = Place::empty();
    let table =
        "CREATE TABLE bookings (id INTEGER PRIMARY KEY, name TEXT, low TEXT AS (lower(name)), gone TEXT);";
    test.sql("old.db", &format!("PRAGMA journal_mode = WAL; {table}"));
    test.sql("new.db", "CREATE TABLE bookings (id INTEGER PRIMARY KEY, name TEXT)");
    test.changeover(&["init", "old.db", "new.db"]).expect(0);
    let spec = test.read("bookings.toml");
    assert!(spec.contains("back.gone") && !spec.contains("back.low"), "{spec}");
}

#[test]
fn init_says_what_it_leaves_out_and_what_is_to_be_decided() {
    let test = Place::with_bookings(1);
    let log = "CREATE TABLE log (at TEXT, what TEXT);";
    let more = "CREATE VIEW held AS SELECT * FROM bookings WHERE state = 'held'; CREATE VIRTUAL TABLE words USING fts5(word);";
    test.sql("old.db", &format!("{log}{more}"));
    test.sql("new.db", log);
    let ended = test.changeover(&["init", "old.db", "new.db", "--name", "fresh"]).expect(0);
    ended
        .says("Left out, on the old side: held (a view)")
        .says("Left out, on the old side: words (a virtual table, or a part of one)")
        .says("Not moved before you decide its key: old:log. log has no primary key and no unique index");
    let spec = test.read("fresh.toml");
    for told in [
        "# The old side's view held is left out",
        "# The old side's words is left out",
        "# old = \"old:log\"",
    ] {
        assert!(spec.contains(told), "{told}: {spec}");
    }
    // What is to be decided keeps nothing else from being checked.
    test.write("fresh.toml", spec.replace("# set.passenger = \"\"", "set.passenger = \"name\""));
    test.changeover(&["check", "fresh.toml"]).expect(0);
}

/// The commonest first try: the old database, and an empty one.
#[test]
fn init_moves_all_tables_into_a_database_that_has_none_and_check_proposes_them() {
    for empty in ["", "PRAGMA journal_mode = WAL; CREATE VIEW v AS SELECT 1"] {
        let test = Place::with_bookings(3);
        test.sql(
            "old.db",
            "CREATE TABLE users (id TEXT PRIMARY KEY NOT NULL, low AS (lower(id))); CREATE TABLE log (what);",
        );
        test.write("empty.db", "");
        test.sql("empty.db", empty);
        let ended = test.changeover(&["init", "old.db", "empty.db", "--name", "fresh"]).expect(0);
        ended.says("The new side has no tables yet").says("Not moved before you decide its key: old:log");
        let spec = test.read("fresh.toml");
        for table in ["bookings", "users"] {
            assert!(spec.contains(&format!("\nold = \"old:{table}\"\nnew = \"empty:{table}\"")), "{spec}");
        }
        assert!(spec.contains("guess: the new side has no tables yet"), "{spec}");
        let report = test.json(&["check", "fresh.toml"], 1);
        let missing = report["missing"].as_array().expect("tables");
        let tables: Vec<_> = missing.iter().map(|one| one["table"].as_str().expect("a name")).collect();
        assert_eq!(tables, ["bookings", "users"]);
        test.sql("empty.db", "PRAGMA journal_mode = WAL");
        missing.iter().for_each(|one| test.sql("empty.db", one["create"].as_str().expect("SQL")));
        test.changeover(&["check", "fresh.toml"]).expect(0);
        test.changeover(&["copy", "fresh.toml"]).expect(0);
        assert_eq!(test.number("empty.db", "SELECT count(*) FROM bookings"), 3);
    }
}

#[test]
fn init_overwrites_nothing() {
    let test = Place::with_bookings(1);
    let ended = test.changeover(&["init", "old.db", "new.db", "--name", "bookings"]).expect(2);
    ended.says("bookings.toml").says("--out");
    assert_eq!(test.read("bookings.toml"), SPEC);
}

#[test]
fn init_says_which_database_is_missing() {
    let test = Place::with_bookings(1);
    test.changeover(&["init", "old.db", "nwe.db"]).expect(3).says("nwe.db");
    assert!(!test.path("nwe.db").exists(), "looking at a database doesn't make one");
}

#[test]
fn check_says_where_writes_are_refused_for_as_long_as_a_copy_takes() {
    let test = Place::with_bookings(3);
    let refused = |phases: &str| {
        test.write(
            "bookings.toml",
            SPEC.replacen("[store.legacy]", &format!("{phases}\n[store.legacy]"), 1)
                .replace("reverse-shadow = \"0s\", ", ""),
        );
        let report = test.json(&["check", "bookings.toml"], 0);
        let locks = report["locks"].as_array().expect("locks").clone();
        let refused =
            locks.into_iter().filter(|lock| lock["lock"].to_string().contains("writes are refused"));
        refused.map(|lock| lock["when"].as_str().expect("when").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(refused(""), [""; 0]);
    assert_eq!(refused("phases = [\"old\", \"new\"]"), ["into new", "on a rollback from new"]);
    let ended = test.changeover(&["check", "bookings.toml"]).expect(0);
    assert!(ended.out.contains("about 3 rows"), "{}", ended.out);
}
