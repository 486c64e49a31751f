//! The mirror's writes: told from others' by what only their own transaction can see.

use changeover::Side;
use changeover::store::fence::FenceState;
use changeover::store::guard::{Change, Scope};

use super::world::{World, key};

const ITEMS: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pooler_leaves_in_a_session_takes_nobody_for_the_mirror() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    // The variable of a session that the mirror had, given to the application; and the number of a connection that it had.
    world.old_app.run("SET @changeover_mirror = 1; INSERT INTO items VALUES (1, 'a')").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
    world.new_app.run("SET @changeover_mirror = 'move'").await;
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (1, 'a')").await.0, 1644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_goes_with_its_transaction_however_that_ends() {
    let mut world = World::same(ITEMS).await;
    world.old_app.run("INSERT INTO items VALUES (1, 'a'), (2, 'b')").await;
    let stores = world.of("items").await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let marks = "SELECT COUNT(*) FROM changeover_mirror";
    stores.level(Side::Old, &[key("items", 1_i64)]).await;
    assert_eq!(world.new_app.ask(marks).await, ["0"]);
    // Nor does anybody see it meanwhile, at whatever isolation that is safe.
    let keys = [key("items", 2_i64)];
    let mut tx = stores.guarded(Side::New).begin(Scope::Keys(&keys)).await.unwrap();
    assert_eq!(world.new_app.ask(marks).await, ["0"]);
    let row =
        stores.old.read(&"items".into(), &keys, changeover::store::Image::Canonical).await.unwrap().rows;
    let change = Change { key: keys[0].clone(), row: row[0].clone(), back: None };
    assert_eq!(tx.apply(&[change]).await.unwrap().written, 1);
    // Its session is ended in the middle of it.
    world
        .new_app
        .run(
            "BEGIN NOT ATOMIC FOR t IN (SELECT trx_mysql_thread_id AS id FROM information_schema.INNODB_TRX AS i \
             JOIN information_schema.PROCESSLIST AS p ON p.ID = i.trx_mysql_thread_id WHERE p.DB = DATABASE() \
             AND p.ID <> CONNECTION_ID()) DO EXECUTE IMMEDIATE CONCAT('KILL ', t.id); END FOR; END",
        )
        .await;
    assert!(tx.commit().await.is_err());
    world.new_app.run("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").await;
    super::world::until(&mut world.new_app, "SELECT COUNT(*) = 0 FROM changeover_mirror").await;
    stores.level(Side::Old, &keys).await;
    stores.assert_equal().await;
    // The application that is given the next session, by whatever way, is the application.
    assert_eq!(world.new_app.refused("INSERT INTO items VALUES (3, 'a')").await.0, 1644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_migrations_mirror_is_captured_and_refused_as_anybody() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    // Two migrations in one database: what the one carries into a table is a change to the other.
    let other = world
        .stores_as(
            "other",
            &[super::world::mapping("items", "items")],
            &[world.urls[1].clone(), world.urls[0].clone()],
        )
        .await;
    world.new_app.run("INSERT INTO items VALUES (7, 'a')").await;
    other.level(Side::Old, &[key("items", 7_i64)]).await;
    assert_eq!(stores.logged(Side::Old).await, ["items(7)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mirror_writes_whatever_foreign_keys_say() {
    let mut world = World::same(
        "CREATE TABLE parents (id BIGINT PRIMARY KEY); CREATE TABLE items (id BIGINT PRIMARY KEY, parent BIGINT, \
         FOREIGN KEY (parent) REFERENCES parents (id))",
    )
    .await;
    world.old_app.run("INSERT INTO parents VALUES (1); INSERT INTO items VALUES (10, 1)").await;
    let stores = world.stores(&["parents", "items"].map(|table| super::world::mapping(table, table))).await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    stores.level(Side::Old, &[key("items", 10_i64)]).await;
    stores.level(Side::Old, &[key("parents", 1_i64)]).await;
    stores.assert_equal().await;
    world.old_app.run("DELETE FROM items; DELETE FROM parents").await;
    stores.level(Side::Old, &[key("parents", 1_i64)]).await;
    stores.drain_of(Side::Old).await;
    stores.assert_equal().await;
}
