//! A PostgreSQL database: its sessions, what it says of itself, and its stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::{Side, StoreError, TableName, Value};
use tokio_postgres::Config;

use super::catalog;
use super::session::PgSessions;
use super::syntax::Postgres;
use crate::catalog::Catalog;
use crate::plan::Plan;
use crate::server::ServerStore;
use crate::server::session::{DbError, Place, Session};
use crate::server::store::{Inner, Manners, Server};

/// How Changeover behaves towards a PostgreSQL database.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions {
    /// How long it waits for a lock.
    pub lock_wait: Duration,
    /// How many sessions it has at once, at most.
    pub sessions: usize,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(2), sessions: 16 }
    }
}

/// A PostgreSQL database.
#[derive(Debug)]
pub struct PostgresDatabase {
    place: Place,
    sessions: Arc<PgSessions>,
    manners: Manners,
}

impl PostgresDatabase {
    /// Connects, once, to see that it can be reached. `store` is the store's name in the spec, `url` as in
    /// `postgres://user:password@host:5432/database`.
    ///
    /// # Errors
    /// If the URL isn't understood, or the server can't be reached or refuses.
    pub async fn open(
        store: impl Into<String>,
        url: &str,
        options: PostgresOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let (store, doing) = (store.into(), "connecting");
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| StoreError::Refused {
            store: store.clone(),
            doing: doing.to_owned(),
            cause: format!("its URL isn't understood: {error}"),
            remedy: "Write postgres://user@host:port/database".to_owned(),
        })?;
        let place = Place { store, server: "PostgreSQL", at: place_of(&config) };
        let told = |error: DbError| place.error(doing, &error);
        let sessions = Arc::new(PgSessions::new(config, options.sessions).map_err(told)?);
        let mut session = sessions.connect().await.map_err(told)?;
        let silent = may_silence(&mut session).await.map_err(told)?;
        Box::new(session).release();
        let manners = Manners { lock_wait: options.lock_wait, silent };
        Ok(Arc::new(Self { place, sessions, manners }))
    }

    /// What the database says of itself.
    ///
    /// # Errors
    /// What the server says.
    pub async fn catalog(&self) -> Result<Catalog, StoreError> {
        let told = |error: DbError| self.place.error("reading the catalogue", &error);
        let mut session = self.sessions.connect().await.map_err(told)?;
        let tables = catalog::tables(&mut session).await.map_err(told)?;
        let sql = "SELECT pg_encoding_to_char(encoding) = 'UTF8', pg_database_size(oid) \
                   FROM pg_catalog.pg_database WHERE datname = current_database()";
        let rows = session.query(sql, &[]).await.map_err(told)?;
        Box::new(session).release();
        let (utf8, bytes) = match rows.first().map(Vec::as_slice) {
            Some([Value::Bool(utf8), Value::Int(bytes)]) => (*utf8, *bytes),
            _ => (false, 0),
        };
        Ok(Catalog {
            store: self.place.store.clone(),
            kind: "postgres",
            place: self.place.at.clone(),
            tables,
            capturable: Ok(()),
            utf8_order: utf8,
            bytes: u64::try_from(bytes).unwrap_or_default(),
        })
    }

    /// The side of a migration that is in this database.
    #[must_use]
    pub fn store(&self, migration: &str, side: Side, plan: &Plan) -> ServerStore {
        let sessions = Arc::<PgSessions>::clone(&self.sessions);
        let inner =
            Inner::new(&Postgres, (sessions, self.place.clone(), self.manners), migration, side, plan);
        ServerStore::new(inner, Arc::new(PostgresServer))
    }

    /// Ends all sessions that are at rest; the others end as they are given back.
    pub fn close(&self) {
        self.sessions.close();
    }
}

/// Host, port and database, without user and password.
fn place_of(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or("?");
    format!("{host}:{port}/{database}")
}

/// Whether this role may silence triggers and foreign keys for a transaction of its own.
async fn may_silence(session: &mut dyn Session) -> Result<bool, DbError> {
    let tried = session.batch("BEGIN; SET LOCAL session_replication_role = replica").await;
    session.batch("ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if error.code == "42501" => Ok(false),
        Err(error) => Err(error),
    }
}

/// What PostgreSQL adds to what all servers have in common.
#[derive(Debug)]
struct PostgresServer;

#[async_trait]
impl Server for PostgresServer {
    async fn identity(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
    ) -> Result<(String, Vec<(TableName, String)>), DbError> {
        let sql = "SELECT system_identifier::text, (SELECT timeline_id FROM pg_control_checkpoint())::text, \
                   (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()) FROM pg_control_system()";
        let rows = session.query(sql, &[]).await?;
        let parts = rows.first().map(Vec::as_slice).unwrap_or_default();
        let part = |at: usize| parts.get(at).and_then(Value::plain).unwrap_or_default();
        let server = format!("system {}, timeline {}, database {}", part(0), part(1), part(2));
        let mut tables = Vec::new();
        for table in &inner.tables {
            let found = catalog::definitions(session, std::slice::from_ref(&table.table)).await?;
            let definition = found.into_iter().next().map_or_else(|| "gone".to_owned(), |(_, is)| is);
            tables.push((table.name().clone(), definition));
        }
        Ok((server, tables))
    }
}
