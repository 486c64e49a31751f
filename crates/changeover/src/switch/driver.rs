//! The sending half of the switch: drives the protocol's member and carries out what it says, so that whoever talks
//! to the control plane does nothing but I/O.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use changeover_protocol::member::{InstanceId, Member, MemberAction, MemberEvent, Remembered, Standing};
use changeover_protocol::target::{Target, Version};
use changeover_protocol::time::Millis;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::memory::{MemoryError, StepFile};
use super::{Epochs, Switch};
use crate::event::{Event, Events};

/// How many events may wait for the driver.
const EVENTS_WAITING: usize = 64;
/// After this long a step file that couldn't be written is tried again.
const FILE_RETRY: Duration = Duration::from_millis(500);
/// The shortest time between two ticks.
const TICK_MIN: Duration = Duration::from_millis(10);

/// The driver of this switch has ended: its runtime is shutting down, or the instance has said goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the switch isn't driven any more: the instance has stopped, or its runtime is shutting down")]
pub struct DriverGone;

/// The sending half of a switch, for the client of the control plane. Cheap to clone.
///
/// The client tells it what it hears, sends what [`SwitchHandle::acknowledged`] shows with each heartbeat and when it
/// changes, and says goodbye when [`SwitchHandle::goodbye`] is ready.
#[derive(Debug, Clone)]
pub struct SwitchHandle {
    id: InstanceId,
    events: mpsc::Sender<MemberEvent>,
    acknowledged: watch::Receiver<Version>,
    goodbye: watch::Receiver<bool>,
    switch: Arc<Switch>,
}

impl SwitchHandle {
    /// Who this instance is.
    #[must_use]
    pub const fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Now, by the instance's clock: to be taken just before a heartbeat is sent, and given with its answer.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.switch.clock.now()
    }

    /// What the instance may do now.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.switch.standing()
    }

    /// A target was pushed. One that isn't newer, or isn't valid, changes nothing.
    ///
    /// # Errors
    /// [`DriverGone`]. Cancel-safe: an offer that was dropped wasn't made.
    pub async fn offer(&self, target: Target) -> Result<(), DriverGone> {
        self.tell(MemberEvent::Target(target)).await
    }

    /// A heartbeat was answered; `sent` is [`SwitchHandle::now`] from before it was sent.
    ///
    /// # Errors
    /// [`DriverGone`].
    pub async fn answered(&self, sent: Millis, target: Target) -> Result<(), DriverGone> {
        self.tell(MemberEvent::Answered { sent, target }).await
    }

    /// The control plane answered that it doesn't count this instance: everything is refused from now on.
    ///
    /// # Errors
    /// [`DriverGone`].
    pub async fn rejected(&self) -> Result<(), DriverGone> {
        self.tell(MemberEvent::Rejected).await
    }

    /// The server's sessions of all writes without a known outcome, begun under versions up to this one, are seen
    /// gone: it isn't waited for `write_lifetime`.
    ///
    /// # Errors
    /// [`DriverGone`].
    pub async fn settled(&self, up_to: Version) -> Result<(), DriverGone> {
        self.tell(MemberEvent::OutcomesSettled { up_to }).await
    }

    /// Stops in good order: new operations are refused, those under way end, the step file is deleted; then
    /// [`SwitchHandle::goodbye`] is ready.
    ///
    /// # Errors
    /// [`DriverGone`].
    pub async fn stop(&self) -> Result<(), DriverGone> {
        self.tell(MemberEvent::Stop).await
    }

    /// The version acknowledged last. Each change is to be sent at once, and the value with each heartbeat.
    #[must_use]
    pub fn acknowledged(&self) -> watch::Receiver<Version> {
        self.acknowledged.clone()
    }

    /// Ready when the goodbye may be sent: every operation has ended, and the step file is deleted.
    pub async fn goodbye(&self) {
        // An error means that the driver is gone, and with it everything that could still run.
        let _ = self.goodbye.clone().wait_for(|&said| said).await;
    }

    async fn tell(&self, event: MemberEvent) -> Result<(), DriverGone> {
        self.events.send(event).await.map_err(|_| DriverGone)
    }
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) member: Member,
    pub(crate) actions: Vec<MemberAction>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) file: Option<StepFile>,
    pub(crate) events: Events,
}

/// The handle, and the future that drives the switch; it ends when all handles are gone.
pub(crate) fn drive(parts: Parts) -> (SwitchHandle, impl Future<Output = ()> + Send + 'static) {
    let Parts { member, actions, switch, file, events } = parts;
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    let (acknowledged, acknowledged_seen) = watch::channel(member.acknowledged());
    let (goodbye, goodbye_seen) = watch::channel(false);
    let handle = SwitchHandle {
        id: member.id().clone(),
        events: sender,
        acknowledged: acknowledged_seen,
        goodbye: goodbye_seen,
        switch: Arc::clone(&switch),
    };
    let driver = Driver {
        epochs: Epochs::new(member.version()),
        told_drained: Version(0),
        waiting: None,
        file,
        file_jobs: VecDeque::new(),
        file_work: None,
        member,
        switch,
        acknowledged,
        goodbye,
        events,
    };
    (handle, driver.run(actions, receiver))
}

struct Driver {
    member: Member,
    switch: Arc<Switch>,
    epochs: Epochs,
    told_drained: Version,
    /// A standing for which no epoch is free.
    waiting: Option<Standing>,
    file: Option<StepFile>,
    /// What is to be done to the step file, in order: at most a handful, as a target that isn't remembered yet is
    /// not followed by many others.
    file_jobs: VecDeque<FileJob>,
    file_work: Option<FileWork>,
    acknowledged: watch::Sender<Version>,
    goodbye: watch::Sender<bool>,
    events: Events,
}

impl Driver {
    async fn run(mut self, actions: Vec<MemberAction>, mut told: mpsc::Receiver<MemberEvent>) {
        self.carry_out(actions);
        let switch = Arc::clone(&self.switch);
        loop {
            let ended = switch.ended.notified();
            tokio::pin!(ended);
            // From here on whoever ends is heard, and what has ended before is seen.
            ended.as_mut().enable();
            self.look();
            let (tick_after, ticks) = (self.tick_after(), self.is_waiting());
            tokio::select! {
                // In an order, so that a simulation can be run again. What is told is a handful a second: nothing starves.
                biased;
                event = told.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                () = ended => {}
                done = wait_for(&mut self.file_work) => self.file_done(done),
                () = tokio::time::sleep(tick_after), if ticks => {
                    self.handle(MemberEvent::Tick);
                }
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.member.is_waiting() || self.waiting.is_some()
    }

    fn tick_after(&self) -> Duration {
        Duration::from_millis(self.member.standing().target.hold_lease_ms.0 / 10).max(TICK_MIN)
    }

    fn handle(&mut self, event: MemberEvent) {
        let now = self.switch.clock.now();
        let actions = self.member.handle(now, event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<MemberAction>) {
        for action in actions {
            match action {
                MemberAction::Stand(standing) => self.stand(standing),
                MemberAction::Remember(remembered) => self.file_job(FileJob::Write(remembered)),
                MemberAction::DeleteFile => self.file_job(FileJob::Delete),
                MemberAction::CutOff { below } => self.cut_off(below),
                MemberAction::Acknowledge { version } => {
                    self.acknowledged.send_replace(version);
                }
                MemberAction::Goodbye => {
                    self.goodbye.send_replace(true);
                }
            }
        }
    }

    fn stand(&mut self, standing: Standing) {
        let version = standing.target.version;
        if version == self.epochs.current_version() {
            self.switch.restand(standing);
            return;
        }
        self.epochs.free_drained(&self.switch);
        let Some(at) = self.epochs.free() else {
            self.events.tell(Event::SwitchDelayed { version });
            self.waiting = Some(standing);
            return;
        };
        self.waiting = None;
        self.switch.stand(at, standing);
        self.epochs.versions[at] = Some(version);
        self.epochs.current = at;
    }

    /// Looks at what has ended, and tells the member: outcomes that aren't known first, then what has drained.
    fn look(&mut self) {
        for at in 0..super::EPOCHS {
            if let Some(version) = self.epochs.versions[at]
                && self.switch.unknown[at].swap(false, SeqCst)
            {
                self.handle(MemberEvent::UnknownOutcome { version });
            }
        }
        self.epochs.free_drained(&self.switch);
        if let Some(standing) = self.waiting.take() {
            self.stand(standing);
        }
        let below = self.epochs.drained_below(&self.switch);
        // A write may have ended without an outcome since the first look: it said so before it left.
        let is_told = self.switch.unknown.iter().all(|unknown| !unknown.load(SeqCst));
        if below > self.told_drained && is_told {
            self.told_drained = below;
            self.handle(MemberEvent::Drained { below });
        } else if !is_told {
            self.switch.ended.notify_waiters();
        }
    }

    fn cut_off(&mut self, below: Version) {
        let mut epochs = 0_u32;
        for (at, version) in self.epochs.versions.iter().enumerate() {
            if version.is_some_and(|version| version < below) {
                epochs |= 1 << at;
            }
        }
        let running = (0..super::EPOCHS).filter(|at| epochs & (1 << at) != 0);
        let operations = running.map(|at| self.switch.stripes.running(at)).sum();
        self.events.tell(Event::CutOff { below, operations });
        self.switch.cut.fetch_or(epochs, SeqCst);
        self.switch.stripes.tell_all_to_look();
    }

    fn file_job(&mut self, job: FileJob) {
        if self.file.is_none() {
            // Without a file there is nothing that a restart could come back from: it is as good as done.
            self.handle(job.done());
            return;
        }
        self.file_jobs.push_back(job);
        self.start_file_work(Duration::ZERO);
    }

    fn start_file_work(&mut self, after: Duration) {
        if self.file_work.is_some() {
            return;
        }
        let Some(file) = self.file.clone() else { return };
        let Some(job) = self.file_jobs.pop_front() else { return };
        self.file_work = Some(tokio::spawn(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let at_hand = job.clone();
            let work = move || match at_hand {
                FileJob::Write(remembered) => file.write(&remembered),
                FileJob::Delete => file.delete(),
            };
            let done = tokio::task::spawn_blocking(work).await;
            (job, done.unwrap_or(Err(MemoryError::Stopped)))
        }));
    }

    fn file_done(&mut self, done: Option<(FileJob, Result<(), MemoryError>)>) {
        self.file_work = None;
        match done {
            Some((job, Ok(()))) => {
                self.handle(job.done());
                self.start_file_work(Duration::ZERO);
            }
            Some((job, Err(error))) => {
                self.events.tell(Event::StepFileFailed { error: error.to_string() });
                self.file_jobs.push_front(job);
                self.start_file_work(FILE_RETRY);
            }
            // The runtime is shutting down.
            None => {}
        }
    }
}

/// Something to be done to the step file.
#[derive(Debug, Clone)]
enum FileJob {
    Write(Remembered),
    Delete,
}

impl FileJob {
    /// What the member is told when it is done.
    fn done(&self) -> MemberEvent {
        match self {
            Self::Write(remembered) => MemberEvent::Remembered { version: remembered.version() },
            Self::Delete => MemberEvent::FileDeleted,
        }
    }
}

type FileWork = JoinHandle<(FileJob, Result<(), MemoryError>)>;

/// The end of the work on the file; never, if there is none.
async fn wait_for(work: &mut Option<FileWork>) -> Option<(FileJob, Result<(), MemoryError>)> {
    match work {
        Some(work) => work.await.ok(),
        None => std::future::pending().await,
    }
}
