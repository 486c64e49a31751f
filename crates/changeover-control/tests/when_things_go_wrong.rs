//! A log that overflowed, rows that can't come back, evidence that turns bad after a move.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use changeover_api::ControlClient;
use changeover_control::{ControlError, Run};
use changeover_protocol::gate::{Gate, Override};
use changeover_protocol::{Phase, Share};
use common::{World, forward, no_bake, until};

async fn audit_says(run: &Run, what: &str) -> bool {
    let client = ControlClient::of_run(run.run_file()).unwrap();
    let audit = client.audit(&Default::default()).await.unwrap();
    audit.entries.iter().any(|entry| entry.text.contains(what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_overflowed_while_no_run_was_there_is_unclean_and_what_was_missed_is_repaired() {
    let world = World::new(200);
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), format!("{text}\n[capture]\nbound = 20\n")).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    run.stop().await;
    let old = world.open("old.db");
    for id in 1..=100 {
        old.execute("UPDATE bookings SET seats = 1000 + id WHERE id = ?1", [id]).unwrap();
    }
    old.execute("DELETE FROM bookings WHERE id = 150", []).unwrap();
    let run = world.run().await;
    until("what was missed is repaired", async || world.rows("old") == world.rows("new")).await;
    until("and verified", async || common::status(&run).await.verification.counts).await;
    assert!(audit_says(&run, "reached its bound").await);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_come_back_stops_a_rollback_by_name_and_can_be_left_behind_in_a_file() {
    let world = World::new(0);
    world
        .open("old.db")
        .execute_batch(
            "DROP TABLE bookings;
             CREATE TABLE bookings (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL,
                                    seats INTEGER NOT NULL CHECK (seats < 1000));
             INSERT INTO bookings VALUES (1, 'booked', 1), (2, 'booked', 2);",
        )
        .unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    world.open("new.db").execute("UPDATE booking SET seats = 5000 WHERE booking_id = 2", []).unwrap();
    until("no rollback is called safe", async || !common::status(&run).await.rollback.safe).await;
    let told = common::status(&run).await.rollback.because;
    assert!(told.contains("1 row can't be carried: bookings(2)"), "{told}");
    let shut = run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap_err();
    assert!(shut.to_string().contains("verification: 1 row can't be carried: bookings(2)"), "{shut}");
    let error = run.conductor().rollback(None, Share::ALL, None).await.unwrap_err();
    assert!(matches!(error, ControlError::GivenUp { .. }), "{error}");
    assert!(error.to_string().contains("bookings(2)"), "{error}");
    assert_eq!(common::status(&run).await.phase, Phase::ReverseShadow);
    world.open("new.db").execute("UPDATE booking SET seats = 7 WHERE booking_id = 1", []).unwrap();

    let file = world.path("left.jsonl");
    let moved = run.conductor().rollback(None, Share::ALL, Some(file.clone())).await.unwrap();
    assert_eq!(moved.place.phase, Phase::Shadow);
    let left = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        left.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{left}");
    assert_eq!((&lines[0]["key"][0], &lines[0]["row"][2]), (&2.into(), &5000.into()), "{left}");
    assert_eq!(world.rows("old")[&1].1, 7, "the others came along");
    assert_eq!(world.rows("old")[&2].1, 2);
    assert!(audit_says(&run, "left").await);
    run.stop().await;
}

async fn post_evidence(run: &Run, body: &str) {
    let answer = common::post(run, "instances/web-1/evidence", body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mismatches_beyond_their_limit_after_a_move_send_the_migration_back_by_itself() {
    let world = World::new(50);
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    let gate = "[gate]\nmismatch = { max = \"1 %\", over = 10 }\n";
    std::fs::write(world.path("bookings.toml"), format!("{text}\n{gate}")).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let error = run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap_err();
    assert!(error.to_string().contains("no reads have been compared"), "{error}");
    let mut overrides = no_bake();
    overrides.push(Override { gate: Gate::Mismatches, reason: "a test".to_owned() });
    run.conductor().advance(None, Share::ALL, &overrides).await.unwrap();
    let sample = "{\"operation\":\"booking.get\",\"shape\":\"seats\",\"authority\":\"new\",\"old\":\"1\",\
                  \"new\":\"2\",\"count\":500,\"last_ms\":1}";
    let operation = "{\"operation\":\"booking.get\",\"cohort\":\"treatment\",\"matches\":500,\
                     \"mismatches_persistent\":500}";
    let batch = format!("{{\"number\":1,\"at_ms\":1,\"operations\":[{operation}],\"samples\":[{sample}]}}");
    post_evidence(&run, &batch).await;
    until("it went back", async || common::status(&run).await.phase == Phase::Shadow).await;
    assert!(audit_says(&run, "goes back by itself").await);
    assert!(audit_says(&run, "the gate mismatches into reverse-shadow is overridden").await);
    let kept = ControlClient::of_run(run.run_file()).unwrap().mismatches(&Default::default()).await.unwrap();
    assert_eq!((kept.mismatches[0].count, kept.mismatches[0].new.as_deref()), (500, Some("2")));
    run.stop().await;
}

/// The override would be void if the very evidence that was overridden sent the migration back a moment later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_by_an_override_sends_nothing_back_and_what_is_worse_does() {
    let world = World::new(50);
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    let gate = "[gate]\nmismatch = { max = \"1 %\", over = 10 }\n";
    std::fs::write(world.path("bookings.toml"), format!("{text}\n{gate}")).unwrap();
    let run = world.run().await;
    let compared = async |number: u64, cohort: &str, same: u64, other: u64| {
        let operation = format!(
            "{{\"operation\":\"booking.get\",\"cohort\":\"{cohort}\",\"matches\":{same},\"mismatches_persistent\":{other}}}"
        );
        post_evidence(&run, &format!("{{\"number\":{number},\"at_ms\":1,\"operations\":[{operation}]}}"))
            .await;
    };
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    compared(1, "control", 900, 100).await;
    let error = run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap_err();
    assert!(error.to_string().contains("mismatches"), "{error}");
    let mut overrides = no_bake();
    overrides.push(Override { gate: Gate::Mismatches, reason: "a known one".to_owned() });
    run.conductor().advance(None, Share::ALL, &overrides).await.unwrap();
    compared(2, "treatment", 900, 100).await;
    // Two looks of the watch, each of a second.
    let looked_from = tokio::time::Instant::now();
    until("it was looked at", async || looked_from.elapsed().as_secs() >= 3).await;
    assert_eq!(common::status(&run).await.phase, Phase::ReverseShadow);
    compared(3, "treatment", 100, 900).await;
    until("it went back", async || common::status(&run).await.phase == Phase::Shadow).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_locked_for_long_is_given_up_on_by_name_and_nothing_stays() {
    let world = World::new(20);
    let run = world.run().await;
    let blocker = world.open("old.db");
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = run.conductor().advance(Some(Phase::Shadow), Share::ALL, &[]).await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert_eq!(common::status(&run).await.phase, Phase::Old);
    blocker.execute_batch("ROLLBACK").unwrap();
    forward(run.conductor(), Phase::Shadow).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_and_a_table_that_is_not_there_are_told_with_the_remedy() {
    let world = World::new(5);
    world.open("new.db").execute_batch("DROP TABLE booking").unwrap();
    let error = Run::start(world.options()).await.unwrap_err();
    assert!(matches!(error, ControlError::Spec(_)) && error.to_string().contains("booking"), "{error}");
    std::fs::remove_file(world.path("old.db")).unwrap();
    let error = Run::start(world.options()).await.unwrap_err();
    assert_eq!(error.class(), changeover_control::ErrorClass::OutOfReach, "{error}");
    assert!(error.to_string().contains("old.db"), "{error}");
}

/// A table that is rebuilt, as SQLite's own recipe for what ALTER TABLE can't do has it, takes its triggers along: whoever
/// has an old flag could write to the side that follows, and be told that it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_goes_with_a_rebuilt_table_is_put_back_and_what_it_let_through_is_not_overwritten() {
    let world = World::new(50);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    world
        .open("old.db")
        .execute_batch(
            "BEGIN IMMEDIATE; CREATE TABLE rebuilt (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, \
             seats INTEGER NOT NULL); INSERT INTO rebuilt SELECT * FROM bookings; DROP TABLE bookings; \
             ALTER TABLE rebuilt RENAME TO bookings; UPDATE bookings SET seats = 4711 WHERE id = 7; COMMIT;",
        )
        .unwrap();
    let refused = async || {
        let error = world.open("old.db").execute("UPDATE bookings SET seats = 4712 WHERE id = 8", []);
        error.is_err_and(|error| error.to_string().contains("changeover:"))
    };
    until("it is put back", refused).await;
    let told = async || {
        let alerts = common::status(&run).await.alerts;
        alerts.iter().any(|alert| alert.text.contains("the fence of the old side was removed"))
    };
    until("it is an alert", told).await;
    let shown =
        async || common::status(&run).await.verification.last.is_some_and(|last| last.differences > 0);
    until("the rows that differ are found", shown).await;
    // Nor does what repairs by itself at other times.
    run.conductor().forget("nobody").await.unwrap_err();
    world.open("new.db").execute_batch("DROP TRIGGER \"changeover_update_new:bookings:bookings\"").unwrap();
    until("the capture is put back", async || audit_says(&run, "its capture was removed").await).await;
    let before = common::status(&run).await.verification.last.map(|last| last.began_ms);
    let again = async || {
        let last = common::status(&run).await.verification.last;
        last.is_some_and(|last| Some(last.began_ms) > before)
    };
    until("it was verified again", again).await;
    assert_eq!(world.rows("old")[&7].1, 4711, "what only one side has is nobody's to overwrite");
    let error = run.conductor().advance(Some(Phase::New), Share::ALL, &no_bake()).await.unwrap_err();
    assert!(error.to_string().contains("verification"), "{error}");
    run.conductor().ask_verification(true).await.unwrap();
    until("it is repaired when a person says so", async || world.rows("old")[&7].1 == 7).await;
    forward(run.conductor(), Phase::New).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_redacted_is_in_no_message() {
    let world = World::new(0);
    world
        .open("old.db")
        .execute_batch(
            "DROP TABLE bookings; CREATE TABLE bookings (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL,
             seats INTEGER NOT NULL CHECK (seats < 1000)); INSERT INTO bookings VALUES (1, 'booked', 1), (4711, 'booked', 2);",
        )
        .unwrap();
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), format!("{text}\n[evidence]\nredact = [\"id\"]\n")).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    world.open("new.db").execute("UPDATE booking SET seats = 5000 WHERE booking_id = 4711", []).unwrap();
    until("the row is named", async || !common::status(&run).await.alerts.is_empty()).await;
    let error = run.conductor().rollback(None, Share::ALL, None).await.unwrap_err().to_string();
    assert!(error.contains("bookings((redacted)) can't be carried"), "{error}");
    let status = serde_json::to_string(&common::status(&run).await).unwrap();
    assert!(status.contains("(redacted)") && !status.contains("4711"), "{status}");
    run.stop().await;
}

/// In shadow, all copied, and the new side locked by the connection that is answered.
async fn mirror_is_locked_out() -> (World, Run, rusqlite::Connection) {
    let world = World::new(10);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    // Before that a change may be the copy's to carry, not the mirror's.
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let blocker = world.open("new.db");
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    (world, run, blocker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_changes_than_a_hold_can_drain_are_told_before_a_move_is_asked_for() {
    let (world, run, blocker) = mirror_is_locked_out().await;
    world
        .open("old.db")
        .execute_batch(
            "INSERT INTO bookings (state, seats) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
             WHERE i < 20000) SELECT 'booked', i % 9 FROM n",
        )
        .unwrap();
    let told = async || {
        let next = common::status(&run).await.next;
        next.and_then(|next| next.refused).is_some_and(|why| why.starts_with("dirty keys: 20000"))
    };
    until("it is told", told).await;
    blocker.execute_batch("ROLLBACK").unwrap();
    until("it has caught up", async || {
        common::status(&run).await.next.is_some_and(|next| next.refused.is_none())
    })
    .await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
}

/// One that can't come to its end would hold up the writes for nothing, and wait for ever to be undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_a_side_that_takes_no_write_is_refused_with_the_cause_before_anybody_is_held() {
    let world = World::new(10);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let refused = async || {
        let error = run.conductor().rollback(None, Share::ALL, None).await.unwrap_err();
        assert!(matches!(error, ControlError::Refused(_)), "{error}");
        assert!(common::status(&run).await.moving.is_none());
        world
            .open("new.db")
            .execute("UPDATE booking SET seats = seats + 1 WHERE booking_id = 3", [])
            .unwrap();
        error.to_string()
    };
    // As a full disk refuses it, the fence can't be written, and that has to be whatever is left behind.
    world
        .open("old.db")
        .execute_batch(
            "ALTER TABLE changeover_fence RENAME TO kept; CREATE VIEW changeover_fence AS SELECT * FROM kept;",
        )
        .unwrap();
    let told = refused().await;
    assert!(told.contains("before it can be written"), "{told}");
    let left = run.conductor().rollback(None, Share::ALL, Some(world.path("left.jsonl"))).await.unwrap_err();
    assert!(left.to_string().contains("before it can be written"), "{left}");
    world
        .open("old.db")
        .execute_batch("DROP VIEW changeover_fence; ALTER TABLE kept RENAME TO changeover_fence;")
        .unwrap();
    // And changes that don't get there.
    let blocker = world.open("old.db");
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.open("new.db").execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
    let fails = async || {
        let status = common::status(&run).await;
        status.rollback.command.is_some_and(|command| command.contains("--leave-behind"))
    };
    until("the mirror fails for a while", fails).await;
    let told = refused().await;
    assert!(told.contains("changes can't be carried") && told.contains("mirror"), "{told}");
    blocker.execute_batch("ROLLBACK").unwrap();
    until("it is well again", async || common::status(&run).await.rollback.safe).await;
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    assert_eq!(world.rows("old")[&7].1, 4711);
    run.stop().await;
}

/// What the new side doesn't take keeps nobody from leaving it: the old side has every write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_shadow_a_rollback_is_safe_whatever_the_mirror_meets() {
    let (world, run, blocker) = mirror_is_locked_out().await;
    world.open("old.db").execute("UPDATE bookings SET seats = 4711 WHERE id = 7", []).unwrap();
    let fails = async || common::status(&run).await.next.is_some_and(|next| next.refused.is_some());
    until("nothing goes forward", fails).await;
    let rollback = common::status(&run).await.rollback;
    assert!(rollback.safe, "{rollback:?}");
    blocker.execute_batch("ROLLBACK").unwrap();
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    run.stop().await;
}

/// A column of the side that answers is renamed under a run: by its old name every value would be read as that name, and by the
/// key's no row be found. Nothing goes to the other side before it is as it was, or the run has taken it in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_renamed_under_a_run_takes_nothing_from_the_other_side() {
    for column in ["booking_id", "status"] {
        let world = World::new(20);
        let run = world.run().await;
        forward(run.conductor(), Phase::Shadow).await;
        forward(run.conductor(), Phase::ReverseShadow).await;
        until("it is verified", async || common::status(&run).await.verification.counts).await;
        let before = world.rows("old");
        let new = world.open("new.db");
        new.execute_batch(&format!(
            "ALTER TABLE booking RENAME COLUMN {column} TO other; UPDATE booking SET seats = 4711 WHERE seats = seats"
        ))
        .unwrap();
        until("the verification is at it too", async || {
            let status = common::status(&run).await;
            status.troubles.iter().any(|trouble| trouble.part == "verification")
                && status.alerts.iter().any(|alert| alert.text.contains("has lost"))
        })
        .await;
        assert_eq!(world.rows("old"), before, "{column}");
        let refused = run.conductor().rollback(None, Share::ALL, None).await.unwrap_err().to_string();
        assert!(refused.contains("has lost") && refused.contains(column), "{refused}");
        new.execute_batch(&format!("ALTER TABLE booking RENAME COLUMN other TO {column}")).unwrap();
        until("it goes on", async || world.rows("old").values().all(|row| row.1 == 4711)).await;
        // SQLite has written our triggers anew: they are put back as they were first.
        until("the way back is open", async || {
            run.conductor().rollback(None, Share::ALL, None).await.is_ok()
        })
        .await;
        assert_eq!(world.rows("old"), world.rows("new"), "{column}");
        run.stop().await;
    }
}

/// One that nobody carries may go: capture is put back, and the way back is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_rebuilt_without_a_column_that_nobody_carries_stays_in_step() {
    let world = World::new(20);
    world.open("new.db").execute_batch("ALTER TABLE booking ADD COLUMN spare TEXT").unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    until("it is verified", async || common::status(&run).await.verification.counts).await;
    let new = world.open("new.db");
    new.execute_batch(
        "ALTER TABLE booking DROP COLUMN spare; DROP TRIGGER \"changeover_update_new:bookings:bookings\"",
    )
    .unwrap();
    until("capture is put back", async || audit_says(&run, "its capture was removed").await).await;
    new.execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
    until("the old side follows", async || world.rows("old")[&7].1 == 4711).await;
    until("the way back is open", async || run.conductor().rollback(None, Share::ALL, None).await.is_ok())
        .await;
    assert_eq!(world.rows("old"), world.rows("new"));
    run.stop().await;
}
