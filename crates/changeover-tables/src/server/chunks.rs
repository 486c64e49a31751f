//! The marks of the backfill's chunks, in a table of the follower's: written in the transaction that writes the rows.

use changeover::store::guard::{Chunk, ChunkState};
use changeover::value::code::{decode, encode};
use changeover::{Key, TableName, Value};

use super::dialect::Dialect;
use super::install::exists;
use super::session::{DbError, Session, Trouble};

/// The table of the marks.
pub(crate) const TABLE: &str = "changeover_chunk";

/// Its columns, those of its key first.
pub(crate) const COLUMNS: [&str; 8] =
    ["migration", "mapping", "generation", "number", "range_after", "range_upto", "done", "row_count"];

fn select(dialect: &dyn Dialect, and: &str) -> String {
    format!(
        "SELECT generation, number, range_after, range_upto, done, row_count FROM {} \
         WHERE migration = {} AND mapping = {} AND generation = {}{and}",
        dialect.own(TABLE),
        dialect.placeholder(1),
        dialect.placeholder(2),
        dialect.placeholder(3),
    )
}

pub(super) async fn get(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    (table, generation, number): (&TableName, u64, u64),
) -> Result<Option<Chunk>, DbError> {
    let sql = select(dialect, &format!(" AND number = {}", dialect.placeholder(4)));
    let params = [migration.into(), table.as_str().into(), signed(generation), signed(number)];
    let rows = session.query(&sql, &params).await?;
    rows.first().map(|row| chunk(table, row)).transpose()
}

pub(super) async fn all(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    table: &TableName,
    generation: u64,
) -> Result<Vec<Chunk>, DbError> {
    if !exists(session, dialect, TABLE).await? {
        return Ok(Vec::new());
    }
    let params = [migration.into(), table.as_str().into(), signed(generation)];
    let rows = session.query(&select(dialect, " ORDER BY number"), &params).await?;
    rows.iter().map(|row| chunk(table, row)).collect()
}

pub(super) async fn put(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    chunk: &Chunk,
) -> Result<(), DbError> {
    let bound = |key: &Option<Key>| key.as_ref().map(|key| encode(key.values()));
    let params = [
        migration.into(),
        chunk.table.as_str().into(),
        signed(chunk.generation),
        signed(chunk.number),
        bound(&chunk.after).into(),
        bound(&chunk.upto).into(),
        Value::Int(i64::from(chunk.state == ChunkState::Done)),
        signed(chunk.rows),
    ];
    session.execute(&dialect.put(TABLE, &COLUMNS, 4), &params).await.map(drop)
}

pub(super) async fn forget_below(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    generation: u64,
) -> Result<(), DbError> {
    if exists(session, dialect, TABLE).await? {
        let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
        let table = dialect.own(TABLE);
        let sql = format!("DELETE FROM {table} WHERE migration = {first} AND generation < {second}");
        session.execute(&sql, &[migration.into(), signed(generation)]).await?;
    }
    Ok(())
}

fn chunk(table: &TableName, row: &[Value]) -> Result<Chunk, DbError> {
    let bad = || DbError::ours(Trouble::Other, format!("{TABLE} has a mark that isn't understood"));
    let bound = |at: usize| match row.get(at) {
        Some(Value::Null) => Ok(None),
        Some(Value::Bytes(bytes)) => {
            let values = decode(bytes).ok_or_else(bad)?;
            Ok(Some(Key::composite(table.clone(), values)))
        }
        _ => Err(bad()),
    };
    let number = |at: usize| match row.get(at) {
        Some(Value::Int(n)) => u64::try_from(*n).map_err(|_| bad()),
        _ => Err(bad()),
    };
    Ok(Chunk {
        table: table.clone(),
        generation: number(0)?,
        number: number(1)?,
        after: bound(2)?,
        upto: bound(3)?,
        state: if number(4)? == 1 { ChunkState::Done } else { ChunkState::Begun },
        rows: number(5)?,
    })
}

/// No generation, number or count comes near the bound.
fn signed(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
