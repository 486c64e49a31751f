//! The one engine that keeps two stores in step: sync, the draining of logs, backfill, verification, repair.
//!
//! It knows no database: everything goes through [`Store`](crate::store::Store) and its capabilities. All of it
//! rests on one primitive, [`Links::sync`]: take the keys' guard on the follower, read the authority *now*, and write
//! that state. It carries state and not operations, so it may be repeated, reordered and cut off at will; every
//! part of the engine may be dropped at any await, and what it had begun is done again by whoever comes next.

mod authority;
pub mod backfill;
pub mod drain;
mod dual;
mod marks;
mod order;
mod pair;
pub mod repair;
mod strain;
mod sync;
pub mod verify;

pub use self::authority::Authority;
pub use self::backfill::{Backfill, BackfillHandle, BackfillOptions, BackfillProgress, BackfillReport};
pub use self::drain::{Drain, DrainHandle, DrainOptions, DrainStatus, UnderLock, drain_under_lock};
pub use self::dual::TableMirror;
pub use self::order::{cmp_keys, cmp_values};
pub use self::pair::{Coverage, Link, Links, Pair};
pub use self::repair::{RepairReport, repair};
pub use self::strain::StrainLimits;
pub use self::sync::{Fate, Synced};
pub use self::verify::{
    Difference, DifferenceKind, TableReport, Verification, VerifyCheckpoint, VerifyHandle, VerifyOptions,
    VerifyProgress, VerifyReport,
};
