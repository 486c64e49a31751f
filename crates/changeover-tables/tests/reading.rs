//! What a side says of its rows: by key, in runs, in its own order, and refused one by one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use changeover::rules::{Rule, RuleKind};
use changeover::store::{Image, KeyOrder, KeyRange, Store};
use changeover::value::Opaque;
use changeover::{Key, Value};
use common::*;

const OLD: &str =
    "CREATE TABLE bookings (id INTEGER PRIMARY KEY, state TEXT NOT NULL, price REAL, kind TEXT);";
const NEW: &str = "CREATE TABLE booking (booking_id TEXT PRIMARY KEY NOT NULL, status TEXT NOT NULL, price REAL, \
                   region TEXT NOT NULL) WITHOUT ROWID;";

fn bookings() -> changeover_tables::mapping::TableMapping {
    let mut m = mapping("bookings", "booking");
    m.key = vec![key_column("id", "booking_id")];
    m.where_ = Some("kind = 'flight' -- only these".into());
    m.set = vec![("status".into(), sql("upper(state)")), ("region".into(), constant("eu"))];
    m.back = vec![("state".into(), "lower(status)".into()), ("kind".into(), "'flight'".into())];
    m
}

#[tokio::test]
async fn the_old_side_computes_the_canonical_image_in_the_new_columns_types() {
    let pair = Pair::new(OLD, NEW);
    pair.old_app
        .execute_batch(
            "INSERT INTO bookings VALUES (1,'ok',10,'flight'),(2,'no',1.5,'hotel'),(10,'ok',NULL,'flight')",
        )
        .unwrap();
    let stores = pair.stores(&[bookings()]).await;
    let (found, refused) = rows(&stores.old, &stores.table(), Image::Canonical).await;
    assert_eq!(refused, []);
    assert_eq!(
        found,
        [
            row(vec!["1".into(), "OK".into(), 10.0.into(), "eu".into()]),
            row(vec!["10".into(), "OK".into(), Value::Null, "eu".into()]),
        ]
    );
    // A row outside of `where` is absent; so is one that isn't there.
    let keys = [key("bookings", "10"), key("bookings", "2"), key("bookings", "3")];
    let read = stores.old.read(&stores.table(), &keys, Image::Canonical).await.unwrap();
    assert_eq!(read.rows, [Some(found[1].clone()), None, None]);
    assert!(stores.old.read(&stores.table(), &keys, Image::Back).await.is_err());
}

#[tokio::test]
async fn the_new_side_computes_the_write_back_image_in_the_old_columns_types() {
    let pair = Pair::new(OLD, NEW);
    pair.new_app.execute_batch("INSERT INTO booking VALUES ('1','OK',10,'eu'),('x','OK',1,'eu')").unwrap();
    let stores = pair.stores(&[bookings()]).await;
    let (found, refused) = rows(&stores.new, &stores.table(), Image::Back).await;
    assert_eq!(stores.new.tables()[0].back_columns, ["id", "state", "price", "kind"]);
    assert_eq!(found, [row(vec![1.into(), "ok".into(), 10.0.into(), "flight".into()])]);
    assert_eq!((refused[0].key.clone(), refused[0].column.as_deref()), (key("bookings", "x"), Some("id")));
}

#[tokio::test]
async fn keys_are_ordered_cut_and_located_in_each_sides_own_order() {
    let pair = Pair::new(OLD, NEW);
    for id in 1..=12 {
        pair.old_app.execute("INSERT INTO bookings VALUES (?1,'ok',1,'flight')", [id]).unwrap();
    }
    let stores = pair.stores(&[bookings()]).await;
    assert_eq!(stores.copy().await.written, 12);
    let table = stores.table();
    assert_eq!(stores.old.tables()[0].order, KeyOrder::Own);
    let k = |n: &str| key("bookings", n);
    // 5 rows after the beginning: by number on the old side, by text on the new one.
    assert_eq!(stores.old.cut(&table, None, 5).await.unwrap(), Some(k("5")));
    assert_eq!(stores.new.cut(&table, None, 5).await.unwrap(), Some(k("2")));
    assert_eq!(stores.old.cut(&table, Some(&k("5")), 7).await.unwrap(), Some(k("12")));
    assert_eq!(stores.old.cut(&table, Some(&k("5")), 8).await.unwrap(), None);
    let bounds = [k("5"), k("10")];
    let keys = [k("1"), k("5"), k("6"), k("10"), k("11"), k("999")];
    assert_eq!(stores.old.locate(&table, &keys, &bounds).await.unwrap(), [0, 0, 1, 1, 2, 2]);
    let by_text = [k("10"), k("5")];
    assert_eq!(stores.new.locate(&table, &keys, &by_text).await.unwrap(), [0, 1, 2, 0, 1, 2]);
    let range = KeyRange { after: Some(k("9")), upto: Some(k("11")) };
    let (found, _) = rows_in(&stores.old, &table, &range, Image::Canonical).await;
    assert_eq!(found.iter().map(|r| r.0[0].clone()).collect::<Vec<_>>(), ["10".into(), "11".into()]);
    assert_eq!(stores.old.estimate(&table).await.unwrap(), 12);
}

#[tokio::test]
async fn composite_keys_use_the_index_at_both_ends_of_a_range() {
    let schema =
        "CREATE TABLE seats (flight TEXT, seat INTEGER, who TEXT, PRIMARY KEY (flight, seat)) WITHOUT ROWID;";
    let pair = Pair::new(schema, schema);
    for n in 0..40 {
        pair.old_app
            .execute("INSERT INTO seats VALUES (?1, ?2, 'x')", (format!("F{}", n / 10), n % 10))
            .unwrap();
    }
    let stores = pair.stores(&[mapping("seats", "seats")]).await;
    assert_eq!(stores.old.tables()[0].order, KeyOrder::Binary);
    let k = |f: &str, s: i64| Key::composite("seats", vec![f.into(), s.into()]);
    let table = stores.table();
    assert_eq!(stores.old.cut(&table, Some(&k("F0", 7)), 5).await.unwrap(), Some(k("F1", 2)));
    let range = KeyRange { after: Some(k("F0", 8)), upto: Some(k("F2", 0)) };
    let (found, _) = rows_in(&stores.old, &table, &range, Image::Canonical).await;
    assert_eq!(found.len(), 12);
    assert_eq!(stores.old.locate(&table, &[k("F1", 0), k("F0", 8)], &[k("F0", 8)]).await.unwrap(), [1, 0]);
    let query = "EXPLAIN QUERY PLAN SELECT flight, seat FROM seats WHERE true AND (\"flight\", \"seat\") > ('a', 1) \
                 AND (\"flight\", \"seat\") <= ('b', 2) ORDER BY \"flight\", \"seat\"";
    let plan = ask(&pair.old_app, query);
    assert!(
        plan.len() == 1 && plan[0].contains("SEARCH") && plan[0].contains("(flight,seat)>(?,?)"),
        "{plan:?}"
    );
}

#[tokio::test]
async fn keys_of_text_without_case_are_told_apart_by_their_bytes() {
    let old = "CREATE TABLE users (name TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, n INTEGER);";
    let new = "CREATE TABLE users (name TEXT PRIMARY KEY NOT NULL, n INTEGER);";
    let pair = Pair::new(old, new);
    pair.old_app.execute_batch("INSERT INTO users VALUES ('b',1),('A',2),('C',3)").unwrap();
    let stores = pair.stores(&[mapping("users", "users")]).await;
    let table = stores.table();
    let read =
        stores.old.read(&table, &[key("users", "a"), key("users", "A")], Image::Canonical).await.unwrap();
    assert!(read.rows[0].is_none() && read.rows[1].is_some());
    assert_eq!(stores.old.cut(&table, None, 2).await.unwrap(), Some(key("users", "b")));
    let bounds = [key("users", "b")];
    let keys = [key("users", "A"), key("users", "B"), key("users", "c")];
    assert_eq!(stores.old.locate(&table, &keys, &bounds).await.unwrap(), [0, 0, 1]);
    assert_eq!(stores.old.tables()[0].order, KeyOrder::Own);
}

#[tokio::test]
async fn a_value_of_another_type_than_the_columns_is_refused_by_name_or_carried_by_rule() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, note TEXT);";
    let pair = Pair::new(schema, schema);
    pair.old_app
        .execute_batch("INSERT INTO t VALUES (1,7,'a'),(2,'seven','b'),(3,'8','c'),(4,9.0,5)")
        .unwrap();
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let (found, refused) = rows(&stores.old, &stores.table(), Image::Canonical).await;
    assert_eq!(found.len(), 3);
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0].key, refused[0].column.as_deref()), (&key("t", 2), Some("n")));
    assert_eq!(refused[0].value, Some("seven".into()));

    let mut carried = mapping("t", "t");
    carried.rules = vec![Rule { column: "n".into(), kind: RuleKind::Carry }];
    let stores = pair.stores(&[carried]).await;
    assert_eq!(stores.copy().await.written, 4);
    assert_eq!(ask(&pair.new_app, "SELECT n FROM t"), ["7", "'seven'", "8", "9"]);
    stores.assert_equal().await;
}

#[tokio::test]
async fn a_strict_table_takes_what_its_types_allow_and_no_rule_changes_that() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n, x);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, x ANY) STRICT;",
    );
    pair.old_app.execute_batch("INSERT INTO t VALUES (1,'5','5'),(2,'five',5),(3,x'00',x'00')").unwrap();
    let mut m = mapping("t", "t");
    m.rules = vec![Rule { column: "n".into(), kind: RuleKind::Carry }];
    let stores = pair.stores(&[m]).await;
    let applied = stores.copy().await;
    assert_eq!((applied.written, applied.refused.len()), (1, 2));
    assert_eq!(ask(&pair.new_app, "SELECT id, n, x FROM t"), ["1|5|'5'"]);
}

#[tokio::test]
async fn a_row_over_which_an_expression_fails_is_named_and_the_scan_goes_on() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, doc TEXT);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);",
    );
    for id in 1..=20 {
        let doc = if id % 9 == 0 { "{broken".to_owned() } else { format!("{{\"name\": \"n{id}\"}}") };
        pair.old_app.execute("INSERT INTO t VALUES (?1, ?2)", (id, doc)).unwrap();
    }
    let mut m = mapping("t", "t");
    m.set = vec![("name".into(), sql("json_extract(doc, '$.name')"))];
    m.where_ = Some("json_extract(doc, '$.name') <> 'n5'".into());
    let stores = pair.stores(&[m]).await;
    let (found, refused) = rows(&stores.old, &stores.table(), Image::Canonical).await;
    assert_eq!(found.len(), 17);
    assert_eq!(refused.iter().map(|r| r.key.clone()).collect::<Vec<_>>(), [key("t", 9), key("t", 18)]);
    assert!(refused[0].why.contains("malformed JSON"), "{}", refused[0].why);
    let read = stores.old.read(&stores.table(), &[key("t", 9), key("t", 1)], Image::Canonical).await.unwrap();
    assert_eq!((read.refused.len(), read.rows[1].is_some()), (1, true));
}

#[tokio::test]
async fn rows_whose_key_is_null_or_does_not_survive_the_conversion_are_named() {
    let pair = Pair::new(
        "CREATE TABLE t (code TEXT UNIQUE, n INTEGER);",
        "CREATE TABLE t (code INTEGER PRIMARY KEY, n INTEGER);",
    );
    pair.old_app.execute_batch("INSERT INTO t VALUES ('7',1),(NULL,2),('007',3),('x',4),(NULL,5)").unwrap();
    let mut m = mapping("t", "t");
    m.key = vec![key_column("code", "code")];
    let stores = pair.stores(&[m]).await;
    let (found, refused) = rows(&stores.old, &stores.table(), Image::Canonical).await;
    assert_eq!(found, [row(vec![7.into(), 1.into()])]);
    assert_eq!(refused.len(), 4);
    assert_eq!(refused.iter().filter(|r| r.why.contains("is NULL")).count(), 2);
    assert!(refused.iter().any(|r| r.key == key("t", "007") && r.why.contains("found again")));
    assert!(refused.iter().any(|r| r.key == key("t", "x") && r.column.as_deref() == Some("code")));
}

#[tokio::test]
async fn text_that_is_not_utf8_passes_as_it_is() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT);";
    let pair = Pair::new(schema, schema);
    pair.old_app
        .execute_batch("INSERT INTO t VALUES (1, CAST(x'66ff' AS TEXT)), (2, CAST(x'6100' AS TEXT))")
        .unwrap();
    let stores = pair.stores(&[mapping("t", "t")]).await;
    assert_eq!(stores.copy().await.written, 2);
    stores.assert_equal().await;
    assert_eq!(ask(&pair.new_app, "SELECT typeof(s), hex(s) FROM t"), ["'text'|'66FF'", "'text'|'6100'"]);
    let (found, _) = rows(&stores.new, &stores.table(), Image::Canonical).await;
    let opaque = Opaque { kind: "sqlite: text that is not UTF-8".into(), bytes: vec![0x66, 0xff] };
    assert_eq!(found[0].0[1], Value::Opaque(Box::new(opaque)));
}

#[tokio::test]
async fn a_scan_sees_one_state_and_goes_on_while_others_write() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY);";
    let pair = Pair::new(schema, schema);
    for id in 0..100 {
        pair.old_app.execute("INSERT INTO t VALUES (?1)", [id]).unwrap();
    }
    let stores = pair.stores(&[mapping("t", "t")]).await;
    let budget = changeover::store::BatchBudget { rows: 10, bytes: 1 << 20 };
    let mut stream =
        stores.old.scan(&stores.table(), &KeyRange::default(), Image::Canonical, budget).await.unwrap();
    let mut seen = stream.next().await.unwrap().unwrap().rows.len();
    pair.old_app.execute("DELETE FROM t", []).unwrap();
    while let Some(batch) = stream.next().await.unwrap() {
        seen += batch.rows.len();
    }
    assert_eq!(seen, 100);
    // Now: a new call sees what was committed before it.
    assert_eq!(rows(&stores.old, &stores.table(), Image::Canonical).await.0, []);
}
