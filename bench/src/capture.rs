//! `capture`: an application's writes of one row and one commit each, with capture's triggers and without; and beside the
//! least that any log by triggers costs, one that puts down the key and nothing else.

use std::path::Path;
use std::time::Instant;

use changeover::Side;
use changeover::mapping::{KeyColumn, SetExpr, TableMapping, TableRef};
use changeover::store::Store;
use changeover::store::capture::CaptureOptions;
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions, SqliteStore};

use crate::data;
use crate::report::{Case, median};

/// Writes in one run.
const WRITES: u32 = 20_000;
/// Runs of each; with and without take turns.
const RUNS: usize = 5;

/// The least trigger that logs anything: no time, no bound, no change of keys, no other statement than this one.
const BARE: &str = "CREATE TABLE changeover_log_bare (id INTEGER PRIMARY KEY, k1);
CREATE TRIGGER bare AFTER UPDATE ON bookings BEGIN INSERT INTO changeover_log_bare (k1) VALUES (NEW.id); END;";

/// Writes a second with capture; the limit is the same table without.
pub(crate) fn capture(rows: u64) -> Result<Vec<Case>, String> {
    let rows = rows.min(200_000);
    let (_plain, without) = data::folder(rows)?;
    let (_captured, with) = data::folder(rows)?;
    let (_bare, barely) = data::folder(rows)?;
    install(&with)?;
    data::open(&barely.join("old.db")).and_then(|db| db.execute_batch(BARE)).map_err(|e| e.to_string())?;
    let mut cases = Vec::new();
    for synchronous in ["NORMAL", "FULL"] {
        let (mut ours, mut limit, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            limit.push(writes(&without, rows, synchronous).map_err(|e| e.to_string())?);
            bare.push(writes(&barely, rows, synchronous).map_err(|e| e.to_string())?);
            ours.push(writes(&with, rows, synchronous).map_err(|e| e.to_string())?);
        }
        let case = format!("one row a commit, synchronous {synchronous}");
        let (ours, limit, bare) = (median(ours), median(limit), median(bare));
        let unit = "writes/s";
        cases.push(Case::rate("capture", case.clone(), unit, ours, ("the same without capture", limit)));
        cases.push(Case::rate("capture", case, unit, ours, ("the least trigger that logs", bare)));
    }
    Ok(cases)
}

fn writes(folder: &Path, rows: u64, synchronous: &str) -> rusqlite::Result<f64> {
    let db = data::open(&folder.join("old.db"))?;
    db.pragma_update(None, "synchronous", synchronous)?;
    let mut update =
        db.prepare("UPDATE bookings SET state = ?1, price_cents = price_cents + 1 WHERE id = ?2")?;
    let began = Instant::now();
    for n in 0..u64::from(WRITES) {
        let id = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows + 1;
        update.execute(rusqlite::params![if n % 2 == 0 { "booked" } else { "cancelled" }, id as i64])?;
    }
    let rate = f64::from(WRITES) / began.elapsed().as_secs_f64();
    // As the mirror's worker would: the log doesn't grow for ever.
    drop(update);
    let logs =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'changeover\\_log%' ESCAPE '\\'";
    let names: Vec<String> =
        db.prepare(logs)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for name in names {
        db.execute(&format!("DELETE FROM \"{name}\""), [])?;
    }
    Ok(rate)
}

fn install(folder: &Path) -> Result<(), String> {
    let mut mapping =
        TableMapping::new(TableRef::new("legacy", "bookings"), TableRef::new("flights", "booking"));
    mapping.key = vec![KeyColumn { old: "id".to_owned(), new: "booking_id".to_owned() }];
    mapping.set = vec![("status".to_owned(), SetExpr::Sql("upper(state)".to_owned()))];
    mapping.back = vec![("state".to_owned(), "lower(status)".to_owned())];
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let work = async {
        let open = |name: &'static str, file: &str| {
            SqliteDatabase::open(name, folder.join(file), SqliteOptions::default())
        };
        let (old, new) = (open("legacy", "old.db").await?, open("flights", "new.db").await?);
        let plan = plan(&[mapping], &[old.catalog().await?, new.catalog().await?], Mirroring::Capture);
        let store = SqliteStore::new(old, "bench", Side::Old, &plan).await?;
        match store.capture() {
            Some(log) => log.install(CaptureOptions { bound: 10_000_000, overflow: true }).await,
            None => Ok(()),
        }
    };
    runtime.block_on(work).map_err(|e: changeover::StoreError| e.to_string())
}
