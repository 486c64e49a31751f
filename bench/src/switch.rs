//! `switch`: a read routed by the library beside the same call made directly, on one thread and on two.

use std::hint::black_box;
use std::time::Instant;

use changeover::{Migration, Phase, Refused, Side};

use crate::report::{Case, median};

/// Calls of each thread in one round.
const CALLS: u32 = 1_000_000;
/// Rounds; direct and routed take turns.
const ROUNDS: usize = 11;

async fn answer(side: Side, id: u64) -> Result<u64, Refused> {
    Ok(black_box(id) + side as u64)
}

/// Nanoseconds for each call; the limit is a direct one.
pub(crate) fn switch() -> Result<Vec<Case>, String> {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string());
    let mut cases = Vec::new();
    for threads in [1, 2] {
        for phase in [Phase::Old, Phase::New] {
            let migration = Migration::standalone("bookings", phase);
            let (mut direct, mut routed) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let runtimes = (0..threads).map(|_| runtime()).collect::<Result<Vec<_>, _>>()?;
                direct.push(time(&runtimes, || async {
                    for id in 0..u64::from(CALLS) {
                        let _ = black_box(answer(black_box(phase.step().authority()), id).await);
                    }
                }));
                routed.push(time(&runtimes, || async {
                    for id in 0..u64::from(CALLS) {
                        let read = migration.read("booking.get", ("booking", id as i64));
                        let _ = black_box(read.run(move |side| answer(side, id)).await);
                    }
                }));
            }
            let case =
                format!("routed read in `{phase}`, {threads} thread{}", if threads == 1 { "" } else { "s" });
            cases.push(Case::cost(
                "switch",
                case,
                "ns",
                median(routed),
                ("a direct async call", median(direct)),
            ));
        }
    }
    Ok(cases)
}

/// Runs the work on one thread for each runtime at once; nanoseconds for each call.
fn time<F: Future<Output = ()>>(runtimes: &[tokio::runtime::Runtime], work: impl Fn() -> F + Sync) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for runtime in runtimes {
            let work = &work;
            scope.spawn(move || runtime.block_on(work()));
        }
    });
    began.elapsed().as_nanos() as f64 / f64::from(CALLS)
}
