//! The one writer of a file: whose turn it is, and which transactions are open on its connection.
//!
//! SQLite lets one connection write at a time, so `BEGIN IMMEDIATE` is the guard, and the fence's lock. Both sides may live
//! in one file: while the fence's lock on it is held, the holder's own guarded transactions, and its lock of the other
//! side, are savepoints within it, and stand or fall with its commit. The holder is a task. Everybody else waits: a sync of
//! theirs would be undone with the lock when they have discarded its claims already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use changeover::StoreError;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pool::{Purpose, Session, SqliteDatabase, Thread};

/// Whose turn it is to write.
#[derive(Debug)]
pub(super) struct Writer {
    turn: Arc<Semaphore>,
    /// While the fence's lock is held.
    within: Mutex<Option<Within>>,
    thread: tokio::sync::Mutex<Option<Thread>>,
    next: AtomicU64,
}

/// What may be done within the fence's lock, and by whom.
#[derive(Debug, Clone)]
struct Within {
    /// The lock's transaction.
    lock: u64,
    /// Whose turn it is.
    turns: Arc<Semaphore>,
    /// The task that holds the lock; none outside of tasks.
    holder: Option<tokio::task::Id>,
}

/// The transactions that are open on the writer's connection, outermost first.
#[derive(Debug, Default)]
pub(super) struct Stack {
    open: Vec<u64>,
    /// Whether commits needn't outlive a power cut just now.
    relaxed: bool,
    stall: Option<(Duration, Instant)>,
}

/// A transaction of the writer's. Dropping it rolls back.
#[derive(Debug)]
pub(super) struct Transaction {
    database: Arc<SqliteDatabase>,
    thread: Thread,
    id: u64,
    permit: Option<OwnedSemaphorePermit>,
    /// Set for the fence's lock: others write within it.
    is_lock: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            within: Mutex::new(None),
            thread: tokio::sync::Mutex::new(None),
            next: AtomicU64::new(1),
        }
    }

    /// Lets the thread end, once its jobs are done.
    pub(super) async fn close(&self) {
        self.thread.lock().await.take();
    }

    fn within(&self) -> Option<Within> {
        self.within.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lock that is held by whoever asks, and isn't ending.
    fn within_own(&self) -> Option<Within> {
        let own = |within: &Within| within.holder == tokio::task::try_id() && !within.turns.is_closed();
        self.within().filter(own)
    }

    fn set_within(&self, within: Option<Within>) {
        *self.within.lock().unwrap_or_else(PoisonError::into_inner) = within;
    }
}

impl Stack {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.stall.map(|(stall, since)| since + stall)
    }

    /// The holder of the lock gave no sign of life for too long: whoever waits for the lock shall have it.
    pub(super) fn end_stalled(&mut self, connection: &Connection) {
        tracing::warn!("the holder of a lock stalled: its transaction is rolled back");
        self.open.clear();
        self.stall = None;
        if let Err(error) = connection.execute_batch("ROLLBACK") {
            tracing::error!(%error, "rolling back a stalled transaction");
        }
    }

    fn begin(
        &mut self,
        connection: &Connection,
        id: u64,
        inside: Option<u64>,
        durable: bool,
    ) -> rusqlite::Result<bool> {
        match inside {
            None => {
                if self.relaxed == durable {
                    // Outside of a transaction: within one, SQLite wouldn't take it.
                    connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
                    self.relaxed = !durable;
                }
                connection.execute_batch("BEGIN IMMEDIATE")?;
            }
            Some(outer) if self.open.as_slice() == [outer] => {
                connection.execute_batch("SAVEPOINT changeover_within")?
            }
            Some(_) => return Ok(false),
        }
        self.open.push(id);
        Ok(true)
    }

    fn commit(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(if self.open.len() > 1 { "RELEASE changeover_within" } else { "COMMIT" })?;
        self.open.pop();
        if self.open.is_empty() {
            self.stall = None;
        }
        Ok(())
    }

    fn roll_back(&mut self, connection: &Connection, id: u64) {
        let Some(at) = self.open.iter().position(|open| *open == id) else { return };
        let sql =
            if at > 0 { "ROLLBACK TO changeover_within; RELEASE changeover_within" } else { "ROLLBACK" };
        self.open.truncate(at);
        if self.open.is_empty() {
            self.stall = None;
        }
        // SQLite may have rolled back by itself (a full disk): then there is nothing left to do.
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch(sql)
        {
            tracing::error!(%error, "rolling back");
        }
    }

    fn is_open(&self, id: u64) -> bool {
        self.open.contains(&id)
    }

    fn beat(&mut self) {
        if let Some((_, since)) = &mut self.stall {
            *since = Instant::now();
        }
    }
}

impl SqliteDatabase {
    /// Begins a transaction of the writer's.
    pub(super) async fn begin(self: &Arc<Self>, doing: &'static str) -> Result<Transaction, StoreError> {
        let (inside, permit) = self.turn().await?;
        self.open_transaction(doing, permit, inside, self.lock_wait(), None).await
    }

    /// A turn to write, and the lock that it is within.
    async fn turn(&self) -> Result<(Option<u64>, OwnedSemaphorePermit), StoreError> {
        let (inside, turns) = match self.writer.within_own() {
            Some(within) => (Some(within.lock), within.turns),
            None => (None, Arc::clone(&self.writer.turn)),
        };
        let permit = tokio::time::timeout(self.lock_wait(), turns.acquire_owned())
            .await
            .map_err(|_| self.own_write_under_way())?
            .map_err(|_| self.lock_ended())?;
        Ok((inside, permit))
    }

    /// Takes the fence's lock: a transaction within which its holder may write, and which ends when its holder stalls. Who
    /// holds it already, for the other side's tables in the same file, gets a part of it.
    pub(super) async fn begin_lock(
        self: &Arc<Self>,
        doing: &'static str,
        wait: Duration,
        stall: Duration,
    ) -> Result<Transaction, StoreError> {
        let own = self.writer.within_own();
        let turn = own.as_ref().map_or(&self.writer.turn, |within| &within.turns);
        let until = Instant::now() + wait;
        let permit = tokio::time::timeout(wait, Arc::clone(turn).acquire_owned())
            .await
            .map_err(|_| self.own_write_under_way())?
            .map_err(|_| self.lock_ended())?;
        if let Some(within) = own {
            return self.open_transaction(doing, permit, Some(within.lock), wait, None).await;
        }
        let left = until.saturating_duration_since(Instant::now());
        let mut transaction = self.open_transaction(doing, permit, None, left, Some(stall)).await?;
        transaction.is_lock = true;
        let turns = Arc::new(Semaphore::new(1));
        let holder = tokio::task::try_id();
        self.writer.set_within(Some(Within { lock: transaction.id, turns, holder }));
        Ok(transaction)
    }

    fn own_write_under_way(&self) -> StoreError {
        let holder = Some("another write of this process's own".to_owned());
        self.place.busy(format!("the database file {}", self.place.file), holder)
    }

    fn lock_ended(&self) -> StoreError {
        self.place.busy("the fence's lock ended; the database", None)
    }

    async fn open_transaction(
        self: &Arc<Self>,
        doing: &'static str,
        permit: OwnedSemaphorePermit,
        inside: Option<u64>,
        wait: Duration,
        stall: Option<Duration>,
    ) -> Result<Transaction, StoreError> {
        let transaction = self.transaction(doing, permit).await?;
        let id = transaction.id;
        let began = transaction
            .send(doing, move |session| {
                session.connection.busy_timeout(wait)?;
                let began = session.stack.begin(&session.connection, id, inside, true)?;
                session.stack.stall = stall.map(|stall| (stall, Instant::now())).or(session.stack.stall);
                Ok(began)
            })
            .await?;
        if began { Ok(transaction) } else { Err(self.lock_ended()) }
    }

    /// A transaction that hasn't begun.
    async fn transaction(
        self: &Arc<Self>,
        doing: &'static str,
        permit: OwnedSemaphorePermit,
    ) -> Result<Transaction, StoreError> {
        let thread = {
            let mut thread = self.writer.thread.lock().await;
            match &*thread {
                Some(thread) => thread.clone(),
                None => {
                    let new = self.thread(Purpose::Write).map_err(|cause| self.place.gone(doing, cause))?;
                    thread.insert(new).clone()
                }
            }
        };
        let id = self.writer.next.fetch_add(1, Ordering::Relaxed);
        Ok(Transaction { database: Arc::clone(self), thread, id, permit: Some(permit), is_lock: false })
    }

    /// Runs something in one transaction of the writer's, and commits. On an error of the commit the outcome isn't known.
    pub(super) async fn write<T, F>(self: &Arc<Self>, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, WriteError> + Send + 'static,
    {
        self.write_whole(doing, true, work).await
    }

    /// As [`SqliteDatabase::write`], for what may be lost in a power cut: it costs the application's file no waiting for the
    /// disk, and its lock is shorter.
    pub(super) async fn write_relaxed<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, WriteError> + Send + 'static,
    {
        self.write_whole(doing, false, work).await
    }

    /// One job from the beginning to the commit: the file isn't kept locked for as long as a busy runtime, or a service that
    /// waits for this very lock on the runtime's only thread, takes to come back to us.
    async fn write_whole<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        durable: bool,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, WriteError> + Send + 'static,
    {
        let (inside, permit) = self.turn().await?;
        let mut transaction = self.transaction(doing, permit).await?;
        let (id, wait, ended) = (transaction.id, self.lock_wait(), self.lock_ended());
        let made = transaction
            .send(doing, move |session| {
                session.connection.busy_timeout(wait)?;
                if !session.stack.begin(&session.connection, id, inside, durable)? {
                    return Err(WriteError::Store(ended));
                }
                session.stack.beat();
                let made = work(session)?;
                session.stack.commit(&session.connection)?;
                Ok(made)
            })
            .await?;
        transaction.leave();
        Ok(made)
    }
}

/// What ends a piece of work in a transaction.
#[derive(Debug)]
pub(super) enum WriteError {
    /// SQLite's error.
    Sqlite(rusqlite::Error),
    /// One of the store's own.
    Store(StoreError),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Transaction {
    /// Runs something within the transaction.
    pub(super) async fn run<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, WriteError> + Send + 'static,
    {
        let id = self.id;
        let lost = self
            .database
            .place
            .gone(doing, "the transaction was rolled back: its holder stalled, or its lock ended");
        self.send(doing, move |session| {
            // In autocommit, SQLite itself has rolled the transaction back.
            if !session.stack.is_open(id) || session.connection.is_autocommit() {
                return Err(WriteError::Store(lost));
            }
            session.stack.beat();
            work(session)
        })
        .await
    }

    /// Commits. On an error the outcome isn't known.
    pub(super) async fn commit(mut self, doing: &'static str) -> Result<(), StoreError> {
        if self.is_lock {
            // Whoever writes within the lock ends first; nobody begins any more.
            if let Some(Within { turns, .. }) = self.database.writer.within() {
                let wait = self.database.lock_wait();
                let last = tokio::time::timeout(wait, turns.acquire()).await;
                turns.close();
                if last.is_err() {
                    return Err(self.database.own_write_under_way());
                }
            }
        }
        let done = self.run(doing, |session| Ok(session.stack.commit(&session.connection)?)).await;
        if done.is_ok() {
            self.leave();
        }
        done
    }

    /// Gives the turn to the next.
    fn leave(&mut self) {
        if self.is_lock {
            if let Some(Within { turns, .. }) = self.database.writer.within() {
                turns.close();
            }
            self.database.writer.set_within(None);
            self.is_lock = false;
        }
        self.permit = None;
    }

    async fn send<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, WriteError> + Send + 'static,
    {
        let place = self.database.place.clone();
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |session: &mut Session| {
            let made = work(session).map_err(|error| match error {
                WriteError::Sqlite(error) => place.error(doing, &error),
                WriteError::Store(error) => error,
            });
            // Nobody there to hear it is no fault of ours: the caller was dropped, and rolls back.
            let _ = answer.send(made);
        });
        let gone = || self.database.place.gone(doing, "its thread ended");
        self.thread.send(job).map_err(|()| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let (id, database, is_lock) = (self.id, Arc::clone(&self.database), self.is_lock);
        if is_lock && let Some(Within { turns, .. }) = database.writer.within() {
            turns.close();
        }
        let sent = self.thread.send(Box::new(move |session: &mut Session| {
            session.stack.roll_back(&session.connection, id);
            if is_lock {
                database.writer.set_within(None);
            }
            drop(permit);
        }));
        if sent.is_err() {
            tracing::error!("the writer's thread has ended with a transaction open");
        }
    }
}
