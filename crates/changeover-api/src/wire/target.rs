//! A target as it goes over the wire: what the fleet is to execute from one version on.

use changeover::protocol::target::{self as protocol, Direction, InvalidTarget, Version};
use changeover::protocol::{Millis, SlotRange};
use changeover::{Phase, Step};
use serde::{Deserialize, Serialize};

/// What the fleet is to execute. See [`changeover::protocol::target::Target`], of which it is the wire's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number: each target has one more than the one before.
    pub version: u64,
    /// The way of the move that it is part of: `forward` or `back`.
    pub direction: Direction,
    /// The steps of the slots: in order, and every slot of the 1,024 in exactly one run.
    pub assignments: Vec<Assignment>,
    /// The phase that the flag shows.
    pub phase_shown: Phase,
    /// How long a held write may wait, in milliseconds; without it held writes are refused at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_budget_ms: Option<u64>,
    /// How long an instance may go on in a hold without an answer, in milliseconds.
    pub hold_lease_ms: u64,
    /// After how long operations of earlier versions are cut off, in milliseconds; without it never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off_ms: Option<u64>,
}

/// A run of slots, and the step that they execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The first slot.
    pub from: u16,
    /// The slot after the last: at most 1,024.
    pub to: u16,
    /// The step.
    pub step: Step,
}

impl From<&protocol::Target> for Target {
    fn from(target: &protocol::Target) -> Self {
        let assignment =
            |a: &protocol::Assignment| Assignment { from: a.slots.from, to: a.slots.to, step: a.step };
        Self {
            version: target.version.0,
            direction: target.direction,
            assignments: target.assignments.iter().map(assignment).collect(),
            phase_shown: target.phase_shown,
            hold_budget_ms: target.hold_budget_ms.map(|ms| ms.0),
            hold_lease_ms: target.hold_lease_ms.0,
            cut_off_ms: target.cut_off_ms.map(|ms| ms.0),
        }
    }
}

/// What came over the wire is checked: nobody routes by a target with a hole.
impl TryFrom<Target> for protocol::Target {
    type Error = InvalidTarget;

    fn try_from(target: Target) -> Result<Self, InvalidTarget> {
        let assignment = |a: Assignment| protocol::Assignment {
            slots: SlotRange { from: a.from, to: a.to },
            step: a.step,
        };
        let target = Self {
            version: Version(target.version),
            direction: target.direction,
            assignments: target.assignments.into_iter().map(assignment).collect(),
            phase_shown: target.phase_shown,
            hold_budget_ms: target.hold_budget_ms.map(Millis),
            hold_lease_ms: Millis(target.hold_lease_ms),
            cut_off_ms: target.cut_off_ms.map(Millis),
        };
        target.validate().map(|()| target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_target() -> impl Strategy<Value = protocol::Target> {
        let steps = prop::sample::select(&Step::ALL[..]);
        let phases = prop::sample::select(&Phase::ALL[..]);
        let millis = any::<u64>().prop_map(Millis);
        let directions = prop_oneof![Just(Direction::Forward), Just(Direction::Back)];
        let cut = (0_u16..=1024, steps.clone(), steps);
        let times = (prop::option::of(millis.clone()), millis.clone(), prop::option::of(millis));
        (any::<u64>(), directions, cut, phases, times).prop_map(
            |(version, direction, (at, low, high), phase_shown, (budget, lease, cut_off))| protocol::Target {
                version: Version(version),
                direction,
                assignments: protocol::assignments(|slot| if slot.number() < at { low } else { high }),
                phase_shown,
                hold_budget_ms: budget,
                hold_lease_ms: lease,
                cut_off_ms: cut_off,
            },
        )
    }

    proptest! {
        #[test]
        fn a_target_goes_over_the_wire_and_comes_back(target in a_target()) {
            let text = serde_json::to_string(&Target::from(&target)).unwrap();
            let back: Target = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(protocol::Target::try_from(back), Ok(target));
        }
    }

    #[test]
    fn the_form_on_the_wire_stays_as_it_is() {
        let target =
            protocol::Target::uniform(Version(7), Step::ReverseShadow, Phase::ReverseShadow, Millis(500));
        let text = serde_json::to_string(&Target::from(&target)).unwrap();
        assert_eq!(
            text,
            r#"{"version":7,"direction":"forward","assignments":[{"from":0,"to":1024,"step":"reverse-shadow"}],"phase_shown":"reverse-shadow","hold_lease_ms":500}"#
        );
    }

    #[test]
    fn a_target_with_a_hole_is_refused() {
        let text = r#"{"version":1,"direction":"back","assignments":[{"from":0,"to":9,"step":"old"}],
                       "phase_shown":"old","hold_lease_ms":500,"of_next_year":true}"#;
        let target: Target = serde_json::from_str(text).unwrap();
        assert!(protocol::Target::try_from(target).is_err());
    }
}
