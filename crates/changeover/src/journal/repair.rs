//! The repair of dirty keys: syncs them when they are due, again and again until the follower has them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::step::{Step, Writes};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Dirty, JournaledMirror};
use crate::event::Event;
use crate::migration::{Core, Migration};
use crate::shadow::caught;

/// The wait after a sync that failed; it doubles up to the last.
pub(super) const WAIT_FIRST: Duration = Duration::from_millis(20);
const WAIT_LAST: Duration = Duration::from_secs(5);
/// How long one sync may take.
const SYNC_MAX: Duration = Duration::from_secs(10);

impl JournaledMirror {
    /// Repairs until it is dropped. One per journal; to be run in a task of its own. Each sync counts as an operation of
    /// the step that it began under, so that no step changes under it.
    pub async fn repair(self: Arc<Self>, migration: Migration) {
        let core = migration.core;
        if self.recovered.writes_without_keys > 0 {
            core.events.tell(Event::KeysLost { writes: self.recovered.writes_without_keys });
            // Not before it was told.
            let markers = std::mem::take(&mut *self.markers.lock().unwrap_or_else(PoisonError::into_inner));
            for marker in markers {
                self.journal.clear(marker);
            }
        }
        loop {
            let woken = self.woken.notified();
            match self.next_due() {
                Some(due) => {
                    tokio::select! {
                        () = sleep_until(due) => self.repair_due(&core).await,
                        () = woken => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock_dirty().iter().map(|entry| entry.due).min()
    }

    async fn repair_due(&self, core: &Core) {
        let now = Instant::now();
        let due: Vec<Dirty> = self.lock_dirty().extract_if(.., |entry| entry.due <= now).collect();
        let mut left = Undone { mirror: self, entries: due };
        while let Some(entry) = left.entries.pop() {
            let at = left.entries.len();
            left.entries.push(entry.clone());
            let after = self.sync(core, entry).await;
            left.entries.truncate(at);
            if let Some(again) = after {
                self.lock_dirty().push(again);
            }
        }
    }

    /// Syncs one entry; what is to be done again later, if anything is.
    async fn sync(&self, core: &Core, mut entry: Dirty) -> Option<Dirty> {
        let entered = core.switch.enter();
        let target = &entered.standing().target;
        let slot = entry.keys.first().and_then(|key| core.router.slot_of_key(key));
        let step = target.uniform_step().or_else(|| slot.map(|slot| target.step(slot)));
        let authority = match step.map(authority) {
            Some(Some(side)) => side,
            Some(None) => {
                // The mirror has stopped: the follower is stale as a whole, and a new generation will fill it.
                self.done(&entry);
                return None;
            }
            // A share is moved, and the key doesn't tell its slot. No slot changes sides while a key of it is dirty.
            None => entry.authority,
        };
        let began = Instant::now();
        let sync = timeout(SYNC_MAX, caught(|| self.level.level(authority, &entry.keys)));
        let synced = tokio::select! {
            synced = sync => synced,
            () = entered.cut_off() => return Some(Dirty { due: Instant::now() + entry.wait, ..entry }),
        };
        let is_level = matches!(&synced, Ok(Ok(Ok(levelled)))
            if levelled.deferred.is_empty() && levelled.refused.is_empty());
        if is_level && began >= entry.settled {
            self.done(&entry);
            return None;
        }
        if is_level {
            // Once more when the write can't be carried out any more.
            entry.due = entry.settled;
        } else {
            entry.due = Instant::now() + entry.wait;
            entry.wait = (entry.wait * 2).min(WAIT_LAST);
        }
        Some(entry)
    }

    fn done(&self, entry: &Dirty) {
        match entry.ticket {
            // Taken out by somebody else already: then it was closed, too.
            Some(ticket) if self.journal.clear(ticket).is_none() => {}
            _ => self.closed(&entry.keys),
        }
    }
}

/// The side whose truth counts at a step, where there is a follower.
fn authority(step: Step) -> Option<Side> {
    match step.plan().writes {
        Writes::Mirrored(side) => Some(side),
        Writes::Held => Some(step.plan().reads),
        Writes::To(_) => None,
    }
}

/// What was taken out to be synced, put back if the repair is dropped before.
struct Undone<'a> {
    mirror: &'a JournaledMirror,
    entries: Vec<Dirty>,
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        self.mirror.lock_dirty().append(&mut self.entries);
    }
}
