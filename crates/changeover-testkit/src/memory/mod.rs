//! A store in memory, as strict as a database: transactions, guards, unique values, a log whose numbers become visible
//! out of order, a fence, and bad weather on request.
//!
//! It comes in two flavours: with guarded transactions (as a database has them), or with conditional puts alone (as a
//! key-value store has them). What it holds is in this process, so tests look into it and damage it at will.

mod capture;
mod conditional;
mod data;
mod digest;
mod fence;
mod guard;
mod mapping;
mod sabotage;
mod store;
mod weather;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use changeover::store::{StoreInfo, TableShape};
use changeover::value::{Key, Row, TableName};
use changeover_protocol::Side;
use tokio::sync::{Notify, RwLock};

use self::data::State;
pub use self::mapping::{Collation, Mapped, Mapping, MemoryTable};
pub use self::sabotage::Sabotage;
pub use self::weather::Weather;
pub use self::writer::{Refused, WriteTx};

/// How many guards there are for keys.
const STRIPES: usize = 64;

/// One side of a migration, in memory. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    info: StoreInfo,
    shapes: Vec<TableShape>,
    tables: Vec<MemoryTable>,
    conditional: bool,
    state: Mutex<State>,
    weather: Mutex<Weather>,
    sabotage: Mutex<Sabotage>,
    replica: Mutex<Option<(tokio::time::Instant, Vec<data::TableData>)>>,
    stripes: Vec<Arc<tokio::sync::Mutex<()>>>,
    chunks: HashMap<TableName, Arc<RwLock<()>>>,
    marks: Arc<tokio::sync::Mutex<()>>,
    /// Shared by every writer's transaction; held alone by the fence's lock.
    writers: Arc<RwLock<()>>,
    changed: Notify,
    /// In bytes, of the answers to reads by keys.
    largest_read: AtomicUsize,
    digests: AtomicBool,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({})", self.shared.info.name)
    }
}

impl MemoryStore {
    /// A store with guarded transactions, a capture log and a fence.
    #[must_use]
    pub fn new(side: Side, tables: Vec<MemoryTable>) -> Self {
        Self::of(side, tables, false)
    }

    /// A store with conditional puts alone.
    #[must_use]
    pub fn conditional(side: Side, tables: Vec<MemoryTable>) -> Self {
        Self::of(side, tables, true)
    }

    fn of(side: Side, tables: Vec<MemoryTable>, conditional: bool) -> Self {
        let shapes: Vec<TableShape> = tables.iter().map(MemoryTable::shape).collect();
        let chunks = shapes.iter().map(|shape| (shape.table.clone(), Arc::default())).collect();
        let info = StoreInfo { name: format!("memory-{side}"), kind: "memory", side };
        let state = Mutex::new(State::new(&tables, side));
        let stripes = (0..STRIPES).map(|_| Arc::default()).collect();
        let shared = Shared {
            info,
            shapes,
            tables,
            conditional,
            state,
            weather: Mutex::default(),
            sabotage: Mutex::default(),
            replica: Mutex::default(),
            stripes,
            chunks,
            marks: Arc::default(),
            writers: Arc::default(),
            changed: Notify::new(),
            largest_read: AtomicUsize::new(0),
            digests: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The weather from now on.
    pub fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// The rows of a table as they lie in this store, in its order.
    #[must_use]
    pub fn raw_rows(&self, table: &str) -> Vec<Row> {
        let state = self.state();
        state.table(table).rows.values().cloned().collect()
    }

    /// The rows of a table in the canonical image, in this store's order. Rows outside of the mapping aren't there.
    #[must_use]
    pub fn rows(&self, table: &str) -> Vec<Row> {
        let at = self.shared.place(table);
        let state = self.state();
        state.tables[at]
            .rows
            .values()
            .filter_map(|row| self.shared.canonical(at, row).ok().flatten())
            .collect()
    }

    /// The size in bytes of the largest answer to a read by keys so far: what its caller held at once.
    #[must_use]
    pub fn largest_read(&self) -> usize {
        self.shared.largest_read.load(Ordering::Relaxed)
    }

    /// One row as it lies in this store.
    #[must_use]
    pub fn raw_row(&self, key: &Key) -> Option<Row> {
        let at = self.shared.place(key.table.as_str());
        let sort = self.shared.tables[at].sort(key.values().to_vec());
        self.state().tables[at].rows.get(&sort).cloned()
    }

    /// Puts a row in as it is, past the log, the fence and every constraint: deliberate damage.
    pub fn damage_put(&self, table: &str, row: Row) {
        let at = self.shared.place(table);
        let sort = self.shared.sort_of_raw(at, &row);
        self.state().tables[at].put(sort, row);
    }

    /// Deletes a row, past the log and the fence: deliberate damage.
    pub fn damage_delete(&self, key: &Key) {
        let at = self.shared.place(key.table.as_str());
        let sort = self.shared.tables[at].sort(key.values().to_vec());
        self.state().tables[at].remove(&sort);
    }

    /// The keys in the log, by its numbers.
    #[must_use]
    pub fn logged(&self) -> Vec<(i64, Key)> {
        self.state().log.values().map(|claim| (claim.id, claim.key.clone())).collect()
    }

    /// Makes this look like another server, as after a restore.
    pub fn replace_server(&self, server: &str) {
        server.clone_into(&mut self.state().server);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a table.
    ///
    /// # Panics
    /// If there is none of that name: the test is wrong.
    fn place(&self, table: &str) -> usize {
        self.tables.iter().position(|t| t.mapping.table.as_str() == table).expect("a table of this store")
    }

    fn sort_of_raw(&self, at: usize, row: &Row) -> data::SortKey {
        let key = self.key_columns(at);
        self.tables[at].sort(key.iter().map(|&column| row.0[column].clone()).collect())
    }

    fn key_columns(&self, at: usize) -> &[usize] {
        let mapping = &self.tables[at].mapping;
        match self.info.side {
            Side::Old => &mapping.old_key,
            Side::New => &mapping.key,
        }
    }

    /// The canonical image of a row of this store.
    fn canonical(&self, at: usize, row: &Row) -> Mapped {
        match self.info.side {
            Side::Old => (self.tables[at].mapping.set)(row),
            Side::New => Ok(Some(row.clone())),
        }
    }

    fn key_of_raw(&self, at: usize, row: &Row) -> Key {
        let values = self.key_columns(at).iter().map(|&column| row.0[column].clone()).collect();
        Key::composite(self.tables[at].mapping.table.clone(), values)
    }
}
