//! The memory store's guarded transactions: what they write lies over the tables until they commit.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::guard::{Applied, Change, Chunk, Guarded, GuardedTx, Scope};
use changeover::store::{Image, Refusal, RowBatch, Rows};
use changeover::value::{Key, Row, TableName, Value};
use changeover_protocol::Side;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::data::{SortKey, State, unique_values};
use super::store::LOCK_WAIT;
use super::{MemoryStore, STRIPES, Sabotage, Shared};

/// What is held until the transaction ends. Only held: nobody looks.
#[derive(Default)]
struct Locks {
    _stripes: Vec<OwnedMutexGuard<()>>,
    _shared: Vec<OwnedRwLockReadGuard<()>>,
    _alone: Option<OwnedRwLockWriteGuard<()>>,
}

impl MemoryStore {
    async fn lock_scope(&self, scope: Scope<'_>) -> Result<Locks, StoreError> {
        let mut locks = Locks::default();
        if self.shared.breaks(Sabotage::NoGuard) {
            return Ok(locks);
        }
        match scope {
            Scope::Marks => locks._stripes.push(Arc::clone(&self.shared.marks).lock_owned().await),
            Scope::Chunk(chunk) => {
                self.shared.asked(&chunk.table)?;
                let lock = Arc::clone(&self.shared.chunks[&chunk.table]);
                locks._alone = Some(lock.write_owned().await);
            }
            Scope::Keys(keys) => {
                let tables: BTreeSet<&TableName> = keys.iter().map(|key| &key.table).collect();
                for table in tables {
                    self.shared.asked(table)?;
                    let lock = Arc::clone(&self.shared.chunks[table]);
                    locks._shared.push(lock.read_owned().await);
                }
                // In order, so that two sets can't wait for each other.
                let stripes: BTreeSet<usize> = keys.iter().map(stripe).collect();
                for stripe in stripes {
                    let lock = Arc::clone(&self.shared.stripes[stripe]);
                    locks._stripes.push(lock.lock_owned().await);
                }
            }
        }
        Ok(locks)
    }
}

fn stripe(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % STRIPES as u64) as usize
}

#[async_trait]
impl Guarded for MemoryStore {
    async fn begin(&self, scope: Scope<'_>) -> Result<Box<dyn GuardedTx>, StoreError> {
        self.shared.suffer("begin").await?;
        let locks = tokio::time::timeout(LOCK_WAIT, self.lock_scope(scope)).await;
        let locks = locks.map_err(|_| StoreError::Busy {
            store: self.shared.info.name.clone(),
            what: "a guard".into(),
            holder: None,
        })??;
        self.shared.check_is_no_authority()?;
        Ok(Box::new(MemoryTx {
            shared: Arc::clone(&self.shared),
            over: HashMap::new(),
            holders: HashMap::new(),
            marks: Vec::new(),
            _locks: locks,
        }))
    }

    async fn chunks(&self, table: &TableName, generation: u64) -> Result<Vec<Chunk>, StoreError> {
        self.shared.suffer("chunks").await?;
        let state = self.state();
        let of = (table.clone(), generation, 0)..=(table.clone(), generation, u64::MAX);
        Ok(state.marks.range(of).map(|(_, chunk)| chunk.clone()).collect())
    }

    async fn forget_generations_below(&self, generation: u64) -> Result<(), StoreError> {
        self.shared.suffer("forget_generations_below").await?;
        self.state().marks.retain(|(_, of, _), _| *of >= generation);
        Ok(())
    }
}

type Place = (usize, SortKey);

struct MemoryTx {
    shared: Arc<Shared>,
    over: HashMap<Place, Option<Row>>,
    /// Who holds a unique value by what lies over the tables.
    holders: HashMap<(usize, usize, Vec<Value>), SortKey>,
    marks: Vec<Chunk>,
    _locks: Locks,
}

impl MemoryTx {
    fn row<'a>(&'a self, state: &'a State, place: &Place) -> Option<&'a Row> {
        match self.over.get(place) {
            Some(row) => row.as_ref(),
            None => state.tables[place.0].rows.get(&place.1),
        }
    }

    fn put(&mut self, place: Place, row: Option<Row>) {
        if let Some(row) = &row {
            for (unique, values) in unique_values(&self.shared.tables[place.0].unique, row) {
                self.holders.insert((place.0, unique, values), place.1.clone());
            }
        }
        self.over.insert(place, row);
    }

    /// Who else holds one of the row's unique values, as this transaction sees it.
    fn holder(&self, state: &State, place: &Place, row: &Row) -> Option<SortKey> {
        let table = &self.shared.tables[place.0];
        unique_values(&table.unique, row).into_iter().find_map(|(unique, values)| {
            let over = self.holders.get(&(place.0, unique, values.clone()));
            let below = state.tables[place.0].holders.get(&(unique, values.clone()));
            [over, below]
                .into_iter()
                .flatten()
                .find(|sort| {
                    let other = (place.0, (*sort).clone());
                    let holds =
                        |row: &Row| unique_values(&table.unique, row).contains(&(unique, values.clone()));
                    other.1 != place.1 && self.row(state, &other).is_some_and(holds)
                })
                .cloned()
        })
    }

    fn place(&self, key: &Key) -> Result<Place, StoreError> {
        let at = self.shared.asked(&key.table)?;
        Ok((at, self.shared.tables[at].sort(key.values().to_vec())))
    }

    /// What a change makes of the row that is there, in this store's shape.
    fn target(&self, at: usize, change: &Change, there: Option<&Row>) -> Result<Target, Refusal> {
        let refuse = |(column, why): (String, String)| Refusal {
            key: change.key.clone(),
            column: Some(column),
            value: None,
            why,
        };
        let Some(row) = &change.row else {
            // A row outside of the mapping isn't ours to delete.
            let ours = there.is_some_and(|there| !matches!(self.shared.canonical(at, there), Ok(None)));
            return Ok(if ours { Target::Delete } else { Target::Leave });
        };
        let table = &self.shared.tables[at];
        let target = match self.shared.info.side {
            Side::New => row.clone(),
            Side::Old => {
                let right = |old: &Row| match (table.mapping.set)(old) {
                    Ok(Some(image)) => table.rules.compare(&image, row).is_equal(),
                    _ => false,
                };
                if there.is_some_and(right) {
                    return Ok(Target::Leave);
                }
                let back = change
                    .back
                    .clone()
                    .ok_or_else(|| refuse(("".into(), "there is no write-back image".into())))?;
                if !right(&back) {
                    let why = "its image differs after it was written back";
                    return Err(refuse(("".into(), why.into())));
                }
                back
            }
        };
        if let Some(refused) = table.refuses.as_ref().and_then(|refuses| refuses(&target)) {
            return Err(refuse(refused));
        }
        if there == Some(&target) { Ok(Target::Leave) } else { Ok(Target::Put(target)) }
    }

    /// Puts rows over the tables, all or none.
    fn level(&mut self, changes: &[Change]) -> Result<Applied, StoreError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        let before = (self.over.clone(), self.holders.clone());
        let mut applied = Applied::default();
        let mut put: Vec<(Place, Key)> = Vec::new();
        for change in changes {
            let place = self.place(&change.key)?;
            let target = self.target(place.0, change, self.row(&state, &place));
            match target {
                Ok(Target::Leave) => applied.unchanged += 1,
                Ok(Target::Delete) => {
                    self.put(place, None);
                    applied.deleted += 1;
                }
                Ok(Target::Put(row)) => {
                    self.put(place.clone(), Some(row));
                    put.push((place, change.key.clone()));
                    applied.written += 1;
                }
                Err(refusal) => applied.refused.push(refusal),
            }
        }
        let set: HashSet<&Key> = changes.iter().map(|change| &change.key).collect();
        for (place, key) in put {
            let Some(row) = self.row(&state, &place).cloned() else { continue };
            let Some(holder) = self.holder(&state, &place, &row) else { continue };
            let other = Key::composite(key.table.clone(), holder.values);
            if set.contains(&other) {
                // Both are as the authority has them, and this side can't hold both.
                let there = state.tables[place.0].rows.get(&place.1).cloned();
                self.over.insert(place, there);
                applied.written -= 1;
                let why = format!("{other} has the same unique value on the authority too");
                applied.refused.push(Refusal { key, column: None, value: None, why });
            } else {
                applied.joins.push(other);
            }
        }
        if !applied.joins.is_empty() {
            (self.over, self.holders) = before;
            return Ok(Applied { joins: applied.joins, ..Applied::default() });
        }
        Ok(applied)
    }
}

enum Target {
    Leave,
    Delete,
    Put(Row),
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        if self.shared.breaks(Sabotage::NoRollback) {
            let mut state = self.shared.state();
            for ((at, sort), row) in self.over.drain() {
                if let Some(row) = row {
                    state.tables[at].put(sort, row);
                }
            }
        }
    }
}

#[async_trait]
impl GuardedTx for MemoryTx {
    async fn chunk(
        &mut self,
        table: &TableName,
        generation: u64,
        number: u64,
    ) -> Result<Option<Chunk>, StoreError> {
        self.shared.suffer("chunk").await?;
        let own = |chunk: &&Chunk| {
            chunk.table == *table && chunk.generation == generation && chunk.number == number
        };
        let own = self.marks.iter().rev().find(own).cloned();
        Ok(own.or_else(|| self.shared.state().marks.get(&(table.clone(), generation, number)).cloned()))
    }

    async fn read_within(
        &mut self,
        table: &TableName,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        self.shared.suffer("tx_read").await?;
        let at = self.shared.asked(table)?;
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        let mut answer = Rows::default();
        let mut size = 0;
        for key in keys {
            if size >= bytes {
                break;
            }
            let place = self.place(key)?;
            match self.row(&state, &place).map(|row| shared.image(at, row, Image::Canonical)) {
                Some(Ok(row)) => answer.rows.push(row),
                Some(Err(refusal)) => {
                    answer.refused.push(refusal);
                    answer.rows.push(None);
                }
                None => answer.rows.push(None),
            }
            size += answer.last_size();
        }
        shared.largest_read.fetch_max(size, Ordering::Relaxed);
        Ok(answer)
    }

    async fn apply(&mut self, changes: &[Change]) -> Result<Applied, StoreError> {
        self.shared.suffer("apply").await?;
        self.level(changes)
    }

    async fn load(
        &mut self,
        table: &TableName,
        batch: RowBatch,
        replace: bool,
    ) -> Result<Applied, StoreError> {
        self.shared.suffer("load").await?;
        let at = self.shared.asked(table)?;
        let changes: Vec<Change> = batch
            .rows
            .into_iter()
            .map(|row| Change { key: self.shared.shapes[at].key_of(&row), row: Some(row), back: None })
            .collect();
        if !replace {
            let shared = Arc::clone(&self.shared);
            let state = shared.state();
            for change in &changes {
                let place = self.place(&change.key)?;
                assert!(self.row(&state, &place).is_none(), "{} was promised not to be there", change.key);
            }
        }
        self.level(&changes)
    }

    async fn delete(&mut self, table: &TableName, keys: &[Key]) -> Result<u64, StoreError> {
        self.shared.suffer("delete").await?;
        let at = self.shared.asked(table)?;
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        let mut deleted = 0;
        for key in keys {
            let place = self.place(key)?;
            let ours =
                self.row(&state, &place).is_some_and(|row| !matches!(shared.canonical(at, row), Ok(None)));
            if ours {
                self.put(place, None);
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    async fn mark(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        self.shared.suffer("mark").await?;
        self.marks.push(chunk.clone());
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.shared.suffer("commit").await?;
        // Opening a fence takes no guard here: so it is looked at once more.
        self.shared.check_is_no_authority()?;
        {
            let mut state = self.shared.state();
            let before = state.clone_tables(self.over.keys().map(|(at, _)| *at));
            for ((at, sort), row) in &self.over {
                match row {
                    Some(row) => state.tables[*at].put(sort.clone(), row.clone()),
                    None => {
                        state.tables[*at].remove(sort);
                    }
                }
            }
            if before.iter().any(|(at, _)| state.tables[*at].reindex().is_some()) {
                // Another transaction, of other keys, took a unique value since.
                state.restore_tables(before);
                return Err(StoreError::Busy {
                    store: self.shared.info.name.clone(),
                    what: "a unique value".into(),
                    holder: Some("another transaction".into()),
                });
            }
            if self.shared.breaks(Sabotage::MirrorIsLogged) {
                for (at, sort) in self.over.keys() {
                    state.last_id += 1;
                    let (id, table) = (state.last_id, self.shared.tables[*at].mapping.table.clone());
                    state.log(id, Key::composite(table, sort.values.clone()), 0);
                }
            }
            for chunk in &self.marks {
                let place = (chunk.table.clone(), chunk.generation, chunk.number);
                state.marks.insert(place, chunk.clone());
            }
        }
        if self.shared.loses_reply() { Err(self.shared.unreachable("commit")) } else { Ok(()) }
    }
}
