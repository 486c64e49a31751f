//! The fence: its epoch, its lock, who stands in whose way, and whom it must not let through.

use changeover::store::fence::{FenceAt, FenceState};
use changeover::{Side, StoreError};

use super::world::{SHORT, STALL, WAIT, World, ask, mapping, pid, refused, until, until_blocked};

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opener_that_was_paused_does_not_open_the_fence_under_a_newer_epoch() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    let fence = stores.fence(Side::New);
    fence.set(FenceState::Shut, 4).await.unwrap();
    // The newer one has written its epoch and hasn't committed; the older one comes to where it reads the epoch.
    world.new_app.batch_execute("BEGIN; UPDATE changeover.changeover_fence SET epoch = 6").await.unwrap();
    let newer = world.app(Side::New).await;
    let number = pid(&world.new_app).await;
    let (opened, ()) = tokio::join!(fence.set(FenceState::Open, 5), async {
        let waits =
            format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {number} = ANY (pg_blocking_pids(pid))");
        until(&newer, &waits).await;
        world.new_app.batch_execute("COMMIT").await.unwrap();
    });
    assert!(matches!(opened, Err(StoreError::Conflict { .. })), "{opened:?}");
    assert_eq!(fence.look().await.unwrap(), FenceAt { state: FenceState::Shut, epoch: 6 });
    assert_eq!(refused(&world.new_app, "INSERT INTO items VALUES (1, 'a')").await, "40001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_leaves_readers_free_and_waits_for_no_longer_than_it_said_and_names_who_is_in_its_way() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    world
        .old_app
        .batch_execute("SET application_name = 'nightly report'; BEGIN; INSERT INTO items VALUES (1, 'a')")
        .await
        .unwrap();
    let other = world.app(Side::Old).await;
    let number = pid(&other).await;
    let begun = std::time::Instant::now();
    // An unrelated writer queues behind the lock that isn't got, and goes on when that gives way.
    let (locked, written) = tokio::join!(stores.fence(Side::Old).lock(SHORT, STALL), async {
        let look = world.app(Side::Old).await;
        until(
            &look,
            "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'ShareRowExclusiveLock' AND NOT granted",
        )
        .await;
        assert_eq!(ask(&look, "SELECT count(*) FROM items").await, ["0"], "a reader queues behind nobody");
        other.batch_execute("INSERT INTO items VALUES (2, 'b')").await
    });
    written.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(3));
    let error = locked.err().unwrap();
    let said = error.to_string();
    let who = pid(&world.old_app).await;
    assert!(
        error.retryable() && said.contains("nightly report") && said.contains(&who.to_string()),
        "{said}"
    );
    world.old_app.batch_execute("COMMIT").await.unwrap();
    let lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    assert_eq!(ask(&world.old_app, "SELECT count(*) FROM items").await, ["2"]);
    let blocked = tokio::spawn(async move { other.batch_execute("INSERT INTO items VALUES (3, 'c')").await });
    until_blocked(&world.old_app, number).await;
    drop(lock);
    blocked.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stalls_is_ended_by_the_server_and_its_fence_never_was() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    let mut lock = stores.fence(Side::Old).lock(WAIT, SHORT).await.unwrap();
    lock.set(FenceState::Moved, 1).await.unwrap();
    // Its lock's time-out is long over when the server ends it for its silence; a writer waits just so long.
    world.old_app.batch_execute("INSERT INTO items VALUES (1, 'a')").await.unwrap();
    let error = lock.commit().await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(stores.fence(Side::Old).look().await.unwrap().state, FenceState::Open);
    // A time-out for locks alone wouldn't have ended it.
    let holder = world.app(Side::Old).await;
    holder
        .batch_execute("SET lock_timeout = '50ms'; BEGIN; LOCK TABLE items IN SHARE ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    assert_eq!(
        refused(&world.old_app, "SET lock_timeout = '300ms'; INSERT INTO items VALUES (2, 'b')").await,
        "55P03"
    );
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_to_a_partition_is_named_when_the_lock_is_not_got() {
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id); \
               CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (100)";
    let world = World::same(sql).await;
    let stores = world.of("items").await;
    world
        .old_app
        .batch_execute("SET application_name = 'loader'; BEGIN; INSERT INTO items_1 VALUES (1, 'a')")
        .await
        .unwrap();
    let error = stores.fence(Side::Old).lock(SHORT, STALL).await.err().unwrap();
    assert!(error.to_string().contains("loader"), "{error}");
    world.old_app.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_over_some_rows_looks_at_them_as_they_come_to_be() {
    // A value that the server computes, and one that a trigger of the user's makes of what the application wrote.
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text, region text, \
        large boolean GENERATED ALWAYS AS (id > 100) STORED); \
        CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.region := lower(NEW.region); RETURN NEW; END'; \
        CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION tidy()";
    let world = World::new(sql, "CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let mut large = mapping("items", "items");
    large.where_ = Some("large AND region = 'eu'".into());
    let stores = world.stores(&[large]).await;
    world
        .old_app
        .batch_execute("INSERT INTO items VALUES (101, 'a', 'eu'), (102, 'a', 'us'), (1, 'a', 'eu')")
        .await
        .unwrap();
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    for write in [
        "INSERT INTO items VALUES (103, 'b', 'eu')",
        "INSERT INTO items VALUES (104, 'b', 'EU')",
        // A row that is there already: not the unique index's error, after which nobody would look at the flag.
        "INSERT INTO items VALUES (101, 'again', 'eu')",
        "UPDATE items SET region = 'EU' WHERE id = 102",
        "UPDATE items SET region = 'us' WHERE id = 101",
        "UPDATE items SET id = 105 WHERE id = 1",
        "DELETE FROM items WHERE id = 101",
    ] {
        assert_eq!(refused(&world.old_app, write).await, "40001", "{write}");
    }
    for write in [
        "INSERT INTO items VALUES (2, 'b', 'EU'), (106, 'b', 'us')",
        "UPDATE items SET name = 'c' WHERE id IN (1, 102)",
        "DELETE FROM items WHERE id IN (2, 106)",
    ] {
        world.old_app.batch_execute(write).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_over_some_rows_means_the_same_whatever_the_writers_settings() {
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text, at timestamptz NOT NULL)";
    let world = World::new(sql, "CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let mut some = mapping("items", "items");
    some.where_ = Some(r"at::date = '2026-03-04' AND name LIKE 'a\_%'".into());
    let stores = world.stores(&[some]).await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    let app = world.app(Side::Old).await;
    app.batch_execute(
        "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET standard_conforming_strings = off",
    )
    .await
    .unwrap();
    let code = refused(&app, "INSERT INTO items VALUES (1, 'a_1', '2026-03-04 23:00+00'::timestamptz)").await;
    assert_eq!(code, "40001", "to our sessions it is the 4th of March");
    app.batch_execute("INSERT INTO items VALUES (2, 'a_1', '2026-03-03 23:00+00'::timestamptz)")
        .await
        .unwrap();
    app.batch_execute("INSERT INTO items VALUES (3, 'ab1', '2026-03-04 23:00+00'::timestamptz)")
        .await
        .unwrap();
}
