//! `copy` and `verify` on real databases: what they copy, what they find, what they repair, and how they say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::{OLD_IMAGE, Place, SPEC, bookings, wait_for};

/// The one table of a report.
#[track_caller]
fn table(report: &Value) -> &Value {
    let tables = report["tables"].as_array().unwrap_or_else(|| panic!("tables: {report}"));
    assert_eq!(tables.len(), 1, "{report}");
    &tables[0]
}

#[test]
fn copy_copies_and_compares_everything_and_installs_nothing() {
    let place = Place::with_bookings(5_000);
    let report = place.json(&["copy", "bookings.toml"], 0);
    place.assert_equal_sides();
    let told = table(&report);
    for (name, count) in [
        ("rows_old", 5_000),
        ("rows_new", 5_000),
        ("rows_copied", 5_000),
        ("rows_compared", 5_000),
        ("differing", 0),
        ("missing", 0),
        ("extra", 0),
        ("equal_by_rule", 0),
        ("refused", 0),
    ] {
        assert_eq!(told[name], count, "{name}: {report}");
    }
    for name in ["seconds", "rows_per_second", "bytes", "peak_memory_bytes"] {
        assert!(report[name].as_f64().is_some_and(|n| n > 0.0), "{name}: {report}");
    }
    assert_eq!(place.installed("old.db"), [""; 0], "nothing is installed on the old side");
}

/// What lies in the log beside a file isn't in a copy of the file.
#[test]
fn a_database_is_one_file_again_when_a_command_or_a_run_has_ended() {
    let place = Place::with_bookings(500);
    let logs = || ["old.db-wal", "new.db-wal"].map(|name| place.path(name).exists());
    for command in [&["check", "bookings.toml"][..], &["copy", "bookings.toml"], &["verify", "bookings.toml"]]
    {
        place.changeover(command).expect(0);
        assert_eq!(logs(), [false; 2], "{command:?}");
    }
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied and verified", support::is_settled);
    assert_eq!(run.stop().0, Some(0));
    assert_eq!(logs(), [false; 2]);
}

/// What only the new table's own CHECK refuses is told beforehand, and once, with its cause, by whatever meets it.
#[test]
fn rows_that_a_check_of_the_new_table_refuses_are_named_with_the_cause() {
    let place = Place::with_bookings(40);
    place.sql("new.db", "DROP TABLE booking");
    place
        .sql("new.db", &support::NEW.replacen("status TEXT", "status TEXT CHECK (status <> 'CANCELLED')", 1));
    place.sql(
        "old.db",
        "UPDATE bookings SET state = 'booked'; UPDATE bookings SET state = 'cancelled' WHERE id IN (3, 30)",
    );
    let why = "CHECK constraint failed";
    let checked = place.json(&["check", "bookings.toml", "--data"], 1);
    let told = checked["data"].to_string();
    assert!(told.contains(why) && told.contains("\"rows\":38") && told.contains("(30)"), "{told}");
    for command in [
        &["copy", "bookings.toml"][..],
        &["rehearse", "bookings.toml"],
        &["verify", "bookings.toml", "--repair"],
    ] {
        let report = place.json(command, 1);
        let told = table(&report);
        assert_eq!(
            (&told["refused"], &told["missing"], &told["rows_new"]),
            (&2.into(), &0.into(), &38.into()),
            "{report}"
        );
        assert_eq!(report["differences"].to_string(), "[]");
        let refusals = report["refusals"].to_string();
        assert!(refusals.matches(why).count() == 2 && refusals.contains("\"30\""), "{refusals}");
    }
}

#[test]
fn copy_tells_a_person_what_it_did() {
    let place = Place::with_bookings(1_234);
    let ended = place.changeover(&["copy", "bookings.toml"]).expect(0);
    assert!(ended.out.contains("1,234"), "{}", ended.out);
    assert!(!ended.out.contains('\u{1b}'), "no colours in a pipe: {}", ended.out);
}

#[test]
fn copy_again_after_changes_levels_both_sides() {
    let place = Place::with_bookings(300);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.sql(
        "old.db",
        "DELETE FROM bookings WHERE id % 10 = 0; UPDATE bookings SET price = 1 WHERE id % 7 = 0",
    );
    place.sql("old.db", &bookings(1_000, 1_010));
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}

#[test]
fn an_id_whose_row_is_gone_is_not_given_out_again_after_a_copy() {
    let next = |old: &str| {
        let place = Place::empty();
        place.sql("old.db", &support::OLD.replace("id INTEGER PRIMARY KEY", old));
        place
            .sql("new.db", &support::NEW.replace("INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"));
        place.sql("old.db", &bookings(1, 3));
        place.sql("old.db", "DELETE FROM bookings WHERE id = 3");
        place.write("bookings.toml", SPEC);
        place.changeover(&["copy", "bookings.toml"]).expect(0);
        place.sql("new.db", "INSERT INTO booking (passenger, status) VALUES ('Zoë', 'BOOKED')");
        assert_eq!(place.installed("new.db"), [""; 0]);
        place.number("new.db", "SELECT max(booking_id) FROM booking")
    };
    assert_eq!(next("id INTEGER PRIMARY KEY AUTOINCREMENT"), 4);
    // A database without any such counter gives out the greatest and one.
    assert_eq!(next("id INTEGER PRIMARY KEY"), 3);
}

#[test]
fn verify_finds_every_kind_of_difference_and_names_it() {
    let place = Place::with_bookings(2_000);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.changeover(&["verify", "bookings.toml"]).expect(0);
    place.sql("new.db", "UPDATE booking SET passenger = 'nobody' WHERE booking_id = 1");
    place.sql("new.db", "DELETE FROM booking WHERE booking_id = 2000");
    place.sql("new.db", "INSERT INTO booking VALUES (-5, 'ghost', 'BOOKED', 1, NULL)");
    place.sql("old.db", "UPDATE bookings SET price = 77 WHERE id = 1000");
    let report = place.json(&["verify", "bookings.toml"], 1);
    let told = table(&report);
    assert_eq!(
        (&told["differing"], &told["missing"], &told["extra"]),
        (&2.into(), &1.into(), &1.into()),
        "{report}"
    );
    let differences = report["differences"].as_array().expect("differences");
    let of = |key: i64| {
        let found =
            differences.iter().find(|difference| difference["key"].to_string().contains(&key.to_string()));
        found.unwrap_or_else(|| panic!("{key}: {report}"))
    };
    assert_eq!(of(1)["table"], "bookings");
    assert_eq!(of(1)["column"], "passenger", "{report}");
    assert!(of(1).to_string().contains("nobody") && of(1).to_string().contains("passenger 1"), "{report}");
    assert_eq!(of(1000)["column"], "price", "{report}");
    assert_eq!(differences.len(), 4, "{report}");
    // A row that one side lacks is shown as the other has it, in the new side's shape.
    let (missing, extra) = (of(2000), of(-5));
    assert_eq!((&missing["kind"], &extra["kind"]), (&"missing".into(), &"extra".into()), "{report}");
    assert_eq!(missing["old_row"]["passenger"], "'passenger 2000'", "{report}");
    assert_eq!(missing["old_row"]["status"], "'BOOKED'", "{report}");
    assert_eq!(extra["new_row"]["passenger"], "'ghost'", "{report}");
    assert_eq!(extra["new_row"]["note"], "NULL", "{report}");
    assert!(
        missing["new_row"].is_null() && extra["old_row"].is_null() && of(1)["old_row"].is_null(),
        "{report}"
    );

    let ended = place.changeover(&["verify", "bookings.toml"]).expect(1);
    assert!(
        ["nobody", "2000", "-5", "ghost", "passenger 2000"].iter().all(|wanted| ended.out.contains(wanted)),
        "{}",
        ended.out
    );
}

#[test]
fn verify_tells_how_many_bytes_it_compared() {
    let place = Place::with_bookings(1_500);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    let bytes = |db: &str, table: &str, columns: &str| {
        let [id, name, state] = columns.split(' ').collect::<Vec<_>>()[..] else { panic!("{columns}") };
        let sql = format!(
            "SELECT sum(iif({id} IS NULL, 0, 8) + length({name}) + length({state}) + iif(price IS NULL, 0, 8)
                 + coalesce(length(note), 0)) FROM {table}"
        );
        place.number(db, &sql)
    };
    let there = bytes("old.db", "bookings", "id name state")
        + bytes("new.db", "booking", "booking_id passenger status");
    let report = place.json(&["verify", "bookings.toml"], 0);
    assert_eq!(report["bytes"], there, "{report}");
}

#[test]
fn verify_repairs_the_new_side_when_asked_to() {
    let place = Place::with_bookings(500);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    let old = place.rows("old.db", OLD_IMAGE);
    place.sql("new.db", "UPDATE booking SET price = -1 WHERE booking_id IN (1, 250, 500)");
    place.sql("new.db", "DELETE FROM booking WHERE booking_id = 42");
    place.sql("new.db", "INSERT INTO booking VALUES (9999, 'ghost', 'BOOKED', 1, NULL)");
    place.changeover(&["verify", "bookings.toml", "--repair"]).expect(0);
    place.assert_equal_sides();
    assert_eq!(place.rows("old.db", OLD_IMAGE), old, "the authority isn't touched");
    place.changeover(&["verify", "bookings.toml"]).expect(0);
}

#[test]
fn values_are_redacted_as_the_spec_says() {
    let place = Place::with_bookings(100);
    place.write("bookings.toml", format!("{SPEC}\n[evidence]\nredact = [\"passenger\"]\n"));
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.sql("new.db", "UPDATE booking SET passenger = 'secret name' WHERE booking_id = 7");
    place.sql("new.db", "DELETE FROM booking WHERE booking_id = 9");
    for arguments in [&["verify", "bookings.toml"][..], &["verify", "bookings.toml", "--json"]] {
        let ended = place.changeover(arguments).expect(1);
        let all = format!("{}{}", ended.out, ended.err);
        assert!(
            all.contains("passenger")
                && ["secret name", "passenger 7", "passenger 9"].iter().all(|secret| !all.contains(secret)),
            "{all}"
        );
    }
}

#[test]
fn a_column_is_redacted_by_its_name_on_the_old_side_too() {
    let place = Place::with_bookings(30);
    place.write("bookings.toml", format!("{SPEC}\n[evidence]\nredact = [\"Name\", \"bookings.id\"]\n"));
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.sql("new.db", "UPDATE booking SET passenger = 'secret name' WHERE booking_id = 17");
    let ended = place.changeover(&["verify", "bookings.toml", "--json"]).expect(1);
    assert_eq!(ended.json()["differences"][0]["column"], "passenger", "{}", ended.out);
    for secret in ["secret name", "passenger 17", "\"17\""] {
        assert!(!ended.out.contains(secret), "{secret}: {}", ended.out);
    }
}

#[test]
fn a_slip_in_redact_is_told_before_anything_is_shown() {
    let place = Place::with_bookings(1);
    for (entry, told) in [
        ("nope", "`redact` names nope, which is no column of any mapping"),
        ("bookings.pasenger", "did you mean \"passenger\"?"),
    ] {
        place.write("bookings.toml", format!("{SPEC}\n[evidence]\nredact = [\"price\", \"{entry}\"]\n"));
        for (command, code) in [("check", 1), ("copy", 2), ("verify", 2), ("run", 2), ("rehearse", 2)] {
            let mut ended = place.changeover(&[command, "bookings.toml"]).expect(code);
            ended.err += &ended.out;
            ended.says("bookings.toml:21:20: ").says(told);
        }
    }
    assert_eq!(place.number("new.db", "SELECT count(*) FROM booking"), 0, "nothing was done");
}

#[test]
fn rows_that_count_as_equal_by_a_rule_are_counted() {
    let place = Place::with_bookings(50);
    place.write(
        "bookings.toml",
        SPEC.replace("back = {", "rules = [{ column = \"note\", ignore = true }]\nback = {"),
    );
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.sql("new.db", "UPDATE booking SET note = x'00' WHERE booking_id <= 3");
    let report = place.json(&["verify", "bookings.toml"], 0);
    assert_eq!(table(&report)["equal_by_rule"], 3, "{report}");
}

#[test]
fn a_value_that_does_not_fit_is_refused_by_name_and_never_dropped() {
    let place = Place::with_bookings(2);
    // SQLite takes a text in a column for integers; who loads such a table elsewhere may lose the row without a word.
    place.sql("old.db", "INSERT INTO bookings VALUES (3, 'c', 'booked', 'twelve', NULL)");
    let ended = place.changeover(&["copy", "bookings.toml"]).expect(1);
    assert!(format!("{}{}", ended.out, ended.err).contains("price"), "{ended:?}");
    let report = place.json(&["copy", "bookings.toml"], 1);
    assert_eq!(table(&report)["refused"], 1, "{report}");
    assert!(report.to_string().contains("carry"), "the remedy: {report}");
    assert_eq!(place.number("new.db", "SELECT count(*) FROM booking"), 2);

    // Whoever mends the row is to mend it once.
    place.sql("old.db", "UPDATE bookings SET note = 'no bytes' WHERE id = 3");
    for command in [&["copy", "bookings.toml"][..], &["check", "bookings.toml", "--data"]] {
        let ended = place.changeover(command).expect(1);
        let told = format!("{}{}", ended.out, ended.err).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains("integers (price INTEGER)")
                && told.contains("; and text in a column for bytes (note"),
            "{told}"
        );
    }
    place.sql("old.db", "UPDATE bookings SET note = NULL WHERE id = 3");

    place.write(
        "bookings.toml",
        SPEC.replace("back = {", "rules = [{ column = \"price\", carry = true }]\nback = {"),
    );
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    assert_eq!(place.rows("new.db", "SELECT price FROM booking WHERE booking_id = 3"), ["Text(\"twelve\")"]);
}

#[test]
fn a_copy_that_was_killed_goes_on() {
    let place = Place::with_bookings(60_000);
    let mut child = place.command(&["copy", "bookings.toml"]).spawn().expect("it starts");
    wait_for("some rows are copied", || {
        place.number("new.db", "SELECT count(*) FROM booking") > 0
            || child.try_wait().is_ok_and(|end| end.is_some())
    });
    let _ = child.kill();
    let _ = child.wait();
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}

#[test]
fn what_changed_during_the_copy_is_said_and_is_not_success() {
    let place = Place::with_bookings(60_000);
    let mut child = place.command(&["copy", "bookings.toml", "--json"]);
    let child = child
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for("it has begun", || place.number("new.db", "SELECT count(*) FROM booking") > 0);
    place.sql("old.db", "UPDATE bookings SET price = price + 1 WHERE id IN (1, 2, 3)");
    let output = child.wait_with_output().expect("it ends");
    let all = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert!(all.contains("changed"), "{all}");
}

/// Ctrl-C in the middle: said, with its exit code, and the same command goes on.
#[test]
fn a_copy_that_is_stopped_says_so_and_goes_on_when_called_again() {
    let place = Place::with_bookings(2_000);
    let blocker = place.open("new.db");
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let err = std::fs::File::create(place.path("copy.err")).unwrap();
    let mut child = place.command(&["copy", "bookings.toml"]).stderr(err).spawn().unwrap();
    let at_work = || {
        let names = std::fs::read_dir(place.path(".")).unwrap();
        names.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("new.db.changeover-"))
    };
    wait_for("it is at work", at_work);
    let mut status = None;
    wait_for("it stops", || {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    assert!(place.read("copy.err").contains("goes on from there"), "{}", place.read("copy.err"));
    blocker.execute_batch("ROLLBACK").unwrap();
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}
