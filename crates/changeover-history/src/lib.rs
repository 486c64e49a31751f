//! The checker of recorded histories: what clients of a migration saw, against what one register per key could have
//! shown them. It is the proof at the end of the demo, so it shares nothing with the engine that it judges: no type,
//! no code, no dependency.
//!
//! Two questions are asked of a [`History`]:
//!
//! * **Is every key linearizable?** Is there, for each key, one order of its operations that agrees with the clock
//!   (what had returned before another began comes first) and in which each read sees the value last written? A write
//!   whose answer never came may have taken effect at any time after it was sent, or never.
//! * **Is an acknowledged write lost?** Given what stood on a side at rest, each acknowledged write must be there or
//!   have been overwritten by a later one ([`LostReport`] has the exact definition).
//!
//! ```
//! use changeover_history::{Action, Bounds, Content, History, Initial, Outcome, check};
//!
//! let mut history = History::new(Initial::absent());
//! let write = history.begin(1, "booking/7", Action::Write("cancelled".into()), 1_000);
//! history.complete(write, Outcome::Acknowledged { returned: 2_000 })?;
//! let read = history.begin(2, "booking/7", Action::Read, 3_000);
//! history.complete(read, Outcome::Saw { returned: 4_000, content: Content::Absent })?;
//!
//! let verdict = check(&history, &Bounds::default());
//! assert!(!verdict.is_clean());
//! println!("{verdict}");
//! # Ok::<(), changeover_history::HistoryError>(())
//! ```
//!
//! A history is dumped and loaded as text, a line for each operation ([`History::write_text`],
//! [`History::read_text`]), so that a failing one can be kept, read, and judged again.

mod explain;
mod history;
mod linearizable;
mod lost;
mod plan;
mod register;
mod slots;
mod text;
mod verdict;

pub use history::{
    Action, Client, Content, Final, History, HistoryError, Initial, Operation, OperationId, Outcome,
};
pub use lost::{LostReport, LostWrite, UnexplainedFinal};
pub use text::TextError;
pub use verdict::{Kind, Linearizable, Reason, Undecided, Verdict, Violation, Witness};

/// How much a check may spend on one key before it answers *undecided*. Nothing is ever taken for good because a bound
/// was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Configurations (a set of operations that have taken effect, and the value then) that may be alive at once: this
    /// bounds memory, at about a hundred bytes each for up to 64 operations under way.
    pub alive: usize,
    /// Configurations that may be looked at in all for one key, counted anew at each answer: this bounds time. A key
    /// whose values are all different needs about one for each operation.
    pub visited: u64,
    /// Keys with a violation whose explanation is worked out; those beyond it are counted only.
    pub explained: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { alive: 1 << 16, visited: 50_000_000, explained: 100 }
    }
}

/// Checks every key of the history, and every final state that it has.
pub fn check(history: &History, bounds: &Bounds) -> Verdict {
    let mut verdict = Verdict { lost: lost::find(history), ..Verdict::default() };
    for register in register::registers(history) {
        verdict.max_concurrency_per_key = verdict.max_concurrency_per_key.max(register.max_concurrency());
        let result = linearizable::sweep(&register.initial, &register.operations, bounds);
        verdict.configurations_visited += result.visited;
        verdict.keys += 1;
        // A write without an answer could explain two looks at rest that differ, but at rest nothing moves any more.
        let apart = register.first_apart_at_rest(history).is_some();
        match if apart { linearizable::Answer::No } else { result.answer } {
            linearizable::Answer::Yes => verdict.operations_checked += register.checked(),
            linearizable::Answer::Undecided(why) => {
                verdict.undecided.push(Undecided { key: register.key.into(), why });
            }
            linearizable::Answer::No => {
                verdict.operations_checked += register.checked();
                verdict.violating_keys += 1;
                if verdict.violations.len() < bounds.explained {
                    verdict.violations.push(explain::explain(history, &register, bounds));
                }
            }
        }
    }
    verdict.started = history.started();
    verdict
}
