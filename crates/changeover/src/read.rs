//! Reads, and calls to dependencies that change nothing: routed to the authority, and shadowed on the follower.
//!
//! In steps `old` and `new` a read takes the short way: it enters the switch, calls, and leaves. It makes no key, looks
//! up no name, and is timed once in 64 times.

use std::fmt::{self, Debug};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use changeover_protocol::Side;
use changeover_protocol::member::{self, Access};
use changeover_protocol::slots::Slot;
use changeover_protocol::step::Step;
use tokio::time::Instant;

use crate::compare::{By, Compare, Equality, Ruled, View};
use crate::evidence::{Dropped, OperationRef, OperationState, Outcome, TIMED_ONE_IN};
use crate::keyed::Keyed;
use crate::migration::{Core, admit, admitted, step_of};
use crate::refused::Refused;
use crate::render;
use crate::shadow::{Input, Job, keep_answer, quietly};
use crate::switch::{Entered, one_in};
use crate::value::{Key, Value};

/// A read or a call that is about to be made. Made by `Migration::read` and `Migration::call`.
#[must_use = "a read does nothing until `run`"]
pub struct Read<'m, K, C = Equality, X = NoErrors> {
    core: &'m Arc<Core>,
    operation: OperationRef<'m>,
    key: K,
    route_by: Option<Value>,
    input: Given<'m>,
    compare: C,
    errors: X,
}

/// The input, as it was given.
enum Given<'m> {
    Nothing,
    Shown(&'m (dyn Debug + Sync)),
    Later(Box<dyn FnOnce() -> String + Send>),
}

/// How errors are compared: by classes, or not at all.
pub trait ErrorClass<E>: Send + Sync + 'static {
    /// The class of an error; two of one class are the same. `None`: not known.
    fn class(&self, error: &E) -> Option<String>;
}

/// Errors aren't compared: where both sides failed, nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoErrors;

impl<E> ErrorClass<E> for NoErrors {
    fn class(&self, _: &E) -> Option<String> {
        None
    }
}

/// Errors are compared by what a closure makes of them.
pub struct ErrorsBy<F>(F);

impl<E, F: Fn(&E) -> Option<String> + Send + Sync + 'static> ErrorClass<E> for ErrorsBy<F> {
    fn class(&self, error: &E) -> Option<String> {
        (self.0)(error)
    }
}

impl<K, C, X> Debug for Read<'_, K, C, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("operation", &self.operation.name()).finish_non_exhaustive()
    }
}

impl<'m, K> Read<'m, K> {
    pub(crate) const fn new(core: &'m Arc<Core>, operation: OperationRef<'m>, key: K) -> Self {
        Self {
            core,
            operation,
            key,
            route_by: None,
            input: Given::Nothing,
            compare: Equality,
            errors: NoErrors,
        }
    }
}

impl<'m, K, C, X> Read<'m, K, C, X> {
    /// The input, to be kept with a mismatch. It is rendered only for a call that is shadowed.
    pub fn input(mut self, input: &'m (impl Debug + Sync)) -> Self {
        self.input = Given::Shown(input);
        self
    }

    /// A rendering of the input, made only for a mismatch that is kept.
    pub fn input_with(mut self, show: impl FnOnce() -> String + Send + 'static) -> Self {
        self.input = Given::Later(Box::new(show));
        self
    }

    /// The value by which the row is put into a slot, where it isn't part of the key: the spec's `route_by`.
    pub fn route_by(mut self, value: impl Into<Value>) -> Self {
        self.route_by = Some(value.into());
        self
    }

    /// Compares the answers by a closure, the old side's first. It answers a `bool`, or a
    /// [`Comparison`](crate::compare::Comparison) that explains.
    pub fn compare<T, R, F: Fn(&T, &T) -> R>(self, compare: F) -> Read<'m, K, By<F, R>, X> {
        self.by(|_| By::new(compare))
    }

    /// Compares a view of the answers by `==`: where an answer can't be cloned, or only a part of it counts.
    pub fn view<T, V, F: Fn(&T) -> V>(self, view: F) -> Read<'m, K, View<F>, X> {
        self.by(|_| View(view))
    }

    /// Answers that differ are compared again after this was done to both; if they are the same then, it is a match *by
    /// this rule*, counted by its name. May be given several times.
    pub fn rule<T, F: Fn(&mut T)>(self, name: &'static str, normalise: F) -> Read<'m, K, Ruled<C, F>, X> {
        self.by(|inner| Ruled { inner, name, normalise })
    }

    /// Where both sides failed, they match if this makes the same of both errors; `None` never matches.
    pub fn errors_by<E, F: Fn(&E) -> Option<String>>(self, class: F) -> Read<'m, K, C, ErrorsBy<F>> {
        let Self { core, operation, key, route_by, input, compare, .. } = self;
        Read { core, operation, key, route_by, input, compare, errors: ErrorsBy(class) }
    }

    fn by<D>(self, compare: impl FnOnce(C) -> D) -> Read<'m, K, D, X> {
        let Self { core, operation, key, route_by, input, compare: before, errors } = self;
        Read { core, operation, key, route_by, input, compare: compare(before), errors }
    }
}

impl<K: Keyed, C, X> Read<'_, K, C, X> {
    /// Makes the call, and gives the authority's answer.
    ///
    /// The closure is called with the side, once for the caller; for the follower, and after a mismatch for both, it is
    /// called again in a task of its own. So it owns what it captures, and gives each future its own clone.
    ///
    /// # Errors
    /// The authority's own, or a [`Refused`] as `E`. In the second hold of a move an instance that is out of touch
    /// refuses reads; on a way back from a side that hangs they are cut off.
    ///
    /// # Cancellation
    /// Dropping it drops the authority's call. A shadow call isn't made then, or goes on by itself.
    ///
    /// # Panics
    /// Only if the closure panics when it is called for the authority.
    #[allow(
        clippy::manual_async_fn,
        reason = "an `async fn` copies its arguments into its body, which the short way would feel"
    )]
    pub fn run<T, E, F, Fut>(self, call: F) -> impl Future<Output = Result<T, E>>
    where
        C: Compare<T>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        // One block, not functions one in the other: what it captures stays where it is, and isn't copied from one
        // future into the next.
        async move {
            let entered = self.core.switch.enter();
            let Some(side) = entered.short_way() else {
                // Boxed, so that the short way doesn't carry its state.
                return Box::pin(self.routed(entered, call)).await;
            };
            let began = one_in(TIMED_ONE_IN).then(Instant::now);
            let mut future = pin!(call(side));
            // A call that is ready at once is never cut off; one that isn't costs more than looking at both.
            let answer = match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
                Poll::Ready(answer) => answer,
                Poll::Pending => tokio::select! {
                    biased;
                    answer = future => answer,
                    () = entered.cut_off() => {
                        return Err(Refused::CutOff { operation: self.operation.name() }.into());
                    }
                },
            };
            if began.is_some() || answer.is_err() {
                note(self.core, self.operation, side, began, answer.is_err());
            }
            answer
        }
    }

    async fn routed<T, E, F, Fut>(self, entered: Entered<'_>, call: F) -> Result<T, E>
    where
        C: Compare<T>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        let core = self.core;
        let name = self.operation.name();
        let standing = entered.standing();
        let slot = self.slot(standing.target.uniform_step())?;
        let step = step_of(&standing.target, slot);
        let now = core.switch.clock.now();
        let plan = admitted(admit(&standing, now, slot, Access::Read), name)?;
        let ticket = standing.ticket(step);
        let operation = core.registry.get(self.operation);
        let follower = plan.shadow.filter(|_| core.shadow.is_sampled(operation.sample));
        if plan.shadow.is_some() && follower.is_none() {
            operation.counters(plan.reads).compared(Outcome::Dropped(Dropped::Sample));
        }
        let mut gone = CallerGone { operation: &operation, authority: plan.reads, armed: follower.is_some() };
        let began = Instant::now();
        let future = call(plan.reads);
        let answer = tokio::select! {
            biased;
            answer = future => answer,
            () = entered.cut_off() => return Err(Refused::CutOff { operation: name }.into()),
        };
        gone.armed = false;
        drop(gone);
        operation.answered(plan.reads, core.now_ms(), began.elapsed(), 1, answer.is_err());
        if follower.is_some() {
            self.shadow(Routed { operation, authority: plan.reads, step, slot }, &answer, call);
        }
        // The last look: what was read may be out of date by now if this instance was out of touch meanwhile.
        if !core.switch.standing().may_answer(core.switch.clock.now(), ticket) {
            return Err(Refused::NotNow { operation: name, why: member::Refused::OutOfTouch }.into());
        }
        answer
    }

    /// The slot, where it matters: while all slots are at one step, any does.
    fn slot(&self, uniform: Option<Step>) -> Result<Option<Slot>, Refused> {
        if uniform.is_some() {
            return Ok(Some(Slot::new(0)));
        }
        let keys: Vec<Key> = self.key.to_key().into_iter().collect();
        self.core.router.one_slot(self.operation.name(), &keys, self.route_by.as_ref())
    }

    /// Begins the shadow call, if it is let in. Never waits, never panics.
    fn shadow<T, E, F, Fut>(self, routed: Routed, answer: &Result<T, E>, call: F)
    where
        C: Compare<T>,
        X: ErrorClass<E>,
        F: Fn(Side) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let core = self.core;
        let Routed { operation, authority, step, slot } = routed;
        let dropped = |why| operation.counters(authority).compared(Outcome::Dropped(why));
        let Some(permit) = core.shadow.permit() else { return dropped(Dropped::Budget) };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return dropped(Dropped::Budget) };
        if !operation.breaker.lets_through(core.now_ms()) {
            return dropped(Dropped::Breaker);
        }
        let input = match self.input {
            Given::Nothing => None,
            Given::Shown(input) => quietly(|| render::pretty(input)).map(Input::Shown),
            Given::Later(show) => Some(Input::Later(show)),
        };
        let Some(answer) = keep_answer(&self.compare, &self.errors, answer) else {
            operation.breaker.ended(core.now_ms(), None);
            return dropped(Dropped::Panicked);
        };
        let key = quietly(|| self.key.to_key()).flatten();
        let (compare, errors, core) = (self.compare, self.errors, Arc::clone(core));
        let job =
            Job { core, operation, authority, step, slot, key, input, answer, call, compare, errors, permit };
        runtime.spawn(job.run());
    }
}

/// How a call was routed.
struct Routed {
    operation: Arc<OperationState>,
    authority: Side,
    step: Step,
    slot: Option<Slot>,
}

/// Counts a sampled call whose caller went away before the authority had answered.
struct CallerGone<'a> {
    operation: &'a OperationState,
    authority: Side,
    armed: bool,
}

impl Drop for CallerGone<'_> {
    fn drop(&mut self) {
        if self.armed {
            let counters = self.operation.counters(self.authority);
            counters.compared(Outcome::Dropped(Dropped::CallerGone));
        }
    }
}

/// What the short way of steps `old` and `new` has to tell, once in a while.
#[cold]
#[inline(never)]
fn note(core: &Core, operation: OperationRef<'_>, side: Side, began: Option<Instant>, failed: bool) {
    let operation = core.registry.get(operation);
    match began {
        Some(began) => {
            operation.answered(side, core.now_ms(), began.elapsed(), u64::from(TIMED_ONE_IN), failed);
        }
        None => operation.counters(side).failed(side),
    }
}
