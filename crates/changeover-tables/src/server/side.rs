//! What the control plane asks of a side beyond the engine's contract: what it carries of ours, and the end of it.

use async_trait::async_trait;
use changeover::{Side, StoreError, TableName};

use super::install::{LogTable, Thing, thing_name};
use super::lock::raise_all;
use super::remove::remove_of;
use super::session::{DbError, Session, Trouble};
use super::store::{Inner, ServerStore};
use crate::catalog::TableInfo;
use crate::database::SideStore;
use crate::installed::Installed;
use crate::plan::{Finding, TablePlan};
use crate::shape::SideTable;
use changeover::store::capture::CaptureOptions;

#[async_trait]
impl SideStore for ServerStore {
    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        self.counters().await
    }

    async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        let doing = "raising the counters";
        let mut session = self.inner.session(doing).await?;
        let raised = raise_all(&self.inner, session.as_mut(), at_least).await;
        self.inner.given_back(doing, session, raised)
    }

    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError> {
        let doing = "removing what was installed";
        let mut session = self.begin_removal(doing).await?;
        let removed = remove_of(session.as_mut(), self.inner.dialect, &self.inner.migration, fenced).await;
        let ended = self.end_removal(doing, session, removed).await;
        self.inner.own_tables_removed().await;
        ended
    }

    async fn try_retiring(&self) -> Result<(), StoreError> {
        let doing = "trying to retire the tables";
        if !self.inner.dialect.defines_in_transactions() {
            return self.look_at_retiring(doing).await;
        }
        let mut session = self.begin_removal(doing).await?;
        let tried = retire(session.as_mut(), &self.inner).await;
        let rolled_back = session.batch("ROLLBACK").await;
        self.inner.own_tables_removed().await;
        self.inner.given_back(doing, session, tried.and(rolled_back))
    }

    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let doing = "retiring the tables";
        let mut session = self.begin_removal(doing).await?;
        let (renamed, done) = match retire(session.as_mut(), &self.inner).await {
            Ok(renamed) => (renamed, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let ended = self.end_removal(doing, session, done).await;
        self.inner.own_tables_removed().await;
        ended.map(|()| renamed)
    }

    async fn check_expressions(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        self.bad_expressions(tables).await
    }

    async fn check_way_back(&self, _tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        Ok(Vec::new())
    }

    fn may_install(&self) -> Vec<Installed> {
        let inner = &self.inner;
        let Some(captures) = inner.dialect.captures() else { return Vec::new() };
        let log = LogTable::new(captures, &inner.migration, inner.info.side, &inner.tables);
        let options = CaptureOptions { bound: 1, overflow: true };
        let mut things = Vec::new();
        for Thing { name, on, .. } in
            captures.capture(inner, &log, options).into_iter().chain(captures.fence(inner))
        {
            things.push(Installed { kind: "trigger".to_owned(), name: name.clone(), on: on.clone() });
            things.push(Installed { kind: "function".to_owned(), name, on });
        }
        let name = thing_name("log", &inner.migration, inner.info.side, None);
        things.push(Installed { kind: "table".to_owned(), on: inner.dialect.own(&name), name });
        things
    }
}

impl ServerStore {
    /// Where renaming can't be tried and taken back: whether the names are free.
    async fn look_at_retiring(&self, doing: &str) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let looked = async {
            for table in &inner.tables {
                let retired = TableInfo { name: retired(&table.info.name), ..table.info.clone() };
                let is_there = inner.dialect.is_there(&retired);
                if !session.query(&is_there.sql, &is_there.params).await?.is_empty() {
                    let what = format!("there is a table {} already", retired.name);
                    return Err(DbError::ours(Trouble::Other, what));
                }
            }
            Ok(())
        };
        let looked = looked.await;
        inner.given_back(doing, session, looked)
    }
}

fn retired(table: &str) -> String {
    format!("{table}_retired")
}

async fn retire(session: &mut dyn Session, inner: &Inner) -> Result<Vec<(String, Option<String>)>, DbError> {
    remove_of(session, inner.dialect, &inner.migration, None).await?;
    let mut renamed: Vec<(String, Option<String>)> = Vec::new();
    for table in &inner.tables {
        let is_there = inner.dialect.is_there(&table.info);
        let there = !session.query(&is_there.sql, &is_there.params).await?.is_empty();
        if !there || renamed.iter().any(|(old, _)| *old == table.info.name) {
            continue;
        }
        let retired = if has_others(session, inner, table).await? {
            None
        } else {
            let retired = retired(&table.info.name);
            session.batch(&inner.dialect.rename(&table.info, &retired)).await?;
            Some(retired)
        };
        renamed.push((table.info.name.clone(), retired));
    }
    Ok(renamed)
}

/// Whether a table has rows that no mapping of the migration covers.
async fn has_others(session: &mut dyn Session, inner: &Inner, table: &SideTable) -> Result<bool, DbError> {
    let mut covered = Vec::new();
    for mapping in inner.tables.iter().filter(|mapping| mapping.table == table.table) {
        match &mapping.scope {
            None => return Ok(false),
            Some(scope) => covered.push(format!("({scope}) IS TRUE")),
        }
    }
    let sql = format!("SELECT 1 FROM {} WHERE NOT ({}) LIMIT 1", table.table, covered.join(" OR "));
    Ok(!session.query(&sql, &[]).await?.is_empty())
}
