//! Dates, times, moments and intervals, to the microsecond, and their one way to be written.
//!
//! Days are counted as Howard Hinnant does in *chrono-Compatible Low-Level Date Algorithms* (2021): exact for every year
//! that a database can hold.

use std::fmt;

/// Microseconds of a second, an hour and a day.
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A day: how many days after 1970-01-01 in the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// A time of day in microseconds since midnight, or a length of time: databases call both so, and some let it be negative or
/// longer than a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// A date and a time of day, in microseconds since 1970-01-01 00:00:00 by the same clock, whichever that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A moment, in microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

/// A span of the calendar and the clock. A month has no fixed number of days, nor a day of hours: they are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Date {
    /// The day with this year (0 is the one before 1), month and day of the month; `None` if the calendar has none.
    #[must_use]
    pub fn from_parts(year: i64, month: u32, day: u32) -> Option<Self> {
        let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
        let last = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        if !(1..=last).contains(&day) || year.abs() > 6_000_000 {
            return None;
        }
        let shifted = if month <= 2 { year - 1 } else { year };
        let era = shifted.div_euclid(400);
        let of_era = shifted.rem_euclid(400);
        let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        i32::try_from(days).ok().map(Self)
    }

    /// Its year, month and day of the month.
    #[must_use]
    pub fn parts(self) -> (i64, u32, u32) {
        let days = i64::from(self.0) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + i64::from(month <= 2);
        // Both are small: a month, and a day of one.
        (year, u32::try_from(month).unwrap_or_default(), u32::try_from(day).unwrap_or_default())
    }

    /// Reads `2026-11-22`; a year of more than four digits has its sign, as ISO 8601 wants it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.as_bytes().first()? {
            b'+' => (1, &text[1..]),
            b'-' => (-1, &text[1..]),
            _ => (1, text),
        };
        let mut parts = rest.splitn(3, '-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let signed = rest.len() != text.len();
        if year.len() < 4 || year.len() > 7 || (year.len() > 4 && !signed) {
            return None;
        }
        Self::from_parts(
            sign * number(year)?,
            u32::try_from(two(month)?).ok()?,
            u32::try_from(two(day)?).ok()?,
        )
    }
}

impl Time {
    /// Reads `12:34:56`, `12:34` or `-838:59:59.000001`. Digits beyond the microsecond have to be zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (hours, rest) = rest.split_once(':')?;
        if hours.len() < 2 || hours.len() > 3 {
            return None;
        }
        let micros = number(hours)? * HOUR + minutes_and_seconds(rest)?;
        Some(Self(if negative { -micros } else { micros }))
    }
}

impl Timestamp {
    /// Of a day and a time of that day; `None` if it is too far away.
    #[must_use]
    pub fn from_parts(date: Date, time: Time) -> Option<Self> {
        i64::from(date.0).checked_mul(DAY)?.checked_add(time.0).map(Self)
    }

    /// Its day, and the time of that day.
    #[must_use]
    pub fn parts(self) -> (Date, Time) {
        let days = i32::try_from(self.0.div_euclid(DAY)).unwrap_or(i32::MAX);
        (Date(days), Time(self.0.rem_euclid(DAY)))
    }

    /// Reads `2026-11-22 12:34:56.5`, with a `T` too, or a date alone: its midnight.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((date, time)) = text.split_once([' ', 'T', 't']) else {
            return Self::from_parts(Date::parse(text)?, Time(0));
        };
        let time = Time::parse(time).filter(|time| (0..DAY).contains(&time.0))?;
        Self::from_parts(Date::parse(date)?, time)
    }
}

impl Instant {
    /// Reads `2026-11-22 12:34:56.5Z`, or with an offset such as `+01:00`, `+0100` or `+01` in place of the `Z`. Without
    /// either it is no moment.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(local) = text.strip_suffix(['Z', 'z']) {
            return Some(Self(Timestamp::parse(local)?.0));
        }
        // The date has signs of its own.
        let time_at = text.find(['T', 't', ' '])?;
        let sign_at = text[time_at..].rfind(['+', '-'])? + time_at;
        let (local, offset) = text.split_at(sign_at);
        let digits = &offset[1..];
        let (hours, minutes) = match digits.len() {
            2 => (digits, "00"),
            4 => digits.split_at(2),
            5 => digits.split_once(':')?,
            _ => return None,
        };
        let (hours, minutes) = (two(hours)?, two(minutes).filter(|m| *m < 60)?);
        let offset_micros = (hours * 60 + minutes) * 60 * SECOND;
        let local = Timestamp::parse(local.trim_end())?.0;
        let utc = if offset.starts_with('-') {
            local.checked_add(offset_micros)
        } else {
            local.checked_sub(offset_micros)
        };
        utc.map(Self)
    }
}

fn minutes_and_seconds(text: &str) -> Option<i64> {
    let (minutes, seconds) = text.split_once(':').unwrap_or((text, "00"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let minutes = two(minutes).filter(|m| *m < 60)?;
    let seconds = two(seconds).filter(|s| *s < 60)?;
    let (kept, beyond) = fraction.split_at_checked(6).unwrap_or((fraction, ""));
    if fraction.is_empty() || beyond.bytes().any(|c| c != b'0') {
        return None;
    }
    let fraction = number(kept)? * 10_i64.pow(6 - u32::try_from(kept.len()).ok()?);
    Some((minutes * 60 + seconds) * SECOND + fraction)
}

fn two(text: &str) -> Option<i64> {
    (text.len() == 2).then(|| number(text)).flatten()
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `2026-11-22`; a year beyond four digits, or before the year 0, with its sign.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        match year {
            0..=9999 => write!(f, "{year:04}-{month:02}-{day:02}"),
            10_000.. => write!(f, "+{year}-{month:02}-{day:02}"),
            _ => write!(f, "-{:04}-{month:02}-{day:02}", -year),
        }
    }
}

/// `12:34:56`, with as many digits of a fraction as it needs.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let micros = self.0.unsigned_abs();
        let seconds = micros / 1_000_000;
        write!(f, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
        match micros % 1_000_000 {
            0 => Ok(()),
            fraction => write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0')),
        }
    }
}

/// `2026-11-22 12:34:56.5`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = self.parts();
        write!(f, "{date} {time}")
    }
}

/// `2026-11-22T12:34:56.5Z`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = Timestamp(self.0).parts();
        write!(f, "{date}T{time}Z")
    }
}

/// As ISO 8601 has it, each part with its own sign: `P1Y2M3DT4H5M6.5S`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        let part = |f: &mut fmt::Formatter<'_>, n: i64, unit: char| {
            if n == 0 { Ok(()) } else { write!(f, "{n}{unit}") }
        };
        part(f, i64::from(self.months / 12), 'Y')?;
        part(f, i64::from(self.months % 12), 'M')?;
        part(f, i64::from(self.days), 'D')?;
        if self.micros == 0 {
            return if self.months == 0 && self.days == 0 { f.write_str("T0S") } else { Ok(()) };
        }
        f.write_str("T")?;
        part(f, self.micros / HOUR, 'H')?;
        part(f, self.micros / (60 * SECOND) % 60, 'M')?;
        let rest = self.micros % (60 * SECOND);
        if rest == 0 {
            return Ok(());
        }
        let sign = if rest < 0 { "-" } else { "" };
        let (seconds, fraction) = (rest.abs() / SECOND, rest.abs() % SECOND);
        write!(f, "{sign}{seconds}")?;
        if fraction != 0 {
            write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0'))?;
        }
        f.write_str("S")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days_are_where_they_are() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2026-11-22", 20_779),
            ("0001-01-01", -719_162),
            ("0000-12-31", -719_163),
            ("9999-12-31", 2_932_896),
            ("+12345-06-07", 3_789_548),
        ] {
            assert_eq!(Date::parse(text), Some(Date(days)), "{text}");
            assert_eq!(Date(days).to_string(), text);
        }
        for text in ["2026-02-29", "2026-13-01", "2026-1-1", "26-01-01", "0000-00-00", "12345-06-07", "", "x"]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_may_be_longer_than_a_day_and_never_finer_than_a_microsecond() {
        assert_eq!(Time::parse("12:34:56.5"), Some(Time(45_296_500_000)));
        assert_eq!(Time::parse("-838:59:59").unwrap().to_string(), "-838:59:59");
        assert_eq!(Time::parse("00:00:00.0000010"), Some(Time(1)));
        assert_eq!(Time::parse("00:00:00.0000001"), None);
        assert_eq!(Time::parse("12:60:00"), None);
        assert_eq!(Time::parse("12:34"), Some(Time(45_240_000_000)));
    }

    #[test]
    fn a_moment_needs_a_zone_and_a_timestamp_has_none() {
        let noon = Instant::parse("2026-11-22 12:00:00+02:00").unwrap();
        assert_eq!(noon.to_string(), "2026-11-22T10:00:00Z");
        for same in ["2026-11-22T10:00:00Z", "2026-11-22 10:00:00+00", "2026-11-22 05:30:00-0430"] {
            assert_eq!(Instant::parse(same), Some(noon), "{same}");
        }
        assert_eq!(Instant::parse("2026-11-22 10:00:00"), None);
        assert_eq!(Timestamp::parse("2026-11-22 10:00:00Z"), None);
        assert_eq!(Timestamp::parse("2026-11-22").unwrap().to_string(), "2026-11-22 00:00:00");
        assert_eq!(Timestamp::parse("1969-12-31 23:59:59.999999"), Some(Timestamp(-1)));
        assert_eq!(Timestamp::parse("2026-11-22 24:00:00"), None);
    }

    #[test]
    fn an_interval_keeps_its_parts_apart() {
        let interval = Interval { months: 14, days: -3, micros: -3_723_500_000 };
        assert_eq!(interval.to_string(), "P1Y2M-3DT-1H-2M-3.5S");
        assert_eq!(Interval { months: 0, days: 0, micros: 0 }.to_string(), "PT0S");
    }

    proptest! {
        #[test]
        fn a_day_and_its_parts_are_one(days in -2_000_000_i32..2_000_000_000) {
            let (year, month, day) = Date(days).parts();
            prop_assume!(year.abs() <= 6_000_000);
            prop_assert_eq!(Date::from_parts(year, month, day), Some(Date(days)));
        }

        #[test]
        fn what_is_written_is_read(micros in -300_000_000_000_000_000_i64..300_000_000_000_000_000) {
            prop_assert_eq!(Timestamp::parse(&Timestamp(micros).to_string()), Some(Timestamp(micros)));
            prop_assert_eq!(Instant::parse(&Instant(micros).to_string()), Some(Instant(micros)));
            let time = Time(micros % (999 * HOUR));
            prop_assert_eq!(Time::parse(&time.to_string()), Some(time));
        }
    }
}
