//! Verification by digests between two PostgreSQL databases: what differs is found wherever it is, and what is the same isn't
//! read.

use std::sync::Arc;

use changeover::Side;
use changeover::engine::verify::{TableReport, VerifyReport};
use changeover::engine::{Links, Pair, Verification, VerifyOptions};
use changeover::rules::{Rule, RuleKind};
use changeover::store::KeyRange;
use changeover_tables::mapping::TableMapping;

use super::world::{Stores, World, mapping};

fn links(stores: &Stores, rules: Vec<Rule>) -> Arc<Links> {
    let pairs = stores.new.tables().iter().map(|shape| Pair {
        table: shape.table.clone(),
        old: Arc::clone(&stores.old) as _,
        new: Arc::clone(&stores.new) as _,
        rules: rules.clone(),
    });
    Arc::new(Links::new(pairs.collect()).unwrap())
}

fn options(digest_rows: Option<u64>) -> VerifyOptions {
    VerifyOptions { quiet: true, digest_rows, segment_rows: 1_000, ..VerifyOptions::new(Side::Old) }
}

async fn verified(world: &World, mappings: &[TableMapping], rules: Vec<Rule>) -> VerifyReport {
    let stores = world.stores(mappings).await;
    let links = links(&stores, rules);
    let [report, by_rows] =
        [Some(16), None].map(|rows| Verification::new(Arc::clone(&links), options(rows)).0);
    let (report, by_rows) = (report.run().await.unwrap(), by_rows.run().await.unwrap());
    // Read or not, the same is found.
    assert_eq!(by_rows.tables[0].by_digest, 0);
    assert_eq!(keys(&report), keys(&by_rows));
    let counted = |table: &TableReport| {
        let TableReport { rows_old, rows_new, compared, equal_by_rule, .. } = table;
        (*rows_old, *rows_new, *compared, *equal_by_rule, table.differences())
    };
    assert_eq!(counted(&report.tables[0]), counted(&by_rows.tables[0]));
    report
}

/// What differs, and how, in order.
fn keys(report: &VerifyReport) -> Vec<String> {
    let mut keys: Vec<String> = report.differences.iter().map(|d| format!("{} {}", d.key, d.kind)).collect();
    keys.sort();
    keys
}

/// The kinds of differences that there are, made on the new side of 2,000 rows with a key of one column.
async fn damage(world: &World) {
    let damaged = "DELETE FROM t WHERE n = 700; INSERT INTO t (k, n, v) SELECT max(k) || 'z', 9000, 'extra' FROM t; \
                   UPDATE t SET v = NULL WHERE n = 3; UPDATE t SET v = 'b' WHERE n = 1999; \
                   UPDATE t SET v = CASE n WHEN 50 THEN 'v1500' ELSE 'v50' END WHERE n IN (50, 1500)";
    world.new_app.batch_execute(damaged).await.unwrap();
}

fn table(collation: &str) -> String {
    format!(
        "CREATE TABLE t (k text COLLATE {collation} PRIMARY KEY, n int NOT NULL, v text); \
         INSERT INTO t SELECT chr(97 + n % 26) || chr(65 + n % 7) || n, n, 'v' || n FROM generate_series(0, 1999) AS s(n); \
         ANALYZE t"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_is_not_read_and_what_differs_is_found() {
    let world = World::same(&table("\"C\"")).await;
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    let found = &report.tables[0];
    assert_eq!(
        (found.rows_old, found.rows_new, found.compared, found.by_digest),
        (2_000, 2_000, 2_000, 2_000)
    );
    assert!(report.is_clean() && found.bytes == 0, "{report:?}");

    damage(&world).await;
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    let found = &report.tables[0];
    assert_eq!((found.differing, found.missing, found.extra), (4, 1, 1), "{report:?}");
    assert!((1_850..2_000).contains(&found.by_digest), "{found:?}");
}

/// Where a range of one side isn't the same keys on the other, all rows are read.
#[tokio::test(flavor = "multi_thread")]
async fn sides_that_order_their_keys_otherwise_are_read() {
    let world = World::new(&table("\"und-x-icu\""), &table("\"C\"")).await;
    damage(&world).await;
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    let found = &report.tables[0];
    assert_eq!((found.differing, found.missing, found.extra, found.by_digest), (4, 1, 1, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_a_condition_and_names_of_ours() {
    let sql = "CREATE TABLE t (n int, a0 varchar(9) COLLATE \"C\", k0 bigint, z0 text, PRIMARY KEY (a0, n)); \
               INSERT INTO t SELECT n % 7, 'a' || n / 7, n, CASE WHEN n % 3 > 0 THEN 'z' END FROM generate_series(0, 999) AS s(n)";
    let world = World::same(sql).await;
    world.old_app.batch_execute("INSERT INTO t VALUES (0, 'b', -1, 'left out')").await.unwrap();
    let mut of = mapping("t", "t");
    of.where_ = Some("k0 >= 0 -- the others stay".to_owned());
    let report = verified(&world, &[of.clone()], vec![]).await;
    assert_eq!((report.is_clean(), report.tables[0].by_digest), (true, 1_000), "{report:?}");
    world.new_app.batch_execute("UPDATE t SET k0 = k0 + 4294967296 WHERE k0 = 500").await.unwrap();
    let report = verified(&world, &[of], vec![]).await;
    assert_eq!(report.tables[0].differing, 1, "{report:?}");
}

/// The server says nothing of a range of which it can't compute a row: those are read, and that one is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_fails_over_a_row_names_it() {
    let sql = "CREATE TABLE t (k int PRIMARY KEY, v int NOT NULL); INSERT INTO t SELECT n, n FROM generate_series(1, 100) AS s(n)";
    let world = World::same(sql).await;
    world.old_app.batch_execute("UPDATE t SET v = 0 WHERE k = 60").await.unwrap();
    let mut of = mapping("t", "t");
    of.where_ = Some("1 / v >= 0".to_owned());
    let report = verified(&world, &[of], vec![]).await;
    assert_eq!(report.tables[0].differences(), 1, "{report:?}");
    assert!(
        report.differences[0].why.as_ref().is_some_and(|why| why.contains("division by zero")),
        "{report:?}"
    );
}

/// A value that is another to the comparison is another to the digest, whatever the server's `=` says.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_calls_equal_is_told_apart() {
    let sql = "CREATE TABLE t (k int PRIMARY KEY, d numeric, f float8, j json, b jsonb, i interval); \
               INSERT INTO t SELECT n, 1.0, 0, '{\"a\": 1}', '{\"a\": 1.0}', '1 day' FROM generate_series(1, 100) AS s(n)";
    let world = World::same(sql).await;
    let changes = "UPDATE t SET d = 1.00 WHERE k = 1; UPDATE t SET f = '-0' WHERE k = 20; \
                   UPDATE t SET j = '{\"a\":1}' WHERE k = 40; UPDATE t SET b = '{\"a\": 1.00}' WHERE k = 60; \
                   UPDATE t SET i = '24 hours' WHERE k = 80; UPDATE t SET d = NULL WHERE k = 99";
    world.new_app.batch_execute(changes).await.unwrap();
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    let columns: Vec<&str> =
        report.differences.iter().flat_map(|d| &d.columns).map(|column| column.column.as_str()).collect();
    assert_eq!(columns, ["d", "f", "j", "b", "i", "d"]);
}

/// Rows that are equal only by a rule are counted, each of them: no digest stands for them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_equal_by_a_rule_is_counted() {
    let sql = "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' FROM generate_series(1, 3000) AS s(n)";
    let world = World::same(sql).await;
    let rule = Rule { column: "v".to_owned(), kind: RuleKind::Ignore };
    world.new_app.batch_execute("UPDATE t SET v = 'w' WHERE k % 100 = 0").await.unwrap();
    let report = verified(&world, &[mapping("t", "t")], vec![rule.clone()]).await;
    assert_eq!((report.is_clean(), report.tables[0].equal_by_rule), (true, 30), "{report:?}");
    // Where none is the same, no digest is asked for after a while.
    world.new_app.batch_execute("UPDATE t SET v = 'w'").await.unwrap();
    let report = verified(&world, &[mapping("t", "t")], vec![rule]).await;
    assert_eq!((report.is_clean(), report.tables[0].equal_by_rule), (true, 3_000), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sides_that_store_a_value_otherwise_are_read() {
    let rows = "INSERT INTO t SELECT n, n FROM generate_series(1, 100) AS s(n)";
    let world = World::new(
        &format!("CREATE TABLE t (k int PRIMARY KEY, v int); {rows}"),
        &format!("CREATE TABLE t (k int PRIMARY KEY, v bigint); {rows}"),
    )
    .await;
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    assert_eq!((report.is_clean(), report.tables[0].by_digest), (true, 0), "{report:?}");
    let stores = world.of("t").await;
    let table = stores.old.tables()[0].table.clone();
    assert_eq!(stores.old.digests().unwrap().method(&table).await.unwrap(), None);
    let whole = [KeyRange::default()];
    assert_eq!(stores.old.digests().unwrap().digests(&table, &whole, [1, 2]).await.unwrap(), None);
}

/// The same bytes are other characters there.
#[tokio::test(flavor = "multi_thread")]
async fn databases_of_another_encoding_are_read() {
    let server = super::world::server().await;
    let make =
        |clause| tokio::task::block_in_place(|| server.url(&server.create_database_with("encoded", clause)));
    let urls = [make("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"), make("")];
    let (old, new) = (super::world::connect(&urls[0]).await, super::world::connect(&urls[1]).await);
    let sql = "CREATE TABLE t (k int PRIMARY KEY, v text)";
    old.batch_execute(&format!("{sql}; INSERT INTO t VALUES (1, convert_from('\\xc3a9', 'LATIN1'))"))
        .await
        .unwrap();
    new.batch_execute(&format!("{sql}; INSERT INTO t VALUES (1, convert_from('\\xc3a9', 'UTF8'))"))
        .await
        .unwrap();
    let world = World { urls, old_app: old, new_app: new };
    let report = verified(&world, &[mapping("t", "t")], vec![]).await;
    assert_eq!(report.tables[0].differing, 1, "{report:?}");
}
