//! Two MariaDB databases, a mapping between them, applications with sessions of their own, and the least of an engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::Fence;
use changeover::store::guard::{Applied, Change, Guarded, Scope};
use changeover::store::{BatchBudget, Image, KeyRange};
use changeover::{Key, Row, Side, TableName, Value};
use changeover_tables::database::{Database, SideStore};
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{Load, MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};
use changeover_testkit::servers::MariaDb;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};

pub(super) const CAPTURE: CaptureOptions = CaptureOptions { bound: 1_000_000, overflow: true };
pub(super) const OPTIONS: MysqlOptions =
    MysqlOptions { lock_wait: Duration::from_millis(500), sessions: 8, load: Load::Fastest };
/// For a lock that is to be had, and for one that isn't.
pub(super) const WAIT: Duration = Duration::from_secs(5);
pub(super) const SHORT: Duration = Duration::from_millis(150);
pub(super) const STALL: Duration = Duration::from_secs(20);

/// The isolations of an application's transactions.
pub(super) const ISOLATIONS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// The server that the tests share.
pub(super) async fn server() -> &'static MariaDb {
    tokio::task::spawn_blocking(MariaDb::shared).await.unwrap()
}

/// A session of an application's.
pub(super) struct App(Conn);

impl App {
    pub(super) async fn connect(url: &str) -> Self {
        let opts = OptsBuilder::from_opts(Opts::from_url(url).unwrap()).prefer_socket(false);
        let mut app = Self(Conn::new(opts).await.unwrap());
        // Nothing here waits for long: a test that would hang fails.
        app.run("SET innodb_lock_wait_timeout = 20, lock_wait_timeout = 20").await;
        app
    }

    /// Statements that succeed.
    pub(super) async fn run(&mut self, sql: &str) {
        self.tried(sql).await.unwrap_or_else(|(code, state, said)| panic!("{sql}: {code} {state} {said}"));
    }

    /// Statements; of the first that fails the server's number, its SQLSTATE and its words.
    pub(super) async fn tried(&mut self, sql: &str) -> Result<(), (u16, String, String)> {
        match self.0.query_drop(sql).await {
            Ok(()) => Ok(()),
            Err(mysql_async::Error::Server(said)) => Err((said.code, said.state, said.message)),
            Err(other) => panic!("{sql}: {other}"),
        }
    }

    /// The number and the SQLSTATE with which statements are refused.
    pub(super) async fn refused(&mut self, sql: &str) -> (u16, String) {
        let (code, state, _) = self.tried(sql).await.err().unwrap_or_else(|| panic!("taken: {sql}"));
        (code, state)
    }

    /// What a query answers, as text.
    pub(super) async fn ask(&mut self, sql: &str) -> Vec<String> {
        let rows: Vec<mysql_async::Row> = self.0.query(sql).await.unwrap();
        let text = |value: mysql_async::Value| match value {
            mysql_async::Value::NULL => "NULL".to_owned(),
            other => other.as_sql(true).trim_matches('\'').to_owned(),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    pub(super) async fn begin(&mut self, isolation: &str) {
        self.run(&format!("SET TRANSACTION ISOLATION LEVEL {isolation}; START TRANSACTION")).await;
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How many rows the last statement has changed, and the id that it was given.
    pub(super) fn told(&self) -> (u64, Option<u64>) {
        (self.0.affected_rows(), self.0.last_insert_id())
    }
}

/// An old and a new database, each with a session of the application's.
pub(super) struct World {
    pub(super) urls: [String; 2],
    pub(super) old_app: App,
    pub(super) new_app: App,
}

/// The two sides as stores.
pub(super) struct Stores {
    pub(super) old: Arc<dyn SideStore>,
    pub(super) new: Arc<dyn SideStore>,
}

impl World {
    pub(super) async fn new(old: &str, new: &str) -> Self {
        Self::on(server().await, old, new).await
    }

    /// On this server.
    pub(super) async fn on(server: &MariaDb, old: &str, new: &str) -> Self {
        let make = |hint| tokio::task::block_in_place(|| server.create_database(hint));
        let urls = [server.url(&make("old")), server.url(&make("new"))];
        let (mut old_app, mut new_app) = (App::connect(&urls[0]).await, App::connect(&urls[1]).await);
        old_app.run(old).await;
        new_app.run(new).await;
        Self { urls, old_app, new_app }
    }

    /// The same table on both sides.
    pub(super) async fn same(sql: &str) -> Self {
        Self::new(sql, sql).await
    }

    /// One more session of the application's on a side.
    pub(super) async fn app(&self, side: Side) -> App {
        App::connect(&self.urls[usize::from(side == Side::New)]).await
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
        let old = MysqlDatabase::open("old", &urls[0], OPTIONS).await.unwrap();
        let new = MysqlDatabase::open("new", &urls[1], OPTIONS).await.unwrap();
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
            let database = MysqlDatabase::open(store, url, OPTIONS).await.unwrap();
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
    TableMapping::new(TableRef::new("old", old), TableRef::new("new", new))
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

/// Waits until a query answers 1: the server is asked, never the clock.
pub(super) async fn until(app: &mut App, what: &str) {
    let asked = async {
        while app.ask(what).await != ["1"] {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until some other session in this database waits in a statement with these words in it. InnoDB's own list of those that wait
/// for a lock is made anew only when nobody has read it for a while, so it is one that takes its time.
pub(super) async fn until_waiting(app: &mut App, words: &str) {
    let waits = format!(
        "SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID() \
         AND TIME_MS > 50 AND COMMAND <> 'Sleep' AND INFO LIKE '%{}%'",
        words.replace('\'', "''")
    );
    until(app, &waits).await;
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

    /// Drains a side's log, each key alone, as a worker would at worst; nothing may be refused.
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

    /// Empties a side's log by hand.
    pub(super) async fn forget(&self, side: Side) {
        let claims = self.log(side).claim(0, 10_000).await.unwrap();
        let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
        self.log(side).discard(&ids).await.unwrap();
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
