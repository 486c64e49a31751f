//! Rows that pass unread: binary `COPY` out of one server and into another, in pieces, looked at only so far as to count the
//! rows and to know that the end is the end.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use changeover::Value;
use changeover::store::unread::{UnreadNext, UnreadPiece, UnreadSender, UnreadStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::codec::{Codec, CopyFrame};
use super::session::{PgSession, meaning};
use super::syntax::Postgres;
use crate::catalog::ColumnInfo;
use crate::server::dialect::Dialect as _;
use crate::server::session::{DbError, Loading, Session as _, Trouble, UnreadSession};
use crate::syntax::Syntax as _;

/// About how large the pieces are.
const PIECE: usize = 128 << 10;

#[async_trait]
impl UnreadSession for PgSession {
    async fn layout(&mut self, table: &str, columns: &[String]) -> Result<Option<String>, DbError> {
        let sql = format!("SELECT {} FROM {table} LIMIT 0", listed(columns));
        let statement = self.client()?.prepare(&sql).await.map_err(|error| meaning(&error))?;
        let parts: Option<Vec<String>> = statement
            .columns()
            .iter()
            .map(|column| Some(format!("{} {}", layout_of(column.type_())?, column.type_modifier())))
            .collect();
        Ok(parts.map(|parts| format!("PGCOPY {}", parts.join(", "))))
    }

    async fn literals(&mut self, values: &[(&ColumnInfo, &Value)]) -> Result<Vec<String>, DbError> {
        let asked: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(n, (column, _))| {
                format!("quote_literal(({})::text)", Postgres.typed(column, &Postgres.placeholder(n + 1)))
            })
            .collect();
        let params: Vec<Value> = values.iter().map(|(_, value)| (*value).clone()).collect();
        let rows = self.query(&format!("SELECT {}", asked.join(", ")), &params).await?;
        let literals = rows.into_iter().next().into_iter().flatten().map(|value| match value {
            Value::Text(text) => Ok(text.to_string()),
            _ => Err(DbError::ours(Trouble::Other, "a key's value has no text")),
        });
        literals.collect()
    }

    async fn unload(&mut self, query: &str, columns: usize, to: &UnreadSender) -> Result<(), DbError> {
        let sql = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
        let out = self.client()?.copy_out(&sql).await.map_err(|error| meaning(&error))?;
        let mut out: Pin<Box<CopyOutStream>> = Box::pin(out);
        let mut frame = CopyFrame::new(columns);
        let (mut held, mut rows) = (BytesMut::with_capacity(2 * PIECE), 0);
        while let Some(bytes) = out.next().await {
            let bytes = bytes.map_err(|error| meaning(&error))?;
            rows += frame.pass(&bytes).map_err(broken)?;
            // What is large by itself isn't copied once more.
            let large = bytes.len() >= PIECE;
            if !large {
                held.extend_from_slice(&bytes);
            }
            if (large || held.len() >= PIECE) && !held.is_empty() && !give(&mut held, &mut rows, to).await {
                return Err(unwanted());
            }
            if large && !to.send(UnreadPiece { bytes, rows: std::mem::take(&mut rows) }).await {
                return Err(unwanted());
            }
        }
        frame.finish().map_err(broken)?;
        if !give(&mut held, &mut rows, to).await {
            return Err(unwanted());
        }
        Ok(())
    }

    async fn load_unread(
        &mut self,
        table: &str,
        columns: &[String],
        from: &mut UnreadStream,
    ) -> Result<Loading, DbError> {
        let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", listed(columns));
        let sink = self.client()?.copy_in(&sql).await.map_err(|error| meaning(&error))?;
        // Dropped without having been finished, the server is told to write nothing of it.
        let mut sink: Pin<Box<CopyInSink<Bytes>>> = Box::pin(sink);
        let (mut rows, mut bytes) = (0, 0);
        loop {
            match from.next().await {
                Ok(UnreadNext::Piece(piece)) => {
                    rows += piece.rows;
                    bytes += piece.bytes.len() as u64;
                    sink.send(piece.bytes).await.map_err(|error| meaning(&error))?;
                }
                Ok(UnreadNext::End) => {
                    let written = sink.as_mut().finish().await.map_err(|error| meaning(&error))?;
                    return Ok(Loading::Ended { rows, bytes, written });
                }
                Ok(UnreadNext::Careful) => return Ok(Loading::Careful),
                Err(error) => return Ok(Loading::Broken(error)),
            }
        }
    }
}

/// Sends what is held; `false` if nobody wants it.
async fn give(held: &mut BytesMut, rows: &mut u64, to: &UnreadSender) -> bool {
    let piece = UnreadPiece { bytes: held.split().freeze(), rows: std::mem::take(rows) };
    held.reserve(2 * PIECE);
    to.send(piece).await
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| Postgres.name(column)).collect::<Vec<_>>().join(", ")
}

fn broken(error: super::codec::BrokenCopy) -> DbError {
    DbError::ours(Trouble::Gone, error.to_string())
}

/// Nobody hears it.
fn unwanted() -> DbError {
    DbError::ours(Trouble::Gone, "nobody reads the rows any more")
}

/// The form of a type's values, where every server has the same: its own types, which have their numbers for ever, and enums,
/// which are their labels.
fn layout_of(ty: &Type) -> Option<String> {
    match ty.kind() {
        Kind::Domain(base) => layout_of(base),
        Kind::Enum(labels) => Some(format!("enum ({})", labels.join(", "))),
        _ => (Type::from_oid(ty.oid()).is_some() && !Codec::of(ty).as_text).then(|| ty.name().to_owned()),
    }
}
