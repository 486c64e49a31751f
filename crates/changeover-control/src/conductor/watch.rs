//! Looks continuously at what nobody tells: the logs' depth, the databases' identity, the fences, the evidence after a move.

mod databases;
mod logs;

use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover::store::fence::FenceState;
use changeover_protocol::moves::{
    Mirror, RollbackFacts, RollbackKind, RollbackSafety, WayBack, rollback_safety,
};
use changeover_protocol::{Control, Millis, Phase, Share};

pub(super) use self::databases::replaced_authority;
use super::{Conductor, Progress};
use crate::asked::{Asked, for_them};
use crate::error::ControlError;
use crate::state::AuditKind;

const EVERY: Duration = Duration::from_secs(1);

/// In how many rounds what is costly, or changes rarely, is looked at once.
const RARELY: u64 = 10;

/// In how many rounds evidence is joined into hours: every ten minutes.
const COMPACT: u64 = 600;

const HOUR_MS: u64 = 3_600_000;
/// Windows of a minute are kept for so long, of an hour for so long.
const MINUTES_KEPT_MS: u64 = 2 * HOUR_MS;
const HOURS_KEPT_MS: u64 = 90 * 24 * HOUR_MS;

/// A setting that is written only to see whether one can be.
const TRIED: &str = "tried";

impl Conductor {
    /// Watches until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let (mut round, mut bounded): (u64, bool) = (0, false);
        loop {
            let mut looked = self.look(round).await;
            if looked.is_ok() && !bounded {
                match self.bound_logs().await {
                    Ok(done) => bounded = done,
                    Err(error) => looked = Err(error),
                }
            }
            match looked {
                Ok(()) => self.well("watch").await,
                Err(error) => self.trouble("watch", &error.to_string()).await,
            }
            round = round.wrapping_add(1);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&self, round: u64) -> Result<(), ControlError> {
        self.try_the_state_again().await;
        if let Some(problem) = self.state.lost() {
            self.alert(problem).await;
        }
        // What the record says must be there is no word to go by, nor to put things right by.
        if self.stopped().is_some() {
            return Ok(());
        }
        self.look_at_logs().await?;
        // First the fences: what a rebuilt table took along decides whether what differs there may be overwritten.
        self.look_at_fences().await?;
        self.look_at_databases().await?;
        self.look_at_evidence().await?;
        if round.is_multiple_of(RARELY) {
            self.pay_fence().await?;
            self.keep_marks().await?;
            if let Some(why) = self.plan_outdated().await? {
                self.alert(why).await;
            }
        }
        if round.is_multiple_of(COMPACT) {
            let now = self.clock.now().0;
            let (minutes, hours) = (now.saturating_sub(MINUTES_KEPT_MS), now.saturating_sub(HOURS_KEPT_MS));
            self.state.compact_evidence(minutes, hours).await?;
        }
        Ok(())
    }

    /// A state that couldn't be written may be by now: its disk has room again.
    async fn try_the_state_again(&self) {
        let fails = |progress: &Progress| {
            ["state", "audit", "barrier"].iter().any(|part| progress.troubles.contains_key(part))
        };
        if !fails(&self.progress.borrow()) {
            return;
        }
        if self.state.set(TRIED, None).await.is_ok() {
            self.well("state").await;
            self.well("audit").await;
            self.well("barrier").await;
        }
    }

    /// A person should look at this; told once.
    pub(crate) async fn alert(&self, text: String) {
        let now = self.clock.now().0;
        let is_new = self.progress.send_if_modified(|progress| progress.alert(now, text.clone()));
        if is_new {
            self.note(AuditKind::Alert, text).await;
        }
    }

    /// What a rollback would be now.
    pub(crate) fn rollback_safety(&self) -> RollbackSafety {
        let record = self.barrier.record();
        let now = self.clock.now();
        let progress = self.progress.borrow();
        if progress.stopped.is_some() {
            let because = "state and databases disagree: where it would go back from isn't known".to_owned();
            return RollbackSafety { safe: false, kind: RollbackKind::Slow, since: record.since, because };
        }
        // From `shadow` nothing has to be carried: the old side has every write.
        let crosses = record.place.phase.step().authority() == Side::New;
        if record.place.phase != Phase::Old
            && let Some(because) = progress.obstacle(crosses, now.0)
        {
            let carried_nowhere = crosses && progress.mirror_fails(now.0).is_some();
            let kind = if carried_nowhere { RollbackKind::LeavesBehind } else { RollbackKind::Waits };
            return RollbackSafety { safe: false, kind, since: now, because };
        }
        let authority = record.place.phase.step().authority();
        rollback_safety(&RollbackFacts {
            place: record.place,
            entered: record.since,
            mirror: record.settings.mirror,
            way_back: record.way_back,
            dirty_keys: if progress.troubles.contains_key("watch") {
                None
            } else {
                progress.dirty(authority).or(Some(0))
            }
            .map(|logged| logged + record.instances.values().map(|i| i.vitals.dirty_keys).sum::<u64>()),
            drainable_keys: progress.drainable(self.plan.settings.hold_budget_ms.0),
            stuck: progress.stuck.clone(),
            dirty_since: Millis(progress.dirty_since_ms),
            silent: record.silent(now).map(ToString::to_string).collect(),
            silent_since: heard_last(&record, now),
            backfill_toward_old: record.backfill.is_some_and(|b| b.toward == Side::Old && !b.done),
            fills_in_hold: !record.settings.phases.reverse_shadow,
        })
    }

    /// After a move: a limit that is certainly passed sends the migration back, if nothing would be left behind; else it
    /// is an alert.
    async fn look_at_evidence(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        let moved = matches!(record.place.phase, Phase::ReverseShadow | Phase::New);
        if !moved || record.shift.is_some() || self.stopped().is_some() {
            return Ok(());
        }
        let Some(why) = self.reason_to_go_back().await? else { return Ok(()) };
        let safety = self.rollback_safety();
        if !self.plan.goes_back_by_itself || !safety.safe || safety.kind != RollbackKind::Instant {
            self.alert(format!("{why}; it does not go back by itself: {}", safety.because)).await;
            return Ok(());
        }
        self.alert(format!("{why}: the migration goes back by itself")).await;
        // A task of its own would outlive the reason; a move under way stops the next look.
        let run = Asked { who: "run".to_owned(), why: Some(why) };
        let back = Box::pin(for_them(run, self.rollback(None, Share::ALL, None)));
        if let Err(error) = back.await {
            self.alert(format!("the migration could not go back by itself: {error}")).await;
        }
        Ok(())
    }
}

/// Whether a side may have a log in this place.
pub(crate) fn needs_log(record: &Control, side: Side) -> bool {
    match record.place.phase {
        Phase::Old | Phase::Retired => record.shift.is_some() && side == Side::Old,
        Phase::Shadow => side == Side::Old || record.shift.is_some(),
        Phase::ReverseShadow => true,
        Phase::New => side == Side::New || record.shift.is_some(),
    }
}

/// Whether a side's capture must be there, or changes are lost.
pub(super) fn must_capture(record: &Control, side: Side) -> bool {
    match (record.place.phase, record.settings.mirror) {
        (Phase::Shadow, _) => side == Side::Old,
        (Phase::ReverseShadow, Mirror::DualWrite) => record.place.is_partial() || side == Side::New,
        (Phase::ReverseShadow, Mirror::Capture) => side == Side::New,
        (Phase::New, Mirror::Capture) => side == Side::New && record.way_back == WayBack::Open,
        (Phase::New, Mirror::DualWrite) | (Phase::Old | Phase::Retired, _) => false,
    }
}

/// What the fence of a side must say in a phase, between moves, with capture; whether applications may write.
pub(super) const fn must_be_open(phase: Phase, side: Side) -> bool {
    match (phase, side) {
        (Phase::Old | Phase::Shadow, Side::Old) => true,
        // In `old` nothing is fenced, or not any more; but for what a way back leaves fenced, which nobody holds against it.
        (Phase::Old, Side::New) => true,
        (Phase::Shadow, Side::New) | (Phase::ReverseShadow | Phase::New, Side::Old) => false,
        (Phase::ReverseShadow | Phase::New, Side::New) => true,
        // Everything is removed.
        (Phase::Retired, _) => true,
    }
}

/// The word of the fence, for people.
pub(super) const fn fence_name(state: FenceState) -> &'static str {
    match state {
        FenceState::Open => "open",
        FenceState::Shut => "shut",
        FenceState::Moved => "moved",
    }
}

/// When the first of those that are silent was heard last; now, if nobody is silent.
fn heard_last(record: &Control, now: Millis) -> Millis {
    let silent = record.silent(now).filter_map(|id| record.instances.get(id));
    silent.map(|instance| instance.heard).min().unwrap_or(now)
}
