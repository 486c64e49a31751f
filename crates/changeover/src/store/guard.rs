//! The capability to write under a guard, in one transaction of the follower.
//!
//! The guard is a lock in the follower, in the transaction that also writes: so a process that was paused
//! can't put a stale value later. While a guard on a key is held, no other guarded transaction touches it.

use async_trait::async_trait;

use super::unread::{UnreadLoad, UnreadStream};
use super::{Refusal, RowBatch, Rows};
use crate::error::StoreError;
use crate::value::{Key, Row, TableName};

/// What a guard covers. A store may lock more than was asked for, never less.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// These keys, shared with the chunks that hold them: syncs of different keys go on side by side.
    Keys(&'a [Key]),
    /// A whole chunk, alone: its copy.
    Chunk(&'a Chunk),
    /// Only the chunk marks; no rows will be written.
    Marks,
}

/// One chunk of one generation of the backfill: a run of keys in the authority's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The mapping.
    pub table: TableName,
    /// The generation, from 1.
    pub generation: u64,
    /// The chunk's number within the table and generation, from 0, in key order and without gaps.
    pub number: u64,
    /// The key before the first; `None` for the beginning of the key space. It is the upper bound of the chunk before.
    pub after: Option<Key>,
    /// The last key; `None` for the end of the key space: then this is the last chunk.
    pub upto: Option<Key>,
    /// How far its copy is.
    pub state: ChunkState,
    /// How many rows were copied; 0 until done.
    pub rows: u64,
}

/// How far the copy of a chunk is. What has no mark is *not begun*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkState {
    /// Marked, durably, before its rows are read.
    Begun,
    /// Its rows were written, in the transaction of this mark.
    Done,
}

/// A store that writes under a guard, in transactions.
#[async_trait]
pub trait Guarded: Send + Sync {
    /// Begins a transaction and takes the guard. When this answers, the guard is held: what is read from the
    /// authority from now on is no older than any value that another guarded transaction has put.
    ///
    /// A side whose fence a move has opened is the authority and takes the application's writes: no guard is given there,
    /// nor is a fence opened while one is held. So a sync whose keys were claimed before the move can't put their old
    /// state over what came after it. (Without a fence, or where it was removed, nothing is known and nobody refused.)
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the guard isn't got within the store's lock time-out; [`StoreError::Conflict`] on a side that
    /// a move has opened.
    async fn begin(&self, scope: Scope<'_>) -> Result<Box<dyn GuardedTx>, StoreError>;

    /// The marks of one generation of one table, in the order of their numbers, outside of any guard; for progress
    /// and for finding the place to go on. Decisions on a key read them under its guard.
    async fn chunks(&self, table: &TableName, generation: u64) -> Result<Vec<Chunk>, StoreError>;

    /// Removes the marks of every generation below this one, of all tables of the migration.
    async fn forget_generations_below(&self, generation: u64) -> Result<(), StoreError>;
}

/// A transaction that holds a guard. Dropping it rolls back.
#[async_trait]
pub trait GuardedTx: Send {
    /// The mark of the chunk with this number, read under the guard; `None`: not begun.
    async fn chunk(
        &mut self,
        table: &TableName,
        generation: u64,
        number: u64,
    ) -> Result<Option<Chunk>, StoreError>;

    /// The canonical image of these rows on this side, as this transaction sees them.
    async fn read(&mut self, table: &TableName, keys: &[Key]) -> Result<Rows, StoreError> {
        self.read_within(table, keys, usize::MAX).await
    }

    /// The same within so many bytes, as [`Store::read_within`](super::Store::read_within).
    async fn read_within(
        &mut self,
        table: &TableName,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Rows, StoreError>;

    /// Levels a set of keys: deletes, then inserts and updates, so that each row is what its change says. Leaves
    /// alone what is equal already. On a conflict with a unique key of rows outside of the set nothing is
    /// written, and their keys are in [`Applied::joins`]: the caller begins again with them in the set. A row that
    /// the store refuses is named in [`Applied::refused`], and the others are written.
    async fn apply(&mut self, changes: &[Change]) -> Result<Applied, StoreError>;

    /// The keys of mapped rows that hold a unique value which these rows want, as far as that can be told without writing:
    /// whoever begins again with those of [`Applied::joins`] learns who must join because of them. Any may be left out.
    async fn in_the_way(&mut self, changes: &[Change]) -> Result<Vec<Key>, StoreError> {
        let _ = changes;
        Ok(Vec::new())
    }

    /// Writes rows of a chunk, in the canonical image, by the fastest road that the store has. `replace`: rows with
    /// these keys may be there already.
    async fn load(
        &mut self,
        table: &TableName,
        batch: RowBatch,
        replace: bool,
    ) -> Result<Applied, StoreError>;

    /// Writes all rows of a chunk as another store with an equal [`layout`](super::unread::Unread::layout) sends them, where
    /// nothing can be there yet. All or none: where a row isn't taken, or can't be had this way, nothing of the stream is written,
    /// the transaction goes on, and the caller reads the chunk again for [`GuardedTx::load`], which names the row.
    ///
    /// # Errors
    /// What the store or the stream meets, as of one that breaks off. Nothing is known of the transaction then: it is dropped.
    async fn load_unread(
        &mut self,
        _table: &TableName,
        _stream: UnreadStream,
    ) -> Result<UnreadLoad, StoreError> {
        Ok(UnreadLoad::Careful)
    }

    /// Deletes the rows of the mapping whose keys are in this list. For what the authority lacks.
    async fn delete(&mut self, table: &TableName, keys: &[Key]) -> Result<u64, StoreError>;

    /// Puts a chunk's mark.
    async fn mark(&mut self, chunk: &Chunk) -> Result<(), StoreError>;

    /// Commits, and gives up the guard. On an error the outcome is not known.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// What one row shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row.
    pub key: Key,
    /// The authority's canonical image; `None`: there is no such row, so there shall be none.
    pub row: Option<Row>,
    /// Where the old side is written: the write-back image. A row of the old side whose own canonical image equals
    /// `row` under the rules is left alone; after it was written its image is read again, and one that still differs
    /// is refused by name.
    pub back: Option<Row>,
}

/// What came of [`GuardedTx::apply`] or [`GuardedTx::load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows inserted or updated.
    pub written: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that were right already.
    pub unchanged: u64,
    /// Rows that the store refused, by name.
    pub refused: Vec<Refusal>,
    /// Keys of rows that hold a unique value which a row of the set wants: they must join the set.
    pub joins: Vec<Key>,
}
