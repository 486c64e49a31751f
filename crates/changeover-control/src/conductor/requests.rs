//! The moves forward that people ask for, and what all moves share; the ways back are in `back`, other wishes in `wishes`.
//! Each is checked, written to the audit, handed to the machine, and answered when the machine has come to an end with it.

use std::time::Duration;

use changeover::Side;
use changeover::faults::fault_point;
use changeover_protocol::control::{ControlEvent, MoveReport, Outcome};
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::gate::{Judgement, Override, Verdict};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Phase, Place, Share};
use tokio::sync::broadcast;

use super::{Conductor, install};
use crate::asked::{Asked, asked};
use crate::barrier::sentence;
use crate::error::ControlError;
use crate::over::{self, RETIRED};
use crate::shares;
use crate::state::{AuditKind, NewAudit};

/// How long a move may take before its caller is told that it is under way: longer than the machine's patience.
const MOVE_WITHIN: Duration = Duration::from_secs(150);

/// How long to wait for the clean-up after another move.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait for the mirror to catch up before a fence is tried.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

/// What came of asking for a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where the migration stands.
    pub place: Place,
    /// What happened, in a sentence.
    pub text: String,
    /// How long writes were held, in milliseconds.
    pub held_ms: u64,
    /// It is under way still: the copy is made in the hold, or it waits.
    pub under_way: bool,
    /// What else a person should know.
    pub notes: Vec<String>,
}

impl Conductor {
    /// A line of the audit, by whoever asks for what this task does.
    pub(super) fn line(&self, kind: AuditKind, text: String) -> NewAudit {
        let Asked { who, why } = asked();
        NewAudit { at_ms: self.clock.now().0, who, kind, text, why }
    }

    pub(super) fn check_not_stopped(&self) -> Result<(), ControlError> {
        match self.stopped() {
            Some(problem) => Err(ControlError::Disagreement { problem }),
            None => Ok(()),
        }
    }

    pub(super) async fn one_at_a_time(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ControlError> {
        // What an earlier phase left is removed under the same lock, in a moment.
        tokio::time::timeout(CLEAN_UP_WITHIN, self.moving.lock()).await.map_err(|_| {
            ControlError::Refused("another move is being asked for: wait for it, or roll back".to_owned())
        })
    }

    /// Goes forward, to the next phase unless told otherwise, through the gates.
    ///
    /// # Errors
    /// [`ControlError::Gates`] with each gate that is shut; [`ControlError::GivenUp`] if the move was begun and turned
    /// around; what stood in the way otherwise. Dropping it doesn't stop the move.
    pub async fn advance(
        &self,
        to: Option<Phase>,
        share: Share,
        overrides: &[Override],
    ) -> Result<Moved, ControlError> {
        self.instances_heard().await;
        self.check_not_stopped()?;
        let one = self.one_at_a_time().await?;
        let record = self.barrier.record();
        let phases = self.plan.settings.phases;
        let next = if record.place.is_partial() {
            Some(record.place.phase)
        } else {
            phases.after(record.place.phase)
        };
        // Asked again, as by whoever lost the answer.
        if to != Some(Phase::Retired)
            && let Some(over) = over::refusal(&record, &self.plan.name, None)
        {
            return Err(over);
        }
        let Some(to) = to.or(next) else {
            return Err(ControlError::Refused(format!("nothing comes after {}", record.place)));
        };
        if record.shift.is_none() && record.place == Place::whole(to) && share == Share::ALL {
            drop(one);
            let mut there = self.still_under_way("it is there already");
            if to == Phase::Retired {
                there.notes = self.retired().await;
            }
            return Ok(there);
        }
        if record.shift.is_none() && Some(to) != next {
            if phases.list().take_while(|phase| *phase != record.place.phase).any(|phase| phase == to) {
                return Err(ControlError::Refused(format!(
                    "the migration is in {}, and {to} lies behind it: `changeover rollback --to {to}`",
                    record.place
                )));
            }
            // Said before any gate is: it isn't what is next.
            let next = next.map_or_else(|| "nothing".to_owned(), |next| next.to_string());
            return Err(ControlError::Refused(format!(
                "the migration is in {}, and next is {next}, not {to}: a move forward goes one phase at a time",
                record.place
            )));
        }
        let moved_already = record.place.is_partial() && to == record.place.phase;
        if record.shift.is_none() && moved_already && share <= record.place.share {
            if share == record.place.share {
                return Ok(self.still_under_way("it is there already"));
            }
            return Err(ControlError::Refused(format!(
                "{} of the keys have moved already: a share can grow, as by `changeover advance --share 50%`; all of it goes back by \
                 `changeover rollback`",
                record.place.share
            )));
        }
        if share != Share::ALL {
            shares::refuse(&self.sides.counted_twice)?;
        }
        if to != Phase::Retired {
            self.check_plan().await?;
        }
        self.check_flag_file().await?;
        if let Some(lost) = self.state.lost() {
            return Err(ControlError::Refused(lost));
        }
        let now = self.clock.now().0;
        if let Some(why) = self.progress.borrow().obstacle_forward(now) {
            return Err(ControlError::Refused(format!(
                "{why}. Nothing moves forward before it is well again"
            )));
        }
        let judgement = self.judge(to, overrides).await?;
        if !judgement.is_open() {
            let mut blocked = blocked(&judgement);
            if *self.paused.borrow() {
                blocked.insert(
                    0,
                    "paused: backfill and verification rest; needs `changeover resume`".to_owned(),
                );
            }
            return Err(ControlError::Gates { into: to.to_string(), blocked });
        }
        for result in judgement.gates.iter().filter(|result| result.overridden.is_some()) {
            let reason = result.overridden.as_deref().unwrap_or_default();
            let text = format!("the gate {} into {to} is overridden", result.gate);
            let why = Some(reason.to_owned());
            self.keep(NewAudit { why, ..self.line(AuditKind::Override, text) }).await;
        }
        install::check_fences(&self.sides).await?;
        if to == Phase::Retired {
            self.try_retiring().await?;
        }
        self.prepare(to).await?;
        self.pass_preconditions(record.place.phase, to).await?;
        if to == Phase::Retired {
            // Of an earlier life, if at all: `adopt` may have come between.
            self.state.set(RETIRED, None).await?;
        }
        let event = ControlEvent::Advance { to, share };
        let part = if share == Share::ALL { String::new() } else { format!(", for {share} of the keys") };
        let went = self.go(event, format!("advance to {to}{part}")).await;
        let now = self.barrier.record();
        if matches!(went, Err(ControlError::Protocol(_)))
            && now.place.phase == Phase::Old
            && now.shift.is_none()
        {
            // It wasn't even begun: nothing stays installed for it.
            self.clean_up(Phase::Old).await?;
        }
        drop(one);
        let mut moved = went?;
        if moved.place.phase == Phase::Retired && !moved.under_way {
            moved.notes = self.retired().await;
        }
        Ok(moved)
    }

    /// The plan carries the columns that were there when it was made. By one that no longer fits the tables nothing goes
    /// forward: what it doesn't know would be left behind, and no verification would miss it.
    async fn check_plan(&self) -> Result<(), ControlError> {
        match self.plan_outdated().await? {
            Some(why) => Err(ControlError::Refused(why)),
            None => Ok(()),
        }
    }

    /// In which way the plan no longer fits the tables, if so, and what follows.
    pub(crate) async fn plan_outdated(&self) -> Result<Option<String>, ControlError> {
        let over = self.barrier.record().place.phase == Phase::Retired;
        // The end renames them.
        let changes = if over { None } else { self.sides.outdated().await? };
        Ok(changes.map(|changes| outdated(&changes)))
    }

    /// Puts in place what the phase needs, and looks whether its fence can be moved within the budget.
    async fn prepare(&self, to: Phase) -> Result<(), ControlError> {
        let mirror = self.plan.settings.mirror;
        if to == Phase::Shadow && mirror == Mirror::Capture {
            // The follower's fence is set by it: what was mirrored before `old` isn't what is mirrored from now on.
            self.barrier.apply(ControlEvent::NextEpoch, None).await?;
        }
        let record = self.barrier.record();
        install::before_phase(&self.sides, to, mirror, record.epoch, self.plan.bounds).await?;
        let from = record.place.phase;
        let crosses = from.step().authority() != to.step().authority();
        if crosses && mirror == Mirror::Capture {
            // On the simple path the new side has been open to everybody until now.
            install::shut_follower(&self.sides, to.step().authority(), record.epoch).await?;
        }
        if from == Phase::Old && to != Phase::Old {
            self.note_identities().await?;
        }
        if to == Phase::Shadow {
            self.note(AuditKind::Install, "capture is installed on the old side".to_owned()).await;
        }
        if crosses && mirror == Mirror::Capture {
            if from.step().is_mirrored() {
                self.catch_up(from.step().authority()).await?;
            }
            fault_point(FaultPoint::ForwardPreconditionsHeld).await?;
        }
        Ok(())
    }

    /// Waits until the log can be drained within a part of the hold budget.
    async fn catch_up(&self, side: Side) -> Result<(), ControlError> {
        let most = self.progress.borrow().may_wait(self.plan.settings.hold_budget_ms.0);
        let deadline = tokio::time::Instant::now() + CATCH_UP_WITHIN;
        loop {
            let entries = self.sides.entries(side).await?;
            if entries <= most {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(ControlError::Refused(format!(
                    "the {side} side's log holds {entries} changes, and about {most} can be drained within the hold: \
                     wait until the mirror has caught up, or ask when there are fewer writes"
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The gap between a fence's preconditions and the record of its move.
    pub(super) async fn pass_preconditions(&self, from: Phase, to: Phase) -> Result<(), ControlError> {
        let (near, far) = (from.step().authority(), to.step().authority());
        if near == far || self.plan.settings.mirror != Mirror::Capture {
            return Ok(());
        }
        let point = match near {
            Side::Old => FaultPoint::ForwardPreconditionsHeld,
            Side::New => FaultPoint::BackPreconditionsHeld,
        };
        Ok(fault_point(point).await?)
    }

    /// Hands an event to the machine and follows what comes of it.
    pub(super) async fn go(&self, event: ControlEvent, asked: String) -> Result<Moved, ControlError> {
        let mut reports = self.barrier.reports();
        let goal = match &event {
            ControlEvent::Advance { to, share } | ControlEvent::Rollback { to, share, .. } => {
                Place { phase: *to, share: *share }
            }
            _ => self.barrier.record().place,
        };
        self.check_flag_file().await?;
        self.barrier.apply(event, Some(self.line(AuditKind::Request, asked))).await?;
        let follow = self.follow(&mut reports, goal);
        match tokio::time::timeout(MOVE_WITHIN, follow).await {
            Ok(answer) => answer,
            Err(_) => Ok(self.still_under_way("it takes long; `changeover status` says what it waits for")),
        }
    }

    pub(super) fn still_under_way(&self, text: &str) -> Moved {
        let record = self.barrier.record();
        Moved {
            place: record.place,
            text: text.to_owned(),
            held_ms: 0,
            under_way: record.shift.is_some(),
            notes: Vec::new(),
        }
    }

    async fn follow(
        &self,
        reports: &mut broadcast::Receiver<MoveReport>,
        goal: Place,
    ) -> Result<Moved, ControlError> {
        let mut turned = None;
        let mut held_ms = 0;
        loop {
            // A hold without a budget lasts as long as the copy does.
            let copying = async {
                let mut records = self.barrier.records();
                let _ = records.wait_for(|r| r.backfill.is_some_and(|b| b.in_hold && !b.done)).await;
            };
            let report = tokio::select! {
                biased;
                report = reports.recv() => report,
                () = copying => {
                    return Ok(self.still_under_way("writes are refused while the copy is made and verified"));
                }
            };
            let report = match report {
                Ok(report) => report,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(ControlError::Stopped {
                        part: "the barrier",
                        cause: "it has ended".to_owned(),
                    });
                }
            };
            held_ms = report.held_ms.0.max(held_ms);
            match &report.outcome {
                Outcome::Waiting(_) => {}
                Outcome::TurnedAround(_) => turned = Some(sentence(&report)),
                Outcome::Reached | Outcome::WentBack => {
                    let record = self.barrier.record();
                    if record.shift.is_some() {
                        continue;
                    }
                    let mut arrived = self.arrived(&report, record.place, turned, held_ms, goal);
                    if let Ok(moved) = &mut arrived {
                        moved.notes.extend(self.flag_is_shown().await);
                    }
                    return arrived;
                }
            }
        }
    }

    fn arrived(
        &self,
        report: &MoveReport,
        place: Place,
        turned: Option<String>,
        held_ms: u64,
        goal: Place,
    ) -> Result<Moved, ControlError> {
        match turned {
            // A move forward that a rollback turned around is what the rollback asked for.
            Some(why) if place != goal => {
                Err(ControlError::GivenUp { to: goal.to_string(), back_in: place.to_string(), why })
            }
            _ => Ok(Moved { place, text: sentence(report), held_ms, under_way: false, notes: Vec::new() }),
        }
    }
}

/// What is said of a plan that no longer fits its tables.
fn outdated(changes: &str) -> String {
    format!(
        "the tables aren't as they were when this run began: {changes}. What has changed isn't carried until the run is \
         stopped and started again; `changeover check` says what becomes of each column then"
    )
}

/// Each gate that is shut, and what would open it.
pub(crate) fn blocked(judgement: &Judgement) -> Vec<String> {
    judgement
        .blocking()
        .map(|result| match &result.verdict {
            Verdict::Closed { because, needs } => format!("{}: {because}; needs {needs}", result.gate),
            Verdict::Open | Verdict::NotAsked(_) => result.gate.to_string(),
        })
        .collect()
}
