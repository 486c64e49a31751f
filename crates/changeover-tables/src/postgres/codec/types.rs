//! Which form the values of a type have.
//!
//! What isn't known passes unread, in its binary form where that is the same on every server: so it is with PostgreSQL's own
//! types, but for those that name things by the server's numbers for them (`regclass`), and for `int2vector` and `oidvector`,
//! whose empty values the server sends but doesn't take. Types made by users or by extensions may hold such numbers too (a
//! composite type has one for each field), or have no binary form at all: they pass as text. An array of such is such itself.

use std::borrow::Cow;

use tokio_postgres::types::{Kind, Type};

use super::{Codec, Element, Form};

/// Where PostgreSQL's own types are.
const OWN: &str = "pg_catalog";

/// The word with which the kinds of values begin that only PostgreSQL knows.
pub(super) const ENGINE: &str = "postgres";

impl Codec {
    /// What is to be known of this type.
    pub(in crate::postgres) fn of(ty: &Type) -> Self {
        let form = form(ty);
        let as_text = form.is_none();
        let form = form.unwrap_or_else(|| Form::Opaque(Cow::Owned(format!("{ENGINE}: {}", name_unread(ty)))));
        Self { form, name: name(ty).into(), as_text }
    }
}

/// The binary form; `None` if its values pass as text.
pub(super) fn form(ty: &Type) -> Option<Form> {
    match ty.kind() {
        Kind::Domain(base) => form(base),
        Kind::Enum(_) => Some(Form::Text),
        Kind::Array(element) if is_array(ty) => {
            let codec = Codec::of(element);
            (!codec.as_text).then(|| Form::Array(Box::new(Element { oid: element.oid(), codec })))
        }
        _ if ty.schema() == OWN => own(ty.name()),
        // The extension's type is `text` but for its comparisons.
        Kind::Simple if ty.name() == "citext" => Some(Form::Text),
        _ => None,
    }
}

/// Whether it is a true array, and not a type with parts of a fixed number, of which the driver can't tell it: only arrays are
/// named so, by the server itself.
pub(super) fn is_array(ty: &Type) -> bool {
    ty.name().starts_with('_')
}

fn own(name: &str) -> Option<Form> {
    Some(match name {
        "bool" => Form::Bool,
        "int2" => Form::Int2,
        "int4" => Form::Int4,
        "int8" => Form::Int8,
        "oid" => Form::Oid,
        "float4" => Form::Single,
        "float8" => Form::Real,
        "numeric" => Form::Numeric,
        "text" | "varchar" | "name" | "xml" | "unknown" | "cstring" => Form::Text,
        "bpchar" => Form::Padded,
        "char" => Form::Char,
        "bytea" => Form::Bytes,
        "date" => Form::Date,
        "time" => Form::Time,
        "timestamp" => Form::Timestamp,
        "timestamptz" => Form::Instant,
        "interval" => Form::Interval,
        "uuid" => Form::Uuid,
        "json" => Form::Json,
        "jsonb" => Form::Jsonb,
        "bit" | "varbit" => Form::Bits,
        _ => Form::Opaque(Cow::Borrowed(
            UNREAD.iter().find(|kind| kind.strip_prefix("postgres: ") == Some(name))?,
        )),
    })
}

/// The kinds of PostgreSQL's own types that the middle form doesn't know and whose binary form is the same on every server.
const UNREAD: &[&str] = &[
    "postgres: box",
    "postgres: cid",
    "postgres: cidr",
    "postgres: circle",
    "postgres: datemultirange",
    "postgres: daterange",
    "postgres: inet",
    "postgres: int4multirange",
    "postgres: int4range",
    "postgres: int8multirange",
    "postgres: int8range",
    "postgres: jsonpath",
    "postgres: line",
    "postgres: lseg",
    "postgres: macaddr",
    "postgres: macaddr8",
    "postgres: money",
    "postgres: nummultirange",
    "postgres: numrange",
    "postgres: path",
    "postgres: pg_lsn",
    "postgres: pg_snapshot",
    "postgres: point",
    "postgres: polygon",
    "postgres: refcursor",
    "postgres: tid",
    "postgres: timetz",
    "postgres: tsmultirange",
    "postgres: tsquery",
    "postgres: tsrange",
    "postgres: tstzmultirange",
    "postgres: tstzrange",
    "postgres: tsvector",
    "postgres: txid_snapshot",
    "postgres: xid",
    "postgres: xid8",
];

/// The name, as SQL would have it.
pub(super) fn name(ty: &Type) -> String {
    match ty.kind() {
        Kind::Array(element) if is_array(ty) => format!("{}[]", name(element)),
        _ if ty.schema() == OWN => ty.name().to_owned(),
        _ => format!("{}.{}", quoted(ty.schema()), quoted(ty.name())),
    }
}

/// The name under which values pass unread: only between types that are the same in all that their values depend on. Of a
/// composite type that is its fields in their order: a text has them without their names.
pub(super) fn name_unread(ty: &Type) -> String {
    match ty.kind() {
        Kind::Domain(base) => name_unread(base),
        Kind::Array(element) if is_array(ty) => format!("{}[]", name_unread(element)),
        Kind::Composite(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{} {}", quoted(f.name()), name_unread(f.type_()))).collect();
            format!("{} ({})", name(ty), fields.join(", "))
        }
        _ => name(ty),
    }
}

/// In quotes where SQL wants them, so that no name runs together with what is beside it.
fn quoted(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
    }
}
