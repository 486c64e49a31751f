//! Targets: what the control plane tells the fleet to execute, by version, for each run of slots.
//!
//! A target is the whole truth of one version: an instance that has seen it needs nothing else to route.

use std::fmt;

use crate::place::Phases;
use crate::slots::{SLOTS, Slot, SlotRange};
use crate::step::{Phase, Step};
use crate::time::Millis;

/// The number of a target: each target published has one more than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Version(pub u64);

impl Version {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which way a target moves the fleet. It decides which hold is the second one of its move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Direction {
    /// Towards `new`.
    Forward,
    /// Towards `old`.
    Back,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::Forward => Self::Back,
            Self::Back => Self::Forward,
        }
    }

    /// The hold that a move this way reaches first: the one that still reads from where it comes.
    #[must_use]
    pub const fn first_hold(self) -> Step {
        match self {
            Self::Forward => Step::HoldOld,
            Self::Back => Step::HoldNew,
        }
    }

    /// The hold that a move this way reaches second: the one that reads from where it goes.
    #[must_use]
    pub const fn second_hold(self) -> Step {
        self.turned().first_hold()
    }
}

/// One run of slots, and the step that they execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Assignment {
    /// The slots.
    pub slots: SlotRange,
    /// The step.
    pub step: Step,
}

/// What the fleet is to execute from one version on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Target {
    /// Its number.
    pub version: Version,
    /// The way of the move that it is part of; of the last one, if none is under way.
    pub direction: Direction,
    /// The slots' steps: a partition of all slots, in order. Checked by [`Target::validate`].
    pub assignments: Vec<Assignment>,
    /// What the flag shows: the phase; in a hold, the phase that the move came from.
    pub phase_shown: Phase,
    /// How long a held write may wait, from when the instance saw the first hold. `None`: a hold without a
    /// budget, in which the copy is made; writes are refused at once, retryably.
    pub hold_budget_ms: Option<Millis>,
    /// How long, in a hold, an instance may go on without an answer from the control plane.
    pub hold_lease_ms: Millis,
    /// How long operations begun under earlier versions may still run before they are cut off (only on a way
    /// back, where the side that is left may hang). `None`: as long as they like.
    pub cut_off_ms: Option<Millis>,
}

/// What is wrong with a list of assignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidTarget {
    /// There is none.
    Empty,
    /// A run of slots is empty or ends before it begins.
    EmptyRange(SlotRange),
    /// This slot is in no run, or in two.
    Gap {
        /// The slot at which a run should begin or end.
        expected: u16,
        /// Where it does.
        found: u16,
    },
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a target without a run of slots"),
            Self::EmptyRange(range) => write!(f, "the run of slots {} to {} is empty", range.from, range.to),
            Self::Gap { expected, found } => {
                write!(f, "a run of slots begins or ends at {found} where {expected} was due")
            }
        }
    }
}

impl std::error::Error for InvalidTarget {}

impl Target {
    /// The target that has every slot at one step.
    ///
    /// It has neither a budget for holds nor a cut-off: whoever plans a hold sets them.
    #[must_use]
    pub fn uniform(version: Version, step: Step, phase_shown: Phase, hold_lease_ms: Millis) -> Self {
        Self {
            version,
            direction: Direction::Forward,
            assignments: vec![Assignment { slots: SlotRange::ALL, step }],
            phase_shown,
            hold_budget_ms: None,
            hold_lease_ms,
            cut_off_ms: None,
        }
    }

    /// Whether the assignments are a partition of all slots, in order.
    ///
    /// # Errors
    ///
    /// What the first fault is.
    pub fn validate(&self) -> Result<(), InvalidTarget> {
        if self.assignments.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        let mut expected = 0;
        for Assignment { slots, .. } in &self.assignments {
            if slots.is_empty() {
                return Err(InvalidTarget::EmptyRange(*slots));
            }
            if slots.from != expected {
                return Err(InvalidTarget::Gap { expected, found: slots.from });
            }
            expected = slots.to;
        }
        if expected != SLOTS {
            return Err(InvalidTarget::Gap { expected: SLOTS, found: expected });
        }
        Ok(())
    }

    /// The step of this slot. Costs one comparison where all slots are at one step.
    #[must_use]
    pub fn step(&self, slot: Slot) -> Step {
        let mut step = Step::Old;
        for assignment in &self.assignments {
            step = assignment.step;
            if slot.number() < assignment.slots.to {
                break;
            }
        }
        step
    }

    /// The one step that all slots are at, if there is one: what reads without a key need.
    #[must_use]
    pub fn uniform_step(&self) -> Option<Step> {
        let first = self.assignments.first()?.step;
        self.assignments.iter().all(|a| a.step == first).then_some(first)
    }

    /// The step of operations without a key: while slots differ, the step that reads from the old side, so that
    /// they stay on one side until all of the keys have moved.
    #[must_use]
    pub fn keyless_step(&self) -> Step {
        self.assignments.iter().map(|a| a.step).min().unwrap_or(Step::Old)
    }

    /// Whether any slot is in a hold.
    #[must_use]
    pub fn has_hold(&self) -> bool {
        self.assignments.iter().any(|a| a.step.is_hold())
    }

    /// The second hold of the move that this target is part of.
    #[must_use]
    pub fn is_second_hold(&self, step: Step) -> bool {
        step == self.direction.second_hold()
    }

    /// Whether any slot is in the second hold of the move.
    #[must_use]
    pub fn has_second_hold(&self) -> bool {
        self.assignments.iter().any(|a| self.is_second_hold(a.step))
    }

    /// Whether the fleet may execute both targets at one time: each slot's steps are the same or neighbours.
    #[must_use]
    pub fn is_neighbour_of(&self, other: &Self, phases: Phases) -> bool {
        let edges = self.assignments.iter().chain(&other.assignments).map(|a| Slot::new(a.slots.from));
        edges.into_iter().all(|slot| phases.are_neighbours(self.step(slot), other.step(slot)))
    }
}

/// The assignments that give each slot the step that `step_of` says, as few as there can be.
#[must_use]
pub fn assignments(step_of: impl Fn(Slot) -> Step) -> Vec<Assignment> {
    let mut list: Vec<Assignment> = Vec::new();
    for number in 0..SLOTS {
        let step = step_of(Slot::new(number));
        match list.last_mut() {
            Some(last) if last.step == step => last.slots.to = number + 1,
            _ => list.push(Assignment { slots: SlotRange { from: number, to: number + 1 }, step }),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{Place, Share};
    use proptest::prelude::*;

    fn target(list: Vec<Assignment>) -> Target {
        let mut target = Target::uniform(Version(1), Step::Old, Phase::Old, Millis(500));
        target.assignments = list;
        target
    }

    fn run(from: u16, to: u16) -> Assignment {
        Assignment { slots: SlotRange { from, to }, step: Step::Shadow }
    }

    #[test]
    fn only_a_partition_in_order_is_valid() {
        assert_eq!(target(vec![run(0, 10), run(10, 1024)]).validate(), Ok(()));
        assert_eq!(target(vec![]).validate(), Err(InvalidTarget::Empty));
        assert!(target(vec![run(0, 10), run(11, 1024)]).validate().is_err());
        assert!(target(vec![run(0, 10), run(9, 1024)]).validate().is_err());
        assert!(target(vec![run(0, 10)]).validate().is_err());
        assert!(target(vec![run(0, 0), run(0, 1024)]).validate().is_err());
    }

    proptest! {
        #[test]
        fn assignments_say_what_they_were_made_from(share in 0_u16..=1024) {
            let place = Place::reversed(Share::slots(share));
            let target = target(assignments(|slot| place.step(slot)));
            prop_assert_eq!(target.validate(), Ok(()));
            prop_assert!(target.assignments.len() <= 2);
            for n in 0..SLOTS {
                prop_assert_eq!(target.step(Slot::new(n)), place.step(Slot::new(n)));
            }
        }
    }

    #[test]
    fn neighbours_are_looked_at_slot_by_slot() {
        let at = |n: u16, low: Step| {
            target(assignments(|slot| if slot.number() < n { low } else { Step::Shadow }))
        };
        assert!(at(100, Step::Shadow).is_neighbour_of(&at(100, Step::HoldOld), Phases::ALL));
        assert!(at(100, Step::HoldNew).is_neighbour_of(&at(100, Step::HoldOld), Phases::ALL));
        assert!(at(100, Step::HoldNew).is_neighbour_of(&at(101, Step::HoldOld), Phases::ALL));
        assert!(!at(100, Step::HoldNew).is_neighbour_of(&at(101, Step::HoldNew), Phases::ALL));
    }

    #[test]
    fn reads_without_a_key_stay_on_the_old_side_until_all_keys_have_moved() {
        let place = Place::reversed(Share::slots(1023));
        let target = target(assignments(|slot| place.step(slot)));
        assert_eq!(target.keyless_step(), Step::Shadow);
        assert_eq!(target.uniform_step(), None);
    }
}
