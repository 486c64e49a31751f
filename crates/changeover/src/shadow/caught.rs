//! Running somebody else's code without letting its panic through.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// What a panic left.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Makes a future and runs it; a panic in either is caught. After a panic the future is never polled again, so that
/// nothing of its broken state is seen.
pub(crate) async fn caught<Fut: Future>(make: impl FnOnce() -> Fut) -> Result<Fut::Output, Panic> {
    let mut future = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(future) => Box::pin(future),
        Err(panic) => return Err(panic),
    };
    let answer = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await;
    // What it still holds may panic when it is dropped, too.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    answer
}

/// Runs a closure; `None` if it panicked.
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}
