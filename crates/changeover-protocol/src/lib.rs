//! The protocol of a changeover, as code that can be checked.
//!
//! Everything here is a pure value or a sans-I/O state machine: it takes an event and the time, and gives
//! the next state and the actions to carry out. No I/O, no clock, no threads, no async runtime. The same
//! code runs in the models (`tests/`), under simulated time and faults, and in production.
//!
//! Start with [`step`]: the one table that knows what each step of a migration does. [`target`] is what the
//! control plane tells the fleet, [`control`] the machine that decides it, [`member`] the one that obeys.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests say what they expect by panicking"))]

pub mod chunk;
pub mod claim;
pub mod control;
pub mod fault;
pub mod fence;
pub mod gate;
pub mod member;
pub mod moves;
pub mod place;
pub mod slots;
pub mod step;
pub mod target;
pub mod time;

pub use control::{Change, Control, ControlAction, ControlEvent, Settings};
pub use member::{InstanceId, Member, MemberAction, MemberEvent, MemberSettings, Standing};
pub use place::{Phases, Place, Share};
pub use slots::{SLOTS, Slot, SlotRange};
pub use step::{Phase, Plan, Side, Step, Writes};
pub use target::{Direction, Target, Version};
pub use time::Millis;
