//! The command's migrations between databases of every kind, through the real binary and on real servers, while a service of
//! four clients writes: there and back and there; with processes killed, servers restarted and networks that fail; with rows
//! that don't fit.
//!
//! `CHANGEOVER_SOAK=1` runs the whole matrices; `CHANGEOVER_SEED=1000` with other seeds. Needs the feature `faults`.

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

#[path = "../faults/pool.rs"]
mod pool;
#[path = "../faults/reach.rs"]
mod reach;

mod dual;
mod kill;
mod life;
mod odd;
mod outage;
mod owner;
mod pgbench;
mod refused;
mod several;
mod sources;
mod strain;
mod world;
