//! Many small cases, a few at a time; every one that fails is named at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many cases at once: each waits most of the time.
const AT_ONCE: usize = 3;

/// Whether all of the matrix is to be run.
pub fn is_soak() -> bool {
    std::env::var("CHANGEOVER_SOAK").is_ok_and(|value| value == "1")
}

/// Added to each case's seed, so that soak's rounds differ: CHANGEOVER_SEED=1000.
pub fn first_seed() -> u64 {
    std::env::var("CHANGEOVER_SEED").map_or(0, |value| value.parse().expect("CHANGEOVER_SEED is a number"))
}

/// Runs every case; fails with the names of those that failed.
#[track_caller]
pub fn run_all<C: std::fmt::Debug + Sync>(cases: &[C], run: impl Fn(&C) + Sync) {
    // To look at one case again: CHANGEOVER_CASE=claim-taken.
    let only = std::env::var("CHANGEOVER_CASE").unwrap_or_default();
    let cases: Vec<&C> = cases.iter().filter(|case| format!("{case:?}").contains(&only)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(case))) {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text =
                            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        failed.lock().expect("whole").push(format!("{case:?}: {}", text.unwrap_or_default()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("whole");
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n\n")
    );
}
