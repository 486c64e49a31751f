//! Runs of keys: scanned in the order of this side's own index, cut into chunks, and located among bounds.
//!
//! A row over which an expression of the spec's fails ends SQLite's statement: the scan goes on row by row until it has
//! named that row, and then by the statement again.

use std::cmp::Ordering;

use changeover::store::{BatchBudget, Image, KeyRange, Refusal, RowBatch, RowSender};
use changeover::{Key, Row, StoreError, Value};
use rusqlite::Connection;

use super::errors::{self, Place};
use super::read::{Made, failed, is_exact, own_value, raw_key};
use super::value::{bind, stored};
use crate::shape::{ImageSql, SideTable};

/// A scan on its way.
pub(super) struct Scan<'s> {
    pub(super) connection: &'s Connection,
    pub(super) table: &'s SideTable,
    pub(super) image: &'s ImageSql,
    pub(super) budget: BatchBudget,
    pub(super) place: &'s Place,
    pub(super) sender: RowSender,
    batch: RowBatch,
    bytes: usize,
    /// Rows to be filled anew.
    used: Vec<Row>,
}

/// Why a scan ended before its end.
enum Stop {
    /// The receiver is gone.
    Unwanted,
    /// SQLite's error.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Scans a range in one read transaction, and says the end, or the error, to the receiver.
pub(super) fn run(
    connection: &Connection,
    table: &SideTable,
    place: &Place,
    (range, image, budget): (&KeyRange, Image, BatchBudget),
    sender: RowSender,
) {
    match table.image(image) {
        Some(image) => run_image(connection, table, place, (range, image, budget), sender),
        None => sender.fail_blocking(no_back(place)),
    }
}

/// [`run`], for any image of the table's rows.
pub(super) fn run_image(
    connection: &Connection,
    table: &SideTable,
    place: &Place,
    (range, image, budget): (&KeyRange, &ImageSql, BatchBudget),
    sender: RowSender,
) {
    let (batch, used) = (RowBatch::default(), Vec::new());
    let mut scan = Scan { connection, table, image, budget, place, sender, batch, bytes: 0, used };
    let ended = connection.execute_batch("BEGIN").map_err(Stop::from).and_then(|()| scan.all(range));
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "ending a scan's transaction");
    }
    scan.finish(ended);
}

pub(super) fn no_back(place: &Place) -> StoreError {
    place.refused(
        "reading the write-back image",
        "the old side has none",
        "Only the new side can be asked for what is to be written to the old one",
    )
}

impl Scan<'_> {
    fn finish(mut self, ended: Result<(), Stop>) {
        match ended {
            Ok(()) => {
                let rest = std::mem::take(&mut self.batch);
                let any = !rest.rows.is_empty() || !rest.refused.is_empty();
                if !any || self.sender.send_blocking(rest) {
                    self.sender.end_blocking();
                }
            }
            Err(Stop::Unwanted) => {}
            Err(Stop::Sqlite(error)) => self.sender.fail_blocking(self.place.error("scanning", &error)),
        }
    }

    fn all(&mut self, range: &KeyRange) -> Result<(), Stop> {
        if range.after.is_none() {
            self.without_key()?;
        }
        let upto = range.upto.as_ref().map(|key| ordered(self.table, &self.table.own_key(key.values())));
        let mut after =
            range.after.as_ref().map(|key| ordered(self.table, &self.table.own_key(key.values())));
        loop {
            match self.run_from(after.as_deref(), upto.as_deref()) {
                Ok(()) => return Ok(()),
                Err((last, Stop::Sqlite(error))) if errors::is_of_row(&error) => {
                    after = self.past_failing_row(last.or(after), upto.as_deref(), &error)?;
                    if after.is_none() {
                        return Ok(());
                    }
                }
                Err((_, stop)) => return Err(stop),
            }
        }
    }

    /// The rows after a key by one statement; on an error, with the key of the last row that came.
    fn run_from(
        &mut self,
        after: Option<&[Value]>,
        upto: Option<&[Value]>,
    ) -> Result<(), (Option<Vec<Value>>, Stop)> {
        let sql = self.table.range_sql(&self.image.select, after.is_some(), upto.is_some(), true);
        let mut last = None;
        self.step_through(&sql, after, upto, &mut last).map_err(|stop| (last, stop))
    }

    fn step_through(
        &mut self,
        sql: &str,
        after: Option<&[Value]>,
        upto: Option<&[Value]>,
        last: &mut Option<Vec<Value>>,
    ) -> Result<(), Stop> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let next = bind(&mut statement, 1, after.unwrap_or_default())?;
        bind(&mut statement, next, upto.unwrap_or_default())?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let raw = raw_key(row, self.table.key.len())?;
            let made = self.table.make(
                self.connection,
                self.image,
                row,
                &raw,
                self.used.pop().unwrap_or_default(),
            )?;
            self.put(made)?;
            *last = Some(in_order(self.table, raw));
        }
        Ok(())
    }

    /// Goes on row by row until the row that fails is named; its key, or `None` at the end of the range.
    fn past_failing_row(
        &mut self,
        mut after: Option<Vec<Value>>,
        upto: Option<&[Value]>,
        error: &rusqlite::Error,
    ) -> Result<Option<Vec<Value>>, Stop> {
        let list = self.table.key_list();
        loop {
            let mut sql = self.table.range_sql(&list, after.is_some(), upto.is_some(), false);
            sql.push_str(" LIMIT 1");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let next = bind(&mut statement, 1, after.as_deref().unwrap_or_default())?;
            bind(&mut statement, next, upto.unwrap_or_default())?;
            let raw =
                statement.raw_query().next()?.map(|row| raw_key(row, self.table.key.len())).transpose()?;
            let Some(raw) = raw else {
                tracing::warn!(table = %self.table.name(), %error, "no row fails by itself where the scan failed");
                return Ok(None);
            };
            let bad = self.one(&raw)?;
            after = Some(ordered(self.table, &raw));
            if bad {
                return Ok(after);
            }
        }
    }

    /// One row by its key as it is stored; whether it failed.
    fn one(&mut self, raw: &[Value]) -> Result<bool, Stop> {
        let mut statement = self.connection.prepare_cached(&self.table.point_sql(self.image))?;
        bind(&mut statement, 1, raw)?;
        let made = match statement.raw_query().next() {
            Ok(None) => return Ok(false),
            Ok(Some(row)) => self.table.make(self.connection, self.image, row, raw, Row::default()),
            Err(error) => Err(error),
        };
        match made {
            Ok(made) => self.put(made).map(|()| false),
            Err(error) if errors::is_of_row(&error) => {
                let key = self.table.logged_key(self.connection, raw.to_vec())?;
                self.put(Made::Refused(failed(key, &error))).map(|()| true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rows whose key has a NULL in it: no range has them, and none of them can be carried.
    fn without_key(&mut self) -> Result<(), Stop> {
        let Some(condition) = self.table.key_is_null() else { return Ok(()) };
        let sql = format!(
            "SELECT {} FROM {} WHERE {condition}{}",
            self.table.key_list(),
            self.table.table,
            self.table.and_scope()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let raw = raw_key(row, self.table.key.len())?;
            if let Err(why) = self.table.canonical_key(self.connection, &raw)? {
                let key = Key::composite(self.table.name().clone(), raw);
                self.put(Made::Refused(Refusal { key, column: None, value: None, why }))?;
            }
        }
        Ok(())
    }

    fn put(&mut self, made: Made) -> Result<(), Stop> {
        match made {
            Made::Row(row) => {
                self.bytes += row.size();
                self.batch.rows.push(row);
            }
            Made::Refused(refusal) => {
                self.bytes += refusal.value.as_ref().map_or(64, Value::size);
                self.batch.refused.push(refusal);
            }
        }
        let rows = self.batch.rows.len() + self.batch.refused.len();
        if rows >= self.budget.rows.max(1) || self.bytes >= self.budget.bytes {
            self.bytes = 0;
            if !self.sender.send_blocking(std::mem::take(&mut self.batch)) {
                return Err(Stop::Unwanted);
            }
            self.used.append(&mut self.sender.used());
            // What no batch has had use for would only lie there.
            self.used.truncate(self.budget.rows);
        }
        Ok(())
    }
}

impl SideTable {
    /// A run of keys in order. Each end is a comparison of the whole key, which SQLite answers by the index.
    pub(super) fn range_sql(&self, select: &str, after: bool, upto: bool, scoped: bool) -> String {
        let mut sql = format!("SELECT {select} FROM {} WHERE true", self.table);
        if after {
            sql.push_str(" AND ");
            sql.push_str(&self.compare(">", 1));
        }
        if upto {
            sql.push_str(" AND ");
            sql.push_str(&self.compare("<=", 1 + if after { self.key.len() } else { 0 }));
        }
        sql.push_str(&self.and_key_not_null());
        if scoped {
            sql.push_str(&self.and_scope());
        }
        sql.push_str(" ORDER BY ");
        sql.push_str(&self.ordered_key());
        sql
    }

    /// The key that is so many rows after another. The old side's `where` isn't asked: it may fail, or leave out nearly all,
    /// and a chunk is measured by what is read.
    pub(super) fn cut(
        &self,
        connection: &Connection,
        after: Option<&Key>,
        rows: u64,
    ) -> rusqlite::Result<Option<Key>> {
        let scoped = self.side == changeover::Side::New;
        let mut sql = self.range_sql(&self.key_list(), after.is_some(), false, scoped);
        sql.push_str(" LIMIT -1 OFFSET ?");
        sql.push_str(&(1 + if after.is_some() { self.key.len() } else { 0 }).to_string());
        let mut statement = connection.prepare_cached(&sql)?;
        let from = after.map(|key| ordered(self, &self.own_key(key.values())));
        let next = bind(&mut statement, 1, from.as_deref().unwrap_or_default())?;
        let skipped = i64::try_from(rows.max(1) - 1).unwrap_or(i64::MAX);
        statement.raw_bind_parameter(next, skipped)?;
        let mut found = statement.raw_query();
        // A key that isn't found again by its canonical form is no bound: the next one that is, is.
        while let Some(row) = found.next()? {
            if let Ok(key) = self.canonical_key(connection, &raw_key(row, self.key.len())?)? {
                return Ok(Some(Key::composite(self.name().clone(), key)));
            }
        }
        Ok(None)
    }

    /// For each key, how many of the bounds (which are in order) lie before it.
    pub(super) fn locate(
        &self,
        connection: &Connection,
        keys: &[Key],
        bounds: &[Key],
    ) -> rusqlite::Result<Vec<usize>> {
        let own = |key: &Key| self.own_ordered(connection, key);
        let bounds = bounds.iter().map(own).collect::<Result<Vec<_>, _>>()?;
        let mut places = Vec::with_capacity(keys.len());
        for key in keys {
            let key = own(key)?;
            let (mut low, mut high) = (0, bounds.len());
            while low < high {
                let middle = low + (high - low) / 2;
                match self.order_of(connection, &bounds[middle], &key)? {
                    Ordering::Less => low = middle + 1,
                    Ordering::Equal | Ordering::Greater => high = middle,
                }
            }
            places.push(low);
        }
        Ok(places)
    }

    /// A key's values as this side stores them, in the order of its index.
    fn own_ordered(&self, connection: &Connection, key: &Key) -> rusqlite::Result<Vec<Value>> {
        let values = key.values();
        self.order
            .iter()
            .filter(|&&at| at < values.len())
            .map(|&at| match &self.key[at] {
                column if is_exact(&column.canonical) => Ok(own_value(column, &values[at])),
                column => stored(connection, &column.own, values[at].clone()),
            })
            .collect()
    }

    fn order_of(&self, connection: &Connection, a: &[Value], b: &[Value]) -> rusqlite::Result<Ordering> {
        for ((a, b), &at) in a.iter().zip(b).zip(&self.order) {
            let order = match compare_binary(a, b) {
                Some(order) if self.utf8_order && self.key[at].collation.eq_ignore_ascii_case("BINARY") => {
                    order
                }
                _ => compare_in_sqlite(connection, &self.key[at].collation, a, b)?,
            };
            if order != Ordering::Equal {
                return Ok(order);
            }
        }
        Ok(Ordering::Equal)
    }
}

/// [`ordered`] without a copy, where the spec has the index's order.
fn in_order(table: &SideTable, values: Vec<Value>) -> Vec<Value> {
    if table.order.is_sorted() { values } else { ordered(table, &values) }
}

/// The values of a key in the order of this side's index.
fn ordered(table: &SideTable, values: &[Value]) -> Vec<Value> {
    table.order.iter().filter_map(|&at| values.get(at).cloned()).collect()
}

/// The order of two values of one type; anything else is asked of SQLite.
fn compare_binary(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn compare_in_sqlite(
    connection: &Connection,
    collation: &str,
    a: &Value,
    b: &Value,
) -> rusqlite::Result<Ordering> {
    let collation = super::sql::name(collation);
    let sql = format!("SELECT (?1 > ?2 COLLATE {collation}) - (?1 < ?2 COLLATE {collation})");
    let mut statement = connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, [a, b])?;
    let mut rows = statement.raw_query();
    let order = match rows.next()? {
        Some(row) => row.get::<_, Option<i64>>(0)?,
        None => None,
    };
    // NULL comes first, and equals itself here.
    Ok(order.map_or_else(|| b.is_null().cmp(&a.is_null()), |n| n.cmp(&0)))
}
