//! Servers that restart or die, and connections that break off: errors that may be tried again, and never the end of the data.

use changeover::store::fence::FenceState;
use changeover::store::guard::{Change, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, RowStream};
use changeover::{Row, Side};
use changeover_tables::mapping::SetExpr;
use changeover_testkit::relay::{Direction, Relay};
use changeover_testkit::servers::Postgres;

use super::world::{STALL, Stores, WAIT, World, ask, key, mapping, until};

/// So many and so large rows that no buffer between the server and a scan takes them all.
const MANY: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text); \
    INSERT INTO items SELECT n, repeat('x', 1000) FROM generate_series(1, 40000) AS n";

/// A scan that is under way.
async fn scan(stores: &Stores) -> RowStream {
    let budget = BatchBudget { rows: 10, bytes: 1 << 20 };
    let mut stream =
        stores.old.scan(&"items".into(), &KeyRange::default(), Image::Canonical, budget).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stream
}

/// It ends in an error that may be tried again, and not as if these were all rows.
async fn breaks_off(mut stream: RowStream) {
    loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a broken connection was taken for the end of the data"),
            Err(error) => {
                assert!(error.retryable(), "{error}");
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_or_a_crash_of_the_server_everything_goes_on_with_the_same_store() {
    let server =
        tokio::task::spawn_blocking(|| Postgres::start(&[("max_prepared_transactions", "4")])).await.unwrap();
    let mut world =
        World::on(&server, "", MANY, "CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 3).await.unwrap();
    let before = stores.old.identity().await.unwrap();
    let keys = [key("items", 1)];
    for (n, restart) in [Postgres::restart, Postgres::kill_and_restart].into_iter().enumerate() {
        let stream = scan(&stores).await;
        let lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
        let guard = stores.guarded(Side::New).begin(Scope::Keys(&keys)).await.unwrap();
        tokio::task::block_in_place(|| restart(&server));
        breaks_off(stream).await;
        assert!(lock.commit().await.unwrap_err().retryable());
        assert!(guard.commit().await.unwrap_err().retryable());
        // Sessions that lay in the pool may still have to be found dead, each once.
        let mut tries = 0;
        while let Err(error) = stores.old.read(&"items".into(), &keys, Image::Canonical).await {
            assert!(error.retryable() && tries < 8, "{error}");
            tries += 1;
        }
        while let Err(error) = stores.fence(Side::New).look().await {
            assert!(error.retryable() && tries < 16, "{error}");
            tries += 1;
        }
        let now = stores.old.identity().await.unwrap();
        assert_eq!((&before.server, &before.tables), (&now.server, &now.tables));
        assert!(!now.log.unwrap().is_older_than(before.log.as_ref().unwrap()));
        assert!(
            stores.log(Side::Old).installed().await.unwrap()
                && stores.fence(Side::New).is_whole().await.unwrap()
        );
        world.old_app = world.app(Side::Old).await;
        world
            .old_app
            .batch_execute(&format!("UPDATE items SET name = 'after' WHERE id = {n} + 1"))
            .await
            .unwrap();
        assert_eq!(stores.logged(Side::Old).await.len(), 1);
        stores.drain().await;
    }
    // A transaction that was prepared holds its rows through a crash, and is logged as it was written.
    world
        .old_app
        .batch_execute("BEGIN; UPDATE items SET name = 'prepared' WHERE id = 9; PREPARE TRANSACTION 'later'")
        .await
        .unwrap();
    tokio::task::block_in_place(|| server.kill_and_restart());
    let app = world.app(Side::Old).await;
    while let Err(error) = stores.fence(Side::Old).lock(std::time::Duration::from_millis(100), STALL).await {
        if !error.to_string().contains("out of reach") {
            break;
        }
    }
    app.batch_execute("COMMIT PREPARED 'later'").await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(9)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_logical_replication_writes_is_captured_and_fenced() {
    let server = tokio::task::spawn_blocking(|| Postgres::start(&[("wal_level", "logical")])).await.unwrap();
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text)";
    let world = World::on(&server, "", sql, sql).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let above = tokio::task::block_in_place(|| server.create_database("above"));
    let publisher = super::world::connect(&server.url(&above)).await;
    publisher.batch_execute(&format!("{sql}; CREATE PUBLICATION all_of_it FOR ALL TABLES")).await.unwrap();
    // Within one server, the slot must be there before.
    ask(&publisher, "SELECT pg_create_logical_replication_slot('fed', 'pgoutput')").await;
    let subscribe = format!(
        "CREATE SUBSCRIPTION fed CONNECTION '{}' PUBLICATION all_of_it WITH (create_slot = false, slot_name = fed)",
        server.url(&above)
    );
    world.old_app.batch_execute(&subscribe).await.unwrap();
    publisher.batch_execute("INSERT INTO items VALUES (1, 'a')").await.unwrap();
    until(&world.old_app, "SELECT count(*) = 1 FROM items").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
    stores.drain().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    publisher.batch_execute("INSERT INTO items VALUES (2, 'late')").await.unwrap();
    until(&world.old_app, "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats").await;
    stores.assert_equal().await;
    // The subscription would wait for its publisher while the server goes down.
    world.old_app.batch_execute("ALTER SUBSCRIPTION fed DISABLE").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_in_the_midst_of_a_scan_is_an_error_and_the_next_call_works() {
    let world = World::new(MANY, "CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let relay = Relay::start(world.urls[0].split('@').nth(1).unwrap().split('/').next().unwrap());
    let urls = [relay.through(&world.urls[0]), world.urls[1].clone()];
    let stores = world.stores_as("move", &[mapping("items", "items")], &urls).await;
    let stream = scan(&stores).await;
    relay.drop_after(Direction::ToClient, 100_000);
    breaks_off(stream).await;
    relay.pass();
    let stream = scan(&stores).await;
    let ended = "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%ORDER BY%' \
                 AND pid <> pg_backend_pid()";
    assert_eq!(ask(&world.old_app, ended).await, ["t"]);
    breaks_off(stream).await;
    let row = stores.old.read(&"items".into(), &[key("items", 1)], Image::Canonical).await.unwrap();
    assert!(row.rows[0].is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_a_commit_is_an_error_and_the_store_tells_what_came_of_it() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let relay = Relay::start(world.urls[1].split('@').nth(1).unwrap().split('/').next().unwrap());
    let urls = [world.urls[0].clone(), relay.through(&world.urls[1])];
    let stores = world.stores_as("move", &[mapping("items", "items")], &urls).await;
    let keys = [key("items", 1)];
    let mut tx = stores.guarded(Side::New).begin(Scope::Keys(&keys)).await.unwrap();
    let row = Some(Row(vec![1.into(), "a".into()]));
    tx.apply(&[Change { key: keys[0].clone(), row, back: None }]).await.unwrap();
    relay.drop_after(Direction::ToClient, 0);
    assert!(tx.commit().await.unwrap_err().retryable());
    relay.pass();
    until(&world.new_app, "SELECT count(*) = 1 FROM items").await;
    let mut lock = stores.fence(Side::New).lock(WAIT, STALL).await.unwrap();
    lock.set(FenceState::Moved, 7).await.unwrap();
    relay.drop_after(Direction::ToClient, 0);
    assert!(lock.commit().await.unwrap_err().retryable());
    relay.pass();
    until(&world.new_app, "SELECT count(*) = 1 FROM changeover.changeover_fence").await;
    assert_eq!(stores.fence(Side::New).look().await.unwrap().epoch, 7);
}

/// The bound of a statement of ours, as the statement itself sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_goes_on_for_ever_but_a_scan_takes_as_long_as_it_does() {
    let world = World::same(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text); INSERT INTO items VALUES (1, '')",
    )
    .await;
    let mut bound = mapping("items", "items");
    bound.set.push(("name".into(), SetExpr::Sql("current_setting('statement_timeout')".into())));
    let stores = world.stores(&[bound]).await;
    let table = "items".into();
    let name = |row: &Row| row.0[1].clone();
    for _ in 0..2 {
        let read = stores.old.read(&table, &[key("items", 1)], Image::Canonical).await.unwrap();
        assert_eq!(read.rows[0].as_ref().map(name), Some("10min".into()), "before and after a scan");
        let budget = BatchBudget::default();
        let mut scan = stores.old.scan(&table, &KeyRange::default(), Image::Canonical, budget).await.unwrap();
        let batch = scan.next().await.unwrap().unwrap();
        assert_eq!(batch.rows.first().map(name), Some("0".into()));
        assert!(scan.next().await.unwrap().is_none());
    }
}
