//! The mirror of dual writes over tables: the process that wrote a key syncs it, before it acknowledges or after.
//!
//! The journal is the authority's capture log, written in the application's own transaction: nothing is put down
//! beforehand, and what this process doesn't clear, the drain finds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use changeover_protocol::Side;
use changeover_protocol::fault::FaultPoint;

use super::drain::{Batch, log_of};
use super::pair::{Links, same};
use super::sync::Fate;
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::mirror::{Levelled, Mirror, Ticket};
use crate::store::Store;
use crate::value::Key;

/// A store, and those of the keys that it logs.
type Share = (Arc<dyn Store>, Vec<Key>);

/// The mirror of dual writes over stores that have a capture log.
#[derive(Debug)]
pub struct TableMirror {
    links: Arc<Links>,
    tickets: AtomicU64,
}

impl TableMirror {
    /// The mirror of these mappings.
    #[must_use]
    pub const fn new(links: Arc<Links>) -> Self {
        Self { links, tickets: AtomicU64::new(1) }
    }

    /// The keys by the store that logs them.
    fn by_source(&self, authority: Side, keys: &[Key]) -> Result<Vec<Share>, StoreError> {
        let mut sources: Vec<Share> = Vec::new();
        for key in keys {
            let store = self.links.link(&key.table)?.store(authority);
            match sources.iter_mut().find(|(source, _)| same(source, store)) {
                Some((_, keys)) => keys.push(key.clone()),
                None => sources.push((Arc::clone(store), vec![key.clone()])),
            }
        }
        Ok(sources)
    }
}

#[async_trait]
impl Mirror for TableMirror {
    async fn journal(&self, _authority: Side, _keys: &[Key]) -> Result<Ticket, StoreError> {
        Ok(Ticket(self.tickets.fetch_add(1, Ordering::Relaxed)))
    }

    async fn level(&self, authority: Side, keys: &[Key]) -> Result<Levelled, StoreError> {
        let mut levelled = Levelled::default();
        let _working = self.links.work(authority);
        for (source, keys) in self.by_source(authority, keys)? {
            let log = log_of(source.as_ref())?;
            // The claims first: what is logged later isn't discarded by this call.
            let claims = log.claim_keys(&keys).await?.claims;
            fault_point(FaultPoint::ClaimTaken).await?;
            let synced = self.links.sync(authority, &keys).await?;
            let fates: HashMap<&Key, &Fate> = keys.iter().zip(&synced.fates).collect();
            let batch = Batch::of(claims);
            let settled: Vec<i64> = batch
                .keys
                .iter()
                .zip(&batch.ids)
                .filter(|(key, _)| matches!(fates.get(key), Some(Fate::Synced | Fate::LeftToBackfill)))
                .flat_map(|(_, ids)| ids.iter().copied())
                .collect();
            if !settled.is_empty() {
                log.discard(&settled).await?;
                fault_point(FaultPoint::ClaimDeleted).await?;
            }
            for (key, fate) in keys.into_iter().zip(synced.fates) {
                match fate {
                    Fate::Synced => levelled.synced += 1,
                    Fate::LeftToBackfill => levelled.left_to_backfill += 1,
                    Fate::Deferred => levelled.deferred.push(key),
                    Fate::Refused(refusal) => levelled.refused.push(refusal),
                }
            }
        }
        Ok(levelled)
    }

    /// Nothing to do: [`TableMirror::level`] discards exactly what it has synced.
    async fn clear(&self, _ticket: Ticket) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing to do: the entries are in the log, or come into it when the authority carries the write out.
    async fn leave_dirty(&self, _: Side, _: Option<Ticket>, _: &[Key], _: Duration) {}

    /// As the logs say; one that can't be asked, or is too deep to be looked through, says that it is, so that no difference
    /// is believed meanwhile.
    async fn is_dirty(&self, key: &Key) -> bool {
        let Ok(link) = self.links.link(&key.table) else { return true };
        for side in [Side::Old, Side::New] {
            let Some(log) = link.store(side).capture() else { continue };
            match log.claim_keys(std::slice::from_ref(key)).await {
                Ok(found) if found.may_have(key) => return true,
                Ok(_) => {}
                // A side that isn't captured has no log to be asked.
                Err(_) if matches!(log.installed().await, Ok(false)) => {}
                Err(_) => return true,
            }
        }
        false
    }
}
