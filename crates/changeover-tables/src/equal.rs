//! Whether two canonical rows are equal under a mapping's rules: what the write to the old side asks before it touches a
//! row. Verification has a comparison of its own, on purpose: it must not share this one's mistakes.

use changeover::rules::{RoundTo, Rule, RuleKind};
use changeover::{Row, Value};

/// For each canonical column, the rules on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Equality {
    rules: Vec<Vec<RuleKind>>,
}

impl Equality {
    pub(crate) fn new(columns: &[String], rules: &[Rule]) -> Self {
        let of = |column: &String| {
            rules.iter().filter(|r| r.column.eq_ignore_ascii_case(column)).map(|r| r.kind.clone()).collect()
        };
        Self { rules: columns.iter().map(of).collect() }
    }

    /// The position of the first column in which the rows differ.
    pub(crate) fn differs_at(&self, a: &Row, b: &Row) -> Option<usize> {
        if a.0.len() != b.0.len() {
            return Some(a.0.len().min(b.0.len()));
        }
        a.0.iter().zip(&b.0).enumerate().find_map(|(at, (a, b))| (!self.same(at, a, b)).then_some(at))
    }

    fn same(&self, at: usize, a: &Value, b: &Value) -> bool {
        a == b || self.rules.get(at).is_some_and(|rules| rules.iter().any(|rule| allows(rule, a, b)))
    }
}

fn allows(rule: &RuleKind, a: &Value, b: &Value) -> bool {
    match rule {
        RuleKind::Ignore => true,
        RuleKind::Tolerance(most) => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= *most,
            _ => false,
        },
        RuleKind::Round(to) => match (instant_us(a), instant_us(b)) {
            (Some(a), Some(b)) => round(a, *to) == round(b, *to),
            _ => false,
        },
        _ => false,
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a tolerance is about nearness; 53 bits of an integer are near enough"
)]
const fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Real(x) => Some(*x),
        _ => None,
    }
}

const fn round(us: i128, to: RoundTo) -> i128 {
    let unit = match to {
        RoundTo::Second => 1_000_000,
        RoundTo::Millisecond => 1_000,
        RoundTo::Microsecond => 1,
    };
    (us + unit / 2).div_euclid(unit)
}

/// The microseconds, to the half, of an ISO timestamp in text (`2026-11-21 10:00:00.123456`, with `T` or a space, with or
/// without an offset), or of a real number of seconds. What has no such form has no rounding.
fn instant_us(value: &Value) -> Option<i128> {
    match value {
        Value::Text(text) => parse_timestamp(text),
        Value::Int(n) => Some(i128::from(*n) * 1_000_000),
        #[allow(clippy::cast_possible_truncation, reason = "checked to be finite and in range")]
        Value::Real(x) if x.is_finite() && x.abs() < 1e15 => Some((x * 1e6).round() as i128),
        _ => None,
    }
}

fn parse_timestamp(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i128> {
        let part = bytes.get(from..to)?;
        part.iter().try_fold(0_i128, |n, b| b.is_ascii_digit().then(|| n * 10 + i128::from(b - b'0')))
    };
    let separator = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|b| allowed.contains(b));
    if !(separator(4, b"-") && separator(7, b"-") && separator(10, b"T ") && separator(13, b":")) {
        return None;
    }
    let days = days_from_civil(digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let mut us = ((days * 24 + digits(11, 13)?) * 60 + digits(14, 16)?) * 60_000_000;
    let mut at = 16;
    if separator(16, b":") {
        us += digits(17, 19)? * 1_000_000;
        at = 19;
    }
    if separator(at, b".") {
        let fraction = bytes.iter().skip(at + 1).take_while(|b| b.is_ascii_digit()).count();
        let kept = fraction.min(6);
        us += digits(at + 1, at + 1 + kept)? * 10_i128.pow(6 - u32::try_from(kept).ok()?);
        if fraction > 6 && bytes.get(at + 7).is_some_and(|b| *b >= b'5') {
            us += 1;
        }
        at += 1 + fraction;
    }
    offset_us(bytes.get(at..)?).map(|offset| us - offset)
}

fn offset_us(rest: &[u8]) -> Option<i128> {
    match rest {
        [] | b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, tail @ ..] => {
            let minutes = match tail {
                [] => [b'0', b'0'],
                [m1, m2] | [b':', m1, m2] => [*m1, *m2],
                _ => return None,
            };
            let all = [*h1, *h2, minutes[0], minutes[1]];
            if !all.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let n = all.map(|b| i128::from(b - b'0'));
            let us = ((n[0] * 10 + n[1]) * 60 + n[2] * 10 + n[3]) * 60_000_000;
            Some(if *sign == b'-' { -us } else { us })
        }
        _ => None,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, after Howard Hinnant's `days_from_civil`.
const fn days_from_civil(year: i128, month: i128, day: i128) -> i128 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equality(kind: RuleKind) -> Equality {
        Equality::new(&["c".to_owned()], &[Rule { column: "c".into(), kind }])
    }

    fn same(kind: RuleKind, a: impl Into<Value>, b: impl Into<Value>) -> bool {
        equality(kind).differs_at(&Row(vec![a.into()]), &Row(vec![b.into()])).is_none()
    }

    #[test]
    fn timestamps_are_equal_when_both_round_to_the_same_unit_half_up() {
        let ms = RuleKind::Round(RoundTo::Millisecond);
        assert!(same(ms.clone(), "2026-11-21 10:00:00.123456", "2026-11-21T10:00:00.123Z"));
        assert!(same(ms.clone(), "2026-11-21 10:00:00.123500", "2026-11-21 10:00:00.124"));
        assert!(!same(ms.clone(), "2026-11-21 10:00:00.123499", "2026-11-21 10:00:00.124"));
        assert!(same(ms.clone(), "2026-11-21 10:00:00+02:00", "2026-11-21 08:00:00"));
        assert!(!same(ms, "yesterday", "today"));
    }

    #[test]
    fn a_day_before_1970_and_a_leap_day_are_where_they_should_be() {
        assert_eq!(parse_timestamp("1969-12-31 23:59:59"), Some(-1_000_000));
        assert_eq!(parse_timestamp("2024-02-29 00:00"), Some(19_782 * 86_400_000_000));
    }

    #[test]
    fn a_tolerance_is_for_numbers_only() {
        assert!(same(RuleKind::Tolerance(0.01), 1.0, 1.005));
        assert!(!same(RuleKind::Tolerance(0.01), 1.0, 1.02));
        assert!(!same(RuleKind::Tolerance(10.0), "1", "2"));
    }

    #[test]
    fn without_a_rule_types_matter() {
        assert!(!same(RuleKind::Carry, 1, "1"));
        assert!(same(RuleKind::Ignore, 1, "1"));
    }
}
