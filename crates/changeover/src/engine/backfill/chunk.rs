//! The copy of one chunk.
//!
//! Rows go in by the store's fastest road. Where a row wants a unique value that another row of the follower still
//! holds, that row is synced first, and the chunk is read again: it can't be written here, because this chunk's guard
//! doesn't cover it. A chunk that doesn't come to rest that way is copied key by key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::chunk::Reading;
use changeover_protocol::fault::FaultPoint;
use tokio::time::Instant;

use super::BackfillOptions;
use super::pace::Pace;
use super::unread::Rows;
use crate::engine::marks::Marks;
use crate::engine::pair::{Covered, Link, Links};
use crate::engine::sync::{Fate, Judge, read_all};
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::store::guard::{Applied, Change, Chunk, ChunkState, Guarded, GuardedTx, Scope};
use crate::store::{BatchBudget, Image, KeyRange, Refusal, RowBatch, RowStream, Store};
use crate::value::{Key, Row};

/// How often a chunk is read again because of unique values, before it is copied key by key.
const JOIN_TRIES: usize = 8;
/// Keys in one sync of a chunk that is copied key by key, and in one look for extra rows.
const KEYS_AT_ONCE: usize = 256;
/// Of how many rows one is measured.
const MEASURED: usize = 16;

/// What the copy of one chunk came to.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) rows: u64,
    pub(super) bytes: usize,
    pub(super) deleted: u64,
    pub(super) refused: Vec<Refusal>,
    pub(super) took: Duration,
    /// Whether it was the table's last chunk.
    pub(super) last: bool,
}

/// A chunk that is marked, and whose rows are on their way.
pub(super) struct Begun {
    chunk: Chunk,
    rows: Rows,
}

/// Copies the chunks of one table.
pub(super) struct Copier<'a> {
    pub(super) links: &'a Links,
    pub(super) link: &'a Link,
    pub(super) authority_side: Side,
    pub(super) authority: &'a dyn Store,
    pub(super) store: &'a dyn Store,
    pub(super) follower: &'a dyn Guarded,
    pub(super) budget: BatchBudget,
    /// Whether the follower may have rows already.
    pub(super) replace: bool,
    /// Whether rows pass unread where nothing can be there yet.
    pub(super) passes_unread: bool,
    /// Where ranges can't be asked of the follower: its keys that may lie in the last chunk, see `extras`.
    pub(super) tail: Vec<Key>,
    generation: u64,
    reading: Reading,
    marks: Arc<Marks>,
}

/// What was read and loaded so far.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) copied: Copied,
    pub(super) seen: HashSet<Key>,
    pub(super) joins: Vec<Key>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        links: &'a Links,
        link: &'a Link,
        toward: Side,
        generation: u64,
        reading: Reading,
        options: &BackfillOptions,
    ) -> Result<Self, StoreError> {
        let store = link.store(toward).as_ref();
        let follower = store.guarded().ok_or_else(|| StoreError::Refused {
            store: store.info().name.clone(),
            doing: "looking for its guarded transactions".into(),
            cause: "it has none".into(),
            remedy: "Copy it key by key.".into(),
        })?;
        let marks = match links.covered(toward) {
            Covered::Generation(marks) if marks.generation() == generation => marks,
            // No drain asks for them; the copy's own probes do.
            _ => Arc::new(Marks::new(generation, [link.table().clone()])),
        };
        Ok(Self {
            links,
            link,
            authority_side: toward.other(),
            authority: link.store(toward.other()).as_ref(),
            store,
            follower,
            budget: options.batch,
            replace: true,
            passes_unread: false,
            tail: Vec::new(),
            generation,
            reading,
            marks,
        })
    }

    /// Tells the drains of this process of a mark that is durable.
    pub(super) fn note(&self, chunk: &Chunk) {
        self.marks.note(chunk);
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The next chunk, of about so many rows.
    pub(super) async fn plan(
        &self,
        (number, after): (u64, Option<Key>),
        rows: u64,
    ) -> Result<Chunk, StoreError> {
        let table = self.link.table().clone();
        let upto = self.authority.cut(&table, after.as_ref(), rows).await?;
        Ok(Chunk {
            table,
            generation: self.generation,
            number,
            after,
            upto,
            state: ChunkState::Begun,
            rows: 0,
        })
    }

    /// One small read, as an application would make it.
    pub(super) async fn probe(&self, pace: &mut Pace) -> Result<(), StoreError> {
        if !pace.response_limited() {
            return Ok(());
        }
        let Some(key) = self.probe_key() else { return Ok(()) };
        let asked = Instant::now();
        self.authority.read(self.link.table(), &[key], Image::Canonical).await?;
        pace.answered(asked.elapsed());
        Ok(())
    }

    fn probe_key(&self) -> Option<Key> {
        self.marks.last_bound(self.link.table())
    }

    /// Begins to read a chunk that is marked.
    pub(super) async fn open(&self, chunk: Chunk) -> Result<Begun, StoreError> {
        let rows = self.rows_of(&chunk, self.replace).await?;
        Ok(Begun { chunk, rows })
    }

    /// Writes a chunk whose rows are on their way; plans the one after the next meanwhile, and marks it begun in the same
    /// transaction.
    pub(super) async fn copy(
        &mut self,
        begun: Begun,
        plan: Option<((u64, Option<Key>), u64)>,
    ) -> Result<(Copied, Option<Chunk>), StoreError> {
        let started = Instant::now();
        let Begun { chunk, mut rows } = begun;
        rows.begun().await?;
        fault_point(FaultPoint::ChunkRead).await?;
        let mut tx = self.follower.begin(Scope::Chunk(&chunk)).await?;
        if let Some(rows) = self.already_done(tx.as_mut(), &chunk).await? {
            return Ok((Copied { rows, last: chunk.upto.is_none(), ..Copied::default() }, None));
        }
        let next = async {
            match plan {
                Some((from, rows)) => self.plan(from, rows).await.map(Some),
                None => Ok(None),
            }
        };
        let (loaded, next) = tokio::join!(self.load_rows(tx.as_mut(), &chunk, rows, self.replace), next);
        let (loaded, next) = (loaded?, next?);
        if !loaded.joins.is_empty() {
            drop(tx);
            self.free_values(&loaded.joins).await?;
            return Ok((self.copy_alone(&chunk, started).await?, None));
        }
        // What comes before the last chunk has to be done first, where extra rows are swept.
        let next = next.filter(|next| next.upto.is_some() || !self.sweeps());
        let copied = self.finish(tx, chunk, loaded, next.as_ref(), started).await?;
        Ok((copied, next))
    }

    /// Copies a chunk that an earlier run began.
    pub(super) async fn copy_again(&mut self, chunk: &Chunk) -> Result<Copied, StoreError> {
        if chunk.upto.is_none() {
            self.before_last().await?;
        }
        self.replace = true;
        self.copy_alone(chunk, Instant::now()).await
    }

    /// Copies a chunk under the guard of its whole range.
    pub(super) async fn copy_guarded(&mut self, chunk: &Chunk) -> Result<Copied, StoreError> {
        self.copy_alone(chunk, Instant::now()).await
    }

    async fn copy_alone(&mut self, chunk: &Chunk, started: Instant) -> Result<Copied, StoreError> {
        for _ in 0..JOIN_TRIES {
            let guard = match self.reading {
                Reading::Guarded => Some(self.follower.begin(Scope::Chunk(chunk)).await?),
                Reading::Logged => None,
            };
            let mut rows = self.rows_of(chunk, self.replace).await?;
            rows.begun().await?;
            fault_point(FaultPoint::ChunkRead).await?;
            let mut tx = match guard {
                Some(tx) => tx,
                None => self.follower.begin(Scope::Chunk(chunk)).await?,
            };
            if let Some(rows) = self.already_done(tx.as_mut(), chunk).await? {
                return Ok(Copied { rows, last: chunk.upto.is_none(), ..Copied::default() });
            }
            let loaded = self.load_rows(tx.as_mut(), chunk, rows, self.replace).await?;
            if loaded.joins.is_empty() {
                return self.finish(tx, chunk.clone(), loaded, None, started).await;
            }
            drop(tx);
            self.free_values(&loaded.joins).await?;
        }
        self.copy_keys(chunk, started).await
    }

    /// The rows of a chunk that somebody else has done meanwhile.
    async fn already_done(&self, tx: &mut dyn GuardedTx, chunk: &Chunk) -> Result<Option<u64>, StoreError> {
        let found = tx.chunk(&chunk.table, chunk.generation, chunk.number).await?;
        match found {
            Some(found) if found.state == ChunkState::Done => {
                self.note(&found);
                Ok(Some(found.rows))
            }
            Some(found) if found.upto == chunk.upto => Ok(None),
            // Under the guard a chunk has no mark before it is done; the one before it has.
            None if self.reading == Reading::Guarded && self.follows(tx, chunk).await? => Ok(None),
            found => Err(StoreError::Conflict {
                store: self.store.info().name.clone(),
                what: format!("chunk {} of {} in generation {}", chunk.number, chunk.table, chunk.generation),
                expected: "the mark that this backfill made".into(),
                found: found.map_or("none: the generation is over".into(), |_| "other bounds".into()),
            }),
        }
    }

    async fn follows(&self, tx: &mut dyn GuardedTx, chunk: &Chunk) -> Result<bool, StoreError> {
        match chunk.number.checked_sub(1) {
            None => Ok(true),
            Some(before) => Ok(tx.chunk(&chunk.table, chunk.generation, before).await?.is_some()),
        }
    }

    pub(super) async fn load(
        &self,
        tx: &mut dyn GuardedTx,
        chunk: &Chunk,
        first: Option<RowBatch>,
        mut stream: RowStream,
        replace: bool,
    ) -> Result<Loaded, StoreError> {
        let shape = self.link.shape(self.authority_side);
        let mut loaded = Loaded::default();
        let mut next = first;
        while let Some(batch) = next {
            let copied = &mut loaded.copied;
            copied.rows += batch.rows.len() as u64;
            copied.bytes += measure(&batch.rows);
            if replace {
                loaded.seen.extend(batch.rows.iter().map(|row| shape.key_of(row)));
                loaded.seen.extend(batch.refused.iter().map(|refusal| refusal.key.clone()));
            }
            copied.refused.extend(batch.refused);
            if !batch.rows.is_empty() {
                let applied = self.put(tx, chunk, batch.rows, replace).await?;
                copied.rows -= (applied.refused.len() as u64).min(copied.rows);
                copied.refused.extend(applied.refused);
                if !applied.joins.is_empty() {
                    loaded.joins = applied.joins;
                    return Ok(loaded);
                }
            }
            next = stream.next().await?;
        }
        Ok(loaded)
    }

    /// Rows on their way to the new side are loaded. The old side is written in its own shape, and a row of it that is
    /// right already is left alone: that is a sync's work, within this guard.
    async fn put(
        &self,
        tx: &mut dyn GuardedTx,
        chunk: &Chunk,
        rows: Vec<Row>,
        replace: bool,
    ) -> Result<Applied, StoreError> {
        if self.authority_side == Side::Old {
            return tx.load(&chunk.table, RowBatch { rows, refused: Vec::new() }, replace).await;
        }
        let shape = self.link.shape(self.authority_side);
        let keys: Vec<Key> = rows.iter().map(|row| shape.key_of(row)).collect();
        let back = read_all(self.authority, &chunk.table, &keys, Image::Back).await?;
        let refused: HashSet<&Key> = back.refused.iter().map(|refusal| &refusal.key).collect();
        let whole = keys.iter().zip(rows).zip(back.rows).filter(|((key, _), _)| !refused.contains(key));
        // A row that is gone since has a claim, which is carried out when the chunk is done.
        let changes: Vec<Change> = whole
            .filter(|(_, back)| back.is_some())
            .map(|((key, row), back)| Change { key: key.clone(), row: Some(row), back })
            .collect();
        let mut applied = tx.apply(&changes).await?;
        applied.refused.extend(back.refused);
        Ok(applied)
    }

    /// The rows are in; what the authority lacks goes; the marks; the commit.
    async fn finish(
        &self,
        mut tx: Box<dyn GuardedTx>,
        chunk: Chunk,
        loaded: Loaded,
        next: Option<&Chunk>,
        started: Instant,
    ) -> Result<Copied, StoreError> {
        let Loaded { mut copied, seen, .. } = loaded;
        if self.replace {
            copied.deleted = self.delete_extras(tx.as_mut(), &chunk, &seen).await?;
        }
        fault_point(FaultPoint::ChunkWritten).await?;
        let done = Chunk { state: ChunkState::Done, rows: copied.rows, ..chunk };
        tx.mark(&done).await?;
        if let Some(next) = next {
            tx.mark(next).await?;
        }
        tx.commit().await?;
        fault_point(FaultPoint::ChunkDone).await?;
        self.note(&done);
        if let Some(next) = next {
            self.note(next);
        }
        if self.authority_side == Side::New && !copied.refused.is_empty() {
            self.believe(&mut copied).await?;
        }
        (copied.took, copied.last) = (started.elapsed(), done.upto.is_none());
        Ok(copied)
    }

    /// A row and its write-back image are two reads, and a change between them looks like a row that can't be carried:
    /// those that were refused are synced once more, now that their chunk is done.
    async fn believe(&self, copied: &mut Copied) -> Result<(), StoreError> {
        let keys: Vec<Key> = copied.refused.drain(..).map(|refusal| refusal.key).collect();
        let synced = self.links.sync_by(self.authority_side, &keys, Judge::Caller).await?;
        for fate in synced.fates {
            match fate {
                Fate::Refused(refusal) => copied.refused.push(refusal),
                _ => copied.rows += 1,
            }
        }
        Ok(())
    }

    /// Brings the rows that hold wanted values to what they are on the authority. Their chunks may be at any state: what a
    /// later read of theirs brings is no older, and what changed meanwhile is dirty still.
    async fn free_values(&self, joins: &[Key]) -> Result<(), StoreError> {
        self.links.sync_by(self.authority_side, joins, Judge::Caller).await?;
        Ok(())
    }

    /// Key by key, each set with whatever joins it.
    async fn copy_keys(&self, chunk: &Chunk, started: Instant) -> Result<Copied, StoreError> {
        if self.reading == Reading::Guarded {
            // Without the guard, only the mark keeps a key's sync waiting.
            let mut tx = self.follower.begin(Scope::Marks).await?;
            tx.mark(chunk).await?;
            tx.commit().await?;
        }
        let shape = self.link.shape(self.authority_side);
        let range = KeyRange { after: chunk.after.clone(), upto: chunk.upto.clone() };
        let mut stream = self.authority.scan(&chunk.table, &range, Image::Canonical, self.budget).await?;
        let mut loaded = Loaded::default();
        while let Some(batch) = stream.next().await? {
            loaded.copied.bytes += measure(&batch.rows);
            loaded.seen.extend(batch.refused.iter().map(|refusal| refusal.key.clone()));
            loaded.copied.refused.extend(batch.refused);
            let keys: Vec<Key> = batch.rows.iter().map(|row| shape.key_of(row)).collect();
            for keys in keys.chunks(KEYS_AT_ONCE) {
                let synced = self.links.sync_by(self.authority_side, keys, Judge::Caller).await?;
                for fate in synced.fates {
                    match fate {
                        Fate::Refused(refusal) => loaded.copied.refused.push(refusal),
                        _ => loaded.copied.rows += 1,
                    }
                }
            }
            loaded.seen.extend(keys);
        }
        let mut tx = self.follower.begin(Scope::Chunk(chunk)).await?;
        if let Some(rows) = self.already_done(tx.as_mut(), chunk).await? {
            return Ok(Copied { rows, last: chunk.upto.is_none(), ..Copied::default() });
        }
        self.finish(tx, chunk.clone(), loaded, None, started).await
    }
}

/// About how many bytes the rows take: some are measured, for all.
fn measure(rows: &[Row]) -> usize {
    let step = if rows.len() > 2 * MEASURED { MEASURED } else { 1 };
    rows.iter().step_by(step).map(Row::size).sum::<usize>() * step
}
