//! The fault points: every gap between two things that must happen in order, by name.
//!
//! Tests stop, kill and resume the process at each; the list is complete for the fence, the claims, the
//! chunks and dual write, so a suite that walks [`FaultPoint::ALL`] misses no gap.

use std::fmt;
use std::str::FromStr;

use crate::step::UnknownName;

/// Which part of the work a fault point lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// The store's fence, on the way forward.
    FenceForward,
    /// The store's fence, on the way back.
    FenceBack,
    /// Undoing a fence that can't be completed.
    FenceUndo,
    /// A worker's claim of dirty keys.
    Claim,
    /// The copy of a chunk.
    Chunk,
    /// A dual write: journal, authority, sync.
    Write,
}

macro_rules! fault_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal in $area:ident,)*) => {
        /// One gap between two things that must happen in order. Named by what has just happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultPoint { $($(#[$doc])* $point,)* }

        impl FaultPoint {
            /// Every fault point, in the order in which they are come by.
            pub const ALL: &'static [Self] = &[$(Self::$point,)*];

            /// The name, as in `claim-guard-taken`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }

            /// Where it lies.
            #[must_use]
            pub const fn area(self) -> Area {
                match self { $(Self::$point => Area::$area,)* }
            }
        }
    };
}

fault_points! {
    /// The preconditions hold; nothing is recorded.
    ForwardPreconditionsHeld = "forward-preconditions-held" in FenceForward,
    /// The move and its epoch are recorded, and `hold-old` is reached; nothing is locked.
    ForwardRecorded = "forward-recorded" in FenceForward,
    /// The old tables are locked against writers.
    ForwardLocked = "forward-locked" in FenceForward,
    /// The old side's log is empty, under the lock.
    ForwardDrained = "forward-drained" in FenceForward,
    /// The new side's sequences are raised and its capture is on, committed.
    ForwardPrepared = "forward-prepared" in FenceForward,
    /// The old side's fence says *moved*, committed; `hold-new` isn't published.
    ForwardMoved = "forward-moved" in FenceForward,
    /// `hold-new` is acknowledged by all; the new side's fence is shut.
    ForwardCrossed = "forward-crossed" in FenceForward,
    /// The new side's fence is open; `reverse-shadow` isn't published.
    ForwardOpened = "forward-opened" in FenceForward,
    /// As forward, with the sides exchanged.
    BackPreconditionsHeld = "back-preconditions-held" in FenceBack,
    /// As forward, with the sides exchanged.
    BackRecorded = "back-recorded" in FenceBack,
    /// As forward, with the sides exchanged.
    BackLocked = "back-locked" in FenceBack,
    /// As forward, with the sides exchanged.
    BackDrained = "back-drained" in FenceBack,
    /// As forward, with the sides exchanged.
    BackPrepared = "back-prepared" in FenceBack,
    /// As forward, with the sides exchanged.
    BackMoved = "back-moved" in FenceBack,
    /// As forward, with the sides exchanged.
    BackCrossed = "back-crossed" in FenceBack,
    /// As forward, with the sides exchanged.
    BackOpened = "back-opened" in FenceBack,
    /// The epoch is raised on the side that was to be opened: a paused opener can't commit any more.
    UndoRaised = "undo-raised" in FenceUndo,
    /// The side that was to be left is locked.
    UndoLocked = "undo-locked" in FenceUndo,
    /// Its fence is open again, committed; nobody was told.
    UndoOpened = "undo-opened" in FenceUndo,
    /// Dirty keys are claimed; their chunks' states aren't read.
    ClaimTaken = "claim-taken" in Claim,
    /// The chunks' states are read.
    ClaimStateRead = "claim-state-read" in Claim,
    /// The keys' guards are held on the follower.
    ClaimGuardTaken = "claim-guard-taken" in Claim,
    /// The authority is read.
    ClaimAuthorityRead = "claim-authority-read" in Claim,
    /// The follower is written, not committed.
    ClaimFollowerWritten = "claim-follower-written" in Claim,
    /// The follower has committed; the claims are still there.
    ClaimFollowerCommitted = "claim-follower-committed" in Claim,
    /// The claims are deleted.
    ClaimDeleted = "claim-deleted" in Claim,
    /// The chunk is marked *begun*, durably; no row is read.
    ChunkBegun = "chunk-begun" in Chunk,
    /// The chunk's rows are read.
    ChunkRead = "chunk-read" in Chunk,
    /// The rows are written to the follower, not committed.
    ChunkWritten = "chunk-written" in Chunk,
    /// The rows and the mark *done* are committed.
    ChunkDone = "chunk-done" in Chunk,
    /// The keys of a dual write are in the journal.
    WriteJournalled = "write-journalled" in Write,
    /// The authority has the write.
    WriteAuthorityWritten = "write-authority-written" in Write,
    /// The sync of the keys has begun.
    WriteSyncBegun = "write-sync-begun" in Write,
    /// The keys are synced; the journal still names them.
    WriteSynced = "write-synced" in Write,
    /// The keys have left the journal.
    WriteJournalCleared = "write-journal-cleared" in Write,
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultPoint {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .iter()
            .copied()
            .find(|point| point.name() == s)
            .ok_or_else(|| UnknownName { what: "fault point", given: s.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_each_its_own_and_go_there_and_back() {
        let mut names: Vec<&str> = FaultPoint::ALL.iter().map(|p| p.name()).collect();
        for point in FaultPoint::ALL {
            assert_eq!(point.name().parse::<FaultPoint>().unwrap(), *point);
            let debug = format!("{point:?}").to_lowercase();
            assert_eq!(point.name().replace('-', ""), debug, "the name says what the variant says");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FaultPoint::ALL.len());
        assert!("claim".parse::<FaultPoint>().is_err());
    }

    #[test]
    fn both_ways_of_the_fence_have_the_same_gaps() {
        let of = |area, prefix: &str| -> Vec<String> {
            let points = FaultPoint::ALL.iter().filter(|p| p.area() == area);
            points.map(|p| p.name().trim_start_matches(prefix).to_owned()).collect()
        };
        let forward = of(Area::FenceForward, "forward-");
        assert_eq!(forward, of(Area::FenceBack, "back-"));
        // Seven stages, the last of which has a gap of its own within it.
        assert_eq!(forward.len(), 8);
    }
}
