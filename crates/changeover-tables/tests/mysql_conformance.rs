//! The test kit's conformance suite, run on MariaDB, alone and with SQLite and PostgreSQL on the other side.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::Side;
use changeover::store::Store;
use changeover_tables::database::Database as _;
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{Load, MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};
use changeover_testkit::conformance::{self, App, AppWrite, ITEMS, Subject};
use changeover_testkit::servers::{MariaDb, Postgres};
use mysql_async::prelude::Queryable as _;
use rusqlite::params;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

const MYSQL: MysqlOptions =
    MysqlOptions { lock_wait: Duration::from_millis(200), sessions: 16, load: Load::Fastest };
const POSTGRES: PostgresOptions = PostgresOptions { lock_wait: Duration::from_millis(200), sessions: 16 };
const FILE: SqliteOptions = SqliteOptions { lock_wait: Duration::from_millis(200), readers: 4, scans: 8 };

/// One side: where the application finds it.
#[derive(Debug, Clone)]
enum Place {
    MariaDb(String),
    Postgres(String),
    File(std::path::PathBuf),
}

/// The application, which connects as any program would.
struct Application {
    old: Place,
    new: Place,
}

async fn write_mariadb(url: &str, writes: &[AppWrite], commit: bool) -> Result<(), mysql_async::Error> {
    let mut conn = mysql_async::Conn::from_url(url).await?;
    conn.query_drop("SET innodb_lock_wait_timeout = 1; START TRANSACTION").await?;
    for write in writes {
        match write {
            AppWrite::Put(item) => {
                let sql = "INSERT INTO items (id, name, code) VALUES (?, ?, ?) \
                           ON DUPLICATE KEY UPDATE name = VALUES(name), code = VALUES(code)";
                conn.exec_drop(sql, (item.id, &item.name, &item.code)).await?;
            }
            AppWrite::Delete(id) => conn.exec_drop("DELETE FROM items WHERE id = ?", (id,)).await?,
            AppWrite::Rekey(from, to) => {
                conn.exec_drop("UPDATE items SET id = ? WHERE id = ?", (to, from)).await?;
            }
        }
    }
    conn.query_drop(if commit { "COMMIT" } else { "ROLLBACK" }).await?;
    conn.disconnect().await
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET lock_timeout = '50ms'").await.unwrap();
    client
}

async fn write_postgres(url: &str, writes: &[AppWrite], commit: bool) -> Result<(), tokio_postgres::Error> {
    let mut client = connect(url).await;
    let transaction = client.transaction().await?;
    for write in writes {
        match write {
            AppWrite::Put(item) => {
                let sql = "INSERT INTO items (id, name, code) VALUES ($1, $2, $3) \
                           ON CONFLICT (id) DO UPDATE SET name = excluded.name, code = excluded.code";
                transaction.execute(sql, &[&item.id, &item.name, &item.code]).await?
            }
            AppWrite::Delete(id) => transaction.execute("DELETE FROM items WHERE id = $1", &[id]).await?,
            AppWrite::Rekey(from, to) => {
                transaction.execute("UPDATE items SET id = $2 WHERE id = $1", &[from, to]).await?
            }
        };
    }
    if commit { transaction.commit().await } else { transaction.rollback().await }
}

fn write_file(path: &std::path::Path, writes: &[AppWrite], commit: bool) -> rusqlite::Result<()> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(Duration::from_millis(50))?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for write in writes {
        match write {
            AppWrite::Put(item) => transaction.execute(
                "INSERT INTO items (id, name, code) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, code = excluded.code",
                params![item.id, item.name, item.code],
            )?,
            AppWrite::Delete(id) => transaction.execute("DELETE FROM items WHERE id = ?1", [id])?,
            AppWrite::Rekey(from, to) => {
                transaction.execute("UPDATE items SET id = ?2 WHERE id = ?1", [from, to])?
            }
        };
    }
    if commit { transaction.commit() } else { transaction.rollback() }
}

impl Application {
    async fn run(&self, side: Side, writes: &[AppWrite], commit: bool) -> Result<(), String> {
        let place = if side == Side::Old { &self.old } else { &self.new };
        match place.clone() {
            Place::MariaDb(url) => write_mariadb(&url, writes, commit).await.map_err(|error| match error {
                mysql_async::Error::Server(said) => said.message,
                other => other.to_string(),
            }),
            Place::Postgres(url) => write_postgres(&url, writes, commit).await.map_err(|error| {
                error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
            }),
            Place::File(path) => {
                let writes = writes.to_vec();
                let work = move || write_file(&path, &writes, commit).map_err(|error| error.to_string());
                tokio::task::spawn_blocking(work).await.unwrap()
            }
        }
    }
}

#[async_trait]
impl App for Application {
    async fn write(&self, side: Side, writes: &[AppWrite]) -> Result<(), String> {
        self.run(side, writes, true).await
    }

    async fn write_and_roll_back(&self, side: Side, writes: &[AppWrite]) {
        self.run(side, writes, false).await.unwrap();
    }
}

/// A database of one of the kinds, with the suite's table.
enum Database {
    MariaDb(Arc<MysqlDatabase>, String),
    Postgres(Arc<PostgresDatabase>, String),
    File(Arc<SqliteDatabase>, std::path::PathBuf),
}

async fn mariadb(name: &str, sql: &str) -> Database {
    let server = tokio::task::spawn_blocking(MariaDb::shared).await.unwrap();
    let url = server.url(&server.create_database(name));
    let mut conn = mysql_async::Conn::from_url(&url).await.unwrap();
    conn.query_drop(sql).await.unwrap();
    conn.disconnect().await.unwrap();
    Database::MariaDb(MysqlDatabase::open(name, &url, MYSQL).await.unwrap(), url)
}

async fn postgres(name: &str, sql: &str) -> Database {
    let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap();
    let url = server.url(&server.create_database(name));
    connect(&url).await.batch_execute(sql).await.unwrap();
    Database::Postgres(PostgresDatabase::open(name, &url, POSTGRES).await.unwrap(), url)
}

async fn file(name: &str, folder: &TempDir, sql: &str) -> Database {
    let path = folder.path().join(name);
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    Database::File(SqliteDatabase::open(name, &path, FILE).await.unwrap(), path)
}

impl Database {
    async fn catalog(&self) -> changeover_tables::catalog::Catalog {
        match self {
            Self::MariaDb(database, _) => database.catalog().await.unwrap(),
            Self::Postgres(database, _) => database.catalog().await.unwrap(),
            Self::File(database, _) => database.catalog().await.unwrap(),
        }
    }

    async fn store(&self, side: Side, plan: &changeover_tables::plan::Plan) -> Arc<dyn Store> {
        match self {
            Self::MariaDb(database, _) => Arc::clone(database).side("move", side, plan).await.unwrap(),
            Self::Postgres(database, _) => Arc::clone(database).side("move", side, plan).await.unwrap(),
            Self::File(database, _) => {
                Arc::new(SqliteStore::new(Arc::clone(database), "move", side, plan).await.unwrap())
            }
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::MariaDb(_, url) => Place::MariaDb(url.clone()),
            Self::Postgres(_, url) => Place::Postgres(url.clone()),
            Self::File(_, path) => Place::File(path.clone()),
        }
    }
}

async fn subject(old: Database, new: Database, keep: TempDir) -> Subject {
    let catalogs = [old.catalog().await, new.catalog().await];
    let mapping = TableMapping::new(TableRef::new("old", ITEMS), TableRef::new("new", ITEMS));
    let plan = plan(&[mapping], &catalogs, Mirroring::Capture);
    assert!(plan.is_sound(), "{:?}", plan.findings);
    Subject {
        old: old.store(Side::Old, &plan).await,
        new: new.store(Side::New, &plan).await,
        app: Arc::new(Application { old: old.place(), new: new.place() }),
        keep: Box::new(keep),
    }
}

const MARIADB: &str =
    "CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT, code VARCHAR(100) NOT NULL UNIQUE)";
const MARIADB_NEW: &str =
    "CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT NOT NULL, code VARCHAR(100) NOT NULL UNIQUE)";
const SERVER: &str =
    "CREATE TABLE items (id bigint PRIMARY KEY, name text, code varchar(100) NOT NULL UNIQUE)";
const SERVER_NEW: &str =
    "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, code varchar(100) NOT NULL UNIQUE)";
const FILE_NEW: &str = "PRAGMA journal_mode = WAL; CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT NOT NULL UNIQUE)";

/// Puts on a token's condition are for stores without transactions.
fn all_but_tokens(outcome: &conformance::Conformance) {
    let for_others = |name: &str| name.contains("token") || name.contains("same");
    assert!(outcome.not_applicable.iter().all(|name| for_others(name)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_keeps_every_promise() {
    let outcome = conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        subject(mariadb("old", MARIADB).await, mariadb("new", MARIADB_NEW).await, folder).await
    })
    .await;
    all_but_tokens(&outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mariadb_to_sqlite_every_promise_is_kept() {
    let outcome = conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        subject(mariadb("old", MARIADB).await, file("new", &folder, FILE_NEW).await, folder).await
    })
    .await;
    all_but_tokens(&outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgresql_to_mariadb_every_promise_is_kept() {
    let outcome = conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        subject(postgres("old", SERVER).await, mariadb("new", MARIADB_NEW).await, folder).await
    })
    .await;
    all_but_tokens(&outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mariadb_to_postgresql_every_promise_is_kept() {
    let outcome = conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        subject(mariadb("old", MARIADB).await, postgres("new", SERVER_NEW).await, folder).await
    })
    .await;
    all_but_tokens(&outcome);
}
