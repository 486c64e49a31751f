//! Levelling a set of rows: deletes, then inserts and updates, so that each row is what its change says.
//!
//! The whole set is tried at once first. Where a constraint refuses one of its rows, all of it is taken back and done with
//! care, row by row ([`careful`]).

mod careful;
mod unique;

use std::collections::HashMap;

use changeover::rules::RowComparison;
use changeover::store::Refusal;
use changeover::store::guard::{Applied, Change};
use changeover::{Key, Row, Side, Value};

use super::point::Reading;
use super::read::{own_key, refusal};
use super::session::{DbError, Session};
use super::store::Inner;
use crate::catalog::{ALWAYS_IDENTITY, ColumnInfo, Generated};
use crate::shape::{Merge, SideTable};

const SAVE: &str = "SAVEPOINT changeover_set";
const BACK: &str = "ROLLBACK TO SAVEPOINT changeover_set";
const KEEP: &str = "RELEASE SAVEPOINT changeover_set";

/// What a change comes to on this side.
#[derive(Debug)]
enum Intent<'c> {
    Nothing,
    Delete,
    Insert(&'c Row),
    Update(&'c Row),
    Refuse(Refusal),
}

/// One change, with the key as this side stores it.
struct Step<'c> {
    change: &'c Change,
    table: &'c SideTable,
    own: Vec<Value>,
    intent: Intent<'c>,
}

/// A session within a guarded transaction, at writing.
pub(super) struct Writer<'w> {
    inner: &'w Inner,
    session: &'w mut dyn Session,
}

/// A row's canonical image now.
enum Current {
    Absent,
    Row(Row),
    /// It is there, and has none.
    Refused(Refusal),
}

impl<'w> Writer<'w> {
    pub(super) fn new(inner: &'w Inner, session: &'w mut dyn Session) -> Self {
        Self { inner, session }
    }

    /// Levels the rows, within the transaction that is open.
    pub(super) async fn apply(&mut self, changes: &[Change]) -> Result<Applied, DbError> {
        let steps = self.plan(changes).await?;
        self.session.batch(SAVE).await?;
        match self.at_once(&steps).await {
            Ok(Some(applied)) => {
                self.session.batch(KEEP).await?;
                Ok(applied)
            }
            Err(error) if !error.is_of_row() => Err(error),
            Ok(None) | Err(_) => {
                self.session.batch(BACK).await?;
                self.session.batch(KEEP).await?;
                careful::apply(self, &steps).await
            }
        }
    }

    async fn plan<'c>(&mut self, changes: &'c [Change]) -> Result<Vec<Step<'c>>, DbError>
    where
        'w: 'c,
    {
        let inner = self.inner;
        let mut current = self.current(changes.iter().map(|change| &change.key)).await?;
        let mut steps = Vec::with_capacity(changes.len());
        for change in changes {
            // Whoever calls has looked that there is one.
            let Some(table) = inner.tables.iter().find(|table| *table.name() == change.key.table) else {
                continue;
            };
            let now = current.remove(&change.key).unwrap_or(Current::Absent);
            let (own, intent) = match own_key(table, &change.key) {
                Some(own) => (own, intent(table, change, now)),
                None if change.row.is_none() => (Vec::new(), Intent::Nothing),
                None => (
                    Vec::new(),
                    Intent::Refuse(refusal(change.key.clone(), "this side's key can't hold these values")),
                ),
            };
            steps.push(Step { change, table, own, intent });
        }
        Ok(steps)
    }

    /// The rows' canonical images now.
    async fn current<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k Key>,
    ) -> Result<HashMap<Key, Current>, DbError> {
        let mut by_table: HashMap<&str, Vec<Key>> = HashMap::new();
        for key in keys {
            by_table.entry(key.table.as_str()).or_default().push(key.clone());
        }
        let mut current = HashMap::new();
        for table in &self.inner.tables {
            let Some(keys) = by_table.remove(table.name().as_str()) else { continue };
            let reading = Reading {
                dialect: self.inner.dialect,
                table,
                image: &table.canonical,
                in_transaction: table.side == Side::Old,
            };
            let found = reading.rows(self.session, &keys, usize::MAX).await?;
            for (key, row) in keys.into_iter().zip(found.rows) {
                current.insert(key, row.map_or(Current::Absent, Current::Row));
            }
            for refusal in found.refused {
                current.insert(refusal.key.clone(), Current::Refused(refusal));
            }
        }
        Ok(current)
    }

    /// All of it, as if nothing stood in the way; nothing where a row turns out not to be what it should be.
    async fn at_once(&mut self, steps: &[Step<'_>]) -> Result<Option<Applied>, DbError> {
        let mut applied = Applied::default();
        for step in steps {
            match &step.intent {
                Intent::Nothing => applied.unchanged += 1,
                Intent::Refuse(refusal) => applied.refused.push(refusal.clone()),
                Intent::Delete | Intent::Insert(_) | Intent::Update(_) => {}
            }
        }
        applied.deleted =
            self.delete_all(steps.iter().filter(|step| matches!(step.intent, Intent::Delete))).await?;
        let (mut sql, mut params): (String, Vec<Vec<Value>>) = Default::default();
        for step in steps {
            let Some((wanted, values)) = written(step) else { continue };
            if wanted != sql {
                applied.written += self.run(&sql, &params).await?;
                params.clear();
                sql = wanted;
            }
            params.push(values);
        }
        applied.written += self.run(&sql, &params).await?;
        let bad = self.wrongly_written(steps.iter().enumerate()).await?;
        Ok(bad.is_empty().then_some(applied))
    }

    async fn run(&mut self, sql: &str, params: &[Vec<Value>]) -> Result<u64, DbError> {
        if !sql.is_empty() && !params.is_empty() {
            self.session.execute_many(sql, params).await?;
        }
        Ok(params.len() as u64)
    }

    async fn delete_all<'s, 'c: 's>(
        &mut self,
        steps: impl Iterator<Item = &'s Step<'c>>,
    ) -> Result<u64, DbError> {
        let mut by_table: Vec<(&SideTable, Vec<Vec<Value>>)> = Vec::new();
        for step in steps {
            match by_table.iter_mut().find(|(table, _)| table.name() == step.table.name()) {
                Some((_, keys)) => keys.push(step.own.clone()),
                None => by_table.push((step.table, vec![step.own.clone()])),
            }
        }
        let mut deleted = 0;
        for (table, keys) in by_table {
            deleted += self.session.execute_many(delete_sql(table), &keys).await?;
        }
        Ok(deleted)
    }

    /// Deletes those of the rows that are there.
    pub(super) async fn delete_present(&mut self, table: &SideTable, keys: &[Key]) -> Result<u64, DbError> {
        let mut own = Vec::with_capacity(keys.len());
        for some in keys.chunks(self.inner.dialect.keys_at_once()) {
            let asked: Vec<Vec<Value>> = some.iter().filter_map(|key| own_key(table, key)).collect();
            let condition = self.inner.dialect.has_one_of(table, &asked);
            let (list, scope) = (table.key_list(), table.and_scope());
            let sql = format!("SELECT {list} FROM {} WHERE {}{scope}", table.table, condition.sql);
            // Those that an index takes for the same aren't.
            let there = self.session.query(&sql, &condition.params).await?;
            own.extend(there.into_iter().filter(|raw| asked.contains(raw)));
        }
        self.session.execute_many(delete_sql(table), &own).await
    }

    /// Every row that was written to the old side has the wanted image now; those that haven't, by name.
    async fn wrongly_written<'s, 'c: 's>(
        &mut self,
        steps: impl Iterator<Item = (usize, &'s Step<'c>)>,
    ) -> Result<Vec<(usize, Refusal)>, DbError> {
        let written = |step: &Step<'_>| {
            step.table.side == Side::Old && matches!(step.intent, Intent::Insert(_) | Intent::Update(_))
        };
        let steps: Vec<(usize, &Step<'_>)> = steps.filter(|(_, step)| written(step)).collect();
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let mut now = self.current(steps.iter().map(|(_, step)| &step.change.key)).await?;
        let mut bad = Vec::new();
        for (at, step) in steps {
            let Some(row) = &step.change.row else { continue };
            let now = now.remove(&step.change.key).unwrap_or(Current::Absent);
            bad.extend(wrong(step, row, now).map(|refusal| (at, refusal)));
        }
        Ok(bad)
    }
}

fn wrong(step: &Step<'_>, row: &Row, now: Current) -> Option<Refusal> {
    let key = step.change.key.clone();
    match now {
        Current::Absent => Some(refusal(
            key,
            "written back, the row isn't one of the mapping's: give the columns of `where` by `back`",
        )),
        Current::Refused(refusal) => Some(refusal),
        Current::Row(now) => match step.table.rules.compare(&now, row) {
            RowComparison::Equal | RowComparison::EqualByRule(_) => None,
            RowComparison::Differs(columns) => columns.first().map(|&at| Refusal {
                key,
                column: step.table.shape.columns.get(at).cloned(),
                value: row.0.get(at).cloned(),
                why: format!(
                    "written back, the old row's image is {}: what `back` makes of the value, `set` doesn't make into it again",
                    now.0.get(at).unwrap_or(&Value::Null)
                ),
            }),
        },
    }
}

fn intent<'c>(table: &SideTable, change: &'c Change, now: Current) -> Intent<'c> {
    match (&change.row, now) {
        (None, Current::Absent) => Intent::Nothing,
        (None, _) => Intent::Delete,
        (Some(row), Current::Row(now)) if is_level(table, &now, row) => Intent::Nothing,
        (Some(row), now) => {
            if let Some(refusal) = unchangeable(table, change, row, &now) {
                return Intent::Refuse(refusal);
            }
            let written = match table.side {
                Side::New => Some(row),
                Side::Old => change.back.as_ref(),
            };
            match (written, now) {
                (Some(written), Current::Absent) => Intent::Insert(written),
                (Some(written), _) => Intent::Update(written),
                (None, _) => {
                    Intent::Refuse(refusal(change.key.clone(), "there is no write-back image of the row"))
                }
            }
        }
    }
}

/// A value that the server lets nobody change: of the old side it is found when the row's image is read again.
fn unchangeable(table: &SideTable, change: &Change, row: &Row, now: &Current) -> Option<Refusal> {
    let Current::Row(now) = now else { return None };
    let mut fixed = table.inserted_only().filter(|_| table.side == Side::New);
    let (at, column) = fixed.find(|(at, _)| now.0.get(*at) != row.0.get(*at))?;
    Some(Refusal {
        key: change.key.clone(),
        column: Some(column.to_owned()),
        value: row.0.get(at).cloned(),
        why: format!(
            "the column is {ALWAYS_IDENTITY} and has another value here, which no UPDATE may change: make it GENERATED BY DEFAULT"
        ),
    })
}

fn is_level(table: &SideTable, now: &Row, wanted: &Row) -> bool {
    match table.side {
        Side::New => now == wanted,
        Side::Old => table.rules.compare(now, wanted).is_equal(),
    }
}

/// The statement that writes a step's row, with its parameters.
fn written(step: &Step<'_>) -> Option<(String, Vec<Value>)> {
    match &step.intent {
        Intent::Insert(row) => Some((insert_sql(step.table).to_owned(), row.0.clone())),
        Intent::Update(row) => {
            let mut params: Vec<Value> =
                step.table.updated().filter_map(|(at, _)| row.0.get(at).cloned()).collect();
            params.extend(step.own.iter().cloned());
            let sql = update_sql(step.table);
            // Where the key is all there is, nothing can be updated.
            (!sql.is_empty()).then(|| (sql.to_owned(), params))
        }
        _ => None,
    }
}

fn insert_sql(table: &SideTable) -> &str {
    table.statements.insert.get_or_init(|| {
        let columns: Vec<&str> = table.written.iter().map(String::as_str).collect();
        insert_of(table, &columns)
    })
}

/// The statement that puts a row of these columns in.
fn insert_of(table: &SideTable, columns: &[&str]) -> String {
    let values: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(n, column)| table.syntax.write(table.info.column(column), table.syntax.placeholder(n + 1)))
        .collect();
    let names: Vec<String> = columns.iter().map(|column| table.syntax.name(column)).collect();
    let overriding = table.syntax.overriding();
    format!("INSERT INTO {} ({}){overriding} VALUES ({})", table.table, names.join(", "), values.join(", "))
}

/// Empty where the key is all there is.
fn update_sql(table: &SideTable) -> &str {
    table.statements.update.get_or_init(|| {
        let set: Vec<String> = table
            .updated()
            .enumerate()
            .map(|(n, (_, column))| {
                let value = table.syntax.write(table.info.column(column), table.syntax.placeholder(n + 1));
                format!("{} = {value}", table.syntax.name(column))
            })
            .collect();
        if set.is_empty() {
            return String::new();
        }
        let condition = table.has_key(set.len() + 1);
        format!("UPDATE {} SET {} WHERE {condition}{}", table.table, set.join(", "), table.and_scope())
    })
}

fn delete_sql(table: &SideTable) -> &str {
    table.statements.delete.get_or_init(|| {
        format!("DELETE FROM {} WHERE {}{}", table.table, table.has_key(1), table.and_scope())
    })
}

/// Writes rows of a chunk. Where nothing can be yet, they go in without a look, by the server's fastest road; what turns out
/// to be there, or isn't taken, goes the careful one.
pub(super) async fn load(
    inner: &Inner,
    session: &mut dyn Session,
    table: &SideTable,
    rows: Vec<Row>,
    replace: bool,
) -> Result<Applied, DbError> {
    if rows.is_empty() {
        return Ok(Applied::default());
    }
    let columns: Vec<&ColumnInfo> =
        table.written.iter().filter_map(|column| table.info.column(column)).collect();
    let merge = table.statements.merge.get_or_init(|| inner.dialect.merge(table)).as_ref();
    // What travels as text is cast on its way out of the temporary table.
    let is_cast = merge.is_some() && columns.iter().any(|column| column.as_text);
    let direct = !(replace || is_cast);
    let tried = if direct {
        session.batch(SAVE).await?;
        Some(session.load(&table.table, &columns, &rows).await)
    } else if let Some(merge) = merge {
        session.batch(SAVE).await?;
        Some(put_over(session, merge, &columns, &rows).await)
    } else {
        None
    };
    match tried {
        Some(Ok(written)) => {
            session.batch(KEEP).await?;
            // A trigger of the table's own may have left rows out.
            let unchanged = if direct { 0 } else { (rows.len() as u64).saturating_sub(written) };
            return Ok(Applied { written, unchanged, ..Applied::default() });
        }
        Some(Err(error)) if error.is_of_row() || (!direct && !error.is_passing()) => {
            session.batch(BACK).await?;
            session.batch(KEEP).await?;
        }
        Some(Err(error)) => return Err(error),
        None => {}
    }
    let changes: Vec<Change> = rows
        .into_iter()
        .map(|row| Change { key: table.shape.key_of(&row), row: Some(row), back: None })
        .collect();
    Writer::new(inner, session).apply(&changes).await
}

/// Puts rows in by way of the temporary table; how many were written.
async fn put_over(
    session: &mut dyn Session,
    merge: &Merge,
    columns: &[&ColumnInfo],
    rows: &[Row],
) -> Result<u64, DbError> {
    session.batch(&merge.stage).await?;
    session.load(&merge.staged, columns, rows).await?;
    session.execute(&merge.put, &[]).await
}

/// The columns of a table that aren't computed.
fn stored(table: &SideTable) -> Vec<&ColumnInfo> {
    table.info.columns.iter().filter(|column| column.generated == Generated::No).collect()
}
