//! What a column of a type holds, with the bounds that its type modifier sets, in the terms of all dialects.

use std::sync::Arc;

use tokio_postgres::types::{Kind, Type};

use super::{Form, time, types};
use crate::types::{Charset, Exact, JsonForm, Span, TextType};

/// The most bytes of a `name`.
const NAME_MAX: u64 = 63;

/// What a column of this type holds, with this type modifier: the column's `atttypmod`, or, if its type is a domain, the
/// `typtypmod` of the innermost one, which the driver doesn't tell; -1 where there is none.
///
/// These bounds are to be asked before a value is sent: the server rounds and cuts what is beyond a modifier, without a word.
pub(in crate::postgres) fn exact(ty: &Type, typmod: i32) -> Exact {
    match ty.kind() {
        Kind::Domain(base) => return exact(base, typmod),
        Kind::Enum(labels) => return Exact::Enum(labels.iter().map(|l| l.as_str().into()).collect()),
        // The modifier is that of the elements.
        Kind::Array(element) if types::is_array(ty) && types::form(ty).is_some() => {
            return Exact::Array(Arc::new(exact(element, typmod)));
        }
        _ => {}
    }
    let modifier = u32::try_from(typmod).ok();
    match types::form(ty) {
        Some(Form::Bool) => Exact::Bool,
        Some(Form::Int2) => Exact::Int { min: i16::MIN.into(), max: i16::MAX.unsigned_abs().into() },
        Some(Form::Int4) => Exact::Int { min: i32::MIN.into(), max: i32::MAX.unsigned_abs().into() },
        Some(Form::Int8) => Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() },
        Some(Form::Oid) => Exact::Int { min: 0, max: u32::MAX.into() },
        Some(Form::Single) => Exact::Single { non_finite: true },
        Some(Form::Real) => Exact::Real { non_finite: true },
        Some(Form::Numeric) => decimal(modifier),
        Some(Form::Text) if ty.name() == "name" => {
            Exact::Text(TextType { max_bytes: Some(NAME_MAX), ..text(None) })
        }
        Some(Form::Text) => Exact::Text(text(modifier)),
        Some(Form::Padded) => Exact::Text(TextType { padded: true, ..text(modifier) }),
        // One character, or a backslash with three digits.
        Some(Form::Char) => {
            Exact::Text(TextType { max_chars: Some(4), charset: Charset::Ascii, ..text(None) })
        }
        Some(Form::Bytes) => Exact::Bytes { max: None, padded: false },
        Some(Form::Date) => Exact::Date { min: time::DATE_MIN, max: time::DATE_MAX },
        Some(Form::Time) => Exact::Time(Span { digits: digits(modifier), min: 0, max: time::TIME_MAX }),
        Some(Form::Timestamp) => Exact::Timestamp(moments(modifier)),
        Some(Form::Instant) => Exact::Instant(moments(modifier)),
        Some(Form::Interval) => Exact::Interval { digits: interval_digits(modifier) },
        Some(Form::Uuid) => Exact::Uuid,
        Some(Form::Json) => Exact::Json(JsonForm::Kept),
        Some(Form::Jsonb) => Exact::Json(JsonForm::Binary),
        Some(Form::Bits) => {
            Exact::Bits { min: modifier.filter(|_| ty.name() == "bit").unwrap_or_default(), max: modifier }
        }
        Some(Form::Array(_) | Form::Opaque(_)) | None => Exact::Other(types::name_unread(ty).into()),
    }
}

/// What precedes a length in a type modifier, for reasons of PostgreSQL's past.
const BEFORE: u32 = 4;

fn text(modifier: Option<u32>) -> TextType {
    TextType {
        max_chars: modifier.and_then(|m| m.checked_sub(BEFORE)),
        max_bytes: None,
        nul: false,
        padded: false,
        charset: Charset::Utf8,
    }
}

fn decimal(modifier: Option<u32>) -> Exact {
    match modifier.and_then(|m| m.checked_sub(BEFORE)) {
        None => Exact::Decimal { precision: None, scale: None },
        Some(m) => {
            // Eleven bits with a sign, from PostgreSQL 15 on; before, scales of up to 1000 and no sign.
            let scale = i32::try_from(m & 0x7ff).unwrap_or_default();
            let scale = if scale >= 0x400 { scale - 0x800 } else { scale };
            Exact::Decimal { precision: Some(m >> 16), scale: Some(scale) }
        }
    }
}

fn digits(modifier: Option<u32>) -> u8 {
    modifier.and_then(|m| u8::try_from(m).ok()).map_or(6, |digits| digits.min(6))
}

/// The last thirty years that PostgreSQL knows are beyond what the middle form counts to.
fn moments(modifier: Option<u32>) -> Span {
    Span { digits: digits(modifier), min: time::TIMESTAMP_MIN, max: i64::MAX }
}

/// The fields of an `interval … to …` are in the upper half of the modifier, a bit for each; all of them for a plain one.
fn interval_digits(modifier: Option<u32>) -> u8 {
    const SECONDS: u32 = 1 << (12 + 16);
    match modifier {
        Some(m) if m & SECONDS == 0 => 0,
        modifier => digits(modifier.map(|m| m & 0xffff)),
    }
}
