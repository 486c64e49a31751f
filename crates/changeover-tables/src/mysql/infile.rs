//! Rows as the lines of a file for LOAD DATA, and what the statement says of it.
//!
//! The file is in UTF-8, which every text of the middle form is; what is no text is written in hexadecimal digits, or as a number,
//! and put into its form by the statement.

use std::fmt::Write as _;

use changeover::Value;
use changeover::value::Timestamp;

use super::codec::ENGINE;
use super::syntax::{Mysql, exact};
use crate::catalog::ColumnInfo;
use crate::server::session::{DbError, Trouble};
use crate::syntax::Syntax as _;
use crate::types::Exact;

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As text.
    Text,
    /// In hexadecimal digits.
    Hex,
    /// As a number that a text would not be taken for.
    Number,
    /// A year with all of its digits: `0` would be 2000.
    Year,
}

fn way(column: &ColumnInfo) -> Way {
    match exact(column) {
        Some(Exact::Bytes { .. } | Exact::Other(_)) => Way::Hex,
        Some(Exact::Bits { .. }) => Way::Number,
        Some(Exact::Int { .. }) if column.declared.starts_with("year") => Way::Year,
        _ => Way::Text,
    }
}

/// What stands behind the table's name.
pub(super) fn source(columns: &[&ColumnInfo]) -> String {
    let (mut read, mut made) = (Vec::new(), Vec::new());
    for (at, column) in columns.iter().enumerate() {
        let name = Mysql.name(&column.name);
        match way(column) {
            Way::Text | Way::Year => read.push(name),
            Way::Hex => {
                made.push(format!("{name} = UNHEX(@changeover_{at})"));
                read.push(format!("@changeover_{at}"));
            }
            Way::Number => {
                made.push(format!("{name} = CAST(@changeover_{at} AS UNSIGNED)"));
                read.push(format!("@changeover_{at}"));
            }
        }
    }
    let set = if made.is_empty() { String::new() } else { format!(" SET {}", made.join(", ")) };
    let form = "FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' STARTING BY ''";
    format!("CHARACTER SET utf8mb4 {form} ({}){set}", read.join(", "))
}

/// One row.
///
/// # Errors
/// Of a value that no column takes.
pub(super) fn line(columns: &[&ColumnInfo], values: &[Value], out: &mut Vec<u8>) -> Result<(), DbError> {
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        field(way(column), value, out)?;
    }
    out.push(b'\n');
    Ok(())
}

fn field(way: Way, value: &Value, out: &mut Vec<u8>) -> Result<(), DbError> {
    let no = || DbError::ours(Trouble::Row, format!("{} can't be written to this server", value.type_name()));
    match (way, value) {
        (_, Value::Null) => out.extend_from_slice(b"\\N"),
        (Way::Hex, Value::Bytes(bytes)) => hex(bytes, out),
        (Way::Hex, Value::Opaque(opaque)) if opaque.kind.starts_with(ENGINE) => hex(&opaque.bytes, out),
        (Way::Number, Value::Bits(bits)) => number(bits.to_number().ok_or_else(no)?, out),
        (Way::Year, Value::Int(year)) => out.extend_from_slice(format!("{year:04}").as_bytes()),
        (Way::Text, Value::Bool(b)) => number(u8::from(*b), out),
        // As one with 64 bits, which it is too: its own shortest form might be rounded twice.
        (Way::Text, Value::Single(x)) if x.is_finite() => number(f64::from(*x), out),
        (Way::Text, Value::Real(x)) if x.is_finite() => number(*x, out),
        (Way::Text, Value::Instant(at)) => number(Timestamp(at.0), out),
        (Way::Text, Value::Opaque(opaque)) if opaque.kind.starts_with(ENGINE) => escaped(&opaque.bytes, out),
        (
            Way::Text,
            Value::Single(_) | Value::Real(_) | Value::Interval(_) | Value::Array(_) | Value::Bytes(_),
        ) => {
            return Err(no());
        }
        (Way::Text, value) => escaped(value.plain().ok_or_else(no)?.as_bytes(), out),
        _ => return Err(no()),
    }
    Ok(())
}

fn number(n: impl std::fmt::Display, out: &mut Vec<u8>) {
    let mut text = String::new();
    // Writing into memory doesn't fail.
    let _ = write!(text, "{n}");
    out.extend_from_slice(text.as_bytes());
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

/// With a backslash before what ends a field or a line, and before itself.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0 => out.extend_from_slice(b"\\0"),
            byte => out.push(*byte),
        }
    }
}
