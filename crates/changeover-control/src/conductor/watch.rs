//! Looks continuously at what nobody tells: the logs' depth, the databases' identity, the fences, the evidence after a move.

use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover::store::Store;
use changeover::store::capture::Depth;
use changeover::store::fence::FenceState;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::{
    Mirror, RollbackFacts, RollbackKind, RollbackSafety, UncleanEvent, WayBack, rollback_safety,
};
use changeover_protocol::{Control, Millis, Phase, Share};

use super::{Conductor, Progress, install};
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
            if let Some(problem) = self.state.lost() {
                self.alert(problem).await;
            }
            self.pay_fence().await?;
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

    // ---- the logs

    async fn look_at_logs(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        for side in [Side::Old, Side::New] {
            let mut all = Depth::default();
            let mut any = false;
            for store in self.sides.of(side) {
                let Some(log) = store.capture() else { continue };
                if !needs_log(&record, side) || !log.installed().await? {
                    continue;
                }
                let depth = log.depth().await?;
                any = true;
                all.entries += depth.entries;
                all.oldest_ms = all.oldest_ms.max(depth.oldest_ms);
                all.span = all.span.max(depth.span);
                all.bound = all.bound.max(depth.bound);
                all.overflowed |= depth.overflowed;
                if depth.overflowed {
                    self.overflowed(side).await?;
                }
            }
            self.note_depth(side, any.then_some(all));
            if any {
                self.look_at_bound(&record, side, all).await?;
            }
        }
        Ok(())
    }

    /// The bounds that the spec gives may be others than when the logs were installed. Whether they are these now.
    async fn bound_logs(&self) -> Result<bool, ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(false) };
        let record = self.barrier.record();
        if record.shift.is_some() || self.stopped().is_some() {
            return Ok(false);
        }
        for side in [Side::Old, Side::New].into_iter().filter(|side| must_capture(&record, *side)) {
            install::capture(&self.sides, side, self.plan.bounds).await?;
        }
        Ok(true)
    }

    fn note_depth(&self, side: Side, depth: Option<Depth>) {
        let now = self.clock.now().0;
        let drainable = self.drainable();
        self.progress.send_modify(|progress| {
            match depth {
                Some(depth) => progress.logs.insert(side, depth),
                None => progress.logs.remove(&side),
            };
            let few = progress.logs.values().all(|depth| depth.entries <= drainable);
            if few != progress.dirty_few || progress.dirty_since_ms == 0 {
                (progress.dirty_few, progress.dirty_since_ms) = (few, now);
            }
        });
    }

    /// How many keys can be synced within the hold's budget.
    fn drainable(&self) -> u64 {
        self.progress.borrow().drainable(self.plan.settings.hold_budget_ms.0)
    }

    /// Changes weren't logged. The log begins anew, and the verification that follows repairs what was missed: it reads
    /// every row after the log began, so that nothing falls between.
    ///
    /// Never within a move, nor while one is being judged: an emptied log would say that no key is dirty. Until then the log's
    /// mark keeps the move from going on.
    async fn overflowed(&self, side: Side) -> Result<(), ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(()) };
        if self.barrier.record().shift.is_some() {
            return Ok(());
        }
        let bounds = self.plan.bounds;
        for store in self.sides.of(side) {
            let Some(log) = store.capture() else { continue };
            if log.depth().await?.overflowed {
                install::patiently(|| log.reset()).await?;
                install::patiently(|| log.install(install::capture_options(side, bounds))).await?;
            }
        }
        self.tell(ControlEvent::Unclean(UncleanEvent::LogOverflowed { side })).await;
        Ok(())
    }

    async fn look_at_bound(&self, record: &Control, side: Side, depth: Depth) -> Result<(), ControlError> {
        let in_way_back = record.place.phase == Phase::New && record.shift.is_none() && side == Side::New;
        if in_way_back && record.way_back == WayBack::Open {
            let now = self.clock.now();
            let too_long = now.since(record.since) >= self.plan.way_back_ms;
            // Not while somebody prepares the way back.
            let nobody_moves = self.moving.try_lock();
            let still = self.barrier.record().revision == record.revision;
            if (too_long || depth.span >= depth.bound) && nobody_moves.is_ok() && still {
                let why = if too_long { "its time is over" } else { "its log is at its bound" };
                self.tell(ControlEvent::WayBackEnded).await;
                install::remove_capture(&self.sides, Side::New).await?;
                self.alert(format!(
                    "the way back from new has ended, because {why}: a rollback fills the old side anew"
                ))
                .await;
                return Ok(());
            }
        }
        if depth.bound > 0 && depth.span >= depth.bound / 2 {
            self.alert(format!("the {side} side's log is over half of its bound of {} changes", depth.bound))
                .await;
        }
        Ok(())
    }

    // ---- the databases

    async fn look_at_databases(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        if record.shift.is_some() || matches!(record.place.phase, Phase::Old | Phase::Retired) {
            return Ok(());
        }
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                self.look_at_identity(&**store, side).await?;
                let Some(log) = store.capture() else { continue };
                if must_capture(&record, side) && !log.installed().await? {
                    let detail = "its capture was removed or changed; it is installed again".to_owned();
                    install::capture(&self.sides, side, self.plan.bounds).await?;
                    let table = format!("{} ({side})", store.info().name);
                    self.tell(ControlEvent::Unclean(UncleanEvent::TableChanged { table, detail })).await;
                }
            }
        }
        Ok(())
    }

    /// What the databases are as a migration begins: whatever they are later is held against that.
    pub(super) async fn note_identities(&self) -> Result<(), ControlError> {
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                let (name, now, _) = identity(&**store, side).await?;
                self.state.set(&name, Some(&now.to_string())).await?;
            }
        }
        Ok(())
    }

    async fn look_at_identity(&self, store: &dyn Store, side: Side) -> Result<(), ControlError> {
        let (name, now, older) = identity(store, side).await?;
        let known = self.state.setting(&name).await?.and_then(|text| serde_json::from_str(&text).ok());
        let Some(known): Option<serde_json::Value> = known else {
            return self.state.set(&name, Some(&now.to_string())).await;
        };
        if known == now && !older {
            return Ok(());
        }
        let record = self.barrier.record();
        let is_another = older || known["server"] != now["server"];
        if is_another && is_authority(&record, side) {
            // The move may have come between.
            if self.barrier.record().revision == record.revision {
                self.stop(&replaced(store, side)).await;
            }
            return Ok(());
        }
        self.state.set(&name, Some(&now.to_string())).await?;
        let event = if is_another {
            let older = if older { ", with an older content" } else { "" };
            let detail = format!("{}{older}, expected {}", now["server"], known["server"]);
            UncleanEvent::ServerChanged { side, detail }
        } else {
            let table =
                format!("{} ({side} side, store {})", changed_tables(&known, &now), store.info().name);
            UncleanEvent::TableChanged { table, detail: "its definition is another than it was".to_owned() }
        };
        self.tell(ControlEvent::Unclean(event)).await;
        Ok(())
    }

    /// Between moves the fences must say what the phase says; if not, somebody else was there, or the state is an old one.
    async fn look_at_fences(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        if record.shift.is_some() || self.plan.settings.mirror != Mirror::Capture {
            return Ok(());
        }
        if let Some(problem) = super::adopt::fence_problem(&self.sides, &record).await? {
            // The record may have moved on while the databases were asked.
            if self.barrier.record().revision == record.revision {
                self.stop(&problem).await;
            }
            return Ok(());
        }
        self.put_fences_back(&record).await
    }

    /// A fence whose triggers are gone, as with a table that somebody rebuilt, lets everybody write to the side that follows.
    async fn put_fences_back(&self, record: &Control) -> Result<(), ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(()) };
        if self.barrier.record().revision != record.revision {
            return Ok(());
        }
        for side in [Side::Old, Side::New] {
            for store in self.sides.of(side) {
                let Some(fence) = store.fence() else { continue };
                if fence.is_whole().await? {
                    continue;
                }
                let at = fence.look().await?;
                install::patiently(|| fence.set(at.state, at.epoch)).await?;
                self.tell(ControlEvent::Unclean(UncleanEvent::FenceRemoved { side })).await;
                self.alert(format!(
                    "{}: the rows that differ now are shown by `changeover verify SPEC`, and nothing overwrites them before \
                     you say `--repair`",
                    UncleanEvent::FenceRemoved { side }
                ))
                .await;
            }
        }
        Ok(())
    }

    // ---- the evidence

    /// What a rollback would be now.
    pub(crate) fn rollback_safety(&self) -> RollbackSafety {
        let record = self.barrier.record();
        let now = self.clock.now();
        let progress = self.progress.borrow();
        if progress.stopped.is_some() {
            let because = "state and databases disagree: where it would go back from isn't known".to_owned();
            return RollbackSafety { safe: false, kind: RollbackKind::Slow, since: record.since, because };
        }
        if record.place.phase != Phase::Old
            && let Some(because) = progress.obstacle(now.0)
        {
            return RollbackSafety { safe: false, kind: RollbackKind::Waits, since: now, because };
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

/// The mappings whose tables have another definition than they had.
fn changed_tables(known: &serde_json::Value, now: &serde_json::Value) -> String {
    let list = |identity: &serde_json::Value| identity["tables"].as_array().cloned().unwrap_or_default();
    let before = list(known);
    let changed = list(now).into_iter().filter(|table| !before.contains(table));
    let names: Vec<String> = changed.filter_map(|table| table[0].as_str().map(str::to_owned)).collect();
    names.join(", ")
}

/// The setting that a store's identity is kept by, the identity, and whether its content is older than it was.
async fn identity(store: &dyn Store, side: Side) -> Result<(String, serde_json::Value, bool), ControlError> {
    let seen = store.identity().await?;
    let tables: Vec<_> =
        seen.tables.iter().map(|(table, is)| (table.as_str().to_owned(), is.clone())).collect();
    let now = serde_json::json!({ "server": seen.server, "tables": tables });
    Ok((format!("identity {} {side}", store.info().name), now, seen.older))
}

/// Whether this side answers for any key.
fn is_authority(record: &Control, side: Side) -> bool {
    record.target.assignments.iter().any(|slots| slots.step.authority() == side)
}

fn replaced(store: &dyn Store, side: Side) -> String {
    format!(
        "the {side} side's database ({}) is another one than it was, though it is the side that answers: was its file replaced, or \
         put back from a backup? What it lacks would be taken from the other side as well. Put the right one in its place; \
         if this is the right one, say so by adopting it",
        store.info().name
    )
}

/// Whether the database of a side that answers was replaced while no run was there.
///
/// # Errors
/// If it can't be asked.
pub(super) async fn replaced_authority(
    sides: &super::Sides,
    state: &dyn crate::state::StateStore,
    record: &Control,
) -> Result<Option<String>, ControlError> {
    if matches!(record.place.phase, Phase::Old | Phase::Retired) {
        return Ok(None);
    }
    for side in [Side::Old, Side::New].into_iter().filter(|side| is_authority(record, *side)) {
        for store in sides.of(side) {
            let (name, now, _) = identity(&**store, side).await?;
            let known = state.setting(&name).await?;
            let known: Option<serde_json::Value> = known.and_then(|text| serde_json::from_str(&text).ok());
            if known.is_some_and(|known| known["server"] != now["server"]) {
                return Ok(Some(replaced(&**store, side)));
            }
        }
    }
    Ok(None)
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
