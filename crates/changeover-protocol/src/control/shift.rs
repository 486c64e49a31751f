//! A move under way: from one place to the next, hold by hold, and back again if it can't be done in time.

use super::{Control, ControlAction, Epoch, MoveReport, Outcome, Refusal, TurnReason};
use crate::moves::{self, Consequence, Mirror, UncleanEvent, WayBack};
use crate::place::{Place, Share};
use crate::slots::{SLOTS, Slot};
use crate::step::{Phase, Side, Step};
use crate::target::{Direction, Target, Version, assignments};
use crate::time::Millis;

/// How far the store's fence is, of the move under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FenceState {
    /// Nothing was asked of it, or all of that was undone.
    Idle,
    /// It is being moved.
    Requested,
    /// It says *moved*; neither side takes writes.
    Moved,
    /// The other side's is being opened: there is only forward.
    Opening,
    /// The other side takes writes.
    Opened,
    /// It is being undone.
    Undoing,
}

/// A move under way. It goes leg by leg; a leg joins two neighbouring places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shift {
    /// Where the present leg comes from.
    pub from: Place,
    /// Where the present leg goes.
    pub to: Place,
    /// Where the whole move goes.
    pub goal: Place,
    /// It turned around, and goes back to where the leg came from (which is in `to` now).
    pub turned: bool,
    /// The leg went over to the second hold.
    pub crossed: bool,
    /// Keys that can't be synced are left behind.
    pub leave_behind: bool,
    /// When the leg began.
    pub began: Millis,
    /// When its first hold was published.
    pub held_since: Option<Millis>,
    /// When it turns around.
    pub deadline: Option<Millis>,
    /// Whether the present target must be acknowledged before the next is published.
    pub needs_acknowledgements: bool,
    /// The version for which all moving keys were found in sync.
    pub synced: Option<Version>,
    /// The version for which that was asked.
    pub asked: Option<Version>,
    /// The log kept for the way back is drained.
    pub drained: bool,
    /// How far the fence is.
    pub fence: FenceState,
    /// When it was last told that it waits.
    pub told: Millis,
}

/// What a move needs before its next target.
enum Need {
    /// Nothing: publish it.
    Nothing,
    /// Wait for this, having asked for it.
    Wait(&'static str),
}

impl Shift {
    fn new(now: Millis, from: Place, to: Place, goal: Place, leave_behind: bool) -> Self {
        Self {
            from,
            to,
            goal,
            turned: false,
            crossed: false,
            leave_behind,
            began: now,
            held_since: None,
            deadline: None,
            needs_acknowledgements: true,
            synced: None,
            asked: None,
            drained: false,
            fence: FenceState::Idle,
            told: now,
        }
    }

    /// The way the fleet moves now.
    #[must_use]
    pub fn direction(&self) -> Direction {
        moves::direction(self.from, self.to)
    }

    /// The first slot that moves; `None` if none does, as into `retired`.
    fn probe(&self) -> Option<Slot> {
        (0..SLOTS).map(Slot::new).find(|&slot| self.from.step(slot) != self.to.step(slot))
    }
}

impl Control {
    // ---- what people ask for

    pub(super) fn advance(&mut self, now: Millis, to: Place) -> Result<(), Refusal> {
        if let Some(shift) = &self.shift {
            return Err(Refusal::MoveUnderWay { to: shift.to });
        }
        self.check_place(to)?;
        let next = self.next_phase();
        let is_next = next.is_some_and(|next| next.phase == to.phase) && to.is_past(self.place);
        if !is_next {
            return Err(Refusal::NotNext { asked: to, next });
        }
        if let Some(backfill) = self.backfill.filter(|b| !b.done)
            && to.phase != Phase::Retired
        {
            return Err(Refusal::BackfillUnderWay(backfill.generation));
        }
        let mut shift = Shift::new(now, self.place, to, to, false);
        shift.deadline = Some(now.plus(self.settings.patience_ms));
        if self.leg_is_held(&shift) && self.hold_budget(&shift).is_some() {
            self.check_speed()?;
        }
        self.hear_all(now);
        self.shift = Some(shift);
        Ok(())
    }

    pub(super) fn rollback(
        &mut self,
        now: Millis,
        to: Place,
        leave_behind: bool,
        actions: &mut Vec<ControlAction>,
    ) -> Result<(), Refusal> {
        self.check_place(to)?;
        let to = if to.share.is_empty() { Place::reversed(to.share) } else { to };
        let Some(shift) = self.shift.clone() else {
            if !self.place.is_past(to) {
                return Err(Refusal::NotBack { asked: to, at: self.place });
            }
            let leg = self.leg_back(self.place, to);
            self.shift = Some(Shift::new(now, self.place, leg, to, leave_behind));
            self.hear_all(now);
            return Ok(());
        };
        let forward = shift.direction() == Direction::Forward && !shift.turned;
        if forward && matches!(shift.fence, FenceState::Opening | FenceState::Opened) {
            return Err(Refusal::PastNoReturn);
        }
        // Past the end of a turned leg lies the place from which the rollback goes on.
        let behind = if forward { shift.from } else { shift.to };
        if to.is_past(behind) {
            return Err(Refusal::NotBack { asked: to, at: behind });
        }
        if let Some(shift) = &mut self.shift {
            shift.leave_behind |= leave_behind;
        }
        if forward {
            self.turn_around(now, TurnReason::Asked, actions);
        }
        if let Some(shift) = &mut self.shift {
            shift.goal = to;
        } else if self.place.is_past(to) {
            let leg = self.leg_back(self.place, to);
            self.shift = Some(Shift::new(now, self.place, leg, to, leave_behind));
        }
        Ok(())
    }

    fn check_place(&self, place: Place) -> Result<(), Refusal> {
        let phases = self.settings.phases;
        if self.place.phase == Phase::Retired {
            return Err(Refusal::Retired);
        }
        if !phases.has(place.phase) {
            return Err(Refusal::NoSuchPhase(place.phase));
        }
        let share_fits =
            place.phase == Phase::ReverseShadow && phases.shadow && self.settings.mirror == Mirror::DualWrite;
        if place.is_partial() && !share_fits { Err(Refusal::NoShare) } else { Ok(()) }
    }

    /// What is next on the way forward: the rest of the keys first.
    fn next_phase(&self) -> Option<Place> {
        if self.place.is_partial() {
            Some(Place::whole(self.place.phase))
        } else {
            self.settings.phases.after(self.place.phase).map(Place::whole)
        }
    }

    /// The next place on the way back from `at` to `goal`.
    fn leg_back(&self, at: Place, goal: Place) -> Place {
        if at.phase == goal.phase {
            return goal;
        }
        match self.settings.phases.before(at.phase) {
            Some(phase) if phase != goal.phase => Place::whole(phase),
            _ => goal,
        }
    }

    fn check_speed(&self) -> Result<(), Refusal> {
        let budget_ms = self.settings.hold_budget_ms.0;
        match self.longest() {
            Some((instance, slowest_ms)) if slowest_ms >= budget_ms => {
                Err(Refusal::TooSlow { instance, slowest_ms, budget_ms })
            }
            _ => Ok(()),
        }
    }

    fn longest(&self) -> Option<(crate::member::InstanceId, u64)> {
        let slowest = self.instances.iter().filter_map(|(id, i)| i.vitals.slowest_ms.map(|ms| (id, ms)));
        slowest.max_by_key(|&(_, ms)| ms).map(|(id, ms)| (id.clone(), ms))
    }

    // ---- the way on

    /// Goes as far as can be gone now. Each round publishes a target or ends a leg, so there are few.
    pub(super) fn progress(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        while self.go_on(now, actions) {}
    }

    fn go_on(&mut self, now: Millis, actions: &mut Vec<ControlAction>) -> bool {
        let Some(shift) = self.shift.clone() else { return false };
        if shift.needs_acknowledgements && !self.is_acknowledged(now, &shift) {
            return false;
        }
        if self.is_at_end(&shift) {
            self.end_leg(now, actions);
            return true;
        }
        match self.need(&shift, actions) {
            Need::Nothing => {
                self.publish_next(now, actions);
                true
            }
            Need::Wait(_) => false,
        }
    }

    /// Where a hold lies behind, those that are silent are left out: they refuse what could do harm. Into the
    /// second hold, and out of it forward, nobody is: only one that acknowledged it is known to be there.
    fn is_acknowledged(&self, now: Millis, shift: &Shift) -> bool {
        if shift.turned || (shift.held_since.is_some() && self.is_at_end(shift)) {
            self.all_but_silent_acknowledged(now)
        } else {
            self.all_acknowledged(now)
        }
    }

    fn is_at_end(&self, shift: &Shift) -> bool {
        self.target.phase_shown == shift.to.phase_shown()
            && self.target.assignments == assignments(|slot| shift.to.step(slot))
    }

    fn leg_is_held(&self, shift: &Shift) -> bool {
        shift.probe().is_some_and(|slot| {
            let (from, to) = (shift.from.step(slot), shift.to.step(slot));
            from.authority() != to.authority()
        })
    }

    /// The budget of the leg's holds; none where nothing mirrors, so that the copy is made in the hold.
    fn hold_budget(&self, shift: &Shift) -> Option<Millis> {
        let start = if shift.turned { shift.to } else { shift.from };
        start.phase.step().is_mirrored().then_some(self.settings.hold_budget_ms)
    }

    /// Looks what the next target needs, and asks for it.
    fn need(&mut self, shift: &Shift, actions: &mut Vec<ControlAction>) -> Need {
        let Some(slot) = shift.probe() else { return Need::Nothing };
        let at = self.target.step(slot);
        let next = self.settings.phases.toward(at, shift.to.step(slot));
        match (at.is_hold(), next.is_hold()) {
            (false, true) => self.need_before_holds(shift),
            (true, true) if shift.turned => Need::Nothing,
            (true, true) => self.need_between_holds(shift, at, actions),
            (true, false) if shift.turned => self.need_undone(shift, next, actions),
            (true, false) => self.need_opened(shift, next, actions),
            (false, false) => self.need_way_back(shift, actions),
        }
    }

    fn need_before_holds(&self, shift: &Shift) -> Need {
        let filling = self.backfill.is_some_and(|backfill| !backfill.done);
        if filling && !shift.leave_behind { Need::Wait("the backfill isn't complete") } else { Need::Nothing }
    }

    fn need_between_holds(&mut self, shift: &Shift, at: Step, actions: &mut Vec<ControlAction>) -> Need {
        let captured = self.settings.mirror == Mirror::Capture;
        if captured && shift.fence != FenceState::Moved {
            if shift.fence == FenceState::Idle {
                self.epoch = self.epoch.next();
                self.ask_fence(FenceState::Requested, at.authority(), actions);
            }
            return Need::Wait("the store's fence isn't moved");
        }
        if self.hold_budget(shift).is_none() {
            match self.backfill.filter(|b| b.in_hold) {
                Some(backfill) if backfill.done => {}
                Some(_) => return Need::Wait("the copy isn't complete"),
                None => {
                    self.begin_generation(at.authority().other(), true, actions);
                    return Need::Wait("the copy isn't complete");
                }
            }
        }
        if captured || shift.leave_behind || shift.synced == Some(self.target.version) {
            return Need::Nothing;
        }
        if shift.asked != Some(self.target.version) {
            self.ask_sync(actions);
        }
        Need::Wait("keys are dirty, or a backfill is under way")
    }

    fn need_opened(&mut self, shift: &Shift, next: Step, actions: &mut Vec<ControlAction>) -> Need {
        match shift.fence {
            FenceState::Moved => {
                self.ask_fence(FenceState::Opening, next.authority(), actions);
                Need::Wait("the store's fence isn't open")
            }
            FenceState::Opening => Need::Wait("the store's fence isn't open"),
            FenceState::Opened | FenceState::Idle | FenceState::Requested | FenceState::Undoing => {
                Need::Nothing
            }
        }
    }

    fn need_undone(&mut self, shift: &Shift, next: Step, actions: &mut Vec<ControlAction>) -> Need {
        match shift.fence {
            FenceState::Idle => Need::Nothing,
            FenceState::Undoing => Need::Wait("the store's fence isn't undone"),
            FenceState::Requested | FenceState::Moved | FenceState::Opening | FenceState::Opened => {
                self.epoch = self.epoch.next();
                self.ask_fence(FenceState::Undoing, next.authority(), actions);
                Need::Wait("the store's fence isn't undone")
            }
        }
    }

    fn need_way_back(&mut self, shift: &Shift, actions: &mut Vec<ControlAction>) -> Need {
        let drains = !shift.turned
            && moves::consequence(shift.from, shift.to, self.settings.mirror, self.way_back)
                == Consequence::DrainWayBack;
        if !drains || shift.drained || shift.leave_behind {
            return Need::Nothing;
        }
        if shift.asked != Some(self.target.version) {
            actions.push(ControlAction::DrainWayBack);
            self.note_asked();
        }
        Need::Wait("the log kept for the way back isn't drained")
    }

    fn note_asked(&mut self) {
        let version = self.target.version;
        if let Some(shift) = &mut self.shift {
            shift.asked = Some(version);
        }
    }

    fn ask_sync(&mut self, actions: &mut Vec<ControlAction>) {
        actions.push(ControlAction::CheckSync { version: self.target.version });
        self.note_asked();
    }

    fn ask_fence(&mut self, state: FenceState, side: Side, actions: &mut Vec<ControlAction>) {
        let Some(shift) = &mut self.shift else { return };
        shift.fence = state;
        if state == FenceState::Opening {
            shift.deadline = None;
        }
        let leave_behind = shift.leave_behind;
        actions.extend(fence_action(state, self.epoch, side, leave_behind));
    }

    /// What was asked for and isn't answered, again: the process that was asked may be gone.
    pub(super) fn ask_again(&mut self, actions: &mut Vec<ControlAction>) {
        let Some(shift) = self.shift.clone() else { return };
        let Some(slot) = shift.probe() else { return };
        let at = self.target.step(slot);
        let next = self.settings.phases.toward(at, shift.to.step(slot));
        let side = if shift.fence == FenceState::Requested { at.authority() } else { next.authority() };
        actions.extend(fence_action(shift.fence, self.epoch, side, shift.leave_behind));
        if shift.asked == Some(self.target.version) && shift.synced.is_none() {
            if at.is_hold() {
                self.ask_sync(actions);
            } else if !shift.drained {
                actions.push(ControlAction::DrainWayBack);
            }
        }
    }

    fn publish_next(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        let Some(shift) = self.shift.clone() else { return };
        let phases = self.settings.phases;
        let here = self.target.clone();
        let moves = |slot: Slot| shift.from.step(slot) != shift.to.step(slot);
        let list = assignments(|slot| {
            let at = here.step(slot);
            if moves(slot) { phases.toward(at, shift.to.step(slot)) } else { at }
        });
        let direction = shift.direction();
        let is_back = direction == Direction::Back || shift.turned;
        let mut next = Target {
            version: here.version.next(),
            direction,
            assignments: list,
            phase_shown: shift.to.phase_shown(),
            hold_budget_ms: None,
            hold_lease_ms: self.settings.hold_lease_ms,
            cut_off_ms: is_back.then_some(self.settings.hold_budget_ms),
        };
        if next.has_hold() {
            let origin = if shift.turned { shift.to } else { shift.from };
            next.phase_shown = origin.phase_shown();
            next.hold_budget_ms = self.hold_budget(&shift);
        }
        self.note_published(now, &next);
        self.target = next.clone();
        actions.push(ControlAction::Publish(next));
    }

    fn note_published(&mut self, now: Millis, next: &Target) {
        let deadline = self.shift.as_ref().and_then(|shift| self.hold_deadline(now, shift));
        let Some(shift) = &mut self.shift else { return };
        shift.needs_acknowledgements = true;
        shift.told = now;
        if next.has_hold() {
            if shift.held_since.is_none() {
                shift.held_since = Some(now);
                shift.deadline = deadline;
            }
            shift.crossed |= !shift.turned && next.has_second_hold();
        } else if shift.held_since.is_some() {
            // Out of the holds: nobody waits any more, and there is nothing to go back for.
            shift.deadline = None;
        }
    }

    /// When the holds turn around. On a way back what hangs is cut off after the budget, and must then outlive
    /// its writes.
    fn hold_deadline(&self, now: Millis, shift: &Shift) -> Option<Millis> {
        let budget = self.hold_budget(shift)?;
        Some(match shift.direction() {
            Direction::Forward => now.plus(budget),
            Direction::Back => now.plus(budget.times(2)).plus(self.settings.write_lifetime_ms),
        })
    }

    fn end_leg(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        let Some(shift) = self.shift.take() else { return };
        let outcome = if shift.turned { Outcome::WentBack } else { Outcome::Reached };
        self.place = shift.to;
        if !shift.turned {
            self.since = now;
            self.take_consequence(&shift, actions);
        }
        actions.push(ControlAction::Report(self.report(now, &shift, outcome)));
        if self.place != shift.goal && self.place.is_past(shift.goal) {
            let leg = self.leg_back(self.place, shift.goal);
            self.shift = Some(Shift::new(now, self.place, leg, shift.goal, shift.leave_behind));
        }
    }

    fn take_consequence(&mut self, shift: &Shift, actions: &mut Vec<ControlAction>) {
        let mirror = self.settings.mirror;
        match moves::consequence(shift.from, shift.to, mirror, self.way_back) {
            Consequence::NewGeneration { toward } => self.begin_generation(toward, false, actions),
            Consequence::MirrorStops if mirror == Mirror::Capture => self.way_back = WayBack::Open,
            Consequence::GenerationEnds | Consequence::MirrorStops => self.end_generation(actions),
            // Where nothing mirrors at the end either, the copy is stale from the first write on.
            Consequence::CopyInHold { .. } if !shift.to.phase.step().is_mirrored() => {
                self.end_generation(actions);
            }
            Consequence::CopyInHold { .. } | Consequence::PlacesChange | Consequence::DrainWayBack => {}
            Consequence::Retire => self.end_generation(actions),
        }
    }

    // ---- the way back

    /// Turns the leg around. Publishing the step before needs no acknowledgement: the fleet executes that one
    /// and the present one, which are neighbours.
    pub(super) fn turn_around(&mut self, now: Millis, reason: TurnReason, actions: &mut Vec<ControlAction>) {
        let Some(mut shift) = self.shift.take() else { return };
        let report = self.report(now, &shift, Outcome::TurnedAround(reason));
        actions.push(ControlAction::Report(report));
        std::mem::swap(&mut shift.from, &mut shift.to);
        shift.turned = true;
        shift.goal = shift.to;
        shift.needs_acknowledgements = false;
        shift.deadline = None;
        let copying = self.backfill.is_some_and(|b| b.in_hold);
        self.shift = Some(shift);
        if copying {
            self.end_generation(actions);
        }
        self.progress(now, actions);
    }

    pub(super) fn tick(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        self.age(now, actions);
        self.progress(now, actions);
        let Some(shift) = self.shift.clone() else { return };
        if shift.deadline.is_some_and(|deadline| now >= deadline) {
            let waiting_for = self.waiting_for(now, &shift);
            self.turn_around(now, TurnReason::OverBudget { waiting_for }, actions);
        } else if now >= shift.told.plus(self.settings.patience_ms) {
            let waiting = Outcome::Waiting(self.waiting_for(now, &shift));
            actions.push(ControlAction::Report(self.report(now, &shift, waiting)));
            if let Some(shift) = &mut self.shift {
                shift.told = now;
            }
        }
        self.ask_sync_again(actions);
    }

    fn ask_sync_again(&mut self, actions: &mut Vec<ControlAction>) {
        let version = self.target.version;
        let waits = self.target.has_hold()
            && self.shift.as_ref().is_some_and(|s| s.asked == Some(version) && s.synced != Some(version));
        if waits {
            self.ask_sync(actions);
        }
    }

    fn waiting_for(&self, now: Millis, shift: &Shift) -> String {
        let names = |list: Vec<String>| list.join(", ");
        let missing: Vec<String> = self.missing().map(ToString::to_string).collect();
        let ghosts: Vec<String> =
            self.ghosts.iter().filter(|g| now < g.until).map(|g| g.instance.to_string()).collect();
        if shift.needs_acknowledgements && !missing.is_empty() {
            return format!("no acknowledgement of version {} from {}", self.target.version, names(missing));
        }
        if shift.needs_acknowledgements && !ghosts.is_empty() {
            return format!("writes of {}, which is gone, may still land", names(ghosts));
        }
        match self.clone().need(shift, &mut Vec::new()) {
            Need::Wait(what) => what.to_owned(),
            Need::Nothing => "it is about to go on".to_owned(),
        }
    }

    fn report(&self, now: Millis, shift: &Shift, outcome: Outcome) -> MoveReport {
        MoveReport {
            from: shift.from,
            to: shift.to,
            outcome,
            missing: self.missing().cloned().collect(),
            held_ms: shift.held_since.map_or(Millis(0), |since| now.since(since)),
            longest: self.longest(),
        }
    }

    // ---- what the stores answer

    pub(super) fn synced(
        &mut self,
        now: Millis,
        version: Version,
        dirty: u64,
        backfill_under_way: bool,
        actions: &mut Vec<ControlAction>,
    ) {
        let journals_clean = self.no_dirty_journal();
        let is_current = version == self.target.version;
        let Some(shift) = &mut self.shift else { return };
        if !is_current || shift.asked != Some(version) || backfill_under_way {
            return;
        }
        if dirty == 0 && journals_clean {
            shift.synced = Some(version);
        } else if shift.leave_behind && dirty > 0 {
            shift.synced = Some(version);
            self.unclean(now, UncleanEvent::LeftBehind { keys: dirty }, actions);
        }
    }

    pub(super) fn fence_went(&mut self, epoch: Epoch, from: FenceState, to: FenceState) {
        let is_current = epoch == self.epoch;
        if let Some(shift) = self.shift.as_mut().filter(|shift| is_current && shift.fence == from) {
            shift.fence = to;
        }
    }

    pub(super) fn fence_failed(
        &mut self,
        now: Millis,
        epoch: Epoch,
        because: String,
        actions: &mut Vec<ControlAction>,
    ) {
        let is_current = epoch == self.epoch;
        if self.shift.as_ref().is_some_and(|s| is_current && s.fence == FenceState::Requested) {
            self.turn_around(now, TurnReason::Fence(because), actions);
        }
    }
}

fn fence_action(state: FenceState, epoch: Epoch, side: Side, leave_behind: bool) -> Option<ControlAction> {
    match state {
        FenceState::Requested => Some(ControlAction::StartFence { epoch, from: side, leave_behind }),
        FenceState::Opening => Some(ControlAction::OpenFence { epoch, side }),
        FenceState::Undoing => Some(ControlAction::UndoFence { epoch, from: side }),
        FenceState::Idle | FenceState::Moved | FenceState::Opened => None,
    }
}

/// The whole of a phase, for those who ask without a share.
impl From<Phase> for Place {
    fn from(phase: Phase) -> Self {
        Self { phase, share: Share::ALL }
    }
}
