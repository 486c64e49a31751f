//! Putting many rows into a table that hasn't got them.

use changeover::Row;

use super::codec::param;
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

/// Rows by statements of many each, whose lengths are powers of two, so that few are prepared.
pub(super) async fn load(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let most = (VALUES / columns.len().max(1)).clamp(1, ROWS);
    let (mut written, mut rest) = (0, rows);
    while !rest.is_empty() {
        let count = fitting(rest, most);
        let (some, others) = rest.split_at(count);
        rest = others;
        let mut params = Vec::with_capacity(count * columns.len());
        for value in some.iter().flat_map(|row| &row.0) {
            params.push(param(value)?);
        }
        written += session.exec(&insert(table, columns, count), params).await?.to_its_end().await?;
    }
    if written == rows.len() as u64 {
        Ok(written)
    } else {
        Err(DbError::ours(Trouble::Row, format!("{written} of {} rows were put in", rows.len())))
    }
}

/// How many of the first rows go into one statement: a power of two, and one at least.
fn fitting(rows: &[Row], most: usize) -> usize {
    let mut bytes = 0;
    let within = rows.iter().take(most).take_while(|row| {
        bytes += row.size();
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
