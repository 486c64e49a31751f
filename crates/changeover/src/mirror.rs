//! What the write path needs of whatever keeps the follower in step: the engine, or a test's stand-in.

use std::time::Duration;

use async_trait::async_trait;
use changeover_protocol::Side;

use crate::error::StoreError;
use crate::store::Refusal;
use crate::value::Key;

/// Keys that were put down before a write, and must be cleared after its sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Levels the follower with the authority, key by key.
///
/// Every future may be dropped at any await: the write path gives up on one that doesn't answer in time. One that
/// panics is taken for one that failed.
#[async_trait]
pub trait Mirror: Send + Sync + 'static {
    /// Puts the keys down, durably, before the authority is written. For tables this is done by the capture log, in the
    /// application's own transaction, and costs nothing here. No keys: a write whose keys are known only after it is
    /// about to begin; a ticket for its keys follows.
    async fn journal(&self, authority: Side, keys: &[Key]) -> Result<Ticket, StoreError>;

    /// Syncs the keys: takes their guard on the follower, reads the authority now, and writes that state. May be repeated,
    /// reordered and cut off at will.
    async fn level(&self, authority: Side, keys: &[Key]) -> Result<Levelled, StoreError>;

    /// Takes the keys of a ticket out of the journal: the follower has them.
    async fn clear(&self, ticket: Ticket) -> Result<(), StoreError>;

    /// Leaves a ticket's keys in the journal as dirty, to be synced by whoever comes by, from the side that was written.
    /// `settle_after`: the authority may
    /// still carry the write out until then, so they must be synced (again) afterwards; nothing, if its outcome is known.
    /// `None` for the ticket: the journal couldn't be written, and this is all that is known of the keys.
    async fn leave_dirty(
        &self,
        authority: Side,
        ticket: Option<Ticket>,
        keys: &[Key],
        settle_after: Duration,
    );

    /// Whether the key is known not to be level: a comparison that finds a difference takes it for transient.
    async fn is_dirty(&self, key: &Key) -> bool {
        let _ = key;
        false
    }

    /// How many keys this instance has put down that aren't known to be synced: what its heartbeats say. 0 where the
    /// store's own log is the journal, which the control plane looks at itself.
    fn dirty(&self) -> u64 {
        0
    }
}

/// What came of a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levelled {
    /// Keys whose follower's row now equals the authority's.
    pub synced: u64,
    /// Keys whose chunk the backfill hasn't begun: it will copy them.
    pub left_to_backfill: u64,
    /// Keys whose chunk is being copied just now: they stay dirty and are synced after it.
    pub deferred: Vec<Key>,
    /// Rows that can't be carried, by name.
    pub refused: Vec<Refusal>,
}
