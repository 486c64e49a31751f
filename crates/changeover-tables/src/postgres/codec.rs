//! PostgreSQL's values as it sends and takes them in its binary format, to and from the middle form.
//!
//! A field has the same bytes in a statement's parameter, in its result and in a binary `COPY`: all three use this. What a type
//! means is looked up once ([`Codec::of`]); after that each value is one jump away from its reader.

mod array;
mod copy;
mod exact;
mod numeric;
mod scalar;
#[cfg(test)]
pub(in crate::postgres) mod tests;
mod time;
mod types;
mod wire;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use changeover::Value;
use changeover::value::Opaque;
use tokio_postgres::types::IsNull;

pub(super) use self::copy::{BrokenCopy, CopyFrame, CopyWriter};
pub(super) use self::exact::exact;
pub(super) use self::wire::{Param, Raw};

/// Why a value can't be read or written; who says so adds the type.
type Why = Cow<'static, str>;

/// What is to be known of a column's or a parameter's type to read and write its values.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    form: Form,
    name: Arc<str>,
    /// Its values travel in the server's text form: a column is to be read as `column::text`, and written from a text by a
    /// cast. So it is with all that has no binary form, or one that holds the server's own numbers for its types and tables.
    /// The codec is still that of the column's own type, not of the text that a statement then has. What the text is depends
    /// on the session: `DateStyle`, `IntervalStyle`, `TimeZone`, `extra_float_digits`, `bytea_output`, and for names of tables
    /// and types `search_path`, have to be the same on both sides.
    pub(super) as_text: bool,
}

/// How a type's bytes are made.
#[derive(Debug, Clone)]
enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Single,
    Real,
    Numeric,
    Text,
    Padded,
    Char,
    Bytes,
    Date,
    Time,
    Timestamp,
    Instant,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Bits,
    Array(Box<Element>),
    /// Passes unread, as this kind.
    Opaque(Cow<'static, str>),
}

/// What an array is made of.
#[derive(Debug, Clone)]
struct Element {
    /// The number of its type on this server, which each array says again.
    oid: u32,
    codec: Codec,
}

/// A value that the server sent and that isn't what its type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL sent a value of the type {ty} that can't be read: {why}")]
pub(super) struct Undecodable {
    ty: Arc<str>,
    why: Why,
}

/// A value that a column or a parameter of the type can't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't be written as a value of PostgreSQL's type {ty}: {why}")]
pub(super) struct Unencodable {
    what: String,
    ty: Arc<str>,
    why: Why,
}

/// A value as the server sent it; `None`: NULL.
///
/// # Errors
/// Of bytes that the type doesn't have.
pub(super) fn decode(codec: &Codec, raw: Option<&[u8]>) -> Result<Value, Undecodable> {
    match raw {
        None => Ok(Value::Null),
        Some(raw) => read(&codec.form, raw).map_err(|why| codec.undecodable(why)),
    }
}

/// The longest text and the longest bytes whose memory is used again: what is longer is worth an allocation of its own, and
/// would stay allocated for a short one.
const REUSED: usize = 256;

/// [`decode`], in the memory of a value that is no longer needed. After an error that value is anything.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_into(codec: &Codec, raw: Option<&[u8]>, used: &mut Value) -> Result<(), Undecodable> {
    match (&codec.form, raw, &mut *used) {
        (form @ (Form::Text | Form::Padded), Some(raw), Value::Text(text)) if fits(raw, text.capacity()) => {
            let raw = if matches!(form, Form::Padded) { scalar::unpadded(raw) } else { raw };
            if let Ok(read) = std::str::from_utf8(raw) {
                text.clear();
                text.push_str(read);
                return Ok(());
            }
        }
        (Form::Bytes, Some(raw), Value::Bytes(bytes)) if fits(raw, bytes.capacity()) => {
            bytes.clear();
            bytes.extend_from_slice(raw);
            return Ok(());
        }
        _ => {}
    }
    *used = decode(codec, raw)?;
    Ok(())
}

const fn fits(raw: &[u8], capacity: usize) -> bool {
    raw.len() <= REUSED && capacity <= REUSED
}

/// Appends a value's bytes, without their length; after an error there is nothing more than before.
///
/// # Errors
/// If the type doesn't have the value: nothing is rounded, cut or taken for another.
pub(super) fn encode(codec: &Codec, value: &Value, out: &mut BytesMut) -> Result<IsNull, Unencodable> {
    if value.is_null() {
        return Ok(IsNull::Yes);
    }
    let before = out.len();
    match write(&codec.form, value, out) {
        Ok(()) => Ok(IsNull::No),
        Err(why) => {
            out.truncate(before);
            Err(codec.unencodable(value, why))
        }
    }
}

impl Codec {
    /// The type's name, with its schema where that isn't PostgreSQL's own.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn undecodable(&self, why: Why) -> Undecodable {
        Undecodable { ty: Arc::clone(&self.name), why }
    }

    fn unencodable(&self, value: &Value, why: Why) -> Unencodable {
        Unencodable { what: value.type_name().to_owned(), ty: Arc::clone(&self.name), why }
    }
}

fn read(form: &Form, raw: &[u8]) -> Result<Value, Why> {
    Ok(match form {
        Form::Int4 => Value::Int(i32::from_be_bytes(scalar::sized(raw)?).into()),
        Form::Int8 => Value::Int(i64::from_be_bytes(scalar::sized(raw)?)),
        Form::Text => scalar::text(raw),
        Form::Padded => scalar::text(scalar::unpadded(raw)),
        Form::Int2 => Value::Int(i16::from_be_bytes(scalar::sized(raw)?).into()),
        Form::Bool => scalar::bool(raw)?,
        Form::Oid => Value::Int(u32::from_be_bytes(scalar::sized(raw)?).into()),
        Form::Single => Value::Single(f32::from_be_bytes(scalar::sized(raw)?)),
        Form::Real => Value::Real(f64::from_be_bytes(scalar::sized(raw)?)),
        Form::Numeric => numeric::read(raw)?,
        Form::Char => scalar::char(raw)?,
        Form::Bytes => Value::Bytes(raw.to_vec()),
        Form::Date => time::read_date(raw)?,
        Form::Time => time::read_time(raw)?,
        Form::Timestamp => time::read_timestamp(raw)?,
        Form::Instant => time::read_instant(raw)?,
        Form::Interval => time::read_interval(raw)?,
        Form::Uuid => Value::Uuid(scalar::sized(raw)?),
        Form::Json => scalar::json(raw)?,
        Form::Jsonb => scalar::jsonb(raw)?,
        Form::Bits => scalar::bits(raw)?,
        Form::Array(element) => array::read(element, raw)?,
        Form::Opaque(kind) => Value::opaque(kind.clone(), raw.to_vec()),
    })
}

fn write(form: &Form, value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    match (form, value) {
        (Form::Int4, Value::Int(n)) => out.put_i32(scalar::narrow(*n)?),
        (Form::Int8, Value::Int(n)) => out.put_i64(*n),
        (Form::Text | Form::Padded, Value::Text(text)) => scalar::write_text(text, out)?,
        (Form::Int2, Value::Int(n)) => out.put_i16(scalar::narrow(*n)?),
        (Form::Bool, Value::Bool(b)) => out.put_u8(u8::from(*b)),
        (Form::Oid, Value::Int(n)) => out.put_u32(scalar::narrow(*n)?),
        (Form::Int2 | Form::Int4 | Form::Int8 | Form::Oid, Value::Uint(n)) => {
            return Err(scalar::too_large(n));
        }
        (Form::Single, Value::Single(x)) => out.put_f32(*x),
        (Form::Real, Value::Real(x)) => out.put_f64(*x),
        (Form::Numeric, value) => numeric::write(value, out)?,
        (Form::Char, Value::Text(text)) => out.put_u8(scalar::char_byte(text)?),
        (Form::Bytes, Value::Bytes(bytes)) => out.put_slice(bytes),
        (Form::Date, value) => time::write_date(value, out)?,
        (Form::Time, value) => time::write_time(value, out)?,
        (Form::Timestamp, value) => time::write_timestamp(value, out)?,
        (Form::Instant, value) => time::write_instant(value, out)?,
        (Form::Interval, value) => time::write_interval(value, out)?,
        (Form::Uuid, Value::Uuid(uuid)) => out.put_slice(uuid),
        (Form::Json, Value::Json(text)) => scalar::write_text(text, out)?,
        (Form::Jsonb, Value::Json(text)) => {
            out.put_u8(scalar::JSONB_VERSION);
            scalar::write_text(text, out)?;
        }
        (Form::Bits, Value::Bits(bits)) => scalar::write_bits(bits, out)?,
        (Form::Array(element), Value::Array(array)) => array::write(element, array, out)?,
        (form, Value::Opaque(opaque)) => write_opaque(form, opaque, out)?,
        _ => return Err(OTHER_KIND.into()),
    }
    Ok(())
}

const OTHER_KIND: &str = "it is of another kind";

/// What passes unread goes only into what it came from.
fn write_opaque(form: &Form, opaque: &Opaque, out: &mut BytesMut) -> Result<(), Why> {
    let same = match form {
        Form::Opaque(kind) => *kind == opaque.kind,
        Form::Text | Form::Padded => opaque.kind == scalar::BAD_TEXT,
        _ => false,
    };
    if !same {
        return Err(OTHER_KIND.into());
    }
    out.put_slice(&opaque.bytes);
    Ok(())
}
