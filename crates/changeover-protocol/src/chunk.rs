//! The copy of one chunk, and what its mark says to the rest.
//!
//! A chunk is marked *begun*, durably, before its rows are read; its rows and its mark *done* go into the
//! follower in one transaction. The mark carries the generation, so that marks of an earlier run of the backfill
//! don't count, and the attempt, so that a worker which was paused can't put rows in that it read before another
//! took the chunk over.

use crate::control::Generation;

/// The mark of one chunk, kept in the follower. No mark at all is *not begun*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ChunkMark {
    /// The generation in which it was made.
    pub generation: Generation,
    /// How often the chunk was begun in that generation.
    pub attempt: u32,
    /// Whether its rows are in the follower.
    pub done: bool,
}

/// What a chunk's mark means in the present generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Its rows will be read later than now.
    NotBegun,
    /// Its rows may have been read already, and aren't in the follower.
    UnderWay,
    /// Its rows are in the follower.
    Done,
}

/// What a mark means in this generation: one of another generation means nothing.
#[must_use]
pub fn progress(mark: Option<ChunkMark>, generation: Generation) -> Progress {
    match mark {
        Some(mark) if mark.generation == generation && mark.done => Progress::Done,
        Some(mark) if mark.generation == generation => Progress::UnderWay,
        _ => Progress::NotBegun,
    }
}

/// Whether a generation is complete: every chunk is done in it. No chunks at all is not complete; an empty
/// table has one, from −∞ to +∞.
#[must_use]
pub fn is_complete(marks: impl IntoIterator<Item = Option<ChunkMark>>, generation: Generation) -> bool {
    let mut marks = marks.into_iter().peekable();
    marks.peek().is_some() && marks.all(|mark| progress(mark, generation) == Progress::Done)
}

/// How a chunk's rows are read so that no change to them is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// The authority's log names each changed key: read in a fresh snapshot, taken after *begun* is durable.
    Logged,
    /// No log does (dual write): read under the guard of the chunk's whole range, held until *done*.
    Guarded,
}

/// What a worker does next for its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkAction {
    /// Take the guard of the chunk's whole range on the follower.
    TakeRangeGuard,
    /// Store this mark, durably, if the chunk's mark is still the one that was seen.
    MarkBegun(ChunkMark),
    /// Read the rows from the authority, in a snapshot that begins now; on a replica, once it has replayed the
    /// primary's position as it is now.
    ReadRows,
    /// In one transaction on the follower, if the chunk's mark is still `begun`: replace all its rows by those
    /// that were read, and store `done`.
    WriteRowsAndDone {
        /// The mark that must still be there.
        begun: ChunkMark,
        /// The mark that takes its place.
        done: ChunkMark,
    },
    /// The chunk is done, by this worker or another.
    Finished,
    /// Another worker took the chunk over: leave it.
    Leave,
}

/// What became of the last action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkEvent {
    /// It was carried out.
    Succeeded,
    /// The chunk's mark was another: nothing was written.
    MarkChanged,
}

/// The copy of one chunk, by one worker. After a crash there is nothing to recover: the chunk is copied again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkCopy {
    begun: ChunkMark,
    next: ChunkAction,
}

impl ChunkCopy {
    /// Begins the copy of a chunk whose mark is `seen`.
    #[must_use]
    pub fn new(seen: Option<ChunkMark>, generation: Generation, reading: Reading) -> Self {
        let attempts = seen.filter(|mark| mark.generation == generation).map_or(0, |mark| mark.attempt);
        let begun = ChunkMark { generation, attempt: attempts.saturating_add(1), done: false };
        let next = match (progress(seen, generation), reading) {
            (Progress::Done, _) => ChunkAction::Finished,
            (_, Reading::Guarded) => ChunkAction::TakeRangeGuard,
            (_, Reading::Logged) => ChunkAction::MarkBegun(begun),
        };
        Self { begun, next }
    }

    /// What is to be done now.
    #[must_use]
    pub const fn action(&self) -> ChunkAction {
        self.next
    }

    /// Takes the outcome of the last action.
    #[must_use]
    pub fn after(self, event: ChunkEvent) -> Self {
        let begun = self.begun;
        let next = match (self.next, event) {
            (ChunkAction::Finished, _) => ChunkAction::Finished,
            (_, ChunkEvent::MarkChanged) | (ChunkAction::Leave, _) => ChunkAction::Leave,
            (ChunkAction::TakeRangeGuard, _) => ChunkAction::MarkBegun(begun),
            (ChunkAction::MarkBegun(_), _) => ChunkAction::ReadRows,
            (ChunkAction::ReadRows, _) => {
                ChunkAction::WriteRowsAndDone { begun, done: ChunkMark { done: true, ..begun } }
            }
            (ChunkAction::WriteRowsAndDone { .. }, _) => ChunkAction::Finished,
        };
        Self { begun, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Generation = Generation(3);

    fn mark(generation: u64, attempt: u32, done: bool) -> Option<ChunkMark> {
        Some(ChunkMark { generation: Generation(generation), attempt, done })
    }

    #[test]
    fn a_mark_of_another_generation_means_nothing() {
        assert_eq!(progress(mark(2, 1, true), NOW), Progress::NotBegun);
        assert_eq!(progress(mark(4, 1, true), NOW), Progress::NotBegun);
        assert_eq!(progress(mark(3, 1, true), NOW), Progress::Done);
        assert_eq!(progress(mark(3, 1, false), NOW), Progress::UnderWay);
        assert_eq!(progress(None, NOW), Progress::NotBegun);
    }

    #[test]
    fn nothing_at_all_is_not_a_complete_generation() {
        assert!(!is_complete([], NOW));
        assert!(!is_complete([mark(3, 1, true), None], NOW));
        assert!(!is_complete([mark(3, 1, true), mark(2, 1, true)], NOW));
        assert!(is_complete([mark(3, 1, true), mark(3, 2, true)], NOW));
    }

    #[test]
    fn rows_are_read_only_after_begun_is_durable() {
        let copy = ChunkCopy::new(None, NOW, Reading::Logged);
        assert_eq!(copy.action(), ChunkAction::MarkBegun(mark(3, 1, false).unwrap()));
        let copy = copy.after(ChunkEvent::Succeeded);
        assert_eq!(copy.action(), ChunkAction::ReadRows);
        let copy = copy.after(ChunkEvent::Succeeded);
        let (begun, done) = (mark(3, 1, false).unwrap(), mark(3, 1, true).unwrap());
        assert_eq!(copy.action(), ChunkAction::WriteRowsAndDone { begun, done });
        assert_eq!(copy.after(ChunkEvent::Succeeded).action(), ChunkAction::Finished);
    }

    #[test]
    fn dual_write_reads_under_the_guard_of_the_range() {
        let copy = ChunkCopy::new(mark(3, 4, false), NOW, Reading::Guarded);
        assert_eq!(copy.action(), ChunkAction::TakeRangeGuard);
        let copy = copy.after(ChunkEvent::Succeeded);
        assert_eq!(copy.action(), ChunkAction::MarkBegun(mark(3, 5, false).unwrap()), "a new attempt");
    }

    #[test]
    fn a_worker_whose_chunk_was_taken_over_writes_nothing() {
        let mut copy = ChunkCopy::new(None, NOW, Reading::Logged);
        for _ in 0..2 {
            copy = copy.after(ChunkEvent::Succeeded);
        }
        assert_eq!(copy.after(ChunkEvent::MarkChanged).action(), ChunkAction::Leave);
    }
}
