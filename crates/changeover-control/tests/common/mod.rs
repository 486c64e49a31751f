//! What the integration tests share: two SQLite files, a spec over them, a writer whose outcome is predicted.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use changeover_api::Spec;
use changeover_api::wire::Status;
use changeover_control::{Conductor, ControlError, Run, RunOptions};
use changeover_protocol::gate::{Gate, Override};
use changeover_protocol::{Phase, Share};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A folder with both databases and the spec.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const OLD_SQL: &str = "PRAGMA journal_mode = wal;
    CREATE TABLE bookings (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, seats INTEGER NOT NULL);";
pub(crate) const NEW_SQL: &str = "PRAGMA journal_mode = wal;
    CREATE TABLE booking (booking_id INTEGER PRIMARY KEY AUTOINCREMENT, status TEXT NOT NULL, seats INTEGER NOT NULL);";

impl World {
    /// Both databases, with so many rows on the old side.
    pub(crate) fn new(rows: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder };
        let mut old = world.open("old.db");
        old.execute_batch(OLD_SQL).unwrap();
        let tx = old.transaction().unwrap();
        for id in 1..=rows {
            tx.execute("INSERT INTO bookings VALUES (?1, 'booked', ?2)", params![id, id % 9]).unwrap();
        }
        tx.commit().unwrap();
        world.open("new.db").execute_batch(NEW_SQL).unwrap();
        world.write_spec("");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn open(&self, name: &str) -> Connection {
        let connection = Connection::open(self.path(name)).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    pub(crate) fn write_spec(&self, top: &str) {
        let text = format!(
            "format = 1\nname = \"bookings\"\n{top}\n\
             [store.legacy]\nurl = \"sqlite:old.db\"\n[store.flights]\nurl = \"sqlite:new.db\"\n\
             [[table]]\nold = \"legacy:bookings\"\nnew = \"flights:booking\"\nkey = {{ id = \"booking_id\" }}\n\
             set = {{ status = \"upper(state)\" }}\nback = {{ state = \"lower(status)\" }}\n"
        );
        std::fs::write(self.path("bookings.toml"), text).unwrap();
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec::read(&self.path("bookings.toml")).unwrap()
    }

    pub(crate) fn options(&self) -> RunOptions {
        RunOptions { listen: Some("127.0.0.1:0".to_owned()), ..RunOptions::new(self.spec()) }
    }

    pub(crate) async fn run(&self) -> Run {
        Run::start(self.options()).await.unwrap()
    }

    /// The rows of a side, in the new side's shape.
    pub(crate) fn rows(&self, side: &str) -> BTreeMap<i64, (String, i64)> {
        let (file, sql) = match side {
            "old" => ("old.db", "SELECT id, upper(state), seats FROM bookings"),
            _ => ("new.db", "SELECT booking_id, status, seats FROM booking"),
        };
        let connection = self.open(file);
        let mut select = connection.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// What of ours is in a database.
    pub(crate) fn installed(&self, file: &str) -> Vec<String> {
        let connection = self.open(file);
        let mut select = connection
            .prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'changeover%' ORDER BY name")
            .unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

/// A service without the library: it reads the flag, writes where that says, and tries again where a fence refuses it.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<BTreeMap<i64, (String, i64)>>>,
}

impl Writer {
    /// Begins. `flag` tells the side: 0 and 1 the old one.
    pub(crate) fn begin(world: &World, flag: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, flag) = (Arc::clone(&stop), flag.to_owned());
        let (old, new) = (world.open("old.db"), world.open("new.db"));
        let mut expected = world.rows("old");
        let thread = std::thread::spawn(move || {
            let mut n: i64 = 0;
            while !stopped.load(Ordering::Relaxed) {
                n += 1;
                write_one(&old, &new, &flag, n, &mut expected, &stopped);
                std::thread::sleep(Duration::from_millis(2));
            }
            expected
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends; what every row must be by now.
    pub(crate) fn end(mut self) -> BTreeMap<i64, (String, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// One write: an insert, an update or a delete, tried until a side takes it.
fn write_one(
    old: &Connection,
    new: &Connection,
    flag: &Path,
    n: i64,
    expected: &mut BTreeMap<i64, (String, i64)>,
    stopped: &AtomicBool,
) {
    let victim = expected.keys().nth((n as usize * 7) % expected.len().max(1)).copied();
    loop {
        let value = std::fs::read_to_string(flag).unwrap_or_default();
        let to_old = matches!(value.trim(), "0" | "1" | "");
        let (connection, table, id, state) =
            if to_old { (old, "bookings", "id", "state") } else { (new, "booking", "booking_id", "status") };
        let word = if to_old { "changed" } else { "CHANGED" };
        let done = match (n % 5, victim) {
            (0, _) | (_, None) => connection
                .query_row(
                    &format!("INSERT INTO {table} ({state}, seats) VALUES (?1, ?2) RETURNING {id}"),
                    params![word, n],
                    |row| row.get::<_, i64>(0),
                )
                .map(|id| {
                    assert!(
                        expected.insert(id, ("CHANGED".to_owned(), n)).is_none(),
                        "id {id} was given out twice"
                    );
                }),
            (4, Some(victim)) => connection
                .execute(&format!("DELETE FROM {table} WHERE {id} = ?1"), [victim])
                .map(|_| drop(expected.remove(&victim))),
            (_, Some(victim)) => connection
                .execute(
                    &format!("UPDATE {table} SET {state} = ?1, seats = ?2 WHERE {id} = ?3"),
                    params![word, n, victim],
                )
                .map(|rows| {
                    assert_eq!(rows, 1, "row {victim} was there");
                    expected.insert(victim, ("CHANGED".to_owned(), n));
                }),
        };
        match done {
            Ok(()) => return,
            // The fence: look at the flag again, and write anew.
            Err(_) if stopped.load(Ordering::Relaxed) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The bake times that a test has no time for.
pub(crate) fn no_bake() -> Vec<Override> {
    [Gate::BakeTime, Gate::OldUntouched].map(|gate| Override { gate, reason: "a test".to_owned() }).into()
}

/// Goes forward as soon as the gates are open.
pub(crate) async fn forward(conductor: &Conductor, to: Phase) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match conductor.advance(Some(to), Share::ALL, &no_bake()).await {
            Ok(moved) if moved.place.phase == to => return,
            Err(ControlError::Refused(why)) if why.starts_with(&format!("the migration is in {to},")) => {
                return;
            }
            answer => assert!(tokio::time::Instant::now() < deadline, "into {to}: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a condition holds, looking again and again.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One value of a query, if there is a row.
pub(crate) fn one(connection: &Connection, sql: &str) -> Option<i64> {
    connection.query_row(sql, [], |row| row.get(0)).optional().unwrap()
}

/// A post by hand, with the token: the whole answer.
pub(crate) async fn post(run: &Run, rest: &str, body: &str) -> String {
    let head = format!(
        "POST /v1/migrations/bookings/{rest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        run.token(),
        body.len()
    );
    exchange(run, &head).await
}

/// A request by hand, as it stands: the whole answer.
pub(crate) async fn exchange(run: &Run, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(run.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The status, over HTTP as a client has it.
pub(crate) async fn status(run: &Run) -> Status {
    changeover_api::ControlClient::of_run(run.run_file()).unwrap().status().await.unwrap()
}
