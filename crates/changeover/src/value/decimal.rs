//! Exact decimal numbers of any size, kept as their digits: no arithmetic is done on them that could round.

use std::cmp::Ordering;
use std::fmt;

/// The most digits before the point, and after it, that a database is known to keep (PostgreSQL's `numeric`).
const WHOLE_MAX: usize = 131_072;
const FRACTION_MAX: usize = 16_383;

/// A decimal number: a sign, digits, and as many of them after the point as were given, zeros included. `1.5` and `1.50`
/// are different values of the same number: [`Decimal::cmp_number`] tells the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Reads `-12.50`, `.5`, `5.` or `1e3`; `None` for anything else, and for what is larger than any database keeps.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        Self::from_digits(negative, &all, scale)
    }

    /// A number from its digits, so many of which are after the point; less than none: zeros follow.
    #[must_use]
    pub fn from_digits(negative: bool, digits: &str, scale: i64) -> Option<Self> {
        let digits = digits.trim_start_matches('0');
        let zero = digits.is_empty();
        let zeros = if zero { 0 } else { usize::try_from((-scale).max(0)).ok()? };
        let scale = usize::try_from(scale.max(0)).ok()?;
        if scale > FRACTION_MAX || digits.len() + zeros > WHOLE_MAX + scale {
            return None;
        }
        let mut text = String::with_capacity(digits.len() + zeros + scale + 3);
        if negative && !zero {
            text.push('-');
        }
        let point = (digits.len() + zeros).checked_sub(scale).filter(|at| *at > 0);
        match point {
            Some(at) if scale == 0 => {
                text.push_str(&digits[..at.min(digits.len())]);
                text.extend(std::iter::repeat_n('0', zeros));
            }
            Some(at) => {
                text.push_str(&digits[..at]);
                text.push('.');
                text.push_str(&digits[at..]);
            }
            None => {
                text.push('0');
                if scale > 0 {
                    text.push('.');
                    text.extend(std::iter::repeat_n('0', scale - digits.len()));
                    text.push_str(digits);
                }
            }
        }
        Some(Self(text.into()))
    }

    /// As text: the one way to write it.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// How many digits are after the point.
    #[must_use]
    pub fn scale(&self) -> usize {
        self.0.split_once('.').map_or(0, |(_, fraction)| fraction.len())
    }

    /// How many digits are before the point; 0 for what is less than 1.
    #[must_use]
    pub fn whole_digits(&self) -> usize {
        let (_, whole, _) = self.parts();
        whole.len()
    }

    /// Whether it is less than 0.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.0.starts_with('-')
    }

    /// The same number with so many digits after the point; `None` if others than zeros would be cut off.
    #[must_use]
    pub fn with_scale(&self, scale: usize) -> Option<Self> {
        let (negative, whole, fraction) = self.parts();
        if scale < fraction.len() && fraction[scale..].bytes().any(|c| c != b'0') {
            return None;
        }
        let mut digits = format!("{whole}{}", &fraction[..scale.min(fraction.len())]);
        digits.extend(std::iter::repeat_n('0', scale.saturating_sub(fraction.len())));
        Self::from_digits(negative, &digits, i64::try_from(scale).ok()?)
    }

    /// The same number without zeros at the end of its fraction.
    #[must_use]
    pub fn shortest(&self) -> Self {
        let (_, _, fraction) = self.parts();
        self.with_scale(fraction.trim_end_matches('0').len()).unwrap_or_else(|| self.clone())
    }

    /// The integer that it is, if it is one and small enough.
    #[must_use]
    pub fn to_integer(&self) -> Option<i128> {
        self.with_scale(0)?.0.parse().ok()
    }

    /// The order of the numbers: `1.5` and `1.50` are the same one.
    #[must_use]
    pub fn cmp_number(&self, other: &Self) -> Ordering {
        let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) =
            (self.parts(), other.parts());
        let (a_fraction, b_fraction) = (a_fraction.trim_end_matches('0'), b_fraction.trim_end_matches('0'));
        let size = a_whole
            .len()
            .cmp(&b_whole.len())
            .then_with(|| a_whole.cmp(b_whole))
            .then_with(|| a_fraction.cmp(b_fraction));
        match (a_negative, b_negative) {
            (false, false) => size,
            (true, true) => size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    /// Its sign, its digits before the point (none for 0) and those after it.
    fn parts(&self) -> (bool, &str, &str) {
        let (negative, rest) = self.0.strip_prefix('-').map_or((false, &*self.0), |rest| (true, rest));
        let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        (negative, if whole == "0" { "" } else { whole }, fraction)
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Self {
        Self(n.to_string().into())
    }
}

impl From<u64> for Decimal {
    fn from(n: u64) -> Self {
        Self(n.to_string().into())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn there_is_one_way_to_write_each() {
        for (text, canonical) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("007", "7"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-00.050", "-0.050"),
            ("1e3", "1000"),
            ("1.5e1", "15"),
            ("1.5e0", "1.5"),
            ("12e-3", "0.012"),
            ("0e5", "0"),
        ] {
            assert_eq!(decimal(text).as_str(), canonical, "{text}");
        }
        for text in ["", "-", ".", "e3", "1e", "1e99999999", "NaN", "Infinity", "1_0", "--1", " 1", "0x1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_scale_is_changed_only_without_loss() {
        assert_eq!(decimal("1.50").with_scale(1).unwrap().as_str(), "1.5");
        assert_eq!(decimal("1.5").with_scale(4).unwrap().as_str(), "1.5000");
        assert_eq!(decimal("1.55").with_scale(1), None);
        assert_eq!(decimal("0.0100").shortest().as_str(), "0.01");
        assert_eq!(decimal("100").shortest().as_str(), "100");
        assert_eq!((decimal("0.05").whole_digits(), decimal("-12.5").whole_digits()), (0, 2));
        assert_eq!(decimal("-170141183460469231731687303715884105728.0").to_integer(), Some(i128::MIN));
        assert_eq!(decimal("1.5").to_integer(), None);
    }

    proptest! {
        #[test]
        fn it_is_the_order_of_the_numbers(a in -5_000_i64..5_000, b in -5_000_i64..5_000, x in 0_usize..4, y in 0_usize..4) {
            // As so many hundredths, and with zeros behind.
            let make = |n: i64, zeros: usize| {
                let negative = n < 0;
                let d = Decimal::from_digits(negative, &n.unsigned_abs().to_string(), 2).unwrap();
                d.with_scale(2 + zeros).unwrap()
            };
            prop_assert_eq!(make(a, x).cmp_number(&make(b, y)), a.cmp(&b));
        }

        #[test]
        fn what_is_written_is_read(text in "-?[0-9]{0,30}(\\.[0-9]{0,20})?") {
            if let Some(d) = Decimal::parse(&text) {
                prop_assert_eq!(Decimal::parse(d.as_str()), Some(d.clone()));
                prop_assert_eq!(d.scale(), text.split_once('.').map_or(0, |(_, f)| f.len()));
                prop_assert_eq!(d.shortest().cmp_number(&d), Ordering::Equal);
            }
        }
    }
}
