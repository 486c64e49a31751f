//! What the parts of a changeover say to each other, at the edges: the spec file that describes a migration
//! ([`spec`]), the messages of the control plane's HTTP API ([`wire`]), and the client that drives a service's
//! switch by it ([`client`]).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod client;
pub mod runfile;
pub mod secret;
pub mod spec;
pub mod wire;

pub use client::{ClientError, Connect, ControlClient, Instance};
pub use runfile::RunFile;
pub use secret::Secret;
pub use spec::Spec;
