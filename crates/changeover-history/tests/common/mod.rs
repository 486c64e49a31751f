//! Histories for the tests: an atomic register is simulated, each operation taking effect at a random moment between
//! its invocation and its return, so what comes out is linearizable by construction.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::HashMap;

use changeover_history::{Action, Content, History, Initial, Operation, Outcome};
use proptest::prelude::*;

/// One operation to be simulated.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) client: u64,
    pub(crate) key: u8,
    pub(crate) what: What,
    /// Ns between the client's last return and this invocation.
    pub(crate) pause: u64,
    pub(crate) lasts: u64,
    /// When in its span it takes effect, in percent.
    pub(crate) effect: u64,
    pub(crate) ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    Write(u64),
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Answered,
    Failed,
    /// No answer; takes effect this many ns after it was sent, if ever.
    Unanswered(Option<u64>),
}

/// Plays the wishes. `values` is how many different values are written; `None` makes each write's value its own.
pub(crate) fn simulate(wishes: &[Wish], values: Option<u64>) -> History {
    let mut clocks: HashMap<u64, u64> = HashMap::new();
    let mut spans = Vec::new();
    let mut effects = Vec::new();
    for (at, wish) in wishes.iter().enumerate() {
        let clock = clocks.entry(wish.client).or_default();
        let invoked = *clock + wish.pause;
        let returned = invoked + wish.lasts;
        *clock = returned;
        spans.push((invoked, returned));
        match wish.ends {
            Ends::Answered => effects.push((invoked + wish.lasts * wish.effect / 100, at)),
            Ends::Unanswered(Some(after)) => effects.push((invoked + after, at)),
            Ends::Failed | Ends::Unanswered(None) => {}
        }
    }
    effects.sort_unstable();
    let action = |at: usize| match wishes[at].what {
        What::Read => Action::Read,
        What::Write(value) => Action::Write(values.map_or(at as u64, |few| value % few).to_string().into()),
        What::Delete => Action::Delete,
    };
    let mut held: HashMap<u8, Content> = HashMap::new();
    let mut seen: HashMap<usize, Content> = HashMap::new();
    for (_, at) in effects {
        let content = held.entry(wishes[at].key).or_insert(Content::Absent);
        match action(at).writes() {
            Some(written) => *content = written,
            None => drop(seen.insert(at, content.clone())),
        }
    }
    let mut history = History::new(Initial::absent());
    for (at, wish) in wishes.iter().enumerate() {
        let (invoked, returned) = spans[at];
        let id = history.begin(wish.client, &format!("k{}", wish.key), action(at), invoked);
        let outcome = match (wish.ends, wish.what) {
            (Ends::Answered, What::Read) => Outcome::Saw { returned, content: seen[&at].clone() },
            (Ends::Answered, _) => Outcome::Acknowledged { returned },
            (Ends::Failed, _) => Outcome::Failed,
            (Ends::Unanswered(_), _) => Outcome::Unknown,
        };
        history.complete(id, outcome).unwrap();
    }
    for (key, content) in held {
        history.set_final("new", &format!("k{key}"), content);
    }
    history
}

/// Up to `most` wishes of a few clients on a few keys.
pub(crate) fn wishes(most: usize, clients: u64, keys: u8) -> impl Strategy<Value = Vec<Wish>> {
    let what =
        prop_oneof![5 => Just(What::Read), 4 => (0_u64..100).prop_map(What::Write), 1 => Just(What::Delete)];
    let ends = prop_oneof![
        10 => Just(Ends::Answered),
        1 => Just(Ends::Failed),
        1 => proptest::option::of(0_u64..300).prop_map(Ends::Unanswered),
    ];
    let wish = (0..clients, 0..keys, what, 0_u64..20, 0_u64..60, 0_u64..=100, ends).prop_map(
        |(client, key, what, pause, lasts, effect, ends)| Wish {
            client,
            key,
            what,
            pause,
            lasts,
            effect,
            ends,
        },
    );
    proptest::collection::vec(wish, 1..=most)
}

/// A copy of the history with some outcomes changed and without what was seen at rest.
pub(crate) fn with_outcomes(history: &History, change: impl Fn(usize, &Operation) -> Outcome) -> History {
    let mut copy = History::new(Initial::absent());
    for (at, operation) in history.operations().iter().enumerate() {
        let id = copy.begin(operation.client, &operation.key, operation.action.clone(), operation.invoked);
        copy.complete(id, change(at, operation)).unwrap();
    }
    copy
}

/// A small generator of numbers that are random enough (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A large history's wishes: half reads, a few failed, `unanswered` in a thousand without an answer.
pub(crate) fn many(count: usize, clients: u64, keys: u8, unanswered: u64, seed: u64) -> Vec<Wish> {
    let mut numbers = Numbers(seed);
    (0..count)
        .map(|_| {
            let what = match numbers.below(20) {
                0..10 => What::Read,
                10 => What::Delete,
                _ => What::Write(numbers.below(1_000_000)),
            };
            let ends = match numbers.below(1000) {
                n if n < unanswered / 2 => Ends::Unanswered(None),
                n if n < unanswered => Ends::Unanswered(Some(numbers.below(5_000))),
                n if n < unanswered + 5 => Ends::Failed,
                _ => Ends::Answered,
            };
            Wish {
                client: numbers.below(clients),
                key: numbers.below(u64::from(keys)) as u8,
                what,
                pause: numbers.below(50),
                lasts: numbers.below(1000),
                effect: numbers.below(101),
                ends,
            }
        })
        .collect()
}

/// So many cases; a failing one is printed in its smallest form.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
