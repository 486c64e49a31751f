//! Levelling a set of rows: deletes, then inserts and updates, so that each row is what its change says.
//!
//! A statement that a constraint refuses undoes itself and nothing else. Rows that want each other's unique values are
//! taken out whole and put back with their new values, with every column that the mapping doesn't know as it was; no
//! trigger and no foreign key acts on the mirror's connection, so nobody sees them gone. Rows outside of the set that are
//! in the way are asked to join it. Rows that can't be written are left out one after the other, by name, and the rest is
//! tried again: each round leaves out one at least, so there are no more rounds than rows.

use std::collections::HashMap;

use changeover::rules::RowComparison;
use changeover::store::Refusal;
use changeover::store::guard::{Applied, Change};
use changeover::{Key, Row, Side, Value};
use rusqlite::Connection;

use super::errors;
use super::read::Made;
use super::sql::name;
use super::unique::{Holder, Wanted, holders, whole_row};
use super::value::{Bound, bind};
use crate::shape::SideTable;

/// What a change comes to on this side.
#[derive(Debug)]
enum Intent<'c> {
    Nothing,
    Delete,
    Insert(&'c Row),
    Update(&'c Row),
    Refuse(Refusal),
}

struct Step<'c> {
    change: &'c Change,
    table: &'c SideTable,
    intent: Intent<'c>,
}

enum Round {
    Done(Applied),
    Joins(Vec<Key>),
    Without(Vec<(usize, Refusal)>),
}

/// Levels the rows, within the transaction that is open.
pub(super) fn apply(
    connection: &Connection,
    tables: &[SideTable],
    changes: &[Change],
) -> rusqlite::Result<Applied> {
    let mut steps = Vec::with_capacity(changes.len());
    for change in changes {
        steps.push(plan_step(connection, tables, change)?);
    }
    let mut without: HashMap<usize, Refusal> = HashMap::new();
    loop {
        connection.execute_batch("SAVEPOINT changeover_set")?;
        let round = run_round(connection, tables, &steps, &without);
        if !matches!(round, Ok(Round::Done(_))) && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK TO changeover_set")?;
        }
        let round = round?;
        connection.execute_batch("RELEASE changeover_set")?;
        match round {
            Round::Done(applied) => return Ok(applied),
            Round::Joins(joins) => return Ok(Applied { joins, ..Applied::default() }),
            Round::Without(more) => without.extend(more),
        }
    }
}

fn plan_step<'c>(
    connection: &Connection,
    tables: &'c [SideTable],
    change: &'c Change,
) -> rusqlite::Result<Step<'c>> {
    let Some(table) = tables.iter().find(|t| *t.name() == change.key.table) else {
        return Err(rusqlite::Error::InvalidParameterName(format!("no mapping {}", change.key.table)));
    };
    let intent = intent(connection, table, change)?;
    Ok(Step { change, table, intent })
}

fn intent<'c>(
    connection: &Connection,
    table: &SideTable,
    change: &'c Change,
) -> rusqlite::Result<Intent<'c>> {
    let current = current(connection, table, &change.key)?;
    Ok(match (&change.row, current) {
        (None, None) => Intent::Nothing,
        (None, Some(_)) => Intent::Delete,
        (Some(row), Some(Made::Row(current))) if is_level(table, &current, row) => Intent::Nothing,
        (Some(row), current) => {
            let written = match table.side {
                Side::New => Some(row),
                Side::Old => change.back.as_ref(),
            };
            match (written, current) {
                (Some(written), Some(_)) => Intent::Update(written),
                (Some(written), None) => Intent::Insert(written),
                (None, _) => Intent::Refuse(refusal(&change.key, "there is no write-back image of the row")),
            }
        }
    })
}

fn is_level(table: &SideTable, current: &Row, wanted: &Row) -> bool {
    match table.side {
        Side::New => current == wanted,
        Side::Old => table.rules.compare(current, wanted).is_equal(),
    }
}

/// The row's canonical image now, one whose image can't be made included.
fn current(connection: &Connection, table: &SideTable, key: &Key) -> rusqlite::Result<Option<Made>> {
    let sql = table.statements.current.get_or_init(|| table.point_sql(&table.canonical));
    let mut statement = connection.prepare_cached(sql)?;
    match table.read_one(connection, &mut statement, &table.canonical, key) {
        Err(error) if errors::is_of_row(&error) => {
            Ok(Some(Made::Refused(super::read::failed(key.clone(), &error))))
        }
        other => other,
    }
}

fn run_round(
    connection: &Connection,
    tables: &[SideTable],
    steps: &[Step<'_>],
    without: &HashMap<usize, Refusal>,
) -> rusqlite::Result<Round> {
    let mut applied = Applied { refused: without.values().cloned().collect(), ..Applied::default() };
    let active = || steps.iter().enumerate().filter(|(at, _)| !without.contains_key(at));
    for (_, step) in active() {
        match &step.intent {
            Intent::Nothing => applied.unchanged += 1,
            Intent::Refuse(refusal) => applied.refused.push(refusal.clone()),
            Intent::Delete => applied.deleted += delete(connection, step.table, &step.change.key)?,
            Intent::Insert(_) | Intent::Update(_) => {}
        }
    }
    let mut blocked = Vec::new();
    for (at, step) in active() {
        let done = match &step.intent {
            Intent::Insert(row) => insert(connection, step.table, row),
            Intent::Update(row) => update(connection, step.table, &step.change.key, row),
            _ => continue,
        };
        match done {
            Ok(()) => applied.written += 1,
            Err(error) if errors::is_taken(&error) => blocked.push(at),
            Err(error) if errors::is_refusal(&error) => {
                applied.refused.push(refused(&step.change.key, &error))
            }
            Err(error) => return Err(error),
        }
    }
    if !blocked.is_empty()
        && let Some(round) = exchange(connection, tables, steps, &blocked, &mut applied)?
    {
        return Ok(round);
    }
    let bad = check_written(connection, active(), &applied)?;
    Ok(if bad.is_empty() { Round::Done(applied) } else { Round::Without(bad) })
}

/// Rows whose unique values others hold: those in the set exchange them; others must join the set. A row may only look as
/// if it were in the way (a partial index may not have the row as it shall be): so who can't move is named only once the
/// row was really refused.
fn exchange(
    connection: &Connection,
    tables: &[SideTable],
    steps: &[Step<'_>],
    blocked: &[usize],
    applied: &mut Applied,
) -> rusqlite::Result<Option<Round>> {
    let place: HashMap<&Key, usize> = steps.iter().enumerate().map(|(at, s)| (&s.change.key, at)).collect();
    let mut joins: Vec<Key> = Vec::new();
    let mut moving: Vec<(usize, Wanted)> = Vec::new();
    let mut objections: HashMap<usize, String> = HashMap::new();
    for &at in blocked {
        let step = &steps[at];
        let wanted = wanted(connection, step)?;
        let mut objection = None;
        for holder in holders(connection, tables, step.table, &wanted, &step.change.key)? {
            match holder {
                Holder::Foreign(what) => objection = Some(foreign(&what)),
                Holder::Mapped(key) => match place.get(&key) {
                    None if !joins.contains(&key) => joins.push(key),
                    Some(&other) if matches!(steps[other].intent, Intent::Nothing | Intent::Refuse(_)) => {
                        objection = Some(shared(&key));
                    }
                    _ => {}
                },
            }
        }
        objections.extend(objection.map(|why| (at, why)));
        moving.push((at, wanted));
    }
    if !joins.is_empty() {
        return Ok(Some(Round::Joins(joins)));
    }
    for (at, _) in &moving {
        if matches!(steps[*at].intent, Intent::Update(_)) {
            delete(connection, steps[*at].table, &steps[*at].change.key)?;
        }
    }
    let mut bad = Vec::new();
    for (at, wanted) in &moving {
        match put_whole(connection, steps[*at].table, wanted) {
            Ok(()) => applied.written += 1,
            Err(error) if errors::is_refusal(&error) => {
                let key = &steps[*at].change.key;
                let why = objections.remove(at).filter(|_| errors::is_taken(&error));
                bad.push((*at, why.map_or_else(|| refused(key, &error), |why| refusal(key, why))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((!bad.is_empty()).then_some(Round::Without(bad)))
}

/// The row as it shall be, with the columns that the mapping doesn't know as they are.
fn wanted(connection: &Connection, step: &Step<'_>) -> rusqlite::Result<Wanted> {
    let row = match &step.intent {
        Intent::Insert(row) | Intent::Update(row) => row,
        _ => return Ok(Wanted::new()),
    };
    let mut wanted = match &step.intent {
        Intent::Update(_) => whole_row(connection, step.table, &step.change.key)?.unwrap_or_default(),
        _ => Wanted::new(),
    };
    for (column, value) in step.table.written.iter().zip(&row.0) {
        match wanted.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(column)) {
            Some((_, old)) => old.clone_from(value),
            None => wanted.push((column.clone(), value.clone())),
        }
    }
    Ok(wanted)
}

/// Every row that was written to the old side has the wanted image now; those that haven't, by name.
fn check_written<'s>(
    connection: &Connection,
    steps: impl Iterator<Item = (usize, &'s Step<'s>)>,
    applied: &Applied,
) -> rusqlite::Result<Vec<(usize, Refusal)>> {
    let mut bad = Vec::new();
    for (at, step) in steps {
        let writes = matches!(step.intent, Intent::Insert(_) | Intent::Update(_));
        let Some(row) = step.change.row.as_ref().filter(|_| writes && step.table.side == Side::Old) else {
            continue;
        };
        if applied.refused.iter().any(|refusal| refusal.key == step.change.key) {
            continue;
        }
        if let Some(refusal) = check_one(connection, step, row)? {
            bad.push((at, refusal));
        }
    }
    Ok(bad)
}

fn check_one(connection: &Connection, step: &Step<'_>, row: &Row) -> rusqlite::Result<Option<Refusal>> {
    let key = &step.change.key;
    Ok(match current(connection, step.table, key)? {
        None => Some(refusal(
            key,
            "written back, the row isn't one of the mapping's: give the columns of `where` by `back`",
        )),
        Some(Made::Refused(refusal)) => Some(refusal),
        Some(Made::Row(now)) => match step.table.rules.compare(&now, row) {
            RowComparison::Equal | RowComparison::EqualByRule(_) => None,
            RowComparison::Differs(columns) => columns.first().map(|&at| Refusal {
                key: key.clone(),
                column: step.table.shape.columns.get(at).cloned(),
                value: row.0.get(at).cloned(),
                why: format!(
                    "written back, the old row's image is {}: what `back` makes of the value, `set` doesn't make \
                     into it again",
                    now.0.get(at).unwrap_or(&Value::Null)
                ),
            }),
        },
    })
}

pub(super) fn insert(connection: &Connection, table: &SideTable, row: &Row) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(insert_sql(table))?;
    bind(&mut statement, 1, &row.0)?;
    statement.raw_execute().map(drop)
}

/// `OR ABORT` overrides what the table's own constraints say is to be done on a conflict (REPLACE, IGNORE, ROLLBACK).
pub(super) fn insert_sql(table: &SideTable) -> &str {
    table.statements.insert.get_or_init(|| {
        let columns = table.written.iter().map(|c| name(c)).collect::<Vec<_>>().join(", ");
        let values = (1..=table.written.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        format!("INSERT OR ABORT INTO {} ({columns}) VALUES ({values})", table.table)
    })
}

fn update(connection: &Connection, table: &SideTable, key: &Key, row: &Row) -> rusqlite::Result<()> {
    let sql = table.statements.update.get_or_init(|| update_sql(table));
    if sql.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(sql)?;
    let values = table.updated().filter_map(|(at, _)| row.0.get(at));
    let next = bind(&mut statement, 1, values)?;
    bind(&mut statement, next, &*table.own_key(key.values()))?;
    statement.raw_execute().map(drop)
}

/// Empty where the key is all there is.
fn update_sql(table: &SideTable) -> String {
    let set: Vec<String> = table
        .updated()
        .enumerate()
        .map(|(n, (_, column))| format!("{} = ?{}", name(column), n + 1))
        .collect();
    if set.is_empty() {
        return String::new();
    }
    let condition = table.has_key(set.len() + 1);
    format!("UPDATE OR ABORT {} SET {} WHERE {condition}{}", table.table, set.join(", "), table.and_scope())
}

/// Deletes the row with exactly this key.
pub(super) fn delete(connection: &Connection, table: &SideTable, key: &Key) -> rusqlite::Result<u64> {
    let sql = table.statements.delete.get_or_init(|| {
        format!("DELETE FROM {} WHERE {}{}", table.table, table.has_key(1), table.and_scope())
    });
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, 1, &*table.own_key(key.values()))?;
    Ok(statement.raw_execute()? as u64)
}

fn put_whole(connection: &Connection, table: &SideTable, wanted: &Wanted) -> rusqlite::Result<()> {
    let columns = wanted.iter().map(|(c, _)| name(c)).collect::<Vec<_>>().join(", ");
    let values = (1..=wanted.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT OR ABORT INTO {} ({columns}) VALUES ({values})", table.table);
    let mut statement = connection.prepare_cached(&sql)?;
    for (at, (_, value)) in wanted.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, Bound(value))?;
    }
    statement.raw_execute().map(drop)
}

pub(super) fn refused(key: &Key, error: &rusqlite::Error) -> Refusal {
    Refusal {
        key: key.clone(),
        column: errors::column_of(error),
        value: None,
        why: format!("SQLite refused the row: {}", errors::cause(error)),
    }
}

fn refusal(key: &Key, why: impl Into<String>) -> Refusal {
    Refusal { key: key.clone(), column: None, value: None, why: why.into() }
}

fn foreign(what: &str) -> String {
    format!(
        "its unique value of ({what}) is taken by a row that isn't this mapping's (outside of `where`, or of another source): \
         one of the two must change"
    )
}

fn shared(key: &Key) -> String {
    format!(
        "a unique value of it is that of {key} too, and both are so on the other side: this side allows only one"
    )
}
