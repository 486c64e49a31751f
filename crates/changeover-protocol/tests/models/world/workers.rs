//! What works for all: repair, the backfill, the driver of the store's fence.

use changeover_protocol::control::{Backfill, FenceState};
use changeover_protocol::fence::{Fence, FenceAction, FenceEvent, FenceWrite, SideFence};
use changeover_protocol::{ControlEvent, Side};

use super::{Op, Repair, Stage, State, Sync, WORKER, World, at};

impl World {
    /// A worker syncs the keys that a dead instance left dirty, when none of its writes can land any more.
    pub(super) fn repair(&self, state: &mut State, worker: usize) -> Option<()> {
        let next = match state.repairs[worker] {
            None => {
                let outlive = self.variant.writes_outlive;
                let left = |op: &Op| op.dirty && op.ghost && (op.stage == Stage::Ended || outlive);
                let ops = state.ops.iter().enumerate();
                let cleans = ops.fold(0, |mask, (n, op)| if left(op) { mask | 1 << n } else { mask });
                let from = Self::latest(state).step(self.slot).authority();
                (cleans != 0).then_some(())?;
                Some(Repair::Claimed { from, cleans, word: state.words[at(from.other())] })
            }
            Some(Repair::Claimed { from, cleans, word }) => {
                let follower = at(from.other());
                state.guards[follower].is_none().then_some(())?;
                if state.words[follower] == word || self.variant.word_ignored {
                    state.guards[follower] = Some(WORKER);
                    Some(Repair::Read(Sync { from, value: state.values[at(from)], cleans }))
                } else {
                    None
                }
            }
            Some(Repair::Read(Sync { from, value, cleans })) => {
                state.values[at(from.other())] = value;
                state.guards[at(from.other())] = None;
                for (n, op) in state.ops.iter_mut().enumerate() {
                    op.dirty &= cleans & (1 << n) == 0;
                }
                None
            }
        };
        state.repairs[worker] = next;
        Some(())
    }

    /// The look that finds nothing dirty, and says so on the follower's guard.
    pub(super) fn find_in_sync(&self, state: &mut State) {
        let target = Self::latest(state);
        let (version, follower) = (target.version, at(target.step(self.slot).authority().other()));
        if self.moves(state) {
            state.words[follower] = version;
        }
        self.tell(state, ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false });
    }

    // ---- the backfill

    pub(super) fn copy(&self, state: &mut State) -> Option<()> {
        let begun = state.control.backfill.filter(|b| !b.done);
        let toward = match begun {
            Some(Backfill { toward, .. }) => toward,
            None if self.variant.backfill_early && !state.copied => Side::New,
            None => return None,
        };
        if self.variant.old_marks {
            state.copied = true;
        } else if let Some(sync) = state.copy.take() {
            state.values[at(toward)] = sync.value;
            state.guards[at(toward)] = None;
            state.copied = true;
        } else if !state.copied {
            if state.guards[at(toward)].is_some() {
                return None;
            }
            state.guards[at(toward)] = Some(WORKER);
            let from = toward.other();
            state.copy = Some(Sync { from, value: state.values[at(from)], cleans: 0 });
        }
        if let Some(Backfill { generation, .. }) = begun.filter(|_| state.copied) {
            self.tell(state, ControlEvent::GenerationDone { generation });
            state.copied = false;
        }
        Some(())
    }

    // ---- the store's fence

    pub(super) fn fence(&self, state: &mut State) -> Option<()> {
        let shift = state.control.shift.clone()?;
        let epoch = state.control.epoch;
        let near = if shift.turned { shift.to.phase } else { shift.from.phase }.step().authority();
        let (near, far) = (at(near), at(near.other()));
        if state.fence.is_none() && shift.fence == FenceState::Requested {
            state.fence = Some(Fence::recorded(epoch, false));
        }
        let mut fence = state.fence.clone()?;
        if shift.fence == FenceState::Undoing && fence.epoch() != epoch {
            state.locked = false;
            state.fence = Some(fence.after(FenceEvent::Undo { epoch }));
            return Some(());
        }
        let by = fence.epoch();
        let write = |fences: &mut [SideFence; 2], side: usize, write| {
            fences[side].after(write, by).map(|after| fences[side] = after).is_ok()
        };
        let succeeded = match fence.action() {
            FenceAction::LockNear => {
                state.locked = true;
                true
            }
            FenceAction::DrainNear { .. } if Self::dirty(state) > 0 || state.guards[far].is_some() => {
                return None;
            }
            FenceAction::DrainNear { .. } => true,
            FenceAction::PrepareFar => write(&mut state.fences, far, FenceWrite::Prepare),
            FenceAction::MoveNear => {
                let moved = write(&mut state.fences, near, FenceWrite::Move);
                state.locked = false;
                moved
            }
            FenceAction::AwaitSecondHold => match shift.fence {
                FenceState::Requested => {
                    return self.tell(state, ControlEvent::FenceMoved { epoch }).then_some(());
                }
                FenceState::Opening => true,
                _ => return None,
            },
            FenceAction::OpenFar => write(&mut state.fences, far, FenceWrite::Open),
            FenceAction::TellOpened => {
                state.fence = None;
                return self.tell(state, ControlEvent::FenceOpened { epoch }).then_some(());
            }
            FenceAction::RaiseFar => write(&mut state.fences, far, FenceWrite::Raise),
            FenceAction::ReopenNear => write(&mut state.fences, near, FenceWrite::Reopen),
            FenceAction::TellUndone => {
                state.fence = None;
                return self.tell(state, ControlEvent::FenceUndone { epoch }).then_some(());
            }
            other => unreachable!("{other:?}"),
        };
        assert!(succeeded, "a lone driver's change was refused");
        fence = fence.after(FenceEvent::Succeeded);
        state.fence = Some(fence);
        Some(())
    }
}
