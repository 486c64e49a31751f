//! In steps `old` and `new` a read takes no memory: measured by an allocator that counts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use changeover::{Migration, Phase, Refused, Side};

async fn answer(side: Side, id: i64) -> Result<i64, Refused> {
    Ok(id + side as i64)
}

/// Polls once a future that is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn read(migration: &Migration, ids: std::ops::Range<i64>) -> u64 {
    let reads = || {
        for id in ids {
            let name = "a name that is longer than any string that could lie in place";
            let numbered = migration.read("booking.get", ("booking", id)).input(&id);
            assert!(now(numbered.run(move |side| answer(side, id))).unwrap() >= id);
            let named = migration.read("booking.find", ("booking", name));
            assert!(now(named.run(move |side| answer(side, id))).unwrap() >= id);
            assert!(now(migration.call("booking.list", ()).run(move |side| answer(side, id))).unwrap() >= id);
        }
    };
    allocation_counter::measure(reads).count_total
}

#[test]
fn a_read_in_old_and_new_takes_no_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    for phase in [Phase::Old, Phase::New] {
        let migration = Migration::standalone("bookings", phase);
        // The first timed call of each operation makes its counters.
        read(&migration, 0..200);
        assert_eq!(read(&migration, 0..1_000), 0, "{phase}");
    }
    // The measure measures: where calls are shadowed, memory is taken.
    let migration = Migration::standalone("bookings", Phase::Shadow);
    assert!(read(&migration, 0..10) > 0);
}
