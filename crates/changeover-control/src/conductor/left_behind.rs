//! The file of `rollback --leave-behind`: keys that couldn't be synced, one JSON object a line, with what can be read.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use changeover::store::capture::Claim;
use changeover::store::{Image, Refusal, Store};
use changeover::{Key, Side, Value};
use serde_json::json;

use crate::error::ControlError;

/// How many entries are left behind at once.
pub(super) const LEFT_BATCH: usize = 500;

/// Appends the keys of these entries, each once, with their rows where the store still gives them. Synced to the disk before
/// it answers. How many keys.
///
/// # Errors
/// If the file can't be written: then nothing may be left behind.
pub(super) async fn append(
    store: &dyn Store,
    claims: &[Claim],
    file: Option<&Path>,
    (why, refused): (&str, &[Refusal]),
) -> Result<u64, ControlError> {
    let Some(path) = file else {
        return Err(ControlError::Refused(format!(
            "{why}. To go back all the same: rollback --leave-behind FILE"
        )));
    };
    let mut lines = String::new();
    let mut keys = HashSet::new();
    for claim in claims {
        let key = &claim.key;
        if !keys.insert(key) {
            continue;
        }
        let row = match store.read(&key.table, std::slice::from_ref(key), Image::Canonical).await {
            Ok(rows) => match rows.rows.first() {
                Some(Some(row)) => json!({ "row": row.0.iter().map(plain).collect::<Vec<_>>() }),
                _ => json!({ "row": null }),
            },
            Err(error) => json!({ "unread": error.to_string() }),
        };
        // Each has its own reason, where it is known.
        let own = refused.iter().find(|refusal| refusal.key == *key).map(|refusal| refusal.why.as_str());
        lines.push_str(&line(key, &row, own.unwrap_or(why)));
    }
    write_lines(path, &lines)?;
    Ok(keys.len() as u64)
}

/// Whether the file can be written.
///
/// # Errors
/// Why not.
pub(super) fn check(path: &Path) -> Result<(), ControlError> {
    write_lines(path, "")
}

/// Appends that it isn't known which keys of this side were left behind.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn exposure(path: &Path, side: Side, why: &str) -> Result<(), ControlError> {
    let object = json!({
        "side": side.name(),
        "exposure": "the side that was left is out of reach: which of its last writes weren't synced isn't known",
        "why": why,
    });
    write_lines(path, &format!("{object}\n"))
}

fn write_lines(path: &Path, lines: &str) -> Result<(), ControlError> {
    let write = || {
        let mut out = OpenOptions::new().create(true).append(true).open(path)?;
        out.write_all(lines.as_bytes())?;
        out.sync_all()
    };
    write().map_err(|cause: std::io::Error| {
        ControlError::file(path, "the keys that are left behind can't be written", &cause)
    })
}

fn line(key: &Key, row: &serde_json::Value, why: &str) -> String {
    let values: Vec<_> = key.values().iter().map(plain).collect();
    let mut object = json!({ "table": key.table.as_str(), "key": values, "why": why });
    if let (Some(object), Some(row)) = (object.as_object_mut(), row.as_object()) {
        object.extend(row.clone());
    }
    format!("{object}\n")
}

/// JSON's own types where they say it all, else the SQL text.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Uint(n) => json!(n),
        Value::Text(text) => json!(text),
        other => json!({ "sql": other.to_string() }),
    }
}
