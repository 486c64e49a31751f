//! Days, times, timestamps and moments: within the column's bounds, and no finer than it keeps.

use changeover::Value;
use changeover::value::{Date, Instant, Time, Timestamp};

use super::Allowed;
use super::exact::{Made, To, new, same};
use super::why::Why;
use crate::types::{Exact, Span};

/// Digits of a second that the middle form keeps.
const MICROSECONDS: u8 = 6;

pub(super) fn to_date<'v>(value: &'v Value, of: &Exact, min: Date, max: Date) -> Made<'v> {
    let date = match value {
        Value::Date(date) => *date,
        Value::Timestamp(timestamp) => day(*timestamp)?,
        Value::Text(text) => day(Timestamp::parse(text).ok_or_else(|| Why::unreadable(of))?)?,
        Value::Instant(_) => return Err(zone(value, of)),
        _ => return Err(Why::kind(value, of)),
    };
    if !(min..=max).contains(&date) {
        return Err(Why::new(format!("a date before {min} or after {max}")));
    }
    if matches!(value, Value::Date(_)) { same(value) } else { new(Value::Date(date)) }
}

/// The day whose midnight a timestamp is.
fn day(timestamp: Timestamp) -> Result<Date, Why> {
    match timestamp.parts() {
        (date, Time(0)) => Ok(date),
        _ => Err(Why::new("a time other than midnight in a column for dates")),
    }
}

pub(super) fn to_time<'v>(value: &'v Value, to: To<'_>, span: Span) -> Made<'v> {
    let micros = match value {
        Value::Time(time) => time.0,
        // What is before the sign's zero would have to be rounded the other way.
        Value::Text(text) if text.starts_with('-') => {
            Time::parse(text).ok_or_else(|| Why::unreadable(to.of))?.0
        }
        Value::Text(text) => read(text, to, span, |text| Time::parse(text).map(|time| time.0))?,
        _ => return Err(Why::kind(value, to.of)),
    };
    let kept = kept(micros, span, to.allowed, |micros| Time(micros).to_string())?;
    if *value == Value::Time(Time(kept)) { same(value) } else { new(Value::Time(Time(kept))) }
}

pub(super) fn to_timestamp<'v>(value: &'v Value, to: To<'_>, span: Span) -> Made<'v> {
    let micros = match value {
        Value::Timestamp(timestamp) => timestamp.0,
        Value::Date(date) => Timestamp::from_parts(*date, Time(0)).ok_or_else(|| outside(span, shown))?.0,
        Value::Text(text) if Instant::parse(text).is_some() => return Err(zone(value, to.of)),
        Value::Text(text) => read(text, to, span, |text| Timestamp::parse(text).map(|t| t.0))?,
        Value::Instant(_) => return Err(zone(value, to.of)),
        _ => return Err(Why::kind(value, to.of)),
    };
    let kept = kept(micros, span, to.allowed, shown)?;
    let made = Value::Timestamp(Timestamp(kept));
    if *value == made { same(value) } else { new(made) }
}

pub(super) fn to_instant<'v>(value: &'v Value, to: To<'_>, span: Span) -> Made<'v> {
    let micros = match value {
        Value::Instant(instant) => instant.0,
        Value::Text(text) if Timestamp::parse(text).is_some() => return Err(zone(value, to.of)),
        Value::Text(text) => read(text, to, span, |text| Instant::parse(text).map(|t| t.0))?,
        Value::Timestamp(_) | Value::Date(_) => return Err(zone(value, to.of)),
        _ => return Err(Why::kind(value, to.of)),
    };
    let kept = kept(micros, span, to.allowed, |micros| Instant(micros).to_string())?;
    let made = Value::Instant(Instant(kept));
    if *value == made { same(value) } else { new(made) }
}

fn shown(micros: i64) -> String {
    Timestamp(micros).to_string()
}

fn zone(value: &Value, of: &Exact) -> Why {
    let zoned = match value {
        Value::Instant(_) => "a moment",
        Value::Text(_) if matches!(of, Exact::Instant(_)) => "text without a zone",
        Value::Text(_) => "text with a zone",
        _ => "a time without a zone",
    };
    Why::new(format!("{zoned} in a column for {}", of.name())).by("with the zone that its clock shows")
}

fn outside(span: Span, shown: impl Fn(i64) -> String) -> Why {
    Why::new(format!("a time before {} or after {}", shown(span.min), shown(span.max)))
}

/// The time as the column keeps it.
fn kept(micros: i64, span: Span, allowed: &Allowed, shown: impl Fn(i64) -> String) -> Result<i64, Why> {
    let kept = to_digits(micros, span.digits, allowed)?;
    if (span.min..=span.max).contains(&kept) { Ok(kept) } else { Err(outside(span, shown)) }
}

/// A count of microseconds without digits of a second beyond these: rounded, half up, only if the rules say that what is lost
/// doesn't matter.
pub(super) fn to_digits(micros: i64, digits: u8, allowed: &Allowed) -> Result<i64, Why> {
    let unit = 10_i64.pow(u32::from(MICROSECONDS.saturating_sub(digits)));
    let beyond = micros.rem_euclid(unit);
    if beyond == 0 {
        return Ok(micros);
    }
    if !rounds(digits, allowed) {
        return Err(Why::too_fine(digits));
    }
    let up = if 2 * beyond >= unit { unit } else { 0 };
    (micros - beyond).checked_add(up).ok_or_else(|| Why::too_fine(digits))
}

/// Whether the rules let go of what is finer than so many digits of a second.
fn rounds(digits: u8, allowed: &Allowed) -> bool {
    allowed.round.is_some_and(|matters| matters <= digits)
}

/// A time from text; one with digits beyond the microsecond too, if the rules let go of them.
fn read(text: &str, to: To<'_>, span: Span, parse: impl Fn(&str) -> Option<i64>) -> Result<i64, Why> {
    if let Some(micros) = parse(text) {
        return Ok(micros);
    }
    let unreadable = || Why::unreadable(to.of);
    let from = text.find('.').ok_or_else(unreadable)? + 1;
    let digits = text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let micros_end = from + usize::from(MICROSECONDS);
    if digits <= usize::from(MICROSECONDS) {
        return Err(unreadable());
    }
    let cut = format!("{}{}", &text[..micros_end], &text[from + digits..]);
    let micros = parse(&cut).ok_or_else(unreadable)?;
    if !rounds(span.digits, to.allowed) {
        return Err(Why::too_fine(span.digits));
    }
    // Where fewer digits are kept, the next ones, not these, say whether it is rounded up.
    let up = span.digits >= MICROSECONDS && text.as_bytes()[micros_end] >= b'5';
    micros.checked_add(up.into()).ok_or_else(unreadable)
}
