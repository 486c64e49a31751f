//! The client of the control plane: [`ControlClient`] for commands, [`Connect`] for services.
//!
//! A service takes part in a migration by a few lines:
//!
//! ```no_run
//! # async fn example() -> Result<(), changeover_api::ClientError> {
//! use changeover_api::Connect;
//!
//! let (bookings, instance) = Connect::to_run("bookings", ".changeover/bookings.run")
//!     .step_file("/var/lib/web/bookings.step")
//!     .start(|builder| builder.errors_are_settled())
//!     .await?;
//! // … bookings.read(…), bookings.write(…), and at the end:
//! instance.stop().await?;
//! # drop(bookings);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here is on the data path: operations are routed by what the switch knows, whether or not anybody answers.

mod connect;
mod control;
mod delta;
mod error;
mod evidence;
mod http;
mod instance;
mod listen;
mod peers;
mod pulse;
mod sse;

pub use self::connect::Connect;
pub use self::control::ControlClient;
pub use self::error::ClientError;
pub use self::instance::{Health, Instance};
pub use self::peers::Source;
