//! Places: the phase a migration is in, with the share of the keys that has got there, and which phases
//! a migration has at all.
//!
//! With a phase left out, the holds stay: the steps of a migration are the step table without the phases
//! that it leaves out, and its moves go between neighbours in *that* table.

use std::fmt;

use crate::slots::{SLOTS, SlotRange};
use crate::step::{Phase, Step};

/// How many of the slots, from 0 up, are in the phase that a move goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Share(u16);

impl Share {
    /// Every slot.
    pub const ALL: Self = Self(SLOTS);
    /// No slot.
    pub const NONE: Self = Self(0);

    /// A share in per cent; `None` outside 0 to 100.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Self> {
        SlotRange::share(percent).map(|range| Self(range.len()))
    }

    /// The share of this many slots, of [`SLOTS`] at most.
    #[must_use]
    pub const fn slots(slots: u16) -> Self {
        Self(if slots > SLOTS { SLOTS } else { slots })
    }

    /// How many slots it is.
    #[must_use]
    pub const fn len(self) -> u16 {
        self.0
    }

    /// Whether it is no slot at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In per cent.
    #[must_use]
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) * 100.0 / f64::from(SLOTS)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A slot is about a tenth of a per cent.
        let hundredths = (self.as_percent() * 100.0).round();
        write!(f, "{} %", hundredths / 100.0)
    }
}

/// Where a migration stands when no move is under way.
///
/// `share` is less than all only in `reverse-shadow`; the other slots are then in `shadow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    /// The phase.
    pub phase: Phase,
    /// The share of the slots that is in it.
    pub share: Share,
}

impl Place {
    /// All slots in this phase.
    #[must_use]
    pub const fn whole(phase: Phase) -> Self {
        Self { phase, share: Share::ALL }
    }

    /// This share of the slots in `reverse-shadow`, the others in `shadow`; with none that is `shadow`.
    #[must_use]
    pub const fn reversed(share: Share) -> Self {
        if share.is_empty() {
            Self::whole(Phase::Shadow)
        } else {
            Self { phase: Phase::ReverseShadow, share }
        }
    }

    /// Whether only a part of the slots is in the phase.
    #[must_use]
    pub const fn is_partial(self) -> bool {
        self.share.len() < SLOTS
    }

    /// The phase that the flag shows: a part of the keys doesn't change what those read who know no keys.
    #[must_use]
    pub const fn phase_shown(self) -> Phase {
        if self.is_partial() { Phase::Shadow } else { self.phase }
    }

    /// The step of one slot here.
    #[must_use]
    pub const fn step(self, slot: crate::slots::Slot) -> Step {
        if slot.number() < self.share.len() { self.phase.step() } else { Step::Shadow }
    }

    /// Whether `self` comes after `other` on the way forward.
    #[must_use]
    pub fn is_past(self, other: Self) -> bool {
        (self.phase, self.share) > (other.phase, other.share)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_partial() { write!(f, "{} for {}", self.phase, self.share) } else { self.phase.fmt(f) }
    }
}

/// The whole of a phase, for those who ask without a share.
impl From<Phase> for Place {
    fn from(phase: Phase) -> Self {
        Self::whole(phase)
    }
}

/// The phases that a migration has: always `old` and `new`; `shadow` and `reverse-shadow` unless left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Phases {
    /// Whether there is `shadow`.
    pub shadow: bool,
    /// Whether there is `reverse-shadow`.
    pub reverse_shadow: bool,
}

impl Phases {
    /// All four.
    pub const ALL: Self = Self { shadow: true, reverse_shadow: true };
    /// The simple path: `old`, and `new` after a copy with writes refused.
    pub const SIMPLE: Self = Self { shadow: false, reverse_shadow: false };

    /// From a list as the spec has it: `None` unless it starts with `old`, ends with `new`, and is in order.
    #[must_use]
    pub fn from_list(list: &[Phase]) -> Option<Self> {
        let found = Self {
            shadow: list.contains(&Phase::Shadow),
            reverse_shadow: list.contains(&Phase::ReverseShadow),
        };
        found.list().eq(list.iter().copied()).then_some(found)
    }

    /// The phases in order, without `retired`, in which every migration may end.
    pub fn list(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(move |&phase| phase != Phase::Retired && self.has(phase))
    }

    /// Whether this phase is one of them (`retired` always is).
    #[must_use]
    pub const fn has(self, phase: Phase) -> bool {
        match phase {
            Phase::Shadow => self.shadow,
            Phase::ReverseShadow => self.reverse_shadow,
            Phase::Old | Phase::New | Phase::Retired => true,
        }
    }

    /// Whether this step is one that this migration goes through: the holds always are.
    #[must_use]
    pub const fn has_step(self, step: Step) -> bool {
        match step {
            Step::Shadow => self.shadow,
            Step::ReverseShadow => self.reverse_shadow,
            Step::Old | Step::HoldOld | Step::HoldNew | Step::New => true,
        }
    }

    /// The phase after this one; none after `retired`.
    #[must_use]
    pub fn after(self, phase: Phase) -> Option<Phase> {
        Phase::ALL.into_iter().find(|&next| next > phase && self.has(next))
    }

    /// The phase before this one; none before `old`, nor on from `retired`, which is never left.
    #[must_use]
    pub fn before(self, phase: Phase) -> Option<Phase> {
        if phase == Phase::Retired {
            return None;
        }
        Phase::ALL.into_iter().rev().find(|&earlier| earlier < phase && self.has(earlier))
    }

    /// The step next to `from` on the way to `to`; `from` itself if it is `to`.
    #[must_use]
    pub fn toward(self, from: Step, to: Step) -> Step {
        let between = |step: &Step| self.has_step(*step);
        if from < to {
            Step::ALL.into_iter().filter(between).find(|&step| step > from).unwrap_or(to)
        } else if from > to {
            Step::ALL.into_iter().rev().filter(between).find(|&step| step < from).unwrap_or(to)
        } else {
            to
        }
    }

    /// Whether two steps may be executed in the fleet at one time: the same, or next to each other.
    #[must_use]
    pub fn are_neighbours(self, a: Step, b: Step) -> bool {
        self.has_step(a) && self.has_step(b) && self.toward(a, b) == b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_in_order_with_both_ends_are_phases() {
        use Phase::{New, Old, Retired, ReverseShadow, Shadow};
        assert_eq!(Phases::from_list(&[Old, Shadow, ReverseShadow, New]), Some(Phases::ALL));
        assert_eq!(Phases::from_list(&[Old, New]), Some(Phases::SIMPLE));
        for wrong in [&[Shadow, New][..], &[Old, Shadow], &[New, Old], &[Old, Old, New], &[Old, New, Retired]]
        {
            assert_eq!(Phases::from_list(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_simple_path_keeps_both_holds() {
        let mut step = Step::Old;
        let mut path = vec![step];
        while step != Step::New {
            step = Phases::SIMPLE.toward(step, Step::New);
            path.push(step);
        }
        assert_eq!(path, [Step::Old, Step::HoldOld, Step::HoldNew, Step::New]);
        assert!(Phases::SIMPLE.are_neighbours(Step::HoldOld, Step::Old));
        assert!(!Phases::ALL.are_neighbours(Step::HoldOld, Step::Old));
    }
}
