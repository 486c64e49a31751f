//! Rows of the follower that the authority lacks: a generation towards a side that has rows deletes them.
//!
//! Where both sides order keys alike, each chunk's range is asked of the follower too, and the extra rows go in the chunk's
//! transaction. Where they don't, the whole follower is walked once, after all chunks but the last: a row that the
//! authority lacks then is synced away. What is deleted on the authority later is a claim in a chunk that is done;
//! but for the last chunk, which isn't begun: its claims are dropped, so its keys are remembered and compared with what
//! its read brings. That chunk is no larger than another, and so is what is remembered.

use std::collections::HashSet;

use changeover_protocol::Side;
use tokio::time::Instant;

use super::BackfillOptions;
use super::chunk::{Copied, Copier};
use super::progress::Reporter;
use crate::engine::pair::{Link, Links};
use crate::engine::sync::{Fate, Judge, read_some};
use crate::error::StoreError;
use crate::store::guard::{Chunk, GuardedTx};
use crate::store::{BatchBudget, Image, KeyRange, Store};
use crate::value::Key;

impl Copier<'_> {
    /// Whether extra rows are found by walking the follower, and not chunk by chunk.
    pub(super) fn sweeps(&self) -> bool {
        self.replace && !self.link.ordered_alike()
    }

    /// What has to be done before the last chunk is begun, once all others are done.
    pub(super) async fn before_last(&mut self) -> Result<(), StoreError> {
        if !self.sweeps() {
            return Ok(());
        }
        self.tail.clear();
        let bounds: Vec<Key> = match self.follower.chunks(self.link.table(), self.generation()).await?.last()
        {
            Some(last) => last.upto.iter().chain(last.after.iter()).take(1).cloned().collect(),
            None => Vec::new(),
        };
        let shape = self.link.shape(self.authority_side.other());
        let mut stream =
            self.store.scan(self.link.table(), &KeyRange::default(), Image::Canonical, self.budget).await?;
        while let Some(batch) = stream.next().await? {
            let refused = batch.refused.into_iter().map(|refusal| refusal.key);
            let keys: Vec<Key> = batch.rows.iter().map(|row| shape.key_of(row)).chain(refused).collect();
            if keys.is_empty() {
                continue;
            }
            let absent = absent(self.authority, &keys).await?;
            self.links.sync_by(self.authority_side, &absent, Judge::Caller).await?;
            let places = self.authority.locate(self.link.table(), &keys, &bounds).await?;
            let there: HashSet<&Key> = absent.iter().collect();
            let in_tail = |(key, place): &(&Key, usize)| *place >= bounds.len() && !there.contains(key);
            self.tail.extend(keys.iter().zip(places).filter(in_tail).map(|(key, _)| key.clone()));
        }
        Ok(())
    }

    /// Deletes the rows of this chunk's range that weren't among those read, in the chunk's transaction.
    pub(super) async fn delete_extras(
        &self,
        tx: &mut dyn GuardedTx,
        chunk: &Chunk,
        seen: &HashSet<Key>,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        if !self.link.ordered_alike() {
            if chunk.upto.is_none() {
                let extra: Vec<Key> = self.tail.iter().filter(|key| !seen.contains(key)).cloned().collect();
                deleted += self.delete_absent(tx, &extra).await?;
            }
            return Ok(deleted);
        }
        let shape = self.link.shape(self.authority_side.other());
        let range = KeyRange { after: chunk.after.clone(), upto: chunk.upto.clone() };
        let mut stream = self.store.scan(&chunk.table, &range, Image::Canonical, self.budget).await?;
        while let Some(batch) = stream.next().await? {
            let refused = batch.refused.into_iter().map(|refusal| refusal.key);
            let keys = batch.rows.iter().map(|row| shape.key_of(row)).chain(refused);
            let extra: Vec<Key> = keys.filter(|key| !seen.contains(key)).collect();
            deleted += self.delete_absent(tx, &extra).await?;
        }
        Ok(deleted)
    }

    /// The authority is asked once more: the two sides may write one key in two ways (`1` and `1.0`).
    async fn delete_absent(&self, tx: &mut dyn GuardedTx, keys: &[Key]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let absent = absent(self.authority, keys).await?;
        if absent.is_empty() { Ok(0) } else { tx.delete(self.link.table(), &absent).await }
    }
}

/// Those of these keys (of one mapping) for which the store has no row. One that can't be read is there.
async fn absent(store: &dyn Store, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
    let (mut absent, mut keys) = (Vec::new(), keys);
    while let Some(key) = keys.first() {
        let bytes = BatchBudget::default().bytes;
        let rows = read_some(store, &key.table, keys, Image::Canonical, bytes).await?;
        let refused: HashSet<&Key> = rows.refused.iter().map(|refusal| &refusal.key).collect();
        let missing =
            keys.iter().zip(&rows.rows).filter(|(key, row)| row.is_none() && !refused.contains(key));
        absent.extend(missing.map(|(key, _)| key.clone()));
        keys = &keys[rows.rows.len()..];
    }
    Ok(absent)
}

/// The copy to a follower without guarded transactions, and so without chunks: every key goes round its own loop. Begun
/// anew, it starts from the beginning; what is right already is put again.
pub(super) async fn copy_by_sync(
    links: &Links,
    link: &Link,
    toward: Side,
    options: &BackfillOptions,
    reporter: &mut Reporter,
) -> Result<(), StoreError> {
    let authority = toward.other();
    for walked in [authority, toward] {
        let store = link.store(walked).as_ref();
        let shape = link.shape(walked);
        let mut stream =
            store.scan(link.table(), &KeyRange::default(), Image::Canonical, options.batch).await?;
        while let Some(batch) = stream.next().await? {
            let started = Instant::now();
            let mut copied = Copied { refused: batch.refused, ..Copied::default() };
            let mut keys: Vec<Key> = batch.rows.iter().map(|row| shape.key_of(row)).collect();
            if walked == toward && !keys.is_empty() {
                keys = absent(link.store(authority).as_ref(), &keys).await?;
            }
            let synced = links.sync_by(authority, &keys, Judge::Caller).await?;
            copied.deleted = synced.deleted;
            copied.rows = synced.written;
            copied.refused.extend(synced.fates.into_iter().filter_map(|fate| match fate {
                Fate::Refused(refusal) => Some(refusal),
                _ => None,
            }));
            copied.took = started.elapsed();
            reporter.copied(copied);
        }
    }
    reporter.copied(Copied { last: true, ..Copied::default() });
    Ok(())
}
