//! A move under way: from one place to the next, hold by hold, and back again if it can't be done in time.

use super::needs::Need;
use super::{Control, ControlAction, MoveReport, Outcome, TurnReason};
use crate::moves::{self, Consequence, Mirror, WayBack};
use crate::place::Place;
use crate::slots::{SLOTS, Slot};
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

impl Shift {
    pub(super) fn new(now: Millis, from: Place, to: Place, goal: Place, leave_behind: bool) -> Self {
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
    pub(super) fn probe(&self) -> Option<Slot> {
        (0..SLOTS).map(Slot::new).find(|&slot| self.from.step(slot) != self.to.step(slot))
    }
}

impl Control {
    /// Goes as far as can be gone now. Each round publishes a target or ends a leg, and the longest way back has four
    /// legs of three targets; what is left, should there be more, is done at the next event.
    pub(super) fn progress(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        for _ in 0..24 {
            if !self.go_on(now, actions) {
                break;
            }
        }
    }

    pub(super) fn go_on(&mut self, now: Millis, actions: &mut Vec<ControlAction>) -> bool {
        let Some(shift) = self.shift.clone() else { return false };
        if shift.needs_acknowledgements && !self.is_acknowledged(now, &shift) {
            return false;
        }
        if self.is_at_end(&shift) {
            self.end_leg(now, actions);
            return true;
        }
        match self.need(now, &shift, actions) {
            Need::Nothing => {
                self.publish_next(now, actions);
                true
            }
            Need::Wait(_) => false,
        }
    }

    /// Where a hold lies behind, those that are silent are left out: they refuse what could do harm. Into the
    /// second hold, and out of it forward, nobody is: only one that acknowledged it is known to be there.
    pub(super) fn is_acknowledged(&self, now: Millis, shift: &Shift) -> bool {
        if shift.turned || (shift.held_since.is_some() && self.is_at_end(shift)) {
            self.all_but_silent_acknowledged(now)
        } else {
            self.all_acknowledged(now)
        }
    }

    pub(super) fn is_at_end(&self, shift: &Shift) -> bool {
        self.target.phase_shown == shift.to.phase_shown()
            && self.target.assignments == assignments(|slot| shift.to.step(slot))
    }

    pub(super) fn leg_is_held(&self, shift: &Shift) -> bool {
        shift.probe().is_some_and(|slot| {
            let (from, to) = (shift.from.step(slot), shift.to.step(slot));
            from.authority() != to.authority()
        })
    }

    /// The budget of the leg's holds; none where nothing mirrors, so that the copy is made in the hold.
    pub(super) fn hold_budget(&self, shift: &Shift) -> Option<Millis> {
        let start = if shift.turned { shift.to } else { shift.from };
        start.phase.step().is_mirrored().then_some(self.settings.hold_budget_ms)
    }

    pub(super) fn publish_next(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
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

    pub(super) fn note_published(&mut self, now: Millis, next: &Target) {
        let deadline = self.shift.as_ref().and_then(|shift| self.hold_deadline(now, shift));
        let begins_to_mirror = self.shift.as_ref().is_some_and(|shift| self.only_begins_to_mirror(shift));
        let Some(shift) = &mut self.shift else { return };
        shift.needs_acknowledgements = true;
        shift.told = now;
        if next.has_hold() {
            if shift.held_since.is_none() {
                shift.held_since = Some(now);
                shift.deadline = deadline;
            }
            shift.crossed |= !shift.turned && next.has_second_hold();
        } else if !begins_to_mirror {
            // Landed: writes may have gone where only this target sends them, so it isn't turned around any more.
            shift.deadline = None;
        }
    }

    /// When the holds turn around. On a way back what hangs is cut off after the budget, and must then outlive
    /// its writes.
    pub(super) fn hold_deadline(&self, now: Millis, shift: &Shift) -> Option<Millis> {
        let budget = self.hold_budget(shift)?;
        Some(match shift.direction() {
            Direction::Forward => now.plus(budget),
            Direction::Back => now.plus(budget.times(2)).plus(self.settings.write_lifetime_ms),
        })
    }

    pub(super) fn end_leg(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
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

    pub(super) fn take_consequence(&mut self, shift: &Shift, actions: &mut Vec<ControlAction>) {
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

    /// Turns the leg around. Publishing the step before needs no acknowledgement: the fleet executes that one
    /// and the present one, which are neighbours.
    pub(super) fn turn_around(&mut self, now: Millis, reason: TurnReason, actions: &mut Vec<ControlAction>) {
        let Some(mut shift) = self.shift.take() else { return };
        let report = self.report(now, &shift, Outcome::TurnedAround(reason));
        let mirror = self.settings.mirror;
        let consequence = moves::consequence(shift.from, shift.to, mirror, self.way_back);
        actions.push(ControlAction::Report(report));
        std::mem::swap(&mut shift.from, &mut shift.to);
        shift.turned = true;
        shift.goal = shift.to;
        shift.needs_acknowledgements = false;
        shift.deadline = None;
        self.shift = Some(shift);
        // This move's own copy is stale from the next write on; one of an earlier move is kept in step.
        if matches!(consequence, Consequence::CopyInHold { .. }) {
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

    pub(super) fn waiting_for(&self, now: Millis, shift: &Shift) -> String {
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
        match self.clone().need(now, shift, &mut Vec::new()) {
            Need::Wait(what) => what.to_owned(),
            Need::Nothing => "it is about to go on".to_owned(),
        }
    }

    pub(super) fn longest(&self) -> Option<(crate::member::InstanceId, u64)> {
        let slowest = self.instances.iter().filter_map(|(id, i)| i.vitals.slowest_ms.map(|ms| (id, ms)));
        slowest.max_by_key(|&(_, ms)| ms).map(|(id, ms)| (id.clone(), ms))
    }

    pub(super) fn report(&self, now: Millis, shift: &Shift, outcome: Outcome) -> MoveReport {
        MoveReport {
            from: shift.from,
            to: shift.to,
            outcome,
            missing: self.missing().cloned().collect(),
            held_ms: shift.held_since.map_or(Millis(0), |since| now.since(since)),
            longest: self.longest(),
        }
    }
}
