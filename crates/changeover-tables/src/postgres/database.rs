//! A PostgreSQL database: its sessions, what it says of itself, and its stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::value::Array;
use changeover::{Side, StoreError, TableName, Value};
use tokio_postgres::Config;

use super::catalog;
use super::own::Ownership;
use super::session::{PgSession, PgSessions};
use super::syntax::Postgres;
use super::url;
use crate::catalog::Catalog;
use crate::database::{Database, Owned, Scope, SideStore, Watch};
use crate::installed::Installed;
use crate::plan::Plan;
use crate::server::ServerStore;
use crate::server::install::Installs as _;
use crate::server::remove::{removal_sql, remove_of, strangers};
use crate::server::session::{DbError, Place, Session};
use crate::server::store::{Inner, Manners, Server};
use crate::syntax::Syntax as _;

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
    identifier: String,
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
        let target = url::target(url).map_err(|cause| StoreError::Refused {
            store: store.clone(),
            doing: doing.to_owned(),
            cause: format!("its URL isn't understood: {cause}"),
            remedy: "Write postgres://user@host:port/database".to_owned(),
        })?;
        let place = Place { store, server: "PostgreSQL", at: place_of(&target.config) };
        let told = |error: DbError| not_let_in(&place, doing, &error);
        let sessions = Arc::new(PgSessions::new(target, options.sessions).map_err(told)?);
        let mut session = sessions.connect().await.map_err(told)?;
        let silent = may_silence(&mut session).await.map_err(told)?;
        let identifier = server_of(&mut session).await.map_err(told)?;
        Box::new(session).release();
        let manners = Manners { lock_wait: options.lock_wait, silent };
        Ok(Arc::new(Self { place, sessions, manners, identifier }))
    }

    /// What the database says of itself. Changes nothing.
    ///
    /// # Errors
    /// What the server says.
    pub async fn catalog(&self) -> Result<Catalog, StoreError> {
        let told = |error: DbError| self.place.error("reading the catalogue", &error);
        let mut session = self.sessions.connect().await.map_err(told)?;
        let tables = catalog::tables(&mut session).await.map_err(told)?;
        let sql = "SELECT pg_encoding_to_char(encoding) = 'UTF8', pg_database_size(oid), current_user::text \
                   FROM pg_catalog.pg_database WHERE datname = current_database()";
        let rows = session.query(sql, &[]).await.map_err(told)?;
        Box::new(session).release();
        let (utf8, bytes, role) = match rows.first().map(Vec::as_slice) {
            Some([Value::Bool(utf8), Value::Int(bytes), Value::Text(role)]) => (*utf8, *bytes, role.clone()),
            _ => (false, 0, String::new()),
        };
        Ok(Catalog {
            store: self.place.store.clone(),
            kind: "postgres",
            place: self.place.at.clone(),
            tables,
            capturable: Ok(()),
            ignores_foreign_keys: self.manners.silent,
            silences: if self.manners.silent { Ok(()) } else { Err(may_not_silence(&role)) },
            utf8_order: utf8,
            bytes: u64::try_from(bytes).unwrap_or_default(),
        })
    }

    async fn session(&self, doing: &str) -> Result<PgSession, StoreError> {
        self.sessions.connect().await.map_err(|error| self.place.error(doing, &error))
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn identifier(&self) -> String {
        self.identifier.clone()
    }

    fn place(&self) -> String {
        self.place.at.clone()
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.catalog().await
    }

    async fn side(
        self: Arc<Self>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Arc<dyn SideStore>, StoreError> {
        let sessions = Arc::<PgSessions>::clone(&self.sessions);
        let inner =
            Inner::new(&Postgres, (sessions, self.place.clone(), self.manners), migration, side, plan);
        Ok(Arc::new(ServerStore::new(inner, Arc::new(PostgresServer))))
    }

    async fn own(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
        holder: &str,
    ) -> Result<Box<dyn Owned>, StoreError> {
        let session = self.session("locking the migration").await?;
        Ok(Box::new(Ownership::take(session, &self.place, migration, tables, holder).await?))
    }

    async fn installed(&self) -> Result<Vec<Installed>, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let list = Postgres.list(&mut session).await.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(list)
    }

    async fn strangers(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(strangers(&self.installed().await?, migration, tables))
    }

    async fn removal_sql(&self, migration: &str, may_have: Vec<Installed>) -> Result<String, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let sql = removal_sql(&mut session, &Postgres, migration, may_have).await;
        let sql = sql.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(sql)
    }

    async fn remove_migration(self: Arc<Self>, migration: &str) -> Result<(), StoreError> {
        let doing = "removing what was installed";
        let mut session = self.session(doing).await?;
        let removed = async {
            session.batch(&Postgres.begin_change(self.manners.lock_wait)).await?;
            remove_of(&mut session, &Postgres, migration, None).await?;
            session.commit().await
        };
        removed.await.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(())
    }

    async fn watch(&self, tables: &[(Option<String>, String)]) -> Result<Box<dyn Watch>, StoreError> {
        let name = |(schema, table): &(Option<String>, String)| {
            let schema =
                schema.as_ref().map(|schema| format!("{}.", Postgres.name(schema))).unwrap_or_default();
            Value::from(format!("{schema}{}", Postgres.name(table)))
        };
        let tables = Value::Array(Box::new(Array::of(tables.iter().map(name).collect())));
        let (sessions, place) = (Arc::clone(&self.sessions), self.place.clone());
        let mut watch = StatisticsWatch { sessions, place, tables, before: Vec::new() };
        watch.before = watch.look().await?;
        Ok(Box::new(watch))
    }

    async fn close(&self) {
        self.sessions.close();
    }
}

/// What the server has counted of the writes to some tables. A session tells what it has done at the latest a minute after.
struct StatisticsWatch {
    sessions: Arc<PgSessions>,
    place: Place,
    tables: Value,
    before: Vec<Vec<Value>>,
}

impl StatisticsWatch {
    async fn look(&self) -> Result<Vec<Vec<Value>>, StoreError> {
        let sql = "SELECT s.relid::int8, s.n_tup_ins, s.n_tup_upd, s.n_tup_del FROM pg_catalog.pg_stat_all_tables s \
                   JOIN unnest($1::text[]) AS t(name) ON s.relid = pg_catalog.to_regclass(t.name) ORDER BY 1";
        let looked = async {
            let mut session = self.sessions.connect().await?;
            let rows = session.query(sql, std::slice::from_ref(&self.tables)).await?;
            Box::new(session).release();
            Ok(rows)
        };
        looked.await.map_err(|error: DbError| self.place.error("watching it", &error))
    }
}

#[async_trait]
impl Watch for StatisticsWatch {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(self.look().await? != self.before)
    }
}

/// Why we weren't let in, with what to do about it.
fn not_let_in(place: &Place, doing: &str, error: &DbError) -> StoreError {
    let remedy = match error.code.as_str() {
        "3D000" => "See the database's name in the store's URL",
        "28P01" | "28000" => {
            "See the user in the store's URL, and its password: in the URL, in PGPASSWORD, or in ~/.pgpass"
        }
        _ => return place.error(doing, error),
    };
    place.refused(doing, format!("{} ({})", error.cause(), place.at), remedy)
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

/// Why the mirror's writes set others' triggers off, and what mends that.
fn may_not_silence(role: &str) -> (String, String) {
    (
        format!("the role {role} may not set session_replication_role"),
        format!(
            "as a superuser: GRANT SET ON PARAMETER session_replication_role TO {} (since PostgreSQL 15)",
            Postgres.name(role)
        ),
    )
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

/// The server, its timeline and the database: other ones after a restore, and after a standby was promoted.
async fn server_of(session: &mut dyn Session) -> Result<String, DbError> {
    let sql = "SELECT system_identifier::text, (SELECT timeline_id FROM pg_control_checkpoint())::text, \
               (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()) FROM pg_control_system()";
    let rows = session.query(sql, &[]).await?;
    let parts = rows.first().map(Vec::as_slice).unwrap_or_default();
    let part = |at: usize| parts.get(at).and_then(Value::plain).unwrap_or_default();
    Ok(format!("system {}, timeline {}, database {}", part(0), part(1), part(2)))
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
        let server = server_of(session).await?;
        let mut tables = Vec::new();
        for table in &inner.tables {
            let found = catalog::definitions(session, std::slice::from_ref(&table.table)).await?;
            let definition = found.into_iter().next().map_or_else(|| "gone".to_owned(), |(_, is)| is);
            tables.push((table.name().clone(), definition));
        }
        Ok((server, tables))
    }
}
