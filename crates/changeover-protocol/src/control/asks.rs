//! What people ask for: forward to the next place, or back. Checked here, begun here.

use super::{Control, ControlAction, FenceState, Refusal, Shift, TurnReason};
use crate::moves::{self, Consequence, Mirror};
use crate::place::Place;
use crate::step::{Phase, Side};
use crate::target::Direction;
use crate::time::Millis;

impl Control {
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
        if forward && self.is_at_end(&shift) && !self.only_begins_to_mirror(&shift) {
            return self.land_and_go_back(now, to, leave_behind, actions);
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

    /// A leg whose last target is published has landed, acknowledged or not: writes may have gone where only that
    /// target sends them. So it can't be turned around; it is gone back from, with all that this needs.
    ///
    /// The first target back needs no acknowledgement: it is the one that the fleet comes from.
    pub(super) fn land_and_go_back(
        &mut self,
        now: Millis,
        goal: Place,
        leave_behind: bool,
        actions: &mut Vec<ControlAction>,
    ) -> Result<(), Refusal> {
        if let Some(shift) = &mut self.shift {
            shift.goal = goal;
        }
        self.end_leg(now, actions);
        if let Some(shift) = &mut self.shift {
            shift.needs_acknowledgements = false;
            shift.leave_behind = leave_behind;
        }
        Ok(())
    }

    /// Whether the leg does no more than begin to mirror: nothing is lost then by stopping again.
    pub(super) fn only_begins_to_mirror(&self, shift: &Shift) -> bool {
        let filled = Consequence::NewGeneration { toward: Side::New };
        moves::consequence(shift.from, shift.to, self.settings.mirror, self.way_back) == filled
    }

    pub(super) fn check_place(&self, place: Place) -> Result<(), Refusal> {
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
    pub(super) fn next_phase(&self) -> Option<Place> {
        if self.place.is_partial() {
            Some(Place::whole(self.place.phase))
        } else {
            self.settings.phases.after(self.place.phase).map(Place::whole)
        }
    }

    /// The next place on the way back from `at` to `goal`.
    pub(super) fn leg_back(&self, at: Place, goal: Place) -> Place {
        if at.phase == goal.phase {
            return goal;
        }
        match self.settings.phases.before(at.phase) {
            Some(phase) if phase != goal.phase => Place::whole(phase),
            _ => goal,
        }
    }

    pub(super) fn check_speed(&self) -> Result<(), Refusal> {
        let budget_ms = self.settings.hold_budget_ms.0;
        match self.longest() {
            Some((instance, slowest_ms)) if slowest_ms >= budget_ms => {
                Err(Refusal::TooSlow { instance, slowest_ms, budget_ms })
            }
            _ => Ok(()),
        }
    }
}
