//! Evidence and samples in the SQLite state: counters by window, and mismatches by shape.

use rusqlite::{Result, Transaction, params};

use super::records::{Counter, EvidenceKey, EvidenceSum, MAX_SAMPLE_BYTES, NewSample, Sample};
use super::{SAMPLED_OPERATIONS, SAMPLES_PER_OPERATION};

const HOUR_MS: u64 = 3_600_000;

/// Counts, unless this report was counted before.
pub(super) fn add(
    tx: &Transaction<'_>,
    reporter: &str,
    number: u64,
    counts: &[(EvidenceKey, u64)],
) -> Result<bool> {
    let at = counts.iter().map(|(key, _)| key.window_ms).max().unwrap_or(0);
    let fresh = tx.execute(
        "INSERT INTO reporter VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET last = ?2, at_ms = max(at_ms, ?3) WHERE last < ?2",
        params![reporter, number, at],
    )?;
    if fresh == 0 {
        return Ok(false);
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO evidence VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET count = min(count + ?5, 4611686018427387904)",
    )?;
    for (key, count) in counts {
        let count = i64::try_from(*count).unwrap_or(i64::MAX).min(1 << 62);
        insert.execute(params![key.window_ms, key.operation, key.treatment, key.counter.name(), count])?;
    }
    Ok(true)
}

/// The sums since a moment.
pub(super) fn sums(tx: &Transaction<'_>, since_ms: u64) -> Result<Vec<EvidenceSum>> {
    // total() and not sum(): the latter fails where it would overflow.
    let mut select = tx.prepare_cached(
        "SELECT operation, treatment, counter, total(count) FROM evidence WHERE window_ms >= ?1
         GROUP BY operation, treatment, counter ORDER BY operation, treatment, counter",
    )?;
    let rows = select.query_map([since_ms], |row| {
        let (name, count): (String, f64) = (row.get(2)?, row.get(3)?);
        let sum = |counter| -> Result<EvidenceSum> {
            Ok(EvidenceSum { operation: row.get(0)?, treatment: row.get(1)?, counter, count: count as u64 })
        };
        // A counter that a newer version of the same format writes is none of ours to sum.
        Counter::named(&name).map(sum).transpose()
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Joins old windows into hours, and forgets the oldest.
pub(super) fn compact(tx: &Transaction<'_>, hourly_before_ms: u64, forget_before_ms: u64) -> Result<()> {
    tx.execute("DELETE FROM evidence WHERE window_ms < ?1", [forget_before_ms])?;
    tx.execute("DELETE FROM reporter WHERE at_ms < ?1", [forget_before_ms])?;
    // Whole hours alone, so that no window is joined twice.
    let before = hourly_before_ms - hourly_before_ms % HOUR_MS;
    tx.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS joined AS SELECT * FROM evidence WHERE 0; DELETE FROM joined;",
    )?;
    tx.execute(
        "INSERT INTO joined SELECT window_ms - window_ms % ?1, operation, treatment, counter,
         min(total(count), 4611686018427387904) FROM evidence WHERE window_ms < ?2
         GROUP BY 1, 2, 3, 4",
        params![HOUR_MS, before],
    )?;
    tx.execute("DELETE FROM evidence WHERE window_ms < ?1", [before])?;
    tx.execute(
        "INSERT INTO evidence SELECT window_ms, operation, treatment, counter, CAST(count AS INTEGER) FROM joined",
        [],
    )?;
    tx.execute_batch("DELETE FROM joined").map(drop)
}

/// Keeps a sample, or counts it to the one of its shape.
pub(super) fn add_sample(tx: &Transaction<'_>, sample: &NewSample) -> Result<bool> {
    let known = tx.execute(
        "UPDATE sample SET count = count + ?3, last_ms = max(last_ms, ?4) WHERE operation = ?1 AND shape = ?2",
        params![sample.operation, sample.shape, sample.count, sample.at_ms],
    )?;
    if known > 0 {
        return Ok(true);
    }
    let of_this: usize =
        tx.query_row("SELECT count(*) FROM sample WHERE operation = ?1", [&sample.operation], |r| r.get(0))?;
    let room = if of_this == 0 {
        let operations: usize =
            tx.query_row("SELECT count(DISTINCT operation) FROM sample", [], |row| row.get(0))?;
        operations < SAMPLED_OPERATIONS
    } else {
        of_this < SAMPLES_PER_OPERATION
    };
    if !room {
        return Ok(false);
    }
    let detail = if sample.detail.len() > MAX_SAMPLE_BYTES {
        // Cut JSON is no JSON: what is left out is said instead.
        format!("{{\"cut\":true,\"bytes\":{}}}", sample.detail.len())
    } else {
        sample.detail.clone()
    };
    tx.execute(
        "INSERT INTO sample VALUES (?1, ?2, ?3, ?3, ?4, ?5)",
        params![sample.operation, sample.shape, sample.at_ms, sample.count, detail],
    )?;
    Ok(true)
}

/// The samples, the latest seen first.
pub(super) fn samples(tx: &Transaction<'_>, operation: Option<&str>, limit: usize) -> Result<Vec<Sample>> {
    let mut select = tx.prepare_cached(
        "SELECT operation, shape, first_ms, last_ms, count, detail FROM sample
         WHERE ?1 IS NULL OR operation = ?1 ORDER BY last_ms DESC, operation, shape LIMIT ?2",
    )?;
    let rows = select.query_map(params![operation, limit as i64], |row| {
        Ok(Sample {
            operation: row.get(0)?,
            shape: row.get(1)?,
            first_ms: row.get(2)?,
            last_ms: row.get(3)?,
            count: row.get(4)?,
            detail: row.get(5)?,
        })
    })?;
    rows.collect()
}
