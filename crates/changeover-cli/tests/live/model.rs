//! What every row must be by now: the service's own prediction, from the writes that were acknowledged to it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Value;

use super::operation::{Operation, Row};
use super::shape::Shape;

/// A key, in a form that has an order.
pub fn name(key: &[Value]) -> String {
    format!("{key:?}")
}

/// A row as one text.
pub fn text(key: &[Value], values: &[Value]) -> String {
    format!("{key:?} {values:?}")
}

/// The rows of all logical tables.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub tables: Vec<BTreeMap<String, Row>>,
    /// Keys of rows that were deleted: to be inserted again.
    pub gone: Vec<Vec<Vec<Value>>>,
    /// Keys that a database gave out, each once.
    issued: BTreeSet<(usize, String)>,
}

impl Model {
    pub fn new(tables: usize) -> Self {
        Self {
            tables: vec![BTreeMap::new(); tables],
            gone: vec![Vec::new(); tables],
            issued: BTreeSet::new(),
        }
    }

    /// A database gave out this key.
    pub fn issue(&mut self, table: usize, key: &[Value]) {
        assert!(self.issued.insert((table, name(key))), "{key:?} was given out twice");
    }

    /// Keeps an acknowledged operation.
    pub fn keep(&mut self, shapes: &[Shape], operation: &Operation) {
        match operation {
            Operation::Insert { table, row } | Operation::Update { table, row } => {
                self.put(*table, row.clone())
            }
            Operation::Replace { table, row } => {
                self.displace(*table, shapes[*table].unique(), row);
                self.put(*table, row.clone());
            }
            Operation::Delete { table, key } => self.remove(*table, key),
            Operation::Rekey { table, from, to } => {
                let row = self.tables[*table].remove(&name(from)).expect("a row that was there");
                self.put(*table, Row { key: to.clone(), values: row.values });
            }
            Operation::Exchange { table, rows } => rows.iter().for_each(|row| self.put(*table, row.clone())),
            Operation::Hand { from, to, key } => {
                let row = self.tables[*from].remove(&name(key)).expect("a row that was there");
                self.put(*to, row);
            }
        }
    }

    fn put(&mut self, table: usize, row: Row) {
        self.tables[table].insert(name(&row.key), row);
    }

    fn remove(&mut self, table: usize, key: &[Value]) {
        self.tables[table].remove(&name(key)).expect("a row that was there");
        self.gone[table].push(key.to_vec());
    }

    /// The row that has this row's unique value under another key is replaced away.
    fn displace(&mut self, table: usize, unique: Option<usize>, by: &Row) {
        let Some(at) = unique else { return };
        let rows = self.tables[table].values();
        let displaced = rows.filter(|row| row.key != by.key && row.values[at] == by.values[at]);
        let keys: Vec<Vec<Value>> = displaced.map(|row| row.key.clone()).collect();
        keys.iter().for_each(|key| self.remove(table, key));
    }

    /// The rows of a table, each as one text.
    pub fn rows(&self, table: usize) -> impl Iterator<Item = String> {
        self.tables[table].values().map(|row| text(&row.key, &row.values))
    }
}
