//! The I/O around the protocol's control machine: one task that owns a migration's record.
//!
//! Events come in by a bounded queue; the task applies them in order, stores the next record by compare-and-set
//! together with its audit, and only then tells the fleet and hands the actions on. Events that are waiting are stored
//! together: heartbeats of a large fleet in a hold cost one write, not one each. Whoever takes the actions must take them
//! promptly and answer by a task of its own: the queue of actions is bounded too.

mod audit;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::control::{ControlAction, ControlEvent, MoveReport};
use changeover_protocol::{Control, Millis, Settings, Target, Version};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub(crate) use self::audit::sentence;
use self::task::Task;
use crate::clock::Clock;
use crate::error::ControlError;
use crate::state::{NewAudit, Revision, StateStore};

/// How many events may wait; further callers wait themselves.
const EVENTS: usize = 1_024;

/// How many actions may wait to be taken.
const ACTIONS: usize = 256;

/// How many reports of moves a slow listener may lag behind.
const REPORTS: usize = 64;

/// How long an event may wait to be applied and stored, before its caller is told that it isn't known.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The way to the task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Barrier {
    events: mpsc::Sender<Submitted>,
    target: watch::Receiver<Target>,
    record: watch::Receiver<Arc<Control>>,
    reports: broadcast::Sender<MoveReport>,
    clock: Clock,
}

/// An event on its way to the task.
#[derive(Debug)]
struct Submitted {
    what: What,
    /// Written with the record, if the event is taken and changes it.
    audit: Option<NewAudit>,
    reply: oneshot::Sender<Result<Arc<Control>, ControlError>>,
}

/// What the task is given.
#[derive(Debug)]
enum What {
    /// An event for the machine.
    Event(ControlEvent),
    /// A record to take the place of the present one: only when the databases' word is adopted.
    Replace(Box<Control>),
}

/// A barrier that was begun: the way to it, its actions, and the task to be run.
#[derive(Debug)]
pub struct Begun {
    /// The way to the task.
    pub barrier: Barrier,
    /// What is to be done; see the module.
    pub actions: mpsc::Receiver<ControlAction>,
    /// The task. It ends when every [`Barrier`] is gone, or on drop.
    pub task: tokio::task::JoinHandle<()>,
}

impl Barrier {
    /// Loads the record, or makes the first one with these settings, and begins the task. Settings that changed in the
    /// spec take effect now; the caller has looked whether they may.
    ///
    /// # Errors
    /// What the state answers.
    pub async fn begin(
        state: Arc<dyn StateStore>,
        settings: Settings,
        clock: Clock,
    ) -> Result<Begun, ControlError> {
        let (revision, mut control) = match load(&*state).await? {
            Some((revision, control)) => (revision, control),
            None => (Revision(0), Control::new(settings, clock.now())),
        };
        control.settings = settings;
        let goes_on = revision != Revision(0);
        let (events, submitted) = mpsc::channel(EVENTS);
        let (action, actions) = mpsc::channel(ACTIONS);
        let (publish, target) = watch::channel(control.target.clone());
        let (show, record) = watch::channel(Arc::new(control.clone()));
        let (reports, _) = broadcast::channel(REPORTS);
        let task = Task {
            state,
            clock,
            control,
            revision,
            publish,
            show,
            actions: action,
            reports: reports.clone(),
            failing: false,
        };
        let barrier = Self { events, target, record, reports, clock };
        let task = tokio::spawn(task.run(submitted));
        let begun = Begun { barrier, actions, task };
        // Nobody was heard while nobody listened; and what may have been lost is asked for again.
        let record = begun.barrier.apply(ControlEvent::Restarted, None).await?;
        if goes_on {
            let mut record = (*record).clone();
            record.target.version = first_version(&record, clock.now());
            begun.barrier.replace(record).await?;
        }
        Ok(begun)
    }

    /// Applies an event and stores what comes of it. The record as it is then, with the target in it. May be dropped: the
    /// event may or may not have been taken.
    ///
    /// # Errors
    /// [`ControlError::Protocol`] if it is refused, and nothing has changed; others if it couldn't be stored.
    pub async fn apply(
        &self,
        event: ControlEvent,
        audit: Option<NewAudit>,
    ) -> Result<Arc<Control>, ControlError> {
        self.submit(What::Event(event), audit).await
    }

    /// Puts a record in the place of the present one, whatever that says, and publishes its target.
    ///
    /// # Errors
    /// If it couldn't be stored.
    pub async fn replace(&self, record: Control) -> Result<Arc<Control>, ControlError> {
        self.submit(What::Replace(Box::new(record)), None).await
    }

    async fn submit(&self, what: What, audit: Option<NewAudit>) -> Result<Arc<Control>, ControlError> {
        let gone = || ControlError::Stopped { part: "the barrier", cause: "its task has ended".to_owned() };
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.events.send(Submitted { what, audit, reply }).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        match tokio::time::timeout(ANSWER_WITHIN, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(ControlError::Stopped {
                part: "the barrier",
                cause: format!("no answer in {} s: the state is too slow", ANSWER_WITHIN.as_secs()),
            }),
        }
    }

    /// The record as it was stored last; heartbeats that aren't stored are in it too.
    #[must_use]
    pub fn record(&self) -> Arc<Control> {
        Arc::clone(&self.record.borrow())
    }

    /// Follows the record.
    #[must_use]
    pub fn records(&self) -> watch::Receiver<Arc<Control>> {
        self.record.clone()
    }

    /// Follows the target that the fleet is told.
    #[must_use]
    pub fn targets(&self) -> watch::Receiver<Target> {
        self.target.clone()
    }

    /// Follows what becomes of moves, from now on.
    #[must_use]
    pub fn reports(&self) -> broadcast::Receiver<MoveReport> {
        self.reports.subscribe()
    }

    /// The clock that the record's times are by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }
}

/// The version by which a run that goes on tells the present target anew: later than any that another run has published,
/// also one that went on from this record before, and whose state was lost. No run publishes one in each millisecond.
pub(crate) fn first_version(control: &Control, now: Millis) -> Version {
    Version(now.0).max(control.target.version.next())
}

/// Reads the record from the state.
///
/// # Errors
/// What the state answers; a record that isn't understood names the state and the remedy.
pub async fn load(state: &dyn StateStore) -> Result<Option<(Revision, Control)>, ControlError> {
    let Some(saved) = state.load().await? else { return Ok(None) };
    match serde_json::from_str(&saved.record) {
        Ok(control) => Ok(Some((saved.revision, control))),
        Err(cause) => Err(ControlError::Disagreement {
            problem: format!(
                "the control record in the state isn't understood ({cause}): move the state's file away and run again"
            ),
        }),
    }
}
