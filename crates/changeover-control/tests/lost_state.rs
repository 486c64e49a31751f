//! A state file that is lost, or an older one put in its place, beside databases in which the new side is the authority:
//! nobody may do anything by its word, however often a run is started, until the databases' word is adopted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::TableMirror;
use changeover::{Key, Migration, Side};
use changeover_api::{Connect, Instance};
use changeover_control::{ControlError, Run, jobs};
use changeover_protocol::{Phase, Share};
use common::{World, forward, until};

fn delete_state(world: &World) {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = world.spec().state_path().into_os_string();
        path.push(suffix);
        let _ = std::fs::remove_file(path);
    }
}

/// In `reverse-shadow`, with a write that only the new side has.
async fn moved_with_a_write_on_the_new_side(world: &World) {
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
    world.open("new.db").execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
}

/// In `reverse-shadow`, with the state of the `shadow` before it.
async fn moved_with_an_older_state(world: &World) {
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    run.stop().await;
    let (state, backup) = (world.spec().state_path(), world.path("backup.db"));
    std::fs::copy(&state, &backup).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
    delete_state(world);
    std::fs::copy(&backup, &state).unwrap();
}

async fn stays_stopped(world: &World, run: &Run) {
    let conductor = run.conductor();
    assert!(common::status(run).await.stopped.is_some());
    let refused = [
        conductor.abort().await.map(drop),
        conductor.rollback(None, Share::ALL, None).await.map(drop),
        conductor.advance(None, Share::ALL, &[]).await.map(drop),
        conductor.ask_verification(true).await,
        conductor.forget("web-1").await,
        jobs::verify(&world.spec(), None, true, &mut |_| {}).await.map(drop),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused, Err(ControlError::Disagreement { .. })), "{at}: {refused:?}");
    }
    assert_eq!(world.rows("new")[&7].1, 4711);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state_nothing_is_done_by_any_run_until_the_databases_word_is_adopted() {
    let world = World::new(50);
    moved_with_a_write_on_the_new_side(&world).await;
    delete_state(&world);
    for _ in 0..3 {
        let run = world.run().await;
        stays_stopped(&world, &run).await;
        run.stop().await;
    }
    let run = world.run().await;
    assert_eq!(run.conductor().adopt().await.unwrap().place.phase, Phase::ReverseShadow);
    until("the write comes along", async || world.rows("old")[&7].1 == 4711).await;
    run.stop().await;
    let run = world.run().await;
    assert!(common::status(&run).await.stopped.is_none(), "what was adopted is over");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_deleted_under_a_run_is_told() {
    let world = World::new(5);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    delete_state(&world);
    let told = async || {
        let alerts = common::status(&run).await.alerts;
        alerts.iter().any(|alert| alert.text.contains("was deleted or replaced while this run uses it"))
    };
    until("it is an alert", told).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_repairs_nothing_beside_databases_that_have_moved_on() {
    let world = World::new(50);
    moved_with_an_older_state(&world).await;
    world.open("new.db").execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
    let error = jobs::verify(&world.spec(), None, true, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, ControlError::Disagreement { .. }), "{error}");
    for _ in 0..2 {
        let run = world.run().await;
        stays_stopped(&world, &run).await;
        run.stop().await;
    }
}

/// A service with the library: what it has acknowledged outlives the state.
async fn instance(world: &World, run: &Run) -> (Migration, Instance) {
    let links = changeover_control::links(&world.spec()).await.unwrap();
    let mirror = Arc::new(TableMirror::new(links));
    Connect::to_run("bookings", run.run_file())
        .instance("a")
        .evidence_every(Duration::from_millis(100))
        .start(|builder| builder.dual_write(mirror).errors_are_settled())
        .await
        .unwrap()
}

async fn side_read(bookings: &Migration) -> Side {
    let read = bookings.read("booking.get", Key::new("bookings", 1_i64));
    read.run(|side| async move { Ok::<Side, changeover::Refused>(side) }).await.unwrap()
}

/// In `new` no journal is left to tell: the mark is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dual_write_in_new_a_lost_state_is_noticed_and_adopted() {
    let world = World::new(50);
    world.write_spec("mirror = \"dual-write\"");
    let run = world.run().await;
    let address = run.address().to_string();
    let (bookings, held) = instance(&world, &run).await;
    let (state, backup) = (world.spec().state_path(), world.path("backup.db"));
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(run.conductor(), phase).await;
        if phase == Phase::Shadow {
            until("it is verified", async || common::status(&run).await.verification.counts).await;
            rusqlite::Connection::open(&state)
                .unwrap()
                .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
                .unwrap();
        }
    }
    let journal = |file| world.installed(file).iter().any(|name| name.contains("changeover_log"));
    until("no journal is left", async || !journal("old.db") && !journal("new.db")).await;
    run.stop().await;
    world.open("new.db").execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
    delete_state(&world);
    let again = || async {
        let options = changeover_control::RunOptions { listen: Some(address.clone()), ..world.options() };
        Run::start(options).await.unwrap()
    };
    for _ in 0..2 {
        let run = again().await;
        stays_stopped(&world, &run).await;
        assert_eq!(side_read(&bookings).await, Side::New);
        run.stop().await;
    }
    assert!(jobs::rehearse(&world.spec(), world.folder.path(), &mut |_| {}).await.is_err());
    // Nor by a state from before the move.
    let new_one = world.path("new-state.db");
    std::fs::rename(&state, &new_one).unwrap();
    delete_state(&world);
    std::fs::copy(&backup, &state).unwrap();
    let run = again().await;
    stays_stopped(&world, &run).await;
    run.stop().await;
    delete_state(&world);
    std::fs::rename(&new_one, &state).unwrap();
    let run = again().await;
    assert_eq!(run.conductor().adopt().await.unwrap().place.phase, Phase::New);
    until("the instance is counted again", async || common::status(&run).await.instances.len() == 1).await;
    assert_eq!(side_read(&bookings).await, Side::New);
    held.stop().await.unwrap();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dual_write_an_instance_shows_that_the_state_is_an_older_one() {
    let world = World::new(50);
    world.write_spec("mirror = \"dual-write\"");
    let run = world.run().await;
    let (bookings, held) = instance(&world, &run).await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let address = run.address().to_string();
    run.stop().await;
    let (state, backup) = (world.spec().state_path(), world.path("backup.db"));
    std::fs::copy(&state, &backup).unwrap();
    let again = || async {
        let options = changeover_control::RunOptions { listen: Some(address.clone()), ..world.options() };
        Run::start(options).await.unwrap()
    };
    let run = again().await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
    delete_state(&world);
    std::fs::copy(&backup, &state).unwrap();

    let run = again().await;
    until("the instance has spoken", async || common::status(&run).await.stopped.is_some()).await;
    let problem = common::status(&run).await.stopped.unwrap();
    assert!(problem.contains("the state is an older one"), "{problem}");
    let error = run.conductor().adopt().await.unwrap_err();
    assert!(error.to_string().contains("Put the newest state file back"), "{error}");
    // It goes on where it was.
    assert_eq!(side_read(&bookings).await, Side::New);
    // The newest is gone: what the step files say is taken from whoever looks.
    let error = run.conductor().adopt_in(Some(Phase::New)).await.unwrap_err();
    assert!(error.to_string().contains("it can't be new"), "{error}");
    run.conductor().adopt_in(Some(Phase::ReverseShadow)).await.unwrap();
    until("the instance is counted", async || common::status(&run).await.instances.len() == 1).await;
    assert_eq!(side_read(&bookings).await, Side::New);
    until("it is verified", async || common::status(&run).await.verification.counts).await;
    held.stop().await.ok();
    run.stop().await;
}

/// The database of the side that answers was replaced by an empty one: its emptiness isn't carried to the side that has the rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replaced_database_lacks_is_not_taken_from_the_other_side() {
    for while_it_runs in [false, true] {
        let world = World::new(50);
        let run = world.run().await;
        forward(run.conductor(), Phase::Shadow).await;
        forward(run.conductor(), Phase::ReverseShadow).await;
        until("it is verified", async || common::status(&run).await.verification.counts).await;
        let before = world.rows("old");
        let replace = || {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(world.path(&format!("new.db{suffix}")));
            }
            world.open("new.db").execute_batch(common::NEW_SQL).unwrap();
        };
        let run = if while_it_runs {
            replace();
            run
        } else {
            run.stop().await;
            replace();
            world.run().await
        };
        until("it has stopped", async || common::status(&run).await.stopped.is_some()).await;
        let problem = common::status(&run).await.stopped.unwrap();
        assert!(problem.contains("new side's database"), "{problem}");
        let refused = run.conductor().rollback(None, Share::ALL, None).await;
        assert!(matches!(refused, Err(ControlError::Disagreement { .. })), "{refused:?}");
        assert_eq!(world.rows("old"), before);
        run.stop().await;
    }
}

/// What would be noted of a move goes with the run: told at once, and nothing goes forward. A way back waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state_file_a_run_goes_no_further_forward() {
    let world = World::new(20);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    delete_state(&world);
    until("it is told", async || {
        common::status(&run).await.alerts.iter().any(|alert| alert.text.contains("deleted or replaced while"))
    })
    .await;
    let refused =
        run.conductor().advance(None, Share::ALL, &common::no_bake()).await.unwrap_err().to_string();
    assert!(refused.contains("deleted or replaced while"), "{refused}");
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    run.stop().await;
}

/// An older content of the side that answers, put back in the same file: what it takes from then on is carried nowhere, over
/// rows that may be the only copies of what was written before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_carried_from_a_database_whose_content_is_older_than_it_was() {
    let (world, run) = carried_after_a_backup().await;
    // A look of the watch, which remembers how far the log has come.
    let from = tokio::time::Instant::now();
    until("it was looked at", async || from.elapsed().as_secs() >= 3).await;
    let restored = restore(&world);
    until("it has stopped", async || common::status(&run).await.stopped.is_some()).await;
    restored.execute("UPDATE bookings SET seats = 5 WHERE id = 7", []).unwrap();
    let from = tokio::time::Instant::now();
    until("the mirror would have carried it", async || from.elapsed().as_secs() >= 1).await;
    assert_eq!(world.rows("new")[&7].1, 4711);
    run.stop().await;
    // Nobody has said since that this is the right one.
    let run = world.run().await;
    assert!(common::status(&run).await.stopped.is_some());
    run.stop().await;
}

/// The same, put back while no run was there to see it: what the last run has carried is known to the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_content_put_back_between_two_runs_is_noticed_and_may_be_adopted() {
    let (world, run) = carried_after_a_backup().await;
    run.stop().await;
    let restored = restore(&world);
    let run = world.run().await;
    let problem = common::status(&run).await.stopped.unwrap();
    assert!(
        problem.contains("old side's database") && problem.contains("put back from a backup"),
        "{problem}"
    );
    assert_eq!(world.rows("new")[&7].1, 4711);
    run.conductor().adopt().await.unwrap();
    until("the word of the side that answers is carried", async || world.rows("new")[&7].1 != 4711).await;
    run.stop().await;
    let run = world.run().await;
    assert_eq!(common::status(&run).await.stopped, None, "it was adopted");
    restored.execute("UPDATE bookings SET seats = 5 WHERE id = 7", []).unwrap();
    until("the mirror goes on", async || world.rows("new")[&7].1 == 5).await;
    run.stop().await;
}

/// One from before the migration has no log that would show it. Capture is put back, and what differs is for a person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_content_from_before_the_migration_lacks_is_not_taken_from_the_other_side() {
    for while_it_runs in [false, true] {
        let world = World::new(20);
        let old = world.open("old.db");
        old.execute("VACUUM INTO ?1", [world.path("backup.db").to_str().unwrap()]).unwrap();
        let run = world.run().await;
        forward(run.conductor(), Phase::Shadow).await;
        until("the copy is verified", async || common::status(&run).await.verification.counts).await;
        old.execute("UPDATE bookings SET seats = 4711 WHERE id = 7", []).unwrap();
        until("it is carried", async || world.rows("new")[&7].1 == 4711).await;
        let run = if while_it_runs {
            restore(&world);
            run
        } else {
            run.stop().await;
            restore(&world);
            world.run().await
        };
        until("it is told", async || {
            common::status(&run)
                .await
                .alerts
                .iter()
                .any(|alert| alert.text.contains("from before the migration"))
        })
        .await;
        let differing = async || common::status(&run).await.verification.last.map(|last| last.differences);
        until("what differs is found", async || differing().await == Some(1)).await;
        assert_eq!(world.rows("new")[&7].1, 4711);
        old.execute("UPDATE bookings SET seats = 12 WHERE id = 8", []).unwrap();
        until("the mirror goes on", async || world.rows("new")[&8].1 == 12).await;
        run.stop().await;
    }
}

/// In shadow, with a write that was carried, and `backup.db`, which is from before it.
async fn carried_after_a_backup() -> (World, Run) {
    let world = World::new(20);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let old = world.open("old.db");
    old.execute("VACUUM INTO ?1", [world.path("backup.db").to_str().unwrap()]).unwrap();
    old.execute("UPDATE bookings SET seats = 4711 WHERE id = 7", []).unwrap();
    until("it is carried", async || world.rows("new")[&7].1 == 4711).await;
    (world, run)
}

/// Puts `backup.db` back into the old side's file.
fn restore(world: &World) -> rusqlite::Connection {
    let backup = rusqlite::Connection::open(world.path("backup.db")).unwrap();
    let mut restored = world.open("old.db");
    rusqlite::backup::Backup::new(&backup, &mut restored)
        .unwrap()
        .run_to_completion(1_000, Duration::ZERO, None)
        .unwrap();
    restored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_deleted_stops_everything_until_the_databases_word_is_adopted() {
    let world = World::new(200);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
    delete_state(&world);
    let run = world.run().await;
    let problem = common::status(&run).await.stopped.unwrap();
    assert!(problem.contains("state file was") && problem.contains("deleted"), "{problem}");
    let error = run.conductor().advance(None, Share::ALL, &[]).await.unwrap_err();
    assert!(error.to_string().contains("changeover adopt"), "{error}");
    let adopted = run.conductor().adopt().await.unwrap();
    assert_eq!(adopted.place.phase, Phase::ReverseShadow);
    let status = common::status(&run).await;
    assert_eq!((status.stopped, status.phase), (None, Phase::ReverseShadow));
    world.open("new.db").execute("UPDATE booking SET seats = 99 WHERE booking_id = 7", []).unwrap();
    until("the mirror goes on", async || world.rows("old")[&7].1 == 99).await;
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    world.open("old.db").execute("UPDATE bookings SET seats = 98 WHERE id = 7", []).unwrap();
    until("the mirror goes on, the other way", async || world.rows("new")[&7].1 == 98).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_put_back_from_a_backup_is_not_believed() {
    let world = World::new(200);
    moved_with_an_older_state(&world).await;
    let run = world.run().await;
    let problem = common::status(&run).await.stopped.unwrap();
    assert!(problem.contains("older"), "{problem}");
    // Nothing was opened meanwhile: the old side still refuses.
    assert!(world.open("old.db").execute("DELETE FROM bookings WHERE id = 1", []).is_err());
    assert_eq!(run.conductor().adopt().await.unwrap().place.phase, Phase::ReverseShadow);
    run.stop().await;
}

/// Nothing in the databases shows that a state with dual write is an older one; an instance does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dual_write_nothing_is_repaired_before_the_instances_are_heard() {
    let world = World::new(20);
    world.write_spec("mirror = \"dual-write\"");
    let run = world.run().await;
    let (_bookings, held) = instance(&world, &run).await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    world.open("new.db").execute("UPDATE booking SET seats = 4711 WHERE booking_id = 7", []).unwrap();
    run.stop().await;
    let error = jobs::verify(&world.spec(), None, true, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("no run is there to hear a-"), "{error}");
    assert_eq!(world.rows("new")[&7].1, 4711);
    assert!(jobs::verify(&world.spec(), None, false, &mut |_| {}).await.is_ok(), "looking harms nobody");
    let run = world.run().await;
    until("it is heard", async || {
        let instances = common::status(&run).await.instances;
        instances.len() == 1 && !instances[0].silent
    })
    .await;
    jobs::verify(&world.spec(), None, true, &mut |_| {}).await.unwrap();
    assert_eq!(world.rows("new")[&7].1, 7);
    held.stop().await.unwrap();
    run.stop().await;
}
