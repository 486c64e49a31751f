//! The application beside capture: its rights, its settings, what it is told of its own writes, and what it waits for.

use changeover::Side;
use changeover::store::capture::CaptureOptions;
use changeover::store::fence::FenceState;
use changeover_tables::database::Database as _;
use changeover_tables::mysql::MysqlDatabase;
use changeover_testkit::servers::MariaDb;

use super::world::{App, OPTIONS, World, mapping, server};

const ITEMS: &str = "CREATE TABLE items (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_without_rights_on_what_is_ours_is_captured_and_refused() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    let server = server().await;
    let user = tokio::task::block_in_place(|| server.create_user("app", "secret"));
    let database = world.urls[0].rsplit('/').next().unwrap().to_owned();
    world.old_app.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.items TO {user}")).await;
    let mut app = App::connect(&server.url_as(&user, "secret", &database)).await;
    app.run("INSERT INTO items VALUES (1, 'a'); UPDATE items SET id = 2; DELETE FROM items").await;
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    assert_eq!(app.refused("INSERT INTO items VALUES (1, 'a')").await, (1644, "40001".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_is_told_of_its_writes_is_of_its_own_table() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    // Far apart: an id of the log would be told from the table's.
    world.old_app.run("ALTER TABLE items AUTO_INCREMENT = 5000").await;
    stores.log(Side::Old).install(CaptureOptions { bound: 3, overflow: true }).await.unwrap();
    let app = &mut world.old_app;
    for round in 0..3 {
        app.run("INSERT INTO items (name) VALUES ('a'), ('b')").await;
        assert_eq!(app.told(), (2, Some(5000 + round * 2)), "also when the log is full by now");
        assert_eq!(app.ask("SELECT LAST_INSERT_ID()").await, [(5000 + round * 2).to_string()]);
        app.run("UPDATE items SET name = CONCAT(name, 'x')").await;
        assert_eq!(app.told().0, (round + 1) * 2);
        assert_eq!(
            app.ask("SELECT ROW_COUNT(), LAST_INSERT_ID()").await,
            [format!("{}|{}", (round + 1) * 2, 5000 + round * 2)]
        );
        assert_eq!(app.ask("SHOW WARNINGS").await, Vec::<String>::new());
    }
    app.run("REPLACE INTO items VALUES (5000, 'r')").await;
    assert_eq!(app.told().0, 2);
    assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_application_has_set_its_session_to_it_is_captured_and_refused() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.capture().await;
    for (n, settings) in [
        "sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'",
        "sql_mode = 'ORACLE'",
        "sql_mode = ''",
        "sql_mode = 'TRADITIONAL', sql_safe_updates = 1, max_join_size = 1, sql_big_selects = 0",
        "sql_select_limit = 0",
        "autocommit = 0, completion_type = 'CHAIN'",
        "foreign_key_checks = 0, unique_checks = 0",
        "character_set_client = latin1, collation_connection = latin1_german2_ci",
        "sql_mode = DEFAULT, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",
        "tx_read_only = 0, max_statement_time = 5, div_precision_increment = 30",
    ]
    .into_iter()
    .enumerate()
    {
        let mut app = world.app(Side::Old).await;
        app.run(&format!("SET SESSION {settings}")).await;
        app.run(&format!("INSERT INTO items VALUES ({}, 'a')", n + 1)).await;
        app.run("COMMIT").await;
        let logged = stores.logged(Side::Old).await;
        assert!(logged.contains(&format!("items({})", n + 1)), "{settings}: {logged:?}");
        stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
        let refused = app.refused("UPDATE items SET name = 'b' WHERE id > 0").await;
        assert_eq!(refused, (1644, "40001".to_owned()), "{settings}");
        app.run("ROLLBACK").await;
        drop(app);
        stores.fence(Side::Old).set(FenceState::Open, 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_makes_no_writer_wait_for_another() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.log(Side::Old).install(CaptureOptions { bound: 320, overflow: true }).await.unwrap();
    let mut open = Vec::new();
    // Towards the bound, past it, and while it is full: each while all the others haven't ended.
    for n in 0..4 {
        if n == 2 {
            world.old_app.run("INSERT INTO items SELECT seq + 10000, 'x' FROM seq_1_to_400").await;
            assert!(stores.log(Side::Old).depth().await.unwrap().overflowed);
        }
        for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
            let mut app = world.app(Side::Old).await;
            app.run("SET innodb_lock_wait_timeout = 1").await;
            app.begin(isolation).await;
            app.run("INSERT INTO items VALUES (NULL, 'x')").await;
            open.push(app);
        }
        // Nor those who look at the bound, as long as nobody has reached it.
        for app in &mut open {
            let name = format!("'round {n}'");
            app.run(&format!("INSERT INTO items SELECT NULL, {name} FROM seq_1_to_5")).await;
        }
    }
    for app in &mut open {
        app.run("COMMIT").await;
    }
    let full = stores.log(Side::Old).depth().await.unwrap();
    let mut app = world.app(Side::Old).await;
    app.run("INSERT INTO items SELECT seq + 20000, 'x' FROM seq_1_to_20").await;
    assert_eq!(stores.log(Side::Old).depth().await.unwrap().entries, full.entries, "it logs no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_of_a_full_log_is_not_left_out_by_one_that_rolls_back() {
    let mut world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    stores.log(Side::Old).install(CaptureOptions { bound: 5, overflow: true }).await.unwrap();
    world.old_app.run("START TRANSACTION; INSERT INTO items SELECT seq, 'x' FROM seq_1_to_20").await;
    let mut other = world.app(Side::Old).await;
    other.run("INSERT INTO items SELECT seq, 'x' FROM seq_101_to_103").await;
    world.old_app.run("ROLLBACK").await;
    let depth = stores.log(Side::Old).depth().await.unwrap();
    assert_eq!((depth.overflowed, depth.entries), (false, 3));
    other.run("INSERT INTO items SELECT seq, 'x' FROM seq_201_to_210").await;
    let depth = stores.log(Side::Old).depth().await.unwrap();
    assert!(depth.overflowed || depth.entries == 13, "what isn't logged is marked: {depth:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_binary_log_only_who_may_is_let_begin() {
    let settings = [("log_bin", "bin"), ("binlog_format", "MIXED"), ("server_id", "7")];
    let server = tokio::task::spawn_blocking(move || MariaDb::start(&settings)).await.unwrap();
    let mut world = World::on(&server, ITEMS, ITEMS).await;
    // As a superuser: captured whatever format the log takes.
    let stores = world.of("items").await;
    stores.capture().await;
    for (n, format) in ["MIXED", "ROW"].into_iter().enumerate() {
        for isolation in super::world::ISOLATIONS {
            let mut app = world.app(Side::Old).await;
            app.run(&format!("SET SESSION binlog_format = '{format}'")).await;
            app.begin(isolation).await;
            app.run(&format!(
                "INSERT INTO items VALUES ({}, 'a') ON DUPLICATE KEY UPDATE name = 'b'; COMMIT",
                n + 1
            ))
            .await;
            assert_eq!(app.ask("SHOW WARNINGS").await, Vec::<String>::new());
        }
    }
    assert_eq!(stores.logged(Side::Old).await, ["items(1)", "items(2)"]);
    let names: Vec<String> =
        world.urls.iter().map(|url| url.rsplit('/').next().unwrap().to_owned()).collect();
    let user = tokio::task::block_in_place(|| server.create_user("mover", "secret"));
    for name in &names {
        world.old_app.run(&format!("GRANT ALL ON {name}.* TO {user}")).await;
    }
    let urls = [0, 1].map(|at| server.url_as(&user, "secret", &names[at]));
    let found = world.findings(&[mapping("items", "items")], &urls).await;
    assert!(found.contains("SET GLOBAL log_bin_trust_function_creators = 1"), "{found}");
    world.old_app.run("SET GLOBAL log_bin_trust_function_creators = 1").await;
    let found = world.findings(&[mapping("items", "items")], &urls).await;
    assert!(!found.contains("severity: Error"), "{found}");
    let other = world.stores_as("other", &[mapping("items", "items")], &urls).await;
    other.capture().await;
    world.old_app.run("SET GLOBAL binlog_format = 'STATEMENT'").await;
    let database = MysqlDatabase::open("old", &world.urls[0], OPTIONS).await.unwrap();
    assert!(database.catalog().await.unwrap().capturable.is_err());
}

/// From MariaDB 11.6 on it is the default: a locking read of what has changed since the snapshot fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_snapshots_are_strict_a_straggler_is_refused_all_the_same() {
    let settings = [("innodb_snapshot_isolation", "ON")];
    let server = tokio::task::spawn_blocking(move || MariaDb::start(&settings)).await.unwrap();
    let world = World::on(&server, super::snapshots::TABLES, super::snapshots::TABLES).await;
    let stores = world.of("items").await;
    stores.capture().await;
    for (n, isolation) in super::world::ISOLATIONS.into_iter().enumerate() {
        let mut app = world.app(Side::Old).await;
        app.begin(isolation).await;
        app.run("SELECT * FROM other").await;
        let epoch = 2 * n as u64 + 1;
        stores.fence(Side::Old).set(FenceState::Moved, epoch).await.unwrap();
        let (code, _) = app.refused("UPDATE items SET name = 'late' WHERE id = 1").await;
        assert!(matches!(code, 1644 | 1020), "{isolation}: {code}");
        app.run("ROLLBACK").await;
        stores.fence(Side::Old).set(FenceState::Open, epoch + 1).await.unwrap();
        app.run("START TRANSACTION; UPDATE items SET name = 'now' WHERE id = 1; COMMIT").await;
    }
    assert_eq!(stores.logged(Side::Old).await, ["items(1)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_told_of_the_rights_that_it_lacks_and_needs_no_others() {
    let mut world = World::same(ITEMS).await;
    let server = server().await;
    let user = tokio::task::block_in_place(|| server.create_user("mover", "secret"));
    let names: Vec<String> =
        world.urls.iter().map(|url| url.rsplit('/').next().unwrap().to_owned()).collect();
    for name in &names {
        world.old_app.run(&format!("GRANT SELECT ON {name}.items TO {user}")).await;
    }
    let urls = [0, 1].map(|at| server.url_as(&user, "secret", &names[at]));
    let mappings = [mapping("items", "items")];
    let mut given = 0;
    for (store, url, name) in [("old", &urls[0], &names[0]), ("new", &urls[1], &names[1])] {
        let catalog = MysqlDatabase::open(store, url, OPTIONS).await.unwrap().catalog().await.unwrap();
        let found = world.findings(&mappings, &urls).await;
        for right in &catalog.table(None, "items").unwrap().missing_rights {
            assert!(right.grant.contains(name) && found.contains(&right.grant), "{right:?}: {found}");
            // As it is printed.
            world.old_app.run(&right.grant).await;
            given += 1;
        }
    }
    assert_eq!(given, 4, "to write and to make triggers, on either side");
    let stores = world.stores_as("move", &mappings, &urls).await;
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    world.old_app.run("INSERT INTO items VALUES (1, 'a')").await;
    stores.drain_of(Side::Old).await;
    stores.assert_equal().await;
    let mut lock = stores.fence(Side::Old).lock(super::world::WAIT, super::world::STALL).await.unwrap();
    lock.set(FenceState::Moved, 2).await.unwrap();
    lock.commit().await.unwrap();
    let mut far = stores.fence(Side::New).lock(super::world::WAIT, super::world::STALL).await.unwrap();
    far.raise_counters(&[("items".into(), 100)]).await.unwrap();
    far.capture_on(super::world::CAPTURE).await.unwrap();
    far.commit().await.unwrap();
    stores.log(Side::New).reset().await.unwrap();
    stores.old.remove_installed(None).await.unwrap();
    stores.new.remove_installed(None).await.unwrap();
    assert_eq!(world.new_app.ask("SHOW TABLES").await, ["items"]);
}
