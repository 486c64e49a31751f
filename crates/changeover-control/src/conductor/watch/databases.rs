//! The databases: whether they are the ones that they were, and have what was installed in them.

use changeover::Side;
use changeover::store::Store;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{Control, Phase};

use super::must_capture;
use crate::conductor::{Conductor, Sides, adopt, install};
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
                    let detail = "its capture was removed or changed; it is installed again".to_owned();
                    install::capture(&self.sides, side, self.plan.bounds).await?;
                    let table = format!("{} ({side})", store.info().name);
                    self.tell(ControlEvent::Unclean(UncleanEvent::TableChanged { table, detail })).await;
                }
            }
        }
        Ok(())
    }

    /// What the databases are as a migration begins: whatever they are later is held against that.
    pub(in crate::conductor) async fn note_identities(&self) -> Result<(), ControlError> {
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                let (name, now, _) = identity(&**store, side).await?;
                self.state.set(&name, Some(&now.to_string())).await?;
            }
        }
        Ok(())
    }

    async fn look_at_identity(&self, store: &dyn Store, side: Side) -> Result<(), ControlError> {
        let (name, now, older) = identity(store, side).await?;
        let known = self.state.setting(&name).await?.and_then(|text| serde_json::from_str(&text).ok());
        let Some(known): Option<serde_json::Value> = known else {
            return self.state.set(&name, Some(&now.to_string())).await;
        };
        if known == now && !older {
            return Ok(());
        }
        let record = self.barrier.record();
        let is_another = older || known["server"] != now["server"];
        if is_another && is_authority(&record, side) {
            // The move may have come between.
            if self.barrier.record().revision == record.revision {
                self.stop(&replaced(store, side)).await;
            }
            return Ok(());
        }
        self.state.set(&name, Some(&now.to_string())).await?;
        let event = if is_another {
            let older = if older { ", with an older content" } else { "" };
            let detail = format!("{}{older}, expected {}", now["server"], known["server"]);
            UncleanEvent::ServerChanged { side, detail }
        } else {
            let table =
                format!("{} ({side} side, store {})", changed_tables(&known, &now), store.info().name);
            UncleanEvent::TableChanged { table, detail: "its definition is another than it was".to_owned() }
        };
        self.tell(ControlEvent::Unclean(event)).await;
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
                install::patiently(|| fence.set(at.state, at.epoch)).await?;
                self.tell(ControlEvent::Unclean(UncleanEvent::FenceRemoved { side })).await;
                self.alert(format!(
                    "{}: the rows that differ now are shown by `changeover verify SPEC`, and nothing overwrites them before \
                     you say `--repair`",
                    UncleanEvent::FenceRemoved { side }
                ))
                .await;
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

/// The setting that a store's identity is kept by, the identity, and whether its content is older than it was.
async fn identity(store: &dyn Store, side: Side) -> Result<(String, serde_json::Value, bool), ControlError> {
    let seen = store.identity().await?;
    let tables: Vec<_> =
        seen.tables.iter().map(|(table, is)| (table.as_str().to_owned(), is.clone())).collect();
    let now = serde_json::json!({ "server": seen.server, "tables": tables });
    Ok((format!("identity {} {side}", store.info().name), now, seen.older))
}

/// Whether this side answers for any key.
fn is_authority(record: &Control, side: Side) -> bool {
    record.target.assignments.iter().any(|slots| slots.step.authority() == side)
}

fn replaced(store: &dyn Store, side: Side) -> String {
    format!(
        "the {side} side's database ({}) is another one than it was, though it is the side that answers: was its file replaced, or \
         put back from a backup? What it lacks would be taken from the other side as well. Put the right one in its place; \
         if this is the right one, say so by adopting it",
        store.info().name
    )
}

/// Whether the database of a side that answers was replaced while no run was there.
///
/// # Errors
/// If it can't be asked.
pub(in crate::conductor) async fn replaced_authority(
    sides: &Sides,
    state: &dyn StateStore,
    record: &Control,
) -> Result<Option<String>, ControlError> {
    if matches!(record.place.phase, Phase::Old | Phase::Retired) {
        return Ok(None);
    }
    for side in [Side::Old, Side::New].into_iter().filter(|side| is_authority(record, *side)) {
        for store in sides.of(side) {
            let (name, now, _) = identity(&**store, side).await?;
            let known = state.setting(&name).await?;
            let known: Option<serde_json::Value> = known.and_then(|text| serde_json::from_str(&text).ok());
            if known.is_some_and(|known| known["server"] != now["server"]) {
                return Ok(Some(replaced(&**store, side)));
            }
        }
    }
    Ok(None)
}
