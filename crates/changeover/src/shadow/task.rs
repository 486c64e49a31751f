//! One shadow call in its task: call the follower, compare, and ask both sides again where they differ.

use std::future::Future;
use std::sync::Arc;

use changeover_protocol::Side;
use changeover_protocol::slots::Slot;
use changeover_protocol::step::Step;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::{Turned, caught, quietly};
use crate::compare::{Compare, Comparison, Difference};
use crate::event::Event;
use crate::evidence::{Dropped, OperationState, Outcome};
use crate::migration::Core;
use crate::read::ErrorClass;
use crate::samples::Found;
use crate::value::Key;

/// How often both sides are asked again after a mismatch.
const ASKED_AGAIN_MAX: u32 = 3;

/// What is kept of one side's answer: what is compared, or an error's class.
#[derive(Debug)]
pub(crate) enum Answer<K> {
    Ok(K),
    Failed(Option<String>),
}

/// One shadow call.
pub(crate) struct Job<K, F, C, X> {
    pub(crate) core: Arc<Core>,
    pub(crate) operation: Arc<OperationState>,
    pub(crate) authority: Side,
    /// The step it began under, and the slot that tells it again later (`None`: no key).
    pub(crate) step: Step,
    pub(crate) slot: Option<Slot>,
    pub(crate) key: Option<Key>,
    pub(crate) input: Option<Input>,
    pub(crate) answer: Answer<K>,
    pub(crate) call: F,
    pub(crate) compare: C,
    pub(crate) errors: X,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The input of a call, rendered already or when needed.
pub(crate) enum Input {
    Shown(String),
    Later(Box<dyn FnOnce() -> String + Send>),
}

impl Input {
    fn show(self) -> Option<String> {
        match self {
            Self::Shown(text) => Some(text),
            Self::Later(show) => quietly(show),
        }
    }
}

/// What a call by the shadow itself came to.
enum Called<K> {
    Answered(Answer<K>),
    TooLate,
    Panicked,
}

/// Two answers, the old side's first, and how they differ.
struct Differ<K> {
    old: K,
    new: K,
    difference: Option<Difference>,
}

/// What two answers come to.
enum Verdict<K> {
    Is(Outcome),
    Differ(Differ<K>),
}

/// What one more try came to.
enum Again<K> {
    Same,
    Differ(Differ<K>),
    /// One of the two failed, or their comparison did.
    Failed,
    /// The key was dirty before the follower was asked.
    Dirty,
    /// The authority's answer changed meanwhile.
    Moving,
}

/// What all tries told.
enum Told<K> {
    Nothing,
    Failed,
    Differs(Differ<K>),
}

impl<K> Told<K> {
    /// A try that failed tells nothing of a difference that another try found.
    fn or_failed(self) -> Self {
        match self {
            Self::Nothing | Self::Failed => Self::Failed,
            differs @ Self::Differs(_) => differs,
        }
    }
}

impl<K, F, C, X> Job<K, F, C, X>
where
    K: Send + 'static,
{
    /// Runs it to its end; never panics.
    pub(crate) async fn run<T, E, Fut>(mut self)
    where
        C: Compare<T, Kept = K>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let follower = self.authority.other();
        let answer = std::mem::replace(&mut self.answer, Answer::Failed(None));
        let called = self.call(follower).await;
        let good = match &called {
            Called::Answered(Answer::Failed(_)) => matches!(answer, Answer::Failed(_)),
            Called::Answered(Answer::Ok(_)) => true,
            Called::TooLate | Called::Panicked => false,
        };
        self.tell_breaker(good);
        let verdict = match called {
            Called::TooLate => Verdict::Is(Outcome::Dropped(Dropped::Deadline)),
            Called::Panicked => Verdict::Is(Outcome::Error(follower)),
            Called::Answered(other) => self.judge(answer, other),
        };
        let outcome = match verdict {
            Verdict::Is(outcome) => outcome,
            Verdict::Differ(differ) => self.ask_again(differ).await,
        };
        self.operation.counters(self.authority).compared(outcome);
        drop(self.permit);
    }

    /// Asks both sides again, up to three times. What remains is persistent, and kept as a sample.
    ///
    /// The authority is asked before the follower and after it: an answer that was given while its key was being
    /// written says nothing, however slow the follower is. Only a try in which the authority stood still, and the key was
    /// clean before the follower was asked, counts as one in which the two differ.
    async fn ask_again<T, E, Fut>(&mut self, first: Differ<K>) -> Outcome
    where
        C: Compare<T, Kept = K>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut wait = self.core.shadow.settings.ask_again_after;
        let (mut told, mut dirty) = (Told::Nothing, false);
        for _ in 0..ASKED_AGAIN_MAX {
            sleep(wait).await;
            wait = wait.saturating_mul(4);
            if self.core.step_now(self.slot) != self.step {
                return Outcome::Dropped(Dropped::StepChanged);
            }
            match self.try_again().await {
                Again::Same => return Outcome::Transient,
                Again::Differ(still) => told = Told::Differs(still),
                Again::Failed => told = told.or_failed(),
                Again::Dirty => dirty = true,
                Again::Moving => {}
            }
        }
        if self.core.step_now(self.slot) != self.step {
            return Outcome::Dropped(Dropped::StepChanged);
        }
        let differ = match told {
            Told::Differs(differ) => differ,
            // Asking again only failed: it remains as it was.
            Told::Failed => first,
            Told::Nothing if dirty => return Outcome::Transient,
            Told::Nothing => return Outcome::Dropped(Dropped::Unsettled),
        };
        if self.is_dirty().await {
            return Outcome::Transient;
        }
        self.keep(differ);
        Outcome::Persistent
    }

    /// One try: the authority, the follower, and the authority once more.
    async fn try_again<T, E, Fut>(&mut self) -> Again<K>
    where
        C: Compare<T, Kept = K>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let Called::Answered(before) = self.call(self.authority).await else { return Again::Failed };
        if self.is_dirty().await {
            return Again::Dirty;
        }
        let Called::Answered(follower) = self.call(self.authority.other()).await else {
            return Again::Failed;
        };
        let Called::Answered(after) = self.call(self.authority).await else { return Again::Failed };
        let stood_still = self.same_answer(&before, &after);
        match self.judge(after, follower) {
            Verdict::Is(Outcome::Match | Outcome::MatchByRule(_)) => Again::Same,
            Verdict::Is(_) => Again::Failed,
            Verdict::Differ(_) if !stood_still => Again::Moving,
            Verdict::Differ(differ) => Again::Differ(differ),
        }
    }

    /// Whether two answers of one side are the same. A comparison may take its arguments for the old side's and the
    /// new's, and find that one side's answer differs from itself; then they are the same if they show the same. Where
    /// that panics too there is no telling, and the difference counts.
    fn same_answer<T>(&self, before: &Answer<K>, after: &Answer<K>) -> bool
    where
        C: Compare<T, Kept = K>,
    {
        match (before, after) {
            (Answer::Ok(before), Answer::Ok(after)) => quietly(|| {
                self.compare.compare(before, after).is_match()
                    || self.compare.show(before) == self.compare.show(after)
            })
            .unwrap_or(true),
            (Answer::Failed(_), Answer::Failed(_)) => true,
            _ => false,
        }
    }

    async fn call<T, E, Fut>(&mut self, side: Side) -> Called<K>
    where
        C: Compare<T, Kept = K>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let began = Instant::now();
        let counters = self.operation.counters(self.authority);
        // `F` isn't `Sync`, so no reference to it may be held at an await: the future is made first.
        let making = caught({
            let future = quietly(|| (self.call)(side));
            move || async move {
                match future {
                    Some(future) => Some(future.await),
                    None => None,
                }
            }
        });
        let answered = timeout(self.core.shadow.settings.deadline, making).await;
        counters.called(side, began.elapsed(), 1);
        let answer = match answered {
            Err(_) => {
                counters.failed(side);
                return Called::TooLate;
            }
            Ok(Err(_) | Ok(None)) => {
                counters.failed(side);
                self.panicked("the shadow call");
                return Called::Panicked;
            }
            Ok(Ok(Some(answer))) => answer,
        };
        match keep(&self.compare, &self.errors, &answer) {
            Some(kept) => {
                if matches!(kept, Answer::Failed(_)) {
                    counters.failed(side);
                }
                // Dropping an answer is the user's code as well.
                let _ = quietly(|| drop(answer));
                Called::Answered(kept)
            }
            None => {
                self.panicked("keeping the answer");
                Called::Panicked
            }
        }
    }

    /// Judges the authority's answer and the follower's.
    fn judge<T>(&self, authority: Answer<K>, follower: Answer<K>) -> Verdict<K>
    where
        C: Compare<T, Kept = K>,
    {
        let (old, new) = match self.authority {
            Side::Old => (authority, follower),
            Side::New => (follower, authority),
        };
        match (old, new) {
            (Answer::Ok(old), Answer::Ok(new)) => match quietly(|| self.compare.compare(&old, &new)) {
                Some(Comparison::Match) => Verdict::Is(Outcome::Match),
                Some(Comparison::MatchByRule(rule)) => Verdict::Is(Outcome::MatchByRule(rule.into_owned())),
                Some(Comparison::Mismatch(difference)) => Verdict::Differ(Differ { old, new, difference }),
                None => {
                    self.panicked("the comparison");
                    Verdict::Is(Outcome::Dropped(Dropped::Panicked))
                }
            },
            (Answer::Ok(_), Answer::Failed(_)) => Verdict::Is(Outcome::Error(Side::New)),
            (Answer::Failed(_), Answer::Ok(_)) => Verdict::Is(Outcome::Error(Side::Old)),
            (Answer::Failed(Some(a)), Answer::Failed(Some(b))) if a == b => Verdict::Is(Outcome::Match),
            (Answer::Failed(_), Answer::Failed(_)) => Verdict::Is(Outcome::BothFailed),
        }
    }

    fn keep<T>(&mut self, differ: Differ<K>)
    where
        C: Compare<T, Kept = K>,
    {
        let input = self.input.take().and_then(Input::show);
        let show = |kept: &K| {
            quietly(|| self.compare.show(kept)).unwrap_or_else(|| "(showing it panicked)".to_owned())
        };
        let (shape, detail) = match differ.difference {
            Some(Difference { shape, detail }) => (Some(shape), Some(detail)),
            None => (None, None),
        };
        let found = Found {
            operation: self.operation.name,
            key: self.key.clone(),
            input,
            authority: self.authority,
            old: show(&differ.old),
            new: show(&differ.new),
            shape,
            detail,
        };
        self.core.samples.keep(found, self.core.now_ms());
    }

    /// Whether the key is known to be dirty. Somebody who doesn't answer in time doesn't know.
    async fn is_dirty(&mut self) -> bool {
        let Some(key) = &self.key else { return false };
        let (mirror, hook) = (self.core.mirror.clone(), self.core.shadow.dirty.clone());
        let key = key.clone();
        let ask = caught(move || async move {
            if let Some(mirror) = mirror
                && mirror.is_dirty(&key).await
            {
                return true;
            }
            match hook {
                Some(hook) => hook.is_dirty(&key).await,
                None => false,
            }
        });
        matches!(timeout(self.core.shadow.settings.deadline, ask).await, Ok(Ok(true)))
    }

    fn tell_breaker(&self, good: bool) {
        let operation = self.operation.name;
        match self.operation.breaker.ended(self.core.now_ms(), Some(good)) {
            Turned::No => {}
            Turned::Opened => self.core.events.tell(Event::BreakerOpened { operation }),
            Turned::Closed => self.core.events.tell(Event::BreakerClosed { operation }),
        }
    }

    fn panicked(&self, what: &'static str) {
        self.core.events.tell(Event::ObserverPanicked { operation: self.operation.name, what });
    }
}

/// What is kept of an answer; `None` if keeping it panicked.
pub(crate) fn keep<T, E, C, X>(compare: &C, errors: &X, answer: &Result<T, E>) -> Option<Answer<C::Kept>>
where
    C: Compare<T>,
    X: ErrorClass<E>,
{
    quietly(|| match answer {
        Ok(answer) => Answer::Ok(compare.keep(answer)),
        Err(error) => Answer::Failed(errors.class(error)),
    })
}
