//! The second look at rows that seem to differ: only what persists is a difference.
//!
//! While a key's guard is held on the follower, nobody can sync it; so a change of it that the authority showed and the
//! follower doesn't has an entry in the log. A key that differs under its guard, and has no entry after both rows were
//! read, differs for good. One that is dirty is looked at again, with a back-off; one that is dirty at every look is
//! synced within the guard's transaction, compared, and rolled back: the mirror will do the same in its own time.
//! Where the authority has no log to ask, or nobody can say which side is the authority (a share of the keys has moved, and
//! the two rows tell different slots), a difference counts when two looks see the same two rows.

mod hot;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use changeover_protocol::Side;

use super::VerifyOptions;
use super::report::{ColumnDifference, Difference, DifferenceKind, Findings, kept};
use crate::engine::pair::Link;
use crate::engine::sync::read_some;
use crate::error::StoreError;
use crate::rules::RowComparison;
use crate::store::capture::CaptureLog;
use crate::store::guard::{Guarded, GuardedTx, Scope};
use crate::store::{Image, Refusal, Rows, Store};
use crate::value::{Key, Row};

/// Keys under one guard.
const GUARDED_KEYS: usize = 256;
/// How many bytes of one side's rows are in memory at once; a single row may be larger.
const LOOK_BYTES: usize = 8 << 20;

/// Looks again at the rows of one table.
pub(super) struct Settler<'a> {
    link: &'a Link,
    options: &'a VerifyOptions,
    logs: Vec<(Side, &'a dyn CaptureLog)>,
}

/// One key as one look saw it.
struct Seen {
    key: Key,
    old: Option<Row>,
    new: Option<Row>,
    refusal: Option<Refusal>,
}

/// Tells whether two looks saw the same, without keeping the rows, which may be large.
fn fingerprint(old: Option<&Row>, new: Option<&Row>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in [old, new] {
        row.map(|row| &row.0).hash(&mut hasher);
    }
    hasher.finish()
}

/// The old side's, and the new side's.
fn by_side(authority: Side, its: Rows, follower: Rows) -> (Rows, Rows) {
    match authority {
        Side::Old => (its, follower),
        Side::New => (follower, its),
    }
}

impl<'a> Settler<'a> {
    pub(super) async fn new(link: &'a Link, options: &'a VerifyOptions) -> Result<Self, StoreError> {
        let mut logs = Vec::new();
        for side in [Side::Old, Side::New] {
            if let Some(log) = link.store(side).capture()
                && log.installed().await?
            {
                logs.push((side, log));
            }
        }
        Ok(Self { link, options, logs })
    }

    /// One look at each of these keys. Those that are dirty still are given back.
    pub(super) async fn look(&self, keys: Vec<Key>, found: &mut Findings) -> Result<Vec<Key>, StoreError> {
        let mut left = Vec::new();
        let mut rest = &keys[..];
        while !rest.is_empty() {
            let seen = self.read(&rest[..rest.len().min(GUARDED_KEYS)]).await?;
            rest = &rest[seen.len()..];
            let differ = self.weed(seen, found);
            if self.options.quiet {
                differ.into_iter().for_each(|seen| self.count(seen, found));
                continue;
            }
            let keys: Vec<Key> = differ.into_iter().map(|seen| seen.key).collect();
            for (authority, keys) in self.options.authority.divide(self.link, &keys).await? {
                left.extend(self.look_under_guard(authority, &keys, &mut HashMap::new(), found).await?);
            }
        }
        Ok(left)
    }

    /// Looks at keys that were dirty until each is settled.
    pub(super) async fn settle(&self, mut keys: Vec<Key>, found: &mut Findings) -> Result<(), StoreError> {
        let (mut wait, most) = self.options.look_wait;
        let mut before: HashMap<Key, u64> = HashMap::new();
        for _ in 0..self.options.looks {
            if keys.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(most);
            let mut left = Vec::new();
            for (authority, keys) in self.options.authority.divide(self.link, &keys).await? {
                for keys in keys.chunks(GUARDED_KEYS) {
                    left.extend(self.look_under_guard(authority, keys, &mut before, found).await?);
                }
            }
            keys = left;
        }
        for (authority, keys) in self.options.authority.divide(self.link, &keys).await? {
            self.settle_under_guard(authority, &keys, found).await?;
        }
        Ok(())
    }

    /// One look, under the guard where the follower has one. Those that are dirty still are given back.
    async fn look_under_guard(
        &self,
        authority: Option<Side>,
        mut keys: &[Key],
        before: &mut HashMap<Key, u64>,
        found: &mut Findings,
    ) -> Result<Vec<Key>, StoreError> {
        let mut left = Vec::new();
        while !keys.is_empty() {
            match self.look_at_some(authority, keys, before, found, &mut left).await {
                Ok(looked) => keys = &keys[looked..],
                // Another look follows, and the last one says what it meets.
                Err(error) if error.retryable() => {
                    left.extend_from_slice(keys);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// One look at the first of these keys, as many as there is room for: how many those are.
    async fn look_at_some(
        &self,
        authority: Option<Side>,
        keys: &[Key],
        before: &mut HashMap<Key, u64>,
        found: &mut Findings,
        left: &mut Vec<Key>,
    ) -> Result<usize, StoreError> {
        // Held until the logs were looked at: a sync that waits for the guard would level the key and take its entry out of
        // the log between the two looks, and leave a difference that nothing explains.
        let mut guard = match self.guarded(authority) {
            Some((authority, follower)) => Some((authority, follower.begin(Scope::Keys(keys)).await?)),
            None => None,
        };
        let (seen, certain) = match &mut guard {
            Some((authority, tx)) => {
                let seen = self.read_guarded(*authority, tx.as_mut(), keys).await?;
                (seen, self.logs.iter().any(|(side, _)| side == authority))
            }
            None => (self.read(keys).await?, false),
        };
        let looked = seen.len();
        let dirty = self.dirty(authority, &keys[..looked]).await?;
        drop(guard);
        for seen in self.weed(seen, found) {
            if dirty.contains(&seen.key) {
                left.push(seen.key);
                continue;
            }
            let print = fingerprint(seen.old.as_ref(), seen.new.as_ref());
            if certain || before.get(&seen.key) == Some(&print) {
                self.count(seen, found);
            } else {
                before.insert(seen.key.clone(), print);
                left.push(seen.key);
            }
        }
        Ok(looked)
    }

    /// Both sides' rows of the first of these keys, as many as there is room for.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Seen>, StoreError> {
        let table = self.link.table();
        let read = |side| {
            let store = self.link.store(side).as_ref();
            read_some(store, table, keys, Image::Canonical, LOOK_BYTES)
        };
        let (old, new) = tokio::join!(read(Side::Old), read(Side::New));
        Ok(self.pair(keys, (old?, new?)))
    }

    /// The authority that is known, and the guards of its follower, where it has any.
    fn guarded(&self, authority: Option<Side>) -> Option<(Side, &'a dyn Guarded)> {
        let authority = authority?;
        Some((authority, self.link.store(authority.other()).guarded()?))
    }

    async fn read_guarded(
        &self,
        side: Side,
        tx: &mut dyn GuardedTx,
        keys: &[Key],
    ) -> Result<Vec<Seen>, StoreError> {
        let store: &dyn Store = self.link.store(side).as_ref();
        let authority = read_some(store, self.link.table(), keys, Image::Canonical, LOOK_BYTES).await?;
        let keys = &keys[..authority.rows.len()];
        let follower = tx.read_within(self.link.table(), keys, LOOK_BYTES).await?;
        Ok(self.pair(keys, by_side(side, authority, follower)))
    }

    fn pair(&self, keys: &[Key], (old, new): (Rows, Rows)) -> Vec<Seen> {
        let refused = old.refused.into_iter().chain(new.refused);
        let mut refused: HashMap<Key, Refusal> = refused.map(|r| (r.key.clone(), r)).collect();
        let rows = old.rows.into_iter().zip(new.rows);
        keys.iter()
            .zip(rows)
            .map(|(key, (old, new))| Seen { key: key.clone(), old, new, refusal: refused.remove(key) })
            .collect()
    }

    /// The keys that the authority's log has an entry of, or may have; any log's where the authority isn't known. What is left
    /// in a follower's explains nothing: nobody carries that out.
    async fn dirty(&self, authority: Option<Side>, keys: &[Key]) -> Result<HashSet<Key>, StoreError> {
        let mut dirty = HashSet::new();
        for (_, log) in self.logs.iter().filter(|(side, _)| authority.is_none_or(|of| of == *side)) {
            let entries = log.claim_keys(keys).await?;
            dirty.extend(keys.iter().filter(|key| entries.may_have(key)).cloned());
        }
        Ok(dirty)
    }

    /// Counts those that are the same now; the others are left.
    fn weed(&self, seen: Vec<Seen>, found: &mut Findings) -> Vec<Seen> {
        let mut differ = Vec::new();
        for seen in seen {
            let same = match (&seen.old, &seen.new) {
                _ if seen.refusal.is_some() => false,
                (None, None) => true,
                (Some(old), Some(new)) => match self.link.rules().compare(old, new) {
                    RowComparison::Equal => {
                        found.table.compared += 1;
                        true
                    }
                    RowComparison::EqualByRule(rules) => {
                        found.table.compared += 1;
                        found.table.by_rules(&rules);
                        true
                    }
                    RowComparison::Differs(_) => false,
                },
                _ => false,
            };
            if same {
                found.table.transient += 1;
            } else {
                differ.push(seen);
            }
        }
        differ
    }

    /// A difference that persists.
    fn count(&self, seen: Seen, found: &mut Findings) {
        let Seen { key, old, new, refusal } = seen;
        let shape = self.link.shape(Side::New);
        let value = |row: &Option<Row>, at: usize| row.as_ref().and_then(|row| row.0.get(at)).map(kept);
        let column = |at: usize| ColumnDifference {
            column: shape.columns[at].clone(),
            old: value(&old, at),
            new: value(&new, at),
        };
        if let Some(refusal) = refusal {
            found.refuse(refusal);
            return;
        }
        let all = || (0..shape.columns.len()).map(column).collect();
        // Where nobody can say, as the way forward sees it.
        let authority = self.options.authority.of_rows(shape, &key, old.as_ref(), new.as_ref());
        let follower_lacks = match authority.unwrap_or(Side::Old) {
            Side::Old => new.is_none(),
            Side::New => old.is_none(),
        };
        let (kind, columns) = match (&old, &new) {
            (Some(a), Some(b)) => match self.link.rules().compare(a, b) {
                RowComparison::Differs(places) => {
                    found.table.compared += 1;
                    let places = places.into_iter().filter(|&at| at < shape.columns.len());
                    (DifferenceKind::Differing, places.map(column).collect())
                }
                RowComparison::Equal | RowComparison::EqualByRule(_) => return,
            },
            (None, None) => return,
            _ if follower_lacks => (DifferenceKind::Missing, all()),
            _ => (DifferenceKind::Extra, all()),
        };
        found.add(Difference { key, kind, columns, why: None });
    }
}
