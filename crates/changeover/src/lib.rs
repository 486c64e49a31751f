//! The library that a service embeds, and the engine that keeps two stores in step.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod error;
pub mod mirror;
pub mod rules;
pub mod store;
pub mod value;

pub use changeover_protocol as protocol;
pub use changeover_protocol::{Phase, Side, Slot, SlotRange, Step};
pub use error::StoreError;
pub use value::{Key, Row, TableName, Value};
