//! An instance that can die: from then on nothing of it goes on, whatever the library had begun.
//!
//! A process can't be killed within a process, so death is that every call which the library makes to the outside never
//! comes back. A sync that was under way is dropped where it stood; a write that was sent may still be carried out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::engine::TableMirror;
use changeover::mirror::{Levelled, Mirror, Ticket};
use changeover::value::Key;
use changeover_protocol::Side;
use tokio::sync::watch;

/// Whether an instance lives.
#[derive(Debug, Clone)]
pub(super) struct Life(Arc<watch::Sender<bool>>);

impl Life {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }

    pub(super) fn end(&self) {
        self.0.send_replace(false);
    }

    /// What the future answers, if the instance lives that long; else nothing, ever.
    pub(super) async fn or_never<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.ended() => std::future::pending().await,
            answer = work => answer,
        }
    }

    async fn ended(&self) {
        // The sender lives as long as this does.
        let mut life = self.0.subscribe();
        let _ended = life.wait_for(|lives| !lives).await;
    }
}

/// The mirror of an instance that can die.
pub(super) struct DoomedMirror {
    pub(super) inner: TableMirror,
    pub(super) life: Life,
}

#[async_trait]
impl Mirror for DoomedMirror {
    async fn journal(&self, authority: Side, keys: &[Key]) -> Result<Ticket, StoreError> {
        self.life.or_never(self.inner.journal(authority, keys)).await
    }

    async fn level(&self, authority: Side, keys: &[Key]) -> Result<Levelled, StoreError> {
        self.life.or_never(self.inner.level(authority, keys)).await
    }

    async fn clear(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.life.or_never(self.inner.clear(ticket)).await
    }

    async fn leave_dirty(
        &self,
        authority: Side,
        ticket: Option<Ticket>,
        keys: &[Key],
        settle_after: Duration,
    ) {
        self.life.or_never(self.inner.leave_dirty(authority, ticket, keys, settle_after)).await;
    }

    async fn is_dirty(&self, key: &Key) -> bool {
        self.life.or_never(self.inner.is_dirty(key)).await
    }
}
