//! PostgreSQL: its catalogue, and its tables as a [`Store`](changeover::store::Store).

mod catalog;
#[allow(dead_code, unused_imports, reason = "the road that passes bytes undecoded is still to come")]
mod codec;
mod database;
mod hashes;
mod install;
mod own;
mod pooler;
mod session;
mod syntax;
mod tls;
mod triggers;
mod url;

pub use self::database::{PostgresDatabase, PostgresOptions};
