//! Who holds the unique values that a row wants: found index by index, partial ones and those over expressions too.

use changeover::{Key, Value};
use rusqlite::Connection;

use super::read::raw_key;
use super::sql::name;
use super::value::{self, bind};
use crate::catalog::{IndexPart, UniqueIndex};
use crate::shape::SideTable;

/// A row that stands in another's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// A row that one of the store's mappings maps.
    Mapped(Key),
    /// A row that none of them maps; what is unique, for the message.
    Foreign(String),
}

/// A row as it shall be: this side's columns with their values.
pub(super) type Wanted = Vec<(String, Value)>;

/// All of a row's stored columns as they are now; with the number that it has beside them, if any.
pub(super) fn whole_row(
    connection: &Connection,
    table: &SideTable,
    key: &Key,
) -> rusqlite::Result<Option<Wanted>> {
    let mut columns: Vec<&str> = table.hidden_row_number().into_iter().collect();
    columns.extend(table.stored_columns());
    let list = columns.iter().map(|c| name(c)).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {list} FROM {} WHERE {}{}", table.table, table.has_key(1), table.and_scope());
    let mut statement = connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, &*table.own_key(key.values()))?;
    let mut rows = statement.raw_query();
    let Some(row) = rows.next()? else { return Ok(None) };
    let values = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Ok(((*column).to_owned(), value::read(row.get_ref(at)?))));
    values.collect::<rusqlite::Result<Wanted>>().map(Some)
}

/// The rows that hold a unique value which `wanted` wants, but for the row with the key `own` itself.
pub(super) fn holders(
    connection: &Connection,
    tables: &[SideTable],
    table: &SideTable,
    wanted: &Wanted,
    own: &Key,
) -> rusqlite::Result<Vec<Holder>> {
    let mut found: Vec<Holder> = Vec::new();
    for index in &table.info.unique {
        let Some((condition, values)) = matches(table, index, wanted) else { continue };
        let mut known = 0;
        for mapped in tables.iter().filter(|t| t.info.name == table.info.name) {
            for key in keys_where(connection, mapped, &condition, &values)? {
                known += 1;
                let is_own = key.table == own.table && key.values == own.values;
                if !is_own && !found.contains(&Holder::Mapped(key.clone())) {
                    found.push(Holder::Mapped(key));
                }
            }
        }
        if known == 0 && any_where(connection, table, &condition, &values)? {
            found.push(Holder::Foreign(described(index)));
        }
    }
    Ok(found)
}

fn keys_where(
    connection: &Connection,
    table: &SideTable,
    condition: &str,
    values: &[Value],
) -> rusqlite::Result<Vec<Key>> {
    let sql =
        format!("SELECT {} FROM {} WHERE {condition}{}", table.key_list(), table.table, table.and_scope());
    let mut statement = connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, values)?;
    let mut rows = statement.raw_query();
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(table.logged_key(connection, raw_key(row, table.key.len())?)?);
    }
    Ok(keys)
}

fn any_where(
    connection: &Connection,
    table: &SideTable,
    condition: &str,
    values: &[Value],
) -> rusqlite::Result<bool> {
    let sql = format!("SELECT 1 FROM {} WHERE {condition}", table.table);
    let mut statement = connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, values)?;
    Ok(statement.raw_query().next()?.is_some())
}

/// The condition that a row is in the wanted one's place in an index, with its parameters. `None` where the row can be in
/// nobody's way there, or where a value that the index needs isn't known.
fn matches(table: &SideTable, index: &UniqueIndex, wanted: &Wanted) -> Option<(String, Vec<Value>)> {
    let value_of = |column: &str| wanted.iter().find(|(c, _)| c.eq_ignore_ascii_case(column)).map(|(_, v)| v);
    let mut values = Vec::new();
    let mut parts = Vec::new();
    for part in &index.parts {
        match part {
            IndexPart::Column { name: column, collation } => {
                let value = value_of(column).filter(|value| !value.is_null())?;
                values.push(value.clone());
                parts.push(format!("{} COLLATE {} = ?{}", name(column), name(collation), values.len()));
            }
            IndexPart::Expression { sql, collation } => {
                let list = wanted.iter().map(|(column, value)| {
                    values.push(value.clone());
                    format!("?{} AS {}", values.len(), name(column))
                });
                let row = list.collect::<Vec<_>>().join(", ");
                parts.push(format!(
                    "({sql}\n) COLLATE {} = (SELECT ({sql}\n) FROM (SELECT {row}) AS {})",
                    name(collation),
                    table.table
                ));
            }
        }
    }
    if let Some(partial) = &index.partial {
        parts.push(format!("({partial}\n)"));
    }
    Some((parts.join(" AND "), values))
}

fn described(index: &UniqueIndex) -> String {
    let parts = index.parts.iter().map(|part| match part {
        IndexPart::Column { name, .. } => name.as_str(),
        IndexPart::Expression { sql, .. } => sql.as_str(),
    });
    parts.collect::<Vec<_>>().join(", ")
}
