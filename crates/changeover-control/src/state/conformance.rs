//! What every backend of the state must do: one suite, run against each.

use std::future::Future;

use changeover_protocol::control::Generation;
use changeover_protocol::gate::VerificationEvidence;
use changeover_protocol::{Millis, Side};

use super::*;

/// Runs every case, each on a state that was just made.
pub(crate) async fn suite<S: StateStore, F: Future<Output = S>>(make: impl Fn() -> F) {
    compare_and_set(&make().await).await;
    one_of_many_wins(make().await).await;
    audit_pages(&make().await).await;
    a_report_counts_once(&make().await).await;
    windows_are_joined_without_loss(&make().await).await;
    samples_are_bounded(&make().await).await;
    results_and_settings(&make().await).await;
}

fn audit(text: &str) -> NewAudit {
    let why = Some(format!("why {text}"));
    NewAudit { at_ms: 5, who: "ann@db-1".to_owned(), kind: AuditKind::Move, text: text.to_owned(), why }
}

async fn compare_and_set(state: &impl StateStore) {
    assert_eq!(state.load().await.unwrap(), None);
    let first = state.save(Revision(0), "a", &[audit("made")]).await.unwrap();
    let second = state.save(first, "b", &[audit("moved")]).await.unwrap();
    for stale in [Revision(0), first] {
        let error = state.save(stale, "c", &[audit("never")]).await.unwrap_err();
        assert!(matches!(error, ControlError::Outdated { .. }), "{error}");
    }
    let saved = state.load().await.unwrap().unwrap();
    assert_eq!((saved.revision, saved.record.as_str()), (second, "b"));
    let texts: Vec<_> =
        state.audit(None, 10).await.unwrap().into_iter().map(|entry| entry.entry.text).collect();
    assert_eq!(texts, ["moved", "made"], "a write that failed leaves no line in the audit");
}

async fn one_of_many_wins(state: impl StateStore) {
    let state = std::sync::Arc::new(state);
    let revision = state.save(Revision(0), "start", &[]).await.unwrap();
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let state = std::sync::Arc::clone(&state);
        racers.spawn(async move { state.save(revision, &n.to_string(), &[]).await.is_ok() });
    }
    let winners = racers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(winners, 1);
}

async fn audit_pages(state: &impl StateStore) {
    for n in 0..5 {
        state.append_audit(&audit(&n.to_string())).await.unwrap();
    }
    let newest = state.audit(None, 2).await.unwrap();
    assert_eq!(newest.iter().map(|e| e.entry.text.as_str()).collect::<Vec<_>>(), ["4", "3"]);
    let next = state.audit(Some(newest[1].id), 10).await.unwrap();
    assert_eq!(next.iter().map(|e| e.entry.text.as_str()).collect::<Vec<_>>(), ["2", "1", "0"]);
    assert_eq!(next[0].entry.kind, AuditKind::Move);
}

fn key(window_ms: u64, counter: Counter) -> EvidenceKey {
    EvidenceKey { window_ms, operation: "booking.get".to_owned(), treatment: false, counter }
}

async fn a_report_counts_once(state: &impl StateStore) {
    let counts = [(key(60_000, Counter::Match), 10), (key(60_000, Counter::Persistent), 1)];
    assert!(state.add_evidence(("i1", 1), &counts).await.unwrap());
    assert!(!state.add_evidence(("i1", 1), &counts).await.unwrap(), "sent again after a lost answer");
    assert!(state.add_evidence(("i2", 1), &counts).await.unwrap(), "another's numbers are its own");
    assert!(state.add_evidence(("i1", 2), &counts[..1]).await.unwrap());
    let bucket = Counter::Latency(Side::New, 17);
    assert!(state.add_evidence(("i3", 1), &[(key(60_000, bucket), 4)]).await.unwrap());
    let sums = state.evidence(0).await.unwrap();
    assert_eq!(sums.iter().find(|s| s.counter == bucket).map(|s| s.count), Some(4));
    let count = |counter| sums.iter().find(|s| s.counter == counter).map_or(0, |s| s.count);
    assert_eq!((count(Counter::Match), count(Counter::Persistent)), (30, 2));
    assert_eq!(state.evidence(60_001).await.unwrap(), []);
}

async fn windows_are_joined_without_loss(state: &impl StateStore) {
    const HOUR: u64 = 3_600_000;
    for (n, window) in [1_000, 2 * HOUR + 60_000, 2 * HOUR + 120_000, 5 * HOUR].into_iter().enumerate() {
        state.add_evidence(("i1", n as u64 + 1), &[(key(window, Counter::Match), 1)]).await.unwrap();
    }
    for _ in 0..2 {
        state.compact_evidence(4 * HOUR, HOUR).await.unwrap();
    }
    let total = |sums: Vec<EvidenceSum>| sums.iter().map(|s| s.count).sum::<u64>();
    assert_eq!(total(state.evidence(0).await.unwrap()), 3, "the oldest is forgotten, nothing else");
    assert_eq!(total(state.evidence(2 * HOUR).await.unwrap()), 3);
    assert_eq!(total(state.evidence(2 * HOUR + 1).await.unwrap()), 1, "joined to the hour's beginning");
}

async fn samples_are_bounded(state: &impl StateStore) {
    let sample = |shape: usize, at_ms| NewSample {
        operation: "booking.get".to_owned(),
        shape: format!("field {shape}"),
        at_ms,
        count: 2,
        detail: format!("{{\"n\":{shape}}}"),
    };
    for n in 0..SAMPLES_PER_OPERATION {
        assert!(state.add_sample(&sample(n, n as u64)).await.unwrap());
    }
    assert!(!state.add_sample(&sample(1_000, 7)).await.unwrap(), "there is an end to it");
    assert!(state.add_sample(&sample(3, 900)).await.unwrap(), "more of a known kind are counted");
    let kept = state.samples(Some("booking.get"), 1_000).await.unwrap();
    assert_eq!(kept.len(), SAMPLES_PER_OPERATION);
    assert_eq!((kept[0].shape.as_str(), kept[0].count, kept[0].first_ms), ("field 3", 4, 3));
    assert_eq!(state.samples(Some("other"), 10).await.unwrap(), []);
    let huge = NewSample { operation: "big".to_owned(), detail: "x".repeat(1 << 20), ..sample(0, 1) };
    state.add_sample(&huge).await.unwrap();
    assert!(state.samples(Some("big"), 1).await.unwrap()[0].detail.len() < MAX_SAMPLE_BYTES);
    state.clear_samples().await.unwrap();
    assert_eq!(state.samples(None, 10).await.unwrap(), []);
}

async fn results_and_settings(state: &impl StateStore) {
    let result = |ended_ms, differences| VerificationRecord {
        ended_ms,
        evidence: VerificationEvidence {
            generation: Generation(1),
            began: Millis(1),
            full: true,
            rows_compared: 10,
            both_sides_empty: false,
            differences,
            refused: 0,
        },
        report: "{}".to_owned(),
    };
    state.put_verification(&result(5, 1)).await.unwrap();
    state.put_verification(&result(9, 0)).await.unwrap();
    assert_eq!(state.verifications(10).await.unwrap(), [result(9, 0), result(5, 1)]);

    assert_eq!(state.generation().await.unwrap(), None);
    let mut generation = GenerationRecord {
        number: 1,
        toward: Side::New,
        began_ms: 3,
        done_ms: None,
        ended_ms: None,
        plan: "abc".to_owned(),
    };
    state.put_generation(&generation).await.unwrap();
    generation.done_ms = Some(8);
    state.put_generation(&generation).await.unwrap();
    assert_eq!(state.generation().await.unwrap(), Some(generation.clone()));
    let next = GenerationRecord { number: 2, toward: Side::Old, done_ms: None, ..generation };
    state.put_generation(&next).await.unwrap();
    assert_eq!(state.generation().await.unwrap(), Some(next));

    assert_eq!(state.setting("paused").await.unwrap(), None);
    state.set("paused", Some("yes")).await.unwrap();
    state.set("paused", Some("again")).await.unwrap();
    assert_eq!(state.setting("paused").await.unwrap().as_deref(), Some("again"));
    state.set("paused", None).await.unwrap();
    assert_eq!(state.setting("paused").await.unwrap(), None);
}
