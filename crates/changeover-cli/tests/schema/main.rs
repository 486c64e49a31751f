//! What the command says and does about tables of databases of every kind, on real servers: the new table that it proposes
//! and makes, the spec that it writes, what it says of rows before they move, and of rights.

#![allow(unreachable_pub, reason = "modules that several test programs share")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod first;
mod home;
mod probe;
mod proposed;
mod rows;
mod said;
