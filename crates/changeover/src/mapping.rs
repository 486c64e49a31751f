//! A mapping: what one `[[table]]` of the spec says, in plain types: what a spec file is read into,
//! and what the stores of tables are planned from.

use std::fmt;

use crate::rules::Rule;
use crate::value::{TableName, Value};

/// A table of one of the stores that the spec names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableRef {
    /// The store's name in the spec.
    pub store: String,
    /// The schema, where the database has schemas.
    pub schema: Option<String>,
    /// The table's name.
    pub table: String,
}

impl TableRef {
    /// A table without a schema.
    pub fn new(store: impl Into<String>, table: impl Into<String>) -> Self {
        Self { store: store.into(), schema: None, table: table.into() }
    }
}

/// As in the spec: `store:table` or `store:schema.table`.
impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{}:{schema}.{}", self.store, self.table),
            None => write!(f, "{}:{}", self.store, self.table),
        }
    }
}

/// One column of the key: what it is called on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The old table's column.
    pub old: String,
    /// The new table's column.
    pub new: String,
}

/// What a new column is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum SetExpr {
    /// An expression over the old row, in the old side's SQL.
    Sql(String),
    /// A constant. On a key column of the new table it belongs to the new key.
    Const(Value),
}

/// One mapping: one old table (or some of its rows) to one new table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMapping {
    /// Its name: by default the old table's.
    pub name: TableName,
    /// The old table.
    pub old: TableRef,
    /// The new table.
    pub new: TableRef,
    /// The key, in the spec's order. Empty: the plan takes the old table's primary key, under the same names.
    pub key: Vec<KeyColumn>,
    /// Which rows of the old table take part, in the old side's SQL; `None`: all.
    pub where_: Option<String>,
    /// New columns that aren't the old column of the same name.
    pub set: Vec<(String, SetExpr)>,
    /// Old columns as SQL over the new row, for the way back.
    pub back: Vec<(String, String)>,
    /// What may differ between two rows that count as equal.
    pub rules: Vec<Rule>,
    /// The column by whose value rows are put into slots: the new side's name, or the old one's.
    pub route_by: Option<String>,
}

impl TableMapping {
    /// A mapping of a table to another under the same column names.
    pub fn new(old: TableRef, new: TableRef) -> Self {
        Self {
            name: old.table.clone().into(),
            old,
            new,
            key: Vec::new(),
            where_: None,
            set: Vec::new(),
            back: Vec::new(),
            rules: Vec::new(),
            route_by: None,
        }
    }

    /// The constants of `set`, which tell this mapping's rows from another's in one new table.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.set.iter().filter_map(|(column, expr)| match expr {
            SetExpr::Const(value) => Some((column.as_str(), value)),
            SetExpr::Sql(_) => None,
        })
    }
}
