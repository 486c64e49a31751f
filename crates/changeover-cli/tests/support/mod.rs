//! A place of its own for each test: a folder with real databases and specs, and the real binary run in it, as a user
//! would.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

/// No condition may take longer than this to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// The old side: a table that a service might have had for years.
pub const OLD: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE bookings (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, price INTEGER, note BLOB);
    CREATE INDEX by_name ON bookings (name);";

/// The new side: the same in another shape.
pub const NEW: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE booking (
        booking_id INTEGER PRIMARY KEY, passenger TEXT NOT NULL, status TEXT NOT NULL, price INTEGER, note BLOB);";

/// What moves, with no waiting between the phases.
pub const SPEC: &str = r#"format = 1
name = "bookings"

[store.legacy]
url = "sqlite:old.db"

[store.flights]
url = "sqlite:new.db"

[[table]]
old = "legacy:bookings"
new = "flights:booking"
key = { id = "booking_id" }
set = { passenger = "name", status = "upper(state)" }
back = { name = "passenger", state = "lower(status)" }

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

/// Both sides seen through the mapping: what must be equal when all is done.
pub const OLD_IMAGE: &str = "SELECT id, name, upper(state), price, note FROM bookings ORDER BY id";
/// The new side of [`OLD_IMAGE`].
pub const NEW_IMAGE: &str =
    "SELECT booking_id, passenger, status, price, note FROM booking ORDER BY booking_id";

/// Writes that an application does on the old side.
pub const OLD_WRITE: &str = "UPDATE bookings SET price = coalesce(price, 0) + 1 WHERE id % 10 = 0";
/// Writes that an application does on the new side.
pub const NEW_WRITE: &str = "UPDATE booking SET price = coalesce(price, 0) + 1 WHERE booking_id % 10 = 1";

/// Nothing waits in a log.
pub fn is_drained(status: &Value) -> bool {
    status["logs"].as_array().is_some_and(|logs| logs.iter().all(|log| log["entries"] == 0))
}

/// The copy is made, a full verification that counts was clean, nothing waits in a log, and nothing moves.
pub fn is_settled(status: &Value) -> bool {
    status["moving"].is_null()
        && status["backfill"]["done"] == true
        && status["verification"]["counts"] == true
        && is_drained(status)
}

/// A folder for one test.
pub struct Place {
    folder: tempfile::TempDir,
    /// The migration whose status is looked at.
    migration: &'static str,
}

impl Place {
    /// An empty one.
    pub fn empty() -> Self {
        Self::of("bookings")
    }

    /// An empty one, for a migration of this name; its spec is `bookings.toml`, too.
    pub fn of(migration: &'static str) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), migration }
    }

    /// With both databases, so many bookings in the old one, and the spec.
    pub fn with_bookings(rows: u32) -> Self {
        let place = Self::empty();
        place.sql("old.db", OLD);
        place.sql("new.db", NEW);
        place.sql("old.db", &bookings(1, rows));
        place.write("bookings.toml", SPEC);
        place
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("a file that can be written");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
    }

    /// Opens a database as an application does.
    pub fn open(&self, name: &str) -> Connection {
        let db = Connection::open(self.path(name)).expect("a database");
        db.busy_timeout(Duration::from_secs(10)).expect("a time-out");
        db
    }

    /// Executes SQL in a database, as an application does.
    #[track_caller]
    pub fn sql(&self, name: &str, sql: &str) {
        if let Err(cause) = self.open(name).execute_batch(sql) {
            panic!("{name}: {cause}: {sql}");
        }
    }

    /// The rows of a query, each value as SQL would write it.
    #[track_caller]
    pub fn rows(&self, name: &str, sql: &str) -> Vec<String> {
        let db = self.open(name);
        let mut statement = db.prepare(sql).unwrap_or_else(|cause| panic!("{name}: {cause}: {sql}"));
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values =
                (0..columns).map(|n| row.get::<_, rusqlite::types::Value>(n).map(|v| format!("{v:?}")));
            Ok(values.collect::<Result<Vec<_>, _>>()?.join(" | "))
        };
        statement.query_map((), row).expect("rows").collect::<Result<_, _>>().expect("rows")
    }

    /// A single number.
    #[track_caller]
    pub fn number(&self, name: &str, sql: &str) -> i64 {
        self.open(name)
            .query_row(sql, (), |row| row.get(0))
            .unwrap_or_else(|cause| panic!("{name}: {cause}: {sql}"))
    }

    /// Both sides hold the same, seen through the mapping.
    #[track_caller]
    pub fn assert_equal_sides(&self) {
        let (old, new) = (self.rows("old.db", OLD_IMAGE), self.rows("new.db", NEW_IMAGE));
        let apart = old.iter().zip(&new).find(|(old, new)| old != new);
        assert!(old == new, "{} and {} rows, the first apart: {apart:?}", old.len(), new.len());
    }

    /// Both sides come to hold the same, seen through the mapping: the mirror has its moment.
    #[track_caller]
    pub fn until_equal_sides(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.rows("old.db", OLD_IMAGE) != self.rows("new.db", NEW_IMAGE) {
            if Instant::now() >= deadline {
                self.assert_equal_sides();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What is Changeover's in a database.
    pub fn installed(&self, name: &str) -> Vec<String> {
        self.rows(
            name,
            "SELECT type, name FROM sqlite_master WHERE name LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY name",
        )
    }

    /// The command, ready to be run in this folder with nothing of the tester's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_changeover")), arguments)
    }

    /// The same of another copy of the binary.
    pub fn command_of(&self, binary: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(self.folder.path());
        for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "CHANGEOVER_FAULT", "COLUMNS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub fn changeover(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the binary can be started");
        Ended::of(arguments, output)
    }

    /// The same, with `--json`: what it answers.
    #[track_caller]
    pub fn json(&self, arguments: &[&str], code: i32) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        self.changeover(&arguments).expect(code).json()
    }

    /// A move that should succeed, and lead into that phase.
    #[track_caller]
    pub fn go(&self, arguments: &[&str], phase: &str) {
        let moved = self.json(arguments, 0);
        assert_eq!(moved["phase"], phase, "{arguments:?}: {moved}");
    }

    /// Starts `run` and waits until it can be reached.
    #[track_caller]
    pub fn run(&self) -> Running<'_> {
        self.run_with(&[], &[])
    }

    /// Starts `run` with further arguments and variables, and waits until it can be reached.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running<'_> {
        let running = self.start(arguments, variables);
        running.until("it is up", |_| true);
        running
    }

    /// Starts `run`, and doesn't wait.
    #[track_caller]
    pub fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running<'_> {
        let mut all = vec!["run", "bookings.toml"];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        let mut command = self.command(&all);
        command.envs(variables.iter().copied());
        let (out, err) = (self.log("run.out"), self.log("run.err"));
        // A group of its own, so that parent and worker can be killed at once.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdout(out).stderr(err).spawn().expect("the binary can be started");
        Running { place: self, child }
    }

    fn log(&self, name: &str) -> std::fs::File {
        let path = self.path(name);
        std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file for what it says")
    }
}

/// The SQL that inserts bookings `from` to `to`.
pub fn bookings(from: u32, to: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
         INSERT INTO bookings SELECT i, 'passenger ' || i, CASE i % 3 WHEN 0 THEN 'held' ELSE 'booked' END,
             CASE WHEN i % 7 THEN i * 100 END, CASE WHEN i % 5 = 0 THEN randomblob(40) END FROM n;"
    )
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What was run.
    pub arguments: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its data.
    pub out: String,
    /// Its talk.
    pub err: String,
}

impl Ended {
    /// What came of it.
    pub fn of(arguments: &[&str], output: Output) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("standard output in UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error in UTF-8"),
        }
    }

    /// It ended with this code, or the test ends with all that it said.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "changeover {}\n--- out\n{}\n--- err\n{}",
            self.arguments,
            self.out,
            self.err
        );
        self
    }

    /// Its answer.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|cause| panic!("{}: {cause}: {}", self.arguments, self.out))
    }

    /// It said this, to the person.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        // A message is broken into lines where the terminal's width wants it.
        let said = self.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(text), "changeover {} should say {text:?}\n{}", self.arguments, self.err);
        self
    }
}

/// A `run` that goes on until it is stopped, or the test is over.
pub struct Running<'p> {
    place: &'p Place,
    child: Child,
}

impl Running<'_> {
    /// Waits until `status` is as wanted; a `run` that ended meanwhile, or a minute passed, fails the test. The status.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            let status = self.place.changeover(&["status", self.place.migration, "--json"]);
            if let (Some(0), Ok(status)) = (status.code, serde_json::from_str::<Value>(&status.out))
                && status["source"] == "run"
                && wanted(&status)
            {
                return status;
            }
            last = status.out;
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("{what}: not within {PATIENCE:?}; last: {last}\n--- run\n{}", self.place.read("run.err"));
    }

    /// The process that was started: the one that watches over the worker.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to parent and worker.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let group = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, signal).expect("it runs");
    }

    /// Kills it all at once, as a loss of power does.
    pub fn kill(mut self) {
        self.kill_group();
    }

    /// Asks it to stop, as Ctrl-C does, and waits.
    pub fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        let status = self.wait();
        (status.code(), self.place.read("run.err") + &self.place.read("run.out"))
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("it doesn't end\n{}", self.place.read("run.err"));
    }

    fn kill_group(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        // It may have ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Waits until something is so that no `status` tells.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a file is there and has something in it.
pub fn has_content(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0)
}
