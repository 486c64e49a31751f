//! The I/O of the store's fence: carries out what the protocol's driver says next, stage by stage, in both directions.
//!
//! The control plane asks for one of three things: up to stage 6 ([`FenceDriver::start`]), stage 7
//! ([`FenceDriver::open`]), or back ([`FenceDriver::undo`]). Each looks at the stores first: after a crash their word is
//! the truth, so each may be asked for again. Dropping any of the three drops the locks it holds; the store rolls back.
//! Between two stages lies a named fault point. Where a side has several stores, a stage is done in all of them before the
//! next begins; those that are done already are passed over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{Links, drain_under_lock};
use changeover::faults::fault_point;
use changeover::store::capture::CaptureOptions;
use changeover::store::fence::{Fence, FenceAt, FenceLock, FenceState};
use changeover::store::{Refusal, Store};
use changeover::{Key, Side, StoreError, TableName};
use changeover_api::spec::EvidenceSpec;
use changeover_protocol::control::Epoch;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::fence::{self, FenceAction, FenceEvent, SideFence};
use changeover_protocol::target::Direction;

use super::install;
use super::left_behind::{self, LEFT_BATCH};
use super::mirror::Drains;
use super::watched::{Watched, lock_patiently};
use crate::error::ControlError;
use crate::redaction;
use crate::supervisor::Watchdog;

/// How one move's fence is driven.
#[derive(Debug, Clone)]
pub(super) struct FenceSettings {
    /// How long one try for the lock may wait.
    pub(super) lock_wait: Duration,
    /// After how long without a beat the lock's holder is taken for stalled; and how long the log may be drained.
    pub(super) budget: Duration,
    /// What to capture on the side that becomes the authority; nothing where nothing is mirrored there.
    pub(super) capture: Option<CaptureOptions>,
    /// Whether the side that is left was captured, so that its log must be drained.
    pub(super) drains: bool,
    /// Where the keys go that are left behind.
    pub(super) leave_behind: Option<PathBuf>,
}

/// Both sides' stores, and what levels the follower.
pub(super) struct FenceDriver<'c> {
    pub(super) old: &'c [Arc<dyn Store>],
    pub(super) new: &'c [Arc<dyn Store>],
    pub(super) links: &'c Links,
    pub(super) watchdog: &'c Watchdog,
    pub(super) drains: &'c Drains,
    pub(super) redact: &'c EvidenceSpec,
}

/// What [`FenceDriver::start`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// The side that is left says *moved*.
    Moved {
        /// Keys that were left behind.
        left_behind: u64,
    },
    /// Nothing was moved, for this reason.
    Failed(String),
}

/// The near side's locks while they are held, each with its store.
type Locks<'c> = Vec<(&'c dyn Store, Watched)>;

impl<'c> FenceDriver<'c> {
    fn shown(&self, key: &Key) -> String {
        redaction::key(self.redact, self.links, key)
    }

    const fn stores(&self, side: Side) -> &'c [Arc<dyn Store>] {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    /// A side's word: open if any of its stores is; of the lowest epoch, but for one that is higher than the move's own.
    async fn word(&self, side: Side, epoch: Epoch) -> Result<SideFence, ControlError> {
        let mut words = Vec::new();
        for store in self.stores(side) {
            words.push(word(fence_of(&**store, side)?.look().await?));
        }
        if let Some(later) = words.iter().find(|word| word.epoch > epoch) {
            return Ok(*later);
        }
        let open = words.iter().any(|word| word.open);
        let relevant = words.iter().filter(|word| word.open == open);
        let least = relevant.map(|word| word.epoch).min().unwrap_or_default();
        Ok(SideFence { open, epoch: least })
    }

    /// Stages 3 to 6.
    pub(super) async fn start(
        &self,
        epoch: Epoch,
        from: Side,
        settings: &FenceSettings,
    ) -> Result<Started, ControlError> {
        let (near, far) = (self.word(from, epoch).await?, self.word(from.other(), epoch).await?);
        let leave_behind = settings.leave_behind.is_some();
        let mut fence = fence::Fence::recovered(epoch, near, far, leave_behind).map_err(contradiction)?;
        let direction = direction(from);
        pass(fence.reached(), direction).await?;
        let mut locks: Locks<'c> = Vec::new();
        let mut left_behind = 0;
        // What the mirror has claimed ends before the lock is taken, and it claims nothing until the side has moved. Asked
        // for before the lock, because what it had begun may need to write to the store that is locked.
        let rests = fence.action() == FenceAction::LockNear && settings.drains;
        let resting = if rests { self.drains.rest(settings.budget / 2).await } else { None };
        if rests && resting.is_none() && !leave_behind {
            return Ok(Started::Failed("the mirror hasn't ended what it had claimed".to_owned()));
        }
        loop {
            let done = match fence.action() {
                FenceAction::LockNear => self.lock(epoch, from, settings).await.map(|held| locks = held),
                FenceAction::DrainNear { to_empty } => {
                    let drained = self.drain(from, &mut locks, to_empty, settings).await;
                    drained.map(|left| left_behind = left)
                }
                FenceAction::PrepareFar => self.prepare(epoch, from, &mut locks, settings).await,
                FenceAction::MoveNear => self.commit_moved(epoch, from, std::mem::take(&mut locks)).await,
                FenceAction::AwaitSecondHold | FenceAction::TellOpened => {
                    return Ok(Started::Moved { left_behind });
                }
                // An earlier move's undoing was cut off: the control plane finishes it by asking for one.
                _ => {
                    let because = fence.failed().unwrap_or("an earlier move was not undone to its end");
                    return Ok(Started::Failed(because.to_owned()));
                }
            };
            let passed = match done {
                Ok(()) => {
                    fence = fence.after(FenceEvent::Succeeded);
                    pass(fence.reached(), direction).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = passed {
                if matches!(error, ControlError::Store(StoreError::Unreachable { .. })) && leave_behind {
                    return Err(error);
                }
                locks.clear();
                fence = fence.after(FenceEvent::Failed(error.to_string()));
            }
        }
    }

    /// Stage 7: opens the side that is gone to. From here there is only forward, so the caller tries until it succeeds or
    /// the run ends. `abandoned`: the side that is left is out of reach, and isn't asked.
    pub(super) async fn open(&self, epoch: Epoch, side: Side, abandoned: bool) -> Result<(), ControlError> {
        let direction = direction(side.other());
        let near =
            if abandoned { SideFence { open: false, epoch } } else { self.word(side.other(), epoch).await? };
        for store in self.stores(side) {
            let fence = fence_of(&**store, side)?;
            let far = word(fence.look().await?);
            if far.open && far.epoch == epoch {
                continue;
            }
            if near.open || far.epoch > epoch {
                return Err(contradiction(fence::Contradiction { epoch, near, far }));
            }
            pass(fence::Stage::Crossed, direction).await?;
            if let Err(error) = fence.set(FenceState::Open, epoch.0).await {
                // The reply may be what was lost: the store's word decides.
                let far = word(fence.look().await?);
                if !(far.open && far.epoch == epoch) {
                    return Err(error.into());
                }
            }
            pass(fence::Stage::Opened, direction).await?;
        }
        Ok(())
    }

    /// Back: raises the epoch on the side that was to be opened, so that a paused opener's commit fails; then the side
    /// that was to be left takes writes again.
    pub(super) async fn undo(
        &self,
        epoch: Epoch,
        from: Side,
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        let (near, far) = (self.word(from, epoch).await?, self.word(from.other(), epoch).await?);
        if far.open {
            return Err(contradiction(fence::Contradiction { epoch, near, far }));
        }
        for store in self.stores(from.other()) {
            fence_of(&**store, from.other())?.set(FenceState::Shut, epoch.0).await?;
        }
        fault_point(FaultPoint::UndoRaised).await?;
        let mut locks = self.lock(epoch, from, settings).await?;
        fault_point(FaultPoint::UndoLocked).await?;
        for (_, lock) in &mut locks {
            lock.set(FenceState::Open, epoch.0).await?;
        }
        for (_, lock) in locks {
            Box::new(lock).commit().await?;
        }
        Ok(fault_point(FaultPoint::UndoOpened).await?)
    }

    /// Stage 3, in every store that hasn't moved by this epoch already.
    async fn lock(
        &self,
        epoch: Epoch,
        side: Side,
        settings: &FenceSettings,
    ) -> Result<Locks<'c>, ControlError> {
        let mut locks = Vec::new();
        for store in self.stores(side) {
            let fence = fence_of(&**store, side)?;
            let at = word(fence.look().await?);
            if at.epoch == epoch {
                continue;
            }
            let lock = lock_patiently(fence, settings.lock_wait, settings.budget, self.watchdog).await?;
            locks.push((&**store, lock));
        }
        Ok(locks)
    }

    /// Stage 4: everything that is in the logs, seen by the locks' holder. How many keys were left behind.
    async fn drain(
        &self,
        from: Side,
        locks: &mut Locks<'c>,
        to_empty: bool,
        settings: &FenceSettings,
    ) -> Result<u64, ControlError> {
        if !settings.drains {
            return Ok(0);
        }
        if to_empty {
            // An empty log means nothing where changes weren't logged.
            install::check_capture(self.stores(from)).await?;
        }
        let deadline = tokio::time::Instant::now() + settings.budget;
        let mut left = 0;
        for (store, lock) in locks {
            let draining = drain_under_lock(self.links, from, lock, deadline);
            // It looks at the time between its batches. A batch that stands still, because the other side's file is locked,
            // must not stand on ours until the supervisor ends the process for it.
            let mut refused = Vec::new();
            let why = match tokio::time::timeout_at(deadline, draining).await {
                Ok(Ok(outcome)) if outcome.is_empty() => continue,
                Ok(Ok(outcome)) => {
                    refused.clone_from(&outcome.refused);
                    match (outcome.refused.first(), outcome.deferred.first()) {
                        (Some(refusal), _) => {
                            format!("{} can't be carried: {}", self.shown(&refusal.key), refusal.why)
                        }
                        (None, Some(key)) => {
                            format!("{} is in a chunk that isn't copied yet", self.shown(key))
                        }
                        (None, None) => "the log could not be drained within the hold's budget".to_owned(),
                    }
                }
                Ok(Err(error)) if to_empty => return Err(error.into()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!(
                    "the log could not be drained within the hold's budget: the {} side took no write meanwhile",
                    from.other()
                ),
            };
            if to_empty {
                return Err(ControlError::Refused(why));
            }
            left += leave(*store, lock, settings, (&why, &refused)).await?;
        }
        Ok(left)
    }

    /// Stage 5: the far side's counters above the near side's and above every key in use; its capture on; committed. It
    /// stays shut, and obeys this epoch.
    async fn prepare(
        &self,
        epoch: Epoch,
        from: Side,
        locks: &mut Locks<'c>,
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        let mut counters: Vec<(TableName, i64)> = Vec::new();
        for (_, lock) in locks.iter_mut() {
            counters.extend(lock.counters().await?);
        }
        self.prepare_far(epoch, from, &counters, settings).await?;
        for (_, lock) in locks.iter_mut() {
            lock.beat().await?;
        }
        Ok(())
    }

    async fn prepare_far(
        &self,
        epoch: Epoch,
        from: Side,
        counters: &[(TableName, i64)],
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        for store in self.stores(from.other()) {
            let mut far = fence_of(&**store, from.other())?.lock(settings.lock_wait, settings.budget).await?;
            far.raise_counters(counters).await?;
            if let Some(options) = settings.capture {
                far.capture_on(options).await?;
            }
            far.set(FenceState::Shut, epoch.0).await?;
            far.commit().await?;
        }
        Ok(())
    }

    /// Stage 5 without a near side: it is out of reach, and what it has is left behind.
    pub(super) async fn prepare_alone(
        &self,
        epoch: Epoch,
        from: Side,
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        let _hold = self.watchdog.hold(settings.lock_wait + settings.budget);
        self.prepare_far(epoch, from, &[], settings).await
    }

    /// Stage 6. A reply that was lost is no answer: the store is asked.
    async fn commit_moved(&self, epoch: Epoch, from: Side, locks: Locks<'c>) -> Result<(), ControlError> {
        for (store, mut lock) in locks {
            lock.set(FenceState::Moved, epoch.0).await?;
            if let Err(error) = Box::new(lock).commit().await {
                let near = word(fence_of(store, from)?.look().await?);
                if near.open || near.epoch != epoch {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// Writes what is left in a log to the file, and takes it out of the log: it is none of the mirror's any more.
async fn leave(
    store: &dyn Store,
    lock: &mut Watched,
    settings: &FenceSettings,
    why: (&str, &[Refusal]),
) -> Result<u64, ControlError> {
    let mut left = 0;
    loop {
        let claims = lock.claim(LEFT_BATCH).await?;
        if claims.is_empty() {
            return Ok(left);
        }
        left += left_behind::append(store, &claims, settings.leave_behind.as_deref(), why).await?;
        let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
        lock.discard(&ids).await?;
    }
}

async fn pass(stage: fence::Stage, direction: Direction) -> Result<(), ControlError> {
    match stage.fault_point(direction) {
        Some(point) => Ok(fault_point(point).await?),
        None => Ok(()),
    }
}

fn fence_of(store: &dyn Store, side: Side) -> Result<&dyn Fence, ControlError> {
    store.fence().ok_or_else(|| {
        ControlError::Spec(format!(
            "store {} has no fence, which mirror = \"capture\" needs on the {side} side",
            store.info().name
        ))
    })
}

/// The protocol knows two words: applications may write, or only the mirror may.
fn word(at: FenceAt) -> SideFence {
    SideFence { open: at.state == FenceState::Open, epoch: Epoch(at.epoch) }
}

const fn direction(from: Side) -> Direction {
    match from {
        Side::Old => Direction::Forward,
        Side::New => Direction::Back,
    }
}

fn contradiction(found: fence::Contradiction) -> ControlError {
    ControlError::Disagreement { problem: format!("the fences contradict each other: {found}") }
}
