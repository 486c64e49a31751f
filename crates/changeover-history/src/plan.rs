//! One key's operations laid out in time for the sweep: its events in the order of the clock, a slot for each operation
//! while it is under way, and for each value how long it can still matter. That the whole history is known beforehand
//! is what keeps the sweep narrow: it sees at once that a value which is read later must not be overwritten for good.

use crate::register::{RegisterOperation, ValueId};

/// Something happens to an operation (its number in [`Plan::operations`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Invoke(usize),
    Return(usize),
    /// Nothing reads the value of this unanswered write any more: it may be forgotten.
    Forget(usize),
}

/// An operation with its place in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) is_write: bool,
    pub(crate) value: ValueId,
    pub(crate) slot: usize,
    /// The position of its return among the events, [`NEVER`] for a write without an answer.
    pub(crate) returns: usize,
}

pub(crate) const NEVER: usize = usize::MAX;

pub(crate) struct Plan {
    pub(crate) operations: Vec<Planned>,
    pub(crate) events: Vec<Event>,
    /// For each value, the position after the last invocation of a read of it; 0 if there is none.
    last_read: Vec<usize>,
    /// The same for writes.
    last_write: Vec<usize>,
    /// How many slots are needed at most.
    pub(crate) slots: usize,
}

impl Plan {
    pub(crate) fn new(operations: &[RegisterOperation], values: usize) -> Self {
        let mut last_returned = vec![None; values];
        for read in operations.iter().filter(|operation| !operation.is_write) {
            let last = &mut last_returned[read.value as usize];
            *last = (*last).max(read.returned);
        }
        // An invocation comes before a return at the same instant: the two may overlap, and a tick of the clock must not
        // make an order that nobody saw.
        let mut timed = Vec::with_capacity(2 * operations.len());
        for (number, operation) in operations.iter().enumerate() {
            let end = match (operation.returned, last_returned[operation.value as usize]) {
                (Some(returned), _) => (returned, 1, Event::Return(number)),
                // Unanswered, but a read may have seen it.
                (None, Some(last)) if last >= operation.invoked => (last, 2, Event::Forget(number)),
                // Unanswered and unseen: it explains nothing and forbids nothing.
                (None, _) => continue,
            };
            timed.push((operation.invoked, 0, Event::Invoke(number)));
            timed.push(end);
        }
        timed.sort_unstable();
        let mut plan = Self {
            operations: Vec::with_capacity(operations.len()),
            events: timed.into_iter().map(|(_, _, event)| event).collect(),
            last_read: vec![0; values],
            last_write: vec![0; values],
            slots: 0,
        };
        plan.operations.extend(operations.iter().map(|operation| Planned {
            is_write: operation.is_write,
            value: operation.value,
            slot: 0,
            returns: NEVER,
        }));
        plan.lay_out();
        plan
    }

    fn lay_out(&mut self) {
        let mut free = Vec::new();
        for (position, event) in self.events.iter().enumerate() {
            match *event {
                Event::Invoke(number) => {
                    let operation = &mut self.operations[number];
                    operation.slot = free.pop().unwrap_or_else(|| {
                        self.slots += 1;
                        self.slots - 1
                    });
                    let last = if operation.is_write { &mut self.last_write } else { &mut self.last_read };
                    last[operation.value as usize] = position + 1;
                }
                Event::Return(number) => {
                    self.operations[number].returns = position;
                    free.push(self.operations[number].slot);
                }
                Event::Forget(number) => free.push(self.operations[number].slot),
            }
        }
    }

    /// Whether a read of the value is invoked after this position.
    pub(crate) fn read_later(&self, value: ValueId, position: usize) -> bool {
        self.last_read.get(value as usize).is_some_and(|&last| last > position)
    }

    /// Whether a write of the value is invoked after this position.
    pub(crate) fn written_later(&self, value: ValueId, position: usize) -> bool {
        self.last_write.get(value as usize).is_some_and(|&last| last > position)
    }

    /// The values that may have stood there at first, if nobody knows: those read before the first answered write was
    /// done. Any other value is like one that nobody ever reads.
    pub(crate) fn possible_at_first(&self) -> Vec<ValueId> {
        let mut values = Vec::new();
        for event in &self.events {
            match *event {
                Event::Invoke(number) if !self.operations[number].is_write => {
                    values.push(self.operations[number].value);
                }
                Event::Return(number) if self.operations[number].is_write => break,
                _ => {}
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }
}
