//! The middle form of values, keys and rows: what every store's adapter maps its own types to and from.
//!
//! Two values are equal only when they have the same type and the same content: `1` and `"1"` differ, NULL
//! equals NULL and nothing else. Whatever makes two unlike values count as equal is a rule of the spec, and
//! is counted.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One value in the middle form.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// SQL's NULL: the absence of a value.
    Null,
    /// An integer.
    Int(i64),
    /// A binary floating-point number with 64 bits.
    Real(f64),
    /// Text, in UTF-8. It may hold NUL characters.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A value that passes unread between two databases of one kind: its type's name, and its bytes.
    Opaque(Box<Opaque>),
}

/// A value that has no place in the middle form. See [`Value::Opaque`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// The kind of database and its type, as in `sqlite: text that is not UTF-8`.
    pub kind: &'static str,
    /// The bytes, as the database gave them.
    pub bytes: Vec<u8>,
}

impl Value {
    /// The type's name, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Int(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Opaque(o) => o.kind,
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
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(s) => s.len(),
            Self::Bytes(b) => b.len(),
            Self::Opaque(o) => o.bytes.len(),
        }
    }

    /// About how many bytes of memory the value takes: for budgets, not for accounts.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Int(_) | Self::Real(_) => 0,
                Self::Text(s) => s.len(),
                Self::Bytes(b) => b.len(),
                Self::Opaque(o) => size_of::<Opaque>() + o.bytes.len(),
            }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            // By bits: NaN equals itself, and 0.0 and -0.0, which a database may tell apart, differ.
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
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
            Self::Int(n) => n.hash(state),
            Self::Real(x) => x.to_bits().hash(state),
            Self::Text(s) => s.hash(state),
            Self::Bytes(b) => b.hash(state),
            Self::Opaque(o) => o.hash(state),
        }
    }
}

/// As a person would write it in SQL; long values are cut, with their length.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Real(x) => write!(f, "{x:?}"),
            Self::Text(s) if s.chars().count() <= SHOWN => write!(f, "'{}'", s.replace('\'', "''")),
            Self::Text(s) => {
                let head: String = s.chars().take(SHOWN).collect();
                write!(f, "'{}…' ({} bytes)", head.replace('\'', "''"), s.len())
            }
            Self::Bytes(b) => write_hex(f, b, SHOWN / 2),
            Self::Opaque(o) => {
                write!(f, "{} ", o.kind)?;
                write_hex(f, &o.bytes, SHOWN / 2)
            }
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8], shown: usize) -> fmt::Result {
    f.write_str("x'")?;
    for byte in bytes.iter().take(shown) {
        write!(f, "{byte:02x}")?;
    }
    if bytes.len() > shown { write!(f, "…' ({} bytes)", bytes.len()) } else { f.write_str("'") }
}

macro_rules! from {
    ($($t:ty => |$v:ident| $e:expr),* $(,)?) => {
        $(impl From<$t> for Value { fn from($v: $t) -> Self { $e } })*
    };
}
from! {
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

/// The name of a mapping: `[[table]] name` of the spec. Cheap to clone.
#[derive(Clone)]
pub struct TableName(Name);

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl TableName {
    /// A name known when the program was compiled: takes no memory.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Name::Static(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(s) => s,
            Name::Shared(s) => s,
        }
    }
}

impl From<&'static str> for TableName {
    fn from(name: &'static str) -> Self {
        Self::from_static(name)
    }
}

impl From<String> for TableName {
    fn from(name: String) -> Self {
        Self(Name::Shared(name.into()))
    }
}

impl PartialEq for TableName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TableName {}

impl PartialOrd for TableName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TableName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for TableName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The key of one row of one mapping: the same on both sides, its values in the order of the spec's `key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The mapping.
    pub table: TableName,
    /// The values.
    pub values: KeyValues,
}

/// The values of a key. A key of one value, the common case, takes no memory beyond the value's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyValues {
    /// A key of one column.
    One(Value),
    /// A composite key.
    Many(Box<[Value]>),
}

impl KeyValues {
    /// The values, in the order of the spec's `key`.
    #[must_use]
    pub fn as_slice(&self) -> &[Value] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl From<Vec<Value>> for KeyValues {
    fn from(mut values: Vec<Value>) -> Self {
        if values.len() == 1 { Self::One(values.swap_remove(0)) } else { Self::Many(values.into()) }
    }
}

impl Key {
    /// A key of one value.
    pub fn new(table: impl Into<TableName>, value: impl Into<Value>) -> Self {
        Self { table: table.into(), values: KeyValues::One(value.into()) }
    }

    /// A key of several values.
    pub fn composite(table: impl Into<TableName>, values: Vec<Value>) -> Self {
        Self { table: table.into(), values: values.into() }
    }

    /// The values, in the order of the spec's `key`.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        self.values.as_slice()
    }

    /// Whether a row can be asked for by it: NULL equals nothing, itself included.
    #[must_use]
    pub fn is_findable(&self) -> bool {
        !self.values().iter().any(Value::is_null)
    }
}

/// As `bookings(42)` or `bookings('AB', 7)`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.table)?;
        for (i, value) in self.values().iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{value}")?;
        }
        f.write_str(")")
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
