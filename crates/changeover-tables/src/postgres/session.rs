//! Sessions with a PostgreSQL server: their settings, which are the same for each whatever the role or the database has, and
//! what its errors mean.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use changeover::{Row, Value};
use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, RowStream, Statement};

use super::codec::{Codec, CopyWriter, Param, Raw, decode_into};
use super::tls::Tls;
use super::url::Target;
use crate::catalog::ColumnInfo;
use crate::database::Roads;
use crate::server::pool::{CONNECT, Connects};
use crate::server::session::{Answer, DbError, Session, Trouble, UnreadSession};

/// How many statements a session keeps prepared.
const PREPARED: usize = 200;

/// How much of a COPY is sent at once.
const PIECE: usize = 256 << 10;

/// What every session is set to: values have one form, and no policy leaves rows out without a word. No statement goes on for
/// ever: what takes long (a scan, a look at all rows) lifts the bound for its transaction. The server, too, sees when we are gone.
const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; \
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET xmloption = 'content'; SET standard_conforming_strings = on; \
    SET row_security = off; SET jit = off; SET statement_timeout = '10min'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '5min'; SET default_transaction_isolation = 'read committed'; \
    SET default_transaction_read_only = off; SET default_transaction_deferrable = off; SET client_min_messages = warning; \
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '60s'";

/// A connection, with what it has prepared.
pub(crate) struct Connection {
    client: Client,
    /// What carries its bytes; aborted, the connection is closed at once.
    carrier: JoinHandle<()>,
    tls: Tls,
    prepared: HashMap<String, Arc<Prepared>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// A statement, with how its parameters are written and its columns read.
struct Prepared {
    statement: Statement,
    params: Vec<Codec>,
    columns: Arc<[Codec]>,
}

/// Makes connections for the pool.
pub(crate) struct Connector {
    config: Config,
    tls: Tls,
}

impl Manager for Connector {
    type Type = Connection;
    type Error = DbError;

    async fn create(&self) -> Result<Connection, DbError> {
        let connected = self.config.connect(self.tls.connect.clone()).await;
        let (client, connection) = connected.map_err(|error| meaning(&error))?;
        let carrier = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        let tls = self.tls.clone();
        let connection = Connection { client, carrier, tls, prepared: HashMap::new() };
        connection.client.batch_execute(SETTINGS).await.map_err(|error| meaning(&error))?;
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<DbError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

impl Connector {
    pub(super) fn new(target: Target) -> Self {
        let Target { mut config, tls } = target;
        // A network that falls silent is noticed within a minute, whether we wait for it or send.
        config.connect_timeout(CONNECT).keepalives(true).keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(60));
        Self { config, tls }
    }
}

impl Connects for Connector {
    type Session = PgSession;
}

/// One session. Dropped without having been given back, its connection is closed: nobody knows what is open in it.
pub(crate) struct PgSession {
    connection: Option<Object<Connector>>,
}

impl From<Object<Connector>> for PgSession {
    fn from(connection: Object<Connector>) -> Self {
        Self { connection: Some(connection) }
    }
}

impl Drop for PgSession {
    fn drop(&mut self) {
        let Some(object) = self.connection.take() else { return };
        let connection = Object::take(object);
        // What the server is at is cut off, or it would be finished before the server sees that nobody waits for it.
        let cancel = connection.client.cancel_token();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = cancel.cancel_query(connection.tls.connect.clone()).await {
                    tracing::debug!(%error, "cutting off a statement");
                }
                drop(connection);
            });
        }
    }
}

impl PgSession {
    fn connection(&mut self) -> Result<&mut Connection, DbError> {
        self.connection
            .as_deref_mut()
            .ok_or_else(|| DbError::ours(Trouble::Other, "the session was given back"))
    }

    /// The driver, for what only PostgreSQL can do.
    pub(super) fn client(&mut self) -> Result<&mut Client, DbError> {
        Ok(&mut self.connection()?.client)
    }

    async fn prepared(&mut self, sql: &str) -> Result<Arc<Prepared>, DbError> {
        let connection = self.connection()?;
        if let Some(known) = connection.prepared.get(sql) {
            return Ok(Arc::clone(known));
        }
        let statement = connection.client.prepare(sql).await.map_err(|error| meaning(&error))?;
        let prepared = Arc::new(Prepared {
            params: statement.params().iter().map(Codec::of).collect(),
            columns: statement.columns().iter().map(|column| Codec::of(column.type_())).collect(),
            statement,
        });
        if connection.prepared.len() >= PREPARED {
            connection.prepared.clear();
        }
        connection.prepared.insert(sql.to_owned(), Arc::clone(&prepared));
        Ok(prepared)
    }

    async fn rows(&mut self, sql: &str, params: &[Value]) -> Result<PgAnswer, DbError> {
        let prepared = self.prepared(sql).await?;
        let rows = run(&self.connection()?.client, &prepared, params).await;
        let rows = self.forgotten(sql, rows)?;
        Ok(PgAnswer { rows: Box::pin(rows), columns: Arc::clone(&prepared.columns) })
    }

    /// A statement whose plan no longer fits its tables is prepared anew the next time.
    fn forgotten<T>(&mut self, sql: &str, result: Result<T, DbError>) -> Result<T, DbError> {
        if let Err(error) = &result
            && error.code == SqlState::FEATURE_NOT_SUPPORTED.code()
        {
            self.connection()?.prepared.remove(sql);
        }
        result
    }
}

async fn run(client: &Client, prepared: &Prepared, params: &[Value]) -> Result<RowStream, DbError> {
    if params.len() != prepared.params.len() {
        let (wants, gets) = (prepared.params.len(), params.len());
        return Err(DbError::ours(
            Trouble::Other,
            format!("a statement wants {wants} parameters, not {gets}"),
        ));
    }
    let params = prepared.params.iter().zip(params).map(|(codec, value)| Param { codec, value });
    client.query_raw(&prepared.statement, params).await.map_err(|error| meaning(&error))
}

#[async_trait]
impl Session for PgSession {
    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        let mut answer = self.rows(sql, params).await?;
        let mut rows = Vec::new();
        let mut row = Vec::new();
        while answer.next(&mut row).await? {
            rows.push(std::mem::take(&mut row));
        }
        Ok(rows)
    }

    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let answer = self.rows(sql, params).await?;
        answer.ended().await
    }

    /// One after the other on the wire, without waiting for the answer in between.
    async fn execute_many(&mut self, sql: &str, params: &[Vec<Value>]) -> Result<u64, DbError> {
        /// How many are under way at once.
        const UNDER_WAY: usize = 64;
        let prepared = self.prepared(sql).await?;
        let client = &self.connection()?.client;
        let mut changed = 0;
        for some in params.chunks(UNDER_WAY) {
            let each = some.iter().map(|params| async {
                let rows = run(client, &prepared, params).await?;
                PgAnswer { rows: Box::pin(rows), columns: Arc::clone(&prepared.columns) }.ended().await
            });
            // All of them are heard: the first that failed is the cause, the others only say that there was one.
            for result in future::join_all(each).await {
                changed += result?;
            }
        }
        Ok(changed)
    }

    async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        self.connection()?.client.batch_execute(sql).await.map_err(|error| meaning(&error))
    }

    /// PostgreSQL takes a COMMIT for a ROLLBACK where the transaction has failed, and says so only in passing: the statement
    /// before it fails there.
    async fn commit(&mut self) -> Result<(), DbError> {
        self.batch("SELECT 1; COMMIT").await
    }

    async fn stream<'s>(&'s mut self, sql: &str, params: &[Value]) -> Result<Box<dyn Answer + 's>, DbError> {
        Ok(Box::new(self.rows(sql, params).await?))
    }

    async fn load(&mut self, table: &str, columns: &[&ColumnInfo], rows: &[Row]) -> Result<u64, DbError> {
        let names: Vec<String> =
            columns.iter().map(|column| format!("\"{}\"", column.name.replace('"', "\"\""))).collect();
        let names = names.join(", ");
        // For the columns' types, which a COPY doesn't tell.
        let prepared = self.prepared(&format!("SELECT {names} FROM {table} LIMIT 0")).await?;
        let copy = self.prepared(&format!("COPY {table} ({names}) FROM STDIN (FORMAT binary)")).await?;
        let sink = self.connection()?.client.copy_in(&copy.statement).await;
        let sink = sink.map_err(|error| meaning(&error))?;
        let mut sink: Pin<Box<tokio_postgres::CopyInSink<Bytes>>> = Box::pin(sink);
        let mut writer = CopyWriter::new();
        for row in rows {
            let written = writer.row(&prepared.columns, &row.0);
            written.map_err(|error| DbError::ours(Trouble::Row, error.to_string()))?;
            if writer.len() >= PIECE {
                sink.send(writer.take()).await.map_err(|error| meaning(&error))?;
            }
        }
        sink.send(writer.finish()).await.map_err(|error| meaning(&error))?;
        sink.as_mut().finish().await.map_err(|error| meaning(&error))
    }

    fn roads(&self) -> Roads {
        Roads {
            reads: "a stream of rows in binary, or binary COPY where both sides store them alike".to_owned(),
            writes: "binary COPY".to_owned(),
            because: None,
        }
    }

    fn is_new(&self) -> bool {
        self.connection.as_ref().is_some_and(|object| Object::metrics(object).recycle_count == 0)
    }

    fn unread(&mut self) -> Option<&mut dyn UnreadSession> {
        Some(self)
    }

    fn release(mut self: Box<Self>) {
        // Into the pool.
        drop(self.connection.take());
    }
}

struct PgAnswer {
    rows: Pin<Box<RowStream>>,
    columns: Arc<[Codec]>,
}

impl PgAnswer {
    /// How many rows the statement has changed, once it is over.
    async fn ended(mut self) -> Result<u64, DbError> {
        while self.rows.try_next().await.map_err(|error| meaning(&error))?.is_some() {}
        Ok(self.rows.rows_affected().unwrap_or_default())
    }
}

#[async_trait]
impl Answer for PgAnswer {
    async fn next(&mut self, into: &mut Vec<Value>) -> Result<bool, DbError> {
        let Some(row) = self.rows.next().await else { return Ok(false) };
        let row = row.map_err(|error| meaning(&error))?;
        into.resize(self.columns.len(), Value::Null);
        for (at, (codec, value)) in self.columns.iter().zip(into).enumerate() {
            let raw: Raw<'_> = row.try_get(at).map_err(|error| meaning(&error))?;
            decode_into(codec, raw.0, value)
                .map_err(|error| DbError::ours(Trouble::Row, error.to_string()))?;
        }
        Ok(true)
    }
}

/// What an error of the driver's means.
pub(super) fn meaning(error: &Error) -> DbError {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        let message = format!("{error}{source}");
        // A value that can't be sent is the row's fault; all else of the driver's is the connection's.
        let of_value = message.starts_with("error serializing") || message.starts_with("error deserializing");
        return DbError::ours(if of_value { Trouble::Row } else { Trouble::Gone }, message);
    };
    let mut message = said.message().to_owned();
    // The detail of these is the whole row: nobody's to read in a message, and another one each time.
    let detail = said.detail().filter(|_| !matches!(said.code().code(), "23502" | "23514"));
    for more in [detail, said.hint()].into_iter().flatten() {
        message.push_str("; ");
        message.push_str(more);
    }
    DbError {
        trouble: trouble(said.code().code()),
        code: said.code().code().to_owned(),
        message,
        column: said.column().map(str::to_owned),
    }
}

/// By the classes of the SQL standard, and PostgreSQL's own (its manual, appendix A).
fn trouble(code: &str) -> Trouble {
    match code {
        "23505" => Trouble::Taken,
        "40001" | "40P01" => Trouble::Again,
        "55P03" | "57014" => Trouble::Locked,
        "42501" | "28000" | "28P01" => Trouble::Rights,
        "42P01" | "42703" | "42704" | "42883" | "3F000" | "3D000" | "0A000" | "42P18" | "42804" => {
            Trouble::Schema
        }
        "53300" | "25P03" => Trouble::Gone,
        "54000" | "P0001" | "44000" => Trouble::Row,
        _ => match code.get(..2) {
            Some("22" | "23") => Trouble::Row,
            Some("08" | "57") => Trouble::Gone,
            _ => Trouble::Other,
        },
    }
}
