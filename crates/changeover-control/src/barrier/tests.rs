//! The barrier with fake instances on a paused clock, over a real state file.

use std::time::Duration;

use changeover_protocol::control::Vitals;
use changeover_protocol::{InstanceId, Phase, Share, Step, Version};

use super::*;
use crate::state::SqliteState;

struct Fixture {
    _folder: tempfile::TempDir,
    state: SqliteState,
    begun: Begun,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("b.db"), "bookings").await.unwrap();
    let begun = begin(&state).await;
    Fixture { _folder: folder, state, begun }
}

async fn begin(state: &SqliteState) -> Begun {
    Barrier::begin(Arc::new(state.clone()), Settings::default(), Clock::runtime()).await.unwrap()
}

fn register(id: &str, expected: Version) -> ControlEvent {
    ControlEvent::Register { id: InstanceId::new(id), expected }
}

fn acknowledge(id: &str, version: Version) -> ControlEvent {
    ControlEvent::Acknowledge { id: InstanceId::new(id), version, vitals: Vitals::default() }
}

fn advance(to: Phase) -> ControlEvent {
    ControlEvent::Advance { to, share: Share::ALL }
}

/// An instance that acknowledges each target at once, until told to stop.
fn obedient(barrier: &Barrier, id: &'static str) -> tokio::task::JoinHandle<()> {
    let (barrier, mut targets) = (barrier.clone(), barrier.targets());
    tokio::spawn(async move {
        loop {
            let version = targets.borrow_and_update().version;
            barrier.apply(acknowledge(id, version), None).await.unwrap();
            if targets.changed().await.is_err() {
                return;
            }
        }
    })
}

async fn until(barrier: &Barrier, what: impl FnMut(&Arc<Control>) -> bool) {
    let mut records = barrier.records();
    tokio::time::timeout(Duration::from_secs(600), records.wait_for(what)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_target_is_stored_before_anybody_is_told() {
    let f = fixture().await;
    let barrier = &f.begun.barrier;
    barrier.apply(register("a", barrier.record().target.version), None).await.unwrap();
    let mut targets = barrier.targets();
    targets.mark_unchanged();
    barrier.apply(advance(Phase::Shadow), None).await.unwrap();
    targets.changed().await.unwrap();
    let told = targets.borrow_and_update().clone();
    let (_, stored) = load(&f.state).await.unwrap().unwrap();
    assert_eq!(stored.target, told);
    assert_eq!(told.uniform_step(), Some(Step::Shadow));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_acknowledge_is_named_and_the_move_is_given_up() {
    let f = fixture().await;
    let barrier = &f.begun.barrier;
    let first = barrier.record().target.version;
    for id in ["a", "b"] {
        barrier.apply(register(id, first), None).await.unwrap();
    }
    let _a = obedient(barrier, "a");
    let mut reports = barrier.reports();
    barrier.apply(advance(Phase::Shadow), None).await.unwrap();
    let report = tokio::time::timeout(Duration::from_secs(600), reports.recv()).await.unwrap().unwrap();
    assert_eq!(report.missing, [InstanceId::new("b")]);
    let audit = f.state.audit(None, 50).await.unwrap();
    assert!(audit.iter().any(|e| e.entry.text.contains("version 2 from b")), "{audit:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_registers_only_with_the_version_that_it_has_seen() {
    let f = fixture().await;
    let barrier = &f.begun.barrier;
    barrier.apply(advance(Phase::Shadow), None).await.unwrap();
    let error = barrier.apply(register("late", Version(1)), None).await.unwrap_err();
    assert!(matches!(error, ControlError::Protocol(_)), "{error}");
    assert!(barrier.record().instances.is_empty());
    barrier.apply(register("late", barrier.record().target.version), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_process_goes_on_from_the_stored_record_and_counts_the_same_instances() {
    let mut f = fixture().await;
    let first = f.begun.barrier.record().target.version;
    f.begun.barrier.apply(register("a", first), None).await.unwrap();
    f.begun.barrier.apply(advance(Phase::Shadow), None).await.unwrap();
    f.begun.task.abort();
    f.begun = begin(&f.state).await;
    let barrier = &f.begun.barrier;
    assert_eq!(barrier.record().missing().count(), 1);
    let _a = obedient(barrier, "a");
    until(barrier, |record| record.place.phase == Phase::Shadow && record.shift.is_none()).await;
    let action = f.begun.actions.recv().await;
    assert!(action.is_some(), "what there is to do in shadow was handed on");
}

#[tokio::test(start_paused = true)]
async fn two_tasks_over_one_state_never_lose_an_instance() {
    let f = fixture().await;
    let other = begin(&f.state).await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..10 {
        let barrier = if n % 2 == 0 { f.begun.barrier.clone() } else { other.barrier.clone() };
        racers.spawn(async move {
            // As an instance does: the version may have moved on, as the one that began later has told it anew.
            for _ in 0..3 {
                let version = barrier.record().target.version;
                if barrier.apply(register(&format!("i{n}"), version), None).await.is_ok() {
                    return true;
                }
            }
            false
        });
    }
    assert!(racers.join_all().await.into_iter().all(|ok| ok));
    let (_, stored) = load(&f.state).await.unwrap().unwrap();
    assert_eq!(stored.instances.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_understood_stops_the_migration_and_names_adopt() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("b.db"), "bookings").await.unwrap();
    state.save(Revision(0), "{\"nonsense\":1}", &[]).await.unwrap();
    let error = Barrier::begin(Arc::new(state), Settings::default(), Clock::runtime()).await.unwrap_err();
    assert!(error.to_string().contains("changeover adopt"), "{error}");
}
