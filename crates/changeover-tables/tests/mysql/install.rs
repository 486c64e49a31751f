//! Installing and removing, each statement of which commits by itself: behind whoever uses the tables, cut off in the middle, and by
//! hand.

use std::time::{Duration, Instant};

use changeover::Side;
use changeover::store::fence::FenceState;
use changeover_tables::database::Database as _;
use changeover_tables::mysql::MysqlDatabase;

use super::world::{OPTIONS, STALL, WAIT, World};

const ITEMS: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_idle_reader_it_gives_way_to_other_readers_and_names_who_it_is() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    world.old_app.run("START TRANSACTION; SELECT * FROM items").await;
    let mut reader = world.app(Side::Old).await;
    reader.run("SET lock_wait_timeout = 3").await;
    let mut longest = Duration::ZERO;
    let mut installing = Box::pin(stores.log(Side::Old).install(super::world::CAPTURE));
    let error = loop {
        let begun = Instant::now();
        tokio::select! {
            done = &mut installing => break done.unwrap_err(),
            () = async { reader.run("SELECT COUNT(*) FROM items").await } => longest = longest.max(begun.elapsed()),
        }
    };
    drop(installing);
    assert!(error.retryable(), "{error}");
    assert!(longest < Duration::from_millis(1_500), "a reader waited for {longest:?}");
    assert!(error.to_string().contains(&format!("connection {}", world.old_app.id())), "{error}");
    world.old_app.run("COMMIT").await;
    stores.capture().await;
    assert!(stores.log(Side::Old).installed().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_installed_by_half_or_changed_is_not_whole_and_is_made_whole() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let names = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()";
    let logging = world.old_app.ask(names).await.into_iter().filter(|name| !name.contains("_fence_"));
    for name in logging.collect::<Vec<_>>() {
        world.old_app.run(&format!("DROP TRIGGER `{name}`")).await;
        assert!(!stores.log(Side::Old).installed().await.unwrap(), "{name}");
        stores.capture().await;
        assert!(stores.log(Side::Old).installed().await.unwrap(), "{name}");
    }
    let name = world.new_app.ask(names).await.into_iter().find(|name| name.contains("_fence_")).unwrap();
    let rest = "BEFORE INSERT ON items FOR EACH ROW SET @harmless = 1";
    world.new_app.run(&format!("CREATE OR REPLACE TRIGGER `{name}` {rest}")).await;
    assert!(!stores.fence(Side::New).is_whole().await.unwrap());
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    assert!(stores.fence(Side::New).is_whole().await.unwrap());
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (1, 'a')").await.0, 1644);
    // The log itself.
    let log = world.old_app.ask("SHOW TABLES LIKE 'changeover\\_log%'").await.remove(0);
    let before = stores.old.identity().await.unwrap().log.unwrap();
    world.old_app.run(&format!("DROP TABLE `{log}`")).await;
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    stores.capture().await;
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
    let after = stores.old.identity().await.unwrap().log.unwrap();
    assert_ne!(after.log, before.log, "it isn't the log that was there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_has_taken_the_place_of_is_not_taken_for_captured_and_fenced() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    // As tools do that rebuild a table beside it: the triggers go with the old one.
    let swap = "CREATE TABLE items_new LIKE items; RENAME TABLE items TO items_old, items_new TO items";
    world.old_app.run(swap).await;
    world.new_app.run(swap).await;
    assert!(!stores.log(Side::Old).installed().await.unwrap(), "nothing of the new table is captured");
    assert!(!stores.fence(Side::New).is_whole().await.unwrap(), "anybody may write to the new table");
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (1, 'a')").await.0, 1644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_within_the_lock_ends_no_transaction() {
    let mut world =
        World::same("CREATE TABLE items (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40))").await;
    let stores = world.of("items").await;
    let before = stores.fence(Side::Old).look().await.unwrap();
    let mut lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    lock.raise_counters(&[("items".into(), 500)]).await.unwrap();
    lock.capture_on(super::world::CAPTURE).await.unwrap();
    lock.set(FenceState::Moved, 9).await.unwrap();
    let mut writer = world.app(Side::Old).await;
    writer.run("SET innodb_lock_wait_timeout = 1").await;
    assert_eq!(writer.refused("INSERT INTO items (name) VALUES ('a')").await.0, 1205, "it is locked still");
    drop(lock);
    writer.run("SET innodb_lock_wait_timeout = 20; INSERT INTO items (name) VALUES ('a')").await;
    assert_eq!(stores.fence(Side::Old).look().await.unwrap(), before);
    assert!(!stores.log(Side::Old).installed().await.unwrap());
    assert!(stores.log(Side::Old).claim(0, 10).await.unwrap().is_empty());
    assert_eq!(world.old_app.ask("SELECT MIN(id) >= 500 FROM items").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_by_hand_leaves_nothing() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    world.old_app.refused("INSERT INTO items VALUES (1, 'a')").await;
    let database = MysqlDatabase::open("old", &world.urls[0], OPTIONS).await.unwrap();
    let before = database.installed().await.unwrap();
    assert!(before.iter().any(|thing| thing.kind == "trigger"), "{before:?}");
    let sql = database.removal_sql("move", stores.old.may_install()).await.unwrap();
    world.old_app.run(&sql).await;
    assert_eq!(database.installed().await.unwrap(), []);
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    // What was said to be left once nobody else's is there.
    for line in sql.lines().filter_map(|line| line.strip_prefix("-- When nothing of Changeover's is left: "))
    {
        world.old_app.run(line).await;
    }
    assert_eq!(world.old_app.ask("SHOW TABLES").await, ["items"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retiring_is_only_looked_at_before_it_is_done() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.old.try_retiring().await.unwrap();
    assert!(stores.log(Side::Old).installed().await.unwrap(), "nothing was removed");
    world.old_app.run("CREATE TABLE items_retired (id INT)").await;
    let said = stores.old.try_retiring().await.unwrap_err().to_string();
    assert!(said.contains("items_retired"), "{said}");
    world.old_app.run("DROP TABLE items_retired").await;
    let renamed = stores.old.retire().await.unwrap();
    assert_eq!(renamed, [("items".to_owned(), Some("items_retired".to_owned()))]);
    assert_eq!(world.old_app.ask("SHOW TABLES").await, ["items_retired"]);
    assert_eq!(stores.old.retire().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_migrations_of_one_table_are_told() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let database = MysqlDatabase::open("old", &world.urls[0], OPTIONS).await.unwrap();
    let schema = world.urls[0].rsplit('/').next().unwrap();
    let whole = [(format!("{schema}.items"), changeover_tables::database::Scope::Whole)];
    let told = database.strangers("another", &whole).await.unwrap();
    assert_eq!(told, [(format!("{schema}.items"), "move".to_owned())]);
    assert_eq!(database.strangers("move", &whole).await.unwrap(), []);
}
