//! SQLite: its catalogue, and its tables as a [`Store`](changeover::store::Store).
//!
//! One [`SqliteDatabase`] is one file: a few threads with a connection each, so that nothing here ever blocks the async
//! runtime. Every [`SqliteStore`] on it is one side of one migration.

mod apply;
mod capture;
mod catalog;
mod check;
mod chunks;
mod claims;
mod database;
mod errors;
mod fence;
mod guard;
mod holder;
mod install;
mod links;
mod lock;
mod own;
mod pool;
mod read;
mod scan;
mod scratch;
pub mod sql;
mod store;
mod trial;
mod triggers;
mod unique;
pub(crate) mod value;
mod way_back;
mod writer;

pub use self::links::links;
pub use self::pool::{SqliteDatabase, SqliteOptions};
pub use self::store::SqliteStore;
