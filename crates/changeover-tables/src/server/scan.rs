//! Runs of keys, scanned in the order of this side's own index, in one transaction that sees one state.
//!
//! A row over which an expression of the spec's fails ends the server's statement: the scan goes on row by row until it has
//! named that row, and then by the statement again.

use std::sync::Arc;

use changeover::store::{BatchBudget, Image, KeyRange, RowBatch, RowSender};
use changeover::{Key, Row, TableName, Value};

use super::read::{Made, canonical_key, failed, image_of, logged_key, make, ordered, own_key, refusal};
use super::session::{DbError, Session, Trouble};
use super::store::Inner;
use crate::shape::{ImageSql, SideTable};

const SAVE: &str = "SAVEPOINT changeover_scan";
const BACK: &str = "ROLLBACK TO SAVEPOINT changeover_scan";

/// A scan on its way.
pub(super) struct Scan {
    inner: Arc<Inner>,
    table: TableName,
    image: Image,
    /// In the place of that image: it, with more columns.
    wider: Option<ImageSql>,
    out: Out,
}

/// What has been made of the rows, and where it goes.
struct Out {
    budget: BatchBudget,
    sender: RowSender,
    batch: RowBatch,
    bytes: usize,
    /// Rows to be filled anew.
    used: Vec<Row>,
}

/// Why a scan ended before its end.
enum Stop {
    /// The receiver is gone.
    Unwanted,
    /// The server's error.
    Db(DbError),
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

/// The table, the image and the session of a scan.
struct Walk<'s> {
    inner: &'s Inner,
    table: &'s SideTable,
    image: &'s ImageSql,
    session: &'s mut dyn Session,
    out: &'s mut Out,
}

impl Scan {
    pub(super) fn new(
        inner: Arc<Inner>,
        table: TableName,
        image: Image,
        budget: BatchBudget,
        sender: RowSender,
    ) -> Self {
        let out = Out { budget, sender, batch: RowBatch::default(), bytes: 0, used: Vec::new() };
        Self { inner, table, image, wider: None, out }
    }

    /// The same, with more columns than the image has.
    pub(super) fn wider(self, image: ImageSql) -> Self {
        Self { wider: Some(image), ..self }
    }

    /// Scans the range, and says the end, or the error, to the receiver.
    pub(super) async fn run(mut self, mut session: Box<dyn Session>, range: KeyRange) {
        let ended = self.all(session.as_mut(), &range).await;
        match ended {
            Ok(()) => {
                // A session whose transaction doesn't end is closed.
                if session.batch("ROLLBACK").await.is_ok() {
                    session.release();
                }
                self.out.end().await;
            }
            Err(Stop::Unwanted) => {}
            Err(Stop::Db(error)) => {
                let error = self.inner.place.error("scanning", &error);
                self.out.sender.fail(error).await;
            }
        }
    }

    async fn all(&mut self, session: &mut dyn Session, range: &KeyRange) -> Result<(), Stop> {
        let inner = Arc::clone(&self.inner);
        let found = inner.tables.iter().find(|table| *table.name() == self.table);
        let Some((table, image)) = found.and_then(|table| Some((table, image_of(table, self.image)?))) else {
            return Ok(());
        };
        let image = self.wider.as_ref().unwrap_or(image);
        session.batch(inner.dialect.begin_snapshot()).await?;
        session.batch(SAVE).await?;
        let mut walk = Walk { inner: &inner, table, image, session, out: &mut self.out };
        walk.range(range).await
    }
}

impl Walk<'_> {
    async fn range(&mut self, range: &KeyRange) -> Result<(), Stop> {
        if range.after.is_none() {
            self.without_key().await?;
        }
        let own = |key: &Key| own_key(self.table, key).map(|own| ordered(self.table, &own));
        let bound = |key: &Option<Key>| match key {
            None => Ok(None),
            Some(key) => own(key).map(Some).ok_or_else(|| {
                Stop::Db(DbError::ours(Trouble::Other, format!("{key} isn't a key that this side can have")))
            }),
        };
        let (mut after, upto) = (bound(&range.after)?, bound(&range.upto)?);
        loop {
            let mut last = None;
            match self.run_from(after.as_deref(), upto.as_deref(), &mut last).await {
                Ok(()) => return Ok(()),
                Err(Stop::Db(error)) if error.trouble == Trouble::Row => {
                    self.session.batch(BACK).await?;
                    after = self.past_failing_row(last.or(after), upto.as_deref(), &error).await?;
                    if after.is_none() {
                        return Ok(());
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// The rows after a key by one statement; `last` is the key of the last row that came.
    async fn run_from(
        &mut self,
        after: Option<&[Value]>,
        upto: Option<&[Value]>,
        last: &mut Option<Vec<Value>>,
    ) -> Result<(), Stop> {
        let sql = range_sql(self.table, &self.image.select, after.is_some(), upto.is_some(), true);
        let params = range_params(self.table, after, upto);
        let mut answer = self.session.stream(&sql, &params).await?;
        let mut values = Vec::new();
        // Needed only where an expression may fail.
        let keeps_last = self.image.columns.iter().any(|column| column.at >= self.table.key.len());
        while answer.next(&mut values).await? {
            if keeps_last {
                let last = last.get_or_insert_default();
                last.clear();
                last.extend(self.table.order.iter().map(|&at| values[at].clone()));
            }
            let used = self.out.used.pop().unwrap_or_default();
            self.out.put(make(self.table, self.image, &mut values, used)).await?;
        }
        Ok(())
    }

    /// Goes on row by row until the row that fails is named; its key, or `None` at the end of the range.
    async fn past_failing_row(
        &mut self,
        mut after: Option<Vec<Value>>,
        upto: Option<&[Value]>,
        error: &DbError,
    ) -> Result<Option<Vec<Value>>, Stop> {
        let list = self.table.key_list();
        loop {
            let mut sql = range_sql(self.table, &list, after.is_some(), upto.is_some(), false);
            sql.push_str(" LIMIT 1");
            let params = range_params(self.table, after.as_deref(), upto);
            let Some(raw) = self.session.query(&sql, &params).await?.into_iter().next() else {
                tracing::warn!(
                    table = %self.table.name(), cause = %error.cause(), "no row fails by itself where the scan failed"
                );
                return Ok(None);
            };
            let bad = self.one(&raw).await?;
            after = Some(ordered(self.table, &raw));
            if bad {
                return Ok(after);
            }
        }
    }

    /// One row by its key as it is stored; whether it failed.
    async fn one(&mut self, raw: &[Value]) -> Result<bool, Stop> {
        let statement = self.inner.dialect.has_one_of(self.table, &[raw.to_vec()]);
        let sql = format!(
            "SELECT {} FROM {} WHERE {}{}",
            self.image.select,
            self.table.table,
            statement.sql,
            self.table.and_scope()
        );
        match self.session.query(&sql, &statement.params).await {
            Ok(rows) => {
                for mut row in rows.into_iter().filter(|row| row[..raw.len()] == *raw) {
                    self.out.put(make(self.table, self.image, &mut row, Row::default())).await?;
                }
                Ok(false)
            }
            Err(error) if error.trouble == Trouble::Row => {
                self.session.batch(BACK).await?;
                let key = logged_key(self.table, raw);
                self.out.put(Made::Refused(failed(key, self.inner.dialect.server(), &error))).await?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rows whose key has a NULL in it: no range has them, and none of them can be carried.
    async fn without_key(&mut self) -> Result<(), Stop> {
        let Some(condition) = self.table.key_is_null() else { return Ok(()) };
        let sql = format!(
            "SELECT {} FROM {} WHERE {condition}{}",
            self.table.key_list(),
            self.table.table,
            self.table.and_scope()
        );
        let mut answer = self.session.stream(&sql, &[]).await?;
        let mut raw = Vec::new();
        while answer.next(&mut raw).await? {
            if let Err(why) = canonical_key(self.table, &raw) {
                let key = Key::composite(self.table.name().clone(), raw.clone());
                self.out.put(Made::Refused(refusal(key, why))).await?;
            }
        }
        Ok(())
    }
}

impl Out {
    async fn put(&mut self, made: Made) -> Result<(), Stop> {
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
            if !self.sender.send(std::mem::take(&mut self.batch)).await {
                return Err(Stop::Unwanted);
            }
            self.used.append(&mut self.sender.used());
            // What no batch has had use for would only lie there.
            self.used.truncate(self.budget.rows);
        }
        Ok(())
    }

    async fn end(self) {
        let any = !self.batch.rows.is_empty() || !self.batch.refused.is_empty();
        if !any || self.sender.send(self.batch).await {
            self.sender.end().await;
        }
    }
}

/// A run of keys in order. Each end is a comparison of the whole key, which the server answers by the index.
pub(super) fn range_sql(table: &SideTable, select: &str, after: bool, upto: bool, scoped: bool) -> String {
    let condition = range_condition(table, after, upto, scoped);
    format!("SELECT {select} FROM {} WHERE {condition} ORDER BY {}", table.table, table.ordered_key())
}

/// The condition of [`range_sql`].
pub(super) fn range_condition(table: &SideTable, after: bool, upto: bool, scoped: bool) -> String {
    let after_that = 1 + if after { table.key.len() } else { 0 };
    let ends = [after.then(|| table.compare(">", 1)), upto.then(|| table.compare("<=", after_that))];
    condition_of(table, ends, scoped)
}

/// The same, with the comparisons at its ends as SQL.
pub(super) fn condition_of(table: &SideTable, ends: [Option<String>; 2], scoped: bool) -> String {
    let mut sql = "true".to_owned();
    for end in ends.into_iter().flatten() {
        sql.push_str(&format!(" AND {end}"));
    }
    sql.push_str(&table.and_key_not_null());
    if scoped {
        sql.push_str(&table.and_scope());
    }
    sql
}

/// The parameters of [`range_sql`], given the keys at its ends in the order of this side's index.
pub(super) fn range_params(table: &SideTable, after: Option<&[Value]>, upto: Option<&[Value]>) -> Vec<Value> {
    [after, upto].into_iter().flatten().flat_map(|key| table.compared(key)).collect()
}
