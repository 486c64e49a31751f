//! The marks of the backfill's chunks, in a table of the follower's: written in the transaction that writes the rows.

use changeover::store::guard::{Chunk, ChunkState};
use changeover::{Key, TableName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use changeover::value::code::{decode, encode};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS changeover_chunk (\
    migration TEXT NOT NULL, mapping TEXT NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL, \
    after BLOB, upto BLOB, done INTEGER NOT NULL, rows INTEGER NOT NULL, \
    PRIMARY KEY (migration, mapping, generation, number)) WITHOUT ROWID";

/// The table of the marks.
pub(super) const TABLE: &str = "changeover_chunk";

const SELECT: &str = "SELECT generation, number, after, upto, done, rows FROM changeover_chunk \
    WHERE migration = ?1 AND mapping = ?2 AND generation = ?3";

fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    super::install::exists(connection, TABLE)
}

pub(super) fn get(
    connection: &Connection,
    migration: &str,
    table: &TableName,
    generation: u64,
    number: u64,
) -> rusqlite::Result<Option<Chunk>> {
    if !exists(connection)? {
        return Ok(None);
    }
    connection
        .prepare_cached(&format!("{SELECT} AND number = ?4"))?
        .query_row(params![migration, table.as_str(), signed(generation), signed(number)], |row| {
            chunk(table, row)
        })
        .optional()
}

pub(super) fn all(
    connection: &Connection,
    migration: &str,
    table: &TableName,
    generation: u64,
) -> rusqlite::Result<Vec<Chunk>> {
    if !exists(connection)? {
        return Ok(Vec::new());
    }
    connection
        .prepare_cached(&format!("{SELECT} ORDER BY number"))?
        .query_map(params![migration, table.as_str(), signed(generation)], |row| chunk(table, row))?
        .collect()
}

pub(super) fn put(connection: &Connection, migration: &str, chunk: &Chunk) -> rusqlite::Result<()> {
    connection.execute_batch(CREATE)?;
    let bound = |key: &Option<Key>| key.as_ref().map(|key| encode(key.values()));
    connection
        .prepare_cached("INSERT OR REPLACE INTO changeover_chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            migration,
            chunk.table.as_str(),
            signed(chunk.generation),
            signed(chunk.number),
            bound(&chunk.after),
            bound(&chunk.upto),
            chunk.state == ChunkState::Done,
            signed(chunk.rows),
        ])
        .map(drop)
}

pub(super) fn forget_below(
    connection: &Connection,
    migration: &str,
    generation: u64,
) -> rusqlite::Result<()> {
    if exists(connection)? {
        connection.execute(
            "DELETE FROM changeover_chunk WHERE migration = ?1 AND generation < ?2",
            params![migration, signed(generation)],
        )?;
    }
    Ok(())
}

fn chunk(table: &TableName, row: &Row<'_>) -> rusqlite::Result<Chunk> {
    let bound = |at: usize| -> rusqlite::Result<Option<Key>> {
        let bytes: Option<Vec<u8>> = row.get(at)?;
        bytes
            .map(|bytes| {
                let values = decode(&bytes).ok_or_else(|| {
                    rusqlite::Error::InvalidColumnType(
                        at,
                        "a chunk's bound".to_owned(),
                        rusqlite::types::Type::Blob,
                    )
                })?;
                Ok(Key::composite(table.clone(), values))
            })
            .transpose()
    };
    let number = |at: usize| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or_default());
    Ok(Chunk {
        table: table.clone(),
        generation: number(0)?,
        number: number(1)?,
        after: bound(2)?,
        upto: bound(3)?,
        state: if row.get(4)? { ChunkState::Done } else { ChunkState::Begun },
        rows: number(5)?,
    })
}

/// SQLite has no unsigned integers; no generation, number or count comes near the bound.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
