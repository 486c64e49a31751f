//! The databases: whether they are the ones that they were, and have what was installed in them.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use changeover::Side;
use changeover::store::{LogMark, Store};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{Control, Phase};

use super::must_capture;
use crate::conductor::{Conductor, DISAGREES, Sides, adopt, install};
use crate::error::ControlError;
use crate::state::StateStore;

impl Conductor {
    pub(super) async fn look_at_databases(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        if record.shift.is_some() || matches!(record.place.phase, Phase::Old | Phase::Retired) {
            return Ok(());
        }
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                self.look_at_identity(&**store, side).await?;
                let Some(log) = store.capture() else { continue };
                if must_capture(&record, side) && !log.installed().await? {
                    self.put_capture_back(&record, &**store, side).await?;
                }
            }
        }
        Ok(())
    }

    /// Capture that is gone, with a table that somebody rebuilt or with an older content of the file.
    async fn put_capture_back(
        &self,
        record: &Control,
        store: &dyn Store,
        side: Side,
    ) -> Result<(), ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(()) };
        if self.barrier.record().revision != record.revision {
            return Ok(());
        }
        let seen = Seen::of(store, side).await?;
        let log_is_gone = seen.mark.is_none() && self.mark_of(&seen).await?.is_some();
        match install::capture(&self.sides, side, self.plan.bounds).await {
            // What a trigger would name was renamed: those that are there have its new name, and go on logging. That the plan
            // is outdated is told, and that the table changed.
            Err(error) if self.sides.has_lost_columns().await? => {
                tracing::debug!(%error, "capture can't be put back as it was");
                return Ok(());
            }
            done => done?,
        }
        let event = if log_is_gone {
            UncleanEvent::LogRemoved { side }
        } else {
            let table = format!("{} ({side})", store.info().name);
            let detail = "its capture was removed or changed; it is installed again".to_owned();
            UncleanEvent::TableChanged { table, detail }
        };
        self.tell(ControlEvent::Unclean(event.clone())).await;
        if log_is_gone {
            self.alert_of_differences(&event).await;
        }
        self.keep_mark(&Seen::of(store, side).await?).await
    }

    async fn alert_of_differences(&self, event: &UncleanEvent) {
        let text = format!(
            "{event}: the rows that differ now are shown by `changeover verify SPEC`, and nothing overwrites them before you say \
             `--repair`"
        );
        self.alert(text).await;
    }

    /// What the databases are as a migration begins: whatever they are later is held against that.
    pub(in crate::conductor) async fn note_identities(&self) -> Result<(), ControlError> {
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                let seen = Seen::of(&**store, side).await?;
                self.state.set(&seen.name, Some(&seen.is.to_string())).await?;
                self.keep_mark(&seen).await?;
            }
        }
        Ok(())
    }

    async fn look_at_identity(&self, store: &dyn Store, side: Side) -> Result<(), ControlError> {
        let seen = Seen::of(store, side).await?;
        let known: Option<serde_json::Value> =
            self.state.setting(&seen.name).await?.and_then(|text| serde_json::from_str(&text).ok());
        let Some(known) = known else {
            self.keep_mark(&seen).await?;
            return self.state.set(&seen.name, Some(&seen.is.to_string())).await;
        };
        let older = seen.is_older_than(self.mark_of(&seen).await?.as_ref());
        if known == seen.is && !older {
            self.remember_mark(&seen);
            return Ok(());
        }
        let record = self.barrier.record();
        let is_another = older || known["server"] != seen.is["server"];
        if is_another && is_authority(&record, side) {
            // The move may have come between.
            if self.barrier.record().revision == record.revision {
                let problem = replaced(store, side, older);
                if older {
                    self.state.set(DISAGREES, Some(&problem)).await?;
                }
                self.stop(&problem).await;
            }
            return Ok(());
        }
        let event = if is_another {
            let older = if older { ", with an older content" } else { "" };
            let detail = format!("{}{older}, expected {}", seen.is["server"], known["server"]);
            UncleanEvent::ServerChanged { side, detail }
        } else {
            let table =
                format!("{} ({side} side, store {})", changed_tables(&known, &seen.is), store.info().name);
            UncleanEvent::TableChanged { table, detail: "its definition is another than it was".to_owned() }
        };
        // Told first: a run that ends in between tells it once more, and never not at all.
        self.tell(ControlEvent::Unclean(event)).await;
        self.keep_mark(&seen).await?;
        self.state.set(&seen.name, Some(&seen.is.to_string())).await
    }

    /// As a run ends: what was carried until now is known to the next one.
    pub(crate) async fn last_look(&self) -> Result<(), ControlError> {
        if self.stopped().is_none() {
            self.look_at_databases().await?;
        }
        self.keep_marks().await
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<String, LogMark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this store's log had come at the last look, this run's or an earlier one's.
    async fn mark_of(&self, seen: &Seen) -> Result<Option<LogMark>, ControlError> {
        let mark = self.marks().get(&seen.mark_name).cloned();
        match mark {
            Some(mark) => Ok(Some(mark)),
            None => known_mark(&*self.state, seen).await,
        }
    }

    fn remember_mark(&self, seen: &Seen) {
        if let Some(mark) = &seen.mark {
            self.marks().insert(seen.mark_name.clone(), mark.clone());
        }
    }

    async fn keep_mark(&self, seen: &Seen) -> Result<(), ControlError> {
        self.remember_mark(seen);
        let text = seen.mark.as_ref().map(mark_text);
        self.state.set(&seen.mark_name, text.as_deref()).await
    }

    /// Writes down how far the logs have come: another run finds out by it whether an older content was put back meanwhile.
    pub(super) async fn keep_marks(&self) -> Result<(), ControlError> {
        let marks = self.marks().clone();
        for (name, mark) in marks {
            self.state.set(&name, Some(&mark_text(&mark))).await?;
        }
        Ok(())
    }

    /// Between moves the fences must say what the phase says; if not, somebody else was there, or the state is an old one.
    pub(super) async fn look_at_fences(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        if record.shift.is_some() || self.plan.settings.mirror != Mirror::Capture {
            return Ok(());
        }
        if let Some(problem) = adopt::fence_problem(&self.sides, &record).await? {
            // The record may have moved on while the databases were asked.
            if self.barrier.record().revision == record.revision {
                self.stop(&problem).await;
            }
            return Ok(());
        }
        self.put_fences_back(&record).await
    }

    /// A fence whose triggers are gone, as with a table that somebody rebuilt, lets everybody write to the side that follows.
    async fn put_fences_back(&self, record: &Control) -> Result<(), ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(()) };
        if self.barrier.record().revision != record.revision {
            return Ok(());
        }
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                let Some(fence) = store.fence() else { continue };
                if fence.is_whole().await? {
                    continue;
                }
                let at = fence.look().await?;
                match install::patiently(|| fence.set(at.state, at.epoch)).await {
                    // As with capture.
                    Err(_) if self.sides.has_lost_columns().await? => continue,
                    done => done?,
                }
                let event = UncleanEvent::FenceRemoved { side };
                self.tell(ControlEvent::Unclean(event.clone())).await;
                self.alert_of_differences(&event).await;
            }
        }
        Ok(())
    }
}

/// The mappings whose tables have another definition than they had.
fn changed_tables(known: &serde_json::Value, now: &serde_json::Value) -> String {
    let list = |identity: &serde_json::Value| identity["tables"].as_array().cloned().unwrap_or_default();
    let before = list(known);
    let changed = list(now).into_iter().filter(|table| !before.contains(table));
    let names: Vec<String> = changed.filter_map(|table| table[0].as_str().map(str::to_owned)).collect();
    names.join(", ")
}

/// A store at one look.
struct Seen {
    /// The setting that its identity is kept by.
    name: String,
    is: serde_json::Value,
    /// The setting that is kept for how far its log has come.
    mark_name: String,
    mark: Option<LogMark>,
}

impl Seen {
    async fn of(store: &dyn Store, side: Side) -> Result<Self, ControlError> {
        let seen = store.identity().await?;
        let tables: Vec<_> =
            seen.tables.iter().map(|(table, is)| (table.as_str().to_owned(), is.clone())).collect();
        let store = &store.info().name;
        Ok(Self {
            name: format!("identity {store} {side}"),
            is: serde_json::json!({ "server": seen.server, "tables": tables }),
            mark_name: format!("log {store} {side}"),
            mark: seen.log,
        })
    }

    fn is_older_than(&self, known: Option<&LogMark>) -> bool {
        matches!((&self.mark, known), (Some(mark), Some(known)) if mark.is_older_than(known))
    }
}

fn mark_text(mark: &LogMark) -> String {
    format!("{} {}", mark.newest, mark.log)
}

/// How far the log had come when a run last wrote it down.
async fn known_mark(state: &dyn StateStore, seen: &Seen) -> Result<Option<LogMark>, ControlError> {
    let kept = state.setting(&seen.mark_name).await?;
    Ok(kept.and_then(|text| {
        let (newest, log) = text.split_once(' ')?;
        Some(LogMark { log: log.to_owned(), newest: newest.parse().ok()? })
    }))
}

/// Whether this side answers for any key.
fn is_authority(record: &Control, side: Side) -> bool {
    record.target.assignments.iter().any(|slots| slots.step.authority() == side)
}

fn replaced(store: &dyn Store, side: Side, older: bool) -> String {
    let (what, then) = if older {
        // Nothing shows it any more once as much was written there as it lacks: only a person's word ends it.
        (
            "has an older content than it had, though it is the side that answers: was it put back from a backup, or did its last \
             writes go with a power cut?",
            "Put the right one in its place, if there is one; then say that it is the right one by adopting it",
        )
    } else {
        (
            "is another one than it was, though it is the side that answers: was its file replaced, or put back from a backup?",
            "Put the right one in its place; if this is the right one, say so by adopting it",
        )
    };
    let store = &store.info().name;
    format!(
        "the {side} side's database ({store}) {what} What it lacks would be taken from the other side as well. {then}"
    )
}

/// What became of the database of a side that answers.
pub(in crate::conductor) struct Replaced {
    /// In words.
    pub(in crate::conductor) problem: String,
    /// It is the same file with an older content: what is written there from now on hides it.
    pub(in crate::conductor) older: bool,
}

/// Whether the database of a side that answers was replaced while no run was there.
///
/// # Errors
/// If it can't be asked.
pub(in crate::conductor) async fn replaced_authority(
    sides: &Sides,
    state: &dyn StateStore,
    record: &Control,
) -> Result<Option<Replaced>, ControlError> {
    if matches!(record.place.phase, Phase::Old | Phase::Retired) {
        return Ok(None);
    }
    for side in [Side::Old, Side::New].into_iter().filter(|side| is_authority(record, *side)) {
        for store in sides.of(side) {
            let seen = Seen::of(&**store, side).await?;
            let known = state.setting(&seen.name).await?;
            let known: Option<serde_json::Value> = known.and_then(|text| serde_json::from_str(&text).ok());
            let older = seen.is_older_than(known_mark(state, &seen).await?.as_ref());
            if older || known.is_some_and(|known| known["server"] != seen.is["server"]) {
                return Ok(Some(Replaced { problem: replaced(&**store, side, older), older }));
            }
        }
    }
    Ok(None)
}
