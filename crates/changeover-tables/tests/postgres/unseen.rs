//! What row triggers don't see, or might not: what replaces a table, empties it, or switches its triggers off.

use changeover::Side;
use changeover::store::fence::FenceState;

use changeover_tables::database::Database as _;
use changeover_tables::postgres::PostgresDatabase;

use super::world::{CAPTURE, OPTIONS, World, ask, mapping, refused};

const PARTS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id); \
    CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (100); \
    CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id); \
    CREATE TABLE items_2a PARTITION OF items_2 FOR VALUES FROM (100) TO (150); \
    INSERT INTO items VALUES (1, 'a'), (2, 'b'), (101, 'c')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_has_taken_the_place_of_is_not_taken_for_captured_and_fenced() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    // As tools do that rebuild a table beside it.
    let swap = "BEGIN; CREATE TABLE items_new (LIKE items INCLUDING ALL); ALTER TABLE items RENAME TO items_old; \
                ALTER TABLE items_new RENAME TO items; COMMIT";
    world.old_app.batch_execute(swap).await.unwrap();
    world.new_app.batch_execute(swap).await.unwrap();
    assert!(!stores.log(Side::Old).installed().await.unwrap(), "nothing of the new table is captured");
    assert!(!stores.fence(Side::New).is_whole().await.unwrap(), "anybody may write to the new table");
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    world.old_app.batch_execute("INSERT INTO items VALUES (1, 'a')").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
    assert_eq!(refused(&world.new_app, "INSERT INTO items VALUES (1, 'a')").await, "40001");
    assert!(
        stores.log(Side::Old).installed().await.unwrap() && stores.fence(Side::New).is_whole().await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_a_partition_itself_are_captured_and_fenced() {
    let world = World::same(PARTS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let app = &world.old_app;
    app.batch_execute("UPDATE items_1 SET name = 'x' WHERE id = 1; INSERT INTO items_2a VALUES (102, 'd')")
        .await
        .unwrap();
    // From one partition into another: a delete and an insert, to the server.
    app.batch_execute("UPDATE items SET id = 103 WHERE id = 2").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(102)", "items(103)", "items(2)"]);
    // Partitions that come later.
    app.batch_execute("CREATE TABLE items_2b PARTITION OF items_2 FOR VALUES FROM (150) TO (200); \
        CREATE TABLE items_3 (id bigint PRIMARY KEY, name text); ALTER TABLE items ATTACH PARTITION items_3 FOR VALUES FROM (200) TO (300); \
        INSERT INTO items_2b VALUES (151, 'e'); SET session_replication_role = replica; INSERT INTO items_3 VALUES (201, 'f'); \
        RESET session_replication_role").await.unwrap();
    let logged = stores.logged(Side::Old).await;
    assert!(logged.contains(&"items(151)".into()) && logged.contains(&"items(201)".into()), "{logged:?}");
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    app.batch_execute("CREATE TABLE items_4 PARTITION OF items FOR VALUES FROM (300) TO (400)")
        .await
        .unwrap();
    for write in
        ["UPDATE items_1 SET name = 'y'", "DELETE FROM items_2a", "INSERT INTO items_4 VALUES (301, 'g')"]
    {
        assert_eq!(refused(app, write).await, "40001", "{write}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_that_are_off_in_one_partition_are_missed() {
    let world = World::same(PARTS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let off = "ALTER TABLE items_2a DISABLE TRIGGER ALL";
    world.old_app.batch_execute(off).await.unwrap();
    world.new_app.batch_execute(off).await.unwrap();
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    assert!(!stores.fence(Side::New).is_whole().await.unwrap());
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    world.old_app.batch_execute("UPDATE items SET name = 'x' WHERE id = 101").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(101)"]);
    assert_eq!(refused(&world.new_app, "DELETE FROM items_2a").await, "40001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncate_of_a_partition_is_captured_and_fenced() {
    let world = World::same(PARTS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let app = &world.old_app;
    app.batch_execute("TRUNCATE items_1").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    app.batch_execute("TRUNCATE items_2").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(101)", "items(2)"]);
    stores.drain().await;
    stores.assert_equal().await;
    app.batch_execute("INSERT INTO items VALUES (1, 'a'), (101, 'c')").await.unwrap();
    stores.drain().await;
    app.batch_execute("TRUNCATE items").await.unwrap();
    assert_eq!(stores.log(Side::Old).claim(0, 100).await.unwrap().len(), 2, "each key once");
    stores.drain().await;
    stores.assert_equal().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    for write in ["TRUNCATE items", "TRUNCATE items_1", "TRUNCATE items_2", "TRUNCATE items_2a"] {
        assert_eq!(refused(app, write).await, "40001", "{write}");
    }
    stores.fence(Side::Old).set(FenceState::Open, 2).await.unwrap();
    app.batch_execute("TRUNCATE items_2a").await.unwrap();
    // One that came later lacks it, and that is seen.
    let later = "CREATE TABLE items_3 PARTITION OF items FOR VALUES FROM (200) TO (300)";
    app.batch_execute(later).await.unwrap();
    world.new_app.batch_execute(later).await.unwrap();
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    stores.capture().await;
    app.batch_execute("INSERT INTO items VALUES (201, 'x')").await.unwrap();
    stores.drain().await;
    app.batch_execute("TRUNCATE items_3").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(201)"]);
    stores.log(Side::Old).remove().await.unwrap();
    app.batch_execute("TRUNCATE items_1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncate_by_way_of_a_parent_is_captured_by_keys_and_beyond_the_bound_by_the_mark() {
    let sql = "CREATE TABLE parent (id int PRIMARY KEY); \
        CREATE TABLE items (id bigint PRIMARY KEY, name text, parent int REFERENCES parent); \
        INSERT INTO parent VALUES (1); INSERT INTO items VALUES (1, 'a', 1), (2, 'b', 1)";
    let world = World::new(sql, "CREATE TABLE items (id bigint PRIMARY KEY, name text, parent int)").await;
    let stores = world.stores(&[mapping("items", "items")]).await;
    stores.copy().await;
    stores
        .log(Side::Old)
        .install(changeover::store::capture::CaptureOptions { bound: 3, ..CAPTURE })
        .await
        .unwrap();
    let app = &world.old_app;
    app.batch_execute("TRUNCATE parent CASCADE").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    stores.drain().await;
    stores.assert_equal().await;
    stores.log(Side::Old).remove().await.unwrap();
    app.batch_execute(
        "INSERT INTO parent VALUES (1); INSERT INTO items SELECT n, 'x', 1 FROM generate_series(1, 3) AS n",
    )
    .await
    .unwrap();
    stores
        .log(Side::Old)
        .install(changeover::store::capture::CaptureOptions { bound: 3, ..CAPTURE })
        .await
        .unwrap();
    app.batch_execute("TRUNCATE parent CASCADE").await.unwrap();
    assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    assert_eq!(refused(app, "TRUNCATE parent CASCADE").await, "40001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_trigger_sees_changes_what_the_table_is_said_to_be() {
    let world = World::same(PARTS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let mut before = stores.old.identity().await.unwrap().tables;
    for change in [
        "ALTER TABLE items DETACH PARTITION items_1",
        "ALTER TABLE items ATTACH PARTITION items_1 FOR VALUES FROM (0) TO (50)",
        "ALTER TABLE items_2 DETACH PARTITION items_2a",
        "ALTER TABLE items_2 ATTACH PARTITION items_2a FOR VALUES FROM (100) TO (120)",
        "ALTER TABLE items ALTER name TYPE text USING upper(name)",
        "ALTER TABLE items ALTER name TYPE varchar(10)",
        "ALTER TABLE items RENAME name TO label",
    ] {
        world.old_app.batch_execute(change).await.unwrap();
        let now = stores.old.identity().await.unwrap().tables;
        assert_ne!(before, now, "{change}");
        before = now;
    }
    // What is the service's everyday life doesn't.
    for everyday in ["TRUNCATE items_2a", "ANALYZE items", "VACUUM FULL items", "CREATE TABLE unrelated ()"] {
        world.old_app.batch_execute(everyday).await.unwrap();
    }
    stores.fence(Side::Old).set(FenceState::Shut, 1).await.unwrap();
    assert_eq!(before, stores.old.identity().await.unwrap().tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sql_that_removes_all_by_hand_removes_what_partitions_have_too() {
    let world = World::same(PARTS).await;
    let stores = world.of("items").await;
    let database = PostgresDatabase::open("old", &world.urls[0], OPTIONS).await.unwrap();
    // Printed before anything was installed, and before a partition came.
    let by_hand = database.removal_sql("move", stores.old.may_install()).await.unwrap();
    let app = &world.old_app;
    app.batch_execute("CREATE TABLE items_3 PARTITION OF items FOR VALUES FROM (200) TO (300)")
        .await
        .unwrap();
    stores.capture().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    app.batch_execute(&by_hand).await.unwrap_or_else(|error| panic!("{by_hand}: {error:?}"));
    let left = "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeover%'), \
                (SELECT count(*) FROM pg_class WHERE relname LIKE '%old:move%'), (SELECT count(*) FROM pg_proc WHERE proname LIKE 'changeover%')";
    assert_eq!(ask(app, left).await, ["0|0|0"], "{by_hand}");
    app.batch_execute("INSERT INTO items VALUES (3, 'x'); TRUNCATE items_1, items_3").await.unwrap();
}
