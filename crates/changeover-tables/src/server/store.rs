//! One side of a migration in a database behind a server, as the engine sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use changeover::keyed::slot_text;
use changeover::protocol::slots::Slots;
use changeover::store::capture::CaptureLog;
use changeover::store::digest::Digests;
use changeover::store::fence::Fence;
use changeover::store::guard::Guarded;
use changeover::store::strain::Strain;
use changeover::store::unread::Unread;
use changeover::store::{
    BatchBudget, Identity, Image, KeyRange, RowStream, Rows, Store, StoreInfo, TableShape,
};
use changeover::{Key, Side, Slot, StoreError, TableName, Value};
use tokio::sync::Mutex;

use super::claims::Log;
use super::dialect::{Dialect, Statement};
use super::install::Captures;
use super::own::{Former, Held, Wanted};
use super::read::image_of;
use super::scan::Scan;
use super::session::{DbError, Place, Session, Sessions, Trouble};
use super::{locate, point};
use crate::catalog::Catalog;
use crate::plan::Plan;
use crate::shape::SideTable;

/// How a store behaves towards its server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// How long it waits for a lock.
    pub(crate) lock_wait: Duration,
    /// Whether it may silence other triggers and foreign keys while it writes.
    pub(crate) silent: bool,
}

/// What every task of a store needs to know.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) place: Place,
    pub(crate) migration: String,
    pub(crate) info: StoreInfo,
    pub(crate) tables: Vec<SideTable>,
    pub(crate) manners: Manners,
    slots: Slots,
    made_own: Mutex<bool>,
}

impl Inner {
    /// Those mappings of a plan whose table on that side is in this store.
    pub(crate) fn new(
        dialect: &'static dyn Dialect,
        (sessions, place, manners): (Arc<dyn Sessions>, Place, Manners),
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Self {
        let here = plan.tables.iter().filter(|table| match side {
            Side::Old => table.old.store == place.store,
            Side::New => table.new.store == place.store,
        });
        Self {
            tables: here.map(|table| SideTable::new(dialect.syntax(), table, side)).collect(),
            info: StoreInfo { name: place.store.clone(), kind: dialect.kind(), side },
            migration: migration.to_owned(),
            slots: Slots::new(migration),
            made_own: Mutex::new(false),
            dialect,
            sessions,
            place,
            manners,
        }
    }

    /// The mapping with this name.
    pub(crate) fn table(&self, name: &TableName) -> Result<&SideTable, StoreError> {
        self.tables.iter().find(|table| table.name() == name).ok_or_else(|| StoreError::Schema {
            store: self.info.name.clone(),
            table: name.clone(),
            problem: "isn't one of this store's mappings".to_owned(),
            remedy: "Name a mapping of the spec".to_owned(),
        })
    }

    pub(crate) fn slot_of(&self, values: &[Value]) -> Slot {
        self.slots.slot(&slot_text(values))
    }

    /// How changes are captured and writes refused: asked for only where there is that capability.
    pub(crate) fn captures(&self) -> Result<&'static dyn Captures, DbError> {
        self.dialect.captures().ok_or_else(|| {
            DbError::ours(Trouble::Other, format!("{} captures no changes", self.dialect.server()))
        })
    }

    /// A session, and the name of what it is for.
    pub(crate) async fn session(&self, doing: &str) -> Result<Box<dyn Session>, StoreError> {
        self.sessions.take().await.map_err(|error| self.place.error(doing, &error))
    }

    /// The side of the migration, as its guards name it.
    pub(crate) fn guarded(&self) -> String {
        format!("{}:{}", self.migration, self.info.side.name())
    }

    /// Our own tables are there after this.
    pub(crate) async fn make_own_tables(&self, session: &mut dyn Session) -> Result<(), DbError> {
        let mut made = self.made_own.lock().await;
        if !*made {
            // Two that make them at once get in each other's way, and then they are there.
            if let Err(error) = session.batch(&self.dialect.create_own(&self.guarded())).await {
                if error.trouble == Trouble::Gone {
                    return Err(error);
                }
                session.batch(&self.dialect.create_own(&self.guarded())).await?;
            }
            *made = true;
        }
        Ok(())
    }

    /// Our own tables may be gone.
    pub(crate) async fn own_tables_removed(&self) {
        *self.made_own.lock().await = false;
    }

    /// What came of what a session was taken for; the session goes back if it went well.
    pub(crate) fn given_back<T>(
        &self,
        doing: &str,
        session: Box<dyn Session>,
        result: Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let value = result.map_err(|error| self.place.error(doing, &error))?;
        session.release();
        Ok(value)
    }

    pub(crate) fn no_back(&self) -> StoreError {
        self.place.refused(
            "reading the write-back image",
            "the old side has none",
            "Only the new side can be asked for what is to be written to the old one",
        )
    }
}

/// What a kind of server adds to what is common to all.
#[async_trait]
pub(crate) trait Server: Send + Sync + std::fmt::Debug {
    /// What its SQL says.
    fn dialect(&self) -> &'static dyn Dialect;

    /// What the database says of itself. Changes nothing.
    async fn catalog(&self, place: &Place, manners: Manners) -> Result<Catalog, DbError>;

    /// Takes the locks of whoever wants to work on some tables, for as long as the session lasts. `None`: it has all of them.
    async fn own(&self, session: &mut dyn Session, wanted: &Wanted) -> Result<Option<Held>, DbError>;

    /// What tells this session from all others.
    async fn identify(&self, session: &mut dyn Session) -> Result<Former, DbError>;

    /// Ends the session that was this one, if the server has it still.
    async fn end(&self, session: &mut dyn Session, former: &Former) -> Result<(), DbError>;

    /// What tells whether somebody wrote to these tables: a statement whose answer is another one then.
    fn writes_to(&self, tables: &[(Option<String>, String)]) -> Statement;

    /// Which server it is, and what its tables are.
    async fn identity(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
    ) -> Result<(String, Vec<(TableName, String)>), DbError>;
}

/// One side of a migration: those of its mappings whose table on that side is in this database.
#[derive(Debug)]
pub(crate) struct ServerStore {
    pub(crate) inner: Arc<Inner>,
    server: Arc<dyn Server>,
    shapes: Vec<TableShape>,
    /// Of each table that was cut.
    densities: Mutex<HashMap<TableName, locate::Density>>,
    /// What the log looked like when it was last looked at for changes: its newest entry, and how many there were.
    pub(super) seen: (AtomicI64, AtomicI64),
}

impl ServerStore {
    pub(crate) fn new(inner: Inner, server: Arc<dyn Server>) -> Self {
        let shapes = inner.tables.iter().map(|table| table.shape.clone()).collect();
        let seen = (AtomicI64::new(-1), AtomicI64::new(-1));
        Self { inner: Arc::new(inner), server, shapes, densities: Mutex::default(), seen }
    }
}

#[async_trait]
impl Store for ServerStore {
    fn info(&self) -> &StoreInfo {
        &self.inner.info
    }

    fn tables(&self) -> &[TableShape] {
        &self.shapes
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let doing = "reading the tables' definitions";
        let mut session = self.inner.session(doing).await?;
        let identity = async {
            let (server, tables) = self.server.identity(session.as_mut(), &self.inner).await?;
            let log = match self.inner.dialect.captures() {
                Some(_) => Log::new(&self.inner, session.as_mut())?.mark().await?,
                None => None,
            };
            Ok(Identity { server, log, tables })
        };
        let identity = identity.await;
        self.inner.given_back(doing, session, identity)
    }

    async fn read_within(
        &self,
        table: &TableName,
        keys: &[Key],
        image: Image,
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        let doing = "reading rows";
        let table = self.inner.table(table)?;
        let image = image_of(table, image).ok_or_else(|| self.inner.no_back())?;
        let mut session = self.inner.session(doing).await?;
        let reading = point::Reading { dialect: self.inner.dialect, table, image, in_transaction: false };
        let rows = reading.rows(session.as_mut(), keys, bytes).await;
        self.inner.given_back(doing, session, rows)
    }

    async fn scan(
        &self,
        table: &TableName,
        range: &KeyRange,
        image: Image,
        budget: BatchBudget,
    ) -> Result<RowStream, StoreError> {
        let known = self.inner.table(table)?;
        image_of(known, image).ok_or_else(|| self.inner.no_back())?;
        let session = self.inner.session("scanning").await?;
        let (sender, stream) = RowStream::channel(self.inner.info.name.clone(), table.clone());
        let scan = Scan::new(Arc::clone(&self.inner), table.clone(), image, budget, sender);
        tokio::spawn(scan.run(session, range.clone()));
        Ok(stream)
    }

    async fn cut(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Option<Key>, StoreError> {
        let doing = "cutting a chunk";
        let table = self.inner.table(table)?;
        let mut session = self.inner.session(doing).await?;
        // Whoever else cuts meanwhile counts.
        let known = self.densities.lock().await.remove(table.name());
        let mut density = known.unwrap_or_default();
        let cut = locate::cut_about(session.as_mut(), table, &mut density, after, rows).await;
        self.densities.lock().await.insert(table.name().clone(), density);
        self.inner.given_back(doing, session, cut)
    }

    async fn locate(
        &self,
        table: &TableName,
        keys: &[Key],
        bounds: &[Key],
    ) -> Result<Vec<usize>, StoreError> {
        let doing = "locating keys";
        let table = self.inner.table(table)?;
        let mut session = self.inner.session(doing).await?;
        let places = locate::locate(session.as_mut(), self.inner.dialect, table, keys, bounds).await;
        self.inner.given_back(doing, session, places)
    }

    async fn estimate(&self, table: &TableName) -> Result<u64, StoreError> {
        let doing = "estimating the rows";
        let table = self.inner.table(table)?;
        let mut session = self.inner.session(doing).await?;
        let statement = self.inner.dialect.estimate(table);
        let answer = session.query(&statement.sql, &statement.params).await;
        let answer = self.inner.given_back(doing, session, answer)?;
        Ok(match answer.first().and_then(|row| row.first()) {
            Some(Value::Int(n)) => u64::try_from(*n).unwrap_or_default(),
            _ => 0,
        })
    }

    async fn strain(&self) -> Result<Strain, StoreError> {
        self.look_at_strain().await
    }

    fn guarded(&self) -> Option<&dyn Guarded> {
        Some(self)
    }

    fn capture(&self) -> Option<&dyn CaptureLog> {
        self.inner.dialect.captures().map(|_| self as &dyn CaptureLog)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        self.inner.dialect.captures().map(|_| self as &dyn Fence)
    }

    fn digests(&self) -> Option<&dyn Digests> {
        self.inner.dialect.hashes().map(|_| self as &dyn Digests)
    }

    fn unread(&self) -> Option<&dyn Unread> {
        self.inner.dialect.passes_unread().then_some(self as &dyn Unread)
    }
}
