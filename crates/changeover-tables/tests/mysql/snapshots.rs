//! Transactions whose snapshot is older than what was switched on meanwhile: refused or captured, and never taken and lost.

use changeover::Side;
use changeover::store::capture::CaptureOptions;
use changeover::store::fence::FenceState;

use super::world::{App, CAPTURE, ISOLATIONS, STALL, WAIT, World, until_waiting};

pub(super) const TABLES: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40)) ENGINE = InnoDB; \
    CREATE TABLE other (id INT); INSERT INTO items SELECT seq, 'as it was' FROM seq_1_to_100";

/// Transactions of every isolation that have read another table, and by that taken their snapshot.
async fn early(world: &World, side: Side) -> Vec<App> {
    let mut all = Vec::new();
    for isolation in ISOLATIONS {
        let mut app = world.app(side).await;
        app.begin(isolation).await;
        app.run("SELECT * FROM other").await;
        all.push(app);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_from_a_snapshot_older_than_the_fence_is_refused_and_its_retry_succeeds_on_the_other_side() {
    let mut world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let mut epoch = 1;
    for (left, entered) in [(Side::Old, Side::New), (Side::New, Side::Old)] {
        // Open where the authority is.
        stores.fence(left).set(FenceState::Open, epoch).await.unwrap();
        let mut early = early(&world, left).await;
        epoch += 1;
        let mut lock = stores.fence(left).lock(WAIT, STALL).await.unwrap();
        lock.set(FenceState::Moved, epoch).await.unwrap();
        lock.commit().await.unwrap();
        stores.fence(entered).set(FenceState::Open, epoch).await.unwrap();
        for (app, isolation) in early.iter_mut().zip(ISOLATIONS) {
            for write in [
                "UPDATE items SET name = 'late' WHERE id = 1",
                "INSERT INTO items VALUES (1000, 'late')",
                "DELETE FROM items",
            ] {
                let refused = app.refused(write).await;
                assert_eq!(refused, (1644, "40001".to_owned()), "{left:?} {isolation} {write}");
            }
            app.run("ROLLBACK").await;
        }
        let mut there = world.app(entered).await;
        there.run("START TRANSACTION; UPDATE items SET name = 'there' WHERE id = 1; COMMIT").await;
    }
    assert_eq!(world.new_app.ask("SELECT name FROM items WHERE id = 1").await, ["there"]);
    assert_eq!(world.old_app.ask("SELECT COUNT(*) FROM items WHERE name = 'late'").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_from_a_snapshot_older_than_capture_is_captured_or_refused_and_its_retry_captured() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    // Older than the triggers, and older than that they were switched on.
    let mut older = early(&world, Side::Old).await;
    stores.fence(Side::Old).set(FenceState::Open, 1).await.unwrap();
    older.extend(early(&world, Side::Old).await);
    stores.capture().await;
    for (n, app) in older.iter_mut().enumerate() {
        let write = format!("UPDATE items SET name = 'late' WHERE id = {}", n + 1);
        // A snapshot that is older than the fence's table can't see what it says.
        if let Err((code, state, _)) = app.tried(&write).await {
            assert!(n < ISOLATIONS.len(), "{n}");
            assert_eq!((code, state.as_str()), (1644, "40001"));
            app.run(&format!("ROLLBACK; {write}")).await;
        }
        app.run("COMMIT").await;
    }
    let all: Vec<String> = (1..=6).map(|n| format!("items({n})")).collect();
    assert_eq!(stores.logged(Side::Old).await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capture_is_on_only_when_the_writers_that_were_open_have_ended() {
    let mut world = World::same(TABLES).await;
    let stores = world.of("items").await;
    world.old_app.run("START TRANSACTION; UPDATE items SET name = 'open' WHERE id = 1").await;
    // The triggers aren't made past a writer whose change they haven't logged,
    let error = stores.log(Side::Old).install(CAPTURE).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    world.old_app.run("COMMIT").await;
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    // and aren't switched on past one either.
    stores.fence(Side::Old).set(FenceState::Open, 1).await.unwrap();
    world.old_app.run("START TRANSACTION; UPDATE items SET name = 'open' WHERE id = 2").await;
    let error = stores.log(Side::Old).install(CAPTURE).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    world.old_app.run("COMMIT").await;
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    stores.capture().await;
    assert!(stores.log(Side::Old).installed().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_saw_the_log_full_is_not_lost_to_the_generation_that_begins() {
    let mut world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.log(Side::Old).install(CaptureOptions { bound: 4, overflow: true }).await.unwrap();
    world.old_app.run("UPDATE items SET name = 'much'").await;
    assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
    // One writes while the log is full, and others have taken their snapshots by then.
    world.old_app.run("START TRANSACTION; UPDATE items SET name = 'unlogged' WHERE id = 7").await;
    let mut early = early(&world, Side::Old).await;
    let mut look = world.app(Side::Old).await;
    let (reset, ()) = tokio::join!(stores.log(Side::Old).reset(), async {
        until_waiting(&mut look, "FOR UPDATE").await;
        world.old_app.run("COMMIT").await;
    });
    reset.unwrap();
    for (n, app) in early.iter_mut().enumerate() {
        app.run(&format!("UPDATE items SET name = 'early' WHERE id = {}; COMMIT", 11 + n)).await;
    }
    let all = ["items(11)", "items(12)", "items(13)"];
    assert_eq!(stores.logged(Side::Old).await, all, "the snapshots are from when the log was full");
    assert!(!stores.log(Side::Old).depth().await.unwrap().overflowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_snapshot_takes_the_log_neither_for_full_nor_for_empty() {
    let mut world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.log(Side::Old).install(CaptureOptions { bound: 40, overflow: true }).await.unwrap();
    world.old_app.run("UPDATE items SET name = 'x' WHERE id = 1").await;
    let mut early = early(&world, Side::Old).await;
    // What they saw in the log is carried, and the numbers have gone on.
    world.old_app.run("UPDATE items SET name = 'y' WHERE id <= 30").await;
    stores.forget(Side::Old).await;
    world.old_app.run("UPDATE items SET name = 'z' WHERE id <= 20").await;
    for app in &mut early {
        app.run("UPDATE items SET name = 'early' WHERE id = 50").await;
        app.run("COMMIT").await;
    }
    assert!(
        !stores.log(Side::Old).depth().await.unwrap().overflowed,
        "the oldest that they see is long gone"
    );
    // Full after their snapshots: they log on, and it is none of them that is lost.
    let mut early = super::snapshots::early(&world, Side::Old).await;
    world.old_app.run("UPDATE items SET name = 'much'").await;
    assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
    for app in &mut early {
        app.run("UPDATE items SET name = 'early' WHERE id = 51; COMMIT").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_writers_of_different_rows_do_not_wait_for_each_other_because_they_are_captured() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let (mut a, mut b) = (world.app(Side::Old).await, world.app(Side::Old).await);
    a.run("SET innodb_lock_wait_timeout = 1").await;
    b.run("SET innodb_lock_wait_timeout = 1").await;
    a.begin("SERIALIZABLE").await;
    b.begin("SERIALIZABLE").await;
    for n in [1, 3] {
        a.run(&format!("UPDATE items SET name = 'a' WHERE id = {n}")).await;
        b.run(&format!("UPDATE items SET name = 'b' WHERE id = {}", n + 1)).await;
    }
    // Nor does the mirror wait for them: neither for its mark, nor for what it has carried.
    let keys = [super::world::key("items", 60_i64)];
    drop(stores.guarded(Side::Old).begin(changeover::store::guard::Scope::Keys(&keys)).await.unwrap());
    a.run("COMMIT").await;
    stores.forget(Side::Old).await;
    b.run("COMMIT").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(2)", "items(4)"]);
}
