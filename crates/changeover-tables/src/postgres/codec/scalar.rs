//! The plain types: integers, texts, bytes, JSON, bits.

use bytes::{BufMut as _, BytesMut};
use changeover::Value;
use changeover::value::Bits;

use super::Why;

/// The kind of a text whose bytes aren't UTF-8, as a database without an encoding (`SQL_ASCII`) may hold it.
pub(super) const BAD_TEXT: &str = "postgres: non-UTF-8 text";

/// What a `jsonb` begins with.
pub(super) const JSONB_VERSION: u8 = 1;

/// The bytes, if there are just so many.
pub(super) fn sized<const N: usize>(raw: &[u8]) -> Result<[u8; N], Why> {
    raw.try_into().map_err(|_| wrong_length(raw.len(), N))
}

#[cold]
fn wrong_length(is: usize, should: usize) -> Why {
    format!("it has {is} bytes in place of {should}").into()
}

pub(super) fn bool(raw: &[u8]) -> Result<Value, Why> {
    let [byte] = sized(raw)?;
    Ok(Value::Bool(byte != 0))
}

/// An integer in fewer bits, if it fits.
pub(super) fn narrow<T: TryFrom<i64>>(n: i64) -> Result<T, Why> {
    T::try_from(n).map_err(|_| too_large(&n))
}

#[cold]
pub(super) fn too_large(n: &impl std::fmt::Display) -> Why {
    format!("{n} is out of the type's range").into()
}

pub(super) fn text(raw: &[u8]) -> Value {
    match std::str::from_utf8(raw) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::opaque(BAD_TEXT, raw.to_vec()),
    }
}

/// Without the spaces at its end, which mean nothing in a `char(n)`.
pub(super) fn unpadded(raw: &[u8]) -> &[u8] {
    let end = raw.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &raw[..end]
}

pub(super) fn write_text(text: &str, out: &mut BytesMut) -> Result<(), Why> {
    // The server would end the whole statement, and not say which value it was.
    if text.as_bytes().contains(&0) {
        return Err("PostgreSQL keeps no text with a NUL character in it".into());
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

/// The type `"char"`: one byte, written as the server writes it: nothing for zero, and in octal what is beyond ASCII.
pub(super) fn char(raw: &[u8]) -> Result<Value, Why> {
    let [byte] = sized(raw)?;
    Ok(Value::Text(match byte {
        0 => String::new(),
        1..=0x7f => char::from(byte).to_string(),
        0x80.. => format!("\\{byte:03o}"),
    }))
}

/// The byte of which [`char`] makes this text.
pub(super) fn char_byte(text: &str) -> Result<u8, Why> {
    let octal = |digits: &str| digits.bytes().all(|c| matches!(c, b'0'..=b'7'));
    match text.as_bytes() {
        [] => Some(0),
        [byte @ 1..=0x7f] => Some(*byte),
        [b'\\', _, _, _] if octal(&text[1..]) => {
            u8::from_str_radix(&text[1..], 8).ok().filter(|b| *b >= 0x80)
        }
        _ => None,
    }
    .ok_or_else(|| "it holds a single ASCII character, or a byte such as \\351".into())
}

pub(super) fn json(raw: &[u8]) -> Result<Value, Why> {
    match std::str::from_utf8(raw) {
        Ok(text) => Ok(Value::Json(text.into())),
        Err(_) => Err("it isn't UTF-8".into()),
    }
}

pub(super) fn jsonb(raw: &[u8]) -> Result<Value, Why> {
    match raw.split_first() {
        Some((&JSONB_VERSION, text)) => json(text),
        Some((version, _)) => Err(format!("its format has the unknown version {version}").into()),
        None => Err("it is empty".into()),
    }
}

pub(super) fn bits(raw: &[u8]) -> Result<Value, Why> {
    let broken = || Why::from("its length doesn't match its bytes");
    let (length, bytes) = raw.split_first_chunk::<4>().ok_or_else(broken)?;
    let length = u32::try_from(i32::from_be_bytes(*length)).map_err(|_| broken())?;
    if usize::try_from(length.div_ceil(8)).ok() != Some(bytes.len()) {
        return Err(broken());
    }
    Bits::new(length, bytes).map(|bits| Value::Bits(Box::new(bits))).ok_or_else(broken)
}

pub(super) fn write_bits(bits: &Bits, out: &mut BytesMut) -> Result<(), Why> {
    out.put_i32(i32::try_from(bits.len()).map_err(|_| too_large(&bits.len()))?);
    out.put_slice(bits.bytes());
    Ok(())
}
