//! What a move needs before its next target, beside acknowledgements: keys in sync, the store's fence, a copy, a
//! drained log. Here it is asked for, and here the answers arrive.

use super::{Control, ControlAction, Epoch, FenceState, Shift, TurnReason};
use crate::moves::{self, Consequence, Mirror, UncleanEvent};
use crate::step::{Side, Step};
use crate::target::Version;
use crate::time::Millis;

/// What a move needs before its next target.
pub(super) enum Need {
    /// Nothing: publish it.
    Nothing,
    /// Wait for this, having asked for it.
    Wait(&'static str),
}

impl Control {
    /// Looks what the next target needs, and asks for it.
    pub(super) fn need(&mut self, now: Millis, shift: &Shift, actions: &mut Vec<ControlAction>) -> Need {
        let Some(slot) = shift.probe() else { return Need::Nothing };
        let at = self.target.step(slot);
        let next = self.settings.phases.toward(at, shift.to.step(slot));
        match (at.is_hold(), next.is_hold()) {
            (false, true) => self.need_before_holds(shift),
            (true, true) if shift.turned => Need::Nothing,
            (true, true) => self.need_between_holds(now, shift, at, actions),
            (true, false) if shift.turned => self.need_undone(shift, next, actions),
            (true, false) => self.need_opened(shift, next, actions),
            (false, false) => self.need_way_back(shift, actions),
        }
    }

    pub(super) fn need_before_holds(&self, shift: &Shift) -> Need {
        let filling = self.backfill.is_some_and(|backfill| !backfill.done);
        if filling && !shift.leave_behind { Need::Wait("the backfill isn't complete") } else { Need::Nothing }
    }

    pub(super) fn need_between_holds(
        &mut self,
        now: Millis,
        shift: &Shift,
        at: Step,
        actions: &mut Vec<ControlAction>,
    ) -> Need {
        let captured = self.settings.mirror == Mirror::Capture;
        if captured && shift.fence != FenceState::Moved {
            if shift.fence == FenceState::Idle {
                self.epoch = self.epoch.next();
                self.ask_fence(FenceState::Requested, at.authority(), actions);
                if shift.leave_behind {
                    self.unclean(now, UncleanEvent::LeftBehind { keys: None }, actions);
                }
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
        if captured || shift.synced == Some(self.target.version) {
            return Need::Nothing;
        }
        if shift.asked != Some(self.target.version) {
            self.ask_sync(actions);
            self.hold_no_longer_than_the_sync_may_take(now, shift);
        }
        Need::Wait("keys are dirty, or a backfill is under way")
    }

    /// Everybody has acknowledged: nothing hangs any more for which a way back had more time. What is left to wait for is the
    /// sync, and a key that can't be synced must not keep writes waiting for longer than the budget.
    fn hold_no_longer_than_the_sync_may_take(&mut self, now: Millis, shift: &Shift) {
        let Some(budget) = self.hold_budget(shift) else { return };
        let within = now.plus(budget);
        if let Some(shift) = &mut self.shift {
            shift.deadline = shift.deadline.map(|deadline| deadline.min(within));
        }
    }

    pub(super) fn need_opened(
        &mut self,
        shift: &Shift,
        next: Step,
        actions: &mut Vec<ControlAction>,
    ) -> Need {
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

    pub(super) fn need_undone(
        &mut self,
        shift: &Shift,
        next: Step,
        actions: &mut Vec<ControlAction>,
    ) -> Need {
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

    pub(super) fn need_way_back(&mut self, shift: &Shift, actions: &mut Vec<ControlAction>) -> Need {
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

    pub(super) fn note_asked(&mut self) {
        let version = self.target.version;
        if let Some(shift) = &mut self.shift {
            shift.asked = Some(version);
        }
    }

    pub(super) fn ask_sync(&mut self, actions: &mut Vec<ControlAction>) {
        actions.push(ControlAction::CheckSync { version: self.target.version });
        self.note_asked();
    }

    pub(super) fn ask_fence(&mut self, state: FenceState, side: Side, actions: &mut Vec<ControlAction>) {
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

    pub(super) fn ask_sync_again(&mut self, actions: &mut Vec<ControlAction>) {
        let version = self.target.version;
        let waits = self.target.has_hold()
            && self.shift.as_ref().is_some_and(|s| s.asked == Some(version) && s.synced != Some(version));
        if waits {
            self.ask_sync(actions);
        }
    }

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
        let whole = self.shift.as_ref().and_then(|shift| self.hold_deadline(shift.held_since?, shift));
        let Some(shift) = &mut self.shift else { return };
        if !is_current || shift.asked != Some(version) {
            return;
        }
        if dirty == 0 && journals_clean && !backfill_under_way {
            shift.synced = Some(version);
            // What hangs in the next hold has the time again that is left of the whole.
            shift.deadline = whole;
        } else if shift.leave_behind {
            shift.synced = Some(version);
            shift.deadline = whole;
            self.unclean(now, UncleanEvent::LeftBehind { keys: Some(dirty) }, actions);
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
