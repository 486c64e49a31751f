//! The memory store's log of changed keys.

use std::time::Duration;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::capture::{CaptureLog, CaptureOptions, Claim, Depth, KeyClaims};
use changeover::value::Key;
use changeover_protocol::SlotRange;

use super::{MemoryStore, Sabotage, Shared};

impl Shared {
    pub(super) fn depth(&self) -> Depth {
        let now_ms = self.now_ms();
        let state = self.state();
        let oldest = state.log.first_key_value().map_or(0, |(_, claim)| now_ms.saturating_sub(claim.at_ms));
        Depth {
            entries: state.log.len() as u64,
            oldest_ms: u64::try_from(oldest).unwrap_or(0),
            span: state.span(),
            bound: state.capture.map_or(0, |options| options.bound),
            overflowed: state.overflowed,
        }
    }
}

#[async_trait]
impl CaptureLog for MemoryStore {
    async fn install(&self, options: CaptureOptions) -> Result<(), StoreError> {
        self.shared.suffer("install").await?;
        // As DDL does, it waits for every transaction that began without it.
        let _alone = self.shared.writers.write().await;
        self.state().capture = Some(options);
        Ok(())
    }

    async fn remove(&self) -> Result<(), StoreError> {
        self.shared.suffer("remove").await?;
        let mut state = self.state();
        state.capture = None;
        state.log.clear();
        state.overflowed = false;
        Ok(())
    }

    async fn installed(&self) -> Result<bool, StoreError> {
        self.shared.suffer("installed").await?;
        Ok(self.state().capture.is_some())
    }

    async fn claim(&self, after: i64, limit: usize) -> Result<Vec<Claim>, StoreError> {
        self.shared.suffer("claim").await?;
        let mut state = self.state();
        let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let claims: Vec<Claim> = state.log.range(after).take(limit).map(|(_, claim)| claim.clone()).collect();
        if self.shared.breaks(Sabotage::ClaimsDeletedFirst) {
            claims.iter().for_each(|claim| drop(state.log.remove(&claim.id)));
        }
        Ok(claims)
    }

    async fn claim_keys(&self, keys: &[Key]) -> Result<KeyClaims, StoreError> {
        self.shared.suffer("claim_keys").await?;
        let mut state = self.state();
        let claims: Vec<Claim> =
            state.log.values().filter(|claim| keys.contains(&claim.key)).cloned().collect();
        if self.shared.breaks(Sabotage::ClaimsDeletedFirst) {
            claims.iter().for_each(|claim| drop(state.log.remove(&claim.id)));
        }
        Ok(KeyClaims { claims, all: true })
    }

    async fn discard(&self, ids: &[i64]) -> Result<(), StoreError> {
        self.shared.suffer("discard").await?;
        let mut state = self.state();
        for id in ids {
            state.log.remove(id);
        }
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.shared.suffer("depth").await?;
        Ok(self.shared.depth())
    }

    async fn dirty_in(&self, slots: SlotRange) -> Result<u64, StoreError> {
        self.shared.suffer("dirty_in").await?;
        let state = self.state();
        let keys: std::collections::HashSet<&Key> =
            state.log.values().filter(|claim| slots.contains(claim.slot)).map(|claim| &claim.key).collect();
        Ok(keys.len() as u64)
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.shared.suffer("reset").await?;
        let mut state = self.state();
        state.log.clear();
        state.overflowed = false;
        Ok(())
    }

    async fn changed(&self, at_most_ms: u64) {
        let changed = self.shared.changed.notified();
        let _late = tokio::time::timeout(Duration::from_millis(at_most_ms), changed).await;
    }
}
