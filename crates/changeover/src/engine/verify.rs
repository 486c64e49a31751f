//! Verification: a full comparison of both sides, row by row, in bounded memory, under live traffic.
//!
//! Where both sides order keys alike, their scans are merged; and where both are databases of one kind with the same types,
//! each computes digests of small ranges of its rows first, and only ranges whose digests differ are read. Where they don't, the old side is walked in its own
//! order with the new rows fetched by key, and a second pass over the new side finds extra rows: so no collation has to
//! agree with another. Rows that differ are looked at again; only what persists counts. It shares no code with the copy
//! for how values are compared: the copy leaves that to the follower's store, and this to the rules.
//!
//! What it can't see: a row that differs on both sides of the mapping in what no column of it shows; a row outside of the
//! mapping; and, in a store whose scans lie, whatever they leave out on both sides.

mod digest;
mod report;
mod settle;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Side;
use tokio::sync::watch;
use tokio::time::Instant;

use self::report::Findings;
pub use self::report::{
    ColumnDifference, Difference, DifferenceKind, TableReport, VerifyCheckpoint, VerifyProgress, VerifyReport,
};
use self::settle::Settler;
use self::walk::Pass;
use super::authority::Authority;
use super::pair::{Link, Links};
use super::repair::repair;
use crate::error::StoreError;
use crate::store::{BatchBudget, KeyRange, Store};
use crate::value::Key;

/// Rows that are written anew together.
const REPAIRED_AT_ONCE: usize = 1_000;

/// How a verification runs.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyOptions {
    /// Which side answers now: rows that only the other has are *extra*, rows that it lacks are *missing*.
    pub authority: Authority,
    /// Nobody writes to either side, so a difference needs no second look under a guard, and nothing is locked.
    pub quiet: bool,
    /// How large the batches of a scan are.
    pub batch: BatchBudget,
    /// How many rows one snapshot is held for; the place to go on from is kept after each.
    pub segment_rows: u64,
    /// How many rows one digest is of, where the databases compute them: so many are read where one differs. None: all rows are
    /// read.
    pub digest_rows: Option<u64>,
    /// How often rows that differ are looked at again while their keys are dirty.
    pub looks: u32,
    /// The wait between two looks: at first, and at most.
    pub look_wait: (Duration, Duration),
    /// At most so many rows a second.
    pub rows_per_second_max: Option<u64>,
    /// How many differences are kept; all are counted.
    pub differences_kept: usize,
    /// Rows that differ are written anew, as the authority has them, while the walk goes on; what differs still counts.
    pub repair: bool,
    /// Where an earlier run stopped.
    pub resume: Option<VerifyCheckpoint>,
}

impl VerifyOptions {
    /// The defaults, for this authority, under live traffic.
    #[must_use]
    pub fn new(authority: impl Into<Authority>) -> Self {
        Self {
            authority: authority.into(),
            quiet: false,
            batch: BatchBudget::default(),
            segment_rows: 250_000,
            digest_rows: Some(2_048),
            looks: 7,
            look_wait: (Duration::from_millis(20), Duration::from_secs(1)),
            rows_per_second_max: None,
            differences_kept: 10_000,
            repair: false,
            resume: None,
        }
    }
}

/// Tells a verification what to do, and how far it is.
#[derive(Debug, Clone)]
pub struct VerifyHandle {
    paused: Arc<watch::Sender<bool>>,
    progress: watch::Receiver<VerifyProgress>,
}

impl VerifyHandle {
    /// Waits at the next batch.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> VerifyProgress {
        self.progress.borrow().clone()
    }

    /// How far it is, now and with each segment.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<VerifyProgress> {
        self.progress.clone()
    }
}

/// One verification.
#[derive(Debug)]
pub struct Verification {
    links: Arc<Links>,
    options: VerifyOptions,
    paused: watch::Receiver<bool>,
    progress: watch::Sender<VerifyProgress>,
    started: Instant,
    rows_before: u64,
}

impl Verification {
    /// A verification of all mappings. Nothing happens before [`Verification::run`].
    #[must_use]
    pub fn new(links: Arc<Links>, options: VerifyOptions) -> (Self, VerifyHandle) {
        let (paused, wished) = watch::channel(false);
        let checkpoint = match &options.resume {
            Some(checkpoint) => checkpoint.clone(),
            None => VerifyCheckpoint::start(links.links()),
        };
        let rows_before = checkpoint.rows();
        let (progress, shown) = watch::channel(VerifyProgress::at(checkpoint));
        let handle = VerifyHandle { paused: Arc::new(paused), progress: shown };
        let verification =
            Self { links, options, paused: wished, progress, started: Instant::now(), rows_before };
        (verification, handle)
    }

    /// Compares until both sides' ends. May be dropped at any await; the handle's progress holds the checkpoint to go on
    /// from.
    ///
    /// # Errors
    /// What a store meets. What was found until then is in the progress.
    pub async fn run(mut self) -> Result<VerifyReport, StoreError> {
        self.started = Instant::now();
        let links = Arc::clone(&self.links);
        self.estimate(&links).await?;
        let mut at = self.progress.borrow().checkpoint.clone();
        while let Some(link) = links.links().get(at.place) {
            self.table(link, &mut at).await?;
            at.next_table();
            self.publish(&at);
        }
        Ok(VerifyReport { tables: at.tables, differences: at.differences, took: self.started.elapsed() })
    }

    async fn estimate(&self, links: &Links) -> Result<(), StoreError> {
        let mut estimate = 0;
        for link in links.links() {
            for side in [Side::Old, Side::New] {
                estimate += link.store(side).estimate(link.table()).await?;
            }
        }
        self.progress.send_modify(|progress| progress.estimate = estimate);
        Ok(())
    }

    async fn table(&self, link: &Link, at: &mut VerifyCheckpoint) -> Result<(), StoreError> {
        let settler = Settler::new(link, &self.options).await?;
        if link.ordered_alike() {
            if let Some(digested) = self.digested(link).await?
                && self.by_digest(link, digested, &settler, at).await?
            {
                return Ok(());
            }
            return self.pass(link, Pass::Merge, &settler, at).await;
        }
        if !at.second_pass {
            self.pass(link, Pass::OldRows, &settler, at).await?;
            (at.second_pass, at.after) = (true, None);
        }
        self.pass(link, Pass::NewKeys, &settler, at).await
    }

    /// One pass over a table, in segments; after each the checkpoint is true.
    async fn pass(
        &self,
        link: &Link,
        pass: Pass,
        settler: &Settler<'_>,
        at: &mut VerifyCheckpoint,
    ) -> Result<(), StoreError> {
        let side = if pass == Pass::NewKeys { Side::New } else { Side::Old };
        let store = link.store(side).as_ref();
        let mut upto = self.cut(store, link, at.after.clone()).await?;
        loop {
            let range = KeyRange { after: at.after.clone(), upto: upto.clone() };
            let next = async {
                match &upto {
                    Some(_) => self.cut(store, link, upto.clone()).await,
                    None => Ok(None),
                }
            };
            let mut found = at.findings(&self.options);
            let walked = self.walk(link, pass, &range, settler, &mut found);
            let (walked, next) = tokio::join!(walked, next);
            if let Err(error) = walked {
                // The segment is walked again; what was repaired in it stays so.
                at.tables[at.place].repaired = found.table.repaired;
                self.publish(at);
                return Err(error);
            }
            let ended = upto.is_none();
            at.take(found);
            if ended {
                return Ok(());
            }
            at.after = upto;
            upto = next?;
            self.publish(at);
        }
    }

    async fn cut(
        &self,
        store: &dyn Store,
        link: &Link,
        after: Option<Key>,
    ) -> Result<Option<Key>, StoreError> {
        store.cut(link.table(), after.as_ref(), self.options.segment_rows).await
    }

    /// Repairs what was found, so many at once, or all that is left of the segment.
    async fn repair(&self, found: &mut Findings, last: bool) -> Result<(), StoreError> {
        let enough = if last { 1 } else { REPAIRED_AT_ONCE };
        let Some(waiting) = found.to_repair.as_mut().filter(|waiting| waiting.len() >= enough) else {
            return Ok(());
        };
        let before = std::mem::take(waiting);
        let options = VerifyOptions { repair: false, differences_kept: usize::MAX, ..self.options.clone() };
        let report = repair(&self.links, &before, &options).await?;
        found.repaired(&before, report);
        Ok(())
    }

    fn publish(&self, at: &VerifyCheckpoint) {
        let seconds = self.started.elapsed().as_secs_f64();
        let rows = at.rows();
        self.progress.send_modify(|progress| {
            progress.checkpoint.clone_from(at);
            if seconds > 0.0 {
                progress.rows_per_second = rows.saturating_sub(self.rows_before) as f64 / seconds;
            }
            let to_come = progress.estimate.saturating_sub(rows) as f64;
            progress.left = (progress.rows_per_second > 0.0)
                .then(|| Duration::try_from_secs_f64(to_come / progress.rows_per_second).ok())
                .flatten();
        });
    }

    /// Between two batches: waits while paused, and keeps the rate.
    async fn breathe(&self, rows: u64) {
        if *self.paused.borrow() {
            self.progress.send_modify(|progress| progress.paused = true);
            // A handle that is gone can't pause any more.
            let _ = self.paused.clone().wait_for(|paused| !paused).await;
            self.progress.send_modify(|progress| progress.paused = false);
        }
        if let Some(rate) = self.options.rows_per_second_max.filter(|rate| *rate > 0) {
            tokio::time::sleep(Duration::from_secs_f64(rows as f64 / rate as f64)).await;
        }
    }
}

/// Compares these keys alone: the differences that persist.
///
/// # Errors
/// What a store meets.
pub async fn compare_keys(
    links: &Links,
    keys: &[Key],
    options: &VerifyOptions,
) -> Result<Vec<Difference>, StoreError> {
    let mut differences = Vec::new();
    for (place, link) in links.links().iter().enumerate() {
        let of_table: Vec<Key> = keys.iter().filter(|key| key.table == *link.table()).cloned().collect();
        if of_table.is_empty() {
            continue;
        }
        let settler = Settler::new(link, options).await?;
        let mut at = VerifyCheckpoint::start(links.links());
        at.place = place;
        let mut found = at.findings(options);
        let dirty = settler.look(of_table, &mut found).await?;
        settler.settle(dirty, &mut found).await?;
        differences.append(&mut found.differences);
    }
    Ok(differences)
}
