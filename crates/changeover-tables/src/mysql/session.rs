//! Sessions with a MariaDB or MySQL server: their settings, which are the same for each whatever the server's defaults are.
//!
//! Values travel by prepared statements, whose binary protocol has every number exact; the text protocol serves for what has no
//! values. A session that is dropped while the server is at work for it is killed by another, or the server would finish what
//! nobody waits for. One that is given back is made clean before it is used again.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use changeover::{Row, Value};
use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use futures_util::{StreamExt as _, stream};
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinaryProtocol, Conn, InfileData, Opts, OptsBuilder, Params, QueryResult};

use super::attend::Attendant;
use super::codec::{Codec, param};
use super::errors::{ends_transaction, meaning};
use super::load::{self, Load};
use crate::catalog::ColumnInfo;
use crate::database::Roads;
use crate::server::pool::{CONNECT, Connects};
use crate::server::session::{Answer, DbError, Session, Trouble};

/// How many statements a session keeps prepared.
const PREPARED: usize = 200;

/// What every session is set to. Rows with dates that are no days (zero, or 31 February) are read and written as they are; all
/// else that a column can't hold is an error. Ids of 0 are kept. No statement goes on for ever (on MySQL: no SELECT, it bounds no
/// others): what takes long, as a scan, lifts the bound for its session, until that is used again.
const SETTINGS: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin; \
    SET SESSION sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,\
NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 1, completion_type = 'NO_CHAIN', sql_safe_updates = 0, \
    sql_select_limit = DEFAULT, sql_auto_is_null = 0, sql_notes = 1, unique_checks = 1, wait_timeout = 28800, net_read_timeout = 600, \
    net_write_timeout = 3600, innodb_lock_wait_timeout = 10, lock_wait_timeout = 10 \
    /*!80000 , max_execution_time = 600000, information_schema_stats_expiry = 0 */ \
    /*M!100300 , max_statement_time = 600, idle_transaction_timeout = 0, idle_write_transaction_timeout = 300 */; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION TRANSACTION READ WRITE";

/// What makes a session clean that is to be used again: nothing open, and nothing left of the mirror's mark.
const CLEAN: &str = "ROLLBACK; SET @changeover_mirror = NULL, SESSION foreign_key_checks = DEFAULT, \
    SESSION innodb_lock_wait_timeout = 10, SESSION lock_wait_timeout = 10, SESSION wait_timeout = 28800 \
    /*!80000 , SESSION max_execution_time = 600000 */ \
    /*M!100300 , SESSION max_statement_time = 600, SESSION idle_transaction_timeout = 0, SESSION idle_write_transaction_timeout = 300 */";

/// A connection.
pub(crate) struct Connection {
    conn: Conn,
    attendant: Attendant,
    /// The server is at work for it, as far as we know.
    busy: bool,
    /// The server has ended its transaction: whatever comes next would be on its own.
    lost: bool,
    means: Means,
}

/// What a server does for many rows at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    pub(super) load: Load,
    /// It runs a statement for many rows of parameters (MariaDB alone).
    pub(super) bulk: bool,
    /// It takes rows from a file that we send.
    pub(super) files: bool,
    /// The most bytes that it takes at once.
    pub(super) packet: usize,
}

/// Makes connections for the pool.
pub(crate) struct Connector {
    opts: Opts,
    load: Load,
}

impl Manager for Connector {
    type Type = Connection;
    type Error = DbError;

    async fn create(&self) -> Result<Connection, DbError> {
        let mut conn = Conn::new(self.opts.clone()).await.map_err(|error| meaning(&error))?;
        conn.query_drop(SETTINGS).await.map_err(|error| meaning(&error))?;
        let asked = "SELECT @@local_infile, VERSION() LIKE '%MariaDB%', @@max_allowed_packet";
        let said: Option<(u8, u8, usize)> = conn.query_first(asked).await.map_err(|error| meaning(&error))?;
        let (files, bulk, packet) = said.unwrap_or((0, 0, 1 << 20));
        let means = Means { load: self.load, bulk: bulk == 1, files: files == 1, packet };
        Ok(Connection { attendant: Attendant::of(&conn), conn, busy: false, lost: false, means })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<DbError> {
        if connection.busy || connection.lost {
            return Err(RecycleError::message("the session wasn't at rest"));
        }
        connection.conn.query_drop(CLEAN).await.map_err(|error| RecycleError::Backend(meaning(&error)))
    }
}

impl Connector {
    pub(super) fn new(opts: Opts, load: Load) -> Self {
        let opts = OptsBuilder::from_opts(opts)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            // An update counts the rows that it has found, as with every other database.
            .client_found_rows(true)
            .stmt_cache_size(PREPARED);
        Self { opts: opts.into(), load }
    }
}

impl Connects for Connector {
    type Session = MySession;
}

/// One session. Dropped without having been given back, its connection is closed: nobody knows what is open in it.
pub(crate) struct MySession {
    connection: Option<Object<Connector>>,
}

impl From<Object<Connector>> for MySession {
    fn from(connection: Object<Connector>) -> Self {
        Self { connection: Some(connection) }
    }
}

impl Drop for MySession {
    fn drop(&mut self) {
        let Some(object) = self.connection.take() else { return };
        let Connection { conn, busy, .. } = Object::take(object);
        if busy && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = kill(&conn).await {
                    tracing::debug!(%error, "cutting off a session");
                }
                drop(conn);
            });
        }
        // The driver closes one that is at rest, and the server rolls back.
    }
}

/// Ends a session and what the server is at for it, by a connection of its own.
async fn kill(conn: &Conn) -> Result<(), mysql_async::Error> {
    let killing = async {
        let mut other = Conn::new(conn.opts().clone()).await?;
        other.query_drop(format!("KILL {}", conn.id())).await?;
        other.disconnect().await
    };
    match tokio::time::timeout(CONNECT, killing).await {
        Ok(killed) => killed,
        Err(_) => Ok(()),
    }
}

impl MySession {
    /// The connection, at work from now on: the caller says when it rests.
    fn at_work(&mut self) -> Result<&mut Connection, DbError> {
        let connection = self.connection.as_deref_mut().ok_or_else(given_back)?;
        if connection.lost {
            return Err(DbError::ours(Trouble::Again, "the server has ended the transaction"));
        }
        connection.busy = true;
        Ok(connection)
    }

    pub(super) async fn exec(
        &mut self,
        sql: &str,
        params: Vec<mysql_async::Value>,
    ) -> Result<MyAnswer<'_>, DbError> {
        let connection = self.at_work()?;
        let params = if params.is_empty() { Params::Empty } else { Params::Positional(params) };
        let ran = connection.attendant.attend(connection.conn.exec_iter(sql, params)).await;
        let ran = ran.map(|result| result.columns_ref().iter().map(Codec::of).collect());
        match ran {
            Ok(columns) => Ok(MyAnswer { connection, columns }),
            Err(error) => Err(connection.failed(&error)),
        }
    }

    async fn rows(&mut self, sql: &str, params: &[Value]) -> Result<MyAnswer<'_>, DbError> {
        let packet = self.means()?.packet;
        if params.iter().map(Value::bytes).sum::<usize>() + sql.len() > packet {
            return Err(load::too_large(packet));
        }
        let params = params.iter().map(param).collect::<Result<Vec<_>, _>>()?;
        self.exec(sql, params).await
    }

    /// Statements by the text protocol, and what to do with the connection between them and its rest.
    pub(super) async fn text(&mut self, sql: &str) -> Result<&mut Conn, DbError> {
        let connection = self.at_work()?;
        match connection.attendant.attend(connection.conn.query_drop(sql)).await {
            Ok(()) => {
                connection.busy = false;
                Ok(&mut connection.conn)
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }

    /// What its server does for many rows at once.
    pub(super) fn means(&self) -> Result<Means, DbError> {
        self.connection.as_ref().map(|connection| connection.means).ok_or_else(given_back)
    }

    /// A statement for each of these rows of parameters, of which each column has one type, in one packet: how many rows they
    /// have changed.
    pub(super) async fn bulk(
        &mut self,
        sql: &str,
        rows: Vec<Vec<mysql_async::Value>>,
    ) -> Result<u64, DbError> {
        let connection = self.at_work()?;
        match connection.attendant.attend(connection.conn.exec_batch(sql, rows)).await {
            Ok(()) => {
                connection.busy = false;
                Ok(connection.conn.affected_rows())
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }

    /// A LOAD DATA LOCAL with this file: how many rows it has put in, and how many warnings there were.
    pub(super) async fn load_file(&mut self, sql: &str, file: InfileData) -> Result<(u64, u16), DbError> {
        let file = std::sync::Mutex::new(Some(file));
        let connection = self.at_work()?;
        connection.conn.set_infile_handler(async move {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(file.unwrap_or_else(|| stream::empty().boxed()))
        });
        match connection.attendant.attend(connection.conn.query_drop(sql)).await {
            Ok(()) => {
                connection.busy = false;
                Ok((connection.conn.affected_rows(), connection.conn.get_warnings()))
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }
}

fn given_back() -> DbError {
    DbError::ours(Trouble::Other, "the session was given back")
}

impl Connection {
    fn failed(&mut self, error: &mysql_async::Error) -> DbError {
        let error_is = meaning(error);
        self.busy = false;
        self.lost |= ends_transaction(error_is.trouble);
        error_is
    }
}

#[async_trait]
impl Session for MySession {
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
        self.rows(sql, params).await?.finish().await
    }

    async fn execute_many(&mut self, sql: &str, params: &[Vec<Value>]) -> Result<u64, DbError> {
        load::many(self, sql, params).await
    }

    async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        self.text(sql).await.map(drop)
    }

    /// A transaction that the server has ended (a deadlock does) would be committed without an error, and without what was in
    /// it: it is asked for first.
    async fn commit(&mut self) -> Result<(), DbError> {
        let conn = self.text("DO 0").await?;
        let open = conn
            .last_ok_packet()
            .is_some_and(|ok| ok.status_flags().contains(StatusFlags::SERVER_STATUS_IN_TRANS));
        if !open {
            return Err(DbError::ours(
                Trouble::Again,
                "the server has ended the transaction before it was committed",
            ));
        }
        self.batch("COMMIT").await
    }

    async fn stream<'s>(&'s mut self, sql: &str, params: &[Value]) -> Result<Box<dyn Answer + 's>, DbError> {
        Ok(Box::new(self.rows(sql, params).await?))
    }

    async fn load(&mut self, table: &str, columns: &[&ColumnInfo], rows: &[Row]) -> Result<u64, DbError> {
        load::load(self, table, columns, rows).await
    }

    fn roads(&self) -> Roads {
        let (writes, because) = match self.means() {
            Ok(means) => means.road(),
            Err(_) => ("nothing", None),
        };
        let reads = "a stream of rows in binary".to_owned();
        Roads { reads, writes: writes.to_owned(), because: because.map(str::to_owned) }
    }

    fn is_new(&self) -> bool {
        self.connection.as_ref().is_some_and(|object| Object::metrics(object).recycle_count == 0)
    }

    fn release(mut self: Box<Self>) {
        // Into the pool, which doesn't give it out again unless it was at rest.
        drop(self.connection.take());
    }
}

/// The rows of an answer, on their connection.
pub(super) struct MyAnswer<'s> {
    connection: &'s mut Connection,
    columns: Vec<Codec>,
}

impl MyAnswer<'_> {
    /// How many rows the statement has changed, once it is over.
    pub(super) async fn finish(self) -> Result<u64, DbError> {
        let changed = self.connection.conn.affected_rows();
        let result = QueryResult::<'_, '_, BinaryProtocol>::new(&mut self.connection.conn);
        match self.connection.attendant.attend(result.drop_result()).await {
            Ok(()) => {
                self.connection.busy = false;
                Ok(changed)
            }
            Err(error) => Err(self.connection.failed(&error)),
        }
    }
}

#[async_trait]
impl Answer for MyAnswer<'_> {
    async fn next(&mut self, into: &mut Vec<Value>) -> Result<bool, DbError> {
        let mut result = QueryResult::<'_, '_, BinaryProtocol>::new(&mut self.connection.conn);
        match self.connection.attendant.attend(result.next()).await {
            Ok(Some(row)) => {
                into.resize(self.columns.len(), Value::Null);
                for ((codec, raw), value) in self.columns.iter().zip(row.unwrap_raw()).zip(into) {
                    *value = codec.decode(raw.unwrap_or(mysql_async::Value::NULL))?;
                }
                Ok(true)
            }
            Ok(None) => {
                self.connection.busy = false;
                Ok(false)
            }
            Err(error) => Err(self.connection.failed(&error)),
        }
    }
}
