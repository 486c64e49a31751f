//! Two PostgreSQL databases, a mapping between them, applications with sessions of their own, and the least of an engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::Fence;
use changeover::store::guard::{Applied, Change, Guarded, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, RowBatch};
use changeover::{Key, Row, Side, TableName, Value};
use changeover_tables::database::{Database, SideStore};
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_testkit::servers::Postgres;
use tokio_postgres::{Client, NoTls};

pub(super) const CAPTURE: CaptureOptions = CaptureOptions { bound: 1_000_000, overflow: true };
pub(super) const OPTIONS: PostgresOptions =
    PostgresOptions { lock_wait: Duration::from_millis(1_000), sessions: 8 };
/// For a lock that is to be had, and for one that isn't.
pub(super) const WAIT: Duration = Duration::from_secs(5);
pub(super) const SHORT: Duration = Duration::from_millis(150);
pub(super) const STALL: Duration = Duration::from_secs(20);

/// The server that the tests share.
pub(super) async fn server() -> &'static Postgres {
    tokio::task::spawn_blocking(Postgres::shared).await.unwrap()
}

/// A session of an application's.
pub(super) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An old and a new database, each with a session of the application's.
pub(super) struct World {
    pub(super) urls: [String; 2],
    pub(super) old_app: Client,
    pub(super) new_app: Client,
}

/// The two sides as stores.
pub(super) struct Stores {
    pub(super) old: Arc<dyn SideStore>,
    pub(super) new: Arc<dyn SideStore>,
}

impl World {
    pub(super) async fn new(old: &str, new: &str) -> Self {
        Self::with("", old, new).await
    }

    /// With a clause of CREATE DATABASE.
    pub(super) async fn with(clause: &str, old: &str, new: &str) -> Self {
        Self::on(server().await, clause, old, new).await
    }

    /// On this server.
    pub(super) async fn on(server: &Postgres, clause: &str, old: &str, new: &str) -> Self {
        let make = |hint| tokio::task::block_in_place(|| server.create_database_with(hint, clause));
        let names = [make("old"), make("new")];
        let urls = [server.url(&names[0]), server.url(&names[1])];
        let (old_app, new_app) = (connect(&urls[0]).await, connect(&urls[1]).await);
        old_app.batch_execute(old).await.unwrap();
        new_app.batch_execute(new).await.unwrap();
        Self { urls, old_app, new_app }
    }

    /// The same table on both sides.
    pub(super) async fn same(sql: &str) -> Self {
        Self::new(sql, sql).await
    }

    /// One more session of the application's on a side.
    pub(super) async fn app(&self, side: Side) -> Client {
        connect(&self.urls[usize::from(side == Side::New)]).await
    }

    pub(super) async fn stores(&self, mappings: &[TableMapping]) -> Stores {
        self.stores_as("move", mappings, &self.urls).await
    }

    pub(super) async fn stores_as(
        &self,
        migration: &str,
        mappings: &[TableMapping],
        urls: &[String; 2],
    ) -> Stores {
        let old = PostgresDatabase::open("old", &urls[0], OPTIONS).await.unwrap();
        let new = PostgresDatabase::open("new", &urls[1], OPTIONS).await.unwrap();
        let catalogs = [old.catalog().await.unwrap(), new.catalog().await.unwrap()];
        let plan = plan(mappings, &catalogs, Mirroring::Capture);
        assert!(plan.is_sound(), "{:#?}", plan.findings);
        let old = old.side(migration, Side::Old, &plan).await.unwrap();
        let new = new.side(migration, Side::New, &plan).await.unwrap();
        Stores { old, new }
    }

    /// What the plan has to say against the mappings.
    pub(super) async fn findings(&self, mappings: &[TableMapping], urls: &[String; 2]) -> String {
        let mut catalogs = Vec::new();
        for (store, url) in ["old", "new"].into_iter().zip(urls) {
            let database = PostgresDatabase::open(store, url, OPTIONS).await.unwrap();
            catalogs.push(database.catalog().await.unwrap());
        }
        format!("{:?}", plan(mappings, &catalogs, Mirroring::Capture).findings)
    }

    /// The stores of one table of this name on both sides.
    pub(super) async fn of(&self, table: &str) -> Stores {
        self.stores(&[mapping(table, table)]).await
    }
}

pub(super) fn mapping(old: &str, new: &str) -> TableMapping {
    let place = |store: &str, name: &str| {
        let mut place = TableRef::new(store, name);
        if let Some((schema, table)) = name.split_once('/') {
            place = TableRef::new(store, table);
            place.schema = Some(schema.to_owned());
        }
        place
    };
    TableMapping::new(place("old", old), place("new", new))
}

pub(super) fn key(table: &str, value: impl Into<Value>) -> Key {
    Key::new(table.to_owned(), value)
}

/// All rows of a store's mapping; none may be refused.
pub(super) async fn rows(store: &Arc<dyn SideStore>, table: &TableName) -> Vec<Row> {
    let budget = BatchBudget { rows: 100, bytes: 1 << 20 };
    let mut stream = store.scan(table, &KeyRange::default(), Image::Canonical, budget).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await.unwrap() {
        assert_eq!(batch.refused, []);
        rows.extend(batch.rows);
    }
    rows
}

/// Waits until a query answers true: the server is asked, never the clock.
pub(super) async fn until(client: &Client, what: &str) {
    let asked = async {
        while !client.query_one(what, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the session with this number waits for a lock.
pub(super) async fn until_blocked(client: &Client, pid: i32) {
    until(client, &format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND NOT granted")).await;
}

pub(super) async fn pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

/// What a query answers, as text.
pub(super) async fn ask(client: &Client, sql: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql).await.unwrap() {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

/// The SQLSTATE with which the statements are refused.
pub(super) async fn refused(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.err().unwrap_or_else(|| panic!("taken: {sql}"));
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

impl Stores {
    pub(super) fn sides(&self, authority: Side) -> (&Arc<dyn SideStore>, &Arc<dyn SideStore>) {
        match authority {
            Side::Old => (&self.old, &self.new),
            Side::New => (&self.new, &self.old),
        }
    }

    pub(super) fn log(&self, side: Side) -> &dyn CaptureLog {
        self.sides(side).0.capture().unwrap()
    }

    pub(super) fn fence(&self, side: Side) -> &dyn Fence {
        self.sides(side).0.fence().unwrap()
    }

    pub(super) fn guarded(&self, side: Side) -> &dyn Guarded {
        self.sides(side).0.guarded().unwrap()
    }

    pub(super) async fn capture(&self) {
        self.log(Side::Old).install(CAPTURE).await.unwrap();
    }

    /// Copies all tables to the new side in one piece each.
    pub(super) async fn copy(&self) {
        for shape in self.old.tables() {
            let rows = rows(&self.old, &shape.table).await;
            let mut tx = self.guarded(Side::New).begin(Scope::Marks).await.unwrap();
            let applied = tx.load(&shape.table, RowBatch { rows, refused: vec![] }, false).await.unwrap();
            assert_eq!(applied.refused, []);
            tx.commit().await.unwrap();
        }
    }

    /// Levels these keys, pulling in those that must join.
    pub(super) async fn level(&self, authority: Side, keys: &[Key]) -> Applied {
        let (from, to) = self.sides(authority);
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut keys: Vec<Key> = keys.iter().filter(|k| known.insert(k.to_string())).cloned().collect();
        for _ in 0..20 {
            let mut tx = to.guarded().unwrap().begin(Scope::Keys(&keys)).await.unwrap();
            let mut changes = Vec::new();
            for key in &keys {
                let one = std::slice::from_ref(key);
                let mut read = from.read(&key.table, one, Image::Canonical).await.unwrap();
                assert_eq!(read.refused, []);
                let mut back = None;
                if authority == Side::New {
                    back = from.read(&key.table, one, Image::Back).await.unwrap().rows.remove(0);
                }
                changes.push(Change { key: key.clone(), row: read.rows.remove(0), back });
            }
            let applied = tx.apply(&changes).await.unwrap();
            if applied.joins.is_empty() {
                tx.commit().await.unwrap();
                return applied;
            }
            keys.extend(applied.joins.into_iter().filter(|k| known.insert(k.to_string())));
        }
        panic!("the set didn't settle: {keys:?}");
    }

    /// Drains the old side's log, each key alone, as a worker would at worst; nothing may be refused.
    pub(super) async fn drain(&self) {
        self.drain_of(Side::Old).await;
    }

    pub(super) async fn drain_of(&self, authority: Side) {
        loop {
            let claims = self.log(authority).claim(0, 50).await.unwrap();
            if claims.is_empty() {
                return;
            }
            for claim in &claims {
                let applied = self.level(authority, std::slice::from_ref(&claim.key)).await;
                assert_eq!(applied.refused, []);
            }
            let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
            self.log(authority).discard(&ids).await.unwrap();
        }
    }

    /// The keys in a side's log, each once, in order.
    pub(super) async fn logged(&self, side: Side) -> Vec<String> {
        let claims = self.log(side).claim(0, 1_000).await.unwrap();
        let keys: BTreeSet<String> = claims.iter().map(|claim| claim.key.to_string()).collect();
        keys.into_iter().collect()
    }

    /// Both sides have the same rows.
    pub(super) async fn assert_equal(&self) {
        for shape in self.new.tables() {
            let mut both = [rows(&self.old, &shape.table).await, rows(&self.new, &shape.table).await];
            both.iter_mut().for_each(|rows| rows.sort_by_key(|row| format!("{row:?}")));
            assert_eq!(both[0], both[1], "{}", shape.table);
        }
    }
}
