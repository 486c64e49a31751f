//! The middle form of values, keys and rows: what every store's adapter maps its own types to and from.
//!
//! Two values are equal only when they have the same type and the same content: `1` and `"1"` differ, NULL
//! equals NULL and nothing else. Whatever makes two unlike values count as equal is a rule of the spec, and
//! is counted.

mod array;
pub mod code;
mod decimal;
mod key;
mod text;
mod time;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

pub use self::array::{Array, Bits};
pub use self::decimal::Decimal;
pub use self::key::{Key, KeyValues, TableName};
pub use self::text::parse_uuid;
pub use self::time::{Date, Instant, Interval, Time, Timestamp};

/// One value in the middle form.
///
/// What a database can hold and the middle form can't (a date that is zero, an infinite one) is [`Value::Opaque`]: it goes
/// unread to a database of the same kind, and nowhere else.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// SQL's NULL: the absence of a value.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above `i64::MAX`, and no other: [`Value::unsigned`] makes it.
    Uint(u64),
    /// An exact decimal number of any size.
    Decimal(Decimal),
    /// A binary floating-point number with 32 bits.
    Single(f32),
    /// A binary floating-point number with 64 bits.
    Real(f64),
    /// Text, in UTF-8. It may hold NUL characters.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A day of the proleptic Gregorian calendar.
    Date(Date),
    /// A time of day, or a length of time that a database calls so.
    Time(Time),
    /// A date and a time of day, nowhere in particular.
    Timestamp(Timestamp),
    /// A moment.
    Instant(Instant),
    /// A span of the calendar and the clock.
    Interval(Interval),
    /// A UUID.
    Uuid([u8; 16]),
    /// A JSON document, as text.
    Json(Box<str>),
    /// An array.
    Array(Box<Array>),
    /// Labels out of a column's list, in the list's order, each once.
    Set(Box<[Box<str>]>),
    /// A string of bits.
    Bits(Box<Bits>),
    /// A value that passes unread between two databases of one kind: its type's name, and its bytes.
    Opaque(Box<Opaque>),
}

/// A value that has no place in the middle form. See [`Value::Opaque`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// The kind of database and its type, as in `sqlite: text that is not UTF-8`.
    pub kind: Cow<'static, str>,
    /// The bytes, as the database gave them.
    pub bytes: Vec<u8>,
}

impl Value {
    /// An integer that may be above `i64::MAX`.
    #[must_use]
    pub fn unsigned(n: u64) -> Self {
        i64::try_from(n).map_or(Self::Uint(n), Self::Int)
    }

    /// A value that passes unread. See [`Value::Opaque`].
    pub fn opaque(kind: impl Into<Cow<'static, str>>, bytes: Vec<u8>) -> Self {
        Self::Opaque(Box::new(Opaque { kind: kind.into(), bytes }))
    }

    /// The type's name, for messages.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Uint(_) => "integer",
            Self::Decimal(_) => "decimal",
            Self::Single(_) | Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Timestamp(_) => "timestamp",
            Self::Instant(_) => "timestamp with time zone",
            Self::Interval(_) => "interval",
            Self::Uuid(_) => "UUID",
            Self::Json(_) => "JSON",
            Self::Array(_) => "array",
            Self::Set(_) => "set",
            Self::Bits(_) => "bit string",
            Self::Opaque(o) => &o.kind,
        }
    }

    /// Whether this is NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// How many bytes the value itself has: a number eight, NULL none.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Single(_) | Self::Date(_) => 4,
            Self::Int(_) | Self::Uint(_) | Self::Real(_) => 8,
            Self::Time(_) | Self::Timestamp(_) | Self::Instant(_) => 8,
            Self::Interval(_) | Self::Uuid(_) => 16,
            Self::Decimal(d) => d.as_str().len(),
            Self::Text(s) => s.len(),
            Self::Bytes(b) => b.len(),
            Self::Json(s) => s.len(),
            Self::Array(a) => a.elements.iter().map(Self::bytes).sum(),
            Self::Set(labels) => labels.iter().map(|label| label.len() + 1).sum(),
            Self::Bits(bits) => bits.bytes().len(),
            Self::Opaque(o) => o.bytes.len(),
        }
    }

    /// About how many bytes of memory the value takes: for budgets, not for accounts.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Decimal(_) | Self::Text(_) | Self::Bytes(_) | Self::Json(_) => self.bytes(),
                Self::Array(a) => size_of::<Array>() + a.elements.iter().map(Self::size).sum::<usize>(),
                Self::Set(labels) => labels.iter().map(|label| size_of::<Box<str>>() + label.len()).sum(),
                Self::Bits(_) => size_of::<Bits>() + self.bytes(),
                Self::Opaque(o) => size_of::<Opaque>() + o.bytes.len(),
                _ => 0,
            }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Uint(a), Self::Uint(b)) => a == b,
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            // By bits: NaN equals itself, and 0.0 and -0.0, which a database may tell apart, differ.
            (Self::Single(a), Self::Single(b)) => a.to_bits() == b.to_bits(),
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Instant(a), Self::Instant(b)) => a == b,
            (Self::Interval(a), Self::Interval(b)) => a == b,
            (Self::Uuid(a), Self::Uuid(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            (Self::Bits(a), Self::Bits(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Bool(b) => b.hash(state),
            Self::Int(n) => n.hash(state),
            Self::Uint(n) => n.hash(state),
            Self::Decimal(d) => d.hash(state),
            Self::Single(x) => x.to_bits().hash(state),
            Self::Real(x) => x.to_bits().hash(state),
            Self::Text(s) => s.hash(state),
            Self::Bytes(b) => b.hash(state),
            Self::Date(d) => d.hash(state),
            Self::Time(t) => t.hash(state),
            Self::Timestamp(t) => t.hash(state),
            Self::Instant(t) => t.hash(state),
            Self::Interval(i) => i.hash(state),
            Self::Uuid(u) => u.hash(state),
            Self::Json(s) => s.hash(state),
            Self::Array(a) => a.hash(state),
            Self::Set(labels) => labels.hash(state),
            Self::Bits(bits) => bits.hash(state),
            Self::Opaque(o) => o.hash(state),
        }
    }
}

macro_rules! from {
    ($($t:ty => |$v:ident| $e:expr),* $(,)?) => {
        $(impl From<$t> for Value { fn from($v: $t) -> Self { $e } })*
    };
}
from! {
    bool => |b| Self::Bool(b),
    i64 => |n| Self::Int(n),
    i32 => |n| Self::Int(n.into()),
    u32 => |n| Self::Int(n.into()),
    f64 => |x| Self::Real(x),
    String => |s| Self::Text(s),
    &str => |s| Self::Text(s.to_owned()),
    Vec<u8> => |b| Self::Bytes(b),
    &[u8] => |b| Self::Bytes(b.to_vec()),
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row: its values in the order of the shape that it was asked for in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// About how many bytes of memory the row takes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.0.iter().map(Value::size).sum::<usize>()
    }
}
