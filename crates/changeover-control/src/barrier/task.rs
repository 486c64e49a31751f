//! The task: applies events in order, stores, publishes, hands actions on, and ticks.

use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::control::{ControlAction, ControlEvent, MoveReport};
use changeover_protocol::{Control, Millis, Target};
use tokio::sync::{broadcast, mpsc, watch};

use super::{Submitted, What, audit, load};
use crate::clock::Clock;
use crate::error::ControlError;
use crate::state::{NewAudit, Revision, StateStore};

/// How many waiting events are stored in one go.
const TOGETHER: usize = 128;

/// How often the record is read again when another replica was faster, before the event is given back.
const ATTEMPTS: usize = 5;

/// How often time is told while no move is under way.
const IDLE_TICK: Duration = Duration::from_secs(2);

pub(super) struct Task {
    pub(super) state: Arc<dyn StateStore>,
    pub(super) clock: Clock,
    pub(super) control: Control,
    pub(super) revision: Revision,
    pub(super) publish: watch::Sender<Target>,
    pub(super) show: watch::Sender<Arc<Control>>,
    pub(super) actions: mpsc::Sender<ControlAction>,
    pub(super) reports: broadcast::Sender<MoveReport>,
    pub(super) failing: bool,
}

/// What some events made of the record, before it is stored.
struct Draft {
    next: Control,
    actions: Vec<ControlAction>,
    audit: Vec<NewAudit>,
    durable: bool,
    /// One for each event.
    refused: Vec<Option<ControlError>>,
}

impl Task {
    pub(super) async fn run(mut self, mut submitted: mpsc::Receiver<Submitted>) {
        let mut batch = Vec::with_capacity(TOGETHER);
        let mut tick_at = tokio::time::Instant::now() + self.tick_length();
        loop {
            tokio::select! {
                biased;
                // First: a flood of heartbeats must not keep a hold's deadline from being seen.
                () = tokio::time::sleep_until(tick_at) => {
                    self.tick().await;
                    tick_at = tokio::time::Instant::now() + self.tick_length();
                }
                count = submitted.recv_many(&mut batch, TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                    let moved = self.control.shift.is_some();
                    self.take(std::mem::take(&mut batch)).await;
                    if self.control.shift.is_some() != moved {
                        tick_at = tokio::time::Instant::now() + self.tick_length();
                    }
                }
            }
        }
    }

    /// A tenth of the lease while a move is under way.
    fn tick_length(&self) -> Duration {
        if self.control.shift.is_some() {
            Duration::from_millis((self.control.settings.hold_lease_ms.0 / 10).clamp(5, 2_000))
        } else {
            IDLE_TICK
        }
    }

    async fn tick(&mut self) {
        if let Err(error) = self.store([(&What::Event(ControlEvent::Tick), None)].into_iter()).await {
            // Said once, not with each tick.
            if !std::mem::replace(&mut self.failing, true) {
                tracing::error!(%error, "time can't be told to the record");
            }
        } else {
            self.failing = false;
        }
    }

    async fn take(&mut self, batch: Vec<Submitted>) {
        let stored = self.store(batch.iter().map(|s| (&s.what, s.audit.as_ref()))).await;
        let record = Arc::clone(&self.show.borrow());
        match stored {
            Ok(refused) => {
                for (submitted, refused) in batch.into_iter().zip(refused) {
                    let answer = refused.map_or_else(|| Ok(Arc::clone(&record)), Err);
                    // A caller that has gone away needs no answer.
                    let _ = submitted.reply.send(answer);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the control record can't be stored");
                for submitted in batch {
                    let cause = error.to_string();
                    let _ = submitted.reply.send(Err(ControlError::Stopped { part: "the barrier", cause }));
                }
            }
        }
    }

    /// Applies events and stores what comes of them, all or nothing. For each event, why it was refused.
    async fn store<'e>(
        &mut self,
        events: impl Iterator<Item = (&'e What, Option<&'e NewAudit>)> + Clone + Send,
    ) -> Result<Vec<Option<ControlError>>, ControlError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let draft = self.draft(now, events.clone());
            if draft.durable {
                let record = serde_json::to_string(&draft.next).map_err(|cause| ControlError::Stopped {
                    part: "the control record",
                    cause: cause.to_string(),
                })?;
                match self.state.save(self.revision, &record, &draft.audit).await {
                    Ok(revision) => self.revision = revision,
                    Err(ControlError::Outdated { .. }) => {
                        self.reload().await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.control = draft.next;
            self.show.send_replace(Arc::new(self.control.clone()));
            self.carry_out(draft.actions).await;
            return Ok(draft.refused);
        }
        Err(ControlError::Outdated { expected: self.revision.0 })
    }

    fn draft<'e>(
        &self,
        now: Millis,
        events: impl Iterator<Item = (&'e What, Option<&'e NewAudit>)>,
    ) -> Draft {
        let mut draft = Draft {
            next: self.control.clone(),
            actions: Vec::new(),
            audit: Vec::new(),
            durable: self.revision == Revision(0),
            refused: Vec::new(),
        };
        for (what, line) in events {
            let event = match what {
                What::Event(event) => event.clone(),
                What::Replace(record) => {
                    draft.next = Control { revision: draft.next.revision + 1, ..(**record).clone() };
                    draft.actions.push(ControlAction::Publish(record.target.clone()));
                    draft.durable = true;
                    draft.refused.push(None);
                    continue;
                }
            };
            match draft.next.apply(now, event) {
                Ok(change) => {
                    if change.durable {
                        draft.audit.extend(line.cloned());
                    }
                    draft.audit.extend(change.actions.iter().filter_map(|action| audit::line(now, action)));
                    draft.durable |= change.durable;
                    draft.actions.extend(change.actions);
                    draft.next = change.next;
                    draft.refused.push(None);
                }
                Err(refusal) => draft.refused.push(Some(ControlError::Protocol(refusal))),
            }
        }
        draft
    }

    async fn reload(&mut self) -> Result<(), ControlError> {
        if let Some((revision, control)) = load(&*self.state).await? {
            self.revision = revision;
            // The settings are the spec's, not what another replica's spec may have been.
            self.control = Control { settings: self.control.settings, ..control };
        }
        Ok(())
    }

    async fn carry_out(&mut self, actions: Vec<ControlAction>) {
        for action in actions {
            match action {
                ControlAction::Publish(target) => {
                    self.publish.send_replace(target);
                }
                ControlAction::Report(report) => {
                    tracing::info!("{}", audit::sentence(&report));
                    // Nobody may be listening: the audit has it.
                    let _ = self.reports.send(report.clone());
                    self.hand_on(ControlAction::Report(report)).await;
                }
                action => self.hand_on(action).await,
            }
        }
    }

    async fn hand_on(&self, action: ControlAction) {
        if self.actions.send(action).await.is_err() {
            tracing::debug!("an action was dropped: the run is ending, and the next one asks again");
        }
    }
}
