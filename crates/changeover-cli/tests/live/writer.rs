//! The service: each client reads the flag, writes where it says, looks again where it is refused, as the guide tells
//! applications to.
//!
//! Now and then one is a straggler, and writes to the other side first: that must be refused, or taken and kept. What is
//! acknowledged goes into the prediction; anything but a refusal is a difference between the sides, and ends the test.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::types::Value;

use super::client::Client;
use super::database::{Databases, Failed, Why};
use super::model;
use super::operation::Missed;
use super::shape::{Kind, Shape, Side};

/// No write may wait for longer than this until a side takes it.
const TAKEN_WITHIN: Duration = Duration::from_secs(45);

/// Between two writes: a service isn't a benchmark.
const PACE: Duration = Duration::from_millis(2);

/// The same, of a client that isn't alone: together they still leave the machine to the others.
const PACE_OF_MANY: Duration = Duration::from_millis(25);

/// A client that isn't alone rests for so many times as long as its write took: on a machine that has much else to do they
/// write less, as the mirror does.
const RESTS: u32 = 5;

/// A straggler once in so many writes.
const STRAGGLES: usize = 6;

/// The service while it rests.
pub struct Service {
    shapes: &'static [Shape],
    databases: Databases,
    clients: Vec<Client>,
    straggles: bool,
}

impl Service {
    /// A service of one client over databases that hold nothing of it yet; it reads this flag file.
    pub fn new(databases: &Databases, flag: &std::path::Path, shapes: &'static [Shape], seed: u64) -> Self {
        Self::of_clients(1, databases, flag, shapes, seed)
    }

    /// The same, of several clients at once.
    pub fn of_clients(
        clients: i64,
        databases: &Databases,
        flag: &std::path::Path,
        shapes: &'static [Shape],
        seed: u64,
    ) -> Self {
        let client = |n: i64| {
            let seed = seed.wrapping_mul(64).wrapping_add(n.unsigned_abs());
            Client::new(databases.clone(), flag, shapes, seed, (n, clients))
        };
        let clients = (0..clients).map(client).collect();
        Self { shapes, databases: databases.clone(), clients, straggles: true }
    }

    /// The same, without stragglers: for a way on which the new side is nobody's for a while, and takes what comes.
    pub fn without_stragglers(mut self) -> Self {
        self.straggles = false;
        self
    }

    /// The same, whose servers may go away: what was under way is then begun anew, or asked for.
    pub fn with_outages(mut self) -> Self {
        self.clients.iter_mut().for_each(|client| client.outages = true);
        self
    }

    /// Puts rows into the old side, before anything moves.
    pub fn fill(&mut self, rows_each: usize) {
        let clients = self.clients.len();
        for table in 0..self.shapes.len() {
            for n in 0..rows_each {
                let client = &mut self.clients[n % clients];
                let insert = client.insert(table);
                client.write(vec![insert], Side::Old).expect("the old side takes it");
            }
        }
    }

    /// The rows that a side has of a logical table, as the model would have them.
    pub fn rows(&self, side: Side, table: usize) -> Vec<String> {
        let shape = &self.shapes[table];
        let at = shape.at(side);
        let database = self.databases.get(at.db);
        let select = at.select(shape, database);
        let found = database.connect().and_then(|mut db| db.query(&select, &[]));
        let found = found.unwrap_or_else(|failed| panic!("{select}: {failed:?}"));
        let row = |mut row: Vec<Value>| {
            let mut values = row.split_off(at.key.len());
            for (value, kind) in values.iter_mut().zip(shape.kinds) {
                if let (Value::Text(word), Kind::Word, true) = (&mut *value, kind, at.upper) {
                    *word = word.to_lowercase();
                }
            }
            model::text(&row, &values)
        };
        let mut rows: Vec<String> = found.into_iter().map(row).collect();
        rows.sort();
        rows
    }

    /// The rows that a logical table must have: those of all clients.
    fn predicted(&self, table: usize) -> Vec<String> {
        let mut rows: Vec<String> = self.clients.iter().flat_map(|client| client.model.rows(table)).collect();
        rows.sort();
        rows
    }

    /// Whether a side holds exactly what was predicted.
    pub fn is_held_by(&self, side: Side) -> bool {
        (0..self.shapes.len()).all(|table| self.rows(side, table) == self.predicted(table))
    }

    /// A side holds exactly what was predicted.
    #[track_caller]
    pub fn assert_held_by(&self, side: Side, when: &str) {
        for table in 0..self.shapes.len() {
            let (held, predicted) = (self.rows(side, table), self.predicted(table));
            let extra: Vec<&String> =
                held.iter().filter(|row| predicted.binary_search(row).is_err()).take(2).collect();
            let missing: Vec<&String> =
                predicted.iter().filter(|row| held.binary_search(row).is_err()).take(2).collect();
            assert!(
                held == predicted,
                "{when}: the {side:?} side's {} holds {} rows for {}; not predicted: {extra:#?}; missing: {missing:#?}",
                self.shapes[table].at(side).table,
                held.len(),
                predicted.len()
            );
        }
    }
}

impl Client {
    /// The writes of one turn, taken by a side within [`TAKEN_WITHIN`].
    fn turn(&mut self, straggles: bool, stop: &AtomicBool, count: &Counts) {
        let operations = self.some_operations();
        // Before anything moves the new side is nobody's, and refuses nobody.
        if straggles && self.random.once_in(STRAGGLES) && matches!(self.flag(), Some(1..=3)) {
            let stale = self.flagged().unwrap_or(Side::Old).other();
            match self.write(operations.clone(), stale) {
                Ok(()) => {
                    count.acknowledged.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Err(missed) => {
                    // The fence speaks first; with rows that aren't there it has nothing to say.
                    assert!(
                        is_passing(&missed, self.outages) || matches!(missed, Missed::Rows(_)),
                        "a straggler isn't refused by {stale:?}, but: {missed:?}\n{operations:?}"
                    );
                    count.refused.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let deadline = Instant::now() + TAKEN_WITHIN;
        loop {
            let side = self.flagged().unwrap_or(Side::Old);
            match self.write(operations.clone(), side) {
                Ok(()) => {
                    count.acknowledged.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Err(missed) => {
                    assert!(
                        is_passing(&missed, self.outages),
                        "{side:?} doesn't hold what it should: {missed:?}\n{operations:?}"
                    );
                    assert!(Instant::now() < deadline, "no side took it within {TAKEN_WITHIN:?}: {missed:?}");
                    *count.last_refusal.lock().expect("whole") = format!("{missed:?}");
                }
            }
            if stop.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park_timeout(PACE);
        }
    }
}

/// To be tried again, after a look at the flag.
fn is_passing(missed: &Missed, outages: bool) -> bool {
    match missed {
        Missed::Database(Failed { why: Why::Again, .. }) => true,
        Missed::Database(Failed { why: Why::Lost | Why::InDoubt(_), .. }) => outages,
        Missed::Database(_) | Missed::Rows(_) => false,
    }
}

/// What the writer has come to.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    last_refusal: Mutex<String>,
}

/// The service at work, each client in a thread of its own.
pub struct Writer {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Client>>,
    /// The service without its clients.
    rest: Service,
}

impl Writer {
    /// Begins to write.
    pub fn begin(mut service: Service) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let straggles = service.straggles;
        let (pace, rests) = if service.clients.len() == 1 { (PACE, 0) } else { (PACE_OF_MANY, RESTS) };
        let at_work = |mut client: Client| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    client.turn(straggles, &stop, &counts);
                    std::thread::park_timeout(pace.max(began.elapsed().saturating_mul(rests)));
                }
                client
            })
        };
        let threads = std::mem::take(&mut service.clients).into_iter().map(at_work).collect();
        Self { stop, counts, threads, rest: service }
    }

    /// Whether it goes on; one that has ended found a difference.
    pub fn is_alive(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Goes on only if it does: else it ends here with what was found.
    #[track_caller]
    pub fn check(self) -> Self {
        if !self.is_alive() {
            drop(self.end());
            panic!("the writer ended by itself");
        }
        self
    }

    /// Writes that were acknowledged since it began.
    pub fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::SeqCst)
    }

    /// The same, for another thread.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + 'static {
        let counts = Arc::clone(&self.counts);
        move || counts.acknowledged.load(Ordering::SeqCst)
    }

    /// Stragglers' writes that were refused since it began.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::SeqCst)
    }

    /// What a side said last that didn't take a write.
    pub fn last_refusal(&self) -> String {
        self.counts.last_refusal.lock().expect("whole").clone()
    }

    /// Ends, with the prediction; a difference that it found fails the test here.
    #[track_caller]
    pub fn end(self) -> Service {
        let Self { stop, threads, mut rest, .. } = self;
        stop.store(true, Ordering::SeqCst);
        threads.iter().for_each(|client| client.thread().unpark());
        for client in threads {
            match client.join() {
                Ok(client) => rest.clients.push(client),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        rest
    }
}
