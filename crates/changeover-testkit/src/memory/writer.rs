//! The application's own transactions: what a service that knows nothing of the migration does.

use std::fmt;
use std::sync::Arc;

use changeover::store::fence::FenceState;
use changeover::value::{Key, Row};
use tokio::sync::OwnedRwLockReadGuard;

use super::data::SortKey;
use super::{MemoryStore, Sabotage, Shared};

/// Why an application's write was refused. Nothing of its transaction is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The fence isn't open: retry the whole transaction, after a look at the flag.
    Fenced,
    /// Another row has that unique value.
    NotUnique(Key),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => {
                f.write_str("this side takes no writes now: roll back, look at the flag, try again")
            }
            Self::NotUnique(key) => write!(f, "{key} has that value already"),
        }
    }
}

impl std::error::Error for Refused {}

/// A transaction of the application. Numbers of the log are taken as it goes, and become visible when it commits:
/// out of order, when transactions overlap. Dropping it rolls back.
pub struct WriteTx {
    shared: Arc<Shared>,
    ops: Vec<(usize, SortKey, Option<Row>, Option<i64>)>,
    _open: OwnedRwLockReadGuard<()>,
}

impl fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteTx({} writes)", self.ops.len())
    }
}

impl MemoryStore {
    /// Begins a transaction of the application. Waits while the fence's lock is held.
    pub async fn begin_write(&self) -> WriteTx {
        let open = Arc::clone(&self.shared.writers).read_owned().await;
        WriteTx { shared: Arc::clone(&self.shared), ops: Vec::new(), _open: open }
    }

    /// Writes one row, in this store's own shape, in a transaction of its own.
    ///
    /// # Errors
    /// If the store refuses it.
    pub async fn put(&self, table: &str, row: Row) -> Result<(), Refused> {
        let mut tx = self.begin_write().await;
        tx.put(table, row);
        tx.commit()
    }

    /// Deletes one row, in a transaction of its own.
    ///
    /// # Errors
    /// If the store refuses it.
    pub async fn delete(&self, key: &Key) -> Result<(), Refused> {
        let mut tx = self.begin_write().await;
        tx.delete(key);
        tx.commit()
    }
}

impl WriteTx {
    /// Inserts or replaces a row, in the store's own shape.
    pub fn put(&mut self, table: &str, row: Row) {
        let at = self.shared.place(table);
        let sort = self.shared.sort_of_raw(at, &row);
        self.push(at, sort, Some(row));
    }

    /// Deletes a row.
    pub fn delete(&mut self, key: &Key) {
        let at = self.shared.place(key.table.as_str());
        let sort = self.shared.tables[at].sort(key.values().to_vec());
        self.push(at, sort, None);
    }

    fn push(&mut self, at: usize, sort: SortKey, row: Option<Row>) {
        let mut state = self.shared.state();
        let id = state.capture.is_some().then(|| {
            state.last_id += 1;
            state.last_id
        });
        drop(state);
        self.ops.push((at, sort, row, id));
    }

    /// Commits.
    ///
    /// # Errors
    /// If the store refuses it; then nothing of it is there.
    pub fn commit(self) -> Result<(), Refused> {
        let now_ms = self.shared.now_ms();
        let mut state = self.shared.state();
        if state.fence.state != FenceState::Open && !self.shared.breaks(Sabotage::NoFence) {
            return Err(Refused::Fenced);
        }
        let before = state.clone_tables(self.ops.iter().map(|(at, ..)| *at));
        for (at, sort, row, _) in &self.ops {
            match row {
                Some(row) => state.tables[*at].put(sort.clone(), row.clone()),
                None => {
                    state.tables[*at].remove(sort);
                }
            }
        }
        // Once all are in: rows of one transaction may exchange their values.
        let clash = before.iter().find_map(|(at, _)| Some((*at, state.tables[*at].reindex()?)));
        if let Some((at, sort)) = clash {
            state.restore_tables(before);
            let table = self.shared.tables[at].mapping.table.clone();
            return Err(Refused::NotUnique(Key::composite(table, sort.values)));
        }
        for (at, sort, _, id) in self.ops {
            let table = self.shared.tables[at].mapping.table.clone();
            let captured = state.capture.is_some();
            if let Some(id) = id.filter(|_| captured) {
                state.log(id, Key::composite(table, sort.values), now_ms);
            } else if captured {
                // Capture was switched on while this was open: as a database would, it is captured.
                state.last_id += 1;
                let id = state.last_id;
                state.log(id, Key::composite(table, sort.values), now_ms);
            }
        }
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}
