//! Dates, times, moments and intervals.
//!
//! PostgreSQL counts from 2000-01-01, the middle form from 1970-01-01; both in days or microseconds. Two numbers at each end
//! of its range mean the infinities, and the last thirty years that it knows are beyond what the middle form counts to: these
//! pass unread.

use bytes::{BufMut as _, BytesMut};
use changeover::Value;
use changeover::value::{Date, Instant, Interval, Opaque, Time, Timestamp};

use super::scalar::{sized, too_large};
use super::{OTHER_KIND, Why};

const INFINITE_DATE: &str = "postgres: infinite date";
const INFINITE_INTERVAL: &str = "postgres: infinite interval";

/// The kinds of what a timestamp and a moment can be beside the middle form's.
struct Beyond {
    infinite: &'static str,
    far: &'static str,
}

const TIMESTAMP: Beyond = Beyond { infinite: "postgres: infinite timestamp", far: "postgres: far timestamp" };
const INSTANT: Beyond = Beyond { infinite: "postgres: infinite instant", far: "postgres: far instant" };

const INFINITY: &[u8] = b"infinity";
const MINUS_INFINITY: &[u8] = b"-infinity";

/// From 1970-01-01 to 2000-01-01.
const DAYS: i64 = 10_957;
const MICROS: i64 = DAYS * DAY;

const DAY: i64 = 86_400_000_000;

/// The first and the last day that PostgreSQL has: those of the Julian days 0 and of the year 5874897.
pub(super) const DATE_MIN: Date = Date(-2_440_588);
pub(super) const DATE_MAX: Date = Date(2_145_042_905);

/// The first timestamp that it has, in the middle form's microseconds; the last is beyond what these count to.
pub(super) const TIMESTAMP_MIN: i64 = DATE_MIN.0 as i64 * DAY;
/// The last, counted from 2000-01-01.
const RAW_TIMESTAMP_MAX: i64 = 9_223_371_331_199_999_999;

/// The last time of day.
pub(super) const TIME_MAX: i64 = DAY;

pub(super) fn read_date(raw: &[u8]) -> Result<Value, Why> {
    Ok(match i32::from_be_bytes(sized(raw)?) {
        i32::MAX => Value::opaque(INFINITE_DATE, INFINITY.to_vec()),
        i32::MIN => Value::opaque(INFINITE_DATE, MINUS_INFINITY.to_vec()),
        days => Value::Date(Date(i32::try_from(i64::from(days) + DAYS).map_err(|_| too_large(&days))?)),
    })
}

pub(super) fn write_date(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    let days = match value {
        Value::Date(date) if (DATE_MIN..=DATE_MAX).contains(date) => {
            i32::try_from(i64::from(date.0) - DAYS).map_err(|_| too_large(date))?
        }
        Value::Date(date) => return Err(too_large(date)),
        Value::Opaque(o) => match infinity(o, INFINITE_DATE)? {
            true => i32::MAX,
            false => i32::MIN,
        },
        _ => return Err(OTHER_KIND.into()),
    };
    out.put_i32(days);
    Ok(())
}

pub(super) fn read_time(raw: &[u8]) -> Result<Value, Why> {
    Ok(Value::Time(Time(i64::from_be_bytes(sized(raw)?))))
}

pub(super) fn write_time(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    match value {
        Value::Time(Time(micros @ 0..=TIME_MAX)) => out.put_i64(*micros),
        Value::Time(time) => return Err(too_large(time)),
        _ => return Err(OTHER_KIND.into()),
    }
    Ok(())
}

pub(super) fn read_timestamp(raw: &[u8]) -> Result<Value, Why> {
    Ok(match counted(i64::from_be_bytes(sized(raw)?), &TIMESTAMP) {
        Ok(micros) => Value::Timestamp(Timestamp(micros)),
        Err(beyond) => beyond,
    })
}

pub(super) fn read_instant(raw: &[u8]) -> Result<Value, Why> {
    Ok(match counted(i64::from_be_bytes(sized(raw)?), &INSTANT) {
        Ok(micros) => Value::Instant(Instant(micros)),
        Err(beyond) => beyond,
    })
}

pub(super) fn write_timestamp(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    out.put_i64(match value {
        Value::Timestamp(t) => raw(t.0)?,
        Value::Opaque(o) => raw_beyond(o, &TIMESTAMP)?,
        _ => return Err(OTHER_KIND.into()),
    });
    Ok(())
}

pub(super) fn write_instant(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    out.put_i64(match value {
        Value::Instant(t) => raw(t.0)?,
        Value::Opaque(o) => raw_beyond(o, &INSTANT)?,
        _ => return Err(OTHER_KIND.into()),
    });
    Ok(())
}

/// Microseconds since 1970, or what passes unread.
fn counted(raw: i64, kinds: &Beyond) -> Result<i64, Value> {
    match raw {
        i64::MAX => Err(Value::opaque(kinds.infinite, INFINITY.to_vec())),
        i64::MIN => Err(Value::opaque(kinds.infinite, MINUS_INFINITY.to_vec())),
        raw => raw.checked_add(MICROS).ok_or_else(|| {
            let (date, time) = Timestamp(raw).parts();
            let date = Date(date.0.saturating_add(i32::try_from(DAYS).unwrap_or_default()));
            Value::opaque(kinds.far, format!("{date} {time}").into_bytes())
        }),
    }
}

fn raw(micros: i64) -> Result<i64, Why> {
    if micros < TIMESTAMP_MIN {
        return Err(too_large(&Timestamp(micros)));
    }
    micros.checked_sub(MICROS).ok_or_else(|| too_large(&Timestamp(micros)))
}

fn raw_beyond(opaque: &Opaque, kinds: &Beyond) -> Result<i64, Why> {
    if opaque.kind != kinds.far {
        return Ok(if infinity(opaque, kinds.infinite)? { i64::MAX } else { i64::MIN });
    }
    let far = || {
        let (date, time) = std::str::from_utf8(&opaque.bytes).ok()?.split_once(' ')?;
        let days = i64::from(Date::parse(date)?.0) - DAYS;
        let raw = days.checked_mul(DAY)?.checked_add(Time::parse(time)?.0)?;
        // Nearer ones have a place in the middle form, and are no such value.
        (i64::MAX - MICROS..=RAW_TIMESTAMP_MAX).contains(&raw).then_some(raw)
    };
    far().ok_or_else(|| OTHER_KIND.into())
}

/// Which of the two it is: whether the later.
fn infinity(opaque: &Opaque, kind: &'static str) -> Result<bool, Why> {
    match opaque.bytes.as_slice() {
        INFINITY if opaque.kind == kind => Ok(true),
        MINUS_INFINITY if opaque.kind == kind => Ok(false),
        _ => Err(OTHER_KIND.into()),
    }
}

/// All parts at the same end: infinite, from PostgreSQL 17 on. Before, it was a span that nobody had; it goes back there as it
/// came.
const LONGEST: Interval = Interval { months: i32::MAX, days: i32::MAX, micros: i64::MAX };
const SHORTEST: Interval = Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN };

pub(super) fn read_interval(raw: &[u8]) -> Result<Value, Why> {
    let raw: [u8; 16] = sized(raw)?;
    let (micros, rest) = raw.split_at(8);
    let (days, months) = rest.split_at(4);
    let interval = Interval {
        months: i32::from_be_bytes(sized(months)?),
        days: i32::from_be_bytes(sized(days)?),
        micros: i64::from_be_bytes(sized(micros)?),
    };
    Ok(match interval {
        LONGEST => Value::opaque(INFINITE_INTERVAL, INFINITY.to_vec()),
        SHORTEST => Value::opaque(INFINITE_INTERVAL, MINUS_INFINITY.to_vec()),
        interval => Value::Interval(interval),
    })
}

pub(super) fn write_interval(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    let interval = match value {
        Value::Interval(interval) if *interval == LONGEST || *interval == SHORTEST => {
            return Err("PostgreSQL takes it for an infinite one".into());
        }
        Value::Interval(interval) => *interval,
        Value::Opaque(o) => match infinity(o, INFINITE_INTERVAL)? {
            true => LONGEST,
            false => SHORTEST,
        },
        _ => return Err(OTHER_KIND.into()),
    };
    out.put_i64(interval.micros);
    out.put_i32(interval.days);
    out.put_i32(interval.months);
    Ok(())
}
