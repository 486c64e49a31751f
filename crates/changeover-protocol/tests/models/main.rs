//! Models of the protocol, searched exhaustively within bounds, over the crate's own machines.
//!
//! Default bounds are for every run of the tests; `CHANGEOVER_MODEL=full` (`cargo xtask model`) takes larger ones.
//! Each search prints how many states it went through (`--nocapture` shows it). Variants that must be broken are made
//! by the harness: it answers falsely, forges acknowledgements, reorders actions, or executes another list of
//! steps. The product has no switch for any of that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a model that can't go on fails; the counts are its output"
)]

mod barrier;
mod chunks;
mod history;
mod parts;
mod search;
mod world;
