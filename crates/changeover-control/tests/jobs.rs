//! Jobs without a control plane: copy, verify, check, rehearse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use changeover_control::jobs::{self, Stage};
use common::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_whole_verified_and_installs_nothing_on_the_old_side() {
    let world = World::new(3_000);
    let mut stages = Vec::new();
    let report = jobs::copy(&world.spec(), &mut |progress| stages.push(progress.stage)).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let table = &report.tables[0];
    assert_eq!(
        (table.rows_old, table.rows_new, table.rows_copied, table.rows_compared),
        (3_000, 3_000, 3_000, 3_000)
    );
    assert_eq!(world.rows("new"), world.rows("old"));
    assert!(world.installed("old.db").is_empty() && world.installed("new.db").is_empty());
    assert!(stages.contains(&Stage::Copy) && stages.contains(&Stage::Verify));
    assert!(report.bytes > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_the_copy_is_said() {
    let world = World::new(3_000);
    let old = world.open("old.db");
    let mut changed = false;
    let report = jobs::copy(&world.spec(), &mut move |_| {
        if !std::mem::replace(&mut changed, true) {
            old.execute("UPDATE bookings SET seats = 12345 WHERE id = 1", []).unwrap();
        }
    })
    .await
    .unwrap();
    assert!(report.changed_meanwhile && !report.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found_named_and_repaired() {
    let world = World::new(500);
    jobs::copy(&world.spec(), &mut |_| {}).await.unwrap();
    world
        .open("new.db")
        .execute_batch(
            "UPDATE booking SET status = 'WRONG' WHERE booking_id = 1; DELETE FROM booking WHERE booking_id = 500;
             INSERT INTO booking VALUES (9000, 'EXTRA', 1);",
        )
        .unwrap();
    let report = jobs::verify(&world.spec(), None, false, &mut |_| {}).await.unwrap();
    let table = &report.tables[0];
    assert_eq!((table.differing, table.missing, table.extra), (1, 1, 1), "{table:?}");
    let wrong = table.differences.iter().find(|d| d.kind == "differing").unwrap();
    assert_eq!((wrong.key.as_str(), wrong.column.as_deref()), ("1", Some("status")));
    assert_eq!((wrong.old.as_deref(), wrong.new.as_deref()), (Some("'BOOKED'"), Some("'WRONG'")));
    let report = jobs::verify(&world.spec(), None, true, &mut |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.tables[0].repaired, 3);
    assert_eq!(world.rows("new"), world.rows("old"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_spec_redacts_is_not_in_a_report() {
    let world = World::new(10);
    jobs::copy(&world.spec(), &mut |_| {}).await.unwrap();
    world.open("new.db").execute("UPDATE booking SET status = 'SECRET' WHERE booking_id = 1", []).unwrap();
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), format!("{text}\n[evidence]\nredact = [\"status\"]\n"))
        .unwrap();
    let report = jobs::verify(&world.spec(), None, false, &mut |_| {}).await.unwrap();
    assert_eq!(report.tables[0].differences[0].new.as_deref(), Some("(redacted)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_the_plan_and_a_missing_table_and_changes_nothing() {
    let world = World::new(10);
    let report =
        jobs::check(&world.spec(), jobs::Ask { data: true, probe: true }, &mut |_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.tables[0].forward.iter().any(|column| column.words.contains("upper(state)")));
    assert_eq!(report.data[0].rows, 10);
    world.open("new.db").execute_batch("DROP TABLE booking").unwrap();
    let report = jobs::check(&world.spec(), jobs::Ask::default(), &mut |_| {}).await.unwrap();
    assert!(!report.is_clean());
    assert!(report.missing[0].proposed.sql.contains("CREATE TABLE"), "{:?}", report.missing);
    assert!(world.installed("old.db").is_empty() && world.installed("new.db").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_goes_there_and_back_and_there_and_touches_nothing_real() {
    let world = World::new(300);
    let copies = tempfile::tempdir().unwrap();
    let report = jobs::rehearse(&world.spec(), copies.path(), &mut |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.moves.len(), 5, "{:?}", report.moves);
    assert_eq!(report.rows, 300);
    assert!(world.rows("new").is_empty());
    assert!(world.installed("old.db").is_empty() && world.installed("new.db").is_empty());
}
