//! What the suites of faults and of life cycles share: a service that writes all the time with outcomes that are
//! predicted, and the moves of its migration through the real binary.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

pub mod client;
pub mod database;
pub mod drive;
pub mod killed;
pub mod life;
pub mod model;
pub mod operation;
pub mod random;
pub mod shape;
pub mod writer;

pub use database::{Database, Databases, MariaDbTables, PostgresTables, SqliteFile};
pub use drive::{AtWork, Drive, Life};
pub use life::{FULL, lives};
pub use shape::{At, Keys, Kind, Shape, Side};
pub use writer::{Service, Writer};
