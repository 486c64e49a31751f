//! Intervals, and how the middle form's text of one is read.

use changeover::Value;
use changeover::value::Interval;

use super::exact::{Made, To, new, same};
use super::time::to_digits;
use super::why::Why;

pub(super) fn to_interval<'v>(value: &'v Value, to: To<'_>, digits: u8) -> Made<'v> {
    let interval = match value {
        Value::Interval(interval) => *interval,
        Value::Text(text) => parse(text).ok_or_else(|| Why::unreadable(to.of))?,
        _ => return Err(Why::kind(value, to.of)),
    };
    let made =
        Value::Interval(Interval { micros: to_digits(interval.micros, digits, to.allowed)?, ..interval });
    if *value == made { same(value) } else { new(made) }
}

/// Reads ISO 8601's form, each part with its own sign: `P1Y2M3DT4H5M6.5S`. Weeks aren't read, nor a part twice.
fn parse(text: &str) -> Option<Interval> {
    let (calendar, clock) = match text.strip_prefix('P')?.split_once('T') {
        Some((calendar, clock)) => (calendar, Some(clock)),
        None => (text.strip_prefix('P')?, None),
    };
    if clock.is_some_and(str::is_empty) || (clock.is_none() && calendar.is_empty()) {
        return None;
    }
    let [years, months, days] = parts(calendar, ['Y', 'M', 'D'])?;
    let [hours, minutes, seconds] = parts(clock.unwrap_or_default(), ['H', 'M', 'S'])?;
    let months = i128::from(whole(years)?) * 12 + i128::from(whole(months)?);
    let micros = (i128::from(whole(hours)?) * 60 + i128::from(whole(minutes)?)) * 60_000_000;
    Some(Interval {
        months: i32::try_from(months).ok()?,
        days: i32::try_from(whole(days)?).ok()?,
        micros: i64::try_from(micros + i128::from(fraction(seconds)?)).ok()?,
    })
}

/// The numbers before these units, in their order; empty where one is left out.
fn parts<const N: usize>(mut text: &str, units: [char; N]) -> Option<[&str; N]> {
    let mut found = [""; N];
    for (unit, part) in units.into_iter().zip(&mut found) {
        if let Some((number, rest)) = text.split_once(unit) {
            if number.is_empty() {
                return None;
            }
            (*part, text) = (number, rest);
        }
    }
    text.is_empty().then_some(found)
}

/// An integer; 0 for a part that is left out.
fn whole(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let sound = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

/// Seconds in microseconds.
fn fraction(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let sound = !seconds.is_empty()
        && (1..=6).contains(&fraction.len())
        && fraction.bytes().all(|c| c.is_ascii_digit());
    let micros: i64 = sound.then(|| format!("{fraction:0<6}").parse().ok()).flatten()?;
    let micros = if text.starts_with('-') { -micros } else { micros };
    whole(seconds)?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_form_is_read() {
        let read = |text| parse(text).map(|i| (i.months, i.days, i.micros));
        assert_eq!(read("P1Y2M-3DT-1H-2M-3.5S"), Some((14, -3, -3_723_500_000)));
        assert_eq!(read("PT0S"), Some((0, 0, 0)));
        assert_eq!(read("PT-0.5S"), Some((0, 0, -500_000)));
        assert_eq!(read("P14M"), Some((14, 0, 0)));
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "P1DT",
            "1D",
            "P1W",
            "P1M1Y",
            "P1Y1Y",
            "PD",
            "P1.5D",
            "PT1.S",
            "PT.5S",
            "PT1.0000001S",
            "P+1D",
            "P1DT1D",
            "P99999999999Y",
            "PT1S ",
            "P--1D",
            "PT9223372036855S",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(months in any::<i32>(), days in any::<i32>(), micros in any::<i64>()) {
            let interval = Interval { months, days, micros };
            prop_assert_eq!(parse(&interval.to_string()), Some(interval));
        }
    }
}
