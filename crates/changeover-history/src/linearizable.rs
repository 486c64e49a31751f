//! Is there an order of one key's operations that explains what was seen?
//!
//! The search follows Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memoised
//! configurations and just-in-time linearization ("Testing for linearizability", 2017): the events are swept in the
//! order of the clock with the set of all configurations that are possible so far. A configuration is which of the
//! operations under way have taken effect, and the value. Operations take effect as late as can be: only when one
//! returns that has not yet, itself last. When no configuration is left, there is no such order.
//!
//! In general this is exponential (Gibbons and Korach, "Testing shared memories", 1997). What a register allows makes
//! it nearly linear in practice, and none of it loses an order:
//!
//! * A read under way takes effect as soon as the value is there: it changes nothing.
//! * A write need not be placed at once where it would be overwritten unseen. Once any other write has taken effect
//!   while it is under way it is *free*: it may count as having been just before that one, or still be used.
//! * Of several writes of one value under way, the one that must return first is used first.
//! * A configuration is dropped when another one allows all that it does: the same value, and a superset of what is
//!   `settled` and `usable`.
//! * A configuration is dropped when a value that is yet to be read is gone, with nobody left to write it again. With
//!   values that are all different, this leaves one configuration nearly always.

use crate::Bounds;
use crate::plan::{Event, Plan};
use crate::register::{RegisterOperation, Start, ValueId};
use crate::slots::Slots;
use crate::verdict::Reason;

/// What the sweep found, and what it cost.
pub(crate) struct Swept {
    pub(crate) answer: Answer,
    /// Configurations looked at.
    pub(crate) visited: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    Undecided(Reason),
}

/// The most slots that a sweep is made for: this many operations of one key under way at once.
const MOST_SLOTS: usize = 64 * 64;
/// How many of the best configurations each one is compared with, to see whether it is needed.
const RIVALS: usize = 64;

/// Judges one key's operations.
pub(crate) fn sweep(initial: &Start, operations: &[RegisterOperation], bounds: &Bounds) -> Swept {
    let first = if let Start::Known(value) = *initial { value } else { 0 };
    let highest = operations.iter().map(|operation| operation.value).fold(first, ValueId::max);
    let values = highest as usize + 1;
    let plan = Plan::new(operations, values);
    let mut starts = match *initial {
        Start::Known(value) => vec![value],
        Start::Unknown => plan.possible_at_first(),
    };
    if *initial == Start::Unknown {
        starts.push(values as ValueId);
    }
    match plan.slots {
        0..=64 => Sweep::<1>::new(&plan, bounds, &starts).run(),
        65..=256 => Sweep::<4>::new(&plan, bounds, &starts).run(),
        257..=MOST_SLOTS => Sweep::<64>::new(&plan, bounds, &starts).run(),
        _ => Swept { answer: Answer::Undecided(Reason::UnderWay { limit: MOST_SLOTS }), visited: 0 },
    }
}

/// One way in which things may stand. For each operation under way: a read is settled when it has taken effect. A write
/// is usable until it has taken effect where it was seen or stays, and settled when it may return as it is; one that
/// is both is *free*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<const N: usize> {
    value: ValueId,
    settled: Slots<N>,
    usable: Slots<N>,
}

impl<const N: usize> Configuration<N> {
    fn allows_all_of(&self, other: &Self) -> bool {
        self.value == other.value
            && self.settled.contains_all(&other.settled)
            && self.usable.contains_all(&other.usable)
    }

    fn forget(mut self, slot: usize) -> Self {
        self.settled.remove(slot);
        self.usable.remove(slot);
        self
    }
}

struct Sweep<'p, const N: usize> {
    plan: &'p Plan,
    bounds: &'p Bounds,
    alive: Vec<Configuration<N>>,
    next: Vec<Configuration<N>>,
    /// The operations under way.
    open: Vec<usize>,
    open_writes: Slots<N>,
    /// The position of the event that is looked at.
    now: usize,
    visited: u64,
}

/// What may be made of a value that a read under way waits for, before the value is set to another.
struct Choice {
    value: ValueId,
    /// The write to use for it.
    slot: usize,
}

impl<'p, const N: usize> Sweep<'p, N> {
    fn new(plan: &'p Plan, bounds: &'p Bounds, starts: &[ValueId]) -> Self {
        let start = |&value: &ValueId| Configuration { value, settled: Slots::EMPTY, usable: Slots::EMPTY };
        Self {
            plan,
            bounds,
            alive: starts.iter().map(start).collect(),
            next: Vec::new(),
            open: Vec::new(),
            open_writes: Slots::EMPTY,
            now: 0,
            visited: 0,
        }
    }

    fn run(mut self) -> Swept {
        let mut answer = Answer::Yes;
        for (position, event) in self.plan.events.iter().enumerate() {
            self.now = position;
            let step = match *event {
                Event::Invoke(number) => {
                    self.invoke(number);
                    Ok(())
                }
                Event::Return(number) => self.settle(number),
                Event::Forget(number) => {
                    self.close(number);
                    self.alive.iter_mut().for_each(|c| *c = c.forget(self.plan.operations[number].slot));
                    self.thin_out()
                }
            };
            if let Err(why) = step {
                answer = Answer::Undecided(why);
                break;
            }
            if self.alive.is_empty() {
                answer = Answer::No;
                break;
            }
        }
        Swept { answer, visited: self.visited }
    }

    fn invoke(&mut self, number: usize) {
        let operation = self.plan.operations[number];
        self.open.push(number);
        if operation.is_write {
            self.open_writes.insert(operation.slot);
        }
        for configuration in &mut self.alive {
            if operation.is_write {
                configuration.usable.insert(operation.slot);
            } else if configuration.value == operation.value {
                configuration.settled.insert(operation.slot);
            }
        }
    }

    fn close(&mut self, number: usize) {
        self.open.retain(|&other| other != number);
        self.open_writes.remove(self.plan.operations[number].slot);
    }

    /// The operation returns: it must have taken effect by now, in every configuration that goes on.
    fn settle(&mut self, number: usize) -> Result<(), Reason> {
        let operation = self.plan.operations[number];
        let before = std::mem::take(&mut self.alive);
        for configuration in &before {
            self.visited += 1;
            let settled = configuration.settled.contains(operation.slot);
            let usable = configuration.usable.contains(operation.slot);
            if settled && !usable {
                self.next.push(configuration.forget(operation.slot));
            } else if settled {
                self.settle_free(configuration, number)?;
            } else if operation.is_write {
                self.set(configuration, number, number)?;
            } else if let Some(writer) = self.writer(configuration, operation.value) {
                self.set(configuration, writer, number)?;
            }
            if self.next.len() > 2 * self.bounds.alive {
                std::mem::swap(&mut self.alive, &mut self.next);
                self.thin_out()?;
                std::mem::swap(&mut self.alive, &mut self.next);
            }
        }
        self.close(number);
        self.alive = std::mem::take(&mut self.next);
        self.next = before;
        self.next.clear();
        self.thin_out()
    }

    /// A free write returns: it was overwritten unseen, or it takes effect now. Where one of the two allows all that
    /// the other does, only that one is followed.
    fn settle_free(&mut self, configuration: &Configuration<N>, number: usize) -> Result<(), Reason> {
        let operation = self.plan.operations[number];
        let wanted = self.wanted(configuration, operation.value);
        let loses = configuration.value != operation.value && self.wanted(configuration, configuration.value);
        if !wanted || loses {
            let passed = configuration.forget(operation.slot);
            if !self.starved(&passed, operation.value, number) {
                self.next.push(passed);
            }
        }
        if wanted { self.set(configuration, number, number) } else { Ok(()) }
    }

    /// The write `last` takes effect, as the last of all at this moment, so that `returning` may return. Before it, other
    /// writes may show their values to the reads that wait for them.
    fn set(&mut self, from: &Configuration<N>, last: usize, returning: usize) -> Result<(), Reason> {
        let write = self.plan.operations[last];
        let (mut base, mut choices) = (*from, Vec::new());
        for value in self.awaited(from, write.value) {
            let Some(writer) = self.writer(from, value) else { continue };
            let choice = Choice { value, slot: self.plan.operations[writer].slot };
            if !self.plan.read_later(value, self.now) {
                // These reads are its last: now is as good as any time.
                self.show(&mut base, &choice);
            } else if self.supplied(from, value, Some(writer)) {
                choices.push(choice);
            }
        }
        let combinations = 1_usize.checked_shl(choices.len() as u32).unwrap_or(usize::MAX);
        if combinations > 1 && combinations > self.bounds.alive {
            return Err(Reason::Alive { limit: self.bounds.alive });
        }
        for chosen in 0..combinations {
            self.visited += 1;
            let mut to = base;
            for (_, choice) in choices.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1) {
                self.show(&mut to, choice);
            }
            self.show(&mut to, &Choice { value: write.value, slot: write.slot });
            to.settled.union(&self.open_writes);
            to.value = write.value;
            let to = to.forget(self.plan.operations[returning].slot);
            if !self.starved(&to, from.value, returning) {
                self.next.push(to);
            }
        }
        Ok(())
    }

    /// The write takes effect, and with it every read under way that waits for its value.
    fn show(&self, configuration: &mut Configuration<N>, choice: &Choice) {
        configuration.usable.remove(choice.slot);
        configuration.settled.insert(choice.slot);
        for &number in &self.open {
            let operation = self.plan.operations[number];
            if !operation.is_write && operation.value == choice.value {
                configuration.settled.insert(operation.slot);
            }
        }
    }

    /// The values that reads under way wait for, but for `except`.
    fn awaited(&self, configuration: &Configuration<N>, except: ValueId) -> Vec<ValueId> {
        let mut values = Vec::new();
        for &number in &self.open {
            let read = self.plan.operations[number];
            if !read.is_write && read.value != except && !configuration.settled.contains(read.slot) {
                values.push(read.value);
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The write under way to use for a value: of those left, the one that returns first.
    fn writer(&self, configuration: &Configuration<N>, value: ValueId) -> Option<usize> {
        self.writers(configuration, value)
            .min_by_key(|&number| (self.plan.operations[number].returns, number))
    }

    fn writers(&self, configuration: &Configuration<N>, value: ValueId) -> impl Iterator<Item = usize> {
        self.open.iter().copied().filter(move |&number| {
            let operation = self.plan.operations[number];
            operation.is_write && operation.value == value && configuration.usable.contains(operation.slot)
        })
    }

    /// Whether a read that hasn't taken effect needs the value.
    fn wanted(&self, configuration: &Configuration<N>, value: ValueId) -> bool {
        self.plan.read_later(value, self.now)
            || self.open.iter().any(|&number| {
                let read = self.plan.operations[number];
                !read.is_write && read.value == value && !configuration.settled.contains(read.slot)
            })
    }

    /// Whether the value can still be written, without `except`.
    fn supplied(&self, configuration: &Configuration<N>, value: ValueId, except: Option<usize>) -> bool {
        self.plan.written_later(value, self.now)
            || self.writers(configuration, value).any(|number| Some(number) != except)
    }

    /// Whether a value is wanted that will never be there again. `returning` is on its way out and wants nothing.
    fn starved(&self, configuration: &Configuration<N>, value: ValueId, returning: usize) -> bool {
        if configuration.value == value || self.supplied(configuration, value, Some(returning)) {
            return false;
        }
        let mut returned = *configuration;
        let operation = self.plan.operations[returning];
        if !operation.is_write {
            returned.settled.insert(operation.slot);
        }
        self.wanted(&returned, value)
    }

    /// Drops every configuration that another one makes needless; too many left is a bound reached.
    fn thin_out(&mut self) -> Result<(), Reason> {
        if self.visited > self.bounds.visited {
            return Err(Reason::Visited { limit: self.bounds.visited });
        }
        if self.alive.len() < 2 {
            return Ok(());
        }
        // Those that allow the most come first within their value.
        self.alive.sort_unstable_by_key(|c| (c.value, u32::MAX - c.settled.len() - c.usable.len(), *c));
        self.alive.dedup();
        let (mut kept, mut group) = (0, 0);
        for at in 0..self.alive.len() {
            let candidate = self.alive[at];
            if self.alive[group].value != candidate.value {
                group = kept;
            }
            let rivals = &self.alive[group..kept.min(group + RIVALS)];
            if !rivals.iter().any(|rival| rival.allows_all_of(&candidate)) {
                self.alive[kept] = candidate;
                kept += 1;
            }
        }
        self.alive.truncate(kept);
        if kept > self.bounds.alive { Err(Reason::Alive { limit: self.bounds.alive }) } else { Ok(()) }
    }
}
