//! Who holds the unique values that a row wants: found index by index, partial ones and those over expressions too.

use changeover::{Key, Value};

use super::super::dialect::{Dialect, Statement};
use super::super::read::logged_key;
use super::super::session::DbError;
use super::{Step, Writer, insert_of, stored};
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

/// All of a row's stored columns as they are now.
pub(super) async fn whole_row(writer: &mut Writer<'_>, step: &Step<'_>) -> Result<Option<Wanted>, DbError> {
    let table = step.table;
    let columns = stored(table);
    let list: Vec<String> = columns.iter().map(|column| table.syntax.read(column)).collect();
    let (list, scope) = (list.join(", "), table.and_scope());
    let sql = format!("SELECT {list} FROM {} WHERE {}{scope}", table.table, table.has_key(1));
    let rows = writer.session.query(&sql, &step.own).await?;
    let row = rows.into_iter().next();
    Ok(row.map(|row| columns.iter().map(|column| column.name.clone()).zip(row).collect()))
}

/// The statement that puts a whole row in, with its parameters.
pub(super) fn put_whole(table: &SideTable, wanted: &Wanted) -> (String, Vec<Value>) {
    let columns: Vec<&str> = wanted.iter().map(|(column, _)| column.as_str()).collect();
    (insert_of(table, &columns), wanted.iter().map(|(_, value)| value.clone()).collect())
}

/// The rows that hold a unique value which `wanted` wants, but for the step's own.
pub(super) async fn holders(
    writer: &mut Writer<'_>,
    step: &Step<'_>,
    wanted: &Wanted,
) -> Result<Vec<Holder>, DbError> {
    let inner = writer.inner;
    let (table, own) = (step.table, &step.change.key);
    let mut found: Vec<Holder> = Vec::new();
    for index in &table.info.unique {
        let Some(condition) = matches(inner.dialect, table, index, wanted) else { continue };
        let mut known = false;
        for mapped in inner.tables.iter().filter(|mapped| mapped.table == table.table) {
            let (list, scope) = (mapped.key_list(), mapped.and_scope());
            let sql = format!("SELECT {list} FROM {} WHERE {}{scope}", mapped.table, condition.sql);
            for raw in writer.session.query(&sql, &condition.params).await? {
                known = true;
                let holder = Holder::Mapped(logged_key(mapped, &raw));
                let is_own = matches!(&holder, Holder::Mapped(key) if key == own);
                if !is_own && !found.contains(&holder) {
                    found.push(holder);
                }
            }
        }
        let any = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", table.table, condition.sql);
        if !known && !writer.session.query(&any, &condition.params).await?.is_empty() {
            found.push(Holder::Foreign(described(index)));
        }
    }
    Ok(found)
}

/// The condition that a row is in the wanted one's place in an index. `None` where the row can be in nobody's way there, or
/// where a value that the index needs isn't known.
fn matches(
    dialect: &dyn Dialect,
    table: &SideTable,
    index: &UniqueIndex,
    wanted: &Wanted,
) -> Option<Statement> {
    let value_of = |column: &str| wanted.iter().find(|(c, _)| c == column).map(|(_, v)| v);
    let mut params: Vec<Value> = Vec::new();
    let mut parts = Vec::new();
    for part in &index.parts {
        match part {
            IndexPart::Column { name, collation } => {
                let value = value_of(name).filter(|value| !value.is_null())?;
                params.push(value.clone());
                let own = table.info.column(name).map(|column| column.collation.as_str());
                let column = dialect.collated(name, own, collation);
                let value = dialect.write(table.info.column(name), dialect.placeholder(params.len()));
                parts.push(format!("{column} = {value}"));
            }
            IndexPart::Expression { sql, .. } => {
                let list = wanted.iter().filter_map(|(name, value)| {
                    let column = table.info.column(name)?;
                    params.push(value.clone());
                    let typed = dialect.typed(column, &dialect.placeholder(params.len()));
                    Some(format!("{typed} AS {}", dialect.name(name)))
                });
                let row = list.collect::<Vec<_>>().join(", ");
                let alias = dialect.name(&table.info.name);
                parts.push(format!("({sql}\n) = (SELECT ({sql}\n) FROM (SELECT {row}) AS {alias})"));
            }
        }
    }
    if let Some(partial) = &index.partial {
        parts.push(format!("({partial}\n)"));
    }
    Some(Statement::new(parts.join(" AND "), params))
}

fn described(index: &UniqueIndex) -> String {
    let parts = index.parts.iter().map(|part| match part {
        IndexPart::Column { name, .. } => name.as_str(),
        IndexPart::Expression { sql, .. } => sql.as_str(),
    });
    parts.collect::<Vec<_>>().join(", ")
}
