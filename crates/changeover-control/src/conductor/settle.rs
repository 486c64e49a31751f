//! After a move: what the phase that was reached doesn't need is removed, the old tables are retired, and what a rollback
//! left behind is written down.
//!
//! A move is over before this is: it is tried until it is done or another move begins, and each part may come again. Nothing
//! is removed while somebody prepares a move: what he puts in place would go with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover::store::Store;
use changeover_protocol::control::{ControlEvent, MoveReport, Outcome};
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{Control, Phase, Target};

use super::actions::{AGAIN_FIRST, AGAIN_LAST};
use super::left_behind::{self, LEFT_BATCH};
use super::{Conductor, LeaveBehind, install};
use crate::error::ControlError;
use crate::over::RETIRED;
use crate::state::AuditKind;

/// How long whoever asks to retire waits for it to be done.
const RETIRED_WITHIN: Duration = Duration::from_secs(30);

/// The setting that says that the new side's fence has been opened: applications may have a flag that says so.
const NEW_SERVED: &str = "new-served";

impl Conductor {
    pub(super) async fn after_report(self: Arc<Self>, report: MoveReport) {
        match report.outcome {
            Outcome::Reached | Outcome::WentBack => {}
            Outcome::TurnedAround(_) | Outcome::Waiting(_) => return,
        }
        let record = self.barrier.record();
        if record.shift.is_some() {
            return;
        }
        // Before the clean-up, which may remove the log.
        let leave = self.leave_behind().take_if(|leave| record.target.version > leave.after);
        if let Some(LeaveBehind { file, .. }) = leave {
            for side in [Side::Old, Side::New] {
                self.append_rest(&record, side, &file).await;
            }
        }
        self.settle_in(record.place.phase).await;
    }

    /// Waits until the old side is retired, and tells what became of each table.
    pub(super) async fn retired(&self) -> Vec<String> {
        let done = tokio::time::timeout(RETIRED_WITHIN, self.settle_in(Phase::Retired)).await;
        let told = match done {
            Ok(()) => self.state.setting(RETIRED).await.unwrap_or_default(),
            Err(_) => None,
        };
        let Some(told) = told else {
            return vec![
                "what was installed isn't all removed yet: it is tried on, and `changeover status` says what stands in the \
                 way"
                    .to_owned(),
            ];
        };
        let tables = told.lines().map(str::to_owned);
        std::iter::once("all that was installed is removed".to_owned()).chain(tables).collect()
    }

    /// Removes what a phase doesn't need, until it is done or another move begins.
    pub(crate) async fn settle_in(&self, phase: Phase) {
        let mut pause = AGAIN_FIRST;
        loop {
            // A move that was begun meanwhile, or is being prepared, needs what this would remove.
            let one = self.moving.lock().await;
            let record = self.barrier.record();
            if record.shift.is_some() || record.place.phase != phase {
                return;
            }
            let cleaned = async {
                if phase != Phase::Retired {
                    return self.clean_up(phase).await;
                }
                if self.state.setting(RETIRED).await?.is_some() {
                    return Ok(());
                }
                // Before the fence goes: a straggler's write to the old table would be taken, and lost.
                let told = self.retire_tables().await?;
                self.clean_up(phase).await?;
                self.state.set(RETIRED, Some(&told.join("\n"))).await
            };
            match cleaned.await {
                Ok(()) => break,
                Err(error) => self.trouble("clean-up", &error.to_string()).await,
            }
            drop(one);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_LAST);
        }
        self.well("clean-up").await;
    }

    /// With dual write the log of a side that was left still names the keys that weren't synced.
    async fn append_rest(&self, record: &Control, side: Side, file: &Path) {
        if self.plan.settings.mirror == Mirror::Capture {
            return;
        }
        for store in self.sides.of(side) {
            let keys = match leave_rest(&**store, &record.target, side, file).await {
                Ok(0) => continue,
                Ok(keys) => Some(keys),
                Err(error) => {
                    let why = error.to_string();
                    let told = left_behind::exposure(file, side, &why);
                    self.trouble("left behind", &told.map_or_else(|error| error.to_string(), |()| why)).await;
                    None
                }
            };
            self.tell(ControlEvent::Unclean(UncleanEvent::LeftBehind { keys })).await;
            let many = keys.map_or_else(|| "it isn't known which".to_owned(), |keys| keys.to_string());
            self.note(AuditKind::Alert, format!("keys were left behind ({many}): {}", file.display())).await;
        }
    }

    /// Says for good that the new side takes the applications' writes.
    pub(super) async fn note_new_serves(&self) -> Result<(), ControlError> {
        self.state.set(NEW_SERVED, Some("yes")).await
    }

    /// Whether applications may still write to the new side, because it was the authority once: so the state says, or, where
    /// that is a new one, the fence.
    pub(super) async fn new_has_served(&self) -> Result<bool, ControlError> {
        if self.plan.settings.mirror != Mirror::Capture {
            return Ok(false);
        }
        Ok(self.state.setting(NEW_SERVED).await?.is_some()
            || install::has_moved_away(&self.sides, Side::New).await?)
    }

    /// The operator says that nobody does: all that was installed goes.
    pub(super) async fn remove_everything(&self) -> Result<(), ControlError> {
        install::remove_all(&self.sides, None).await?;
        self.state.set(NEW_SERVED, None).await
    }

    /// Removes what a phase doesn't need, once. The caller sees to it that no move begins meanwhile.
    pub(super) async fn clean_up(&self, phase: Phase) -> Result<(), ControlError> {
        if phase == Phase::Old && self.new_has_served().await? {
            return install::after_way_back(&self.sides, self.barrier.record().epoch).await;
        }
        install::after_phase(&self.sides, phase, self.plan.settings.mirror).await
    }

    /// That the old tables can be renamed: once everything is at its end, nobody goes back for one that can't.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) async fn try_retiring(&self) -> Result<(), ControlError> {
        for (_, keeper) in self.sides.keepers.iter().filter(|(side, _)| *side == Side::Old) {
            if let Err(error) = install::patiently(|| keeper.try_retiring()).await {
                return Err(ControlError::Refused(format!(
                    "{error}. Nothing is retired before the old tables can be renamed to NAME_retired: rename or drop what has \
                     that name, or what needs the old one"
                )));
            }
        }
        Ok(())
    }

    /// Renames the old tables, where that wasn't done yet. Nothing is dropped. What became of each.
    async fn retire_tables(&self) -> Result<Vec<String>, ControlError> {
        let mut told = Vec::new();
        for (side, keeper) in &self.sides.keepers {
            if *side != Side::Old {
                continue;
            }
            for (table, renamed) in install::patiently(|| keeper.retire()).await? {
                let what = match renamed {
                    Some(to) => format!("table {table} is renamed to {to}; drop it when nobody misses it"),
                    None => format!(
                        "table {table} keeps its name: there are rows in it that aren't the migration's"
                    ),
                };
                let line = format!("store {}: {what}", keeper.store());
                self.note(AuditKind::Install, line.clone()).await;
                told.push(line);
            }
        }
        Ok(told)
    }
}

/// Writes down what a log still has, and takes it out of the log: it is none of the mirror's any more. But for the keys of a
/// share that stays, whose authority this side still is.
async fn leave_rest(
    store: &dyn Store,
    target: &Target,
    side: Side,
    file: &Path,
) -> Result<u64, ControlError> {
    let Some(log) = store.capture() else { return Ok(0) };
    if !log.installed().await? {
        return Ok(0);
    }
    let (mut after, mut left) = (0, 0);
    loop {
        let mut claims = log.claim(after, LEFT_BATCH).await?;
        let Some(last) = claims.last() else { return Ok(left) };
        after = last.id;
        claims.retain(|claim| target.step(claim.slot).authority() != side);
        left += left_behind::append(store, &claims, Some(file), ("left behind", &[])).await?;
        let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
        log.discard(&ids).await?;
    }
}
