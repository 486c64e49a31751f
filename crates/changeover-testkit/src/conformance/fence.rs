//! The fence: who is refused, what the lock excludes, what takes effect when.

use std::time::Duration;

use changeover::StoreError;
use changeover::store::Image;
use changeover::store::fence::{FenceAt, FenceState};
use changeover::store::guard::{Change, Scope};
use changeover_protocol::Side;

use super::{AppWrite, ITEMS, OPTIONS, Subject, cases, item, key};

cases! {
    Fence:
        a_store_without_a_fence_is_open,
        a_fence_that_is_not_open_refuses_every_write,
        the_epoch_never_falls,
        removing_the_fence_frees_the_writers,
        the_lock_excludes_writers_and_leaves_readers_free,
        a_lock_that_is_dropped_changes_nothing,
        a_committed_lock_sets_the_fence,
        a_lock_does_not_set_an_older_epoch,
        a_holder_that_stalls_loses_the_lock,
        counters_are_raised_and_never_lowered;
    FenceAndCapture:
        the_holder_claims_all_and_discards_within_its_transaction,
        capture_takes_effect_with_the_locks_commit;
    All:
        the_mirror_passes_a_shut_fence,
        the_mirror_does_not_write_where_a_move_has_opened_the_fence;
}

const WAIT: Duration = Duration::from_secs(2);
const STALL: Duration = Duration::from_secs(20);

async fn writes(subject: &Subject, id: i64) -> Result<(), String> {
    subject.app.write(Side::Old, &[AppWrite::Put(item(id, "x"))]).await
}

async fn a_store_without_a_fence_is_open(subject: &Subject) {
    let open = FenceAt { state: FenceState::Open, epoch: 0 };
    assert_eq!(subject.fence().look().await.unwrap(), open);
    writes(subject, 1).await.unwrap();
}

async fn a_fence_that_is_not_open_refuses_every_write(subject: &Subject) {
    subject.put(&[item(1, "a"), item(2, "b")]).await;
    for (epoch, state) in [(1, FenceState::Shut), (2, FenceState::Moved)] {
        subject.fence().set(state, epoch).await.unwrap();
        assert_eq!(subject.fence().look().await.unwrap(), FenceAt { state, epoch });
        assert!(subject.fence().is_whole().await.unwrap());
        for write in [AppWrite::Put(item(3, "c")), AppWrite::Put(item(1, "x")), AppWrite::Delete(2)] {
            let said = subject.app.write(Side::Old, std::slice::from_ref(&write)).await.unwrap_err();
            assert!(!said.is_empty(), "{write:?}");
        }
        assert_eq!(subject.rows(Side::Old).await, [item(1, "a").row(), item(2, "b").row()]);
    }
    subject.fence().set(FenceState::Open, 3).await.unwrap();
    writes(subject, 3).await.unwrap();
}

async fn the_epoch_never_falls(subject: &Subject) {
    let fence = subject.fence();
    fence.set(FenceState::Shut, 5).await.unwrap();
    assert!(matches!(fence.set(FenceState::Open, 4).await, Err(StoreError::Conflict { .. })));
    assert_eq!(fence.look().await.unwrap(), FenceAt { state: FenceState::Shut, epoch: 5 });
    // By the same move it may be set again.
    for _ in 0..2 {
        fence.set(FenceState::Open, 5).await.unwrap();
    }
}

async fn removing_the_fence_frees_the_writers(subject: &Subject) {
    subject.fence().set(FenceState::Moved, 1).await.unwrap();
    for _ in 0..2 {
        subject.fence().remove().await.unwrap();
        assert_eq!(subject.fence().look().await.unwrap().state, FenceState::Open);
    }
    writes(subject, 1).await.unwrap();
}

async fn the_lock_excludes_writers_and_leaves_readers_free(subject: &Subject) {
    subject.put(&[item(1, "a")]).await;
    let lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    let read = subject.old.read(&ITEMS.into(), &[key(1)], Image::Canonical).await.unwrap();
    assert_eq!(read.rows, [Some(item(1, "a").row())]);
    // The writer waits for a moment, or is told at once; either way nothing of it is there.
    let write = tokio::time::timeout(Duration::from_millis(300), writes(subject, 2)).await;
    assert!(!matches!(write, Ok(Ok(()))), "a writer passed the lock");
    assert_eq!(subject.rows(Side::Old).await.len(), 1);
    drop(lock);
}

async fn a_lock_that_is_dropped_changes_nothing(subject: &Subject) {
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    lock.set(FenceState::Moved, 7).await.unwrap();
    drop(lock);
    until_writable(subject).await;
    assert_eq!(subject.fence().look().await.unwrap().state, FenceState::Open);
}

/// Answers when a write passes: a lock that was dropped is given up a moment later.
async fn until_writable(subject: &Subject) {
    for _ in 0..200 {
        if writes(subject, 100).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("writers are locked out for ever");
}

async fn a_committed_lock_sets_the_fence(subject: &Subject) {
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    lock.set(FenceState::Moved, 7).await.unwrap();
    lock.beat().await.unwrap();
    lock.commit().await.unwrap();
    assert_eq!(subject.fence().look().await.unwrap(), FenceAt { state: FenceState::Moved, epoch: 7 });
    writes(subject, 1).await.unwrap_err();
}

async fn a_lock_does_not_set_an_older_epoch(subject: &Subject) {
    subject.fence().set(FenceState::Open, 5).await.unwrap();
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    assert!(matches!(lock.set(FenceState::Moved, 4).await, Err(StoreError::Conflict { .. })));
}

async fn a_holder_that_stalls_loses_the_lock(subject: &Subject) {
    let mut lock = subject.fence().lock(WAIT, Duration::from_millis(200)).await.unwrap();
    lock.set(FenceState::Moved, 7).await.unwrap();
    until_writable(subject).await;
    assert!(lock.commit().await.is_err(), "what it did is gone");
    assert_eq!(subject.fence().look().await.unwrap().state, FenceState::Open);
}

async fn counters_are_raised_and_never_lowered(subject: &Subject) {
    subject.put(&[item(5, "a")]).await;
    let raise = async |at_least: i64| {
        let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
        lock.raise_counters(&[(ITEMS.into(), at_least)]).await.unwrap();
        lock.commit().await.unwrap();
        let counters = subject.fence().lock(WAIT, STALL).await.unwrap().counters().await.unwrap();
        counters.first().map(|(_, next)| *next)
    };
    // A table without a counter of its own has none to raise.
    if let Some(raised) = raise(1_000).await {
        assert!(raised >= 1_000, "{raised}");
        assert!(raise(10).await.unwrap() >= 1_000);
    }
}

async fn the_holder_claims_all_and_discards_within_its_transaction(subject: &Subject) {
    subject.log().install(OPTIONS).await.unwrap();
    subject.put(&[item(1, "a"), item(2, "b")]).await;
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    let claims = lock.claim(100).await.unwrap();
    assert_eq!(claims.len(), 2);
    lock.discard(&[claims[0].id]).await.unwrap();
    let left = lock.claim(100).await.unwrap();
    assert_eq!(left.iter().map(|claim| claim.id).collect::<Vec<_>>(), [claims[1].id]);
    drop(lock);
    until_writable(subject).await;
    let there = subject.log().claim_keys(&[key(1), key(2)]).await.unwrap().claims;
    assert_eq!(there.len(), 2, "they are there again");
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    let ids: Vec<i64> = there.iter().map(|claim| claim.id).collect();
    lock.discard(&ids).await.unwrap();
    lock.commit().await.unwrap();
    assert_eq!(subject.log().claim_keys(&[key(1), key(2)]).await.unwrap().claims, []);
}

async fn capture_takes_effect_with_the_locks_commit(subject: &Subject) {
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    lock.capture_on(OPTIONS).await.unwrap();
    drop(lock);
    until_writable(subject).await;
    assert!(!subject.log().installed().await.unwrap());
    let mut lock = subject.fence().lock(WAIT, STALL).await.unwrap();
    lock.capture_on(OPTIONS).await.unwrap();
    lock.commit().await.unwrap();
    assert!(subject.log().installed().await.unwrap());
    subject.put(&[item(1, "a")]).await;
    assert!(!subject.log().claim_keys(&[key(1)]).await.unwrap().claims.is_empty());
}

async fn the_mirror_passes_a_shut_fence(subject: &Subject) {
    subject.new.fence().unwrap().set(FenceState::Shut, 1).await.unwrap();
    let keys = [key(1)];
    let mut tx = subject.guarded().begin(Scope::Keys(&keys)).await.unwrap();
    let change = Change { key: key(1), row: Some(item(1, "a").row()), back: None };
    assert_eq!(tx.apply(&[change]).await.unwrap().written, 1);
    tx.commit().await.unwrap();
    assert_eq!(subject.rows(Side::New).await, [item(1, "a").row()]);
}

/// A sync that was claimed before the move comes too late, and must not undo what the application wrote after it.
async fn the_mirror_does_not_write_where_a_move_has_opened_the_fence(subject: &Subject) {
    let fence = subject.new.fence().unwrap();
    let keys = [key(1)];
    fence.set(FenceState::Shut, 1).await.unwrap();
    fence.set(FenceState::Open, 1).await.unwrap();
    let late = subject.guarded().begin(Scope::Keys(&keys)).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "the guard of an authority was given");
    // It is a follower again.
    fence.set(FenceState::Moved, 2).await.unwrap();
    drop(subject.guarded().begin(Scope::Keys(&keys)).await.unwrap());
    fence.remove().await.unwrap();
    drop(subject.guarded().begin(Scope::Keys(&keys)).await.unwrap());
}
