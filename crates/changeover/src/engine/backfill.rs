//! The backfill: one generation of it copies all that the authority has to the follower, chunk by chunk.
//!
//! A chunk is a run of keys in the authority's own order. It is marked *begun*, durably, before its rows are read;
//! its rows and *done* go into the follower in one transaction. While one chunk is written the next is read, and the
//! one after that is marked along with the first: so a chunk costs one commit. A generation towards a side
//! that has rows already also deletes what the authority lacks. Going on after a crash starts from the marks, and
//! reads an interrupted chunk again.

mod chunk;
mod extras;
mod pace;
mod progress;
mod unread;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::chunk::Reading;
use changeover_protocol::fault::FaultPoint;
use tokio::sync::watch;

use self::chunk::{Begun, Copier};
use self::pace::Pace;
use self::progress::Reporter;
pub use self::progress::{BackfillProgress, BackfillReport, TableProgress};
use super::pair::{Link, Links};
use super::strain::{LOOK_EVERY, StrainLimits, Watch};
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::store::guard::{Chunk, ChunkState, Scope};
use crate::store::{BatchBudget, Image, KeyRange};
use crate::value::Key;

/// How a backfill runs.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillOptions {
    /// How long one chunk should take: its guard is held for about that long.
    pub chunk_time: Duration,
    /// At most so many rows in a chunk.
    pub chunk_rows_max: u64,
    /// At most about so many bytes in a chunk, where a row isn't larger.
    pub chunk_bytes_max: usize,
    /// How large the batches of a scan are: with four of them the memory is bounded.
    pub batch: BatchBudget,
    /// At most so many rows a second.
    pub rows_per_second_max: Option<u64>,
    /// The authority's response to one read, above which the copy gives way.
    pub response_max: Option<Duration>,
    /// What either side may have to bear before the copy rests.
    pub limits: StrainLimits,
    /// How rows are read so that no change is missed. `None`: from the log's protection where the authority's log is
    /// installed, else under the guard of the whole range. A copy while nobody writes may say `Logged`.
    pub reading: Option<Reading>,
    /// Whether rows may pass unread between two stores that lay them out alike.
    pub unread: bool,
    /// How many failures in a row, each of which might pass, end it.
    pub failures_max: u32,
    /// How many refused rows are kept by name; all are counted.
    pub refusals_kept: usize,
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self {
            chunk_time: Duration::from_millis(75),
            chunk_rows_max: 100_000,
            chunk_bytes_max: 16 << 20,
            batch: BatchBudget::default(),
            rows_per_second_max: None,
            response_max: Some(Duration::from_millis(50)),
            limits: StrainLimits::default(),
            reading: None,
            unread: true,
            failures_max: 20,
            refusals_kept: 1_000,
        }
    }
}

impl BackfillOptions {
    /// For a copy while nobody writes to either side: long chunks, since nobody waits for their guard, read without one.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            chunk_time: Duration::from_secs(2),
            // Where the follower has rows already, a chunk's keys are kept until it is done.
            chunk_rows_max: 250_000,
            chunk_bytes_max: 64 << 20,
            // Each batch costs the follower some round trips.
            batch: BatchBudget { rows: 8_000, bytes: 2 << 20 },
            response_max: None,
            limits: StrainLimits::none(),
            reading: Some(Reading::Logged),
            ..Self::default()
        }
    }
}

/// Tells a backfill what to do, and how far it is.
#[derive(Debug, Clone)]
pub struct BackfillHandle {
    paused: Arc<watch::Sender<bool>>,
    progress: watch::Receiver<BackfillProgress>,
}

impl BackfillHandle {
    /// Lets the chunks that are begun end, then waits.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> BackfillProgress {
        self.progress.borrow().clone()
    }

    /// How far it is, now and after each chunk.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BackfillProgress> {
        self.progress.clone()
    }
}

/// One generation of the backfill, towards one side. One at a time for a generation: whoever starts it holds the lease.
#[derive(Debug)]
pub struct Backfill {
    links: Arc<Links>,
    toward: Side,
    generation: u64,
    options: BackfillOptions,
    paused: watch::Receiver<bool>,
    strain: Watch,
    reporter: Reporter,
}

impl Backfill {
    /// The backfill with this number (from 1) towards this side. Nothing happens before [`Backfill::run`]; the caller has
    /// said [`Links::cover`], and every writer is mirrored.
    #[must_use]
    pub fn new(
        links: Arc<Links>,
        toward: Side,
        generation: u64,
        options: BackfillOptions,
    ) -> (Self, BackfillHandle) {
        let (paused, wished) = watch::channel(false);
        let tables = links.links().iter().map(|link| link.table().clone());
        let (reporter, progress) = Reporter::new(generation, toward, tables, options.refusals_kept);
        let handle = BackfillHandle { paused: Arc::new(paused), progress };
        let strain = Watch::new(options.limits);
        (Self { links, toward, generation, options, paused: wished, strain, reporter }, handle)
    }

    /// Whether every chunk of the generation is done, of every mapping.
    ///
    /// # Errors
    /// What a store meets.
    pub async fn is_complete(links: &Links, toward: Side, generation: u64) -> Result<bool, StoreError> {
        for link in links.links() {
            let Some(follower) = link.store(toward).guarded() else { return Ok(false) };
            let chunks = follower.chunks(link.table(), generation).await?;
            let ended = chunks.last().is_some_and(|chunk| chunk.upto.is_none());
            if !ended || chunks.iter().any(|chunk| chunk.state != ChunkState::Done) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies until every chunk is done. May be dropped at any await, and run again.
    ///
    /// # Errors
    /// What a store meets that trying again can't help, or that didn't pass after several tries.
    pub async fn run(mut self) -> Result<BackfillReport, StoreError> {
        const WAIT_LEAST: Duration = Duration::from_millis(50);
        const WAIT_MOST: Duration = Duration::from_secs(5);
        self.reporter.estimate(&self.links).await?;
        let (mut failures, mut wait, mut done) = (0, WAIT_LEAST, 0);
        loop {
            let before = self.reporter.chunks_done();
            match self.tables(&mut done).await {
                Ok(()) => return Ok(self.reporter.finish()),
                Err(error) if error.retryable() => {
                    if self.reporter.chunks_done() > before {
                        (failures, wait) = (0, WAIT_LEAST);
                    }
                    failures += 1;
                    if failures > self.options.failures_max {
                        return Err(error);
                    }
                    tracing::warn!(%error, generation = self.generation, "backfill: goes on from what was applied");
                    self.reporter.waiting(Some(error.to_string()));
                    tokio::time::sleep(wait).await;
                    self.reporter.waiting(None);
                    wait = (wait * 2).min(WAIT_MOST);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn tables(&mut self, done: &mut usize) -> Result<(), StoreError> {
        let links = Arc::clone(&self.links);
        for (place, link) in links.links().iter().enumerate().skip(*done) {
            self.reporter.begin(place);
            if link.store(self.toward).guarded().is_some() {
                self.table(&links, link).await?;
            } else {
                extras::copy_by_sync(&links, link, self.toward, &self.options, &mut self.reporter).await?;
            }
            *done = place + 1;
        }
        Ok(())
    }

    /// One table, from its marks to the end of the key space.
    async fn table(&mut self, links: &Links, link: &Link) -> Result<(), StoreError> {
        let reading = self.reading(link).await?;
        let mut copier = Copier::new(links, link, self.toward, self.generation, reading, &self.options)?;
        let chunks = copier.follower.chunks(link.table(), self.generation).await?;
        self.reporter.resume(&chunks);
        chunks.iter().for_each(|chunk| copier.note(chunk));
        let mut course = Course::after(&chunks);
        copier.passes_unread = self.options.unread && copier.can_pass_unread().await?;
        for chunk in chunks.iter().filter(|chunk| chunk.state == ChunkState::Begun) {
            let chunk = Chunk { rows: 0, ..chunk.clone() };
            let copied = copier.copy_again(&chunk).await?;
            self.reporter.copied(copied);
        }
        // Read under the guard, a chunk may hold rows that somebody has synced before it was begun.
        copier.replace = reading == Reading::Guarded || self.has_rows(link, &chunks).await?;
        let mut pace = Pace::new(&self.options);
        match reading {
            Reading::Guarded => self.guarded(&mut copier, &mut course, &mut pace).await,
            Reading::Logged => self.pipelined(&mut copier, &mut course, &mut pace).await,
        }
    }

    async fn reading(&self, link: &Link) -> Result<Reading, StoreError> {
        if let Some(reading) = self.options.reading {
            return Ok(reading);
        }
        let logged = match link.store(self.toward.other()).capture() {
            Some(log) => log.installed().await?,
            None => false,
        };
        Ok(if logged { Reading::Logged } else { Reading::Guarded })
    }

    /// Whether the follower may have rows behind these chunks, which are all done. Read exactly, not estimated: what isn't looked
    /// for isn't deleted either.
    async fn has_rows(&self, link: &Link, chunks: &[Chunk]) -> Result<bool, StoreError> {
        let after = match chunks.last() {
            None => None,
            // The ranges mean the same on the follower only where both order keys alike.
            Some(last) if link.ordered_alike() => last.upto.clone(),
            Some(_) => return Ok(true),
        };
        let range = KeyRange { after, upto: None };
        let budget = BatchBudget { rows: 1, bytes: 1 };
        let mut rows = link.store(self.toward).scan(link.table(), &range, Image::Canonical, budget).await?;
        Ok(rows.next().await?.is_some())
    }

    /// Each chunk read under the guard of its whole range: where no log says what changed meanwhile.
    async fn guarded(
        &mut self,
        copier: &mut Copier<'_>,
        course: &mut Course,
        pace: &mut Pace,
    ) -> Result<(), StoreError> {
        while !course.ended {
            self.give_way(copier, pace).await?;
            let chunk = copier.plan(course.next(), pace.rows()).await?;
            course.take(&chunk);
            if chunk.upto.is_none() {
                copier.before_last().await?;
            }
            let copied = copier.copy_guarded(&chunk).await?;
            pace.copied(&copied);
            self.reporter.copied(copied);
        }
        Ok(())
    }

    /// One chunk written while the next is read and the one after is planned.
    async fn pipelined(
        &mut self,
        copier: &mut Copier<'_>,
        course: &mut Course,
        pace: &mut Pace,
    ) -> Result<(), StoreError> {
        let mut ahead: VecDeque<Begun> = VecDeque::with_capacity(3);
        loop {
            if ahead.is_empty() {
                if course.ended {
                    return Ok(());
                }
                self.give_way(copier, pace).await?;
                let mut planned = Vec::with_capacity(2);
                while planned.len() < 2 && !course.ended {
                    let chunk = copier.plan(course.next(), pace.rows()).await?;
                    if chunk.upto.is_none() && copier.sweeps() && !planned.is_empty() {
                        // What comes before the last chunk has to be done first.
                        break;
                    }
                    course.take(&chunk);
                    planned.push(chunk);
                }
                if course.ended && planned.len() == 1 {
                    copier.before_last().await?;
                }
                copier.mark_begun(&planned).await?;
                fault_point(FaultPoint::ChunkBegun).await?;
                for chunk in planned {
                    ahead.push_back(copier.open(chunk).await?);
                }
            }
            let Some(now) = ahead.pop_front() else { continue };
            self.strain.look(copier.link).await;
            let going_on =
                !course.ended && !*self.paused.borrow() && !pace.gives_way() && self.strain.why().is_none();
            let plan = going_on.then(|| (course.next(), pace.rows()));
            let (copied, next) = copier.copy(now, plan).await?;
            pace.copied(&copied);
            self.reporter.copied(copied);
            if let Some(next) = next {
                fault_point(FaultPoint::ChunkBegun).await?;
                course.take(&next);
                ahead.push_back(copier.open(next).await?);
            }
            if going_on {
                copier.probe(pace).await?;
            }
        }
    }

    /// Waits for as long as either side has more to bear than it may, and says so.
    async fn rest(&mut self, link: &Link) {
        self.strain.look(link).await;
        let rests = self.strain.why().is_some();
        while let Some(why) = self.strain.why() {
            self.reporter.waiting(Some(why.to_owned()));
            tokio::time::sleep(LOOK_EVERY).await;
            self.strain.look(link).await;
        }
        if rests {
            self.reporter.waiting(None);
        }
    }

    /// Waits while it is paused, over its rate, or while the authority answers slowly. No chunk is begun meanwhile, so
    /// no claim waits for one.
    async fn give_way(&mut self, copier: &Copier<'_>, pace: &mut Pace) -> Result<(), StoreError> {
        if *self.paused.borrow() {
            self.reporter.paused(true);
            // A handle that is gone can't pause any more.
            let _ = self.paused.wait_for(|paused| !paused).await;
            self.reporter.paused(false);
        }
        self.rest(copier.link).await;
        copier.probe(pace).await?;
        if let Some(wait) = pace.wait() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

/// Where the next chunk begins.
#[derive(Debug, Clone)]
struct Course {
    number: u64,
    after: Option<Key>,
    ended: bool,
}

impl Course {
    fn after(chunks: &[Chunk]) -> Self {
        match chunks.last() {
            None => Self { number: 0, after: None, ended: false },
            Some(last) => {
                Self { number: last.number + 1, after: last.upto.clone(), ended: last.upto.is_none() }
            }
        }
    }

    fn next(&self) -> (u64, Option<Key>) {
        (self.number, self.after.clone())
    }

    fn take(&mut self, chunk: &Chunk) {
        self.number = chunk.number + 1;
        self.after.clone_from(&chunk.upto);
        self.ended = chunk.upto.is_none();
    }
}

impl Copier<'_> {
    /// Marks chunks begun, durably, before any of their rows is read.
    async fn mark_begun(&self, chunks: &[Chunk]) -> Result<(), StoreError> {
        let mut tx = self.follower.begin(Scope::Marks).await?;
        for chunk in chunks {
            tx.mark(chunk).await?;
        }
        tx.commit().await?;
        chunks.iter().for_each(|chunk| self.note(chunk));
        Ok(())
    }
}
