//! What `check` finds out by trying: which rows wouldn't find the way back, and whether its proposals do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use support::{Place, SPEC};

/// What `where` asks for has to be there again when a row that is made on the new side is written back.
#[test]
fn a_where_that_is_not_true_of_what_comes_back_is_told_with_its_place_before_anything_begins() {
    const ROWS: &str = "INSERT INTO bookings (id, name, state, kind, vip) \
        VALUES (1, 'a', 'held', 'flight', 0), (2, 'b', 'held', 'flight', 1)";
    // The old side's columns, what stands in the spec, the rows; and what is told, if anything.
    for (kind, where_, back, rows, told) in [
        ("kind TEXT", "kind = 'flight'", "", ROWS, "kind takes its default, NULL"),
        ("kind TEXT", "kind = 'flight'", "", "", "kind takes its default, NULL"),
        ("kind TEXT DEFAULT 'hotel'", "kind = 'flight'", "", "", "kind takes its default, 'hotel'"),
        ("kind TEXT", "kind = 'flight' AND id > 0", "", ROWS, "rows that are made on the new side"),
        ("kind TEXT", "kind = 'flight' OR vip = 1", "", ROWS, "some rows that are made on the new side"),
        ("kind TEXT", "kind = 'flight'", ", kind = { const = \"train\" }", "", "as `back` makes it"),
        ("kind TEXT", "kind = 'flight'", ", kind = { const = \"flight\" }", ROWS, ""),
        ("kind TEXT", "kind = 'flight'", ", kind = \"'flight'\"", "", ""),
        ("kind TEXT DEFAULT 'flight'", "kind = 'flight'", "", ROWS, ""),
        ("kind TEXT DEFAULT 'flight'", "kind = 'flight' AND id > 0", "", "", ""),
        ("kind TEXT COLLATE NOCASE DEFAULT 'FLIGHT'", "kind = 'flight'", "", ROWS, ""),
        ("kind TEXT", "coalesce(kind, 'flight') = 'flight'", "", ROWS, ""),
        ("kind TEXT", "state = 'held' AND name <> ''", "", ROWS, ""),
        ("kind TEXT", "(SELECT count(*) FROM bookings) > 1", "", ROWS, ""),
    ] {
        let test = Place::with_bookings(1);
        test.sql(
            "old.db",
            &format!("ALTER TABLE bookings ADD COLUMN {kind}; ALTER TABLE bookings ADD COLUMN vip;"),
        );
        test.sql("new.db", "ALTER TABLE booking ADD COLUMN vip");
        test.sql("old.db", &format!("DELETE FROM bookings; {rows}"));
        let spec = SPEC.replacen("set = { ", &format!("where = \"{where_}\"\nset = {{ "), 1).replacen(
            "\"lower(status)\"",
            &format!("\"lower(status)\"{back}"),
            1,
        );
        test.write("bookings.toml", spec);
        let report = test.json(&["check", "bookings.toml"], 0);
        let findings = report["findings"].as_array().expect("findings");
        let of_where: Vec<_> =
            findings.iter().filter(|found| found["what"].to_string().contains("`where`")).collect();
        let case = format!("{kind}, {where_}{back}: {findings:#?}");
        if told.is_empty() {
            assert!(of_where.is_empty(), "{case}");
            continue;
        }
        let [found] = of_where.as_slice() else { panic!("{case}") };
        assert!(found["what"].to_string().contains(told), "{case}");
        assert_eq!(
            (&found["severity"], &found["line"], &found["at"]),
            (&"warning".into(), &14.into(), &9.into())
        );
        assert!(found["remedy"].to_string().contains("back"), "{case}");
    }
}

/// A row that comes back otherwise is changed for good by the first write to it on the new side.
#[test]
fn values_that_would_come_back_as_others_are_counted_column_by_column_with_examples() {
    let test = Place::with_bookings(1);
    test.sql(
        "old.db",
        "DELETE FROM bookings; ALTER TABLE bookings ADD COLUMN code TEXT; ALTER TABLE bookings ADD COLUMN rate TEXT;
         INSERT INTO bookings (id, name, state, code, rate) VALUES
         (1, 'a', 'Open', '007', '1.5'), (2, 'b', 'open', '7', '1.50'), (3, 'c', 'open', '1e3', '0.25'),
         (4, 'd', 'open', ' 5 ', NULL), (5, 'e', 'open', '-3', ' 2.5')",
    );
    test.sql(
        "new.db",
        "ALTER TABLE booking ADD COLUMN code INTEGER; ALTER TABLE booking ADD COLUMN rate REAL;
         CREATE UNIQUE INDEX by_status ON booking (status, passenger)",
    );
    let report = test.json(&["check", "bookings.toml", "--data"], 0);
    let otherwise = report["data"][0]["otherwise"].as_array().expect("a list").clone();
    let of = |column: &str| {
        let found = otherwise.iter().find(|found| found["column"] == column);
        found.map(|found| (found["rows"].clone(), found["examples"].clone())).unwrap_or_default()
    };
    assert_eq!(of("state"), (1.into(), serde_json::json!(["bookings(1): 'Open' as 'open'"])));
    let codes = ["bookings(1): '007' as '7'", "bookings(3): '1e3' as '1000'", "bookings(4): ' 5 ' as '5'"];
    assert_eq!(of("code"), (3.into(), serde_json::json!(codes)));
    let rates = ["bookings(2): '1.50' as '1.5'", "bookings(5): ' 2.5' as '2.5'"];
    assert_eq!(of("rate"), (2.into(), serde_json::json!(rates)));
    assert_eq!(otherwise.len(), 3, "name, price and note come back as they are: {otherwise:?}");
    // To a person, too; and it stands in nobody's way.
    let ended = test.changeover(&["check", "bookings.toml", "--data"]).expect(0);
    let told = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "1 row: would come back otherwise: what comes back in state isn't what was there",
        "unless it is changed on the new side",
        "as in bookings(1): 'Open' as 'open'",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    ended.says("Nothing stands in the way");
    assert_eq!(test.number("new.db", "SELECT count(*) FROM booking"), 0, "looking changes nothing");
    // What is redacted is counted, and not shown.
    test.write("bookings.toml", format!("{SPEC}\n[evidence]\nredact = [\"state\"]\n"));
    let ended = test.changeover(&["check", "bookings.toml", "--data"]).expect(0);
    assert!(ended.out.contains("as in bookings(1)\n") && !ended.out.contains("'Open'"), "{}", ended.out);
}

#[test]
fn a_row_that_the_old_side_would_refuse_on_its_way_back_is_told_before_it_has_gone_there() {
    let test = Place::with_bookings(3);
    test.write("bookings.toml", SPEC.replacen("\"lower(status)\"", "\"nullif(lower(status), 'held')\"", 1));
    let report = test.json(&["check", "bookings.toml", "--data"], 0);
    let otherwise = &report["data"][0]["otherwise"];
    assert!(otherwise[0]["why"].to_string().contains("the column state takes no NULL"), "{otherwise}");
    assert_eq!(otherwise[0]["rows"], 1);
}

/// The weight, the place and the words of each finding.
fn findings(test: &Place, spec: &str, code: i32) -> Vec<String> {
    test.write("bookings.toml", spec);
    let report = test.json(&["check", "bookings.toml"], code);
    let one = |found: &serde_json::Value| {
        let text = |field: &str| found[field].as_str().expect("text").to_owned();
        format!(
            "{} {}:{}: {} | {}",
            text("severity"),
            found["line"],
            found["at"],
            text("what"),
            text("remedy")
        )
    };
    report["findings"].as_array().expect("findings").iter().map(one).collect()
}

#[test]
fn a_key_that_is_not_unique_is_told_whatever_else_is_wrong() {
    let test = Place::with_bookings(3);
    let told = findings(&test, &SPEC.replacen("{ id = \"booking_id\" }", "{ price = \"price\" }", 1), 1);
    for (side, table, column, choice) in
        [("old", "bookings", "price", "(id)"), ("new", "booking", "price", "(booking_id)")]
    {
        let what = format!(
            "error 13:7: `key`: no unique index of the {side} table {table} is over the key ({column})"
        );
        let found = told.iter().find(|told| told.starts_with(&what));
        assert!(found.is_some_and(|found| found.contains(choice)), "{what}: {told:#?}");
    }
    assert!(
        told.iter()
            .any(|told| told.contains("booking_id is NOT NULL") || told.contains("also given by `set`")),
        "{told:#?}"
    );
}

#[test]
fn a_rule_that_does_nothing_is_told_with_its_place() {
    let test = Place::with_bookings(3);
    test.sql("new.db", "ALTER TABLE booking ADD COLUMN seen_at TEXT");
    test.sql("old.db", "ALTER TABLE bookings ADD COLUMN seen_at TEXT");
    let told = |rule: &str| {
        let spec = SPEC.replacen("back = {", &format!("rules = [{{ {rule} }}]\nback = {{"), 1);
        let told = findings(&test, &spec, 0);
        told.into_iter().filter(|told| told.contains("`rules`")).collect::<Vec<_>>()
    };
    for (rule, what) in [
        ("column = \"booking_id\", ignore = true", "booking_id is the key's"),
        ("column = \"booking_id\", tolerance = 1", "booking_id is the key's"),
        ("column = \"price\", round = \"ms\"", "timestamps as text, and price holds integers"),
        ("column = \"note\", tolerance = 0.5", "numbers, and note holds bytes"),
    ] {
        let told = told(rule);
        assert!(
            told.len() == 1 && told[0].starts_with("warning 15:10: `rules`: ") && told[0].contains(what),
            "{told:?}"
        );
    }
    for rule in [
        "column = \"booking_id\", carry = true",
        "column = \"price\", tolerance = 1",
        "column = \"price\", carry = true }, { column = \"price\", round = \"ms\"",
        "column = \"seen_at\", round = \"ms\"",
        "column = \"seen_at\", tolerance = 0.5",
        "column = \"note\", ignore = true",
    ] {
        assert_eq!(told(rule), [""; 0], "{rule}");
    }
}

/// Without the new table, and with another old one: what `check` proposes.
fn proposed(test: &Place, old: &str, spec: &str) -> String {
    test.sql("old.db", &format!("DROP TABLE bookings; {old}"));
    test.sql("new.db", "DROP TABLE booking");
    test.write("bookings.toml", spec);
    let report = test.json(&["check", "bookings.toml"], 1);
    report["missing"][0]["create"].as_str().expect("SQL").to_owned()
}

/// What the mirror and the new side's service would miss is in the proposal, and what isn't is named there.
#[test]
fn a_proposed_table_keeps_what_the_old_one_keeps_and_names_what_it_does_not() {
    const ROOMY: &str = "
        CREATE TABLE hotels (id INTEGER PRIMARY KEY);
        CREATE TABLE bookings (
            id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL DEFAULT 'it''s open' COLLATE NOCASE,
            code TEXT COLLATE NOCASE UNIQUE, seats INTEGER NOT NULL DEFAULT -1 CHECK (seats < 9), at TEXT DEFAULT (date('2020-01-01')),
            price REAL DEFAULT 1.5, low TEXT AS (lower(state)), hotel INTEGER REFERENCES hotels (id), x ANY,
            raw BLOB DEFAULT x'00', CHECK (price > 0 OR seats > 0)) STRICT;
        CREATE INDEX by_state ON bookings (state);
        CREATE UNIQUE INDEX by_hotel ON bookings (hotel, code COLLATE BINARY);
        CREATE UNIQUE INDEX some_seats ON bookings (seats) WHERE seats > 3;
        CREATE TRIGGER counts AFTER INSERT ON bookings BEGIN SELECT 1; END;
        INSERT INTO bookings (id, state, code, x) VALUES (1, 'Open', 'a', '007'), (2, 'OPEN', 'B', 7);";
    let test = Place::with_bookings(1);
    let spec = SPEC.replacen("set = { passenger = \"name\", status = \"upper(state)\" }\n", "", 1);
    let spec = spec.replacen("back = { name = \"passenger\", state = \"lower(status)\" }\n", "", 1);
    let sql = proposed(&test, ROOMY, &spec);
    for lost in [
        "low, which the database computes",
        "CHECK (seats < 9)",
        "CHECK (price > 0 OR seats > 0)",
        "FOREIGN KEY (hotel) REFERENCES hotels (id)",
        "the index by_state",
        "the unique index some_seats",
        "the trigger counts",
    ] {
        assert!(sql.contains(&format!("/* not taken over: {lost} */")), "{lost}: {sql}");
    }
    test.sql("new.db", &sql);
    let report = test.json(&["check", "bookings.toml", "--data"], 0);
    let findings = report["findings"].as_array().expect("findings");
    let heavy: Vec<_> = findings.iter().filter(|found| found["severity"] != "note").collect();
    assert!(heavy.is_empty(), "{sql}\n{heavy:#?}");
    assert_eq!(report["data"][0]["otherwise"], serde_json::json!([]));
    test.changeover(&["copy", "bookings.toml"]).expect(0);
    let values = "SELECT booking_id, state, code, typeof(x), x FROM booking ORDER BY 1";
    assert_eq!(
        test.rows("new.db", values),
        test.rows("old.db", &values.replace("booking_id", "id").replace("booking ", "bookings "))
    );
    // An id that is gone isn't given out again, defaults are there, and what is unique is so by the same collations.
    test.sql("new.db", "DELETE FROM booking WHERE booking_id = 2; INSERT INTO booking (code) VALUES ('b')");
    let made = "SELECT booking_id, state, seats, at, price, raw FROM booking WHERE code = 'B'";
    assert_eq!(
        test.rows("new.db", made),
        ["Integer(3) | Text(\"it's open\") | Integer(-1) | Text(\"2020-01-01\") | Real(1.5) | Blob([0])"]
    );
    let again = test.open("new.db").execute_batch("INSERT INTO booking (code) VALUES ('A')");
    assert!(
        again.is_err_and(|refused| refused.to_string().contains("UNIQUE constraint failed: booking.code"))
    );
    assert_eq!(test.number("new.db", "SELECT count(*) FROM booking WHERE state = 'IT''S OPEN'"), 1);
}

#[test]
fn a_proposed_table_is_found_by_its_key_whatever_the_old_one_is_numbered_by() {
    // The old table, the key in the spec, and what stands in the proposal.
    for (old, key, has) in [
        (
            "id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT NOT NULL UNIQUE",
            "code",
            "\"id\" INTEGER PRIMARY KEY AUTOINCREMENT",
        ),
        ("id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE", "code", "UNIQUE (\"code\")"),
        ("code TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, n) WITHOUT ROWID; --", "code", ") WITHOUT ROWID;"),
        (
            "code TEXT NOT NULL, n, PRIMARY KEY (code COLLATE NOCASE)",
            "code",
            "PRIMARY KEY (\"code\" COLLATE NOCASE)",
        ),
    ] {
        let test = Place::with_bookings(1);
        let spec =
            SPEC.replacen("key = { id = \"booking_id\" }", &format!("key = {{ {key} = \"{key}\" }}"), 1);
        let spec = spec.replacen("set = { passenger = \"name\", status = \"upper(state)\" }\n", "", 1);
        let spec = spec.replacen("back = { name = \"passenger\", state = \"lower(status)\" }\n", "", 1);
        let sql = proposed(&test, &format!("CREATE TABLE bookings ({old});"), &spec);
        assert!(sql.contains(has), "{has}: {sql}");
        test.sql("new.db", &sql);
        let report = test.json(&["check", "bookings.toml", "--data"], 0);
        let findings = report["findings"].as_array().expect("findings");
        assert!(findings.iter().all(|found| found["severity"] == "note"), "{sql}\n{findings:#?}");
    }
}
