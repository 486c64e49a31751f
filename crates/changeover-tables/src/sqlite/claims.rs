//! The log's entries: read, counted and deleted.
//!
//! The newest entry is never deleted but emptied, and goes when a newer one is there: so an id is never given out twice,
//! and the application pays for no counter. An emptied entry has no mapping; the entry -1 is the mark that the log overflowed.

use std::collections::HashSet;

use changeover::store::LogMark;
use changeover::store::capture::{CaptureOptions, Claim, Depth, KeyClaims};
use changeover::{Key, Slot, SlotRange, Value};
use rusqlite::{Connection, Row as SqlRow};

use super::install::{self, log_name};
use super::read::is_exact;
use super::sql::name;
use super::store::Inner;
use super::triggers;
use super::value::{self, stored};
use crate::shape::SideTable;

/// How many of the newest entries are looked through for given keys.
const LOOKED_THROUGH: usize = 4_096;

/// A side's log.
pub(super) struct Log<'i> {
    pub(super) inner: &'i Inner,
    pub(super) connection: &'i Connection,
    table: String,
    keys: usize,
}

impl<'i> Log<'i> {
    pub(super) fn new(inner: &'i Inner, connection: &'i Connection) -> Self {
        let table = name(&log_name(&inner.migration, inner.info.side));
        let keys = inner.tables.iter().map(|t| t.key.len()).max().unwrap_or(1);
        Self { inner, connection, table, keys }
    }

    fn raw_name(&self) -> String {
        log_name(&self.inner.migration, self.inner.info.side)
    }

    pub(super) fn exists(&self) -> rusqlite::Result<bool> {
        install::exists(self.connection, &self.raw_name())
    }

    /// Installs the log and the triggers, or brings what is there to these options.
    pub(super) fn install(&self, options: CaptureOptions) -> rusqlite::Result<()> {
        if !self.exists()? {
            self.connection.execute_batch(&triggers::log_sql(&self.raw_name(), self.keys))?;
            let log: String = self.connection.query_row("SELECT hex(randomblob(8))", [], |row| row.get(0))?;
            install::put_note(self.connection, &self.inner.migration, &self.log_key(), &log)?;
            // An emptied entry from the beginning, so that there is always a newest one.
            self.connection.execute_batch(&format!("INSERT INTO {} (id) VALUES (1)", self.table))?;
        }
        let noted = format!("{} {}", options.bound, options.overflow);
        install::put_note(self.connection, &self.inner.migration, &self.note_key(), &noted)?;
        let (migration, side) = (&self.inner.migration, self.inner.info.side);
        if !options.overflow {
            install::drop_triggers(self.connection, &[triggers::BOUND], migration, side)?;
        }
        self.inner.tables.iter().try_for_each(|table| table.check_named_columns(self.connection))?;
        install::put_triggers(self.connection, &self.triggers(options))?;
        Ok(())
    }

    pub(super) fn remove(&self) -> rusqlite::Result<()> {
        let (migration, side) = (&self.inner.migration, self.inner.info.side);
        install::drop_triggers(self.connection, &triggers::KINDS, migration, side)?;
        self.connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", self.table))?;
        if install::exists(self.connection, install::META)? {
            self.connection.execute(
                "DELETE FROM changeover_meta WHERE migration = ?1 AND key IN (?2, ?3)",
                [migration, &self.note_key(), &self.log_key()],
            )?;
        }
        Ok(())
    }

    /// The options that it was installed with; `None` if it isn't.
    pub(super) fn options(&self) -> rusqlite::Result<Option<CaptureOptions>> {
        let noted = install::note(self.connection, &self.inner.migration, &self.note_key())?;
        Ok(noted.and_then(|noted| {
            let (bound, overflow) = noted.split_once(' ')?;
            Some(CaptureOptions { bound: bound.parse().ok()?, overflow: overflow.parse().ok()? })
        }))
    }

    fn note_key(&self) -> String {
        format!("capture_{}", install::side_name(self.inner.info.side))
    }

    fn log_key(&self) -> String {
        format!("log_{}", install::side_name(self.inner.info.side))
    }

    /// Which log it is, and how far it has come; `None` without one.
    pub(super) fn mark(&self) -> rusqlite::Result<Option<LogMark>> {
        if !self.exists()? {
            return Ok(None);
        }
        let log = install::note(self.connection, &self.inner.migration, &self.log_key())?;
        let newest = format!("SELECT coalesce(max(id), 0) FROM {}", self.table);
        let newest = self.connection.prepare_cached(&newest)?.query_row([], |row| row.get(0))?;
        Ok(log.map(|log| LogMark { log, newest }))
    }

    /// Whether the log and every trigger are there, just as they were made.
    pub(super) fn is_whole(&self) -> rusqlite::Result<bool> {
        let Some(options) = self.options()? else { return Ok(false) };
        if !self.exists()? {
            return Ok(false);
        }
        install::has_triggers(self.connection, &self.triggers(options))
    }

    /// All triggers that capture with these options has.
    fn triggers(&self, options: CaptureOptions) -> Vec<(String, String)> {
        let (migration, side) = (&self.inner.migration, self.inner.info.side);
        let mut all: Vec<(String, String)> =
            self.inner.tables.iter().flat_map(|table| triggers::capture(table, migration)).collect();
        if options.overflow {
            all.push(triggers::bound(migration, side, options.bound));
        }
        all
    }

    fn select(&self) -> String {
        let keys: String = (1..=self.keys).map(|n| format!(", k{n}")).collect();
        format!("SELECT id, mapping, at, slot{keys} FROM {}", self.table)
    }

    pub(super) fn claim(&self, after: i64, limit: usize) -> rusqlite::Result<Vec<Claim>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let sql = format!("{} WHERE id > ?1 AND mapping IS NOT NULL ORDER BY id LIMIT ?2", self.select());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([after.max(0), i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut claims = Vec::new();
        while let Some(row) = rows.next()? {
            claims.extend(self.entry(row)?);
        }
        Ok(claims)
    }

    /// The entries of these keys among the newest ones: whoever asks has just written them. Older ones stay for the worker;
    /// that there may be some is said.
    pub(super) fn claim_keys(&self, keys: &[Key]) -> rusqlite::Result<KeyClaims> {
        if keys.is_empty() || !self.exists()? {
            return Ok(KeyClaims { claims: Vec::new(), all: true });
        }
        let wanted: HashSet<&Key> = keys.iter().collect();
        let sql = format!("{} WHERE id > 0 AND mapping IS NOT NULL ORDER BY id DESC", self.select());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut found = KeyClaims::default();
        for _ in 0..LOOKED_THROUGH {
            let Some(row) = rows.next()? else {
                found.all = true;
                break;
            };
            found.claims.extend(self.entry(row)?.filter(|claim| wanted.contains(&claim.key)));
        }
        found.claims.reverse();
        Ok(found)
    }

    /// An entry as a claim; `None` for a mapping that the migration no longer has.
    fn entry(&self, row: &SqlRow<'_>) -> rusqlite::Result<Option<Claim>> {
        let tag: i64 = row.get(1)?;
        let Some(table) = self.inner.tables.iter().find(|t| t.tag == tag) else {
            tracing::warn!(
                id = row.get::<_, i64>(0)?,
                "the log has an entry of a mapping that isn't in the spec"
            );
            return Ok(None);
        };
        let raw = (0..table.key.len()).map(|at| row.get_ref(4 + at).map(value::read));
        let key = table.logged_key(self.connection, raw.collect::<Result<_, _>>()?)?;
        let slot = self.slot(table, &key, value::read(row.get_ref(3)?))?;
        Ok(Some(Claim {
            id: row.get(0)?,
            key,
            slot,
            at_ms: row.get::<_, Option<f64>>(2)?.map_or(0, unix_ms),
        }))
    }

    fn slot(&self, table: &SideTable, key: &Key, routed: Value) -> rusqlite::Result<Slot> {
        Ok(match &table.route {
            None => self.inner.slot_of(key.values()),
            Some((_, target)) => {
                // What has no place on the other side has no slot there either: any one does.
                let value = if is_exact(&target.domain) {
                    target.fit(routed).unwrap_or_else(|(value, _)| value)
                } else {
                    stored(self.connection, &target.domain, routed)?
                };
                self.inner.slot_of(std::slice::from_ref(&value))
            }
        })
    }

    /// Deletes exactly these entries.
    pub(super) fn discard(&self, ids: &[i64]) -> rusqlite::Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        let newest: i64 = self.connection.query_row(
            &format!("SELECT coalesce(max(id), 0) FROM {}", self.table),
            [],
            |row| row.get(0),
        )?;
        let mut delete =
            self.connection.prepare_cached(&format!("DELETE FROM {} WHERE id = ?1", self.table))?;
        for id in ids.iter().filter(|id| **id > 0) {
            if *id == newest {
                self.empty(newest)?;
            } else {
                delete.execute([id])?;
            }
        }
        // Entries that were emptied while they were the newest go once they are the oldest.
        let sql = format!(
            "DELETE FROM {0} WHERE id = (SELECT min(id) FROM {0} WHERE id > 0) AND mapping IS NULL AND id < ?1",
            self.table
        );
        while self.connection.prepare_cached(&sql)?.execute([newest])? > 0 {}
        Ok(())
    }

    fn empty(&self, id: i64) -> rusqlite::Result<()> {
        let keys: String = (1..=self.keys).map(|n| format!(", k{n} = NULL")).collect();
        let sql =
            format!("UPDATE {} SET mapping = NULL, at = NULL, slot = NULL{keys} WHERE id = ?1", self.table);
        self.connection.prepare_cached(&sql)?.execute([id]).map(drop)
    }

    /// Empties the log and takes the mark back.
    pub(super) fn reset(&self) -> rusqlite::Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        let newest: i64 = self.connection.query_row(
            &format!("SELECT coalesce(max(id), 0) FROM {}", self.table),
            [],
            |row| row.get(0),
        )?;
        self.connection.execute(&format!("DELETE FROM {} WHERE id <> ?1", self.table), [newest])?;
        self.empty(newest)
    }

    pub(super) fn depth(&self) -> rusqlite::Result<Depth> {
        let Some(options) = self.options()? else { return Ok(Depth::default()) };
        if !self.exists()? {
            return Ok(Depth::default());
        }
        let sql = format!(
            "SELECT (SELECT count(*) FROM {0} WHERE id > 0 AND mapping IS NOT NULL), \
             (SELECT at FROM {0} WHERE id > 0 AND mapping IS NOT NULL ORDER BY id LIMIT 1), \
             (SELECT id FROM {0} WHERE mapping IS NOT NULL ORDER BY id DESC LIMIT 1) \
             - (SELECT id FROM {0} WHERE id > 0 AND mapping IS NOT NULL ORDER BY id LIMIT 1), \
             EXISTS (SELECT 1 FROM {0} WHERE id = -1), \
             julianday('now')",
            self.table
        );
        self.connection.prepare_cached(&sql)?.query_row([], |row| {
            let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
            let oldest: Option<f64> = row.get(1)?;
            let now: f64 = row.get(4)?;
            Ok(Depth {
                entries: unsigned(row.get(0)?),
                oldest_ms: oldest.map_or(0, |at| unsigned(unix_ms(now) - unix_ms(at))),
                span: unsigned(row.get::<_, Option<i64>>(2)?.unwrap_or_default()),
                bound: options.bound,
                overflowed: row.get(3)?,
            })
        })
    }

    /// How many keys of these slots are in the log. SQLite sorts them, on disk if need be.
    pub(super) fn dirty_in(&self, slots: SlotRange) -> rusqlite::Result<u64> {
        if !self.exists()? {
            return Ok(0);
        }
        let keys: String = (1..=self.keys).map(|n| format!(", k{n}")).collect();
        let entries = format!("FROM {} WHERE id > 0 AND mapping IS NOT NULL", self.table);
        if slots == SlotRange::ALL {
            let sql = format!("SELECT count(*) FROM (SELECT DISTINCT mapping{keys} {entries})");
            let dirty: i64 = self.connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
            return Ok(u64::try_from(dirty).unwrap_or_default());
        }
        // In the shape of an entry, but each key once.
        let sql = format!("SELECT DISTINCT 0, mapping, NULL, slot{keys} {entries}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut dirty = 0;
        while let Some(row) = rows.next()? {
            dirty += u64::from(self.entry(row)?.is_some_and(|claim| slots.contains(claim.slot)));
        }
        Ok(dirty)
    }
}

/// Milliseconds since 1970 of a Julian day, which is what every SQLite can tell the time by, and the cheapest to ask for.
#[allow(clippy::cast_possible_truncation, reason = "a time of this age is far from the bounds")]
fn unix_ms(julian_day: f64) -> i64 {
    ((julian_day - 2_440_587.5) * 86_400_000.0).round() as i64
}
