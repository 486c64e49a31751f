//! `verify`: a comparison of both sides as they are, beside a service and a run or without them; and repair.

use std::path::{Path, PathBuf};
use std::time::Duration;

use changeover::Side;
use changeover::engine::{Authority, VerifyOptions};
use changeover_api::spec::{Changed, Effect};
use changeover_api::{ControlClient, RunFile, Spec};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Control, Millis, Phase};
use changeover_tables::plan::Mirroring;
use tokio::time::Instant;

use super::copy::verify_progress;
use super::{JobReport, Told};
use crate::asked::{Asked, asked};
use crate::barrier;
use crate::clock::Clock;
use crate::comparison::{Comparison, TableReport};
use crate::conductor::{Sides, authority_to_verify, begun, changed_tables, disagreement, spec_of_run};
use crate::connect::{Connected, Elsewhere};
use crate::error::ControlError;
use crate::neighbours;
use crate::state::{AuditKind, NewAudit, SqliteState, StateStore};
use crate::verified;

/// Compares both sides row by row; with `repair` it writes the follower's rows that differ anew, from the side that is the
/// authority now, and compares again. Which that is says the migration's state: the file `state`; if none is given the one
/// that the run file beside the spec names, or the one beside the spec. What was found is kept there.
///
/// # Errors
/// What stands in the way: a plan that can't be carried out, a store that can't be reached; a run's traces in the databases
/// without its state, since nobody can then say which side is right.
pub async fn verify(
    spec: &Spec,
    state: Option<&Path>,
    repair: bool,
    told: Told<'_>,
) -> Result<JobReport, ControlError> {
    let connected = Connected::open(spec, Mirroring::CopyOnly, &Elsewhere::new()).await?;
    let report = verify_between(&connected, spec, (state, repair), told).await;
    connected.close().await;
    report
}

async fn verify_between(
    connected: &Connected,
    spec: &Spec,
    (state, repair): (Option<&Path>, bool),
    told: Told<'_>,
) -> Result<JobReport, ControlError> {
    let began = Instant::now();
    connected.check()?;
    let sides = connected.sides(&spec.name).await?;
    if repair {
        neighbours::check(connected, &spec.name).await?;
    }
    let known = Known::find(spec, state, &sides).await?;
    let spec_changed = match &known {
        Some(known) => known.changes(spec, &sides, repair).await?,
        None => Vec::new(),
    };
    if repair && let Some(known) = &known {
        known.check_heard(spec).await?;
    }
    let authority = match &known {
        Some(known) => known.authority(&spec.name)?,
        None => Authority::All(Side::Old),
    };
    let options =
        VerifyOptions { rows_per_second_max: spec.verification.rate, ..VerifyOptions::new(authority) };
    let comparison =
        Comparison { links: &sides.links, options, repairs: repair, redact: &spec.evidence, paused: None };
    let tables = comparison.run(&mut |progress| told(&verify_progress(progress))).await?;
    let on_their_way = tables.iter().map(|table| table.on_their_way).sum();
    let waiting = match &known {
        Some(known) if known.wants_a_run() && !a_run_is_there(spec).await => on_their_way,
        _ => 0,
    };
    let kept_in = match &known {
        // What waits for a run that isn't there is no proof for a gate, nor what was compared by another plan.
        Some(known) if waiting == 0 && spec_changed.is_empty() => known.keep(spec, &tables).await?,
        _ => None,
    };
    Ok(JobReport {
        bytes: tables.iter().map(|table| table.bytes).sum(),
        tables,
        took: began.elapsed(),
        copy_took: Duration::ZERO,
        changed_meanwhile: false,
        kept_in,
        spec_changed,
        waiting,
    })
}

/// Whether somebody answers where the run file says that the run is. What is asked of it, nobody needs here.
async fn a_run_is_there(spec: &Spec) -> bool {
    const WITHIN: Duration = Duration::from_secs(1);
    let Ok(run) = RunFile::read(&RunFile::path_of(spec.folder(), &spec.name)) else { return false };
    let connected = tokio::time::timeout(WITHIN, tokio::net::TcpStream::connect(&run.address)).await;
    matches!(connected, Ok(Ok(_)))
}

/// What the migration's state says at the beginning of a comparison.
struct Known {
    state: SqliteState,
    record: Control,
    clock: Clock,
    began: Millis,
}

impl Known {
    /// `None`: no run ever was.
    async fn find(spec: &Spec, told: Option<&Path>, sides: &Sides) -> Result<Option<Self>, ControlError> {
        let clock = Clock::system();
        let began = clock.now();
        let path = told.map_or_else(|| state_of(spec), Path::to_owned);
        let record = match SqliteState::open_existing(&path, &spec.name).await? {
            Some(state) => agreed(spec, &state, sides).await?.map(|record| (state, record)),
            None if told.is_some() => {
                return Err(ControlError::State {
                    path,
                    doing: "it can't be read",
                    cause: "there is no such file".to_owned(),
                    remedy: "Name the file that `changeover run --state` was given",
                });
            }
            None => None,
        };
        if let Some((state, record)) = record {
            return Ok(Some(Self { state, record, clock, began }));
        }
        match super::installed_by_a_run(sides).await? {
            None => Ok(None),
            Some((side, what)) => Err(ControlError::Refused(format!(
                "a run of `{}` has begun ({what} is installed on the {side} side), but {} isn't its state, so which side is \
                 right isn't known. Say where it is: --state FILE",
                spec.name,
                path.display()
            ))),
        }
    }

    /// With dual write an instance may know a later state than this one, which nothing in the databases shows: by an older
    /// one's word the rows that are right would be overwritten. So each must have been heard by a run.
    ///
    /// # Errors
    /// With those that weren't.
    async fn check_heard(&self, spec: &Spec) -> Result<(), ControlError> {
        if self.record.settings.mirror != Mirror::DualWrite || self.record.instances.is_empty() {
            return Ok(());
        }
        let refuse = |why: String| {
            Err(ControlError::Refused(format!(
                "{why}: it may know that the migration has moved on since this state, and then the rows that are right would be \
                 overwritten. Start what is missing, or say that it is gone (`changeover instances forget ID`)"
            )))
        };
        let run_file = RunFile::path_of(spec.folder(), &spec.name);
        let status = match ControlClient::of_run(&run_file) {
            Ok(run) => run.status().await.ok(),
            Err(_) => None,
        };
        let Some(status) = status else {
            let known: Vec<String> = self.record.instances.keys().map(ToString::to_string).collect();
            return refuse(format!("no run is there to hear {}", known.join(", ")));
        };
        let unheard: Vec<&str> =
            status.instances.iter().filter(|instance| instance.silent).map(|i| i.id.as_str()).collect();
        if unheard.is_empty() {
            Ok(())
        } else {
            refuse(format!("the run hasn't heard {}", unheard.join(", ")))
        }
    }

    /// Whether nobody but a run carries changes: triggers log them. What waits in `new` is for a way back.
    fn wants_a_run(&self) -> bool {
        self.record.settings.mirror == Mirror::Capture
            && matches!(self.record.place.phase, Phase::Shadow | Phase::ReverseShadow)
    }

    /// What of the mapping, or of its tables, is another than when the migration's run began.
    ///
    /// # Errors
    /// If rows are to be written by it: they would be others than those that the run writes beside.
    async fn changes(&self, spec: &Spec, sides: &Sides, repair: bool) -> Result<Vec<String>, ControlError> {
        let mut changes = self.spec_changes(spec, repair).await?;
        if begun(Some(&self.record)) != Phase::Old
            && let Some(tables) = changed_tables(sides, &self.state).await?
        {
            if repair {
                return Err(ControlError::Spec(format!(
                    "the tables aren't as they were when the migration's run began: {tables}. Make them so again, or have the run \
                     take them in: stop it, `changeover check`, and start it; then repair"
                )));
            }
            changes.push(tables);
        }
        Ok(changes)
    }

    async fn spec_changes(&self, spec: &Spec, repair: bool) -> Result<Vec<String>, ControlError> {
        let Some(of_run) = spec_of_run(&self.state).await? else { return Ok(Vec::new()) };
        let changes = spec.fingerprint().changes_since(&of_run);
        let matter = |changed: &&Changed| matches!(changed.effect, Effect::Fixed | Effect::Generation);
        let changes: Vec<String> = changes.iter().filter(matter).map(ToString::to_string).collect();
        if repair && !changes.is_empty() {
            return Err(ControlError::Spec(format!(
                "{}: the migration `{}` goes by the spec as it was, and so does its mirror. Change it back to repair; to go on with \
                 the new one, `changeover rollback --to old` first, and begin anew",
                changes.join("; "),
                spec.name
            )));
        }
        Ok(changes)
    }

    /// The side that answers now, for each key.
    ///
    /// # Errors
    /// In the middle of a move nobody can say.
    fn authority(&self, migration: &str) -> Result<Authority, ControlError> {
        let target = &self.record.target;
        if !target.has_hold() {
            return Ok(Authority::of(migration, target));
        }
        Err(ControlError::Refused(
            "the migration is in the middle of a move: which side is right can't be said. Wait, or ask the run by \
             `changeover status`"
                .to_owned(),
        ))
    }

    /// Keeps what was found as a run would, if the migration stood still meanwhile, the sides are to be equal in its phase,
    /// and its run has the same spec: another's rules may count other rows as equal. Where it is kept.
    async fn keep(&self, spec: &Spec, tables: &[TableReport]) -> Result<Option<PathBuf>, ControlError> {
        let Some(generation) = self.record.backfill.map(|backfill| backfill.generation) else {
            return Ok(None);
        };
        let now = barrier::load(&self.state).await?.map(|(_, record)| record);
        let stood_still = now.is_some_and(|now| {
            now.target.version == self.record.target.version
                && now.backfill == self.record.backfill
                && now.last_unclean == self.record.last_unclean
        });
        // One that a run began later knows better.
        let newer = self.state.verifications(1).await?.pop();
        let overtaken = newer.is_some_and(|newer| newer.evidence.began >= self.began);
        let same_spec = spec_of_run(&self.state).await? == Some(spec.fingerprint());
        if authority_to_verify(&spec.name, &self.record).is_none() || !stood_still || overtaken || !same_spec
        {
            return Ok(None);
        }
        let result = verified::record(tables, generation, self.began, self.clock.now());
        self.state.put_verification(&result).await?;
        let text = verified::sentence(&result, tables);
        let Asked { who, why } = asked();
        let entry = NewAudit { at_ms: result.ended_ms, who, kind: AuditKind::Copy, text, why };
        self.state.append_audit(&entry).await?;
        Ok(Some(self.state.path().to_owned()))
    }
}

/// The record, if the databases say the same. A move may come between the two looks: then both are made again.
async fn agreed(spec: &Spec, state: &SqliteState, sides: &Sides) -> Result<Option<Control>, ControlError> {
    const LOOKS: usize = 5;
    let mut problem = String::new();
    let mut before = None;
    for _ in 0..LOOKS {
        let Some((revision, record)) = barrier::load(state).await? else { return Ok(None) };
        if before == Some(revision) {
            break;
        }
        match disagreement(spec.mirror, sides, state, Some(&record)).await? {
            None => return Ok(Some(record)),
            Some(found) => (problem, before) = (found, Some(revision)),
        }
    }
    Err(ControlError::Disagreement { problem })
}

/// Where the state is: as the run says that is there, or was killed; else beside the spec.
pub(super) fn state_of(spec: &Spec) -> PathBuf {
    let run = RunFile::read(&RunFile::path_of(spec.folder(), &spec.name)).ok();
    run.and_then(|run| run.state).unwrap_or_else(|| spec.state_path())
}
