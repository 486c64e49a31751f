//! The journal of dual write, for stores without a capture log: which keys are about to be written, and which aren't
//! known to be level, in an append-only file of this instance.
//!
//! A write costs one append and its share of one `fsync`: appends that arrive while the disk is busy go down together.
//! [`JournalStats`] tells what that costs. Taking a ticket out needn't be durable: one that comes back after a crash is
//! synced once more, which does no harm.

mod file;
mod record;
mod repair;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover_protocol::Side;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::file::Journal;
pub use self::file::JournalStats;
use crate::error::StoreError;
use crate::mirror::{Levelled, Mirror, Ticket};
use crate::value::Key;

/// At most this many writes are remembered in memory whose keys couldn't be journalled.
const UNJOURNALLED_MAX: usize = 100_000;

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct JournalSettings {
    /// The size at which the file is written anew with what is still open. Default: 64 MiB.
    pub rewrite_at_bytes: u64,
    /// How many writes may be open (under way, or dirty). Beyond it the journal refuses, which is an unclean event.
    /// Default: 1,000,000.
    pub open_max: usize,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { rewrite_at_bytes: 64 << 20, open_max: 1_000_000 }
    }
}

/// A journal that can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file system said no.
    #[error("journal {}: {doing} failed: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: std::io::Error,
    },
    /// Another process has it open.
    #[error("journal {}: another process uses it; each instance needs its own", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// It isn't a journal.
    #[error("journal {}: it doesn't begin like a journal. Give another path", path.display())]
    NoJournal {
        /// The file.
        path: PathBuf,
    },
}

/// What a journal held when it was opened: the work of a process that died.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Keys that aren't known to be level. They are dirty until the repair has synced them.
    pub keys: u64,
    /// Writes that generate their keys and were under way: nobody knows their rows. An unclean event.
    pub writes_without_keys: u64,
    /// Bytes of a last record that was cut off. The write that it belongs to hadn't begun.
    pub torn_bytes: u64,
}

/// A [`Mirror`] that keeps the keys in a file, and levels by another.
pub struct JournaledMirror {
    journal: Journal,
    level: Arc<dyn Mirror>,
    dirty: Mutex<Vec<Dirty>>,
    /// How many open writes name a key.
    open: Mutex<HashMap<Key, u32>>,
    open_keys: AtomicU64,
    woken: Notify,
    recovered: Recovered,
    /// The tickets of writes that generate their keys, left by a process before.
    markers: Mutex<Vec<Ticket>>,
}

/// Keys that are to be synced.
#[derive(Debug, Clone)]
struct Dirty {
    ticket: Option<Ticket>,
    keys: Vec<Key>,
    /// The side that was written: while a share of the keys is moved, not every key tells it.
    authority: Side,
    /// When they may be synced next.
    due: Instant,
    /// A sync before then may be overtaken by the write itself, so it doesn't count.
    settled: Instant,
    wait: Duration,
}

impl std::fmt::Debug for JournaledMirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournaledMirror").field("recovered", &self.recovered).finish_non_exhaustive()
    }
}

impl JournaledMirror {
    /// Opens the journal at this path, or makes it, and takes up what a process before left open: those keys are dirty,
    /// and settled when `write_lifetime` has passed. `level` does the syncs. The volume must outlive the process.
    ///
    /// # Errors
    /// The file can't be opened or made, is no journal, or is in use. Blocks for as long as reading it takes.
    pub fn open(
        path: impl AsRef<Path>,
        settings: JournalSettings,
        write_lifetime: Duration,
        level: Arc<dyn Mirror>,
    ) -> Result<Arc<Self>, JournalError> {
        let (journal, left, torn_bytes) = Journal::open(path.as_ref(), settings)?;
        let mut recovered = Recovered { torn_bytes, ..Recovered::default() };
        let settled = Instant::now() + write_lifetime;
        let mut dirty = Vec::new();
        let mut markers = Vec::new();
        for (ticket, (side, keys)) in left {
            if keys.is_empty() {
                recovered.writes_without_keys += 1;
                markers.push(ticket);
            } else {
                recovered.keys += keys.len() as u64;
                dirty.push(Dirty {
                    ticket: Some(ticket),
                    keys,
                    authority: side,
                    due: settled,
                    settled,
                    wait: repair::WAIT_FIRST,
                });
            }
        }
        let mirror = Self {
            journal,
            level,
            dirty: Mutex::new(Vec::new()),
            open: Mutex::default(),
            open_keys: AtomicU64::new(0),
            woken: Notify::new(),
            recovered,
            markers: Mutex::new(markers),
        };
        for entry in &dirty {
            mirror.opened(&entry.keys);
        }
        *mirror.lock_dirty() = dirty;
        Ok(Arc::new(mirror))
    }

    /// What a process before left.
    #[must_use]
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// What the journal costs.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        self.journal.stats()
    }

    fn lock_dirty(&self) -> std::sync::MutexGuard<'_, Vec<Dirty>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, keys: &[Key]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            *open.entry(key.clone()).or_default() += 1;
        }
        self.open_keys.fetch_add(keys.len() as u64, Relaxed);
    }

    fn closed(&self, keys: &[Key]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(count) = open.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    open.remove(key);
                }
            }
        }
        self.open_keys.fetch_sub(keys.len() as u64, Relaxed);
    }
}

#[async_trait]
impl Mirror for JournaledMirror {
    async fn journal(&self, authority: Side, keys: &[Key]) -> Result<Ticket, StoreError> {
        self.level.journal(authority, keys).await?;
        let ticket = self.journal.put(authority, keys).await?;
        self.opened(keys);
        Ok(ticket)
    }

    async fn level(&self, authority: Side, keys: &[Key]) -> Result<Levelled, StoreError> {
        self.level.level(authority, keys).await
    }

    async fn clear(&self, ticket: Ticket) -> Result<(), StoreError> {
        if let Some(keys) = self.journal.clear(ticket) {
            self.closed(&keys);
        }
        Ok(())
    }

    async fn leave_dirty(
        &self,
        authority: Side,
        ticket: Option<Ticket>,
        keys: &[Key],
        settle_after: Duration,
    ) {
        let now = Instant::now();
        let entry = Dirty {
            ticket,
            keys: keys.to_vec(),
            authority,
            due: now,
            settled: now + settle_after,
            wait: repair::WAIT_FIRST,
        };
        {
            let mut dirty = self.lock_dirty();
            if ticket.is_none() {
                // The unclean event was told when the journal failed.
                if dirty.iter().filter(|entry| entry.ticket.is_none()).count() >= UNJOURNALLED_MAX {
                    return;
                }
                self.opened(keys);
            }
            dirty.push(entry);
        }
        self.woken.notify_one();
    }

    async fn is_dirty(&self, key: &Key) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    fn dirty(&self) -> u64 {
        self.open_keys.load(Relaxed)
    }
}
