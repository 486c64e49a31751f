//! The draining of a capture log: the mirror's worker.
//!
//! It claims entries, syncs their keys under their guard (whose chunks' states are read only after the claim), and
//! deletes exactly those entries once the follower has committed. A claim whose chunk is being copied is given back and
//! waits; a row that the follower refuses stays in the log, named, and is tried again with a back-off or when it
//! changes. The rest goes on meanwhile. There is nothing to recover after a crash: the entries are still there.

mod held;
mod locked;
mod pace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::fault::FaultPoint;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::held::Held;
pub use self::locked::{UnderLock, drain_under_lock};
use self::pace::Pace;
use super::pair::Links;
use super::sync::{Fate, Synced, refusal};
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::store::capture::{CaptureLog, Claim, Depth};
use crate::store::{Refusal, Store};
use crate::value::Key;

/// How a log is drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOptions {
    /// Entries in one claim, at most: fewer where those take too long.
    pub batch: usize,
    /// Batches under way at once.
    pub workers: usize,
    /// How long it waits for news before it looks again of itself.
    pub idle: Duration,
    /// The wait after an error: at first, and at most.
    pub error_wait: (Duration, Duration),
    /// The wait before a refused key is tried again: at first, and at most. A change of the key ends it.
    pub refused_wait: (Duration, Duration),
    /// The wait before a key whose chunk is being copied is tried again.
    pub deferred_wait: Duration,
    /// How many waiting keys are remembered. Those beyond are tried again with every look, a second apart.
    pub held_max: usize,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            batch: 512,
            workers: 2,
            idle: Duration::from_millis(250),
            error_wait: (Duration::from_millis(50), Duration::from_secs(5)),
            refused_wait: (Duration::from_secs(1), Duration::from_secs(300)),
            deferred_wait: Duration::from_millis(20),
            held_max: 100_000,
        }
    }
}

/// How a drain stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainStatus {
    /// The log, when it was last looked at: entries, the age of the oldest (the lag), the bound.
    pub depth: Depth,
    /// Whether it was looked at at all.
    pub looked: bool,
    /// It pauses, and nothing of what it had claimed is under way.
    pub resting: bool,
    /// Keys synced since the start.
    pub synced: u64,
    /// Claims dropped since the start, because the backfill will read their rows.
    pub left_to_backfill: u64,
    /// Keys that wait for their chunk's copy.
    pub deferred: u64,
    /// Keys that the follower refuses: they stay dirty.
    pub refused: u64,
    /// The first hundred of those, by name.
    pub refusals: Vec<Refusal>,
    /// The error that keeps the drain waiting, if one does.
    pub error: Option<String>,
}

/// Tells a drain what to do, and how it stands.
#[derive(Debug, Clone)]
pub struct DrainHandle {
    wish: Arc<watch::Sender<Wish>>,
    status: watch::Receiver<DrainStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    Stop,
}

impl DrainHandle {
    /// Lets what is under way end, then waits. The log fills meanwhile. One that is to stop stops.
    pub fn pause(&self) {
        self.turn(Wish::Run, Wish::Pause);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.turn(Wish::Pause, Wish::Run);
    }

    fn turn(&self, from: Wish, to: Wish) {
        self.wish.send_if_modified(|wish| {
            let turns = *wish == from;
            if turns {
                *wish = to;
            }
            turns
        });
    }

    /// Answers when nothing is under way any more, after [`DrainHandle::pause`] or [`DrainHandle::stop`]: no claim that was
    /// made before may write to the follower from then on.
    pub async fn rested(&self) {
        // A sender that is gone is a drain that has ended.
        let _ = self.status.clone().wait_for(|status| status.resting).await;
    }

    /// Lets what is under way end; then [`Drain::run`] answers.
    pub fn stop(&self) {
        self.wish.send_replace(Wish::Stop);
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> DrainStatus {
        self.status.borrow().clone()
    }

    /// How it stands, now and with each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<DrainStatus> {
        self.status.clone()
    }
}

/// Drains one store's log towards the followers of its mappings. Any number may drain one log.
pub struct Drain {
    shared: Arc<Shared>,
    wish: watch::Receiver<Wish>,
    status: watch::Sender<DrainStatus>,
    looked: Option<Instant>,
}

struct Shared {
    links: Arc<Links>,
    source: Arc<dyn Store>,
    side: Side,
    options: DrainOptions,
    held: Mutex<Held>,
    pace: Pace,
    totals: Mutex<(u64, u64)>,
}

impl std::fmt::Debug for Drain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drain({})", self.shared.source.info().name)
    }
}

impl Drain {
    /// The drain of this authority's log. Nothing happens before [`Drain::run`].
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the store has no log.
    pub fn new(
        links: Arc<Links>,
        source: Arc<dyn Store>,
        options: DrainOptions,
    ) -> Result<(Self, DrainHandle), StoreError> {
        log_of(source.as_ref())?;
        let (wish, wished) = watch::channel(Wish::Run);
        let (status, shown) = watch::channel(DrainStatus::default());
        let side = source.info().side;
        let held = Mutex::new(Held::new(&options));
        let pace = Pace::new(options.batch);
        let shared = Shared { links, source, side, options, held, pace, totals: Mutex::default() };
        let drain = Self { shared: Arc::new(shared), wish: wished, status, looked: None };
        Ok((drain, DrainHandle { wish: Arc::new(wish), status: shown }))
    }

    /// Drains until it is told to stop. May be dropped at any await. Errors are in the status, and tried again.
    pub async fn run(mut self) {
        let (least, most) = self.shared.options.error_wait;
        let mut wait = least;
        loop {
            match self.wished() {
                Wish::Stop => return,
                Wish::Pause => {
                    self.status.send_modify(|status| status.resting = true);
                    self.until_wish_changes().await;
                }
                // Said before the wish is looked at once more: whoever pauses looks at the two the other way round.
                Wish::Run if self.rose() => {}
                Wish::Run => match self.round().await {
                    Ok(progress) => {
                        wait = least;
                        self.rest(progress).await;
                    }
                    Err(error) => {
                        tracing::warn!(store = %self.shared.source.info().name, %error, "draining the log failed");
                        self.status.send_modify(|status| status.error = Some(error.to_string()));
                        self.sleep(wait).await;
                        wait = (wait * 2).min(most);
                    }
                },
            }
        }
    }

    /// One look at the whole log: every entry that is due is claimed, synced and discarded. Whether anything was.
    ///
    /// # Errors
    /// The first that a store met; what was under way beside it has ended.
    pub async fn round(&mut self) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.shared);
        let log = log_of(shared.source.as_ref())?;
        let _working = shared.links.work(shared.side);
        let (mut tasks, mut after, mut progress) = (JoinSet::new(), i64::MIN, false);
        let mut failed = None;
        loop {
            let size = shared.pace.size();
            let claims = match log.claim(after, size).await {
                Ok(claims) => claims,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let Some(last) = claims.last() else { break };
            after = last.id;
            let short = claims.len() < size;
            fault_point(FaultPoint::ClaimTaken).await?;
            let due = shared.held().due(claims, Instant::now());
            if !due.is_empty() {
                let shared = Arc::clone(&self.shared);
                let working = shared.links.work(shared.side);
                tasks.spawn(async move {
                    let (entries, began) = (due.len(), Instant::now());
                    let done = shared.carry_out(due).await;
                    drop(working);
                    match &done {
                        Ok(_) => shared.pace.took(entries, began.elapsed()),
                        Err(StoreError::Busy { .. }) => shared.pace.gave_way(),
                        Err(_) => {}
                    }
                    done
                });
            }
            while tasks.len() >= shared.options.workers.max(1) {
                progress |= ended(tasks.join_next().await, &mut failed);
            }
            if short || failed.is_some() || self.wished() != Wish::Run {
                break;
            }
        }
        while !tasks.is_empty() {
            progress |= ended(tasks.join_next().await, &mut failed);
        }
        self.publish(log, progress).await?;
        failed.map_or(Ok(progress), Err)
    }

    fn wished(&self) -> Wish {
        *self.wish.borrow()
    }

    /// Whether it had rested until now.
    fn rose(&self) -> bool {
        self.status.send_if_modified(|status| std::mem::take(&mut status.resting))
    }

    /// Answers when the wish is another; a handle that is gone wishes nothing any more.
    async fn until_wish_changes(&mut self) {
        if self.wish.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn sleep(&mut self, length: Duration) {
        tokio::select! {
            // In an order, here and below, so that a simulation can be run again.
            biased;
            () = self.until_wish_changes() => {}
            () = tokio::time::sleep(length) => {}
        }
    }

    /// Waits for news, or until a key that waits is due.
    async fn rest(&mut self, progress: bool) {
        let shared = Arc::clone(&self.shared);
        let Ok(log) = log_of(shared.source.as_ref()) else { return };
        let (due, crowded) = {
            let held = shared.held();
            (held.next_due(), held.crowded())
        };
        let mut at_most = shared.options.idle;
        if let Some(due) = due {
            at_most = at_most.min(due.saturating_duration_since(Instant::now()));
        }
        if crowded {
            self.sleep(Duration::from_secs(1)).await;
        } else if !progress {
            // A store that always says that something may have changed must not keep a processor busy.
            self.sleep(Duration::from_millis(2)).await;
        }
        let at_most_ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        tokio::select! {
            biased;
            () = self.until_wish_changes() => {}
            () = log.changed(at_most_ms) => {}
        }
    }

    /// The depth is counted by the store: not more often than needed.
    async fn publish(&mut self, log: &dyn CaptureLog, progress: bool) -> Result<(), StoreError> {
        const FRESH: Duration = Duration::from_millis(200);
        let stale = self.looked.is_none_or(|at| at.elapsed() >= FRESH);
        let depth = if stale || !progress { Some(log.depth().await?) } else { None };
        if depth.is_some() {
            self.looked = Some(Instant::now());
        }
        let (synced, left_to_backfill) = *self.shared.totals();
        let held = self.shared.held();
        self.status.send_modify(|status| {
            if let Some(depth) = depth {
                (status.depth, status.looked) = (depth, true);
            }
            status.synced = synced;
            status.left_to_backfill = left_to_backfill;
            (status.deferred, status.refused) = held.counts();
            status.refusals = held.refusals(100);
            status.error = None;
        });
        Ok(())
    }
}

/// Whether the batch that ended did something; its error is kept, if it is the first.
fn ended(
    batch: Option<Result<Result<bool, StoreError>, tokio::task::JoinError>>,
    failed: &mut Option<StoreError>,
) -> bool {
    match batch {
        Some(Ok(Ok(progress))) => return progress,
        Some(Ok(Err(error))) => {
            failed.get_or_insert(error);
        }
        Some(Err(error)) => {
            failed.get_or_insert(StoreError::Unreachable {
                store: String::new(),
                doing: "syncing claimed keys".into(),
                cause: error.to_string(),
            });
        }
        None => {}
    }
    false
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals(&self) -> MutexGuard<'_, (u64, u64)> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs the keys of some claims and discards those that are settled. Whether any was.
    async fn carry_out(&self, claims: Vec<Claim>) -> Result<bool, StoreError> {
        let batch = Batch::of(claims);
        let synced = self.sync(&batch.keys).await?;
        let settled = batch.settled(&synced);
        if !settled.is_empty() {
            log_of(self.source.as_ref())?.discard(&settled).await?;
            fault_point(FaultPoint::ClaimDeleted).await?;
        }
        let now = Instant::now();
        let (mut done, mut left) = (0, 0);
        {
            let mut held = self.held();
            for ((key, ids), fate) in batch.keys.iter().zip(batch.ids).zip(synced.fates) {
                match fate {
                    Fate::Synced => done += 1,
                    Fate::LeftToBackfill => left += 1,
                    Fate::Deferred => {
                        held.defer(key, ids, now);
                        continue;
                    }
                    Fate::Refused(refusal) => {
                        held.refuse(key, ids, refusal, now);
                        continue;
                    }
                }
                held.release(key);
            }
        }
        let mut totals = self.totals();
        totals.0 += done;
        totals.1 += left;
        Ok(!settled.is_empty())
    }

    /// Syncs; a table that isn't what the plan was made for is named, and doesn't keep the others.
    async fn sync(&self, keys: &[Key]) -> Result<Synced, StoreError> {
        let mut fates: HashMap<&Key, Fate> = HashMap::new();
        let mut left: Vec<&Key> = keys.iter().collect();
        let mut total = Synced::default();
        loop {
            let wanted: Vec<Key> = left.iter().map(|key| (*key).clone()).collect();
            match self.links.sync(self.side, &wanted).await {
                Ok(synced) => {
                    fates.extend(left.iter().copied().zip(synced.fates.iter().cloned()));
                    total.written += synced.written;
                    break;
                }
                Err(StoreError::Schema { table, store, problem, remedy }) => {
                    let before = left.len();
                    let why = StoreError::Schema { table: table.clone(), store, problem, remedy };
                    left.retain(|key| {
                        let bad = key.table == table;
                        if bad {
                            fates.insert(key, Fate::Refused(refusal(key, &why.to_string())));
                        }
                        !bad
                    });
                    if left.len() == before {
                        return Err(why);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        total.fates = keys.iter().map(|key| fates.remove(key).unwrap_or(Fate::Deferred)).collect();
        Ok(total)
    }
}

/// The claims of some keys, each key once.
pub(super) struct Batch {
    pub(super) keys: Vec<Key>,
    pub(super) ids: Vec<Vec<i64>>,
}

impl Batch {
    pub(super) fn of(claims: Vec<Claim>) -> Self {
        let mut places: HashMap<Key, usize> = HashMap::with_capacity(claims.len());
        let mut batch = Self { keys: Vec::new(), ids: Vec::new() };
        for claim in claims {
            let place = *places.entry(claim.key.clone()).or_insert_with(|| {
                batch.keys.push(claim.key.clone());
                batch.ids.push(Vec::new());
                batch.keys.len() - 1
            });
            batch.ids[place].push(claim.id);
        }
        batch
    }

    /// The entries that nobody needs any more.
    pub(super) fn settled(&self, synced: &Synced) -> Vec<i64> {
        let settled = self.ids.iter().zip(&synced.fates);
        settled
            .filter(|(_, fate)| matches!(fate, Fate::Synced | Fate::LeftToBackfill))
            .flat_map(|(ids, _)| ids.iter().copied())
            .collect()
    }
}

pub(super) fn log_of(store: &dyn Store) -> Result<&dyn CaptureLog, StoreError> {
    store.capture().ok_or_else(|| StoreError::Refused {
        store: store.info().name.clone(),
        doing: "looking for its log of changes".into(),
        cause: "this kind of store has none".into(),
        remedy: "Use mirror = \"dual-write\".".into(),
    })
}
