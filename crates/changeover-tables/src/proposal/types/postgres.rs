//! What a column is in a table that is proposed to PostgreSQL.

use super::{Going, Typed, list, only_there};
use crate::catalog::{ColumnInfo, Engine};
use crate::types::{Exact, JsonForm, TextType};

/// The longest that a `varchar` may be declared.
const VARCHAR_MAX: u32 = 10_485_760;

/// Types that every PostgreSQL has: what their names begin with.
const ITS_OWN: [&str; 51] = [
    "bigint",
    "bit",
    "boolean",
    "box",
    "bytea",
    "char",
    "\"char\"",
    "character",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "double precision",
    "inet",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "real",
    "smallint",
    "text",
    "time",
    "timestamp",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "uuid",
    "xml",
];

/// From a PostgreSQL: the type that it is there, where every server has it.
pub(super) fn again(column: &ColumnInfo, of: &Exact, going: Going) -> Typed {
    let declared = &column.declared;
    let base = declared.split(['(', '[']).next().unwrap_or_default().trim_end();
    let word = base.split(' ').next().unwrap_or_default();
    if [base, word].iter().any(|name| ITS_OWN.contains(name)) || declared.starts_with("character varying") {
        return Typed::plain(declared);
    }
    match of {
        Exact::Enum(labels) => {
            let labels = list(labels, Engine::Postgres);
            // A statement that does nothing where the type is there already.
            let before = format!(
                "DO $$ BEGIN CREATE TYPE {declared} AS ENUM ({labels}); EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            );
            Typed { before: Some(before), ..Typed::plain(declared) }
        }
        _ if column.as_text => {
            let dropped = vec![format!("the type {declared}, which has to be there before, for")];
            Typed { dropped, ..Typed::plain(declared) }
        }
        of => {
            let mut typed = typed(of, going);
            typed.dropped.push(format!("the type {declared} itself, with its conditions, of"));
            typed
        }
    }
}

/// From any other.
pub(super) fn typed(of: &Exact, going: Going) -> Typed {
    let mysql = matches!(going.from, Engine::MariaDb(..) | Engine::MySql);
    match of {
        Exact::Bool => Typed::plain("boolean"),
        Exact::Int { min, max } => int(*min, *max, going.numbered),
        Exact::Decimal { precision: Some(precision), scale } => {
            let scale = scale.unwrap_or_default();
            // Zeros before the point, for which older servers have no word.
            let digits = precision.saturating_add(scale.min(0).unsigned_abs());
            Typed::plain(format!("numeric({digits}, {})", scale.max(0)))
        }
        Exact::Decimal { precision: None, .. } => Typed::plain("numeric"),
        Exact::Single { .. } => Typed::plain("real"),
        Exact::Real { .. } => Typed::plain("double precision"),
        Exact::Text(text) => self::text(text),
        Exact::Bytes { .. } => Typed::plain("bytea"),
        Exact::Date { .. } => Typed::plain("date").without_if(mysql, "zero and impossible dates"),
        Exact::Time(span) => Typed::plain(format!("time({})", span.digits))
            .without_if(mysql, "times below 00:00:00 and above 24:00:00"),
        Exact::Timestamp(span) => {
            Typed::plain(format!("timestamp({})", span.digits)).without_if(mysql, "zero and impossible dates")
        }
        Exact::Instant(span) => {
            Typed::plain(format!("timestamptz({})", span.digits)).without_if(mysql, "zero dates")
        }
        Exact::Interval { .. } => Typed::plain("interval"),
        Exact::Uuid => Typed::plain("uuid"),
        Exact::Json(JsonForm::Kept) => Typed::plain("json"),
        Exact::Json(JsonForm::Binary) => Typed::plain("jsonb"),
        Exact::Json(JsonForm::Double) => Typed::plain("jsonb").without("JSON with \\u0000 in it"),
        Exact::Array(of) => {
            let element = typed(of, going);
            Typed { sql: format!("{}[]", element.sql), ..element }
        }
        Exact::Enum(labels) => {
            let check = Some(format!("{{}} IN ({})", list(labels, Engine::Postgres)));
            Typed { check, ..Typed::plain("text") }
        }
        Exact::Set(labels) => {
            let check = Some(format!("{{}} <@ ARRAY[{}]::text[]", list(labels, Engine::Postgres)));
            Typed { check, ..Typed::plain("text[]") }
        }
        Exact::Bits { min, max } => Typed::plain(match max {
            Some(max) if max == min => format!("bit({max})"),
            Some(max) => format!("bit varying({max})"),
            None => "bit varying".to_owned(),
        }),
        Exact::Other(name) => Typed::plain("text").without(only_there(name)),
    }
}

fn int(min: i64, max: u64, numbered: bool) -> Typed {
    let within = |least: i64, most: i64| min >= least && i64::try_from(max).is_ok_and(|max| max <= most);
    if within(i16::MIN.into(), i16::MAX.into()) {
        Typed::plain("smallint")
    } else if within(i32::MIN.into(), i32::MAX.into()) {
        Typed::plain("integer")
    } else if within(i64::MIN, i64::MAX) {
        Typed::plain("bigint")
    } else if numbered {
        // What a counter gives out doesn't come so far, and no other type can be numbered.
        Typed::plain("bigint").without("ids above 9223372036854775807")
    } else {
        Typed::plain("numeric(20, 0)")
    }
}

fn text(text: &TextType) -> Typed {
    let sql = match text.max_chars {
        Some(max) if text.padded => format!("char({max})"),
        Some(max) if max > 0 && max <= VARCHAR_MAX => format!("varchar({max})"),
        _ => "text".to_owned(),
    };
    Typed::plain(sql).without_if(text.nul, "NUL characters")
}
