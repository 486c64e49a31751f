//! Text timestamps, rounded: `YYYY-MM-DD`, a `T` or a space, `HH:MM:SS`, a fraction of any length or none, and
//! a zone or none.
//!
//! One database keeps microseconds and another milliseconds; some round and some cut off. The rule rounds both
//! sides half up, on the digits themselves, so that no float and no calendar library decides.

/// A timestamp in parts; the moment as a count of the unit that it was rounded to.
struct Rounded<'a> {
    separator: char,
    units: i128,
    zone: &'a str,
}

/// Whether both are timestamps that are the same once rounded to this many digits of a second. The zone and the
/// separator have to be the same as they stand.
pub(super) fn equal_rounded(a: &str, b: &str, digits: u32) -> bool {
    match (round(a, digits), round(b, digits)) {
        (Some(a), Some(b)) => a.separator == b.separator && a.units == b.units && a.zone == b.zone,
        _ => false,
    }
}

/// The same for two counts of microseconds.
pub(super) fn equal_micros(a: i64, b: i64, digits: u32) -> bool {
    let unit = 10_i64.pow(6_u32.saturating_sub(digits));
    // In two steps, so that no sum can leave the range.
    let rounded = |micros: i64| (micros.div_euclid(unit), 2 * micros.rem_euclid(unit) >= unit);
    let (a, b) = (rounded(a), rounded(b));
    a.0 + i64::from(a.1) == b.0 + i64::from(b.1)
}

fn round(text: &str, digits: u32) -> Option<Rounded<'_>> {
    let bytes = text.as_bytes();
    let at = |place: usize, expected: u8| (bytes.get(place) == Some(&expected)).then_some(());
    let year = number(bytes, 0, 4)?;
    at(4, b'-')?;
    let month = number(bytes, 5, 2).filter(|m| (1..=12).contains(m))?;
    at(7, b'-')?;
    let day = number(bytes, 8, 2).filter(|d| (1..=31).contains(d))?;
    let separator = bytes.get(10).copied().filter(|c| b"Tt ".contains(c))?;
    let hour = number(bytes, 11, 2).filter(|h| *h <= 24)?;
    at(13, b':')?;
    let minute = number(bytes, 14, 2).filter(|m| *m <= 59)?;
    at(16, b':')?;
    // 60: a leap second, which is the first second of the next minute for our purpose.
    let second = number(bytes, 17, 2).filter(|s| *s <= 60)?;
    let (fraction, zone) = fraction(text.get(19..)?)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let units = i128::from(seconds) * 10_i128.pow(digits) + rounded_fraction(fraction, digits as usize);
    Some(Rounded { separator: separator.into(), units, zone: zone_of(zone)? })
}

fn number(bytes: &[u8], from: usize, length: usize) -> Option<i64> {
    let digits = bytes.get(from..from + length)?;
    digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

/// The digits of the fraction, which may be none, and what follows.
fn fraction(rest: &str) -> Option<(&str, &str)> {
    let Some(tail) = rest.strip_prefix('.').or_else(|| rest.strip_prefix(',')) else {
        return Some(("", rest));
    };
    let end = tail.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(tail.len());
    (end > 0).then(|| tail.split_at(end))
}

/// Half up: by the first digit that is cut off.
fn rounded_fraction(fraction: &str, digits: usize) -> i128 {
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |d| i128::from(d - b'0'));
    let kept = (0..digits).fold(0, |n, place| n * 10 + digit(place));
    kept + i128::from(digit(digits) >= 5)
}

/// Nothing, `Z`, `UTC`, or an offset as in `+01`, `+0100`, `+01:00`, with or without a space before it.
fn zone_of(text: &str) -> Option<&str> {
    let zone = text.trim_start_matches(' ');
    let offset = zone.strip_prefix(['+', '-']).is_some_and(|rest| {
        let plain = rest.bytes().filter(|c| *c != b':').all(|c| c.is_ascii_digit());
        plain && (2..=8).contains(&rest.len())
    });
    (zone.is_empty() && text.is_empty() || matches!(zone, "Z" | "z" | "UTC") || offset).then_some(text)
}

/// Days since 1 March of the year 0, in the Gregorian calendar continued backwards: years that begin in March
/// have their leap day last, so it needs no table.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_go_up_and_carry_over_the_year() {
        let ms = |a, b| equal_rounded(a, b, 3);
        assert!(ms("2026-11-21T03:12:09.5005Z", "2026-11-21T03:12:09.501Z"));
        assert!(!ms("2026-11-21T03:12:09.5004999Z", "2026-11-21T03:12:09.501Z"));
        assert!(ms("2026-12-31 23:59:59.9995", "2027-01-01 00:00:00"));
        assert!(ms("2024-02-28 23:59:59.9999", "2024-02-29 00:00:00.000"));
        assert!(equal_rounded("2026-11-21 03:12:09.5", "2026-11-21 03:12:10", 0));
        assert!(equal_rounded("2026-11-21 03:12:09.1234564999", "2026-11-21 03:12:09.123456", 6));
    }

    #[test]
    fn zone_and_separator_are_kept() {
        let ms = |a, b| equal_rounded(a, b, 3);
        assert!(!ms("2026-11-21T03:12:09.5004Z", "2026-11-21T03:12:09.5"));
        assert!(!ms("2026-11-21T03:12:09.5004+01:00", "2026-11-21T03:12:09.5+02:00"));
        assert!(!ms("2026-11-21T03:12:09.5004", "2026-11-21 03:12:09.5"));
        assert!(ms("2026-11-21 03:12:09.5004+01", "2026-11-21 03:12:09.5+01"));
    }

    #[test]
    fn what_is_no_timestamp_is_never_equal_by_rounding() {
        for text in [
            "",
            "2026-11-21",
            "03:12:09.5",
            "2026-13-21 03:12:09",
            "2026-11-21 03:12:09.",
            "2026-11-21 03:12:09 soon",
        ] {
            assert!(!equal_rounded(text, text, 3), "{text}");
        }
    }

    proptest! {
        /// The rule beside plain arithmetic on nanoseconds.
        #[test]
        fn rounding_is_that_of_the_nanoseconds(
            second in 0_u64..60, a in 0_u64..1_000_000_000, near in 0_u64..2_000_000, digits in prop::sample::select(vec![0_u32, 3, 6])
        ) {
            let b = (a + near).min(999_999_999);
            let text = |nanos: u64| format!("2026-11-21 23:59:{second:02}.{nanos:09}");
            let unit = 10_u64.pow(9 - digits);
            let rounded = |nanos: u64| (nanos + unit / 2) / unit;
            prop_assert_eq!(equal_rounded(&text(a), &text(b), digits), rounded(a) == rounded(b));
        }

        #[test]
        fn any_text_is_taken_without_a_panic(a in "\\PC{0,40}", b in "[0-9T :.+Z-]{0,40}") {
            let _ = equal_rounded(&a, &b, 3);
        }
    }
}
