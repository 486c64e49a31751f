//! What MariaDB says of its tables, as the plan is given it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;

use changeover::Side;
use changeover_tables::catalog::{Catalog, ColumnInfo, Domain, Generated, IndexPart, Origin, TableKind};
use changeover_tables::database::Database as _;
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::types::{Charset, Exact, JsonForm};
use changeover_testkit::servers::MariaDb;

const TABLES: &str = "\
    CREATE TABLE parent (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) DEFAULT 'it''s'); \
    CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, flag TINYINT(1) NOT NULL DEFAULT 0, \
    ci VARCHAR(10) COLLATE utf8mb4_general_ci, exact_ VARCHAR(10) COLLATE utf8mb4_nopad_bin, \
    padding VARCHAR(10) COLLATE utf8mb4_bin, ch CHAR(5) COLLATE utf8mb4_nopad_bin, l1 VARCHAR(10) CHARACTER SET latin1, \
    long_ TEXT, doc JSON, u UUID, e ENUM('a', 'it''s', 'q\\\\r'), money DECIMAL(10, 2), at TIMESTAMP(3) NULL, ti TIME, y YEAR, \
    parent BIGINT UNSIGNED, twice INT AS (flag * 2) VIRTUAL, thrice INT AS (flag * 3) STORED, \
    UNIQUE KEY beginning (long_(10)), UNIQUE KEY whole (ci, exact_), KEY plain (y), \
    CONSTRAINT small CHECK (flag < 5), FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE); \
    CREATE TRIGGER theirs BEFORE INSERT ON t FOR EACH ROW SET NEW.flag = NEW.flag + 0; \
    CREATE TABLE changeover_anything (id INT PRIMARY KEY); CREATE TABLE old_engine (id INT PRIMARY KEY) ENGINE = MyISAM; \
    CREATE VIEW seen AS SELECT id FROM t; CREATE SEQUENCE numbers";

async fn sql(database: &str, sql: &str) -> String {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || MariaDb::shared().sql(&database, &sql)).await.unwrap()
}

async fn open(tables: &str) -> (String, Arc<MysqlDatabase>) {
    let server = tokio::task::spawn_blocking(MariaDb::shared).await.unwrap();
    let name = server.create_database("catalog");
    sql(&name, tables).await;
    let url = server.url(&name).replace("mysql://", "mariadb://");
    (name, MysqlDatabase::open("legacy", &url, MysqlOptions::default()).await.unwrap())
}

fn exact(column: &ColumnInfo) -> &Exact {
    match &column.domain {
        Domain::Exact(exact) => &exact.of,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_told_as_they_are() {
    let (name, database) = open(TABLES).await;
    let Catalog { tables, place, kind, .. } = database.catalog().await.unwrap();
    assert_eq!(kind, "mysql");
    assert!(place.ends_with(&name) && !place.contains("root"), "{place}");
    let kinds: Vec<(&str, TableKind)> =
        tables.iter().map(|table| (table.name.as_str(), table.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("old_engine", TableKind::WithoutTransactions),
            ("parent", TableKind::Table),
            ("seen", TableKind::View),
            ("t", TableKind::Table),
        ]
    );
    let parent = &tables[1];
    assert_eq!(
        (parent.counter.as_deref(), parent.columns[1].default.as_deref()),
        (Some("id"), Some("'it''s'"))
    );
    let t = &tables[3];
    assert_eq!(
        (t.schema.as_deref(), t.primary_key.as_slice()),
        (Some(name.as_str()), &["id".to_owned()][..])
    );
    assert_eq!(t.clauses, ["CHECK (`flag` < 5)"]);
    assert_eq!(t.triggers.iter().map(|trigger| trigger.name.as_str()).collect::<Vec<_>>(), ["theirs"]);
    let key = &t.foreign_keys[0];
    assert_eq!(
        (key.columns[0].as_str(), key.parent.as_str(), key.on_delete.as_str()),
        ("parent", "parent", "CASCADE")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_hold_what_they_hold() {
    let (_, database) = open(TABLES).await;
    let catalog = database.catalog().await.unwrap();
    let t = catalog.table(None, "t").unwrap();
    let of = |name: &str| exact(t.column(name).unwrap());
    assert_eq!(*of("id"), Exact::Int { min: 0, max: u64::MAX });
    assert_eq!(*of("flag"), Exact::Int { min: -128, max: 127 });
    assert_eq!(*of("doc"), Exact::Json(JsonForm::Kept));
    assert_eq!(*of("u"), Exact::Uuid);
    assert_eq!(*of("money"), Exact::Decimal { precision: Some(10), scale: Some(2) });
    assert_eq!(*of("e"), Exact::Enum(["a".into(), "it's".into(), "q\\r".into()].into()));
    assert!(matches!(of("ch"), Exact::Text(text) if text.padded && text.max_chars == Some(5)));
    assert!(matches!(of("l1"), Exact::Text(text) if text.charset == Charset::Latin1));
    assert!(
        matches!(of("long_"), Exact::Text(text) if text.max_bytes == Some(65_535) && text.max_chars.is_none())
    );
    assert!(matches!(of("at"), Exact::Instant(span) if span.digits == 3));
    let collation = |name: &str| t.column(name).unwrap().collation.as_str();
    assert_eq!(collation("exact_"), "BINARY");
    // Equal to another with spaces behind it, or ordered by what nobody would expect.
    for padded in ["padding", "ch", "ci", "l1", "doc", "u"] {
        assert_ne!(collation(padded), "BINARY", "{padded}");
    }
    let generated: Vec<Generated> =
        ["y", "twice", "thrice"].map(|name| t.column(name).unwrap().generated).into();
    assert_eq!(generated, [Generated::No, Generated::Virtual, Generated::Stored]);
    assert!(t.column("flag").unwrap().not_null && !t.column("ci").unwrap().not_null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_unique_by_whole_columns_can_be_a_key() {
    let (_, database) = open(TABLES).await;
    let catalog = database.catalog().await.unwrap();
    let t = catalog.table(None, "t").unwrap();
    let unique: Vec<(&str, Origin)> =
        t.unique.iter().map(|index| (index.name.as_str(), index.origin)).collect();
    assert_eq!(
        unique,
        [("PRIMARY", Origin::PrimaryKey), ("beginning", Origin::Index), ("whole", Origin::Index)]
    );
    assert_eq!(t.unique[1].columns(), None);
    assert!(matches!(&t.unique[1].parts[0], IndexPart::Expression { sql, .. } if sql == "LEFT(`long_`, 10)"));
    assert_eq!(t.unique[2].columns(), Some(vec!["ci", "exact_"]));
    assert!(t.indexes.contains(&"plain".to_owned()));
}

/// Rows, the next number and triggers of ours don't make a table another; all else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_changes_when_the_table_does_and_only_then() {
    let (name, database) = open("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)").await;
    let (_, other) = open("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)").await;
    let catalogs = [
        database.catalog().await.unwrap(),
        Catalog { store: "new".into(), ..other.catalog().await.unwrap() },
    ];
    let mapping = TableMapping::new(TableRef::new("legacy", "t"), TableRef::new("new", "t"));
    let plan = plan(&[mapping], &catalogs, Mirroring::CopyOnly);
    let store = Arc::clone(&database).side("move", Side::Old, &plan).await.unwrap();
    let identity = store.identity().await.unwrap();
    assert!(!identity.server.is_empty());
    for unimportant in [
        "INSERT INTO t (a) VALUES (1), (2)",
        "CREATE TRIGGER changeover_capture AFTER INSERT ON t FOR EACH ROW SET @x = 1",
        "ANALYZE TABLE t",
    ] {
        sql(&name, unimportant).await;
        assert_eq!(store.identity().await.unwrap(), identity, "{unimportant}");
    }
    let mut before = identity;
    for change in [
        "ALTER TABLE t MODIFY a BIGINT",
        "ALTER TABLE t ADD UNIQUE (a)",
        "CREATE TRIGGER theirs AFTER INSERT ON t FOR EACH ROW SET @x = 1",
        "DROP TABLE t",
    ] {
        sql(&name, change).await;
        let now = store.identity().await.unwrap();
        assert_ne!(now.tables, before.tables, "{change}");
        assert_eq!(now.server, before.server);
        before = now;
    }
    assert_eq!(before.tables[0].1, "gone");
}
