//! Transactions whose snapshot is older than what was switched on meanwhile: refused or captured, and never taken and lost.

use changeover::Side;
use changeover::store::fence::FenceState;

use super::world::{CAPTURE, STALL, WAIT, World, ask, pid, refused, until_blocked};

const TABLES: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text); CREATE TABLE other (id int); \
    INSERT INTO items SELECT n, 'as it was' FROM generate_series(1, 100) AS n";
const ISOLATIONS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_from_a_snapshot_older_than_the_fence_is_refused_and_its_retry_succeeds_on_the_other_side() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let mut epoch = 1;
    for (left, entered) in [(Side::Old, Side::New), (Side::New, Side::Old)] {
        // Open where the authority is; one transaction of each isolation on each side has read another table.
        stores.fence(left).set(FenceState::Open, epoch).await.unwrap();
        let mut early = Vec::new();
        for isolation in ISOLATIONS {
            let app = world.app(left).await;
            app.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT * FROM other"))
                .await
                .unwrap();
            early.push(app);
        }
        epoch += 1;
        let mut lock = stores.fence(left).lock(WAIT, STALL).await.unwrap();
        lock.set(FenceState::Moved, epoch).await.unwrap();
        lock.commit().await.unwrap();
        stores.fence(entered).set(FenceState::Open, epoch).await.unwrap();
        for (app, isolation) in early.iter().zip(ISOLATIONS) {
            for write in [
                "UPDATE items SET name = 'late' WHERE id = 1",
                "INSERT INTO items VALUES (1000, 'late')",
                "DELETE FROM items",
            ] {
                let code = refused(app, &format!("SAVEPOINT s; {write}")).await;
                assert_eq!(code, "40001", "{left:?} {isolation} {write}");
                app.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
            }
            app.batch_execute("ROLLBACK").await.unwrap();
        }
        let there = world.app(entered).await;
        there.batch_execute("BEGIN; UPDATE items SET name = 'there' WHERE id = 1; COMMIT").await.unwrap();
    }
    assert_eq!(ask(&world.new_app, "SELECT name FROM items WHERE id = 1").await, ["there"]);
    assert_eq!(ask(&world.old_app, "SELECT count(*) FROM items WHERE name = 'late'").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_from_a_snapshot_older_than_capture_is_captured() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    let mut early = Vec::new();
    for isolation in ISOLATIONS {
        let app = world.app(Side::Old).await;
        app.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT * FROM other")).await.unwrap();
        early.push(app);
    }
    stores.capture().await;
    for (n, app) in early.iter().enumerate() {
        let sql = format!("UPDATE items SET name = 'late' WHERE id = {}; COMMIT", n + 1);
        app.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)", "items(3)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capture_is_on_only_when_the_writers_that_were_open_have_ended() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    world.old_app.batch_execute("BEGIN; UPDATE items SET name = 'open' WHERE id = 1").await.unwrap();
    // It doesn't come on past a writer whose change it wouldn't have logged.
    let error = stores.log(Side::Old).install(CAPTURE).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    world.old_app.batch_execute("COMMIT; UPDATE items SET name = 'free' WHERE id = 2").await.unwrap();
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    stores.capture().await;
    assert!(stores.log(Side::Old).installed().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_saw_the_log_full_is_not_lost_to_the_generation_that_begins() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    let small = changeover::store::capture::CaptureOptions { bound: 4, overflow: true };
    stores.log(Side::Old).install(small).await.unwrap();
    let early = world.app(Side::Old).await;
    world.old_app.batch_execute("UPDATE items SET name = 'much'").await.unwrap();
    assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
    // One writes while the log is full, and one has taken its snapshot by then.
    world.old_app.batch_execute("BEGIN; UPDATE items SET name = 'unlogged' WHERE id = 7").await.unwrap();
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM other").await.unwrap();
    let reset = stores.log(Side::Old).reset();
    let writer = world.old_app.batch_execute("COMMIT");
    let mut reset = std::pin::pin!(reset);
    let first = tokio::select! { done = &mut reset => Some(done), () = blocked(&world) => None };
    if first.as_ref().is_some_and(Result::is_ok) {
        panic!(
            "the new generation's chunks would be read without the change of a writer that logged nothing"
        );
    }
    writer.await.unwrap();
    match first {
        Some(_) => stores.log(Side::Old).reset().await.unwrap(),
        None => reset.await.unwrap(),
    }
    early.batch_execute("UPDATE items SET name = 'early' WHERE id = 8; COMMIT").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(8)"], "the snapshot is from when the log was full");
    assert!(!stores.log(Side::Old).depth().await.unwrap().overflowed);
}

/// Until one of our sessions waits for the application.
async fn blocked(world: &World) {
    let look = world.app(Side::Old).await;
    let writer = pid(&world.old_app).await;
    super::world::until(
        &look,
        &format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {writer} = ANY (pg_blocking_pids(pid))"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_writers_of_different_rows_do_not_fail_because_they_are_captured() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let (a, b) = (world.app(Side::Old).await, world.app(Side::Old).await);
    // Nothing is read by them: there is nothing between these inserts but what capture brings.
    for (n, app) in [&a, &b, &a, &b].into_iter().enumerate() {
        let begin = if n < 2 { "BEGIN ISOLATION LEVEL SERIALIZABLE; " } else { "" };
        app.batch_execute(&format!("{begin}INSERT INTO items VALUES ({}, 'x')", 1_001 + n)).await.unwrap();
    }
    a.batch_execute("COMMIT").await.unwrap();
    b.batch_execute("COMMIT").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1001)", "items(1002)", "items(1003)", "items(1004)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_clients_update_that_waits_for_a_row_commits_later_and_the_sync_afterwards_is_right() {
    let world = World::same(TABLES).await;
    let stores = world.of("items").await;
    stores.capture().await;
    world.old_app.batch_execute("BEGIN; UPDATE items SET name = 'first' WHERE id = 1").await.unwrap();
    let doomed = world.app(Side::Old).await;
    let number = pid(&doomed).await;
    let waiting = tokio::spawn(async move {
        let _ = doomed.batch_execute("UPDATE items SET name = 'of the dead' WHERE id = 1").await;
    });
    until_blocked(&world.old_app, number).await;
    waiting.abort();
    let _ = waiting.await;
    world.old_app.batch_execute("COMMIT").await.unwrap();
    super::world::until(&world.old_app, "SELECT name = 'of the dead' FROM items WHERE id = 1").await;
    stores.drain().await;
    stores.assert_equal().await;
}
