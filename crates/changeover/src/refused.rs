//! Changeover's own *no* to an operation: what a caller may get besides the authority's answer.
//!
//! A service's error type takes it by `From<Refused>`, so that a routed call has the type of a direct one.

use changeover_protocol::member;

use crate::value::{Key, TableName};

/// Why an operation wasn't carried out, or why its outcome isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The instance may not run it now: writes held beyond the budget, out of touch, stopping. Nothing was done.
    #[error("{operation}: {why}")]
    NotNow {
        /// The operation.
        operation: &'static str,
        /// Why.
        why: member::Refused,
    },
    /// So many writes are waiting for the hold to end that this one wasn't let in. Nothing was done.
    #[error("{operation}: {limit} writes wait already for the present hold to end: try again in a second")]
    TooManyHeld {
        /// The operation.
        operation: &'static str,
        /// How many may wait.
        limit: usize,
    },
    /// The side hung while the migration went back, and the call was cut off. Nothing was changed by it.
    #[error("{operation}: cut off, because the migration goes back and this call hung: try again")]
    CutOff {
        /// The operation.
        operation: &'static str,
    },
    /// A write's outcome isn't known: it may have been carried out, or may be still. Its keys are kept as dirty
    /// and will be levelled; whether to try again depends on whether the write may happen twice.
    #[error("{operation}: the outcome of the write is not known: {why}")]
    Unknown {
        /// The operation.
        operation: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The keys of one write lie in different slots, so they could be at different steps. Nothing was done.
    #[error(
        "{operation}: {first} and {other} lie in different slots, so one write can't take both: give the tables a common \
         `route_by`, or declare that this migration moves all keys at once"
    )]
    SlotsDiffer {
        /// The operation.
        operation: &'static str,
        /// A key.
        first: Box<Key>,
        /// One in another slot.
        other: Box<Key>,
    },
    /// A write needs a key (or `route_by`), by which it is known what must be synced. Nothing was done.
    #[error(
        "{operation}: a write needs the keys that it changes: give them, or return them from `run_keyed`"
    )]
    NoKey {
        /// The operation.
        operation: &'static str,
    },
    /// The table is routed by a value that isn't part of its key, and the operation didn't give it. Nothing was done.
    #[error("{operation}: {table} is routed by a value outside of its key: give it with `.route_by(…)`")]
    NoSlotKey {
        /// The operation.
        operation: &'static str,
        /// The mapping.
        table: TableName,
    },
    /// A write was begun outside of a Tokio runtime, where it can't have a task of its own. Nothing was done.
    #[error("{operation}: a write needs a Tokio runtime: call it from a task")]
    NoRuntime {
        /// The operation.
        operation: &'static str,
    },
}

impl Refused {
    /// Whether the same call may succeed later with nothing else changed. A write whose outcome isn't known is not
    /// one of these: only the caller knows whether it may happen twice.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::NotNow { .. } | Self::TooManyHeld { .. } | Self::CutOff { .. })
    }

    /// Whether a write may have been carried out all the same.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// For services whose error is an `io::Error`: retryable refusals are of the kind `WouldBlock`.
impl From<Refused> for std::io::Error {
    fn from(refused: Refused) -> Self {
        use std::io::ErrorKind::{InvalidInput, Other, WouldBlock};
        let kind = match &refused {
            refused if refused.retryable() => WouldBlock,
            Refused::Unknown { .. } => Other,
            _ => InvalidInput,
        };
        Self::new(kind, refused)
    }
}
