//! Databases behind a server: what PostgreSQL, MariaDB and MySQL have in common as the sides of a migration.
//!
//! A dialect gives sessions ([`session`]), says how it writes SQL ([`dialect`]), and tells what its tables are; everything that
//! is done with them is written once, here.

mod capture;
mod chunks;
mod claims;
pub(crate) mod database;
pub(crate) mod dialect;
pub(crate) mod digest;
pub(crate) mod fence;
mod guard;
pub(crate) mod install;
mod locate;
mod lock;
pub(crate) mod own;
mod point;
pub(crate) mod pool;
mod probe;
mod questions;
mod read;
pub(crate) mod remove;
mod scan;
pub(crate) mod session;
mod side;
pub(crate) mod store;
mod strain;
pub(crate) mod tls;
mod trial;
mod unread;
pub(crate) mod url;
mod write;
