//! The rules of equivalence: what the spec says may differ between two rows that count as equal.
//!
//! A rule is named in every report with the number of rows that were equal only because of it.

/// One entry of a spec's `rules`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The column of the canonical image (the new side's name).
    pub column: String,
    /// What may differ.
    pub kind: RuleKind,
}

/// What a rule allows.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RuleKind {
    /// Anything: the column isn't compared.
    Ignore,
    /// Timestamps may differ in what lies below this unit: both are rounded to it, half up.
    Round(RoundTo),
    /// Numbers may differ by at most this much.
    Tolerance(f64),
    /// The type doesn't matter where the column takes it as it is: text in an INTEGER column is carried over and
    /// compared as what it is, where without the rule it would be refused by name.
    Carry,
}

/// The unit that timestamps are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundTo {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
}
