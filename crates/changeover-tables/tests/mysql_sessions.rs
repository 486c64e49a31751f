//! Sessions with MariaDB: what is left of one that is dropped, given back or ended by the server; by which roads rows go; and that
//! a run of keys is read by the index. Each test has a server to itself, because it counts what that does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use changeover::store::guard::{Change, Chunk, ChunkState, Scope};
use changeover::store::{BatchBudget, Image, KeyRange, RowBatch};
use changeover::{Key, Row, Side, StoreError, Value};
use changeover_tables::database::{Database as _, SideStore};
use changeover_tables::mapping::{SetExpr, TableMapping, TableRef};
use changeover_tables::mysql::{Load, MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};
use changeover_testkit::relay::Relay;
use changeover_testkit::servers::MariaDb;

/// A server of one's own, which is waited for off the runtime.
#[derive(Clone)]
struct Server(Arc<MariaDb>);

impl Server {
    async fn start() -> Self {
        Self(tokio::task::spawn_blocking(|| Arc::new(MariaDb::start(&[]))).await.unwrap())
    }

    async fn sql(&self, database: &str, sql: &str) -> String {
        let (server, database, sql) = (Arc::clone(&self.0), database.to_owned(), sql.to_owned());
        tokio::task::spawn_blocking(move || server.sql(&database, &sql)).await.unwrap().trim().to_owned()
    }

    async fn count(&self, counter: &str) -> i64 {
        let said = self.sql("", &format!("SHOW GLOBAL STATUS LIKE '{counter}'")).await;
        said.split_whitespace().last().unwrap().parse().unwrap()
    }

    /// Sessions that aren't ours alone, by what they are at.
    async fn at_work(&self, like: &str) -> String {
        let sql = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '{like}%'");
        self.sql("", &sql).await
    }

    async fn open(&self, store: &str, database: &str, load: Load, sessions: usize) -> Arc<MysqlDatabase> {
        let options = MysqlOptions { lock_wait: Duration::from_secs(20), sessions, load };
        MysqlDatabase::open(store, &self.0.url(database), options).await.unwrap()
    }

    /// Both sides of a migration of a table, which is the same in both databases.
    async fn sides(
        &self,
        ddl: &str,
        load: Load,
        sessions: usize,
        set: &[(&str, &str)],
    ) -> (Arc<dyn SideStore>, Arc<dyn SideStore>) {
        for database in ["old_db", "new_db"] {
            self.sql("", &format!("CREATE DATABASE {database}; USE {database}; {ddl}")).await;
        }
        let (old, new) = (
            self.open("old", "old_db", load, sessions).await,
            self.open("new", "new_db", load, sessions).await,
        );
        let mut mapping = TableMapping::new(TableRef::new("old", "t"), TableRef::new("new", "t"));
        for (column, sql) in set {
            mapping.set.push(((*column).into(), SetExpr::Sql((*sql).into())));
        }
        let catalogs = [old.catalog().await.unwrap(), new.catalog().await.unwrap()];
        let plan = plan(&[mapping], &catalogs, Mirroring::CopyOnly);
        assert!(plan.is_sound(), "{:?}", plan.findings);
        (old.side("move", Side::Old, &plan).await.unwrap(), new.side("move", Side::New, &plan).await.unwrap())
    }
}

const PAIRS: &str = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20))";

fn row(id: i64, text: &str) -> Row {
    Row(vec![Value::Int(id), text.into()])
}

fn put(id: i64, text: &str) -> Change {
    Change { key: Key::new("t", Value::Int(id)), row: Some(row(id, text)), back: None }
}

fn chunk() -> Chunk {
    Chunk {
        table: "t".into(),
        generation: 1,
        number: 0,
        after: None,
        upto: None,
        state: ChunkState::Begun,
        rows: 0,
    }
}

/// Waits until it is so; a server's counters are a moment behind.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within five seconds: {what}");
}

/// Nobody waits for a write that waits for a lock: it is never made, not even when the lock is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_dropped_at_work_is_cut_off() {
    let server = Server::start().await;
    let (_, new) = server.sides(PAIRS, Load::Fastest, 4, &[]).await;
    server.sql("new_db", "INSERT INTO t VALUES (1, 'before')").await;
    let holder = server.clone();
    let held = tokio::spawn(async move {
        holder
            .sql(
                "new_db",
                "START TRANSACTION; SELECT * FROM t WHERE id = 1 FOR UPDATE; DO SLEEP(3); ROLLBACK",
            )
            .await
    });
    until("the application holds the row", async || server.at_work("DO SLEEP").await == "1").await;
    let key = [Key::new("t", Value::Int(1))];
    let mut tx = new.guarded().unwrap().begin(Scope::Keys(&key)).await.unwrap();
    let change = [put(1, "after")];
    let waited = tokio::time::timeout(Duration::from_millis(400), tx.apply(&change)).await;
    assert!(waited.is_err(), "it waits for the row");
    assert_eq!(server.at_work("UPDATE").await, "1");
    drop(tx);
    until("nobody writes any more", async || server.at_work("UPDATE").await == "0").await;
    assert!(!held.is_finished(), "the row was held all the while");
    held.await.unwrap();
    assert_eq!(server.sql("new_db", "SELECT a FROM t").await, "before");
    // The guard is free again, and the store of use.
    let mut tx = new.guarded().unwrap().begin(Scope::Keys(&key)).await.unwrap();
    tx.apply(&change).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(server.sql("new_db", "SELECT a FROM t").await, "after");
}

/// The mark that tells the mirror's writes is the session's, and must not be there for the next who has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mirrors_mark_is_gone_with_its_transaction() {
    let server = Server::start().await;
    // One session in all.
    let mark = ("a", "CONCAT(COALESCE(@changeover_mirror, 'none'), @@foreign_key_checks)");
    let (old, _) = server.sides(PAIRS, Load::Fastest, 1, &[mark]).await;
    server.sql("old_db", "INSERT INTO t VALUES (1, 'x')").await;
    let key = [Key::new("t", Value::Int(1))];
    let mut tx = old.guarded().unwrap().begin(Scope::Keys(&key)).await.unwrap();
    let within = tx.read(&"t".into(), &key).await.unwrap();
    assert_eq!(within.rows, [Some(row(1, "1OFF"))], "it is there within the transaction");
    tx.commit().await.unwrap();
    let after = old.read(&"t".into(), &key, Image::Canonical).await.unwrap();
    assert_eq!(after.rows, [Some(row(1, "noneON"))]);
}

/// MariaDB would take the commit of a transaction that it has ended for one of nothing, without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_server_has_ended_is_never_committed() {
    let server = Server::start().await;
    let (_, new) = server.sides(PAIRS, Load::Fastest, 4, &[]).await;
    server.sql("new_db", "INSERT INTO t VALUES (1, 'one'), (2, 'two')").await;
    // A deadlock with an application that has written more, and so isn't the one that loses.
    let mut tx = new.guarded().unwrap().begin(Scope::Chunk(&chunk())).await.unwrap();
    tx.apply(&[put(1, "ours")]).await.unwrap();
    let (other, heavy) = (server.clone(), "INSERT INTO t SELECT seq, 'x' FROM seq_1000_to_3000");
    let application = tokio::spawn(async move {
        let sql = format!(
            "START TRANSACTION; {heavy}; UPDATE t SET a = 'theirs' WHERE id = 2; UPDATE t SET a = 'theirs' WHERE id = 1; COMMIT"
        );
        other.sql("new_db", &sql).await
    });
    until("the application waits for our row", async || {
        server.at_work("UPDATE t SET a = ''theirs'' WHERE id = 1").await == "1"
    })
    .await;
    let lost = tx.apply(&[put(2, "ours")]).await;
    assert!(matches!(lost, Err(StoreError::Busy { .. })), "{lost:?}");
    // Whoever goes on all the same writes nothing.
    assert!(tx.apply(&[put(3, "ours")]).await.is_err());
    assert!(tx.commit().await.is_err());
    application.await.unwrap();
    assert_eq!(
        server.sql("new_db", "SELECT GROUP_CONCAT(a ORDER BY id) FROM t WHERE id < 1000").await,
        "theirs,theirs"
    );
}

/// A killed session's commit doesn't pass for one either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_session_was_killed_is_never_committed() {
    let server = Server::start().await;
    let (_, new) = server.sides(PAIRS, Load::Fastest, 4, &[]).await;
    let mut tx = new.guarded().unwrap().begin(Scope::Chunk(&chunk())).await.unwrap();
    tx.apply(&[put(1, "ours")]).await.unwrap();
    let id = server
        .sql("", "SELECT TRX_MYSQL_THREAD_ID FROM information_schema.INNODB_TRX WHERE TRX_ROWS_MODIFIED > 0")
        .await;
    server.sql("", &format!("KILL {id}")).await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(server.sql("new_db", "SELECT COUNT(*) FROM t").await, "0");
}

/// A guard whose row somebody has deleted guards nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_not_there_is_not_taken() {
    let server = Server::start().await;
    let (_, new) = server.sides(PAIRS, Load::Fastest, 4, &[]).await;
    let key = [Key::new("t", Value::Int(1))];
    let guarded = new.guarded().unwrap();
    guarded.begin(Scope::Keys(&key)).await.unwrap().commit().await.unwrap();
    assert_eq!(
        server.sql("new_db", "SELECT COUNT(*), MAX(number) FROM changeover_guard").await,
        "2050\t2049"
    );
    server.sql("new_db", "DELETE FROM changeover_guard WHERE number < 1024").await;
    let error = guarded.begin(Scope::Keys(&key)).await.err().unwrap();
    assert!(error.to_string().contains("locks are there"), "{error}");
}

/// Each road is really gone, and none of them is taken back for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_by_the_road_that_was_asked_for() {
    for (load, files, statements) in
        [(Load::Fastest, 0, 1..=3), (Load::File, 1, 0..=0), (Load::Statements, 0, 4..=12)]
    {
        let server = Server::start().await;
        let (_, new) = server.sides(PAIRS, load, 4, &[]).await;
        let mut tx = new.guarded().unwrap().begin(Scope::Chunk(&chunk())).await.unwrap();
        let rows = (0..1_000).map(|id| row(id, "x")).collect();
        let before = server.count("Com_stmt_execute").await;
        tx.load(&"t".into(), RowBatch { rows, refused: Vec::new() }, false).await.unwrap();
        let executed = server.count("Com_stmt_execute").await - before;
        tx.commit().await.unwrap();
        assert_eq!(server.count("Com_load").await, files, "{load:?}");
        assert_eq!(server.count("Com_rollback_to_savepoint").await, 0, "{load:?}");
        assert!(statements.contains(&executed), "{load:?}: {executed} statements");
        assert_eq!(server.sql("new_db", "SELECT COUNT(*) FROM t").await, "1000");
    }
}

/// Neither a run of keys nor a list of them reads more of the table than it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_several_columns_are_found_by_the_index() {
    const COMPOSITE: &str =
        "CREATE TABLE t (a INT, b VARCHAR(20), c DECIMAL(20, 4), n INT, PRIMARY KEY (a, b, c))";
    let server = Server::start().await;
    let (old, _) = server.sides(COMPOSITE, Load::Fastest, 4, &[]).await;
    server
        .sql(
            "old_db",
            "INSERT INTO t SELECT seq DIV 100, seq DIV 10, seq, seq FROM seq_1_to_20000; ANALYZE TABLE t",
        )
        .await;
    let after = old.cut(&"t".into(), None, 10_000).await.unwrap();
    let upto = old.cut(&"t".into(), after.as_ref(), 50).await.unwrap();
    let read = async || server.count("Handler_read_next").await + server.count("Handler_read_rnd_next").await;
    let before = read().await;
    let range = KeyRange { after, upto };
    let mut stream = old.scan(&"t".into(), &range, Image::Canonical, BatchBudget::default()).await.unwrap();
    let mut keys = Vec::new();
    while let Some(batch) = stream.next().await.unwrap() {
        keys.extend(batch.rows.iter().map(|row| Key::composite("t", row.0[..3].to_vec())));
    }
    assert_eq!(keys.len(), 50);
    let found = old.read(&"t".into(), &keys, Image::Canonical).await.unwrap();
    assert_eq!(found.rows.iter().flatten().count(), 50);
    let rows = read().await - before;
    // The counters' own statements read a few hundred.
    assert!(rows < 2_000, "{rows} rows were read for a hundred");
}

/// The bound of a statement of ours, in seconds, as the statement itself sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_goes_on_for_ever_but_a_scan_takes_as_long_as_it_does() {
    let server = Server::start().await;
    let bound = [("a", "CAST(@@SESSION.max_statement_time AS INT)")];
    let (old, _) = server.sides(PAIRS, Load::Fastest, 1, &bound).await;
    server.sql("old_db", "INSERT INTO t VALUES (1, '')").await;
    let key = [Key::new("t", Value::Int(1))];
    for _ in 0..2 {
        let read = old.read(&"t".into(), &key, Image::Canonical).await.unwrap();
        assert_eq!(read.rows, [Some(row(1, "600"))], "before and after a scan, by the same session");
        let range = KeyRange::default();
        let mut scan = old.scan(&"t".into(), &range, Image::Canonical, BatchBudget::default()).await.unwrap();
        let RowBatch { rows, .. } = scan.next().await.unwrap().unwrap();
        assert_eq!(rows, [row(1, "0")]);
        assert!(scan.next().await.unwrap().is_none());
    }
}

/// The system would give the connection up after a quarter of an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_falls_silent_in_the_midst_of_a_scan_is_noticed_and_never_the_end_of_the_rows() {
    let server = Server::start().await;
    server
        .sql(
            "",
            &format!(
                "CREATE DATABASE old_db; USE old_db; {PAIRS}; CREATE DATABASE new_db; USE new_db; {PAIRS}"
            ),
        )
        .await;
    server.sql("old_db", "INSERT INTO t SELECT seq, REPEAT('x', 20) FROM seq_1_to_1500000").await;
    let relay = Relay::start(("127.0.0.1", server.0.port()));
    let options = MysqlOptions { sessions: 4, ..MysqlOptions::default() };
    let old = MysqlDatabase::open("old", &relay.through(&server.0.url("old_db")), options).await.unwrap();
    let new = server.open("new", "new_db", Load::Fastest, 4).await;
    let mapping = TableMapping::new(TableRef::new("old", "t"), TableRef::new("new", "t"));
    let plan =
        plan(&[mapping], &[old.catalog().await.unwrap(), new.catalog().await.unwrap()], Mirroring::CopyOnly);
    let side = Arc::clone(&old).side("move", Side::Old, &plan).await.unwrap();
    let budget = BatchBudget { rows: 10, bytes: 1 << 20 };
    let mut scan = side.scan(&"t".into(), &KeyRange::default(), Image::Canonical, budget).await.unwrap();
    scan.next().await.unwrap().unwrap();
    relay.stall();
    let noticed = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match scan.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a silent network was taken for the end of the data"),
                Err(error) => return error,
            }
        }
    });
    let error = noticed.await.unwrap();
    assert!(error.retryable() && error.to_string().contains("silent"), "{error}");
    relay.pass();
    let key = [Key::new("t", Value::Int(1))];
    let table = "t".into();
    let again = tokio::time::timeout(Duration::from_secs(30), side.read(&table, &key, Image::Canonical));
    assert_eq!(again.await.unwrap().unwrap().rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_road_by_which_rows_go_is_told_and_why_it_is_not_a_faster_one() {
    let server = Server::start().await;
    server.sql("", "CREATE DATABASE here").await;
    let road = async |load| {
        let roads = server.open("here", "here", load, 1).await.roads().await.unwrap();
        format!("{} ({})", roads.writes, roads.because.unwrap_or_default())
    };
    assert!(road(Load::Fastest).await.starts_with("bulk statements"), "{}", road(Load::Fastest).await);
    assert_eq!(road(Load::File).await, "LOAD DATA LOCAL ()");
    server.sql("", "SET GLOBAL local_infile = OFF").await;
    let told = road(Load::File).await;
    assert!(told.starts_with("INSERTs") && told.contains("local_infile is off"), "{told}");
}
