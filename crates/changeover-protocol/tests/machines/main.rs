//! The machines, driven event by event: what a user would miss if it were otherwise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod barrier;
mod fence;
mod fleet;
mod member;
mod moves;
mod rollback;
mod rules;
