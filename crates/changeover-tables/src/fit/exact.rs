//! A value in a column of a database that insists on its types.

use std::borrow::Cow;

use changeover::Value;
use changeover::value::parse_uuid;

use super::why::Why;
use super::{Allowed, array, interval, json, number, text, time};
use crate::types::{Exact, JsonForm};

/// Where a value goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'t> {
    /// The kind of database.
    pub(super) engine: &'static str,
    /// What the column holds.
    pub(super) of: &'t Exact,
    /// What the rules allow.
    pub(super) allowed: &'t Allowed,
}

/// What a value becomes: borrowed, where it is that already.
pub(super) type Made<'v> = Result<Cow<'v, Value>, Why>;

/// The value as the column would give it back.
pub(super) fn made<'v>(value: &'v Value, to: To<'_>) -> Made<'v> {
    match (value, to.of) {
        (Value::Null, _) => same(value),
        (Value::Opaque(opaque), of) => {
            if of.holds_unread(to.engine, &opaque.kind) {
                same(value)
            } else {
                Err(Why::new(format!("{} has no place in a column for {}", opaque.kind, of.name())))
            }
        }
        (_, Exact::Bool) => number::to_bool(value, to.of),
        (_, Exact::Int { min, max }) => number::to_int(value, to, *min, *max),
        (_, Exact::Decimal { precision, scale }) => number::to_decimal(value, to, *precision, *scale),
        (_, Exact::Single { non_finite }) => number::to_single(value, to, *non_finite),
        (_, Exact::Real { non_finite }) => number::to_real(value, to, *non_finite),
        (_, Exact::Bits { min, max }) => number::to_bits(value, to.of, *min, *max),
        (_, Exact::Text(text)) => text::to_text(value, to.of, text),
        (_, Exact::Enum(labels)) => text::to_enum(value, to.of, labels),
        (_, Exact::Set(labels)) => text::to_set(value, to.of, labels),
        (_, Exact::Bytes { max, padded }) => to_bytes(value, to.of, *max, *padded),
        (_, Exact::Date { min, max }) => time::to_date(value, to.of, *min, *max),
        (_, Exact::Time(span)) => time::to_time(value, to, *span),
        (_, Exact::Timestamp(span)) => time::to_timestamp(value, to, *span),
        (_, Exact::Instant(span)) => time::to_instant(value, to, *span),
        (_, Exact::Interval { digits }) => interval::to_interval(value, to, *digits),
        (_, Exact::Uuid) => to_uuid(value, to.of),
        (_, Exact::Json(form)) => to_json(value, to.of, *form),
        (_, Exact::Array(of)) => array::to_array(value, to, of),
        (_, Exact::Other(name)) => {
            Err(Why::new(format!("{} in a column of the type {name}", value.type_name())))
        }
    }
}

/// It is that already.
#[allow(clippy::unnecessary_wraps, reason = "the one form of all answers here")]
pub(super) const fn same(value: &Value) -> Made<'_> {
    Ok(Cow::Borrowed(value))
}

/// It becomes another.
#[allow(clippy::unnecessary_wraps, reason = "the one form of all answers here")]
pub(super) const fn new<'v>(value: Value) -> Made<'v> {
    Ok(Cow::Owned(value))
}

fn to_bytes<'v>(value: &'v Value, of: &Exact, max: Option<u64>, padded: bool) -> Made<'v> {
    let bytes: &[u8] = match value {
        Value::Bytes(bytes) => bytes,
        Value::Uuid(uuid) => uuid,
        Value::Text(_) => {
            return Err(Why::kind(value, of).by("with an encoding: none is known for it"));
        }
        _ => return Err(Why::kind(value, of)),
    };
    if let Some(max) = max
        && bytes.len() as u64 > max
    {
        return Err(Why::new(format!("more than {max} bytes")));
    }
    let full = max.filter(|_| padded).and_then(|max| usize::try_from(max).ok()).unwrap_or(bytes.len());
    if matches!(value, Value::Bytes(_)) && bytes.len() == full {
        return same(value);
    }
    let mut filled = bytes.to_vec();
    filled.resize(full, 0);
    new(Value::Bytes(filled))
}

fn to_uuid<'v>(value: &'v Value, of: &Exact) -> Made<'v> {
    match value {
        Value::Uuid(_) => same(value),
        Value::Bytes(bytes) => match <[u8; 16]>::try_from(bytes.as_slice()) {
            Ok(uuid) => new(Value::Uuid(uuid)),
            Err(_) => Err(Why::new("other than 16 bytes in a column for UUIDs")),
        },
        Value::Text(text) => match parse_uuid(text) {
            Some(uuid) => new(Value::Uuid(uuid)),
            None => Err(Why::unreadable(of)),
        },
        _ => Err(Why::kind(value, of)),
    }
}

fn to_json<'v>(value: &'v Value, of: &Exact, form: JsonForm) -> Made<'v> {
    let text = match value {
        // A database keeps as JSON only what is JSON: there is nothing to be looked at.
        Value::Json(_) if form == JsonForm::Kept => return same(value),
        Value::Json(text) => Cow::Borrowed(&**text),
        Value::Text(text) => Cow::Borrowed(text.as_str()),
        Value::Array(list) => Cow::Owned(array::as_json(list)?),
        _ => return Err(Why::kind(value, of)),
    };
    let normal =
        json::normal(&text, form).map_err(|what| Why::new(format!("{what}, in a column for JSON")))?;
    match value {
        Value::Json(text) if **text == *normal => same(value),
        _ => new(Value::Json(normal)),
    }
}
