//! An instance that takes part: its tasks, its health, its end.

use std::sync::Arc;
use std::time::Duration;

use changeover::Migration;
use changeover::protocol::member::InstanceId;
use changeover::switch::SwitchHandle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::ClientError;
use super::evidence::Reporter;
use super::http::{Call, Http};
use super::listen;
use super::pulse::{self, Answered, OverHttp};
use crate::wire::{Done, ErrorCode};

/// How long operations may take to end when the instance stops, and how long the goodbye is tried.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);
const GOODBYE_PAUSE: Duration = Duration::from_millis(200);

/// How an instance stands with the control plane. None of it keeps an operation from being routed, but for the
/// seconds of a hold, and but for `rejected`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the last heartbeat was answered.
    pub in_touch: bool,
    /// Heartbeats in a row that weren't.
    pub failures: u32,
    /// Why the last one wasn't.
    pub last_error: Option<String>,
    /// The control plane doesn't count this instance (it was forgotten): everything is refused. The process should end,
    /// and start anew.
    pub rejected: bool,
}

/// Where health is told.
#[derive(Debug, Clone)]
pub(super) struct HealthSender(Arc<watch::Sender<Health>>);

pub(super) fn health() -> (HealthSender, watch::Receiver<Health>) {
    let (sender, receiver) = watch::channel(Health::default());
    (HealthSender(Arc::new(sender)), receiver)
}

impl HealthSender {
    pub(super) fn heard(&self) {
        self.0.send_if_modified(|health| {
            let was_away = health.failures > 0;
            let is_news = !health.in_touch;
            if was_away {
                tracing::info!(failures = health.failures, "the control plane answers again");
            }
            *health = Health { in_touch: true, ..Health::default() };
            is_news
        });
    }

    pub(super) fn failed(&self, why: &str) {
        self.0.send_modify(|health| {
            if health.failures == 0 {
                tracing::warn!(why, "a heartbeat wasn't answered; requests are served on");
            }
            health.in_touch = false;
            health.failures = health.failures.saturating_add(1);
            health.last_error = Some(why.to_owned());
        });
    }

    pub(super) fn rejected(&self, why: &str) {
        tracing::error!(why, "the control plane doesn't count this instance: everything is refused");
        self.0.send_modify(|health| {
            *health = Health { rejected: true, last_error: Some(why.to_owned()), ..Health::default() };
        });
    }
}

/// An instance that takes part in a migration. Dropping it leaves its tasks running: an instance goes on until it
/// says goodbye by [`Instance::stop`], or its process ends.
#[derive(Debug)]
pub struct Instance {
    http: Http,
    switch: SwitchHandle,
    migration: Migration,
    health: watch::Receiver<Health>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Instance {
    /// Starts the tasks of an instance that is registered, or goes on.
    pub(super) fn begin(
        http: Http,
        switch: SwitchHandle,
        migration: &Migration,
        evidence_every: Duration,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (health, health_seen) = health();
        let nudge = Arc::new(Notify::new());
        let answers = Answered::default();
        let plane = OverHttp { http: http.clone(), instance: switch.id().to_string() };
        let beating = {
            let (switch, migration) = (switch.clone(), migration.clone());
            let (nudge, stop, stopped) = (Arc::clone(&nudge), stop.clone(), stopped.clone());
            let answers = answers.clone();
            async move {
                let told = (&health, &answers);
                let ended = pulse::run(plane, switch, migration, &nudge, told, stopped).await;
                tracing::debug!(?ended, "the pulse ended");
                // Who isn't counted has nobody to listen to, nor to tell.
                stop.send_replace(true);
            }
        };
        let listening = {
            let (http, switch, stopped) = (http.clone(), switch.clone(), stopped.clone());
            async move { listen::run(http, switch, (&nudge, &answers), stopped).await }
        };
        let reporter = Reporter::new(http.clone(), migration.clone(), switch.clone(), evidence_every);
        let tasks = vec![tokio::spawn(beating), tokio::spawn(listening), tokio::spawn(reporter.run(stopped))];
        Self { http, switch, migration: migration.clone(), health: health_seen, stop, tasks }
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        self.switch.id()
    }

    /// How it stands with the control plane, now and when that changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// The switch, for whoever knows that sessions of writes without an outcome are gone ([`SwitchHandle::settled`]).
    #[must_use]
    pub const fn switch(&self) -> &SwitchHandle {
        &self.switch
    }

    /// Stops in good order: new operations are refused, those under way end, the step file is deleted, keys that are dirty
    /// in its journal are synced, evidence is told, and the control plane hears the goodbye. Call it when the service takes
    /// no requests any more.
    ///
    /// # Errors
    /// [`ClientError::StillRunning`] if operations don't end, or keys stay dirty, within a minute (the file is kept and the pulse goes on: a
    /// process that is killed then goes on from the file when it starts again); [`ClientError::GoodbyeUnheard`] if the control plane is away: it then counts the instance until it is forgotten.
    /// Dropped before it is done, the instance keeps refusing operations, and its goodbye isn't said.
    pub async fn stop(mut self) -> Result<(), ClientError> {
        self.stop_by(STOP_WITHIN, GOODBYE_WITHIN).await
    }

    pub(super) async fn stop_by(&mut self, ended: Duration, heard: Duration) -> Result<(), ClientError> {
        let is_rejected = self.health.borrow().rejected;
        // A driver that is gone has nothing running.
        if self.switch.stop().await.is_ok() && !is_rejected {
            // From its goodbye on nobody asks for this instance's dirty keys: a move would go on over them.
            let ready = async {
                self.switch.goodbye().await;
                while self.migration.vitals().dirty_keys > 0 {
                    tokio::time::sleep(GOODBYE_PAUSE).await;
                }
            };
            if tokio::time::timeout(ended, ready).await.is_err() {
                return Err(ClientError::StillRunning { instance: self.id().to_string(), waited: ended });
            }
        }
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has said so; the goodbye is due all the same.
            let _ = task.await;
        }
        if is_rejected { Ok(()) } else { self.say_goodbye(heard).await }
    }

    async fn say_goodbye(&self, within: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + within;
        loop {
            let path = self.http.instance_path(&self.id().0, "goodbye");
            let call = Call::post(path, "saying goodbye", Duration::from_secs(2)).repeatable();
            let error = match self.http.send::<Done>(call.json(&serde_json::json!({}))?).await {
                Ok(_) => return Ok(()),
                // It was heard, and only the answer was lost; or somebody said so in its place.
                Err(error) if error.code() == Some(ErrorCode::UnknownInstance) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() + GOODBYE_PAUSE >= deadline {
                let (instance, cause) = (self.id().to_string(), error.to_string());
                return Err(ClientError::GoodbyeUnheard { instance, waited: within, cause });
            }
            tokio::time::sleep(GOODBYE_PAUSE).await;
        }
    }
}
