//! SQLite on one side, and on the other a database that insists on its types: rows go there in its types, and are found here by
//! keys in them. The other side is a second file that only says of itself that it is such a database.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use std::sync::Arc;

use changeover::keyed::slot_text;
use changeover::protocol::slots::Slots;
use changeover::rules::{RoundTo, Rule, RuleKind};
use changeover::store::guard::{Change, Scope};
use changeover::store::{Image, KeyRange, Store};
use changeover::value::{Decimal, Timestamp};
use changeover::{Key, Row, Side, Value};
use changeover_tables::catalog::{Catalog, Domain};
use changeover_tables::mapping::TableMapping;
use changeover_tables::plan::{Mirroring, Plan, plan};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};
use changeover_tables::types::{Charset, Exact, ExactType, Span, TextType};
use common::*;

const STRICT: [(&str, Exact); 5] = [
    ("id", Exact::Uuid),
    ("price", Exact::Decimal { precision: Some(10), scale: Some(2) }),
    ("paid", Exact::Bool),
    ("at", Exact::Timestamp(Span { digits: 3, min: 0, max: i64::MAX })),
    (
        "note",
        Exact::Text(TextType {
            max_chars: Some(5),
            max_bytes: None,
            nul: false,
            padded: false,
            charset: Charset::Utf8,
        }),
    ),
];

const TABLE: &str = "CREATE TABLE orders (id TEXT PRIMARY KEY NOT NULL, price REAL, paid INTEGER NOT NULL, at TEXT, note TEXT)";
const ONE: &str = "00000000-0000-0000-0000-000000000001";
const TWO: &str = "00000000-0000-0000-0000-000000000002";
const THREE: &str = "00000000-0000-0000-0000-000000000003";

fn insist(catalog: &mut Catalog, types: &[(&str, Exact)]) {
    for column in catalog.tables.iter_mut().flat_map(|table| &mut table.columns) {
        if let Some((_, of)) = types.iter().find(|(name, _)| *name == column.name) {
            column.domain = Domain::Exact(Arc::new(ExactType { engine: "postgres", of: of.clone() }));
        }
    }
}

/// The plan of a migration in which one side has these types.
async fn plan_with(pair: &Pair, strict: Side, types: &[(&str, Exact)], mapping: TableMapping) -> Plan {
    let catalog = async |store, path| {
        let database = SqliteDatabase::open(store, path, SqliteOptions::default()).await.unwrap();
        database.catalog().await.unwrap()
    };
    let mut catalogs = [catalog("old", pair.old_path()).await, catalog("new", pair.new_path()).await];
    insist(&mut catalogs[usize::from(strict == Side::New)], types);
    let plan = plan(&[mapping], &catalogs, Mirroring::Capture);
    assert!(plan.is_sound(), "{:#?}", plan.findings);
    plan
}

async fn sqlite(pair: &Pair, side: Side, plan: &Plan) -> SqliteStore {
    let (name, path) = match side {
        Side::Old => ("old", pair.old_path()),
        Side::New => ("new", pair.new_path()),
    };
    let database = SqliteDatabase::open(name, path, SqliteOptions::default()).await.unwrap();
    SqliteStore::new(database, "move", side, plan).await.unwrap()
}

fn uuid(text: &str) -> Value {
    Value::Uuid(changeover::value::parse_uuid(text).unwrap())
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Decimal::parse(text).unwrap())
}

fn at(text: &str) -> Value {
    Value::Timestamp(Timestamp::parse(text).unwrap())
}

/// Two rows that go over as they are, and one that doesn't.
async fn orders() -> (Pair, SqliteStore) {
    let pair = Pair::new(TABLE, TABLE);
    let rows = format!(
        "INSERT INTO orders VALUES ('{ONE}', 1.5, 1, '2026-11-22 10:00:00.5', 'a'), ('{TWO}', NULL, 0, NULL, NULL), \
         ('{THREE}', 1.005, 2, '2026-11-22', 'too long')"
    );
    pair.old_app.execute_batch(&rows).unwrap();
    let plan = plan_with(&pair, Side::New, &STRICT, mapping("orders", "orders")).await;
    let old = sqlite(&pair, Side::Old, &plan).await;
    (pair, old)
}

fn first() -> Row {
    row(vec![uuid(ONE), decimal("1.50"), true.into(), at("2026-11-22 10:00:00.5"), "a".into()])
}

fn second() -> Row {
    row(vec![uuid(TWO), Value::Null, false.into(), Value::Null, Value::Null])
}

#[tokio::test]
async fn rows_go_over_in_the_other_sides_types_or_are_refused_by_name() {
    let (_pair, old) = orders().await;
    let table = old.tables()[0].table.clone();
    let (found, refused) = rows(&old, &table, Image::Canonical).await;
    assert_eq!(found, [first(), second()]);
    assert_eq!(refused.len(), 1);
    let refusal = &refused[0];
    assert_eq!((&refusal.key, refusal.column.as_deref()), (&key("orders", uuid(THREE)), Some("price")));
    assert_eq!(refusal.value, Some(Value::Real(1.005)));
    for said in [
        "more than 2 digits after the point (price REAL): mend the row",
        "rules = [{ column = \"price\", tolerance = … }]; and an integer other than 0 and 1 in a column for booleans \
         (paid INTEGER)",
        "; and text of more than 5 characters (note TEXT)",
    ] {
        assert!(refusal.why.contains(said), "{}", refusal.why);
    }
}

#[tokio::test]
async fn rows_are_found_by_keys_of_the_other_side() {
    let (_pair, old) = orders().await;
    let table = old.tables()[0].table.clone();
    let keys =
        [key("orders", uuid(TWO)), key("orders", uuid(ONE)), key("orders", uuid(&ONE.replace('1', "9")))];
    let read = old.read(&table, &keys, Image::Canonical).await.unwrap();
    assert_eq!((read.rows, read.refused), (vec![Some(second()), Some(first()), None], vec![]));
    // Ranges and places too.
    let cut = old.cut(&table, None, 1).await.unwrap();
    assert_eq!(cut, Some(keys[1].clone()));
    assert_eq!(old.cut(&table, cut.as_ref(), 1).await.unwrap(), Some(keys[0].clone()));
    let range = KeyRange { after: Some(keys[1].clone()), upto: Some(keys[0].clone()) };
    assert_eq!(rows_in(&old, &table, &range, Image::Canonical).await.0, [second()]);
    assert_eq!(old.locate(&table, &keys, &[keys[1].clone(), keys[0].clone()]).await.unwrap(), [1, 0, 2]);
}

#[tokio::test]
async fn a_key_that_would_come_back_in_another_spelling_is_refused() {
    let (pair, old) = orders().await;
    let spelled = "ABCDEF00-0000-0000-0000-000000000000";
    pair.old_app.execute("INSERT INTO orders VALUES (?1, 1, 1, NULL, NULL)", [spelled]).unwrap();
    let (_, refused) = rows(&old, &old.tables()[0].table, Image::Canonical).await;
    let refusal = refused.iter().find(|refusal| refusal.key == key("orders", spelled)).unwrap();
    assert!(
        refusal.why.contains("the key's column id becomes another value on the other side"),
        "{}",
        refusal.why
    );
}

#[tokio::test]
async fn what_is_logged_is_told_by_the_other_sides_key_and_slot() {
    let types = [("id", Exact::Decimal { precision: Some(10), scale: Some(2) }), ("paid", Exact::Bool)];
    let sql = "CREATE TABLE t (id REAL PRIMARY KEY NOT NULL, paid INTEGER NOT NULL)";
    let pair = Pair::new(sql, sql);
    let mut routed = mapping("t", "t");
    routed.route_by = Some("paid".into());
    let plan = plan_with(&pair, Side::New, &types, routed).await;
    let old = sqlite(&pair, Side::Old, &plan).await;
    let log = old.capture().unwrap();
    log.install(CAPTURE).await.unwrap();
    pair.old_app.execute_batch("INSERT INTO t VALUES (1.5, 1), (0.125, 1), (2, 7)").unwrap();
    let claims = log.claim(0, 10).await.unwrap();
    let keys: Vec<Key> = claims.iter().map(|claim| claim.key.clone()).collect();
    // The second has no place there as a key, and is told as what it is here.
    assert_eq!(keys, [key("t", decimal("1.50")), key("t", 0.125), key("t", decimal("2.00"))]);
    assert_eq!(claims[0].slot, Slots::new("move").slot(&slot_text(&[Value::Bool(true)])));
    let read = old.read(&old.tables()[0].table, &keys, Image::Canonical).await.unwrap();
    assert_eq!(read.rows, [Some(row(vec![decimal("1.50"), true.into()])), None, None]);
    let refused: Vec<&Key> = read.refused.iter().map(|refusal| &refusal.key).collect();
    assert_eq!(refused, [&keys[1], &keys[2]]);
}

#[tokio::test]
async fn rows_come_back_from_the_other_side_and_are_changed_and_deleted_by_its_keys() {
    let (pair, old) = orders().await;
    let table = old.tables()[0].table.clone();
    let changed = row(vec![uuid(ONE), decimal("2.00"), false.into(), Value::Null, "b".into()]);
    let back = row(vec![ONE.into(), 2.0.into(), 0.into(), Value::Null, "b".into()]);
    let change = |id: &str, row, back| Change { key: key("orders", uuid(id)), row, back };
    let mut tx = old.guarded().unwrap().begin(Scope::Marks).await.unwrap();
    let applied = tx
        .apply(&[
            change(ONE, Some(changed.clone()), Some(back)),
            change(TWO, None, None),
            change(TWO, None, None),
        ])
        .await
        .unwrap();
    assert_eq!((applied.written, applied.deleted, applied.refused), (1, 1, vec![]));
    assert_eq!(tx.delete(&table, &[key("orders", uuid(THREE)), key("orders", uuid(TWO))]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(ask(&pair.old_app, "SELECT * FROM orders"), [format!("'{ONE}'|2.0|0|NULL|'b'")]);
    assert_eq!(rows(&old, &table, Image::Canonical).await.0, [changed]);
}

#[tokio::test]
async fn the_new_side_gives_the_old_one_its_types_back() {
    let pair = Pair::new(TABLE, TABLE);
    let rows_there = format!(
        "INSERT INTO orders VALUES ('{ONE}', 1.5, 1, '2026-11-22 10:00:00.1234', 'a'), ('{TWO}', 1.5, 1, NULL, 'too long')"
    );
    pair.new_app.execute_batch(&rows_there).unwrap();
    let mut rounded = mapping("orders", "orders");
    rounded.rules = vec![Rule { column: "at".into(), kind: RuleKind::Round(RoundTo::Millisecond) }];
    let plan = plan_with(&pair, Side::Old, &STRICT, rounded).await;
    let new = sqlite(&pair, Side::New, &plan).await;
    let table = new.tables()[0].table.clone();
    let (back, refused) = rows(&new, &table, Image::Back).await;
    let first = row(vec![uuid(ONE), decimal("1.50"), true.into(), at("2026-11-22 10:00:00.123"), "a".into()]);
    assert_eq!(back, [first]);
    // Here the key is this side's own.
    assert_eq!((&refused[0].key, refused[0].column.as_deref()), (&key("orders", TWO), Some("note")));
    let (canonical, _) = rows(&new, &table, Image::Canonical).await;
    assert_eq!(canonical[0].0[0], Value::from(ONE));
}

#[tokio::test]
async fn a_rule_for_what_the_strict_column_never_holds_is_told() {
    let pair = Pair::new(TABLE, TABLE);
    let mut ruled = mapping("orders", "orders");
    let rule = |column: &str, kind| Rule { column: column.into(), kind };
    ruled.rules = vec![
        rule("paid", RuleKind::Tolerance(1.0)),
        rule("price", RuleKind::Round(RoundTo::Second)),
        rule("price", RuleKind::Tolerance(0.01)),
        rule("at", RuleKind::Round(RoundTo::Second)),
        rule("note", RuleKind::Tolerance(0.1)),
    ];
    let plan = plan_with(&pair, Side::New, &STRICT, ruled).await;
    let idle: Vec<(Option<&str>, &str)> = plan
        .findings
        .iter()
        .filter(|finding| finding.what.contains("it does nothing"))
        .map(|finding| (finding.column.as_deref(), finding.what.as_str()))
        .collect();
    assert_eq!(
        idle,
        [
            (Some("paid"), "`rules`: this one is for numbers, and paid holds booleans: it does nothing"),
            (
                Some("price"),
                "`rules`: this one is for times, and price holds decimal numbers: it does nothing"
            ),
        ]
    );
    let allowed =
        |name: &str| plan.tables[0].columns.iter().find(|c| c.target.column == name).unwrap().target.allowed;
    assert_eq!((allowed("price").tolerance, allowed("at").round), (Some(0.01), Some(0)));
}
