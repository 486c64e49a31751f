//! Writes: run once, on the authority, in a task of their own; the follower is levelled by a sync of their keys.
//!
//! The order of things: the keys are put down in the journal; the closure runs; the keys are synced; they are taken out
//! of the journal. The caller is answered in between, as `ack` says. The task isn't dropped with the caller, so a
//! caller that goes away leaves nothing apart: the write's outcome becomes known all the same.
//!
//! What ends without a known outcome (an error that isn't declared as settled, a panic, a cut-off) may still be carried
//! out by the server: its keys stay dirty, and the barrier waits, until `write_lifetime` has passed.

mod held;
mod task;

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Side;
use changeover_protocol::member::Access;
use changeover_protocol::member::Admission;
use changeover_protocol::slots::Slot;
use changeover_protocol::step::Writes;
use tokio::sync::oneshot;

use self::held::Held;
use self::task::{Mode, Reply, WriteTask};
use crate::evidence::{OperationRef, OperationState};
use crate::keyed::Keys;
use crate::migration::{Core, admit, step_of};
use crate::refused::Refused;
use crate::switch::Entered;
use crate::value::{Key, Value};

/// When a write is acknowledged, in the mirrored steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// When the follower has it too. If it doesn't in time, the write is acknowledged all the same, its keys stay dirty, a
    /// rollback isn't safe meanwhile, and an alert goes out.
    #[default]
    Both,
    /// When the authority has it. The follower is levelled afterwards.
    Authority,
    /// When the follower has it too; if it doesn't in time, the caller is told that the outcome isn't known (the authority
    /// has the write).
    BothOrError,
}

/// How the writes of a migration are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteSettings {
    pub(crate) ack: Ack,
    pub(crate) sync_deadline: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) held_max: usize,
    pub(crate) errors_settled: bool,
    pub(crate) all_at_once: bool,
}

impl Default for WriteSettings {
    fn default() -> Self {
        Self {
            ack: Ack::Both,
            sync_deadline: Duration::from_secs(1),
            lifetime: Duration::from_secs(30),
            held_max: 10_000,
            errors_settled: false,
            all_at_once: false,
        }
    }
}

/// Whether an error tells a write's outcome.
pub trait Settled<E>: Send + Sync + 'static {
    /// `Some(true)`: nothing of the write runs any more. `None`: as the migration says.
    fn is_settled(&self, error: &E) -> Option<bool>;
}

/// As the migration says.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsMigrationSays;

impl<E> Settled<E> for AsMigrationSays {
    fn is_settled(&self, _: &E) -> Option<bool> {
        None
    }
}

/// As a closure says.
pub struct SettledBy<F>(F);

impl<E, F: Fn(&E) -> bool + Send + Sync + 'static> Settled<E> for SettledBy<F> {
    fn is_settled(&self, error: &E) -> Option<bool> {
        Some((self.0)(error))
    }
}

/// A write that is about to be made. Made by `Migration::write`.
#[must_use = "a write does nothing until `run`"]
pub struct Write<'m, S = AsMigrationSays> {
    core: &'m Arc<Core>,
    operation: OperationRef<'m>,
    keys: Vec<Key>,
    route_by: Option<Value>,
    ack: Ack,
    settled: S,
}

impl<S> fmt::Debug for Write<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("operation", &self.operation.name()).field("keys", &self.keys).finish()
    }
}

impl<'m> Write<'m> {
    pub(crate) fn new(core: &'m Arc<Core>, operation: OperationRef<'m>, keys: Vec<Key>) -> Self {
        let ack = core.writes.ack;
        Self { core, operation, keys, route_by: None, ack, settled: AsMigrationSays }
    }
}

impl<'m, S> Write<'m, S> {
    /// The value by which the rows are put into a slot, where it isn't part of the keys: the spec's `route_by`. A write
    /// whose keys are generated needs it while a share of the keys is moved.
    pub fn route_by(mut self, value: impl Into<Value>) -> Self {
        self.route_by = Some(value.into());
        self
    }

    /// When this write is acknowledged, if not as the migration says.
    pub const fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Says which errors tell the outcome: those after which nothing of the write runs any more in the server, such as a
    /// constraint that it named. An error of which this isn't sure (a connection lost, a time-out of the client's) is
    /// an outcome that isn't known.
    pub fn settled<E, F: Fn(&E) -> bool>(self, settled: F) -> Write<'m, SettledBy<F>> {
        let Self { core, operation, keys, route_by, ack, .. } = self;
        Write { core, operation, keys, route_by, ack, settled: SettledBy(settled) }
    }

    /// Makes the write, and gives the authority's answer.
    ///
    /// # Errors
    /// The authority's own, or a [`Refused`] as `E`: [`Refused::outcome_unknown`] tells whether it may have been carried
    /// out.
    ///
    /// # Cancellation
    /// While the write waits for a hold to end, dropping this drops the write, and nothing has happened. Afterwards the
    /// write goes on by itself, to its end.
    ///
    /// # Panics
    /// Only if the closure panics.
    pub async fn run<T, E, F, Fut>(self, write: F) -> Result<T, E>
    where
        S: Settled<E>,
        F: FnOnce(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        if self.keys.is_empty() && self.core.mirror.is_some() {
            return Err(Refused::NoKey { operation: self.operation.name() }.into());
        }
        let write = move |side| async move { write(side).await.map(|answer| (answer, Vec::new())) };
        self.perform(write, Mode::KeysGiven).await
    }

    /// Makes a write whose keys, or further ones, are known only after it: those that the database generates. The closure
    /// returns them with its answer.
    ///
    /// **The window:** between the authority's commit and the moment that the returned keys are in the journal, nobody but
    /// this process knows them. If it dies right then, or the outcome isn't known, the rows are on the authority alone until
    /// the next verification finds them. It is an unclean event, so no move goes forward before that. Where you can, choose
    /// the keys before the write, or use capture, which has no such window.
    ///
    /// # Errors, cancellation, panics
    /// As [`Write::run`].
    pub async fn run_keyed<T, E, G, F, Fut>(self, write: F) -> Result<T, E>
    where
        S: Settled<E>,
        F: FnOnce(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(T, G), E>> + Send + 'static,
        G: Keys + Send + 'static,
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        let write =
            move |side| async move { write(side).await.map(|(answer, keys)| (answer, keys.into_keys())) };
        self.perform(write, Mode::KeysGenerated).await
    }

    async fn perform<T, E, F, Fut>(self, write: F, mode: Mode) -> Result<T, E>
    where
        S: Settled<E>,
        F: FnOnce(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(T, Vec<Key>), E>> + Send + 'static,
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        let name = self.operation.name();
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_| Refused::NoRuntime { operation: name })?;
        let operation = self.core.registry.get(self.operation);
        let slot = self.slot_checked()?;
        let (entered, admitted) = self.admitted(&operation, slot).await?;
        let (reply, replied) = oneshot::channel();
        // No await from the admission to here: the operation is either in its task, or was never begun.
        runtime.spawn(
            WriteTask {
                core: Arc::clone(self.core),
                operation,
                entered: entered.into_task(&self.core.switch),
                keys: self.keys,
                route_by: self.route_by,
                authority: admitted.authority,
                mirror: self.core.mirror.clone().filter(|_| admitted.mirrored),
                lease: admitted.lease,
                ack: self.ack,
                settled: self.settled,
                mode,
            }
            .run(write, reply),
        );
        match replied.await {
            Ok(Reply::Answer(answer)) => answer,
            Ok(Reply::Refused(refused)) => Err(refused.into()),
            Ok(Reply::Panicked(panic)) => resume_unwind(panic),
            Err(_) => {
                let why = "its task was thrown away with the runtime";
                Err(Refused::Unknown { operation: name, why }.into())
            }
        }
    }

    /// Checks that all keys lie in one slot, whatever the step: a mistake is to be found before a share is moved.
    fn slot_checked(&self) -> Result<Option<Slot>, Refused> {
        if self.keys.len() > 1 && !self.core.writes.all_at_once {
            return self.slot();
        }
        Ok(None)
    }

    fn slot(&self) -> Result<Option<Slot>, Refused> {
        self.core.router.one_slot(self.operation.name(), &self.keys, self.route_by.as_ref())
    }

    /// Enters the switch, waiting while writes are held.
    async fn admitted(
        &self,
        operation: &Arc<OperationState>,
        slot: Option<Slot>,
    ) -> Result<(Entered<'m>, Admitted), Refused> {
        let name = self.operation.name();
        let mut held: Option<Held<'_>> = None;
        loop {
            let until = {
                let entered = self.core.switch.enter();
                let standing = entered.standing();
                let slot = match (standing.target.uniform_step(), slot) {
                    (Some(_), _) => Slot::new(0),
                    (None, Some(slot)) => slot,
                    // While slots differ, a write without a key could be anywhere.
                    (None, None) => self.slot()?.ok_or(Refused::NoKey { operation: name })?,
                };
                let now = self.core.switch.clock.now();
                match admit(&standing, now, Some(slot), Access::Write) {
                    Admission::Run(plan) => {
                        let (authority, mirrored) = match plan.writes {
                            Writes::To(side) => (side, false),
                            Writes::Mirrored(side) => (side, true),
                            // The protocol runs no write at a step that holds them.
                            Writes::Held => (plan.reads, true),
                        };
                        if let Some(held) = held {
                            operation.counters(authority).held(now.since(held.since).0);
                        }
                        let lease = standing.ticket(step_of(&standing.target, Some(slot)));
                        return Ok((entered, Admitted { authority, mirrored, lease }));
                    }
                    Admission::Refuse(why) => return Err(Refused::NotNow { operation: name, why }),
                    Admission::Wait { until } => until,
                }
            };
            match &mut held {
                // Looks once more after it has begun to listen, so that no change goes by between the two.
                None => held = Some(Held::begin(self.core, name)?),
                Some(held) => held.wait(until).await,
            }
        }
    }
}

/// A write that may run.
struct Admitted {
    authority: Side,
    mirrored: bool,
    lease: changeover_protocol::member::Ticket,
}
