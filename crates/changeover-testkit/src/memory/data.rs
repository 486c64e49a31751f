//! What a store in memory holds: rows with their unique values, the log, the marks, the fence.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use changeover::engine::cmp_keys;
use changeover::store::capture::{CaptureOptions, Claim};
use changeover::store::fence::{FenceAt, FenceState};
use changeover::store::guard::Chunk;
use changeover::value::{Key, Row, TableName, Value};
use changeover_protocol::{Side, Slot};

use super::mapping::{Collation, MemoryTable};

/// A key in the order of its table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SortKey {
    pub(super) collation: Collation,
    pub(super) values: Vec<Value>,
}

impl std::hash::Hash for Collation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = cmp_keys(&self.values, &other.values);
        match self.collation {
            Collation::Binary => order,
            Collation::Backwards => order.reverse(),
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The rows of one table, with who holds which unique value.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableData {
    pub(super) rows: BTreeMap<SortKey, Row>,
    pub(super) unique: Vec<Vec<usize>>,
    pub(super) holders: HashMap<(usize, Vec<Value>), SortKey>,
    /// What a counter would give out next.
    pub(super) counter: i64,
}

impl TableData {
    pub(super) fn put(&mut self, sort: SortKey, row: Row) {
        self.remove(&sort);
        for (place, values) in unique_values(&self.unique, &row) {
            self.holders.insert((place, values), sort.clone());
        }
        if let Some(Value::Int(n)) = sort.values.first() {
            self.counter = self.counter.max(n.saturating_add(1));
        }
        self.rows.insert(sort, row);
    }

    pub(super) fn remove(&mut self, sort: &SortKey) -> Option<Row> {
        let row = self.rows.remove(sort)?;
        for value in unique_values(&self.unique, &row) {
            if self.holders.get(&value) == Some(sort) {
                self.holders.remove(&value);
            }
        }
        Some(row)
    }

    /// Finds out anew who holds which unique value. One of two that hold the same, if there are such.
    pub(super) fn reindex(&mut self) -> Option<SortKey> {
        self.holders.clear();
        for (sort, row) in &self.rows {
            for value in unique_values(&self.unique, row) {
                if self.holders.insert(value, sort.clone()).is_some() {
                    return Some(sort.clone());
                }
            }
        }
        None
    }
}

/// The unique values of a row, by the place of their unique key. One with a NULL in it conflicts with nothing.
pub(super) fn unique_values(unique: &[Vec<usize>], row: &Row) -> Vec<(usize, Vec<Value>)> {
    let values = |columns: &Vec<usize>| columns.iter().map(|&at| row.0[at].clone()).collect::<Vec<_>>();
    let all = unique.iter().enumerate().map(|(place, columns)| (place, values(columns)));
    all.filter(|(_, values)| !values.iter().any(Value::is_null)).collect()
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(super) server: String,
    names: Vec<TableName>,
    pub(super) tables: Vec<TableData>,
    pub(super) log: BTreeMap<i64, Claim>,
    pub(super) last_id: i64,
    pub(super) capture: Option<CaptureOptions>,
    pub(super) overflowed: bool,
    pub(super) fence: FenceAt,
    pub(super) marks: BTreeMap<(TableName, u64, u64), Chunk>,
    pub(super) tokens: HashMap<Key, u64>,
}

impl State {
    pub(super) fn new(tables: &[MemoryTable], side: Side) -> Self {
        let data = |table: &MemoryTable| TableData {
            unique: table.unique.clone(),
            counter: 1,
            ..TableData::default()
        };
        Self {
            server: format!("memory, the {side} one"),
            names: tables.iter().map(|table| table.mapping.table.clone()).collect(),
            tables: tables.iter().map(data).collect(),
            log: BTreeMap::new(),
            last_id: 0,
            capture: None,
            overflowed: false,
            fence: FenceAt { state: FenceState::Open, epoch: 0 },
            marks: BTreeMap::new(),
            tokens: HashMap::new(),
        }
    }

    pub(super) fn table(&self, name: &str) -> &TableData {
        let at = self.names.iter().position(|table| table.as_str() == name).expect("a table of this store");
        &self.tables[at]
    }

    /// Those of these tables that have unique keys, as they are, each once.
    pub(super) fn clone_tables(&self, places: impl Iterator<Item = usize>) -> Vec<(usize, TableData)> {
        let mut places: Vec<usize> = places.filter(|&at| !self.tables[at].unique.is_empty()).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|at| (at, self.tables[at].clone())).collect()
    }

    pub(super) fn restore_tables(&mut self, before: Vec<(usize, TableData)>) {
        for (at, table) in before {
            self.tables[at] = table;
        }
    }

    /// The newest id less the oldest.
    pub(super) fn span(&self) -> u64 {
        match (self.log.first_key_value(), self.log.last_key_value()) {
            (Some((oldest, _)), Some((newest, _))) => newest.abs_diff(*oldest),
            _ => 0,
        }
    }

    /// Puts an entry into the log under a number that was taken earlier, unless the log is at its bound.
    pub(super) fn log(&mut self, id: i64, key: Key, at_ms: i64) {
        let Some(options) = self.capture else { return };
        if options.overflow && (self.overflowed || self.span() >= options.bound) {
            self.overflowed = true;
            return;
        }
        let slot = slot_of(&key);
        self.log.insert(id, Claim { id, key, slot, at_ms });
    }
}

/// The slot of a key in memory: of its first value.
pub(super) fn slot_of(key: &Key) -> Slot {
    let text = match key.values().first() {
        Some(Value::Text(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    Slot::of("memory", text.as_bytes())
}
