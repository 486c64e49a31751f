//! A control plane inside the process, for one instance: the whole protocol, without a server. For tests, for trying a
//! migration out, and for a service of which there is only ever one process.
//!
//! It keeps its record in memory: when the process ends, the migration is forgotten. Anything that lasts is driven by
//! `changeover run`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover_protocol::control::{Control, ControlAction, ControlEvent, Generation, Refusal, Settings};
use changeover_protocol::member::InstanceId;
use changeover_protocol::place::Share;
use changeover_protocol::{Phase, Side};
use tokio::sync::watch;

use crate::migration::{Builder, Migration, NoRuntime};
use crate::switch::SwitchHandle;

/// Heartbeats and ticks come this often.
const BEAT: Duration = Duration::from_millis(25);

/// What a local migration asks of the rest of the process.
#[async_trait]
pub trait Filling: Send + Sync + 'static {
    /// Fills this side with all that the other holds; writes go on meanwhile, or are held. Called once for each
    /// generation; it tries again by itself.
    async fn fill(&self, generation: Generation, toward: Side);
}

/// Nothing is to be filled: for stores that begin empty, or whose copy is made otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingToFill;

#[async_trait]
impl Filling for NothingToFill {
    async fn fill(&self, _: Generation, _: Side) {}
}

/// A migration driven inside the process.
#[derive(Debug, Clone)]
pub struct Local {
    state: Arc<State>,
}

struct State {
    control: Mutex<Control>,
    id: InstanceId,
    handle: SwitchHandle,
    migration: Migration,
    filling: Arc<dyn Filling>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A move that wasn't made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The protocol doesn't allow it now.
    #[error("{0}")]
    Refused(Refusal),
    /// It turned around: the holds took longer than their budget.
    #[error("the move to {to} went back to {at}: the holds took longer than their budget")]
    WentBack {
        /// Where it was to go.
        to: Phase,
        /// Where it is.
        at: Phase,
    },
}

impl Local {
    /// Begins a migration in phase `old`, and drives it until all handles of it are gone.
    ///
    /// # Errors
    /// Called outside of a Tokio runtime.
    pub fn start(
        builder: Builder,
        settings: Settings,
        filling: impl Filling,
    ) -> Result<(Migration, Self), NoRuntime> {
        let now = builder.now();
        let id = InstanceId::new("local");
        let control = Control::new(settings, now);
        let target = control.target.clone();
        let register = ControlEvent::Register { id: id.clone(), expected: target.version };
        let (migration, handle) = builder.register(id.clone(), target, now)?;
        let state = Arc::new(State {
            control: Mutex::new(control),
            id,
            handle,
            migration: migration.clone(),
            filling: Arc::new(filling),
            changed: watch::Sender::new(0),
        });
        // A new record takes its first instance; if the protocol ever says otherwise, the first move will.
        let _ = state.apply(register);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| NoRuntime)?;
        runtime.spawn(beat(Arc::downgrade(&state)));
        Ok((migration, Self { state }))
    }

    /// Goes forward to the next phase, and waits until it is reached and what must be filled for it is.
    ///
    /// # Errors
    /// The protocol refuses it, or the move went back.
    pub async fn advance(&self, to: Phase) -> Result<(), LocalError> {
        self.advance_share(to, Share::ALL).await
    }

    /// Goes forward for a share of the keys: only into `reverse-shadow`.
    ///
    /// # Errors
    /// As [`Local::advance`].
    pub async fn advance_share(&self, to: Phase, share: Share) -> Result<(), LocalError> {
        self.go(ControlEvent::Advance { to, share }, to).await
    }

    /// Goes back to this phase, and waits until it is reached.
    ///
    /// # Errors
    /// The protocol refuses it.
    pub async fn rollback(&self, to: Phase) -> Result<(), LocalError> {
        self.go(ControlEvent::Rollback { to, share: Share::ALL, leave_behind: false }, to).await
    }

    /// The phase that the last completed move ended in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.control().place.phase
    }

    async fn go(&self, event: ControlEvent, to: Phase) -> Result<(), LocalError> {
        let mut changes = self.state.changed.subscribe();
        self.state.apply(event).map_err(LocalError::Refused)?;
        // An error can't come: the sender lives in the same state.
        let _ = changes.wait_for(|_| is_at_rest(&self.state.control())).await;
        let at = self.phase();
        if at == to { Ok(()) } else { Err(LocalError::WentBack { to, at }) }
    }
}

/// Whether no move is under way, and no backfill.
fn is_at_rest(control: &Control) -> bool {
    control.shift.is_none() && control.backfill.is_none_or(|backfill| backfill.done)
}

impl State {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event into the record, and begins what it asks for.
    fn apply(self: &Arc<Self>, event: ControlEvent) -> Result<(), Refusal> {
        let actions = {
            let mut control = self.control();
            let change = control.apply(self.handle.now(), event)?;
            *control = change.next;
            change.actions
        };
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        for action in actions {
            self.carry_out(action);
        }
        Ok(())
    }

    fn carry_out(self: &Arc<Self>, action: ControlAction) {
        let state = Arc::clone(self);
        match action {
            ControlAction::Publish(target) => {
                tokio::spawn(async move { state.handle.offer(target).await });
            }
            ControlAction::BeginGeneration { generation, toward, .. } => {
                tokio::spawn(async move {
                    state.filling.fill(generation, toward).await;
                    state.apply(ControlEvent::GenerationDone { generation })
                });
            }
            ControlAction::CheckSync { version } => {
                let backfill_under_way = self.control().backfill.is_some_and(|backfill| !backfill.done);
                let dirty = self.migration.vitals().dirty_keys;
                tokio::spawn(async move {
                    state.apply(ControlEvent::KeysInSync { version, dirty, backfill_under_way })
                });
            }
            ControlAction::DrainWayBack => {
                tokio::spawn(async move { state.apply(ControlEvent::WayBackDrained) });
            }
            // There is no store with a fence here, nobody to be voided, and nobody to be told.
            _ => {}
        }
    }
}

/// The heartbeats of the one instance, and the ticks of its control plane.
async fn beat(state: std::sync::Weak<State>) {
    loop {
        let Some(state) = state.upgrade() else { return };
        let sent = state.handle.now();
        let mut acknowledged = state.handle.acknowledged();
        // Marked as seen here, so that only what comes after wakes the wait below.
        let acked = *acknowledged.borrow_and_update();
        let (id, vitals) = (state.id.clone(), state.migration.vitals());
        // Refusals are of events that came too late: the next beat says it again.
        let _ = state.apply(ControlEvent::Heartbeat { id, acked, vitals });
        let _ = state.apply(ControlEvent::Tick);
        let target = state.control().target.clone();
        if state.handle.answered(sent, target).await.is_err() {
            return;
        }
        drop(state);
        // Woken early by an acknowledgement, so that a move takes no longer than it must.
        let _ = tokio::time::timeout(BEAT, acknowledged.changed()).await;
    }
}
