//! The fence in the store, stage by stage, and what to do after a crash.
//!
//! A side's fence is a word and an epoch, kept in that side's store: *open*, and applications may write; or
//! *shut*, and only the mirror may. All changes are conditional on the epoch, so that one who was paused can't
//! undo what came after. The *near* side is the one that a move leaves, the *far* side the one that it goes to.
//! The stores' words are the truth: [`recover`] looks at nothing else.

use std::fmt;

use crate::control::Epoch;
use crate::fault::FaultPoint;
use crate::target::Direction;

/// What one side's store says of its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SideFence {
    /// Whether applications may write.
    pub open: bool,
    /// The move that wrote this word.
    pub epoch: Epoch,
}

/// One conditional change of one side's fence. Each is a commit in that side's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FenceWrite {
    /// Far, stage 5: sequences raised, capture on; it stays shut, and now obeys this epoch.
    Prepare,
    /// Near, stage 6: *moved*.
    Move,
    /// Far, stage 7: open. Only by the epoch that prepared it.
    Open,
    /// Far, undoing: a higher epoch, so that a paused opener's commit fails.
    Raise,
    /// Near, undoing: open again.
    Reopen,
}

/// A change of a fence was refused, because the store's word is another than the one it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleFence {
    /// What the store says.
    pub found: SideFence,
}

impl fmt::Display for StaleFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.found.open { "open" } else { "shut" };
        write!(f, "the fence is {word} by move {}: another move has been here", self.found.epoch)
    }
}

impl std::error::Error for StaleFence {}

impl SideFence {
    /// The word after this change, by the move with this epoch.
    ///
    /// # Errors
    ///
    /// If the condition of the change doesn't hold; nothing may be written then.
    pub fn after(self, write: FenceWrite, epoch: Epoch) -> Result<Self, StaleFence> {
        let newer = epoch > self.epoch;
        let (allowed, open) = match write {
            // Each may be carried out again by the same move, after a lost reply.
            FenceWrite::Prepare => (!self.open && epoch >= self.epoch, false),
            FenceWrite::Move => ((self.open && newer) || (!self.open && epoch == self.epoch), false),
            FenceWrite::Open => (epoch == self.epoch, true),
            FenceWrite::Raise => (!self.open && epoch >= self.epoch, false),
            FenceWrite::Reopen => (newer || (self.open && epoch == self.epoch), true),
        };
        if allowed { Ok(Self { open, epoch }) } else { Err(StaleFence { found: self }) }
    }
}

/// The stages, by what has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nothing yet.
    Begun,
    /// 1: the preconditions hold.
    PreconditionsHeld,
    /// 2: the move and its epoch are recorded, the first hold is acknowledged.
    Recorded,
    /// 3: the near side is locked against writers.
    Locked,
    /// 4: its log is empty.
    Drained,
    /// 5: the far side is prepared.
    Prepared,
    /// 6: the near side's fence says *moved*.
    Moved,
    /// 7, first half: the second hold is acknowledged.
    Crossed,
    /// 7: the far side is open.
    Opened,
}

impl Stage {
    /// The fault point that lies after this stage; none before the first.
    #[must_use]
    pub const fn fault_point(self, direction: Direction) -> Option<FaultPoint> {
        use FaultPoint as P;
        Some(match (direction, self) {
            (_, Self::Begun) => return None,
            (Direction::Forward, Self::PreconditionsHeld) => P::ForwardPreconditionsHeld,
            (Direction::Forward, Self::Recorded) => P::ForwardRecorded,
            (Direction::Forward, Self::Locked) => P::ForwardLocked,
            (Direction::Forward, Self::Drained) => P::ForwardDrained,
            (Direction::Forward, Self::Prepared) => P::ForwardPrepared,
            (Direction::Forward, Self::Moved) => P::ForwardMoved,
            (Direction::Forward, Self::Crossed) => P::ForwardCrossed,
            (Direction::Forward, Self::Opened) => P::ForwardOpened,
            (Direction::Back, Self::PreconditionsHeld) => P::BackPreconditionsHeld,
            (Direction::Back, Self::Recorded) => P::BackRecorded,
            (Direction::Back, Self::Locked) => P::BackLocked,
            (Direction::Back, Self::Drained) => P::BackDrained,
            (Direction::Back, Self::Prepared) => P::BackPrepared,
            (Direction::Back, Self::Moved) => P::BackMoved,
            (Direction::Back, Self::Crossed) => P::BackCrossed,
            (Direction::Back, Self::Opened) => P::BackOpened,
        })
    }
}

/// What the driver of the fence does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FenceAction {
    /// 1: rights on both sides tried, sequences known, no transaction older than a second, the log short enough.
    CheckPreconditions,
    /// 2: have the control plane record the move, and wait for its first hold.
    AwaitFirstHold,
    /// 3: lock the near side's tables against writers, in one statement; readers stay free.
    LockNear,
    /// 4: drain the log to empty, by whoever may write while the lock is held. `false`: what can't be synced is
    /// left behind.
    DrainNear {
        /// Whether it must become empty.
        to_empty: bool,
    },
    /// 5: [`FenceWrite::Prepare`] on the far side, with its sequences raised and its capture on; committed.
    PrepareFar,
    /// 6: [`FenceWrite::Move`] on the near side, in the transaction that holds the lock; committed.
    MoveNear,
    /// 7: tell the control plane that it moved, and wait until the second hold is acknowledged.
    AwaitSecondHold,
    /// 7: [`FenceWrite::Open`] on the far side; committed.
    OpenFar,
    /// Tell the control plane that the far side is open.
    TellOpened,
    /// Tell the control plane that it can't be done, and wait for its undoing, which has a higher epoch.
    TellFailed,
    /// Undoing: [`FenceWrite::Raise`] on the far side.
    RaiseFar,
    /// Undoing: lock the near side, [`FenceWrite::Reopen`], commit.
    ReopenNear,
    /// Tell the control plane that it is undone.
    TellUndone,
    /// Look at both stores' words, and [`recover`].
    LookAtStores,
}

/// What became of the last action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FenceEvent {
    /// It was carried out.
    Succeeded,
    /// It was not, and nothing is held or written: the lock wasn't got, the log isn't empty in time, a
    /// precondition doesn't hold.
    Failed(String),
    /// Whether it was carried out isn't known: a reply was lost, a session ended.
    Unknown,
    /// The control plane wants it undone.
    Undo {
        /// The epoch to undo it with.
        epoch: Epoch,
    },
}

/// The driver of one move's fence. It lives in memory; after a crash [`Fence::recovered`] makes another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    epoch: Epoch,
    reached: Stage,
    next: FenceAction,
    leave_behind: bool,
    failed: Option<String>,
}

impl Fence {
    /// The driver of the move with this epoch, whose first hold is acknowledged: the control plane has asked
    /// for it by `StartFence`.
    #[must_use]
    pub const fn recorded(epoch: Epoch, leave_behind: bool) -> Self {
        let (reached, next) = (Stage::Recorded, FenceAction::LockNear);
        Self { epoch, reached, next, leave_behind, failed: None }
    }

    /// The whole of it, from the preconditions on.
    #[must_use]
    pub const fn begun(epoch: Epoch, leave_behind: bool) -> Self {
        let (reached, next) = (Stage::Begun, FenceAction::CheckPreconditions);
        Self { epoch, reached, next, leave_behind, failed: None }
    }

    /// The driver of a move whose former driver is gone, by what the stores say.
    ///
    /// # Errors
    ///
    /// The contradiction between the stores, for `adopt` to resolve.
    pub fn recovered(
        epoch: Epoch,
        near: SideFence,
        far: SideFence,
        leave_behind: bool,
    ) -> Result<Self, Contradiction> {
        let (reached, next) = match recover(epoch, near, far)? {
            Recovery::StartOver => (Stage::Recorded, FenceAction::LockNear),
            Recovery::Moved => (Stage::Moved, FenceAction::AwaitSecondHold),
            Recovery::OnlyForward => (Stage::Opened, FenceAction::TellOpened),
            Recovery::Undo => (Stage::Recorded, FenceAction::RaiseFar),
        };
        Ok(Self { epoch, reached, next, leave_behind, failed: None })
    }

    /// The move's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last stage that was reached.
    #[must_use]
    pub const fn reached(&self) -> Stage {
        self.reached
    }

    /// What is to be done now.
    #[must_use]
    pub const fn action(&self) -> FenceAction {
        self.next
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Takes the outcome of the last action.
    #[must_use]
    pub fn after(mut self, event: FenceEvent) -> Self {
        use FenceAction as A;
        match event {
            FenceEvent::Succeeded => {
                let to_empty = !self.leave_behind;
                let (reached, next) = match self.next {
                    A::CheckPreconditions => (Stage::PreconditionsHeld, A::AwaitFirstHold),
                    A::AwaitFirstHold => (Stage::Recorded, A::LockNear),
                    A::LockNear => (Stage::Locked, A::DrainNear { to_empty }),
                    A::DrainNear { .. } => (Stage::Drained, A::PrepareFar),
                    A::PrepareFar => (Stage::Prepared, A::MoveNear),
                    A::MoveNear => (Stage::Moved, A::AwaitSecondHold),
                    A::AwaitSecondHold => (Stage::Crossed, A::OpenFar),
                    A::OpenFar | A::TellOpened => (Stage::Opened, A::TellOpened),
                    A::RaiseFar => (self.reached, A::ReopenNear),
                    A::ReopenNear | A::TellUndone => (Stage::Begun, A::TellUndone),
                    A::LookAtStores | A::TellFailed => (self.reached, self.next),
                };
                (self.reached, self.next) = (reached, next);
            }
            FenceEvent::Failed(because)
                if self.reached < Stage::Crossed && !matches!(self.next, A::RaiseFar | A::ReopenNear) =>
            {
                self.failed = Some(because);
                self.next = A::TellFailed;
            }
            FenceEvent::Failed(_) | FenceEvent::Unknown => self.next = A::LookAtStores,
            FenceEvent::Undo { epoch } => {
                // Nothing is written before stage 5, but undoing what isn't there does no harm; and should the
                // far side be open already, its refusal of the higher epoch says so.
                self.epoch = epoch;
                self.next = if self.reached == Stage::Opened { A::TellOpened } else { A::RaiseFar };
            }
        }
        self
    }
}

/// What is to be done with a move whose driver is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Nothing was moved: the near side takes writes; locks went with their session. Begin again, or give up.
    StartOver,
    /// Neither side takes writes: go on to the second hold, or undo.
    Moved,
    /// The far side takes writes: only forward.
    OnlyForward,
    /// An undoing was interrupted, or the near side was shut by an earlier move: finish it.
    Undo,
}

/// The stores' words contradict each other, or the control plane's record. Nobody may guess: the migration
/// stops, with both words shown, until `adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The move that was looked for.
    pub epoch: Epoch,
    /// What the near side says.
    pub near: SideFence,
    /// What the far side says.
    pub far: SideFence,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |fence: SideFence| if fence.open { "open" } else { "shut" };
        write!(
            f,
            "of move {} the side that is left says {} (move {}), the other {} (move {}): run `changeover adopt`",
            self.epoch,
            word(self.near),
            self.near.epoch,
            word(self.far),
            self.far.epoch
        )
    }
}

impl std::error::Error for Contradiction {}

/// What the stores' words say of the move with this epoch.
///
/// # Errors
///
/// If they can't have come about by this move and its undoing: both sides open, or a word of a later move.
pub fn recover(epoch: Epoch, near: SideFence, far: SideFence) -> Result<Recovery, Contradiction> {
    let contradiction = Contradiction { epoch, near, far };
    match (near.open, far.open) {
        (true, true) => Err(contradiction),
        _ if near.epoch > epoch || far.epoch > epoch => Err(contradiction),
        (true, false) => Ok(Recovery::StartOver),
        (false, true) if near.epoch == epoch && far.epoch == epoch => Ok(Recovery::OnlyForward),
        (false, true) => Err(contradiction),
        (false, false) if near.epoch == epoch && far.epoch == epoch => Ok(Recovery::Moved),
        (false, false) => Ok(Recovery::Undo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: SideFence = SideFence { open: true, epoch: Epoch(4) };
    const SHUT: SideFence = SideFence { open: false, epoch: Epoch(4) };

    #[test]
    fn the_stages_come_in_the_designs_order() {
        let mut fence = Fence::begun(Epoch(5), false);
        let mut reached = vec![fence.reached()];
        while fence.action() != FenceAction::TellOpened {
            fence = fence.after(FenceEvent::Succeeded);
            reached.push(fence.reached());
        }
        assert!(reached.is_sorted());
        assert_eq!(reached.len(), 9);
        let mut points: Vec<_> = reached.iter().filter_map(|s| s.fault_point(Direction::Forward)).collect();
        points.dedup();
        assert_eq!(points.len(), 8, "one gap after each");
    }

    #[test]
    fn until_the_far_side_is_open_a_failure_undoes_and_afterwards_never() {
        let mut fence = Fence::recorded(Epoch(5), false);
        while fence.reached() < Stage::Moved {
            let failed = fence.clone().after(FenceEvent::Failed("lock".to_owned()));
            assert_eq!(failed.action(), FenceAction::TellFailed, "{:?}", fence.reached());
            let undone = failed.after(FenceEvent::Undo { epoch: Epoch(6) });
            assert_eq!(undone.action(), FenceAction::RaiseFar);
            assert_eq!(undone.after(FenceEvent::Succeeded).action(), FenceAction::ReopenNear);
            fence = fence.after(FenceEvent::Succeeded);
        }
        fence = fence.after(FenceEvent::Succeeded);
        let failed = fence.clone().after(FenceEvent::Failed("reset".to_owned()));
        assert_eq!(failed.action(), FenceAction::LookAtStores, "its commit may have gone through");
        let opened = fence.after(FenceEvent::Succeeded);
        assert_eq!(opened.after(FenceEvent::Undo { epoch: Epoch(6) }).action(), FenceAction::TellOpened);
    }

    #[test]
    fn a_paused_opener_cannot_commit_once_the_epoch_is_raised() {
        let far = SHUT.after(FenceWrite::Prepare, Epoch(5)).unwrap();
        assert!(far.after(FenceWrite::Open, Epoch(5)).is_ok());
        let raised = far.after(FenceWrite::Raise, Epoch(6)).unwrap();
        assert!(raised.after(FenceWrite::Open, Epoch(5)).is_err());
        let opened = far.after(FenceWrite::Open, Epoch(5)).unwrap();
        assert!(opened.after(FenceWrite::Raise, Epoch(6)).is_err(), "too late to undo");
    }

    #[test]
    fn the_stores_words_decide_after_a_crash() {
        let at = |open, epoch| SideFence { open, epoch: Epoch(epoch) };
        assert_eq!(recover(Epoch(5), OPEN, SHUT), Ok(Recovery::StartOver));
        assert_eq!(recover(Epoch(5), OPEN, at(false, 5)), Ok(Recovery::StartOver));
        assert_eq!(recover(Epoch(5), at(false, 5), at(false, 5)), Ok(Recovery::Moved));
        assert_eq!(recover(Epoch(5), at(false, 5), at(true, 5)), Ok(Recovery::OnlyForward));
        assert_eq!(recover(Epoch(6), at(false, 5), at(false, 6)), Ok(Recovery::Undo));
        assert!(recover(Epoch(5), OPEN, OPEN).is_err());
        assert!(recover(Epoch(4), at(false, 5), at(true, 5)).is_err(), "the record is older than the stores");
    }
}
