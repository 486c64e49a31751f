//! What a migration's rows are to the service: one logical table for each mapping, and where each side has it.

use rusqlite::types::Value;

/// A side, as the service sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Old,
    New,
}

impl Side {
    pub const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// What a table's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Given out by the database.
    Generated,
    /// Integers that the service chooses.
    Int,
    /// The same, and no other table has them.
    Shared,
    /// Texts, with what may be in one.
    Text,
    /// An integer and a text.
    Pair,
}

/// What a column that isn't in the key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word; in lower case on one side, in upper case on the other, where the shape says so.
    Word,
    /// An integer or NULL.
    Number,
    /// Bytes or NULL.
    Bytes,
    /// A text that no other row has.
    Unique,
}

/// Where a side has a logical table.
#[derive(Debug, Clone, Copy)]
pub struct At {
    pub db: &'static str,
    pub table: &'static str,
    pub key: &'static [&'static str],
    pub values: &'static [&'static str],
    /// Columns with the SQL of what they hold in every row of the mapping.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Words are in upper case here.
    pub upper: bool,
}

/// One logical table.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub keys: Keys,
    pub kinds: &'static [Kind],
    pub old: At,
    pub new: At,
}

impl Shape {
    pub const fn at(&self, side: Side) -> &At {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// The place of the unique column among the values.
    pub fn unique(&self) -> Option<usize> {
        self.kinds.iter().position(|kind| *kind == Kind::Unique)
    }

    /// What a side holds for these values.
    pub fn written(&self, side: Side, values: &[Value]) -> Vec<Value> {
        let cased = |(value, kind): (&Value, &Kind)| match value {
            Value::Text(word) if *kind == Kind::Word && self.at(side).upper => {
                Value::Text(word.to_uppercase())
            }
            other => other.clone(),
        };
        values.iter().zip(self.kinds).map(cased).collect()
    }
}

impl At {
    /// The condition that picks a row by its key: as many parameters as the key has columns.
    pub fn is_the_row(&self) -> String {
        let key = self.key.iter().map(|column| format!("{column} = ?"));
        let fixed = self.fixed.iter().map(|(column, value)| format!("{column} = {value}"));
        key.chain(fixed).collect::<Vec<_>>().join(" AND ")
    }

    /// `INSERT` or `REPLACE`, with the key's parameters and then the values'; without the key where it is generated.
    pub fn insert(&self, verb: &str, with_key: bool) -> String {
        let key = if with_key { self.key } else { &[] };
        let given = key.iter().chain(self.values).copied();
        let columns: Vec<&str> = given.clone().chain(self.fixed.iter().map(|(column, _)| *column)).collect();
        let places: Vec<&str> =
            given.map(|_| "?").chain(self.fixed.iter().map(|(_, value)| *value)).collect();
        format!("{verb} INTO {} ({}) VALUES ({})", self.table, columns.join(", "), places.join(", "))
    }

    /// All rows of the mapping: key, then values.
    pub fn select(&self) -> String {
        let columns: Vec<&str> = self.key.iter().chain(self.values).copied().collect();
        let fixed = self.fixed.iter().map(|(column, value)| format!("{column} = {value}"));
        let condition = fixed.chain(["1".to_owned()]).collect::<Vec<_>>().join(" AND ");
        format!("SELECT {} FROM {} WHERE {condition}", columns.join(", "), self.table)
    }
}
