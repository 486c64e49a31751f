//! The fence: a row that says how it stands, and, unless it is open, triggers that refuse the application.
//!
//! Where definitions are part of a transaction, the triggers are switched on and off by that of their tables; where they aren't, the
//! triggers are there beforehand, and read the row with a lock. Never is it a plain read: a transaction whose snapshot is older than
//! the move would not see what the row says, and its write would be taken and lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::store::fence::{Fence, FenceAt, FenceLock, FenceState};
use changeover::{StoreError, Value};

use super::claims::Log;
use super::install;
use super::lock::ServerLock;
use super::session::{DbError, Session, Trouble};
use super::store::{Inner, ServerStore};

/// The table of the fences.
pub(crate) const TABLE: &str = "changeover_fence";

#[async_trait]
impl Fence for ServerStore {
    async fn look(&self) -> Result<FenceAt, StoreError> {
        let doing = "looking at the fence";
        let mut session = self.inner.session(doing).await?;
        let at = look(session.as_mut(), &self.inner).await;
        self.inner.given_back(doing, session, at)
    }

    async fn is_whole(&self) -> Result<bool, StoreError> {
        let doing = "looking at the fence";
        let mut session = self.inner.session(doing).await?;
        let whole = async {
            let at = look(session.as_mut(), &self.inner).await?;
            if at.state == FenceState::Open {
                return Ok(true);
            }
            let captures = self.inner.captures()?;
            captures.are_whole(session.as_mut(), &self.inner, &captures.fence(&self.inner)).await
        };
        let whole = whole.await;
        self.inner.given_back(doing, session, whole)
    }

    async fn set(&self, state: FenceState, epoch: u64) -> Result<(), StoreError> {
        let doing = "setting the fence";
        let mut session = self.begin_change(doing).await?;
        let done = set(session.as_mut(), &self.inner, state, epoch).await;
        match done {
            Ok(None) => self.end_change(doing, session, Ok(())).await,
            Ok(Some(conflict)) => Err(conflict),
            Err(error) => self.end_change(doing, session, Err(error)).await,
        }
    }

    async fn remove(&self) -> Result<(), StoreError> {
        let doing = "removing the fence";
        let mut session = self.begin_removal(doing).await?;
        let removed = async { Log::new(&self.inner, session.as_mut())?.remove_fence().await }.await;
        self.end_removal(doing, session, removed).await
    }

    async fn lock(&self, wait: Duration, stall: Duration) -> Result<Box<dyn FenceLock>, StoreError> {
        let doing = "locking the tables";
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let locked = async {
            inner.make_own_tables(session.as_mut()).await?;
            lock(session.as_mut(), inner, wait, stall).await
        };
        match locked.await {
            Ok(()) => Ok(Box::new(ServerLock { inner: Arc::clone(inner), session: Some(session) })),
            Err(error) => {
                drop(session);
                Err(self.locked_out(doing, &error).await)
            }
        }
    }
}

/// Begins a transaction that has locked this side's tables against writers, with all there that it may switch.
pub(super) async fn lock(
    session: &mut dyn Session,
    inner: &Inner,
    wait: Duration,
    stall: Duration,
) -> Result<(), DbError> {
    Log::new(inner, session)?.prepare().await?;
    inner.captures()?.lock(session, inner, wait, stall).await
}

/// This side's tables as they stand in SQL, each once.
pub(crate) fn tables(inner: &Inner) -> Vec<&str> {
    let mut tables: Vec<&str> = inner.tables.iter().map(|table| table.table.as_str()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

impl ServerStore {
    /// Begins a transaction that switches capture or the fence, with all there that it may switch.
    pub(super) async fn begin_change(&self, doing: &str) -> Result<Box<dyn Session>, StoreError> {
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let begun = async {
            inner.make_own_tables(session.as_mut()).await?;
            Log::new(inner, session.as_mut())?.prepare().await?;
            session.batch(&inner.dialect.begin_change(inner.manners.lock_wait)).await
        };
        match begun.await {
            Ok(()) => Ok(session),
            Err(error) => {
                drop(session);
                Err(self.locked_out(doing, &error).await)
            }
        }
    }

    /// Begins what removes or renames, with our own tables there.
    pub(super) async fn begin_removal(&self, doing: &str) -> Result<Box<dyn Session>, StoreError> {
        let inner = &self.inner;
        let mut session = inner.session(doing).await?;
        let begun = async {
            inner.make_own_tables(session.as_mut()).await?;
            session.batch(&inner.dialect.begin_removal(inner.manners.lock_wait)).await
        };
        begun.await.map_err(|error| inner.place.error(doing, &error))?;
        Ok(session)
    }

    /// Ends it. Where it was no transaction, what was done is done.
    pub(super) async fn end_removal(
        &self,
        doing: &str,
        mut session: Box<dyn Session>,
        done: Result<(), DbError>,
    ) -> Result<(), StoreError> {
        if self.inner.dialect.defines_in_transactions() || done.is_err() {
            return self.end_change(doing, session, done).await;
        }
        let ended = session.batch(&self.inner.dialect.end_removal()).await;
        self.inner.given_back(doing, session, ended)
    }

    /// Ends it: what was done is there, or nothing is.
    pub(super) async fn end_change(
        &self,
        doing: &str,
        mut session: Box<dyn Session>,
        done: Result<(), DbError>,
    ) -> Result<(), StoreError> {
        let ended = match done {
            Ok(()) => session.commit().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {
                session.release();
                Ok(())
            }
            Err(error) => {
                drop(session);
                Err(self.locked_out(doing, &error).await)
            }
        }
    }

    /// An error; where a lock wasn't got, with who has it.
    async fn locked_out(&self, doing: &str, error: &DbError) -> StoreError {
        let inner = &self.inner;
        if error.trouble != Trouble::Locked {
            return inner.place.error(doing, error);
        }
        let tables = tables(inner);
        let holder = async {
            let mut session = inner.sessions.take().await.ok()?;
            let statement = inner.dialect.blockers(&tables);
            let rows = session.query(&statement.sql, &statement.params).await.ok()?;
            session.release();
            let named: Vec<String> = rows
                .into_iter()
                .filter_map(|row| row.into_iter().next())
                .filter_map(|who| who.plain().map(std::borrow::Cow::into_owned))
                .collect();
            (!named.is_empty()).then(|| named.join("; "))
        };
        let what = tables.join(", ").replace(['"', '`'], "");
        StoreError::Busy { store: inner.info.name.clone(), what, holder: holder.await }
    }
}

pub(crate) async fn look(session: &mut dyn Session, inner: &Inner) -> Result<FenceAt, DbError> {
    let open = FenceAt { state: FenceState::Open, epoch: 0 };
    let dialect = inner.dialect;
    if !install::exists(session, dialect, TABLE).await? {
        return Ok(open);
    }
    let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
    let sql = format!(
        "SELECT state, epoch FROM {} WHERE migration = {first} AND side = {second}",
        dialect.own(TABLE)
    );
    let rows = session.query(&sql, &[inner.migration.as_str().into(), inner.info.side.name().into()]).await?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([Value::Text(state), Value::Int(epoch)]) => {
            let state = match state.as_str() {
                "open" => FenceState::Open,
                "shut" => FenceState::Shut,
                _ => FenceState::Moved,
            };
            FenceAt { state, epoch: u64::try_from(*epoch).unwrap_or_default() }
        }
        _ => open,
    })
}

/// Why the mirror may not write here: the fence has been opened, and what it is about to put there was claimed before the move.
pub(super) fn authority(inner: &Inner, at: FenceAt) -> Option<StoreError> {
    (at.state == FenceState::Open && at.epoch > 0).then(|| StoreError::Conflict {
        store: inner.info.name.clone(),
        what: format!("the fence of {} ({})", inner.migration, inner.info.side.name()),
        expected: "a follower, which only the mirror writes".to_owned(),
        found: format!("the authority, opened by the move of epoch {}", at.epoch),
    })
}

/// Holds the fence's row until the transaction ends, so that an epoch which is read now can't be behind what is there when the
/// new one is written; whether there is one.
async fn hold(session: &mut dyn Session, inner: &Inner) -> Result<bool, DbError> {
    let dialect = inner.dialect;
    let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
    let sql = format!(
        "SELECT 1 FROM {} WHERE migration = {first} AND side = {second} FOR UPDATE",
        dialect.own(TABLE)
    );
    let params = [inner.migration.as_str().into(), inner.info.side.name().into()];
    Ok(!session.query(&sql, &params).await?.is_empty())
}

/// Sets the fence within the transaction that is open, if its epoch is at most this one; else the conflict.
pub(super) async fn set(
    session: &mut dyn Session,
    inner: &Inner,
    state: FenceState,
    epoch: u64,
) -> Result<Option<StoreError>, DbError> {
    let (dialect, captures) = (inner.dialect, inner.captures()?);
    if state == FenceState::Open {
        // Whoever has a guard is let finish: what it writes was claimed before.
        let guards = captures.lock_guards(&inner.guarded());
        session.query(&guards.sql, &guards.params).await?;
    }
    let is_there = hold(session, inner).await?;
    let at = look(session, inner).await?;
    if at.epoch > epoch {
        return Ok(Some(StoreError::Conflict {
            store: inner.info.name.clone(),
            what: format!("the fence of {} ({})", inner.migration, inner.info.side.name()),
            expected: format!("an epoch of at most {epoch}"),
            found: format!("epoch {}", at.epoch),
        }));
    }
    let word = match state {
        FenceState::Open => "open",
        FenceState::Shut => "shut",
        FenceState::Moved => "moved",
    };
    let params = [
        inner.migration.as_str().into(),
        inner.info.side.name().into(),
        word.into(),
        Value::Int(i64::try_from(epoch).unwrap_or(i64::MAX)),
    ];
    let columns = ["migration", "side", "state", "epoch"];
    if is_there {
        session.execute(&dialect.put(TABLE, &columns, 2), &params).await?;
    } else {
        // Where somebody else puts the first one in this moment, this one fails.
        let values: Vec<String> = (1..=columns.len()).map(|n| dialect.placeholder(n)).collect();
        let (own, columns, values) = (dialect.own(TABLE), columns.join(", "), values.join(", "));
        session.execute(&format!("INSERT INTO {own} ({columns}) VALUES ({values})"), &params).await?;
    }
    captures.switch_fence(session, inner, state != FenceState::Open).await?;
    Ok(None)
}

/// Deletes the fence's row.
pub(crate) async fn drop_row(session: &mut dyn Session, inner: &Inner) -> Result<(), DbError> {
    let dialect = inner.dialect;
    let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
    let sql = format!("DELETE FROM {} WHERE migration = {first} AND side = {second}", dialect.own(TABLE));
    session.execute(&sql, &[inner.migration.as_str().into(), inner.info.side.name().into()]).await.map(drop)
}
