//! The walk by digests: both databases say what is in each of many small ranges, and only ranges of which they say different
//! things are read.
//!
//! Only where both sides order keys alike: a range is then the same keys on both.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use changeover_protocol::Side;
use tokio::time::Instant;

use super::Verification;
use super::report::{Findings, VerifyCheckpoint};
use super::settle::Settler;
use super::walk::Pass;
use crate::engine::pair::Link;
use crate::error::StoreError;
use crate::store::KeyRange;
use crate::store::digest::{Digest, Digests, Seeds};
use crate::value::Key;

/// How long one statement should take: digests hold a snapshot, as scans do, and a pause or a rate is kept between two.
const STATEMENT: Duration = Duration::from_millis(150);
/// A range that alone takes longer than this is of fewer rows.
const RANGE: Duration = Duration::from_secs(1);
/// The fewest rows of a range.
const FEWEST: u64 = 16;
/// So many ranges whose rows were the same and whose digests weren't: then digests are of no use here.
const IN_VAIN: u64 = 32;

/// Both sides' digests of one mapping, made by one method.
pub(super) struct Digested<'a> {
    old: &'a dyn Digests,
    new: &'a dyn Digests,
    seeds: Seeds,
    pace: Pace,
    /// Ranges whose digests differed, though there was nothing to be found in them.
    in_vain: u64,
    /// Ranges whose digests were the same.
    same: u64,
}

/// How much is asked for at once.
struct Pace {
    rows: u64,
    ranges: usize,
    most: usize,
}

impl Pace {
    fn new(verification: &Verification, rows: u64) -> Self {
        let options = &verification.options;
        // Not more than a quarter of a second's worth, which counts the rows of both sides.
        let by_rate = options.rows_per_second_max.filter(|rate| *rate > 0).map_or(u64::MAX, |rate| rate / 8);
        let rows = rows.min(by_rate).max(FEWEST);
        let most = options.segment_rows.min(by_rate) / rows;
        let most = usize::try_from(most).unwrap_or(usize::MAX).clamp(1, 1_024);
        Self { rows, ranges: most.min(8), most }
    }

    /// Learns from what a statement took.
    fn learn(&mut self, took: Duration) {
        if took < STATEMENT / 2 {
            self.ranges = (self.ranges * 2).min(self.most);
        } else if took > STATEMENT * 2 {
            if self.ranges == 1 && took > RANGE {
                self.rows = (self.rows / 2).max(FEWEST);
            }
            self.ranges = (self.ranges / 2).max(1);
        }
    }
}

/// How the next ranges are cut.
struct Cut<'a> {
    digests: &'a dyn Digests,
    rows: u64,
    most: usize,
}

impl Cut<'_> {
    /// The ranges after a key; the last is open where they are all that is left.
    async fn ranges(&self, link: &Link, after: Option<Key>) -> Result<Vec<KeyRange>, StoreError> {
        let bounds = self.digests.bounds(link.table(), after.as_ref(), self.rows, self.most).await?;
        let ended = bounds.len() < self.most;
        let mut ranges = Vec::with_capacity(bounds.len() + 1);
        let mut from = after;
        for bound in bounds {
            ranges.push(KeyRange { after: from.replace(bound.clone()), upto: Some(bound) });
        }
        if ended {
            ranges.push(KeyRange { after: from, upto: None });
        }
        Ok(ranges)
    }
}

impl<'a> Digested<'a> {
    /// As the old side cuts them, at the pace of now.
    const fn cut(&self) -> Cut<'a> {
        Cut { digests: self.old, rows: self.pace.rows, most: self.pace.ranges }
    }

    /// Whether they have shown to be of no use: each range is read, and its digest is one read more.
    const fn is_vain(&self) -> bool {
        self.in_vain >= IN_VAIN && self.in_vain > self.same
    }

    /// Both sides' digests of these ranges; `None` where one can't compute a row.
    async fn of(
        &mut self,
        link: &Link,
        ranges: &[KeyRange],
    ) -> Result<Option<Vec<(Digest, Digest)>>, StoreError> {
        let began = Instant::now();
        let (old, new) = tokio::join!(
            self.old.digests(link.table(), ranges, self.seeds),
            self.new.digests(link.table(), ranges, self.seeds)
        );
        let (old, new) = (old?, new?);
        self.pace.learn(began.elapsed());
        let both = old.zip(new).filter(|(old, new)| old.len() == ranges.len() && new.len() == ranges.len());
        Ok(both.map(|(old, new)| old.into_iter().zip(new).collect()))
    }
}

impl Verification {
    /// Both sides' digests, where both make them by one method.
    pub(super) async fn digested<'a>(&self, link: &'a Link) -> Result<Option<Digested<'a>>, StoreError> {
        let digests = |side| link.store(side).digests();
        let (Some(rows), Some(old), Some(new)) =
            (self.options.digest_rows, digests(Side::Old), digests(Side::New))
        else {
            return Ok(None);
        };
        let methods = tokio::join!(old.method(link.table()), new.method(link.table()));
        match (methods.0?, methods.1?) {
            (Some(one), Some(other)) if one == other => {}
            _ => return Ok(None),
        }
        let seed = || RandomState::new().hash_one(link.table()).cast_signed();
        let (seeds, pace) = ([seed(), seed()], Pace::new(self, rows));
        Ok(Some(Digested { old, new, seeds, pace, in_vain: 0, same: 0 }))
    }

    /// The whole table, or what is left of it, by digests; after each statement's the checkpoint is true. `false` where they
    /// have shown to be of no use: what is left then is to be read.
    pub(super) async fn by_digest(
        &self,
        link: &Link,
        mut digested: Digested<'_>,
        settler: &Settler<'_>,
        at: &mut VerifyCheckpoint,
    ) -> Result<bool, StoreError> {
        let cut = digested.cut();
        let mut ranges = cut.ranges(link, at.after.clone()).await?;
        loop {
            let last = ranges.last().and_then(|range| range.upto.clone());
            let cut = digested.cut();
            let next = async {
                match &last {
                    Some(_) => cut.ranges(link, last.clone()).await,
                    None => Ok(Vec::new()),
                }
            };
            let mut found = at.findings(&self.options);
            let looked = self.look_at(link, &mut digested, &ranges, settler, &mut found);
            let (looked, next) = tokio::join!(looked, next);
            if let Err(error) = looked {
                // These ranges are looked at again; what was repaired in them stays so.
                at.tables[at.place].repaired = found.table.repaired;
                self.publish(at);
                return Err(error);
            }
            at.take(found);
            if last.is_none() {
                return Ok(true);
            }
            at.after = last;
            self.publish(at);
            if digested.is_vain() {
                tracing::debug!(table = %link.table(), "the digests of what is the same differ: all rows are read");
                return Ok(false);
            }
            ranges = next?;
        }
    }

    /// Compares these ranges by their digests, and reads those that differ.
    async fn look_at(
        &self,
        link: &Link,
        digested: &mut Digested<'_>,
        ranges: &[KeyRange],
        settler: &Settler<'_>,
        found: &mut Findings,
    ) -> Result<(), StoreError> {
        let Some(digests) = digested.of(link, ranges).await? else {
            return self.walk(link, Pass::Merge, &whole(ranges), settler, found).await;
        };
        let mut rows = 0;
        for (range, (old, new)) in ranges.iter().zip(digests) {
            if old == new {
                digested.same += 1;
                rows += old.rows + new.rows;
                found.table.same_by_digest(old.rows);
                continue;
            }
            let before = found.table.doubted();
            self.walk(link, Pass::Merge, range, settler, found).await?;
            digested.in_vain += u64::from(found.table.doubted() == before);
        }
        self.breathe(rows).await;
        Ok(())
    }
}

/// Ranges that follow one another, as one.
fn whole(ranges: &[KeyRange]) -> KeyRange {
    let after = ranges.first().and_then(|range| range.after.clone());
    let upto = ranges.last().and_then(|range| range.upto.clone());
    KeyRange { after, upto }
}
