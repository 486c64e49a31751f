//! The walk over one segment: rows of both sides side by side, without a copy of any that is the same.

use std::cmp::Ordering;

use super::Verification;
use super::report::{Difference, DifferenceKind, Findings, TableReport};
use super::settle::Settler;
use crate::engine::order::cmp_values;
use crate::engine::pair::Link;
use crate::engine::sync::read_some;
use crate::error::StoreError;
use crate::rules::RowComparison;
use crate::store::{Image, KeyRange, RowBatch, RowStream, Store};
use crate::value::{Key, Row};
use changeover_protocol::Side;

/// How many rows that seem to differ are looked at again together.
const SUSPECTS: usize = 2_048;

/// What is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Both sides, merged.
    Merge,
    /// The old side, with the new side's rows by key.
    OldRows,
    /// The new side, for rows that the old side lacks.
    NewKeys,
}

/// The rows of one side on their way.
struct Cursor<'a> {
    stream: RowStream,
    rows: Vec<Row>,
    at: usize,
    ended: bool,
    key: &'a [usize],
    store: &'a dyn Store,
    link: &'a Link,
    last: Option<Row>,
}

impl<'a> Cursor<'a> {
    async fn open(
        link: &'a Link,
        side: Side,
        range: &KeyRange,
        walker: &Verification,
    ) -> Result<Self, StoreError> {
        let store = link.store(side).as_ref();
        let stream = store.scan(link.table(), range, Image::Canonical, walker.options.batch).await?;
        let key = &link.shape(side).key;
        Ok(Self { stream, rows: Vec::new(), at: 0, ended: false, key, store, link, last: None })
    }

    /// Fetches rows if there are none; what is refused goes to `suspects`, or to what was found if no second look could
    /// find it. All are counted.
    async fn fill(
        &mut self,
        walker: &Verification,
        doubts: &mut Doubts,
        found: &mut Findings,
    ) -> Result<(), StoreError> {
        while self.at == self.rows.len() && !self.ended {
            if let Some(last) = self.rows.pop() {
                let mut used = std::mem::take(&mut self.rows);
                used.extend(self.last.replace(last));
                self.stream.give_back(used);
                self.at = 0;
            }
            let Some(RowBatch { rows, refused }) = self.stream.next().await? else {
                self.ended = true;
                break;
            };
            (self.rows, self.at) = (rows, 0);
            self.count(refused.len(), &mut found.table);
            for refusal in refused {
                if refusal.key.is_findable() {
                    doubts.suspects.push(refusal.key);
                } else {
                    // Asked for by such a key a store knows of no row, and this one would pass for one that is gone.
                    found.refuse(refusal);
                }
            }
            self.check_order(doubts)?;
            walker.breathe(self.rows.len() as u64).await;
        }
        Ok(())
    }

    /// Counts what was fetched.
    fn count(&self, refused: usize, table: &mut TableReport) {
        let rows = (self.rows.len() + refused) as u64;
        match self.store.info().side {
            Side::Old => table.rows_old += rows,
            Side::New => table.rows_new += rows,
        }
        let values = self.rows.iter().flat_map(|row| &row.0);
        table.bytes += values.map(|value| value.bytes() as u64).sum::<u64>();
    }

    /// A store whose rows don't come in the order that it says would make every comparison worthless.
    fn check_order(&self, doubts: &mut Doubts) -> Result<(), StoreError> {
        let before = self.last.iter().chain(&self.rows);
        for (a, b) in before.zip(self.last.iter().chain(&self.rows).skip(1)) {
            match cmp_keys_of(a, b, self.key) {
                Ordering::Equal => doubts.twice.push(self.link.shape(self.store.info().side).key_of(b)),
                Ordering::Greater if self.link.ordered_alike() => {
                    return Err(StoreError::Schema {
                        store: self.store.info().name.clone(),
                        table: self.link.table().clone(),
                        problem: "gives its rows in another order than the one it says".into(),
                        remedy: "This is a fault of the store's adapter: report it.".into(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn current(&self) -> Option<&Row> {
        self.rows.get(self.at)
    }

    fn key(&self, row: &Row) -> Key {
        self.link.shape(self.store.info().side).key_of(row)
    }
}

fn cmp_keys_of(a: &Row, b: &Row, key: &[usize]) -> Ordering {
    for &column in key {
        match cmp_values(&a.0[column], &b.0[column]) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// Keys that want another look.
#[derive(Default)]
struct Doubts {
    suspects: Vec<Key>,
    /// Keys under which two rows of one side stand: the mapping's key isn't one.
    twice: Vec<Key>,
    /// Keys that were dirty when they were looked at.
    dirty: Vec<Key>,
}

impl Doubts {
    async fn settle(
        &mut self,
        settler: &Settler<'_>,
        found: &mut Findings,
        last: bool,
    ) -> Result<(), StoreError> {
        for key in self.twice.drain(..) {
            let why = "two rows of one side have this key in the mapping".to_owned();
            found.add(Difference { key, kind: DifferenceKind::Refused, columns: Vec::new(), why: Some(why) });
        }
        if self.suspects.len() >= SUSPECTS || last {
            let mut suspects = std::mem::take(&mut self.suspects);
            dedup(&mut suspects);
            self.dirty.extend(settler.look(suspects, found).await?);
        }
        if self.dirty.len() >= 8 * SUSPECTS || last {
            settler.settle(std::mem::take(&mut self.dirty), found).await?;
        }
        Ok(())
    }
}

/// Each key once, wherever it stands.
fn dedup(keys: &mut Vec<Key>) {
    let mut seen = std::collections::HashSet::with_capacity(keys.len());
    keys.retain(|key| seen.insert(key.clone()));
}

impl Verification {
    pub(super) async fn walk(
        &self,
        link: &Link,
        pass: Pass,
        range: &KeyRange,
        settler: &Settler<'_>,
        found: &mut Findings,
    ) -> Result<(), StoreError> {
        let mut doubts = Doubts::default();
        match pass {
            Pass::Merge => self.merge(link, range, settler, found, &mut doubts).await?,
            Pass::OldRows => self.old_rows(link, range, settler, found, &mut doubts).await?,
            Pass::NewKeys => self.new_keys(link, range, settler, found, &mut doubts).await?,
        }
        doubts.settle(settler, found, true).await?;
        self.repair(found, true).await
    }

    async fn merge(
        &self,
        link: &Link,
        range: &KeyRange,
        settler: &Settler<'_>,
        found: &mut Findings,
        doubts: &mut Doubts,
    ) -> Result<(), StoreError> {
        let (old, new) = tokio::join!(
            Cursor::open(link, Side::Old, range, self),
            Cursor::open(link, Side::New, range, self)
        );
        let (mut old, mut new) = (old?, new?);
        loop {
            old.fill(self, doubts, found).await?;
            new.fill(self, doubts, found).await?;
            if !merge_batches(link, &mut old, &mut new, found, doubts) {
                return Ok(());
            }
            doubts.settle(settler, found, false).await?;
            self.repair(found, false).await?;
        }
    }

    async fn old_rows(
        &self,
        link: &Link,
        range: &KeyRange,
        settler: &Settler<'_>,
        found: &mut Findings,
        doubts: &mut Doubts,
    ) -> Result<(), StoreError> {
        let mut old = Cursor::open(link, Side::Old, range, self).await?;
        let new = link.store(Side::New).as_ref();
        loop {
            old.fill(self, doubts, found).await?;
            if old.current().is_none() {
                return Ok(());
            }
            let keys: Vec<Key> = old.rows.iter().map(|row| old.key(row)).collect();
            let mut at = 0;
            while at < keys.len() {
                let bytes = self.options.batch.bytes;
                let there = read_some(new, link.table(), &keys[at..], Image::Canonical, bytes).await?;
                for ((key, row), new) in keys[at..].iter().zip(&old.rows[at..]).zip(&there.rows) {
                    match new {
                        Some(new) => compare(link, row, new, found, doubts, || key.clone()),
                        None => doubts.suspects.push(key.clone()),
                    }
                }
                at += there.rows.len();
            }
            old.at = old.rows.len();
            doubts.settle(settler, found, false).await?;
            self.repair(found, false).await?;
        }
    }

    async fn new_keys(
        &self,
        link: &Link,
        range: &KeyRange,
        settler: &Settler<'_>,
        found: &mut Findings,
        doubts: &mut Doubts,
    ) -> Result<(), StoreError> {
        let mut new = Cursor::open(link, Side::New, range, self).await?;
        let old = link.store(Side::Old).as_ref();
        loop {
            let mut refused = Doubts::default();
            new.fill(self, &mut refused, found).await?;
            // A new row that can't be read was found in the first pass, unless the old side has none.
            let mut keys: Vec<Key> = new.rows[new.at..].iter().map(|row| new.key(row)).collect();
            keys.append(&mut refused.suspects);
            doubts.twice.append(&mut refused.twice);
            if keys.is_empty() {
                return Ok(());
            }
            let mut keys = &keys[..];
            while !keys.is_empty() {
                let bytes = self.options.batch.bytes;
                let there = read_some(old, link.table(), keys, Image::Canonical, bytes).await?;
                let refused: Vec<&Key> = there.refused.iter().map(|refusal| &refusal.key).collect();
                let lacking =
                    keys.iter().zip(&there.rows).filter(|(key, row)| row.is_none() && !refused.contains(key));
                doubts.suspects.extend(lacking.map(|(key, _)| key.clone()));
                keys = &keys[there.rows.len()..];
            }
            new.at = new.rows.len();
            doubts.settle(settler, found, false).await?;
            self.repair(found, false).await?;
        }
    }
}

/// Merges what both sides have fetched. `false` when both are at their end.
fn merge_batches(
    link: &Link,
    old: &mut Cursor<'_>,
    new: &mut Cursor<'_>,
    found: &mut Findings,
    doubts: &mut Doubts,
) -> bool {
    loop {
        match (old.current(), new.current()) {
            (Some(a), Some(b)) => match cmp_keys_of(a, b, old.key) {
                Ordering::Equal => {
                    compare(link, a, b, found, doubts, || old.key(a));
                    old.at += 1;
                    new.at += 1;
                }
                Ordering::Less => {
                    doubts.suspects.push(old.key(a));
                    old.at += 1;
                }
                Ordering::Greater => {
                    doubts.suspects.push(new.key(b));
                    new.at += 1;
                }
            },
            (Some(a), None) if new.ended => {
                doubts.suspects.push(old.key(a));
                old.at += 1;
            }
            (None, Some(b)) if old.ended => {
                doubts.suspects.push(new.key(b));
                new.at += 1;
            }
            (None, None) if old.ended && new.ended => return false,
            _ => return true,
        }
        if doubts.suspects.len() >= SUSPECTS {
            return true;
        }
    }
}

fn compare(
    link: &Link,
    old: &Row,
    new: &Row,
    found: &mut Findings,
    doubts: &mut Doubts,
    key: impl FnOnce() -> Key,
) {
    match link.rules().compare(old, new) {
        RowComparison::Equal => found.table.compared += 1,
        RowComparison::EqualByRule(rules) => {
            found.table.compared += 1;
            found.table.by_rules(&rules);
        }
        // Counted when it is settled.
        RowComparison::Differs(_) => doubts.suspects.push(key()),
    }
}
