//! Every fault point, one after the other: the real binary is killed at it while a service writes, is started again, and
//! completes the migration; both sides hold exactly what the service was told. Errors and pauses are met in-process.
//!
//! `CHANGEOVER_SOAK=1` runs the whole matrix; `CHANGEOVER_SEED=1000` with other seeds. Needs the feature `faults`.

#![allow(unreachable_pub, reason = "modules that several test programs share")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]
#![cfg(feature = "faults")]

#[path = "../live/mod.rs"]
mod live;
#[path = "../support/mod.rs"]
mod support;

mod in_process;
mod kill;
mod late;
mod pool;
mod reach;
mod world;
