//! MariaDB and MySQL: their catalogue, and their tables as a [`Store`](changeover::store::Store).
//!
//! They are one dialect: what differs is asked of the server, or written in comments that only one of them runs.

mod catalog;
mod codec;
mod database;
mod dialect;
mod errors;
mod exact;
mod infile;
mod install;
mod load;
mod own;
mod session;
mod syntax;

pub use self::database::{MysqlDatabase, MysqlOptions};
