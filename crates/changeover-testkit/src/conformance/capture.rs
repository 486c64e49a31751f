//! The capture log: what is logged, what is discarded, what happens at its bound.

use std::time::{Duration, Instant};

use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::guard::{Change, Scope};
use changeover::value::Key;
use changeover_protocol::{Side, SlotRange};

use super::{AppWrite, OPTIONS, Subject, cases, item, key};

cases! {
    Capture:
        installing_and_removing_may_be_repeated,
        a_committed_change_is_logged_and_a_rolled_back_one_is_not,
        every_kind_of_change_names_its_keys,
        a_claim_is_in_order_and_within_its_limit,
        a_claim_of_keys_gives_their_entries_alone,
        exactly_what_is_discarded_goes,
        numbers_are_never_given_out_twice,
        the_depth_is_exact,
        a_reset_empties_the_log,
        at_its_bound_the_log_stops_and_says_so,
        without_overflow_the_log_goes_on_past_its_bound,
        a_change_wakes_whoever_waits,
        dirty_keys_are_counted_once_by_slot;
    All:
        the_mirrors_own_writes_are_not_logged;
}

async fn installed(subject: &Subject) -> &dyn CaptureLog {
    subject.log().install(OPTIONS).await.unwrap();
    subject.log()
}

async fn ids(log: &dyn CaptureLog) -> Vec<i64> {
    log.claim(i64::MIN, 10_000).await.unwrap().into_iter().map(|claim| claim.id).collect()
}

async fn keys(log: &dyn CaptureLog) -> Vec<Key> {
    let mut keys: Vec<Key> =
        log.claim(i64::MIN, 10_000).await.unwrap().into_iter().map(|claim| claim.key).collect();
    keys.sort_by(|a, b| changeover::engine::cmp_keys(a.values(), b.values()));
    keys.dedup();
    keys
}

async fn installing_and_removing_may_be_repeated(subject: &Subject) {
    let log = subject.log();
    assert!(!log.installed().await.unwrap());
    for _ in 0..2 {
        log.install(OPTIONS).await.unwrap();
        assert!(log.installed().await.unwrap());
    }
    subject.put(&[item(1, "a")]).await;
    log.install(CaptureOptions { bound: 5, overflow: false }).await.unwrap();
    assert_eq!(log.depth().await.unwrap().entries, 1, "what is in it stays");
    assert_eq!(log.depth().await.unwrap().bound, 5);
    for _ in 0..2 {
        log.remove().await.unwrap();
        assert!(!log.installed().await.unwrap());
    }
    subject.put(&[item(2, "b")]).await;
    log.install(OPTIONS).await.unwrap();
    assert_eq!(log.depth().await.unwrap().entries, 0, "what was in it is gone");
}

async fn a_committed_change_is_logged_and_a_rolled_back_one_is_not(subject: &Subject) {
    let log = installed(subject).await;
    subject.app.write_and_roll_back(Side::Old, &[AppWrite::Put(item(1, "a"))]).await;
    assert_eq!(keys(log).await, []);
    subject.put(&[item(2, "b")]).await;
    assert_eq!(keys(log).await, [key(2)]);
}

async fn every_kind_of_change_names_its_keys(subject: &Subject) {
    subject.put(&[item(1, "a"), item(2, "b"), item(3, "c")]).await;
    let log = installed(subject).await;
    let writes = [
        AppWrite::Put(item(1, "changed")),
        AppWrite::Delete(2),
        AppWrite::Rekey(3, 30),
        AppWrite::Put(item(4, "d")),
    ];
    subject.app.write(Side::Old, &writes).await.unwrap();
    assert_eq!(keys(log).await, [key(1), key(2), key(3), key(4), key(30)]);
}

async fn a_claim_is_in_order_and_within_its_limit(subject: &Subject) {
    let log = installed(subject).await;
    for n in 0..10 {
        subject.put(&[item(n, "x")]).await;
    }
    let all = ids(log).await;
    assert!(all.len() >= 10 && all.is_sorted());
    let first: Vec<i64> = log.claim(i64::MIN, 3).await.unwrap().into_iter().map(|claim| claim.id).collect();
    assert_eq!(first, all[..3]);
    let next: Vec<i64> = log.claim(all[2], 4).await.unwrap().into_iter().map(|claim| claim.id).collect();
    assert_eq!(next, all[3..7]);
    assert_eq!(ids(log).await, all, "a claim deletes nothing");
}

async fn a_claim_of_keys_gives_their_entries_alone(subject: &Subject) {
    let log = installed(subject).await;
    for _ in 0..2 {
        subject.put(&[item(1, "a"), item(2, "b")]).await;
        subject.app.write(Side::Old, &[AppWrite::Delete(1)]).await.unwrap();
    }
    let claims = log.claim_keys(&[key(1), key(99)]).await.unwrap().claims;
    assert!(claims.len() >= 4, "two inserts and two deletes: {claims:?}");
    assert!(claims.iter().all(|claim| claim.key == key(1)));
    assert_eq!(log.claim_keys(&[]).await.unwrap().claims, []);
}

async fn exactly_what_is_discarded_goes(subject: &Subject) {
    let log = installed(subject).await;
    for n in 0..6 {
        subject.put(&[item(n, "x")]).await;
    }
    let all = ids(log).await;
    let some = [all[4], all[1]];
    for _ in 0..2 {
        log.discard(&some).await.unwrap();
    }
    let left: Vec<i64> = all.into_iter().filter(|id| !some.contains(id)).collect();
    assert_eq!(ids(log).await, left);
    log.discard(&[]).await.unwrap();
}

async fn numbers_are_never_given_out_twice(subject: &Subject) {
    let log = installed(subject).await;
    let mut last = i64::MIN;
    for n in 0..4 {
        subject.put(&[item(n, "x")]).await;
        let all = ids(log).await;
        assert!(all.iter().all(|id| *id > last), "{all:?} after {last}");
        last = *all.last().unwrap();
        log.discard(&all).await.unwrap();
    }
}

async fn the_depth_is_exact(subject: &Subject) {
    let log = installed(subject).await;
    let empty = log.depth().await.unwrap();
    assert_eq!((empty.entries, empty.oldest_ms, empty.overflowed), (0, 0, false));
    for n in 0..5 {
        subject.put(&[item(n, "x")]).await;
    }
    let all = ids(log).await;
    let depth = log.depth().await.unwrap();
    assert_eq!(depth.entries, all.len() as u64);
    assert_eq!(depth.span, all.last().unwrap().abs_diff(all[0]));
    assert_eq!(depth.bound, OPTIONS.bound);
}

async fn a_reset_empties_the_log(subject: &Subject) {
    let log = subject.log();
    log.install(CaptureOptions { bound: 3, overflow: true }).await.unwrap();
    for n in 0..20 {
        subject.put(&[item(n, "x")]).await;
    }
    assert!(log.depth().await.unwrap().overflowed);
    for _ in 0..2 {
        log.reset().await.unwrap();
        let depth = log.depth().await.unwrap();
        assert_eq!((depth.entries, depth.overflowed), (0, false));
    }
    subject.put(&[item(1, "changed")]).await;
    assert_eq!(keys(log).await, [key(1)], "it logs again");
}

async fn at_its_bound_the_log_stops_and_says_so(subject: &Subject) {
    let log = subject.log();
    log.install(CaptureOptions { bound: 10, overflow: true }).await.unwrap();
    for n in 0..50 {
        subject.put(&[item(n, "x")]).await;
    }
    let depth = log.depth().await.unwrap();
    assert!(depth.overflowed);
    assert!(depth.span <= 11, "{depth:?}");
    log.discard(&ids(log).await).await.unwrap();
    assert!(log.depth().await.unwrap().overflowed, "only a new generation takes the mark back");
}

async fn without_overflow_the_log_goes_on_past_its_bound(subject: &Subject) {
    let log = subject.log();
    log.install(CaptureOptions { bound: 10, overflow: false }).await.unwrap();
    for n in 0..50 {
        subject.put(&[item(n, "x")]).await;
    }
    assert_eq!(keys(log).await.len(), 50);
    assert!(!log.depth().await.unwrap().overflowed);
}

async fn a_change_wakes_whoever_waits(subject: &Subject) {
    let log = installed(subject).await;
    log.changed(1).await;
    let began = Instant::now();
    let writes = [AppWrite::Put(item(1, "a"))];
    let ((), written) = tokio::join!(log.changed(20_000), subject.app.write(Side::Old, &writes));
    written.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "woken after {:?}", began.elapsed());
    let began = Instant::now();
    log.changed(1).await;
    log.changed(30).await;
    assert!(began.elapsed() < Duration::from_secs(5), "it answers at the latest when told");
}

async fn dirty_keys_are_counted_once_by_slot(subject: &Subject) {
    let log = installed(subject).await;
    for _ in 0..2 {
        subject.put(&[item(1, "a"), item(2, "b")]).await;
        subject.app.write(Side::Old, &[AppWrite::Delete(1)]).await.unwrap();
    }
    assert_eq!(log.dirty_in(SlotRange::ALL).await.unwrap(), 2);
    let slot = log.claim_keys(&[key(1)]).await.unwrap().claims[0].slot;
    let one = SlotRange { from: slot.number(), to: slot.number() + 1 };
    assert!(log.dirty_in(one).await.unwrap() >= 1);
    assert_eq!(log.dirty_in(SlotRange { from: 0, to: 0 }).await.unwrap(), 0);
}

async fn the_mirrors_own_writes_are_not_logged(subject: &Subject) {
    let log = subject.new.capture().unwrap();
    log.install(OPTIONS).await.unwrap();
    let keys = [key(1)];
    let mut tx = subject.guarded().begin(Scope::Keys(&keys)).await.unwrap();
    let change = Change { key: key(1), row: Some(item(1, "a").row()), back: None };
    assert_eq!(tx.apply(&[change]).await.unwrap().written, 1);
    tx.commit().await.unwrap();
    assert_eq!(ids(log).await, []);
    subject.app.write(Side::New, &[AppWrite::Put(item(1, "b"))]).await.unwrap();
    assert!(!ids(log).await.is_empty(), "an application's are");
}
