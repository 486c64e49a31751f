//! How two answers are compared: by equality, by equality under rules, by a view of them, or by a closure that may
//! explain.
//!
//! A comparison is a value, and never changes an answer. What an operation compares by is part of its builder;
//! the types here are named by nobody.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use crate::render;

/// What came of comparing the answers of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// They are the same.
    Match,
    /// They are the same only by this rule, which is counted by name.
    MatchByRule(Cow<'static, str>),
    /// They differ, with an explanation, if there is one: the differences of one *shape* are one sample.
    Mismatch(Option<Difference>),
}

/// How two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs, without the values: differences of one shape are kept as one.
    pub shape: String,
    /// The whole story.
    pub detail: String,
}

impl Comparison {
    /// They differ: `shape` says in what, without the values.
    pub fn differ(shape: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Mismatch(Some(Difference { shape: shape.into(), detail: detail.into() }))
    }

    /// Whether they count as equal.
    #[must_use]
    pub const fn is_match(&self) -> bool {
        !matches!(self, Self::Mismatch(_))
    }
}

impl From<bool> for Comparison {
    fn from(equal: bool) -> Self {
        if equal { Self::Match } else { Self::Mismatch(None) }
    }
}

/// How an operation's answers are kept, compared and shown.
pub trait Compare<T>: Send + Sync + 'static {
    /// What is kept of an answer.
    type Kept: Send + 'static;

    /// Keeps what is needed of an answer. Called only for a call that is sampled.
    fn keep(&self, answer: &T) -> Self::Kept;

    /// Compares, the old side's first.
    fn compare(&self, old: &Self::Kept, new: &Self::Kept) -> Comparison;

    /// Shows it, bounded. Called only for a mismatch that is kept.
    fn show(&self, kept: &Self::Kept) -> String;
}

/// Comparison by `==`, the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Equality;

impl<T: Clone + PartialEq + Debug + Send + 'static> Compare<T> for Equality {
    type Kept = T;

    fn keep(&self, answer: &T) -> T {
        answer.clone()
    }

    fn compare(&self, old: &T, new: &T) -> Comparison {
        (old == new).into()
    }

    fn show(&self, kept: &T) -> String {
        render::pretty(kept)
    }
}

/// Comparison by a closure.
pub struct By<F, R>(F, PhantomData<fn() -> R>);

impl<F, R> By<F, R> {
    pub(crate) const fn new(compare: F) -> Self {
        Self(compare, PhantomData)
    }
}

impl<T, F, R> Compare<T> for By<F, R>
where
    T: Clone + Debug + Send + 'static,
    F: Fn(&T, &T) -> R + Send + Sync + 'static,
    R: Into<Comparison> + 'static,
{
    type Kept = T;

    fn keep(&self, answer: &T) -> T {
        answer.clone()
    }

    fn compare(&self, old: &T, new: &T) -> Comparison {
        (self.0)(old, new).into()
    }

    fn show(&self, kept: &T) -> String {
        render::pretty(kept)
    }
}

/// Comparison of a view of the answers, by `==`: for answers that can't be cloned, or of which only a part counts.
pub struct View<F>(pub(crate) F);

impl<T, V, F> Compare<T> for View<F>
where
    V: PartialEq + Debug + Send + 'static,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    type Kept = V;

    fn keep(&self, answer: &T) -> V {
        (self.0)(answer)
    }

    fn compare(&self, old: &V, new: &V) -> Comparison {
        (old == new).into()
    }

    fn show(&self, kept: &V) -> String {
        render::pretty(kept)
    }
}

/// Comparison under one more rule: what differs is compared again after both were brought into one form.
pub struct Ruled<C, F> {
    pub(crate) inner: C,
    pub(crate) name: &'static str,
    pub(crate) normalise: F,
}

impl<T, C, F> Compare<T> for Ruled<C, F>
where
    C: Compare<T>,
    C::Kept: Clone,
    F: Fn(&mut C::Kept) + Send + Sync + 'static,
{
    type Kept = C::Kept;

    fn keep(&self, answer: &T) -> C::Kept {
        self.inner.keep(answer)
    }

    fn compare(&self, old: &C::Kept, new: &C::Kept) -> Comparison {
        let plain = self.inner.compare(old, new);
        if plain.is_match() {
            return plain;
        }
        let (mut old, mut new) = (old.clone(), new.clone());
        (self.normalise)(&mut old);
        (self.normalise)(&mut new);
        match self.inner.compare(&old, &new) {
            Comparison::Match => Comparison::MatchByRule(Cow::Borrowed(self.name)),
            Comparison::MatchByRule(other) => {
                Comparison::MatchByRule(Cow::Owned(format!("{other}, {}", self.name)))
            }
            differs @ Comparison::Mismatch(_) => differs,
        }
    }

    fn show(&self, kept: &C::Kept) -> String {
        self.inner.show(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Booking {
        state: String,
        seen_ms: u64,
    }

    fn booking(state: &str, seen_ms: u64) -> Booking {
        Booking { state: state.to_owned(), seen_ms }
    }

    #[test]
    fn a_match_by_rules_names_those_that_it_took() {
        let ruled = Ruled {
            inner: Ruled {
                inner: Equality,
                name: "state in any case",
                normalise: |b: &mut Booking| b.state.make_ascii_lowercase(),
            },
            name: "seen to the second",
            normalise: |b: &mut Booking| b.seen_ms /= 1_000,
        };
        let compare = |a: Booking, b: Booking| <Ruled<_, _> as Compare<Booking>>::compare(&ruled, &a, &b);
        assert_eq!(compare(booking("ok", 1), booking("ok", 1)), Comparison::Match);
        let by = |name: &'static str| Comparison::MatchByRule(name.into());
        assert_eq!(compare(booking("ok", 1), booking("OK", 1)), by("state in any case"));
        assert_eq!(compare(booking("ok", 1_001), booking("ok", 1_002)), by("seen to the second"));
        let both = by("state in any case, seen to the second");
        assert_eq!(compare(booking("ok", 1_001), booking("OK", 1_002)), both);
        assert_eq!(compare(booking("ok", 1), booking("no", 1)), Comparison::Mismatch(None));
    }
}
