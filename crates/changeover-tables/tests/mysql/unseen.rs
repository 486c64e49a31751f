//! What triggers don't see, or might not: what replaces rows, empties tables, or changes rows behind their backs.

use changeover::Side;

use super::world::{App, World, mapping, server};

const ITEMS: &str = "CREATE TABLE items (id BIGINT PRIMARY KEY, code VARCHAR(10) UNIQUE, name VARCHAR(40))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_writing_rows_is_captured() {
    let mut world = World::same(ITEMS).await;
    world.old_app.run("INSERT INTO items SELECT seq, CONCAT('c', seq), 'x' FROM seq_1_to_20").await;
    let stores = world.of("items").await;
    stores.capture().await;
    for (write, keys) in [
        ("INSERT INTO items VALUES (31, 'a', 'x'), (32, 'b', 'x')", vec![31, 32]),
        ("INSERT INTO items SELECT 33, 'c', 'x'", vec![33]),
        ("INSERT IGNORE INTO items VALUES (1, 'zz', 'x'), (34, 'd', 'x')", vec![34]),
        ("INSERT INTO items VALUES (1, 'zz', 'x') ON DUPLICATE KEY UPDATE name = 'y'", vec![1]),
        // By the other unique index: the row that is there has another key.
        ("INSERT INTO items VALUES (99, 'c2', 'x') ON DUPLICATE KEY UPDATE name = 'y'", vec![2]),
        // Two rows make way for one, and one of them has nothing to do with its key.
        ("REPLACE INTO items VALUES (3, 'c4', 'x')", vec![3, 4]),
        ("REPLACE INTO items VALUES (40, 'c5', 'x'), (41, 'c6', 'x')", vec![40, 41, 5, 6]),
        ("UPDATE items SET name = 'z' WHERE id IN (7, 8)", vec![7, 8]),
        ("UPDATE items SET id = 50 WHERE id = 9", vec![50, 9]),
        ("UPDATE items AS a JOIN items AS b ON b.id = a.id + 1 SET a.name = 'j' WHERE a.id = 10", vec![10]),
        ("DELETE FROM items WHERE id = 11", vec![11]),
        ("DELETE a FROM items AS a JOIN items AS b ON b.id = a.id + 1 WHERE a.id = 12", vec![12]),
    ] {
        world.old_app.run(write).await;
        let keys: Vec<String> = keys.into_iter().map(|n: i64| format!("items({n})")).collect();
        assert_eq!(stores.logged(Side::Old).await, keys, "{write}");
        stores.forget(Side::Old).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_loaded_from_a_file_are_captured_and_fenced() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    std::fs::write(&file, "1\ta\tx\n2\tb\tx\n").unwrap();
    let database = world.urls[0].rsplit('/').next().unwrap().to_owned();
    // As the server's own client does it.
    let load = format!("LOAD DATA LOCAL INFILE '{}' REPLACE INTO TABLE items", file.display());
    let (server, on) = (server().await, database.clone());
    let by = load.clone();
    tokio::task::spawn_blocking(move || server.sql(&on, &by)).await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    stores.fence(Side::Old).set(changeover::store::fence::FenceState::Moved, 1).await.unwrap();
    let refused = tokio::task::spawn_blocking(move || server.try_sql(&database, &load)).await.unwrap();
    assert!(refused.unwrap_err().contains("40001"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_a_foreign_key_changes_is_refused_by_its_name() {
    let family = |rule: &str| {
        format!(
            "CREATE TABLE parents (id BIGINT PRIMARY KEY); CREATE TABLE items (id BIGINT PRIMARY KEY, parent BIGINT, \
             CONSTRAINT of_parents FOREIGN KEY (parent) REFERENCES parents (id) {rule})"
        )
    };
    for (rule, refused) in [
        ("ON DELETE CASCADE", true),
        ("ON DELETE SET NULL", true),
        ("ON UPDATE CASCADE", true),
        ("ON UPDATE SET NULL", true),
        ("ON DELETE RESTRICT ON UPDATE NO ACTION", false),
        ("", false),
    ] {
        let world = World::same(&family(rule)).await;
        let found = world.findings(&[mapping("items", "items")], &world.urls).await;
        assert_eq!(found.contains("of_parents"), refused, "{rule}: {found}");
        let named = found.contains(rule.trim())
            && found.contains("the old table items")
            && found.contains("the new table items");
        assert!(!refused || named, "{rule}: {found}");
        // The parent's own rows are changed by nobody but who says so.
        let found = world.findings(&[mapping("parents", "parents")], &world.urls).await;
        assert!(!found.contains("severity: Error") && !found.contains("of_parents"), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_emptied_or_gets_another_partition_is_another_one() {
    const PARTS: &str = "CREATE TABLE `odd-name é` (id BIGINT PRIMARY KEY, name VARCHAR(40)) PARTITION BY RANGE (id) \
        (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20)); \
        CREATE TABLE beside (id BIGINT PRIMARY KEY, name VARCHAR(40)); INSERT INTO `odd-name é` VALUES (1, 'a'), (11, 'b')";
    let mut world = World::same(PARTS).await;
    let stores = world.of("odd-name é").await;
    stores.capture().await;
    let mut last = stores.old.identity().await.unwrap();
    for change in [
        "TRUNCATE `odd-name é`",
        "INSERT INTO beside VALUES (12, 'c'); ALTER TABLE `odd-name é` EXCHANGE PARTITION p1 WITH TABLE beside",
        "ALTER TABLE `odd-name é` TRUNCATE PARTITION p1",
        "ALTER TABLE `odd-name é` DROP PARTITION p1",
    ] {
        world
            .old_app
            .run("INSERT INTO `odd-name é` VALUES (2, 'x') ON DUPLICATE KEY UPDATE name = 'y'")
            .await;
        assert_eq!(stores.old.identity().await.unwrap().tables, last.tables, "rows aren't what a table is");
        world.old_app.run(change).await;
        let now = stores.old.identity().await.unwrap();
        assert_ne!(now.tables, last.tables, "{change}");
        assert_eq!(now.server, last.server);
        last = now;
    }
    // What we install or switch isn't part of it.
    stores.fence(Side::Old).set(changeover::store::fence::FenceState::Shut, 1).await.unwrap();
    stores.old.remove_installed(None).await.unwrap();
    assert_eq!(stores.old.identity().await.unwrap().tables, last.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_that_a_table_is_emptied_is_told_so() {
    let world = World::same(ITEMS).await;
    let server = server().await;
    let user = tokio::task::block_in_place(|| server.create_user("mover", "secret"));
    let names: Vec<String> =
        world.urls.iter().map(|url| url.rsplit('/').next().unwrap().to_owned()).collect();
    let mut root = App::connect(&world.urls[0]).await;
    for name in &names {
        root.run(&format!("GRANT ALL ON {name}.* TO {user}")).await;
    }
    let urls = [0, 1].map(|at| server.url_as(&user, "secret", &names[at]));
    let found = world.findings(&[mapping("items", "items")], &urls).await;
    assert!(found.contains("TRUNCATE") && found.contains("GRANT PROCESS"), "{found}");
    assert!(!found.contains("severity: Error"), "{found}");
    // All else works for such a user.
    let stores = world.stores_as("move", &[mapping("items", "items")], &urls).await;
    stores.capture().await;
    stores.fence(Side::New).set(changeover::store::fence::FenceState::Shut, 1).await.unwrap();
    root.run("INSERT INTO items VALUES (1, 'a', 'b')").await;
    stores.drain_of(Side::Old).await;
    stores.assert_equal().await;
    let lock = stores.fence(Side::Old).lock(super::world::WAIT, super::world::STALL).await.unwrap();
    lock.commit().await.unwrap();
    root.run(&format!("GRANT PROCESS ON *.* TO {user}")).await;
    let found = world.findings(&[mapping("items", "items")], &urls).await;
    assert!(!found.contains("TRUNCATE"), "{found}");
}
