//! A database behind a server: its sessions, what it says of itself, and its stores. What differs is the kind of server's
//! ([`Server`]).

use std::sync::Arc;

use async_trait::async_trait;
use changeover::{Side, StoreError, Value};

use super::dialect::Statement;
use super::own::{Rightful, Wanted};
use super::session::{DbError, Place, Session, Sessions};
use super::store::{Inner, Manners, Server, ServerStore};
use super::{own, probe, remove};
use crate::catalog::Catalog;
use crate::database::{Database, Owned, Probed, Roads, Scope, SideStore, Watch};
use crate::installed::Installed;
use crate::plan::Plan;

/// A database behind a server of the kind `K`.
#[derive(Debug)]
pub struct ServerDatabase<K> {
    kind: Arc<K>,
    sessions: Arc<Rightful>,
    place: Place,
    manners: Manners,
    identifier: String,
}

impl<K> ServerDatabase<K> {
    pub(crate) fn new(
        kind: K,
        sessions: Arc<dyn Sessions>,
        (place, manners): (Place, Manners),
        identifier: String,
    ) -> Arc<Self> {
        let sessions = Rightful::new(sessions);
        Arc::new(Self { kind: Arc::new(kind), sessions, place, manners, identifier })
    }

    async fn session(&self, doing: &str) -> Result<Box<dyn Session>, StoreError> {
        self.sessions.take().await.map_err(|error| self.place.error(doing, &error))
    }

    /// What came of what a session was taken for; the session goes back if it went well.
    fn given_back<T>(
        &self,
        doing: &str,
        session: Box<dyn Session>,
        result: Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let value = result.map_err(|error| self.place.error(doing, &error))?;
        session.release();
        Ok(value)
    }
}

#[async_trait]
impl<K: Server + 'static> Database for ServerDatabase<K> {
    fn kind(&self) -> &'static str {
        self.kind.dialect().kind()
    }

    fn identifier(&self) -> String {
        self.identifier.clone()
    }

    fn place(&self) -> String {
        self.place.at.clone()
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        let catalog = self.kind.catalog(&self.place, self.manners).await;
        catalog.map_err(|error| self.place.error("reading the catalogue", &error))
    }

    async fn make_table(&self, sql: &str) -> Result<(), StoreError> {
        let doing = "making a table";
        let mut session = self.session(doing).await?;
        let made = session.batch(sql).await;
        self.given_back(doing, session, made)
    }

    async fn probe(&self) -> Result<Vec<Probed>, StoreError> {
        let doing = "trying what a migration does";
        let mut session = self.session(doing).await?;
        let tried = probe::run(session.as_mut(), &self.kind.dialect().probe()).await;
        self.given_back(doing, session, tried)
    }

    async fn roads(&self) -> Result<Roads, StoreError> {
        let session = self.session("looking how it is read and written").await?;
        let roads = session.roads();
        session.release();
        Ok(roads)
    }

    async fn side(
        self: Arc<Self>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Arc<dyn SideStore>, StoreError> {
        let kind: Arc<dyn Server> = Arc::<K>::clone(&self.kind);
        let sessions: Arc<dyn Sessions> = Arc::<Rightful>::clone(&self.sessions);
        let towards = (sessions, self.place.clone(), self.manners);
        let inner = Inner::new(kind.dialect(), towards, migration, side, plan);
        Ok(Arc::new(ServerStore::new(inner, kind)))
    }

    async fn own(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
        holder: &str,
    ) -> Result<Box<dyn Owned>, StoreError> {
        let wanted =
            Wanted { migration: migration.to_owned(), tables: tables.to_vec(), holder: holder.to_owned() };
        let kind: Arc<dyn Server> = Arc::<K>::clone(&self.kind);
        Ok(Box::new(own::take(kind, &self.sessions, &self.place, wanted).await?))
    }

    async fn installed(&self) -> Result<Vec<Installed>, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let list = self.kind.dialect().list(session.as_mut()).await;
        self.given_back(doing, session, list)
    }

    async fn strangers(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(remove::strangers(&self.installed().await?, migration, tables))
    }

    async fn removal_sql(&self, migration: &str, may_have: Vec<Installed>) -> Result<String, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let sql = remove::removal_sql(session.as_mut(), self.kind.dialect(), migration, may_have).await;
        self.given_back(doing, session, sql)
    }

    async fn remove_migration(self: Arc<Self>, migration: &str) -> Result<(), StoreError> {
        let (doing, dialect) = ("removing what was installed", self.kind.dialect());
        let mut session = self.session(doing).await?;
        let removed = async {
            session.batch(&dialect.begin_removal(self.manners.lock_wait)).await?;
            remove::remove_of(session.as_mut(), dialect, migration, None).await?;
            if dialect.defines_in_transactions() {
                session.commit().await
            } else {
                session.batch(&dialect.end_removal()).await
            }
        };
        let removed = removed.await;
        self.given_back(doing, session, removed)
    }

    async fn watch(&self, tables: &[(Option<String>, String)]) -> Result<Box<dyn Watch>, StoreError> {
        let sessions: Arc<dyn Sessions> = Arc::<Rightful>::clone(&self.sessions);
        let place = self.place.clone();
        let look = self.kind.writes_to(tables);
        let mut watch = ServerWatch { sessions, place, look, before: Vec::new() };
        watch.before = watch.look().await?;
        Ok(Box::new(watch))
    }

    async fn close(&self) {
        self.sessions.close();
    }
}

/// What a server has counted, or noted, of the writes to some tables.
struct ServerWatch {
    sessions: Arc<dyn Sessions>,
    place: Place,
    look: Statement,
    before: Vec<Vec<Value>>,
}

impl ServerWatch {
    async fn look(&self) -> Result<Vec<Vec<Value>>, StoreError> {
        let looked = async {
            let mut session = self.sessions.take().await?;
            let rows = session.query(&self.look.sql, &self.look.params).await?;
            session.release();
            Ok(rows)
        };
        looked.await.map_err(|error: DbError| self.place.error("watching it", &error))
    }
}

#[async_trait]
impl Watch for ServerWatch {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(self.look().await? != self.before)
    }
}
