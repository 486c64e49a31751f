//! The step table: the one place that knows what a step does. Everything else looks it up.
//!
//! A person sees and switches *phases*; the fleet executes *steps*. Between the phases that write to both
//! sides lie two short holds, in which the side that is read changes while no write is under way: with
//! one hold, or none, the model finds histories that go back in time (`tests/`).

use std::fmt;
use std::str::FromStr;

/// One of the two stacks of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Side {
    /// The stack that the service comes from.
    Old,
    /// The stack that the service goes to.
    New,
}

impl Side {
    /// The side across from this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }

    /// The name that people and formats use: `old` or `new`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a person sees and switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Phase {
    /// Everything goes to the old side.
    Old,
    /// Reads come from the old side, writes reach both.
    Shadow,
    /// Reads come from the new side, writes reach both.
    ReverseShadow,
    /// Everything goes to the new side.
    New,
    /// The migration is over: what Changeover installed is gone. Executes [`Step::New`], and is never left.
    Retired,
}

impl Phase {
    /// Every phase, in the order in which a migration goes through them.
    pub const ALL: [Self; 5] = [Self::Old, Self::Shadow, Self::ReverseShadow, Self::New, Self::Retired];

    /// The value of the flag: 0 to 3. `retired` shows 3.
    #[must_use]
    pub const fn flag(self) -> u8 {
        match self {
            Self::Old => 0,
            Self::Shadow => 1,
            Self::ReverseShadow => 2,
            Self::New | Self::Retired => 3,
        }
    }

    /// The step that the fleet executes once this phase is reached.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Old => Step::Old,
            Self::Shadow => Step::Shadow,
            Self::ReverseShadow => Step::ReverseShadow,
            Self::New | Self::Retired => Step::New,
        }
    }

    /// The name that people and formats use, as in `reverse-shadow`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Shadow => "shadow",
            Self::ReverseShadow => "reverse-shadow",
            Self::New => "new",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Phase {
    type Err = UnknownName;

    /// Accepts the names, and the flag's values `0` to `3`.
    fn from_str(s: &str) -> Result<Self, UnknownName> {
        match s {
            "old" | "0" => Ok(Self::Old),
            "shadow" | "1" => Ok(Self::Shadow),
            "reverse-shadow" | "2" => Ok(Self::ReverseShadow),
            "new" | "3" => Ok(Self::New),
            "retired" => Ok(Self::Retired),
            _ => Err(UnknownName { what: "phase", given: s.to_owned() }),
        }
    }
}

/// A name that is none of those that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// What was looked for: `phase`, `step`, …
    pub what: &'static str,
    /// What was given.
    pub given: String,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} `{}`", self.what, self.given)
    }
}

impl std::error::Error for UnknownName {}

/// What the fleet executes: the four phases and the two holds between `shadow` and `reverse-shadow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Step {
    /// Reads and writes: old.
    Old,
    /// Reads old, shadow reads new, writes old and mirrors to new.
    Shadow,
    /// Reads old, writes held.
    HoldOld,
    /// Reads new, writes held.
    HoldNew,
    /// Reads new, shadow reads old, writes new and mirrors to old.
    ReverseShadow,
    /// Reads and writes: new.
    New,
}

/// What an operation does under one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The side whose answer the caller gets.
    pub reads: Side,
    /// The side of the shadow call, if one is made.
    pub shadow: Option<Side>,
    /// Where writes go.
    pub writes: Writes,
}

/// Where a write goes under one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writes {
    /// To this side alone.
    To(Side),
    /// To this side first, the authority; the mirror carries it to the other.
    Mirrored(Side),
    /// Nowhere yet: the write waits for the hold to end.
    Held,
}

impl Step {
    /// Every step, in the order of the table. Moves go only between neighbours here, in both directions.
    pub const ALL: [Self; 6] =
        [Self::Old, Self::Shadow, Self::HoldOld, Self::HoldNew, Self::ReverseShadow, Self::New];

    /// The table.
    #[must_use]
    pub const fn plan(self) -> Plan {
        use Side::{New, Old};
        let (reads, shadow, writes) = match self {
            Self::Old => (Old, None, Writes::To(Old)),
            Self::Shadow => (Old, Some(New), Writes::Mirrored(Old)),
            Self::HoldOld => (Old, None, Writes::Held),
            Self::HoldNew => (New, None, Writes::Held),
            Self::ReverseShadow => (New, Some(Old), Writes::Mirrored(New)),
            Self::New => (New, None, Writes::To(New)),
        };
        Plan { reads, shadow, writes }
    }

    /// The side that answers reads now; where writes aren't held, they go there first.
    #[must_use]
    pub const fn authority(self) -> Side {
        self.plan().reads
    }

    /// Whether this is one of the two holds.
    #[must_use]
    pub const fn is_hold(self) -> bool {
        matches!(self, Self::HoldOld | Self::HoldNew)
    }

    /// Whether writes reach both sides.
    #[must_use]
    pub const fn is_mirrored(self) -> bool {
        matches!(self.plan().writes, Writes::Mirrored(_))
    }

    /// The phase that this step belongs to; none for a hold.
    #[must_use]
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Self::Old => Some(Phase::Old),
            Self::Shadow => Some(Phase::Shadow),
            Self::HoldOld | Self::HoldNew => None,
            Self::ReverseShadow => Some(Phase::ReverseShadow),
            Self::New => Some(Phase::New),
        }
    }

    /// The place in the table, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that people and formats use, as in `hold-old`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Shadow => "shadow",
            Self::HoldOld => "hold-old",
            Self::HoldNew => "hold-new",
            Self::ReverseShadow => "reverse-shadow",
            Self::New => "new",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Step {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|step| step.name() == s)
            .ok_or_else(|| UnknownName { what: "step", given: s.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_side_changes_only_between_the_two_holds() {
        for pair in Step::ALL.windows(2) {
            let changes = pair[0].plan().reads != pair[1].plan().reads;
            assert_eq!(changes, pair == [Step::HoldOld, Step::HoldNew], "{pair:?}");
        }
    }

    #[test]
    fn neighbours_never_write_to_different_authorities() {
        for pair in Step::ALL.windows(2) {
            let authority = |step: Step| match step.plan().writes {
                Writes::To(side) | Writes::Mirrored(side) => Some(side),
                Writes::Held => None,
            };
            if let (Some(a), Some(b)) = (authority(pair[0]), authority(pair[1])) {
                assert_eq!(a, b, "{pair:?}");
            }
        }
    }

    #[test]
    fn names_and_flag_values_go_there_and_back() {
        for step in Step::ALL {
            assert_eq!(step.name().parse::<Step>().unwrap(), step);
        }
        for phase in Phase::ALL {
            assert_eq!(phase.name().parse::<Phase>().unwrap(), phase);
            if phase != Phase::Retired {
                assert_eq!(phase.flag().to_string().parse::<Phase>().unwrap(), phase);
                assert_eq!(phase.step().phase(), Some(phase));
            }
        }
        assert!("shadows".parse::<Phase>().is_err());
    }
}
