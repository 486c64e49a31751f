//! The record of what clients did and saw: operations on keys, what stood there before, and what stood there at rest.
//! An operation that was begun and never completed is one whose answer never came: that is its outcome until told
//! otherwise, so a recorder that stops in the middle leaves a true history.

use std::collections::HashMap;
use std::fmt;

/// Who sent an operation. One client may have several under way.
pub type Client = u64;

/// What a key holds: an opaque value, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// No row: never written, or deleted.
    Absent,
    /// A value, compared by its text alone.
    Value(Box<str>),
}

impl Content {
    /// A value from anything that has a text.
    pub fn value(value: impl ToString) -> Self {
        Self::Value(value.to_string().into())
    }
}

impl From<Option<&str>> for Content {
    fn from(value: Option<&str>) -> Self {
        value.map_or(Self::Absent, |text| Self::Value(text.into()))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing (absent)"),
            Self::Value(text) => write!(f, "{text:?}"),
        }
    }
}

/// What is known of a key before the first operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Initial {
    /// It held this.
    Known(Content),
    /// Nobody looked: one value, whichever fits. The check is weaker for it.
    Unknown,
}

impl Initial {
    /// Known to be absent.
    pub fn absent() -> Self {
        Self::Known(Content::Absent)
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// What does the key hold?
    Read,
    /// Let it hold this.
    Write(Box<str>),
    /// Let it hold nothing. Deleting what is absent is no failure.
    Delete,
}

impl Action {
    /// What the key holds after it; `None` for a read.
    pub fn writes(&self) -> Option<Content> {
        match self {
            Self::Read => None,
            Self::Write(value) => Some(Content::Value(value.clone())),
            Self::Delete => Some(Content::Absent),
        }
    }
}

/// What came of it. Times are nanoseconds on the one monotonic clock of the whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A write or delete that the service said is done.
    Acknowledged {
        /// When the client had the answer.
        returned: u64,
    },
    /// A read that was answered.
    Saw {
        /// When the client had the answer.
        returned: u64,
        /// What the answer was.
        content: Content,
    },
    /// It certainly did not happen, and never will.
    Failed,
    /// The answer never came: it may take effect at any time after it was begun, or never.
    Unknown,
}

impl Outcome {
    /// When the answer was there; `None` if it failed or never came.
    pub fn returned(&self) -> Option<u64> {
        match self {
            Self::Acknowledged { returned } | Self::Saw { returned, .. } => Some(*returned),
            Self::Failed | Self::Unknown => None,
        }
    }
}

/// One operation of one client on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who sent it.
    pub client: Client,
    /// The key.
    pub key: Box<str>,
    /// What was asked for.
    pub action: Action,
    /// When it was sent, in ns. Must be taken before sending.
    pub invoked: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a side held for a key at rest: after everything, with nothing under way that could still change it. Give it
/// only for sides that must be in step at the end: they must all agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// The side's name (`old`, `new`).
    pub side: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// What was there.
    pub content: Content,
}

/// The handle of an operation begun, by which it is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(crate) usize);

/// Everything that was done and seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub(crate) default_initial: Initial,
    pub(crate) initial: HashMap<Box<str>, Initial>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) finals: Vec<Final>,
}

impl History {
    /// An empty history. `default` holds for every key that [`History::set_initial`] doesn't name.
    pub fn new(default: Initial) -> Self {
        Self { default_initial: default, initial: HashMap::new(), operations: Vec::new(), finals: Vec::new() }
    }

    /// Says what a key held before the first operation.
    pub fn set_initial(&mut self, key: &str, initial: Initial) {
        self.initial.insert(key.into(), initial);
    }

    /// What a key held before the first operation.
    pub fn initial(&self, key: &str) -> &Initial {
        self.initial.get(key).unwrap_or(&self.default_initial)
    }

    /// Records that an operation is being sent, at `invoked` ns. Its outcome is [`Outcome::Unknown`] until completed.
    pub fn begin(&mut self, client: Client, key: &str, action: Action, invoked: u64) -> OperationId {
        let id = OperationId(self.operations.len());
        self.operations.push(Operation {
            client,
            key: key.into(),
            action,
            invoked,
            outcome: Outcome::Unknown,
        });
        id
    }

    /// Records what came of an operation.
    ///
    /// # Errors
    /// When the outcome can't be this operation's: nothing is recorded then.
    pub fn complete(&mut self, id: OperationId, outcome: Outcome) -> Result<(), HistoryError> {
        let operation = self.operations.get_mut(id.0).ok_or(HistoryError::NoSuchOperation)?;
        if operation.outcome != Outcome::Unknown {
            return Err(HistoryError::Completed(described(operation)));
        }
        let fits = match outcome {
            Outcome::Acknowledged { .. } => operation.action != Action::Read,
            Outcome::Saw { .. } => operation.action == Action::Read,
            Outcome::Failed | Outcome::Unknown => true,
        };
        if !fits {
            return Err(HistoryError::WrongOutcome(described(operation)));
        }
        if outcome.returned().is_some_and(|returned| returned < operation.invoked) {
            return Err(HistoryError::BackwardsClock(described(operation)));
        }
        operation.outcome = outcome;
        Ok(())
    }

    /// Says what a side held for a key at rest.
    pub fn set_final(&mut self, side: &str, key: &str, content: Content) {
        self.finals.push(Final { side: side.into(), key: key.into(), content });
    }

    /// All operations, in the order in which they were begun here.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// All that was seen at rest.
    pub fn finals(&self) -> &[Final] {
        &self.finals
    }

    /// The earliest invocation, in ns: reports count from it.
    pub fn started(&self) -> u64 {
        self.operations.iter().map(|operation| operation.invoked).min().unwrap_or(0)
    }
}

fn described(operation: &Operation) -> String {
    format!(
        "client {}, key {:?}, {:?} begun at {} ns",
        operation.client, operation.key, operation.action, operation.invoked
    )
}

/// A recorder contradicted itself: a bug in the recorder, never in what it records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryError {
    /// The handle is from another history.
    NoSuchOperation,
    /// The operation has its outcome already.
    Completed(String),
    /// A read was acknowledged like a write, or a write saw something.
    WrongOutcome(String),
    /// It returned before it was begun: the times are not of one monotonic clock.
    BackwardsClock(String),
}

impl HistoryError {
    /// Whether trying again could help: never, the recorder has to be mended.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchOperation => {
                f.write_str("no operation with this handle: complete it on the history that began it")
            }
            Self::Completed(what) => write!(f, "{what}: has its outcome already; complete an operation once"),
            Self::WrongOutcome(what) => {
                write!(
                    f,
                    "{what}: a read is completed by what it saw, a write or delete by an acknowledgement"
                )
            }
            Self::BackwardsClock(what) => {
                write!(f, "{what}: returned before it was begun; take all times from one monotonic clock")
            }
        }
    }
}

impl std::error::Error for HistoryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_that_cannot_be_is_refused_and_leaves_the_operation_open() {
        let mut history = History::new(Initial::Unknown);
        let read = history.begin(1, "k", Action::Read, 10);
        let wrong = history.complete(read, Outcome::Acknowledged { returned: 20 });
        assert!(matches!(wrong, Err(HistoryError::WrongOutcome(_))));
        let early = history.complete(read, Outcome::Saw { returned: 9, content: Content::Absent });
        assert!(matches!(early, Err(HistoryError::BackwardsClock(_))));
        assert_eq!(history.operations()[0].outcome, Outcome::Unknown);
        history.complete(read, Outcome::Failed).unwrap();
        assert!(matches!(history.complete(read, Outcome::Unknown), Err(HistoryError::Completed(_))));
    }
}
