//! The test kit's conformance suite, run on the SQLite store: every promise of the `Store` trait's documentation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::Side;
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};
use changeover_testkit::conformance::{self, App, AppWrite, ITEMS, Subject};
use common::{Pair, mapping};
use rusqlite::{Connection, params};

/// The application, which opens the files as any program would.
struct Files {
    old: PathBuf,
    new: PathBuf,
}

impl Files {
    async fn run(&self, side: Side, writes: &[AppWrite], commit: bool) -> Result<(), String> {
        let path = match side {
            Side::Old => self.old.clone(),
            Side::New => self.new.clone(),
        };
        let writes = writes.to_vec();
        let work = move || write(&path, &writes, commit).map_err(|error| error.to_string());
        tokio::task::spawn_blocking(work).await.unwrap()
    }
}

fn write(path: &PathBuf, writes: &[AppWrite], commit: bool) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
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

#[async_trait]
impl App for Files {
    async fn write(&self, side: Side, writes: &[AppWrite]) -> Result<(), String> {
        self.run(side, writes, true).await
    }

    async fn write_and_roll_back(&self, side: Side, writes: &[AppWrite]) {
        self.run(side, writes, false).await.unwrap();
    }
}

const OPTIONS: SqliteOptions = SqliteOptions { lock_wait: Duration::from_millis(200), readers: 4, scans: 8 };

async fn subject() -> Subject {
    let pair = Pair::new(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, code TEXT NOT NULL UNIQUE);",
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT NOT NULL UNIQUE);",
    );
    let old = SqliteDatabase::open("old", pair.old_path(), OPTIONS).await.unwrap();
    let new = SqliteDatabase::open("new", pair.new_path(), OPTIONS).await.unwrap();
    let catalogs = [old.catalog().await.unwrap(), new.catalog().await.unwrap()];
    let plan = plan(&[mapping(ITEMS, ITEMS)], &catalogs, Mirroring::Capture);
    assert!(plan.is_sound(), "{:?}", plan.findings);
    let files = Files { old: pair.old_path(), new: pair.new_path() };
    let Pair { folder, .. } = pair;
    Subject {
        old: Arc::new(SqliteStore::new(old, "move", Side::Old, &plan).await.unwrap()),
        new: Arc::new(SqliteStore::new(new, "move", Side::New, &plan).await.unwrap()),
        app: Arc::new(files),
        keep: Box::new(folder),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlite_store_keeps_every_promise() {
    let outcome = conformance::run(subject).await;
    // Puts on a token's condition are for stores without transactions.
    assert!(
        outcome.not_applicable.iter().all(|name| name.contains("token") || name.contains("same")),
        "{outcome:?}"
    );
}
