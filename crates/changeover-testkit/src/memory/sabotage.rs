//! A store that breaks its promises: for suites that must find out.

use std::sync::PoisonError;
use std::time::Duration;

use super::{MemoryStore, Shared};
use crate::memory::data::TableData;

/// Which promise a memory store breaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// A claim deletes its entries, before anything was synced.
    ClaimsDeletedFirst,
    /// A guard excludes nobody.
    NoGuard,
    /// Reads and scans see the tables as they were a moment ago.
    LaggingReads,
    /// What a guarded transaction wrote is there without a commit.
    NoRollback,
    /// A sync is logged like an application's write.
    MirrorIsLogged,
    /// The fence refuses nobody.
    NoFence,
}

/// How far behind lagging reads are, at most.
const LAG: Duration = Duration::from_millis(50);

impl MemoryStore {
    /// Breaks a promise from now on.
    pub fn sabotage(&self, sabotage: Sabotage) {
        *self.shared.sabotage.lock().unwrap_or_else(PoisonError::into_inner) = sabotage;
    }
}

impl Shared {
    pub(super) fn breaks(&self, sabotage: Sabotage) -> bool {
        *self.sabotage.lock().unwrap_or_else(PoisonError::into_inner) == sabotage
    }

    /// A table as readers see it.
    pub(super) fn seen(&self, at: usize) -> TableData {
        if !self.breaks(Sabotage::LaggingReads) {
            return self.state().tables[at].clone();
        }
        let now = tokio::time::Instant::now();
        let mut replica = self.replica.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = replica.as_ref().is_none_or(|(since, _)| now.duration_since(*since) >= LAG);
        if stale {
            *replica = Some((now, self.state().tables.clone()));
        }
        replica.as_ref().map_or_else(TableData::default, |(_, tables)| tables[at].clone())
    }
}
