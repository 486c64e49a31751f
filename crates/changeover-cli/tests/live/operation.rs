//! One write of the service: what it changes in the prediction, and how it is told to either side's database.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::shape::{Shape, Side};

/// A row, in the service's own terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: Vec<Value>,
    pub values: Vec<Value>,
}

/// A write.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A new row, or one that was deleted; with an empty key the database gives out one.
    Insert {
        table: usize,
        row: Row,
    },
    Update {
        table: usize,
        row: Row,
    },
    Delete {
        table: usize,
        key: Vec<Value>,
    },
    /// The row has another key from now on.
    Rekey {
        table: usize,
        from: Vec<Value>,
        to: Vec<Value>,
    },
    /// `REPLACE INTO`: whatever row has the key or the unique value is displaced.
    Replace {
        table: usize,
        row: Row,
    },
    /// Rows that exchange their unique values, two or three of them.
    Exchange {
        table: usize,
        rows: Vec<Row>,
    },
    /// The row belongs to another mapping from now on.
    Hand {
        from: usize,
        to: usize,
        key: Vec<Value>,
    },
}

/// Why a write wasn't made.
#[derive(Debug)]
pub enum Missed {
    /// The database said no, or was busy: another try may have success.
    Database(rusqlite::Error),
    /// It changed another number of rows than are there.
    Rows(String),
}

impl From<rusqlite::Error> for Missed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Operation {
    /// Tells it to a side, within the transaction that is open. A key that was given out is put into the operation.
    pub fn execute(&mut self, shapes: &[Shape], side: Side, db: &Connection) -> Result<(), Missed> {
        match self {
            Self::Insert { table, row } => {
                let shape = &shapes[*table];
                let at = shape.at(side);
                let values = shape.written(side, &row.values);
                if row.key.is_empty() {
                    let sql = format!("{} RETURNING {}", at.insert("INSERT", false), at.key[0]);
                    let id = db.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
                    row.key = vec![id];
                    return Ok(());
                }
                one(db, &at.insert("INSERT", true), row.key.iter().cloned().chain(values))
            }
            Self::Update { table, row } => update(&shapes[*table], side, db, row),
            Self::Delete { table, key } => {
                let at = shapes[*table].at(side);
                one(db, &format!("DELETE FROM {} WHERE {}", at.table, at.is_the_row()), key.iter().cloned())
            }
            Self::Rekey { table, from, to } => {
                let at = shapes[*table].at(side);
                let sets: Vec<String> = at.key.iter().map(|column| format!("{column} = ?")).collect();
                let sql = format!("UPDATE {} SET {} WHERE {}", at.table, sets.join(", "), at.is_the_row());
                one(db, &sql, to.iter().chain(from.iter()).cloned())
            }
            Self::Replace { table, row } => {
                let shape = &shapes[*table];
                let values = shape.written(side, &row.values);
                let sql = shape.at(side).insert("REPLACE", true);
                one(db, &sql, row.key.iter().cloned().chain(values))
            }
            Self::Exchange { table, rows } => exchange(&shapes[*table], side, db, rows),
            Self::Hand { from, to, key } => hand(&shapes[*from], &shapes[*to], side, db, key),
        }
    }
}

/// Executes what changes one row.
fn one(db: &Connection, sql: &str, parameters: impl Iterator<Item = Value>) -> Result<(), Missed> {
    match db.prepare_cached(sql)?.execute(params_from_iter(parameters))? {
        1 => Ok(()),
        rows => Err(Missed::Rows(format!("{rows} rows: {sql}"))),
    }
}

fn update(shape: &Shape, side: Side, db: &Connection, row: &Row) -> Result<(), Missed> {
    let at = shape.at(side);
    let sets: Vec<String> = at.values.iter().map(|column| format!("{column} = ?")).collect();
    let sql = format!("UPDATE {} SET {} WHERE {}", at.table, sets.join(", "), at.is_the_row());
    one(db, &sql, shape.written(side, &row.values).into_iter().chain(row.key.iter().cloned()))
}

/// The first row gives its value up, the others take theirs, then the first takes its own.
fn exchange(shape: &Shape, side: Side, db: &Connection, rows: &[Row]) -> Result<(), Missed> {
    let unique = shape.unique().expect("a unique column");
    let mut aside = rows[0].clone();
    aside.values[unique] = Value::Text("(aside)".to_owned());
    update(shape, side, db, &aside)?;
    // Each takes the value that the one before it has given up.
    for row in rows[1..].iter().chain([&rows[0]]) {
        update(shape, side, db, row)?;
    }
    Ok(())
}

/// Where both mappings have one table, an update of what tells them apart; else the row goes from one table to the other.
fn hand(from: &Shape, to: &Shape, side: Side, db: &Connection, key: &[Value]) -> Result<(), Missed> {
    let (source, target) = (from.at(side), to.at(side));
    if (source.db, source.table) == (target.db, target.table) {
        let sets: Vec<String> =
            target.fixed.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let sql = format!("UPDATE {} SET {} WHERE {}", source.table, sets.join(", "), source.is_the_row());
        return one(db, &sql, key.iter().cloned());
    }
    let columns: Vec<&str> = source.key.iter().chain(source.values).copied().collect();
    let select = format!("SELECT {} FROM {} WHERE {}", columns.join(", "), source.table, source.is_the_row());
    let row = db.query_row(&select, params_from_iter(key), |row| {
        (0..columns.len()).map(|n| row.get(n)).collect::<Result<Vec<Value>, _>>()
    });
    let row = match row {
        Err(rusqlite::Error::QueryReturnedNoRows) => return Err(Missed::Rows(format!("no row {key:?}"))),
        row => row?,
    };
    one(db, &format!("DELETE FROM {} WHERE {}", source.table, source.is_the_row()), key.iter().cloned())?;
    one(db, &target.insert("INSERT", true), row.into_iter())
}
