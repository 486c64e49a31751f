//! The life of a migration as its owner sees it: forward, back, forward again, retired; and every way that it ends
//! before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::{NEW_WRITE, OLD_IMAGE, OLD_WRITE, Place, SPEC, bookings, is_settled, wait_for};

/// What an application is told that writes to a side whose fence is shut.
#[track_caller]
fn refused(place: &Place, db: &str, sql: &str) -> String {
    match place.open(db).execute_batch(sql) {
        Ok(()) => panic!("{db} took it: {sql}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn forward_back_forward_and_retired() {
    let place = Place::with_bookings(400);
    let run = place.run();
    let status = place.json(&["status"], 0);
    assert_eq!(
        (&status["phase"], &status["flag"], &status["next"]["phase"]),
        (&"old".into(), &0.into(), &"shadow".into())
    );

    place.go(&["advance"], "shadow");
    place.sql("old.db", OLD_WRITE);
    place.sql("old.db", "DELETE FROM bookings WHERE id IN (3, 4)");
    run.until("copied and verified", is_settled);
    place.until_equal_sides();
    assert!(!refused(&place, "new.db", NEW_WRITE).is_empty(), "the follower is the mirror's alone");

    place.go(&["advance"], "reverse-shadow");
    let told = refused(&place, "old.db", OLD_WRITE);
    assert!(told.contains("changeover"), "a straggler is told by whom: {told}");
    place.sql("new.db", NEW_WRITE);
    place.sql("new.db", "INSERT INTO booking VALUES (5000, 'late', 'BOOKED', 5, NULL)");
    place.until_equal_sides();

    place.go(&["rollback"], "shadow");
    place.sql("old.db", OLD_WRITE);
    place.until_equal_sides();
    run.until("verified", is_settled);

    place.go(&["advance"], "reverse-shadow");
    place.sql("new.db", NEW_WRITE);
    place.until_equal_sides();
    run.until("verified again", is_settled);
    place.go(&["advance"], "new");
    place.sql("new.db", NEW_WRITE);
    let status = place.json(&["status"], 0);
    assert_eq!(status["rollback"]["safe"], true, "the log of the way back holds every change: {status}");

    place.go(&["rollback"], "reverse-shadow");
    place.until_equal_sides();
    run.until("verified again", is_settled);
    place.go(&["advance"], "new");
    place.sql("new.db", NEW_WRITE);

    let retired = place.json(&["retire", "--yes"], 0);
    assert_eq!(retired["phase"], "retired", "{retired}");
    assert!(retired["notes"].to_string().contains("bookings_retired"), "{retired}");
    // When it answers it is done.
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
    assert_eq!(
        place.number("old.db", "SELECT count(*) FROM sqlite_master WHERE name = 'bookings'"),
        0,
        "renamed"
    );
    let kept = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND sql LIKE '%price%'";
    assert_eq!(place.number("old.db", kept), 1, "and never dropped");
    place.sql("new.db", NEW_WRITE);
    place.changeover(&["rollback"]).expect(1);

    let audit = place.json(&["audit", "--limit", "1000"], 0);
    let moves =
        audit["entries"].as_array().expect("entries").iter().filter(|entry| entry["kind"] == "move").count();
    assert!(moves >= 8, "{audit}");
    drop(run);
    assert_eq!(place.json(&["status", "bookings"], 0)["source"], "state-file");
}

#[test]
fn a_table_that_moved_in_part_keeps_its_name_and_that_is_told_once() {
    let place = Place::with_bookings(30);
    place.write("bookings.toml", SPEC.replace("set = {", "where = \"id <= 20\"\nset = {"));
    let run = place.run();
    for phase in ["shadow", "reverse-shadow", "new"] {
        place.go(&["advance"], phase);
        if phase != "new" {
            run.until("settled", is_settled);
        }
    }
    let retired = place.json(&["retire", "--yes"], 0);
    assert!(retired["notes"].to_string().contains("keeps its name"), "{retired}");
    place.sql("old.db", "UPDATE bookings SET price = 1 WHERE id > 20");
    let told = || {
        let audit = place.json(&["audit", "--limit", "1000"], 0);
        let entries = audit["entries"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["text"].to_string().contains("keeps its name")).count()
    };
    assert_eq!(told(), 1);
    assert_eq!(run.stop().0, Some(0));
    place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(1).says("is over");
    assert_eq!(told(), 1);
    assert_eq!(place.json(&["status"], 0)["phase"], "retired");
}

#[test]
fn a_closed_gate_is_no_and_an_override_is_kept_in_the_audit() {
    let place = Place::with_bookings(100);
    place.write(
        "bookings.toml",
        SPEC.replace("reverse-shadow = \"0s\"", "shadow = \"1d\", reverse-shadow = \"0s\""),
    );
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied and verified", is_settled);
    let ended = place.changeover(&["advance"]).expect(1);
    ended.says("bake-time");
    let status = place.json(&["status"], 0);
    let closed = status["next"]["gates"].as_array().expect("gates").iter().find(|gate| gate["open"] == false);
    assert_eq!(closed.map(|gate| &gate["gate"]), Some(&"bake-time".into()), "{status}");
    place.go(&["advance", "--override", "bake-time", "--reason", "a test system"], "reverse-shadow");
    let audit = place.changeover(&["audit"]).expect(0);
    let told = audit.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("override") && told.contains("a test system"), "{}", audit.out);
}

#[test]
fn status_leads_with_what_a_person_needs() {
    let place = Place::with_bookings(10);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied and verified", is_settled);
    let status = place.changeover(&["status"]).expect(0).out;
    let lines: Vec<&str> = status.lines().collect();
    assert!(lines[0].starts_with("bookings: shadow since "), "{status}");
    for wanted in ["next", "blocked by", "rollback", "to undo", "changeover rollback", "no reads compared"] {
        assert!(status.contains(wanted), "{wanted}: {status}");
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{status}");
    let mut narrow = place.command(&["status", "--color", "always"]);
    let narrow = narrow.env("COLUMNS", "80").output().expect("it starts").stdout;
    assert!(String::from_utf8_lossy(&narrow).contains("\u{1b}["), "coloured where it is asked for");
}

#[test]
fn abort_leaves_nothing_behind_but_the_new_rows() {
    let place = Place::with_bookings(200);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied and verified", is_settled);
    place.go(&["abort", "--yes"], "old");
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
    assert_eq!(place.number("new.db", "SELECT count(*) FROM booking"), 200);
    place.sql("old.db", OLD_WRITE);
    place.sql("new.db", NEW_WRITE);
    // And it may be begun again: the rows that were there are levelled.
    place.go(&["advance"], "shadow");
    run.until("copied and verified again", is_settled);
    place.until_equal_sides();
    place.go(&["advance"], "reverse-shadow");
    place.changeover(&["abort", "--yes"]).expect(1).says("rollback");
}

#[test]
fn the_simple_path_copies_with_writes_stopped() {
    let place = Place::with_bookings(300);
    let simple = SPEC
        .replace("name = \"bookings\"\n", "name = \"bookings\"\nphases = [\"old\", \"new\"]\n")
        .replace("reverse-shadow = \"0s\", ", "");
    place.write("bookings.toml", simple);
    let run = place.run();
    place.changeover(&["advance"]).expect(0);
    run.until("it is in new", |status| status["phase"] == "new" && status["moving"].is_null());
    place.until_equal_sides();
    place.sql("new.db", NEW_WRITE);
    assert!(!refused(&place, "old.db", OLD_WRITE).is_empty());
}

#[test]
fn pause_rests_the_copy_and_never_the_mirror() {
    let place = Place::with_bookings(50);
    let run = place.run();
    place.changeover(&["pause"]).expect(0);
    place.go(&["advance"], "shadow");
    // What it waits for is said where it is met.
    place.changeover(&["advance"]).expect(1).says("paused").says("changeover resume");
    let shown = place.changeover(&["status"]).expect(0).out;
    assert!(shown.contains("blocked by  paused"), "{shown}");
    place.changeover(&["resume"]).expect(0);
    run.until("copied", is_settled);
    place.changeover(&["pause"]).expect(0);
    run.until("paused", |status| status["paused"] == true);
    place.sql("old.db", &bookings(100, 110));
    wait_for("the mirror goes on", || {
        place.number("new.db", "SELECT count(*) FROM booking WHERE booking_id >= 100") == 11
    });
    place.changeover(&["resume"]).expect(0);
    run.until("resumed", |status| status["paused"] == false && is_settled(status));
}

#[test]
fn the_flag_is_in_its_file_and_behind_its_path() {
    let place = Place::with_bookings(10);
    let run = place.run_with(&["--flag-file", "flag"], &[]);
    wait_for("the flag is there", || place.path("flag").exists());
    assert_eq!(place.read("flag").trim(), "0");
    place.go(&["advance"], "shadow");
    wait_for("the flag has followed", || place.read("flag").trim() == "1");
    let answer = get(&place, "flag", None);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"flag\":1"), "{answer}");
    drop(run);
}

#[test]
fn what_stays_installed_is_told_on_stop() {
    let place = Place::with_bookings(20);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied", is_settled);
    let (code, said) = run.stop();
    assert_eq!(code, Some(0), "{said}");
    for wanted in ["stay", "changeover_", "log", "changeover run bookings.toml"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!place.path(".changeover/bookings.run").exists());
    place.sql("old.db", OLD_WRITE);
    let run = place.run();
    run.until("what came meanwhile is carried", is_settled);
    place.until_equal_sides();
}

#[test]
fn two_runs_of_one_migration_are_refused() {
    let place = Place::with_bookings(5);
    let run = place.run();
    let second = place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(1);
    second.says("bookings").says(&format!("changeover run of `bookings`, process {}", run.pid()));
    // With a state of its own it is refused all the same: the lock is in the store.
    let state = ["run", "bookings.toml", "--listen", "127.0.0.1:0", "--state", "other/state.db"];
    place.changeover(&["advance"]).expect(0);
    let elsewhere = place.changeover(&state).expect(1);
    elsewhere.says(&format!("process {}", run.pid()));
    run.until("the first goes on", is_settled);
}

#[test]
fn a_run_that_was_killed_goes_on_in_every_phase() {
    let place = Place::with_bookings(300);
    let mut run = place.run();
    for (command, phase, write) in [
        ("advance", "shadow", ("old.db", OLD_WRITE)),
        ("advance", "reverse-shadow", ("new.db", NEW_WRITE)),
        ("rollback", "shadow", ("old.db", OLD_WRITE)),
        ("advance", "reverse-shadow", ("new.db", NEW_WRITE)),
        ("advance", "new", ("new.db", NEW_WRITE)),
        ("rollback", "reverse-shadow", ("new.db", NEW_WRITE)),
    ] {
        place.go(&[command], phase);
        run.kill();
        place.sql(write.0, write.1);
        run = place.run();
        let status = place.json(&["status"], 0);
        assert_eq!(status["phase"], phase, "{status}");
        if phase != "new" {
            run.until("settled", is_settled);
            place.until_equal_sides();
        }
    }
}

/// Found out before everything is at its end: there is no way back from there for a name.
#[test]
fn what_cant_be_renamed_isnt_retired() {
    let place = Place::with_bookings(50);
    let run = place.run();
    for phase in ["shadow", "reverse-shadow", "new"] {
        place.go(&["advance"], phase);
        run.until("settled", is_settled);
    }
    place.sql("old.db", "CREATE TABLE bookings_retired (x)");
    let refused = place.changeover(&["retire", "--yes"]).expect(1);
    refused.says("already another table or index with this name: bookings_retired").says("NAME_retired");
    assert_eq!(place.json(&["status"], 0)["phase"], "new");
    place.go(&["rollback"], "reverse-shadow");
    run.until("settled", is_settled);
    place.until_equal_sides();
    place.go(&["advance"], "new");
    place.sql("old.db", "DROP TABLE bookings_retired");
    assert_eq!(place.json(&["retire", "--yes"], 0)["phase"], "retired");
}

#[test]
fn a_mapping_that_changed_in_mid_backfill_is_refused_and_nothing_is_lost() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.kill();
    place.changeover(&["check", "bookings.toml"]).expect(0);
    for database in ["old.db", "new.db"] {
        place.sql(database, "CREATE TABLE seats (id INTEGER PRIMARY KEY)");
    }
    let more = "\n[[table]]\nold = \"legacy:seats\"\nnew = \"flights:seats\"\nkey = { id = \"id\" }\n";
    for (text, what) in [
        (
            SPEC.replace("upper(state)", "lower(state)"),
            "`table.bookings.set` changed: the backfill must begin anew",
        ),
        (format!("{SPEC}{more}"), "`table.seats` is new: the backfill must begin anew"),
    ] {
        place.write("bookings.toml", text);
        let ended = place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(2);
        ended.says(what).says("rollback --to old");
        // Said beforehand.
        let checked = place.changeover(&["check", "bookings.toml"]).expect(1);
        let said = checked.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(what) && said.contains("rollback --to old"), "{}", checked.out);
    }
    place.write("bookings.toml", SPEC);
    let run = place.run();
    run.until("settled", is_settled);
    place.until_equal_sides();
}

#[test]
fn a_table_that_changes_while_it_runs_is_noticed() {
    let place = Place::with_bookings(100);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.sql("old.db", "ALTER TABLE bookings ADD COLUMN seat TEXT");
    wait_for("it is noticed, and an unclean event", || {
        let audit = place.json(&["audit"], 0);
        let entries = audit["entries"].as_array().expect("entries");
        entries
            .iter()
            .any(|entry| entry["kind"] == "unclean" && entry["text"].to_string().contains("bookings"))
    });
    place.sql("old.db", OLD_WRITE);
    assert_eq!(place.rows("old.db", OLD_IMAGE).len(), 100, "the service goes on");
}

#[test]
fn a_call_without_the_token_is_refused() {
    let place = Place::with_bookings(5);
    let run = place.run();
    let file = place.read(".changeover/bookings.run");
    let known: Value = serde_json::from_str(&file).expect("the run's file is JSON");
    let token = known["token"].as_str().expect("a token").to_owned();
    assert!(token.len() >= 32, "long enough that nobody guesses it");
    assert!(get(&place, "status", None).starts_with("HTTP/1.1 401"), "no token");
    assert!(get(&place, "status", Some("0000")).starts_with("HTTP/1.1 401"), "a wrong one");
    assert!(get(&place, "status", Some(&token)).starts_with("HTTP/1.1 200"), "the right one");
    place.write(".changeover/bookings.run", file.replace(&token, "0000"));
    let ended = place.changeover(&["advance"]).expect(2);
    ended.says("token");
    place.write(".changeover/bookings.run", &file);
    let all = place.changeover(&["-vv", "status"]).expect(0);
    assert!(!all.out.contains(&token) && !all.err.contains(&token), "the token is in no output");
    drop(run);
    assert!(!place.read("run.err").contains(&token));
}

#[test]
fn a_share_of_the_keys_needs_dual_write() {
    let place = Place::with_bookings(30);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    let ended = place.changeover(&["advance", "--share", "10%"]).expect(1);
    assert!(!ended.err.is_empty());
    assert_eq!(place.json(&["status"], 0)["phase"], "shadow");
}

#[test]
fn every_answer_is_json_where_that_is_asked_for() {
    let place = Place::with_bookings(30);
    let run = place.run_with(&["--json"], &[]);
    for arguments in [&["status"][..], &["instances"], &["mismatches"], &["audit"], &["pause"], &["resume"]] {
        assert!(place.json(arguments, 0).is_object(), "{arguments:?}");
    }
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.go(&["rollback"], "old");
    place.go(&["abort", "--yes"], "old");
    for (arguments, code) in [(&["adopt", "--yes"][..], 1), (&["instances", "forget", "x", "--yes"], 1)] {
        let ended = place.changeover(&[arguments, &["--json"]].concat());
        assert!(ended.json().is_object());
        assert!(ended.code == Some(code) || ended.code == Some(0), "{ended:?}");
    }
    let (code, _) = run.stop();
    assert_eq!(code, Some(0));
    let said = place.read("run.out");
    let events: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("an event")).collect();
    assert_eq!(names, ["up", "stopped"], "{said}");
}

/// What the API answers to a plain request, as any program on this machine may make one.
#[track_caller]
fn get(place: &Place, path: &str, token: Option<&str>) -> String {
    use std::io::{Read as _, Write as _};
    let known: Value = serde_json::from_str(&place.read(".changeover/bookings.run")).expect("JSON");
    let address = known["address"].as_str().expect("an address");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "GET /v1/migrations/bookings/{path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[cfg(unix)]
#[test]
fn the_runs_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::with_bookings(5);
    let _run = place.run();
    let mode =
        std::fs::metadata(place.path(".changeover/bookings.run")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn after_a_kill_the_commands_say_that_it_is_gone() {
    let place = Place::with_bookings(5);
    place.run().kill();
    place.changeover(&["advance"]).expect(3).says("changeover run");
    assert_eq!(place.json(&["status"], 0)["source"], "state-file");
}

#[test]
fn rows_that_changed_behind_its_back_are_found_by_verify_while_it_runs() {
    let place = Place::with_bookings(200);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    // Someone with a tool that obeys no trigger.
    let tool = place.open("new.db");
    tool.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("no triggers");
    tool.execute_batch("UPDATE booking SET passenger = 'nobody' WHERE booking_id = 77").expect("a write");
    let found = place.json(&["verify", "bookings.toml"], 1);
    assert!(found.to_string().contains("nobody"), "{found}");
    place.changeover(&["verify", "bookings.toml", "--repair"]).expect(0);
    place.until_equal_sides();
}

/// No run starts without the new side's database; the old one would stay shut to everybody.
#[test]
fn with_the_new_database_gone_and_no_run_there_it_still_goes_back() {
    let place = Place::with_bookings(50);
    let flag = place.path("bookings.flag");
    let run = place.run_with(&["--flag-file", "bookings.flag"], &[]);
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.go(&["advance"], "reverse-shadow");
    place.sql("new.db", NEW_WRITE);
    run.kill();
    // Not while there is a better way.
    let file = ["rollback", "--leave-behind", "left.jsonl", "--reason", "the disk died"];
    place.changeover(&file).expect(1).says("start `changeover run");
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path(&format!("new.db{ending}")));
    }
    place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(3).says("new.db");
    refused(&place, "old.db", OLD_WRITE);
    place.go(&file, "old");
    place.sql("old.db", OLD_WRITE);
    assert_eq!(std::fs::read_to_string(&flag).expect("the flag"), "0\n");
    assert!(place.read("left.jsonl").contains("exposure"));
    let audit = place.changeover(&["audit"]).expect(0).out;
    assert!(audit.contains("the disk died"), "{audit}");
    // Once more is a way back from nothing; and with a new database it begins anew.
    place.changeover(&["rollback", "--leave-behind", "more.jsonl"]).expect(1).says("nothing has to go back");
    place.sql("new.db", support::NEW);
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.go(&["advance"], "reverse-shadow");
    place.assert_equal_sides();
}

/// By another name it is another migration, which would begin in `old` and take for missing what was written since.
#[test]
fn a_spec_whose_name_changed_in_the_midst_begins_nothing() {
    let place = Place::with_bookings(50);
    let run = place.run_with(&["--flag-file", "bookings.flag"], &[]);
    place.go(&["advance"], "shadow");
    run.until("settled", is_settled);
    place.go(&["advance"], "reverse-shadow");
    assert_eq!(run.stop().0, Some(0));
    place.sql("new.db", NEW_WRITE);
    place.write("bookings.toml", SPEC.replacen("name = \"bookings\"", "name = \"renamed\"", 1));
    let run = ["run", "bookings.toml", "--listen", "127.0.0.1:0", "--flag-file", "bookings.flag"];
    for command in [
        &run[..],
        &["copy", "bookings.toml"],
        &["verify", "bookings.toml", "--repair"],
        &["rehearse", "bookings.toml"],
    ] {
        place.changeover(command).expect(1).says("the migration `bookings`").says("name = \"bookings\"");
    }
    let told = place.changeover(&["check", "bookings.toml"]).expect(1).out;
    assert!(told.contains("the migration `bookings` has capture or a fence on the table"), "{told}");
    assert_eq!(place.read("bookings.flag"), "2\n");
    place.write("bookings.toml", SPEC);
    let run = place.run();
    run.until("it goes on", is_settled);
    place.assert_equal_sides();
}
