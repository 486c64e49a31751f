//! The test kit: a store in memory, writers whose outcome is predicted, real database servers, and the suites that every
//! store and every driver of a migration must pass.
//!
//! It is made for tests: it says what it expects by panicking, and it is nobody's dependency but theirs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test kit says what it expects by panicking, in the caller's test"
)]
#![allow(clippy::result_large_err, reason = "a refusal is a value of the contract, and rare")]

pub mod conformance;
pub mod memory;
pub mod random;
pub mod relay;
pub mod servers;
pub mod simulation;

pub use memory::{Collation, Mapping, MemoryStore, MemoryTable};
pub use random::Random;
pub use relay::Relay;
