//! What a migration's rows are to the service: one logical table for each mapping, and where each side has it.

use rusqlite::types::Value;

use super::database::Database;

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
    /// True or false: 1 or 0.
    Flag,
    /// A decimal number of two digits after the point, as text, or NULL.
    Money,
    /// A moment with its microseconds, as text in ISO 8601.
    Moment,
    /// A JSON document, as compact text, or NULL.
    Json,
    /// A UUID, as text.
    Uuid,
    /// A list of integers, as PostgreSQL writes it.
    List,
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

impl Keys {
    /// What each column of the key holds.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Generated | Self::Int | Self::Shared => &[Kind::Number],
            Self::Text => &[Kind::Unique],
            Self::Pair => &[Kind::Number, Kind::Unique],
        }
    }
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
    /// The columns of the key, with what they hold.
    pub fn keys(&self, shape: &Shape) -> impl Iterator<Item = (&'static str, Kind)> {
        self.key.iter().copied().zip(shape.keys.kinds().iter().copied())
    }

    /// The other columns, with what they hold.
    pub fn others(&self, shape: &Shape) -> impl Iterator<Item = (&'static str, Kind)> {
        self.values.iter().copied().zip(shape.kinds.iter().copied())
    }

    /// All rows of the mapping: key, then values.
    pub fn select(&self, shape: &Shape, database: &dyn Database) -> String {
        let all = self.keys(shape).chain(self.others(shape));
        let columns: Vec<String> = all.map(|(column, kind)| database.read(column, kind)).collect();
        let fixed = self.fixed.iter().map(|(column, value)| format!("{column} = {value}"));
        let condition = fixed.chain(["1 = 1".to_owned()]).collect::<Vec<_>>().join(" AND ");
        format!("SELECT {} FROM {} WHERE {condition}", columns.join(", "), self.table)
    }
}

/// A statement on its way: its parameters, in the order in which they stand in it.
pub struct Sql<'d> {
    database: &'d dyn Database,
    pub parameters: Vec<Value>,
}

impl<'d> Sql<'d> {
    pub fn new(database: &'d dyn Database) -> Self {
        Self { database, parameters: Vec::new() }
    }

    /// A parameter, and how it stands in the statement.
    pub fn put(&mut self, value: &Value, kind: Kind) -> String {
        self.parameters.push(value.clone());
        self.database.parameter(self.parameters.len(), kind)
    }

    /// `column = value`, of each column.
    pub fn pairs(&mut self, of: impl Iterator<Item = (&'static str, Kind)>, values: &[Value]) -> Vec<String> {
        of.zip(values)
            .map(|((column, kind), value)| format!("{column} = {}", self.put(value, kind)))
            .collect()
    }

    /// The condition that picks a row by its key.
    pub fn is_the_row(&mut self, shape: &Shape, at: &At, key: &[Value]) -> String {
        let mut all = self.pairs(at.keys(shape), key);
        all.extend(at.fixed.iter().map(|(column, value)| format!("{column} = {value}")));
        all.join(" AND ")
    }

    /// `INSERT` or `REPLACE`; with an empty key where it is generated.
    pub fn insert(&mut self, verb: &str, shape: &Shape, at: &At, key: &[Value], values: &[Value]) -> String {
        let keys = at.keys(shape).zip(key);
        let mut columns = Vec::new();
        let mut places = Vec::new();
        for ((column, kind), value) in keys.chain(at.others(shape).zip(values)) {
            columns.push(column);
            places.push(self.put(value, kind));
        }
        for (column, value) in at.fixed {
            columns.push(column);
            places.push((*value).to_owned());
        }
        format!("{verb} INTO {} ({}) VALUES ({})", at.table, columns.join(", "), places.join(", "))
    }
}
