//! The status, assembled once: from a run, or from the state file alone when none is there, which then says so.

use std::path::Path;

use changeover::Side;
use changeover::engine::backfill::TableProgress;
use changeover_api::Spec;
use changeover_api::wire::{
    Alert, BackfillStatus, ComparisonStatus, GateStatus, Ghost, Installed, InstanceStatus, LogStatus, Moving,
    Next, RoadStatus, RollbackStatus, Status, StatusSource, TableBackfill, Trouble, VerificationResult,
    VerificationStatus,
};
use changeover_protocol::gate::{self, Evidence, Stuck, Verdict};
use changeover_protocol::moves::{
    Mirror, RollbackFacts, RollbackKind, RollbackSafety, WayBack, rollback_safety,
};
use changeover_protocol::{Control, Millis, Phase, Slot};
use changeover_tables::database::Roads;

use crate::barrier;
use crate::clock::Clock;
use crate::conductor::{Chunks, Conductor, DISAGREES, Plan, Progress, gather, needs_log};
use crate::copied;
use crate::error::ControlError;
use crate::state::{SqliteState, StateStore, VerificationRecord};

/// How long the barrier takes in a move, in milliseconds, beyond the syncing of what is dirty: a few round trips.
const BARRIER_MS: u64 = 100;

/// What a status is made of.
struct Facts<'f> {
    plan: &'f Plan,
    control: &'f Control,
    evidence: &'f Evidence,
    verification: Option<VerificationRecord>,
    now: Millis,
    safety: RollbackSafety,
    takes_ms: Option<u64>,
    source: StatusSource,
    /// Nothing, where no run is there.
    progress: Progress,
    /// What readers of the flag are told.
    flag: Option<Phase>,
    /// In which way the plan no longer fits the tables.
    outdated: Option<String>,
    paused: bool,
    installed: Vec<Installed>,
    roads: Vec<RoadStatus>,
}

/// The status of a run.
///
/// # Errors
/// If the state can't be read.
pub(crate) async fn of_run(conductor: &Conductor) -> Result<Status, ControlError> {
    let control = conductor.barrier.record();
    let now = conductor.clock.now();
    let progress = conductor.progress.borrow().clone();
    let evidence = conductor.evidence().await?;
    let verification = conductor.state.verifications(1).await?.pop();
    let mut installed = Vec::new();
    for (side, keeper) in &conductor.sides.keepers {
        // A store that is out of reach is a trouble of its own; the rest of the status is worth having.
        for what in keeper.installed().await.unwrap_or_default() {
            let thing = Installed { side: *side, store: keeper.store().to_owned(), what };
            // Both sides in one database see the same things.
            if !installed
                .iter()
                .any(|known: &Installed| known.store == thing.store && known.what == thing.what)
            {
                installed.push(thing);
            }
        }
    }
    let mut roads = Vec::new();
    for (side, keeper) in &conductor.sides.keepers {
        if let Ok(Roads { reads, writes, because }) = keeper.roads().await {
            roads.push(RoadStatus { side: *side, store: keeper.store().to_owned(), reads, writes, because });
        }
    }
    let flag = conductor.flag().await;
    // A store that is out of reach is a trouble of its own here as well.
    let outdated = conductor.plan_outdated().await.unwrap_or_default();
    let safety = conductor.rollback_safety();
    let takes_ms = takes_ms(&control, &progress, &safety);
    Ok(assemble(Facts {
        plan: &conductor.plan,
        control: &control,
        evidence: &evidence,
        verification,
        now,
        safety,
        takes_ms,
        source: StatusSource::Run,
        paused: *conductor.paused.borrow(),
        flag,
        outdated,
        progress,
        installed,
        roads,
    }))
}

/// The status as the state file has it, while no run is there; `None` where there is no such file.
///
/// # Errors
/// If the file can't be read, or isn't the state of this migration.
pub async fn of_file(spec: Spec, path: &Path) -> Result<Option<Status>, ControlError> {
    let Some(state) = SqliteState::open_existing(path, &spec.name).await? else { return Ok(None) };
    let plan = Plan::of(spec);
    let now = Clock::system().now();
    let control = barrier::load(&state).await?.map_or_else(|| Control::new(plan.settings, now), |(_, c)| c);
    let evidence = gather(&state, &control, now, Chunks::default(), Stuck::default()).await?;
    let verification = state.verifications(1).await?.pop();
    let because =
        "no run is there: nothing is mirrored or watched, and what the databases say isn't known".to_owned();
    let safety = match control.place.phase {
        Phase::Old => rollback_safety(&facts_without_a_run(&control)),
        Phase::Retired => rollback_safety(&facts_without_a_run(&control)),
        _ => RollbackSafety { safe: false, kind: RollbackKind::Slow, since: control.since, because },
    };
    let stopped = state.setting(DISAGREES).await?;
    let copy = copied::recall(&state, Some(&control)).await?;
    Ok(Some(assemble(Facts {
        plan: &plan,
        outdated: None,
        flag: stopped.is_none().then_some(control.target.phase_shown),
        control: &control,
        evidence: &evidence,
        verification,
        now,
        safety,
        takes_ms: None,
        source: StatusSource::StateFile,
        progress: Progress { stopped, copy, ..Progress::default() },
        paused: state.setting("paused").await?.is_some(),
        installed: Vec::new(),
        roads: Vec::new(),
    })))
}

fn facts_without_a_run(control: &Control) -> RollbackFacts {
    RollbackFacts {
        place: control.place,
        entered: control.since,
        mirror: control.settings.mirror,
        way_back: control.way_back,
        dirty_keys: None,
        drainable_keys: 0,
        stuck: Stuck::default(),
        dirty_since: control.since,
        silent: Vec::new(),
        silent_since: control.since,
        backfill_toward_old: false,
        fills_in_hold: !control.settings.phases.reverse_shadow,
    }
}

/// About how long a rollback would take: the barrier, and what is dirty at the rate that was seen.
fn takes_ms(control: &Control, progress: &Progress, safety: &RollbackSafety) -> Option<u64> {
    let dirty = progress.dirty(control.place.phase.step().authority()).unwrap_or(0);
    // Positive and small enough for any rate that is seen.
    let sync_ms = (dirty as f64 / progress.rate() * 1_000.0) as u64;
    let slowest = control.instances.values().filter_map(|i| i.vitals.slowest_ms).max().unwrap_or(0);
    match safety.kind {
        RollbackKind::Instant => Some(BARRIER_MS + sync_ms + slowest),
        RollbackKind::Slow if control.way_back == WayBack::Open => Some(BARRIER_MS + sync_ms + slowest),
        // As long as the copy that is under way, or that was made last.
        RollbackKind::Slow => progress.copy.as_ref().and_then(|copy| match copy.done_ms {
            None => copy.left_ms,
            Some(done) => Some(done.saturating_sub(copy.began_ms)),
        }),
        RollbackKind::Nothing | RollbackKind::Waits | RollbackKind::LeavesBehind | RollbackKind::Never => {
            None
        }
    }
}

fn assemble(facts: Facts<'_>) -> Status {
    let Facts { plan, control, evidence, now, .. } = &facts;
    let phases = plan.settings.phases;
    Status {
        migration: plan.name.clone(),
        at_ms: now.0,
        source: facts.source,
        mirror: plan.settings.mirror,
        phases: phases.list().collect(),
        phase: control.place.phase,
        share_percent: control.place.share.as_percent(),
        flag: facts.flag.map(Phase::flag),
        since_ms: control.since.0,
        next: next(&facts),
        rollback: rollback(&facts),
        moving: moving(control),
        stopped: facts.progress.stopped.clone(),
        paused: facts.paused,
        instances: instances(control, *now),
        ghosts: control
            .ghosts
            .iter()
            .map(|ghost| Ghost { id: ghost.instance.to_string(), until_ms: ghost.until.0 })
            .collect(),
        backfill: backfill(control, &facts),
        verification: verification(&facts),
        logs: logs(control, &facts.progress),
        comparisons: evidence
            .comparisons
            .iter()
            .map(|c| ComparisonStatus {
                operation: c.operation.clone(),
                cohort: c.cohort.to_string(),
                matches: c.matches,
                mismatches: c.mismatches,
                errors: c.errors,
                dropped: c.dropped,
            })
            .collect(),
        troubles: facts
            .progress
            .troubles
            .iter()
            .map(|(part, t)| Trouble { part: (*part).to_owned(), why: t.why.clone(), since_ms: t.since_ms })
            .collect(),
        alerts: alerts(&facts),
        installed: facts.installed,
        roads: facts.roads,
    }
}

/// The run's, and what has been seen just now.
fn alerts(facts: &Facts<'_>) -> Vec<Alert> {
    let now = facts.now.0;
    let known =
        facts.progress.alerts(now).map(|alert| Alert { at_ms: alert.at_ms, text: alert.text.clone() });
    let mut all: Vec<Alert> = known.collect();
    if let Some(text) = facts.outdated.as_ref().filter(|text| all.iter().all(|alert| alert.text != **text)) {
        all.push(Alert { at_ms: now, text: text.clone() });
    }
    all
}

/// Nothing while state and databases disagree: what would be next isn't known.
fn next(facts: &Facts<'_>) -> Option<Next> {
    if facts.progress.stopped.is_some() {
        return None;
    }
    let (plan, control) = (facts.plan, facts.control);
    let phases = plan.settings.phases;
    let phase =
        if control.place.is_partial() { control.place.phase } else { phases.after(control.place.phase)? };
    let judgement = gate::judge(phase, phases, facts.evidence, &plan.limits, &[]);
    // What isn't carried forward is no matter for the end, which carries nothing.
    let refused = facts.outdated.clone().filter(|_| phase != Phase::Retired);
    let refused = refused.or_else(|| facts.progress.obstacle_forward(facts.now.0));
    let refused = refused.or_else(|| too_dirty(facts, phase));
    Some(Next { phase, gates: judgement.gates.into_iter().map(GateStatus::from).collect(), refused })
}

/// That more changes wait for the mirror than a move that crosses would begin with.
fn too_dirty(facts: &Facts<'_>, to: Phase) -> Option<String> {
    let authority = facts.control.place.phase.step().authority();
    if authority == to.step().authority() || facts.plan.settings.mirror != Mirror::Capture {
        return None;
    }
    let dirty = facts.progress.dirty(authority)?;
    let most = facts.progress.may_wait(facts.plan.settings.hold_budget_ms.0);
    (dirty > most).then(|| {
        format!("dirty keys: {dirty} changes wait for the mirror, and about {most} can be drained in the hold: it catches up")
    })
}

fn rollback(facts: &Facts<'_>) -> RollbackStatus {
    let control = facts.control;
    let to = if facts.progress.stopped.is_some() {
        None
    } else if control.place.is_partial() {
        Some(Phase::Shadow)
    } else {
        control.settings.phases.before(control.place.phase)
    };
    RollbackStatus {
        safe: facts.safety.safe,
        kind: facts.safety.kind,
        since_ms: facts.safety.since.0,
        because: facts.safety.because.clone(),
        takes_ms: facts.takes_ms,
        to,
        command: to.map(|_| {
            let leaves_behind = facts.safety.kind == RollbackKind::LeavesBehind;
            format!("changeover rollback{}", if leaves_behind { " --leave-behind FILE" } else { "" })
        }),
    }
}

fn moving(control: &Control) -> Option<Moving> {
    let shift = control.shift.as_ref()?;
    let moves = |slot: &Slot| shift.from.step(*slot) != shift.to.step(*slot);
    let slot = (0..changeover_protocol::SLOTS).map(Slot::new).find(moves).unwrap_or(Slot::new(0));
    let missing: Vec<String> = control.missing().map(ToString::to_string).collect();
    let waits_for = if !missing.is_empty() {
        Some(format!("acknowledgements of version {} from {}", control.target.version, missing.join(", ")))
    } else if control.backfill.is_some_and(|backfill| !backfill.done) {
        Some("the copy to be complete".to_owned())
    } else {
        None
    };
    Some(Moving {
        from: shift.from.phase,
        to: shift.to.phase,
        to_share_percent: shift.to.share.as_percent(),
        goal: shift.goal.phase,
        direction: shift.direction(),
        step: control.target.step(slot),
        since_ms: shift.began.0,
        held_since_ms: shift.held_since.map(|since| since.0),
        turned: shift.turned,
        missing,
        waits_for,
    })
}

fn instances(control: &Control, now: Millis) -> Vec<InstanceStatus> {
    let silent: Vec<_> = control.silent(now).collect();
    control
        .instances
        .iter()
        .map(|(id, instance)| InstanceStatus {
            id: id.to_string(),
            acked: instance.acked.0,
            current: instance.acked >= control.target.version,
            heard_ms: instance.heard.0,
            silent: silent.contains(&id),
            lapsed: instance.lapsed,
            dirty_keys: instance.vitals.dirty_keys,
            slowest_ms: instance.vitals.slowest_ms,
        })
        .collect()
}

fn backfill(control: &Control, facts: &Facts<'_>) -> Option<BackfillStatus> {
    let backfill = control.backfill?;
    let progress = &facts.progress;
    let mut copy = progress.copy.clone().unwrap_or_default();
    // What a copy couldn't carry, and a full verification after it finds carried, isn't refused any more.
    let verified = facts.verification.as_ref().map(|record| &record.evidence);
    if let (Some(found), Some(done_ms)) = (verified, copy.done_ms)
        && found.began.0 >= done_ms
        && found.refused == 0
    {
        copy.refused = 0;
        copy.tables.iter_mut().for_each(|table| table.refused = 0);
    }
    Some(BackfillStatus {
        generation: backfill.generation.0,
        toward: backfill.toward,
        done: backfill.done,
        rows: progress.copy.as_ref().map(|copy| copy.rows),
        rows_all: progress.copy.as_ref().map(|copy| copy.rows_all),
        refused: copy.refused,
        // Positive, and far below what a u64 holds.
        rows_per_second: (!backfill.done && copy.rows_per_second > 0.0)
            .then_some(copy.rows_per_second as u64),
        left_ms: if backfill.done { None } else { copy.left_ms },
        waits_for: copy.waits_for.filter(|_| !backfill.done),
        tables: copy.tables.iter().map(table_backfill).collect(),
    })
}

fn table_backfill(table: &TableProgress) -> TableBackfill {
    // Of a table that is complete the number isn't a guess any more.
    let rows_all = if table.complete { table.rows } else { table.estimate.max(table.rows) };
    let percent = match rows_all {
        _ if table.complete => 100,
        0 => 0,
        // Rounded down, and not all before the last chunk is.
        all => (table.rows.saturating_mul(100) / all).min(99) as u8,
    };
    TableBackfill {
        table: table.table.to_string(),
        done: table.complete,
        rows: table.rows,
        rows_all,
        percent,
        refused: table.refused,
    }
}

fn verification(facts: &Facts<'_>) -> VerificationStatus {
    let last = facts.verification.as_ref().map(|record| VerificationResult {
        began_ms: record.evidence.began.0,
        ended_ms: record.ended_ms,
        clean: record.evidence.differences == 0 && record.evidence.refused == 0,
        rows: record.evidence.rows_compared,
        differences: record.evidence.differences,
        refused: record.evidence.refused,
    });
    let because = match gate::evaluate(gate::Gate::Verification, facts.evidence, &facts.plan.limits) {
        Verdict::Closed { because, .. } => Some(because),
        Verdict::Open | Verdict::NotAsked(_) => None,
    };
    let running = facts.progress.verify;
    VerificationStatus {
        running: running.map(|running| (running.rows, running.rows_all)),
        running_differences: running.map_or(0, |running| running.differences),
        last,
        counts: because.is_none(),
        because,
    }
}

/// What was seen of a log that has been removed since isn't told.
fn logs(control: &Control, progress: &Progress) -> Vec<LogStatus> {
    let shown = |(side, depth): (&Side, &changeover::store::capture::Depth)| LogStatus {
        side: *side,
        entries: depth.entries,
        span: depth.span,
        bound: depth.bound,
        overflowed: depth.overflowed,
        lag_ms: Some(depth.oldest_ms),
    };
    progress.logs.iter().filter(|(side, _)| needs_log(control, **side)).map(shown).collect()
}
