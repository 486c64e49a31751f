//! A history parted by key. Linearizability is local (Herlihy and Wing, 1990): a history is linearizable if and only if
//! each of its keys is, so each key is judged alone (*P-compositionality*: Horn and Kroening, "Faster linearizability
//! checking via P-compositionality", 2015; used so by the Porcupine checker). What cannot constrain
//! the answer is left out here: operations that failed, reads that were never answered.

use std::collections::HashMap;

use crate::history::{Action, Content, History, Initial, Outcome};

/// A value of one key, numbered: values are compared very often.
pub(crate) type ValueId = u32;

/// What one key went through.
pub(crate) struct Register<'h> {
    pub(crate) key: &'h str,
    pub(crate) initial: Start,
    pub(crate) operations: Vec<RegisterOperation>,
    /// What each [`ValueId`] stands for.
    pub(crate) values: Vec<Content>,
}

/// The value before the first operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Known(ValueId),
    Unknown,
}

/// One operation that constrains the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegisterOperation {
    pub(crate) source: Source,
    pub(crate) is_write: bool,
    /// The value written or seen.
    pub(crate) value: ValueId,
    pub(crate) invoked: u64,
    /// `None` for a write whose answer never came; reads always have one.
    pub(crate) returned: Option<u64>,
}

/// Where an operation stands in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Operation(usize),
    Final(usize),
}

impl Register<'_> {
    /// Operations of clients that were judged: a look at rest is none.
    pub(crate) fn checked(&self) -> u64 {
        self.operations.iter().filter(|operation| matches!(operation.source, Source::Operation(_))).count()
            as u64
    }

    /// Two looks at rest that saw different things, by their numbers among the history's.
    pub(crate) fn first_apart_at_rest(&self, history: &History) -> Option<(usize, usize)> {
        let mut looks = self.operations.iter().filter_map(|operation| match operation.source {
            Source::Final(at) => Some(at),
            Source::Operation(_) => None,
        });
        let first = looks.next()?;
        let other = looks.find(|&at| history.finals[at].content != history.finals[first].content)?;
        Some((first, other))
    }

    /// The most operations that were under way at one instant. One without an answer isn't counted: it would be under
    /// way for ever and make every history look busy.
    pub(crate) fn max_concurrency(&self) -> usize {
        let mut edges = Vec::with_capacity(2 * self.operations.len());
        for operation in &self.operations {
            if let (Source::Operation(_), Some(returned)) = (operation.source, operation.returned) {
                edges.extend([(operation.invoked, false), (returned, true)]);
            }
        }
        edges.sort_unstable();
        let (mut under_way, mut most) = (0_usize, 0);
        for (_, ends) in edges {
            under_way = if ends { under_way - 1 } else { under_way + 1 };
            most = most.max(under_way);
        }
        most
    }
}

/// Every key with an operation or a final state, in the order in which keys first appear.
pub(crate) fn registers(history: &History) -> Vec<Register<'_>> {
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut members: Vec<(&str, Vec<Source>)> = Vec::new();
    let operations = history.operations.iter().enumerate().map(|(at, o)| (&*o.key, Source::Operation(at)));
    let finals = history.finals.iter().enumerate().map(|(at, seen)| (&*seen.key, Source::Final(at)));
    for (key, source) in operations.chain(finals) {
        let at = *index.entry(key).or_insert_with(|| {
            members.push((key, Vec::new()));
            members.len() - 1
        });
        members[at].1.push(source);
    }
    members.into_iter().map(|(key, sources)| register(history, key, &sources)).collect()
}

fn register<'h>(history: &'h History, key: &'h str, sources: &[Source]) -> Register<'h> {
    let mut values = Numbering::default();
    let initial = match history.initial(key) {
        Initial::Known(content) => Start::Known(values.number(content)),
        Initial::Unknown => Start::Unknown,
    };
    let mut operations = Vec::with_capacity(sources.len());
    for &source in sources {
        let (is_write, value, invoked, returned) = match source {
            // After everything: nothing is invoked later, and a write without an answer may still come before it.
            Source::Final(at) => {
                (false, values.number(&history.finals[at].content), u64::MAX, Some(u64::MAX))
            }
            Source::Operation(at) => {
                let operation = &history.operations[at];
                let returned = operation.outcome.returned();
                match (&operation.action, &operation.outcome) {
                    (_, Outcome::Failed)
                    | (Action::Read, Outcome::Unknown | Outcome::Acknowledged { .. }) => continue,
                    (Action::Read, Outcome::Saw { content, .. }) => {
                        (false, values.number(content), operation.invoked, returned)
                    }
                    (Action::Write(_) | Action::Delete, _) => {
                        let content = operation.action.writes().unwrap_or(Content::Absent);
                        (true, values.number(&content), operation.invoked, returned)
                    }
                }
            }
        };
        operations.push(RegisterOperation { source, is_write, value, invoked, returned });
    }
    Register { key, initial, operations, values: values.contents }
}

#[derive(Default)]
struct Numbering {
    numbers: HashMap<Content, ValueId>,
    contents: Vec<Content>,
}

impl Numbering {
    fn number(&mut self, content: &Content) -> ValueId {
        if let Some(&number) = self.numbers.get(content) {
            return number;
        }
        let number = self.contents.len() as ValueId;
        self.numbers.insert(content.clone(), number);
        self.contents.push(content.clone());
        number
    }
}
