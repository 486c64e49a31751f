//! A copy rests while a server has more to do than it may, says so, and goes on afterwards; `--fast` asks nobody.

use std::sync::Arc;

use changeover_testkit::servers::Postgres;

use crate::live::{Database, PostgresTables};
use crate::support::Place;

/// How many rows there are to be copied.
const ROWS: i64 = 500;

/// A statement that runs until there is a row in `stop`.
const BUSY: &str =
    "DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM stop) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$";

/// A migration on a server of its own, and two statements that run on its old side.
struct Strained {
    place: Place,
    old: Arc<dyn Database>,
    new: Arc<dyn Database>,
    busy: Vec<std::thread::JoinHandle<()>>,
    _server: Postgres,
}

impl Strained {
    fn new() -> Self {
        let (place, server) = (Place::empty(), Postgres::start(&[]));
        let database = |name| Arc::new(PostgresTables::make(&server, name)) as Arc<dyn Database>;
        let (old, new) = (database("old"), database("new"));
        old.sql("CREATE TABLE things (id bigint PRIMARY KEY); CREATE TABLE stop (id int)");
        old.sql(&format!("INSERT INTO things SELECT generate_series(1, {ROWS})"));
        new.sql("CREATE TABLE things (id bigint PRIMARY KEY)");
        place.write(
            "bookings.toml",
            format!(
                "format = 1\nname = \"bookings\"\n[store.legacy]\nurl = {:?}\n[store.flights]\nurl = {:?}\n\
                 [[table]]\nold = \"legacy:things\"\nnew = \"flights:things\"\nkey = {{ id = \"id\" }}\n\
                 [backfill]\nrunning = 1\n",
                old.url(),
                new.url()
            ),
        );
        let busy = (0..2).map(|_| {
            let old = Arc::clone(&old);
            std::thread::spawn(move || old.sql(BUSY))
        });
        Self { place, busy: busy.collect(), old, new, _server: server }
    }

    fn copied(&self) -> i64 {
        self.new.number("SELECT count(*) FROM things")
    }

    fn calm(self) {
        self.old.sql("INSERT INTO stop VALUES (1)");
        self.busy.into_iter().for_each(|busy| busy.join().expect("it ends"));
    }
}

#[test]
fn a_copy_rests_while_too_many_statements_run_and_says_so() {
    let strained = Strained::new();
    let place = strained.place.path("");
    let run = strained.place.run();
    strained.place.go(&["advance"], "shadow");
    let said = "2 statements run on the old side (running, at most 1)";
    run.until("it says what it waits for", |status| {
        status["backfill"]["waits_for"].as_str().is_some_and(|why| why.contains(said))
    });
    // Its lines are broken where the terminal ends.
    let shown = strained.place.changeover(&["status"]).expect(0);
    assert!(shown.out.contains("waits:"), "{}", shown.out);
    assert_eq!(strained.copied(), 0, "in {}", place.display());
    strained.old.sql("INSERT INTO stop VALUES (1)");
    run.until("the copy", |status| {
        status["backfill"]["done"] == true && status["backfill"]["waits_for"].is_null()
    });
    assert_eq!(strained.copied(), ROWS);
    drop(run);
    strained.calm();
}

#[test]
fn a_fast_copy_rests_for_nobody() {
    let strained = Strained::new();
    let run = strained.place.run_with(&["--fast"], &[]);
    strained.place.go(&["advance"], "shadow");
    run.until("the copy", |status| status["backfill"]["done"] == true);
    assert_eq!(strained.copied(), ROWS);
    drop(run);
    strained.calm();
}
