//! `rehearse`: forward, back and forward again on copies of the databases. The spec's own databases are only read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover_api::Spec;
use changeover_protocol::control::MoveReport;
use changeover_protocol::gate::{Gate, Override};
use changeover_protocol::{Phase, Share};
use changeover_tables::plan::Mirroring;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::{JobProgress, Stage, Told};
use crate::clock::Clock;
use crate::comparison::{Comparison, TableReport};
use crate::conductor::{Conducting, Conductor, Moved, Parts, Plan, Sides};
use crate::connect::{Connected, Elsewhere, mirroring};
use crate::error::ControlError;
use crate::flag::FlagFile;
use crate::neighbours;
use crate::state::SqliteState;
use crate::supervisor::Watchdog;

/// How often a gate is looked at again.
const LOOK: Duration = Duration::from_millis(200);

/// One move of a rehearsal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RehearsalMove {
    /// Where it came from.
    pub from: Phase,
    /// Where it went.
    pub to: Phase,
    /// How long it took, with what it had to wait for, in seconds.
    pub seconds: f64,
    /// How long writes were held, in milliseconds.
    pub held_ms: u64,
}

/// What a rehearsal came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RehearsalReport {
    /// The moves, in order.
    pub moves: Vec<RehearsalMove>,
    /// How long the backfill took, in seconds: the real one takes about as long, and longer where it gives way.
    pub backfill_seconds: f64,
    /// About how long the real one would take from the start to `new`, without bake times, in hours.
    pub estimated_hours: f64,
    /// The longest time that writes were held, in milliseconds.
    pub longest_hold_ms: u64,
    /// Rows copied.
    pub rows: u64,
    /// The tables after the last move, each with its differences and refusals.
    pub tables: Vec<TableReport>,
    /// Why it didn't come to the end, if so: a gate that stays shut, a move that was given up.
    pub stopped: Option<String>,
}

impl RehearsalReport {
    /// Whether it came to the end, and no row differed or was refused.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.stopped.is_none() && self.tables.iter().all(|table| table.wrong() == 0)
    }
}

/// Copies the databases into `folder` and takes the copies through the migration. The copies are left there.
///
/// # Errors
/// What stands in the way: on the real databases it would as well.
pub async fn rehearse(spec: &Spec, folder: &Path, told: Told<'_>) -> Result<RehearsalReport, ControlError> {
    let began = Instant::now();
    // The copies are made as a run wants them; what `run` would refuse in the real ones is refused here.
    let real = Connected::open(spec, mirroring(spec), &Elsewhere::new()).await?;
    let ready = match behind_a_server(&real) {
        None => check_real(&real, spec).await,
        Some(why) => Err(why),
    };
    real.close().await;
    ready?;
    let elsewhere = copy_databases(spec, folder).await?;
    let connected = Connected::open(spec, Mirroring::Capture, &elsewhere).await?;
    let report = rehearse_on(&connected, (spec, folder), began, told).await;
    connected.close().await;
    report
}

/// Why there is no rehearsal of these databases, if so. A copy beside a server's database would take its room and its time, of
/// which nobody but its owner can say that they are there.
fn behind_a_server(real: &Connected) -> Option<ControlError> {
    let (name, database) = real.databases.iter().find(|(_, database)| database.file().is_none())?;
    Some(ControlError::Spec(format!(
        "there is no rehearsal with store {name} ({}): copies are made of SQLite files alone, and this is behind a server. What \
         the rows say: `changeover check --data`. For the whole way, restore a backup of both databases elsewhere, and `changeover \
         run` a migration of those",
        database.place()
    )))
}

async fn check_real(real: &Connected, spec: &Spec) -> Result<(), ControlError> {
    real.check()?;
    neighbours::check(real, &spec.name).await?;
    match super::installed_by_a_run(&real.sides(&spec.name).await?).await? {
        None => Ok(()),
        Some((side, what)) => Err(ControlError::Refused(format!(
            "a run of `{}` has begun: {what} is installed on the {side} side. A rehearsal is made before; now \
             `changeover status` says where it stands",
            spec.name
        ))),
    }
}

async fn rehearse_on(
    connected: &Connected,
    (spec, folder): (&Spec, &Path),
    began: Instant,
    told: Told<'_>,
) -> Result<RehearsalReport, ControlError> {
    connected.check()?;
    let sides = connected.sides(&spec.name).await?;
    let state = Arc::new(SqliteState::open(&folder.join("rehearsal.db"), &spec.name).await?);
    let plan = Plan::of(spec.clone());
    let flag_file = FlagFile::none();
    let parts = Parts { plan, sides, state, watchdog: Watchdog::none(), clock: Clock::system(), flag_file };
    let conducting = Conducting::begin(parts).await?;
    let conductor = Arc::clone(&conducting.conductor);
    let mut went = Went::default();
    let stopped = match went.there_and_back(&conductor, &spec.phases.list().collect::<Vec<_>>(), told).await {
        Ok(()) => None,
        // A gate that stays shut is what a rehearsal is for: the rows behind it are told.
        Err(error @ (ControlError::Gates { .. } | ControlError::GivenUp { .. })) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    let Went { moves, backfill_seconds } = went;
    let mut tables = super::copy::compare_for(&conductor.sides, spec, told).await?;
    let authority = conductor.barrier.record().place.phase.step().authority();
    if stopped.is_some() && authority == Side::Old && tables.iter().any(|table| table.different() > 0) {
        explain(&mut tables, &conductor.sides, spec).await?;
    }
    let rows = tables.iter().map(|table| table.rows_new).sum();
    conducting.end().await;
    Ok(RehearsalReport {
        longest_hold_ms: moves.iter().map(|step| step.held_ms).max().unwrap_or(0),
        moves,
        backfill_seconds,
        estimated_hours: began.elapsed().as_secs_f64() / 3_600.0,
        rows,
        tables,
        stopped,
    })
}

/// Of the rows that differ, why the new side doesn't take those that it doesn't: tried once more, on the copies.
async fn explain(tables: &mut [TableReport], sides: &Sides, spec: &Spec) -> Result<(), ControlError> {
    let comparison = Comparison { repairs: true, ..Comparison::quiet(&sides.links, &spec.evidence) };
    let tried = comparison.run(&mut |_| {}).await?;
    for (table, tried) in tables.iter_mut().zip(tried) {
        table.explain(tried.refused, tried.refusals);
    }
    Ok(())
}

/// How far a rehearsal went.
#[derive(Default)]
struct Went {
    moves: Vec<RehearsalMove>,
    backfill_seconds: f64,
}

impl Went {
    /// Forward to the last phase but one, back to where both sides are the same again, and forward to the end.
    async fn there_and_back(
        &mut self,
        conductor: &Conductor,
        phases: &[Phase],
        told: Told<'_>,
    ) -> Result<(), ControlError> {
        let turn = phases.len().saturating_sub(2).max(1);
        for &to in &phases[1..=turn] {
            self.moves.push(forward(conductor, to, told).await?);
        }
        if let Some(copy) = &conductor.progress.borrow().copy {
            let took_ms = copy.done_ms.unwrap_or(copy.began_ms).saturating_sub(copy.began_ms);
            self.backfill_seconds = Duration::from_millis(took_ms).as_secs_f64();
        }
        let (started, mut reports) = (Instant::now(), conductor.barrier.reports());
        let back = conductor.rollback(None, Share::ALL, None).await?;
        let (from, to) = (phases[turn], phases[turn - 1]);
        let held_ms = to_its_end(conductor, back, to, &mut reports, told).await?;
        self.moves.push(RehearsalMove { from, to, seconds: started.elapsed().as_secs_f64(), held_ms });
        for &to in &phases[turn..] {
            self.moves.push(forward(conductor, to, told).await?);
        }
        Ok(())
    }
}

/// One move forward, as soon as its gates are open; bake times are passed over, since nothing can be learnt by waiting.
async fn forward(conductor: &Conductor, to: Phase, told: Told<'_>) -> Result<RehearsalMove, ControlError> {
    let started = Instant::now();
    let from = conductor.barrier.record().place.phase;
    let passed: Vec<Override> = [Gate::BakeTime, Gate::Mismatches, Gate::ErrorsAndLatency]
        .map(|gate| Override { gate, reason: "a rehearsal".to_owned() })
        .into();
    let mut held_ms = 0;
    loop {
        let mut reports = conductor.barrier.reports();
        if conductor.barrier.record().place.phase == to && conductor.barrier.record().shift.is_none() {
            return Ok(RehearsalMove { from, to, seconds: started.elapsed().as_secs_f64(), held_ms });
        }
        match conductor.advance(Some(to), Share::ALL, &passed).await {
            Ok(moved) => held_ms = to_its_end(conductor, moved, to, &mut reports, told).await?,
            Err(ControlError::Gates { blocked, .. }) if is_waiting(conductor, &blocked) => {}
            Err(ControlError::Protocol(_)) if conductor.barrier.record().shift.is_some() => {}
            Err(error) => return Err(error),
        }
        show(conductor, told);
        tokio::time::sleep(LOOK).await;
    }
}

/// Follows a move whose copy is made while writes are refused, which is answered before that is over. How long writes were
/// held in all.
async fn to_its_end(
    conductor: &Conductor,
    moved: Moved,
    to: Phase,
    reports: &mut broadcast::Receiver<MoveReport>,
    told: Told<'_>,
) -> Result<u64, ControlError> {
    let mut held_ms = moved.held_ms;
    let given_up = |why: String| {
        let back_in = conductor.barrier.record().place.to_string();
        Err(ControlError::GivenUp { to: to.to_string(), back_in, why })
    };
    let mut is_over = !moved.under_way;
    while !is_over {
        is_over = conductor.barrier.record().shift.is_none();
        // A run would try it again and again, until somebody mends what it is or goes back.
        let trouble = conductor.progress.borrow().troubles.get("backfill").map(|trouble| trouble.why.clone());
        if let Some(why) = trouble.filter(|_| !is_over) {
            return given_up(why);
        }
        show(conductor, told);
        tokio::time::sleep(LOOK).await;
        // The last report may come a moment after the record that says so.
        while let Ok(report) = reports.try_recv() {
            held_ms = held_ms.max(report.held_ms.0);
        }
    }
    match conductor.barrier.record().place.phase {
        there if there == to => Ok(held_ms),
        there => given_up(format!("it came to its end in {there}")),
    }
}

/// Whether what is shut will open by itself: the copy or the first verification is under way.
fn is_waiting(conductor: &Conductor, blocked: &[String]) -> bool {
    let record = conductor.barrier.record();
    let progress = conductor.progress.borrow();
    let copying = record.backfill.is_some_and(|backfill| !backfill.done);
    let verifying = progress.verify.is_some();
    let unverified = blocked
        .iter()
        .any(|why| why.contains("no full verification has been made") || why.contains("not of all rows"));
    progress.stopped.is_none() && (copying || verifying || unverified)
}

fn show(conductor: &Conductor, told: Told<'_>) {
    let progress = conductor.progress.borrow();
    if let Some(copy) = progress.copy.as_ref().filter(|copy| copy.done_ms.is_none()) {
        told(&JobProgress {
            stage: Stage::Copy,
            rows: copy.rows,
            rows_all: copy.rows_all,
            rows_per_second: copy.rows_per_second,
            left: copy.left_ms.map(Duration::from_millis),
            waiting: None,
        });
    } else if let Some(verify) = progress.verify {
        told(&JobProgress {
            stage: Stage::Verify,
            rows: verify.rows,
            rows_all: verify.rows_all,
            rows_per_second: 0.0,
            left: None,
            waiting: None,
        });
    }
}

/// A snapshot of each database, whose users notice nothing.
async fn copy_databases(spec: &Spec, folder: &Path) -> Result<Elsewhere, ControlError> {
    let connected = Connected::open(spec, Mirroring::Capture, &Elsewhere::new()).await?;
    let mut elsewhere = Elsewhere::new();
    for (name, database) in &connected.databases {
        let Some(from) = database.file().map(Path::to_owned) else { continue };
        let to = folder.join(format!("{name}.db"));
        elsewhere.insert(name.clone(), to.clone());
        let copied = tokio::task::spawn_blocking(move || snapshot(&from, &to)).await;
        copied.map_err(|cause| ControlError::Stopped {
            part: "the copying of a database",
            cause: cause.to_string(),
        })??;
    }
    connected.close().await;
    Ok(elsewhere)
}

fn snapshot(from: &Path, to: &PathBuf) -> Result<(), ControlError> {
    if to.exists() {
        return Err(ControlError::Refused(format!(
            "{} is there already: name an empty folder for the copies",
            to.display()
        )));
    }
    let fail = |cause: rusqlite::Error| ControlError::file(to, "the database can't be copied there", &cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(fail)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(fail)?;
    // A copy is not in WAL mode, which capture needs.
    let copy = Connection::open(to).map_err(fail)?;
    copy.pragma_update(None, "journal_mode", "wal").map_err(fail)
}
