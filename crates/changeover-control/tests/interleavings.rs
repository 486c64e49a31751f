//! Interleavings that would lose a row or bring one back: each is made by a fault point, on the one thread of its test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changeover::engine::TableMirror;
use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover::mirror::Mirror as _;
use changeover::{Key, Side};
use changeover_control::{Conductor, ControlError, Moved};
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::{Phase, Share};
use common::{World, forward, no_bake, until};

const TABLE: &str = "bookings";

/// What a service with the library has in its process: its own links, which nobody tells of the backfill's chunks.
async fn instance(world: &World) -> Arc<TableMirror> {
    let spec = world.spec();
    let files = [("legacy".to_owned(), world.path("old.db")), ("flights".to_owned(), world.path("new.db"))];
    let links = changeover_tables::sqlite::links(&spec.name, &spec.mappings(), &files).await.unwrap();
    Arc::new(TableMirror::new(Arc::new(links)))
}

/// A fault that runs this once.
fn once<R: Future<Output = ()> + Send + 'static>(what: impl FnOnce() -> R + Send + 'static) -> Fault {
    let what = Mutex::new(Some(what));
    let what = Arc::new(what);
    Fault::call(move || {
        let what = what.lock().unwrap().take();
        async move {
            if let Some(what) = what {
                what().await;
            }
        }
    })
}

async fn settled(world: &World) {
    let log = "SELECT count(*) FROM \"changeover_log_old:bookings\" WHERE mapping IS NOT NULL";
    until("the log is drained", async || common::one(&world.open("old.db"), log) == Some(0)).await;
}

async fn advance(conductor: &Conductor) -> Result<Moved, ControlError> {
    conductor.advance(Some(Phase::ReverseShadow), Share::ALL, &no_bake()).await
}

/// The copy reads a chunk; an instance changes a row of it and deletes another, levels both and clears the log behind it.
#[tokio::test]
async fn what_an_instance_levels_while_its_chunk_is_copied_is_not_undone() {
    let world = World::new(500);
    world.write_spec("mirror = \"dual-write\"");
    let mirror = instance(&world).await;
    let old = world.open("old.db");
    let (done, mut levelled) = tokio::sync::mpsc::channel(1);
    let write = once(move || async move {
        old.execute_batch("UPDATE bookings SET seats = 777 WHERE id = 1; DELETE FROM bookings WHERE id = 2")
            .unwrap();
        drop(old);
        let level = tokio::spawn(async move {
            let keys = [Key::new(TABLE, 1_i64), Key::new(TABLE, 2_i64)];
            let left = mirror.level(Side::Old, &keys).await;
            done.send(left.map(|left| left.synced)).await.unwrap();
        });
        // Under the chunk's guard it has to wait until the chunk is written.
        let _ = tokio::time::timeout(Duration::from_millis(500), level).await;
    });
    let _plan = FaultPlan::new().with(FaultPoint::ChunkRead, 1, write).install();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    assert_eq!(levelled.recv().await.unwrap().unwrap(), 2);
    until("the copy is made", async || world.rows("new").len() >= 499).await;
    settled(&world).await;
    let new = world.rows("new");
    assert_eq!(new.get(&1).map(|row| row.1), Some(777), "the copy put an older value over the instance's");
    assert_eq!(new.get(&2), None, "the copy brought a deleted row back");
    run.stop().await;
}

/// Somebody drops a trigger just before the fence: the writes since then are in no log.
#[tokio::test]
async fn a_move_is_given_up_where_capture_is_not_whole() {
    let world = World::new(50);
    let old = world.open("old.db");
    let tamper = once(move || async move {
        old.execute_batch(
            "DROP TRIGGER \"changeover_update_old:bookings:bookings\"; UPDATE bookings SET seats = 777 WHERE id = 1",
        )
        .unwrap();
    });
    let _plan = FaultPlan::new().with(FaultPoint::ForwardRecorded, 1, tamper).install();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is made", async || world.rows("new").len() == 50).await;
    let moved = until_given_up_or_moved(run.conductor()).await;
    assert!(matches!(&moved, Err(ControlError::GivenUp { why, .. }) if why.contains("capture")), "{moved:?}");
    until("the row is repaired", async || world.rows("new")[&1].1 == 777).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    assert_eq!(world.rows("new"), world.rows("old"));
    run.stop().await;
}

/// The log is at its bound just before the fence: changes weren't logged.
#[tokio::test]
async fn a_move_is_given_up_where_the_log_overflowed() {
    let world = World::new(50);
    let old = world.open("old.db");
    let overflow = once(move || async move {
        old.execute_batch("INSERT INTO \"changeover_log_old:bookings\" (id) VALUES (-1)").unwrap();
    });
    let _plan = FaultPlan::new().with(FaultPoint::ForwardRecorded, 1, overflow).install();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is made", async || world.rows("new").len() == 50).await;
    let moved = until_given_up_or_moved(run.conductor()).await;
    assert!(matches!(&moved, Err(ControlError::GivenUp { why, .. }) if why.contains("bound")), "{moved:?}");
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
}

/// The mirror's worker has claimed a key and is held up before it takes the guard: were the sides to change places
/// meanwhile, it would put the side's value that was left over a write to the other.
#[tokio::test]
async fn no_move_goes_on_over_a_claim_that_is_under_way() {
    for mirror in ["capture", "dual-write"] {
        let world = World::new(50);
        world.write_spec(&format!("mirror = \"{mirror}\""));
        let run = world.run().await;
        let conductor = run.conductor();
        forward(conductor, Phase::Shadow).await;
        until("the copy is made", async || world.rows("new").len() == 50).await;
        until("it is verified", async || common::status(&run).await.verification.last.is_some()).await;
        let paused = PausedAt::default();
        let _plan = FaultPlan::new().with(FaultPoint::ClaimTaken, 1, Fault::Pause(paused.clone())).install();
        world.open("old.db").execute("UPDATE bookings SET seats = 100 WHERE id = 1", []).unwrap();
        paused.reached().await;
        if mirror == "dual-write" {
            // The instance that wrote it has levelled it itself by now.
            let levelled = instance(&world).await.level(Side::Old, &[Key::new(TABLE, 1_i64)]).await.unwrap();
            assert_eq!(levelled.synced, 1);
        }
        let moved = until_given_up_or_moved(conductor).await;
        if moved.is_ok() {
            world.open("new.db").execute("UPDATE booking SET seats = 200 WHERE booking_id = 1", []).unwrap();
        }
        paused.go_on();
        assert!(matches!(&moved, Err(ControlError::GivenUp { .. })), "{mirror}: {moved:?}");
        forward(conductor, Phase::ReverseShadow).await;
        world.open("new.db").execute("UPDATE booking SET seats = 200 WHERE booking_id = 1", []).unwrap();
        until("the other side follows", async || world.rows("old")[&1].1 == 200).await;
        assert_eq!(world.rows("new")[&1].1, 200);
        run.stop().await;
    }
}

/// A rollback from `new` has put in place what it needs; meanwhile somebody retires the migration, which removes it all.
#[tokio::test]
async fn two_moves_from_new_do_not_undo_each_other() {
    let world = World::new(50);
    let run = world.run().await;
    let conductor = run.conductor();
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(conductor, phase).await;
    }
    let paused = PausedAt::default();
    let _plan =
        FaultPlan::new().with(FaultPoint::BackPreconditionsHeld, 1, Fault::Pause(paused.clone())).install();
    let back = async { conductor.rollback(None, Share::ALL, None).await };
    let retire = async {
        paused.reached().await;
        let overrides = no_bake();
        let mut retire = Box::pin(conductor.advance(Some(Phase::Retired), Share::ALL, &overrides));
        let early = tokio::time::timeout(Duration::from_millis(500), &mut retire).await;
        paused.go_on();
        match early {
            Ok(retired) => retired,
            Err(_) => retire.await,
        }
    };
    let (back, retired) = tokio::join!(back, retire);
    assert_eq!(back.unwrap().place.phase, Phase::ReverseShadow);
    let refused = retired.unwrap_err();
    assert!(refused.to_string().contains("in reverse-shadow"), "{refused}");
    world.open("new.db").execute("UPDATE booking SET seats = 200 WHERE booking_id = 1", []).unwrap();
    until("the old side follows", async || world.rows("old")[&1].1 == 200).await;
    run.stop().await;
}

/// The log for the way back reaches its bound while a rollback counts on it.
#[tokio::test]
async fn the_way_back_does_not_end_under_a_rollback_that_is_being_prepared() {
    let world = World::new(50);
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(
        world.path("bookings.toml"),
        format!("{text}\n[capture]\nway_back = {{ size = \"2kb\" }}\n"),
    )
    .unwrap();
    let run = world.run().await;
    let conductor = run.conductor();
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(conductor, phase).await;
    }
    let paused = PausedAt::default();
    let _plan =
        FaultPlan::new().with(FaultPoint::BackPreconditionsHeld, 1, Fault::Pause(paused.clone())).install();
    let audit = world.open(".changeover/bookings.db");
    let told = "SELECT 1 FROM audit WHERE text LIKE '%over half of its bound%' OR text LIKE '%the way back from new has ended%'";
    let back = async { conductor.rollback(None, Share::ALL, None).await };
    let fill = async {
        paused.reached().await;
        let new = world.open("new.db");
        for seats in 1000..1040 {
            new.execute("UPDATE booking SET seats = ?1 WHERE booking_id = 1", [seats]).unwrap();
        }
        until("the watch has looked", async || common::one(&audit, told).is_some()).await;
        paused.go_on();
    };
    let (back, ()) = tokio::join!(back, fill);
    assert_eq!(back.unwrap().place.phase, Phase::ReverseShadow);
    until("the old side follows", async || world.rows("old")[&1].1 == 1039).await;
    assert_eq!(common::one(&audit, "SELECT 1 FROM audit WHERE text LIKE '%has ended%'"), None);
    run.stop().await;
}

/// Tries until the gates are open; what came of the move then.
async fn until_given_up_or_moved(conductor: &Conductor) -> Result<Moved, ControlError> {
    loop {
        match advance(conductor).await {
            Err(ControlError::Gates { .. } | ControlError::Refused(_) | ControlError::Protocol(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}

/// Back over the phases, the old side's changes are logged from the first moment on that it is the authority again.
#[tokio::test]
async fn on_a_dual_write_s_way_back_the_old_side_is_captured_before_it_is_written() {
    let world = World::new(50);
    world.write_spec("mirror = \"dual-write\"");
    let run = world.run().await;
    let conductor = run.conductor();
    for phase in [Phase::Shadow, Phase::ReverseShadow, Phase::New] {
        forward(conductor, phase).await;
    }
    until("capture is removed", async || {
        !world.installed("old.db").iter().any(|name| name.contains("_update_"))
    })
    .await;
    conductor.rollback(Some(Phase::ReverseShadow), Share::ALL, None).await.unwrap();
    conductor.rollback(Some(Phase::Shadow), Share::ALL, None).await.unwrap();
    world.open("old.db").execute("UPDATE bookings SET seats = 300 WHERE id = 1", []).unwrap();
    until("the new side follows", async || world.rows("new")[&1].1 == 300).await;
    let audit = world.open(".changeover/bookings.db");
    assert_eq!(
        common::one(&audit, "SELECT count(*) FROM audit WHERE text LIKE '%capture was removed or changed%'"),
        Some(0),
        "it was installed only when the watch missed it"
    );
    run.stop().await;
}

/// Both sides in one file: the lock of the one holds what would prepare the other.
#[tokio::test]
async fn both_sides_in_one_file_go_forward_and_back() {
    let world = World::new(50);
    world.open("old.db").execute_batch(common::NEW_SQL).unwrap();
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    let text = text.replace("[store.flights]\nurl = \"sqlite:new.db\"\n", "").replace("flights:", "legacy:");
    std::fs::write(world.path("bookings.toml"), text).unwrap();
    let run = world.run().await;
    let conductor = run.conductor();
    forward(conductor, Phase::Shadow).await;
    forward(conductor, Phase::ReverseShadow).await;
    let app = world.open("old.db");
    app.execute("UPDATE booking SET seats = 200 WHERE booking_id = 1", []).unwrap();
    let follows = "SELECT 1 FROM bookings WHERE id = 1 AND seats = 200";
    until("the old side follows", async || common::one(&app, follows).is_some()).await;
    conductor.rollback(None, Share::ALL, None).await.unwrap();
    app.execute("UPDATE bookings SET seats = 300 WHERE id = 1", []).unwrap();
    run.stop().await;
}

/// An id that the old side has given out, and whose row is gone, is not given out again by the new side.
#[tokio::test]
async fn with_dual_write_an_id_is_not_given_out_twice() {
    let world = World::new(50);
    world.write_spec("mirror = \"dual-write\"");
    let old = world.open("old.db");
    old.execute_batch("INSERT INTO bookings VALUES (500, 'booked', 1); DELETE FROM bookings WHERE id = 500")
        .unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    let insert = "INSERT INTO booking (status, seats) VALUES ('NEW', 1) RETURNING booking_id";
    assert_eq!(common::one(&world.open("new.db"), insert), Some(501));
    run.stop().await;
}
