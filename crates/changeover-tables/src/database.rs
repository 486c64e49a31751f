//! A database of a migration, whatever its kind: what the control plane asks of it beyond the engine's contract of a store.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use changeover::{Side, StoreError, TableName};

use crate::catalog::Catalog;
use crate::data::Duplicates;
use crate::installed::Installed;
use crate::plan::{Finding, Plan, TablePlan};

/// Which rows of a table a migration works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Whole,
    /// Those with these constants, or this `where`: as text, equal if the scope is.
    Some(String),
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What, as `make a table`.
    pub what: String,
    /// What the database says, if it failed.
    pub failed: Option<String>,
    /// What to do then.
    pub remedy: String,
    /// Whether there are migrations that go without.
    pub optional: bool,
}

/// The right to work on a migration's tables in one database, until it is dropped.
pub trait Owned: fmt::Debug + Send + Sync {
    /// Waits until somebody else has it: [`StoreError::Busy`] with the present holder. Most never do. A right that is held by a
    /// session may be lost with it; then nothing is done in the database until it is taken again, or for good if somebody else was
    /// faster.
    fn taken(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send>>;
}

/// By which roads a database is read and written, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roads {
    /// How rows come out.
    pub reads: String,
    /// How many rows at once go in.
    pub writes: String,
    /// Why not faster, where there is a faster one that the server doesn't allow.
    pub because: Option<String>,
}

/// A database, open.
#[async_trait]
pub trait Database: fmt::Debug + Send + Sync + 'static {
    /// The kind of database: `sqlite`, `postgres`.
    fn kind(&self) -> &'static str;

    /// What tells it from every other database: two stores of a spec that have the same are one.
    fn identifier(&self) -> String;

    /// Where it is, for people.
    fn place(&self) -> String;

    /// Its file, if it is one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// What the database says.
    async fn catalog(&self) -> Result<Catalog, StoreError>;

    /// Makes a table that was [proposed](crate::proposal), by its SQL.
    ///
    /// # Errors
    /// What the database says.
    async fn make_table(&self, sql: &str) -> Result<(), StoreError>;

    /// Tries for real what a migration does in this database beyond its tables, on a table that is made for it and gone after.
    /// A file, which has no rights of its own, has nothing to be tried.
    ///
    /// # Errors
    /// If it can't be reached.
    async fn probe(&self) -> Result<Vec<Probed>, StoreError> {
        Ok(Vec::new())
    }

    /// By which roads it is read and written.
    ///
    /// # Errors
    /// If it can't be reached.
    async fn roads(&self) -> Result<Roads, StoreError>;

    /// Those mappings of a plan whose table on that side is here, as a store.
    ///
    /// # Errors
    /// If the database can't be opened once more.
    async fn side(
        self: Arc<Self>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Arc<dyn SideStore>, StoreError>;

    /// Takes the right to run this migration on these tables. `holder` is shown to whoever comes second: say the migration, the
    /// process, and since when.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the present holder.
    async fn own(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
        holder: &str,
    ) -> Result<Box<dyn Owned>, StoreError>;

    /// What Changeover has installed, of all migrations.
    ///
    /// # Errors
    /// What the database says.
    async fn installed(&self) -> Result<Vec<Installed>, StoreError>;

    /// Other migrations that have triggers on these tables, where they can't be at work on other rows: each table with its
    /// migration.
    ///
    /// # Errors
    /// What the database says.
    async fn strangers(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// The SQL that removes by hand all that a migration has here, and what it may come to have (as its sides say). What is
    /// shared with other migrations stays to them.
    ///
    /// # Errors
    /// What the database says.
    async fn removal_sql(&self, migration: &str, may_have: Vec<Installed>) -> Result<String, StoreError>;

    /// Removes what a migration has installed, on either side: for when there is no plan to make a store by. May be repeated.
    ///
    /// # Errors
    /// What the database says.
    async fn remove_migration(self: Arc<Self>, migration: &str) -> Result<(), StoreError>;

    /// Begins to watch whether somebody else writes to these tables (as their names stand in the catalogue, with their
    /// schema); where the database counts all writes together, to any.
    ///
    /// # Errors
    /// What the database says.
    async fn watch(&self, tables: &[(Option<String>, String)]) -> Result<Box<dyn Watch>, StoreError>;

    /// Closes it: a file is one file then that has everything, unless others have it open.
    async fn close(&self);
}

/// Sees whether somebody else wrote.
#[async_trait]
pub trait Watch: Send {
    /// Whether somebody did since the watch began.
    ///
    /// # Errors
    /// What the database says.
    async fn changed(&mut self) -> Result<bool, StoreError>;
}

/// One side of a migration in a database, with all that isn't the engine's.
#[async_trait]
pub trait SideStore: Duplicates {
    /// The same as [`FenceLock::counters`](changeover::store::fence::FenceLock::counters) without a lock: for a side that nobody
    /// writes to.
    ///
    /// # Errors
    /// What the database says.
    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError>;

    /// Raises this side's counters to at least these and above every key in use: for a side that nobody writes to.
    ///
    /// # Errors
    /// What the database says.
    async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError>;

    /// Removes what this migration has installed in the database, on either side; but not the fence of the side `fenced`, which
    /// stays as it is. May be repeated.
    ///
    /// # Errors
    /// What the database says.
    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError>;

    /// Tries whether the tables can be retired, and leaves everything as it is.
    ///
    /// # Errors
    /// What the database says, as where a table with the new name is there.
    async fn try_retiring(&self) -> Result<(), StoreError>;

    /// Retires this side's tables: removes what was installed, and renames each table to `NAME_retired`. No data is dropped.
    /// Tables that are renamed already are left alone; one that has rows outside of the migration keeps its name, and is
    /// answered without a new one: the service goes on with those rows.
    ///
    /// # Errors
    /// What the database says; then nothing was changed.
    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError>;

    /// Whether every expression of the spec's that this side computes is one: `set` and `where` on the old side, `back` on the
    /// new one. Computes none of them.
    ///
    /// # Errors
    /// What the database says of anything but an expression.
    async fn check_expressions(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError>;

    /// Whether rows that are made on the new side would come back into the mapping's `where`.
    ///
    /// # Errors
    /// What the database says.
    async fn check_way_back(&self, tables: &[TablePlan]) -> Result<Vec<Finding>, StoreError>;

    /// All of its own that this migration may ever install on this side.
    fn may_install(&self) -> Vec<Installed>;
}
