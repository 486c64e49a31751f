//! The switch under a control plane: what is acknowledged when, what is held, what is refused, and what is cut off.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::event::Event;
use changeover::protocol::member::{self, OnSilence};
use changeover::protocol::place::{Place, Share};
use changeover::protocol::target::{Version, assignments};
use changeover::protocol::{Millis, Slot, Step};
use changeover::switch::{StepFile, SwitchHandle};
use changeover::{Migration, Refused, Side};
use common::{Failed, Stores, builder, registered, target, write};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const A_WHILE: Duration = Duration::from_secs(600);

async fn go(handle: &SwitchHandle, version: u64, step: Step) {
    handle.offer(target(version, step)).await.unwrap();
}

async fn acknowledged(handle: &SwitchHandle, version: u64, within: Duration) -> bool {
    let mut seen = handle.acknowledged();
    let acknowledged = seen.wait_for(|seen| seen.0 >= version);
    timeout(within, acknowledged).await.is_ok()
}

/// Heartbeats that are answered at once, by a control plane that wants nothing new.
fn beating(handle: &SwitchHandle) -> JoinHandle<()> {
    let handle = handle.clone();
    tokio::spawn(async move {
        loop {
            let (sent, target) = (handle.now(), (*handle.standing().target).clone());
            handle.answered(sent, target).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    })
}

fn writing(migration: &Migration, stores: &Arc<Stores>, value: i64) -> JoinHandle<Result<(), Failed>> {
    let (migration, stores) = (migration.clone(), Arc::clone(stores));
    tokio::spawn(async move { write(&migration, &stores, 1, value).await })
}

fn refused(told: Result<impl std::fmt::Debug, Failed>) -> Refused {
    match told {
        Err(Failed::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_write_waits_for_the_hold_to_end_and_goes_where_the_next_step_says() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Shadow);
    let _beating = beating(&handle);
    go(&handle, 2, Step::HoldOld).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    let held = writing(&migration, &stores, 7);
    sleep(Duration::from_millis(300)).await;
    assert_eq!((migration.evidence().writes_waiting, stores.get(Side::Old, 1)), (1, None));
    for (version, step) in [(3, Step::HoldNew), (4, Step::ReverseShadow)] {
        go(&handle, version, step).await;
        assert!(acknowledged(&handle, version, A_WHILE).await);
    }
    held.await.unwrap().unwrap();
    assert!(stores.is_level() && stores.get(Side::New, 1) == Some(7));
    let operations = migration.evidence().operations;
    let longest = operations[0].cohorts.values().map(|seen| seen.write_held_longest_ms).max().unwrap();
    assert!((300..400).contains(&longest), "{longest}");
    assert_eq!(migration.evidence().writes_waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hold_over_its_budget_refuses_retryably_and_one_without_at_once() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Shadow);
    let _beating = beating(&handle);
    go(&handle, 2, Step::HoldOld).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    let began = Instant::now();
    let no = refused(writing(&migration, &stores, 7).await.unwrap());
    assert!(matches!(no, Refused::NotNow { why: member::Refused::HoldOverBudget, .. }) && no.retryable());
    assert!((1_900..=2_001).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());

    let mut simple = target(3, Step::HoldOld);
    simple.hold_budget_ms = None;
    handle.offer(simple).await.unwrap();
    assert!(acknowledged(&handle, 3, A_WHILE).await);
    let began = Instant::now();
    let no = refused(writing(&migration, &stores, 7).await.unwrap());
    assert!(matches!(no, Refused::NotNow { why: member::Refused::WritesStopped, .. }));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(stores.get(Side::Old, 1), None);
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_held_writes_is_bounded_and_a_caller_that_leaves_makes_room() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores).held_writes_max(2), Step::Shadow);
    let _beating = beating(&handle);
    go(&handle, 2, Step::HoldOld).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    let first = writing(&migration, &stores, 7);
    let _second = writing(&migration, &stores, 8);
    sleep(Duration::from_millis(1)).await;
    let no = refused(writing(&migration, &stores, 9).await.unwrap());
    assert!(matches!(no, Refused::TooManyHeld { limit: 2, .. }) && no.retryable());
    first.abort();
    sleep(Duration::from_millis(1)).await;
    let third = writing(&migration, &stores, 9);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(migration.evidence().writes_waiting, 2);
    assert!(!third.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_instance_out_of_touch_refuses_writes_in_a_hold_and_reads_in_the_second_one_only() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Shadow);
    let read = || migration.read("get", ("booking", 1)).run(|side| async move { Ok::<_, Failed>(side) });
    let beats = beating(&handle);
    go(&handle, 2, Step::HoldOld).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    beats.abort();
    sleep(Duration::from_millis(600)).await;
    let began = Instant::now();
    let no = refused(writing(&migration, &stores, 7).await.unwrap());
    assert!(matches!(no, Refused::NotNow { why: member::Refused::OutOfTouch, .. }) && no.retryable());
    assert!(began.elapsed() > Duration::from_secs(1), "it waits for word within the hold's budget");
    assert_eq!(stores.get(Side::Old, 1), None);
    assert_eq!(read().await, Ok(Side::Old));

    let beats = beating(&handle);
    go(&handle, 3, Step::HoldNew).await;
    assert!(acknowledged(&handle, 3, A_WHILE).await);
    // The first answer may still name the target before, and then brings no lease: the next one does.
    sleep(Duration::from_millis(150)).await;
    assert_eq!(read().await, Ok(Side::New));
    beats.abort();
    sleep(Duration::from_millis(600)).await;
    assert!(refused(read().await).retryable());

    // Outside of the holds it serves on for as long as it likes.
    go(&handle, 4, Step::ReverseShadow).await;
    sleep(Duration::from_secs(86_400)).await;
    assert_eq!(read().await, Ok(Side::New));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_outlives_the_lease_gives_no_answer_in_the_second_hold() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::HoldOld);
    let beats = beating(&handle);
    go(&handle, 2, Step::HoldNew).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    let reading = tokio::spawn(async move {
        let slow = migration.read("get", ("booking", 1)).run(|_| async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Failed>(7)
        });
        slow.await
    });
    sleep(Duration::from_millis(50)).await;
    beats.abort();
    let no = refused(reading.await.unwrap());
    assert!(matches!(no, Refused::NotNow { why: member::Refused::OutOfTouch, .. }));
}

#[tokio::test(start_paused = true)]
async fn with_silence_fenced_everything_is_refused_when_the_lease_is_over() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores).on_silence(OnSilence::Fence), Step::Old);
    let beats = beating(&handle);
    write(&migration, &stores, 1, 7).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    beats.abort();
    sleep(Duration::from_millis(600)).await;
    assert!(refused(write(&migration, &stores, 1, 8).await).retryable());
    let read = migration.read("get", ("booking", 1)).run(|side| async move { Ok::<_, Failed>(side) });
    assert!(refused(read.await).retryable());
    assert_eq!(stores.get(Side::Old, 1), Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_acknowledged_when_the_last_operation_from_before_has_ended() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Shadow);
    let (release, released) = oneshot::channel::<()>();
    let caller = {
        let (migration, stores) = (migration.clone(), Arc::clone(&stores));
        tokio::spawn(async move {
            let write = migration.write("put", ("booking", 1)).run(move |side| async move {
                released.await.unwrap();
                stores.put(side, 1, 7);
                Ok::<_, Failed>(())
            });
            write.await
        })
    };
    sleep(Duration::from_millis(1)).await;
    // The caller goes away: the write is under way all the same.
    caller.abort();
    go(&handle, 2, Step::HoldOld).await;
    assert!(!acknowledged(&handle, 2, A_WHILE).await);
    release.send(()).unwrap();
    assert!(acknowledged(&handle, 2, Duration::from_secs(1)).await);
    assert!(stores.is_level() && stores.get(Side::New, 1) == Some(7));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_not_known_is_waited_for_as_long_as_the_server_may_carry_it_out() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Old);
    let fails =
        || migration.write("put", ("booking", 1)).run(|_| async { Err::<(), _>(Failed::Store("lost")) });
    fails().await.unwrap_err();
    go(&handle, 2, Step::Shadow).await;
    assert!(!acknowledged(&handle, 2, Duration::from_secs(29)).await);
    assert!(acknowledged(&handle, 2, Duration::from_secs(2)).await);
    // Or until its session is seen gone.
    fails().await.unwrap_err();
    go(&handle, 3, Step::HoldOld).await;
    assert!(!acknowledged(&handle, 3, Duration::from_secs(10)).await);
    handle.settled(Version(2)).await.unwrap();
    assert!(acknowledged(&handle, 3, Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn on_the_way_back_operations_that_hang_are_cut_off() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::ReverseShadow);
    let mut events = migration.events().listen();
    let reading = {
        let migration = migration.clone();
        tokio::spawn(async move {
            migration.read("get", ("booking", 1)).run(|_| std::future::pending::<Result<(), Failed>>()).await
        })
    };
    let writing = {
        let migration = migration.clone();
        tokio::spawn(async move {
            migration.write("put", ("booking", 1)).run(|_| std::future::pending::<Result<(), Failed>>()).await
        })
    };
    sleep(Duration::from_millis(1)).await;
    let mut back = target(2, Step::HoldNew);
    back.direction = changeover::protocol::Direction::Back;
    back.cut_off_ms = Some(Millis(2_000));
    handle.offer(back).await.unwrap();
    sleep(Duration::from_millis(1_900)).await;
    assert!(!reading.is_finished() && !writing.is_finished());
    sleep(Duration::from_millis(200)).await;
    assert!(matches!(refused(reading.await.unwrap()), Refused::CutOff { .. }));
    assert!(refused(writing.await.unwrap()).outcome_unknown());
    assert_eq!(stores.dirty_keys().len(), 1);
    // The write may still be carried out, so it is waited for.
    assert!(!acknowledged(&handle, 2, Duration::from_secs(28)).await);
    assert!(acknowledged(&handle, 2, Duration::from_secs(3)).await);
    assert!(matches!(events.recv().await.unwrap(), Event::CutOff { operations: 2, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_keys_goes_ahead_and_what_has_no_key_stays() {
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores), Step::Shadow);
    let place = Place::reversed(Share::percent(50.0).unwrap());
    let mut half = target(2, Step::Shadow);
    half.assignments = assignments(|slot| place.step(slot));
    handle.offer(half).await.unwrap();
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    for id in 0..200_i64 {
        let side = if Slot::of("bookings", id.to_string().as_bytes()).number() < 512 {
            Side::New
        } else {
            Side::Old
        };
        let read = migration.read("get", ("booking", id)).run(|side| async move { Ok::<_, Failed>(side) });
        assert_eq!(read.await, Ok(side), "{id}");
        let write = migration.write("put", ("booking", id)).run(|side| async move { Ok::<_, Failed>(side) });
        assert_eq!(write.await, Ok(side), "{id}");
        let by = migration.read("get", ()).route_by(id).run(|side| async move { Ok::<_, Failed>(side) });
        assert_eq!(by.await, Ok(side), "{id}");
    }
    let keyless = migration.read("list", ()).run(|side| async move { Ok::<_, Failed>(side) });
    assert_eq!(keyless.await, Ok(Side::Old));
    let operations = migration.evidence().operations;
    let put = operations.iter().find(|operation| operation.operation == "put").unwrap();
    let calls: Vec<u64> = put.cohorts.values().map(|seen| seen.old.calls + seen.new.calls).collect();
    assert!(calls.iter().all(|&calls| calls > 60) && calls.iter().sum::<u64>() == 200, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_stops_ends_what_runs_deletes_its_file_and_says_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let file = StepFile::new(folder.path().join("step"), "bookings");
    let stores = Stores::new();
    let (migration, handle) = registered(builder(&stores).step_file(file.clone()), Step::Old);
    go(&handle, 2, Step::Shadow).await;
    assert!(acknowledged(&handle, 2, A_WHILE).await);
    // It is remembered before it is acknowledged, and a process that starts from the file is the same instance.
    let remembered = file.read().unwrap().unwrap();
    assert_eq!((remembered.version(), &remembered.instance), (Version(2), handle.id()));
    let (again, _handle) = builder(&stores).resume(remembered).unwrap();
    write(&again, &stores, 1, 7).await.unwrap();
    assert!(stores.is_level());

    let (release, released) = oneshot::channel::<()>();
    let reading = {
        let migration = migration.clone();
        let mut released = Some(released);
        tokio::spawn(async move {
            let call = std::sync::Mutex::new(released.take());
            let read = migration.read("get", ()).run(move |_| {
                let released = call.lock().unwrap().take();
                async move {
                    if let Some(released) = released {
                        released.await.unwrap();
                    }
                    Ok::<_, Failed>(7)
                }
            });
            read.await
        })
    };
    sleep(Duration::from_millis(1)).await;
    handle.stop().await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let no = refused(write(&migration, &stores, 1, 8).await);
    assert!(matches!(no, Refused::NotNow { why: member::Refused::Stopping, .. }));
    assert!(timeout(A_WHILE, handle.goodbye()).await.is_err(), "an operation is still running");
    release.send(()).unwrap();
    assert_eq!(reading.await.unwrap(), Ok(7));
    timeout(A_WHILE, handle.goodbye()).await.unwrap();
    assert_eq!(file.read().unwrap(), None);
}
