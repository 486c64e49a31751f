//! One of the service's clients: it has connections of its own, chooses what to write, and knows what became of it.
//!
//! Clients never touch each other's rows, so that each can say exactly what its own are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::Value;

use super::database::{Application, Databases, Failed, Why};
use super::model::{Model, name};
use super::operation::{Missed, Open, Operation, Row};
use super::random::Random;
use super::shape::{Keys, Kind, Shape, Side};

/// No connection may be away for longer than this, and no outcome in doubt.
const BACK_WITHIN: Duration = Duration::from_secs(45);

/// Between two tries to connect.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A client at rest.
pub struct Client {
    shapes: &'static [Shape],
    databases: Databases,
    flag: PathBuf,
    /// Those that are open.
    connections: BTreeMap<&'static str, Box<dyn Application>>,
    pub model: Model,
    pub random: Random,
    /// Which client it is, and of how many.
    lane: (i64, i64),
    aside: String,
    /// For what must be new: unique values, and the keys of each table.
    count: i64,
    keys: Vec<i64>,
    /// Servers may go away; a connection that is lost is made again.
    pub outages: bool,
}

impl Client {
    pub fn new(
        databases: Databases,
        flag: &Path,
        shapes: &'static [Shape],
        seed: u64,
        lane: (i64, i64),
    ) -> Self {
        Self {
            shapes,
            databases,
            flag: flag.to_owned(),
            connections: BTreeMap::new(),
            model: Model::new(shapes.len()),
            random: Random::new(seed),
            lane,
            aside: format!("(aside {})", lane.0),
            count: 0,
            keys: vec![0; shapes.len()],
            outages: false,
        }
    }

    /// The flag; none while there is no file yet.
    pub fn flag(&self) -> Option<u8> {
        let text = std::fs::read_to_string(&self.flag).ok()?;
        Some(text.trim().parse().unwrap_or_else(|_| panic!("the flag is {text:?}")))
    }

    /// The side that the flag says.
    pub fn flagged(&self) -> Option<Side> {
        match self.flag()? {
            0 | 1 => Some(Side::Old),
            2 | 3 => Some(Side::New),
            other => panic!("the flag is {other:?}"),
        }
    }

    /// One transaction on one side; on success the prediction has it.
    pub fn write(&mut self, mut operations: Vec<Operation>, side: Side) -> Result<(), Missed> {
        let at = self.shapes[operations[0].table()].at(side).db;
        match self.transact(&mut operations, side, at) {
            Err(Missed::Database(Failed { why: Why::InDoubt(ask), said })) if self.outages => {
                if !self.was_committed(at, &ask) {
                    return Err(Missed::Database(Failed { why: Why::Lost, said }));
                }
            }
            Err(Missed::Database(failed)) if failed.why == Why::Lost => {
                self.connections.remove(at);
                return Err(Missed::Database(failed));
            }
            outcome => outcome?,
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

    fn transact(&mut self, operations: &mut [Operation], side: Side, at: &'static str) -> Result<(), Missed> {
        let database = self.databases.get(at);
        let db = match self.connections.entry(at) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(database.connect()?),
        };
        db.batch(database.begin())?;
        let mut open = Open { database, db: &mut **db, side, aside: &self.aside };
        let mut done = Ok(());
        for operation in operations {
            done = done.and_then(|()| operation.execute(self.shapes, &mut open));
        }
        done = done.and_then(|()| Ok(open.db.commit()?));
        if let Err(Missed::Database(Failed { why: Why::Lost | Why::InDoubt(_), .. })) = &done {
            return done;
        }
        if done.is_err() {
            // A COMMIT that failed may have ended it already: then there is nothing to roll back, and that is said.
            let _ = db.batch("ROLLBACK");
        }
        done
    }

    /// Asks, once the database is there again, for what became of a COMMIT.
    fn was_committed(&mut self, at: &'static str, ask: &str) -> bool {
        let deadline = Instant::now() + BACK_WITHIN;
        self.connections.remove(at);
        loop {
            let asked = self.databases.get(at).connect().and_then(|mut db| {
                let rows = db.query(ask, &[])?;
                Ok((db, rows))
            });
            match asked {
                Ok((db, rows)) => {
                    self.connections.insert(at, db);
                    return rows == [[Value::Integer(1)]];
                }
                Err(failed) => {
                    assert!(failed.why == Why::Lost, "{failed:?}");
                    assert!(Instant::now() < deadline, "{at} isn't back within {BACK_WITHIN:?}: {failed:?}");
                    std::thread::sleep(TRY_EVERY);
                }
            }
        }
    }

    /// One to as many operations as there are tables in one place on both sides, each of another table.
    pub fn some_operations(&mut self) -> Vec<Operation> {
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

    pub fn insert(&mut self, table: usize) -> Operation {
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

    /// To the next mapping that shares the old table, if there is one that one transaction reaches on the new side, too.
    fn hand(&mut self, table: usize, key: Vec<Value>) -> Operation {
        let here = &self.shapes[table];
        let shares = |to: &usize| {
            let there = &self.shapes[*to];
            let one_table = (there.old.db, there.old.table) == (here.old.db, here.old.table);
            *to != table && one_table && there.new.db == here.new.db
        };
        match (0..self.shapes.len()).find(shares) {
            Some(to) => Operation::Hand { from: table, to, key },
            None => Operation::Delete { table, key },
        }
    }

    /// A key that no row has had.
    fn new_key(&mut self, table: usize, changed: bool) -> Vec<Value> {
        self.keys[table] += 1;
        let ((lane, lanes), tables) = (self.lane, self.shapes.len());
        let n = self.keys[table] * lanes + lane;
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
        let n = self.count * self.lane.1 + self.lane.0;
        let random = &mut self.random;
        self.shapes[table].kinds.iter().map(|kind| value(*kind, n, random)).collect()
    }
}

/// A value of this kind; unlike any other's number, where it must be.
fn value(kind: Kind, n: i64, random: &mut Random) -> Value {
    match kind {
        Kind::Word => Value::Text(["held", "booked", "gone", ""][random.below(4)].to_owned()),
        Kind::Number if random.once_in(5) => Value::Null,
        Kind::Number => Value::Integer(n * 1_000_003),
        Kind::Bytes if random.once_in(3) => Value::Null,
        Kind::Bytes => Value::Blob(n.to_be_bytes().repeat(random.below(20))),
        Kind::Unique => Value::Text(format!("u{n}")),
        Kind::Flag => Value::Integer(n % 2),
        Kind::Money | Kind::Json if random.once_in(5) => Value::Null,
        Kind::Money => Value::Text(format!("{}.{:02}", n * 7 - 5_000, n % 100)),
        Kind::Moment => {
            let (day, minute, micros) = (1 + n % 28, n % 60, 1 + 10 * (n % 99_999));
            Value::Text(format!("2026-02-{day:02}T03:{minute:02}:07.{micros:06}Z"))
        }
        // As PostgreSQL's jsonb spells it: on the way back from a column of text it may be nothing else.
        Kind::Json => Value::Text(format!("{{\"n\": {n}, \"tags\": [\"é\", null, {{}}, true]}}")),
        Kind::Uuid => Value::Text(format!("00c0ffee-0000-4000-8000-{n:012x}")),
        Kind::List => Value::Text(format!("{{{n},NULL,{}}}", n % 7)),
    }
}
