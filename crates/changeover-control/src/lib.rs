//! The control plane of Changeover: state, the barrier's I/O, evidence, audit, the API, and the run of a migration.
//!
//! It is never on the data path: routing is decided in the instances, from memory. What decides is the protocol's pure
//! machine; this crate carries events to it, stores what it says, and does what it asks. [`Run`] is all of it in one
//! process; [`supervisor`] watches over that process.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests say what they expect by panicking"
    )
)]

mod api;
mod archive;
mod asked;
pub mod barrier;
mod clock;
mod columns;
mod comparison;
mod conductor;
mod connect;
mod copied;
mod error;
mod evidence;
mod files;
mod flag;
pub mod jobs;
mod neighbours;
mod over;
mod place;
mod redaction;
mod rights;
mod run;
mod secret;
mod shares;
pub mod state;
mod status;
pub mod supervisor;
mod verified;

pub use api::wire_error;
pub use archive::{audit_of_file, mismatches_of_file};
pub use asked::{Asked, for_them};
pub use clock::Clock;
pub use comparison::{DifferenceReport, RefusalReport, TableReport};
pub use conductor::{Conductor, Moved, Plan};
pub use connect::links;
pub use error::{ControlError, ErrorClass};
pub use over::over;
pub use place::place_of;
pub use run::{DEFAULT_LISTEN, Farewell, Run, RunOptions};
pub use status::of_file as status_of_file;
