//! Rows that differed when they were first read: read again, with a back-off, until they agree or the difference persists.

use std::collections::HashSet;
use std::time::Duration;

use changeover::engine::{Fate, Link, Links};
use changeover::rules::RowComparison;
use changeover::{Key, Row, Side, StoreError};
use changeover_api::spec::EvidenceSpec;

use super::report::{DifferenceReport, TableReport};
use super::{read_rows, shown, shown_key};

/// How often a row is read again; while its key is in the authority's log, more often.
const TRIES: u32 = 4;
const TRIES_DIRTY: u32 = 40;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How many keys are read at once.
const BATCH: usize = 500;

pub(super) struct Suspects<'c> {
    link: &'c Link,
    links: &'c Links,
    authority: Side,
    repairs: bool,
    redact: &'c EvidenceSpec,
    keys: Vec<Key>,
}

/// A row on both sides.
type Both = (Key, Option<Row>, Option<Row>);

impl<'c> Suspects<'c> {
    pub(super) const fn new(
        link: &'c Link,
        links: &'c Links,
        authority: Side,
        repairs: bool,
        redact: &'c EvidenceSpec,
    ) -> Self {
        Self { link, links, authority, repairs, redact, keys: Vec::new() }
    }

    pub(super) fn add(&mut self, key: Key) {
        self.keys.push(key);
    }

    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Reads all again until they agree or persist; what persists is repaired, if that was asked for, or reported.
    pub(super) async fn settle(
        &mut self,
        report: &mut TableReport,
        refused: &mut HashSet<Key>,
    ) -> Result<(), StoreError> {
        let keys = std::mem::take(&mut self.keys);
        for batch in keys.chunks(BATCH) {
            let mut wrong = self.persistent(batch, report, refused).await?;
            if self.repairs && !wrong.is_empty() {
                wrong = self.repair(wrong, report, refused).await?;
            }
            for row in wrong {
                self.tell(row, report);
            }
        }
        Ok(())
    }

    async fn persistent(
        &self,
        keys: &[Key],
        report: &mut TableReport,
        refused: &mut HashSet<Key>,
    ) -> Result<Vec<Both>, StoreError> {
        let mut keys = keys.to_vec();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            let wrong = self.look(&keys, report, refused).await?;
            tries += 1;
            if wrong.is_empty() || tries >= TRIES_DIRTY {
                return Ok(wrong);
            }
            keys = wrong.iter().map(|(key, ..)| key.clone()).collect();
            if tries >= TRIES && !self.any_dirty(&keys).await? {
                return Ok(wrong);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn any_dirty(&self, keys: &[Key]) -> Result<bool, StoreError> {
        match self.link.store(self.authority).capture() {
            Some(log) if log.installed().await? => Ok(!log.claim_keys(keys).await?.is_empty()),
            _ => Ok(false),
        }
    }

    /// Both sides' rows now: those that still differ. The follower is read last, so that what the mirror brings in between
    /// counts for it.
    async fn look(
        &self,
        keys: &[Key],
        report: &mut TableReport,
        refused: &mut HashSet<Key>,
    ) -> Result<Vec<Both>, StoreError> {
        let link = self.link;
        let first = read_rows(&**link.store(self.authority), link, keys).await?;
        let second = read_rows(&**link.store(self.authority.other()), link, keys).await?;
        report.refuse(first.refused, refused, link, self.redact, self.authority);
        report.refuse(second.refused, refused, link, self.redact, self.authority.other());
        let (old, new) = match self.authority {
            Side::Old => (first.rows, second.rows),
            Side::New => (second.rows, first.rows),
        };
        let rows = keys.iter().cloned().zip(old).zip(new).map(|((key, old), new)| (key, old, new));
        Ok(rows
            .filter(|(key, old, new)| match (old, new) {
                (Some(old), Some(new)) => !link.rules().compare(old, new).is_equal(),
                (None, None) => false,
                // A row that can't be read is counted as that.
                _ => !refused.contains(key),
            })
            .collect())
    }

    async fn repair(
        &self,
        wrong: Vec<Both>,
        report: &mut TableReport,
        refused: &mut HashSet<Key>,
    ) -> Result<Vec<Both>, StoreError> {
        let keys: Vec<Key> = wrong.into_iter().map(|(key, ..)| key).collect();
        let synced = self.links.sync(self.authority, &keys).await?;
        let refusals = synced.fates.into_iter().filter_map(|fate| match fate {
            Fate::Refused(refusal) => Some(refusal),
            Fate::Synced | Fate::LeftToBackfill | Fate::Deferred => None,
        });
        report.refuse(refusals.collect(), refused, self.link, self.redact, self.authority.other());
        let still = self.look(&keys, report, refused).await?;
        report.repaired += (keys.len() - still.len()) as u64;
        Ok(still)
    }

    fn tell(&self, (key, old, new): Both, report: &mut TableReport) {
        let table = self.link.table().as_str();
        let shown_key = shown_key(self.redact, self.link, &key);
        let line = |kind, column: Option<String>, old, new| DifferenceReport {
            table: table.to_owned(),
            key: shown_key.clone(),
            kind,
            column,
            old,
            new,
        };
        match (old, new) {
            (Some(old), Some(new)) => {
                report.differing += 1;
                let RowComparison::Differs(columns) = self.link.rules().compare(&old, &new) else { return };
                for at in columns {
                    let name = &self.link.shape(Side::New).columns[at];
                    let value = |row: &Row| row.0.get(at).map(|value| shown(self.redact, table, name, value));
                    report.show(line("differing", Some(name.clone()), value(&old), value(&new)));
                }
            }
            (Some(_), None) => {
                report.missing += 1;
                report.show(line("missing", None, None, None));
            }
            (None, Some(_)) => {
                report.extra += 1;
                report.show(line("extra", None, None, None));
            }
            (None, None) => {}
        }
    }
}
