//! What is known of the chunk marks of one generation, so that a claim needn't read them all.
//!
//! The bounds of a chunk never change once it is begun, and *done* is final within a generation: both may be
//! remembered for good. What isn't known to be done is read, under the guard, every time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use changeover_protocol::chunk::Progress;
use changeover_protocol::claim::{Verdict, verdict};

use super::order::cmp_keys;
use crate::error::StoreError;
use crate::store::guard::{Chunk, ChunkState, Guarded, GuardedTx};
use crate::store::{KeyOrder, Store};
use crate::value::{Key, TableName};

/// How many bounds a store is asked to place keys among at once.
const BOUNDS_AT_ONCE: usize = 256;

/// The marks of one generation.
pub(super) struct Marks {
    generation: u64,
    tables: HashMap<TableName, Mutex<Known>>,
}

/// What is known of one table's chunks: the first so many, without a gap.
#[derive(Default)]
struct Known {
    loaded: bool,
    /// The upper bounds, in order; the last chunk has none.
    bounds: Arc<Vec<Key>>,
    done: Vec<bool>,
    not_done: usize,
    /// Whether the chunk that reaches to the end of the key space is among them.
    ended: bool,
}

impl Known {
    fn note(&mut self, chunk: &Chunk) {
        let Ok(number) = usize::try_from(chunk.number) else { return };
        let done = chunk.state == ChunkState::Done;
        if number < self.done.len() {
            if done && !self.done[number] {
                self.done[number] = true;
                self.not_done -= 1;
            }
        } else if number == self.done.len() && !self.ended {
            self.done.push(done);
            self.not_done += usize::from(!done);
            match &chunk.upto {
                Some(upto) => Arc::make_mut(&mut self.bounds).push(upto.clone()),
                None => self.ended = true,
            }
        }
    }

    const fn complete(&self) -> bool {
        self.ended && self.not_done == 0
    }
}

impl Marks {
    pub(super) fn new(generation: u64, tables: impl IntoIterator<Item = TableName>) -> Self {
        Self { generation, tables: tables.into_iter().map(|table| (table, Mutex::default())).collect() }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes a mark that is known to be durable.
    pub(super) fn note(&self, chunk: &Chunk) {
        if chunk.generation != self.generation {
            return;
        }
        if let Some(mut known) = self.known(&chunk.table) {
            known.note(chunk);
        }
    }

    /// The highest bound that is known.
    pub(super) fn last_bound(&self, table: &TableName) -> Option<Key> {
        self.known(table)?.bounds.last().cloned()
    }

    /// Reads all marks once, outside of any guard, before the first question.
    pub(super) async fn load(&self, follower: &dyn Guarded, table: &TableName) -> Result<(), StoreError> {
        if self.known(table).is_none_or(|known| known.loaded) {
            return Ok(());
        }
        let chunks = follower.chunks(table, self.generation).await?;
        if let Some(mut known) = self.known(table) {
            chunks.iter().for_each(|chunk| known.note(chunk));
            known.loaded = true;
        }
        Ok(())
    }

    /// What becomes of each of these keys, by the state of its chunk as it is now, under the guard. [`Marks::load`] went
    /// before.
    pub(super) async fn verdicts(
        &self,
        authority: &dyn Store,
        order: KeyOrder,
        tx: &mut dyn GuardedTx,
        table: &TableName,
        keys: &[Key],
    ) -> Result<Vec<Verdict>, StoreError> {
        if self.known(table).is_some_and(|known| known.complete()) {
            return Ok(vec![Verdict::Sync; keys.len()]);
        }
        let places = self.places(authority, order, tx, table, keys).await?;
        let mut progress: HashMap<usize, Progress> = HashMap::new();
        for place in places.iter().flatten() {
            if !progress.contains_key(place) {
                progress.insert(*place, self.progress(tx, table, *place).await?);
            }
        }
        let of = |place: &Option<usize>| place.and_then(|at| progress.get(&at).copied());
        Ok(places.iter().map(|place| verdict(of(place).unwrap_or(Progress::NotBegun))).collect())
    }

    /// The number of each key's chunk; `None`: none that is begun.
    async fn places(
        &self,
        authority: &dyn Store,
        order: KeyOrder,
        tx: &mut dyn GuardedTx,
        table: &TableName,
        keys: &[Key],
    ) -> Result<Vec<Option<usize>>, StoreError> {
        loop {
            let Some((bounds, ended)) = self.known(table).map(|k| (Arc::clone(&k.bounds), k.ended)) else {
                return Ok(vec![None; keys.len()]);
            };
            let places = match order {
                KeyOrder::Binary => keys.iter().map(|key| locate_binary(key, &bounds)).collect(),
                KeyOrder::Own => locate(authority, table, keys, &bounds).await?,
            };
            let beyond = places.iter().any(|&place| place >= bounds.len());
            if !beyond || ended {
                return Ok(places.into_iter().map(Some).collect());
            }
            // Somebody may have begun the chunk after the last that is known, meanwhile.
            match tx.chunk(table, self.generation, bounds.len() as u64).await? {
                Some(chunk) => self.note(&chunk),
                None => {
                    return Ok(places.into_iter().map(|at| (at < bounds.len()).then_some(at)).collect());
                }
            }
        }
    }

    async fn progress(
        &self,
        tx: &mut dyn GuardedTx,
        table: &TableName,
        place: usize,
    ) -> Result<Progress, StoreError> {
        if self.known(table).is_some_and(|known| known.done.get(place) == Some(&true)) {
            return Ok(Progress::Done);
        }
        Ok(match tx.chunk(table, self.generation, place as u64).await? {
            None => Progress::NotBegun,
            Some(chunk) => {
                self.note(&chunk);
                match chunk.state {
                    ChunkState::Begun => Progress::UnderWay,
                    ChunkState::Done => Progress::Done,
                }
            }
        })
    }

    fn known(&self, table: &TableName) -> Option<MutexGuard<'_, Known>> {
        Some(self.tables.get(table)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn locate_binary(key: &Key, bounds: &[Key]) -> usize {
    bounds.partition_point(|bound| cmp_keys(bound.values(), key.values()).is_lt())
}

/// Places keys among many bounds: first among every 256th, then among those of the stretch that each falls into.
async fn locate(
    authority: &dyn Store,
    table: &TableName,
    keys: &[Key],
    bounds: &[Key],
) -> Result<Vec<usize>, StoreError> {
    if bounds.len() <= BOUNDS_AT_ONCE {
        return authority.locate(table, keys, bounds).await;
    }
    let coarse: Vec<Key> = bounds.iter().skip(BOUNDS_AT_ONCE - 1).step_by(BOUNDS_AT_ONCE).cloned().collect();
    let stretches = authority.locate(table, keys, &coarse).await?;
    let mut places = vec![0; keys.len()];
    let mut wanted = stretches.clone();
    wanted.sort_unstable();
    wanted.dedup();
    for stretch in wanted {
        let from = stretch * BOUNDS_AT_ONCE;
        let to = bounds.len().min(from + BOUNDS_AT_ONCE);
        let of: Vec<usize> = (0..keys.len()).filter(|&at| stretches[at] == stretch).collect();
        let asked: Vec<Key> = of.iter().map(|&at| keys[at].clone()).collect();
        let found = authority.locate(table, &asked, &bounds[from..to]).await?;
        for (at, place) in of.into_iter().zip(found) {
            places[at] = from + place;
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64, upto: Option<i64>, state: ChunkState) -> Chunk {
        let key = |n: i64| Key::new("t", n);
        let after = (number > 0).then(|| key(number as i64 * 10));
        Chunk { table: "t".into(), generation: 1, number, after, upto: upto.map(key), state, rows: 0 }
    }

    #[test]
    fn done_is_remembered_and_a_gap_is_not_filled() {
        let mut known = Known::default();
        known.note(&chunk(0, Some(10), ChunkState::Begun));
        known.note(&chunk(2, None, ChunkState::Done));
        assert_eq!((known.done.len(), known.ended), (1, false), "chunk 1 isn't known");
        known.note(&chunk(1, None, ChunkState::Done));
        assert!(!known.complete());
        known.note(&chunk(0, Some(10), ChunkState::Done));
        known.note(&chunk(0, Some(10), ChunkState::Begun));
        assert!(known.complete(), "a mark that was read earlier takes nothing back");
    }

    #[test]
    fn a_bound_belongs_to_the_chunk_that_it_ends() {
        let bounds = [Key::new("t", 10_i64), Key::new("t", 20_i64)];
        let at = |n: i64| locate_binary(&Key::new("t", n), &bounds);
        assert_eq!([at(9), at(10), at(11), at(20), at(21)], [0, 0, 1, 1, 2]);
    }
}
