//! What a run does: carries out the control machine's actions on the stores, keeps the follower in step, copies,
//! verifies, watches, and answers what people ask for.
//!
//! The machine decides; nothing here moves a phase by itself. Each part is a task of its own over the shared
//! [`Conductor`]; a part that fails says so in [`Conductor::trouble`], by name, and tries again.

mod actions;
mod adopt;
mod back;
mod compare;
mod copy;
mod fence;
mod gates;
mod heard;
mod install;
pub(crate) mod left_behind;
mod lives;
mod mirror;
mod plan;
mod progress;
mod requests;
mod settle;
mod sides;
#[cfg(test)]
mod simulation;
mod start;
mod verify;
mod watch;
mod watched;
mod wishes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use changeover::Key;
use changeover::store::LogMark;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::{Control, Version};
use tokio::sync::watch as channel;

pub(crate) use self::actions::FENCE_OWED;
pub(crate) use self::gates::{Chunks, gather, window};
use self::heard::Spoken;
use self::lives::Lives;
pub use self::plan::Plan;
pub(crate) use self::plan::change_it_back;
pub(crate) use self::progress::{CopyProgress, Progress};
pub use self::requests::Moved;
pub(crate) use self::sides::{Keeper, Sides, what_becomes_of};
pub(crate) use self::start::{
    Conducting, DISAGREES, PUT_THE_COLUMN_BACK, Parts, begun, changed_tables, disagreement, lost_columns,
    spec_change, spec_of_run,
};
pub(crate) use self::verify::authority_to_verify;
pub(crate) use self::watch::needs_log;
use crate::barrier::Barrier;
use crate::clock::Clock;
use crate::error::ControlError;
use crate::flag::FlagFile;
use crate::redaction;
use crate::state::{AuditKind, NewAudit, StateStore};
use crate::supervisor::Watchdog;

/// One migration, as it is run.
pub struct Conductor {
    /// What the spec asks for.
    pub(crate) plan: Plan,
    /// Its stores.
    pub(crate) sides: Sides,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) barrier: Barrier,
    pub(crate) clock: Clock,
    pub(crate) watchdog: Watchdog,
    /// What is under way, for whoever looks.
    pub(crate) progress: channel::Sender<Progress>,
    /// Whether backfill and verification rest. The mirror never does.
    pub(crate) paused: channel::Sender<bool>,
    /// The drains of the logs.
    drains: mirror::Drains,
    /// The log kept for the way back is to be drained.
    pub(crate) draining_way_back: channel::Sender<bool>,
    /// One who asks for a move at a time.
    moving: tokio::sync::Mutex<()>,
    /// Where the keys go that a rollback leaves behind.
    leave_behind: Mutex<Option<LeaveBehind>>,
    /// When this run began.
    began: tokio::time::Instant,
    /// The record that it began with.
    began_with: Arc<Control>,
    /// Which versions this state's runs have published.
    lives: Mutex<Lives>,
    /// How far the stores' logs had come when the watch looked last, by the setting that this is kept in.
    marks: Mutex<BTreeMap<String, LogMark>>,
    /// The file that services read the flag from, if this run keeps one.
    pub(crate) flag_file: FlagFile,
    /// Who has spoken since it began.
    spoken: Mutex<Spoken>,
    /// Says that a verification is due now, and whether it repairs.
    verify_now: channel::Sender<verify::Due>,
}

impl std::fmt::Debug for Conductor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conductor").field("migration", &self.plan.name).finish_non_exhaustive()
    }
}

/// The file that the next rollback, or the one that is under way, writes what it leaves behind to.
#[derive(Debug)]
struct LeaveBehind {
    file: PathBuf,
    /// The version before it: what an earlier move has to settle isn't about this file.
    after: Version,
}

impl Conductor {
    /// Tells the machine something, logging a refusal: what it is told may have been overtaken.
    pub(crate) async fn tell(&self, event: ControlEvent) {
        let what = format!("{event:?}");
        match self.barrier.apply(event, None).await {
            Ok(_) => self.well("barrier").await,
            Err(ControlError::Protocol(refusal)) => tracing::debug!(what, %refusal, "overtaken"),
            Err(error) => self.trouble("barrier", &error.to_string()).await,
        }
    }

    /// Writes to the audit what the run does by itself, and to the log. An audit that can't be written is a trouble of its own, and stops nothing.
    pub(crate) async fn note(&self, kind: AuditKind, text: impl Into<String>) {
        let (at_ms, who) = (self.clock.now().0, "run".to_owned());
        self.keep(NewAudit { at_ms, who, kind, text: text.into(), why: None }).await;
    }

    /// Writes this line to the audit, and to the log.
    pub(crate) async fn keep(&self, entry: NewAudit) {
        tracing::info!(kind = entry.kind.name(), who = entry.who, "{}", entry.text);
        let trouble = self.state.append_audit(&entry).await.err().map(|error| error.to_string());
        if let Some(error) = &trouble {
            tracing::error!(error, "the audit can't be written");
        }
        self.progress.send_if_modified(|progress| progress.set_trouble("audit", trouble, entry.at_ms));
    }

    /// A part of the run fails, for this reason: shown by `status` until [`Conductor::well`], and told once to the audit.
    pub(crate) async fn trouble(&self, part: &'static str, why: &str) {
        let now = self.clock.now().0;
        let mut is_new = false;
        self.progress.send_modify(|progress| is_new = progress.set_trouble(part, Some(why.to_owned()), now));
        if is_new {
            self.note(AuditKind::Failure, format!("{part}: {why}")).await;
        }
    }

    /// A part of the run is well again.
    pub(crate) async fn well(&self, part: &'static str) {
        let mut was = false;
        self.progress.send_if_modified(|progress| {
            was = progress.set_trouble(part, None, 0);
            was
        });
        if was {
            self.note(AuditKind::Run, format!("{part}: well again")).await;
        }
    }

    /// A key as it may be shown.
    pub(crate) fn shown(&self, key: &Key) -> String {
        redaction::key(&self.plan.spec.evidence, &self.sides.links, key)
    }

    /// Why nothing is done until `adopt`, if so.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.progress.borrow().stopped.clone()
    }

    /// Stops everything until `adopt`, the mirror too: the state and the databases disagree.
    pub(crate) async fn stop(&self, problem: &str) {
        let is_new = self.progress.send_if_modified(|progress| {
            // What was found first is what explains the rest.
            let is_new = progress.stopped.is_none();
            progress.stopped.get_or_insert_with(|| problem.to_owned());
            is_new
        });
        if is_new {
            // At once: the mirror's next look is a while away.
            self.drains.stop();
            self.note(
                AuditKind::Alert,
                format!("{problem}. The databases win; nothing is done until `changeover adopt`"),
            )
            .await;
        }
    }

    fn leave_behind_file(&self) -> Option<PathBuf> {
        self.leave_behind().as_ref().map(|leave| leave.file.clone())
    }

    fn leave_behind(&self) -> std::sync::MutexGuard<'_, Option<LeaveBehind>> {
        self.leave_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
