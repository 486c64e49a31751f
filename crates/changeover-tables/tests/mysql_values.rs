//! Values of every type that MariaDB has, at the edges of what each holds: read, and written again by each road there is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use changeover::store::guard::{Applied, Change, Chunk, ChunkState, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, RowBatch, Store};
use changeover::value::{Bits, Date, Decimal, Instant, Time, Timestamp};
use changeover::{Key, Row, Side, TableName, Value};
use changeover_tables::database::{Database as _, SideStore};
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};

use changeover_testkit::servers::MariaDb;

const TABLE: &str = "CREATE TABLE things (id BIGINT PRIMARY KEY, \
    i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED ZEROFILL, i32 INT, u32 INT UNSIGNED, \
    i64 BIGINT, u64 BIGINT UNSIGNED, dec65 DECIMAL(65, 30), money DECIMAL(10, 2), single FLOAT, real_ DOUBLE, \
    bit1 BIT(1), bit9 BIT(9), bit64 BIT(64), y YEAR, da DATE, dt DATETIME(6), dt0 DATETIME, ts TIMESTAMP(6) NULL, ti TIME(6), \
    ch CHAR(10), vc VARCHAR(50), tx LONGTEXT, l1 VARCHAR(50) CHARACTER SET latin1, w VARCHAR(50) CHARACTER SET utf16, \
    u3 VARCHAR(50) CHARACTER SET utf8mb3, bi BINARY(5), vb VARBINARY(50), bl LONGBLOB, \
    e ENUM('a', 'it''s', 'é', 'b\\\\c') CHARACTER SET latin1, s SET('x', 'y z', 'ü') CHARACTER SET latin1, \
    j JSON, u UUID, i6 INET6, g GEOMETRY)";

/// As an application may have filled it that lets anything pass.
const LENIENT: &str = "SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'; ";

/// A column, the value as SQL, and what it is in the middle form.
fn values() -> Vec<(&'static str, &'static str, Value)> {
    let decimal = |text: &str| Value::Decimal(Decimal::parse(text).unwrap());
    let bits = |text: &str| Value::Bits(Box::new(Bits::parse(text).unwrap()));
    let set = |labels: &[&str]| Value::Set(labels.iter().map(|label| (*label).into()).collect());
    let unread = |kind: &'static str, text: &str| Value::opaque(kind, text.as_bytes().to_vec());
    let time = |text: &str| Value::Time(Time::parse(text).unwrap());
    let timestamp = |text: &str| Value::Timestamp(Timestamp::parse(text).unwrap());
    let instant = |text: &str| Value::Instant(Instant::parse(text).unwrap());
    let odd = "\u{0}\u{1}\t\n\r\u{1a}\\\\N'\"`%_";
    let mut all = vec![
        ("i8", "-128", Value::Int(-128)),
        ("i8", "127", Value::Int(127)),
        ("u8", "255", Value::Int(255)),
        ("i16", "-32768", Value::Int(-32_768)),
        ("i24", "-8388608", Value::Int(-8_388_608)),
        ("u24", "7", Value::Int(7)),
        ("i32", "-2147483648", Value::Int(i32::MIN.into())),
        ("u32", "4294967295", Value::Int(u32::MAX.into())),
        ("i64", "-9223372036854775808", Value::Int(i64::MIN)),
        ("i64", "9223372036854775807", Value::Int(i64::MAX)),
        ("u64", "18446744073709551615", Value::Uint(u64::MAX)),
        ("u64", "9223372036854775808", Value::Uint(1 << 63)),
        ("u64", "5", Value::Int(5)),
        (
            "dec65",
            "'12345678901234567890123456789012345.123456789012345678901234567890'",
            decimal("12345678901234567890123456789012345.123456789012345678901234567890"),
        ),
        ("dec65", "-0.000000000000000000000000000001", decimal("-0.000000000000000000000000000001")),
        ("money", "-1.5", decimal("-1.50")),
        ("money", "0", decimal("0.00")),
        ("single", "0.1", Value::Single(0.1)),
        ("single", "16777217", Value::Single(16_777_216.0)),
        ("single", "3.40282346638528859812e38", Value::Single(f32::MAX)),
        ("single", "1.40129846432481707092e-45", Value::Single(f32::from_bits(1))),
        ("single", "1.17549421069244107549e-38", Value::Single(f32::from_bits(0x007f_ffff))),
        ("real_", "0.1e0", Value::Real(0.1)),
        ("real_", "-0e0", Value::Real(-0.0)),
        ("real_", "1.7976931348623157e308", Value::Real(f64::MAX)),
        ("real_", "2.2250738585072014e-308", Value::Real(f64::MIN_POSITIVE)),
        ("real_", "0.30000000000000004e0", Value::Real(0.1 + 0.2)),
        ("bit1", "b'1'", bits("1")),
        ("bit9", "b'100000001'", bits("100000001")),
        ("bit9", "b'001100001'", bits("001100001")),
        ("bit64", "18446744073709551615", bits(&"1".repeat(64))),
        ("bit64", "0", bits(&"0".repeat(64))),
        ("y", "1901", Value::Int(1_901)),
        ("y", "2155", Value::Int(2_155)),
        ("y", "0", Value::Int(0)),
        ("da", "'1000-01-01'", Value::Date(Date::parse("1000-01-01").unwrap())),
        ("da", "'0001-01-01'", Value::Date(Date::parse("0001-01-01").unwrap())),
        ("da", "'0000-03-01'", Value::Date(Date::parse("0000-03-01").unwrap())),
        ("da", "'9999-12-31'", Value::Date(Date::parse("9999-12-31").unwrap())),
        ("da", "'0000-00-00'", unread("mysql: zero date", "0000-00-00")),
        ("da", "'2024-00-10'", unread("mysql: partial date", "2024-00-10")),
        ("da", "'2024-02-31'", unread("mysql: impossible date", "2024-02-31")),
        ("dt", "'2026-11-22 12:34:56.123456'", timestamp("2026-11-22 12:34:56.123456")),
        ("dt", "'9999-12-31 23:59:59.999999'", timestamp("9999-12-31 23:59:59.999999")),
        ("dt", "'0000-00-00'", unread("mysql: zero timestamp", "0000-00-00 00:00:00.000000")),
        ("dt", "'2024-10-00 01:02:03.4'", unread("mysql: partial timestamp", "2024-10-00 01:02:03.400000")),
        ("dt0", "'1969-12-31 23:59:59'", timestamp("1969-12-31 23:59:59")),
        ("dt0", "'2024-02-30 00:00:01'", unread("mysql: impossible timestamp", "2024-02-30 00:00:01.000000")),
        ("ts", "'1970-01-01 00:00:01'", instant("1970-01-01T00:00:01Z")),
        ("ts", "'2038-01-19 03:14:07.999999'", instant("2038-01-19T03:14:07.999999Z")),
        ("ts", "0", unread("mysql: zero instant", "0000-00-00 00:00:00.000000")),
        ("ti", "'838:59:59.999999'", time("838:59:59.999999")),
        ("ti", "'-838:59:59.999999'", time("-838:59:59.999999")),
        ("ti", "'-00:00:00.000001'", time("-00:00:00.000001")),
        ("ti", "'00:00:00'", time("00:00:00")),
        ("ti", "'24:00:00'", time("24:00:00")),
        ("ch", "'a  '", "a".into()),
        ("ch", "''", "".into()),
        ("vc", "'a  '", "a  ".into()),
        ("vc", "''", "".into()),
        ("vc", "'NULL'", "NULL".into()),
        ("vc", "CONVERT(x'5c4e' USING utf8mb4)", "\\N".into()),
        ("vc", "CONVERT(x'F09F8EACC3A9' USING utf8mb4)", "🎬é".into()),
        ("tx", "CONVERT(x'0001090a0d1a5c5c4e272260255f' USING utf8mb4)", odd.into()),
        ("l1", "CONVERT(x'C3A9E282ACC281' USING utf8mb4)", "é€\u{81}".into()),
        ("w", "CONVERT(x'F09F8EAC' USING utf8mb4)", "🎬".into()),
        ("u3", "CONVERT(x'E282AC' USING utf8mb4)", "€".into()),
        ("bi", "x'00ff'", vec![0_u8, 0xff, 0, 0, 0].into()),
        ("vb", "x'00095c0a4eff'", vec![0_u8, 9, 0x5c, 10, 0x4e, 0xff].into()),
        ("vb", "''", Vec::new().into()),
        ("bl", "x'c328e28281'", vec![0xc3_u8, 0x28, 0xe2, 0x82, 0x81].into()),
        ("e", "'it''s'", "it's".into()),
        ("e", "CONVERT(x'C3A9' USING utf8mb4)", "é".into()),
        ("e", "4", "b\\c".into()),
        ("s", "''", set(&[])),
        ("s", "7", set(&["x", "y z", "ü"])),
        ("s", "2", set(&["y z"])),
        (
            "j",
            "'{\"b\": 1.0, \"a\": [1e400, \"\\\\n\"],  \"a\": null}'",
            Value::Json("{\"b\": 1.0, \"a\": [1e400, \"\\n\"],  \"a\": null}".into()),
        ),
        (
            "u",
            "'6f1e4c2a-0000-4000-8000-0123456789ab'",
            Value::Uuid([0x6f, 0x1e, 0x4c, 0x2a, 0, 0, 0x40, 0, 0x80, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab]),
        ),
        ("i6", "'2001:DB8::1'", "2001:db8::1".into()),
    ];
    // A point as the server keeps it: the number of its coordinate system, and then as everywhere.
    let point = "x'E6100000010100000000000000000000400000000000000840'";
    let bytes = (1..point.len() / 2).map(|at| u8::from_str_radix(&point[2 * at..2 * at + 2], 16));
    all.push(("g", point, Value::opaque("mysql: geometry", bytes.collect::<Result<_, _>>().unwrap())));
    all
}

async fn server() -> &'static MariaDb {
    tokio::task::spawn_blocking(MariaDb::shared).await.unwrap()
}

async fn sql(database: &str, sql: &str) -> String {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || MariaDb::shared().sql(&database, &sql)).await.unwrap()
}

async fn database(hint: &str, table: &str) -> String {
    let server = server().await;
    let name = server.create_database(hint);
    sql(&name, table).await;
    name
}

async fn open(store: &str, database: &str, load_files: bool) -> Arc<MysqlDatabase> {
    let options = MysqlOptions { lock_wait: Duration::from_secs(1), sessions: 8, load_files };
    MysqlDatabase::open(store, &server().await.url(database), options).await.unwrap()
}

/// Both sides of a migration of one table.
async fn sides(
    table: &str,
    old: &str,
    new: &str,
    load_files: bool,
) -> (Arc<dyn SideStore>, Arc<dyn SideStore>) {
    let (old, new) = (open("old", old, load_files).await, open("new", new, load_files).await);
    let catalogs = [old.catalog().await.unwrap(), new.catalog().await.unwrap()];
    let mapping = TableMapping::new(TableRef::new("old", table), TableRef::new("new", table));
    let plan = plan(&[mapping], &catalogs, Mirroring::CopyOnly);
    assert!(plan.is_sound(), "{:?}", plan.findings);
    (old.side("move", Side::Old, &plan).await.unwrap(), new.side("move", Side::New, &plan).await.unwrap())
}

async fn scanned(store: &dyn Store, table: &'static str) -> RowBatch {
    let mut stream = store
        .scan(&table.into(), &KeyRange::default(), Image::Canonical, BatchBudget::default())
        .await
        .unwrap();
    let mut all = RowBatch::default();
    while let Some(batch) = stream.next().await.unwrap() {
        all.rows.extend(batch.rows);
        all.refused.extend(batch.refused);
    }
    all
}

fn chunk(table: &'static str) -> Chunk {
    Chunk {
        table: table.into(),
        generation: 1,
        number: 0,
        after: None,
        upto: None,
        state: ChunkState::Begun,
        rows: 0,
    }
}

async fn loaded(store: &dyn Store, table: &'static str, rows: Vec<Row>, replace: bool) -> Applied {
    let chunk = chunk(table);
    let mut tx = store.guarded().unwrap().begin(Scope::Chunk(&chunk)).await.unwrap();
    let applied = tx.load(&table.into(), RowBatch { rows, refused: Vec::new() }, replace).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

/// The columns in which two databases' tables differ, as the server itself compares them.
async fn differing(columns: &[String], old: &str, new: &str) -> Vec<String> {
    let mut differing = Vec::new();
    for c in columns {
        let query = format!(
            "SELECT COUNT(*) FROM {old}.things a LEFT JOIN {new}.things b ON a.id = b.id \
             WHERE NOT (a.`{c}` <=> b.`{c}` AND CAST(a.`{c}` AS BINARY) <=> CAST(b.`{c}` AS BINARY))"
        );
        if sql(old, &query).await.trim() != "0" {
            differing.push(c.clone());
        }
    }
    differing
}

async fn filled(hint: &str) -> String {
    let name = database(hint, TABLE).await;
    let mut script = LENIENT.to_owned();
    for (at, (column, value, _)) in values().iter().enumerate() {
        script.push_str(&format!("INSERT INTO things (id, {column}) VALUES ({at}, {value}); "));
    }
    sql(&name, &script).await;
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_is_read_as_what_it_is() {
    let name = filled("read").await;
    let (old, _) = sides("things", &name, &database("unused", TABLE).await, true).await;
    let columns = old.tables()[0].columns.clone();
    let all = scanned(&*old, "things").await;
    assert!(all.refused.is_empty(), "{:?}", all.refused);
    let expected = values();
    assert_eq!(all.rows.len(), expected.len());
    for (row, (column, written, value)) in all.rows.iter().zip(&expected) {
        let at = columns.iter().position(|c| c == column).unwrap();
        assert_eq!(row.0[at], *value, "{column}: {written}");
    }
}

/// Each road that leads into a table leaves there what was in the other, to the last bit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_is_written_as_it_was_by_each_road() {
    let name = filled("source").await;
    for (road, load_files, replace) in
        [("a file", true, false), ("statements of many rows", false, false), ("row by row", true, true)]
    {
        let copy = database("copy", TABLE).await;
        let (old, new) = sides("things", &name, &copy, load_files).await;
        let rows = scanned(&*old, "things").await.rows;
        let count = rows.len() as u64;
        let applied = loaded(&*new, "things", rows.clone(), replace).await;
        assert_eq!(applied, Applied { written: count, ..Applied::default() }, "{road}");
        let columns = old.tables()[0].columns.clone();
        assert_eq!(differing(&columns, &name, &copy).await, Vec::<String>::new(), "{road}");
        assert_eq!(scanned(&*new, "things").await.rows, rows, "{road}");
    }
}

/// An update has parameters of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_may_be_updated() {
    let (name, copy) = (filled("source").await, database("copy", TABLE).await);
    let (old, new) = sides("things", &name, &copy, true).await;
    let rows = scanned(&*old, "things").await.rows;
    sql(&copy, &format!("INSERT INTO things (id) SELECT id FROM {name}.things")).await;
    let changes: Vec<Change> = rows
        .iter()
        .map(|row| Change { key: Key::new("things", row.0[0].clone()), row: Some(row.clone()), back: None })
        .collect();
    let keys: Vec<Key> = changes.iter().map(|change| change.key.clone()).collect();
    let mut tx = new.guarded().unwrap().begin(Scope::Keys(&keys)).await.unwrap();
    let applied = tx.apply(&changes).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((applied.written, applied.refused), (rows.len() as u64, Vec::new()));
    assert_eq!(differing(&old.tables()[0].columns, &name, &copy).await, Vec::<String>::new());
}

/// LOAD DATA makes everything fit and leaves out what it can't: that is never taken for done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_would_lose_is_refused_by_name() {
    const WIDE: &str = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT, c VARCHAR(20) UNIQUE)";
    const NARROW: &str =
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT CHECK (b < 10), c VARCHAR(20) UNIQUE)";
    for load_files in [true, false] {
        let (name, copy) = (database("wide", WIDE).await, database("narrow", NARROW).await);
        sql(&name, "INSERT INTO t VALUES (1, 'x', 5, 'p'), (2, 'y', 10, 'q'), (3, 'z', 7, 'r')").await;
        sql(&copy, "INSERT INTO t VALUES (9, 'taken', 1, 'R')").await;
        let (old, new) = sides("t", &name, &copy, load_files).await;
        let rows = scanned(&*old, "t").await.rows;
        let applied = loaded(&*new, "t", rows.clone(), false).await;
        // The row that is in the way of the third is to join it; nothing is written before.
        assert_eq!(applied.joins, [Key::new("t", Value::Int(9))], "by a file: {load_files}");
        sql(&copy, "DELETE FROM t").await;
        let applied = loaded(&*new, "t", rows, false).await;
        assert_eq!(applied.written, 2);
        let refused: Vec<&Key> = applied.refused.iter().map(|refusal| &refusal.key).collect();
        assert_eq!(refused, [&Key::new("t", Value::Int(2))]);
        assert_eq!(
            sql(&copy, "SELECT id FROM t ORDER BY id").await.split_whitespace().collect::<Vec<_>>(),
            ["1", "3"]
        );
    }
}

/// An enumeration's value that is none of its labels, which a lenient session may have stored, is nobody's empty text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_none_is_refused() {
    const LABELS: &str = "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a', 'b'))";
    let (name, copy) = (database("labels", LABELS).await, database("labels", LABELS).await);
    sql(&name, &format!("{LENIENT} INSERT INTO t VALUES (1, 'a'), (2, 'nonsense')")).await;
    let (old, new) = sides("t", &name, &copy, true).await;
    let applied = loaded(&*new, "t", scanned(&*old, "t").await.rows, false).await;
    assert_eq!(applied.written, 1);
    assert_eq!(applied.refused.len(), 1, "{applied:?}");
    assert_eq!(applied.refused[0].key, Key::new("t", Value::Int(2)));
}

/// The key of a row, in one column that may be anything a key is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_found_by_keys_of_every_type() {
    for (ty, values) in [
        (
            "DECIMAL(40, 10)",
            "(123456789012345678901234567890.0000000001), (123456789012345678901234567890.0000000002), (0)",
        ),
        ("BIGINT UNSIGNED", "(0), (9223372036854775808), (18446744073709551615)"),
        ("DOUBLE", "(0.1), (0.30000000000000004), (-1e300)"),
        ("VARCHAR(20) COLLATE utf8mb4_general_ci", "(''), ('a'), ('É'), ('b\\t')"),
        ("VARCHAR(20) COLLATE utf8mb4_nopad_bin", "(''), ('a'), ('a '), ('A'), ('a\\t'), ('\\0')"),
        ("VARCHAR(20) CHARACTER SET latin1", "('é'), ('z'), ('ss')"),
        ("CHAR(5)", "('a'), ('b'), ('')"),
        ("VARBINARY(20)", "(''), (x'00'), (x'ff00'), ('a')"),
        ("BINARY(3)", "(x'00'), (x'ff'), ('abc')"),
        ("DATE", "('2024-01-01'), ('0000-00-00'), ('9999-12-31')"),
        ("DATETIME(6)", "('2024-01-01 00:00:00.000001'), ('2024-01-01')"),
        ("TIMESTAMP(3)", "('2024-01-01 00:00:00.001'), (0)"),
        ("TIME(1)", "('-838:59:59.9'), ('00:00:00'), ('24:00:00.1')"),
        (
            "UUID",
            "('6f1e4c2a-0000-4000-8000-0123456789ab'), ('00000000-0000-1000-8000-000000000001'), \
            ('ffffffff-0000-7000-8000-000000000000'), ('10000000-0000-4000-8000-000000000000')",
        ),
        ("ENUM('z', 'a', 'm')", "('a'), ('m'), ('z')"),
        ("SET('z', 'a', 'm')", "('a'), ('z,m'), ('')"),
        ("BIT(9)", "(b'1'), (b'100000000')"),
        ("YEAR", "(1901), (2000), (2155)"),
        ("INET6", "('::1'), ('2001:db8::2')"),
    ] {
        let table = format!("CREATE TABLE k (k {ty} NOT NULL PRIMARY KEY, n INT)");
        let (name, copy) = (database("keys", &table).await, database("keys", &table).await);
        sql(&name, &format!("{LENIENT} INSERT INTO k (k) VALUES {values}")).await;
        let (old, new) = sides("k", &name, &copy, true).await;
        let rows = scanned(&*old, "k").await.rows;
        let table: TableName = "k".into();
        let keys: Vec<Key> = rows.iter().map(|row| Key::new("k", row.0[0].clone())).collect();
        assert!(keys.len() >= 2, "{ty}");
        let found = old.read(&table, &keys, Image::Canonical).await.unwrap();
        assert_eq!(found.rows, rows.iter().cloned().map(Some).collect::<Vec<_>>(), "{ty}");
        // Each key is in the chunk that ends with it.
        let places = old.locate(&table, &keys, &keys).await.unwrap();
        assert_eq!(places, (0..keys.len()).collect::<Vec<_>>(), "{ty}: {keys:?}");
        for (at, key) in keys.iter().enumerate() {
            let range = KeyRange { after: Some(key.clone()), upto: None };
            let mut stream =
                old.scan(&table, &range, Image::Canonical, BatchBudget::default()).await.unwrap();
            let after = stream.next().await.unwrap().map_or(0, |batch| batch.rows.len());
            assert_eq!(after, keys.len() - at - 1, "{ty}: after {key}");
            assert_eq!(old.cut(&table, Some(key), 1).await.unwrap().as_ref(), keys.get(at + 1), "{ty}");
        }
        // Written, and then one of them taken away: that one alone.
        assert_eq!(loaded(&*new, "k", rows.clone(), false).await.written, rows.len() as u64, "{ty}");
        let mut tx = new.guarded().unwrap().begin(Scope::Keys(&keys)).await.unwrap();
        let gone = Change { key: keys[0].clone(), row: None, back: None };
        assert_eq!(tx.apply(&[gone]).await.unwrap().deleted, 1, "{ty}");
        tx.commit().await.unwrap();
        assert_eq!(scanned(&*new, "k").await.rows, rows[1..], "{ty}");
    }
}
