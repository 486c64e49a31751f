//! What the triggers log: every change that an application can make, once it has committed, and nothing of the mirror's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{self, Links, TableMirror};
use changeover::mirror::Mirror as _;
use changeover::protocol::Slot;
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::guard::Scope;
use changeover::store::{Image, Store};
use changeover::{Key, Side, SlotRange, Value};
use common::*;

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);";

async fn captured(
    old: &str,
    new: &str,
    mappings: &[changeover_tables::mapping::TableMapping],
) -> (Pair, Stores) {
    let pair = Pair::new(old, new);
    let stores = pair.stores(mappings).await;
    stores.old_log().install(CAPTURE).await.unwrap();
    stores.copy().await;
    (pair, stores)
}

async fn logged(log: &dyn CaptureLog) -> Vec<Key> {
    log.claim(0, 1_000).await.unwrap().into_iter().map(|claim| claim.key).collect()
}

/// A service may wait for its file's lock on the only thread of its runtime: what the mirror writes there by the way needs
/// nobody of that thread to end, and to let the lock go.
#[tokio::test(flavor = "current_thread")]
async fn a_service_that_blocks_its_runtime_isnt_locked_out_of_its_own_file() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    pair.old_app.busy_timeout(Duration::from_secs(2)).unwrap();
    for id in 1..50 {
        pair.old_app.execute("INSERT INTO t VALUES (?1, 'a')", [id]).unwrap();
        let ids = [id];
        let (discarded, written) = tokio::join!(stores.old_log().discard(&ids), async {
            pair.old_app.execute("UPDATE t SET n = 'b' WHERE id = ?1", [id])
        });
        discarded.unwrap();
        written.unwrap();
    }
}

#[tokio::test]
async fn inserts_updates_deletes_and_changed_keys_are_logged_and_drained() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    let log = stores.old_log();
    pair.old_app
        .execute_batch(
            "INSERT INTO t VALUES (1,'a'),(2,'b'); UPDATE t SET n = 'c' WHERE id = 2; UPDATE t SET rowid = 20 WHERE id = 2; \
             DELETE FROM t WHERE id = 1;",
        )
        .unwrap();
    let keys: Vec<String> = logged(log).await.iter().map(Key::to_string).collect();
    assert_eq!(keys[..3], ["t(1)", "t(2)", "t(2)"]);
    let mut rekeyed = keys[3..5].to_vec();
    rekeyed.sort();
    assert_eq!(rekeyed, ["t(2)", "t(20)"]);
    assert_eq!(keys[5..], ["t(1)"]);
    pair.old_app.execute_batch("BEGIN; INSERT INTO t VALUES (3,'x'); ROLLBACK").unwrap();
    assert_eq!(logged(log).await.len(), 6);
    stores.drain(Side::Old).await;
    stores.assert_equal().await;
    assert_eq!(log.depth().await.unwrap().entries, 0);
}

/// Such a row is found by no key. Taken for one that is gone, its entry would be discarded, and an acknowledged write be on no
/// other side.
#[tokio::test]
async fn a_row_that_no_key_finds_stays_dirty_and_is_named_until_it_is_mended() {
    let text = "CREATE TABLE t (k TEXT PRIMARY KEY, n TEXT);";
    let number = "CREATE TABLE t (k INTEGER PRIMARY KEY, n TEXT);";
    for (new, stray, why) in [(text, "NULL", "is NULL"), (number, "'007'", "becomes another value")] {
        let (pair, stores) = captured(text, new, &[mapping("t", "t")]).await;
        pair.old_app.execute_batch("INSERT INTO t VALUES ('7','seven'), ('5','five')").unwrap();
        stores.drain(Side::Old).await;
        pair.old_app
            .execute_batch(&format!(
                "INSERT INTO t VALUES ({stray},'a'); UPDATE t SET k = {stray}, n = 'b' WHERE k = '5' AND {stray} IS NULL;"
            ))
            .unwrap();
        let keys = logged(stores.old_log()).await;
        let refused = stores.level(Side::Old, &keys).await.refused;
        assert!(!refused.is_empty(), "{stray}");
        assert!(refused.iter().all(|refusal| refusal.why.contains(why)), "{refused:?}");
        assert_eq!(ask(&pair.new_app, "SELECT n FROM t WHERE k = 7"), ["'seven'"], "{stray}");
        // Mended, or deleted, there is nothing left to carry.
        pair.old_app.execute_batch(&format!("DELETE FROM t WHERE k IS {stray}")).unwrap();
        let refused = stores.level(Side::Old, &keys).await.refused;
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(ask(&pair.new_app, "SELECT n FROM t WHERE k = 7"), ["'seven'"], "{stray}");
    }
}

#[tokio::test]
async fn the_mirrors_own_writes_are_not_logged_nor_fenced() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    stores.new_log().install(CAPTURE).await.unwrap();
    stores.new_fence().set(changeover::store::fence::FenceState::Shut, 1).await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    stores.drain(Side::Old).await;
    stores.assert_equal().await;
    assert_eq!(logged(stores.new_log()).await, []);
}

#[tokio::test]
async fn ids_are_never_given_out_twice_though_the_log_was_emptied() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    let log = stores.old_log();
    let mut last = 0;
    for n in 0..5 {
        pair.old_app.execute("INSERT INTO t VALUES (?1, 'x')", [n]).unwrap();
        let claims = log.claim(0, 10).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert!(claims[0].id > last);
        last = claims[0].id;
        log.discard(&[last]).await.unwrap();
        assert_eq!(log.claim(0, 10).await.unwrap(), []);
    }
    // Discarded out of order, and twice.
    pair.old_app.execute_batch("INSERT INTO t VALUES (11,'x'),(12,'x'),(13,'x')").unwrap();
    let ids: Vec<i64> = log.claim(0, 10).await.unwrap().iter().map(|c| c.id).collect();
    log.discard(&[ids[2]]).await.unwrap();
    log.discard(&[ids[2], ids[0]]).await.unwrap();
    let left = log.claim(0, 10).await.unwrap();
    assert_eq!(left.iter().map(|c| c.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(log.claim(ids[1], 10).await.unwrap(), []);
    pair.old_app.execute_batch("INSERT INTO t VALUES (14,'x')").unwrap();
    assert!(log.claim(ids[2], 10).await.unwrap()[0].id > ids[2]);
    log.reset().await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (15,'x')").unwrap();
    assert!(log.claim(0, 10).await.unwrap()[0].id > ids[2] + 1);
}

/// Random statements, against every way in which SQLite can make rows go without a word.
async fn displaced(schema: &str, recursive: bool, statements: &[&str]) {
    let (pair, stores) = captured(schema, schema, &[mapping("t", "t")]).await;
    pair.old_app.pragma_update(None, "recursive_triggers", recursive).unwrap();
    for statement in statements {
        pair.old_app.execute_batch(statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        let applied = stores.drain(Side::Old).await;
        assert_eq!(applied.refused, [], "{statement}");
        stores.assert_equal().await;
    }
    // And the other way: the new side's own triggers see the same.
    stores.new_log().install(CAPTURE).await.unwrap();
    pair.new_app.pragma_update(None, "recursive_triggers", recursive).unwrap();
    pair.new_app.execute_batch("DELETE FROM t").unwrap();
    stores.drain(Side::New).await;
    for statement in statements {
        pair.new_app.execute_batch(statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        let applied = stores.drain(Side::New).await;
        assert_eq!(applied.refused, [], "{statement}");
        stores.assert_equal().await;
    }
}

const REPLACING: [&str; 8] = [
    "INSERT INTO t VALUES (1,'a',1),(2,'b',2),(3,'c',3),(4,'d',4)",
    "REPLACE INTO t VALUES (1,'a2',1)",
    "REPLACE INTO t VALUES (9,'B',9)",
    "UPDATE OR REPLACE t SET u = 'c' WHERE id = 9",
    "UPDATE OR REPLACE t SET id = 4 WHERE id = 1",
    "INSERT OR REPLACE INTO t VALUES (5,'A2',3),(6,'zz',3)",
    "INSERT INTO t VALUES (6,'q',60) ON CONFLICT (id) DO UPDATE SET u = 'upserted'",
    "UPDATE t SET u = u || id",
];

#[tokio::test]
async fn rows_displaced_by_replace_are_logged_with_and_without_recursive_triggers() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, n INTEGER);";
    for recursive in [false, true] {
        displaced(schema, recursive, &REPLACING).await;
    }
}

/// A broken variant: without the trigger that looks before an insert, a row goes without a word, and is never known to have.
#[tokio::test]
async fn without_the_trigger_for_displaced_rows_one_is_lost() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INTEGER);";
    let (pair, stores) = captured(schema, schema, &[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a',1)").unwrap();
    stores.drain(Side::Old).await;
    pair.old_app.execute_batch("DROP TRIGGER \"changeover_displace0_insert_old:move:t\"").unwrap();
    pair.old_app.execute_batch("REPLACE INTO t VALUES (2,'b',1); REPLACE INTO t VALUES (3,'a',1)").unwrap();
    let logged = logged(stores.old_log()).await;
    assert!(!logged.contains(&key("t", 1)), "{logged:?}");
    assert!(!stores.old_log().installed().await.unwrap());
}

#[tokio::test]
async fn rows_displaced_by_a_partial_index_or_a_constraint_that_replaces_are_logged() {
    let partial = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, n INTEGER); \
                   CREATE UNIQUE INDEX p ON t (u COLLATE NOCASE) WHERE n < 100 AND t.u IS NOT NULL;";
    for recursive in [false, true] {
        displaced(partial, recursive, &REPLACING).await;
        let more =
            ["INSERT INTO t VALUES (1,'a',1),(2,'A',200)", "UPDATE OR REPLACE t SET n = 5 WHERE id = 2"];
        displaced(partial, recursive, &more).await;
    }
    let replaces = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT REPLACE, n INTEGER);";
    displaced(replaces, false, &["INSERT INTO t VALUES (1,'a',1)", "INSERT INTO t VALUES (2,'a',2)"]).await;
}

#[tokio::test]
async fn rows_displaced_under_other_keys_are_logged() {
    let schemas = [
        "CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, u TEXT, n INTEGER) WITHOUT ROWID;",
        "CREATE TABLE t (id BLOB PRIMARY KEY NOT NULL, u TEXT UNIQUE, n INTEGER);",
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, u TEXT, n INTEGER);",
        "CREATE TABLE t (id TEXT, u TEXT, n INTEGER UNIQUE, PRIMARY KEY (u, id)) WITHOUT ROWID;",
    ];
    let statements = [
        "INSERT INTO t VALUES ('a','x',1),('b','y',2),(x'01','z',3)",
        "REPLACE INTO t VALUES ('A','x',4)",
        "UPDATE OR REPLACE t SET id = 'A' WHERE id = 'a'",
        "UPDATE OR REPLACE t SET id = 'B' WHERE n = 4",
        "UPDATE OR REPLACE t SET id = 'b' WHERE id = 'B'",
        "REPLACE INTO t VALUES (1,'x',7)",
        "REPLACE INTO t VALUES (1.0,'x',8)",
        "DELETE FROM t WHERE n > 7",
    ];
    for schema in &schemas {
        // Blobs in a TEXT key aren't carried without a rule: those are for the keys that take them.
        let fits = |s: &&&str| schema.contains("BLOB") || !s.contains("x'01'");
        let mut these: Vec<&str> = statements.iter().filter(fits).copied().collect();
        if schema.contains("BLOB") {
            these = vec![
                "INSERT INTO t VALUES (x'0a','x',1),(x'0b','y',2)",
                "REPLACE INTO t VALUES (x'0c','x',3)",
                "DELETE FROM t",
            ];
        } else {
            these.insert(0, "INSERT INTO t VALUES ('a','x',1),('b','y',2)");
        }
        displaced(schema, false, &these).await;
    }
}

#[tokio::test]
async fn cascades_and_the_applications_own_triggers_are_logged() {
    let schema = "CREATE TABLE p (id INTEGER PRIMARY KEY); \
        CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE); \
        CREATE TRIGGER app AFTER INSERT ON p BEGIN INSERT INTO c VALUES (NEW.id * 10, NEW.id); END;";
    let new = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p);";
    let (pair, stores) = captured(schema, new, &[mapping("p", "p"), mapping("c", "c")]).await;
    for statement in [
        "INSERT INTO p VALUES (1),(2),(3)",
        "UPDATE p SET id = 30 WHERE id = 3",
        "DELETE FROM p WHERE id = 1",
        "INSERT INTO p VALUES (1)",
        "BEGIN; DELETE FROM p WHERE id = 2; INSERT INTO p VALUES (2); COMMIT",
    ] {
        pair.old_app.execute_batch(statement).unwrap();
        stores.drain(Side::Old).await;
        stores.assert_equal().await;
    }
    assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM c"), ["3"]);
}

#[tokio::test]
async fn a_row_that_leaves_where_is_deleted_and_one_that_comes_in_is_copied() {
    let mut m = mapping("t", "t");
    m.where_ = Some("n <> 'out'".into());
    let (pair, stores) = captured(T, T, &[m]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'in'),(2,'out')").unwrap();
    stores.drain(Side::Old).await;
    assert_eq!(ask(&pair.new_app, "SELECT id FROM t"), ["1"]);
    pair.old_app.execute_batch("UPDATE t SET n = CASE n WHEN 'in' THEN 'out' ELSE 'in' END").unwrap();
    stores.drain(Side::Old).await;
    assert_eq!(ask(&pair.new_app, "SELECT id FROM t"), ["2"]);
}

#[tokio::test]
async fn on_a_shared_table_each_mapping_logs_its_own_rows_and_those_that_leave_it() {
    let old = "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);";
    let pair =
        Pair::new(old, "CREATE TABLE t (id INTEGER PRIMARY KEY, src TEXT COLLATE NOCASE NOT NULL, n);");
    let mut of_a = mapping("a", "t");
    of_a.set = vec![("src".into(), constant("A"))];
    let mut of_b = mapping("b", "t");
    of_b.set = vec![("src".into(), constant("B"))];
    let stores = pair.stores(&[of_a, of_b]).await;
    stores.new_log().install(CAPTURE).await.unwrap();
    pair.new_app
        .execute_batch("INSERT INTO t VALUES (1,'A','x'),(2,'B','y'),(3,'C','z'),(4,'a','w')")
        .unwrap();
    assert_eq!(logged(stores.new_log()).await, [key("a", 1), key("b", 2)]);
    stores.drain(Side::New).await;
    pair.new_app
        .execute_batch("UPDATE t SET src = 'B' WHERE id = 1; REPLACE INTO t VALUES (2,'A','y')")
        .unwrap();
    stores.drain(Side::New).await;
    assert_eq!(ask(&pair.old_app, "SELECT * FROM a"), ["2|'y'"]);
    assert_eq!(ask(&pair.old_app, "SELECT * FROM b"), ["1|'x'"]);
}

#[tokio::test]
async fn the_bound_is_kept_by_the_trigger_and_leaves_a_mark() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let log = stores.old_log();
    log.install(CaptureOptions { bound: 10, overflow: true }).await.unwrap();
    for id in 0..30 {
        // Whatever the application's statement does on conflicts, the mark disturbs it never.
        pair.old_app.execute("INSERT OR ROLLBACK INTO t VALUES (?1, 'x')", [id]).unwrap();
    }
    let depth = log.depth().await.unwrap();
    assert!(depth.overflowed && depth.span < 10 && depth.entries <= 10, "{depth:?}");
    assert!(depth.entries >= 8 && depth.bound == 10, "{depth:?}");
    assert!(log.claim(0, 100).await.unwrap().iter().all(|c| c.id > 0));
    log.reset().await.unwrap();
    assert!(!log.depth().await.unwrap().overflowed);
    // Where the log is all there is, it goes on.
    log.install(CaptureOptions { bound: 10, overflow: false }).await.unwrap();
    for id in 100..130 {
        pair.old_app.execute("INSERT INTO t VALUES (?1, 'x')", [id]).unwrap();
    }
    let depth = log.depth().await.unwrap();
    assert_eq!((depth.entries, depth.overflowed), (30, false));
    assert!(depth.span > depth.bound);
}

#[tokio::test]
async fn entries_carry_the_slot_of_the_key_or_of_the_slot_keys_value() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, customer INTEGER);";
    let text = "CREATE TABLE t (id INTEGER PRIMARY KEY, customer TEXT);";
    let (pair, stores) = captured(schema, schema, &[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (42, 7)").unwrap();
    let claims = stores.old_log().claim(0, 9).await.unwrap();
    assert_eq!(claims[0].slot, Slot::of("move", b"42"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let late = i64::try_from(now).unwrap() - claims[0].at_ms;
    assert!((-1_000..60_000).contains(&late), "{late} ms");
    assert!(stores.old_log().depth().await.unwrap().oldest_ms < 60_000);
    let by_customer =
        changeover_tables::mapping::TableMapping { route_by: Some("customer".into()), ..mapping("t", "t") };
    let (pair, stores) = captured(schema, text, &[by_customer]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES (42, 7); UPDATE t SET customer = 8").unwrap();
    let claims = stores.old_log().claim(0, 9).await.unwrap();
    let slots: Vec<Slot> = claims.iter().map(|c| c.slot).collect();
    let (seven, eight) = (Slot::of("move", b"7"), Slot::of("move", b"8"));
    assert!(slots[0] == seven && slots[1..].contains(&seven) && slots[1..].contains(&eight), "{slots:?}");
    let only = SlotRange { from: eight.number(), to: eight.number() + 1 };
    assert_eq!(stores.old_log().dirty_in(only).await.unwrap(), 1);
    assert_eq!(stores.old_log().dirty_in(SlotRange::ALL).await.unwrap(), 1);
}

#[tokio::test]
async fn the_entries_of_given_keys_are_found() {
    let schema = "CREATE TABLE t (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;";
    let (pair, stores) = captured(schema, schema, &[mapping("t", "t")]).await;
    pair.old_app.execute_batch("INSERT INTO t VALUES ('x',1),('x',2),('y',1)").unwrap();
    let wanted =
        [Key::composite("t", vec!["x".into(), 2.into()]), Key::composite("t", vec!["n".into(), Value::Null])];
    let claims = stores.old_log().claim_keys(&wanted).await.unwrap().claims;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].key, wanted[0]);
}

/// More changes than are looked through for one key: nobody may conclude that it is clean.
#[tokio::test]
async fn in_a_deep_log_a_key_that_is_not_found_is_not_said_to_be_clean() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    let (old, new) = (Arc::new(stores.old), Arc::new(stores.new));
    let rules = Vec::new();
    let links = Links::new(vec![engine::Pair { table: "t".into(), old: Arc::clone(&old) as _, new, rules }]);
    let mirror = TableMirror::new(Arc::new(links.unwrap()));
    pair.old_app.execute_batch("INSERT INTO t VALUES (1, 'first')").unwrap();
    assert!(mirror.is_dirty(&key("t", 1)).await);
    assert!(!mirror.is_dirty(&key("t", 2)).await, "a short log is looked through");
    pair.old_app
        .execute_batch(
            "WITH n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'more' FROM n",
        )
        .unwrap();
    let found = old.capture().unwrap().claim_keys(&[key("t", 1)]).await.unwrap();
    assert_eq!((found.claims.len(), found.all), (0, false));
    assert!(mirror.is_dirty(&key("t", 1)).await);
    // A dual write clears what it finds; the entry of before stays, and the drain levels it once more.
    pair.old_app.execute_batch("UPDATE t SET n = 'second' WHERE id = 1").unwrap();
    assert_eq!(mirror.level(Side::Old, &[key("t", 1)]).await.unwrap().synced, 1);
    let left = old.capture().unwrap().claim(0, 1).await.unwrap();
    assert_eq!(left[0].key, key("t", 1));
    assert_eq!(ask(&pair.new_app, "SELECT n FROM t WHERE id = 1"), ["'second'"]);
}

#[tokio::test]
async fn a_trigger_that_is_gone_or_changed_is_noticed_and_mended() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    let log = stores.old_log();
    assert!(log.installed().await.unwrap());
    pair.old_app.execute_batch("DROP TRIGGER \"changeover_delete_old:move:t\"").unwrap();
    assert!(!log.installed().await.unwrap());
    log.install(CAPTURE).await.unwrap();
    assert!(log.installed().await.unwrap());
    let identity = stores.old.identity().await.unwrap();
    pair.old_app.execute_batch("ALTER TABLE t ADD COLUMN more").unwrap();
    assert_ne!(stores.old.identity().await.unwrap().tables, identity.tables);
    log.remove().await.unwrap();
    log.remove().await.unwrap();
    assert!(!log.installed().await.unwrap());
    pair.old_app.execute_batch("INSERT INTO t (id) VALUES (77)").unwrap();
    assert_eq!(log.claim(0, 1).await.unwrap(), []);
}

#[tokio::test]
async fn migrations_side_by_side_each_have_their_log() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let database = shared(&stores.old);
    let other = changeover_tables::sqlite::SqliteStore::new(database, "other", Side::Old, &stores.plan)
        .await
        .unwrap();
    stores.old_log().install(CAPTURE).await.unwrap();
    other.install(CAPTURE).await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    assert_eq!((logged(stores.old_log()).await.len(), logged(&other).await.len()), (1, 1));
    stores.old.remove_installed(None).await.unwrap();
    assert!(other.installed().await.unwrap());
    pair.old_app.execute_batch("INSERT INTO t VALUES (2,'a')").unwrap();
    assert_eq!(logged(&other).await.len(), 2);
}

#[tokio::test]
async fn a_commit_of_anybodys_wakes_whoever_waits_for_one() {
    let (pair, stores) = captured(T, T, &[mapping("t", "t")]).await;
    let log = stores.old_log();
    log.changed(0).await;
    log.changed(0).await;
    let began = std::time::Instant::now();
    log.changed(60).await;
    assert!(began.elapsed() >= Duration::from_millis(55));
    let waiting = log.changed(30_000);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'a')").unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

#[tokio::test]
async fn capture_sees_a_writer_whose_snapshot_is_older_than_itself() {
    let pair = Pair::new(T, T);
    let stores = pair.stores(&[mapping("t", "t")]).await;
    pair.old_app.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    ask(&pair.old_app, "SELECT count(*) FROM t");
    stores.old_log().install(CAPTURE).await.unwrap();
    let refused = pair.old_app.execute("INSERT INTO t VALUES (1,'a')", []).unwrap_err();
    assert_eq!(refused.sqlite_error().unwrap().extended_code, rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
    pair.old_app.execute_batch("ROLLBACK; INSERT INTO t VALUES (1,'a')").unwrap();
    assert_eq!(logged(stores.old_log()).await, [key("t", 1)]);
    // The mirror's transaction on this side is never logged, whichever way it goes.
    let tx = stores.old.guarded().unwrap().begin(Scope::Marks).await.unwrap();
    drop(tx);
    let (found, _) = rows(&stores.old, &stores.table(), Image::Canonical).await;
    assert_eq!(found.len(), 1);
}
