//! Bad input, as real as it can be made: a clear error that names the thing and the remedy, the right exit code, and
//! nothing lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use support::{Ended, NEW_IMAGE, OLD_IMAGE, Place, SPEC};

/// The commands that open the databases.
const ALL: [&str; 4] = ["check", "copy", "verify", "rehearse"];

#[test]
fn a_database_that_is_missing_is_named_and_never_made() {
    for (missing, other) in [("old.db", "new.db"), ("new.db", "old.db")] {
        let place = Place::with_bookings(3);
        for name in [missing.to_owned(), format!("{missing}-wal"), format!("{missing}-shm")] {
            let _ = std::fs::remove_file(place.path(&name));
        }
        for command in ALL {
            place.changeover(&[command, "bookings.toml"]).expect(3).says(missing);
            assert!(!place.path(missing).exists(), "{command} makes no database");
        }
        let (code, said) = ended(&place);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(missing), "{said}");
        assert!(place.path(other).exists());
    }
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let place = Place::with_bookings(3);
    place.write("new.db", "dear diary, ".repeat(1_000));
    let _ = std::fs::remove_file(place.path("new.db-wal"));
    let _ = std::fs::remove_file(place.path("new.db-shm"));
    for command in ALL {
        place.changeover(&[command, "bookings.toml"]).expect(3).says("new.db").says("database");
    }
}

#[test]
fn a_locked_database_is_waited_for_and_then_named() {
    let place = Place::with_bookings(3);
    let holder = place.open("new.db");
    holder.execute_batch("BEGIN IMMEDIATE; UPDATE booking SET price = 1").expect("a lock");
    let ended = place.changeover(&["copy", "bookings.toml"]).expect(3);
    ended.says("locked");
    holder.execute_batch("ROLLBACK").expect("no lock");
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}

#[test]
fn a_database_that_can_not_be_written_is_named() {
    let place = Place::with_bookings(3);
    std::fs::set_permissions(place.path("new.db"), std::fs::Permissions::from_mode(0o444)).expect("a mode");
    let user = OrdinaryUser::of(&place);
    let checked = user.changeover(&["check", "bookings.toml"]).expect(1);
    assert!(checked.out.contains("may not write the store flights"), "{}", checked.out);
    user.changeover(&["copy", "bookings.toml"]).expect(3).says("new.db").says("the right to write");
    user.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"])
        .expect(3)
        .says("new.db")
        .says("the right to write");
    assert_eq!(place.number("new.db", "SELECT count(*) FROM booking"), 0, "nothing was written");
    std::fs::set_permissions(place.path("new.db"), std::fs::Permissions::from_mode(0o644)).expect("a mode");
    user.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}

#[test]
fn a_folder_that_a_state_can_not_be_written_to_is_named() {
    let place = Place::with_bookings(3);
    let user = OrdinaryUser::of(&place);
    std::fs::create_dir(place.path("shut")).expect("a folder");
    std::fs::set_permissions(place.path("shut"), std::fs::Permissions::from_mode(0o555)).expect("a mode");
    let run = ["run", "bookings.toml", "--listen", "127.0.0.1:0", "--state", "shut/state.db"];
    user.changeover(&run).expect(3).says("shut/state.db");
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
}

#[test]
fn a_full_disk_loses_nothing_and_the_copy_goes_on_afterwards() {
    let place = Place::with_bookings(20_000);
    // The shell's limit on the size of files stands for a disk with so little room: writes fail in the same place.
    let ended = Command::new("sh")
        .args(["-c", "ulimit -f 300; trap '' XFSZ; exec \"$0\" copy bookings.toml"])
        .arg(env!("CARGO_BIN_EXE_changeover"))
        .current_dir(place.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("new.db") || said.contains("flights"), "{said}");
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    place.assert_equal_sides();
}

#[test]
fn a_captured_database_must_be_in_wal_and_the_command_that_changes_it_is_told() {
    let place = Place::with_bookings(3);
    place.sql("old.db", "PRAGMA journal_mode = DELETE");
    let ended = place.changeover(&["check", "bookings.toml"]).expect(1);
    assert!(ended.out.contains("WAL") || ended.err.contains("WAL"), "{ended:?}");
    let all = format!("{}{}", ended.out, ended.err);
    assert!(all.contains("PRAGMA journal_mode"), "{all}");
    assert_eq!(place.rows("old.db", "PRAGMA journal_mode"), ["Text(\"delete\")"], "check changes nothing");
}

#[test]
fn a_table_without_a_usable_key_is_refused_with_the_choices() {
    let place = Place::with_bookings(0);
    place.sql("old.db", "DROP TABLE bookings; CREATE TABLE bookings (id INTEGER, name TEXT, state TEXT, price INTEGER, note BLOB)");
    let ended = place.changeover(&["check", "bookings.toml"]);
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    let all = format!("{}{}", ended.out, ended.err);
    assert!(all.contains("key") && all.contains("unique"), "{all}");
}

#[test]
fn a_missing_new_table_is_answered_with_its_create_table() {
    let place = Place::with_bookings(3);
    place.sql("new.db", "DROP TABLE booking");
    let ended = place.changeover(&["check", "bookings.toml"]);
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    let all = format!("{}{}", ended.out, ended.err);
    assert!(all.contains("CREATE TABLE"), "{all}");
    assert_eq!(place.number("new.db", "SELECT count(*) FROM sqlite_master WHERE name = 'booking'"), 0);
}

#[test]
fn check_changes_nothing_at_all() {
    let place = Place::with_bookings(50);
    let before = (place.rows("old.db", OLD_IMAGE), place.rows("new.db", NEW_IMAGE));
    let ended = place.changeover(&["check", "bookings.toml", "--data"]).expect(0);
    assert!(ended.out.contains("status") && ended.out.contains("upper(state)"), "{}", ended.out);
    assert_eq!((place.rows("old.db", OLD_IMAGE), place.rows("new.db", NEW_IMAGE)), before);
    assert_eq!(place.installed("old.db").len() + place.installed("new.db").len(), 0);
    assert!(!place.path(".changeover").exists());
}

#[test]
fn a_taken_port_is_named_with_the_option_that_helps() {
    let place = Place::with_bookings(3);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = place.changeover(&["run", "bookings.toml", "--listen", &address]).expect(2);
    ended.says("it is tried for 3 s more").says("the port is taken").says("--listen").says(&address);
}

#[test]
fn an_address_that_other_machines_reach_is_warned_of() {
    let place = Place::with_bookings(3);
    let said = |address: &str| {
        let run = place.start(&["--listen", address], &[]);
        run.until("it is up", |_| true);
        let said = run.stop().1;
        std::fs::remove_file(place.path("run.err")).expect("what it said");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let warning =
        "can be reached from other machines, over plain HTTP: whoever sees the traffic can read the token";
    assert!(said("0.0.0.0:0").contains(warning));
    assert!(!said("127.0.0.1:0").contains(warning));
}

#[test]
fn a_port_that_is_free_again_in_a_moment_is_waited_for() {
    let place = Place::with_bookings(3);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = place.start(&["--listen", &address], &[]);
    support::wait_for("it says that it waits", || place.read("run.err").contains("it is tried for"));
    drop(taken);
    run.until("it is up", |_| true);
}

#[test]
fn a_state_elsewhere_is_refused_without_its_password() {
    let place = Place::with_bookings(3);
    let state = "postgres://app:hunter2@db/state";
    let ended = place.changeover(&["run", "bookings.toml", "--state", state]).expect(2);
    assert!(!ended.err.contains("hunter2") && !ended.out.contains("hunter2"), "{}", ended.err);
    ended.says("sqlite:PATH");
}

#[test]
fn a_state_that_can_not_be_used_is_named() {
    let place = Place::with_bookings(3);
    std::fs::create_dir(place.path(".changeover")).expect("a folder");
    place.write(".changeover/bookings.db", "dear diary, ".repeat(1_000));
    let ended = place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]).expect(3);
    ended.says("bookings.db");
    place.changeover(&["status", "bookings"]).expect(3).says("bookings.db");
}

#[test]
fn commands_that_need_a_run_say_how_to_start_one() {
    let place = Place::with_bookings(3);
    for command in
        ["advance", "rollback", "pause", "resume", "adopt", "retire", "abort", "mismatches", "instances"]
    {
        let ended = place.changeover(&[command]).expect(3);
        ended.says("changeover run");
        assert_eq!(place.json(&[command], 3)["error"]["exit"], 3);
    }
    place.changeover(&["status", "--spec", "bookings.toml"]).expect(3).says("bookings");
}

#[test]
fn nothing_that_can_not_be_undone_is_done_unasked() {
    let place = Place::with_bookings(3);
    let running = place.run();
    for arguments in [&["retire"][..], &["abort"], &["adopt"], &["instances", "forget", "x"]] {
        place.changeover(arguments).expect(2).says("--yes");
    }
    drop(running);
}

#[test]
fn wrong_arguments_are_usage() {
    let place = Place::with_bookings(3);
    for arguments in [
        &["advance", "--to", "newer"][..],
        &["advance", "--share", "120%"],
        &["advance", "--override", "bake-time"],
        &["advance", "--override", "hope", "--reason", "x"],
        &["advance", "--override", "bake-time", "--reason", " "],
        &["frobnicate"],
        &["copy"],
    ] {
        place.changeover(arguments).expect(2);
        let told = place.json(arguments, 2);
        assert_eq!(told["error"]["code"], "usage", "{told}");
        assert!(told["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");
    }
    place.changeover(&["--help"]).expect(0);
}

/// Nobody in particular, on every system.
const NOBODY: u32 = 65_534;

/// Runs the command as a user whom the rights of files stop: root, as tests run in a container, may write everything.
struct OrdinaryUser<'p> {
    place: &'p Place,
    /// The binary, where that user can reach it.
    binary: std::path::PathBuf,
    is_other: bool,
}

impl<'p> OrdinaryUser<'p> {
    /// All that is in the place is this user's from now on.
    fn of(place: &'p Place) -> Self {
        let own = std::path::PathBuf::from(env!("CARGO_BIN_EXE_changeover"));
        if !rustix::process::geteuid().is_root() {
            return Self { place, binary: own, is_other: false };
        }
        let binary = place.path("changeover");
        // By another process: while this one had it open to write, whatever a test beside this one starts would have it too, and
        // a file that somebody may write can't be run.
        let copied = Command::new("cp").arg(own).arg(&binary).status().expect("cp");
        assert!(copied.success(), "room for the binary");
        let entries =
            std::fs::read_dir(place.path("")).expect("a folder").map(|entry| entry.expect("an entry").path());
        for path in entries.chain([place.path("")]) {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        }
        Self { place, binary, is_other: true }
    }

    fn changeover(&self, arguments: &[&str]) -> Ended {
        let mut command = self.place.command_of(&self.binary, arguments);
        if self.is_other {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ended::of(arguments, command.output().expect("that user can start the binary"))
    }
}

/// How `run` ends where it can't begin.
fn ended(place: &Place) -> (Option<i32>, String) {
    let ended = place.changeover(&["run", "bookings.toml", "--listen", "127.0.0.1:0"]);
    (ended.code, ended.err)
}

#[test]
fn a_migration_of_another_spec_is_not_mistaken_for_this_one() {
    let place = Place::with_bookings(3);
    let running = place.run();
    place.write("other.toml", SPEC.replace("name = \"bookings\"", "name = \"others\""));
    place.changeover(&["advance", "--spec", "other.toml"]).expect(3).says("others");
    place.changeover(&["advance", "others"]).expect(3).says("bookings");
    drop(running);
}
