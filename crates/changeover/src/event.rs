//! What happened that somebody should know: alerts, unclean events, things that were refused or delayed.
//!
//! Telling an event never waits and never fails: each is logged and counted, and kept in a bounded queue for the
//! client of the control plane. What the queue had no room for is counted too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use changeover_protocol::target::Version;
use tokio::sync::broadcast;

use crate::value::Key;

/// How many events are kept for a listener that is slow.
const KEPT: usize = 256;

/// Something that happened in this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The follower didn't get a write within its deadline (or the sync failed): the keys stay dirty, and a rollback
    /// isn't safe until they are levelled. An alert.
    LeftDirty {
        /// The operation.
        operation: &'static str,
        /// The first of the keys.
        key: Key,
        /// How many keys.
        keys: usize,
        /// Why.
        cause: String,
    },
    /// A write ended without a known outcome; its keys stay dirty until it can't be carried out any more.
    OutcomeUnknown {
        /// The operation.
        operation: &'static str,
        /// Why.
        cause: String,
    },
    /// A row can't be carried to the follower.
    RowRefused {
        /// The row.
        key: Key,
        /// The column, where it is one column's fault.
        column: Option<String>,
        /// Why.
        why: String,
    },
    /// The journal couldn't be written; the write went on. An unclean event.
    JournalFailed {
        /// Why.
        error: String,
    },
    /// A write that generates its keys was under way when the process before this one died: which rows it wrote
    /// isn't known. An unclean event.
    KeysLost {
        /// How many such writes.
        writes: u64,
    },
    /// A write gave keys, after it, that lie in another slot than it was routed by. An unclean event.
    WrongSlot {
        /// The operation.
        operation: &'static str,
        /// The key.
        key: Key,
    },
    /// Operations that hung were cut off, so that the migration can go back.
    CutOff {
        /// Those begun before this version.
        below: Version,
        /// About how many.
        operations: u64,
    },
    /// The step file couldn't be written; it is tried again, and the step isn't acknowledged until then.
    StepFileFailed {
        /// Why.
        error: String,
    },
    /// Operations of sixteen earlier targets still run, so this one waits for some of them to end.
    SwitchDelayed {
        /// The target.
        version: Version,
    },
    /// A shadow call, a comparison or a redactor panicked. The caller saw nothing of it.
    ObserverPanicked {
        /// The operation.
        operation: &'static str,
        /// What panicked.
        what: &'static str,
    },
    /// Too many shadow calls to the follower failed: none are made for a while.
    BreakerOpened {
        /// The operation.
        operation: &'static str,
    },
    /// The breaker let shadow calls through again.
    BreakerClosed {
        /// The operation.
        operation: &'static str,
    },
}

impl Event {
    /// Whether the last full verification no longer counts after this.
    #[must_use]
    pub const fn is_unclean(&self) -> bool {
        matches!(self, Self::JournalFailed { .. } | Self::KeysLost { .. } | Self::WrongSlot { .. })
    }

    /// A short name, for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LeftDirty { .. } => "left-dirty",
            Self::OutcomeUnknown { .. } => "outcome-unknown",
            Self::RowRefused { .. } => "row-refused",
            Self::JournalFailed { .. } => "journal-failed",
            Self::KeysLost { .. } => "keys-lost",
            Self::WrongSlot { .. } => "wrong-slot",
            Self::CutOff { .. } => "cut-off",
            Self::StepFileFailed { .. } => "step-file-failed",
            Self::SwitchDelayed { .. } => "switch-delayed",
            Self::ObserverPanicked { .. } => "observer-panicked",
            Self::BreakerOpened { .. } => "breaker-opened",
            Self::BreakerClosed { .. } => "breaker-closed",
        }
    }
}

/// Where events are told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    unclean: AtomicU64,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(KEPT), counts: Arc::default() }
    }

    /// Tells an event. Never waits, never fails.
    pub fn tell(&self, event: Event) {
        self.counts.all.fetch_add(1, Relaxed);
        if event.is_unclean() {
            self.counts.unclean.fetch_add(1, Relaxed);
            tracing::error!(event = event.name(), detail = ?event, "unclean event");
        } else {
            tracing::warn!(event = event.name(), detail = ?event, "event");
        }
        // An error says only that nobody listens.
        let _ = self.sender.send(event);
    }

    /// Listens from now on. A listener that falls behind is told how many it missed.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// How many events there were since the process started.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.all.load(Relaxed)
    }

    /// How many of them were unclean. It is never reset: whoever saw it rise knows, even having missed the event.
    #[must_use]
    pub fn unclean(&self) -> u64 {
        self.counts.unclean.load(Relaxed)
    }
}
