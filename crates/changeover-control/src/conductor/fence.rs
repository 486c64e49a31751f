//! The I/O of the store's fence: carries out what the protocol's driver says next, stage by stage, in both directions.
//!
//! The control plane asks for one of three things: up to stage 6 ([`FenceDriver::start`]), stage 7
//! ([`FenceDriver::open`]), or back ([`FenceDriver::undo`]). Each looks at both stores first: after a crash their word is
//! the truth, so each may be asked for again. Dropping any of the three drops the locks it holds; the store rolls back.
//! Between two stages lies a named fault point.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use changeover::mirror::Mirror;
use changeover::store::Store;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{Fence, FenceAt, FenceLock, FenceState};
use changeover::{Side, StoreError, TableName};
use changeover_protocol::control::Epoch;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::fence::{self, FenceAction, FenceEvent, SideFence};
use changeover_protocol::target::Direction;

use super::left_behind;
use crate::error::ControlError;
use crate::fault;
use crate::supervisor::{Hold, Watchdog};

/// How many entries of the log are synced at once under the lock.
const DRAIN_BATCH: usize = 500;

/// How often, and after how long, a lock that wasn't got is tried again. Each try is short, so that a queue of the
/// application's statements behind it is never ours to cause.
const LOCK_TRIES: u32 = 6;

/// How one move's fence is driven.
#[derive(Debug, Clone)]
pub(super) struct FenceSettings {
    /// How long one try for the lock may wait.
    pub(super) lock_wait: Duration,
    /// After how long without a beat the lock's holder is taken for stalled.
    pub(super) stall: Duration,
    /// What to capture on the side that becomes the authority; nothing where nothing is mirrored there.
    pub(super) capture: Option<CaptureOptions>,
    /// Whether the side that is left was captured, so that its log must be drained.
    pub(super) drains: bool,
    /// Where the keys go that are left behind.
    pub(super) leave_behind: Option<PathBuf>,
}

/// Both sides, and what levels the follower.
pub(super) struct FenceDriver {
    pub(super) old: Arc<dyn Store>,
    pub(super) new: Arc<dyn Store>,
    pub(super) mirror: Arc<dyn Mirror>,
    pub(super) watchdog: Watchdog,
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

/// The near side's lock while it is held, and the watch over it.
struct Locked {
    lock: Box<dyn FenceLock>,
    // After the lock: the watch ends when the lock is gone.
    hold: Hold,
}

impl FenceDriver {
    fn store(&self, side: Side) -> &dyn Store {
        match side {
            Side::Old => &*self.old,
            Side::New => &*self.new,
        }
    }

    fn fence(&self, side: Side) -> Result<&dyn Fence, ControlError> {
        self.store(side).fence().ok_or_else(|| {
            ControlError::Spec(format!("the {side} side's store has no fence: use mirror = \"dual-write\""))
        })
    }

    /// Both sides' words: of the side that is left, and of the one that is gone to.
    pub(super) async fn look(&self, from: Side) -> Result<(SideFence, SideFence), ControlError> {
        let near = word(self.fence(from)?.look().await?);
        let far = word(self.fence(from.other())?.look().await?);
        Ok((near, far))
    }

    /// Stages 3 to 6.
    pub(super) async fn start(
        &self,
        epoch: Epoch,
        from: Side,
        settings: &FenceSettings,
    ) -> Result<Started, ControlError> {
        let (near, far) = self.look(from).await?;
        let leave_behind = settings.leave_behind.is_some();
        let mut fence = fence::Fence::recovered(epoch, near, far, leave_behind).map_err(contradiction)?;
        let direction = direction(from);
        self.at(fence.reached(), direction).await?;
        let mut locked: Option<Locked> = None;
        let mut left_behind = 0;
        loop {
            let done = match fence.action() {
                FenceAction::LockNear => self.lock(from, settings).await.map(|held| locked = Some(held)),
                FenceAction::DrainNear { to_empty } => match &mut locked {
                    Some(held) => {
                        let drained = self.drain(from, held, to_empty, settings).await;
                        drained.map(|left| left_behind = left)
                    }
                    None => Err(no_lock()),
                },
                FenceAction::PrepareFar => match &mut locked {
                    Some(held) => self.prepare(epoch, from, held, settings).await,
                    None => Err(no_lock()),
                },
                FenceAction::MoveNear => match locked.take() {
                    Some(held) => self.commit_moved(epoch, from, held).await,
                    None => Err(no_lock()),
                },
                FenceAction::AwaitSecondHold | FenceAction::TellOpened => {
                    return Ok(Started::Moved { left_behind });
                }
                // An earlier move's undoing was cut off: the control plane finishes it by asking for one.
                _ => {
                    let because = fence.failed().unwrap_or("an earlier move was not undone to its end");
                    return Ok(Started::Failed(because.to_owned()));
                }
            };
            match done {
                Ok(()) => {
                    fence = fence.after(FenceEvent::Succeeded);
                    self.at(fence.reached(), direction).await?;
                }
                Err(error) => {
                    drop(locked.take());
                    fence = fence.after(FenceEvent::Failed(error.to_string()));
                }
            }
        }
    }

    /// Stage 7: opens the side that is gone to. From here there is only forward, so it is tried until it succeeds or the
    /// run ends.
    pub(super) async fn open(&self, epoch: Epoch, side: Side) -> Result<(), ControlError> {
        let direction = direction(side.other());
        let (near, far) = self.look(side.other()).await?;
        if far.open && far.epoch == epoch {
            return Ok(());
        }
        if near.open || far.epoch > epoch {
            return Err(contradiction(fence::Contradiction { epoch, near, far }));
        }
        self.at(fence::Stage::Crossed, direction).await?;
        let set = self.fence(side)?.set(FenceState::Open, epoch.0).await;
        if let Err(error) = set {
            // The reply may be what was lost: the store's word decides.
            let far = word(self.fence(side)?.look().await?);
            if !(far.open && far.epoch == epoch) {
                return Err(error.into());
            }
        }
        self.at(fence::Stage::Opened, direction).await
    }

    /// Back: raises the epoch on the side that was to be opened, so that a paused opener's commit fails; then the side
    /// that was to be left takes writes again.
    pub(super) async fn undo(
        &self,
        epoch: Epoch,
        from: Side,
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        let (near, far) = self.look(from).await?;
        if far.open {
            return Err(contradiction(fence::Contradiction { epoch, near, far }));
        }
        self.fence(from.other())?.set(FenceState::Shut, epoch.0).await?;
        fault::at(FaultPoint::UndoRaised).await?;
        if near.open && near.epoch == epoch {
            return Ok(());
        }
        let mut held = self.lock(from, settings).await?;
        fault::at(FaultPoint::UndoLocked).await?;
        held.lock.set(FenceState::Open, epoch.0).await?;
        held.hold.beat();
        held.lock.commit().await?;
        fault::at(FaultPoint::UndoOpened).await
    }

    async fn at(&self, stage: fence::Stage, direction: Direction) -> Result<(), ControlError> {
        match stage.fault_point(direction) {
            Some(point) => fault::at(point).await,
            None => Ok(()),
        }
    }

    /// Short tries, with a pause that grows: gives way, and gives up with the name of whoever stood in the way.
    async fn lock(&self, side: Side, settings: &FenceSettings) -> Result<Locked, ControlError> {
        let fence = self.fence(side)?;
        let mut pause = Duration::from_millis(20);
        for tries_left in (0..LOCK_TRIES).rev() {
            let hold = self.watchdog.hold(settings.lock_wait + settings.stall);
            match fence.lock(settings.lock_wait, settings.stall).await {
                Ok(lock) => {
                    hold.beat();
                    return Ok(Locked { lock, hold });
                }
                Err(StoreError::Busy { .. }) if tries_left > 0 => {
                    drop(hold);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::Refused(format!("the {side} side's tables could not be locked")))
    }

    /// Stage 4: everything that is in the log, seen by the lock's holder. How many keys were left behind.
    async fn drain(
        &self,
        from: Side,
        held: &mut Locked,
        to_empty: bool,
        settings: &FenceSettings,
    ) -> Result<u64, ControlError> {
        if !settings.drains {
            return Ok(0);
        }
        let mut left = 0;
        loop {
            let claims = held.lock.claim(DRAIN_BATCH).await?;
            held.beat().await?;
            if claims.is_empty() {
                return Ok(left);
            }
            let synced = self.sync(from, &claims).await;
            held.beat().await?;
            match synced {
                Ok(()) => {}
                Err(error) if to_empty => return Err(error),
                Err(error) => {
                    let file = settings.leave_behind.as_deref();
                    left += left_behind::append(self.store(from), &claims, file, &error.to_string()).await?;
                }
            }
            let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
            held.lock.discard(&ids).await?;
            held.beat().await?;
        }
    }

    async fn sync(&self, from: Side, claims: &[Claim]) -> Result<(), ControlError> {
        let keys: HashSet<_> = claims.iter().map(|claim| claim.key.clone()).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let levelled = self.mirror.level(from, &keys).await?;
        if let Some(key) = levelled.deferred.first() {
            return Err(ControlError::Refused(format!("{key} is in a chunk that is being copied")));
        }
        match levelled.refused.first() {
            Some(refusal) => Err(ControlError::Refused(format!(
                "{} keys can't be carried; the first is {}: {}",
                levelled.refused.len(),
                refusal.key,
                refusal.why
            ))),
            None => Ok(()),
        }
    }

    /// Stage 5: the far side's counters above the near side's and above every key in use; its capture on; committed. It
    /// stays shut, and obeys this epoch.
    async fn prepare(
        &self,
        epoch: Epoch,
        from: Side,
        near: &mut Locked,
        settings: &FenceSettings,
    ) -> Result<(), ControlError> {
        let counters: Vec<(TableName, i64)> = near.lock.counters().await?;
        near.beat().await?;
        let mut far = self.fence(from.other())?.lock(settings.lock_wait, settings.stall).await?;
        far.raise_counters(&counters).await?;
        if let Some(options) = settings.capture {
            far.capture_on(options).await?;
        }
        far.set(FenceState::Shut, epoch.0).await?;
        near.beat().await?;
        far.commit().await?;
        near.beat().await
    }

    /// Stage 6. A reply that was lost is no answer: the store is asked.
    async fn commit_moved(&self, epoch: Epoch, from: Side, mut held: Locked) -> Result<(), ControlError> {
        held.lock.set(FenceState::Moved, epoch.0).await?;
        held.hold.beat();
        if let Err(error) = held.lock.commit().await {
            let near = word(self.fence(from)?.look().await?);
            if near.open || near.epoch != epoch {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

impl Locked {
    /// To the watchdog and to the store: the holder is alive.
    async fn beat(&mut self) -> Result<(), ControlError> {
        self.hold.beat();
        Ok(self.lock.beat().await?)
    }
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

fn no_lock() -> ControlError {
    ControlError::Stopped { part: "the fence", cause: "its lock is gone".to_owned() }
}
