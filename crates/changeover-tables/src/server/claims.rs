//! The log's entries: read, counted and deleted. That the log overflowed is marked beside them, as each server can.

use std::collections::HashSet;

use changeover::store::LogMark;
use changeover::store::capture::{CaptureOptions, Claim, Depth, KeyClaims};
use changeover::value::Instant;
use changeover::{Key, Slot, SlotRange, Value};

use super::dialect::Dialect;
use super::install::{self, Captures, LogTable};
use super::read::logged_key;
use super::session::{DbError, Session, Trouble};
use super::store::Inner;
use crate::shape::SideTable;

/// How many of the newest entries are looked through for given keys.
const LOOKED_THROUGH: usize = 4_096;

/// How many entries are read at once where all have to be.
const AT_ONCE: usize = 10_000;

/// A side's log, in a session.
pub(super) struct Log<'l> {
    inner: &'l Inner,
    session: &'l mut dyn Session,
    table: LogTable,
    captures: &'static dyn Captures,
}

impl<'l> Log<'l> {
    pub(super) fn new(inner: &'l Inner, session: &'l mut dyn Session) -> Result<Self, DbError> {
        let captures = inner.captures()?;
        let table = LogTable::new(captures, &inner.migration, inner.info.side, &inner.tables);
        Ok(Self { inner, session, table, captures })
    }

    const fn dialect(&self) -> &'static dyn Dialect {
        self.inner.dialect
    }

    /// The table, as it stands in SQL.
    fn name(&self) -> String {
        self.dialect().own(&self.table.name)
    }

    async fn exists(&mut self) -> Result<bool, DbError> {
        install::exists(self.session, self.inner.dialect, &self.table.name).await
    }

    /// Installs the log and the triggers, or brings what is there to these options, within the transaction that is open.
    pub(super) async fn install(&mut self, options: CaptureOptions) -> Result<(), DbError> {
        let (dialect, migration) = (self.dialect(), self.inner.migration.as_str());
        let (note_key, log_key, captures) = (self.note_key(), self.log_key(), self.captures);
        let known = install::note(self.session, dialect, migration, &log_key).await?;
        let is_new = known.is_none() || !self.exists().await?;
        for statement in captures.make_log(&self.table) {
            self.session.batch(&statement).await?;
        }
        if is_new {
            let log = new_name()?;
            install::put_note(self.session, dialect, migration, &log_key, &log).await?;
        }
        let noted = format!("{} {}", options.bound, options.overflow);
        install::put_note(self.session, dialect, migration, &note_key, &noted).await?;
        captures.switch_capture_on(self.session, self.inner, &self.table, options).await
    }

    pub(super) async fn remove(&mut self) -> Result<(), DbError> {
        let (dialect, captures, migration) = (self.dialect(), self.captures, self.inner.migration.as_str());
        captures.remove_capture(self.session, self.inner, &self.table).await?;
        if install::exists(self.session, dialect, install::META).await? {
            for key in [self.note_key(), self.log_key(), self.newest_key()] {
                install::drop_note(self.session, dialect, migration, &key).await?;
            }
        }
        Ok(())
    }

    /// The options that it was installed with; `None` if it isn't.
    async fn options(&mut self) -> Result<Option<CaptureOptions>, DbError> {
        let key = self.note_key();
        let noted = install::note(self.session, self.inner.dialect, &self.inner.migration, &key).await?;
        Ok(noted.and_then(|noted| {
            let (bound, overflow) = noted.split_once(' ')?;
            Some(CaptureOptions { bound: bound.parse().ok()?, overflow: overflow.parse().ok()? })
        }))
    }

    fn note_key(&self) -> String {
        format!("capture_{}", self.inner.info.side.name())
    }

    fn log_key(&self) -> String {
        format!("log_{}", self.inner.info.side.name())
    }

    fn newest_key(&self) -> String {
        format!("newest_{}", self.inner.info.side.name())
    }

    /// Which log it is, and how far it has come; `None` without one.
    pub(super) async fn mark(&mut self) -> Result<Option<LogMark>, DbError> {
        if !self.exists().await? {
            return Ok(None);
        }
        let key = self.log_key();
        let log = install::note(self.session, self.inner.dialect, &self.inner.migration, &key).await?;
        let newest = self.captures.newest(&self.table);
        let newest = one_number(self.session.query(&newest.sql, &newest.params).await?);
        if log.is_some() && !self.captures.numbers_outlive_a_crash() {
            self.settle(newest).await?;
        }
        Ok(log.map(|log| LogMark { log, newest }))
    }

    /// Makes known for good how far the log has come: what is committed after a number was given out has that number safe too.
    async fn settle(&mut self, newest: i64) -> Result<(), DbError> {
        let (dialect, migration) = (self.inner.dialect, self.inner.migration.as_str());
        let key = self.newest_key();
        let known = install::note(self.session, dialect, migration, &key).await?;
        let newest = newest.to_string();
        if known.as_deref() != Some(&newest) {
            install::put_note(self.session, dialect, migration, &key, &newest).await?;
        }
        Ok(())
    }

    /// Makes all ready for a transaction that switches capture, the fence, or both.
    pub(super) async fn prepare(&mut self) -> Result<(), DbError> {
        let Self { inner, session, table, captures } = self;
        captures.prepare(*session, inner, table, inner.manners.lock_wait).await
    }

    pub(super) async fn remove_fence(&mut self) -> Result<(), DbError> {
        self.captures.remove_fence(self.session, self.inner, &self.table).await
    }

    pub(super) async fn thin_out(&mut self) -> Result<(), DbError> {
        if !self.exists().await? {
            return Ok(());
        }
        self.captures.thin_out(self.session, &self.table).await
    }

    /// Whether the log and every trigger are there, just as they were made.
    pub(super) async fn is_whole(&mut self) -> Result<bool, DbError> {
        let Some(options) = self.options().await? else { return Ok(false) };
        if !self.exists().await? {
            return Ok(false);
        }
        let things = self.captures.capture(self.inner, &self.table, options);
        self.captures.are_whole(self.session, self.inner, &things).await
    }

    /// The columns for keys and slots, in a select list.
    fn columns(&self) -> Vec<String> {
        let columns = self.table.columns.iter();
        columns.map(|(name, ty)| self.captures.log_column(&self.dialect().name(name), ty)).collect()
    }

    fn select(&self) -> String {
        let columns: String = self.columns().iter().map(|column| format!(", {column}")).collect();
        format!("SELECT id, mapping, at{columns} FROM {}", self.name())
    }

    pub(super) async fn claim(&mut self, after: i64, limit: usize) -> Result<Vec<Claim>, DbError> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let first = self.dialect().placeholder(1);
        let sql = format!("{} WHERE id > {first} ORDER BY id LIMIT {}", self.select(), limit.min(AT_ONCE));
        let rows = self.session.query(&sql, &[Value::Int(after.max(0))]).await?;
        let entries = rows.iter().map(|row| self.entry(row)).collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().flatten().collect())
    }

    /// The entries of these keys among the newest ones: whoever asks has just written them. Older ones stay for the worker;
    /// that there may be some is said.
    pub(super) async fn claim_keys(&mut self, keys: &[Key]) -> Result<KeyClaims, DbError> {
        if keys.is_empty() || !self.exists().await? {
            return Ok(KeyClaims { claims: Vec::new(), all: true });
        }
        let wanted: HashSet<&Key> = keys.iter().collect();
        let sql = format!("{} WHERE id > 0 ORDER BY id DESC LIMIT {LOOKED_THROUGH}", self.select());
        let rows = self.session.query(&sql, &[]).await?;
        let mut found = KeyClaims { claims: Vec::new(), all: rows.len() < LOOKED_THROUGH };
        for row in rows.iter().rev() {
            found.claims.extend(self.entry(row)?.filter(|claim| wanted.contains(&claim.key)));
        }
        Ok(found)
    }

    fn entry(&self, row: &[Value]) -> Result<Option<Claim>, DbError> {
        entry(self.inner, &self.table, row)
    }

    /// Deletes exactly these entries.
    pub(super) async fn discard(&mut self, ids: &[i64]) -> Result<(), DbError> {
        if ids.is_empty() || !self.exists().await? {
            return Ok(());
        }
        for some in ids.chunks(self.dialect().keys_at_once()) {
            let some: Vec<i64> = some.iter().copied().filter(|id| *id > 0).collect();
            let statement = self.captures.delete_entries(&self.name(), &some);
            self.session.execute(&statement.sql, &statement.params).await?;
        }
        Ok(())
    }

    /// Empties the log and takes the mark back.
    pub(super) async fn reset(&mut self) -> Result<(), DbError> {
        if !self.exists().await? {
            return Ok(());
        }
        let empty = self.captures.empty_log(self.inner, &self.table);
        self.session.batch(&empty).await
    }

    pub(super) async fn depth(&mut self) -> Result<Depth, DbError> {
        let Some(options) = self.options().await? else { return Ok(Depth::default()) };
        if !self.exists().await? {
            return Ok(Depth::default());
        }
        let (log, now) = (self.name(), self.captures.now());
        let sql = format!(
            "SELECT (SELECT count(*) FROM {log} WHERE id > 0), (SELECT min(id) FROM {log} WHERE id > 0), \
             (SELECT max(id) FROM {log}), (SELECT at FROM {log} WHERE id > 0 ORDER BY id LIMIT 1), {now}, \
             ({})",
            self.captures.overflowed(self.inner, &self.table)
        );
        let rows = self.session.query(&sql, &[]).await?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        let number = |at: usize| if let Some(Value::Int(n)) = row.get(at) { Some(*n) } else { None };
        let moment = |at: usize| match row.get(at) {
            Some(Value::Instant(at)) => Some(at.0),
            // Our sessions have UTC for their zone.
            Some(Value::Timestamp(at)) => Some(at.0),
            _ => None,
        };
        let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
        let age = moment(3).zip(moment(4)).map(|(oldest, now)| (now - oldest) / 1_000);
        Ok(Depth {
            entries: unsigned(number(0).unwrap_or_default()),
            oldest_ms: unsigned(age.unwrap_or_default()),
            span: number(1).zip(number(2)).map_or(0, |(oldest, newest)| unsigned(newest - oldest)),
            bound: options.bound,
            overflowed: number(5).unwrap_or_default() > 0,
        })
    }

    /// How many keys of these slots are in the log.
    pub(super) async fn dirty_in(&mut self, slots: SlotRange) -> Result<u64, DbError> {
        if !self.exists().await? {
            return Ok(0);
        }
        let names: Vec<String> =
            self.table.columns.iter().map(|(name, _)| self.dialect().name(name)).collect();
        let (names, log) = (names.join(", "), self.name());
        if slots == SlotRange::ALL {
            let keys = format!("SELECT DISTINCT mapping, {names} FROM {log} WHERE id > 0");
            let counted = format!("SELECT count(*) FROM ({keys}) AS dirty");
            let dirty = one_number(self.session.query(&counted, &[]).await?);
            return Ok(u64::try_from(dirty).unwrap_or_default());
        }
        // In the shape of an entry, but each key once.
        let sql = format!(
            "SELECT min(id), mapping, NULL, {} FROM {log} WHERE id > 0 GROUP BY mapping, {names}",
            self.columns().join(", ")
        );
        let mut dirty = 0;
        let mut row = Vec::new();
        let Self { inner, session, table, .. } = self;
        let mut answer = session.stream(&sql, &[]).await?;
        while answer.next(&mut row).await? {
            dirty += u64::from(entry(inner, table, &row)?.is_some_and(|claim| slots.contains(claim.slot)));
        }
        Ok(dirty)
    }

    /// What changes when something becomes visible in the log: the newest entry, and the sum of the oldest numbers, up to a
    /// bound. Their count wouldn't do: one that becomes visible late may take the place of one that was discarded meanwhile.
    pub(super) async fn version(&mut self) -> Result<(i64, i64), DbError> {
        if !self.exists().await? {
            return Ok((0, 0));
        }
        let log = self.name();
        let sql = format!(
            "SELECT (SELECT max(id) FROM {log}), \
             (SELECT sum(id) FROM (SELECT id FROM {log} WHERE id > 0 ORDER BY id LIMIT 1000) AS few)"
        );
        let rows = self.session.query(&sql, &[]).await?;
        let number = |at: usize| {
            let plain = rows.first().and_then(|row| row.get(at)).and_then(Value::plain);
            plain.and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        Ok((number(0), number(1)))
    }
}

/// An entry as a claim; `None` for a mapping that the migration no longer has.
fn entry(inner: &Inner, log: &LogTable, row: &[Value]) -> Result<Option<Claim>, DbError> {
    let bad = || DbError::ours(Trouble::Other, "the log has an entry that isn't understood");
    let [Value::Int(id), Value::Int(tag), at, columns @ ..] = row else { return Err(bad()) };
    let Some(place) = inner.tables.iter().position(|table| table.tag == *tag) else {
        tracing::warn!(id, "the log has an entry of a mapping that isn't in the spec");
        return Ok(None);
    };
    let (table, (key, slot)) = (&inner.tables[place], &log.places[place]);
    let raw: Vec<Value> = key.iter().map(|&at| columns[at].clone()).collect();
    let key = logged_key(table, &raw);
    let slot = slot_of(inner, table, &key, slot.map(|at| columns[at].clone()));
    let at_ms = if let Value::Instant(Instant(micros)) = at { micros / 1_000 } else { 0 };
    Ok(Some(Claim { id: *id, key, slot, at_ms }))
}

fn slot_of(inner: &Inner, table: &SideTable, key: &Key, routed: Option<Value>) -> Slot {
    match (&table.route, routed) {
        (Some((_, target)), Some(value)) => {
            // What doesn't fit the new side's column lies in the slot of what it is here: its row is refused anyway.
            let value = target.fit(value).unwrap_or_else(|(value, _)| value);
            inner.slot_of(std::slice::from_ref(&value))
        }
        _ => inner.slot_of(key.values()),
    }
}

fn one_number(rows: Vec<Vec<Value>>) -> i64 {
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Int(n)) => *n,
        _ => 0,
    }
}

/// A name that no log has had before.
fn new_name() -> Result<String, DbError> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| DbError::ours(Trouble::Other, error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
