//! How far a backfill is, for people and for gates.

use std::time::Duration;

use changeover_protocol::Side;
use tokio::sync::watch;
use tokio::time::Instant;

use super::chunk::Copied;
use crate::engine::pair::Links;
use crate::error::StoreError;
use crate::store::Refusal;
use crate::store::guard::{Chunk, ChunkState};
use crate::value::TableName;

/// How far one table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableProgress {
    /// The mapping's name.
    pub table: TableName,
    /// About how many rows the authority has.
    pub estimate: u64,
    /// Rows copied, those of earlier runs of this generation included.
    pub rows: u64,
    /// Chunks done.
    pub chunks: u64,
    /// Rows of the follower deleted, because the authority lacks them.
    pub deleted: u64,
    /// Rows that couldn't be carried.
    pub refused: u64,
    /// Whether all of its chunks are done.
    pub complete: bool,
}

/// How far a backfill is.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillProgress {
    /// Which generation.
    pub generation: u64,
    /// The side that is filled.
    pub toward: Side,
    /// Each table, in the order of the copy.
    pub tables: Vec<TableProgress>,
    /// Rows a second in this run, waits included.
    pub rows_per_second: f64,
    /// Bytes of rows in this run, about.
    pub bytes: u64,
    /// About how long it will take still; `None` before that can be told.
    pub left: Option<Duration>,
    /// Whether somebody paused it.
    pub paused: bool,
    /// What it waits for, after an error that may pass.
    pub waiting: Option<String>,
}

impl BackfillProgress {
    /// Rows copied.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// About how many rows there are in all.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        self.tables.iter().map(|table| table.estimate.max(table.rows)).sum()
    }
}

/// What came of a backfill.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillReport {
    /// The last progress: all complete.
    pub progress: BackfillProgress,
    /// The first rows that couldn't be carried, by name. A verification finds all.
    pub refusals: Vec<Refusal>,
    /// How long this run took.
    pub took: Duration,
}

#[derive(Debug)]
pub(super) struct Reporter {
    progress: watch::Sender<BackfillProgress>,
    refusals: Vec<Refusal>,
    refusals_kept: usize,
    started: Instant,
    rows_here: u64,
    chunks_here: u64,
    at: usize,
}

impl Reporter {
    pub(super) fn new(
        generation: u64,
        toward: Side,
        tables: impl Iterator<Item = TableName>,
        refusals_kept: usize,
    ) -> (Self, watch::Receiver<BackfillProgress>) {
        let table = |table| TableProgress {
            table,
            estimate: 0,
            rows: 0,
            chunks: 0,
            deleted: 0,
            refused: 0,
            complete: false,
        };
        let (progress, shown) = watch::channel(BackfillProgress {
            generation,
            toward,
            tables: tables.map(table).collect(),
            rows_per_second: 0.0,
            bytes: 0,
            left: None,
            paused: false,
            waiting: None,
        });
        let started = Instant::now();
        let reporter = Self {
            progress,
            refusals: Vec::new(),
            refusals_kept,
            started,
            rows_here: 0,
            chunks_here: 0,
            at: 0,
        };
        (reporter, shown)
    }

    pub(super) async fn estimate(&mut self, links: &Links) -> Result<(), StoreError> {
        self.started = Instant::now();
        let toward = self.progress.borrow().toward;
        for (place, link) in links.links().iter().enumerate() {
            let estimate = link.store(toward.other()).estimate(link.table()).await?;
            self.progress.send_modify(|progress| progress.tables[place].estimate = estimate);
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, place: usize) {
        self.at = place;
    }

    /// What the marks say was applied, by whomever.
    pub(super) fn resume(&self, chunks: &[Chunk]) {
        let done = || chunks.iter().filter(|chunk| chunk.state == ChunkState::Done);
        self.progress.send_modify(|progress| {
            let table = &mut progress.tables[self.at];
            table.rows = done().map(|chunk| chunk.rows).sum();
            table.chunks = done().count() as u64;
            table.complete =
                chunks.last().is_some_and(|last| last.upto.is_none()) && table.chunks == chunks.len() as u64;
        });
    }

    pub(super) const fn chunks_done(&self) -> u64 {
        self.chunks_here
    }

    pub(super) fn copied(&mut self, copied: Copied) {
        self.rows_here += copied.rows;
        self.chunks_here += 1;
        let seconds = self.started.elapsed().as_secs_f64();
        let refused = copied.refused.len() as u64;
        let room = self.refusals_kept.saturating_sub(self.refusals.len());
        self.refusals.extend(copied.refused.into_iter().take(room));
        self.progress.send_modify(|progress| {
            let table = &mut progress.tables[self.at];
            table.rows += copied.rows;
            table.chunks += 1;
            table.deleted += copied.deleted;
            table.refused += refused;
            table.complete |= copied.last;
            progress.bytes += copied.bytes as u64;
            if seconds > 0.0 {
                progress.rows_per_second = self.rows_here as f64 / seconds;
            }
            let to_come = progress.estimate().saturating_sub(progress.rows());
            progress.left = (progress.rows_per_second > 0.0)
                .then(|| Duration::try_from_secs_f64(to_come as f64 / progress.rows_per_second).ok())
                .flatten();
        });
    }

    pub(super) fn paused(&self, paused: bool) {
        self.progress.send_modify(|progress| progress.paused = paused);
    }

    pub(super) fn waiting(&self, waiting: Option<String>) {
        self.progress.send_modify(|progress| progress.waiting = waiting);
    }

    pub(super) fn finish(self) -> BackfillReport {
        let progress = self.progress.borrow().clone();
        BackfillReport { progress, refusals: self.refusals, took: self.started.elapsed() }
    }
}
