//! A migration that is over, because it was retired: whatever is asked of it gets one answer, with a run and without one.

use std::path::Path;

use changeover::Side;
use changeover_api::Spec;
use changeover_protocol::{Control, Millis, Phase};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::barrier;
use crate::connect::databases_of;
use crate::error::ControlError;
use crate::state::{SqliteState, StateStore};

/// The setting that says that the old side is retired, and what became of each table: once done it isn't done, or told,
/// again.
pub(crate) const RETIRED: &str = "retired";

/// That the migration of this state file is over, if it is and all of its end is done: one that was killed in the midst of
/// that is to be run once more.
///
/// # Errors
/// If the file can't be read, or isn't the state of this migration.
pub async fn over(path: &Path, migration: &str) -> Result<Option<ControlError>, ControlError> {
    let Some(state) = SqliteState::open_existing(path, migration).await? else { return Ok(None) };
    let Some((_, record)) = barrier::load(&state).await? else { return Ok(None) };
    let is_done = state.setting(RETIRED).await?.is_some();
    Ok(refusal(&record, migration, Some(path)).filter(|_| is_done))
}

/// Ends what a kill in the midst of the end has left: the old tables have their last names already, so that no plan can be
/// made of them, and only what is installed is still to go. That it is over, then.
///
/// # Errors
/// If the state or a database can't be read or written.
pub(crate) async fn finish(path: &Path, spec: &Spec) -> Result<Option<ControlError>, ControlError> {
    let Some(state) = SqliteState::open_existing(path, &spec.name).await? else { return Ok(None) };
    let Some((_, record)) = barrier::load(&state).await? else { return Ok(None) };
    let Some(over) = refusal(&record, &spec.name, Some(path)) else { return Ok(None) };
    let mut renamed = Vec::new();
    for (store, database) in databases_of(spec, Side::Old).await {
        let catalog = database?.catalog().await?;
        for table in spec.tables.iter().filter(|table| table.old.store == store) {
            let (now, last) = (&table.old.table, format!("{}_retired", table.old.table));
            if catalog.table(table.old.schema.as_deref(), now).is_none() && catalog.table(table.old.schema.as_deref(), &last).is_some() {
                renamed.push(format!("{now} is {last} now"));
            }
        }
    }
    if renamed.is_empty() {
        return Ok(None);
    }
    for side in [Side::Old, Side::New] {
        for (_, database) in databases_of(spec, side).await {
            database?.remove_migration(&spec.name).await?;
        }
    }
    state.set(RETIRED, Some(&renamed.join("\n"))).await?;
    Ok(Some(over))
}

/// What is said of a retired migration; nothing of one that isn't.
pub(crate) fn refusal(record: &Control, migration: &str, state: Option<&Path>) -> Option<ControlError> {
    if record.place.phase != Phase::Retired || record.shift.is_some() {
        return None;
    }
    let state = state.map_or_else(|| "its state file".to_owned(), |path| path.display().to_string());
    Some(ControlError::Over { migration: migration.to_owned(), since: moment(record.since), state })
}

fn moment(at: Millis) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
