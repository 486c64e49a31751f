//! The service: reads the flag, writes where it says, looks again where it is refused, as the guide tells applications to.
//!
//! Now and then it is a straggler, and writes to the other side first: that must be refused, or taken and kept. What is
//! acknowledged goes into the prediction; anything but a refusal is a difference between the sides, and ends the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};

use super::model::{Model, name};
use super::operation::{Missed, Operation, Row};
use super::random::Random;
use super::shape::{Keys, Kind, Shape, Side};

/// No write may wait for longer than this until a side takes it.
const TAKEN_WITHIN: Duration = Duration::from_secs(45);

/// Between two writes: a service isn't a benchmark.
const PACE: Duration = Duration::from_millis(2);

/// A straggler once in so many writes.
const STRAGGLES: usize = 6;

/// The service while it rests.
pub struct Service {
    shapes: &'static [Shape],
    folder: PathBuf,
    flag: PathBuf,
    databases: BTreeMap<&'static str, Connection>,
    model: Model,
    random: Random,
    /// For what must be new: unique values, and the keys of each table.
    count: i64,
    keys: Vec<i64>,
    straggles: bool,
}

impl Service {
    /// A service over the databases of a folder, which hold nothing of it yet.
    pub fn new(folder: &Path, flag: &str, shapes: &'static [Shape], seed: u64) -> Self {
        let mut databases = BTreeMap::new();
        for at in shapes.iter().flat_map(|shape| [&shape.old, &shape.new]) {
            let db = Connection::open(folder.join(at.db)).expect("a database");
            db.busy_timeout(Duration::from_secs(5)).expect("a time-out");
            databases.insert(at.db, db);
        }
        Self {
            shapes,
            folder: folder.to_owned(),
            flag: folder.join(flag),
            databases,
            model: Model::new(shapes.len()),
            random: Random::new(seed),
            count: 0,
            keys: vec![0; shapes.len()],
            straggles: true,
        }
    }

    /// The same, without stragglers: for a way on which the new side is nobody's for a while, and takes what comes.
    pub fn without_stragglers(mut self) -> Self {
        self.straggles = false;
        self
    }

    /// Puts rows into the old side, before anything moves.
    pub fn fill(&mut self, rows_each: usize) {
        for table in 0..self.shapes.len() {
            for _ in 0..rows_each {
                let insert = self.insert(table);
                self.write(vec![insert], Side::Old).expect("the old side takes it");
            }
        }
    }

    /// The side that the flag says; none while there is no flag yet.
    fn flagged(&self) -> Option<Side> {
        match std::fs::read_to_string(&self.flag).ok()?.trim() {
            "0" | "1" => Some(Side::Old),
            "2" | "3" => Some(Side::New),
            other => panic!("the flag is {other:?}"),
        }
    }

    /// Before anything moves the new side is nobody's, and refuses nobody.
    fn may_straggle(&self) -> bool {
        self.straggles
            && matches!(std::fs::read_to_string(&self.flag).unwrap_or_default().trim(), "1" | "2" | "3")
    }

    /// The writes of one turn, taken by a side within [`TAKEN_WITHIN`].
    fn turn(&mut self, stop: &AtomicBool, count: &Counts) {
        let operations = self.some_operations();
        if self.random.once_in(STRAGGLES) && self.may_straggle() {
            let stale = self.flagged().unwrap_or(Side::Old).other();
            if self.write(operations.clone(), stale).is_ok() {
                count.acknowledged.fetch_add(1, Ordering::SeqCst);
                return;
            }
            count.refused.fetch_add(1, Ordering::SeqCst);
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
                        is_passing(&missed),
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

    /// One transaction on one side; on success the prediction has it.
    fn write(&mut self, mut operations: Vec<Operation>, side: Side) -> Result<(), Missed> {
        let db = &self.databases[self.shapes[table_of(&operations[0])].at(side).db];
        db.execute_batch("BEGIN IMMEDIATE")?;
        let mut done = Ok(());
        for operation in &mut operations {
            done = done.and_then(|()| operation.execute(self.shapes, side, db));
        }
        if let Err(missed) = done.and_then(|()| Ok(db.execute_batch("COMMIT")?)) {
            if !db.is_autocommit() {
                db.execute_batch("ROLLBACK")?;
            }
            return Err(missed);
        }
        for operation in &operations {
            if let Operation::Insert { table, row } = operation
                && self.shapes[*table].keys == Keys::Generated
                && !self.model.tables[*table].contains_key(&name(&row.key))
                && !self.model.gone[*table].contains(&row.key)
            {
                self.model.issue(*table, &row.key);
            }
            self.model.keep(self.shapes, operation);
        }
        Ok(())
    }

    /// One to as many operations as there are tables in one place on both sides, each of another table.
    fn some_operations(&mut self) -> Vec<Operation> {
        let first = self.random.below(self.shapes.len());
        let together = |table: usize| {
            let (a, b) = (&self.shapes[first], &self.shapes[table]);
            // Tables of one old table exchange rows: their operations stay apart.
            let apart = a.old.table != b.old.table && a.new.table != b.new.table;
            table == first || (apart && a.old.db == b.old.db && a.new.db == b.new.db)
        };
        let mut tables: Vec<usize> = (0..self.shapes.len()).filter(|table| together(*table)).collect();
        if self.random.once_in(2) {
            tables = vec![first];
        }
        tables.into_iter().map(|table| self.operation(table)).collect()
    }

    fn operation(&mut self, table: usize) -> Operation {
        let rows = &self.model.tables[table];
        if rows.len() < 8 {
            return self.insert(table);
        }
        let picks: Vec<usize> = (0..3).map(|_| self.random.below(rows.len())).collect();
        let picked: Vec<Row> = picks.iter().map(|n| rows.values().nth(*n).expect("a row").clone()).collect();
        let [first, ..] = &picked[..] else { unreachable!("three were picked") };
        let key = first.key.clone();
        match self.random.below(12) {
            0 | 1 => self.insert(table),
            2 => Operation::Delete { table, key },
            3 => self.insert_again(table),
            4 => Operation::Rekey { table, from: key, to: self.new_key(table, true) },
            5 => self.replace(table, &picked),
            6 | 7 => self.exchange(table, picks, picked),
            8 => self.hand(table, key),
            _ => {
                let mut values = self.values(table);
                if let Some(at) = self.shapes[table].unique() {
                    values[at] = first.values[at].clone();
                }
                Operation::Update { table, row: Row { key, values } }
            }
        }
    }

    fn insert(&mut self, table: usize) -> Operation {
        let row = Row { key: self.new_key(table, false), values: self.values(table) };
        Operation::Insert { table, row }
    }

    /// A row that was deleted comes back, as another.
    fn insert_again(&mut self, table: usize) -> Operation {
        let key = self.model.gone[table].pop();
        match key.filter(|key| !self.model.tables[table].contains_key(&name(key))) {
            Some(key) => {
                // It counts as gone until somebody has taken it.
                self.model.gone[table].insert(0, key.clone());
                Operation::Insert { table, row: Row { key, values: self.values(table) } }
            }
            None => self.insert(table),
        }
    }

    /// Half of the time it displaces a second row, by the unique value.
    fn replace(&mut self, table: usize, picked: &[Row]) -> Operation {
        let mut values = self.values(table);
        if let Some(at) = self.shapes[table].unique()
            && self.random.once_in(2)
        {
            values[at] = picked[1].values[at].clone();
        }
        Operation::Replace { table, row: Row { key: picked[0].key.clone(), values } }
    }

    fn exchange(&mut self, table: usize, mut picks: Vec<usize>, mut rows: Vec<Row>) -> Operation {
        picks.sort_unstable();
        picks.dedup();
        let Some(at) = self.shapes[table].unique().filter(|_| picks.len() == rows.len()) else {
            return self.insert(table);
        };
        rows.truncate(if self.random.once_in(2) { 2 } else { 3 });
        let mut values: Vec<Value> = rows.iter().map(|row| row.values[at].clone()).collect();
        values.rotate_right(1);
        for (row, value) in rows.iter_mut().zip(values) {
            row.values[at] = value;
        }
        Operation::Exchange { table, rows }
    }

    /// To the next mapping that shares the old table, if there is one.
    fn hand(&mut self, table: usize, key: Vec<Value>) -> Operation {
        let here = self.shapes[table].old;
        let shares = |to: &usize| {
            let there = self.shapes[*to].old;
            *to != table && (there.db, there.table) == (here.db, here.table)
        };
        match (0..self.shapes.len()).find(shares) {
            Some(to) => Operation::Hand { from: table, to, key },
            None => Operation::Delete { table, key },
        }
    }

    /// A key that no row has had.
    fn new_key(&mut self, table: usize, changed: bool) -> Vec<Value> {
        self.keys[table] += 1;
        let (n, tables) = (self.keys[table], self.shapes.len());
        let text = || Value::Text(format!("clé '{n}' \u{1f3ac}%_"));
        match self.shapes[table].keys {
            Keys::Generated if !changed => Vec::new(),
            // Below all that a database gives out.
            Keys::Generated => vec![Value::Integer(-n)],
            Keys::Int => vec![Value::Integer(n)],
            Keys::Shared => vec![Value::Integer(
                n * i64::try_from(tables).expect("few") + i64::try_from(table).expect("few"),
            )],
            Keys::Text => vec![text()],
            Keys::Pair => vec![Value::Integer(n % 5), text()],
        }
    }

    fn values(&mut self, table: usize) -> Vec<Value> {
        self.count += 1;
        let n = self.count;
        let random = &mut self.random;
        let value = |kind: &Kind| match kind {
            Kind::Word => Value::Text(["held", "booked", "gone", ""][random.below(4)].to_owned()),
            Kind::Number if random.once_in(5) => Value::Null,
            Kind::Number => Value::Integer(n * 1_000_003),
            Kind::Bytes if random.once_in(3) => Value::Null,
            Kind::Bytes => Value::Blob(n.to_be_bytes().repeat(random.below(20))),
            Kind::Unique => Value::Text(format!("u{n}")),
        };
        self.shapes[table].kinds.iter().map(value).collect()
    }

    /// The rows that a side has of a logical table, as the model would have them.
    pub fn rows(&self, side: Side, table: usize) -> Vec<String> {
        let shape = &self.shapes[table];
        let at = shape.at(side);
        let keys = at.key.len();
        let db = Connection::open(self.folder.join(at.db)).expect("a database");
        let mut select = db.prepare(&at.select()).unwrap_or_else(|error| panic!("{}: {error}", at.select()));
        let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            let key: Vec<Value> = (0..keys).map(|n| row.get(n)).collect::<Result<_, _>>()?;
            let mut values: Vec<Value> =
                (0..at.values.len()).map(|n| row.get(keys + n)).collect::<Result<_, _>>()?;
            for (value, kind) in values.iter_mut().zip(shape.kinds) {
                if let (Value::Text(word), Kind::Word, true) = (&*value, kind, at.upper) {
                    *value = Value::Text(word.to_lowercase());
                }
            }
            Ok(format!("{key:?} {values:?}"))
        };
        let mut rows: Vec<String> =
            select.query_map((), row).expect("rows").map(|row| row.expect("a row")).collect();
        rows.sort();
        rows
    }

    /// Whether a side holds exactly what was predicted.
    pub fn is_held_by(&self, side: Side) -> bool {
        (0..self.shapes.len()).all(|table| self.rows(side, table) == self.model.rows(table))
    }

    /// A side holds exactly what was predicted.
    #[track_caller]
    pub fn assert_held_by(&self, side: Side, when: &str) {
        for table in 0..self.shapes.len() {
            let (held, predicted) = (self.rows(side, table), self.model.rows(table));
            let extra: Vec<&String> =
                held.iter().filter(|row| predicted.binary_search(row).is_err()).take(5).collect();
            let missing: Vec<&String> =
                predicted.iter().filter(|row| held.binary_search(row).is_err()).take(5).collect();
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

fn table_of(operation: &Operation) -> usize {
    match operation {
        Operation::Insert { table, .. }
        | Operation::Update { table, .. }
        | Operation::Delete { table, .. }
        | Operation::Rekey { table, .. }
        | Operation::Replace { table, .. }
        | Operation::Exchange { table, .. }
        | Operation::Hand { from: table, .. } => *table,
    }
}

/// A fence, a lock, or a schema that has just changed: to be tried again, after a look at the flag.
fn is_passing(missed: &Missed) -> bool {
    let Missed::Database(rusqlite::Error::SqliteFailure(error, text)) = missed else { return false };
    match error.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => true,
        ErrorCode::ConstraintViolation => {
            error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER
                && text.as_ref().is_some_and(|text| text.contains("changeover"))
        }
        _ => false,
    }
}

/// What the writer has come to.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    last_refusal: Mutex<String>,
}

/// The service at work, in a thread of its own.
pub struct Writer {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: JoinHandle<Service>,
}

impl Writer {
    /// Begins to write.
    pub fn begin(mut service: Service) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                service.turn(&stopped, &counted);
                std::thread::park_timeout(PACE);
            }
            service
        });
        Self { stop, counts, thread }
    }

    /// Whether it goes on; one that has ended found a difference.
    #[track_caller]
    pub fn check(self) -> Self {
        if self.thread.is_finished() {
            drop(self.end());
            panic!("the writer ended by itself");
        }
        self
    }

    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Writes that were acknowledged since it began.
    pub fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::SeqCst)
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
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        match self.thread.join() {
            Ok(service) => service,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
