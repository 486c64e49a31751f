//! What a column of MariaDB or MySQL holds, in the terms of all dialects.

use changeover::value::Date;

use super::codec::GEOMETRY;
use crate::catalog::Engine;
use crate::types::{Charset, Exact, JsonForm, Span, TextType};

/// Which of the family a server is, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flavour {
    pub(super) mariadb: bool,
    pub(super) version: (u16, u16, u16),
}

impl Flavour {
    /// What a proposed table is made for.
    pub(super) const fn engine(self) -> Engine {
        match self {
            Self { mariadb: true, version: (major, minor, _) } => Engine::MariaDb(major, minor),
            Self { mariadb: false, .. } => Engine::MySql,
        }
    }
}

/// What the server's catalogue says of a column's type.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    /// `varchar`.
    pub(super) data_type: String,
    /// `enum('a','b')`, `int(11) unsigned`.
    pub(super) column_type: String,
    pub(super) characters: Option<u64>,
    pub(super) octets: Option<u64>,
    pub(super) precision: Option<u32>,
    pub(super) scale: Option<u32>,
    /// Digits of a second's fraction.
    pub(super) fraction: Option<u8>,
    pub(super) charset: Option<String>,
    /// Whether a CHECK says that it is JSON.
    pub(super) is_json: bool,
}

const DAY: i64 = 86_400_000_000;
/// 9999-12-31.
const LAST_DAY: i32 = 2_932_896;
/// 0000-01-01.
const FIRST_DAY: i32 = -719_528;
/// 838:59:59.
const TIME_MAX: i64 = (838 * 3_600 + 59 * 60 + 59) * 1_000_000;
/// Seconds that a TIMESTAMP counts to: 2038, and with 32 bits and no sign 2106.
const SIGNED_MAX: i64 = 2_147_483_647;
const UNSIGNED_MAX: i64 = 4_294_967_295;

/// What a column holds.
pub(super) fn exact(declared: &Declared, flavour: Flavour) -> Exact {
    let unsigned = declared.column_type.contains("unsigned");
    match declared.data_type.as_str() {
        "tinyint" => int(8, unsigned),
        "smallint" => int(16, unsigned),
        "mediumint" => int(24, unsigned),
        "int" | "integer" => int(32, unsigned),
        "bigint" => int(64, unsigned),
        "year" => Exact::YEAR,
        "decimal" | "numeric" => Exact::Decimal {
            precision: declared.precision,
            scale: declared.scale.and_then(|scale| i32::try_from(scale).ok()),
        },
        "float" => Exact::Single { non_finite: false },
        "double" | "real" => Exact::Real { non_finite: false },
        "bit" => {
            Exact::Bits { min: declared.precision.unwrap_or(1), max: Some(declared.precision.unwrap_or(1)) }
        }
        "binary" => Exact::Bytes { max: declared.octets, padded: true },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            Exact::Bytes { max: declared.octets, padded: false }
        }
        "json" => Exact::Json(JsonForm::Double),
        "uuid" => Exact::Uuid,
        "enum" => Exact::Enum(labels(&declared.column_type).into()),
        "set" => Exact::Set(labels(&declared.column_type).into()),
        "date" => Exact::Date { min: Date(FIRST_DAY), max: Date(LAST_DAY) },
        "datetime" => Exact::Timestamp(Span {
            digits: declared.fraction.unwrap_or(0),
            min: i64::from(FIRST_DAY) * DAY,
            max: (i64::from(LAST_DAY) + 1) * DAY - 1,
        }),
        "timestamp" => Exact::Instant(timestamp(declared, flavour)),
        "time" => {
            // MySQL ends at the full second.
            let end = if flavour.mariadb { TIME_MAX + 999_999 } else { TIME_MAX };
            Exact::Time(Span { digits: declared.fraction.unwrap_or(0), min: -end, max: end })
        }
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => text(declared),
        "inet4" | "inet6" => Exact::Text(plain_text(45)),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Exact::Other(GEOMETRY.into()),
        other => Exact::Other(other.into()),
    }
}

fn int(bits: u32, unsigned: bool) -> Exact {
    if unsigned {
        Exact::Int { min: 0, max: u64::MAX >> (64 - bits) }
    } else {
        Exact::Int { min: i64::MIN >> (64 - bits), max: (u64::MAX >> (64 - bits)) >> 1 }
    }
}

/// The first moment is the one after the zero.
fn timestamp(declared: &Declared, flavour: Flavour) -> Span {
    let (seconds, fraction) = match flavour {
        Flavour { mariadb: true, version } if version >= (11, 5, 0) => (UNSIGNED_MAX, 999_999),
        Flavour { mariadb: true, .. } => (SIGNED_MAX, 999_999),
        // MySQL's manual: until 2038-01-19 03:14:07.499999.
        Flavour { mariadb: false, .. } => (SIGNED_MAX, 499_999),
    };
    Span { digits: declared.fraction.unwrap_or(0), min: 1_000_000, max: seconds * 1_000_000 + fraction }
}

fn text(declared: &Declared) -> Exact {
    if declared.is_json {
        return Exact::Json(JsonForm::Kept);
    }
    // Of the long types the bytes are bounded.
    let in_bytes = declared.data_type.ends_with("text");
    Exact::Text(TextType {
        max_chars: declared.characters.filter(|_| !in_bytes).and_then(|n| u32::try_from(n).ok()),
        max_bytes: declared.octets.filter(|_| in_bytes),
        nul: true,
        padded: declared.data_type == "char",
        charset: match declared.charset.as_deref() {
            Some("utf8" | "utf8mb3" | "ucs2") => Charset::Utf8ToFFFF,
            Some("latin1") => Charset::Latin1,
            Some("ascii") => Charset::Ascii,
            // Of a rarer one the server itself refuses the characters that it lacks.
            _ => Charset::Utf8,
        },
    })
}

fn plain_text(characters: u32) -> TextType {
    TextType {
        max_chars: Some(characters),
        max_bytes: None,
        nul: false,
        padded: false,
        charset: Charset::Ascii,
    }
}

/// The labels of `enum('a','it''s')`, as the server writes them: with a quote doubled, and a few characters after a backslash.
fn labels(column_type: &str) -> Vec<Box<str>> {
    let list = column_type.split_once('(').map_or("", |(_, list)| list);
    let mut labels = Vec::new();
    let mut chars = list.chars().peekable();
    while chars.by_ref().any(|c| c == '\'') {
        let mut label = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.peek() == Some(&'\'') => {
                    chars.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.push(match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('0') => '\0',
                    Some(other) => other,
                    None => '\\',
                }),
                c => label.push(c),
            }
        }
        labels.push(label.into());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_server_writes_them() {
        let all = labels("enum('a','it''s','b,c','q\\\\r','é','')");
        assert_eq!(all.iter().map(|l| &**l).collect::<Vec<_>>(), ["a", "it's", "b,c", "q\\r", "é", ""]);
        assert!(labels("int(11)").is_empty());
    }

    #[test]
    fn integers_have_the_bounds_of_their_bits() {
        assert_eq!(int(8, false), Exact::Int { min: -128, max: 127 });
        assert_eq!(int(24, true), Exact::Int { min: 0, max: 16_777_215 });
        assert_eq!(int(64, false), Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() });
        assert_eq!(int(64, true), Exact::Int { min: 0, max: u64::MAX });
    }
}
