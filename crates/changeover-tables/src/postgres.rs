//! PostgreSQL: its catalogue, and its tables as a [`Store`](changeover::store::Store).

mod catalog;
mod codec;
mod database;
mod hashes;
mod install;
mod merge;
mod own;
mod pooler;
mod session;
mod syntax;
mod tls;
mod triggers;
mod unread;
mod url;

pub use self::database::{PostgresDatabase, PostgresOptions};
