//! What the state keeps for people to read, the audit and the mismatches: asked of a run, or of its state file where no run
//! is there.

use std::path::Path;

use changeover_api::wire::{Audit, AuditEntry, AuditQuery, Mismatch, MismatchQuery, Mismatches};

use crate::error::ControlError;
use crate::evidence::SAMPLES_DROPPED;
use crate::state::{SqliteState, StateStore};

/// The most that one page has.
const PAGE_MAX: u32 = 1_000;

/// A page of the audit, newest first.
///
/// # Errors
/// If the state can't be read.
pub(crate) async fn audit(state: &dyn StateStore, query: &AuditQuery) -> Result<Audit, ControlError> {
    let limit = query.limit.unwrap_or(50).min(PAGE_MAX) as usize;
    let entries = state.audit(query.before, limit).await?;
    let entries = entries.into_iter().map(|entry| AuditEntry {
        id: entry.id,
        at_ms: entry.entry.at_ms,
        who: entry.entry.who,
        kind: entry.entry.kind.name().to_owned(),
        text: entry.entry.text,
        why: entry.entry.why,
    });
    Ok(Audit { entries: entries.collect() })
}

/// The mismatches that are kept, the latest seen first.
///
/// # Errors
/// If the state can't be read.
pub(crate) async fn mismatches(
    state: &dyn StateStore,
    query: &MismatchQuery,
) -> Result<Mismatches, ControlError> {
    let limit = query.limit.unwrap_or(20).min(PAGE_MAX) as usize;
    let samples = state.samples(query.operation.as_deref(), limit).await?;
    let dropped = state.setting(SAMPLES_DROPPED).await?;
    let mismatches = samples.into_iter().map(|sample| {
        let detail: serde_json::Value = serde_json::from_str(&sample.detail).unwrap_or_default();
        let text = |name: &str| detail.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Mismatch {
            key: text("key"),
            input: text("input"),
            old: text("old"),
            new: text("new"),
            detail: text("detail"),
            operation: sample.operation,
            shape: sample.shape,
            count: sample.count,
            first_ms: sample.first_ms,
            last_ms: sample.last_ms,
        }
    });
    Ok(Mismatches {
        mismatches: mismatches.collect(),
        dropped: dropped.and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

/// A page of the audit in this migration's state file; `None` where there is no such file.
///
/// # Errors
/// If the file can't be read, or isn't the state of this migration.
pub async fn audit_of_file(
    path: &Path,
    migration: &str,
    query: &AuditQuery,
) -> Result<Option<Audit>, ControlError> {
    match SqliteState::open_existing(path, migration).await? {
        Some(state) => audit(&state, query).await.map(Some),
        None => Ok(None),
    }
}

/// The mismatches in this migration's state file; `None` where there is no such file.
///
/// # Errors
/// As [`audit_of_file`].
pub async fn mismatches_of_file(
    path: &Path,
    migration: &str,
    query: &MismatchQuery,
) -> Result<Option<Mismatches>, ControlError> {
    match SqliteState::open_existing(path, migration).await? {
        Some(state) => mismatches(&state, query).await.map(Some),
        None => Ok(None),
    }
}
