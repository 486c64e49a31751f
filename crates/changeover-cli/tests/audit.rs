//! The audit: who did what and why, of a run and of the state that it leaves.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::{Ended, Place};

fn as_ann(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = place.command(arguments);
    command.env("CHANGEOVER_WHO", "ann@db-1");
    Ended::of(arguments, command.output().expect("the binary can be started"))
}

/// Of these entries the oldest whose text begins so.
fn entry<'a>(audit: &'a Value, text: &str) -> &'a Value {
    let entries = audit["entries"].as_array().expect("entries");
    let is_it = |entry: &&Value| entry["text"].as_str().is_some_and(|found| found.starts_with(text));
    entries.iter().rev().find(is_it).unwrap_or_else(|| panic!("no {text}: {audit}"))
}

#[test]
fn who_did_what_and_why_is_known_also_when_the_run_is_gone() {
    let place = Place::with_bookings(20);
    let run = place.run();
    as_ann(&place, &["advance", "--reason", "CHG-1042: the new flights service"]).expect(0);
    as_ann(&place, &["pause"]).expect(0);
    as_ann(&place, &["resume", "--reason", "the peak\nis over"]).expect(0);
    place.changeover(&["rollback", "--reason", "  "]).expect(2).says("an empty reason is none");
    let long = "x".repeat(1_001);
    place.changeover(&["rollback", "--reason", &long]).expect(2).says("1001 characters");
    let back = ["rollback", "--reason", "errors on /bookings"];
    let mut nobody_says_who = place.command(&back);
    for variable in ["USER", "LOGNAME", "SUDO_USER", "CHANGEOVER_WHO"] {
        nobody_says_who.env_remove(variable);
    }
    Ended::of(&back, nobody_says_who.output().expect("the binary can be started")).expect(0);

    let audit = place.json(&["audit"], 0);
    let asked = entry(&audit, "advance to shadow");
    assert_eq!((&asked["who"], &asked["kind"]), (&"ann@db-1".into(), &"request".into()), "{audit}");
    assert_eq!(asked["why"], "CHG-1042: the new flights service", "{audit}");
    assert_eq!(entry(&audit, "pause of backfill")["why"], Value::Null, "{audit}");
    assert_eq!(entry(&audit, "resume of backfill")["why"], "the peak is over", "{audit}");
    let back = entry(&audit, "rollback to old");
    assert_eq!(back["why"], "errors on /bookings", "{audit}");
    let who = back["who"].as_str().expect("a name");
    assert!(who.contains('@') && !who.starts_with('@'), "user and machine: {who}");
    let own = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_known = accounts.lines().any(|line| line.split(':').nth(2) == Some(own.as_str()));
    assert!(!is_known || !who.starts_with("uid-"), "the system knows the name: {who}");
    let by_itself = entry(&audit, "capture is installed");
    assert_eq!(by_itself["who"], "run", "{audit}");

    let shown = place.changeover(&["audit"]).expect(0).out;
    assert!(
        shown.contains("ann@db-1") && shown.contains("(why: CHG-1042: the new flights service)"),
        "{shown}"
    );

    assert_eq!(run.stop().0, Some(0));
    let left = place.changeover(&["audit"]).expect(0);
    left.says("isn't running; this is from its state");
    assert!(left.out.contains("errors on /bookings"), "{}", left.out);
    assert_eq!(entry(&place.json(&["audit"], 0), "rollback to old"), back);
    place.changeover(&["mismatches"]).expect(0);
}
