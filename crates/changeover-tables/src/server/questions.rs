//! What `check` asks of a side: whether the spec's expressions can be computed there, and whether values would be the same under
//! the other side's unique indexes.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::{BatchBudget, Image, KeyRange, RowStream};
use changeover::{Side, StoreError};

use super::read::logged_key;
use super::scan::Scan;
use super::session::{DbError, Session, Trouble as Cause};
use super::store::ServerStore;
use super::trial::ServerTrial;
use crate::catalog::IndexPart;
use crate::data::{Duplicates, Example, Trial, Trouble};
use crate::plan::{Finding, Severity, Source, TablePlan};
use crate::shape::SideTable;
use crate::syntax::expression;
use changeover::Value;

impl ServerStore {
    /// Every expression of the spec's that this side can't compute. Computes none of them.
    pub(super) async fn bad_expressions(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        let doing = "checking expressions";
        let mut session = self.inner.session(doing).await?;
        let mut found = Vec::new();
        for table in tables {
            let Ok(known) = self.inner.table(&table.name) else { continue };
            for (column, place, sql) in expressions(table, self.inner.info.side) {
                let whole =
                    format!("EXPLAIN SELECT 1 FROM {} WHERE {} IS NOT NULL", known.table, expression(sql));
                match session.query(&whole, &[]).await {
                    Ok(_) => {}
                    Err(error) if error.trouble == Cause::Gone => {
                        return Err(self.inner.place.error(doing, &error));
                    }
                    Err(error) => found.push(self.finding(table, known, (column, place, sql), &error)),
                }
            }
        }
        session.release();
        Ok(found)
    }

    fn finding(
        &self,
        table: &TablePlan,
        known: &SideTable,
        (column, place, sql): (Option<&str>, &str, &str),
        error: &DbError,
    ) -> Finding {
        let server = self.inner.dialect.server();
        Finding {
            severity: Severity::Error,
            table: table.name.clone(),
            column: column.map(str::to_owned),
            what: format!("`{place}`: {server} doesn't understand `{sql}`: {}", error.cause()),
            remedy: format!(
                "write it in {server}'s SQL over the columns of {}; text stands in single quotes",
                known.info.name
            ),
        }
    }
}

/// What a side computes: the column, where it stands in the spec, and the SQL.
fn expressions(table: &TablePlan, side: Side) -> Vec<(Option<&str>, &'static str, &str)> {
    let mut all = Vec::new();
    match side {
        Side::Old => {
            for column in &table.columns {
                if let Source::Sql(sql) = &column.source {
                    all.push((Some(column.target.column.as_str()), "set", sql.as_str()));
                }
            }
            all.extend(table.where_.as_deref().map(|sql| (None, "where", sql)));
        }
        Side::New => {
            for column in &table.back {
                if let Source::Sql(sql) = &column.source {
                    all.push((Some(column.target.column.as_str()), "back", sql.as_str()));
                }
            }
        }
    }
    all
}

#[async_trait]
impl Duplicates for ServerStore {
    async fn duplicates(&self, plan: &TablePlan, examples: usize) -> Result<Vec<Trouble>, StoreError> {
        let doing = "looking for duplicates";
        if self.inner.info.side != Side::Old {
            return Ok(Vec::new());
        }
        let table = self.inner.table(&plan.name)?;
        let mut session = self.inner.session(doing).await?;
        let mut found = Vec::new();
        for index in plan.new_info.unique.iter().filter(|index| index.partial.is_none()) {
            // A look at all rows takes as long as it does.
            let begun = session.batch(self.inner.dialect.begin_snapshot()).await;
            begun.map_err(|error| self.inner.place.error(doing, &error))?;
            let looked = duplicates(session.as_mut(), table, plan, &index.parts, examples).await;
            let ended = session.batch("ROLLBACK").await;
            match looked.and_then(|found| ended.map(|()| found)) {
                Ok(trouble) => found.extend(trouble),
                // An expression that fails over a row is that row's trouble, and told with the rows.
                Err(error) if error.trouble == Cause::Row => {}
                Err(error) => return Err(self.inner.place.error(doing, &error)),
            }
        }
        session.release();
        Ok(found)
    }

    async fn with_own(&self, plan: &TablePlan, columns: &[String]) -> Result<RowStream, StoreError> {
        let table = self.inner.table(&plan.name)?;
        let image = table.canonical.beside(table.own_columns(columns));
        let session = self.inner.session("scanning").await?;
        let (sender, stream) = RowStream::channel(self.inner.info.name.clone(), plan.name.clone());
        let whole = (Image::Canonical, BatchBudget::default());
        let scan =
            Scan::new(Arc::clone(&self.inner), plan.name.clone(), whole.0, whole.1, sender).wider(image);
        tokio::spawn(scan.run(session, KeyRange::default()));
        Ok(stream)
    }

    async fn trial(&self, plan: &TablePlan) -> Result<Result<Box<dyn Trial>, String>, StoreError> {
        ServerTrial::begin(&self.inner, &plan.name).await
    }
}

/// Rows whose canonical values are the same in a unique index of the new table, as this server compares them.
async fn duplicates(
    session: &mut dyn Session,
    table: &SideTable,
    plan: &TablePlan,
    parts: &[IndexPart],
    examples: usize,
) -> Result<Option<Trouble>, DbError> {
    let mut columns = Vec::new();
    let mut names = Vec::new();
    for part in parts {
        let IndexPart::Column { name: column, .. } = part else { return Ok(None) };
        let planned = plan.columns.iter().find(|c| c.target.column.eq_ignore_ascii_case(column));
        let Some(planned) = planned else { return Ok(None) };
        names.push(column.as_str());
        match &planned.source {
            Source::Column(old) => columns.push(table.syntax.name(old)),
            Source::Sql(sql) => columns.push(expression(sql)),
            Source::Const(Value::Null) => return Ok(None),
            // The same in all rows, and nothing to group by.
            Source::Const(_) => {}
        }
    }
    let by = if columns.is_empty() { String::new() } else { format!("GROUP BY {}", columns.join(", ")) };
    let not_null: String = columns.iter().map(|c| format!(" AND ({c}) IS NOT NULL")).collect();
    let from = format!("FROM {} WHERE true{}{not_null}", table.table, table.and_scope());
    let keys: Vec<String> = table.key.iter().map(|key| format!("min({})", key.read)).collect();
    let grouped = format!("SELECT {}, count(*) AS n {from} {by} HAVING count(*) > 1", keys.join(", "));
    let total = session.query(&format!("SELECT sum(n) FROM ({grouped}) AS twice"), &[]).await?;
    let total: u64 = match total.first().and_then(|row| row.first()) {
        None | Some(Value::Null) => return Ok(None),
        Some(total) => total.plain().and_then(|total| total.parse().ok()).unwrap_or_default(),
    };
    let rows = session.query(&format!("{grouped} LIMIT {examples}"), &[]).await?;
    let example = |row: &Vec<Value>| Example {
        key: logged_key(table, &row[..table.key.len()]),
        value: None,
        comes_back: None,
    };
    Ok(Some(Trouble {
        column: Some(names.join(", ")),
        why: format!("({}) is unique in {}, and these rows have the same there", names.join(", "), plan.new),
        rows: total,
        examples: rows.iter().map(example).collect(),
    }))
}
