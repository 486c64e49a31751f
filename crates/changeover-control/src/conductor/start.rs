//! The start of a run: what the state says, what the databases say, whether the two agree; then every part as a task.

use std::sync::{Arc, Mutex};

use changeover_api::spec::Fingerprint;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{Control, Phase};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::lives::Lives;
use super::mirror::Drains;
use super::plan::{SpecChange, change_it_back};
use super::progress::Progress;
use super::sides::what_becomes_of;
use super::verify::Due;
use super::watch::replaced_authority;
use super::wishes::PAUSED;
use super::{Conductor, Plan, Sides, adopt};
use crate::barrier::{self, Barrier};
use crate::clock::Clock;
use crate::columns::Columns;
use crate::copied;
use crate::error::ControlError;
use crate::flag::FlagFile;
use crate::state::{AuditKind, StateStore};
use crate::supervisor::Watchdog;

/// The setting that the spec's digest is kept by.
const FINGERPRINT: &str = "fingerprint";

/// The setting that the columns are kept by which the last run's plan was made for.
const COLUMNS: &str = "columns";

/// The setting that says in which way the databases disagreed with a state that was begun anew, until their word is adopted.
pub(crate) const DISAGREES: &str = "disagrees";

/// What a run is made of.
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) sides: Sides,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) watchdog: Watchdog,
    pub(crate) clock: Clock,
    pub(crate) flag_file: FlagFile,
}

/// A conductor and its tasks. Dropping it ends them at whatever they are: each may be cut off anywhere.
#[derive(Debug)]
pub(crate) struct Conducting {
    pub(crate) conductor: Arc<Conductor>,
    tasks: JoinSet<()>,
}

impl Conducting {
    /// Begins.
    ///
    /// # Errors
    /// If the spec changed in a way that can't be gone on with, or the state or a store can't be asked.
    pub(crate) async fn begin(parts: Parts) -> Result<Self, ControlError> {
        let Parts { plan, sides, state, watchdog, clock, flag_file } = parts;
        let known = barrier::load(&*state).await?.map(|(_, control)| control);
        let change = check_spec(&plan, &*state, known.as_ref()).await?;
        check_columns(&plan, &sides, &*state, known.as_ref()).await?;
        let stopped = disagreement(plan.settings.mirror, &sides, &*state, known.as_ref()).await?;
        let is_hidden_soon = match (&known, &stopped) {
            (Some(known), Some(_)) => {
                replaced_authority(&sides, &*state, known).await?.is_some_and(|replaced| replaced.older)
            }
            // Before there is a record: the next start would take it for one that the databases had no quarrel with.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if is_hidden_soon {
            state.set(DISAGREES, stopped.as_deref()).await?;
        }
        let stored = known.as_ref().map(|control| control.target.version);
        let begun = Barrier::begin(Arc::clone(&state), plan.settings, clock).await?;
        let paused = state.setting(PAUSED).await?.is_some();
        let copy = copied::recall(&*state, known.as_ref()).await?;
        let progress = Progress { stopped: stopped.clone(), copy, ..Progress::default() };
        let began_with = begun.barrier.record();
        let lives = Lives::begin(&*state, stored, began_with.target.version).await?;
        let conductor = Arc::new(Conductor {
            plan,
            sides,
            state,
            barrier: begun.barrier,
            clock,
            watchdog,
            progress: watch::Sender::new(progress),
            paused: watch::Sender::new(paused),
            drains: Drains::default(),
            draining_way_back: watch::Sender::new(false),
            moving: tokio::sync::Mutex::new(()),
            leave_behind: Mutex::new(None),
            began: tokio::time::Instant::now(),
            began_with,
            lives: Mutex::new(lives),
            marks: Mutex::default(),
            flag_file,
            spoken: Mutex::default(),
            verify_now: watch::Sender::new(Due::default()),
        });
        conductor.sides.cover(&conductor.barrier.record());
        conductor.introduce(&change, stopped).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(when_heard(Arc::clone(&conductor), Arc::clone(&conductor).carry_out(begun.actions)));
        tasks.spawn(when_heard(Arc::clone(&conductor), Arc::clone(&conductor).mirror()));
        tasks.spawn(when_heard(Arc::clone(&conductor), Arc::clone(&conductor).verify()));
        tasks.spawn(when_heard(Arc::clone(&conductor), Arc::clone(&conductor).watch()));
        tasks.spawn(when_heard(Arc::clone(&conductor), Arc::clone(&conductor).tidy_up()));
        // Its task ends with the last way to it; on a sudden end it is cut off like the others.
        tasks.spawn(async move {
            let mut barrier = AbortOnDrop(begun.task);
            let _ = (&mut barrier.0).await;
        });
        Ok(Self { conductor, tasks })
    }

    /// Ends every part, and waits until each has given up what it held.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Begins a part of the run once the instances have spoken.
async fn when_heard(conductor: Arc<Conductor>, part: impl Future<Output = ()>) {
    conductor.instances_heard().await;
    part.await;
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The spec that the last run had.
pub(crate) async fn spec_of_run(state: &dyn StateStore) -> Result<Option<Fingerprint>, ControlError> {
    Ok(state.setting(FINGERPRINT).await?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The phase by which a changed spec is judged.
pub(crate) fn begun(known: Option<&Control>) -> Phase {
    known.map_or(Phase::Old, |control| {
        if control.shift.is_some() { control.place.phase.max(Phase::Shadow) } else { control.place.phase }
    })
}

/// What changed in the spec since the last run.
pub(crate) async fn spec_change(
    plan: &Plan,
    state: &dyn StateStore,
    known: Option<&Control>,
) -> Result<SpecChange, ControlError> {
    let earlier = spec_of_run(state).await?;
    Ok(earlier.map(|earlier| plan.change_since(&earlier, begun(known))).unwrap_or_default())
}

/// Whether the spec may have changed as it did; and what it is now is kept.
async fn check_spec(
    plan: &Plan,
    state: &dyn StateStore,
    known: Option<&Control>,
) -> Result<SpecChange, ControlError> {
    let change = spec_change(plan, state, known).await?;
    if !change.refused.is_empty() {
        let refused: Vec<String> = change.refused.iter().map(ToString::to_string).collect();
        let remedy = change_it_back(begun(known));
        return Err(ControlError::Spec(format!("{}: {}. {remedy}", plan.name, refused.join("; "))));
    }
    let now = plan.spec.fingerprint();
    if spec_of_run(state).await?.as_ref() != Some(&now) {
        let text = serde_json::to_string(&now)
            .map_err(|cause| ControlError::Stopped { part: "the state", cause: cause.to_string() })?;
        state.set(FINGERPRINT, Some(&text)).await?;
    }
    Ok(change)
}

/// The columns as the last run's plan had them.
async fn columns_of_run(state: &dyn StateStore) -> Result<Option<Columns>, ControlError> {
    Ok(state.setting(COLUMNS).await?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The columns that the last run carried and that have nowhere to go any more, in words.
pub(crate) async fn lost_columns(
    sides: &Sides,
    state: &dyn StateStore,
    known: Option<&Control>,
) -> Result<Vec<String>, ControlError> {
    let over = |control: &Control| matches!(control.place.phase, Phase::Old | Phase::Retired);
    if !known.is_some_and(|control| control.shift.is_some() || !over(control)) {
        return Ok(Vec::new());
    }
    let before = columns_of_run(state).await?;
    Ok(before.map(|before| sides.columns.lost_since(&before)).unwrap_or_default())
}

/// In which way the tables are others than those that the last run's plan was made for.
pub(crate) async fn changed_tables(
    sides: &Sides,
    state: &dyn StateStore,
) -> Result<Option<String>, ControlError> {
    let before = columns_of_run(state).await?;
    Ok(before.and_then(|before| before.differ_from(&sides.columns)))
}

/// What to do about a column that went away.
pub(crate) const PUT_THE_COLUMN_BACK: &str = "Put the column back, or what is in it is left behind; to go on without it, with it put back, run and \
     `changeover rollback --to old` first, and begin anew";

/// Whether every column that the last run carried has somewhere to go still; and the columns are kept as they are now.
async fn check_columns(
    plan: &Plan,
    sides: &Sides,
    state: &dyn StateStore,
    known: Option<&Control>,
) -> Result<(), ControlError> {
    let lost = lost_columns(sides, state, known).await?;
    if !lost.is_empty() {
        return Err(ControlError::Spec(format!("{}: {}. {PUT_THE_COLUMN_BACK}", plan.name, lost.join("; "))));
    }
    let text = serde_json::to_string(&sides.columns)
        .map_err(|cause| ControlError::Stopped { part: "the state", cause: cause.to_string() })?;
    if state.setting(COLUMNS).await?.as_ref() != Some(&text) {
        state.set(COLUMNS, Some(&text)).await?;
    }
    Ok(())
}

/// In which way the state and the databases disagree, if they do.
pub(crate) async fn disagreement(
    mirror: Mirror,
    sides: &Sides,
    state: &dyn StateStore,
    known: Option<&Control>,
) -> Result<Option<String>, ControlError> {
    let Some(control) = known else { return adopt::earlier_life(sides).await };
    if let Some(replaced) = replaced_authority(sides, state, control).await? {
        return Ok(Some(replaced.problem));
    }
    let found = match mirror {
        Mirror::DualWrite if control.shift.is_none() => adopt::mark_problem(sides, control).await?,
        Mirror::DualWrite => None,
        Mirror::Capture if control.shift.is_none() => adopt::fence_problem(sides, control).await?,
        // In a move the fences may say either; but never something of a later move.
        Mirror::Capture => adopt::later_epoch(sides, control).await?,
    };
    if found.is_some() {
        return Ok(found);
    }
    // An earlier run was stopped, and nobody has adopted the databases' word; unless all was removed by hand meanwhile.
    let remembered = state.setting(DISAGREES).await?;
    match remembered {
        Some(problem) => Ok(adopt::earlier_life(sides).await?.map(|_| problem)),
        None => Ok(None),
    }
}

impl Conductor {
    async fn introduce(&self, change: &SpecChange, stopped: Option<String>) {
        let record = self.barrier.record();
        self.note(AuditKind::Run, format!("a run begins, in {}", record.place)).await;
        for part in &change.parts {
            self.note(AuditKind::Run, format!("the spec: {part}")).await;
        }
        if change.verify {
            let table = "the spec's rules".to_owned();
            let detail = "what counts as equal is another".to_owned();
            self.tell(ControlEvent::Unclean(UncleanEvent::TableChanged { table, detail })).await;
        }
        if stopped.is_none() && record.place.phase == Phase::Old && record.shift.is_none() {
            match self.sides.occupied().await {
                Ok(occupied) => {
                    for (table, rows) in occupied {
                        self.alert(format!("{table}: {}", what_becomes_of(rows))).await;
                    }
                }
                // Good to know, and no more: what can't be asked now is told by the move that needs it.
                Err(error) => tracing::warn!(%error, "the new side's rows can't be counted"),
            }
        }
        if let Some(problem) = stopped {
            self.note(
                AuditKind::Alert,
                format!("{problem}. The databases win; nothing is done until `changeover adopt`"),
            )
            .await;
        }
    }

    /// What an earlier run may not have come to: between moves, what the phase doesn't need is removed.
    async fn tidy_up(self: Arc<Self>) {
        let record = self.barrier.record();
        if self.stopped().is_none() && record.shift.is_none() {
            self.settle_in(record.place.phase).await;
        }
    }
}
