//! Takes the control machine's actions and carries each out in a task of its own, so that the queue never stands still.
//!
//! Each action may come again after a crash, and each may be carried out again. Of the fence one thing is done at a time:
//! an undoing ends what it undoes first, and waits until its locks are gone.

use std::sync::Arc;
use std::time::Duration;

use changeover::store::fence::FenceState as FenceWord;
use changeover::{Side, StoreError};
use changeover_protocol::control::{ControlAction, ControlEvent, Epoch, Generation, Shift};
use changeover_protocol::moves::UncleanEvent;
use changeover_protocol::{Control, Phase, SLOTS, Slot, SlotRange, Version};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fence::{FenceDriver, FenceSettings, Started};
use super::verify::Due;
use super::watch::must_capture;
use super::{Conductor, install, left_behind};
use crate::error::ControlError;
use crate::state::AuditKind;

/// How long to wait before something is tried again that must succeed.
pub(super) const AGAIN_FIRST: Duration = Duration::from_millis(50);
pub(super) const AGAIN_LAST: Duration = Duration::from_secs(5);

/// How many entries may be left in the log kept for the way back when the move begins: the mirror goes on with them.
const WAY_BACK_REST: u64 = 1_000;

/// The setting that says which side's fence is still to be shut, and by which epoch.
pub(crate) const FENCE_OWED: &str = "fence-owed";

/// The jobs that are under way, one of a kind.
#[derive(Default)]
struct Jobs {
    fence: Option<JoinHandle<()>>,
    copy: Option<JoinHandle<()>>,
    drain: Option<JoinHandle<()>>,
    check: Option<JoinHandle<()>>,
    after: Option<JoinHandle<()>>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for job in [&self.fence, &self.copy, &self.drain, &self.check, &self.after].into_iter().flatten() {
            job.abort();
        }
    }
}

/// Ends a job and waits until all that it held is given up.
async fn end(job: &mut Option<JoinHandle<()>>) {
    if let Some(job) = job.take() {
        job.abort();
        // Cancelled, or ended by itself just before: either way it holds nothing any more.
        let _ = job.await;
    }
}

impl Conductor {
    /// Carries actions out until the barrier is gone.
    pub(crate) async fn carry_out(self: Arc<Self>, mut actions: mpsc::Receiver<ControlAction>) {
        let mut jobs = Jobs::default();
        while let Some(action) = actions.recv().await {
            if self.stopped().is_some() {
                // Of a record that isn't believed. `adopt` has what its own record needs asked for again.
                tracing::warn!(?action, "not carried out: nothing is done until `changeover adopt`");
                continue;
            }
            self.begin(action, &mut jobs).await;
        }
    }

    async fn begin(self: &Arc<Self>, action: ControlAction, jobs: &mut Jobs) {
        let this = Arc::clone(self);
        match action {
            ControlAction::StartFence { epoch, from, leave_behind } => {
                end(&mut jobs.fence).await;
                jobs.fence =
                    Some(tokio::spawn(async move { this.start_fence(epoch, from, leave_behind).await }));
            }
            ControlAction::OpenFence { epoch, side } => {
                end(&mut jobs.fence).await;
                jobs.fence = Some(tokio::spawn(async move { this.open_fence(epoch, side).await }));
            }
            ControlAction::UndoFence { epoch, from } => {
                end(&mut jobs.fence).await;
                jobs.fence = Some(tokio::spawn(async move { this.undo_fence(epoch, from).await }));
            }
            ControlAction::BeginGeneration { generation, toward, in_hold } => {
                end(&mut jobs.copy).await;
                jobs.copy =
                    Some(tokio::spawn(
                        async move { this.make_generation(generation, toward, in_hold).await },
                    ));
            }
            ControlAction::EndGeneration { generation } => {
                end(&mut jobs.copy).await;
                self.end_generation(generation).await;
            }
            ControlAction::DrainWayBack => {
                end(&mut jobs.drain).await;
                jobs.drain = Some(tokio::spawn(async move { this.drain_way_back().await }));
            }
            ControlAction::CheckSync { version } => {
                // Asked again with each tick: one look at a time is enough.
                if jobs.check.as_ref().is_none_or(JoinHandle::is_finished) {
                    jobs.check = Some(tokio::spawn(async move { this.check_sync(version).await }));
                }
            }
            ControlAction::Unclean(event) => self.unclean(&event).await,
            ControlAction::Report(report) => {
                end(&mut jobs.after).await;
                jobs.after = Some(tokio::spawn(async move { this.after_report(report).await }));
            }
            // The barrier has done these itself.
            ControlAction::Publish(_) | ControlAction::Void(_) => {}
        }
    }

    // ---- the fence

    fn fence_settings(&self, from: Side, leave_behind: bool) -> FenceSettings {
        let phases = self.plan.settings.phases;
        // Where the other side becomes an authority that is mirrored, its capture is switched on.
        let mirrored = match from {
            Side::Old => phases.has(Phase::ReverseShadow),
            Side::New => phases.has(Phase::Shadow),
        };
        let drains = match from {
            Side::Old => phases.has(Phase::Shadow),
            Side::New => phases.has(Phase::ReverseShadow),
        };
        let budget = Duration::from_millis(self.plan.settings.hold_budget_ms.0);
        FenceSettings {
            // Several tries within the budget.
            lock_wait: (budget / 10).min(Duration::from_millis(500)),
            budget,
            capture: mirrored.then(|| install::capture_options(from.other(), self.plan.bounds)),
            drains,
            leave_behind: if leave_behind { self.leave_behind_file() } else { None },
        }
    }

    async fn start_fence(&self, epoch: Epoch, from: Side, leave_behind: bool) {
        let settings = self.fence_settings(from, leave_behind);
        let started = self.fence_driver().start(epoch, from, &settings).await;
        let moved = match started {
            Ok(Started::Moved { left_behind: 0 }) => Ok(None),
            Ok(Started::Moved { left_behind }) => {
                Ok(Some(UncleanEvent::LeftBehind { keys: Some(left_behind) }))
            }
            Ok(Started::Failed(because)) => Err(because),
            // Out of reach, or no database any more. Not one that is busy, or that another move has been to.
            Err(ControlError::Store(
                StoreError::Unreachable { cause, .. } | StoreError::Refused { cause, .. },
            )) if leave_behind => {
                let abandoned = self.abandon(epoch, from, &cause).await;
                abandoned
                    .map(|()| Some(UncleanEvent::LeftBehind { keys: None }))
                    .map_err(|error| error.to_string())
            }
            Err(error @ ControlError::Disagreement { .. }) => {
                self.stop(&error.to_string()).await;
                Err(error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match moved {
            Ok(left) => {
                if let Some(event) = left {
                    self.tell(ControlEvent::Unclean(event)).await;
                }
                self.tell(ControlEvent::FenceMoved { epoch }).await;
            }
            Err(because) => self.tell(ControlEvent::FenceFailed { epoch, because }).await,
        }
    }

    /// The side that is left is out of reach, and whoever asked for it leaves behind what it has: which keys those are
    /// isn't known. Its fence is owed: it is shut as soon as it can be reached again.
    async fn abandon(&self, epoch: Epoch, from: Side, why: &str) -> Result<(), ControlError> {
        let settings = self.fence_settings(from, true);
        self.fence_driver().prepare_alone(epoch, from, &settings).await?;
        self.state.set(FENCE_OWED, Some(&format!("{from} {epoch}"))).await?;
        if let Some(file) = &settings.leave_behind {
            left_behind::exposure(file, from, why)?;
        }
        self.alert(format!(
            "the {from} side is out of reach and is left behind with what it has: which keys weren't synced isn't known"
        ))
        .await;
        Ok(())
    }

    async fn open_fence(&self, epoch: Epoch, side: Side) {
        let owed = matches!(self.state.setting(FENCE_OWED).await, Ok(Some(_)));
        let mut pause = AGAIN_FIRST;
        let open = async || -> Result<(), ControlError> {
            if side == Side::New {
                // Before anybody writes there.
                self.note_new_serves().await?;
            }
            self.fence_driver().open(epoch, side, owed).await
        };
        while let Err(error) = open().await {
            self.fence_again(&error, &mut pause).await;
        }
        self.well("fence").await;
        self.tell(ControlEvent::FenceOpened { epoch }).await;
    }

    async fn undo_fence(&self, epoch: Epoch, from: Side) {
        let settings = self.fence_settings(from, false);
        let mut pause = AGAIN_FIRST;
        while let Err(error) = self.fence_driver().undo(epoch, from, &settings).await {
            self.fence_again(&error, &mut pause).await;
        }
        self.well("fence").await;
        self.tell(ControlEvent::FenceUndone { epoch }).await;
    }

    /// There is no other way on than to try again: the failure is told, and a pause made.
    async fn fence_again(&self, error: &ControlError, pause: &mut Duration) {
        if matches!(error, ControlError::Disagreement { .. }) {
            self.stop(&error.to_string()).await;
        }
        self.trouble("fence", &error.to_string()).await;
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(AGAIN_LAST);
    }

    /// The fence of a side that was out of reach when it was left behind: shut as soon as it can be.
    pub(super) async fn pay_fence(&self) -> Result<(), ControlError> {
        let Some(owed) = self.state.setting(FENCE_OWED).await? else { return Ok(()) };
        let Some((side, epoch)) = owed.split_once(' ') else { return self.state.set(FENCE_OWED, None).await };
        let side = if side == Side::Old.name() { Side::Old } else { Side::New };
        let epoch: u64 = epoch.parse().unwrap_or(0);
        for store in self.sides.of(side) {
            install::fence_of(&**store)?.set(FenceWord::Moved, epoch).await?;
        }
        self.state.set(FENCE_OWED, None).await?;
        self.note(
            AuditKind::Move,
            format!("the {side} side is in reach again: its fence is shut, epoch {epoch}"),
        )
        .await;
        Ok(())
    }

    // ---- keys

    /// Looks, without skipping anything, whether a moving key is dirty. That none is, is said only of a log that is whole,
    /// and while no claim is under way.
    async fn check_sync(&self, version: Version) {
        let record = self.barrier.record();
        let Some(shift) = &record.shift else { return };
        let side = record.target.direction.first_hold().authority();
        let Some(slots) = moving(shift) else { return };
        let dirty = match self.dirty_for_good(&record, side, slots).await {
            Ok(dirty) => dirty,
            Err(error) => {
                self.trouble("dirty keys", &error.to_string()).await;
                return;
            }
        };
        self.well("dirty keys").await;
        let backfill_under_way = record.backfill.is_some_and(|backfill| !backfill.done);
        self.tell(ControlEvent::KeysInSync { version, dirty, backfill_under_way }).await;
    }

    async fn dirty_for_good(
        &self,
        record: &Control,
        side: Side,
        slots: SlotRange,
    ) -> Result<u64, ControlError> {
        if must_capture(record, side) {
            install::check_capture(self.sides.of(side)).await?;
        }
        let dirty = self.sides.dirty_in(side, slots).await?;
        if dirty > 0 {
            return Ok(dirty);
        }
        let within = Duration::from_millis(self.plan.settings.hold_budget_ms.0 / 4);
        let Some(_resting) = self.drains.rest(within).await else {
            return Err(ControlError::Refused("the mirror hasn't ended what it had claimed".to_owned()));
        };
        let dirty = self.sides.dirty_in(side, slots).await?;
        if dirty == 0 && must_capture(record, side) {
            install::raise_counters(self.sides.of(side), self.sides.of(side.other())).await?;
        }
        Ok(dirty)
    }

    /// Drains the log of the new side until so little is left that the mirror keeps up with the rest.
    async fn drain_way_back(&self) {
        self.draining_way_back.send_replace(true);
        loop {
            match self.sides.entries(Side::New).await {
                Ok(rest) if rest <= WAY_BACK_REST => break,
                Ok(_) => self.well("way back").await,
                Err(error) => self.trouble("way back", &error.to_string()).await,
            }
            tokio::time::sleep(AGAIN_FIRST * 2).await;
        }
        self.tell(ControlEvent::WayBackDrained).await;
        self.draining_way_back.send_replace(false);
    }

    async fn end_generation(&self, generation: Generation) {
        self.sides.cover(&self.barrier.record());
        if let Err(error) = self.sides.forget_generations_below(generation.0 + 1).await {
            // Marks of an old number don't count; they are removed with the next generation at the latest.
            tracing::warn!(%error, "chunk marks could not be removed");
        }
        if let Ok(Some(mut record)) = self.state.generation().await
            && record.number == generation.0
        {
            record.ended_ms = Some(self.clock.now().0);
            if let Err(error) = self.state.put_generation(&record).await {
                self.trouble("state", &error.to_string()).await;
            }
        }
    }

    /// The last verification is void: the next begins now, and where keys may have been missed it repairs.
    async fn unclean(&self, event: &UncleanEvent) {
        let repairs = match event {
            UncleanEvent::LogOverflowed { .. }
            | UncleanEvent::TableChanged { .. }
            | UncleanEvent::ServerChanged { .. }
            | UncleanEvent::JournalLost { .. }
            | UncleanEvent::JournalUnwritable { .. }
            | UncleanEvent::KeysUnknown { .. }
            | UncleanEvent::Forgotten { .. } => true,
            UncleanEvent::LeftBehind { .. }
            | UncleanEvent::FenceRemoved { .. }
            | UncleanEvent::LogRemoved { .. } => false,
        };
        if !repairs {
            self.leave_to_a_person().await;
        }
        self.verify_now.send_modify(|due| *due = due.sooner(Due { now: true, repairs }));
    }
}

/// The run of slots that a move is about.
fn moving(shift: &Shift) -> Option<SlotRange> {
    let mut slots = (0..SLOTS).filter(|&n| shift.from.step(Slot::new(n)) != shift.to.step(Slot::new(n)));
    let from = slots.next()?;
    Some(SlotRange { from, to: slots.next_back().unwrap_or(from) + 1 })
}

impl Conductor {
    fn fence_driver(&self) -> FenceDriver<'_> {
        FenceDriver {
            old: self.sides.of(Side::Old),
            new: self.sides.of(Side::New),
            links: &self.sides.links,
            watchdog: &self.watchdog,
            drains: &self.drains,
            redact: &self.plan.spec.evidence,
        }
    }
}
