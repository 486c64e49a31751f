//! What `check` asks of a SQLite side: whether the spec's expressions can be computed there, and whether values would be the
//! same under the new side's unique indexes.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::RowStream;
use changeover::store::fence::FenceState;
use changeover::{Key, Side, StoreError};
use rusqlite::Connection;

use super::errors;
use super::fence;
use super::install::log_name;
use super::read::raw_key;
use super::sql::{literal, name};
use super::store::SqliteStore;
use super::triggers;
use crate::catalog::IndexPart;
use crate::data::{Duplicates, Example, Trial, Trouble};
use crate::installed::Installed;
use crate::plan::{Finding, Severity, Source, TablePlan};
use crate::shape::SideTable;
use crate::syntax::expression;

impl SqliteStore {
    /// Prepares every expression of the spec's that this side computes: `set` and `where` on the old one, `back` on the new
    /// one. Computes none of them.
    ///
    /// # Errors
    /// What the database says of anything but an expression.
    pub async fn check_expressions(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        let (side, store) = (self.inner.info.side, self.inner.info.name.clone());
        let here: Vec<TablePlan> = tables
            .iter()
            .filter(|t| match side {
                Side::Old => t.old.store == store,
                Side::New => t.new.store == store,
            })
            .cloned()
            .collect();
        self.inner
            .database
            .read("checking expressions", move |session| {
                Ok(here.iter().flat_map(|table| bad_expressions(&session.connection, table, side)).collect())
            })
            .await
    }

    /// All of its own that this migration may ever install on this side.
    pub(super) fn may_install(&self) -> Vec<Installed> {
        let inner = &self.inner;
        let thing =
            |kind: &str, name: String, on: &str| Installed { kind: kind.to_owned(), name, on: on.to_owned() };
        let mut things = Vec::new();
        for table in &inner.tables {
            let capture = triggers::capture(table, &inner.migration);
            let fence = fence::triggers(table, &inner.migration, FenceState::Moved);
            let names = capture.into_iter().chain(fence).map(|(name, _)| name);
            things.extend(names.map(|name| thing("trigger", name, &table.table)));
        }
        let log = log_name(&inner.migration, inner.info.side);
        things.push(thing("table", log.clone(), &log));
        things
    }
}

fn bad_expressions(connection: &Connection, table: &TablePlan, side: Side) -> Vec<Finding> {
    let info = match side {
        Side::Old => &table.old_info,
        Side::New => &table.new_info,
    };
    let mut found = Vec::new();
    let mut check = |column: Option<&str>, place: &str, sql: &str| {
        if let Err(why) = of_one_row(connection, &info.name, sql) {
            found.push(Finding {
                severity: Severity::Error,
                table: table.name.clone(),
                column: column.map(str::to_owned),
                what: format!("`{place}`: SQLite doesn't understand `{sql}`: {why}"),
                remedy: format!(
                    "write it in SQLite's SQL over the columns of {}; text stands in single quotes",
                    info.name
                ),
            });
        }
    };
    match side {
        Side::Old => {
            for column in &table.columns {
                if let Source::Sql(sql) = &column.source {
                    check(Some(&column.target.column), "set", sql);
                }
            }
            if let Some(sql) = &table.where_ {
                check(None, "where", sql);
            }
        }
        Side::New => {
            for column in &table.back {
                if let Source::Sql(sql) = &column.source {
                    check(Some(&column.target.column), "back", sql);
                }
            }
        }
    }
    found
}

/// Whether this is an expression over the columns of one row. On a connection of ours a name in double quotes that is no
/// column's isn't taken for a text: a misspelt column would be copied as its own name into every row.
fn of_one_row(connection: &Connection, table: &str, sql: &str) -> Result<(), String> {
    // A statement's end inside of the expression would be taken for the end of the whole. Where a row is chosen, nothing
    // can be meant that is computed of many.
    let whole = format!("SELECT 1 FROM {} WHERE {} IS NOT NULL", name(table), expression(sql));
    match connection.prepare(&whole) {
        Ok(statement) if statement.parameter_count() > 0 => {
            Err("it has a parameter, and nobody gives it one".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(errors::cause(&error)),
    }
}

#[async_trait]
impl Duplicates for SqliteStore {
    async fn duplicates(&self, plan: &TablePlan, examples: usize) -> Result<Vec<Trouble>, StoreError> {
        let (inner, plan) = (Arc::clone(&self.inner), plan.clone());
        if self.inner.info.side != Side::Old {
            return Ok(Vec::new());
        }
        self.inner.table(&plan.name)?;
        self.inner
            .database
            .read("looking for duplicates", move |session| {
                let Some(table) = inner.tables.iter().find(|t| *t.name() == plan.name) else {
                    return Ok(Vec::new());
                };
                let mut found = Vec::new();
                for index in plan.new_info.unique.iter().filter(|index| index.partial.is_none()) {
                    match duplicates(&session.connection, table, &plan, &index.parts, examples) {
                        Ok(trouble) => found.extend(trouble),
                        // An expression that fails over a row is that row's trouble, and told with the rows.
                        Err(error) if errors::is_of_row(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(found)
            })
            .await
    }

    async fn with_own(&self, plan: &TablePlan, columns: &[String]) -> Result<RowStream, StoreError> {
        self.with_their_own(plan, columns).await
    }

    async fn trial(&self, plan: &TablePlan) -> Result<Result<Box<dyn Trial>, String>, StoreError> {
        Ok(self.try_in_memory(plan))
    }
}

/// The collation of SQLite's that takes no two texts for one which the other doesn't: its own, and for those of another database that
/// fold cases its own that does.
fn known(collation: &str) -> &'static str {
    let folds =
        |name: &str| name.eq_ignore_ascii_case("NOCASE") || name.to_ascii_lowercase().ends_with("_ci");
    match collation {
        name if folds(name) => "NOCASE",
        name if name.eq_ignore_ascii_case("RTRIM") => "RTRIM",
        _ => "BINARY",
    }
}

/// Rows whose canonical values are the same in a unique index of the new table. SQLite sorts them, on disk if need be.
fn duplicates(
    connection: &Connection,
    table: &SideTable,
    plan: &TablePlan,
    parts: &[IndexPart],
    examples: usize,
) -> rusqlite::Result<Option<Trouble>> {
    let mut columns = Vec::new();
    let mut names = Vec::new();
    for part in parts {
        let IndexPart::Column { name: column, collation } = part else { return Ok(None) };
        let Some(planned) = plan.columns.iter().find(|c| c.target.column.eq_ignore_ascii_case(column)) else {
            return Ok(None);
        };
        let sql = match &planned.source {
            Source::Column(old) => name(old),
            Source::Sql(sql) => expression(sql),
            Source::Const(value) => literal(value),
        };
        columns.push(format!("{sql} COLLATE {}", known(collation)));
        names.push(column.as_str());
    }
    let not_null: String = columns.iter().map(|c| format!(" AND ({c}) IS NOT NULL")).collect();
    let from = format!("FROM {} WHERE true{}{not_null}", table.table, table.and_scope());
    let grouped = format!(
        "SELECT {}, count(*) AS n {from} GROUP BY {} HAVING count(*) > 1",
        table.key_list(),
        columns.join(", ")
    );
    let total = connection
        .query_row(&format!("SELECT coalesce(sum(n), 0) FROM ({grouped})"), [], |row| row.get::<_, i64>(0))?;
    if total == 0 {
        return Ok(None);
    }
    let mut statement = connection.prepare(&format!("{grouped} LIMIT {examples}"))?;
    let mut rows = statement.query([])?;
    let mut shown = Vec::new();
    while let Some(row) = rows.next()? {
        let key: Key = table.logged_key(connection, raw_key(row, table.key.len())?)?;
        shown.push(Example { key, value: None, comes_back: None });
    }
    Ok(Some(Trouble {
        column: Some(names.join(", ")),
        why: format!("({}) is unique in {}, and these rows have the same there", names.join(", "), plan.new),
        rows: u64::try_from(total).unwrap_or_default(),
        examples: shown,
    }))
}
