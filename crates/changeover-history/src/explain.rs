//! Why a key is not linearizable, in as few operations as it takes. First the shortest prefix that fails: the
//! operation whose return ends it is the one that can't be placed. Then, within it, whatever the contradiction doesn't
//! need is given up, in halves, quarters and so on (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
//! input", 2002). Giving up a read forgets it; giving up a write makes it one without an answer. Both only
//! ever allow more orders, so what still fails is a true contradiction by itself.

use crate::Bounds;
use crate::history::{History, Operation, Outcome};
use crate::linearizable::{Answer, sweep};
use crate::register::{Register, RegisterOperation, Source, Start, ValueId};
use crate::verdict::{Kind, Violation, Witness};

/// Operations swept in all for one explanation. When it is spent, what is left is shown: true, but perhaps not minimal.
const EFFORT: usize = 20_000_000;

/// Explains a key that is known to fail.
pub(crate) fn explain(history: &History, register: &Register<'_>, bounds: &Bounds) -> Violation {
    if let Some((one, other)) = register.first_apart_at_rest(history) {
        let witnesses = [one, other].map(|at| Witness::AtRest(history.finals[at].clone()));
        return Violation {
            key: register.key.into(),
            kind: Kind::SidesDiffer,
            initial: None,
            culprit: 1,
            witnesses: witnesses.into(),
            minimal: true,
        };
    }
    let mut search = Search { register, bounds, start: register.initial, pool: Vec::new(), effort: EFFORT };
    search.pool.extend(0..register.operations.len());
    let mut core = search.shortest_prefix();
    // A key that fails has at least one operation that was answered: no other can be a contradiction.
    let culprit = core.pop().unwrap_or_default();
    let core = search.shrink(core, culprit);
    let minimal = search.effort > 0;
    witnessed(history, register, &core, culprit, search.start, minimal)
}

/// The search for the core. Operations go by their numbers in the register; `strict` ones are taken at their word.
struct Search<'r> {
    register: &'r Register<'r>,
    bounds: &'r Bounds,
    start: Start,
    /// The operations that can still play a part.
    pool: Vec<usize>,
    effort: usize,
}

impl Search<'_> {
    fn fails(&mut self, strict: &[usize]) -> bool {
        if self.effort == 0 {
            return false;
        }
        self.effort = self.effort.saturating_sub(self.pool.len());
        let mut is_strict = vec![false; self.register.operations.len()];
        strict.iter().for_each(|&number| is_strict[number] = true);
        let operations: Vec<_> = self
            .pool
            .iter()
            .filter_map(|&number| {
                let operation = self.register.operations[number];
                match (is_strict[number], operation.is_write) {
                    (true, _) => Some(operation),
                    (false, true) => Some(RegisterOperation { returned: None, ..operation }),
                    (false, false) => None,
                }
            })
            .collect();
        sweep(&self.start, &operations, self.bounds).answer == Answer::No
    }

    /// The operations of the shortest failing prefix, by their return; the last of them is the culprit.
    fn shortest_prefix(&mut self) -> Vec<usize> {
        let operations = &self.register.operations;
        let mut order: Vec<usize> =
            self.pool.iter().copied().filter(|&n| operations[n].returned.is_some()).collect();
        order.sort_by_key(|&number| (operations[number].returned, number));
        let (mut passes, mut fails) = (0, order.len());
        while passes + 1 < fails {
            let middle = passes.midpoint(fails);
            if self.fails(&order[..middle]) { fails = middle } else { passes = middle }
        }
        order.truncate(fails);
        self.narrow(&order);
        order
    }

    /// Gives up what isn't needed besides the culprit: reads first, so that what stays is told by writes where either
    /// would do; and at last what was there at first.
    fn shrink(&mut self, core: Vec<usize>, culprit: usize) -> Vec<usize> {
        let operations = &self.register.operations;
        let (writes, reads): (Vec<_>, Vec<_>) =
            core.into_iter().partition(|&number| operations[number].is_write);
        let reads = self.give_up(reads, &[&writes[..], &[culprit]].concat());
        let writes = self.give_up(writes, &[&reads[..], &[culprit]].concat());
        let core = [writes, reads].concat();
        let known = std::mem::replace(&mut self.start, Start::Unknown);
        if !self.fails(&[&core[..], &[culprit]].concat()) {
            self.start = known;
        }
        core
    }

    /// What of `candidates` is needed beside `fixed`. What can't be given up now can't be later either, when less is
    /// left, so going over it once in each size of chunk is enough.
    fn give_up(&mut self, mut candidates: Vec<usize>, fixed: &[usize]) -> Vec<usize> {
        let mut chunk = candidates.len();
        while chunk > 0 {
            let mut at = 0;
            while at < candidates.len() {
                let end = (at + chunk).min(candidates.len());
                let strict = [&candidates[..at], &candidates[end..], fixed].concat();
                if self.fails(&strict) {
                    self.narrow(&strict);
                    candidates.drain(at..end);
                } else {
                    at = end;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
        candidates
    }

    /// A write that was given up matters only if a read that wasn't saw its value.
    fn narrow(&mut self, strict: &[usize]) {
        let operations = &self.register.operations;
        let mut needed = vec![false; self.register.values.len()];
        let mut is_strict = vec![false; operations.len()];
        for &number in strict {
            is_strict[number] = true;
            needed[operations[number].value as usize] |= !operations[number].is_write;
        }
        self.pool.retain(|&number| {
            is_strict[number] || operations[number].is_write && needed[operations[number].value as usize]
        });
    }
}

fn witnessed(
    history: &History,
    register: &Register<'_>,
    core: &[usize],
    culprit: usize,
    start: Start,
    minimal: bool,
) -> Violation {
    let read = register.operations[culprit];
    let kind = if read.is_write { Kind::NoOrder } else { kind_of(history, register, core, &read) };
    let mut sources: Vec<(u64, Source)> = core
        .iter()
        .map(|&number| (register.operations[number].invoked, register.operations[number].source))
        .collect();
    // Where the value came from belongs to the story, also where the contradiction doesn't need it.
    let mut origins: Vec<_> = origins(history, register, &read).collect();
    origins.sort_unstable();
    let before = origins.partition_point(|&(invoked, _)| Some(invoked) <= read.returned);
    let shown = before.saturating_sub(1)..(before + usize::from(before == 0)).min(origins.len());
    sources.extend(origins[shown].iter().map(|&(invoked, at)| (invoked, Source::Operation(at))));
    sources.push((read.invoked, read.source));
    sources.sort_unstable();
    sources.dedup();
    let position = sources.iter().position(|&(_, source)| source == read.source).unwrap_or(0);
    let witness = |&(_, source): &(u64, Source)| match source {
        Source::Operation(at) => Witness::Operation(history.operations[at].clone()),
        Source::Final(at) => Witness::AtRest(history.finals[at].clone()),
    };
    Violation {
        key: register.key.into(),
        kind,
        initial: match start {
            Start::Known(value) => Some(register.values[value as usize].clone()),
            Start::Unknown => None,
        },
        culprit: position,
        witnesses: sources.iter().map(witness).collect(),
        minimal,
    }
}

/// Every write of the value that was read, failed ones too: when it was invoked, and its number in the history.
fn origins<'h>(
    history: &'h History,
    register: &'h Register<'_>,
    read: &RegisterOperation,
) -> impl Iterator<Item = (u64, usize)> {
    let value = &register.values[read.value as usize];
    let writes = move |operation: &Operation| {
        *operation.key == *register.key && operation.action.writes().is_some_and(|written| written == *value)
    };
    let numbered = history.operations.iter().enumerate();
    numbered.filter(move |(_, operation)| writes(operation)).map(|(at, operation)| (operation.invoked, at))
}

/// What went wrong with a read, as far as a single sentence can say.
fn kind_of(history: &History, register: &Register<'_>, core: &[usize], read: &RegisterOperation) -> Kind {
    let (mut possible, mut failed) = (Vec::new(), false);
    for (invoked, at) in origins(history, register, read) {
        let outcome = &history.operations[at].outcome;
        failed |= *outcome == Outcome::Failed;
        if *outcome != Outcome::Failed {
            possible.push((invoked, outcome.returned()));
        }
    }
    let at_first = match register.initial {
        Start::Known(value) => value == read.value,
        Start::Unknown => true,
    };
    if possible.is_empty() && !at_first {
        return if failed { Kind::FailedWriteSeen } else { Kind::NeverWritten };
    }
    if !at_first && possible.iter().all(|&(invoked, _)| Some(invoked) > read.returned) {
        return Kind::FromTheFuture;
    }
    let overwrites = |since: Option<u64>, by: &RegisterOperation, value: ValueId| {
        let done = by.returned.is_some_and(|returned| returned < read.invoked);
        by.is_write && by.value != value && done && since.is_none_or(|since| since < by.invoked)
    };
    let writes = || core.iter().map(|&number| &register.operations[number]);
    let started = possible.iter().filter(|&&(invoked, _)| Some(invoked) <= read.returned);
    let mut ends: Vec<Option<Option<u64>>> = started.map(|&(_, returned)| returned.map(Some)).collect();
    if at_first {
        ends.push(Some(None));
    }
    let stale =
        ends.iter().all(|end| end.is_some_and(|end| writes().any(|by| overwrites(end, by, read.value))));
    if stale { Kind::Stale } else { Kind::NoOrder }
}
