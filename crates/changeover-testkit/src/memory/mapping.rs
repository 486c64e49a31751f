//! What a table in memory is: its columns on either side, what its rows become on the other, its order, what it refuses.

use std::sync::Arc;

use changeover::rules::RowRules;
use changeover::store::{KeyOrder, TableShape};
use changeover::value::{Row, TableName, Value};

use super::data::SortKey;

/// A row of the old side in the canonical image; `None`: outside of the mapping; an error: the column, and why it can't be
/// mapped.
pub type Mapped = Result<Option<Row>, (String, String)>;

/// What `set` and `back` of a spec do.
#[derive(Clone)]
pub struct Mapping {
    /// The mapping's name.
    pub table: TableName,
    /// The new side's columns.
    pub columns: Vec<String>,
    /// The key among them.
    pub key: Vec<usize>,
    /// The old side's columns.
    pub old_columns: Vec<String>,
    /// The key among those.
    pub old_key: Vec<usize>,
    /// An old row in the new side's shape.
    pub set: Arc<dyn Fn(&Row) -> Mapped + Send + Sync>,
    /// A new row in the old side's shape, all of its columns.
    pub back: Arc<dyn Fn(&Row) -> Row + Send + Sync>,
}

impl Mapping {
    /// Both sides alike, the key in the first column.
    #[must_use]
    pub fn alike(table: impl Into<TableName>, columns: &[&str]) -> Self {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Self {
            table: table.into(),
            old_columns: columns.clone(),
            columns,
            key: vec![0],
            old_key: vec![0],
            set: Arc::new(|row| Ok(Some(row.clone()))),
            back: Arc::new(Clone::clone),
        }
    }

    /// Both sides alike but for one column of text: in capitals on the new side, in small letters on the way back.
    #[must_use]
    pub fn capitals(table: impl Into<TableName>, columns: &[&str], column: usize) -> Self {
        let change = move |row: &Row, change: fn(&str) -> String| {
            let mut row = row.clone();
            if let Value::Text(text) = &row.0[column] {
                row.0[column] = change(text).into();
            }
            row
        };
        Self {
            set: Arc::new(move |row| Ok(Some(change(row, str::to_uppercase)))),
            back: Arc::new(move |row| change(row, str::to_lowercase)),
            ..Self::alike(table, columns)
        }
    }
}

/// The order of a store's scans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Collation {
    /// As [`KeyOrder::Binary`].
    #[default]
    Binary,
    /// The other way round: an order of the store's own.
    Backwards,
}

type Refuses = Arc<dyn Fn(&Row) -> Option<(String, String)> + Send + Sync>;

/// One table of a store in memory.
#[derive(Clone)]
pub struct MemoryTable {
    pub(super) mapping: Mapping,
    pub(super) collation: Collation,
    pub(super) unique: Vec<Vec<usize>>,
    pub(super) route: Vec<usize>,
    pub(super) rules: RowRules,
    pub(super) refuses: Option<Refuses>,
}

impl MemoryTable {
    /// A table of this mapping.
    #[must_use]
    pub fn new(mapping: Mapping) -> Self {
        let route = mapping.key.clone();
        let (collation, unique, rules) = (Collation::Binary, Vec::new(), RowRules::default());
        Self { mapping, collation, unique, route, rules, refuses: None }
    }

    /// In this order.
    #[must_use]
    pub const fn ordered(mut self, collation: Collation) -> Self {
        self.collation = collation;
        self
    }

    /// Put into slots by this column of the canonical image, and not by the key.
    #[must_use]
    pub fn routed_by(mut self, column: usize) -> Self {
        self.route = vec![column];
        self
    }

    /// With a unique key over these columns of its side.
    #[must_use]
    pub fn unique(mut self, columns: &[usize]) -> Self {
        self.unique.push(columns.to_vec());
        self
    }

    /// With these rules, by which a row of the old side counts as right.
    #[must_use]
    pub fn ruled(mut self, rules: RowRules) -> Self {
        self.rules = rules;
        self
    }

    /// With rows of its side that it refuses to take from the mirror: the column, and why.
    #[must_use]
    pub fn refusing(
        mut self,
        refuses: impl Fn(&Row) -> Option<(String, String)> + Send + Sync + 'static,
    ) -> Self {
        self.refuses = Some(Arc::new(refuses));
        self
    }

    pub(super) fn shape(&self) -> TableShape {
        TableShape {
            table: self.mapping.table.clone(),
            columns: self.mapping.columns.clone(),
            key: self.mapping.key.clone(),
            route: self.route.clone(),
            back_columns: self.mapping.old_columns.clone(),
            order: match self.collation {
                Collation::Binary => KeyOrder::Binary,
                Collation::Backwards => KeyOrder::Own,
            },
        }
    }

    pub(super) const fn sort(&self, values: Vec<Value>) -> SortKey {
        SortKey { collation: self.collation, values }
    }
}
