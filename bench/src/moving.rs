//! `copy` and `verify`: the command itself, run as a user runs it, beside what SQLite alone takes for the same rows.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Instant;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::command::{changeover, number};
use crate::data;
use crate::report::{Case, median};

/// How often each is run; the limit and ours take turns.
const RUNS: usize = 5;

/// `changeover copy` beside one `INSERT … SELECT` over ATTACH, with equal indexes and synchronous setting.
pub(crate) fn copy(rows: u64) -> Result<Vec<Case>, String> {
    let (_folder, path) = data::folder(rows)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        data::new_side(&path).map_err(|e| e.to_string())?;
        limit.push(rows as f64 / insert_select(&path).map_err(|e| e.to_string())?);
        data::new_side(&path).map_err(|e| e.to_string())?;
        let report = changeover(&path, &["copy", "bench.toml", "--json"])?;
        ours.push(rows as f64 / number(&report, "copy_seconds")?);
    }
    Ok(vec![Case::rate(
        "copy",
        format!("{rows} rows"),
        "rows/s",
        median(ours),
        ("INSERT … SELECT", median(limit)),
    )])
}

/// `changeover verify` beside reading both tables once and hashing every value.
pub(crate) fn verify(rows: u64) -> Result<Vec<Case>, String> {
    let (_folder, path) = data::folder(rows)?;
    insert_select(&path).map_err(|e| e.to_string())?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let started = Instant::now();
        hash(
            &path.join("old.db"),
            "SELECT id, customer, flight, upper(state), price_cents, note FROM bookings",
        )
        .and_then(|_| hash(&path.join("new.db"), "SELECT * FROM booking"))
        .map_err(|e| e.to_string())?;
        limit.push(rows as f64 / started.elapsed().as_secs_f64());
        let report = changeover(&path, &["verify", "bench.toml", "--json"])?;
        ours.push(rows as f64 / number(&report, "seconds")?);
    }
    let limit = ("reading both once, hashing", median(limit));
    Ok(vec![Case::rate("verify", format!("{rows} rows a side, equal"), "rows/s", median(ours), limit)])
}

/// The peak memory of copy, with the comparison that ends it, and of verify, for ten times as many rows. It may be 1.2
/// times that for the fewer, and no more: what is kept must not grow with the rows.
pub(crate) fn memory(rows: u64) -> Result<Vec<Case>, String> {
    let (few, many) = (peaks(rows)?, peaks(rows * 10)?);
    let cases = few.into_iter().zip(many).map(|((command, few), (_, many))| {
        let limit = ("that for a tenth of the rows", few);
        Case::cost("memory", format!("{command}, {} rows", rows * 10), "MB", many, limit).at_least(1.0 / 1.2)
    });
    Ok(cases.collect())
}

fn peaks(rows: u64) -> Result<Vec<(&'static str, f64)>, String> {
    let (_folder, path) = data::folder(rows)?;
    ["copy", "verify"]
        .into_iter()
        .map(|command| {
            let report = changeover(&path, &[command, "bench.toml", "--json"])?;
            Ok((command, number(&report, "peak_memory_bytes")? / 1e6))
        })
        .collect()
}

fn insert_select(folder: &Path) -> rusqlite::Result<f64> {
    let new = data::open(&folder.join("new.db"))?;
    new.execute("ATTACH ?1 AS old", [folder.join("old.db").to_string_lossy()])?;
    let started = Instant::now();
    new.execute(
        "INSERT INTO booking SELECT id, customer, flight, upper(state), price_cents, note FROM old.bookings",
        [],
    )?;
    Ok(started.elapsed().as_secs_f64())
}

fn hash(file: &Path, query: &str) -> rusqlite::Result<u64> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut hasher = DefaultHasher::new();
    while let Some(row) = rows.next()? {
        for at in 0..columns {
            match row.get_ref(at)? {
                ValueRef::Null => hasher.write_u8(0),
                ValueRef::Integer(n) => hasher.write_i64(n),
                ValueRef::Real(x) => hasher.write_u64(x.to_bits()),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.write(bytes),
            }
        }
    }
    Ok(hasher.finish())
}
