//! The switch: what every operation passes, and where a new standing is put.
//!
//! Entering is read-copy-update: one load of a word, one count on the thread's own stripe, and a second look at the
//! word. If the word changed in between, the operation steps back and enters anew, so that after a change of the
//! word every operation that stays counted under the epoch before was counted before the change: whoever waits
//! for that epoch to drain sees it. (The look at the word, the count and the reading of the counts are all
//! sequentially consistent: it is the store-then-load race of Dekker's algorithm.)
//!
//! An *epoch* is the place of one target's version in the counters. There are sixteen; one is used again when its
//! last operation has ended, and while all are taken a new target waits.

mod driver;
mod memory;
mod stripes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use arc_swap::ArcSwap;
use changeover_protocol::Side;
use changeover_protocol::member::{OnSilence, Standing};
use changeover_protocol::step::Step;
use changeover_protocol::target::Version;
use tokio::sync::Notify;

pub use self::driver::{DriverGone, SwitchHandle};
pub(crate) use self::driver::{Parts, drive};
pub use self::memory::{MemoryError, StepFile};
pub(crate) use self::stripes::one_in;
use self::stripes::{EPOCHS, Stripes, here};
use crate::clock::Clock;

/// The word's lowest bits: the epoch.
const EPOCH_MASK: u64 = 0x0f;
/// The next bits: which short way an operation may take.
const SHORT_OLD: u64 = 0x10;
const SHORT_NEW: u64 = 0x20;
const CLOSED: u64 = 0x40;
/// What is added for each change, so that no word comes twice.
const ONE_CHANGE: u64 = 0x100;

/// The switch of one migration in one process.
#[derive(Debug)]
pub(crate) struct Switch {
    word: Word,
    stripes: Stripes,
    /// The standing of each epoch. Stored before the word says so.
    standings: [ArcSwap<Standing>; EPOCHS],
    /// The epochs whose operations are cut off, by bit.
    cut: AtomicU32,
    /// The epochs under which a write ended without an outcome, not yet told.
    unknown: [AtomicBool; EPOCHS],
    /// Told when an epoch may have drained, or a write has ended without an outcome.
    ended: Notify,
    /// Told at each new standing: held writes look again, in the order in which they came. (A `watch` would wake them in
    /// any order, and a simulation couldn't be run again.)
    changed: Notify,
    /// How many new standings there were.
    changes: AtomicU64,
    pub(crate) clock: Arc<dyn Clock>,
}

/// On a line of its own: it is read by every operation and written at a change only.
#[derive(Debug)]
#[repr(align(128))]
struct Word(AtomicU64);

/// An operation that has entered. It leaves when dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    switch: &'a Switch,
    stripe: usize,
    word: u64,
}

/// The same for an operation in a task of its own. It leaves when told so, and *only* then: one whose task was
/// thrown away by its runtime has no known outcome, and must never count as ended.
#[derive(Debug)]
pub(crate) struct EnteredTask {
    switch: Arc<Switch>,
    stripe: usize,
    word: u64,
}

impl Switch {
    pub(crate) fn new(standing: Standing, clock: Arc<dyn Clock>) -> Self {
        let word = short_way(&standing);
        let standing = Arc::new(standing);
        Self {
            word: Word(AtomicU64::new(word)),
            stripes: Stripes::new(),
            standings: std::array::from_fn(|_| ArcSwap::new(Arc::clone(&standing))),
            cut: AtomicU32::new(0),
            unknown: [const { AtomicBool::new(false) }; EPOCHS],
            ended: Notify::new(),
            changed: Notify::new(),
            changes: AtomicU64::new(0),
            clock,
        }
    }

    /// Enters. Neither waits, nor locks, nor takes memory.
    #[inline]
    pub(crate) fn enter(&self) -> Entered<'_> {
        let stripe = here();
        // Each round but the last sees a change of the word, and those are rare: it ends.
        loop {
            let word = self.word.0.load(SeqCst);
            self.stripes.enter(stripe, epoch(word));
            if self.word.0.load(SeqCst) == word {
                return Entered { switch: self, stripe, word };
            }
            self.leave(stripe, epoch(word));
        }
    }

    #[inline]
    fn leave(&self, stripe: usize, epoch_left: usize) {
        self.stripes.leave(stripe, epoch_left);
        let word = self.word.0.load(SeqCst);
        if epoch(word) != epoch_left || word & CLOSED != 0 {
            self.ended.notify_waiters();
        }
    }

    /// The standing now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standings[epoch(self.word.0.load(SeqCst))].load_full()
    }

    /// How many new standings there were. Ask first, look at the standing then, and wait for more of them.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Ready when there were more new standings than these.
    pub(crate) async fn changed_since(&self, seen: u64) {
        loop {
            // Made before the look: a call between the two wakes it.
            let told = self.changed.notified();
            if self.changes() != seen {
                return;
            }
            told.await;
        }
    }

    fn tell_changed(&self) {
        self.changes.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }

    /// About how many operations run.
    pub(crate) fn running(&self) -> u64 {
        (0..EPOCHS).map(|epoch| self.stripes.running(epoch)).sum()
    }

    fn note_unknown(&self, epoch: usize) {
        self.unknown[epoch].store(true, SeqCst);
        self.ended.notify_waiters();
    }

    async fn cut_off(&self, stripe: usize, epoch: usize) {
        loop {
            // Made before the look: a call between the two wakes it.
            let told = self.stripes.cut_of(stripe).notified();
            if self.is_cut(epoch) {
                return;
            }
            told.await;
        }
    }

    fn is_cut(&self, epoch: usize) -> bool {
        self.cut.load(SeqCst) & (1 << epoch) != 0
    }

    /// Puts a standing of the same version in place of the present one.
    fn restand(&self, standing: Standing) {
        let now = self.word.0.load(SeqCst);
        let at = epoch(now);
        let ways = short_way(&standing);
        self.standings[at].store(Arc::new(standing));
        if ways != now & (SHORT_OLD | SHORT_NEW | CLOSED) {
            self.word.0.store(next_word(now, ways, at), SeqCst);
        }
        self.tell_changed();
    }

    /// Puts a standing of a new version into a free epoch, and sends operations there.
    fn stand(&self, at: usize, standing: Standing) {
        let ways = short_way(&standing);
        self.cut.fetch_and(!(1 << at), SeqCst);
        self.standings[at].store(Arc::new(standing));
        let word = next_word(self.word.0.load(SeqCst), ways, at);
        self.word.0.store(word, SeqCst);
        self.tell_changed();
    }
}

impl Entered<'_> {
    /// The side that this operation goes to with nothing else to be done: in steps `old` and `new`, for all keys.
    pub(crate) fn short_way(&self) -> Option<Side> {
        if self.word & SHORT_OLD != 0 {
            Some(Side::Old)
        } else if self.word & SHORT_NEW != 0 {
            Some(Side::New)
        } else {
            None
        }
    }

    /// The standing that it entered under (or a newer one of the same version).
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.switch.standings[epoch(self.word)].load_full()
    }

    /// Ready when this operation is cut off. Costs nothing until it is polled.
    pub(crate) async fn cut_off(&self) {
        self.switch.cut_off(self.stripe, epoch(self.word)).await;
    }

    /// The same operation, for a task of its own.
    pub(crate) fn into_task(self, switch: &Arc<Switch>) -> EnteredTask {
        let task = EnteredTask { switch: Arc::clone(switch), stripe: self.stripe, word: self.word };
        std::mem::forget(self);
        task
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.switch.leave(self.stripe, epoch(self.word));
    }
}

impl EnteredTask {
    /// Ready when this operation is cut off.
    pub(crate) async fn cut_off(&self) {
        self.switch.cut_off(self.stripe, epoch(self.word)).await;
    }

    /// The operation has ended, its outcome known.
    pub(crate) fn end(self) {
        self.switch.leave(self.stripe, epoch(self.word));
    }

    /// The operation has ended, and nobody knows how: the server may still carry it out.
    pub(crate) fn end_unknown(self) {
        self.switch.note_unknown(epoch(self.word));
        self.end();
    }
}

const fn epoch(word: u64) -> usize {
    // The mask leaves four bits.
    (word & EPOCH_MASK) as usize
}

const fn next_word(now: u64, ways: u64, epoch: usize) -> u64 {
    (now & !(ONE_CHANGE - 1)).wrapping_add(ONE_CHANGE) | ways | epoch as u64
}

/// The bits that say which way operations may take without a look at the standing.
fn short_way(standing: &Standing) -> u64 {
    if standing.closed.is_some() {
        return CLOSED;
    }
    if standing.on_silence == OnSilence::Fence {
        return 0;
    }
    match standing.target.uniform_step() {
        Some(Step::Old) => SHORT_OLD,
        Some(Step::New) => SHORT_NEW,
        _ => 0,
    }
}

/// Which version is in which epoch: kept by the one who changes the switch.
#[derive(Debug)]
struct Epochs {
    versions: [Option<Version>; EPOCHS],
    current: usize,
}

impl Epochs {
    fn new(version: Version) -> Self {
        let mut versions = [None; EPOCHS];
        versions[0] = Some(version);
        Self { versions, current: 0 }
    }

    fn free(&self) -> Option<usize> {
        self.versions.iter().position(Option::is_none)
    }

    fn current_version(&self) -> Version {
        self.versions[self.current].unwrap_or_default()
    }

    /// The version below which nothing runs any more.
    fn drained_below(&self, switch: &Switch) -> Version {
        let oldest = self.versions.iter().flatten().min().copied().unwrap_or_default();
        let is_closed = switch.word.0.load(SeqCst) & CLOSED != 0;
        if oldest == self.current_version() && is_closed && switch.stripes.is_idle(self.current) {
            return oldest.next();
        }
        oldest
    }

    /// Gives back the epochs whose last operation has ended.
    fn free_drained(&mut self, switch: &Switch) {
        for at in (0..EPOCHS).filter(|&at| at != self.current) {
            if self.versions[at].is_some() && switch.stripes.is_idle(at) && !switch.unknown[at].load(SeqCst) {
                self.versions[at] = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
