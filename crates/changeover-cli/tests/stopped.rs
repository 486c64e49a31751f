//! A whole `run` that stands still (SIGSTOP: a machine that is suspended, a debugger, a full swap) for longer than every
//! lease, under a live service with the library in it: the service goes on, and nothing is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share modules"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changeover::engine::TableMirror;
use changeover::{Key, Migration, Refused, Side};
use changeover_api::{Connect, Instance, Spec};
use rusqlite::{Connection, params};
use serde_json::Value;
use support::{Place, Running, SPEC, wait_for};

/// Longer than the hold's lease (half a second) and its budget (two).
const STANDS_STILL: Duration = Duration::from_millis(2_600);

/// Why a request failed; either way it is made again.
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

/// One process of the service.
#[derive(Clone)]
struct Service {
    bookings: Migration,
    old: Arc<Mutex<Connection>>,
    new: Arc<Mutex<Connection>>,
}

impl Service {
    async fn start(place: &Place) -> (Self, Instance) {
        let spec = Spec::read(&place.path("bookings.toml")).expect("a spec");
        let mirror = Arc::new(TableMirror::new(changeover_control::links(&spec).await.expect("links")));
        let (bookings, instance) = Connect::to_run("bookings", place.path(".changeover/bookings.run"))
            .instance("web")
            .start(|builder| builder.dual_write(mirror).errors_are_settled())
            .await
            .expect("a run");
        let open = |file| Arc::new(Mutex::new(place.open(file)));
        (Self { bookings, old: open("old.db"), new: open("new.db") }, instance)
    }

    /// Does this in the side's database, off the runtime that the mirror needs as well.
    async fn at<T: Send + 'static>(
        self,
        side: Side,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let connection = if side == Side::Old { self.old } else { self.new };
        let blocking = tokio::task::spawn_blocking(move || work(&connection.lock().unwrap()));
        blocking.await.unwrap().map_err(Failed::Database)
    }

    async fn set(&self, id: i64, price: i64) -> Result<(), Failed> {
        let service = self.clone();
        let write = self.bookings.write("booking.set", vec![Key::new("bookings", id)]);
        write
            .run(move |side| {
                let sql = match side {
                    Side::Old => "UPDATE bookings SET price = ?1 WHERE id = ?2",
                    Side::New => "UPDATE booking SET price = ?1 WHERE booking_id = ?2",
                };
                service.at(side, move |db| db.execute(sql, params![price, id]).map(drop))
            })
            .await
    }

    async fn get(&self, id: i64) -> Result<i64, Failed> {
        let service = self.clone();
        let read = self.bookings.read("booking.get", Key::new("bookings", id));
        read.run(move |side| {
            let sql = match side {
                Side::Old => "SELECT price FROM bookings WHERE id = ?1",
                Side::New => "SELECT price FROM booking WHERE booking_id = ?1",
            };
            service.clone().at(side, move |db| db.query_row(sql, [id], |row| row.get(0)))
        })
        .await
    }
}

/// Steady writes, each read back at once.
struct Load {
    ended: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<BTreeMap<i64, i64>>,
}

impl Load {
    fn begin(service: Service) -> Self {
        let (ended, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (end, count) = (Arc::clone(&ended), Arc::clone(&acknowledged));
        let task = tokio::spawn(async move {
            let mut last = BTreeMap::new();
            for n in 1_000.. {
                let id = n % 10 + 1;
                // The same again until it is acknowledged: in a hold without word it is refused.
                while service.set(id, n).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                last.insert(id, n);
                count.fetch_add(1, Ordering::Relaxed);
                if let Ok(seen) = service.get(id).await {
                    assert_eq!(seen, n, "booking {id} went back in time");
                }
                if end.load(Ordering::Relaxed) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            last
        });
        Self { ended, acknowledged, task }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn goes_on(&self) {
        let enough = self.acknowledged() + 20;
        wait_for("the service goes on", || self.acknowledged() >= enough || self.task.is_finished());
    }
}

fn stand_still(run: &Running<'_>) {
    run.signal(rustix::process::Signal::STOP);
    std::thread::sleep(STANDS_STILL);
    run.signal(rustix::process::Signal::CONT);
}

/// Stands still at a moment at which it holds no database's lock: with one, SQLite lets nobody write before it goes on.
/// What is claimed of that time is looked at before it goes on.
fn stand_still_without_a_lock(place: &Place, run: &Running<'_>, meanwhile: impl FnOnce()) {
    let is_free = |file| {
        let db = place.open(file);
        db.busy_timeout(Duration::from_millis(300)).unwrap();
        db.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    };
    wait_for("it holds no lock", || {
        run.signal(rustix::process::Signal::STOP);
        let free = is_free("old.db") && is_free("new.db");
        if !free {
            run.signal(rustix::process::Signal::CONT);
        }
        free
    });
    std::thread::sleep(STANDS_STILL);
    meanwhile();
    run.signal(rustix::process::Signal::CONT);
}

fn rests_in(status: &Value, phases: &[&str]) -> bool {
    status["moving"].is_null() && status["phase"].as_str().is_some_and(|phase| phases.contains(&phase))
}

#[test]
fn a_run_that_stands_still_longer_than_its_leases_loses_nothing_and_moves_afterwards() {
    let place = Place::with_bookings(50);
    place.write(
        "bookings.toml",
        SPEC.replace("name = \"bookings\"\n", "name = \"bookings\"\nmirror = \"dual-write\"\n"),
    );
    let run = place.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (service, instance) = runtime.block_on(Service::start(&place));
    let load = runtime.block_on(async { Load::begin(service) });
    place.changeover(&["advance"]).expect(0);
    run.until("copied and verified", |status| status["verification"]["counts"] == true);

    // Between moves nobody needs it.
    stand_still_without_a_lock(&place, &run, || load.goes_on());
    run.until("it answers again", |status| status["phase"] == "shadow");

    // In the midst of a move, at several moments of it, both ways.
    for (command, after_ms) in [("advance", 15), ("rollback", 5), ("advance", 60), ("rollback", 30)] {
        std::thread::scope(|scope| {
            // It may be given up, and says so; or there is nothing to go back to, since it was.
            let moved = scope.spawn(|| place.changeover(&[command]));
            std::thread::sleep(Duration::from_millis(after_ms));
            stand_still(&run);
            moved.join().expect("it answers");
        });
        run.until("the move has come to an end", |status| {
            rests_in(status, &["old", "shadow", "reverse-shadow"])
        });
        load.goes_on();
        let status = place.json(&["status"], 0);
        if status["phase"] == "old" {
            // Gone back by one more than was meant: a rollback of what hadn't moved.
            place.changeover(&["advance"]).expect(0);
        }
        run.until("in step", |status| {
            rests_in(status, &["shadow", "reverse-shadow"]) && status["verification"]["counts"] == true
        });
    }
    if place.json(&["status"], 0)["phase"] == "shadow" {
        place.changeover(&["advance"]).expect(0);
    }
    run.until("reversed", |status| rests_in(status, &["reverse-shadow"]));
    load.goes_on();

    load.ended.store(true, Ordering::Relaxed);
    let last = runtime.block_on(load.task).expect("no read went back in time");
    for (id, price) in last {
        let sql = format!("SELECT price FROM booking WHERE booking_id = {id}");
        assert_eq!(place.number("new.db", &sql), price, "booking {id}");
    }
    place.until_equal_sides();
    runtime.block_on(instance.stop()).expect("a goodbye");
}
