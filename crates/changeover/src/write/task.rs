//! The task of one write, from the journal to the sync. It outlives its caller.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::member;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Ack, Settled};
use crate::error::StoreError;
use crate::event::Event;
use crate::evidence::OperationState;
use crate::faults::fault_point;
use crate::migration::Core;
use crate::mirror::{Mirror, Ticket};
use crate::refused::Refused;
use crate::shadow::caught;
use crate::switch::EnteredTask;
use crate::value::{Key, Value};

/// The first wait before a sync that failed, or met a chunk that is being copied, is tried again.
const SYNC_AGAIN: Duration = Duration::from_millis(5);

/// Where the keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    KeysGiven,
    /// The closure returns them.
    KeysGenerated,
}

/// What the caller is told.
pub(super) enum Reply<T, E> {
    Answer(Result<T, E>),
    Refused(Refused),
    Panicked(Box<dyn Any + Send>),
}

/// One write.
pub(super) struct WriteTask<S> {
    pub(super) core: Arc<Core>,
    pub(super) operation: Arc<OperationState>,
    pub(super) entered: EnteredTask,
    pub(super) keys: Vec<Key>,
    pub(super) route_by: Option<Value>,
    pub(super) authority: Side,
    /// `None`: nothing is mirrored by this process, now.
    pub(super) mirror: Option<Arc<dyn Mirror>>,
    pub(super) lease: member::Ticket,
    pub(super) ack: Ack,
    pub(super) settled: S,
    pub(super) mode: Mode,
}

/// What the closure came to.
enum Ended<T, E> {
    Done(T, Vec<Key>),
    /// It failed, and nothing of it runs any more.
    Failed(E),
    Unknown(Reply<T, E>, &'static str),
}

/// Tickets that a write holds.
#[derive(Default)]
struct Tickets {
    /// Keys with their ticket; without one, the journal couldn't be written.
    put_down: Vec<(Option<Ticket>, Vec<Key>)>,
    /// Says that a write whose keys aren't known yet is under way.
    marker: Option<Ticket>,
}

/// What a sync left.
struct Left {
    keys: usize,
    cause: String,
    /// Whether somebody should be told: not where a chunk is just being copied.
    alert: bool,
}

impl<S> WriteTask<S> {
    pub(super) async fn run<T, E, F, Fut>(self, write: F, reply: oneshot::Sender<Reply<T, E>>)
    where
        S: Settled<E>,
        F: FnOnce(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(T, Vec<Key>), E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut tickets = self.put_down_first().await;
        match self.write(write).await {
            Ended::Done(answer, generated) => {
                self.put_down_generated(&mut tickets, generated).await;
                self.finish(tickets, answer, reply).await;
                self.entered.end();
            }
            Ended::Failed(error) => {
                // Nothing should have changed; a sync makes sure, after the caller has its error.
                self.tell(reply, Reply::Answer(Err(error)));
                self.drop_marker(&mut tickets).await;
                let left = self.level(&tickets).await.err();
                self.settle(tickets, left).await;
                self.entered.end();
            }
            Ended::Unknown(answer, why) => self.end_unknown(tickets, answer, why, reply).await,
        }
    }

    async fn write<T, E, F, Fut>(&self, write: F) -> Ended<T, E>
    where
        S: Settled<E>,
        F: FnOnce(Side) -> Fut,
        Fut: Future<Output = Result<(T, Vec<Key>), E>>,
    {
        let operation = self.operation.name;
        let began = Instant::now();
        let authority = self.authority;
        let ended = tokio::select! {
            biased;
            ended = caught(move || write(authority)) => ended,
            () = self.entered.cut_off() => {
                let why = "cut off, because the migration goes back and the write hung";
                return Ended::Unknown(Reply::Refused(Refused::Unknown { operation, why }), why);
            }
        };
        let failed = !matches!(ended, Ok(Ok(_)));
        self.operation.answered(authority, self.core.now_ms(), began.elapsed(), 1, failed);
        match ended {
            Ok(Ok((answer, keys))) => match self.pass(FaultPoint::WriteAuthorityWritten).await {
                Ok(()) => Ended::Done(answer, keys),
                Err(_) => {
                    let why = "a test lost the authority's answer";
                    Ended::Unknown(Reply::Refused(Refused::Unknown { operation, why }), why)
                }
            },
            Ok(Err(error)) => {
                let said = crate::shadow::quietly(|| self.settled.is_settled(&error)).unwrap_or(Some(false));
                if said.unwrap_or(self.core.writes.errors_settled) {
                    Ended::Failed(error)
                } else {
                    Ended::Unknown(Reply::Answer(Err(error)), "it failed with an error that doesn't tell")
                }
            }
            Err(panic) => Ended::Unknown(Reply::Panicked(panic), "its closure panicked"),
        }
    }

    /// The write is done: levels the follower, and answers as `ack` says.
    async fn finish<T, E>(&self, tickets: Tickets, answer: T, reply: oneshot::Sender<Reply<T, E>>) {
        if self.ack == Ack::Authority {
            self.tell(reply, Reply::Answer(Ok(answer)));
            let left = self.level(&tickets).await.err();
            self.settle(tickets, left).await;
            return;
        }
        match self.level(&tickets).await {
            Ok(()) => {
                self.tell(reply, Reply::Answer(Ok(answer)));
                self.settle(tickets, None).await;
            }
            Err(left) => {
                // First the journal says so, then the caller is told.
                self.settle(tickets, Some(left)).await;
                let told = if self.ack == Ack::Both {
                    Reply::Answer(Ok(answer))
                } else {
                    let why = "the authority has it, and the other side didn't take it in time";
                    Reply::Refused(Refused::Unknown { operation: self.operation.name, why })
                };
                self.tell(reply, told);
            }
        }
    }

    /// The outcome isn't known: the keys stay dirty, and the barrier counts this write as running, until the server can't
    /// run it any more.
    async fn end_unknown<T, E>(
        self,
        mut tickets: Tickets,
        answer: Reply<T, E>,
        why: &'static str,
        reply: oneshot::Sender<Reply<T, E>>,
    ) {
        self.operation.counters(self.authority).unknown();
        let (operation, cause) = (self.operation.name, why.to_owned());
        self.core.events.tell(Event::OutcomeUnknown { operation, cause });
        if tickets.marker.is_some() {
            self.core.events.tell(Event::KeysLost { writes: 1 });
            self.drop_marker(&mut tickets).await;
        }
        for (ticket, keys) in &tickets.put_down {
            self.leave_dirty(*ticket, keys, self.core.writes.lifetime).await;
        }
        self.tell(reply, answer);
        // If it was carried out already, the follower needn't wait; if not yet, it is synced again later.
        let _ = self.level(&tickets).await;
        self.entered.end_unknown();
    }

    /// Passes a gap of a dual write; where nothing is mirrored there is none.
    async fn pass(&self, point: FaultPoint) -> Result<(), StoreError> {
        if self.mirror.is_none() { Ok(()) } else { fault_point(point).await }
    }

    fn tell<T, E>(&self, reply: oneshot::Sender<Reply<T, E>>, answer: Reply<T, E>) {
        let standing = self.core.switch.standing();
        let may_answer = standing.may_answer(self.core.switch.clock.now(), self.lease);
        let answer = if may_answer || matches!(answer, Reply::Panicked(_)) {
            answer
        } else {
            let why = "this instance was out of touch with the control plane";
            Reply::Refused(Refused::Unknown { operation: self.operation.name, why })
        };
        // A caller that went away doesn't want to know.
        let _ = reply.send(answer);
    }

    async fn put_down_first(&self) -> Tickets {
        let mut tickets = Tickets::default();
        if self.mirror.is_none() {
            return tickets;
        }
        if self.mode == Mode::KeysGenerated {
            tickets.marker = self.journal(&[]).await;
        }
        if !self.keys.is_empty() {
            tickets.put_down.push((self.journal(&self.keys).await, self.keys.clone()));
        }
        tickets
    }

    async fn put_down_generated(&self, tickets: &mut Tickets, generated: Vec<Key>) {
        if self.mirror.is_none() || self.mode != Mode::KeysGenerated {
            return;
        }
        self.check_slot(&generated);
        if !generated.is_empty() {
            tickets.put_down.push((self.journal(&generated).await, generated));
        }
        self.drop_marker(tickets).await;
    }

    /// A generated key in another slot than the write was routed by was perhaps written to the wrong side: too late to
    /// refuse, but never unseen.
    fn check_slot(&self, generated: &[Key]) {
        if self.route_by.is_some() || self.core.writes.all_at_once {
            return;
        }
        let router = &self.core.router;
        let Some(slot) = self.keys.first().and_then(|key| router.slot_of_key(key)) else { return };
        if let Some(key) = generated.iter().find(|key| router.slot_of_key(key) != Some(slot)) {
            let (operation, key) = (self.operation.name, key.clone());
            self.core.events.tell(Event::WrongSlot { operation, key });
        }
    }

    async fn journal(&self, keys: &[Key]) -> Option<Ticket> {
        let mirror = self.mirror.as_ref()?;
        let put = caught(|| async {
            let ticket = mirror.journal(self.authority, keys).await?;
            self.pass(FaultPoint::WriteJournalled).await.map(|()| ticket)
        });
        let error = match timeout(self.core.writes.sync_deadline, put).await {
            Ok(Ok(Ok(ticket))) => return Some(ticket),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "it panicked".to_owned(),
            Err(_) => format!("it took longer than {:?}", self.core.writes.sync_deadline),
        };
        self.core.events.tell(Event::JournalFailed { error });
        None
    }

    /// Syncs all keys, trying again within the deadline.
    async fn level(&self, tickets: &Tickets) -> Result<(), Left> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let mut keys: Vec<Key> = tickets.put_down.iter().flat_map(|(_, keys)| keys).cloned().collect();
        let until = Instant::now() + self.core.writes.sync_deadline;
        let mut wait = SYNC_AGAIN;
        let mut cause = "the other side didn't answer in time".to_owned();
        let mut alert = true;
        while !keys.is_empty() {
            let level = async || {
                self.pass(FaultPoint::WriteSyncBegun).await?;
                let levelled = mirror.level(self.authority, &keys).await?;
                self.pass(FaultPoint::WriteSynced).await.map(|()| levelled)
            };
            let sync = timeout_at(until, caught(level));
            let synced = tokio::select! {
                biased;
                synced = sync => synced,
                () = self.entered.cut_off() => break,
            };
            match synced {
                Err(_) => break,
                Ok(Err(_)) => {
                    return Err(Left { keys: keys.len(), cause: "the sync panicked".to_owned(), alert });
                }
                Ok(Ok(Err(error))) => {
                    cause = error.to_string();
                    if !error.retryable() {
                        return Err(Left { keys: keys.len(), cause, alert });
                    }
                }
                Ok(Ok(Ok(levelled))) => {
                    if let Some(refusal) = levelled.refused.first() {
                        let (key, column) = (refusal.key.clone(), refusal.column.clone());
                        let why = refusal.why.clone();
                        self.core.events.tell(Event::RowRefused { key, column, why });
                        let cause = format!("{}: {}", refusal.key, refusal.why);
                        return Err(Left { keys: levelled.refused.len(), cause, alert });
                    }
                    keys = levelled.deferred;
                    (cause, alert) = ("its chunk is being copied".to_owned(), false);
                    if keys.is_empty() {
                        return Ok(());
                    }
                }
            }
            if Instant::now() + wait >= until {
                break;
            }
            sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
        if keys.is_empty() { Ok(()) } else { Err(Left { keys: keys.len(), cause, alert }) }
    }

    /// Takes the keys out of the journal, or leaves them there as dirty.
    async fn settle(&self, tickets: Tickets, left: Option<Left>) {
        let Some(mirror) = &self.mirror else { return };
        if let Some(left) = &left {
            self.operation.counters(self.authority).left_dirty();
            let first = tickets.put_down.first().and_then(|(_, keys)| keys.first());
            if let Some(key) = first.filter(|_| left.alert).cloned() {
                let (operation, cause) = (self.operation.name, left.cause.clone());
                self.core.events.tell(Event::LeftDirty { operation, key, keys: left.keys, cause });
            }
        }
        for (ticket, keys) in &tickets.put_down {
            if left.is_some() {
                self.leave_dirty(*ticket, keys, Duration::ZERO).await;
            } else if let Some(ticket) = *ticket {
                let clear = caught(|| async {
                    mirror.clear(ticket).await?;
                    self.pass(FaultPoint::WriteJournalCleared).await
                });
                let clear = timeout(self.core.writes.sync_deadline, clear).await;
                if !matches!(clear, Ok(Ok(Ok(())))) {
                    // It will be synced once more: that does no harm.
                    self.leave_dirty(Some(ticket), keys, Duration::ZERO).await;
                }
            }
        }
    }

    async fn leave_dirty(&self, ticket: Option<Ticket>, keys: &[Key], settle_after: Duration) {
        let Some(mirror) = &self.mirror else { return };
        let leave = caught(|| mirror.leave_dirty(self.authority, ticket, keys, settle_after));
        if !matches!(timeout(self.core.writes.sync_deadline, leave).await, Ok(Ok(()))) {
            let error = "the keys of a write couldn't be left as dirty".to_owned();
            self.core.events.tell(Event::JournalFailed { error });
        }
    }

    async fn drop_marker(&self, tickets: &mut Tickets) {
        let (Some(mirror), Some(marker)) = (&self.mirror, tickets.marker.take()) else { return };
        // One that stays is taken for a lost write at the next start: too careful, and told then.
        let _ = timeout(self.core.writes.sync_deadline, caught(|| mirror.clear(marker))).await;
    }
}
