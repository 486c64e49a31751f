//! A table with a column of every type that a kind of database has, filled with the values at the edges of each: what goes to
//! another kind and comes back is what it was, or was refused by name; and a value that is changed afterwards, by as little
//! as its type allows, is found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

#[path = "../support/mod.rs"]
mod support;

mod base;
mod column;
mod journey;
mod of_mariadb;
mod of_postgres;
mod of_sqlite;
