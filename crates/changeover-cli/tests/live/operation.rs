//! One write of the service: what it changes in the prediction, and how it is told to either side's database.

use rusqlite::types::Value;

use super::database::{Application, Database, Failed};
use super::shape::{Shape, Side, Sql};

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
    /// `REPLACE INTO`, or what does the same: whatever row has the key or the unique value is displaced.
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
    Database(Failed),
    /// It changed another number of rows than are there.
    Rows(String),
}

impl From<Failed> for Missed {
    fn from(failed: Failed) -> Self {
        Self::Database(failed)
    }
}

/// A side's database, in which a transaction is open.
pub struct Open<'o> {
    pub database: &'o dyn Database,
    pub db: &'o mut dyn Application,
    pub side: Side,
    /// What a row has for its unique value while it is exchanged: nobody else's.
    pub aside: &'o str,
}

impl Operation {
    /// The logical table that it is of; the first of them.
    pub const fn table(&self) -> usize {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Rekey { table, .. }
            | Self::Replace { table, .. }
            | Self::Exchange { table, .. }
            | Self::Hand { from: table, .. } => *table,
        }
    }

    /// Tells it to a side, within the transaction that is open. A key that was given out is put into the operation.
    pub fn execute(&mut self, shapes: &[Shape], open: &mut Open<'_>) -> Result<(), Missed> {
        let side = open.side;
        let mut sql = Sql::new(open.database);
        let text = match self {
            Self::Insert { table, row } => {
                let shape = &shapes[*table];
                let at = shape.at(side);
                let text = sql.insert("INSERT", shape, at, &row.key, &shape.written(side, &row.values));
                if row.key.is_empty() {
                    let key = open.database.read(at.key[0], shape.keys.kinds()[0]);
                    let given = open.db.query(&format!("{text} RETURNING {key}"), &sql.parameters)?;
                    row.key = given.into_iter().next().expect("a row for each that is made");
                    return Ok(());
                }
                text
            }
            Self::Update { table, row } => return update(&shapes[*table], open, row),
            Self::Delete { table, key } => {
                let at = shapes[*table].at(side);
                format!("DELETE FROM {} WHERE {}", at.table, sql.is_the_row(&shapes[*table], at, key))
            }
            Self::Rekey { table, from, to } => {
                let shape = &shapes[*table];
                let at = shape.at(side);
                let sets = sql.pairs(at.keys(shape), to).join(", ");
                format!("UPDATE {} SET {sets} WHERE {}", at.table, sql.is_the_row(shape, at, from))
            }
            Self::Replace { table, row } => return replace(&shapes[*table], open, row),
            Self::Exchange { table, rows } => return exchange(&shapes[*table], open, rows),
            Self::Hand { from, to, key } => return hand(&shapes[*from], &shapes[*to], open, key),
        };
        one(open, &text, &sql)
    }
}

/// Executes what changes one row.
fn one(open: &mut Open<'_>, text: &str, sql: &Sql<'_>) -> Result<(), Missed> {
    match open.db.execute(text, &sql.parameters)? {
        1 => Ok(()),
        rows => Err(Missed::Rows(format!("{rows} rows: {text} {:?}", sql.parameters))),
    }
}

fn update(shape: &Shape, open: &mut Open<'_>, row: &Row) -> Result<(), Missed> {
    let (mut sql, at) = (Sql::new(open.database), shape.at(open.side));
    let sets = sql.pairs(at.others(shape), &shape.written(open.side, &row.values)).join(", ");
    let text = format!("UPDATE {} SET {sets} WHERE {}", at.table, sql.is_the_row(shape, at, &row.key));
    one(open, &text, &sql)
}

/// Where there is no REPLACE, what has the key or the unique value goes first.
fn replace(shape: &Shape, open: &mut Open<'_>, row: &Row) -> Result<(), Missed> {
    let (at, values) = (shape.at(open.side), shape.written(open.side, &row.values));
    let verb = if open.database.replaces() { "REPLACE" } else { "INSERT" };
    if verb == "INSERT" {
        let mut sql = Sql::new(open.database);
        let mut which = sql.is_the_row(shape, at, &row.key);
        if let Some(unique) = shape.unique() {
            let value = sql.put(&values[unique], shape.kinds[unique]);
            // What shares the table with other mappings may have their unique values, too.
            let fixed: String =
                at.fixed.iter().map(|(column, value)| format!(" AND {column} = {value}")).collect();
            which = format!("({which}) OR ({} = {value}{fixed})", at.values[unique]);
        }
        open.db.execute(&format!("DELETE FROM {} WHERE {which}", at.table), &sql.parameters)?;
    }
    let mut sql = Sql::new(open.database);
    let text = sql.insert(verb, shape, at, &row.key, &values);
    one(open, &text, &sql)
}

/// The first row gives its value up, the others take theirs, then the first takes its own.
fn exchange(shape: &Shape, open: &mut Open<'_>, rows: &[Row]) -> Result<(), Missed> {
    let unique = shape.unique().expect("a unique column");
    let mut aside = rows[0].clone();
    aside.values[unique] = Value::Text(open.aside.to_owned());
    update(shape, open, &aside)?;
    // Each takes the value that the one before it has given up.
    for row in rows[1..].iter().chain([&rows[0]]) {
        update(shape, open, row)?;
    }
    Ok(())
}

/// Where both mappings have one table, an update of what tells them apart; else the row goes from one table to the other.
fn hand(from: &Shape, to: &Shape, open: &mut Open<'_>, key: &[Value]) -> Result<(), Missed> {
    let (source, target) = (from.at(open.side), to.at(open.side));
    let mut sql = Sql::new(open.database);
    if (source.db, source.table) == (target.db, target.table) {
        let sets: Vec<String> =
            target.fixed.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let which = sql.is_the_row(from, source, key);
        return one(open, &format!("UPDATE {} SET {} WHERE {which}", source.table, sets.join(", ")), &sql);
    }
    let which = sql.is_the_row(from, source, key);
    let columns: Vec<String> = source
        .keys(from)
        .chain(source.others(from))
        .map(|(column, kind)| open.database.read(column, kind))
        .collect();
    let select = format!("SELECT {} FROM {} WHERE {which}", columns.join(", "), source.table);
    let rows = open.db.query(&select, &sql.parameters)?;
    let Some(row) = rows.first() else { return Err(Missed::Rows(format!("no row {key:?}"))) };
    one(open, &format!("DELETE FROM {} WHERE {which}", source.table), &sql)?;
    let (key, values) = row.split_at(source.key.len());
    let mut sql = Sql::new(open.database);
    let text = sql.insert("INSERT", to, target, key, values);
    one(open, &text, &sql)
}
