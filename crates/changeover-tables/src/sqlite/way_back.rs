//! What `check` tries of the way back: rows of the old side go to the new one and back, in tables of memory.
//!
//! A row that is made on the new side comes back like one that has gone there: what `back` gives it, and the defaults. If
//! `where` isn't true of it then, the old side refuses it, and the way back is shut.

use std::collections::BTreeSet;

use changeover::{Row, Side, StoreError};
use rusqlite::Connection;

use super::errors;
use super::read::{Made, raw_key};
use super::scratch::Scratch;
use super::sql::name;
use super::store::SqliteStore;
use crate::catalog::Domain;
use crate::plan::{Finding, Severity, Source, TablePlan};
use crate::shape::SideTable;
use crate::syntax::expression;
use crate::words::looks_elsewhere;

/// How many of the old side's rows are tried.
const TRIED: usize = 100;

impl SqliteStore {
    /// The mappings whose `where` isn't true of rows that are made on the new side, once they are written back. Only the old
    /// side can say it.
    ///
    /// # Errors
    /// What the database says. May be dropped at any await: it changes nothing.
    pub async fn check_way_back(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        let inner = std::sync::Arc::clone(&self.inner);
        if inner.info.side != Side::Old {
            return Ok(Vec::new());
        }
        let has_one = |t: &TablePlan| t.where_.as_ref().is_some_and(|sql| !looks_elsewhere(sql));
        let here: Vec<TablePlan> =
            tables.iter().filter(|t| t.old.store == inner.info.name && has_one(t)).cloned().collect();
        self.inner
            .database
            .read("trying the way back", move |session| {
                let mut found = Vec::new();
                for plan in &here {
                    let Some(table) = inner.tables.iter().find(|t| *t.name() == plan.name) else { continue };
                    let rows = some_rows(&session.connection, table)?;
                    match left_out(plan, &rows) {
                        Ok(finding) => found.extend(finding),
                        // What can't be tried (a new table whose CHECK calls a function of the application's) is no fault of the mapping's.
                        Err(error) => tracing::debug!(table = %plan.name, %error, "trying the way back"),
                    }
                }
                Ok(found)
            })
            .await
    }
}

/// Some of the mapping's rows, as the new side would have them. Those that can't be carried are told elsewhere.
fn some_rows(connection: &Connection, table: &SideTable) -> rusqlite::Result<Vec<Row>> {
    let image = &table.canonical;
    let sql = format!("{} LIMIT {TRIED}", table.range_sql(&image.select, false, false, true));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.raw_query();
    let mut made = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let raw = raw_key(row, table.key.len())?;
                if let Made::Row(row) = table.make(connection, image, row, &raw, Row::default())? {
                    made.push(row);
                }
            }
            Ok(None) => return Ok(made),
            Err(error) if errors::is_of_row(&error) => return Ok(made),
            Err(error) => return Err(error),
        }
    }
}

fn left_out(plan: &TablePlan, rows: &[Row]) -> rusqlite::Result<Option<Finding>> {
    let Some(condition) = &plan.where_ else { return Ok(None) };
    let (old, new) = (Scratch::new(plan, Side::Old)?, Scratch::new(plan, Side::New)?);
    let used = old.columns_of(condition)?;
    let given = given_alike(plan, &new);
    let alike = used.iter().all(|column| is_kept(plan, column) || given.iter().any(|(c, _)| is(c, column)));
    for row in rows {
        if new.put(row)?
            && let Some(Made::Row(back)) = new.write_back()?
            && old.put(&back)?
            && !old.is_in_scope()?
        {
            return Ok(Some(finding(plan, &used, alike)));
        }
    }
    // Where no row can tell, only what every row would have in common can.
    let told = rows.is_empty() && alike && old.put_computed(&any_row(plan, &given))? && !old.is_in_scope()?;
    Ok(told.then(|| finding(plan, &used, alike)))
}

fn is(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn is_kept(plan: &TablePlan, column: &str) -> bool {
    plan.kept.iter().any(|kept| is(kept, column))
}

/// The old columns to which `back` gives the same in every row, with the expression that does.
fn given_alike(plan: &TablePlan, new: &Scratch) -> Vec<(String, String)> {
    let alike = plan.back.iter().filter_map(|back| match &back.source {
        Source::Sql(sql) if new.is_constant(sql) => Some((back.target.column.clone(), expression(sql))),
        _ => None,
    });
    alike.collect()
}

/// A row that comes back, with anything in the columns that the new row decides.
fn any_row(plan: &TablePlan, given: &[(String, String)]) -> Vec<(String, String)> {
    let value = |domain: &Domain| match domain {
        Domain::Text => "''",
        Domain::Bytes => "x''",
        Domain::Any | Domain::Integer | Domain::Real | Domain::Number | Domain::Loose | Domain::Exact(_) => {
            "0"
        }
    };
    let columns = plan.back.iter().map(|back| {
        let column = &back.target.column;
        let given = given.iter().find(|(c, _)| is(c, column)).map(|(_, sql)| sql.clone());
        (name(column), given.unwrap_or_else(|| value(&back.target.domain).to_owned()))
    });
    columns.collect()
}

/// `alike`: all rows that are made on the new side come back with the same in these columns.
fn finding(plan: &TablePlan, used: &BTreeSet<String>, alike: bool) -> Finding {
    let kept: Vec<&str> = used.iter().map(String::as_str).filter(|column| is_kept(plan, column)).collect();
    let default = |column: &&str| {
        let default = plan.old_info.column(column).and_then(|c| c.default.as_deref());
        format!("{column} takes its default, {}", default.unwrap_or("NULL"))
    };
    let (why, remedy) = if kept.is_empty() {
        ("as `back` makes it".to_owned(), "let `back` make of the new row what `where` asks for".to_owned())
    } else {
        let defaults: Vec<String> = kept.iter().map(default).collect();
        let given: Vec<String> = kept.iter().map(|column| format!("{column} = \"…\"")).collect();
        (
            format!("where it has no way back ({})", defaults.join(", ")),
            format!(
                "give it by `back` what `where` asks for, as {{ const = \"…\" }} or as SQL over the new row: back = {{ {} }}",
                given.join(", ")
            ),
        )
    };
    let which = if alike { "rows that are made" } else { "some rows that are made" };
    Finding {
        severity: Severity::Warning,
        table: plan.name.clone(),
        column: None,
        what: format!(
            "`where` isn't true of the old row {why}: {which} on the new side would be refused on the way back"
        ),
        remedy,
    }
}
