//! The last draining of a log, by the holder of the fence's lock: no writer is at work, so it ends.

use std::collections::HashSet;

use changeover_protocol::Side;
use changeover_protocol::fault::FaultPoint;
use tokio::time::Instant;

use super::Batch;
use crate::engine::pair::Links;
use crate::engine::sync::Fate;
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::store::Refusal;
use crate::store::fence::FenceLock;
use crate::value::Key;

/// Entries in one claim under the lock.
const BATCH: usize = 512;

/// What came of draining under the lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderLock {
    /// Keys synced.
    pub synced: u64,
    /// Keys that the backfill is to copy still: with any of these the holds may not go on.
    pub deferred: Vec<Key>,
    /// Rows that can't be carried: their keys are in the log still.
    pub refused: Vec<Refusal>,
    /// Whether every entry of the log was looked at before the time was over.
    pub in_time: bool,
}

impl UnderLock {
    /// Whether the log is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.in_time && self.deferred.is_empty() && self.refused.is_empty()
    }
}

/// Drains the log of the side whose lock this is, until nothing is left but what can't be synced, or until `deadline`.
/// The discards are in the lock's transaction: if it isn't committed, the entries are there again, and the
/// syncs are repeated.
///
/// # Errors
/// What a store meets.
pub async fn drain_under_lock(
    links: &Links,
    authority: Side,
    lock: &mut dyn FenceLock,
    deadline: Instant,
) -> Result<UnderLock, StoreError> {
    let mut outcome = UnderLock::default();
    let mut kept: HashSet<i64> = HashSet::new();
    loop {
        // Those that stay are the oldest, and would hide the others.
        let claims = lock.claim(BATCH + kept.len()).await?;
        let claims: Vec<_> = claims.into_iter().filter(|claim| !kept.contains(&claim.id)).collect();
        if claims.is_empty() {
            outcome.in_time = true;
            return Ok(outcome);
        }
        if Instant::now() >= deadline {
            return Ok(outcome);
        }
        fault_point(FaultPoint::ClaimTaken).await?;
        let batch = Batch::of(claims);
        let synced = links.sync(authority, &batch.keys).await?;
        let settled = batch.settled(&synced);
        lock.discard(&settled).await?;
        fault_point(FaultPoint::ClaimDeleted).await?;
        for ((key, ids), fate) in batch.keys.into_iter().zip(batch.ids).zip(synced.fates) {
            match fate {
                Fate::Synced => outcome.synced += 1,
                Fate::LeftToBackfill => {}
                Fate::Deferred => outcome.deferred.push(key),
                Fate::Refused(refusal) => {
                    outcome.refused.push(refusal);
                }
            }
            kept.extend(ids);
        }
        // What was discarded doesn't come again, so only what stays needs to be known.
        settled.iter().for_each(|id| {
            kept.remove(id);
        });
        lock.beat().await?;
    }
}
