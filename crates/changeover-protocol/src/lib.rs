//! The protocol of a changeover, as code that can be checked.
//!
//! Everything here is a pure value or a sans-I/O state machine: it takes an event and the time, and gives
//! the next state and the actions to carry out. No I/O, no clock, no threads, no async runtime. The same
//! code runs in the models (`tests/`), under simulated time and faults, and in production.
//!
//! Start with [`step`]: the one table that knows what each step of a migration does.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod slots;
pub mod step;

pub use slots::{SLOTS, Slot, SlotRange};
pub use step::{Phase, Plan, Side, Step, Writes};
