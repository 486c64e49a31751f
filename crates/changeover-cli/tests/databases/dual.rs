//! Dual write between servers: a service with the library in it writes both databases itself, through a share of the keys, all
//! of them, back, and on; what it reads is what it wrote, in every phase.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use changeover::engine::TableMirror;
use changeover::{Migration, Side as On};
use changeover_api::{Connect, Spec};
use changeover_testkit::servers::Postgres;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::live::{Database, PostgresTables};
use crate::support::{Place, wait_for};

type Failed = Box<dyn Error + Send + Sync>;

/// How many of the service's clients write at once, each to rows of its own.
const CLIENTS: i64 = 3;

/// No write may be refused for longer.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// No gate may stay shut for longer.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

const OLD: &str = "CREATE TABLE bookings (id bigint PRIMARY KEY, state text NOT NULL); \
    INSERT INTO bookings SELECT n, 'held' FROM generate_series(10001, 10300) AS n";
const NEW: &str = "CREATE TABLE booking (booking_id bigint PRIMARY KEY, status text NOT NULL)";

/// What the rows are, whichever side has them.
type Rows = BTreeMap<i64, String>;

struct World {
    place: Place,
    old: PostgresTables,
    new: PostgresTables,
}

impl World {
    fn make() -> Self {
        let place = Place::empty();
        let (old, new) = (
            PostgresTables::make(Postgres::shared(), "old"),
            PostgresTables::make(Postgres::shared(), "new"),
        );
        (&old as &dyn Database).sql(OLD);
        (&new as &dyn Database).sql(NEW);
        place.write(
            "bookings.toml",
            format!(
                r#"format = 1
name = "bookings"
mirror = "dual-write"

[store.legacy]
url = {:?}

[store.flights]
url = {:?}

[[table]]
name = "bookings"
old = "legacy:bookings"
new = "flights:booking"
key = {{ id = "booking_id" }}
keys = "application"
set = {{ status = "upper(state)" }}
back = {{ state = "lower(status)" }}

[backfill]
chunk_rows = 50

[gate]
bake = {{ reverse-shadow = "0s", new = "0s" }}
"#,
                old.url(),
                new.url()
            ),
        );
        Self { place, old, new }
    }

    fn rows(&self, side: On) -> Vec<String> {
        match side {
            On::Old => (&self.old as &dyn Database).rows("SELECT id, state FROM bookings ORDER BY id"),
            On::New => {
                (&self.new as &dyn Database).rows("SELECT booking_id, lower(status) FROM booking ORDER BY 1")
            }
        }
    }

    /// Asks until the gates are open.
    fn advance(&self, arguments: &[&str], phase: &str) {
        let deadline = Instant::now() + OPEN_WITHIN;
        let all: Vec<&str> = ["advance"].iter().chain(arguments).copied().collect();
        loop {
            let ended = self.place.changeover(&all);
            if ended.code == Some(0) {
                wait_for("the move ends", || self.place.json(&["status"], 0)["moving"] == Value::Null);
                assert_eq!(self.place.json(&["status"], 0)["phase"], phase);
                return;
            }
            assert!(Instant::now() < deadline, "{phase}: {} {}", ended.out, ended.err);
        }
    }
}

/// The service, as one client of it: its own code knows both tables.
struct Bookings {
    migration: Migration,
    sides: [Arc<Client>; 2],
}

async fn connect(url: &str) -> Arc<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    Arc::new(client)
}

impl Bookings {
    fn side(&self, side: On) -> Arc<Client> {
        Arc::clone(&self.sides[usize::from(side == On::New)])
    }

    /// The row shall be this, or gone.
    async fn put(&self, id: i64, state: Option<&str>) -> Result<(), Failed> {
        let sides = [self.side(On::Old), self.side(On::New)];
        let state = state.map(str::to_owned);
        let write = self.migration.write("booking.put", ("bookings", id));
        write
            .run(move |side| async move {
                let db = &sides[usize::from(side == On::New)];
                let put = match (side, state) {
                    (On::Old, None) => db.execute("DELETE FROM bookings WHERE id = $1", &[&id]).await,
                    (On::New, None) => db.execute("DELETE FROM booking WHERE booking_id = $1", &[&id]).await,
                    (On::Old, Some(state)) => {
                        let sql = "INSERT INTO bookings VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET state = excluded.state";
                        db.execute(sql, &[&id, &state]).await
                    }
                    (On::New, Some(state)) => {
                        let sql = "INSERT INTO booking VALUES ($1, upper($2)) \
                                   ON CONFLICT (booking_id) DO UPDATE SET status = excluded.status";
                        db.execute(sql, &[&id, &state]).await
                    }
                };
                put.map(drop).map_err(Failed::from)
            })
            .await
    }

    /// The row's state; empty where there is none.
    async fn get(&self, id: i64) -> Result<String, Failed> {
        let sides = [self.side(On::Old), self.side(On::New)];
        let read = self.migration.read("booking.get", ("bookings", id)).input(&id);
        read.run(move |side| {
            let db = Arc::clone(&sides[usize::from(side == On::New)]);
            async move {
                let sql = match side {
                    On::Old => "SELECT state FROM bookings WHERE id = $1",
                    On::New => "SELECT lower(status) FROM booking WHERE booking_id = $1",
                };
                let row = db.query_opt(sql, &[&id]).await.map_err(Failed::from)?;
                Ok::<_, Failed>(row.map(|row| row.get::<_, String>(0)).unwrap_or_default())
            }
        })
        .await
    }

    /// Writes and reads rows that are nobody else's, until it is stopped: what they are then.
    async fn work(self, lane: i64, mut rows: Rows, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Rows {
        let mut n = 0;
        while !stop.load(Ordering::SeqCst) {
            n += 1;
            let id = lane * 1_000 + n % 40;
            let state = (n % 7 != 0).then(|| format!("state {n}"));
            let deadline = Instant::now() + TAKEN_WITHIN;
            while let Err(error) = self.put(id, state.as_deref()).await {
                assert!(Instant::now() < deadline, "{id} isn't taken: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match state {
                Some(state) => drop(rows.insert(id, state)),
                None => drop(rows.remove(&id)),
            }
            // Nobody else writes it: whatever the phase, it is what was acknowledged.
            let expected = rows.get(&id).cloned().unwrap_or_default();
            loop {
                match self.get(id).await {
                    Ok(found) => {
                        assert_eq!(found, expected, "{id}");
                        break;
                    }
                    Err(error) => assert!(Instant::now() < deadline, "{id} isn't read: {error}"),
                }
            }
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rows
    }
}

/// The service's clients at work.
struct Work {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Rows>>,
}

impl Work {
    async fn begin(migration: &Migration, world: [String; 2], rows: Vec<Rows>) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for (lane, rows) in (0..CLIENTS).zip(rows) {
            let sides = [connect(&world[0]).await, connect(&world[1]).await];
            let client = Bookings { migration: migration.clone(), sides };
            clients.push(tokio::spawn(client.work(lane, rows, Arc::clone(&stop), Arc::clone(&count))));
        }
        Self { stop, count, clients }
    }

    /// They go on: so many further writes are acknowledged.
    #[track_caller]
    fn goes_on(&self) {
        let enough = self.count.load(Ordering::SeqCst) + 40;
        wait_for("the service goes on", || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client found a difference");
            self.count.load(Ordering::SeqCst) >= enough
        });
    }

    async fn end(self) -> Vec<Rows> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for client in self.clients {
            all.push(client.await.expect("a client that found no difference"));
        }
        all
    }
}

/// What the rows must be: those from before, which nobody writes, and the clients'.
fn predicted(rows: &[Rows]) -> Vec<String> {
    let mut all: Rows = (10_001..=10_300).map(|id| (id, "held".to_owned())).collect();
    all.extend(rows.iter().flatten().map(|(id, state)| (*id, state.clone())));
    all.into_iter().map(|(id, state)| format!("{id} | {state}")).collect()
}

#[test]
fn a_service_that_writes_both_postgresql_databases_itself_moves_and_back_and_there() {
    let world = World::make();
    let run = world.place.run();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let spec = Spec::read(&world.place.path("bookings.toml")).expect("a spec");
    let (migration, instance) = runtime.block_on(async {
        let links = changeover_control::links(&spec).await.expect("both sides");
        let mirror = Arc::new(TableMirror::new(links));
        let connect = Connect::in_folder(&spec.name, spec.folder()).instance("web-1");
        let connect = connect.step_file(world.place.path("web-1.step"));
        let started = connect.start(|builder| builder.dual_write(mirror).errors_are_settled()).await;
        started.expect("an instance")
    });
    let urls = || [world.old.url(), world.new.url()];
    let begin = |rows| runtime.block_on(Work::begin(&migration, urls(), rows));

    let work = begin(vec![Rows::new(); 3]);
    world.advance(&[], "shadow");
    work.goes_on();
    world.advance(&["--share", "50%"], "reverse-shadow");
    work.goes_on();
    world.advance(&[], "reverse-shadow");
    work.goes_on();
    let rows = runtime.block_on(work.end());
    for side in [On::New, On::Old] {
        assert_eq!(world.rows(side), predicted(&rows), "in reverse-shadow, on the {side} side");
    }

    let work = begin(rows);
    world.place.go(&["rollback"], "shadow");
    work.goes_on();
    let verified = world.place.changeover(&["verify", "bookings.toml", "--json"]);
    assert_eq!(verified.code, Some(0), "{} {}", verified.out, verified.err);
    world.advance(&[], "reverse-shadow");
    work.goes_on();
    world.advance(&[], "new");
    work.goes_on();
    let rows = runtime.block_on(work.end());
    assert_eq!(world.rows(On::New), predicted(&rows), "in new");
    runtime.block_on(instance.stop()).expect("a goodbye");
    world.place.changeover(&["retire", "--yes"]).expect(0);
    wait_for("nothing of ours stays", || {
        world.old.installed().is_empty() && world.new.installed().is_empty()
    });
    drop(run);
}
