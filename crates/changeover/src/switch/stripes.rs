//! Counts of running operations, cut into stripes so that no two threads fight over a cache line.
//!
//! An operation is counted on the stripe of the thread that it began on, and leaves that same stripe wherever it
//! ends: so each count alone never falls below nothing, and once it was seen at nothing for an epoch that nobody
//! enters any more, it stays there (but for those who come late, see that they are, and step back at once).

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;

/// How many stripes: more threads than these share some.
const STRIPES: usize = 64;

/// How many epochs may have running operations at one time.
pub(super) const EPOCHS: usize = 16;

/// One stripe: two lines of 64 bytes, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    running: [AtomicU32; EPOCHS],
    /// Told when running operations are cut off.
    cut: Notify,
}

/// All the stripes.
#[derive(Debug)]
pub(super) struct Stripes(Box<[Stripe]>);

thread_local! {
    static HERE: Here = const { Here { stripe: Cell::new(usize::MAX), tick: Cell::new(0) } };
}

struct Here {
    stripe: Cell<usize>,
    tick: Cell<u32>,
}

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

/// The stripe of the current thread.
pub(super) fn here() -> usize {
    HERE.with(|here| {
        let stripe = here.stripe.get();
        if stripe < STRIPES {
            return stripe;
        }
        let stripe = NEXT_STRIPE.fetch_add(1, Relaxed) % STRIPES;
        here.stripe.set(stripe);
        stripe
    })
}

/// Says yes once in `every` calls on the current thread; a power of two.
pub(crate) fn one_in(every: u32) -> bool {
    HERE.with(|here| {
        let tick = here.tick.get().wrapping_add(1);
        here.tick.set(tick);
        tick & (every - 1) == 0
    })
}

impl Stripes {
    pub(super) fn new() -> Self {
        let stripe = || Stripe { running: [const { AtomicU32::new(0) }; EPOCHS], cut: Notify::new() };
        Self((0..STRIPES).map(|_| stripe()).collect())
    }

    pub(super) fn enter(&self, stripe: usize, epoch: usize) {
        self.0[stripe].running[epoch].fetch_add(1, SeqCst);
    }

    pub(super) fn leave(&self, stripe: usize, epoch: usize) {
        self.0[stripe].running[epoch].fetch_sub(1, SeqCst);
    }

    /// Whether no operation of this epoch runs. Only of worth for an epoch that is entered no more.
    pub(super) fn is_idle(&self, epoch: usize) -> bool {
        self.0.iter().all(|stripe| stripe.running[epoch].load(SeqCst) == 0)
    }

    /// How many operations of this epoch run, about.
    pub(super) fn running(&self, epoch: usize) -> u64 {
        self.0.iter().map(|stripe| u64::from(stripe.running[epoch].load(Relaxed))).sum()
    }

    pub(super) fn cut_of(&self, stripe: usize) -> &Notify {
        &self.0[stripe].cut
    }

    pub(super) fn tell_all_to_look(&self) {
        for stripe in &self.0 {
            stripe.cut.notify_waiters();
        }
    }
}
