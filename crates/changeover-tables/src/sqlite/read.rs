//! Rows by their keys: read, changed to the shape they are asked for in, and refused one by one where that fails.

use std::borrow::Cow;

use changeover::store::{Image, Refusal, Rows};
use changeover::{Key, Row, Value};
use rusqlite::{Connection, Row as SqlRow, Statement};

use super::errors;
use super::sql::name;
use super::value::{self, bind, stored};
use crate::catalog::Domain;
use crate::fit::{Allowed, Target, fit, same_in_key};
use crate::shape::{ImageColumn, ImageSql, KeyColumn, SideTable};

/// What a row of SQLite's became.
pub(super) enum Made {
    Row(Row),
    Refused(Refusal),
}

impl SideTable {
    pub(super) fn image(&self, image: Image) -> Option<&ImageSql> {
        match image {
            Image::Canonical => Some(&self.canonical),
            Image::Back => self.back.as_ref(),
        }
    }

    /// The statement that reads one row by its key.
    pub(super) fn point_sql(&self, image: &ImageSql) -> String {
        format!("SELECT {} FROM {} WHERE {}{}", image.select, self.table, self.has_key(1), self.and_scope())
    }

    /// The rows with these keys, as the connection sees them, until there are so many bytes of them.
    pub(super) fn read(
        &self,
        connection: &Connection,
        image: &ImageSql,
        keys: &[Key],
        bytes: usize,
    ) -> rusqlite::Result<Rows> {
        let mut statement = connection.prepare_cached(&self.point_sql(image))?;
        let mut answer = Rows::default();
        let mut size = 0;
        for key in keys {
            if size >= bytes {
                break;
            }
            let found = match self.without_key(connection, key)? {
                Some(refusal) => Ok(Some(Made::Refused(refusal))),
                None => self.read_one(connection, &mut statement, image, key),
            };
            answer.rows.push(match found {
                Ok(Some(Made::Row(row))) => Some(row),
                Ok(Some(Made::Refused(refusal))) => {
                    answer.refused.push(refusal);
                    None
                }
                Ok(None) => None,
                Err(error) if errors::is_of_row(&error) => {
                    answer.refused.push(failed(key.clone(), &error));
                    None
                }
                Err(error) => return Err(error),
            });
            size += answer.last_size();
        }
        Ok(answer)
    }

    /// The row with exactly this key: an index may take other keys for the same (as NOCASE does).
    pub(super) fn read_one(
        &self,
        connection: &Connection,
        statement: &mut Statement<'_>,
        image: &ImageSql,
        key: &Key,
    ) -> rusqlite::Result<Option<Made>> {
        if key.values().len() != self.key.len() {
            return Ok(None);
        }
        bind(statement, 1, &*self.own_key(key.values()))?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let raw = raw_key(row, self.key.len())?;
            match self.canonical_key(connection, &raw)? {
                Ok(found) if found == key.values() => {
                    return self.image_of(connection, image, row, found, Row::default()).map(Some);
                }
                // It has no canonical key, and was logged by what it is here.
                Err(why) if raw == key.values() => {
                    return Ok(Some(Made::Refused(Refusal {
                        key: key.clone(),
                        column: None,
                        value: None,
                        why,
                    })));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// A row with a NULL in its key, which no comparison finds: it can't be carried, and mustn't be taken for one that is gone.
    fn without_key(&self, connection: &Connection, key: &Key) -> rusqlite::Result<Option<Refusal>> {
        if !key.values().iter().any(Value::is_null) || key.values().len() != self.key.len() {
            return Ok(None);
        }
        let parts =
            self.key.iter().enumerate().map(|(n, part)| format!("{} IS ?{}", name(&part.name), n + 1));
        let sql = format!(
            "SELECT 1 FROM {} WHERE {}{} LIMIT 1",
            self.table,
            parts.collect::<Vec<_>>().join(" AND "),
            self.and_scope()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        bind(&mut statement, 1, &*self.own_key(key.values()))?;
        if statement.raw_query().next()?.is_none() {
            return Ok(None);
        }
        let why = self.canonical_key(connection, key.values())?.err().unwrap_or_default();
        Ok(Some(Refusal { key: key.clone(), column: None, value: None, why }))
    }

    /// Makes a row of the image out of SQLite's; `raw` is its key as it is stored, `used` a row whose memory may be used.
    pub(super) fn make(
        &self,
        connection: &Connection,
        image: &ImageSql,
        row: &SqlRow<'_>,
        raw: &[Value],
        used: Row,
    ) -> rusqlite::Result<Made> {
        match self.canonical_key(connection, raw)? {
            Ok(key) => self.image_of(connection, image, row, key, used),
            Err(why) => {
                let key = Key::composite(self.name().clone(), raw.to_vec());
                Ok(Made::Refused(Refusal { key, column: None, value: None, why }))
            }
        }
    }

    fn image_of(
        &self,
        connection: &Connection,
        image: &ImageSql,
        row: &SqlRow<'_>,
        key: Vec<Value>,
        used: Row,
    ) -> rusqlite::Result<Made> {
        let Row(mut values) = used;
        values.resize(image.columns.len(), Value::Null);
        for (at, (column, value)) in image.columns.iter().zip(&mut values).enumerate() {
            if let Some(why) = fill(connection, column, row, &key, value)? {
                let others = other_objections(connection, &image.columns[at + 1..], row, &key)?;
                let refusal = Refusal {
                    key: Key::composite(self.name().clone(), key),
                    column: column.target.as_ref().map(|target| target.column.clone()),
                    value: Some(std::mem::replace(value, Value::Null)),
                    why: std::iter::once(why).chain(others).collect::<Vec<_>>().join("; and "),
                };
                return Ok(Made::Refused(refusal));
            }
        }
        Ok(Made::Row(Row(values)))
    }

    /// The canonical key of a row, or why it has none.
    pub(super) fn canonical_key(
        &self,
        connection: &Connection,
        raw: &[Value],
    ) -> rusqlite::Result<Result<Vec<Value>, String>> {
        let mut key = Vec::with_capacity(raw.len());
        for (column, raw) in self.key.iter().zip(raw) {
            if raw.is_null() {
                return Ok(Err(format!(
                    "the key's column {} is NULL: no row can be found by it; give it a value, or leave the row out by `where`",
                    column.name
                )));
            }
            match canonical(connection, column, raw)? {
                Some(value) => key.push(value),
                None => {
                    return Ok(Err(format!(
                        "the key's column {} becomes another value on the other side, by which the row can't be found again; \
                         mend the row, or give both columns the same type",
                        column.name
                    )));
                }
            }
        }
        Ok(Ok(key))
    }

    /// The canonical form of a key from the log, whether or not a row could be found by it; a key that has none as it is: by
    /// another's a row would be taken for gone.
    pub(super) fn logged_key(&self, connection: &Connection, raw: Vec<Value>) -> rusqlite::Result<Key> {
        let mut values = Vec::with_capacity(raw.len());
        for (column, raw) in self.key.iter().zip(raw) {
            values.push(canonical(connection, column, &raw)?.unwrap_or(raw));
        }
        Ok(Key::composite(self.name().clone(), values))
    }

    /// A key's values as this side stores them. Between two sides of SQLite's they are that already, as far as its comparisons
    /// go; by a value of another kind of database it finds nothing.
    pub(super) fn own_key<'k>(&self, values: &'k [Value]) -> Cow<'k, [Value]> {
        if !self.key.iter().any(|column| is_exact(&column.canonical)) {
            return Cow::Borrowed(values);
        }
        let own = |(column, value): (&KeyColumn, &Value)| own_value(column, value);
        Cow::Owned(self.key.iter().zip(values).map(own).collect())
    }
}

/// A value of a key as this side stores it; what has no place there, as it is.
pub(super) fn own_value(column: &KeyColumn, value: &Value) -> Value {
    fit(value.clone(), &column.own, &Allowed::default()).unwrap_or_else(|unfit| unfit.value)
}

pub(super) const fn is_exact(domain: &Domain) -> bool {
    matches!(domain, Domain::Exact(_))
}

/// Reads a column of an image, as its target would store it; why that doesn't take it, if so.
#[inline]
fn fill(
    connection: &Connection,
    column: &ImageColumn,
    row: &SqlRow<'_>,
    key: &[Value],
    value: &mut Value,
) -> rusqlite::Result<Option<String>> {
    if let Some(target) = column.target.as_ref().filter(|target| is_exact(&target.domain)) {
        return fill_exact(column, target, row, key, value);
    }
    let read = match key.get(column.at) {
        Some(key) => value::as_sqlite_gives_it(key),
        None => row.get_ref(column.at)?,
    };
    value::read_into(read, value);
    let Some(target) = &column.target else { return Ok(None) };
    if column.converts {
        *value = stored(connection, &target.domain, std::mem::replace(value, Value::Null))?;
    }
    Ok(target.objection(value))
}

/// [`fill`], on the way to a database of another kind. The key, where it is the canonical one, is in that one's form already.
fn fill_exact(
    column: &ImageColumn,
    target: &Target,
    row: &SqlRow<'_>,
    key: &[Value],
    value: &mut Value,
) -> rusqlite::Result<Option<String>> {
    let read = match key.get(column.at) {
        Some(key) => key.clone(),
        None => value::read(row.get_ref(column.at)?),
    };
    let made = if column.converts { target.fit(read) } else { Ok(read) };
    let why;
    (*value, why) = match made {
        Ok(value) => (value, None),
        Err((value, why)) => (value, Some(why)),
    };
    Ok(why)
}

/// What else is wrong with a row that is refused already: whoever mends it is to mend it once.
#[cold]
fn other_objections(
    connection: &Connection,
    rest: &[ImageColumn],
    row: &SqlRow<'_>,
    key: &[Value],
) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    for column in rest {
        found.extend(fill(connection, column, row, key, &mut Value::Null)?);
    }
    Ok(found)
}

/// The values of the key's columns, which lead every select list.
pub(super) fn raw_key(row: &SqlRow<'_>, columns: usize) -> rusqlite::Result<Vec<Value>> {
    (0..columns).map(|at| row.get_ref(at).map(value::read)).collect()
}

/// A value of the key in the new column's type, if the way back leads to the same value again.
fn canonical(connection: &Connection, column: &KeyColumn, raw: &Value) -> rusqlite::Result<Option<Value>> {
    if column.own == column.canonical {
        return Ok(Some(raw.clone()));
    }
    if is_exact(&column.canonical) {
        let there = fit(raw.clone(), &column.canonical, &Allowed::default());
        return Ok(there.ok().filter(|there| same_in_key(&own_value(column, there), raw)));
    }
    let there = stored(connection, &column.canonical, raw.clone())?;
    let back = stored(connection, &column.own, there.clone())?;
    Ok((back == *raw).then_some(there))
}

/// A row over which an expression fails.
pub(super) fn failed(key: Key, error: &rusqlite::Error) -> Refusal {
    Refusal {
        key,
        column: errors::column_of(error),
        value: None,
        why: format!("SQLite couldn't compute the row: {}", errors::cause(error)),
    }
}
