//! What is installed in the databases in which phase: capture, and the follower's fence.
//!
//! Everything here may be repeated, and is, when a run starts: what the phase asks for is brought about. A lock that is
//! needed on a user's table is short, is tried again with a pause that grows, and is given up with the name of whoever
//! stood in the way.

use std::future::Future;
use std::time::Duration;

use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::{Fence, FenceState};
use changeover::{Phase, Side, StoreError};
use changeover_protocol::control::Epoch;
use changeover_protocol::moves::Mirror;

use super::pair::Pair;
use crate::error::ControlError;

/// How often, with pauses from this on that double, a lock is tried for.
const TRIES: u32 = 7;
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

/// How large the logs may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of the log that a fresh backfill can replace.
    pub(super) mirror: u64,
    /// Of the log that is all there is: in `reverse-shadow`, and for the way back.
    pub(super) way_back: u64,
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
    pairs: &[Pair],
    into: Phase,
    mirror: Mirror,
    epoch: Epoch,
    bounds: Bounds,
) -> Result<(), ControlError> {
    for pair in pairs {
        match (into, mirror) {
            (Phase::Shadow, Mirror::Capture) => {
                capture(pair, Side::Old, bounds).await?;
                shut(pair, Side::New, epoch).await?;
            }
            (Phase::Shadow, Mirror::DualWrite) => capture(pair, Side::Old, bounds).await?,
            // The journals of both sides: a share of the keys writes to either.
            (Phase::ReverseShadow, Mirror::DualWrite) => {
                capture(pair, Side::Old, bounds).await?;
                capture(pair, Side::New, bounds).await?;
            }
            // The fence switches it on, in the commit in which the new side is prepared.
            (Phase::ReverseShadow, Mirror::Capture) | (Phase::Old | Phase::New | Phase::Retired, _) => {}
        }
    }
    Ok(())
}

/// Shuts the side that a move goes to, to all but the mirror, before the fence is moved.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn shut_follower(pairs: &[Pair], side: Side, epoch: Epoch) -> Result<(), ControlError> {
    for pair in pairs {
        shut(pair, side, epoch).await?;
    }
    Ok(())
}

/// Removes what a phase doesn't need any more, once the fleet executes its step.
///
/// # Errors
/// With the name of whoever stood in the way of a lock.
pub(super) async fn after_phase(pairs: &[Pair], at: Phase, mirror: Mirror) -> Result<(), ControlError> {
    for pair in pairs {
        match (at, mirror) {
            (Phase::Old | Phase::Retired, _) => remove_all(pair).await?,
            (Phase::New, Mirror::DualWrite) => {
                remove_capture(pair, Side::Old).await?;
                remove_capture(pair, Side::New).await?;
            }
            (Phase::New, Mirror::Capture) => remove_capture(pair, Side::Old).await?,
            (Phase::Shadow | Phase::ReverseShadow, _) => {}
        }
    }
    Ok(())
}

/// Removes everything from both sides: capture, fences, chunk marks.
pub(super) async fn remove_all(pair: &Pair) -> Result<(), ControlError> {
    for side in [Side::Old, Side::New] {
        remove_capture(pair, side).await?;
        if let Some(fence) = pair.store(side).fence() {
            patiently(|| fence.remove()).await?;
        }
        if let Some(guarded) = pair.store(side).guarded() {
            guarded.forget_generations_below(u64::MAX).await?;
        }
    }
    Ok(())
}

pub(super) async fn capture(pair: &Pair, side: Side, bounds: Bounds) -> Result<(), ControlError> {
    let log = log_of(pair, side)?;
    Ok(patiently(|| log.install(capture_options(side, bounds))).await?)
}

pub(super) async fn remove_capture(pair: &Pair, side: Side) -> Result<(), ControlError> {
    match pair.store(side).capture() {
        Some(log) => Ok(patiently(|| log.remove()).await?),
        None => Ok(()),
    }
}

/// Shuts the follower to all but the mirror, unless a move has shut it already.
async fn shut(pair: &Pair, side: Side, epoch: Epoch) -> Result<(), ControlError> {
    let fence = fence_of(pair, side)?;
    if fence.look().await?.state == FenceState::Open {
        patiently(|| fence.set(FenceState::Shut, epoch.0)).await?;
    }
    Ok(())
}

pub(super) fn log_of(pair: &Pair, side: Side) -> Result<&dyn CaptureLog, ControlError> {
    let store = pair.store(side);
    store.capture().ok_or_else(|| {
        ControlError::Spec(format!("store {} can't capture changes on the {side} side", store.info().name))
    })
}

pub(super) fn fence_of(pair: &Pair, side: Side) -> Result<&dyn Fence, ControlError> {
    let store = pair.store(side);
    store.fence().ok_or_else(|| {
        ControlError::Spec(format!(
            "store {} has no fence, which mirror = \"capture\" needs on the {side} side",
            store.info().name
        ))
    })
}
