//! The library that a service embeds, and the engine that keeps two stores in step.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod clock;
pub mod compare;
pub mod error;
pub mod event;
pub mod evidence;
pub mod journal;
pub mod keyed;
pub mod local;
pub mod metrics;
mod migration;
pub mod mirror;
pub mod read;
mod refused;
mod render;
pub mod rules;
pub mod samples;
pub mod shadow;
pub mod store;
pub mod switch;
pub mod value;
pub mod write;

pub use changeover_protocol as protocol;
pub use changeover_protocol::{Phase, Side, Slot, SlotRange, Step};
pub use error::StoreError;
pub use migration::{Builder, Migration, NoRuntime};
pub use refused::Refused;
pub use value::{Key, Row, TableName, Value};
