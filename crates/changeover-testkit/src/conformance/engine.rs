//! The engine over the store: there, and back again.

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{
    Backfill, BackfillOptions, Coverage, Drain, DrainOptions, Fate, Verification, VerifyOptions,
    drain_under_lock,
};
use changeover::store::fence::FenceState;
use changeover_protocol::Side;
use tokio::time::Instant;

use super::{AppWrite, OPTIONS, Subject, cases, item};

cases! {
    Guard:
        a_copy_and_a_verification_agree,
        a_ring_of_rows_that_pass_a_unique_value_on_is_levelled_when_one_of_them_is;
    All:
        a_table_moves_there_and_back_under_writers;
}

async fn copy(subject: &Subject, toward: Side, generation: u64) -> Arc<changeover::engine::Links> {
    let links = subject.links();
    links.cover(toward, Coverage::Generation(generation));
    let options = BackfillOptions { chunk_rows_max: 40, ..BackfillOptions::default() };
    let (backfill, _handle) = Backfill::new(Arc::clone(&links), toward, generation, options);
    backfill.run().await.unwrap();
    links
}

async fn assert_clean(links: &Arc<changeover::engine::Links>, authority: Side) {
    let options = VerifyOptions { segment_rows: 70, ..VerifyOptions::new(authority) };
    let report = Verification::new(Arc::clone(links), options).0.run().await.unwrap();
    assert!(report.is_clean(), "{:?}", report.differences);
}

async fn a_copy_and_a_verification_agree(subject: &Subject) {
    let items: Vec<_> = (0..300).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    let links = copy(subject, Side::New, 1).await;
    assert_clean(&links, Side::Old).await;
    assert_eq!(subject.rows(Side::New).await.len(), 300);
    subject.app.write(Side::New, &[AppWrite::Put(item(7, "damaged")), AppWrite::Delete(8)]).await.unwrap();
    let report = Verification::new(Arc::clone(&links), VerifyOptions::new(Side::Old)).0.run().await.unwrap();
    assert_eq!((report.tables[0].differing, report.tables[0].missing), (1, 1));
    // A second generation over what is there.
    let links = copy(subject, Side::New, 2).await;
    assert_clean(&links, Side::Old).await;
}

async fn a_ring_of_rows_that_pass_a_unique_value_on_is_levelled_when_one_of_them_is(subject: &Subject) {
    const ROWS: i64 = 30;
    let items: Vec<_> = (0..ROWS).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    let links = copy(subject, Side::New, 1).await;
    // By way of values that nobody has: each row takes the next one's.
    let aside = (0..ROWS).map(|n| AppWrite::Put(item(n, "x").coded(&format!("aside-{n}"))));
    let passed = (0..ROWS).map(|n| AppWrite::Put(item(n, "x").coded(&format!("code-{}", (n + 1) % ROWS))));
    subject.app.write(Side::Old, &aside.chain(passed).collect::<Vec<_>>()).await.unwrap();
    let synced = links.sync(Side::Old, &[item(0, "x").key()]).await.unwrap();
    assert_eq!((&synced.fates[..], synced.joined), (&[Fate::Synced][..], 29), "{synced:?}");
    assert_clean(&links, Side::Old).await;
}

async fn write_some(subject: &Subject, side: Side, from: i64) {
    for n in from..from + 60 {
        let writes = match n % 4 {
            0 => vec![AppWrite::Delete(n % 50)],
            1 => vec![
                AppWrite::Delete(1),
                AppWrite::Put(item(2, "two").coded("swapped")),
                AppWrite::Put(item(1, "one").coded("code-2")),
            ],
            2 => vec![AppWrite::Put(item(n % 50, "again"))],
            _ => vec![AppWrite::Put(item(n + 1_000, "new"))],
        };
        for _ in 0..100 {
            match subject.app.write(side, &writes).await {
                Ok(()) => break,
                Err(said) if said.contains("UNIQUE") || said.contains("has that value") => break,
                Err(_locked) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// Drains beside the writers, then to the end under the lock, as a move does.
async fn drained(subject: &Subject, links: &Arc<changeover::engine::Links>, authority: Side, from: i64) {
    let source = Arc::clone(subject.store(authority));
    let (drain, handle) =
        Drain::new(Arc::clone(links), Arc::clone(&source), DrainOptions::default()).unwrap();
    let drain = tokio::spawn(drain.run());
    write_some(subject, authority, from).await;
    handle.stop();
    drain.await.unwrap();
    let fence = source.fence().unwrap();
    let mut lock = fence.lock(Duration::from_secs(5), Duration::from_secs(20)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let under_lock = drain_under_lock(links, authority, lock.as_mut(), deadline).await.unwrap();
    assert!(under_lock.is_empty(), "{under_lock:?}");
    lock.commit().await.unwrap();
    assert_eq!(source.capture().unwrap().depth().await.unwrap().entries, 0);
    assert_clean(links, authority).await;
}

async fn a_table_moves_there_and_back_under_writers(subject: &Subject) {
    let items: Vec<_> = (0..200).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    subject.log().install(OPTIONS).await.unwrap();
    subject.new.fence().unwrap().set(FenceState::Shut, 1).await.unwrap();
    let links = subject.links();
    links.cover(Side::New, Coverage::Generation(1));
    let (backfill, _handle) = Backfill::new(
        Arc::clone(&links),
        Side::New,
        1,
        BackfillOptions { chunk_rows_max: 16, ..BackfillOptions::default() },
    );
    let (copied, ()) = tokio::join!(backfill.run(), write_some(subject, Side::Old, 0));
    copied.unwrap();
    drained(subject, &links, Side::Old, 1_000).await;
    // The authority moves, and what is written there goes back.
    subject.new.capture().unwrap().install(OPTIONS).await.unwrap();
    subject.fence().set(FenceState::Moved, 2).await.unwrap();
    subject.new.fence().unwrap().set(FenceState::Open, 2).await.unwrap();
    links.cover(Side::Old, Coverage::All);
    drained(subject, &links, Side::New, 2_000).await;
}
