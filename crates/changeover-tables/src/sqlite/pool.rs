//! One database file: its connections, each on a thread of its own, and the calls that are made on them.
//!
//! The async side sends a job to a thread and awaits its answer; dropping the future doesn't stop the job, whose place in
//! the pool is given back when it ends. So the runtime is never blocked, and nothing is queued without a bound.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use changeover::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::catalog;
use super::errors::Place;
use super::writer::{Stack, Writer};
use crate::catalog::Catalog;

/// How a database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How long a statement waits for a lock of another connection's.
    pub lock_wait: Duration,
    /// How many reads go on at the same time, besides scans.
    pub readers: usize,
    /// How many scans go on at the same time.
    pub scans: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(5), readers: 4, scans: 16 }
    }
}

/// One SQLite file, with its threads. Both sides of a migration within one file share it, and with it the one writer that
/// SQLite allows.
#[derive(Debug)]
pub struct SqliteDatabase {
    pub(super) place: Place,
    path: PathBuf,
    options: SqliteOptions,
    idle: Arc<Mutex<Vec<Thread>>>,
    running: Running,
    /// Those that were opened beside it, on the same file.
    beside: Mutex<Vec<Weak<Self>>>,
    reads: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    pub(super) writer: Writer,
}

/// The threads of a file, of all that were opened beside one another.
type Running = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// What a thread works on.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection.
    pub(super) connection: Connection,
    /// The transactions that are open on it, if it is the writer's.
    pub(super) stack: Stack,
}

/// How long closing waits for connections to end.
const CLOSING: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A thread with a connection; it ends when nobody can send it a job any more.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    jobs: SyncSender<Job>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

impl SqliteDatabase {
    /// Opens a database file that exists. `store` is its name in the spec.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if there is no such file, [`StoreError::Refused`] if it is no database or can't be read.
    pub async fn open(
        store: impl Into<String>,
        path: impl AsRef<Path>,
        options: SqliteOptions,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with(store.into(), path.as_ref().to_path_buf(), options, Running::default()).await
    }

    /// Opens the same file once more, with connections of its own; they are closed with these.
    pub(super) async fn open_beside(&self, options: SqliteOptions) -> Result<Arc<Self>, StoreError> {
        let store = self.place.store.clone();
        let other = Self::open_with(store, self.path.clone(), options, Arc::clone(&self.running)).await?;
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.retain(|other| other.strong_count() > 0);
        beside.push(Arc::downgrade(&other));
        Ok(other)
    }

    async fn open_with(
        store: String,
        path: PathBuf,
        options: SqliteOptions,
        running: Running,
    ) -> Result<Arc<Self>, StoreError> {
        let place = Place { store, file: path.display().to_string() };
        if !path.exists() {
            return Err(place.gone("opening it", format!("there is no file {}", place.file)));
        }
        let database = Arc::new(Self {
            writer: Writer::new(),
            place,
            path,
            options,
            idle: Arc::default(),
            running,
            beside: Mutex::default(),
            reads: Arc::new(Semaphore::new(options.readers.max(1))),
            scans: Arc::new(Semaphore::new(options.scans.max(1))),
        });
        // The first statement is what looks into the file.
        database
            .read("opening it", |session| {
                session
                    .connection
                    .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            })
            .await?;
        Ok(database)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the database says of its tables. Changes nothing.
    ///
    /// # Errors
    /// What the database says.
    pub async fn catalog(&self) -> Result<Catalog, StoreError> {
        let (store, file) = (self.place.store.clone(), self.place.file.clone());
        self.read("reading its catalogue", move |session| {
            let connection = &session.connection;
            in_the_old_manner(connection, || catalog::read(connection, &store, &file))
        })
        .await
    }

    /// Closes the connections that aren't at work, and waits for them: the last one to close writes the log of a database in
    /// WAL into its file. The database can still be used: its connections are opened anew.
    pub async fn close(&self) {
        let began = Instant::now();
        while !self.all_ended().await {
            if began.elapsed() >= CLOSING {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let path = self.path.clone();
        // Of several that closed at one moment each may have taken another for the last one.
        if let Err(error) = tokio::task::spawn_blocking(move || close_last(&path)).await {
            tracing::debug!(%error, "the last look at a database");
        }
    }

    /// Gives up what isn't at work, and whether that was all. A thread gives itself back after its answer, so that it may be
    /// there only at the next look.
    async fn all_ended(&self) -> bool {
        self.give_up_idle().await;
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for other in beside.iter().filter_map(Weak::upgrade) {
            other.give_up_idle().await;
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|thread| !thread.is_finished());
        running.is_empty()
    }

    async fn give_up_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.writer.close().await;
    }

    pub(super) const fn lock_wait(&self) -> Duration {
        self.options.lock_wait
    }

    /// Runs something on a reader's thread, and awaits its answer.
    pub(super) async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> rusqlite::Result<T> + Send + 'static,
    {
        let place = self.place.clone();
        self.call(doing, &self.reads, move |session| {
            work(session).map_err(|error| place.error(doing, &error))
        })
        .await
    }

    async fn call<T, F>(
        &self,
        doing: &'static str,
        permits: &Arc<Semaphore>,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.permit(doing, permits).await?;
        let (answer, answered) = oneshot::channel();
        let work = move |session: &mut Session| {
            // Nobody there to hear it is no fault of ours: the caller was dropped.
            let _ = answer.send(work(session));
        };
        self.start(doing, permit, work)?;
        answered.await.map_err(|_| self.place.gone(doing, "its thread ended"))?
    }

    /// Starts a scan on a thread; it says its end by itself.
    pub(super) async fn scan<F>(&self, work: F) -> Result<(), StoreError>
    where
        F: FnOnce(&mut Session) + Send + 'static,
    {
        const DOING: &str = "beginning a scan";
        let permit =
            tokio::time::timeout(self.options.lock_wait, self.permit(DOING, &self.scans)).await.map_err(
                |_| self.place.busy(format!("{} scans are under way: one more", self.options.scans), None),
            )??;
        self.start(DOING, permit, work)
    }

    async fn permit(
        &self,
        doing: &str,
        permits: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(permits).acquire_owned().await.map_err(|_| self.place.gone(doing, "it was closed"))
    }

    fn start<F>(&self, doing: &'static str, permit: OwnedSemaphorePermit, work: F) -> Result<(), StoreError>
    where
        F: FnOnce(&mut Session) + Send + 'static,
    {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let thread = match idle {
            Some(thread) => thread,
            None => self.thread(Purpose::Read).map_err(|cause| self.place.gone(doing, cause))?,
        };
        let (pool, again) = (Arc::downgrade(&self.idle), thread.clone());
        let job = Box::new(move |session: &mut Session| {
            work(session);
            give_back(&pool, again);
            drop(permit);
        });
        thread
            .send(job)
            .map_err(|()| self.place.gone(doing, "its connection couldn't be opened, or its thread ended"))
    }

    /// A thread with a connection of its own. An error in opening it is met by its first statement.
    pub(super) fn thread(&self, purpose: Purpose) -> Result<Thread, String> {
        let connection = self.connect(purpose).map_err(|error| super::errors::cause(&error))?;
        let (jobs, todo) = sync_channel::<Job>(8);
        let session = Session { connection, stack: Stack::default() };
        let running = std::thread::Builder::new()
            .name(format!("sqlite {}", self.place.store))
            .spawn(move || {
                let mut session = session;
                loop {
                    let job = match session.stack.deadline() {
                        None => todo.recv().map_err(|_| RecvTimeoutError::Disconnected),
                        Some(deadline) => {
                            todo.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                        }
                    };
                    match job {
                        Ok(job) => job(&mut session),
                        Err(RecvTimeoutError::Timeout) => session.stack.end_stalled(&session.connection),
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            })
            .map_err(|error| format!("no thread for it: {error}"))?;
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|thread| !thread.is_finished());
        all.push(running);
        Ok(Thread { jobs })
    }

    fn connect(&self, purpose: Purpose) -> rusqlite::Result<Connection> {
        // Without the right to write, SQLite opens the file for reading.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.options.lock_wait)?;
        only_names_in_double_quotes(&connection)?;
        connection.set_prepared_statement_cache_capacity(256);
        match purpose {
            Purpose::Read => connection.pragma_update(None, "query_only", true)?,
            Purpose::Write => {
                // The mark of the mirror's writes: no trigger sees them, neither capture's, the fence's nor the user's.
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
                connection.pragma_update(None, "foreign_keys", false)?;
                // What is committed here lets the other side forget it was ever dirty: it must outlive a power cut.
                connection.pragma_update(None, "synchronous", "FULL")?;
                connection.pragma_update(None, "cache_size", -16_384)?;
            }
        }
        Ok(connection)
    }
}

/// A name in double quotes that is no column's is SQLite's idea of a text. A column that somebody renames or drops beside us
/// would be read as its own name, in every row, and a key by it find no row: both would be carried to the other side.
pub(super) fn only_names_in_double_quotes(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).map(drop)
}

/// Whoever looks at a whole schema, or changes it, comes by the views and triggers of others, which may have such texts.
pub(super) fn in_the_old_manner<T>(
    connection: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
    let made = work();
    only_names_in_double_quotes(connection)?;
    made
}

fn close_last(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without a look SQLite doesn't open the log, nor close it.
    let looked = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    });
    if let Err(error) = looked {
        tracing::debug!(%error, path = %path.display(), "the last look at a database");
    }
}

impl Thread {
    pub(super) fn send(&self, job: Job) -> Result<(), ()> {
        self.jobs.send(job).map_err(|_| ())
    }
}

fn give_back(pool: &Weak<Mutex<Vec<Thread>>>, thread: Thread) {
    if let Some(pool) = pool.upgrade() {
        pool.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
}
