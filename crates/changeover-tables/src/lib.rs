//! SQL tables as the two sides of a migration: what a mapping means, the plan made of it, and the stores that carry
//! it out.
//!
//! What isn't a dialect is written once: [`mapping`] (what the spec says), [`catalog`] (what a database says of its
//! tables), [`plan`] (what follows from both). A dialect is a module with a feature of its own: [`sqlite`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod catalog;
pub mod data;
pub mod database;
pub mod fit;
pub mod guess;
mod installed;
#[cfg(feature = "mysql")]
pub mod mysql;
pub mod plan;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod proposal;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server;
mod shape;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod syntax;
pub mod types;
pub mod words;

pub use changeover::mapping;

pub use self::installed::Installed;
