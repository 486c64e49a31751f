//! pgbench, an application that knows nothing of a flag, writes throughout: one of it on each side. The fences alone decide
//! whose transactions are taken.
//!
//! It counts what was acknowledged to it, and each of its transactions leaves a row with its name: so at the end both sides
//! must have exactly as many as were counted, and what was refused has left nothing. (`pgbench_history` has no key as
//! pgbench makes it; the test kit adds one, and the writer's name.)

use std::cell::RefCell;

use changeover_testkit::servers::pgbench::{Counted, Load};
use changeover_testkit::servers::{Pgbench, Postgres};

use crate::live::{AtWork, Drive, Life, Side};
use crate::support::{Place, wait_for};

/// 100,000 accounts, 10 tellers, and one branch whose row every transaction writes: it is dirty all the time.
const SCALE: u32 = 1;

/// The tables with their keys.
const TABLES: [(&str, &str); 4] = [
    ("pgbench_accounts", "aid"),
    ("pgbench_tellers", "tid"),
    ("pgbench_branches", "bid"),
    ("pgbench_history", "hid"),
];

/// There, back and there, twice.
const WAY: [&str; 5] = ["reverse-shadow", "shadow", "reverse-shadow", "shadow", "reverse-shadow"];

/// How many transactions more of the side that answers have to be taken in each phase.
const FURTHER: i64 = 40;

/// A migration of pgbench's tables from one database to another.
struct Bank {
    place: Place,
    server: &'static Postgres,
    old: String,
    new: String,
}

impl Bank {
    fn new() -> Self {
        let (place, server) = (Place::empty(), Postgres::shared());
        let [old, new] = ["old", "new"].map(|hint| server.create_database(hint));
        Pgbench::tables(server, &old, SCALE);
        Pgbench::tables(server, &new, 0);
        let mut spec = format!(
            "format = 1\nname = \"bookings\"\n[store.old]\nurl = {:?}\n[store.new]\nurl = {:?}\n\
             [gate]\nbake = {{ reverse-shadow = \"0s\", new = \"0s\" }}\n",
            server.url(&old),
            server.url(&new)
        );
        for (table, key) in TABLES {
            spec += &format!(
                "[[table]]\nold = \"old:{table}\"\nnew = \"new:{table}\"\nkey = {{ {key} = \"{key}\" }}\n"
            );
        }
        place.write("bookings.toml", spec);
        Self { place, server, old, new }
    }

    fn at(&self, side: Side) -> &str {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    fn number(&self, side: Side, sql: &str) -> i64 {
        let said = self.server.psql(self.at(side), sql);
        said.parse().unwrap_or_else(|_| panic!("{sql}: {said}"))
    }

    /// How many transactions of this writer a side has.
    fn written(&self, side: Side, writer: &str) -> i64 {
        self.number(side, &format!("SELECT count(*) FROM pgbench_history WHERE writer = '{writer}'"))
    }

    /// All that a side holds, as a text for each table.
    fn content(&self, side: Side) -> Vec<String> {
        let of = |(table, key): (&str, &str)| {
            let sql = format!("SELECT count(*), md5(string_agg(t::text, ';' ORDER BY {key})) FROM {table} t");
            format!("{table}: {}", self.server.psql(self.at(side), &sql))
        };
        TABLES.map(of).to_vec()
    }

    /// Every transaction that was acknowledged to a writer is there, whole, and nothing of any other.
    #[track_caller]
    fn assert_holds(&self, side: Side, writers: &[(&str, Counted)], when: &str) {
        for (writer, counted) in writers {
            let (written, processed) = (self.written(side, writer), counted.processed);
            assert_eq!(written, i64::try_from(processed).expect("few"), "{when}: {side:?} has of {writer}");
        }
        let deltas = self.number(side, "SELECT sum(delta) FROM pgbench_history");
        for (table, balance) in [
            ("pgbench_accounts", "abalance"),
            ("pgbench_tellers", "tbalance"),
            ("pgbench_branches", "bbalance"),
        ] {
            let sum = self.number(side, &format!("SELECT sum({balance}) FROM {table}"));
            assert_eq!(sum, deltas, "{when}: {side:?}'s {balance}");
        }
    }
}

/// One pgbench for each side that is written to.
struct Benches(RefCell<Vec<Pgbench>>);

impl AtWork for Benches {
    #[track_caller]
    fn assert_goes_on(&self, when: &str) {
        for bench in &mut *self.0.borrow_mut() {
            if let Some(said) = bench.has_ended() {
                panic!("{when}: {said}");
            }
        }
    }

    fn last_refusal(&self) -> String {
        "pgbench keeps them to itself".to_owned()
    }
}

impl Benches {
    fn end(&self) -> Vec<Counted> {
        self.0.take().into_iter().map(Pgbench::end).collect()
    }
}

fn moved_under_pgbench(isolation: &str, tries: u32, seed: u64) {
    let bank = Bank::new();
    let load = |writer, seed| Load { writer, clients: 4, rate: 40, tries, isolation, seed };
    let benches = Benches(RefCell::new(vec![Pgbench::begin(bank.server, &bank.old, &load("older", seed))]));
    let mut drive = Drive::new(&bank.place);
    let run = drive.run();
    assert_eq!(drive.go("shadow", &benches), Life::Reached);
    run.until("the copy, compared", |status| status["verification"]["counts"] == true);
    // From now on there are two, and either is refused while the other is served.
    benches.0.borrow_mut().push(Pgbench::begin(bank.server, &bank.new, &load("newer", seed + 1)));
    for phase in WAY {
        assert_eq!(drive.go(phase, &benches), Life::Reached);
        let (side, writer) = if phase == "shadow" { (Side::Old, "older") } else { (Side::New, "newer") };
        let enough = bank.written(side, writer) + FURTHER;
        wait_for("pgbench goes on", || {
            benches.assert_goes_on(phase);
            bank.written(side, writer) >= enough
        });
        let verified = bank.place.changeover(&["verify", "bookings.toml", "--json"]);
        assert_eq!(verified.code, Some(0), "{phase}: {}\n{}", verified.out, verified.err);
    }
    let counted = benches.end();
    let mut writers = vec![("older", counted[0]), ("newer", counted[1])];
    for (writer, counted) in &writers {
        assert!(counted.failed > 0, "{writer} was never refused: {counted:?}");
    }
    wait_for("both sides are equal", || bank.content(Side::Old) == bank.content(Side::New));
    for side in [Side::Old, Side::New] {
        bank.assert_holds(side, &writers, "in reverse-shadow");
    }

    // To the end under a third.
    benches.0.borrow_mut().push(Pgbench::begin(bank.server, &bank.new, &load("newest", seed + 2)));
    assert_eq!(drive.go("new", &benches), Life::Reached);
    wait_for("pgbench goes on", || bank.written(Side::New, "newest") >= FURTHER);
    writers.extend(benches.end().into_iter().map(|counted| ("newest", counted)));
    bank.assert_holds(Side::New, &writers, "in new");
    bank.place.changeover(&["retire", "--yes"]).expect(0);
    bank.assert_holds(Side::New, &writers, "retired");
    assert!(!drive.has_died(), "the worker died");
}

#[test]
fn pgbench_writes_throughout_and_what_it_counted_is_there() {
    moved_under_pgbench("read committed", 2, 1);
}

#[test]
fn pgbench_at_repeatable_read_writes_throughout_and_what_it_counted_is_there() {
    moved_under_pgbench("repeatable read", 10, 11);
}
