//! Why a value doesn't fit: what is the matter with it, and what can be done about it.

use changeover::Value;

use super::Target;
use crate::types::Exact;

/// A reason, in the form from which both the message with a column's name and the one without are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    /// What is the matter, as *text that is no date in a column for dates*.
    pub(super) what: String,
    /// What can be done, beside mending the row.
    pub(super) remedy: Remedy,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// To convert it.
    Convert,
    /// To convert it, by something that has to be said with it.
    ConvertBy(&'static str),
    /// To let it be rounded to this unit of a second.
    Round(&'static str),
    /// To let a number change a little.
    Tolerance,
}

impl Why {
    /// A reason for which nothing but another value helps.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: Remedy::Convert }
    }

    /// A value of a kind that the column doesn't have, and that nothing leads to it from.
    pub(super) fn kind(value: &Value, to: &Exact) -> Self {
        Self::new(format!("{} in a column for {}", value.type_name(), to.name()))
    }

    /// A text that says nothing of what the column holds.
    pub(super) fn unreadable(to: &Exact) -> Self {
        Self::new(format!("text that can't be read as such in a column for {}", to.name()))
    }

    /// A value that only another zone, another unit or another meaning would make one of the column's.
    pub(super) fn by(mut self, how: &'static str) -> Self {
        self.remedy = Remedy::ConvertBy(how);
        self
    }

    /// Digits of a second that the column doesn't keep.
    pub(super) fn too_fine(digits: u8) -> Self {
        let unit = if digits >= 6 {
            "us"
        } else if digits >= 3 {
            "ms"
        } else {
            "s"
        };
        Self { what: format!("more than {digits} digits of a second"), remedy: Remedy::Round(unit) }
    }

    /// A number with digits that the column doesn't keep.
    pub(super) fn inexact(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: Remedy::Tolerance }
    }

    /// The message; with the column's name and type, where the column is known.
    pub(super) fn text(&self, target: Option<&Target>) -> String {
        let column = target.map_or("…", |target| &target.column);
        let remedy = match self.remedy {
            Remedy::Convert => "mend the row, or convert it by `set`".to_owned(),
            Remedy::ConvertBy(how) => format!("mend the row, or convert it by `set`, {how}"),
            Remedy::Round(unit) => format!(
                "mend the row, convert it by `set`, or let it be rounded with \
                 rules = [{{ column = \"{column}\", round = \"{unit}\" }}]"
            ),
            Remedy::Tolerance => format!(
                "mend the row, convert it by `set`, or let it be rounded with \
                 rules = [{{ column = \"{column}\", tolerance = … }}]"
            ),
        };
        match target {
            Some(Target { column, declared, .. }) if declared.is_empty() => {
                format!("{} ({column} without a type): {remedy}", self.what)
            }
            Some(Target { column, declared, .. }) => format!("{} ({column} {declared}): {remedy}", self.what),
            None => format!("{}: {remedy}", self.what),
        }
    }
}
