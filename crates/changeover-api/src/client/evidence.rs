//! Telling the control plane what this instance has seen: counts, mismatches, events. All of it is bounded, and none
//! of it matters to an operation: a batch that can't be told waits, and what has no room is counted.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use changeover::Migration;
use changeover::event::Event;
use changeover::switch::SwitchHandle;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::delta::Told;
use super::error::ClientError;
use super::http::{Call, Http};
use super::pulse::stopped;
use crate::wire::{ErrorCode, EventReport, EvidenceBatch, EvidenceTaken, MAX_EVENTS};

/// How long a batch may take to be answered.
const WITHIN: Duration = Duration::from_secs(10);

/// An unclean event isn't kept for the next batch; but several at once make one batch.
const SOON: Duration = Duration::from_millis(100);

/// Collects events and tells batches until the instance stops.
pub(super) struct Reporter {
    http: Http,
    instance: String,
    migration: Migration,
    switch: SwitchHandle,
    events: Receiver<Event>,
    every: Duration,
    waiting: VecDeque<EventReport>,
    events_dropped: u64,
    unclean_dropped: u64,
    /// Unclean events that were seen one by one, of all that there were.
    unclean_seen: u64,
    told: Told,
    /// A batch that was sent and not yet answered, and what will have been told once it is.
    pending: Option<(EvidenceBatch, Told)>,
    number: u64,
}

impl Reporter {
    pub(super) fn new(http: Http, migration: Migration, switch: SwitchHandle, every: Duration) -> Self {
        let events = migration.events().listen();
        Self {
            http,
            instance: switch.id().to_string(),
            switch,
            events,
            every,
            waiting: VecDeque::new(),
            events_dropped: 0,
            unclean_dropped: 0,
            unclean_seen: 0,
            told: Told::default(),
            pending: None,
            number: 0,
            migration,
        }
    }

    /// Runs until `stop` is true, and tells what there is left then.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut due = Instant::now() + self.every;
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    if self.note(event) {
                        due = due.min(Instant::now() + SOON);
                    }
                }
                () = sleep_until(due) => {
                    let next = match self.tell().await {
                        Ok(()) => self.every,
                        // Slower than usual, lest a control plane that struggles is kept from recovering.
                        Err(error) => {
                            tracing::debug!(%error, "evidence couldn't be told; it is kept");
                            self.every * 2
                        }
                    };
                    due = Instant::now() + next;
                }
                () = stopped(&mut stop) => break,
            }
        }
        // What was pending goes first, then what came since.
        for _ in 0..2 {
            if let Err(error) = self.tell().await {
                tracing::warn!(%error, "the last evidence of this instance is lost");
                return;
            }
        }
    }

    /// Keeps an event; whether it is one that must be told soon.
    fn note(&mut self, event: Result<Event, RecvError>) -> bool {
        match event {
            Ok(event) => {
                let report = report(&event, wall_now_ms());
                if report.unclean {
                    // It may have been told already as one that wasn't seen: it is counted before it is sent.
                    self.unclean_seen = (self.unclean_seen + 1).min(self.migration.events().unclean());
                }
                let is_urgent = report.unclean;
                self.keep(report);
                is_urgent
            }
            Err(RecvError::Lagged(missed)) => {
                self.events_dropped += missed;
                // Which of them were unclean, the count of all unclean ones says.
                true
            }
            Err(RecvError::Closed) => false,
        }
    }

    /// Makes room by dropping the oldest that is not unclean.
    fn keep(&mut self, report: EventReport) {
        if self.waiting.len() >= MAX_EVENTS {
            let at = self.waiting.iter().position(|event| !event.unclean).unwrap_or(0);
            if let Some(dropped) = self.waiting.remove(at) {
                self.events_dropped += 1;
                self.unclean_dropped += u64::from(dropped.unclean);
            }
        }
        self.waiting.push_back(report);
    }

    async fn tell(&mut self) -> Result<(), ClientError> {
        let Some((batch, told)) = self.pending.take().or_else(|| self.batch()) else { return Ok(()) };
        let path = self.http.instance_path(&self.instance, "evidence");
        let call = Call::post(path, "telling evidence", WITHIN).repeatable().json(&batch);
        let answer = match call {
            Ok(call) => self.http.send::<EvidenceTaken>(call).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(_) => {
                self.told = told;
                Ok(())
            }
            Err(error) if matches!(error.code(), Some(ErrorCode::BadRequest | ErrorCode::TooLarge)) => {
                // It would be refused for ever, and all that follows with it.
                tracing::error!(%error, "a batch of evidence was refused, and is dropped");
                self.told = told;
                self.events_dropped += batch.events.len() as u64;
                self.unclean_dropped += batch.events.iter().filter(|event| event.unclean).count() as u64;
                Ok(())
            }
            Err(error) => {
                self.pending = Some((batch, told));
                Err(error)
            }
        }
    }

    fn batch(&mut self) -> Option<(EvidenceBatch, Told)> {
        let snapshot = self.migration.evidence();
        let now_ms = wall_now_ms();
        // Events that the queue lost before they were seen: all that there were, less those that were seen.
        let unclean_unseen = if self.events.is_empty() {
            let unseen = snapshot.unclean_events.saturating_sub(self.unclean_seen);
            self.unclean_seen += unseen;
            unseen
        } else {
            0
        };
        let instance_now = self.switch.now().0;
        let wall = |ms: u64| now_ms.saturating_sub(instance_now.saturating_sub(ms));
        let (told, added) = self.told.since(&snapshot, wall);
        let mut batch = EvidenceBatch {
            number: 0,
            at_ms: now_ms,
            operations: added.operations,
            samples: added.samples,
            samples_dropped: added.samples_dropped,
            events: self.waiting.drain(..).collect(),
            events_dropped: std::mem::take(&mut self.events_dropped),
            unclean_dropped: std::mem::take(&mut self.unclean_dropped) + unclean_unseen,
        };
        if batch.is_empty() {
            return None;
        }
        // By the wall clock, so that a process that goes on as the same instance goes on above the one before.
        self.number = now_ms.max(self.number + 1);
        batch.number = self.number;
        Some((batch, told))
    }
}

fn report(event: &Event, at_ms: u64) -> EventReport {
    let operation = match event {
        Event::LeftDirty { operation, .. }
        | Event::OutcomeUnknown { operation, .. }
        | Event::WrongSlot { operation, .. }
        | Event::ObserverPanicked { operation, .. }
        | Event::BreakerOpened { operation }
        | Event::BreakerClosed { operation } => Some((*operation).to_owned()),
        _ => None,
    };
    let (name, unclean) = (event.name().to_owned(), event.is_unclean());
    EventReport { name, unclean, operation, detail: detail(event), at_ms }
}

/// In words. Keys aren't named: they may tell who somebody is, and this leaves the process.
fn detail(event: &Event) -> String {
    match event {
        Event::LeftDirty { key, keys, cause, .. } => {
            format!("{keys} keys of {} stay dirty: {cause}", key.table)
        }
        Event::OutcomeUnknown { cause, .. } => format!("a write's outcome isn't known: {cause}"),
        Event::RowRefused { key, column, why } => {
            let column = column.as_ref().map(|name| format!(", column {name}")).unwrap_or_default();
            format!("a row of {}{column} can't be carried: {why}", key.table)
        }
        Event::JournalFailed { error } => format!("the journal couldn't be written: {error}"),
        Event::KeysLost { writes } => {
            format!("{writes} writes that generate their keys were under way when the process died")
        }
        Event::WrongSlot { key, .. } => {
            format!("a write gave a key of {} in another slot than it was routed by", key.table)
        }
        Event::CutOff { below, operations } => {
            format!("about {operations} operations begun before version {below} were cut off")
        }
        Event::StepFileFailed { error } => format!("the step file couldn't be written: {error}"),
        Event::SwitchDelayed { version } => {
            format!("version {version} waits for operations of sixteen earlier ones")
        }
        Event::ObserverPanicked { what, .. } => format!("{what} panicked"),
        Event::BreakerOpened { .. } => "shadow calls fail: none are made for a while".to_owned(),
        Event::BreakerClosed { .. } => "shadow calls are made again".to_owned(),
        other => other.name().to_owned(),
    }
}

fn wall_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
