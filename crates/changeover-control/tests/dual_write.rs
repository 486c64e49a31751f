//! Dual write over SQLite files: two instances of a service with the library in it, through the real API; with shares, a
//! rollback, and the whole way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changeover::engine::TableMirror;
use changeover::{Key, Migration, Refused, Side};
use changeover_api::{Connect, Instance};
use changeover_control::Run;
use changeover_protocol::{Phase, Share};
use common::{World, forward, no_bake, until};
use rusqlite::{Connection, params};
use tokio::sync::oneshot::error::TryRecvError;

/// Why a request failed.
#[derive(Debug)]
enum Failed {
    Refused(#[allow(dead_code, reason = "shown when a test fails")] Refused),
    Database(#[allow(dead_code, reason = "shown when a test fails")] rusqlite::Error),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// SQLite blocks; the runtime, which the mirror runs on as well, must not.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await.unwrap().map_err(Failed::Database)
}

/// One process of the service.
struct Service {
    bookings: Migration,
    instance: Instance,
    old: Arc<Mutex<Connection>>,
    new: Arc<Mutex<Connection>>,
}

impl Service {
    async fn start(world: &World, run: &Run, name: &str) -> Self {
        let links = changeover_control::links(&world.spec()).await.unwrap();
        let mirror = Arc::new(TableMirror::new(links));
        let (bookings, instance) = Connect::to_run("bookings", run.run_file())
            .instance(name)
            .evidence_every(Duration::from_millis(100))
            .start(|builder| builder.dual_write(mirror).errors_are_settled())
            .await
            .unwrap();
        let open = |file| Arc::new(Mutex::new(world.open(file)));
        Self { bookings, instance, old: open("old.db"), new: open("new.db") }
    }

    /// Sets a booking's seats on whichever side is the authority.
    async fn set(&self, id: i64, seats: i64) -> Result<(), Failed> {
        let (old, new) = (Arc::clone(&self.old), Arc::clone(&self.new));
        let write = self.bookings.write("booking.set", vec![Key::new("bookings", id)]);
        write
            .run(move |side| async move {
                let (connection, sql) = match side {
                    Side::Old => (old, "UPDATE bookings SET seats = ?1 WHERE id = ?2"),
                    Side::New => (new, "UPDATE booking SET seats = ?1 WHERE booking_id = ?2"),
                };
                let work = move || connection.lock().unwrap().execute(sql, params![seats, id]).map(drop);
                off_the_runtime(work).await
            })
            .await
    }

    async fn get(&self, id: i64) -> Result<i64, Failed> {
        let (old, new) = (Arc::clone(&self.old), Arc::clone(&self.new));
        let read = self.bookings.read("booking.get", Key::new("bookings", id));
        read.run(move |side| {
            let (old, new) = (Arc::clone(&old), Arc::clone(&new));
            async move {
                let (connection, sql) = match side {
                    Side::Old => (old, "SELECT seats FROM bookings WHERE id = ?1"),
                    Side::New => (new, "SELECT seats FROM booking WHERE booking_id = ?1"),
                };
                off_the_runtime(move || connection.lock().unwrap().query_row(sql, [id], |row| row.get(0)))
                    .await
            }
        })
        .await
    }
}

/// A load on a service: its own keys, each set to a rising number and read back at once.
fn load(
    service: Arc<Service>,
    keys: Vec<i64>,
) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<BTreeMap<i64, i64>>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut last = BTreeMap::new();
        let mut n = 0;
        while matches!(stopped.try_recv(), Err(TryRecvError::Empty)) {
            n += 1;
            for &id in &keys {
                service.set(id, n).await.unwrap();
                last.insert(id, n);
                let seen = service.get(id).await.unwrap();
                assert_eq!(seen, n, "booking {id} went back in time");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        last
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_rollback_and_the_whole_way_under_load_lose_nothing_and_refuse_nobody() {
    let world = World::new(400);
    world.write_spec("mirror = \"dual-write\"");
    let said = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), said + "keys = \"application\"\n").unwrap();
    let run = world.run().await;
    let a = Arc::new(Service::start(&world, &run, "a").await);
    let b = Arc::new(Service::start(&world, &run, "b").await);
    let (stop_a, load_a) = load(Arc::clone(&a), (1..=20).collect());
    let (stop_b, load_b) = load(Arc::clone(&b), (21..=40).collect());
    let conductor = run.conductor();

    forward(conductor, Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let tenth = conductor.advance(None, Share::percent(10.0).unwrap(), &no_bake()).await.unwrap();
    assert!(tenth.place.is_partial(), "{tenth:?}");
    assert_eq!(common::status(&run).await.flag, Some(1), "those who know no keys stay");
    let smaller = conductor.advance(None, Share::percent(5.0).unwrap(), &no_bake()).await.unwrap_err();
    assert!(smaller.to_string().contains("a share can grow"), "{smaller}");
    assert_eq!(conductor.advance(None, tenth.place.share, &no_bake()).await.unwrap().place, tenth.place);
    let half = conductor.advance(None, Share::percent(50.0).unwrap(), &no_bake()).await.unwrap();
    assert!(half.place.is_partial() && half.place.share > tenth.place.share, "{half:?}");
    conductor.advance(None, Share::ALL, &no_bake()).await.unwrap();
    let back = conductor.rollback(None, Share::ALL, None).await.unwrap();
    assert_eq!(back.place.phase, Phase::Shadow);
    conductor.advance(None, Share::ALL, &no_bake()).await.unwrap();
    let compared = async || {
        common::status(&run).await.comparisons.iter().any(|c| c.operation == "booking.get" && c.matches > 0)
    };
    until("evidence arrives", compared).await;
    forward(conductor, Phase::New).await;

    drop((stop_a, stop_b));
    let mut expected = load_a.await.unwrap();
    expected.extend(load_b.await.unwrap());
    let rows = world.rows("new");
    for (id, seats) in expected {
        assert_eq!(rows[&id].1, seats, "booking {id}");
    }
    let phases = common::status(&run).await;
    assert_eq!(phases.phase, Phase::New);
    for service in [a, b] {
        let Ok(service) = Arc::try_unwrap(service) else { panic!("the load has ended") };
        service.instance.stop().await.unwrap();
    }
    assert!(common::status(&run).await.instances.is_empty());
    run.stop().await;
}

/// A write that the old side can't take keeps a rollback from being safe. Left behind by order it is written down, the old
/// side's row stands, and the difference is shown until somebody repairs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_come_back_is_left_behind_in_a_file_and_both_sides_are_equal_again() {
    for to in [Phase::Shadow, Phase::Old] {
        let world = World::new(0);
        let with_check = "DROP TABLE bookings;
             CREATE TABLE bookings (id INTEGER PRIMARY KEY, state TEXT NOT NULL, seats INTEGER NOT NULL CHECK (seats < 1000));
             INSERT INTO bookings VALUES (1, 'booked', 1), (2, 'booked', 2);";
        world.open("old.db").execute_batch(with_check).unwrap();
        world.write_spec("mirror = \"dual-write\"");
        let run = world.run().await;
        let service = Service::start(&world, &run, "a").await;
        let conductor = run.conductor();
        forward(conductor, Phase::Shadow).await;
        forward(conductor, Phase::ReverseShadow).await;
        service.set(1, 7).await.unwrap();
        service.set(2, 5_000).await.unwrap();
        let error = conductor.rollback(Some(to), Share::ALL, None).await.unwrap_err();
        assert!(matches!(error, changeover_control::ControlError::GivenUp { .. }), "{error}");
        assert_eq!(service.get(2).await.unwrap(), 5_000);

        let file = world.path("left.jsonl");
        let moved = conductor.rollback(Some(to), Share::ALL, Some(file.clone())).await.unwrap();
        assert_eq!(moved.place.phase, to);
        assert_eq!((service.get(1).await.unwrap(), service.get(2).await.unwrap()), (7, 2));
        until("what was left behind is written down", async || file.metadata().is_ok_and(|m| m.len() > 0))
            .await;
        let left = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            left.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{left}");
        assert_eq!((&lines[0]["key"][0], &lines[0]["row"][2]), (&2.into(), &5000.into()), "{left}");
        if to == Phase::Shadow {
            let differing =
                async || common::status(&run).await.verification.last.map(|last| last.differences);
            until("the difference is found", async || differing().await == Some(1)).await;
            assert_eq!(
                world.rows("new")[&2].1,
                5_000,
                "nobody overwrites it before a person has looked at it"
            );
            let shut = conductor.advance(None, Share::ALL, &no_bake()).await.unwrap_err();
            assert!(shut.to_string().contains("1 rows differ"), "{shut}");
            conductor.ask_verification(true).await.unwrap();
            until("it is repaired", async || world.rows("old") == world.rows("new")).await;
            forward(conductor, Phase::ReverseShadow).await;
            assert_eq!(service.get(2).await.unwrap(), 2, "what was left behind never comes again");
        }
        service.instance.stop().await.unwrap();
        run.stop().await;
    }
}

/// Counts an instance that never says another word.
async fn ghost(run: &Run) {
    let client = changeover_api::ControlClient::of_run(run.run_file()).unwrap();
    let version = client.target().await.unwrap().target.version;
    let body = format!("{{\"instance\":\"ghost\",\"expected\":{version}}}");
    let answer = common::post(run, "instances", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A share that can't be widened, because somebody doesn't acknowledge, stays as it is, and that is said as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn widening_a_share_that_is_given_up_is_no_success_and_can_be_turned_around() {
    let world = World::new(40);
    world.write_spec("mirror = \"dual-write\"\npatience = \"2s\"\nwrite_lifetime = \"1s\"");
    let said = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), said + "keys = \"application\"\n").unwrap();
    let run = world.run().await;
    let service = Service::start(&world, &run, "a").await;
    let conductor = run.conductor();
    forward(conductor, Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let tenth = conductor.advance(None, Share::percent(10.0).unwrap(), &no_bake()).await.unwrap().place;
    ghost(&run).await;
    let error = conductor.advance(None, Share::percent(50.0).unwrap(), &no_bake()).await.unwrap_err();
    assert!(matches!(error, changeover_control::ControlError::GivenUp { .. }), "{error}");
    assert!(error.to_string().contains("ghost"), "{error}");
    conductor.forget("ghost").await.unwrap();
    until("it is as it was", async || {
        let status = common::status(&run).await;
        status.moving.is_none() && (status.share_percent - tenth.share.as_percent()).abs() < 0.01
    })
    .await;
    until("verified, in the share", async || common::status(&run).await.verification.counts).await;
    // What the ghost may have sent must be over.
    until("all keys have moved", async || conductor.advance(None, Share::ALL, &no_bake()).await.is_ok())
        .await;
    service.instance.stop().await.unwrap();
    run.stop().await;
}
