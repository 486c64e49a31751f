//! Values as text: the one way to write each, and how a person is shown one.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::{Array, Bits, Value};

/// How many characters of a long value are shown.
const SHOWN: usize = 200;

impl Value {
    /// The one way to write a value as text, in no database's dialect; `None` for NULL, bytes, and what passes unread.
    /// Integers and decimals in decimal digits, floats in the fewest digits that read back as the same, booleans as `true`
    /// and `false`, dates and times as ISO 8601, arrays as JSON, sets by their labels with commas between.
    #[must_use]
    pub fn plain(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null | Self::Bytes(_) | Self::Opaque(_) => return None,
            Self::Bool(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
            Self::Int(n) => Cow::Owned(n.to_string()),
            Self::Uint(n) => Cow::Owned(n.to_string()),
            Self::Decimal(d) => Cow::Borrowed(d.as_str()),
            Self::Single(x) => Cow::Owned(format!("{x:?}")),
            Self::Real(x) => Cow::Owned(format!("{x:?}")),
            Self::Text(s) => Cow::Borrowed(s),
            Self::Date(d) => Cow::Owned(d.to_string()),
            Self::Time(t) => Cow::Owned(t.to_string()),
            Self::Timestamp(t) => Cow::Owned(t.to_string()),
            Self::Instant(t) => Cow::Owned(t.to_string()),
            Self::Interval(i) => Cow::Owned(i.to_string()),
            Self::Uuid(u) => Cow::Owned(uuid(u)),
            Self::Json(s) => Cow::Borrowed(s),
            Self::Array(a) => Cow::Owned(array(a)),
            Self::Set(labels) => Cow::Owned(labels.join(",")),
            Self::Bits(bits) => Cow::Owned(digits(bits)),
        })
    }
}

fn digits(bits: &Bits) -> String {
    bits.iter().map(|bit| if bit { '1' } else { '0' }).collect()
}

/// As `6f1e…` in five groups.
fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing into memory doesn't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// For people: nested brackets, whatever the first index is.
fn array(array: &Array) -> String {
    let mut text = String::new();
    let mut elements = array.elements.iter();
    nested(&array.dimensions, &mut elements, &mut text);
    text
}

fn nested<'v>(dimensions: &[(u32, i32)], elements: &mut impl Iterator<Item = &'v Value>, text: &mut String) {
    text.push('[');
    if let Some(((length, _), inner)) = dimensions.split_first() {
        for n in 0..*length {
            if n > 0 {
                text.push_str(", ");
            }
            if inner.is_empty() {
                if let Some(element) = elements.next() {
                    let _ = write!(text, "{element}");
                }
            } else {
                nested(inner, elements, text);
            }
        }
    }
    text.push(']');
}

/// As a person would write it in SQL; long values are cut, with their length.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bytes(b) => write_hex(f, b, SHOWN / 2),
            Self::Opaque(o) => match std::str::from_utf8(&o.bytes) {
                Ok(text) => {
                    write!(f, "{} ", o.kind)?;
                    write_text(f, text)
                }
                Err(_) => {
                    write!(f, "{} ", o.kind)?;
                    write_hex(f, &o.bytes, SHOWN / 2)
                }
            },
            Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Single(_)
            | Self::Real(_)
            | Self::Decimal(_) => f.write_str(&self.plain().unwrap_or_default()),
            Self::Array(_) => {
                let text = self.plain().unwrap_or_default();
                match text.char_indices().nth(SHOWN) {
                    Some((end, _)) => write!(f, "{}… ({} bytes)", &text[..end], text.len()),
                    None => f.write_str(&text),
                }
            }
            _ => write_text(f, &self.plain().unwrap_or_default()),
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => write!(f, "'{}…' ({} bytes)", text[..end].replace('\'', "''"), text.len()),
        None => write!(f, "'{}'", text.replace('\'', "''")),
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8], shown: usize) -> fmt::Result {
    f.write_str("x'")?;
    for byte in bytes.iter().take(shown) {
        write!(f, "{byte:02x}")?;
    }
    if bytes.len() > shown { write!(f, "…' ({} bytes)", bytes.len()) } else { f.write_str("'") }
}

/// Reads a UUID: 32 hexadecimal digits, with hyphens in four places or none, and braces around it or none.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let hyphens = [8, 13, 18, 23];
    let plain: Vec<u8> = match text.len() {
        32 => text.bytes().collect(),
        36 if hyphens.iter().all(|&at| text.as_bytes()[at] == b'-') => {
            text.bytes().enumerate().filter(|(at, _)| !hyphens.contains(at)).map(|(_, c)| c).collect()
        }
        _ => return None,
    };
    let mut bytes = [0_u8; 16];
    for (byte, pair) in bytes.iter_mut().zip(plain.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Date, Decimal};

    #[test]
    fn each_value_is_written_in_one_way() {
        let id = parse_uuid("6F1E4C2A-0000-4000-8000-0123456789AB").unwrap();
        let list = Array::of(vec![Value::Int(1), Value::Null, "it's".into()]);
        let square = Array { dimensions: vec![(2, 1), (1, 0)], elements: vec![1.into(), 2.into()] };
        for (value, plain, shown) in [
            (Value::Bool(true), "true", "true"),
            (Value::unsigned(u64::MAX), "18446744073709551615", "18446744073709551615"),
            (Value::unsigned(5), "5", "5"),
            (Value::Single(0.1), "0.1", "0.1"),
            (Value::Decimal(Decimal::parse("1.50").unwrap()), "1.50", "1.50"),
            (Value::Date(Date(0)), "1970-01-01", "'1970-01-01'"),
            (
                Value::Uuid(id),
                "6f1e4c2a-0000-4000-8000-0123456789ab",
                "'6f1e4c2a-0000-4000-8000-0123456789ab'",
            ),
            (Value::Array(Box::new(list)), "[1, NULL, 'it''s']", "[1, NULL, 'it''s']"),
            (Value::Array(Box::new(square)), "[[1], [2]]", "[[1], [2]]"),
            (Value::Set(["a".into(), "b".into()].into()), "a,b", "'a,b'"),
            (Value::Bits(Box::new(Bits::parse("0101").unwrap())), "0101", "'0101'"),
        ] {
            assert_eq!((value.plain().unwrap().as_ref(), value.to_string().as_str()), (plain, shown));
        }
        assert_eq!(
            Value::opaque("mysql: zero date", b"0000-00-00".to_vec()).to_string(),
            "mysql: zero date '0000-00-00'"
        );
    }

    #[test]
    fn a_long_text_is_cut_with_its_length() {
        let shown = Value::from("é".repeat(300)).to_string();
        assert!(shown.ends_with("…' (600 bytes)") && shown.chars().count() < 230, "{shown}");
    }

    #[test]
    fn what_is_no_uuid_is_none() {
        for text in
            ["", "6f1e4c2a", "6f1e4c2a-0000-4000-8000-0123456789ag", "6f1e4c2a00-00-4000-8000-0123456789ab"]
        {
            assert_eq!(parse_uuid(text), None, "{text}");
        }
    }
}
