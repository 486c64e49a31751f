//! The answer of a check, and how it reads to a person who was woken by it.

use std::fmt;

use crate::history::{Action, Content, Final, Operation, Outcome};
use crate::lost::LostReport;

/// Whether every key is linearizable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linearizable {
    /// All are.
    Yes,
    /// At least one is not, and that is certain.
    No,
    /// None was found that is not, but for at least one key a bound was reached.
    Undecided,
}

/// All that a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Operations of the keys that were decided: answered reads, acknowledged writes, and writes without an answer.
    pub operations_checked: u64,
    /// Keys with an operation or a final state.
    pub keys: u64,
    /// The most operations under way at once on one key; those without an answer aren't counted.
    pub max_concurrency_per_key: usize,
    /// Configurations that the search looked at, all keys together: what the check cost.
    pub configurations_visited: u64,
    /// Keys that are certainly not linearizable.
    pub violating_keys: u64,
    /// The first of them, explained ([`Bounds::explained`](crate::Bounds::explained)).
    pub violations: Vec<Violation>,
    /// Keys for which a bound was reached.
    pub undecided: Vec<Undecided>,
    /// Acknowledged writes that are not there at rest.
    pub lost: LostReport,
    /// When the first operation was invoked, in ns: reports count from it.
    pub started: u64,
}

impl Verdict {
    /// Whether every key is linearizable.
    pub fn linearizable(&self) -> Linearizable {
        match (self.violating_keys, self.undecided.is_empty()) {
            (0, true) => Linearizable::Yes,
            (0, false) => Linearizable::Undecided,
            _ => Linearizable::No,
        }
    }

    /// Linearizable for certain, nothing lost, and no value at rest that nobody wrote.
    pub fn is_clean(&self) -> bool {
        self.linearizable() == Linearizable::Yes
            && self.lost.lost.is_empty()
            && self.lost.unexplained.is_empty()
    }
}

/// A key for which no answer was found within the bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// The key.
    pub key: Box<str>,
    /// Which bound was reached.
    pub why: Reason,
}

/// The bound that ended a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// [`Bounds::alive`](crate::Bounds::alive).
    Alive {
        /// The bound.
        limit: usize,
    },
    /// [`Bounds::visited`](crate::Bounds::visited).
    Visited {
        /// The bound.
        limit: u64,
    },
    /// More operations under way at once than the search is made for; no setting raises it.
    UnderWay {
        /// The bound.
        limit: usize,
    },
}

/// What kind of contradiction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read saw a value that had been overwritten before it began.
    Stale,
    /// A read saw a value before anybody began to write it.
    FromTheFuture,
    /// A read saw a value that nobody ever wrote.
    NeverWritten,
    /// A read saw a value written only by operations that failed.
    FailedWriteSeen,
    /// At rest two sides hold different things.
    SidesDiffer,
    /// No single order of the operations explains them all (a value came back, a write took effect twice).
    NoOrder,
}

/// A key that is not linearizable, and the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Box<str>,
    /// What kind of contradiction it is.
    pub kind: Kind,
    /// What the key held at first, where the contradiction needs it.
    pub initial: Option<Content>,
    /// Which of the witnesses can't be placed: its return ends the shortest prefix that fails.
    pub culprit: usize,
    /// The operations that contradict each other, and where the value read came from, in the order of invocation.
    pub witnesses: Vec<Witness>,
    /// Whether none of the contradiction can be left out. False when it took too long to find out.
    pub minimal: bool,
}

/// A part of the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// What a client did and saw.
    Operation(Operation),
    /// What a side held at rest.
    AtRest(Final),
}

/// The most keys of a sort that are printed, and witnesses of one of them.
const SHOWN: usize = 20;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.linearizable() {
            Linearizable::Yes => "linearizable".to_owned(),
            Linearizable::No => format!("NOT LINEARIZABLE ({} of {} keys)", self.violating_keys, self.keys),
            Linearizable::Undecided => {
                format!("UNDECIDED ({} of {} keys; no violation found)", self.undecided.len(), self.keys)
            }
        };
        writeln!(
            f,
            "{answer}: {} operations on {} keys, at most {} at once on one key",
            self.operations_checked, self.keys, self.max_concurrency_per_key
        )?;
        self.lost.render(f, self.started, SHOWN)?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f)?;
            violation.render(f, self.started)?;
        }
        let shown = self.violations.len().min(SHOWN) as u64;
        if self.violating_keys > shown {
            writeln!(f, "\n... and {} more keys that are not linearizable", self.violating_keys - shown)?;
        }
        for Undecided { key, why } in self.undecided.iter().take(SHOWN) {
            writeln!(f, "key {key:?}: undecided, {why}")?;
        }
        if self.undecided.len() > SHOWN {
            writeln!(f, "... and {} more keys undecided", self.undecided.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive { limit } => {
                write!(f, "more than {limit} configurations possible at once: raise Bounds::alive")
            }
            Self::Visited { limit } => {
                write!(f, "more than {limit} configurations visited: raise Bounds::visited")
            }
            Self::UnderWay { limit } => {
                write!(f, "more than {limit} operations under way at once: record fewer clients for a key")
            }
        }
    }
}

impl fmt::Display for Violation {
    /// Times count from the first of the witnesses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.witnesses.iter().filter_map(Witness::invoked).min().unwrap_or(0);
        self.render(f, started)
    }
}

impl Violation {
    fn render(&self, f: &mut fmt::Formatter<'_>, started: u64) -> fmt::Result {
        let what = match self.kind {
            Kind::Stale => {
                "a value was seen after it had been overwritten (a stale read, or the later write is lost)"
            }
            Kind::FromTheFuture => "a value was seen before anybody began to write it",
            Kind::NeverWritten => "a value was seen that nobody ever wrote",
            Kind::FailedWriteSeen => "a value was seen whose only write is said to have failed",
            Kind::SidesDiffer => "the sides hold different things at rest",
            Kind::NoOrder => "no single order of these operations explains what was seen",
        };
        writeln!(f, "key {:?}: {what}", self.key)?;
        if let Some(initial) = &self.initial {
            writeln!(f, "    {:>26}  at first: {initial}", "")?;
        }
        // The culprit is among the last: what is left out, if anything, is from the beginning.
        let first = self.culprit.saturating_sub(SHOWN);
        if first > 0 {
            writeln!(f, "    ... {first} operations before these")?;
        }
        for (at, witness) in self.witnesses.iter().enumerate().skip(first).take(SHOWN + 2) {
            let mark = if at == self.culprit { "-->" } else { "   " };
            write!(f, "{mark} ")?;
            witness.render(f, started)?;
            writeln!(f)?;
        }
        if self.witnesses.len() > first + SHOWN + 2 {
            writeln!(f, "    ... {} operations after these", self.witnesses.len() - first - SHOWN - 2)?;
        }
        if !self.minimal {
            writeln!(f, "    (fewer operations may do: the search for the fewest was cut short)")?;
        }
        Ok(())
    }
}

impl Witness {
    fn invoked(&self) -> Option<u64> {
        match self {
            Self::Operation(operation) => Some(operation.invoked),
            Self::AtRest(_) => None,
        }
    }

    fn render(&self, f: &mut fmt::Formatter<'_>, started: u64) -> fmt::Result {
        match self {
            Self::AtRest(seen) => write!(f, "{:>26}  side {} holds {}", "at rest", seen.side, seen.content),
            Self::Operation(operation) => describe(f, operation, started),
        }
    }
}

/// One operation in one line: when, who, what, and what came of it.
pub(crate) fn describe(f: &mut fmt::Formatter<'_>, operation: &Operation, started: u64) -> fmt::Result {
    let invoked = millis(operation.invoked, started);
    let span = match operation.outcome.returned() {
        Some(returned) => format!("{invoked} - {} ms", millis(returned, started)),
        None => format!("{invoked} - ?  ms"),
    };
    write!(f, "{span:>26}  client {} ", operation.client)?;
    match &operation.action {
        Action::Read => f.write_str("read")?,
        Action::Write(value) => write!(f, "wrote {value:?}")?,
        Action::Delete => f.write_str("deleted it")?,
    }
    match &operation.outcome {
        Outcome::Acknowledged { .. } => f.write_str(", acknowledged"),
        Outcome::Saw { content, .. } => write!(f, " and saw {content}"),
        Outcome::Failed => f.write_str(", failed"),
        Outcome::Unknown => f.write_str(", the answer never came"),
    }
}

/// Milliseconds since the start, to the microsecond.
fn millis(at: u64, started: u64) -> String {
    let micros = at.saturating_sub(started) / 1_000;
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}
