//! The capability to refuse the application's writes: the fence.
//!
//! The fence is a state in the store itself, with an epoch. An application's write to a side whose fence isn't
//! open is refused by the store, retryably, and never taken and lost. The mirror's own writes pass.

use std::time::Duration;

use async_trait::async_trait;

use super::capture::Claim;
use crate::error::StoreError;
use crate::value::TableName;

/// What the fence of a side says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FenceState {
    /// There is none, or it lets everybody through.
    Open,
    /// This side is the follower: only the mirror writes.
    Shut,
    /// The authority has moved to the other side.
    Moved,
}

/// The fence as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FenceAt {
    /// Its state.
    pub state: FenceState,
    /// The epoch of the move that put it so. It never falls.
    pub epoch: u64,
}

/// A side that can be fenced.
#[async_trait]
pub trait Fence: Send + Sync {
    /// The fence as it stands; open at epoch 0 where none was ever installed.
    async fn look(&self) -> Result<FenceAt, StoreError>;

    /// Whether all that refuses writers is there, as [`look`](Self::look) says: a table that somebody rebuilds may take it
    /// along, and [`set`](Self::set) to the same state puts it back.
    async fn is_whole(&self) -> Result<bool, StoreError>;

    /// Sets the fence if its epoch is at most `epoch`; else [`StoreError::Conflict`]. In a transaction of its own, with a
    /// short lock time-out. Installs what it needs.
    async fn set(&self, state: FenceState, epoch: u64) -> Result<(), StoreError>;

    /// Removes the fence. Writers are free.
    async fn remove(&self) -> Result<(), StoreError>;

    /// Locks all tables of this side against writers, readers free, in one go: no writer's transaction is open when it
    /// answers, and none begins while the lock is held. Not got within `wait`: [`StoreError::Busy`] with who stood in the
    /// way. The store itself ends the lock when its holder stalls for longer than `stall`.
    async fn lock(&self, wait: Duration, stall: Duration) -> Result<Box<dyn FenceLock>, StoreError>;
}

/// All tables of a side, locked against writers. Dropping it gives the lock up and changes nothing.
#[async_trait]
pub trait FenceLock: Send {
    /// The oldest entries of this side's capture log, as the lock's holder sees them: all that there are.
    async fn claim(&mut self, limit: usize) -> Result<Vec<Claim>, StoreError>;

    /// Deletes exactly these entries, within the lock's transaction.
    async fn discard(&mut self, ids: &[i64]) -> Result<(), StoreError>;

    /// For each table with a counter of its own (AUTOINCREMENT, identity, sequence), the next value that it could give out,
    /// with what is cached or in steps counted in.
    async fn counters(&mut self) -> Result<Vec<(TableName, i64)>, StoreError>;

    /// Raises this side's counters to at least these and above every key in use.
    async fn raise_counters(&mut self, at_least: &[(TableName, i64)]) -> Result<(), StoreError>;

    /// Switches this side's capture on, so that it takes effect with the commit.
    async fn capture_on(&mut self, options: super::capture::CaptureOptions) -> Result<(), StoreError>;

    /// Sets this side's fence, so that it takes effect with the commit, if its epoch is at most `epoch`; else
    /// [`StoreError::Conflict`].
    async fn set(&mut self, state: FenceState, epoch: u64) -> Result<(), StoreError>;

    /// Says that the holder is alive: starts the time of `stall` anew.
    async fn beat(&mut self) -> Result<(), StoreError>;

    /// Commits what was set, and unlocks. On an error the outcome is not known: look at the fence.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
