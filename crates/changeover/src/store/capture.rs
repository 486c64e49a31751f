//! The capability to capture changes: a log of changed keys, written in the application's own transactions.
//!
//! The log says *which* keys changed, never what they became: the sync reads that. An entry is deleted by its
//! id, after the follower has committed; never a range, because numbers become visible out of order.

use async_trait::async_trait;

use changeover_protocol::Slot;

use crate::error::StoreError;
use crate::value::Key;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The entry.
    pub id: i64,
    /// The row that changed.
    pub key: Key,
    /// The slot of its slot key's value.
    pub slot: Slot,
    /// When it was written, in milliseconds since 1970, by the store's clock; for showing the lag only.
    pub at_ms: i64,
}

/// What was found of given keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyClaims {
    /// Entries of these keys, in the order of their ids.
    pub claims: Vec<Claim>,
    /// Whether these are all. A log has no index on its keys, which would cost the application's writes: of one that is
    /// deep, only the newest entries are looked through, and of a key that isn't among them nothing is known.
    pub all: bool,
}

impl KeyClaims {
    /// Whether this key may have an entry.
    #[must_use]
    pub fn may_have(&self, key: &Key) -> bool {
        !self.all || self.claims.iter().any(|claim| claim.key == *key)
    }
}

/// How full the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Entries that nobody has discarded yet.
    pub entries: u64,
    /// Age of the oldest, in milliseconds; 0 when there is none.
    pub oldest_ms: u64,
    /// The newest id less the oldest: what the bound is on.
    pub span: u64,
    /// The bound on `span`.
    pub bound: u64,
    /// Whether the bound was reached and changes were not logged: an unclean event, until a new generation.
    pub overflowed: bool,
}

/// What to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The bound on the newest id less the oldest.
    pub bound: u64,
    /// At the bound: log no more, and leave a durable mark (`true`), or only go on (`false`: where no fresh backfill is
    /// possible, and the log is all there is).
    pub overflow: bool,
}

/// A log of changed keys.
#[async_trait]
pub trait CaptureLog: Send + Sync {
    /// Installs the log and the triggers on all tables of this side, or brings what is there to these options. When it
    /// answers, every transaction that commits a change from now on logs it.
    async fn install(&self, options: CaptureOptions) -> Result<(), StoreError>;

    /// Removes the triggers and the log, with what is in it.
    async fn remove(&self) -> Result<(), StoreError>;

    /// Whether every table's triggers are there, and as they were made.
    async fn installed(&self) -> Result<bool, StoreError>;

    /// The oldest entries after this id, up to a limit, in the order of their ids. Deletes nothing.
    async fn claim(&self, after: i64, limit: usize) -> Result<Vec<Claim>, StoreError>;

    /// The entries of these keys: a process that has written them syncs them itself. What isn't found is left to the drain.
    async fn claim_keys(&self, keys: &[Key]) -> Result<KeyClaims, StoreError>;

    /// Deletes exactly these entries.
    async fn discard(&self, ids: &[i64]) -> Result<(), StoreError>;

    /// How full it is; exact, and blind to nothing that has committed.
    async fn depth(&self) -> Result<Depth, StoreError>;

    /// How many keys of these slots are in the log.
    async fn dirty_in(&self, slots: changeover_protocol::SlotRange) -> Result<u64, StoreError>;

    /// Empties the log and takes back the mark that it overflowed: only as a new generation begins.
    async fn reset(&self) -> Result<(), StoreError>;

    /// Answers when something may have been logged since the last call, at the latest after about this many
    /// milliseconds.
    async fn changed(&self, at_most_ms: u64);
}
