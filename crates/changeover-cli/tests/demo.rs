//! The demo as somebody sees it who has just cloned the repository, made small: the whole way, and its proof.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use serde_json::Value;
use support::{Place, wait_for};

#[track_caller]
fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn the_whole_way_under_traffic_and_its_proof() {
    let place = Place::empty();
    let report = place.json(&["demo", "--rows", "2000", "--seconds", "10"], 0);
    // Nothing acknowledged was lost, and every key's history is one that a single copy could have had.
    assert_eq!(number(&report, "lost_writes"), 0, "{report}");
    assert_eq!(report["linearizable"], true, "{report}");
    assert_eq!(number(&report, "differences"), 0, "{report}");
    // There was something to lose.
    for name in ["requests", "acknowledged_writes", "operations_checked"] {
        assert!(number(&report, name) > 100, "{name}: {report}");
    }
    assert!(number(&report, "operations_checked") >= number(&report, "acknowledged_writes"), "{report}");
    assert!(number(&report, "max_concurrency_per_key") >= 1, "{report}");
    // The service deletes and adds some meanwhile.
    assert!(number(&report, "rows_backfilled") >= 1_500, "{report}");
    assert!(number(&report, "rows_verified") >= 1_500, "{report}");
    // All planted mistakes were found, and it went back once and forward again.
    assert!(number(&report, "mismatches_planted") > 0, "{report}");
    assert_eq!(report["mismatches_found"], report["mismatches_planted"], "{report}");
    assert!(number(&report, "rollbacks") >= 1, "{report}");
    assert!(report["longest_write_hold_ms"].as_f64().is_some_and(|ms| ms < 2_000.0), "{report}");
    // What was in flight in the instance that was killed is counted by itself.
    assert_eq!(number(&report, "failed_requests"), 0, "{report}");
    let phases = report["phases"].as_array().expect("phases");
    let names: Vec<&str> = phases.iter().map(|phase| phase["name"].as_str().expect("a name")).collect();
    for name in ["shadow", "reverse-shadow", "new", "retired"] {
        assert!(names.iter().any(|there| there.contains(name)), "{name}: {names:?}");
    }
    assert!(phases.iter().all(|phase| phase["seconds"].as_f64().is_some()), "{report}");
}

/// The run of a demo that is under way.
#[cfg(unix)]
fn run_of_a_demo(place: &Place) -> (std::process::Child, std::path::PathBuf, changeover_api::RunFile) {
    let mut command = place.command(&["demo", "--rows", "1000", "--seconds", "30", "--instances", "2"]);
    let demo = command
        .env("TMPDIR", place.path(""))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let folder = place.path(&format!("changeover-demo-{}", demo.id()));
    let file = changeover_api::RunFile::path_of(&folder, "cancellations");
    wait_for("its run is up", || file.exists());
    let run = changeover_api::RunFile::read(&file).expect("a run file");
    (demo, folder, run)
}

#[cfg(unix)]
fn is_reachable(run: &changeover_api::RunFile) -> bool {
    std::net::TcpStream::connect(&run.address).is_ok()
}

#[cfg(unix)]
#[test]
fn a_demo_that_is_stopped_leaves_no_process_and_no_folder() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::empty();
    let (demo, folder, run) = run_of_a_demo(&place);
    kill_process(Pid::from_child(&demo), Signal::TERM).expect("it is there");
    let ended = demo.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Stopped before its end"), "{ended:?}");
    assert!(!is_reachable(&run));
    assert!(!folder.exists());
}

#[cfg(unix)]
#[test]
fn a_demo_that_is_killed_takes_its_run_along() {
    let place = Place::empty();
    let (mut demo, _folder, run) = run_of_a_demo(&place);
    demo.kill().expect("it is there");
    demo.wait().expect("it ends");
    wait_for("its run has ended", || !is_reachable(&run));
}
