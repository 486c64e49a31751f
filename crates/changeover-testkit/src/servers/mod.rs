//! Real database servers, started for a test and gone with it.
//!
//! Each is a server of its own in a temporary folder: loopback only, on a free port, under an unprivileged account, with
//! settings that make tests fast and keep what is promised about a commit. A supervising shell ends it when the test process
//! is gone, however that ended (`supervisor.rs`).

mod account;
pub mod find;
mod instance;
pub mod mariadb;
pub mod mysql;
pub mod mysql_family;
pub mod pgbench;
pub mod pooler;
pub(crate) mod port;
pub mod postgres;
mod supervisor;
mod template;

pub use mariadb::MariaDb;
pub use mysql::MySql;
pub use mysql_family::MySqlFamily;
pub use pgbench::Pgbench;
pub use pooler::Pooler;
pub use postgres::Postgres;
