//! After a move: what the phase doesn't need is removed, and what stays is seen to.
//!
//! Nothing is removed while somebody prepares a move: what he puts in place would go with it.

use std::sync::Arc;

use changeover::Side;
use changeover_protocol::Phase;
use changeover_protocol::control::{ControlEvent, MoveReport, Outcome};
use changeover_protocol::moves::{Mirror, UncleanEvent};

use super::actions::{AGAIN_FIRST, AGAIN_LAST};
use super::{Conductor, install, left_behind};
use crate::error::ControlError;
use crate::state::AuditKind;

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
        self.settle_in(record.place.phase).await;
        if let Some(file) = self.leave_behind_file() {
            self.append_rest(report.from.phase.step().authority(), &file).await;
            self.set_leave_behind(None);
        }
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
                if phase == Phase::Retired {
                    // Before the fence goes: a straggler's write to the old table would be taken, and lost.
                    self.retire_tables().await?;
                }
                self.clean_up(phase).await
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

    /// With dual write the log of the side that was left still names the keys that weren't synced.
    async fn append_rest(&self, side: Side, file: &std::path::Path) {
        if self.plan.settings.mirror == Mirror::Capture {
            return;
        }
        for store in self.sides.of(side) {
            let Some(log) = store.capture() else { continue };
            let written = match log.claim(0, 10_000).await {
                Ok(claims) if claims.is_empty() => Ok(0),
                Ok(claims) => left_behind::append(&**store, &claims, Some(file), "left behind").await,
                Err(error) => Err(error.into()),
            };
            match written {
                Ok(0) => {}
                Ok(keys) => {
                    self.tell(ControlEvent::Unclean(UncleanEvent::LeftBehind { keys: Some(keys) })).await;
                    self.note(AuditKind::Alert, format!("{keys} keys were left behind: {}", file.display()))
                        .await;
                }
                Err(error) => self.trouble("left behind", &error.to_string()).await,
            }
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

    /// Renames the old tables, where that wasn't done yet. Nothing is dropped.
    async fn retire_tables(&self) -> Result<(), ControlError> {
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
                self.note(AuditKind::Install, format!("store {}: {what}", keeper.store())).await;
            }
        }
        Ok(())
    }
}
