//! Digests of runs of rows, computed by the server: the part that no dialect owns.

use async_trait::async_trait;
use changeover::store::KeyRange;
use changeover::store::digest::{Digest, Digests, Seeds};
use changeover::{Key, StoreError, TableName, Value};

use super::dialect::{Dialect, Statement};
use super::read::{canonical_key, ordered, own_key};
use super::scan::{range_condition, range_params};
use super::session::{DbError, Session, Trouble};
use super::store::ServerStore;
use crate::catalog::ColumnInfo;
use crate::shape::SideTable;

/// How a kind of server hashes its rows.
pub(crate) trait Hashes: Dialect {
    /// A statement that answers one text: all that a hash depends on beyond the values and their types.
    fn maker(&self) -> &'static str;

    /// The hash of a row of these columns, as an expression of 64 bits that begins with this seed; `None` where it couldn't tell
    /// all that a comparison of values tells.
    fn row_hash(&self, columns: &[&ColumnInfo], seed: i64) -> Option<String>;

    /// The keys (each in the spec's order) that end the next ranges of so many rows, at most so many keys; the key before the
    /// first, if there is one, as parameters from 1 on.
    fn bounds(&self, table: &SideTable, after: bool, rows: u64, most: usize) -> String;

    /// For each of these ranges, with its ends in the order of this side's index, what `aggregates` says of its rows.
    fn each_range(
        &self,
        table: &SideTable,
        aggregates: &[&str],
        ranges: &[(Vec<Value>, Vec<Value>)],
    ) -> Statement;
}

/// What is asked of the rows of a range: how many they are, and the sums of their hashes.
pub(crate) fn aggregates(hashes: &dyn Hashes, columns: &[&ColumnInfo], seeds: Seeds) -> Option<[String; 3]> {
    let [one, other] = seeds;
    let sum = |seed| Some(format!("coalesce(sum({}), 0)", hashes.row_hash(columns, seed)?));
    Some(["count(*)".to_owned(), sum(one)?, sum(other)?])
}

/// This side's columns, if their digest is one of the canonical image.
fn columns(table: &SideTable) -> Option<Vec<&ColumnInfo>> {
    table.alike.as_ref()?.iter().map(|name| table.info.column(name)).collect()
}

/// An answer of [`aggregates`].
fn digest(row: &[Value]) -> Result<Digest, DbError> {
    let whole = |value: &Value| value.plain().and_then(|text| text.parse::<i128>().ok());
    let read = |row: &[Value]| match row {
        [rows, one, other] => {
            Some(Digest { rows: u64::try_from(whole(rows)?).ok()?, sums: [whole(one)?, whole(other)?] })
        }
        _ => None,
    };
    read(row).ok_or_else(|| DbError::ours(Trouble::Other, "a digest isn't one: a count and two sums"))
}

/// One mapping's rows, and how they are hashed.
struct Summing<'s> {
    hashes: &'static dyn Hashes,
    table: &'s SideTable,
    aggregates: [String; 3],
}

impl Summing<'_> {
    /// The digest of each range, in order: those between two keys by one statement.
    async fn all(&self, session: &mut dyn Session, ranges: &[KeyRange]) -> Result<Vec<Digest>, DbError> {
        let mut digests = vec![Digest::default(); ranges.len()];
        let (mut closed, mut ends) = (Vec::new(), Vec::new());
        for (at, range) in ranges.iter().enumerate() {
            let (after, upto) = (self.end(range.after.as_ref())?, self.end(range.upto.as_ref())?);
            match (after, upto) {
                (Some(after), Some(upto)) => {
                    closed.push(at);
                    ends.push((after, upto));
                }
                (after, upto) => {
                    digests[at] = self.open(session, after.as_deref(), upto.as_deref()).await?;
                }
            }
        }
        if ends.is_empty() {
            return Ok(digests);
        }
        let aggregates = self.aggregates.each_ref().map(String::as_str);
        let statement = self.hashes.each_range(self.table, &aggregates, &ends);
        let answer = session.query(&statement.sql, &statement.params).await?;
        if answer.len() != ends.len() {
            return Err(DbError::ours(Trouble::Other, "a range's digest went unanswered"));
        }
        for (at, row) in closed.into_iter().zip(&answer) {
            digests[at] = digest(row)?;
        }
        Ok(digests)
    }

    fn end(&self, key: Option<&Key>) -> Result<Option<Vec<Value>>, DbError> {
        let Some(key) = key else { return Ok(None) };
        let own = own_key(self.table, key).ok_or_else(|| {
            DbError::ours(Trouble::Other, format!("{key} isn't a key that this side can have"))
        })?;
        Ok(Some(ordered(self.table, &own)))
    }

    /// The digest of a range that has no end on one side or on both.
    async fn open(
        &self,
        session: &mut dyn Session,
        after: Option<&[Value]>,
        upto: Option<&[Value]>,
    ) -> Result<Digest, DbError> {
        let condition = range_condition(self.table, after.is_some(), upto.is_some(), true);
        let sql =
            format!("SELECT {} FROM {} WHERE {condition}", self.aggregates.join(", "), self.table.table);
        let answer = session.query(&sql, &range_params(self.table, after, upto)).await?;
        digest(answer.first().map(Vec::as_slice).unwrap_or_default())
    }
}

#[async_trait]
impl Digests for ServerStore {
    async fn method(&self, table: &TableName) -> Result<Option<String>, StoreError> {
        let table = self.inner.table(table)?;
        let Some(hashes) = self.inner.dialect.hashes() else { return Ok(None) };
        if columns(table).and_then(|columns| hashes.row_hash(&columns, 0)).is_none() {
            return Ok(None);
        }
        let doing = "asking how rows are hashed";
        let mut session = self.inner.session(doing).await?;
        let answer = session.query(hashes.maker(), &[]).await;
        let answer = self.inner.given_back(doing, session, answer)?;
        let maker = answer.first().and_then(|row| row.first()).and_then(Value::plain);
        Ok(maker.map(|maker| format!("{} {maker}", self.inner.dialect.kind())))
    }

    async fn bounds(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
        most: usize,
    ) -> Result<Vec<Key>, StoreError> {
        let doing = "cutting ranges";
        let table = self.inner.table(table)?;
        let Some(hashes) = self.inner.dialect.hashes() else { return Ok(Vec::new()) };
        let from = match after {
            None => None,
            Some(key) => match own_key(table, key) {
                Some(own) => Some(ordered(table, &own)),
                None => return Ok(Vec::new()),
            },
        };
        let sql = hashes.bounds(table, after.is_some(), rows.clamp(1, 1 << 60), most);
        let mut session = self.inner.session(doing).await?;
        let answer = session.query(&sql, &range_params(table, from.as_deref(), None)).await;
        let answer = self.inner.given_back(doing, session, answer)?;
        // A key that isn't found again by its canonical form is no bound; both sides' keys being of one type, each is.
        let keys = answer.iter().filter_map(|raw| canonical_key(table, raw).ok());
        Ok(keys.map(|key| Key::composite(table.name().clone(), key)).collect())
    }

    async fn digests(
        &self,
        table: &TableName,
        ranges: &[KeyRange],
        seeds: Seeds,
    ) -> Result<Option<Vec<Digest>>, StoreError> {
        let doing = "computing digests";
        let table = self.inner.table(table)?;
        let Some(hashes) = self.inner.dialect.hashes() else { return Ok(None) };
        let summed = columns(table).and_then(|columns| aggregates(hashes, &columns, seeds));
        let Some(aggregates) = summed else { return Ok(None) };
        let summing = Summing { hashes, table, aggregates };
        let mut session = self.inner.session(doing).await?;
        match summing.all(session.as_mut(), ranges).await {
            Err(error) if error.trouble == Trouble::Row => {
                session.release();
                Ok(None)
            }
            answer => self.inner.given_back(doing, session, answer.map(Some)),
        }
    }
}
