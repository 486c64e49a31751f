//! What the mirror writes: levelled sets, unique values that rows exchange, the way back, chunk marks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use changeover::rules::{Rule, RuleKind};
use changeover::store::guard::{Change, Chunk, ChunkState, Guarded, Scope};
use changeover::store::{Image, RowBatch, Store};
use changeover::{Key, Side, StoreError, Value};
use common::*;

const USERS: &str =
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0);";

async fn apply(stores: &Stores, changes: &[Change]) -> changeover::store::guard::Applied {
    let mut tx = stores.new_guarded().begin(Scope::Marks).await.unwrap();
    let applied = tx.apply(changes).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

fn user(id: i64, email: &str, n: i64) -> Change {
    Change { key: key("users", id), row: Some(row(vec![id.into(), email.into(), n.into()])), back: None }
}

fn gone(id: i64) -> Change {
    Change { key: key("users", id), row: None, back: None }
}

#[tokio::test]
async fn a_set_is_levelled_and_what_is_right_already_is_left_alone() {
    let pair = Pair::new(USERS, USERS);
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let applied = apply(&stores, &[user(1, "a", 1), user(2, "b", 2), user(3, "c", 3)]).await;
    assert_eq!((applied.written, applied.deleted, applied.unchanged), (3, 0, 0));
    let applied = apply(&stores, &[user(1, "a", 1), user(2, "b", 9), gone(3), gone(4)]).await;
    assert_eq!((applied.written, applied.deleted, applied.unchanged), (1, 1, 2));
    assert_eq!(ask(&pair.new_app, "SELECT * FROM users"), ["1|'a'|1", "2|'b'|9"]);
}

#[tokio::test]
async fn rows_exchange_unique_values_two_way_three_way_and_pull_each_other_in() {
    let more = "ALTER TABLE users ADD COLUMN own TEXT DEFAULT 'mine';";
    let pair = Pair::new(USERS, &format!("{USERS}{more}"));
    let stores = pair.stores(&[mapping("users", "users")]).await;
    apply(&stores, &[user(1, "a", 1), user(2, "b", 2), user(3, "c", 3)]).await;
    pair.new_app.execute_batch("UPDATE users SET own = 'kept ' || id").unwrap();
    // Two of them exchange theirs.
    assert_eq!(apply(&stores, &[user(1, "b", 1), user(2, "a", 2)]).await.written, 2);
    // One alone asks for the row that is in its way, and nothing is written.
    let alone = apply(&stores, &[user(2, "c", 2), user(9, "z", 1)]).await;
    assert_eq!((alone.written, alone.joins), (0, vec![key("users", 3)]));
    assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM users"), ["3"]);
    // All three in a ring; the columns that the mapping doesn't know stay with their rows.
    let ring = apply(&stores, &[user(1, "c", 1), user(2, "b", 2), user(3, "a", 3)]).await;
    assert_eq!((ring.written, ring.refused.len()), (3, 0));
    assert_eq!(
        ask(&pair.new_app, "SELECT * FROM users"),
        ["1|'c'|1|'kept 1'", "2|'b'|2|'kept 2'", "3|'a'|3|'kept 3'"]
    );
}

#[tokio::test]
async fn a_row_that_the_store_refuses_is_named_and_the_others_are_written() {
    let pair = Pair::new(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, n INTEGER NOT NULL);",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE ON CONFLICT REPLACE, n INTEGER CHECK (n < 10));",
    );
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let applied =
        apply(&stores, &[user(1, "a", 1), user(2, "a", 2), user(3, "c", 30), user(4, "d", 4)]).await;
    assert_eq!(applied.written, 2);
    let named: Vec<Key> = applied.refused.iter().map(|r| r.key.clone()).collect();
    assert!(named.contains(&key("users", 2)) && named.contains(&key("users", 3)), "{named:?}");
    // The table's own REPLACE took nothing away.
    assert_eq!(ask(&pair.new_app, "SELECT id FROM users"), ["1", "4"]);
    // Two rows of the authority's with one value, both unchanged but for the second: named, and the rest goes on.
    let applied = apply(&stores, &[user(1, "a", 1), user(2, "a", 2), user(4, "d", 5)]).await;
    assert_eq!((applied.written, applied.unchanged, applied.refused.len()), (1, 1, 1));
    assert!(applied.refused[0].why.contains("users(1)"), "{}", applied.refused[0].why);
}

#[tokio::test]
async fn a_chain_with_a_refused_row_in_it_names_those_that_depend_on_it() {
    let pair = Pair::new(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, n INTEGER NOT NULL);",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INTEGER CHECK (n < 10));",
    );
    let stores = pair.stores(&[mapping("users", "users")]).await;
    apply(&stores, &[user(1, "a", 1), user(2, "b", 2), user(3, "c", 3)]).await;
    // 1 wants b's value, 2 wants c's, 3 would give it up but is refused by CHECK.
    let applied = apply(&stores, &[user(1, "b", 1), user(2, "c", 2), user(3, "d", 30)]).await;
    assert_eq!((applied.written, applied.refused.len()), (0, 3));
    assert_eq!(ask(&pair.new_app, "SELECT * FROM users"), ["1|'a'|1", "2|'b'|2", "3|'c'|3"]);
}

#[tokio::test]
async fn unique_values_of_partial_and_expression_indexes_are_exchanged_too() {
    let new = format!(
        "{USERS} CREATE UNIQUE INDEX p ON users (n) WHERE n > 0; CREATE UNIQUE INDEX e ON users (lower(email) COLLATE NOCASE);"
    );
    let pair = Pair::new(USERS, &new);
    // Capture refuses the index over an expression; copying and levelling don't.
    let stores = pair.stores_of(pair.plan(&[mapping("users", "users")]).await).await;
    apply(&stores, &[user(1, "a", 1), user(2, "b", 2), user(3, "c", 0), user(4, "d", 0)]).await;
    assert_eq!(apply(&stores, &[user(1, "B", 2)]).await.joins, [key("users", 2)]);
    assert_eq!(apply(&stores, &[user(1, "B", 2), user(2, "A", 1)]).await.written, 2);
}

/// Two rows exchange a unique value, and have a third one's in an index that doesn't hold them.
#[tokio::test]
async fn who_is_in_nobodys_way_by_a_partial_index_stops_no_exchange() {
    let schema = "CREATE TABLE users (id INTEGER PRIMARY KEY, code TEXT UNIQUE, email TEXT, active INTEGER);
                  CREATE UNIQUE INDEX by_email ON users (email) WHERE active;";
    let pair = Pair::new(schema, schema);
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let user = |id: i64, code: &str, email: &str, active: i64| Change {
        key: key("users", id),
        row: Some(row(vec![id.into(), code.into(), email.into(), active.into()])),
        back: None,
    };
    apply(&stores, &[user(1, "a", "x", 0), user(2, "b", "x", 0), user(3, "c", "x", 1)]).await;
    let mut set = vec![user(1, "b", "x", 0), user(2, "a", "x", 0)];
    let mut applied = apply(&stores, &set).await;
    if !applied.joins.is_empty() {
        assert_eq!(applied.joins, [key("users", 3)]);
        set.push(user(3, "c", "x", 1));
        applied = apply(&stores, &set).await;
    }
    assert_eq!((applied.written, applied.refused), (2, vec![]));
    assert_eq!(ask(&pair.new_app, "SELECT code FROM users ORDER BY id"), ["'b'", "'a'", "'c'"]);
    // Once they are in the index too, they really are in each other's way, and are named.
    let applied = apply(&stores, &[user(1, "a", "x", 1), user(2, "b", "x", 0), user(3, "c", "x", 1)]).await;
    assert_eq!(applied.refused.len(), 2, "{:?}", applied.refused);
    assert!(applied.refused.iter().any(|r| r.key == key("users", 1) && r.why.contains("users(3)")));
}

#[tokio::test]
async fn the_followers_triggers_and_foreign_keys_are_silent_for_the_mirror() {
    let old =
        "CREATE TABLE p (id INTEGER PRIMARY KEY, n); CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER);";
    let new = "CREATE TABLE p (id INTEGER PRIMARY KEY, n UNIQUE); CREATE TABLE log (x);\
        CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p ON DELETE CASCADE);\
        CREATE TRIGGER tr AFTER INSERT ON p BEGIN INSERT INTO log VALUES (1); END;";
    let pair = Pair::new(old, new);
    pair.old_app
        .execute_batch("INSERT INTO p VALUES (1,'a'),(2,'b'); INSERT INTO c VALUES (1,1),(2,2)")
        .unwrap();
    let stores = pair.stores(&[mapping("c", "c"), mapping("p", "p")]).await;
    stores.copy().await;
    assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM log"), ["0"]);
    // Parents that exchange a unique value keep their children, and their rows.
    pair.old_app
        .execute_batch(
            "UPDATE p SET n = 'x'; UPDATE p SET n = 'b' WHERE id = 1; UPDATE p SET n = 'a' WHERE id = 2",
        )
        .unwrap();
    stores.level(Side::Old, &[key("p", 1)]).await;
    stores.assert_equal().await;
    assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM c"), ["2"]);
}

#[tokio::test]
async fn going_back_leaves_equal_rows_alone_and_writes_back_what_differs() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, state TEXT, kind TEXT DEFAULT 'none', note TEXT DEFAULT 'n');",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, status TEXT);",
    );
    let mut m = mapping("t", "t");
    m.where_ = Some("kind = 'flight'".into());
    m.set = vec![("status".into(), sql("upper(state)"))];
    m.back = vec![("state".into(), "lower(status)".into()), ("kind".into(), "'flight'".into())];
    pair.old_app
        .execute_batch("INSERT INTO t VALUES (1,'Ok','flight','x'),(2,'No','flight','y'),(3,'Ok','hotel','z'),(4,'q','flight','w')")
        .unwrap();
    let stores = pair.stores(&[m]).await;
    stores.copy().await;
    pair.new_app
        .execute_batch("UPDATE t SET status = 'YES' WHERE id = 2; INSERT INTO t VALUES (3,'X'),(5,'NEW'),(6,'mixed'); DELETE FROM t WHERE id = 4")
        .unwrap();
    let keys: Vec<Key> = (1..=6).map(|id| key("t", id)).collect();
    let applied = stores.level(Side::New, &keys).await;
    assert_eq!((applied.written, applied.deleted, applied.unchanged), (2, 1, 1));
    assert_eq!(
        ask(&pair.old_app, "SELECT * FROM t"),
        ["1|'Ok'|'flight'|'x'", "2|'yes'|'flight'|'y'", "3|'Ok'|'hotel'|'z'", "5|'new'|'flight'|'n'"]
    );
    // 3 would hit a row outside of `where`; 6 doesn't come back as it went.
    let why = |id: i64| applied.refused.iter().find(|r| r.key == key("t", id)).unwrap().why.clone();
    assert!(why(3).contains("where"), "{}", why(3));
    assert!(why(6).contains("image is 'MIXED'"), "{}", why(6));
}

#[tokio::test]
async fn several_old_tables_in_one_new_one_go_back_where_their_constants_say() {
    let old = "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);";
    let pair =
        Pair::new(old, "CREATE TABLE t (src TEXT, id INTEGER, n, PRIMARY KEY (src, id)) WITHOUT ROWID;");
    let mut of_a = mapping("a", "t");
    of_a.set = vec![("src".into(), constant("A"))];
    let mut of_b = mapping("b", "t");
    of_b.set = vec![("src".into(), constant("B"))];
    pair.old_app
        .execute_batch("INSERT INTO a VALUES (1,'a1'); INSERT INTO b VALUES (1,'b1'),(2,'b2')")
        .unwrap();
    let stores = pair.stores(&[of_a, of_b]).await;
    stores.copy().await;
    assert_eq!(ask(&pair.new_app, "SELECT * FROM t"), ["'A'|1|'a1'", "'B'|1|'b1'", "'B'|2|'b2'"]);
    stores.assert_equal().await;
    pair.new_app
        .execute_batch("UPDATE t SET n = src || '!' WHERE id = 1; INSERT INTO t VALUES ('A', 7, 'a7')")
        .unwrap();
    stores.level(Side::New, &[key("a", 1), key("b", 1), key("a", 7), key("b", 7)]).await;
    assert_eq!(ask(&pair.old_app, "SELECT * FROM a"), ["1|'A!'", "7|'a7'"]);
    assert_eq!(ask(&pair.old_app, "SELECT * FROM b"), ["1|'B!'", "2|'b2'"]);
}

#[tokio::test]
async fn consolidated_sources_that_collide_are_named() {
    let old = "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);";
    let pair = Pair::new(old, "CREATE TABLE t (id INTEGER PRIMARY KEY, src TEXT, n);");
    let mut of_a = mapping("a", "t");
    of_a.set = vec![("src".into(), constant("A"))];
    let mut of_b = mapping("b", "t");
    of_b.set = vec![("src".into(), constant("B"))];
    pair.old_app
        .execute_batch("INSERT INTO a VALUES (1,'a1'); INSERT INTO b VALUES (1,'b1'),(2,'b2')")
        .unwrap();
    let stores = pair.stores(&[of_a, of_b]).await;
    let applied = stores.copy().await;
    // The other source's row must come along, or be named as the one in the way.
    assert_eq!(applied.joins, [key("a", 1)]);
    let applied = stores.level(Side::Old, &[key("b", 1), key("b", 2)]).await;
    assert_eq!((applied.written, applied.refused.len()), (1, 1));
    assert!(applied.refused[0].why.contains("a(1)"), "{}", applied.refused[0].why);
}

#[tokio::test]
async fn a_chunks_rows_and_its_mark_are_one_commit() {
    let pair = Pair::new(USERS, USERS);
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let table = stores.table();
    let chunk = |number, state, rows| Chunk {
        table: table.clone(),
        generation: 1,
        number,
        after: None,
        upto: Some(key("users", 5)),
        state,
        rows,
    };
    let guarded = stores.new_guarded();
    assert_eq!(guarded.chunks(&table, 1).await.unwrap(), []);
    let mut tx = guarded.begin(Scope::Marks).await.unwrap();
    tx.mark(&chunk(0, ChunkState::Begun, 0)).await.unwrap();
    tx.commit().await.unwrap();
    let rows = vec![row(vec![1.into(), "a".into(), 1.into()])];
    let mut tx = guarded.begin(Scope::Chunk(&chunk(0, ChunkState::Begun, 0))).await.unwrap();
    tx.load(&table, RowBatch { rows: rows.clone(), refused: vec![] }, false).await.unwrap();
    tx.mark(&chunk(0, ChunkState::Done, 1)).await.unwrap();
    drop(tx);
    assert_eq!(guarded.chunks(&table, 1).await.unwrap(), [chunk(0, ChunkState::Begun, 0)]);
    assert_eq!(ask(&pair.new_app, "SELECT count(*) FROM users"), ["0"]);
    let mut tx = guarded.begin(Scope::Marks).await.unwrap();
    assert_eq!(
        tx.load(&table, RowBatch { rows: rows.clone(), refused: vec![] }, true).await.unwrap().written,
        1
    );
    assert_eq!(tx.load(&table, RowBatch { rows, refused: vec![] }, true).await.unwrap().unchanged, 1);
    tx.mark(&chunk(0, ChunkState::Done, 1)).await.unwrap();
    assert_eq!(tx.chunk(&table, 1, 0).await.unwrap(), Some(chunk(0, ChunkState::Done, 1)));
    assert_eq!(tx.chunk(&table, 1, 1).await.unwrap(), None);
    assert_eq!(tx.delete(&table, &[key("users", 1), key("users", 2)]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    guarded.forget_generations_below(2).await.unwrap();
    assert_eq!(guarded.chunks(&table, 1).await.unwrap(), []);
}

#[tokio::test]
async fn a_guard_keeps_others_out_and_a_dropped_one_lets_them_in() {
    let pair = Pair::new(USERS, USERS);
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let tx = stores.new_guarded().begin(Scope::Marks).await.unwrap();
    let second = stores.new_guarded().begin(Scope::Marks);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), second).await;
    assert!(waited.is_err());
    pair.new_app.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(pair.new_app.execute("INSERT INTO users VALUES (1, 'a', 1)", []).is_err());
    drop(tx);
    stores.new_guarded().begin(Scope::Marks).await.unwrap();
    // And the other way round: a writer of the application's is waited for, then told of.
    let options = changeover_tables::sqlite::SqliteOptions {
        lock_wait: std::time::Duration::from_millis(20),
        ..Default::default()
    };
    let database =
        changeover_tables::sqlite::SqliteDatabase::open("new", pair.new_path(), options).await.unwrap();
    let store =
        changeover_tables::sqlite::SqliteStore::new(database, "move", Side::New, &stores.plan).await.unwrap();
    pair.new_app.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    pair.new_app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = store.begin(Scope::Marks).await.err().unwrap();
    assert!(matches!(busy, StoreError::Busy { .. }) && busy.retryable(), "{busy}");
}

#[tokio::test]
async fn generated_columns_are_not_written_and_take_part_in_nothing() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2) STORED);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2) VIRTUAL, thrice AS (n * 3));",
    );
    pair.old_app.execute_batch("INSERT INTO t (id, n) VALUES (1, 5)").unwrap();
    let stores = pair.stores(&[mapping("t", "t")]).await;
    assert_eq!(stores.new.tables()[0].columns, ["id", "n"]);
    stores.copy().await;
    assert_eq!(ask(&pair.new_app, "SELECT * FROM t"), ["1|5|10|15"]);
    pair.new_app.execute_batch("UPDATE t SET n = 6").unwrap();
    stores.level(Side::New, &[key("t", 1)]).await;
    assert_eq!(ask(&pair.old_app, "SELECT * FROM t"), ["1|6|12"]);
}

#[tokio::test]
async fn a_value_of_a_hundred_megabytes_goes_through() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB);";
    let pair = Pair::new(schema, schema);
    pair.old_app.execute_batch("INSERT INTO t VALUES (1, zeroblob(100000000)), (2, x'01')").unwrap();
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let before = peak_kib();
    assert_eq!(stores.copy().await.written, 2);
    pair.old_app.execute_batch("UPDATE t SET b = randomblob(100000000) WHERE id = 1").unwrap();
    assert_eq!(stores.level(Side::Old, &[key("t", 1)]).await.written, 1);
    let grown = peak_kib() - before;
    assert!(grown < 800_000, "{grown} KiB for a value of 97,657 KiB");
    let sum = |connection| {
        rusqlite::Connection::query_row(
            connection,
            "SELECT length(b), substr(b, 99999000) FROM t WHERE id = 1",
            [],
            |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?)),
        )
        .unwrap()
    };
    assert_eq!(sum(&pair.old_app), sum(&pair.new_app));
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_old_side_is_never_loaded_and_an_unknown_mapping_is_an_error() {
    let pair = Pair::new(USERS, USERS);
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let mut tx = stores.old.begin(Scope::Marks).await.unwrap();
    assert!(tx.load(&stores.table(), RowBatch::default(), false).await.is_err());
    let other = Change { key: key("nobody", 1), row: None, back: None };
    assert!(matches!(tx.apply(&[other]).await, Err(StoreError::Schema { .. })));
    assert!(stores.old.read(&"nobody".into(), &[], Image::Canonical).await.is_err());
}

/// A key that isn't of its column's type: what the rule lets through on the way there it lets through on the way back.
#[tokio::test]
async fn a_key_that_a_rule_carries_goes_both_ways() {
    let notes = "CREATE TABLE notes (k BLOB PRIMARY KEY, note TEXT);";
    let pair = Pair::new(notes, notes);
    let mut m = mapping("notes", "notes");
    m.key = vec![key_column("k", "k")];
    m.rules = vec![Rule { column: "k".into(), kind: RuleKind::Carry }];
    let stores = pair.stores(&[m]).await;
    pair.new_app
        .execute_batch("INSERT INTO notes VALUES ('t', 'text'), (5, 'number'), (x'01', 'bytes')")
        .unwrap();
    let keys = [Value::from("t"), Value::Int(5), Value::Bytes(vec![1])].map(|k| key("notes", k));
    let applied = stores.level(Side::New, &keys).await;
    assert_eq!((applied.written, applied.refused.len()), (3, 0), "{applied:?}");
    assert_eq!(
        ask(&pair.old_app, "SELECT note, typeof(k) FROM notes ORDER BY note"),
        ["'bytes'|'blob'", "'number'|'integer'", "'text'|'text'"]
    );
}
