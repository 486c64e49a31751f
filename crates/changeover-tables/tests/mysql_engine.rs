//! What MariaDB really does, and whether the store keeps its word there: the snapshots, locks, triggers, partitions, users and
//! counters of a real server, each with an application of its own beside the store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod mysql {
    mod world;

    mod columns;
    mod counters;
    mod fence;
    mod install;
    mod mirror;
    mod restart;
    mod snapshots;
    mod unseen;
    mod writers;
}
