//! Two SQLite files, a mapping between them, and the least of an engine: enough to see whether the store keeps its word.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::Fence;
use changeover::store::guard::{Applied, Change, Guarded, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, Refusal, RowBatch, Store};
use changeover::{Key, Row, Side, TableName, Value};
use changeover_tables::catalog::Engine;
use changeover_tables::mapping::{KeyColumn, SetExpr, TableMapping, TableRef};
use changeover_tables::plan::{Mirroring, Plan, plan};
use changeover_tables::proposal::proposed_table;
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

pub const CAPTURE: CaptureOptions = CaptureOptions { bound: 1_000_000, overflow: true };

/// An old and a new database, each with a connection of the application's.
pub struct Pair {
    pub folder: TempDir,
    pub old_app: Connection,
    pub new_app: Connection,
}

/// The two sides as stores.
pub struct Stores {
    pub old: SqliteStore,
    pub new: SqliteStore,
    pub plan: Plan,
}

pub fn app(path: &PathBuf) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL")
        .unwrap();
    connection
}

impl Pair {
    pub fn new(old: &str, new: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (old_app, new_app) = (app(&folder.path().join("old.db")), app(&folder.path().join("new.db")));
        old_app.execute_batch(old).unwrap();
        new_app.execute_batch(new).unwrap();
        Self { folder, old_app, new_app }
    }

    pub fn old_path(&self) -> PathBuf {
        self.folder.path().join("old.db")
    }

    pub fn new_path(&self) -> PathBuf {
        self.folder.path().join("new.db")
    }

    pub async fn plan(&self, mappings: &[TableMapping]) -> Plan {
        let old = SqliteDatabase::open("old", self.old_path(), SqliteOptions::default()).await.unwrap();
        let new = SqliteDatabase::open("new", self.new_path(), SqliteOptions::default()).await.unwrap();
        plan(mappings, &[old.catalog().await.unwrap(), new.catalog().await.unwrap()], Mirroring::Capture)
    }

    /// The CREATE TABLE that is proposed for a mapping's new table.
    pub async fn proposed(&self, mapping: &TableMapping) -> String {
        let old = SqliteDatabase::open("old", self.old_path(), SqliteOptions::default()).await.unwrap();
        let catalog = old.catalog().await.unwrap();
        let table = catalog.table(None, &mapping.old.table).unwrap();
        proposed_table(mapping, (Engine::Sqlite, table), Engine::Sqlite).sql
    }

    pub async fn stores(&self, mappings: &[TableMapping]) -> Stores {
        let plan = self.plan(mappings).await;
        assert!(plan.is_sound(), "{:#?}", plan.findings);
        self.stores_of(plan).await
    }

    pub async fn stores_of(&self, plan: Plan) -> Stores {
        let old = SqliteDatabase::open("old", self.old_path(), SqliteOptions::default()).await.unwrap();
        let new = SqliteDatabase::open("new", self.new_path(), SqliteOptions::default()).await.unwrap();
        Stores {
            old: SqliteStore::new(old, "move", Side::Old, &plan).await.unwrap(),
            new: SqliteStore::new(new, "move", Side::New, &plan).await.unwrap(),
            plan,
        }
    }
}

/// A mapping of `old:t` to `new:t` (or other names).
pub fn mapping(old: &str, new: &str) -> TableMapping {
    TableMapping::new(TableRef::new("old", old), TableRef::new("new", new))
}

pub fn key_column(old: &str, new: &str) -> KeyColumn {
    KeyColumn { old: old.into(), new: new.into() }
}

pub fn sql(text: &str) -> SetExpr {
    SetExpr::Sql(text.into())
}

pub fn constant(value: impl Into<Value>) -> SetExpr {
    SetExpr::Const(value.into())
}

pub fn key(table: &str, value: impl Into<Value>) -> Key {
    Key::new(table.to_owned(), value)
}

pub fn row(values: Vec<Value>) -> Row {
    Row(values)
}

/// All rows of a store's mapping, in the store's order, with what was refused.
pub async fn rows(store: &dyn Store, table: &TableName, image: Image) -> (Vec<Row>, Vec<Refusal>) {
    rows_in(store, table, &KeyRange::default(), image).await
}

pub async fn rows_in(
    store: &dyn Store,
    table: &TableName,
    range: &KeyRange,
    image: Image,
) -> (Vec<Row>, Vec<Refusal>) {
    let budget = BatchBudget { rows: 3, bytes: 1 << 20 };
    let mut stream = store.scan(table, range, image, budget).await.unwrap();
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    while let Some(batch) = stream.next().await.unwrap() {
        rows.extend(batch.rows);
        refused.extend(batch.refused);
    }
    (rows, refused)
}

/// What a query answers, as text: for looking into a database as the application would.
pub fn ask(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    let columns = statement.column_count();
    let rows = statement
        .query_map([], |row| {
            let values: Vec<String> = (0..columns)
                .map(|at| match row.get_ref(at).unwrap() {
                    rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    rusqlite::types::ValueRef::Real(x) => format!("{x:?}"),
                    rusqlite::types::ValueRef::Text(t) => format!("'{}'", String::from_utf8_lossy(t)),
                    rusqlite::types::ValueRef::Blob(b) => format!("x{b:02x?}"),
                })
                .collect();
            Ok(values.join("|"))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

impl Stores {
    pub fn table(&self) -> TableName {
        self.plan.tables[0].name.clone()
    }

    pub fn sides(&self, authority: Side) -> (&SqliteStore, &SqliteStore) {
        match authority {
            Side::Old => (&self.old, &self.new),
            Side::New => (&self.new, &self.old),
        }
    }

    /// Copies all tables to the new side in one chunk each.
    pub async fn copy(&self) -> Applied {
        let mut all = Applied::default();
        for shape in self.old.tables() {
            let (rows, refused) = rows(&self.old, &shape.table, Image::Canonical).await;
            let mut tx = self.new.guarded().unwrap().begin(Scope::Marks).await.unwrap();
            let batch = RowBatch { rows, refused: vec![] };
            let applied = tx.load(&shape.table, batch, false).await.unwrap();
            tx.commit().await.unwrap();
            all.written += applied.written;
            all.unchanged += applied.unchanged;
            all.refused.extend(refused.into_iter().chain(applied.refused));
            all.joins.extend(applied.joins);
        }
        all
    }

    /// Levels these keys, pulling in those that must join.
    pub async fn level(&self, authority: Side, keys: &[Key]) -> Applied {
        let (from, to) = self.sides(authority);
        let mut set: BTreeSet<String> = BTreeSet::new();
        let mut keys: Vec<Key> = keys.iter().filter(|k| set.insert(k.to_string())).cloned().collect();
        for _ in 0..20 {
            let mut tx = to.guarded().unwrap().begin(Scope::Keys(&keys)).await.unwrap();
            let mut changes = Vec::new();
            let mut refused = Vec::new();
            for key in &keys {
                let one = std::slice::from_ref(key);
                let mut read = from.read(&key.table, one, Image::Canonical).await.unwrap();
                let mut back = None;
                if authority == Side::New {
                    let mut image = from.read(&key.table, one, Image::Back).await.unwrap();
                    back = image.rows.remove(0);
                    refused.append(&mut image.refused);
                }
                if !read.refused.is_empty() {
                    refused.append(&mut read.refused);
                    continue;
                }
                changes.push(Change { key: key.clone(), row: read.rows.remove(0), back });
            }
            let mut applied = tx.apply(&changes).await.unwrap();
            if applied.joins.is_empty() {
                tx.commit().await.unwrap();
                applied.refused.append(&mut refused);
                return applied;
            }
            keys.extend(applied.joins.into_iter().filter(|k| set.insert(k.to_string())));
        }
        panic!("the set didn't settle: {keys:?}");
    }

    /// Drains the authority's log: levels each key alone, as a worker would at worst, and discards its entries.
    pub async fn drain(&self, authority: Side) -> Applied {
        let (from, _) = self.sides(authority);
        let log: &dyn CaptureLog = from.capture().unwrap();
        let mut all = Applied::default();
        loop {
            let claims = log.claim(0, 7).await.unwrap();
            if claims.is_empty() {
                return all;
            }
            for claim in &claims {
                let applied = self.level(authority, std::slice::from_ref(&claim.key)).await;
                all.written += applied.written;
                all.deleted += applied.deleted;
                all.unchanged += applied.unchanged;
                all.refused.extend(applied.refused);
            }
            log.discard(&claims.iter().map(|c| c.id).collect::<Vec<_>>()).await.unwrap();
        }
    }

    /// Both sides have the same canonical rows, none refused.
    pub async fn assert_equal(&self) {
        for shape in self.new.tables() {
            let (mut old, refused) = rows(&self.old, &shape.table, Image::Canonical).await;
            assert_eq!(refused, []);
            let (mut new, refused) = rows(&self.new, &shape.table, Image::Canonical).await;
            assert_eq!(refused, []);
            let by_key = |row: &Row| format!("{row:?}");
            old.sort_by_key(by_key);
            new.sort_by_key(by_key);
            assert_eq!(old, new, "{}", shape.table);
        }
    }

    pub fn old_log(&self) -> &dyn CaptureLog {
        self.old.capture().unwrap()
    }

    pub fn new_log(&self) -> &dyn CaptureLog {
        self.new.capture().unwrap()
    }

    pub fn old_fence(&self) -> &dyn Fence {
        self.old.fence().unwrap()
    }

    pub fn new_fence(&self) -> &dyn Fence {
        self.new.fence().unwrap()
    }

    pub fn new_guarded(&self) -> &dyn Guarded {
        self.new.guarded().unwrap()
    }
}

pub fn shared(database: &SqliteStore) -> Arc<SqliteDatabase> {
    Arc::clone(database.database())
}
