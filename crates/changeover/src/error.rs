//! What can go wrong with a store, each with its context and whether trying again may help.

use crate::value::{Key, TableName};

/// An error of a store. A row that can't be carried is no error but a [`Refusal`](crate::store::Refusal).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store can't be reached, or the connection broke. What was under way may or may not have happened.
    #[error("store {store}: out of reach while {doing}: {cause}")]
    Unreachable {
        /// The store's name in the spec.
        store: String,
        /// What was being done.
        doing: String,
        /// The cause, as the driver told it.
        cause: String,
    },
    /// A lock wasn't got in time.
    #[error("store {store}: {what} is locked{}", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    Busy {
        /// The store's name in the spec.
        store: String,
        /// What was to be locked.
        what: String,
        /// Whoever stands in the way, where the store can tell.
        holder: Option<String>,
    },
    /// The store refuses: no rights, read-only, no space, a statement that it doesn't understand.
    #[error("store {store}: refused while {doing}: {cause}. {remedy}")]
    Refused {
        /// The store's name in the spec.
        store: String,
        /// What was being done.
        doing: String,
        /// The cause, as the store told it.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
    /// A table isn't what the plan was made for.
    #[error("store {store}: table {table} {problem}. {remedy}")]
    Schema {
        /// The store's name in the spec.
        store: String,
        /// The mapping's name.
        table: TableName,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A stream of rows ended before its end: never taken for the end of the data.
    #[error("store {store}: the rows of {table} broke off after {rows} rows")]
    BrokenOff {
        /// The store's name in the spec.
        store: String,
        /// The mapping's name.
        table: TableName,
        /// How many rows had come.
        rows: u64,
    },
    /// A condition that was part of the write no longer held: somebody else was there first.
    #[error("store {store}: {what} changed meanwhile: expected {expected}, found {found}")]
    Conflict {
        /// The store's name in the spec.
        store: String,
        /// What was to be changed.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A sync of these keys pulled in further rows without end.
    #[error(
        "the rows that share unique values with {key} are more than {limit}: they can't be synced at once"
    )]
    TooManyConflicts {
        /// The first key of the set.
        key: Key,
        /// The bound.
        limit: usize,
    },
    /// A fault that a test planted.
    #[error("fault planted at {0}")]
    Fault(&'static str),
}

impl StoreError {
    /// Whether the same call may succeed later with nothing else changed.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::BrokenOff { .. } | Self::Fault(_) => true,
            Self::Refused { .. }
            | Self::Schema { .. }
            | Self::Conflict { .. }
            | Self::TooManyConflicts { .. } => false,
        }
    }
}
