//! Counters: raised above what the other side has given out, without ending a transaction or waiting for anybody.

use changeover::Side;
use changeover::store::fence::FenceState;
use changeover_testkit::servers::MariaDb;

use super::world::{CAPTURE, STALL, WAIT, World, server};

/// What makes a row that lacks nearly everything hard to put in.
const ITEMS: &str = "CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(10) NOT NULL UNIQUE, n INT NOT NULL CHECK (n > 5), \
    kind ENUM('a', 'b') NOT NULL, at DATETIME NOT NULL)";

async fn move_counters(world: &World) {
    let stores = world.of("items").await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let mut near = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    let counters = near.counters().await.unwrap();
    let mut far = stores.fence(Side::New).lock(WAIT, STALL).await.unwrap();
    far.raise_counters(&counters).await.unwrap();
    far.capture_on(CAPTURE).await.unwrap();
    far.set(FenceState::Shut, 2).await.unwrap();
    far.commit().await.unwrap();
    near.set(FenceState::Moved, 2).await.unwrap();
    near.commit().await.unwrap();
    stores.fence(Side::New).set(FenceState::Open, 2).await.unwrap();
    assert_eq!(stores.logged(Side::New).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_were_given_out_and_are_gone_do_not_come_again() {
    let mut world = World::same(ITEMS).await;
    let insert = "INSERT INTO items (code, n, kind, at) VALUES ('x', 6, 'a', NOW())";
    world.old_app.run(&format!("{insert}; DELETE FROM items; START TRANSACTION; {insert}; ROLLBACK")).await;
    // A reader that stays while all is moved, and a table that isn't to look changed.
    world.of("items").await.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let mut reader = world.app(Side::New).await;
    reader.run("START TRANSACTION; SELECT * FROM items").await;
    let made = "SELECT CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'items'";
    let before = world.new_app.ask(made).await;
    move_counters(&world).await;
    world.new_app.run(insert).await;
    assert_eq!(world.new_app.ask("SELECT id FROM items").await, ["3"]);
    assert_eq!(world.new_app.ask(made).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_counted_in() {
    let mut world = World::same(ITEMS).await;
    world.old_app.run("SET SESSION auto_increment_increment = 10, SESSION auto_increment_offset = 7").await;
    let insert = "INSERT INTO items (code, n, kind, at) VALUES ('x', 6, 'a', NOW())";
    world.old_app.run(&format!("{insert}; DELETE FROM items; {insert}")).await;
    assert_eq!(world.old_app.ask("SELECT id FROM items").await, ["17"]);
    move_counters(&world).await;
    world.new_app.run(insert).await;
    assert_eq!(world.new_app.ask("SELECT MIN(id) > 17 FROM items").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_outlives_the_server() {
    let server = tokio::task::spawn_blocking(|| MariaDb::start(&[])).await.unwrap();
    let mut world = World::on(&server, ITEMS, ITEMS).await;
    world.old_app.run("ALTER TABLE items AUTO_INCREMENT = 1000").await;
    move_counters(&world).await;
    tokio::task::block_in_place(|| server.kill_and_restart());
    let mut app = world.app(Side::New).await;
    app.run("INSERT INTO items (code, n, kind, at) VALUES ('x', 6, 'a', NOW())").await;
    assert_eq!(app.ask("SELECT id FROM items").await, ["1000"]);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_takes_no_such_row_has_its_counter_raised_all_the_same() {
    let _ = server().await;
    // No partition is for it, and an empty code is taken.
    let parts = "CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(10) NOT NULL DEFAULT '') \
                 PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100))";
    let world = World::same(parts).await;
    let stores = world.of("items").await;
    stores.new.raise_counters(&[("items".into(), 500)]).await.unwrap();
    let counters = stores.new.counters().await.unwrap();
    assert!(counters[0].1 >= 500, "{counters:?}");
}
