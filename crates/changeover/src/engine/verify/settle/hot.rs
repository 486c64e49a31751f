//! Keys that are dirty at every look: what a sync would make of them is compared within the guard's transaction, and rolled
//! back. A row and its write-back image are two reads, and such a key may change between them: it is tried again by itself.

use std::collections::HashSet;

use changeover_protocol::Side;

use super::{GUARDED_KEYS, LOOK_BYTES, Settler, by_side};
use crate::engine::sync::read_some;
use crate::engine::verify::report::Findings;
use crate::error::StoreError;
use crate::store::guard::{Change, Scope};
use crate::store::{Image, Refusal, Store};
use crate::value::Key;

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
        while !keys.is_empty() {
            match self.compare_as_synced(authority, &keys[..keys.len().min(at_once)], found).await {
                Ok((compared, moved)) => {
                    keys = &keys[compared..];
                    moving.extend(moved);
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
                Ok((_, moved)) if moved.is_empty() => return Ok(()),
                Err(error) if !error.retryable() || tried + 1 == self.options.looks => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(self.options.look_wait.0).await,
            }
            tried += 1;
        }
        found.table.transient += 1;
        Ok(())
    }

    /// Keys that are never clean: what a sync makes of them is compared, and rolled back. Of the first of these keys, as many
    /// as there is room for: how many those are, and which of them changed meanwhile.
    ///
    /// A row and its write-back image are two reads. A change between them looks like a row that the old side refuses.
    async fn compare_as_synced(
        &self,
        authority: Option<Side>,
        keys: &[Key],
        found: &mut Findings,
    ) -> Result<(usize, Vec<Key>), StoreError> {
        let Some((authority, follower)) = self.guarded(authority) else {
            // Nothing can be proved of them, so they count.
            let seen = self.read(keys).await?;
            let compared = seen.len();
            self.weed(seen, found).into_iter().for_each(|seen| self.count(seen, found));
            return Ok((compared, Vec::new()));
        };
        let mut tx = follower.begin(Scope::Keys(keys)).await?;
        let store = self.link.store(authority).as_ref();
        let rows = read_some(store, self.link.table(), keys, Image::Canonical, LOOK_BYTES).await?;
        let keys = &keys[..rows.rows.len()];
        let back = match authority {
            Side::Old => vec![None; keys.len()],
            Side::New => read_some(store, self.link.table(), keys, Image::Back, LOOK_BYTES).await?.rows,
        };
        let keys = &keys[..back.len()];
        let refused: HashSet<&Key> = rows.refused.iter().map(|refusal| &refusal.key).collect();
        let changes: Vec<Change> = keys
            .iter()
            .zip(&rows.rows)
            .zip(back)
            .filter(|((key, _), _)| !refused.contains(key))
            .map(|((key, row), back)| Change { key: key.clone(), row: row.clone(), back })
            .collect();
        let mut applied = tx.apply(&changes).await?;
        let moved = self.moved(store, &changes, &applied.refused).await?;
        applied.refused.retain(|refusal| !moved.contains(&refusal.key));
        // Rows that want a unique value of another's are that row's story too: the mirror's set is larger than this one.
        let wanting = !applied.joins.is_empty();
        let follower_rows = tx.read_within(self.link.table(), keys, LOOK_BYTES).await?;
        drop(tx);
        let mut seen = self.pair(keys, by_side(authority, rows, follower_rows));
        let compared = seen.len();
        seen.retain(|seen| !moved.contains(&seen.key));
        for refusal in applied.refused {
            if let Some(seen) = seen.iter_mut().find(|seen| seen.key == refusal.key) {
                seen.refusal.get_or_insert(refusal);
            }
        }
        found.table.under_guard += seen.len() as u64;
        let differ = self.weed(seen, found);
        if wanting {
            found.table.transient += differ.len() as u64;
        } else {
            differ.into_iter().for_each(|seen| self.count(seen, found));
        }
        Ok((compared, moved.into_iter().collect()))
    }

    /// Of the rows that were refused, those that aren't any more what they were when they were read.
    async fn moved(
        &self,
        store: &dyn Store,
        changes: &[Change],
        refused: &[Refusal],
    ) -> Result<HashSet<Key>, StoreError> {
        let mut moved = HashSet::new();
        for change in changes {
            if refused.iter().any(|refusal| refusal.key == change.key) {
                let key = std::slice::from_ref(&change.key);
                let now = read_some(store, self.link.table(), key, Image::Canonical, LOOK_BYTES).await?;
                if now.rows.first() != Some(&change.row) {
                    moved.insert(change.key.clone());
                }
            }
        }
        Ok(moved)
    }
}
