//! What a column is in a table that is proposed to MariaDB or MySQL.

use super::{Going, Typed, list, only_there};
use crate::catalog::{ColumnInfo, Engine};
use crate::types::{Charset, Exact, Span, TextType};

/// Beyond so many characters a text isn't part of its row any more.
const VARCHAR_MAX: u32 = 16_000;
/// The bytes of an index's entry.
const INDEX_MAX: u32 = 3_072;
/// The bytes of a character.
const WIDEST: u32 = 4;

/// From its own kind: the type that it is there, with the collation, which says the character set as well.
pub(super) fn again(column: &ColumnInfo, of: &Exact) -> Typed {
    let bytes = match of {
        Exact::Text(text) => text.max_chars.unwrap_or(3).saturating_mul(WIDEST),
        Exact::Bytes { max, .. } => max.and_then(|max| u32::try_from(max).ok()).unwrap_or(12),
        _ => 8,
    };
    let is_text = matches!(of, Exact::Text(_)) && !column.as_text;
    let collate = match column.collation.as_str() {
        "" | "BINARY" => String::new(),
        own if is_text => format!(" COLLATE {own}"),
        _ => String::new(),
    };
    let in_row =
        if column.declared.ends_with("text") || column.declared.ends_with("blob") { 12 } else { bytes };
    Typed { in_row, ..Typed::plain(format!("{}{collate}", column.declared)) }
}

/// From any other.
pub(super) fn typed(of: &Exact, going: Going) -> Typed {
    let postgres = going.from == Engine::Postgres;
    let mut typed = match of {
        Exact::Bool => Typed::plain("tinyint(1)"),
        Exact::Int { min, max } => Typed::plain(int(*min, *max)),
        Exact::Decimal { precision, scale } => decimal(*precision, *scale, postgres),
        Exact::Single { .. } => Typed::plain("float").without_if(postgres, "NaN and the infinities"),
        Exact::Real { .. } => {
            Typed::plain("double").without_if(going.from != going.to, "NaN and the infinities")
        }
        Exact::Text(text) => self::text(text, going),
        Exact::Bytes { max, padded } => bytes(*max, *padded, going),
        Exact::Date { .. } => {
            Typed::plain("date").without_if(postgres, "dates beyond the years 0 to 9999, and infinity")
        }
        Exact::Time(Span { digits, .. }) => Typed::plain(format!("time({digits})")),
        Exact::Timestamp(Span { digits, .. }) => Typed::plain(format!("datetime({digits})"))
            .without_if(postgres, "dates beyond the years 0 to 9999, and infinity"),
        Exact::Instant(Span { digits, .. }) => Typed::plain(format!("timestamp({digits})"))
            .without_if(postgres, "moments before 1970 and after 2038, and infinity"),
        Exact::Interval { .. } => Typed::plain("varchar(80)"),
        Exact::Uuid => Typed::plain(if has_uuid(going.to) { "uuid" } else { "varchar(36)" }),
        Exact::Json(_) => Typed::plain("json")
            .without_if(going.to == Engine::MySql, "JSON numbers that no 64-bit float is exactly"),
        Exact::Array(_) => Typed::plain("json").without("arrays of more than one dimension"),
        Exact::Enum(labels) => Typed::plain(format!("enum({})", list(labels, going.to))),
        Exact::Set(labels) => Typed::plain(format!("set({})", list(labels, going.to))),
        Exact::Bits { min, max } => match max {
            Some(max) if max == min && *max <= 64 => Typed::plain(format!("bit({max})")),
            Some(max) if *max <= VARCHAR_MAX => Typed::plain(format!("varchar({max})")),
            _ => Typed::plain("longtext"),
        },
        Exact::Other(name) => Typed::plain("longtext").without(only_there(name)),
    };
    typed.in_row = match typed.sql.strip_prefix("varchar(").and_then(|rest| rest.strip_suffix(')')) {
        Some(length) => length.parse::<u32>().unwrap_or_default().saturating_mul(WIDEST),
        None => typed.in_row.max(12),
    };
    typed
}

const fn has_uuid(to: Engine) -> bool {
    matches!(to, Engine::MariaDb(major, minor) if major > 10 || (major == 10 && minor >= 7))
}

fn int(min: i64, max: u64) -> &'static str {
    let signed = |bits: u32| min >= i64::MIN >> (64 - bits) && max <= (u64::MAX >> (64 - bits)) >> 1;
    let unsigned = |bits: u32| min >= 0 && max <= u64::MAX >> (64 - bits);
    match () {
        () if signed(8) => "tinyint",
        () if unsigned(8) => "tinyint unsigned",
        () if signed(16) => "smallint",
        () if unsigned(16) => "smallint unsigned",
        () if signed(32) => "int",
        () if unsigned(32) => "int unsigned",
        () if signed(64) => "bigint",
        () => "bigint unsigned",
    }
}

/// At most 65 digits, 30 of them after the point.
fn decimal(precision: Option<u32>, scale: Option<i32>, postgres: bool) -> Typed {
    let scale = scale.unwrap_or_default();
    let digits = precision.map(|precision| precision.saturating_add(scale.min(0).unsigned_abs()));
    match digits {
        Some(digits) if digits <= 65 && scale <= 30 => {
            Typed::plain(format!("decimal({digits}, {})", scale.max(0))).without_if(postgres, "NaN")
        }
        Some(_) | None => Typed::plain("decimal(65, 30)")
            .without("numbers of more than 35 digits before the point or 30 after it")
            .without_if(postgres, "NaN and the infinities"),
    }
}

fn text(text: &TextType, going: Going) -> Typed {
    let in_an_index = (INDEX_MAX / WIDEST).checked_div(going.indexed);
    match (text.max_chars, in_an_index) {
        (Some(max), None) if max <= 255 && text.padded => Typed::plain(format!("char({max})")),
        (Some(max), Some(most)) if max <= most => Typed::plain(format!("varchar({max})")),
        (_, Some(most)) => Typed::plain(format!("varchar({most})"))
            .without(format!("texts of more than {most} characters, for which an index has no room")),
        (Some(max), None) if max <= VARCHAR_MAX => Typed::plain(format!("varchar({max})")),
        (_, None) => {
            // A byte of Latin 1 takes up to three elsewhere.
            let grown = if text.charset == Charset::Latin1 { 3 } else { 1 };
            let bytes = text.max_bytes.map(|max| max.saturating_mul(grown));
            Typed::plain(format!("{}text", size(bytes)))
        }
    }
}

fn bytes(max: Option<u64>, padded: bool, going: Going) -> Typed {
    let in_an_index = INDEX_MAX.checked_div(going.indexed).map(u64::from);
    let (typed, in_row) = match (max, in_an_index) {
        (Some(max), None) if padded && max <= 255 => (Typed::plain(format!("binary({max})")), max),
        (Some(max), Some(most)) if max <= most => (Typed::plain(format!("varbinary({max})")), max),
        (_, Some(most)) => {
            let typed = Typed::plain(format!("varbinary({most})"));
            (typed.without(format!("more than {most} bytes, for which an index has no room")), most)
        }
        (Some(max), None) if max <= 4_096 => (Typed::plain(format!("varbinary({max})")), max),
        (max, None) => (Typed::plain(format!("{}blob", size(max))), 12),
    };
    Typed { in_row: u32::try_from(in_row).unwrap_or(u32::MAX), ..typed }
}

/// What a long type's name begins with, for so many bytes.
const fn size(bytes: Option<u64>) -> &'static str {
    match bytes {
        Some(0..=255) => "tiny",
        Some(256..=65_535) => "",
        Some(65_536..=16_777_215) => "medium",
        _ => "long",
    }
}
