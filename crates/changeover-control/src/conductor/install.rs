//! What is installed in the databases in which phase: capture, and the follower's fence.
//!
//! Everything here may be repeated, and is, when a run starts: what the phase asks for is brought about. A lock that is
//! needed on a user's table is short, is tried again with a pause that grows, and is given up with the name of whoever
//! stood in the way.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use changeover::store::Store;
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::{Fence, FenceState};
use changeover::{Phase, Side, StoreError, TableName};
use changeover_protocol::control::Epoch;
use changeover_protocol::moves::Mirror;

use super::sides::Sides;
use crate::error::ControlError;

/// How often, with pauses from this on that double, a lock is tried for.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Tries again while the store is busy; gives up with the name of whoever stood in the way.
pub(super) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt().await {
            Err(StoreError::Busy { .. }) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    attempt().await
}

/// How long a lock on the counters is waited for in one try, and how long it may be held: a moment within a hold.
const COUNTERS_WAIT: Duration = Duration::from_millis(100);
const COUNTERS_STALL: Duration = Duration::from_secs(1);

/// How large the logs may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of the log that a fresh backfill can replace.
    pub(crate) mirror: u64,
    /// Of the log that is all there is: in `reverse-shadow`, and for the way back.
    pub(crate) way_back: u64,
}

/// The capture of one side as its authority needs it.
pub(super) const fn capture_options(side: Side, bounds: Bounds) -> CaptureOptions {
    match side {
        Side::Old => CaptureOptions { bound: bounds.mirror, overflow: true },
        Side::New => CaptureOptions { bound: bounds.way_back, overflow: false },
    }
}

/// Puts in place what a phase needs *before* the fleet may execute its step.
///
/// # Errors
/// With the name of whoever stood in the way of a lock. What is in place by then stays, and does no harm.
pub(super) async fn before_phase(
    sides: &Sides,
    into: Phase,
    mirror: Mirror,
    epoch: Epoch,
    bounds: Bounds,
) -> Result<(), ControlError> {
    match (into, mirror) {
        (Phase::Shadow, Mirror::Capture) => {
            capture(sides, Side::Old, bounds).await?;
            shut_follower(sides, Side::New, epoch).await?;
            complete_fence(sides, Side::New).await
        }
        (Phase::Shadow, Mirror::DualWrite) => capture(sides, Side::Old, bounds).await,
        // The journals of both sides: a share of the keys writes to either.
        (Phase::ReverseShadow, Mirror::DualWrite) => {
            capture(sides, Side::Old, bounds).await?;
            capture(sides, Side::New, bounds).await
        }
        (Phase::New, Mirror::DualWrite) => mark_served(sides, epoch).await,
        // The fence switches it on, in the commit in which the new side is prepared.
        (Phase::ReverseShadow | Phase::New, Mirror::Capture) | (Phase::Old | Phase::Retired, _) => Ok(()),
    }
}

/// In `new` nothing is journalled, and the databases would look as if nothing had ever begun: without its state a run would
/// begin in `old`. The fence's word stays in the new side, open, and shows that it has served.
async fn mark_served(sides: &Sides, epoch: Epoch) -> Result<(), ControlError> {
    for store in sides.of(Side::New) {
        if let Some(fence) = store.fence() {
            patiently(|| fence.set(FenceState::Open, epoch.0.max(1))).await?;
        }
    }
    Ok(())
}

/// Back from `new`: a side that a fence calls open gives the mirror no guard.
async fn unmark_served(sides: &Sides) -> Result<(), ControlError> {
    for store in sides.of(Side::New) {
        if let Some(fence) = store.fence()
            && fence.look().await?.epoch > 0
        {
            patiently(|| fence.remove()).await?;
        }
    }
    Ok(())
}

/// Removes what a phase doesn't need any more, once the fleet executes its step.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn after_phase(sides: &Sides, at: Phase, mirror: Mirror) -> Result<(), ControlError> {
    match (at, mirror) {
        (Phase::Old | Phase::Retired, _) => remove_all(sides, None).await,
        (Phase::New, Mirror::DualWrite) => {
            remove_capture(sides, Side::Old).await?;
            remove_capture(sides, Side::New).await
        }
        (Phase::New, Mirror::Capture) => remove_capture(sides, Side::Old).await,
        (Phase::Shadow | Phase::ReverseShadow, Mirror::DualWrite) => unmark_served(sides).await,
        (Phase::Shadow | Phase::ReverseShadow, Mirror::Capture) => Ok(()),
    }
}

/// Removes everything from both sides: capture, fences, chunk marks; but not the fence of the side `fenced`. Whoever has
/// nothing of ours isn't locked.
pub(super) async fn remove_all(sides: &Sides, fenced: Option<Side>) -> Result<(), ControlError> {
    for (_, keeper) in &sides.keepers {
        if !keeper.installed().await?.is_empty() {
            patiently(|| keeper.remove_installed(fenced)).await?;
        }
    }
    Ok(())
}

/// Back in `old` after the new side was the authority: whoever has an old flag still writes there, and nobody would look
/// for that write. So its fence stays, and says *moved*, until a move forward opens it, or `abort` removes it.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn after_way_back(sides: &Sides, epoch: Epoch) -> Result<(), ControlError> {
    for store in sides.of(Side::New) {
        let fence = fence_of(&**store)?;
        let at = fence.look().await?;
        // One that was removed by hand isn't put back.
        if at.state != FenceState::Moved && at.epoch > 0 {
            patiently(|| fence.set(FenceState::Moved, epoch.0)).await?;
        }
    }
    remove_all(sides, Some(Side::New)).await
}

/// Whether a side's fence says that the authority has moved away from it.
pub(super) async fn has_moved_away(sides: &Sides, side: Side) -> Result<bool, ControlError> {
    for store in sides.of(side) {
        if let Some(fence) = store.fence()
            && fence.look().await?.state == FenceState::Moved
        {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn capture(sides: &Sides, side: Side, bounds: Bounds) -> Result<(), ControlError> {
    for store in sides.of(side) {
        let log = log_of(&**store)?;
        patiently(|| log.install(capture_options(side, bounds))).await?;
    }
    Ok(())
}

/// Raises the far side's counters above what the near side has given out: an id whose row is gone must not come again.
/// With capture the fence does so; with dual write this is done while the keys that move are held.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn raise_counters(
    near: &[Arc<dyn Store>],
    far: &[Arc<dyn Store>],
) -> Result<(), ControlError> {
    let mut counters = Vec::new();
    for store in near {
        let Some(fence) = store.fence() else { continue };
        let mut lock = patiently(|| fence.lock(COUNTERS_WAIT, COUNTERS_STALL)).await?;
        counters.extend(lock.counters().await?);
    }
    raise_counters_to(&counters, far).await
}

/// Raises a side's counters to at least these.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
async fn raise_counters_to(
    counters: &[(TableName, i64)],
    far: &[Arc<dyn Store>],
) -> Result<(), ControlError> {
    if counters.is_empty() {
        return Ok(());
    }
    for store in far {
        let Some(fence) = store.fence() else { continue };
        let mut lock = patiently(|| fence.lock(COUNTERS_WAIT, COUNTERS_STALL)).await?;
        lock.raise_counters(counters).await?;
        lock.commit().await?;
    }
    Ok(())
}

/// That a side's logs have every change since they were last empty: the triggers are as they were made, and no log has
/// reached its bound.
///
/// # Errors
/// [`ControlError::Refused`] with what is wrong; it is mended, and what was missed is repaired, between moves.
pub(super) async fn check_capture(sides: &[Arc<dyn Store>]) -> Result<(), ControlError> {
    for store in sides {
        let (log, name) = (log_of(&**store)?, &store.info().name);
        let problem = if !log.installed().await? {
            "capture was removed or changed"
        } else if log.depth().await?.overflowed {
            "the log of changes reached its bound"
        } else {
            continue;
        };
        return Err(ControlError::Refused(format!(
            "store {name}: {problem}, so changes may be in no log: wait until the next verification has repaired them"
        )));
    }
    Ok(())
}

/// That whoever is refused by the fences is refused by them.
///
/// # Errors
/// [`ControlError::Refused`] if one was taken away; it is put back between moves.
pub(super) async fn check_fences(sides: &Sides) -> Result<(), ControlError> {
    for side in [Side::Old, Side::New] {
        for store in sides.of(side) {
            if let Some(fence) = store.fence()
                && !fence.is_whole().await?
            {
                return Err(ControlError::Refused(format!(
                    "store {}: the fence was removed or changed, so others may have written to the {side} side: it is put back \
                     in a moment; look at what the next verification finds",
                    store.info().name
                )));
            }
        }
    }
    Ok(())
}

pub(super) async fn remove_capture(sides: &Sides, side: Side) -> Result<(), ControlError> {
    for store in sides.of(side) {
        if let Some(log) = store.capture()
            && log.installed().await?
        {
            patiently(|| log.remove()).await?;
        }
    }
    Ok(())
}

/// Shuts a side to all but the mirror, unless a move has shut it already.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn shut_follower(sides: &Sides, side: Side, epoch: Epoch) -> Result<(), ControlError> {
    for store in sides.of(side) {
        let fence = fence_of(&**store)?;
        let at = fence.look().await?;
        // A side that the move of this epoch has opened is the authority by now: whoever asked did so too late, of a record
        // from before.
        let opened_by_it = at.epoch > 0 && at.epoch >= epoch.0;
        if at.state == FenceState::Open && !opened_by_it {
            patiently(|| fence.set(FenceState::Shut, epoch.0)).await?;
        }
    }
    Ok(())
}

/// What a later move switches is put in place now, and not within its hold: a fence that an earlier move left shut may have lost
/// it.
async fn complete_fence(sides: &Sides, side: Side) -> Result<(), ControlError> {
    for store in sides.of(side) {
        let fence = fence_of(&**store)?;
        let at = fence.look().await?;
        if at.state == FenceState::Moved {
            patiently(|| fence.set(at.state, at.epoch)).await?;
        }
    }
    Ok(())
}

pub(super) fn log_of(store: &dyn Store) -> Result<&dyn CaptureLog, ControlError> {
    let name = &store.info().name;
    store.capture().ok_or_else(|| ControlError::Spec(format!("store {name} can't capture changes")))
}

pub(super) fn fence_of(store: &dyn Store) -> Result<&dyn Fence, ControlError> {
    let name = &store.info().name;
    store.fence().ok_or_else(|| {
        ControlError::Spec(format!("store {name} has no fence, which mirror = \"capture\" needs"))
    })
}
