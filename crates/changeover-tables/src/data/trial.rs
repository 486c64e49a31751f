//! Rows tried in a table like the new one before that gets them: what its CHECKs refuse, and what would come back as another value.
//!
//! The mirror leaves a row alone that would come back otherwise, as long as nobody changes it on the new side: only then it is written
//! back, whole.

use async_trait::async_trait;
use changeover::store::{Refusal, TableShape};
use changeover::{Row, StoreError, Value};

use super::{Duplicates, Example, ReadSoFar, TableData, Troubles};
use crate::plan::{BackPlan, Source, TablePlan};
use crate::words::{looks_elsewhere, takes_all};

/// A table like the new side's, in which rows are tried.
#[async_trait]
pub trait Trial: Send {
    /// What becomes of rows (in the canonical image) there, each by itself, in their order. None of them stays.
    async fn try_rows(&mut self, rows: Vec<Row>) -> Result<Vec<Tried>, StoreError>;
}

/// What became of a row that was tried.
#[derive(Debug, Clone, PartialEq)]
pub enum Tried {
    /// The table took it; this would be written back.
    Taken(Row),
    /// The table took it, and what it has can't be written back.
    Stuck(Refusal),
    /// The table doesn't take it.
    Refused {
        /// The column, where the database names one.
        column: Option<String>,
        /// What the database says.
        why: String,
    },
}

/// Tries every row that can be carried, where there is something to be learnt by it.
pub(super) async fn try_all(
    (old, new): (&dyn Duplicates, &dyn Duplicates),
    table: &TablePlan,
    data: &mut TableData,
    told: ReadSoFar<'_>,
) -> Result<(), StoreError> {
    let watched = watched(table);
    if watched.is_empty() && !has_checks(table) {
        return Ok(());
    }
    let Some(shape) = old.tables().iter().find(|shape| shape.table == table.name).cloned() else {
        return Ok(());
    };
    let mut trial = match new.trial(table).await? {
        Ok(trial) => trial,
        Err(why) => {
            data.untried = Some(why);
            return Ok(());
        }
    };
    let own: Vec<String> = watched.iter().map(|watched| watched.column.clone()).collect();
    let mut stream = old.with_own(table, &own).await?;
    let mut found = Found { shape, watched, refused: Troubles::default(), otherwise: Troubles::default() };
    while let Some(batch) = stream.next().await? {
        told((batch.rows.len() + batch.refused.len()) as u64);
        let mut rows = batch.rows;
        let own: Vec<Vec<Value>> =
            rows.iter_mut().map(|row| row.0.split_off(found.shape.columns.len())).collect();
        let tried = trial.try_rows(rows.clone()).await?;
        for ((row, own), tried) in rows.iter().zip(own).zip(tried) {
            found.add(row, own, tried);
        }
    }
    let refused = found.refused.list();
    data.rows = data.rows.saturating_sub(refused.iter().map(|trouble| trouble.rows).sum());
    data.forward.extend(refused);
    data.otherwise = found.otherwise.list();
    Ok(())
}

/// What the rows have come to.
struct Found {
    shape: TableShape,
    watched: Vec<Watched>,
    refused: Troubles,
    otherwise: Troubles,
}

impl Found {
    fn add(&mut self, row: &Row, own: Vec<Value>, tried: Tried) {
        let example = |value, comes_back| Example { key: self.shape.key_of(row), value, comes_back };
        match tried {
            Tried::Refused { column, why } => self.refused.note(column, why, || example(None, None)),
            Tried::Stuck(refusal) => {
                let why = format!("not at all, once it is changed on the new side: {}", refusal.why);
                self.otherwise.note(refusal.column, why, || example(refusal.value, None));
            }
            Tried::Taken(Row(mut back)) => {
                for (watched, is) in self.watched.iter().zip(own) {
                    let Some(becomes) = back.get_mut(watched.at).filter(|becomes| **becomes != is) else {
                        continue;
                    };
                    let why = format!(
                        "what comes back in {} isn't what was there; the mirror leaves such a row alone unless it is changed on the \
                         new side",
                        watched.column
                    );
                    let becomes = std::mem::replace(becomes, Value::Null);
                    self.otherwise
                        .note(Some(watched.column.clone()), why, || example(Some(is), Some(becomes)));
                }
            }
        }
    }
}

/// Whether the new table has conditions on its rows.
fn has_checks(table: &TablePlan) -> bool {
    let says = |sql: &str| sql.to_ascii_uppercase().contains("CHECK");
    table.new_info.clauses.iter().any(|clause| says(clause)) || says(&table.new_info.definition)
}

/// A column of the old side whose value may come back as another.
struct Watched {
    column: String,
    /// Where it stands in the write-back image.
    at: usize,
}

/// All that is written back, but for the key, which refuses what doesn't find back, for plain copies there and back, and for
/// what is made of other rows.
fn watched(plan: &TablePlan) -> Vec<Watched> {
    let written = plan.back.iter().enumerate().skip(plan.key.len());
    written
        .filter(|(_, back)| !is_copied(plan, back))
        .filter(|(_, back)| !matches!(&back.source, Source::Sql(sql) if looks_elsewhere(sql)))
        .map(|(at, back)| Watched { column: back.target.column.clone(), at })
        .collect()
}

/// Whether a column comes back from the very column that it has gone to, and both hold their values alike.
fn is_copied(plan: &TablePlan, back: &BackPlan) -> bool {
    let Source::Column(new) = &back.source else { return false };
    let alike = |there: &crate::catalog::Domain| {
        let (strict, own) = (matches!(there, crate::catalog::Domain::Exact(_)), &back.target.domain);
        there == own || (strict && takes_all(own, there) && takes_all(there, own))
    };
    plan.columns.iter().any(|column| {
        column.target.column.eq_ignore_ascii_case(new)
            && alike(&column.target.domain)
            && matches!(&column.source, Source::Column(old) if old.eq_ignore_ascii_case(&back.target.column))
    })
}
