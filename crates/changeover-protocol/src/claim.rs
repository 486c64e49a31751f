//! A worker's claim of dirty keys: what it does, in which order.
//!
//! The order is the whole point. The chunk's state is read *after* the claim, so that a change which the chunk's
//! read may have missed can't be dropped; the authority is read *under the guard*, so that no one else can put an
//! older value later; claims are deleted after the follower has *committed*, so that a crash repeats a sync
//! and never loses one. The second model (`tests/`) finds a lost or resurrected row for each other order.
//!
//! Where claims can't be locked, a second worker may hold the same keys and be paused between its claim and the
//! guard, while the first cleans them, the fleet finds nothing dirty, and authority and follower change places. So
//! the guard carries a word, the version for which the keys were last found in sync, raised by the look that
//! [`CheckSync`](crate::control::ControlAction::CheckSync) asks for; a worker compares it, under the guard, with
//! the one it saw when it claimed. The first model finds the lost write where it doesn't.

use crate::chunk::Progress;

/// What becomes of a claimed key, by the state of its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Not begun: the chunk's read will see the change. The claim is deleted.
    Drop,
    /// Under way: the chunk's read may or may not have seen it, and its rows aren't in yet. Given back, it waits.
    GiveBack,
    /// Done: the key is synced under its guard.
    Sync,
}

/// What becomes of a claimed key whose chunk is in this state.
#[must_use]
pub const fn verdict(progress: Progress) -> Verdict {
    match progress {
        Progress::NotBegun => Verdict::Drop,
        Progress::UnderWay => Verdict::GiveBack,
        Progress::Done => Verdict::Sync,
    }
}

/// What a worker does next for its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimAction {
    /// Claim dirty keys: read their entries, and lock them where rows can be locked.
    Claim,
    /// Read the chunks' states, on the follower, with a lock.
    ReadChunkState,
    /// Take the keys' guards on the follower, in order, in the transaction that will write; and look, under them,
    /// whether their word is still the one that was seen with the claim, else tell [`ClaimEvent::PlacesChanged`].
    TakeGuard,
    /// Read the authority now, in a fresh transaction of its own, on the primary.
    ReadAuthority,
    /// Write what was read (or its absence) to the follower, in the guard's transaction.
    WriteFollower,
    /// Commit on the follower; the guards go with it.
    CommitFollower,
    /// Delete exactly the claimed entries, by id.
    DeleteClaim,
    /// Give the claim back, for later.
    GiveBack,
    /// There is nothing more to do.
    Finished,
}

/// What became of the last action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimEvent {
    /// It was carried out.
    Succeeded,
    /// The chunk's state was read.
    Chunk(Progress),
    /// The guard's word is another: the sides may have changed places since the claim, and nothing was written.
    PlacesChanged,
    /// It failed; the transaction on the follower, if any, is rolled back.
    Failed,
}

/// One claim, by one worker. After a crash there is nothing to recover: the entries are still in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimRun {
    next: ClaimAction,
}

impl Default for ClaimRun {
    fn default() -> Self {
        Self::new()
    }
}

impl ClaimRun {
    /// Begins with the claim.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: ClaimAction::Claim }
    }

    /// A sync of keys that are known without a claim: a dual write's, a repair's, a verification's.
    #[must_use]
    pub const fn of_known_keys() -> Self {
        Self { next: ClaimAction::ReadChunkState }
    }

    /// What is to be done now.
    #[must_use]
    pub const fn action(self) -> ClaimAction {
        self.next
    }

    /// Takes the outcome of the last action.
    #[must_use]
    pub const fn after(self, event: ClaimEvent) -> Self {
        use ClaimAction as A;
        let next = match (self.next, event) {
            (A::Claim | A::Finished | A::GiveBack, ClaimEvent::Failed) => A::Finished,
            // The claim stays in the log, or is given back: the sync is repeated, by this worker or another.
            (_, ClaimEvent::Failed) => A::GiveBack,
            (A::ReadChunkState, ClaimEvent::Chunk(progress)) => match verdict(progress) {
                Verdict::Drop => A::DeleteClaim,
                Verdict::GiveBack => A::GiveBack,
                Verdict::Sync => A::TakeGuard,
            },
            (A::ReadChunkState, ClaimEvent::Succeeded) => A::ReadChunkState,
            (A::Claim | A::Finished, ClaimEvent::PlacesChanged) => A::Finished,
            (_, ClaimEvent::PlacesChanged) => A::GiveBack,
            (A::Claim, _) => A::ReadChunkState,
            (A::TakeGuard, _) => A::ReadAuthority,
            (A::ReadAuthority, _) => A::WriteFollower,
            (A::WriteFollower, _) => A::CommitFollower,
            (A::CommitFollower, _) => A::DeleteClaim,
            (A::DeleteClaim | A::GiveBack | A::Finished, _) => A::Finished,
        };
        Self { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClaimAction as A;

    fn path(progress: Progress) -> Vec<ClaimAction> {
        let mut run = ClaimRun::new();
        let mut path = vec![run.action()];
        while run.action() != A::Finished {
            let event = match run.action() {
                A::ReadChunkState => ClaimEvent::Chunk(progress),
                _ => ClaimEvent::Succeeded,
            };
            run = run.after(event);
            path.push(run.action());
        }
        path
    }

    #[test]
    fn the_order_is_the_designs() {
        let synced = [
            A::Claim,
            A::ReadChunkState,
            A::TakeGuard,
            A::ReadAuthority,
            A::WriteFollower,
            A::CommitFollower,
            A::DeleteClaim,
            A::Finished,
        ];
        assert_eq!(path(Progress::Done), synced);
        assert_eq!(path(Progress::NotBegun), [A::Claim, A::ReadChunkState, A::DeleteClaim, A::Finished]);
        assert_eq!(path(Progress::UnderWay), [A::Claim, A::ReadChunkState, A::GiveBack, A::Finished]);
    }

    #[test]
    fn a_worker_that_was_overtaken_by_a_move_writes_nothing() {
        let run = ClaimRun { next: A::TakeGuard };
        assert_eq!(run.after(ClaimEvent::PlacesChanged).action(), A::GiveBack);
    }

    #[test]
    fn a_failure_anywhere_keeps_the_claim() {
        for failing in
            [A::ReadChunkState, A::TakeGuard, A::ReadAuthority, A::WriteFollower, A::CommitFollower]
        {
            let mut run = ClaimRun::new();
            while run.action() != failing {
                run = run.after(match run.action() {
                    A::ReadChunkState => ClaimEvent::Chunk(Progress::Done),
                    _ => ClaimEvent::Succeeded,
                });
            }
            assert_eq!(run.after(ClaimEvent::Failed).action(), A::GiveBack, "{failing:?}");
        }
    }
}
