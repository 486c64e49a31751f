//! The rules of equivalence: what the spec says may differ between two rows that count as equal.
//!
//! A rule is named in every report with the number of rows that were equal only because of it. Rules are asked
//! only where two values differ as they are, so a rule that isn't needed isn't counted.

mod timestamp;

use std::fmt;

use crate::value::{Row, Value};

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
    /// Times and timestamps may differ in what lies below this unit: both are rounded to it, half up. So may text as
    /// in `2026-11-21T03:12:09.5+01:00` or `2026-11-21 03:12:09.512345`; its zone is compared as it stands.
    Round(RoundTo),
    /// Numbers may differ by at most this much. Both are numbers, or both are text that holds a decimal number.
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

impl RoundTo {
    /// How many digits of a second's fraction are left.
    const fn digits(self) -> u32 {
        match self {
            Self::Second => 0,
            Self::Millisecond => 3,
            Self::Microsecond => 6,
        }
    }

    /// As in specs: `s`, `ms`, `us`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Millisecond => "ms",
            Self::Microsecond => "us",
        }
    }
}

/// As a report names it: *seen_at rounded to ms*.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RuleKind::Ignore => write!(f, "{} ignored", self.column),
            RuleKind::Round(unit) => write!(f, "{} rounded to {}", self.column, unit.name()),
            RuleKind::Tolerance(by) => write!(f, "{} within {by}", self.column),
            RuleKind::Carry => write!(f, "{} carried as it is", self.column),
        }
    }
}

/// Two rows of the canonical image, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowComparison {
    /// Every value is the same.
    Equal,
    /// They count as equal only by these rules, as places in [`RowRules::rules`], in rising order.
    EqualByRule(Vec<usize>),
    /// They differ in these columns, as places in the canonical image, whatever the rules allow.
    Differs(Vec<usize>),
}

impl RowComparison {
    /// Whether they count as equal.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        !matches!(self, Self::Differs(_))
    }
}

/// The rules of one mapping, put to its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowRules {
    rules: Vec<Rule>,
    /// For each column, the places of its rules.
    by_column: Vec<Vec<usize>>,
}

/// A rule names a column that the canonical image doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rule is for the column {column}, and the new side has no such column; it has {}", columns.join(", "))]
pub struct UnknownColumn {
    /// The column named.
    pub column: String,
    /// Those that there are.
    pub columns: Vec<String>,
}

impl RowRules {
    /// The rules for rows of these columns.
    ///
    /// # Errors
    /// If a rule's column isn't one of them.
    pub fn new(columns: &[String], rules: Vec<Rule>) -> Result<Self, UnknownColumn> {
        let mut by_column = vec![Vec::new(); columns.len()];
        for (place, rule) in rules.iter().enumerate() {
            let Some(column) = columns.iter().position(|name| *name == rule.column) else {
                return Err(UnknownColumn { column: rule.column.clone(), columns: columns.to_vec() });
            };
            by_column[column].push(place);
        }
        Ok(Self { rules, by_column })
    }

    /// The rules, in the order of the spec.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Compares two rows, the old side's first. Allocates nothing when they are the same.
    #[must_use]
    pub fn compare(&self, old: &Row, new: &Row) -> RowComparison {
        if old.0 == new.0 {
            return RowComparison::Equal;
        }
        let (mut used, mut differs) = (Vec::new(), Vec::new());
        for column in 0..old.0.len().max(new.0.len()) {
            match (old.0.get(column), new.0.get(column)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => match self.allowing(column, a, b) {
                    Some(rule) => used.push(rule),
                    None => differs.push(column),
                },
                _ => differs.push(column),
            }
        }
        if !differs.is_empty() {
            return RowComparison::Differs(differs);
        }
        used.sort_unstable();
        RowComparison::EqualByRule(used)
    }

    /// The first rule of the column that lets these two unlike values count as equal.
    fn allowing(&self, column: usize, a: &Value, b: &Value) -> Option<usize> {
        let places = self.by_column.get(column)?;
        places.iter().copied().find(|&place| self.rules[place].kind.allows(a, b))
    }
}

impl RuleKind {
    fn allows(&self, a: &Value, b: &Value) -> bool {
        match self {
            Self::Ignore => true,
            Self::Round(unit) => match (a, b) {
                (Value::Text(a), Value::Text(b)) => timestamp::equal_rounded(a, b, unit.digits()),
                (Value::Time(a), Value::Time(b)) => timestamp::equal_micros(a.0, b.0, unit.digits()),
                (Value::Timestamp(a), Value::Timestamp(b)) => {
                    timestamp::equal_micros(a.0, b.0, unit.digits())
                }
                (Value::Instant(a), Value::Instant(b)) => timestamp::equal_micros(a.0, b.0, unit.digits()),
                _ => false,
            },
            Self::Tolerance(by) => within(a, b, *by),
            // It allows a type, not a difference.
            Self::Carry => false,
        }
    }
}

fn within(a: &Value, b: &Value, by: f64) -> bool {
    match (a, b) {
        // Exactly: two large integers may differ by less than a float can tell.
        (Value::Int(a), Value::Int(b)) => (a.abs_diff(*b) as f64) <= by,
        (Value::Text(a), Value::Text(b)) => match (decimal(a), decimal(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= by,
            _ => false,
        },
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= by,
            _ => false,
        },
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Uint(n) => Some(*n as f64),
        Value::Single(x) => Some(f64::from(*x)),
        Value::Real(x) => Some(*x),
        Value::Decimal(d) => d.as_str().parse().ok(),
        _ => None,
    }
}

/// Text that is a decimal number and nothing else: no `inf`, no `nan`, which Rust would take.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(kinds: &[(&str, RuleKind)]) -> RowRules {
        let columns = ["id", "seen_at", "price", "etag"].map(str::to_owned);
        let rules =
            kinds.iter().map(|(column, kind)| Rule { column: (*column).to_owned(), kind: kind.clone() });
        RowRules::new(&columns, rules.collect()).unwrap()
    }

    fn row(seen_at: &str, price: impl Into<Value>, etag: &str) -> Row {
        Row(vec![Value::Int(1), seen_at.into(), price.into(), etag.into()])
    }

    #[test]
    fn only_rules_that_were_needed_are_counted() {
        let rules = rules(&[
            ("etag", RuleKind::Ignore),
            ("seen_at", RuleKind::Round(RoundTo::Millisecond)),
            ("price", RuleKind::Tolerance(0.01)),
        ]);
        let a = row("2026-11-21 03:12:09.5004", 1.0, "x");
        assert_eq!(rules.compare(&a, &a), RowComparison::Equal);
        let b = row("2026-11-21 03:12:09.5", 1.0, "y");
        assert_eq!(rules.compare(&a, &b), RowComparison::EqualByRule(vec![0, 1]));
        let c = row("2026-11-21 03:12:09.5", 1.02, "y");
        assert_eq!(rules.compare(&a, &c), RowComparison::Differs(vec![2]));
        assert_eq!(rules.rules()[1].to_string(), "seen_at rounded to ms");
    }

    #[test]
    fn a_rule_for_a_column_that_is_not_there_is_refused() {
        let rule = Rule { column: "sen_at".into(), kind: RuleKind::Ignore };
        let error = RowRules::new(&["id".into(), "seen_at".into()], vec![rule]).unwrap_err();
        assert!(error.to_string().contains("sen_at") && error.to_string().contains("seen_at"), "{error}");
    }

    #[test]
    fn unlike_types_and_lengths_differ_without_a_rule() {
        let rules = rules(&[("price", RuleKind::Carry)]);
        assert_eq!(rules.compare(&row("", 1_i64, ""), &row("", "1", "")), RowComparison::Differs(vec![2]));
        let short = Row(vec![Value::Int(1)]);
        assert_eq!(rules.compare(&row("", 1_i64, ""), &short), RowComparison::Differs(vec![1, 2, 3]));
    }

    #[test]
    fn a_tolerance_is_of_numbers_and_exact_for_integers() {
        let within = |a: Value, b: Value, by| RuleKind::Tolerance(by).allows(&a, &b);
        assert!(within(i64::MAX.into(), (i64::MAX - 1).into(), 1.0));
        assert!(!within(i64::MAX.into(), (i64::MAX - 2).into(), 1.0));
        assert!(within("10.50".into(), "10.5".into(), 0.0));
        assert!(within(Value::Int(2), Value::Real(2.0), 0.0));
        assert!(!within("inf".into(), "inf ".into(), 1.0));
        assert!(!within(Value::Real(f64::NAN), Value::Real(1.0), 1e9));
        assert!(!within(Value::Null, Value::Int(0), 1.0));
        assert!(!within("2".into(), Value::Int(2), 1.0));
    }

    proptest! {
        #[test]
        fn no_rule_tells_apart_what_is_the_same(seen in ".{0,40}", price in any::<f64>(), etag in ".{0,8}") {
            let rules = rules(&[("seen_at", RuleKind::Round(RoundTo::Second)), ("price", RuleKind::Tolerance(0.0))]);
            let a = row(&seen, price, &etag);
            prop_assert_eq!(rules.compare(&a, &a.clone()), RowComparison::Equal);
        }

        #[test]
        fn which_side_comes_first_does_not_matter(
            a in ("[0-9 :.T+-]{0,30}", -1e3..1e3_f64, "[ab]"),
            b in ("[0-9 :.T+-]{0,30}", -1e3..1e3_f64, "[ab]"),
        ) {
            let rules = rules(&[("seen_at", RuleKind::Round(RoundTo::Second)), ("price", RuleKind::Tolerance(500.0))]);
            let (a, b) = (row(&a.0, a.1, &a.2), row(&b.0, b.1, &b.2));
            prop_assert_eq!(rules.compare(&a, &b), rules.compare(&b, &a));
        }
    }
}
