//! The protocol of a changeover, as code that can be checked.
//!
//! Everything here is a pure value or a sans-I/O state machine: it takes an event and the time, and gives
//! the next state and the actions to carry out. No I/O, no clock, no threads, no async runtime. The same
//! code runs in the models (`tests/`), under simulated time and faults, and in production.
//!
//! Start with [`step`]: the one table that knows what each step of a migration does. [`target`] is what the
//! control plane tells the fleet, [`control`] the machine that decides it, [`member`] the one that obeys. [`fence`]
//! moves the store's own fence, [`chunk`] and [`claim`] keep the follower in step, [`gate`] says when a phase may be
//! entered, [`moves`] what leaving it means, and [`fault`] names every gap at which a test may stop the process.
//!
//! ```
//! use changeover_protocol::control::Vitals;
//! use changeover_protocol::{Control, ControlAction, ControlEvent, InstanceId, Millis, Phase, Settings, Share};
//!
//! let control = Control::new(Settings::default(), Millis(0));
//! let (id, expected) = (InstanceId::new("web-1"), control.target.version);
//! let control = control.apply(Millis(1), ControlEvent::Register { id: id.clone(), expected })?.next;
//! let to_shadow = ControlEvent::Advance { to: Phase::Shadow, share: Share::ALL };
//! let control = control.apply(Millis(2), to_shadow)?.next;
//!
//! // The new target is published; the backfill begins when every instance has acknowledged it.
//! let version = control.target.version;
//! let acknowledged = ControlEvent::Acknowledge { id, version, vitals: Vitals::default() };
//! let change = control.apply(Millis(3), acknowledged)?;
//! assert!(matches!(change.actions[0], ControlAction::BeginGeneration { .. }));
//! # Ok::<(), changeover_protocol::control::Refusal>(())
//! ```

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
