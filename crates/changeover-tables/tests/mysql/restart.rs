//! A server that ends in the middle: what was committed is there, and nothing else.

use changeover::Side;
use changeover::store::fence::{FenceAt, FenceState};
use changeover_testkit::servers::MariaDb;

use super::world::{CAPTURE, STALL, WAIT, World};

const ITEMS: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(40))";

async fn server() -> MariaDb {
    tokio::task::spawn_blocking(|| MariaDb::start(&[])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_the_lock_has_the_fence_and_the_log_as_they_were_before_it() {
    let server = server().await;
    let mut world = World::on(&server, ITEMS, ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    world.old_app.run("INSERT INTO items VALUES (1, 'a'), (2, 'b')").await;
    let mut lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    let claims = lock.claim(10).await.unwrap();
    lock.discard(&claims.iter().map(|claim| claim.id).collect::<Vec<_>>()).await.unwrap();
    lock.set(FenceState::Moved, 5).await.unwrap();
    tokio::task::block_in_place(|| server.kill_and_restart());
    assert!(lock.commit().await.is_err());
    let stores = world.of("items").await;
    assert_eq!(stores.fence(Side::Old).look().await.unwrap(), FenceAt { state: FenceState::Open, epoch: 0 });
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    let mut app = world.app(Side::Old).await;
    app.run("INSERT INTO items VALUES (3, 'c')").await;
    assert_eq!(stores.logged(Side::Old).await.len(), 3);
    // And a move that was committed is there.
    let mut lock = stores.fence(Side::Old).lock(WAIT, STALL).await.unwrap();
    lock.set(FenceState::Moved, 6).await.unwrap();
    lock.commit().await.unwrap();
    tokio::task::block_in_place(|| server.kill_and_restart());
    let mut app = world.app(Side::Old).await;
    assert_eq!(app.refused("INSERT INTO items VALUES (4, 'd')").await.0, 1644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_does_not_make_the_log_look_like_an_older_one() {
    let server = server().await;
    let mut world = World::on(&server, ITEMS, ITEMS).await;
    let stores = world.of("items").await;
    stores.log(Side::Old).install(CAPTURE).await.unwrap();
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    stores.forget(Side::Old).await;
    // Numbers that are given out and never committed, and that nothing has written to the server's log yet.
    world.old_app.run("START TRANSACTION; INSERT INTO items SELECT seq, 'x' FROM seq_2_to_200").await;
    let before = stores.old.identity().await.unwrap().log.unwrap();
    assert!(before.newest >= 200, "{before:?}");
    tokio::task::block_in_place(|| server.kill_and_restart());
    let stores = world.of("items").await;
    let after = stores.old.identity().await.unwrap().log.unwrap();
    assert!(!after.is_older_than(&before), "{before:?}, then {after:?}");
    let mut app = world.app(Side::Old).await;
    app.run("INSERT INTO items VALUES (500, 'y')").await;
    let claims = stores.log(Side::Old).claim(0, 10).await.unwrap();
    assert!(claims.iter().all(|claim| claim.id > before.newest), "{claims:?}");
}
