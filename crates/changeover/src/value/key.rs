//! The name of a mapping, and the key of one of its rows.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Value;

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
