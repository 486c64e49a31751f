//! The control plane of Changeover: state, the barrier's I/O, evidence, audit, the API, and the run of a migration.
//!
//! It is never on the data path: routing is decided in the instances, from memory. What decides is the protocol's pure
//! machine; this crate carries events to it, stores what it says, and does what it asks.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect by panicking")
)]

pub mod barrier;
mod clock;
mod conductor;
mod error;
mod fault;
mod files;

mod secret;
pub mod state;
pub mod supervisor;

pub use clock::Clock;
pub use conductor::{Conductor, Moved, Plan};
pub use error::{ControlError, ErrorClass};
