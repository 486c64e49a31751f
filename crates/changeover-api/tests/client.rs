//! The client against a control plane over loopback sockets: moves, lost answers, replicas that go away, goodbyes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use changeover::event::Event;
use changeover::mirror::{Levelled, Mirror, Ticket};
use changeover::protocol::control::ControlEvent;
use changeover::protocol::{Millis, Place, Settings, Share};
use changeover::{Key, Migration, Phase, Refused, Side, Step, StoreError};
use changeover_api::client::{ClientError, Connect, ControlClient, Instance, Source};
use changeover_api::wire::{Advance, ErrorCode};
use changeover_api::{RunFile, Secret};
use common::{Fault, Plane, Replica, TOKEN};
use tokio::time::timeout;

/// Long enough for a loaded machine, short enough for whoever waits for a test that fails.
const SOON: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    // Test machines stall for longer than a real lease.
    Settings { hold_budget_ms: Millis(15_000), hold_lease_ms: Millis(2_000), ..Settings::default() }
}

async fn plane(phase: Phase) -> (Plane, Replica) {
    let plane = Plane::new(Place::whole(phase), settings());
    let replica = plane.serve(0).await;
    (plane, replica)
}

fn to(replicas: &[&Replica]) -> Connect {
    let addresses = replicas.iter().map(|replica| replica.address.to_string());
    Connect::to_addresses("bookings", addresses, Secret::new(TOKEN)).evidence_every(Duration::from_millis(50))
}

async fn start(connect: Connect) -> (Migration, Instance) {
    // A process that goes on from its file acknowledges nothing until the writes of the one before are surely over.
    connect.start(|builder| builder.write_lifetime(Duration::from_millis(100))).await.unwrap()
}

/// Waits until it is so; names what it waited for, if it never is.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waited).await.unwrap_or_else(|_| panic!("it never came to be: {what}"));
}

async fn advance(plane: &Plane, to: Phase) {
    plane.tell(ControlEvent::Advance { to, share: Share::ALL }).unwrap();
    until("the move is over", || {
        plane.tell(ControlEvent::Tick).unwrap();
        let control = &plane.state().control;
        control.shift.is_none() && control.place == Place::whole(to)
    })
    .await;
}

async fn read(migration: &Migration) -> Result<Side, std::io::Error> {
    migration.read("get", Key::new("bookings", 7)).run(|side| async move { Ok(side) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_all_the_way_and_back_under_reads() {
    let (plane, replica) = plane(Phase::Old).await;
    let (one, first) = start(to(&[&replica]).instance("web one")).await;
    let (two, second) = start(to(&[&replica])).await;
    assert!(first.id().0.starts_with("web-one-"), "{}", first.id());
    assert_eq!(read(&one).await.unwrap(), Side::Old);
    for phase in [Phase::Shadow, Phase::ReverseShadow] {
        advance(&plane, phase).await;
    }
    assert_eq!(read(&one).await.unwrap(), Side::New);
    assert_eq!(read(&two).await.unwrap(), Side::New);
    let back = ControlEvent::Rollback { to: Phase::Shadow, share: Share::ALL, leave_behind: false };
    plane.tell(back).unwrap();
    until("it is back", || {
        plane.tell(ControlEvent::Tick).unwrap();
        plane.state().control.place == Place::whole(Phase::Shadow)
    })
    .await;
    assert_eq!(read(&two).await.unwrap(), Side::Old);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert!(plane.state().control.instances.is_empty());
}

#[tokio::test]
async fn a_registration_whose_version_moved_or_whose_answer_was_lost_is_counted_once() {
    let (plane, replica) = plane(Phase::Shadow).await;
    plane.fault(Fault::MoveOn("/instances"));
    plane.fault(Fault::LoseAnswer("/instances"));
    let (_migration, instance) = start(to(&[&replica])).await;
    assert_eq!(plane.count("/instances"), 3, "refused, lost, taken");
    {
        let state = plane.state();
        let counted: Vec<_> = state.control.instances.keys().collect();
        assert_eq!(counted, [instance.id()]);
    }
    advance(&plane, Phase::ReverseShadow).await;
    instance.stop().await.unwrap();
}

#[tokio::test]
async fn lost_acknowledgements_and_goodbyes_are_said_again() {
    let (plane, replica) = plane(Phase::Old).await;
    let (_migration, instance) = start(to(&[&replica])).await;
    for _ in 0..2 {
        plane.fault(Fault::LoseAnswer("/acknowledge"));
        plane.fault(Fault::Answer("/acknowledge", ErrorCode::State));
    }
    advance(&plane, Phase::Shadow).await;
    advance(&plane, Phase::ReverseShadow).await;
    plane.fault(Fault::LoseAnswer("/goodbye"));
    instance.stop().await.unwrap();
    assert_eq!(plane.count("/goodbye"), 2);
    assert!(plane.state().control.instances.is_empty());
}

#[tokio::test]
async fn when_a_replica_goes_away_the_other_is_gone_to() {
    let (plane, first) = plane(Phase::Old).await;
    let second = plane.serve(0).await;
    let (migration, instance) = start(to(&[&first, &second])).await;
    advance(&plane, Phase::Shadow).await;
    first.stop();
    advance(&plane, Phase::ReverseShadow).await;
    assert_eq!(migration.standing().target.uniform_step(), Some(Step::ReverseShadow));
    instance.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_control_plane_it_serves_on_and_comes_back_by_itself() {
    let (plane, replica) = plane(Phase::Shadow).await;
    let (migration, instance) = start(to(&[&replica])).await;
    let mut health = instance.health();
    timeout(SOON, health.wait_for(|health| health.in_touch)).await.unwrap().unwrap();
    let port = replica.address.port();
    replica.stop();
    let away = timeout(SOON, health.wait_for(|health| health.failures > 1)).await.unwrap().unwrap().clone();
    assert!(away.last_error.unwrap().contains(&port.to_string()));
    assert_eq!(read(&migration).await.unwrap(), Side::Old);
    let _again = plane.serve(port).await;
    timeout(SOON, health.wait_for(|health| health.in_touch)).await.unwrap().unwrap();
    advance(&plane, Phase::ReverseShadow).await;
    instance.stop().await.unwrap();
}

#[tokio::test]
async fn a_run_that_starts_again_elsewhere_is_found_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = RunFile::path_of(folder.path(), "bookings");
    let write = |replica: &Replica| {
        let run =
            RunFile { address: replica.address.to_string(), token: Secret::new(TOKEN), pid: 1, state: None };
        run.write(&file).unwrap();
    };
    let (plane, first) = plane(Phase::Old).await;
    write(&first);
    let connect = Connect::in_folder("bookings", folder.path());
    let (_migration, instance) = start(connect).await;
    let second = plane.serve(0).await;
    write(&second);
    first.stop();
    advance(&plane, Phase::Shadow).await;
    // The old port is another program's now, which doesn't know the token.
    let flag = ControlClient::of_run(&file).unwrap().flag().await.unwrap();
    assert_eq!(flag.phase, Phase::Shadow);
    instance.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_was_forgotten_refuses_everything_and_starts_anew_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.step");
    let (plane, replica) = plane(Phase::Shadow).await;
    let (migration, instance) = start(to(&[&replica]).step_file(&file)).await;
    let first = instance.id().clone();
    until("the step file is written", || file.exists()).await;
    plane.tell(ControlEvent::Forget { id: first.clone() }).unwrap();
    timeout(SOON, instance.health().wait_for(|health| health.rejected)).await.unwrap().unwrap();
    until("operations are refused", || migration.standing().closed.is_some()).await;
    let error = read(&migration).await.unwrap_err();
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    assert!(matches!(refused, Some(Refused::NotNow { .. })), "{error}");
    timeout(SOON, instance.stop()).await.unwrap().unwrap();
    assert_eq!(plane.count("/goodbye"), 0);
    let (_migration, next) = start(to(&[&replica]).step_file(&file)).await;
    assert_ne!(next.id(), &first);
    next.stop().await.unwrap();
}

#[tokio::test]
async fn a_step_file_that_is_void_is_not_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.step");
    let (plane, replica) = plane(Phase::Shadow).await;
    let (_migration, instance) = start(to(&[&replica]).step_file(&file)).await;
    let first = instance.id().clone();
    until("the step file is written", || file.exists()).await;
    let void = std::fs::read(&file).unwrap();
    instance.stop().await.unwrap();
    // As a backup would bring it back.
    std::fs::write(&file, &void).unwrap();
    advance(&plane, Phase::ReverseShadow).await;
    let (migration, next) = start(to(&[&replica]).step_file(&file)).await;
    assert_ne!(next.id(), &first);
    assert_eq!(read(&migration).await.unwrap(), Side::New);
    next.stop().await.unwrap();
    std::fs::write(&file, &void[..void.len() / 2]).unwrap();
    let error = to(&[&replica]).step_file(&file).start(|builder| builder).await.unwrap_err();
    assert!(matches!(error, ClientError::StepFile(_)), "{error}");
}

#[tokio::test]
async fn with_a_step_file_it_starts_while_the_control_plane_is_away_and_without_one_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.step");
    let (plane, replica) = plane(Phase::ReverseShadow).await;
    let (migration, instance) = start(to(&[&replica]).step_file(&file)).await;
    let id = instance.id().clone();
    until("the step file is written", || file.exists()).await;
    // The process dies: no goodbye. Here its tasks go on, but nobody answers them under its name any more.
    let port = replica.address.port();
    replica.stop();
    drop((migration, instance));

    let (migration, again) = start(to(&[&replica]).step_file(&file)).await;
    assert_eq!(again.id(), &id);
    assert_eq!(read(&migration).await.unwrap(), Side::New);
    let error = to(&[&replica]).start(|builder| builder).await.unwrap_err();
    assert!(matches!(error, ClientError::RefusesToGuess { .. }), "{error}");
    assert!(error.retryable() && error.to_string().contains("must not guess"), "{error}");

    let _replica = plane.serve(port).await;
    timeout(SOON, again.health().wait_for(|health| health.in_touch)).await.unwrap().unwrap();
    again.stop().await.unwrap();
    assert!(!file.exists(), "a goodbye deletes it");
    assert!(plane.state().control.instances.is_empty());
}

#[tokio::test]
async fn one_that_was_dropped_by_mistake_goes_on() {
    let (plane, replica) = plane(Phase::Old).await;
    let (migration, instance) = start(to(&[&replica])).await;
    drop(instance);
    advance(&plane, Phase::Shadow).await;
    advance(&plane, Phase::ReverseShadow).await;
    assert_eq!(read(&migration).await.unwrap(), Side::New);
}

#[tokio::test]
async fn a_goodbye_that_nobody_hears_is_told() {
    let (_plane, replica) = plane(Phase::Old).await;
    let (_migration, instance) = start(to(&[&replica])).await;
    let id = instance.id().to_string();
    replica.stop();
    let error = timeout(SOON * 2, instance.stop()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::GoodbyeUnheard { .. }), "{error}");
    assert!(error.to_string().contains(&format!("changeover instances forget {id}")), "{error}");
}

#[tokio::test]
async fn evidence_counts_once_though_answers_are_lost() {
    let (plane, replica) = plane(Phase::Shadow).await;
    let (migration, instance) = start(to(&[&replica])).await;
    for _ in 0..5 {
        plane.fault(Fault::LoseAnswer("/evidence"));
        for _ in 0..10 {
            read(&migration).await.unwrap();
        }
    }
    until("batches were sent again", || plane.count("/evidence") > 3).await;
    plane.state().faults.clear();
    instance.stop().await.unwrap();
    let counted: u64 =
        migration.evidence().operations.iter().flat_map(|o| o.cohorts.values()).map(|c| c.old.calls).sum();
    assert!(counted >= 50, "{counted}");
    let state = plane.state();
    let operations = || state.batches.iter().flat_map(|batch| &batch.operations);
    assert_eq!(operations().map(|o| o.old.calls).sum::<u64>(), counted);
    let numbers: Vec<_> = state.batches.iter().map(|batch| batch.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

#[tokio::test]
async fn unclean_events_are_told_at_once_and_none_of_them_is_lost() {
    let (plane, replica) = plane(Phase::Shadow).await;
    let (migration, instance) = start(to(&[&replica]).evidence_every(Duration::from_secs(3_600))).await;
    let unclean = || {
        let state = plane.state();
        let named =
            state.batches.iter().flat_map(|batch| &batch.events).filter(|event| event.unclean).count();
        named as u64 + state.batches.iter().map(|batch| batch.unclean_dropped).sum::<u64>()
    };
    let tell = |n: usize| {
        for _ in 0..n {
            migration.events().tell(Event::JournalFailed { error: "no space left".to_owned() });
        }
    };
    tell(1);
    until("it is told", || unclean() == 1).await;
    // More at once than the queue holds.
    tell(700);
    until("all are told", || unclean() == 701).await;
    instance.stop().await.unwrap();
    assert_eq!(unclean(), 701, "and none of them twice");
}

#[tokio::test]
async fn what_the_control_plane_says_comes_with_its_code_and_its_exit_code() {
    let (plane, replica) = plane(Phase::Shadow).await;
    let source = |token: &str| Source::Addresses {
        addresses: vec![replica.address.to_string()],
        token: Secret::new(token),
    };
    let client = ControlClient::new("bookings", source(TOKEN)).unwrap();
    for (code, exit, retryable) in
        [(ErrorCode::Gates, 1, false), (ErrorCode::Spec, 2, false), (ErrorCode::Store, 3, true)]
    {
        plane.fault(Fault::Answer("/advance", code));
        let error = client.advance(&Advance::default()).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code(), error.retryable()), (Some(code), exit, retryable));
        assert_eq!(error.to_string(), "advance: as the test says");
    }
    let error = ControlClient::new("bookings", source("wrong")).unwrap().flag().await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), (Some(ErrorCode::Token), 2));
    // A move isn't asked for twice: its answer was lost, and it may be under way.
    let before = plane.count("/advance");
    plane.fault(Fault::LoseAnswer("/advance"));
    let error = client.advance(&Advance::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    assert_eq!((error.exit_code(), plane.count("/advance") - before), (3, 1));
    replica.stop();
    until("nobody listens any more", || std::net::TcpStream::connect(replica.address).is_err()).await;
    let error = client.flag().await.unwrap_err();
    assert!(error.to_string().contains("Is `changeover run` running?"), "{error}");
    assert_eq!((error.exit_code(), error.retryable()), (3, true));
}

#[tokio::test]
async fn what_is_no_control_plane_is_told_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        }
    });
    let source = Source::Addresses { addresses: vec![address], token: Secret::new(TOKEN) };
    let client = ControlClient::new("bookings", source).unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Garbled { .. }), "{error}");
    assert!(ControlClient::of_run(Path::new("/nowhere/x.run")).is_err());
}

/// A mirror with a journal of its own, of which only the number of dirty keys matters here.
struct Dirty(AtomicU64);

#[async_trait::async_trait]
impl Mirror for Dirty {
    async fn journal(&self, _: Side, _: &[Key]) -> Result<Ticket, StoreError> {
        Ok(Ticket(1))
    }

    async fn level(&self, _: Side, _: &[Key]) -> Result<Levelled, StoreError> {
        Ok(Levelled::default())
    }

    async fn clear(&self, _: Ticket) -> Result<(), StoreError> {
        Ok(())
    }

    async fn leave_dirty(&self, _: Side, _: Option<Ticket>, _: &[Key], _: Duration) {}

    fn dirty(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

#[tokio::test]
async fn while_a_key_is_dirty_no_goodbye_is_said() {
    let (plane, replica) = plane(Phase::Shadow).await;
    let mirror = Arc::new(Dirty(AtomicU64::new(1)));
    let of_instance = Arc::clone(&mirror);
    let (migration, instance) =
        to(&[&replica]).start(|builder| builder.dual_write(of_instance)).await.unwrap();
    let stopping = tokio::spawn(instance.stop());
    until("it refuses operations", || migration.standing().closed.is_some()).await;
    let beats = plane.count("/heartbeat");
    until("it beats on", || plane.count("/heartbeat") >= beats + 2).await;
    assert_eq!((plane.count("/goodbye"), plane.state().control.instances.len()), (0, 1));
    mirror.0.store(0, SeqCst);
    stopping.await.unwrap().unwrap();
    assert!(plane.state().control.instances.is_empty());
}
