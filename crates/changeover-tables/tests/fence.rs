//! The fence: who is refused and who isn't, the lock and what its holder can do, and who owns a migration.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::store::fence::{Fence, FenceAt, FenceState};
use changeover::store::guard::{Change, Guarded, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, Store};
use changeover::{Side, StoreError};
use changeover_tables::database::{Database, Scope as Rows, SideStore as _};
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};
use common::*;
use rusqlite::Connection;

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);";
const WAIT: Duration = Duration::from_secs(2);

fn code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().unwrap().extended_code
}

fn refused(connection: &Connection, statement: &str) -> String {
    let error = connection.execute_batch(statement).unwrap_err();
    assert_eq!(code(&error), rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER, "{statement}: {error}");
    error.to_string()
}

#[tokio::test]
async fn a_shut_or_moved_fence_refuses_every_write_of_the_applications_and_an_open_one_none() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    let fence = stores.old_fence();
    assert_eq!(fence.look().await.unwrap(), FenceAt { state: FenceState::Open, epoch: 0 });
    for (state, words) in
        [(FenceState::Shut, "kept in step with new:t"), (FenceState::Moved, "moved to new:t")]
    {
        fence.set(state, 3).await.unwrap();
        assert_eq!(fence.look().await.unwrap(), FenceAt { state, epoch: 3 });
        for write in [
            "INSERT INTO t VALUES (2,'b')",
            "UPDATE t SET n = 'c'",
            "DELETE FROM t",
            "REPLACE INTO t VALUES (1,'z')",
        ] {
            let said = refused(&pair.old_app, write);
            assert!(said.contains(words) && said.contains("roll back, look at the flag"), "{said}");
        }
    }
    assert!(matches!(fence.set(FenceState::Open, 2).await, Err(StoreError::Conflict { .. })));
    fence.set(FenceState::Open, 3).await.unwrap();
    pair.old_app.execute_batch("UPDATE t SET n = 'c'").unwrap();
    assert_eq!(fence.look().await.unwrap(), FenceAt { state: FenceState::Open, epoch: 3 });
    fence.set(FenceState::Moved, 4).await.unwrap();
    fence.remove().await.unwrap();
    fence.remove().await.unwrap();
    pair.old_app.execute_batch("DELETE FROM t").unwrap();
}

/// A snapshot from before the fence whose first write comes after it is never taken: in both directions.
#[tokio::test]
async fn a_snapshot_from_before_the_fence_is_refused_in_both_directions() {
    for side in [Side::Old, Side::New] {
        let pair = Pair::new(T, T);
        let stores = pair.stores(&[mapping("t", "t")]).await;
        let (store, app) = match side {
            Side::Old => (&stores.old, &pair.old_app),
            Side::New => (&stores.new, &pair.new_app),
        };
        app.execute_batch("INSERT INTO t VALUES (1,'a'); CREATE TABLE other (x); BEGIN").unwrap();
        ask(app, "SELECT * FROM other");
        let mut lock = store.fence().unwrap().lock(WAIT, WAIT).await.unwrap();
        lock.set(FenceState::Moved, 1).await.unwrap();
        lock.commit().await.unwrap();
        let error = app.execute("UPDATE t SET n = 'late'", []).unwrap_err();
        assert_eq!(code(&error), rusqlite::ffi::SQLITE_BUSY_SNAPSHOT, "{error}");
        app.execute_batch("ROLLBACK").unwrap();
        refused(app, "UPDATE t SET n = 'late'");
        assert_eq!(ask(app, "SELECT n FROM t"), ["'a'"]);
    }
}

#[tokio::test]
async fn a_fence_over_some_rows_leaves_the_others_to_the_application() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, kind TEXT COLLATE NOCASE, u INTEGER UNIQUE);";
    let pair = Pair::new(schema, schema);
    let mut m = mapping("t", "t");
    m.where_ = Some("t.kind = 'flight'".into());
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'Flight',1),(2,'hotel',2)").unwrap();
    let stores = pair.stores(&[m]).await;
    stores.old_fence().set(FenceState::Moved, 1).await.unwrap();
    pair.old_app
        .execute_batch(
            "INSERT INTO t VALUES (3,'hotel',3); UPDATE t SET u = 4 WHERE id = 3; DELETE FROM t WHERE id = 3",
        )
        .unwrap();
    for write in [
        "INSERT INTO t VALUES (4,'flight',9)",
        "UPDATE t SET u = 7 WHERE id = 1",
        "UPDATE t SET kind = 'hotel' WHERE id = 1",
        "UPDATE t SET kind = 'FLIGHT' WHERE id = 2",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1,'hotel',9)",
        "REPLACE INTO t VALUES (9,'hotel',1)",
        "UPDATE OR REPLACE t SET u = 1 WHERE id = 2",
        "UPDATE OR REPLACE t SET id = 1 WHERE id = 2",
    ] {
        refused(&pair.old_app, write);
    }
    assert_eq!(ask(&pair.old_app, "SELECT * FROM t"), ["1|'Flight'|1", "2|'hotel'|2"]);
}

#[tokio::test]
async fn on_a_shared_table_each_source_has_its_fence() {
    let old = "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);";
    let pair = Pair::new(old, "CREATE TABLE t (src TEXT, id INTEGER, n, PRIMARY KEY (src, id));");
    let mut of_a = mapping("a", "t");
    of_a.set = vec![("src".into(), constant("A"))];
    let stores = pair.stores(&[of_a]).await;
    pair.new_app.execute_batch("INSERT INTO t VALUES ('A',1,'x'),('B',1,'y')").unwrap();
    stores.new_fence().set(FenceState::Shut, 1).await.unwrap();
    pair.new_app
        .execute_batch("UPDATE t SET n = 'z' WHERE src = 'B'; INSERT INTO t VALUES ('B',2,'y')")
        .unwrap();
    for write in [
        "UPDATE t SET n = 'z'",
        "INSERT INTO t VALUES ('A',2,'x')",
        "UPDATE t SET src = 'A' WHERE id = 2",
        "UPDATE OR REPLACE t SET src = 'B' WHERE src = 'A'",
        "DELETE FROM t WHERE src = 'A'",
    ] {
        refused(&pair.new_app, write);
    }
}

#[tokio::test]
async fn the_locks_holder_drains_the_log_and_moves_and_nobody_else_writes_meanwhile() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT);";
    let pair = Pair::new(schema, schema);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    stores.old_log().install(CAPTURE).await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a'),(50,'b'); DELETE FROM t WHERE id = 50").unwrap();
    pair.old_app.busy_timeout(Duration::ZERO).unwrap();
    let mut lock = stores.old_fence().lock(WAIT, WAIT).await.unwrap();
    assert!(pair.old_app.execute("INSERT INTO t VALUES (2,'b')", []).is_err());
    assert_eq!(ask(&pair.old_app, "SELECT count(*) FROM t"), ["1"]);
    loop {
        let claims = lock.claim(2).await.unwrap();
        if claims.is_empty() {
            break;
        }
        for claim in &claims {
            stores.level(Side::Old, std::slice::from_ref(&claim.key)).await;
        }
        lock.discard(&claims.iter().map(|c| c.id).collect::<Vec<_>>()).await.unwrap();
        lock.beat().await.unwrap();
    }
    let counters = lock.counters().await.unwrap();
    assert_eq!(counters, [(stores.table(), 51)]);
    let mut other = stores.new_fence().lock(WAIT, WAIT).await.unwrap();
    other.raise_counters(&counters).await.unwrap();
    other.capture_on(CAPTURE).await.unwrap();
    other.commit().await.unwrap();
    lock.set(FenceState::Moved, 1).await.unwrap();
    lock.commit().await.unwrap();
    stores.assert_equal().await;
    assert!(stores.new_log().installed().await.unwrap());
    pair.new_app.execute_batch("INSERT INTO t (n) VALUES ('new')").unwrap();
    assert_eq!(ask(&pair.new_app, "SELECT max(id) FROM t"), ["51"]);
    refused(&pair.old_app, "INSERT INTO t (n) VALUES ('late')");
}

#[tokio::test]
async fn a_side_without_any_counter_says_its_greatest_id() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT);",
    );
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1, 'a'), (7, 'b')").unwrap();
    let mut lock = stores.old_fence().lock(WAIT, WAIT).await.unwrap();
    assert_eq!(lock.counters().await.unwrap(), [(stores.table(), 8)]);
}

#[tokio::test]
async fn a_lock_that_is_not_got_in_time_changes_nothing() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let short = Duration::from_millis(30);
    assert!(matches!(stores.old_fence().lock(short, WAIT).await, Err(StoreError::Busy { .. })));
    pair.old_app.execute_batch("ROLLBACK").unwrap();
    let mut lock = stores.old_fence().lock(WAIT, WAIT).await.unwrap();
    lock.set(FenceState::Moved, 9).await.unwrap();
    drop(lock);
    assert_eq!(stores.old_fence().look().await.unwrap().epoch, 0);
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
}

#[tokio::test]
async fn a_holder_that_stalls_loses_the_lock_and_what_it_did() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let stall = Duration::from_millis(40);
    let mut lock = stores.old_fence().lock(WAIT, stall).await.unwrap();
    lock.set(FenceState::Moved, 1).await.unwrap();
    // The application waits, and gets in once the holder has stalled.
    pair.old_app.busy_timeout(Duration::from_secs(10)).unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    let lost = lock.beat().await.unwrap_err();
    assert!(lost.to_string().contains("stalled"), "{lost}");
    assert!(lock.commit().await.is_err());
    assert_eq!(stores.old_fence().look().await.unwrap(), FenceAt { state: FenceState::Open, epoch: 0 });
    stores.old.begin(Scope::Marks).await.unwrap();
}

/// Both sides in one file: the holder of the lock is the only one who can write, so the drain goes on within its lock.
#[tokio::test]
async fn both_sides_in_one_file_move_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.db");
    let app = app(&path);
    app.execute_batch(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);",
    )
    .unwrap();
    let database = SqliteDatabase::open("one", &path, SqliteOptions::default()).await.unwrap();
    let mut m = mapping("a", "b");
    m.old.store = "one".into();
    m.new.store = "one".into();
    let plan = plan(&[m], &[database.catalog().await.unwrap()], Mirroring::Capture);
    assert!(plan.is_sound(), "{:?}", plan.findings);
    let old = SqliteStore::new(Arc::clone(&database), "move", Side::Old, &plan).await.unwrap();
    let new = SqliteStore::new(Arc::clone(&database), "move", Side::New, &plan).await.unwrap();
    old.capture().unwrap().install(CAPTURE).await.unwrap();
    app.execute_batch("INSERT INTO a VALUES (1,'x')").unwrap();
    for give_up in [true, false] {
        let mut lock = old.lock(WAIT, WAIT).await.unwrap();
        let claims = lock.claim(10).await.unwrap();
        assert_eq!(claims.len(), 1);
        let read = old.read(&"a".into(), &[key("a", 1)], Image::Canonical).await.unwrap();
        let mut tx = new.begin(Scope::Marks).await.unwrap();
        let changes = [Change { key: key("a", 1), row: read.rows[0].clone(), back: None }];
        assert_eq!(tx.apply(&changes).await.unwrap().written, 1);
        tx.commit().await.unwrap();
        // A transaction that is given up undoes itself alone.
        let mut tx = new.begin(Scope::Marks).await.unwrap();
        tx.delete(&"a".into(), &[key("a", 1)]).await.unwrap();
        drop(tx);
        lock.discard(&[claims[0].id]).await.unwrap();
        new.set(FenceState::Open, 1).await.unwrap();
        lock.set(FenceState::Moved, 1).await.unwrap();
        if give_up {
            drop(lock);
            assert_eq!(ask(&app, "SELECT count(*) FROM b"), ["0"]);
            assert_eq!(old.look().await.unwrap().epoch, 0);
        } else {
            lock.commit().await.unwrap();
        }
    }
    assert_eq!(ask(&app, "SELECT * FROM b"), ["1|'x'"]);
    refused(&app, "INSERT INTO a VALUES (2,'late')");
    app.execute_batch("INSERT INTO b VALUES (2,'new')").unwrap();
}

#[tokio::test]
async fn all_that_a_migration_installs_goes_away_by_the_sql_that_is_printed_before_and_after() {
    for before in [true, false] {
        let pair = Pair::new(T, T);
        let stores = pair.stores(&[mapping("t", "t")]).await;
        let database = shared(&stores.old);
        let printed = async || database.removal_sql("move", stores.old.may_install()).await.unwrap();
        let early = printed().await;
        stores.old_log().install(CAPTURE).await.unwrap();
        stores.old_fence().set(FenceState::Shut, 1).await.unwrap();
        let things = Database::installed(&*database).await.unwrap();
        assert!(things.len() >= 8, "{things:?}");
        let late = printed().await;
        pair.old_app.execute_batch(if before { &early } else { &late }).unwrap();
        let left = ask(&pair.old_app, "SELECT name FROM sqlite_schema ORDER BY name");
        let shared_tables = ["'changeover_fence'", "'changeover_meta'", "'t'"];
        assert_eq!(left, if before { &shared_tables[..] } else { &shared_tables[2..] });
        pair.old_app.execute_batch("REPLACE INTO t VALUES (1,'free')").unwrap();
    }
}

/// Who removes one migration by hand must not take another's triggers, log or fence away.
#[tokio::test]
async fn the_printed_sql_leaves_another_migration_of_the_same_database_alone() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let database = shared(&stores.old);
    let plan = pair.plan(&[mapping("t", "t")]).await;
    let other = SqliteStore::new(Arc::clone(&database), "other", Side::Old, &plan).await.unwrap();
    for store in [&stores.old, &other] {
        store.capture().unwrap().install(CAPTURE).await.unwrap();
        store.fence().unwrap().set(FenceState::Shut, 1).await.unwrap();
    }
    let of_other = async || {
        let things = Database::installed(&*database).await.unwrap();
        things.into_iter().filter(|thing| thing.name.contains(":other")).collect::<Vec<_>>()
    };
    let before = of_other().await;
    let sql = database.removal_sql("move", stores.old.may_install()).await.unwrap();
    pair.old_app.execute_batch(&sql).unwrap();
    assert_eq!(of_other().await, before);
    assert!(other.capture().unwrap().installed().await.unwrap());
    assert_eq!(other.fence().unwrap().look().await.unwrap().state, FenceState::Shut);
    assert_eq!(stores.old_fence().look().await.unwrap().state, FenceState::Open);
    refused(&pair.old_app, "INSERT INTO t VALUES (1,'fenced')");
}

#[tokio::test]
async fn retiring_renames_the_old_table_and_drops_nothing_of_the_users() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    stores.old_log().install(CAPTURE).await.unwrap();
    stores.old_fence().set(FenceState::Moved, 1).await.unwrap();
    pair.new_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    stores.level(Side::New, &[key("t", 1)]).await;
    assert_eq!(stores.old.retire().await.unwrap(), [("t".to_owned(), Some("t_retired".to_owned()))]);
    assert_eq!(stores.old.retire().await.unwrap(), []);
    assert_eq!(ask(&pair.old_app, "SELECT name FROM sqlite_schema"), ["'t_retired'"]);
    assert_eq!(ask(&pair.old_app, "SELECT * FROM t_retired"), ["1|'a'"]);
}

#[tokio::test]
async fn two_runs_of_one_migration_or_over_one_table_are_refused_with_the_holder() {
    let pair = Pair::new(T, T);
    let database = SqliteDatabase::open("old", pair.old_path(), SqliteOptions::default()).await.unwrap();
    let whole = [("t".to_owned(), Rows::Whole)];
    let some = |what: &str| [("t".to_owned(), Rows::Some(what.to_owned()))];
    let first = database.own("one", &whole, "migration one, process 7").await.unwrap();
    let again = database.own("one", &whole, "me").await.unwrap_err();
    assert!(again.to_string().contains("process 7"), "{again}");
    let other = database.own("two", &some("kind = 'x'"), "me").await.unwrap_err();
    assert!(other.to_string().contains("the table t is locked by migration one"), "{other}");
    drop(first);
    let _x = database.own("two", &some("kind = 'x'"), "two").await.unwrap();
    let _y = database.own("three", &some("kind = 'y'"), "three").await.unwrap();
    assert!(database.own("four", &some("kind = 'y'"), "four").await.is_err());
    assert!(database.own("five", &whole, "five").await.is_err());
}

#[tokio::test]
async fn a_file_that_is_replaced_by_a_copy_is_another_file() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let before = stores.old.identity().await.unwrap();
    stores.old_log().install(CAPTURE).await.unwrap();
    stores.old_fence().set(FenceState::Shut, 1).await.unwrap();
    // What is installed isn't a change of the table.
    let now = stores.old.identity().await.unwrap();
    assert_eq!((now.server, now.tables), (before.server.clone(), before.tables));
    let (path, copy) = (pair.old_path(), pair.folder.path().join("copy.db"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    assert_ne!(stores.old.identity().await.unwrap().server, before.server);
}

#[tokio::test]
async fn a_file_that_is_missing_no_database_or_not_to_be_written_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default();
    let missing = SqliteDatabase::open("old", folder.path().join("none.db"), options).await.unwrap_err();
    assert!(
        matches!(missing, StoreError::Unreachable { .. }) && missing.to_string().contains("no file"),
        "{missing}"
    );
    let text = folder.path().join("text.db");
    std::fs::write(&text, "no database at all, but long enough to have a header of one hundred bytes, as SQLite's has it, or so").unwrap();
    let wrong = SqliteDatabase::open("old", &text, options).await.unwrap_err();
    assert!(
        matches!(wrong, StoreError::Refused { .. }) && wrong.to_string().contains("no SQLite database"),
        "{wrong}"
    );
}

/// Whatever is under way, a future that is dropped leaves no lock, no transaction and no thread behind.
#[tokio::test]
async fn a_future_that_is_dropped_at_any_await_leaves_nothing_held() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    let change = [Change { key: key("t", 1), row: Some(row(vec![1.into(), "a".into()])), back: None }];
    for polls in 0..12 {
        let work = async {
            let mut lock = stores.old.lock(WAIT, WAIT).await.unwrap();
            let mut tx = stores.new.begin(Scope::Marks).await.unwrap();
            tx.apply(&change).await.unwrap();
            lock.set(FenceState::Shut, 1).await.unwrap();
            stores.old.read(&"t".into(), &[key("t", 1)], Image::Canonical).await.unwrap();
            std::future::pending::<()>().await;
        };
        poll_some(work, polls).await;
        // Both are free, and as they were.
        pair.old_app.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
        pair.new_app.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
        assert_eq!(stores.old.look().await.unwrap().epoch, 0);
        assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM t"), ["0"]);
    }
}

/// Polls a future so many times, each time once it was woken (or a while has gone by), and drops it.
async fn poll_some(work: impl Future<Output = ()>, polls: usize) {
    let mut work = Box::pin(work);
    let mut left = polls;
    let some = std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        work.as_mut().poll(context)
    });
    let _ = tokio::time::timeout(Duration::from_millis(100), some).await;
}

#[tokio::test]
async fn whoever_stands_in_the_way_is_named() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1,'a')").unwrap();
    let busy = stores.old_fence().lock(Duration::from_millis(30), WAIT).await.err().unwrap();
    let StoreError::Busy { holder, .. } = &busy else { panic!("{busy}") };
    assert_eq!(holder.as_deref(), Some("another connection of this process"), "{busy}");
}

#[tokio::test]
async fn an_older_content_of_the_file_is_told_by_its_log_though_the_file_is_the_same() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let mark = async || stores.old.identity().await.unwrap().log;
    assert_eq!(mark().await, None);
    stores.old_log().install(CAPTURE).await.unwrap();
    let first = mark().await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a'),(2,'b')").unwrap();
    let before = mark().await.unwrap();
    assert!(first.is_older_than(&before) && !before.is_older_than(&first));
    // What was carried is forgotten, but not how far it had come.
    stores.drain(Side::Old).await;
    stores.old_log().reset().await.unwrap();
    assert!(!mark().await.unwrap().is_older_than(&before));
    // As the log stands in a backup from before these writes.
    pair.old_app.execute_batch("DELETE FROM \"changeover_log_old:move\" WHERE id > 1").unwrap();
    assert!(mark().await.unwrap().is_older_than(&before));
    // One that is made anew begins anew.
    stores.old_log().remove().await.unwrap();
    stores.old_log().install(CAPTURE).await.unwrap();
    assert!(!mark().await.unwrap().is_older_than(&before));
}

#[tokio::test]
async fn closing_leaves_one_file_that_has_everything() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    stores.new_fence().set(FenceState::Shut, 1).await.unwrap();
    let path = pair.new_path();
    let database = shared(&stores.new);
    drop(pair.new_app);
    drop(stores);
    database.close().await;
    assert!(!path.with_file_name("new.db-wal").exists());
    let copied = Connection::open(&path).unwrap();
    assert_eq!(ask(&copied, "SELECT state FROM changeover_fence"), ["'shut'"]);
}

/// The service goes on with the rows that didn't move, under the name that it knows.
#[tokio::test]
async fn retiring_leaves_a_table_its_name_that_has_rows_of_others() {
    let pair = Pair::new(T, T);
    let mut m = mapping("t", "t");
    m.where_ = Some("id < 10".into());
    let stores = pair.stores(&[m]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a'), (10,'of others')").unwrap();
    stores.old_fence().set(FenceState::Moved, 1).await.unwrap();
    assert_eq!(stores.old.retire().await.unwrap(), [("t".to_owned(), None)]);
    assert_eq!(ask(&pair.old_app, "SELECT name FROM sqlite_schema"), ["'t'"], "and nothing of ours");
    pair.old_app.execute_batch("DELETE FROM t WHERE id = 10").unwrap();
    assert_eq!(stores.old.retire().await.unwrap(), [("t".to_owned(), Some("t_retired".to_owned()))]);
}

/// What others have written in their triggers and views in SQLite's old manner, texts in double quotes, stands in nobody's way.
#[tokio::test]
async fn texts_in_double_quotes_of_others_triggers_and_views_are_left_alone() {
    let pair = Pair::new(T, T);
    pair.old_app
        .execute_batch(
            "CREATE TABLE other (n TEXT CHECK (n <> \"bad\"));
             CREATE TRIGGER tells AFTER INSERT ON t WHEN NEW.n = \"loud\" BEGIN INSERT INTO other VALUES (\"heard\"); END;
             CREATE VIEW loud AS SELECT * FROM t WHERE n = \"loud\";
             CREATE INDEX few ON t (n) WHERE n <> \"loud\";",
        )
        .unwrap();
    let stores = pair.stores(&[mapping("t", "t")]).await;
    stores.old_log().install(CAPTURE).await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'loud'),(2,'x')").unwrap();
    stores.drain(Side::Old).await;
    stores.assert_equal().await;
    assert_eq!(ask(&pair.old_app, "SELECT n FROM other"), ["'heard'"]);
    stores.old_fence().set(FenceState::Moved, 1).await.unwrap();
    stores.old.try_retiring().await.unwrap();
    assert_eq!(stores.old.retire().await.unwrap(), [("t".to_owned(), Some("t_retired".to_owned()))]);
    assert_eq!(ask(&pair.old_app, "SELECT count(*) FROM loud"), ["1"]);
}

/// A column that somebody renames or drops beside us isn't read as its own name, nor a row by it taken for one that is gone.
#[tokio::test]
async fn a_column_that_is_gone_is_an_error_and_never_a_text() {
    for (change, column) in [
        ("ALTER TABLE t RENAME COLUMN n TO m", "n"),
        ("ALTER TABLE t DROP COLUMN n", "n"),
        ("ALTER TABLE t RENAME COLUMN id TO no", "id"),
    ] {
        for authority in [Side::Old, Side::New] {
            let pair = Pair::new(T, T);
            let stores = pair.stores(&[mapping("t", "t")]).await;
            let (app, other) = match authority {
                Side::Old => (&pair.old_app, &pair.new_app),
                Side::New => (&pair.new_app, &pair.old_app),
            };
            for app in [app, other] {
                app.execute_batch("INSERT INTO t VALUES (1,'a'),(2,'b')").unwrap();
            }
            let (store, follower) = stores.sides(authority);
            app.execute_batch(change).unwrap();
            let key = key("t", 1);
            let read = store.read(&stores.table(), std::slice::from_ref(&key), Image::Canonical).await;
            let error = read.unwrap_err().to_string();
            assert!(error.contains("no such column") && error.contains(column), "{error}");
            assert!(follower.read(&stores.table(), &[key], Image::Canonical).await.is_ok());
            let mut scan = store
                .scan(&stores.table(), &KeyRange::default(), Image::Canonical, BatchBudget::default())
                .await
                .unwrap();
            assert!(scan.next().await.is_err());
            assert!(store.cut(&stores.table(), None, 1).await.is_err() || column == "n");
            assert_eq!(ask(other, "SELECT * FROM t").len(), 2);
            // A trigger that names it would refuse every write of the application's.
            let log = store.capture().unwrap();
            assert_eq!(log.install(CAPTURE).await.is_err(), column == "id");
            app.execute_batch("DELETE FROM t").unwrap();
        }
    }
}
