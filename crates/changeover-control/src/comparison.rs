//! A full comparison of both sides, row by row, under live traffic and in bounded memory; and what it reports.
//!
//! It walks the old side in chunks of its own order and fetches the new side's rows by their keys; then the new side's keys,
//! for rows that the old side lacks: so no collation has to agree with another. Rows that differ are read again with a
//! back-off, for as long as they are in the authority's log: only a difference that persists counts. No snapshot is older
//! than a chunk.

mod report;
mod suspects;

use std::collections::HashSet;

use changeover::engine::{Link, Links};
use changeover::rules::RowComparison;
use changeover::store::{BatchBudget, Image, KeyRange, Refusal, Store};
use changeover::{Key, Side, StoreError};
use changeover_api::spec::EvidenceSpec;
use tokio::sync::watch;

pub use self::report::{DifferenceReport, RefusalReport, TableReport};
use self::suspects::Suspects;

/// How many rows are compared from one snapshot.
const CHUNK_ROWS: u64 = 5_000;

/// How many suspicious rows wait to be read again, before they are.
const SUSPECTS_MAX: usize = 2_000;

/// What is to be compared, and how.
pub(crate) struct Comparison<'c> {
    pub(crate) links: &'c Links,
    /// The side whose rows are right, for repairs and for telling what is still dirty.
    pub(crate) authority: Side,
    /// Whether the follower's rows that differ are written anew.
    pub(crate) repairs: bool,
    /// Which columns' values aren't shown.
    pub(crate) redact: &'c EvidenceSpec,
    /// Rests while this says so.
    pub(crate) paused: Option<watch::Receiver<bool>>,
}

/// Told with each chunk: rows compared so far, and differences found.
pub(crate) type Told<'t> = &'t mut (dyn FnMut(u64, u64) + Send);

impl Comparison<'_> {
    /// Compares every mapping. Changes nothing unless it repairs. May be dropped at any await.
    ///
    /// # Errors
    /// What a store meets: then nothing is known.
    pub(crate) async fn run(mut self, told: Told<'_>) -> Result<Vec<TableReport>, StoreError> {
        let mut reports: Vec<TableReport> = Vec::new();
        for link in self.links.links() {
            let rows_before: u64 = reports.iter().map(|report| report.rows_compared).sum();
            let found_before: u64 = reports.iter().map(TableReport::wrong).sum();
            let mut report = TableReport::new(link.table().as_str());
            self.old_rows(link, &mut report, &mut |report| {
                told(rows_before + report.rows_compared, found_before + report.wrong());
            })
            .await?;
            self.new_rows(link, &mut report, &mut |report| {
                told(rows_before + report.rows_compared, found_before + report.wrong());
            })
            .await?;
            reports.push(report);
        }
        Ok(reports)
    }

    async fn rest(&mut self) {
        if let Some(paused) = &mut self.paused {
            // A sender that is gone pauses nobody.
            let _ = paused.wait_for(|paused| !paused).await;
        }
    }

    /// Every row of the old side, against the new side's row of its key.
    async fn old_rows(
        &mut self,
        link: &Link,
        report: &mut TableReport,
        told: &mut (dyn FnMut(&TableReport) + Send),
    ) -> Result<(), StoreError> {
        let (old, new) = (link.store(Side::Old), link.store(Side::New));
        let mut suspects = Suspects::new(link, self.links, self.authority, self.repairs, self.redact);
        let mut refused: HashSet<Key> = HashSet::new();
        let mut after = None;
        loop {
            self.rest().await;
            let upto = old.cut(link.table(), after.as_ref(), CHUNK_ROWS).await?;
            let range = KeyRange { after, upto: upto.clone() };
            let mut rows = old.scan(link.table(), &range, Image::Canonical, BatchBudget::default()).await?;
            while let Some(batch) = rows.next().await? {
                report.refuse(batch.refused, &mut refused, link, self.redact, Side::Old);
                let keys: Vec<Key> = batch.rows.iter().map(|row| link.shape(Side::Old).key_of(row)).collect();
                let found = new.read(link.table(), &keys, Image::Canonical).await?;
                report.rows_old += keys.len() as u64;
                report.rows_compared += keys.len() as u64;
                report.refuse(found.refused, &mut refused, link, self.redact, Side::New);
                for ((key, row), other) in keys.into_iter().zip(&batch.rows).zip(&found.rows) {
                    match other {
                        Some(other) => match link.rules().compare(row, other) {
                            RowComparison::Equal => {}
                            RowComparison::EqualByRule(rules) => report.by_rule(&rules, link.rules()),
                            RowComparison::Differs(_) => suspects.add(key),
                        },
                        None if refused.contains(&key) => {}
                        None => suspects.add(key),
                    }
                }
                if suspects.len() >= SUSPECTS_MAX {
                    suspects.settle(report, &mut refused).await?;
                }
            }
            suspects.settle(report, &mut refused).await?;
            told(report);
            let Some(next) = upto else { return Ok(()) };
            after = Some(next);
        }
    }

    /// The new side's rows that the old side lacks.
    async fn new_rows(
        &mut self,
        link: &Link,
        report: &mut TableReport,
        told: &mut (dyn FnMut(&TableReport) + Send),
    ) -> Result<(), StoreError> {
        let (old, new) = (link.store(Side::Old), link.store(Side::New));
        let mut suspects = Suspects::new(link, self.links, self.authority, self.repairs, self.redact);
        let mut refused: HashSet<Key> = HashSet::new();
        let mut after = None;
        loop {
            self.rest().await;
            let upto = new.cut(link.table(), after.as_ref(), CHUNK_ROWS).await?;
            let range = KeyRange { after, upto: upto.clone() };
            let mut rows = new.scan(link.table(), &range, Image::Canonical, BatchBudget::default()).await?;
            while let Some(batch) = rows.next().await? {
                report.refuse(batch.refused, &mut refused, link, self.redact, Side::New);
                let keys: Vec<Key> = batch.rows.iter().map(|row| link.shape(Side::New).key_of(row)).collect();
                report.rows_new += keys.len() as u64;
                let found = old.read(link.table(), &keys, Image::Canonical).await?;
                let unreadable: HashSet<Key> = found.refused.into_iter().map(|refusal| refusal.key).collect();
                for (key, other) in keys.into_iter().zip(found.rows) {
                    if other.is_none() && !unreadable.contains(&key) {
                        suspects.add(key);
                    }
                }
                if suspects.len() >= SUSPECTS_MAX {
                    suspects.settle(report, &mut refused).await?;
                }
            }
            suspects.settle(report, &mut refused).await?;
            told(report);
            let Some(next) = upto else { return Ok(()) };
            after = Some(next);
        }
    }
}

/// What a value looks like in a report.
fn shown(redact: &EvidenceSpec, table: &str, column: &str, value: &changeover::Value) -> String {
    if redact.redacts(table, column) { "(redacted)".to_owned() } else { value.to_string() }
}

/// A key as a report shows it, redacted where its columns are.
fn shown_key(redact: &EvidenceSpec, link: &Link, key: &Key) -> String {
    let shape = link.shape(Side::New);
    let values: Vec<String> = shape
        .key
        .iter()
        .zip(key.values())
        .map(|(&at, value)| shown(redact, link.table().as_str(), &shape.columns[at], value))
        .collect();
    values.join(", ")
}

/// What a refusal says, redacted.
fn refusal_report(redact: &EvidenceSpec, link: &Link, refusal: &Refusal, side: Side) -> RefusalReport {
    let table = link.table().as_str();
    let column = refusal.column.clone();
    RefusalReport {
        table: table.to_owned(),
        key: shown_key(redact, link, &refusal.key),
        side: side.name().to_owned(),
        value: refusal
            .value
            .as_ref()
            .map(|value| shown(redact, table, column.as_deref().unwrap_or_default(), value)),
        column,
        why: refusal.why.clone(),
    }
}

/// Reads the rows of a few keys on one side, each in its place.
async fn read_rows(
    store: &dyn Store,
    link: &Link,
    keys: &[Key],
) -> Result<changeover::store::Rows, StoreError> {
    store.read(link.table(), keys, Image::Canonical).await
}
