//! What the switch costs: a direct call, and the same call routed by a migration in step `old` and `new`, on one thread
//! and on two. Prints the median of several rounds, in nanoseconds for each call.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints what it measured")]

use std::hint::black_box;
use std::time::Instant;

use changeover::{Migration, Phase, Refused, Side};

const CALLS: u32 = 1_000_000;
const ROUNDS: usize = 15;

async fn answer(side: Side, id: u64) -> Result<u64, Refused> {
    Ok(black_box(id) + side as u64)
}

fn measure(threads: usize, work: impl Fn() + Sync) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(&work);
                }
            });
            began.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn main() {
    for threads in [1, 2] {
        let direct = measure(threads, || {
            block_on(async {
                for id in 0..u64::from(CALLS) {
                    let _ = black_box(answer(black_box(Side::Old), id).await);
                }
            });
        });
        println!("{threads} thread(s), direct: {direct:.1} ns");
        for phase in [Phase::Old, Phase::New] {
            let migration = Migration::standalone("bookings", phase);
            let routed = measure(threads, || {
                block_on(async {
                    for id in 0..u64::from(CALLS) {
                        let read = migration.read("booking.get", ("booking", id as i64));
                        let _ = black_box(read.run(move |side| answer(side, id)).await);
                    }
                });
            });
            println!("{threads} thread(s), routed in {phase}: {routed:.1} ns");
        }
    }
}
