//! One side of a migration in one SQLite database, as the engine sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use changeover::keyed::slot_text;
use changeover::protocol::slots::Slots;
use changeover::store::capture::CaptureLog;
use changeover::store::fence::Fence;
use changeover::store::guard::Guarded;
use changeover::store::{
    BatchBudget, Identity, Image, KeyRange, RowStream, Rows, Store, StoreInfo, TableShape,
};
use changeover::{Key, Side, Slot, StoreError, TableName, Value};
use rusqlite::Connection;

use super::claims::Log;
use super::pool::{Session, SqliteDatabase, SqliteOptions, in_the_old_manner};
use super::{catalog, install, scan, sql};
use crate::plan::Plan;
use crate::shape::SideTable;

/// One side of a migration: those of its mappings whose table on that side is in this database.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) inner: Arc<Inner>,
    /// A connection that does nothing but see whether others have committed: SQLite counts that for each connection.
    pub(super) poller: Arc<SqliteDatabase>,
    pub(super) seen_version: AtomicI64,
    shapes: Vec<TableShape>,
}

/// What the threads need to know.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) database: Arc<SqliteDatabase>,
    pub(super) migration: String,
    pub(super) info: StoreInfo,
    pub(super) tables: Vec<SideTable>,
    slots: Slots,
}

impl Inner {
    /// The mapping with this name.
    pub(super) fn table(&self, name: &TableName) -> Result<&SideTable, StoreError> {
        self.tables.iter().find(|table| table.name() == name).ok_or_else(|| StoreError::Schema {
            store: self.info.name.clone(),
            table: name.clone(),
            problem: "isn't one of this store's mappings".to_owned(),
            remedy: "Name a mapping of the spec".to_owned(),
        })
    }

    pub(super) fn slot_of(&self, values: &[Value]) -> Slot {
        self.slots.slot(&slot_text(values))
    }
}

impl SqliteStore {
    /// The side of a migration that is in this database. Both sides in one file share the [`SqliteDatabase`].
    ///
    /// # Errors
    /// If the file can't be opened once more.
    pub async fn new(
        database: Arc<SqliteDatabase>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Self, StoreError> {
        let name = database.place.store.clone();
        let here = plan.tables.iter().filter(|table| match side {
            Side::Old => table.old.store == name,
            Side::New => table.new.store == name,
        });
        let tables: Vec<SideTable> = here.map(|table| SideTable::new(&sql::Sqlite, table, side)).collect();
        let poller_options = SqliteOptions { readers: 1, ..SqliteOptions::default() };
        let poller = database.open_beside(poller_options).await?;
        Ok(Self {
            shapes: tables.iter().map(|table| table.shape.clone()).collect(),
            poller,
            seen_version: AtomicI64::new(-1),
            inner: Arc::new(Inner {
                database,
                migration: migration.to_owned(),
                info: StoreInfo { name, kind: "sqlite", side },
                tables,
                slots: Slots::new(migration),
            }),
        })
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Arc<SqliteDatabase> {
        &self.inner.database
    }

    /// Removes what this migration has installed in the database, on either side; but not the fence of the side `fenced`,
    /// which stays as it is. May be repeated.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .database
            .write("removing what was installed", move |session| {
                Ok(install::remove_of(&session.connection, &inner.migration, fenced)?)
            })
            .await
    }

    /// Retires this side's tables: removes what was installed, and renames each table to `NAME_retired`. No data is dropped.
    /// Tables that are renamed already are left alone; one that has rows outside of the migration keeps its name, and is
    /// answered without a new one: the service goes on with those rows.
    ///
    /// # Errors
    /// What the database says; then nothing was changed.
    pub async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let work = move |session: &mut Session| Ok(retire(&session.connection, &inner)?);
        self.inner.database.write("retiring the tables", work).await
    }

    /// Tries whether the tables can be retired, and leaves everything as it is.
    ///
    /// # Errors
    /// What the database says, as where a table with the new name is there.
    pub async fn try_retiring(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let work = move |session: &mut Session| {
            let connection = &session.connection;
            connection.execute_batch("SAVEPOINT changeover_try")?;
            let tried = retire(connection, &inner);
            connection.execute_batch("ROLLBACK TO changeover_try; RELEASE changeover_try")?;
            Ok(tried.map(drop)?)
        };
        self.inner.database.write("trying to retire the tables", work).await
    }
}

fn retire(connection: &Connection, inner: &Inner) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    install::remove_of(connection, &inner.migration, None)?;
    let mut renamed: Vec<(String, Option<String>)> = Vec::new();
    for table in &inner.tables {
        let there = install::exists(connection, &table.info.name)?;
        if !there || renamed.iter().any(|(old, _)| *old == table.info.name) {
            continue;
        }
        let retired = if has_others(connection, inner, table)? {
            None
        } else {
            let retired = format!("{}_retired", table.info.name);
            let new = sql::name(&retired);
            let rename = format!("ALTER TABLE {} RENAME TO {new}", table.table);
            in_the_old_manner(connection, || connection.execute_batch(&rename))?;
            Some(retired)
        };
        renamed.push((table.info.name.clone(), retired));
    }
    Ok(renamed)
}

/// Whether a table has rows that no mapping of the migration covers.
fn has_others(connection: &Connection, inner: &Inner, table: &SideTable) -> rusqlite::Result<bool> {
    let mut covered = Vec::new();
    for mapping in inner.tables.iter().filter(|mapping| mapping.table == table.table) {
        match &mapping.scope {
            None => return Ok(false),
            Some(scope) => covered.push(format!("coalesce(({scope}), 0)")),
        }
    }
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE NOT ({}))", table.table, covered.join(" OR "));
    connection.query_row(&sql, [], |row| row.get(0))
}

#[async_trait]
impl Store for SqliteStore {
    fn info(&self) -> &StoreInfo {
        &self.inner.info
    }

    fn tables(&self) -> &[TableShape] {
        &self.shapes
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let inner = Arc::clone(&self.inner);
        let (tables, log) = self
            .inner
            .database
            .read("reading the tables' definitions", move |session| {
                // Which log it is and how far it has come are one look.
                let connection = session.connection.unchecked_transaction()?;
                let definition = |table: &SideTable| {
                    Ok((table.name().clone(), catalog::definition(&connection, &table.info.name)?))
                };
                let tables = inner.tables.iter().map(definition).collect::<rusqlite::Result<Vec<_>>>()?;
                Ok((tables, Log::new(&inner, &connection).mark()?))
            })
            .await?;
        let path = self.inner.database.path().to_path_buf();
        let server =
            tokio::task::spawn_blocking(move || file_identity(&path)).await.ok().and_then(Result::ok);
        let place = &self.inner.database.place;
        let server = server.ok_or_else(|| place.gone("looking at the file", "it is no longer there"))?;
        Ok(Identity { server, log, tables })
    }

    async fn read_within(
        &self,
        table: &TableName,
        keys: &[Key],
        image: Image,
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        let (inner, table, keys) = (Arc::clone(&self.inner), table.clone(), keys.to_vec());
        if inner.table(&table)?.image(image).is_none() {
            return Err(scan::no_back(&inner.database.place));
        }
        self.inner
            .database
            .read("reading rows", move |session| {
                let transaction = session.connection.unchecked_transaction()?;
                let found = inner.tables.iter().find(|t| *t.name() == table);
                match found.and_then(|t| t.image(image).map(|image| (t, image))) {
                    Some((table, image)) => table.read(&transaction, image, &keys, bytes),
                    None => Ok(Rows::default()),
                }
            })
            .await
    }

    async fn scan(
        &self,
        table: &TableName,
        range: &KeyRange,
        image: Image,
        budget: BatchBudget,
    ) -> Result<RowStream, StoreError> {
        self.inner.table(table)?;
        let (sender, stream) = RowStream::channel(self.inner.info.name.clone(), table.clone());
        let (inner, table, range) = (Arc::clone(&self.inner), table.clone(), range.clone());
        self.inner
            .database
            .scan(move |session| {
                if let Ok(table) = inner.table(&table) {
                    let place = &inner.database.place;
                    scan::run(&session.connection, table, place, (&range, image, budget), sender);
                }
            })
            .await?;
        Ok(stream)
    }

    async fn cut(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Option<Key>, StoreError> {
        self.with_table(table, "cutting a chunk", {
            let after = after.cloned();
            move |connection, table| table.cut(connection, after.as_ref(), rows)
        })
        .await
    }

    async fn locate(
        &self,
        table: &TableName,
        keys: &[Key],
        bounds: &[Key],
    ) -> Result<Vec<usize>, StoreError> {
        let (keys, bounds) = (keys.to_vec(), bounds.to_vec());
        self.with_table(table, "locating keys", move |connection, table| {
            table.locate(connection, &keys, &bounds)
        })
        .await
    }

    async fn estimate(&self, table: &TableName) -> Result<u64, StoreError> {
        self.with_table(table, "estimating the rows", |connection, table| {
            let scope = table.scope.as_ref().map(|scope| format!(" WHERE {scope}")).unwrap_or_default();
            let counted =
                connection.query_row(&format!("SELECT count(*) FROM {}{scope}", table.table), [], |row| {
                    row.get::<_, i64>(0)
                });
            let rows = match counted {
                // A `where` that fails over some row: then all rows, for progress only.
                Err(error) if super::errors::is_of_row(&error) => {
                    connection
                        .query_row(&format!("SELECT count(*) FROM {}", table.table), [], |row| row.get(0))?
                }
                counted => counted?,
            };
            Ok(u64::try_from(rows).unwrap_or_default())
        })
        .await
    }

    fn guarded(&self) -> Option<&dyn Guarded> {
        Some(self)
    }

    fn capture(&self) -> Option<&dyn CaptureLog> {
        Some(self)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        Some(self)
    }
}

impl SqliteStore {
    async fn with_table<T, F>(&self, table: &TableName, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + Default + 'static,
        F: FnOnce(&Connection, &SideTable) -> rusqlite::Result<T> + Send + 'static,
    {
        self.inner.table(table)?;
        let (inner, table) = (Arc::clone(&self.inner), table.clone());
        self.inner
            .database
            .read(doing, move |session| match inner.tables.iter().find(|t| *t.name() == table) {
                Some(table) => work(&session.connection, table),
                None => Ok(T::default()),
            })
            .await
    }
}

/// What tells a file from a copy of it that was put in its place: its number, and when it was made.
fn file_identity(path: &std::path::Path) -> std::io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    let made = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let made = made.map(|at| at.as_nanos()).unwrap_or_default();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0_u64;
    Ok(format!("file {number}, made {made}"))
}
