//! The library that a service embeds to move from its old stack to a new one, and the engine that keeps two stores in
//! step.
//!
//! A service holds a [`Migration`] and makes its reads, its writes, and its calls to other services through it. Each
//! operation is given the [`Side`] that the migration's step says; in the mirrored steps reads are made on both sides
//! and compared, and writes reach both. The authority's answer, its error and its latency are the caller's, always.
//!
//! ```
//! use changeover::{Migration, Phase, Refused, Side};
//! # #[derive(Debug, Clone, PartialEq)]
//! # struct Booking { id: i64, state: String }
//! # #[derive(Clone)]
//! # struct Db;
//! # impl Db {
//! #     async fn booking(&self, id: i64) -> Result<Booking, Error> { Ok(Booking { id, state: "ok".into() }) }
//! #     async fn cancel(&self, _: i64) -> Result<(), Error> { Ok(()) }
//! # }
//! # #[derive(Debug)]
//! # enum Error { NotNow(Refused) }
//! # impl From<Refused> for Error { fn from(refused: Refused) -> Self { Self::NotNow(refused) } }
//! struct Service { migration: Migration, old: Db, new: Db }
//!
//! impl Service {
//!     fn db(&self) -> impl Fn(Side) -> Db + Send + Sync + use<> {
//!         let (old, new) = (self.old.clone(), self.new.clone());
//!         move |side| if side == Side::Old { old.clone() } else { new.clone() }
//!     }
//!
//!     async fn booking(&self, id: i64) -> Result<Booking, Error> {
//!         let db = self.db();
//!         let read = self.migration.read("booking.get", ("bookings", id)).input(&id);
//!         read.run(move |side| { let db = db(side); async move { db.booking(id).await } }).await
//!     }
//!
//!     async fn cancel(&self, id: i64) -> Result<(), Error> {
//!         let db = self.db();
//!         let write = self.migration.write("booking.cancel", ("bookings", id));
//!         write.run(move |side| async move { db(side).cancel(id).await }).await
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let migration = Migration::standalone("bookings", Phase::Shadow);
//! let service = Service { migration, old: Db, new: Db };
//! service.cancel(42).await?;
//! assert_eq!(service.booking(42).await?.id, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! * [`Migration`] and its [`Builder`]: what can be declared. How an instance starts and is driven by a control plane is
//!   [`Builder::register`] and [`switch::SwitchHandle`]; without one, [`local::Local`] drives it in the process.
//! * [`read::Read`] and [`write::Write`]: one operation, with its cancellation, its errors and its panics.
//! * [`mirror::Mirror`]: what levels the follower in dual write; [`journal`] for stores without a log of changes.
//! * [`Migration::evidence`] and [`event`]: what was seen.
//! * [`store`]: the contract of a store.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod clock;
pub mod compare;
pub mod engine;
pub mod error;
pub mod event;
pub mod evidence;
pub mod faults;
pub mod journal;
pub mod keyed;
pub mod local;
pub mod mapping;
pub mod metrics;
mod migration;
pub mod mirror;
pub mod read;
mod refused;
mod render;
pub mod rules;
pub mod samples;
pub mod shadow;
pub mod store;
pub mod switch;
pub mod value;
pub mod write;

pub use changeover_protocol as protocol;
pub use changeover_protocol::{Phase, Side, Slot, SlotRange, Step};
pub use error::StoreError;
pub use migration::{Builder, Migration, NoRuntime};
pub use refused::Refused;
pub use value::{Key, Row, TableName, Value};
