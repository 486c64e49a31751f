//! What PostgreSQL really does, and whether the store keeps its word there: the snapshots, locks, triggers, partitions, roles
//! and orders of a real server, each with an application of its own beside the store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod postgres {
    #[allow(dead_code, reason = "the codec's own tests use all of it")]
    #[path = "../../src/postgres/codec/tests/server/edges.rs"]
    mod edges;
    mod world;

    mod columns;
    mod counters;
    mod digest;
    mod fence;
    mod keys;
    mod mirror;
    mod over;
    mod restart;
    mod snapshots;
    mod unread;
    mod unseen;
    mod writers;
}
