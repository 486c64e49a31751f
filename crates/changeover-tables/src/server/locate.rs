//! Where keys lie: cutting the key space into chunks, and finding the chunk of a key, in the server's own order.

use std::cmp::Ordering;

use changeover::engine::cmp_values;
use changeover::{Key, Side, Value};

use super::dialect::Dialect;
use super::read::{canonical_key, ordered, own_key};
use super::scan::{range_params, range_sql};
use super::session::{DbError, Session, Trouble};
use crate::catalog::Domain;
use crate::shape::SideTable;
use crate::types::Exact;

/// So many cuts are made by arithmetic before the rows are counted again.
const RECKONED: u32 = 15;

/// What is known of the integers that a table's key is made of, from the last cut for which its rows were counted.
///
/// To count rows the server walks them all, for each chunk once more than it is read. Where at least every second integer is a
/// key, a bound is reckoned instead: there can't be more rows up to it than integers, and hardly fewer than half as many.
#[derive(Debug, Default)]
pub(super) struct Density {
    /// The bound that was given last.
    upto: Option<i64>,
    /// How many more may be reckoned from there.
    left: u32,
}

impl Density {
    /// The bound so many integers after this one, if it is to be reckoned.
    fn reckon(&self, table: &SideTable, after: Option<&Key>, rows: u64) -> Option<i64> {
        let (after, max) = integer(table, after?)?;
        let bound = after.checked_add(i64::try_from(rows).ok()?)?;
        (self.left > 0 && self.upto == Some(after) && u64::try_from(bound).ok()? < max).then_some(bound)
    }

    /// Takes a bound for which rows were counted.
    fn counted(&mut self, table: &SideTable, after: Option<&Key>, upto: Option<&Key>, rows: u64) {
        let ends = after.zip(upto).and_then(|(a, b)| Some((integer(table, a)?.0, integer(table, b)?.0)));
        let dense = ends.filter(|(after, upto)| upto.abs_diff(*after) <= rows.saturating_mul(2));
        *self = Self { upto: dense.map(|(_, upto)| upto), left: RECKONED };
    }
}

/// A key that is one integer, the same on both sides, and the greatest that this side can have.
fn integer(table: &SideTable, key: &Key) -> Option<(i64, u64)> {
    let ([column], [Value::Int(value)]) = (&table.key[..], key.values()) else { return None };
    match &column.own {
        Domain::Exact(exact) if column.canonical_as_it_is => match exact.of {
            Exact::Int { max, .. } => Some((*value, max)),
            _ => None,
        },
        _ => None,
    }
}

/// The key that is so many rows after another, or about so many where that can be reckoned.
pub(super) async fn cut_about(
    session: &mut dyn Session,
    table: &SideTable,
    density: &mut Density,
    after: Option<&Key>,
    rows: u64,
) -> Result<Option<Key>, DbError> {
    if let Some(bound) = density.reckon(table, after, rows) {
        let key = Key::composite(table.name().clone(), vec![Value::Int(bound)]);
        // Behind the last chunk there is nothing: it has no end.
        let mut sql = range_sql(table, "1", true, false, table.side == Side::New);
        sql.push_str(" LIMIT 1");
        if !session.query(&sql, &range_params(table, Some(&[Value::Int(bound)]), None)).await?.is_empty() {
            density.upto = Some(bound);
            density.left -= 1;
            return Ok(Some(key));
        }
    }
    let upto = cut(session, table, after, rows).await?;
    density.counted(table, after, upto.as_ref(), rows);
    Ok(upto)
}

/// The key that is so many rows after another. The old side's `where` isn't asked: it may fail, or leave out nearly all, and a
/// chunk is measured by what is read.
async fn cut(
    session: &mut dyn Session,
    table: &SideTable,
    after: Option<&Key>,
    rows: u64,
) -> Result<Option<Key>, DbError> {
    let mut sql = range_sql(table, &table.key_list(), after.is_some(), false, table.side == Side::New);
    sql.push_str(&format!(" LIMIT 100 OFFSET {}", rows.clamp(1, 1 << 60) - 1));
    let from = match after {
        None => None,
        Some(key) => Some(ordered(table, &own_key(table, key).ok_or_else(|| unknown(key))?)),
    };
    // A key that isn't found again by its canonical form is no bound: the next one that is, is.
    let found = session.query(&sql, &range_params(table, from.as_deref(), None)).await?;
    let mut keys = found.iter().filter_map(|raw| canonical_key(table, raw).ok());
    match keys.next() {
        Some(key) => Ok(Some(Key::composite(table.name().clone(), key))),
        None if found.len() == 100 => Err(DbError::ours(
            Trouble::Other,
            "a hundred keys in a row become other values on the other side: give both keys the same type",
        )),
        None => Ok(None),
    }
}

fn unknown(key: &Key) -> DbError {
    DbError::ours(Trouble::Other, format!("{key} isn't a key that this side can have"))
}

/// For each key, how many of the bounds (which are in order) lie before it.
pub(super) async fn locate(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    table: &SideTable,
    keys: &[Key],
    bounds: &[Key],
) -> Result<Vec<usize>, DbError> {
    let own = |key: &Key| own_key(table, key).map(|own| ordered(table, &own)).ok_or_else(|| unknown(key));
    let bounds = bounds.iter().map(own).collect::<Result<Vec<_>, _>>()?;
    let keys = keys.iter().map(own).collect::<Result<Vec<_>, _>>()?;
    let mut open: Vec<(usize, usize)> = vec![(0, bounds.len()); keys.len()];
    // What passes unread (an infinite date) has its place in the server's order alone.
    let known = |values: &Vec<Value>| !values.iter().any(|value| matches!(value, Value::Opaque(_)));
    if table.order.iter().all(|&at| is_known_order(table, at)) && keys.iter().chain(&bounds).all(known) {
        for (key, place) in keys.iter().zip(&mut open) {
            place.0 = bounds.partition_point(|bound| is_before(bound, key));
            place.1 = place.0;
        }
    }
    // One step of the search of all keys by each statement: as many statements as the number of bounds has binary digits.
    loop {
        let asked: Vec<usize> = (0..keys.len()).filter(|&n| open[n].0 < open[n].1).collect();
        if asked.is_empty() {
            return Ok(open.into_iter().map(|(low, _)| low).collect());
        }
        for some in asked.chunks(dialect.keys_at_once()) {
            let left: Vec<Vec<Value>> = some.iter().map(|&n| bounds[middle(open[n])].clone()).collect();
            let right: Vec<Vec<Value>> = some.iter().map(|&n| keys[n].clone()).collect();
            let statement = dialect.less(table, &left, &right);
            let answer = session.query(&statement.sql, &statement.params).await?;
            if answer.len() != some.len() {
                return Err(DbError::ours(Trouble::Other, "a comparison of keys went unanswered"));
            }
            for (&n, row) in some.iter().zip(&answer) {
                let middle = middle(open[n]);
                match row.first() {
                    Some(Value::Bool(true) | Value::Int(1)) => open[n].0 = middle + 1,
                    _ => open[n].1 = middle,
                }
            }
        }
    }
}

const fn middle((low, high): (usize, usize)) -> usize {
    low + (high - low) / 2
}

fn is_before(bound: &[Value], key: &[Value]) -> bool {
    let orders = bound.iter().zip(key).map(|(a, b)| cmp_values(a, b));
    orders.into_iter().find(|order| order.is_ne()) == Some(Ordering::Less)
}

/// Whether the server orders the values of this column of the key as we do.
fn is_known_order(table: &SideTable, at: usize) -> bool {
    let column = &table.key[at];
    match &column.own {
        Domain::Exact(exact) => match &exact.of {
            Exact::Bool
            | Exact::Int { .. }
            | Exact::Decimal { .. }
            | Exact::Date { .. }
            | Exact::Time(_)
            | Exact::Timestamp(_)
            | Exact::Instant(_)
            | Exact::Bytes { padded: false, .. } => true,
            // MariaDB's are ordered by parts, the last first.
            Exact::Uuid => column.collation.eq_ignore_ascii_case("BINARY"),
            Exact::Text(_) => table.utf8_order && column.collation.eq_ignore_ascii_case("BINARY"),
            _ => false,
        },
        _ => false,
    }
}
