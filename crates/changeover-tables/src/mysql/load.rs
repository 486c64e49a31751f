//! Putting many rows into a table that hasn't got them: by LOAD DATA LOCAL where the server allows it, and by statements of many
//! rows each where it doesn't.
//!
//! LOAD DATA LOCAL refuses nothing: it leaves out rows whose unique values are taken, and makes values fit that don't, and only
//! counts warnings. So it counts for nothing unless every row was put in and there was no warning at all; otherwise the caller
//! takes it back, and goes the road that names the row.

use bytes::Bytes;
use changeover::{Row, Value};
use futures_util::{StreamExt as _, stream};

use super::codec::param;
use super::infile::{line, source};
use super::session::MySession;
use super::syntax::Mysql;
use crate::catalog::ColumnInfo;
use crate::server::session::{DbError, Trouble};
use crate::syntax::Syntax as _;

/// How many values one statement has at most; the protocol counts them with 16 bits.
const VALUES: usize = 16_384;
/// How many rows, and about how many bytes.
const ROWS: usize = 256;
const BYTES: usize = 1 << 20;

/// How much of a file is sent at once.
const PIECE: usize = 256 << 10;

/// Rows by the fastest road.
pub(super) async fn load(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let written = if session.loads_files()? {
        by_file(session, table, columns, rows).await?
    } else {
        by_statements(session, table, columns, rows).await?
    };
    if written == rows.len() as u64 {
        Ok(written)
    } else {
        Err(DbError::ours(Trouble::Row, format!("{written} of {} rows were put in", rows.len())))
    }
}

async fn by_file(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::with_capacity(PIECE + (PIECE >> 2)));
    for row in rows {
        line(columns, &row.0, &mut piece)?;
        if piece.len() >= PIECE {
            pieces.push(Ok(Bytes::from(std::mem::take(&mut piece))));
        }
    }
    pieces.push(Ok(Bytes::from(piece)));
    let sql = format!("LOAD DATA LOCAL INFILE 'changeover' INTO TABLE {table} {}", source(columns));
    let (written, warnings) = session.load_file(&sql, stream::iter(pieces).boxed()).await?;
    if warnings > 0 {
        return Err(DbError::ours(
            Trouble::Row,
            format!("{warnings} values or rows weren't taken as they are"),
        ));
    }
    Ok(written)
}

/// Rows by statements of many each, whose lengths are powers of two, so that few are prepared.
async fn by_statements(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let most = (VALUES / columns.len().max(1)).clamp(1, ROWS);
    let (mut written, mut rest) = (0, rows);
    while !rest.is_empty() {
        let (some, others) = rest.split_at(fitting(rest, most));
        rest = others;
        let params = some.iter().flat_map(|row| &row.0).map(param).collect::<Result<Vec<_>, _>>()?;
        written += session.exec(&insert(table, columns, some.len()), params).await?.to_its_end().await?;
    }
    Ok(written)
}

/// How many of the first rows go into one statement: a power of two, and one at least.
fn fitting(rows: &[Row], most: usize) -> usize {
    let mut bytes = 0;
    let within = rows.iter().take(most).take_while(|row| {
        bytes += row.0.iter().map(Value::bytes).sum::<usize>();
        bytes <= BYTES
    });
    let count = within.count().max(1);
    1 << count.ilog2()
}

fn insert(table: &str, columns: &[&ColumnInfo], rows: usize) -> String {
    let names: Vec<String> = columns.iter().map(|column| Mysql.name(&column.name)).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), vec![row; rows].join(", "))
}
