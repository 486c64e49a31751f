//! A SQLite file as a [`Database`], and its sides as [`SideStore`]s.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use changeover::{Side, StoreError, TableName};
use rusqlite::{Connection, OpenFlags};

use super::errors::Place;
use super::install;
use super::own::Ownership;
use super::pool::{Session, SqliteDatabase};
use super::store::SqliteStore;
use crate::catalog::Catalog;
use crate::database::{Database, Owned, Roads, Scope, SideStore, Watch};
use crate::installed::Installed;
use crate::plan::{Finding, Plan, TablePlan};

impl Owned for Ownership {
    /// The operating system keeps the files' locks for as long as the process lasts.
    fn taken(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send>> {
        Box::pin(std::future::pending())
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn identifier(&self) -> String {
        let path = self.path();
        path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string()
    }

    fn place(&self) -> String {
        self.path().display().to_string()
    }

    fn file(&self) -> Option<&Path> {
        Some(self.path())
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.catalog().await
    }

    async fn make_table(&self, sql: &str) -> Result<(), StoreError> {
        let sql = sql.to_owned();
        self.read("making a table", move |session| {
            // The thread's connection is one for reading.
            session.connection.pragma_update(None, "query_only", false)?;
            let made = session.connection.execute_batch(&sql);
            session.connection.pragma_update(None, "query_only", true)?;
            made
        })
        .await
    }

    async fn roads(&self) -> Result<Roads, StoreError> {
        Ok(Roads {
            reads: "within this process, a row at a time".to_owned(),
            writes: "within this process, by prepared statements, many rows in a transaction".to_owned(),
            because: None,
        })
    }

    async fn side(
        self: Arc<Self>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Arc<dyn SideStore>, StoreError> {
        Ok(Arc::new(SqliteStore::new(self, migration, side, plan).await?))
    }

    async fn own(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
        holder: &str,
    ) -> Result<Box<dyn Owned>, StoreError> {
        Ok(Box::new(Ownership::take(self, migration, tables, holder).await?))
    }

    async fn installed(&self) -> Result<Vec<Installed>, StoreError> {
        self.read("listing what is installed", |session| install::list(&session.connection)).await
    }

    async fn strangers(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Vec<(String, String)>, StoreError> {
        let (migration, tables) = (migration.to_owned(), tables.to_vec());
        let look = move |session: &mut Session| install::strangers(&session.connection, &migration, &tables);
        self.read("looking for other migrations", look).await
    }

    async fn removal_sql(&self, migration: &str, may_have: Vec<Installed>) -> Result<String, StoreError> {
        let migration = migration.to_owned();
        let list =
            move |session: &mut Session| install::removal_sql(&session.connection, &migration, may_have);
        self.read("listing what is installed", list).await
    }

    async fn remove_migration(self: Arc<Self>, migration: &str) -> Result<(), StoreError> {
        let migration = migration.to_owned();
        let remove =
            move |session: &mut Session| Ok(install::remove_of(&session.connection, &migration, None)?);
        self.write("removing what was installed", remove).await
    }

    /// SQLite counts others' commits for each connection, and all tables together.
    async fn watch(&self, _tables: &[(Option<String>, String)]) -> Result<Box<dyn Watch>, StoreError> {
        let (path, place) = (self.path().to_path_buf(), self.place.clone());
        let begin = move || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let told = |error| place.error("watching it", &error);
            let connection = Connection::open_with_flags(path, flags).map_err(told)?;
            let before = data_version(&connection).map_err(told)?;
            Ok(FileWatch { place, connection, before })
        };
        let begun = tokio::task::spawn_blocking(begin).await;
        let watch = begun.map_err(|_| self.place.gone("watching it", "the task was cancelled"))??;
        Ok(Box::new(watch))
    }

    async fn close(&self) {
        self.close().await;
    }
}

/// A connection of its own, for which others' commits are counted.
struct FileWatch {
    place: Place,
    connection: Connection,
    before: i64,
}

#[async_trait]
impl Watch for FileWatch {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        let version = data_version(&self.connection);
        Ok(version.map_err(|error| self.place.error("watching it", &error))? != self.before)
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    // A read first: without one the number may be that of a page cache long gone.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

#[async_trait]
impl SideStore for SqliteStore {
    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        self.counters().await
    }

    async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        self.raise_counters(at_least).await
    }

    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError> {
        self.remove_installed(fenced).await
    }

    async fn try_retiring(&self) -> Result<(), StoreError> {
        self.try_retiring().await
    }

    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        self.retire().await
    }

    async fn check_expressions(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        self.check_expressions(tables).await
    }

    async fn check_way_back(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError> {
        self.check_way_back(tables).await
    }

    fn may_install(&self) -> Vec<Installed> {
        self.may_install()
    }
}
