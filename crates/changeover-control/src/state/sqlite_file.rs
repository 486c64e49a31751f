//! The state's file: what is in it, whose it is, and in which format.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::ControlError;

/// The format of the file that this version writes. One that is newer is refused.
pub const STATE_FORMAT: u32 = 1;

/// Says in the file's header whose it is: "chgo".
const APPLICATION_ID: i32 = 0x6368_676f;

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE control (
    id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, who TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, why TEXT) STRICT;
CREATE TABLE reporter (name TEXT PRIMARY KEY, last INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    window_ms INTEGER NOT NULL, operation TEXT NOT NULL, treatment INTEGER NOT NULL, counter TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (window_ms, operation, treatment, counter)) STRICT, WITHOUT ROWID;
CREATE TABLE sample (
    operation TEXT NOT NULL, shape TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    count INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (operation, shape)) STRICT, WITHOUT ROWID;
CREATE TABLE verification (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ended_ms INTEGER NOT NULL, evidence TEXT NOT NULL,
    report TEXT NOT NULL) STRICT;
CREATE TABLE generation (
    number INTEGER PRIMARY KEY, toward TEXT NOT NULL, began_ms INTEGER NOT NULL, done_ms INTEGER,
    ended_ms INTEGER, plan TEXT NOT NULL) STRICT;
";

/// Opens the file of this migration, made if it is empty: the connection, and the state's identity.
pub(super) fn open(
    path: &Path,
    flags: OpenFlags,
    migration: &str,
) -> Result<(Connection, String), ControlError> {
    let fail = |doing: &'static str| move |cause: rusqlite::Error| state_error(path, doing, &cause);
    let mut connection = Connection::open_with_flags(path, flags).map_err(fail("it can't be opened"))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(fail("it can't be opened"))?;
    let format: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(fail("it can't be read"))?;
    if format > STATE_FORMAT {
        return Err(ControlError::NewerState { path: path.to_owned(), found: format, known: STATE_FORMAT });
    }
    if format == 0 {
        create(&mut connection, path, migration)?;
    }
    let owner: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(fail("it can't be read"))?;
    if owner != APPLICATION_ID {
        return Err(not_a_state(path));
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(fail("it can't be put into WAL mode"))?;
    connection.pragma_update(None, "synchronous", "full").map_err(fail("it can't be set up"))?;
    let meta = |name: &str| -> Result<String, ControlError> {
        connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .map_err(|cause| state_error(path, "it can't be read", &cause))
    };
    let (state_id, of) = (meta("state_id")?, meta("migration")?);
    if of != migration {
        return Err(ControlError::State {
            path: path.to_owned(),
            doing: "it can't be used",
            cause: format!("it belongs to the migration `{of}`, not to `{migration}`"),
            remedy: "Name another file by --state",
        });
    }
    Ok((connection, state_id))
}

/// Makes the tables in a file that has none. Two that do it at once: the second finds them made.
fn create(connection: &mut Connection, path: &Path, migration: &str) -> Result<(), ControlError> {
    let fail = |cause: rusqlite::Error| state_error(path, "it can't be made", &cause);
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fail)?;
    let format: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    if format > 0 {
        return Ok(());
    }
    let tables: u32 =
        tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if tables > 0 {
        return Err(not_a_state(path));
    }
    tx.execute_batch(SCHEMA).map_err(fail)?;
    let id = crate::secret::random_hex(16)?;
    for (name, value) in [("state_id", id.as_str()), ("migration", migration)] {
        tx.execute("INSERT INTO meta VALUES (?1, ?2)", [name, value]).map_err(fail)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
    tx.pragma_update(None, "user_version", STATE_FORMAT).map_err(fail)?;
    tx.commit().map_err(fail)
}

pub(super) fn state_error(path: &Path, doing: &'static str, cause: &rusqlite::Error) -> ControlError {
    use rusqlite::ErrorCode;
    let remedy = match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "Make room on the disk; the run goes on from where it is",
        Some(ErrorCode::NotADatabase) => "Name another file by --state",
        Some(ErrorCode::DatabaseCorrupt) => {
            "Move it away and start again: the databases say where the migration stands, and `changeover adopt` takes it up"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "Check the folder's and the file's rights, or name another file by --state"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another process holds it: end that, and try again"
        }
        _ => "Try again; if it stays, move the file away and use `changeover adopt`",
    };
    ControlError::State { path: path.to_owned(), doing, cause: cause.to_string(), remedy }
}

fn not_a_state(path: &Path) -> ControlError {
    ControlError::State {
        path: path.to_owned(),
        doing: "it can't be used",
        cause: "it is a database, but not a state of Changeover's".to_owned(),
        remedy: "Name another file by --state",
    }
}
