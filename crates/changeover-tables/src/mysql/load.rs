//! Many rows at once: by MariaDB's bulk statements, by LOAD DATA LOCAL where a MySQL allows it, and by statements of many rows
//! each where it doesn't.
//!
//! LOAD DATA LOCAL refuses nothing: it leaves out rows whose unique values are taken, and makes values fit that don't, and only
//! counts warnings. So it counts for nothing unless every row was put in and there was no warning at all; otherwise the caller
//! takes it back, and goes the road that names the row.

use std::mem::{Discriminant, discriminant};

use bytes::Bytes;
use changeover::{Row, Value};
use futures_util::{StreamExt as _, stream};
use mysql_async::Value as Raw;

use super::codec::param;
use super::infile::{line, source};
use super::session::{Means, MySession};
use super::syntax::Mysql;
use crate::catalog::ColumnInfo;
use crate::server::session::{DbError, Session as _, Trouble};
use crate::syntax::Syntax as _;

/// How a table is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Load {
    /// As fast as the server lets it be done.
    #[default]
    Fastest,
    /// By LOAD DATA LOCAL, where the server lets it. It gets at no file of this machine's: what is sent is made here, whatever
    /// the server asks for.
    File,
    /// By plain statements alone, for what stands between us and the server and knows no others.
    Statements,
}

/// How many values one statement has at most; the protocol counts them with 16 bits.
const VALUES: usize = 16_384;
/// How many rows, and about how many bytes.
const ROWS: usize = 256;
const BULK: usize = 4_096;
const BYTES: usize = 1 << 20;

/// How much of a file is sent at once.
const PIECE: usize = 256 << 10;

impl Means {
    /// By which road many rows go in, and why not by a faster one.
    pub(super) const fn road(&self) -> (&'static str, Option<&'static str>) {
        match (self.load, self.bulk, self.files) {
            (Load::Fastest, true, _) => ("bulk statements: one for many rows of parameters", None),
            (Load::Fastest | Load::File, _, true) => ("LOAD DATA LOCAL", None),
            (Load::Fastest | Load::File, _, false) => (
                "INSERTs of many rows each",
                Some("the server's local_infile is off, so it takes no LOAD DATA LOCAL"),
            ),
            (Load::Statements, ..) => ("INSERTs of many rows each", Some("no other statements are wanted")),
        }
    }
}

/// Rows by the fastest road.
pub(super) async fn load(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let means = session.means()?;
    let written = match means.load {
        Load::Fastest if means.bulk => by_bulk(session, table, columns, rows).await?,
        Load::Fastest | Load::File if means.files => by_file(session, table, columns, rows).await?,
        _ => by_statements(session, table, columns, rows).await?,
    };
    if written == rows.len() as u64 {
        Ok(written)
    } else {
        Err(DbError::ours(Trouble::Row, format!("{written} of {} rows were put in", rows.len())))
    }
}

/// One statement for each of these sets of parameters.
pub(super) async fn many(session: &mut MySession, sql: &str, params: &[Vec<Value>]) -> Result<u64, DbError> {
    let means = session.means()?;
    let mut changed = 0;
    if means.bulk && means.load == Load::Fastest && params.len() > 1 {
        let mut rest = params;
        while !rest.is_empty() {
            let (some, others) = rest.split_at(fitting(rest.iter().map(Vec::as_slice), BULK, &means)?);
            rest = others;
            changed += bulk(session, sql, some.iter().map(Vec::as_slice)).await?;
        }
    } else {
        for params in params {
            changed += session.execute(sql, params).await?;
        }
    }
    Ok(changed)
}

async fn by_bulk(
    session: &mut MySession,
    table: &str,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    let (sql, means) = (insert(table, columns, 1), session.means()?);
    let (mut written, mut rest) = (0, rows);
    while !rest.is_empty() {
        let (some, others) = rest.split_at(fitting(rest.iter().map(|row| row.0.as_slice()), BULK, &means)?);
        rest = others;
        written += bulk(session, &sql, some.iter().map(|row| row.0.as_slice())).await?;
    }
    Ok(written)
}

/// One packet's worth of statements; those whose parameters are of more than one type for a column go one by one, because the
/// packet has only one.
async fn bulk<'v>(
    session: &mut MySession,
    sql: &str,
    rows: impl Iterator<Item = &'v [Value]>,
) -> Result<u64, DbError> {
    let mut rows: Vec<Vec<Raw>> = rows.map(params).collect::<Result<_, _>>()?;
    without_sign(&mut rows);
    if alike(&rows) {
        return session.bulk(sql, rows).await;
    }
    let mut changed = 0;
    for row in rows {
        changed += session.exec(sql, row).await?.finish().await?;
    }
    Ok(changed)
}

fn params(values: &[Value]) -> Result<Vec<Raw>, DbError> {
    values.iter().map(param).collect()
}

/// Integers lose their sign in the columns that have some which are too large for one.
fn without_sign(rows: &mut [Vec<Raw>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let large = |at: usize| rows.iter().any(|row| matches!(row.get(at), Some(Raw::UInt(_))));
    let large: Vec<usize> = (0..columns).filter(|at| large(*at)).collect();
    for row in rows {
        for &at in &large {
            if let Some(value) = row.get_mut(at)
                && let Raw::Int(n) = *value
                && let Ok(n) = u64::try_from(n)
            {
                *value = Raw::UInt(n);
            }
        }
    }
}

/// Whether each column has values of one type, besides NULL. Integers with and without a sign are of two.
fn alike(rows: &[Vec<Raw>]) -> bool {
    let mut types: Vec<Option<Discriminant<Raw>>> = vec![None; rows.first().map_or(0, Vec::len)];
    rows.iter().all(|row| {
        row.len() == types.len()
            && row.iter().zip(&mut types).all(|(value, ty)| {
                *value == Raw::NULL || *ty.get_or_insert_with(|| discriminant(value)) == discriminant(value)
            })
    })
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
    let means = session.means()?;
    let (mut written, mut rest) = (0, rows);
    while !rest.is_empty() {
        let count = fitting(rest.iter().map(|row| row.0.as_slice()), most, &means)?;
        let (some, others) = rest.split_at(1 << count.ilog2());
        rest = others;
        let params = some.iter().flat_map(|row| &row.0).map(param).collect::<Result<Vec<_>, _>>()?;
        written += session.exec(&insert(table, columns, some.len()), params).await?.finish().await?;
    }
    Ok(written)
}

/// How many of the first rows go at once, and one at least.
fn fitting<'v>(
    rows: impl Iterator<Item = &'v [Value]>,
    most: usize,
    means: &Means,
) -> Result<usize, DbError> {
    // What a value's type and length take beside it.
    const BESIDE: usize = 16;
    let (mut bytes, mut count) = (0, 0);
    for row in rows.take(most) {
        let size: usize = row.iter().map(|value| value.bytes() + BESIDE).sum();
        if count == 0 && size > means.packet {
            return Err(too_large(means.packet));
        }
        bytes += size;
        if count > 0 && bytes > BYTES.min(means.packet) {
            break;
        }
        count += 1;
    }
    Ok(count.max(1))
}

/// Told beforehand: whoever sends more loses the connection.
pub(super) fn too_large(packet: usize) -> DbError {
    DbError::ours(Trouble::Row, format!("a row of more than max_allowed_packet, which is {packet} bytes"))
}

fn insert(table: &str, columns: &[&ColumnInfo], rows: usize) -> String {
    let names: Vec<String> = columns.iter().map(|column| Mysql.name(&column.name)).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), vec![row; rows].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_columns_of_one_type_go_by_one_packet() {
        let (int, uint, text) = (Raw::Int(1), Raw::UInt(1), Raw::Bytes(vec![1]));
        assert!(alike(&[
            vec![Raw::NULL, int.clone()],
            vec![text.clone(), Raw::NULL],
            vec![text.clone(), int.clone()]
        ]));
        assert!(!alike(&[vec![int.clone()], vec![text]]));
        let mut mixed = [vec![int], vec![Raw::NULL], vec![uint]];
        assert!(!alike(&mixed));
        without_sign(&mut mixed);
        assert!(alike(&mixed));
        let mut below = [vec![Raw::Int(-1)], vec![Raw::UInt(1)]];
        without_sign(&mut below);
        assert!(!alike(&below), "no number is taken for another");
    }

    #[test]
    fn a_packet_is_never_asked_for_that_the_server_does_not_take() {
        let means = Means { load: Load::Fastest, bulk: true, files: false, packet: 1_000 };
        let rows: Vec<Vec<Value>> = [400, 400, 400, 2_000].map(|n| vec![Value::Bytes(vec![0; n])]).to_vec();
        let some = |from: usize| fitting(rows[from..].iter().map(Vec::as_slice), 10, &means);
        assert_eq!((some(0), some(2)), (Ok(2), Ok(1)));
        assert!(some(3).is_err());
    }
}
