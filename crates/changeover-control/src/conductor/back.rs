//! The ways back that people ask for: rollback, and abort.

use std::path::PathBuf;
use std::time::Duration;

use changeover::faults::fault_point;
use changeover::store::fence::{Fence, FenceState};
use changeover::store::{BatchBudget, Image, KeyRange};
use changeover::{Side, StoreError};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::moves::{Mirror, WayBack};
use changeover_protocol::target::Direction;
use changeover_protocol::{Phase, Place, Share};
use tokio::sync::MutexGuard;

use super::requests::Moved;
use super::{Conductor, LeaveBehind, install, left_behind};
use crate::error::ControlError;
use crate::over;
use crate::state::AuditKind;

/// What is told on arriving in `old` from a side that has been the authority.
const STAYS_FENCED: &str = "the new side stays fenced, so that no write by an old flag is lost there: the next move forward \
                            opens it, and `changeover abort` removes the fence";

/// How long a lock is waited for that only sees whether the old side can be written, and how long it may be held.
const PROBE_WAIT: Duration = Duration::from_millis(200);
const PROBE_STALL: Duration = Duration::from_secs(1);

impl Conductor {
    /// Goes back: to the phase before unless told otherwise. Waits for no gate.
    ///
    /// # Errors
    /// As [`Conductor::advance`], but for the gates.
    pub async fn rollback(
        &self,
        to: Option<Phase>,
        share: Share,
        leave_behind: Option<PathBuf>,
    ) -> Result<Moved, ControlError> {
        self.instances_heard().await;
        self.check_not_stopped()?;
        let _one = self.alone_or_within_a_move().await?;
        let record = self.barrier.record();
        if let Some(over) = over::refusal(&record, &self.plan.name, None) {
            return Err(over);
        }
        let at = record.shift.as_ref().map_or(record.place, |shift| shift.from);
        let before = match &record.shift {
            // Asked for once more, or to leave behind what it waits for.
            Some(shift) if shift.turned || shift.direction() == Direction::Back => Some(shift.goal),
            Some(shift) => Some(shift.from),
            None => self.plan.settings.phases.before(at.phase).map(|phase| Place { phase, share }),
        };
        let asked = to.map(|phase| Place { phase, share });
        let Some(Place { phase: to, share }) = asked.or(before) else {
            return Err(ControlError::Refused(format!("there is nothing behind {}: no way back", at.phase)));
        };
        if at.phase == Phase::New && to < Phase::New {
            self.prepare_way_back(record.way_back).await?;
        }
        if at.phase.step().authority() == Side::New && self.plan.settings.mirror == Mirror::Capture {
            fault_point(FaultPoint::BackPreconditionsHeld).await?;
        }
        let leave = leave_behind.is_some();
        let crosses = at.phase.step().authority() == Side::New && to.step().authority() == Side::Old;
        if crosses && record.shift.is_none() && self.plan.settings.mirror == Mirror::Capture {
            self.check_old_takes_writes(leave).await?;
        }
        if let Some(file) = leave_behind {
            // Found out now, not when there is something to write.
            left_behind::check(&file)?;
            *self.leave_behind() = Some(LeaveBehind { file, after: record.target.version });
        }
        self.pass_preconditions(at.phase, to).await?;
        let event = ControlEvent::Rollback { to, share, leave_behind: leave };
        let how = if leave { ", leaving keys behind" } else { "" };
        let mut went = self.go(event, format!("rollback to {to}{how}")).await;
        if let Ok(moved) = &mut went
            && moved.place.phase == Phase::Old
            && !moved.under_way
            && self.new_has_served().await?
        {
            moved.notes.push(STAYS_FENCED.to_owned());
        }
        went
    }

    /// That a way back can come to its end: one that can't would hold the writes up for nothing, and be undone only when what
    /// stands in its way is gone.
    ///
    /// # Errors
    /// What stands in its way.
    async fn check_old_takes_writes(&self, leaves_behind: bool) -> Result<(), ControlError> {
        if !leaves_behind
            && self.sides.has_lost_columns().await?
            && self.read_a_row_of_each().await.is_err()
            && let Some(why) = self.plan_outdated().await?
        {
            return Err(ControlError::Refused(format!(
                "{why}. Until then the new side's changes can't be carried back; `changeover rollback --leave-behind FILE` goes \
                 without them"
            )));
        }
        let fails = self.progress.borrow().mirror_fails(self.clock.now().0);
        if let (Some(why), false) = (fails, leaves_behind) {
            let dirty = self.sides.entries(Side::New).await?;
            if dirty > 0 {
                return Err(ControlError::Refused(format!(
                    "{dirty} changes can't be carried to the old side: {why}. Mend that; or leave them behind: \
                     `changeover rollback --leave-behind FILE`"
                )));
            }
        }
        for store in self.sides.of(Side::Old) {
            match write_as_it_is(install::fence_of(&**store)?).await {
                // Somebody who has it locked is waited for within the hold, and named.
                Ok(()) | Err(StoreError::Busy { .. }) => {}
                Err(error) => {
                    return Err(ControlError::Refused(format!(
                        "{error}. Nothing goes back to the old side before it can be written"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether both sides' tables still have what the plan reads of them on the way back.
    async fn read_a_row_of_each(&self) -> Result<(), StoreError> {
        for (side, image) in [(Side::New, Image::Back), (Side::Old, Image::Canonical)] {
            for store in self.sides.of(side) {
                for shape in store.tables() {
                    let one = BatchBudget { rows: 1, ..BatchBudget::default() };
                    store.scan(&shape.table, &KeyRange::default(), image, one).await?.next().await?;
                }
            }
        }
        Ok(())
    }

    /// The right to begin a move, which is held until it has ended: what one prepares, another's clean-up would remove. A
    /// rollback that comes upon a move under way has nothing to begin: it turns that one around, while whoever asked for
    /// it has the right.
    async fn alone_or_within_a_move(&self) -> Result<Option<MutexGuard<'_, ()>>, ControlError> {
        let mut records = self.barrier.records();
        loop {
            let one = tokio::select! {
                biased;
                _ = records.wait_for(|record| record.shift.is_some()) => None,
                one = self.one_at_a_time() => Some(one?),
            };
            // It may have ended in this moment.
            if one.is_some() || self.barrier.record().shift.is_some() {
                return Ok(one);
            }
        }
    }

    /// Without the log that the way back needs, the new side's changes must be logged before the old side is filled anew.
    async fn prepare_way_back(&self, way_back: WayBack) -> Result<(), ControlError> {
        if self.plan.settings.mirror == Mirror::Capture && way_back == WayBack::Open {
            return Ok(());
        }
        if self.plan.settings.phases.has(Phase::ReverseShadow) {
            install::capture(&self.sides, Side::New, self.plan.bounds).await?;
            self.note(AuditKind::Install, "capture is installed on the new side".to_owned()).await;
        }
        // The journal of whoever writes the old side again, further back; the fence has none to switch on with dual write.
        if self.plan.settings.mirror == Mirror::DualWrite && self.plan.settings.phases.has(Phase::Shadow) {
            install::capture(&self.sides, Side::Old, self.plan.bounds).await?;
            self.note(AuditKind::Install, "capture is installed on the old side".to_owned()).await;
        }
        Ok(())
    }

    /// Back to `old` and everything removed; only while the old side is the authority. The new side's rows stay.
    ///
    /// # Errors
    /// [`ControlError::Refused`] once the new side is the authority for any key; [`ControlError::Disagreement`] while the
    /// databases say something else than the state.
    pub async fn abort(&self) -> Result<Moved, ControlError> {
        self.instances_heard().await;
        self.check_not_stopped()?;
        let record = self.barrier.record();
        if let Some(over) = over::refusal(&record, &self.plan.name, None) {
            return Err(over);
        }
        if record.place.phase > Phase::Shadow
            || record.target.assignments.iter().any(|a| a.step.authority() == Side::New)
        {
            return Err(ControlError::Refused(format!(
                "the new side is the authority in {}: `changeover rollback` goes back first, then abort",
                record.place
            )));
        }
        self.keep(self.line(AuditKind::Request, "abort".to_owned())).await;
        let moved = if record.place.phase == Phase::Old && record.shift.is_none() {
            self.still_under_way("nothing had moved")
        } else {
            self.rollback(Some(Phase::Old), Share::ALL, None).await?
        };
        let _one = self.one_at_a_time().await?;
        self.check_not_stopped()?;
        let now = self.barrier.record();
        if now.place.phase != Phase::Old || now.shift.is_some() {
            return Err(ControlError::Refused(format!(
                "nothing is removed: another move was asked for meanwhile, and the migration is in {}",
                now.place
            )));
        }
        self.remove_everything().await?;
        self.note(
            AuditKind::Install,
            "all that was installed is removed; the new side's rows stay".to_owned(),
        )
        .await;
        Ok(Moved {
            text: "aborted: all that was installed is removed; the new side's rows stay".to_owned(),
            // What the way back has said of fences that stay is over.
            notes: Vec::new(),
            ..moved
        })
    }
}

/// Writes a fence as it stands, only to see that it can be written: opened and shut again in one transaction, which takes as
/// much room on the disk as the move will.
async fn write_as_it_is(fence: &dyn Fence) -> Result<(), StoreError> {
    let mut lock = fence.lock(PROBE_WAIT, PROBE_STALL).await?;
    let at = fence.look().await?;
    lock.set(FenceState::Open, at.epoch).await?;
    lock.set(at.state, at.epoch).await?;
    lock.commit().await
}
