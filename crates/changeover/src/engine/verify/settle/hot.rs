//! Keys that are dirty at every look: what a sync would make of them is compared within the guard's transaction, and rolled
//! back. Such a key may change while it is compared: then it is tried again by itself.

use std::collections::HashSet;

use changeover_protocol::Side;

use super::{GUARDED_KEYS, LOOK_BYTES, Seen, Settler, by_side};
use crate::engine::sync::{read_some, refusal};
use crate::engine::verify::report::Findings;
use crate::error::StoreError;
use crate::store::guard::{Change, Scope};
use crate::store::{Image, Refusal, Rows};
use crate::value::Key;

/// How often rows that hold a wanted value join those that want it, and how many may.
const JOIN_ROUNDS: usize = 16;
const JOINED_MAX: usize = 1_024;

/// What came of comparing keys as a sync would leave them.
enum Settled {
    /// Of the first of them, as many as there was room for, and those that changed meanwhile.
    Compared(usize, Vec<Key>),
    /// Some want a unique value of a row that doesn't give it up, or of too many.
    Wanting,
}

impl Settler<'_> {
    /// Keys that never come to rest, by as many at once as their guards are to be had for.
    pub(super) async fn settle_under_guard(
        &self,
        authority: Option<Side>,
        mut keys: &[Key],
        found: &mut Findings,
    ) -> Result<(), StoreError> {
        let (mut at_once, mut tried) = (GUARDED_KEYS, 0);
        let mut moving = Vec::new();
        while let Some(first) = keys.first() {
            let some = &keys[..keys.len().min(at_once)];
            match self.compare_as_synced(authority, some, found).await {
                Ok(Settled::Compared(compared, moved)) => {
                    keys = &keys[compared..];
                    moving.extend(moved);
                    tried = 0;
                }
                // Which of them it is shows one by one.
                Ok(Settled::Wanting) if some.len() > 1 => at_once = 1,
                Ok(Settled::Wanting) => {
                    found.refuse(wanting(first));
                    keys = &keys[1..];
                    tried = 0;
                }
                // Of hot keys fewer are free at once than one by one.
                Err(error) if error.retryable() && (at_once > 1 || tried < self.options.looks) => {
                    tried += u32::from(at_once == 1);
                    at_once = (at_once.min(keys.len()) / 2).max(1);
                    tokio::time::sleep(self.options.look_wait.0).await;
                }
                Err(error) => return Err(error),
            }
        }
        for key in moving {
            self.settle_moving(authority, &key, found).await?;
        }
        Ok(())
    }

    /// A key that changed while it was compared: again, by itself. One that changes each time proves nothing: the mirror
    /// names it, if it can't carry it, and the next verification looks at it again.
    async fn settle_moving(
        &self,
        authority: Option<Side>,
        key: &Key,
        found: &mut Findings,
    ) -> Result<(), StoreError> {
        let mut tried = 0;
        while tried < self.options.looks {
            match self.compare_as_synced(authority, std::slice::from_ref(key), found).await {
                Ok(Settled::Compared(_, moved)) if moved.is_empty() => return Ok(()),
                Ok(Settled::Wanting) => {
                    found.refuse(wanting(key));
                    return Ok(());
                }
                Err(error) if !error.retryable() || tried + 1 == self.options.looks => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(self.options.look_wait.0).await,
            }
            tried += 1;
        }
        found.table.transient += 1;
        Ok(())
    }

    /// Keys that are never clean: what a sync makes of them is compared, and rolled back. Rows that hold a unique value which
    /// they want are synced with them, as the mirror does it.
    async fn compare_as_synced(
        &self,
        authority: Option<Side>,
        keys: &[Key],
        found: &mut Findings,
    ) -> Result<Settled, StoreError> {
        let Some((authority, follower)) = self.guarded(authority) else {
            // Nothing can be proved of them, so they count.
            let seen = self.read(keys).await?;
            let compared = seen.len();
            self.weed(seen, found).into_iter().for_each(|seen| self.count(seen, found));
            return Ok(Settled::Compared(compared, Vec::new()));
        };
        let mut joined: Vec<Key> = Vec::new();
        for _ in 0..JOIN_ROUNDS {
            let set = [keys, &joined].concat();
            let mut tx = follower.begin(Scope::Keys(&set)).await?;
            let (rows, mut changes) = self.as_they_are(authority, keys).await?;
            let keys = &keys[..rows.rows.len()];
            if !joined.is_empty() {
                changes.extend(self.as_they_are(authority, &joined).await?.1);
            }
            let applied = tx.apply(&changes).await?;
            if applied.joins.is_empty() {
                let follower_rows = tx.read_within(self.link.table(), keys, LOOK_BYTES).await?;
                drop(tx);
                let moved = self.moved(authority, &changes, &applied.refused).await?;
                let seen = self.pair(keys, by_side(authority, rows, follower_rows));
                let compared = seen.len();
                self.count_as_synced(seen, &moved, applied.refused, found);
                return Ok(Settled::Compared(compared, moved.into_iter().collect()));
            }
            drop(tx);
            // Another mapping's row would have to be read by that mapping.
            let here = |key: &Key| key.table == *self.link.table() && !set.contains(key);
            let before = joined.len();
            joined.extend(applied.joins.into_iter().filter(here));
            if joined.len() == before || joined.len() > JOINED_MAX {
                break;
            }
        }
        Ok(Settled::Wanting)
    }

    /// The authority's rows, as many as there is room for, and what makes the follower's so.
    async fn as_they_are(&self, authority: Side, keys: &[Key]) -> Result<(Rows, Vec<Change>), StoreError> {
        let (store, table) = (self.link.store(authority).as_ref(), self.link.table());
        let mut rows = read_some(store, table, keys, Image::Canonical, LOOK_BYTES).await?;
        let mut back = vec![None; rows.rows.len()];
        if authority == Side::New {
            let images = read_some(store, table, &keys[..rows.rows.len()], Image::Back, LOOK_BYTES).await?;
            rows.rows.truncate(images.rows.len());
            rows.refused.extend(images.refused);
            back = images.rows;
        }
        let refused: HashSet<&Key> = rows.refused.iter().map(|refusal| &refusal.key).collect();
        let changes = keys.iter().zip(&rows.rows).zip(back).filter(|((key, _), _)| !refused.contains(key));
        let changes = changes.map(|((key, row), back)| Change { key: key.clone(), row: row.clone(), back });
        let changes = changes.collect();
        Ok((rows, changes))
    }

    fn count_as_synced(
        &self,
        mut seen: Vec<Seen>,
        moved: &HashSet<Key>,
        refused: Vec<Refusal>,
        found: &mut Findings,
    ) {
        seen.retain(|seen| !moved.contains(&seen.key));
        for refusal in refused.into_iter().filter(|refusal| !moved.contains(&refusal.key)) {
            match seen.iter_mut().find(|seen| seen.key == refusal.key) {
                Some(seen) => {
                    seen.refusal.get_or_insert(refusal);
                }
                // One that only joined: the walk has seen it as it was before.
                None => found.refuse(refusal),
            }
        }
        found.table.under_guard += seen.iter().filter(|seen| seen.refusal.is_none()).count() as u64;
        self.weed(seen, found).into_iter().for_each(|seen| self.count(seen, found));
    }

    /// Of the rows that were refused, those that aren't any more what they were when they were read: a row and its write-back
    /// image are two reads, and a change between them looks like a row that the old side refuses.
    async fn moved(
        &self,
        authority: Side,
        changes: &[Change],
        refused: &[Refusal],
    ) -> Result<HashSet<Key>, StoreError> {
        let (store, table) = (self.link.store(authority).as_ref(), self.link.table());
        let mut moved = HashSet::new();
        for change in changes {
            if refused.iter().any(|refusal| refusal.key == change.key) {
                let key = std::slice::from_ref(&change.key);
                let now = read_some(store, table, key, Image::Canonical, LOOK_BYTES).await?;
                if now.rows.first() != Some(&change.row) {
                    moved.insert(change.key.clone());
                }
            }
        }
        Ok(moved)
    }
}

fn wanting(key: &Key) -> Refusal {
    refusal(
        key,
        "it wants a unique value that other rows hold, which don't give it up when they are synced with it",
    )
}
