//! A PostgreSQL database: how it is opened, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::value::Array;
use changeover::{StoreError, TableName, Value};
use tokio_postgres::Config;

use super::session::Connector;
use super::syntax::Postgres;
use super::{catalog, own, pooler, url};
use crate::catalog::{Catalog, Engine};
use crate::server::database::ServerDatabase;
use crate::server::dialect::{Dialect, Statement};
use crate::server::own::{Former, Held, Wanted};
use crate::server::pool::SessionPool;
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
pub type PostgresDatabase = ServerDatabase<PostgresServer>;

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
        let sessions = SessionPool::new(Connector::new(target), options.sessions).map_err(told)?;
        if pooler::is_between(&sessions).await.map_err(told)? {
            return Err(place.refused(
                doing,
                format!("at {} there is a pooler that gives each transaction another session of the server's", place.at),
                "Name the server itself in the store's URL, or a pooler in session mode: a session's locks and settings would be \
                 others'. The application may go on by its pooler",
            ));
        }
        let mut session = sessions.connect().await.map_err(told)?;
        let silent = may_silence(&mut session).await.map_err(told)?;
        let identifier = running_at(&mut session).await.map_err(told)?;
        Box::new(session).release();
        let manners = Manners { lock_wait: options.lock_wait, silent };
        let kind = PostgresServer { sessions: Arc::clone(&sessions) };
        Ok(Self::new(kind, sessions, (place, manners), identifier))
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

/// Whether the server is the one that decides: a standby replays what another one does, and a default that only reads is
/// somebody's word, which our sessions don't go past.
async fn writable(session: &mut dyn Session) -> Result<Result<(), (String, String)>, DbError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), reset_val = 'on' FROM pg_catalog.pg_settings \
               WHERE name = 'default_transaction_read_only'";
    let rows = session.query(sql, &[]).await?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([Value::Bool(true), _]) => Err((
            "it is a standby, which replays what its primary does".to_owned(),
            "name the primary in the store's URL".to_owned(),
        )),
        Some([_, Value::Bool(true)]) => Err((
            "default_transaction_read_only is on: somebody has said that nobody shall write there".to_owned(),
            "name the server that is written to; or, if this is it, take the setting back where it was made (ALTER SYSTEM, \
             ALTER DATABASE, ALTER ROLE … RESET default_transaction_read_only)"
                .to_owned(),
        )),
        _ => Ok(()),
    })
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

/// The same of the server that runs now: a copy of its files has all of its names, but is another database.
async fn running_at(session: &mut dyn Session) -> Result<String, DbError> {
    let rows = session.query("SELECT pg_catalog.pg_postmaster_start_time()::text", &[]).await?;
    let started = rows.first().and_then(|row| row.first()).and_then(Value::plain).unwrap_or_default();
    Ok(format!("{}, started {started}", server_of(session).await?))
}

/// What PostgreSQL adds to what all servers have in common.
#[derive(Debug)]
pub struct PostgresServer {
    sessions: Arc<SessionPool<Connector>>,
}

#[async_trait]
impl Server for PostgresServer {
    fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    async fn catalog(&self, place: &Place, manners: Manners) -> Result<Catalog, DbError> {
        let mut session = self.sessions.connect().await?;
        let tables = catalog::tables(&mut session).await?;
        let sql = "SELECT pg_encoding_to_char(encoding) = 'UTF8', pg_database_size(oid), current_user::text \
                   FROM pg_catalog.pg_database WHERE datname = current_database()";
        let rows = session.query(sql, &[]).await?;
        let writable = writable(&mut session).await?;
        Box::new(session).release();
        let (utf8, bytes, role) = match rows.first().map(Vec::as_slice) {
            Some([Value::Bool(utf8), Value::Int(bytes), Value::Text(role)]) => (*utf8, *bytes, role.clone()),
            _ => (false, 0, String::new()),
        };
        Ok(Catalog {
            store: place.store.clone(),
            kind: Postgres.kind(),
            engine: Engine::Postgres,
            place: place.at.clone(),
            tables,
            capturable: Ok(()),
            unseen: None,
            writable,
            ignores_foreign_keys: manners.silent,
            silences: if manners.silent { Ok(()) } else { Err(may_not_silence(&role)) },
            utf8_order: utf8,
            bytes: u64::try_from(bytes).unwrap_or_default(),
        })
    }

    async fn own(&self, session: &mut dyn Session, wanted: &Wanted) -> Result<Option<Held>, DbError> {
        own::take(session, wanted).await
    }

    async fn identify(&self, session: &mut dyn Session) -> Result<Former, DbError> {
        own::identify(session).await
    }

    async fn end(&self, session: &mut dyn Session, former: &Former) -> Result<(), DbError> {
        own::end(session, former).await
    }

    /// By what the server has counted of them. A session tells what it has done at the latest a minute after.
    fn writes_to(&self, tables: &[(Option<String>, String)]) -> Statement {
        let name = |(schema, table): &(Option<String>, String)| {
            let schema =
                schema.as_ref().map(|schema| format!("{}.", Postgres.name(schema))).unwrap_or_default();
            Value::from(format!("{schema}{}", Postgres.name(table)))
        };
        let tables = Value::Array(Box::new(Array::of(tables.iter().map(name).collect())));
        let sql = "SELECT s.relid::int8, s.n_tup_ins, s.n_tup_upd, s.n_tup_del FROM pg_catalog.pg_stat_all_tables s \
                   JOIN unnest($1::text[]) AS t(name) ON s.relid = pg_catalog.to_regclass(t.name) ORDER BY 1";
        Statement::new(sql, vec![tables])
    }

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
