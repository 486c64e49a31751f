//! The tables that copy, verify and capture are measured on: bookings, as the demo has them.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

/// The old side's table.
pub(crate) const OLD: &str = "CREATE TABLE bookings (
  id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, flight TEXT NOT NULL, state TEXT NOT NULL,
  price_cents INTEGER NOT NULL, note TEXT);
CREATE INDEX bookings_customer ON bookings (customer);";

/// The new side's table.
pub(crate) const NEW: &str = "CREATE TABLE booking (
  booking_id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, flight TEXT NOT NULL, status TEXT NOT NULL,
  price_cents INTEGER NOT NULL, note TEXT);
CREATE INDEX booking_customer ON booking (customer);";

/// The spec between the two.
pub(crate) const SPEC: &str = r#"format = 1
name = "bench"
mirror = "capture"
phases = ["old", "shadow", "reverse-shadow", "new"]

[store.legacy]
url = "sqlite:old.db"
[store.flights]
url = "sqlite:new.db"

[[table]]
old = "legacy:bookings"
new = "flights:booking"
key = { id = "booking_id" }
set = { status = "upper(state)" }
back = { state = "lower(status)" }
"#;

/// A folder with `old.db` of so many rows, an empty `new.db`, and `bench.toml`.
pub(crate) fn folder(rows: u64) -> Result<(tempfile::TempDir, PathBuf), String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let path = folder.path().to_owned();
    fill(&path, rows).map_err(|e| format!("the test data couldn't be made: {e}"))?;
    std::fs::write(path.join("bench.toml"), SPEC).map_err(|e| e.to_string())?;
    Ok((folder, path))
}

fn fill(folder: &Path, rows: u64) -> rusqlite::Result<()> {
    let mut old = open(&folder.join("old.db"))?;
    old.execute_batch(OLD)?;
    let states = ["booked", "flown", "cancelled", "refunded"];
    let tx = old.transaction()?;
    {
        let mut insert = tx.prepare("INSERT INTO bookings VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for id in 1..=rows {
            let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
            insert.execute(params![
                id as i64,
                (mixed % 50_000) as i64,
                format!("CO{:04}", mixed % 9_973),
                states[(mixed % 4) as usize],
                (mixed % 90_000) as i64,
                format!("seat {}, meal {}, paid by card ending {:04}", mixed % 300, mixed % 7, mixed % 9_999),
            ])?;
        }
    }
    tx.commit()?;
    new_side(folder)
}

/// An empty new side, in place of the one that was there.
pub(crate) fn new_side(folder: &Path) -> rusqlite::Result<()> {
    for file in ["new.db", "new.db-wal", "new.db-shm"] {
        let _ = std::fs::remove_file(folder.join(file));
    }
    let _ = std::fs::remove_dir_all(folder.join(".changeover"));
    open(&folder.join("new.db"))?.execute_batch(NEW)
}

/// A connection with the settings that every limit is measured under: WAL, synchronous NORMAL.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;",
    )?;
    Ok(connection)
}
