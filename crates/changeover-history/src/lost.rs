//! Is every acknowledged write there at rest, or overwritten by a later one?

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::history::{Content, Final, History, Initial, Operation, Outcome};
use crate::verdict::describe;

/// What the final states say about the acknowledged writes.
///
/// For one key and one side with a final state, a *source* is whatever may have left the value that stands there: each
/// write of that value that didn't fail, and the first value, if it is that one or unknown. An acknowledged write (a
/// delete is one too) is *explained* when it is itself a source, or when some source may have come after it: one that
/// had not returned when the write was invoked. The first value comes before everything; a source without an
/// answer may have come at any time since it was sent.
///
/// A write is *lost* when it is not explained and no other acknowledged write of the key was invoked after it had
/// returned: of several in a row that are missing, the last is the one that should be there.
///
/// This looks at the end alone. A write that was lost and then overwritten shows only in what was read meanwhile, and
/// that is for linearizability to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostReport {
    /// Acknowledged writes in the history.
    pub acknowledged_writes: u64,
    /// Those of keys without any final state: nothing is known of them.
    pub unchecked_writes: u64,
    /// Each lost write, on each side where it is lost.
    pub lost: Vec<LostWrite>,
    /// Final values that have no source: nobody wrote them.
    pub unexplained: Vec<UnexplainedFinal>,
}

/// An acknowledged write that is neither there nor overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWrite {
    /// The write: its key, its value, when.
    pub write: Operation,
    /// Where it is missing, and what stands there instead.
    pub found: Final,
}

/// A value at rest that nobody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnexplainedFinal {
    /// Where, and what.
    pub found: Final,
}

impl LostReport {
    /// Different writes that are lost, on whichever side.
    pub fn lost_writes(&self) -> u64 {
        let mut different: Vec<_> = self
            .lost
            .iter()
            .map(|LostWrite { write, .. }| (&write.key, write.invoked, write.client))
            .collect();
        different.sort_unstable();
        different.dedup();
        different.len() as u64
    }

    pub(crate) fn render(&self, f: &mut fmt::Formatter<'_>, started: u64, shown: usize) -> fmt::Result {
        let checked = self.acknowledged_writes - self.unchecked_writes;
        match self.lost_writes() {
            0 => writeln!(f, "no acknowledged write lost: {checked} checked at rest")?,
            lost => writeln!(f, "{lost} ACKNOWLEDGED WRITES LOST of {checked} checked at rest")?,
        }
        if self.unchecked_writes > 0 {
            writeln!(
                f,
                "{} acknowledged writes not checked: no final state of their keys",
                self.unchecked_writes
            )?;
        }
        for LostWrite { write, found } in self.lost.iter().take(shown) {
            writeln!(f, "lost, key {:?}: at rest side {} holds {}", write.key, found.side, found.content)?;
            f.write_str("    ")?;
            describe(f, write, started)?;
            writeln!(f)?;
        }
        if self.lost.len() > shown {
            writeln!(f, "... and {} more lost", self.lost.len() - shown)?;
        }
        for UnexplainedFinal { found } in self.unexplained.iter().take(shown) {
            writeln!(
                f,
                "key {:?}: at rest side {} holds {}, which nobody wrote",
                found.key, found.side, found.content
            )?;
        }
        if self.unexplained.len() > shown {
            writeln!(f, "... and {} more values that nobody wrote", self.unexplained.len() - shown)?;
        }
        Ok(())
    }
}

/// Looks at every final state.
pub(crate) fn find(history: &History) -> LostReport {
    let mut writes: HashMap<&str, Vec<(Content, &Operation)>> = HashMap::new();
    for operation in history.operations.iter().filter(|operation| operation.outcome != Outcome::Failed) {
        if let Some(content) = operation.action.writes() {
            writes.entry(&operation.key).or_default().push((content, operation));
        }
    }
    let mut report = LostReport::default();
    for found in &history.finals {
        let writes = writes.get(&*found.key).map_or(&[][..], Vec::as_slice);
        find_on_side(history.initial(&found.key), writes, found, &mut report);
    }
    let looked_at: HashSet<&str> = history.finals.iter().map(|found| &*found.key).collect();
    for (key, writes) in &writes {
        let acknowledged =
            writes.iter().filter(|(_, write)| write.outcome.returned().is_some()).count() as u64;
        report.acknowledged_writes += acknowledged;
        if !looked_at.contains(key) {
            report.unchecked_writes += acknowledged;
        }
    }
    report
}

fn find_on_side(initial: &Initial, writes: &[(Content, &Operation)], found: &Final, report: &mut LostReport) {
    // The latest end of a source; no answer is an end that never comes.
    let sources = writes.iter().filter(|(content, _)| *content == found.content);
    let latest = sources.map(|(_, write)| write.outcome.returned().unwrap_or(u64::MAX)).max();
    let at_first = match initial {
        Initial::Known(content) => *content == found.content,
        Initial::Unknown => true,
    };
    if latest.is_none() && !at_first {
        report.unexplained.push(UnexplainedFinal { found: found.clone() });
    }
    let acknowledged = || writes.iter().filter_map(|(_, write)| Some((*write, write.outcome.returned()?)));
    let last_invoked = acknowledged().map(|(write, _)| write.invoked).max();
    for (write, returned) in acknowledged() {
        let explained = latest.is_some_and(|latest| latest >= write.invoked);
        let overwritten = last_invoked.is_some_and(|last| last > returned);
        if !explained && !overwritten {
            report.lost.push(LostWrite { write: write.clone(), found: found.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Action;

    fn write(history: &mut History, value: &str, invoked: u64, returned: Option<u64>) {
        let id = history.begin(1, "k", Action::Write(value.into()), invoked);
        if let Some(returned) = returned {
            history.complete(id, Outcome::Acknowledged { returned }).unwrap();
        }
    }

    fn lost_values(history: &History) -> Vec<Content> {
        find(history).lost.iter().filter_map(|lost| lost.write.action.writes()).collect()
    }

    #[test]
    fn of_two_in_a_row_that_are_missing_the_last_is_lost() {
        let mut history = History::new(Initial::absent());
        write(&mut history, "a", 0, Some(1));
        write(&mut history, "b", 2, Some(3));
        history.set_final("new", "k", Content::Absent);
        assert_eq!(lost_values(&history), [Content::value("b")]);
    }

    #[test]
    fn of_two_at_once_either_may_stand() {
        for stands in ["a", "b"] {
            let mut history = History::new(Initial::absent());
            write(&mut history, "a", 0, Some(5));
            write(&mut history, "b", 2, Some(9));
            history.set_final("new", "k", Content::value(stands));
            assert!(lost_values(&history).is_empty());
        }
    }

    #[test]
    fn a_write_without_an_answer_may_overwrite_a_later_one() {
        let mut history = History::new(Initial::absent());
        write(&mut history, "a", 0, None);
        write(&mut history, "b", 2, Some(9));
        history.set_final("new", "k", Content::value("a"));
        assert!(lost_values(&history).is_empty());
    }

    #[test]
    fn a_lost_write_is_told_for_its_side_and_counted_once() {
        let mut history = History::new(Initial::absent());
        write(&mut history, "a", 0, Some(1));
        write(&mut history, "b", 2, Some(3));
        for (side, value) in [("old", "a"), ("new", "a"), ("third", "b")] {
            history.set_final(side, "k", Content::value(value));
        }
        let report = find(&history);
        assert_eq!(report.lost.iter().map(|lost| &*lost.found.side).collect::<Vec<_>>(), ["old", "new"]);
        assert_eq!(report.lost_writes(), 1);
    }

    #[test]
    fn a_value_that_nobody_wrote_and_a_key_without_a_look_at_rest_are_told() {
        let mut history = History::new(Initial::absent());
        history.set_final("new", "other", Content::value("?"));
        write(&mut history, "a", 0, Some(1));
        let report = find(&history);
        assert_eq!((report.acknowledged_writes, report.unchecked_writes), (1, 1));
        assert_eq!(report.unexplained.len(), 1);
    }
}
