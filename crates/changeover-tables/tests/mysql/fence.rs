//! The fence: its epoch, its lock, who stands in whose way, and whom it must not let through.

use changeover::store::fence::{FenceAt, FenceState};
use changeover::{Side, StoreError};
use changeover_tables::mapping::SetExpr;

use super::world::{SHORT, STALL, WAIT, World, mapping, until_waiting};

const ITEMS: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opener_that_was_paused_does_not_open_the_fence_under_a_newer_epoch() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    let fence = stores.fence(Side::New);
    fence.set(FenceState::Shut, 4).await.unwrap();
    // The newer one has written its epoch and hasn't committed; the older one comes to where it reads the epoch.
    let mut newer = world.app(Side::New).await;
    newer.run("START TRANSACTION; UPDATE changeover_fence SET epoch = 6").await;
    let mut look = world.app(Side::New).await;
    let (opened, ()) = tokio::join!(fence.set(FenceState::Open, 5), async {
        until_waiting(&mut look, "changeover_fence").await;
        newer.run("COMMIT").await;
    });
    assert!(matches!(opened, Err(StoreError::Conflict { .. })), "{opened:?}");
    assert_eq!(fence.look().await.unwrap(), FenceAt { state: FenceState::Shut, epoch: 6 });
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (1, 'a')").await.0, 1644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_leaves_readers_free_and_waits_for_no_longer_than_it_said_and_names_who_is_in_its_way() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    world.old_app.run("START TRANSACTION; INSERT INTO items VALUES (1, 'a')").await;
    let (mut other, mut look) = (world.app(Side::Old).await, world.app(Side::Old).await);
    let begun = std::time::Instant::now();
    // An unrelated writer queues behind the lock that isn't got, and goes on when that gives way.
    let (locked, ()) = tokio::join!(stores.fence(Side::Old).lock(SHORT * 4, STALL), async {
        until_waiting(&mut look, "FOR UPDATE").await;
        assert_eq!(look.ask("SELECT COUNT(*) FROM items").await, ["0"], "a reader queues behind nobody");
        other.run("INSERT INTO items VALUES (2, 'b')").await;
    });
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    let said = locked.err().unwrap().to_string();
    assert!(said.contains(&format!("connection {}", world.old_app.id())), "{said}");
    // The lock is had when the writer has ended; writers wait, and their write is there when it is given up.
    world.old_app.run("COMMIT").await;
    let lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    assert_eq!(look.ask("SELECT COUNT(*) FROM items").await, ["2"]);
    let writer = tokio::spawn(async move { other.run("INSERT INTO items VALUES (3, 'c')").await });
    // What the server shows of it is what its trigger is at.
    until_waiting(&mut look, "LOCK IN SHARE MODE").await;
    drop(lock);
    writer.await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)", "items(3)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_wait_for_each_other_around_the_lock_are_not_ended_for_it() {
    let mut world = World::same(ITEMS).await;
    world.old_app.run("INSERT INTO items VALUES (1, 'a'), (2, 'b')").await;
    let stores = world.of("items").await;
    stores.capture().await;
    let (mut first, mut second) = (world.app(Side::Old).await, world.app(Side::Old).await);
    // The first has written. The lock waits for it. The second has its row and waits behind the lock; and the first comes to
    // want that row: a circle, out of which the server takes one. It is the lock, which has written nothing.
    first.run("START TRANSACTION; UPDATE items SET name = 'x' WHERE id = 1").await;
    let fence = stores.fence(Side::Old);
    let (locked, ()) = tokio::join!(fence.lock(WAIT, STALL), async {
        let look = &mut world.old_app;
        until_waiting(look, "FOR UPDATE").await;
        second.run("SET innodb_lock_wait_timeout = 10").await;
        let waits = tokio::spawn(async move {
            second.run("START TRANSACTION; UPDATE items SET name = 'y' WHERE id = 2; COMMIT").await;
        });
        // What the server shows of it is what its trigger is at.
        until_waiting(look, "LOCK IN SHARE MODE").await;
        first.run("UPDATE items SET name = 'x' WHERE id = 2; COMMIT").await;
        waits.await.unwrap();
    });
    match locked {
        Err(error) => assert!(matches!(error, StoreError::Busy { .. }), "{error}"),
        // Got after all, once both had ended.
        Ok(lock) => drop(lock),
    }
    drop(fence.lock(WAIT, STALL).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straggler_is_refused_before_any_unique_index_and_whatever_it_writes_by() {
    let mut world = World::same("CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40) UNIQUE)").await;
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    let stores = world.of("items").await;
    stores.capture().await;
    world.old_app.run("START TRANSACTION").await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    for write in [
        "INSERT INTO items VALUES (1, 'b')",
        "INSERT INTO items VALUES (2, 'a')",
        "INSERT IGNORE INTO items VALUES (3, 'c')",
        "INSERT INTO items VALUES (1, 'b') ON DUPLICATE KEY UPDATE name = 'c'",
        "REPLACE INTO items VALUES (2, 'a')",
        "UPDATE items SET name = 'b'",
        "UPDATE IGNORE items SET name = 'b'",
        "DELETE FROM items",
        "INSERT INTO items SELECT 5, 'e'",
    ] {
        let (code, state, said) = world.old_app.tried(write).await.expect_err(write);
        assert_eq!((code, state.as_str()), (1644, "40001"), "{write}");
        assert!(
            said.contains("items") && said.contains("move") && said.contains("look at the flag"),
            "{said}"
        );
    }
    world.old_app.run("COMMIT").await;
    assert_eq!(world.old_app.ask("SELECT * FROM items").await, ["1|a"]);
    // Rows that aren't there are nobody's.
    world.old_app.run("DELETE FROM items WHERE id = 77").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_over_some_of_the_rows_lets_the_others_through() {
    const TABLE: &str =
        "CREATE TABLE items (id BIGINT, region VARCHAR(8), name VARCHAR(40), PRIMARY KEY (id, region))";
    let mut world = World::new(ITEMS, TABLE).await;
    let mut into = mapping("items", "items");
    into.set.push(("region".to_owned(), SetExpr::Const("eu".into())));
    let stores = world.stores(&[into]).await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let app = &mut world.new_app;
    app.run("INSERT INTO items VALUES (1, 'us', 'x'), (1, 'EU', 'x'); UPDATE items SET name = 'y'").await;
    for write in [
        "INSERT INTO items VALUES (1, 'eu', 'x')",
        "UPDATE items SET region = 'eu' WHERE region = 'us'",
        "INSERT INTO items VALUES (1, 'us', 'x') ON DUPLICATE KEY UPDATE region = 'eu'",
    ] {
        assert_eq!(app.refused(write).await, (1644, "40001".to_owned()), "{write}");
    }
    // Only after a trigger of somebody's that comes later is it known whose the row is.
    app.run(
        "CREATE TRIGGER moves BEFORE INSERT ON items FOR EACH ROW IF NEW.name = 'to eu' THEN SET NEW.region = 'eu'; END IF",
    )
    .await;
    assert_eq!(app.refused("INSERT INTO items VALUES (5, 'us', 'to eu')").await.0, 1644);
    app.run("DELETE FROM items").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_over_the_rows_of_a_condition_lets_the_others_through() {
    const TABLE: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, kind VARCHAR(10), name VARCHAR(40))";
    let mut world = World::same(TABLE).await;
    world.old_app.run("INSERT INTO items VALUES (1, 'flight', 'a'), (2, 'hotel', 'b')").await;
    let mut flights = mapping("items", "items");
    flights.where_ = Some("items.kind = 'flight' -- and nothing else".to_owned());
    let stores = world.stores(&[flights]).await;
    stores.capture().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    let app = &mut world.old_app;
    app.run("UPDATE items SET name = 'c' WHERE id = 2; INSERT INTO items VALUES (3, 'hotel', 'c')").await;
    for write in [
        "UPDATE items SET name = 'c' WHERE id = 1",
        "UPDATE items SET kind = 'hotel' WHERE id = 1",
        "UPDATE items SET kind = 'flight' WHERE id = 2",
        "INSERT INTO items VALUES (4, 'flight', 'd')",
        "DELETE FROM items WHERE id = 1",
    ] {
        assert_eq!(app.refused(write).await, (1644, "40001".to_owned()), "{write}");
    }
    app.run("DELETE FROM items WHERE kind = 'hotel'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_stays_where_all_else_is_removed_and_goes_with_the_rest() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Moved, 3).await.unwrap();
    stores.log(Side::New).install(super::world::CAPTURE).await.unwrap();
    stores.old.remove_installed(None).await.unwrap();
    stores.new.remove_installed(Some(Side::New)).await.unwrap();
    let left = "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()";
    assert_eq!(world.old_app.ask(left).await, ["0"]);
    assert_eq!(world.old_app.ask("SHOW TABLES").await, ["items"]);
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (1, 'a')").await.0, 1644);
    assert!(stores.fence(Side::New).is_whole().await.unwrap());
    assert!(!stores.log(Side::New).installed().await.unwrap());
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    // Again, of the same stores: from nothing, and to nothing.
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 4).await.unwrap();
    stores.old.remove_installed(None).await.unwrap();
    stores.new.remove_installed(None).await.unwrap();
    assert_eq!(world.new_app.ask("SHOW TABLES").await, ["items"]);
    world.new_app.run("INSERT INTO items VALUES (1, 'a')").await;
}
