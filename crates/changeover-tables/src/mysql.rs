//! MariaDB and MySQL: their catalogue, and their tables as a [`Store`](changeover::store::Store).
//!
//! They are one dialect: what differs is asked of the server, or written in comments that only one of them runs.

mod attend;
mod capturable;
mod capture;
mod catalog;
mod codec;
mod database;
mod dialect;
mod errors;
mod exact;
mod infile;
mod install;
mod load;
mod option_file;
mod own;
mod rights;
mod session;
mod syntax;
mod triggers;
mod url;

pub use self::database::{MysqlDatabase, MysqlOptions};
pub use self::load::Load;
