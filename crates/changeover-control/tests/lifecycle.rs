//! A whole migration over SQLite files, under a writer whose outcome is predicted: start, rollback, start, complete.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover_control::Run;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::{Phase, Share};
use common::{World, Writer, forward, no_bake, until};

/// The sides are equal once the logs are drained.
async fn equal(world: &World) {
    until("both sides are equal", async || world.rows("old") == world.rows("new")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forward_back_forward_and_retired_under_writes_loses_nothing() {
    let world = World::new(2_000);
    let flag = world.path("flag");
    let mut options = world.options();
    options.flag_file = Some(flag.clone());
    let run = Run::start(options).await.unwrap();
    let conductor = run.conductor();
    let writer = Writer::begin(&world, &flag);

    forward(conductor, Phase::Shadow).await;
    forward(conductor, Phase::ReverseShadow).await;
    let back = conductor.rollback(None, Share::ALL, None).await.unwrap();
    assert_eq!(back.place.phase, Phase::Shadow, "{back:?}");
    forward(conductor, Phase::ReverseShadow).await;
    forward(conductor, Phase::New).await;
    // Within the way back: the log of the new side is drained first.
    let back = conductor.rollback(None, Share::ALL, None).await.unwrap();
    assert_eq!(back.place.phase, Phase::ReverseShadow, "{back:?}");

    let expected = writer.end();
    equal(&world).await;
    assert_eq!(world.rows("new"), expected);
    forward(conductor, Phase::New).await;
    forward(conductor, Phase::Retired).await;
    let gone = async || world.installed("old.db").is_empty() && world.installed("new.db").is_empty();
    until("nothing stays installed", gone).await;
    let renamed = async || {
        common::one(&world.open("old.db"), "SELECT 1 FROM sqlite_schema WHERE name = 'bookings_retired'")
    };
    until("the old table is renamed", async || renamed().await.is_some()).await;
    assert_eq!(std::fs::read_to_string(&flag).unwrap(), "3\n");
    let farewell = run.stop().await;
    assert!(farewell.lines.iter().any(|line| line.contains("Nothing of Changeover's stays")), "{farewell:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_anywhere_is_gone_on_with_by_the_next() {
    let world = World::new(3_000);
    let flag = world.path("flag");
    let start = async || {
        let mut options = world.options();
        options.flag_file = Some(flag.clone());
        Run::start(options).await.unwrap()
    };
    let mut run = start().await;
    let writer = Writer::begin(&world, &flag);
    forward(run.conductor(), Phase::Shadow).await;
    // In mid-backfill, and in the middle of whatever the other moments find.
    for _ in 0..3 {
        drop(run);
        run = start().await;
    }
    forward(run.conductor(), Phase::ReverseShadow).await;
    drop(run);
    run = start().await;
    assert_eq!(common::status(&run).await.phase, Phase::ReverseShadow);
    run.conductor().rollback(Some(Phase::Shadow), Share::ALL, None).await.unwrap();
    drop(run);
    run = start().await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    forward(run.conductor(), Phase::New).await;
    let expected = writer.end();
    assert_eq!(world.rows("new"), expected);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_to_old_and_again_copies_anew_what_changed_meanwhile() {
    let world = World::new(500);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is made", async || world.rows("old") == world.rows("new")).await;
    run.conductor().rollback(Some(Phase::Old), Share::ALL, None).await.unwrap();
    until("nothing stays installed", async || world.installed("old.db").is_empty()).await;
    let old = world.open("old.db");
    old.execute_batch("DELETE FROM bookings WHERE id <= 10; UPDATE bookings SET seats = 77 WHERE id = 20;")
        .unwrap();
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    assert_eq!(world.rows("new"), world.rows("old"));
    assert_eq!(world.rows("new")[&20].1, 77);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simple_path_refuses_writes_copies_verifies_and_moves() {
    let world = World::new(1_000);
    world.write_spec("phases = [\"old\", \"new\"]");
    let run = world.run().await;
    forward(run.conductor(), Phase::New).await;
    assert_eq!(world.rows("new"), world.rows("old"));
    let refused = world.open("old.db").execute("DELETE FROM bookings WHERE id = 1", []).unwrap_err();
    assert!(refused.to_string().contains("has moved"), "{refused}");
    world.open("new.db").execute("UPDATE booking SET seats = 5 WHERE booking_id = 1", []).unwrap();
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    until("the way back is made", async || common::status(&run).await.phase == Phase::Old).await;
    assert_eq!(world.rows("old")[&1].1, 5);
    run.stop().await;
}

/// Somebody with an old flag writes to the new side: it must be refused, or nobody ever looks for that write again.
fn straggle(world: &World) -> Result<usize, String> {
    let new = world.open("new.db");
    new.execute("UPDATE booking SET seats = 99 WHERE booking_id = 1", []).map_err(|error| error.to_string())
}

/// Back in `old`, and what isn't needed there is removed.
async fn back_in_old(world: &World, run: &Run) {
    until("it is back", async || common::status(run).await.phase == Phase::Old).await;
    until("the old side is cleaned up", async || world.installed("old.db").is_empty()).await;
}

/// On one thread: a fault is planned for the thread that it is met on.
#[tokio::test]
async fn after_a_way_back_to_old_the_new_side_refuses_stragglers_until_the_next_advance_or_abort() {
    let world = World::new(100);
    world.write_spec("phases = [\"old\", \"new\"]");
    let run = world.run().await;
    forward(run.conductor(), Phase::New).await;
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    back_in_old(&world, &run).await;
    let refused = straggle(&world).unwrap_err();
    assert!(refused.contains("has moved"), "{refused}");
    run.stop().await;

    // Not even a run that begins meanwhile opens it, nor an advance that turns around.
    let run = world.run().await;
    back_in_old(&world, &run).await;
    assert!(straggle(&world).is_err(), "after a restart");
    let paused = PausedAt::default();
    let plan = FaultPlan::new().with(FaultPoint::ChunkRead, 1, Fault::Pause(paused.clone())).install();
    let begun = run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap();
    assert!(begun.under_way, "{begun:?}");
    paused.reached().await;
    let back = run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    assert!(back.notes.iter().any(|note| note.contains("stays fenced")), "{back:?}");
    drop(plan);
    paused.go_on();
    back_in_old(&world, &run).await;
    assert!(straggle(&world).is_err(), "after a move that turned around");

    forward(run.conductor(), Phase::New).await;
    assert_eq!(world.rows("new"), world.rows("old"));
    assert_eq!(straggle(&world), Ok(1), "it is the authority now");
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    back_in_old(&world, &run).await;
    assert_eq!(world.rows("old")[&1].1, 99, "and that write came along");
    assert!(straggle(&world).is_err(), "after the second way back");
    run.conductor().abort().await.unwrap();
    assert_eq!(world.installed("new.db"), Vec::<String>::new());
    assert_eq!(straggle(&world), Ok(1), "nobody is kept out any more");
    run.stop().await;
}

/// The same where the way back leads over `shadow`, and both sides are in one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_over_all_phases_the_new_side_stays_fenced_and_the_next_advance_works() {
    let world = World::new(50);
    world.open("old.db").execute_batch(common::NEW_SQL).unwrap();
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    let text = text.replace("[store.flights]\nurl = \"sqlite:new.db\"\n", "").replace("flights:", "legacy:");
    std::fs::write(world.path("bookings.toml"), text).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.conductor().rollback(Some(Phase::Old), Share::ALL, None).await.unwrap();
    until("it is back", async || common::status(&run).await.phase == Phase::Old).await;
    let only_the_fence = async || world.installed("old.db").iter().all(|name| name.contains("_fence"));
    until("all but the fence is removed", only_the_fence).await;
    let app = world.open("old.db");
    let refused = app.execute("UPDATE booking SET seats = 99 WHERE booking_id = 1", []).unwrap_err();
    assert!(refused.to_string().contains("has moved"), "{refused}");
    app.execute("UPDATE bookings SET seats = 12 WHERE id = 1", []).unwrap();
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    let came = "SELECT seats FROM booking WHERE booking_id = 1";
    assert_eq!(common::one(&app, came), Some(12));
    app.execute("UPDATE booking SET seats = 13 WHERE booking_id = 1", []).unwrap();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_removes_everything_and_leaves_the_new_side_s_rows() {
    let world = World::new(300);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is made", async || world.rows("new").len() == 300).await;
    run.conductor().abort().await.unwrap();
    assert_eq!(world.installed("old.db"), Vec::<String>::new());
    assert_eq!(world.installed("new.db"), Vec::<String>::new());
    assert_eq!(world.rows("new").len(), 300);
    run.stop().await;
}

/// A transaction that read before the fence was moved and writes after it: its snapshot is older than the move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_before_the_fence_cannot_write_after_it_in_either_direction() {
    let world = World::new(50);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let old = world.open("old.db");
    old.execute_batch("BEGIN; SELECT count(*) FROM bookings;").unwrap();
    assert!(common::one(&old, "SELECT count(*) FROM bookings").is_some());
    forward(run.conductor(), Phase::ReverseShadow).await;
    assert!(old.execute("UPDATE bookings SET seats = 1 WHERE id = 1", []).is_err(), "taken and lost");
    old.execute_batch("ROLLBACK").unwrap();

    let new = world.open("new.db");
    new.execute_batch("BEGIN").unwrap();
    assert!(common::one(&new, "SELECT count(*) FROM booking").is_some());
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    assert!(new.execute("UPDATE booking SET seats = 1 WHERE booking_id = 1", []).is_err(), "taken and lost");
    new.execute_batch("ROLLBACK").unwrap();
    equal(&world).await;
    run.stop().await;
}

/// The spec's bound counts from the next start on, in whatever phase that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_of_the_way_back_that_is_changed_in_new_is_taken_in() {
    let world = World::new(20);
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    let run = world.run().await;
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(run.conductor(), phase).await;
    }
    let bound = async |run: &Run| common::status(run).await.logs.first().map(|log| log.bound);
    until("the log is looked at", async || bound(&run).await.is_some()).await;
    let before = bound(&run).await;
    run.stop().await;
    let bounds = "[capture]\nway_back = { size = \"1 MB\" }\n";
    std::fs::write(world.path("bookings.toml"), format!("{text}\n{bounds}")).unwrap();
    let run = world.run().await;
    until("it is another", async || bound(&run).await.is_some_and(|now| Some(now) < before)).await;
    run.stop().await;
}

/// Past the way back the old side is filled anew: what the new side lacks is deleted there, what changed comes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_way_back_a_rollback_fills_the_old_side_anew() {
    for mirror in ["capture", "dual-write"] {
        let world = World::new(300);
        world.write_spec(&format!("mirror = \"{mirror}\""));
        let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
        let bound = "[capture]\nway_back = { time = \"1ms\" }\n";
        std::fs::write(world.path("bookings.toml"), format!("{text}\n{bound}")).unwrap();
        let run = world.run().await;
        for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
            forward(run.conductor(), phase).await;
        }
        let no_log = async || !world.installed("new.db").iter().any(|name| name.contains("changeover_log"));
        until("the way back has ended", no_log).await;
        world
            .open("new.db")
            .execute_batch(
                "DELETE FROM booking WHERE booking_id <= 20; UPDATE booking SET seats = 66 WHERE booking_id = 30;
                 INSERT INTO booking (status, seats) VALUES ('LATE', 1);",
            )
            .unwrap();
        let moved = run.conductor().rollback(None, Share::ALL, None).await.unwrap();
        assert_eq!(moved.place.phase, Phase::ReverseShadow, "{mirror}");
        until("the old side is filled", async || world.rows("old") == world.rows("new")).await;
        assert_eq!(world.rows("old")[&30].1, 66, "{mirror}");
        until("the generation is done", async || common::status(&run).await.backfill.is_none_or(|b| b.done))
            .await;
        run.conductor().rollback(None, Share::ALL, None).await.unwrap();
        world.open("old.db").execute("UPDATE bookings SET seats = 3 WHERE id = 30", []).unwrap();
        until("and is the authority again", async || world.rows("new")[&30].1 == 3).await;
        run.stop().await;
    }
}

/// Without `reverse-shadow` the way back from `new` copies with writes refused; then the old side leads again, and what marked
/// the new one as serving alone keeps the mirror from nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_from_new_to_shadow_the_mirror_goes_on_with_either_mirror() {
    for mirror in ["capture", "dual-write"] {
        let world = World::new(100);
        world.write_spec(&format!("mirror = \"{mirror}\"\nphases = [\"old\", \"shadow\", \"new\"]"));
        let run = world.run().await;
        forward(run.conductor(), Phase::Shadow).await;
        forward(run.conductor(), Phase::New).await;
        world.open("new.db").execute("UPDATE booking SET seats = 66 WHERE booking_id = 30", []).unwrap();
        run.conductor().rollback(None, Share::ALL, None).await.unwrap();
        until("it is back in shadow", async || {
            let status = common::status(&run).await;
            status.phase == Phase::Shadow && status.moving.is_none()
        })
        .await;
        assert_eq!(world.rows("old")[&30].1, 66, "{mirror}");
        world.open("old.db").execute("UPDATE bookings SET seats = 3 WHERE id = 30", []).unwrap();
        until("the old side leads", async || world.rows("new")[&30].1 == 3).await;
        run.stop().await;
    }
}

/// The old table has its last name, and nobody has noted it: there is no table to plan by, and still something to remove.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_old_tables_last_name_and_its_note_is_made_good_by_the_next_run() {
    let world = World::new(20);
    let run = world.run().await;
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(run.conductor(), phase).await;
    }
    run.conductor().advance(Some(Phase::Retired), Share::ALL, &no_bake()).await.unwrap();
    run.stop().await;
    // As it stands between the two.
    let state = rusqlite::Connection::open(world.spec().state_path()).unwrap();
    assert_eq!(state.execute("DELETE FROM setting WHERE name = 'retired'", []).unwrap(), 1);
    drop(state);
    world
        .open("new.db")
        .execute_batch("CREATE TRIGGER \"changeover_insert_new:bookings:bookings\" AFTER INSERT ON booking BEGIN SELECT 1; END")
        .unwrap();
    for _ in 0..2 {
        let error = Run::start(world.options()).await.unwrap_err();
        assert!(error.to_string().contains("is over"), "{error}");
        assert_eq!(world.installed("new.db"), Vec::<String>::new());
    }
}
