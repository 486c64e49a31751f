//! Fault points: named gaps at which tests pause a process, make it fail, or kill it.
//!
//! Without the feature `faults` [`fault_point`] is an empty function, and nothing of the rest exists. With it, a
//! plan is looked up for the thread first (`FaultPlan::install`: a test on tokio's single thread has its own), then
//! in the environment: `CHANGEOVER_FAULT=claim-guard-taken:kill:2` aborts the process the second time that it comes by,
//! as `kill -9` would. Further plans are separated by commas; `error` makes the point fail instead.

#[cfg(feature = "faults")]
pub use self::planned::{Fault, FaultPlan, PausedAt};

use changeover_protocol::fault::FaultPoint;

use crate::error::StoreError;

/// Passes a fault point.
///
/// # Errors
/// [`StoreError::Fault`], if a test planted one.
#[cfg(not(feature = "faults"))]
#[inline(always)]
#[allow(clippy::unused_async, reason = "with the feature it waits")]
pub async fn fault_point(_point: FaultPoint) -> Result<(), StoreError> {
    Ok(())
}

/// Passes a fault point.
///
/// # Errors
/// [`StoreError::Fault`], if a test planted one.
#[cfg(feature = "faults")]
pub async fn fault_point(point: FaultPoint) -> Result<(), StoreError> {
    planned::pass(point).await
}

#[cfg(feature = "faults")]
mod planned {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, LazyLock};

    use changeover_protocol::fault::FaultPoint;
    use tokio::sync::Notify;

    use crate::error::StoreError;

    type Callback = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

    /// What happens at a point.
    #[derive(Clone)]
    pub enum Fault {
        /// The point fails with [`StoreError::Fault`].
        Error,
        /// The process is aborted: nothing runs any more, as after `kill -9`.
        Kill,
        /// Whoever comes by waits until the test lets it go on.
        Pause(PausedAt),
        /// This runs first, and what comes of it is waited for.
        Call(Callback),
    }

    impl Fault {
        /// Runs this when the point is come by.
        pub fn call<F, R>(callback: F) -> Self
        where
            F: Fn() -> R + Send + Sync + 'static,
            R: Future<Output = ()> + Send + 'static,
        {
            Self::Call(Arc::new(move || Box::pin(callback())))
        }
    }

    impl std::fmt::Debug for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(match self {
                Self::Error => "Error",
                Self::Kill => "Kill",
                Self::Pause(_) => "Pause",
                Self::Call(_) => "Call",
            })
        }
    }

    /// A test's hold on whoever is paused.
    #[derive(Debug, Clone, Default)]
    pub struct PausedAt {
        reached: Arc<Notify>,
        go_on: Arc<Notify>,
    }

    impl PausedAt {
        /// Answers when somebody has come to the point.
        pub async fn reached(&self) {
            self.reached.notified().await;
        }

        /// Lets them go on.
        pub fn go_on(&self) {
            self.go_on.notify_one();
        }
    }

    /// What is planned, for which of the times that a point is come by.
    #[derive(Debug, Default)]
    pub struct FaultPlan {
        at: HashMap<FaultPoint, Vec<(u64, Fault)>>,
        passed: HashMap<FaultPoint, AtomicU64>,
    }

    thread_local! {
        static HERE: RefCell<Option<Arc<FaultPlan>>> = const { RefCell::new(None) };
    }

    static FROM_ENVIRONMENT: LazyLock<FaultPlan> =
        LazyLock::new(|| match std::env::var("CHANGEOVER_FAULT") {
            Ok(text) => FaultPlan::parse(&text),
            Err(_) => FaultPlan::new(),
        });

    impl FaultPlan {
        /// Nothing planned; passes are counted.
        #[must_use]
        pub fn new() -> Self {
            let passed = FaultPoint::ALL.iter().map(|point| (*point, AtomicU64::new(0))).collect();
            Self { at: HashMap::new(), passed }
        }

        /// Plans a fault for the `nth` time (from 1) that the point is come by; 0: every time.
        #[must_use]
        pub fn with(mut self, point: FaultPoint, nth: u64, fault: Fault) -> Self {
            self.at.entry(point).or_default().push((nth, fault));
            self
        }

        /// Makes this the plan of the present thread, and of all tasks that run on it, until the next one or the
        /// thread's end.
        pub fn install(self) -> Arc<Self> {
            let plan = Arc::new(self);
            HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&plan)));
            plan
        }

        /// Takes the present thread's plan away.
        pub fn uninstall() {
            HERE.with(|here| *here.borrow_mut() = None);
        }

        /// How often a point was come by under this plan.
        #[must_use]
        pub fn passed(&self, point: FaultPoint) -> u64 {
            self.passed.get(&point).map_or(0, |n| n.load(Ordering::SeqCst))
        }

        /// A plan that can't be read stops the process at its first point: a test that plants nothing would pass.
        fn parse(text: &str) -> Self {
            let mut plan = Self::new();
            for part in text.split(',').filter(|part| !part.is_empty()) {
                let mut words = part.split(':');
                let point = words.next().and_then(|name| name.parse().ok());
                let fault = match words.next() {
                    Some("kill") | None => Some(Fault::Kill),
                    Some("error") => Some(Fault::Error),
                    Some(_) => None,
                };
                let nth = words.next().map_or(Some(1), |n| n.parse().ok());
                if let (Some(point), Some(fault), Some(nth)) = (point, fault, nth) {
                    plan = plan.with(point, nth, fault);
                } else {
                    tracing::error!(part, "CHANGEOVER_FAULT can't be read");
                    std::process::abort();
                }
            }
            plan
        }

        fn next(&self, point: FaultPoint) -> Option<Fault> {
            let pass = self.passed.get(&point)?.fetch_add(1, Ordering::SeqCst) + 1;
            let planned = self.at.get(&point)?;
            planned.iter().find(|(nth, _)| *nth == 0 || *nth == pass).map(|(_, fault)| fault.clone())
        }
    }

    fn planned(point: FaultPoint) -> Option<Fault> {
        let here = HERE.with(|here| here.borrow().clone());
        if let Some(plan) = here {
            return plan.next(point);
        }
        FROM_ENVIRONMENT.next(point)
    }

    pub(super) async fn pass(point: FaultPoint) -> Result<(), StoreError> {
        match planned(point) {
            None => Ok(()),
            Some(Fault::Error) => Err(StoreError::Fault(point.name())),
            Some(Fault::Kill) => std::process::abort(),
            Some(Fault::Pause(paused)) => {
                paused.reached.notify_one();
                paused.go_on.notified().await;
                Ok(())
            }
            Some(Fault::Call(callback)) => {
                callback().await;
                Ok(())
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::faults::fault_point;

        #[tokio::test]
        async fn a_fault_is_met_at_its_pass_and_at_no_other() {
            let plan = FaultPlan::new().with(FaultPoint::ChunkRead, 2, Fault::Error).install();
            assert!(fault_point(FaultPoint::ChunkRead).await.is_ok());
            assert!(matches!(fault_point(FaultPoint::ChunkRead).await, Err(StoreError::Fault("chunk-read"))));
            assert!(fault_point(FaultPoint::ChunkRead).await.is_ok());
            assert_eq!(plan.passed(FaultPoint::ChunkRead), 3);
        }

        #[tokio::test]
        async fn a_pause_lasts_until_the_test_says_so() {
            let pause = PausedAt::default();
            let _plan =
                FaultPlan::new().with(FaultPoint::ClaimTaken, 1, Fault::Pause(pause.clone())).install();
            let paused = tokio::spawn(fault_point(FaultPoint::ClaimTaken));
            pause.reached().await;
            assert!(!paused.is_finished());
            pause.go_on();
            assert!(paused.await.unwrap().is_ok());
        }

        #[test]
        fn the_environments_form_names_point_fault_and_pass() {
            let plan = FaultPlan::parse("chunk-done:kill:3,claim-taken:error");
            assert!(matches!(plan.at[&FaultPoint::ChunkDone][..], [(3, Fault::Kill)]));
            assert!(matches!(plan.at[&FaultPoint::ClaimTaken][..], [(1, Fault::Error)]));
        }
    }
}
