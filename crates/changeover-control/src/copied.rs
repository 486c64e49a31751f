//! What a complete copy came to, kept in the state: a later run, or whoever asks without one, finds the copy done and has
//! counted nothing.

use changeover::TableName;
use changeover::engine::backfill::TableProgress;
use changeover_protocol::Control;
use serde::{Deserialize, Serialize};

use crate::conductor::CopyProgress;
use crate::error::ControlError;
use crate::state::StateStore;

/// The name of the setting.
const COPIED: &str = "copied";

/// A complete copy.
#[derive(Debug, Serialize, Deserialize)]
struct Copied {
    generation: u64,
    began_ms: u64,
    done_ms: u64,
    tables: Vec<Table>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Table {
    table: String,
    rows: u64,
    chunks: u64,
    deleted: u64,
    refused: u64,
}

/// Keeps what the copy of this generation came to.
///
/// # Errors
/// If the state can't be written.
pub(crate) async fn keep(
    state: &dyn StateStore,
    generation: u64,
    copy: &CopyProgress,
    done_ms: u64,
) -> Result<(), ControlError> {
    let tables = copy.tables.iter().map(|table| Table {
        table: table.table.as_str().to_owned(),
        rows: table.rows,
        chunks: table.chunks,
        deleted: table.deleted,
        refused: table.refused,
    });
    let copied = Copied { generation, began_ms: copy.began_ms, done_ms, tables: tables.collect() };
    let text = serde_json::to_string(&copied)
        .map_err(|cause| ControlError::Stopped { part: "the state", cause: cause.to_string() })?;
    state.set(COPIED, Some(&text)).await
}

/// The copy that the record has for complete, if it was kept.
///
/// # Errors
/// If the state can't be read.
pub(crate) async fn recall(
    state: &dyn StateStore,
    record: Option<&Control>,
) -> Result<Option<CopyProgress>, ControlError> {
    let Some(backfill) = record.and_then(|record| record.backfill).filter(|backfill| backfill.done) else {
        return Ok(None);
    };
    let kept = state.setting(COPIED).await?;
    let copied = kept.and_then(|text| serde_json::from_str::<Copied>(&text).ok());
    Ok(copied.filter(|copied| copied.generation == backfill.generation.0).map(shown))
}

fn shown(copied: Copied) -> CopyProgress {
    let table = |table: Table| TableProgress {
        table: TableName::from(table.table),
        estimate: table.rows,
        rows: table.rows,
        chunks: table.chunks,
        deleted: table.deleted,
        refused: table.refused,
        complete: true,
    };
    let tables: Vec<TableProgress> = copied.tables.into_iter().map(table).collect();
    let rows = tables.iter().map(|table| table.rows).sum();
    CopyProgress {
        rows,
        rows_all: rows,
        rows_per_second: 0.0,
        left_ms: None,
        waits_for: None,
        chunks_done: tables.iter().map(|table| table.chunks).sum(),
        refused: tables.iter().map(|table| table.refused).sum(),
        began_ms: copied.began_ms,
        done_ms: Some(copied.done_ms),
        tables,
    }
}
