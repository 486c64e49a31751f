//! Rows as a server answers them, in the shape that they are asked for: their keys in the canonical form, their values as the
//! other side's columns would store them, and each that doesn't fit refused by name.

use changeover::store::{Image, Refusal};
use changeover::{Key, Row, Value};

use super::session::DbError;
use crate::fit::{Allowed, fit};
use crate::shape::{ImageColumn, ImageSql, KeyColumn, SideTable};

/// What a row of the server's became.
pub(super) enum Made {
    Row(Row),
    Refused(Refusal),
}

pub(super) fn image_of(table: &SideTable, image: Image) -> Option<&ImageSql> {
    match image {
        Image::Canonical => Some(&table.canonical),
        Image::Back => table.back.as_ref(),
    }
}

/// Makes a row of the image out of an answer, which begins with the key as it is stored; the answer's values are taken.
pub(super) fn make(table: &SideTable, image: &ImageSql, answer: &mut [Value], used: Row) -> Made {
    let (raw, others) = answer.split_at_mut(table.key.len());
    if table.same_key && !raw.iter().any(Value::is_null) {
        return beside_key(table, image, others, raw, used);
    }
    match canonical_key(table, raw) {
        Ok(key) => beside_key(table, image, others, &key, used),
        Err(why) => Made::Refused(refusal(Key::composite(table.name().clone(), raw.to_vec()), why)),
    }
}

/// The row of a key, and of what an answer has behind the key.
fn beside_key(table: &SideTable, image: &ImageSql, others: &mut [Value], key: &[Value], used: Row) -> Made {
    let Row(mut values) = used;
    values.resize(image.columns.len(), Value::Null);
    for (at, column) in image.columns.iter().enumerate() {
        match fill(column, others, key) {
            Ok(value) => values[at] = value,
            Err((value, why)) => {
                let others = image.columns[at + 1..].iter().filter_map(|c| fill(c, others, key).err());
                let all: Vec<String> = std::iter::once(why).chain(others.map(|(_, why)| why)).collect();
                return Made::Refused(Refusal {
                    key: Key::composite(table.name().clone(), key.to_vec()),
                    column: column.target.as_ref().map(|target| target.column.clone()),
                    value: Some(value),
                    why: all.join("; and "),
                });
            }
        }
    }
    Made::Row(Row(values))
}

/// The value of a column of an image, as its target would store it; or why that doesn't take it.
fn fill(column: &ImageColumn, others: &mut [Value], key: &[Value]) -> Result<Value, (Value, String)> {
    let value = match key.get(column.at) {
        Some(key) => key.clone(),
        None => std::mem::replace(&mut others[column.at - key.len()], Value::Null),
    };
    match &column.target {
        None => Ok(value),
        Some(target) if column.converts || value.is_null() => target.fit(value),
        Some(_) => Ok(value),
    }
}

/// The canonical key of a row, or why it has none.
pub(super) fn canonical_key(table: &SideTable, raw: &[Value]) -> Result<Vec<Value>, String> {
    let mut key = Vec::with_capacity(raw.len());
    for (column, raw) in table.key.iter().zip(raw) {
        if raw.is_null() {
            return Err(format!(
                "the key's column {} is NULL: no row can be found by it; give it a value, or leave the row out by `where`",
                column.name
            ));
        }
        key.push(canonical(column, raw).ok_or_else(|| {
            format!(
                "the key's column {} ({raw}) becomes another value on the other side, by which the row can't be found again; \
                 mend the row, or give both columns the same type",
                column.name
            )
        })?);
    }
    Ok(key)
}

/// A value of the key in the new column's type, if the way back leads to the same value again.
fn canonical(column: &KeyColumn, raw: &Value) -> Option<Value> {
    if column.canonical_as_it_is {
        return Some(raw.clone());
    }
    let there = fit(raw.clone(), &column.canonical, &Allowed::default()).ok()?;
    let back = fit(there.clone(), &column.own, &Allowed::default()).ok()?;
    (back == *raw || is_same_number(&back, raw)).then_some(there)
}

/// Numbers that a database finds by each other, whatever zeros are behind them.
fn is_same_number(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::Decimal(a), Value::Decimal(b)) if a.cmp_number(b).is_eq())
}

/// The canonical form of a key from the log, whether or not a row could be found by it; a key that has none as it is: by
/// another's a row would be taken for gone.
pub(super) fn logged_key(table: &SideTable, raw: &[Value]) -> Key {
    let values = table.key.iter().zip(raw).map(|(column, raw)| {
        if raw.is_null() { Value::Null } else { canonical(column, raw).unwrap_or_else(|| raw.clone()) }
    });
    Key::composite(table.name().clone(), values.collect())
}

/// A key's values as this side stores them, in the spec's order; `None` where it can't hold them, and so has no such row.
pub(super) fn own_key(table: &SideTable, key: &Key) -> Option<Vec<Value>> {
    let values = key.values();
    if values.len() != table.key.len() {
        return None;
    }
    let own = table.key.iter().zip(values).map(|(column, value)| {
        if column.own == column.canonical {
            return Some(value.clone());
        }
        fit(value.clone(), &column.own, &Allowed::default()).ok()
    });
    own.collect()
}

/// The values of a key in the order of this side's index.
pub(super) fn ordered(table: &SideTable, own: &[Value]) -> Vec<Value> {
    table.order.iter().filter_map(|&at| own.get(at).cloned()).collect()
}

/// A row over which an expression fails.
pub(super) fn failed(key: Key, server: &str, error: &DbError) -> Refusal {
    Refusal {
        key,
        column: error.column.clone(),
        value: None,
        why: format!("{server} couldn't compute the row: {}", error.cause()),
    }
}

pub(super) fn refusal(key: Key, why: impl Into<String>) -> Refusal {
    Refusal { key, column: None, value: None, why: why.into() }
}
