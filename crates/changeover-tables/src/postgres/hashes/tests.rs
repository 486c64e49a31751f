//! The digest on a real server: it tells what a comparison of rows tells, in every type; and digests made in the ways that
//! suggest themselves don't, each of which is here with what it misses.

use std::collections::{BTreeSet, HashMap};

use changeover::Value;
use changeover_testkit::servers::postgres::Postgres as Server;
use tokio_postgres::{Client, NoTls};

use super::super::codec::tests::server::edges::{EDGES, TYPES};
use super::super::codec::{Codec, Raw, decode};
use super::super::{PostgresDatabase, PostgresOptions};
use super::*;
use crate::database::Database as _;
use crate::server::digest::aggregates;

/// A database with the types of the codec's tests, and a session in it.
async fn connect(hint: &str) -> (String, Client) {
    let server = Server::shared();
    let url = server.url(&server.create_database(hint));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601'").await.unwrap();
    client.batch_execute(TYPES).await.unwrap();
    (url, client)
}

/// The columns of a database's tables, by the table.
async fn columns(url: &str) -> HashMap<String, Vec<ColumnInfo>> {
    let database = PostgresDatabase::open("it", url, PostgresOptions::default()).await.unwrap();
    let tables = database.catalog().await.unwrap().tables;
    tables.into_iter().map(|table| (table.name, table.columns)).collect()
}

/// A table for each type, with its edges and a NULL.
async fn make_edges(client: &Client) {
    for (n, (declared, edges)) in EDGES.iter().enumerate() {
        let all: Vec<String> = edges
            .iter()
            .copied()
            .chain(["NULL"])
            .enumerate()
            .map(|(id, edge)| format!("({id}, ({edge})::{declared})"))
            .collect();
        let sql = format!(
            "CREATE TABLE edges_{n} (id int PRIMARY KEY, c {declared}); INSERT INTO edges_{n} VALUES {}",
            all.join(", ")
        );
        client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// The values of a table of edges as the comparison sees them, with their hashes; `None` where the type has none.
async fn hashed_edges(
    client: &Client,
    n: usize,
    columns: &HashMap<String, Vec<ColumnInfo>>,
) -> Option<Vec<(Value, i64)>> {
    let column = &columns[&format!("edges_{n}")][1];
    let hash = Postgres.row_hash(&[column], 42)?;
    let read = if column.as_text { "c::text" } else { "c" };
    let typed = client.prepare(&format!("SELECT c FROM edges_{n}")).await.unwrap();
    let codec = Codec::of(typed.columns()[0].type_());
    let rows = client.query(&format!("SELECT {read}, {hash} FROM edges_{n} ORDER BY id"), &[]).await.unwrap();
    let values = rows.iter().map(|row| {
        let Raw(raw) = row.get(0);
        (decode(&codec, raw).unwrap(), row.get(1))
    });
    Some(values.collect())
}

#[tokio::test]
async fn what_a_comparison_tells_apart_the_hash_tells_apart_in_every_type() {
    let (url, client) = connect("hashes_types").await;
    make_edges(&client).await;
    let columns = columns(&url).await;
    let mut without = BTreeSet::new();
    for (n, (declared, _)) in EDGES.iter().enumerate() {
        let Some(edges) = hashed_edges(&client, n, &columns).await else {
            without.insert(*declared);
            continue;
        };
        for (at, (one, hash)) in edges.iter().enumerate() {
            for (other, other_hash) in &edges[..at] {
                assert!(one == other || hash != other_hash, "{declared}: {one} and {other}");
            }
        }
    }
    // Their rows are read.
    assert_eq!(without.into_iter().collect::<Vec<_>>(), WITHOUT);
}

/// Types of which no digest is made.
const WITHOUT: &[&str] = &[
    "\"char\"[]",
    "cid",
    "datemultirange",
    "int4multirange",
    "jsonpath",
    "mood[]",
    "numbers",
    "numbers[]",
    "pg_snapshot",
    "refcursor",
    "tid",
    "tiny[]",
    "tsquery",
    "txid_snapshot",
    "xid",
];

/// The numbers of a user's types are others in each database.
#[tokio::test]
async fn the_same_rows_have_the_same_digest_in_another_database() {
    let ((one_url, one), (other_url, other)) = (connect("hashes_one").await, connect("hashes_other").await);
    other.batch_execute("CREATE TYPE one_more AS ENUM ('a')").await.unwrap();
    other.batch_execute("DROP TYPE one_more; CREATE TYPE more AS (a int)").await.unwrap();
    make_edges(&one).await;
    make_edges(&other).await;
    let (of_one, of_other) = (columns(&one_url).await, columns(&other_url).await);
    for (n, (declared, _)) in EDGES.iter().enumerate() {
        let (a, b) = (hashed_edges(&one, n, &of_one).await, hashed_edges(&other, n, &of_other).await);
        assert_eq!(a, b, "{declared}");
    }
}

#[tokio::test]
async fn the_hash_does_not_ask_the_collation() {
    let (url, client) = connect("hashes_collation").await;
    client
        .batch_execute(
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             CREATE TABLE words (id int PRIMARY KEY, t text COLLATE ci NOT NULL, c char(3) COLLATE ci, i citext); \
             INSERT INTO words VALUES (1, 'a', 'a', 'a'), (2, 'A', 'a', 'a'), (3, 'a', 'A', 'a'), (4, 'a', 'a', 'A')",
        )
        .await
        .unwrap();
    let columns = &columns(&url).await["words"];
    let hash = Postgres.row_hash(&columns[1..].iter().collect::<Vec<_>>(), 1).unwrap();
    let sql = format!("SELECT count(DISTINCT {hash}), count(DISTINCT t || c || i) FROM words");
    let row = client.query_one(&sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (4, 1), "to the collation they are one");
}

/// A way to make a digest, as the aggregates of it.
struct Way {
    name: &'static str,
    sql: String,
    /// The cases that it takes for the same.
    misses: &'static [&'static str],
}

/// Rows of (id, a, b, c, n) that aren't the same as the others, though some digests are.
const CASES: &[(&str, &str, &str)] = &[
    ("a NULL moved", "(1, 'a', NULL, 'b', 0)", "(1, 'a', 'b', NULL, 0)"),
    ("NULL and empty", "(1, 'a', NULL, 'b', 0)", "(1, 'a', '', 'b', 0)"),
    ("NULL and the word", "(1, 'a', NULL, 'b', 0)", "(1, 'a', 'NULL', 'b', 0)"),
    ("NULL and zero", "(1, 'a', 'b', 'c', NULL)", "(1, 'a', 'b', 'c', 0)"),
    ("run together", "(1, 'ab', 'c', 'd', 0)", "(1, 'a', 'bc', 'd', 0)"),
    ("the separator", "(1, 'a|b', 'c', 'd', 0)", "(1, 'a', 'b|c', 'd', 0)"),
    ("exchanged columns", "(1, 'x', 'y', 'c', 0)", "(1, 'y', 'x', 'c', 0)"),
    (
        "swapped changes",
        "(1, 'x', 'b', 'c', 0), (2, 'y', 'b', 'c', 0)",
        "(1, 'y', 'b', 'c', 0), (2, 'x', 'b', 'c', 0)",
    ),
    (
        "pairs that cancel",
        "(1, 'x', 'b', 'c', 0), (1, 'x', 'b', 'c', 0)",
        "(2, 'y', 'b', 'c', 0), (2, 'y', 'b', 'c', 0)",
    ),
    ("a pair and nothing", "(1, 'x', 'b', 'c', 0), (1, 'x', 'b', 'c', 0)", ""),
    ("a row of NULLs and nothing", "(NULL, NULL, NULL, NULL, NULL)", ""),
    ("folded", "(1, 'a', 'b', 'c', 1)", "(1, 'a', 'b', 'c', 4294967296)"),
    ("folded below zero", "(1, 'a', 'b', 'c', -1)", "(1, 'a', 'b', 'c', -4294967298)"),
];

fn ways(columns: &[&ColumnInfo]) -> Vec<Way> {
    let ours = Postgres.row_hash(columns, 1).unwrap();
    let chained = |of: fn(&str) -> String| {
        let texts = ["a", "b", "c"]
            .iter()
            .fold("1::int8".to_owned(), |hash, column| format!("hashtextextended({}, {hash})", of(column)));
        format!("hashint4extended(n::int4, hashint4extended(id, {texts}))")
    };
    let joined = |sql: &str| format!("count(*), coalesce(sum(hashtextextended({sql}, 1)), 0)");
    vec![
        Way { name: "ours", sql: aggregates(&Postgres, columns, [1, 2]).unwrap().join(", "), misses: &[] },
        Way {
            name: "combined by XOR",
            sql: format!("count(*), coalesce(bit_xor({ours}), 0)"),
            misses: &["pairs that cancel"],
        },
        Way {
            name: "without a count",
            sql: format!("coalesce(bit_xor({ours}), 0)"),
            misses: &["pairs that cancel", "a pair and nothing"],
        },
        Way {
            name: "without lengths",
            sql: joined("concat(id, a, b, c, n)"),
            misses: &["a NULL moved", "NULL and empty", "run together"],
        },
        Way {
            name: "with a separator",
            sql: joined("concat_ws('|', id, a, b, c, n)"),
            misses: &["a NULL moved", "the separator"],
        },
        Way {
            name: "without NULLs",
            sql: format!("count(*), sum({})", chained(|column| format!("coalesce({column}, '')")).replace("n::int4", "coalesce(n, 0)::int4")),
            misses: &["NULL and empty", "NULL and zero"],
        },
        Way {
            name: "NULL for a NULL, without a count",
            sql: format!("coalesce(sum({}), 0)", chained(str::to_owned)),
            misses: &["a row of NULLs and nothing"],
        },
        Way {
            name: "the hash of a record",
            sql: "count(*), coalesce(sum(hash_record_extended(ROW(id, a, b, c, n), 1)), 0)".to_owned(),
            misses: &["swapped changes", "folded"],
        },
        Way {
            name: "the hash of a bigint",
            sql: "count(*), coalesce(sum(hashint8extended(n, hashtextextended(concat_ws('/', id, a, b, c), 1))), 0)"
                .to_owned(),
            misses: &["folded", "folded below zero"],
        },
    ]
}

#[tokio::test]
async fn what_is_not_the_same_has_another_digest_and_ways_that_miss_it_are_known() {
    let (url, client) = connect("hashes_ways").await;
    client
        .batch_execute("CREATE TABLE cases (id int, a text, b text, c varchar(9), n bigint)")
        .await
        .unwrap();
    let columns = columns(&url).await.remove("cases").unwrap();
    let columns: Vec<&ColumnInfo> = columns.iter().collect();
    let digest = async |way: &Way, rows: &str| {
        let values =
            if rows.is_empty() { String::new() } else { format!("INSERT INTO cases VALUES {rows};") };
        let sql = format!("TRUNCATE cases; {values} SELECT {} FROM cases", way.sql);
        let answer = client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = answer.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.unwrap();
        (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect::<Vec<_>>()
    };
    for way in ways(&columns) {
        let mut missed = Vec::new();
        for (case, one, other) in CASES {
            // Which it takes for an integer.
            if way.sql.contains("::int4") && way.name != "ours" && case.starts_with("folded") {
                continue;
            }
            if digest(&way, one).await == digest(&way, other).await {
                missed.push(*case);
            }
        }
        for case in way.misses {
            assert!(missed.contains(case), "{} tells {case}", way.name);
        }
        assert!(way.name != "ours" || missed.is_empty(), "{missed:?}");
    }
}

/// More columns than are hashed one by one, the last of which counts as the first does.
#[tokio::test]
async fn a_wide_row_is_hashed_to_its_end() {
    let (url, client) = connect("hashes_wide").await;
    let columns_sql: Vec<String> =
        (0..400).map(|n| format!("c{n} {}", ["int", "text", "mood", "numeric", "bigint"][n % 5])).collect();
    client.batch_execute(&format!("CREATE TABLE wide ({})", columns_sql.join(", "))).await.unwrap();
    client.batch_execute("INSERT INTO wide DEFAULT VALUES").await.unwrap();
    let columns = columns(&url).await.remove("wide").unwrap();
    let hash = Postgres.row_hash(&columns.iter().collect::<Vec<_>>(), 7).unwrap();
    let mut seen = BTreeSet::new();
    for column in std::iter::once(None).chain((0..400).map(Some)) {
        if let Some(n) = column {
            let value = ["7", "'7'", "'so so'", "7", "7"][n % 5];
            client.batch_execute(&format!("UPDATE wide SET c{n} = {value}")).await.unwrap();
        }
        let hash: i64 = client.query_one(&format!("SELECT {hash} FROM wide"), &[]).await.unwrap().get(0);
        assert!(seen.insert(hash), "{column:?}");
    }
}
