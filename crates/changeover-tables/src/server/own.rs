//! Who works on a database's tables: locks that a session of its own holds for as long as the run lasts. The server gives them
//! up when that session is gone, and tells nobody.
//!
//! So the session is asked every second whether it is there. Once it isn't, no session is given to anybody here until the locks
//! are taken again; if another has taken them meanwhile, none ever is. A new connection is given only when the locks were there
//! after it was made: after a restart of the server nothing is done by a right from before.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::StoreError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::session::{DbError, Place, Session, Sessions, Trouble};
use super::store::Server;
use crate::database::{Owned, Scope};

/// How often the session is asked whether it is there, and how long its answer may take.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How often the locks are tried for again, and how long somebody else may hold them who is only about to be gone.
const AGAIN_EVERY: Duration = Duration::from_millis(250);
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// How long one try may take: a connection, and the locks.
const TRY_WITHIN: Duration = Duration::from_secs(20);

/// How many may wait to hear whether the locks are there.
const ASKERS: usize = 64;

/// Who wants to work on what.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) migration: String,
    /// The tables, each with which of its rows.
    pub(crate) tables: Vec<(String, Scope)>,
    /// Shown to whoever comes second, where the server shows it.
    pub(crate) holder: String,
}

/// What somebody else has: what it is, and who has it, both for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) what: String,
    pub(crate) holder: String,
}

/// What tells a session from every other that the server has or will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former {
    pub(crate) number: i64,
    pub(crate) mark: String,
}

/// How it stands with the locks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Ours,
    /// The session is gone, for this reason.
    Lost(String),
    /// Somebody else has them.
    Theirs(Held),
}

/// Sessions for whoever works by a right to it; where none was taken, for everybody.
#[derive(Debug)]
pub(super) struct Rightful {
    sessions: Arc<dyn Sessions>,
    right: Mutex<Option<Right>>,
}

/// The right, for those who ask for it.
#[derive(Debug, Clone)]
struct Right {
    standing: watch::Receiver<Standing>,
    asks: mpsc::Sender<oneshot::Sender<()>>,
}

/// The right, held until it is dropped.
pub(super) struct Ownership {
    keeper: JoinHandle<()>,
    standing: watch::Receiver<Standing>,
    store: String,
    sessions: Arc<Rightful>,
}

impl std::fmt::Debug for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ownership").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.keeper.abort();
        let mut right = self.sessions.right();
        if right.as_ref().is_some_and(|right| right.standing.same_channel(&self.standing)) {
            *right = None;
        }
    }
}

impl Owned for Ownership {
    fn taken(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send>> {
        let (mut standing, store) = (self.standing.clone(), self.store.clone());
        Box::pin(async move {
            let theirs = standing.wait_for(|standing| matches!(standing, Standing::Theirs(_))).await;
            let theirs = theirs.ok().map(|standing| standing.clone());
            match theirs {
                Some(Standing::Theirs(Held { what, holder })) => {
                    StoreError::Busy { store, what, holder: Some(holder) }
                }
                // It was given up.
                _ => pending().await,
            }
        })
    }
}

impl Rightful {
    pub(super) fn new(sessions: Arc<dyn Sessions>) -> Arc<Self> {
        Arc::new(Self { sessions, right: Mutex::new(None) })
    }

    fn right(&self) -> std::sync::MutexGuard<'_, Option<Right>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sessions for Rightful {
    async fn take(&self) -> Result<Box<dyn Session>, DbError> {
        let right = self.right().clone();
        let Some(right) = right else { return self.sessions.take().await };
        right.look()?;
        let session = self.sessions.take().await?;
        if session.is_new() {
            right.ask().await?;
        }
        Ok(session)
    }

    fn close(&self) {
        self.sessions.close();
    }
}

impl Right {
    fn look(&self) -> Result<(), DbError> {
        match &*self.standing.borrow() {
            Standing::Ours => Ok(()),
            Standing::Lost(cause) => Err(lost(cause)),
            Standing::Theirs(Held { what, holder }) => {
                let message = format!("{what} was lost to {holder}, so nothing is done here any more");
                Err(DbError::ours(Trouble::Other, message))
            }
        }
    }

    /// Whether the locks are there now.
    async fn ask(&self) -> Result<(), DbError> {
        let (asked, answer) = oneshot::channel();
        let answered = async {
            self.asks.send(asked).await.ok()?;
            answer.await.ok()
        };
        match timeout(2 * ANSWERS_WITHIN, answered).await {
            Ok(Some(())) => Ok(()),
            _ => self.look().and_then(|()| Err(lost("its session doesn't answer"))),
        }
    }
}

fn lost(cause: &str) -> DbError {
    let message = format!("the right to work on these tables was lost, and is being taken again: {cause}");
    DbError::ours(Trouble::Gone, message)
}

/// Takes the locks, and keeps them.
pub(super) async fn take(
    server: Arc<dyn Server>,
    sessions: &Arc<Rightful>,
    place: &Place,
    wanted: Wanted,
) -> Result<Ownership, StoreError> {
    let told = |error: DbError| place.error("locking the migration", &error);
    let mut session = sessions.sessions.take().await.map_err(told)?;
    if let Some(Held { what, holder }) = server.own(session.as_mut(), &wanted).await.map_err(told)? {
        return Err(StoreError::Busy { store: place.store.clone(), what, holder: Some(holder) });
    }
    let former = server.identify(session.as_mut()).await.map_err(told)?;
    let (tell, standing) = watch::channel(Standing::Ours);
    let (asks, asked) = mpsc::channel(ASKERS);
    *sessions.right() = Some(Right { standing: standing.clone(), asks });
    let keeper = Keeper {
        server,
        sessions: Arc::clone(&sessions.sessions),
        place: place.clone(),
        wanted,
        tell,
        asked,
    };
    let keeper = tokio::spawn(keeper.keep(session, former));
    Ok(Ownership { keeper, standing, store: place.store.clone(), sessions: Arc::clone(sessions) })
}

/// A session that has the locks, and what tells it from others.
type Taken = (Box<dyn Session>, Former);

/// Keeps the locks.
struct Keeper {
    server: Arc<dyn Server>,
    sessions: Arc<dyn Sessions>,
    place: Place,
    wanted: Wanted,
    tell: watch::Sender<Standing>,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Keeper {
    async fn keep(mut self, mut session: Box<dyn Session>, mut former: Former) {
        loop {
            let cause = self.until_lost(session.as_mut()).await;
            tracing::warn!(
                at = self.place.at,
                cause,
                "the right to work on the tables is lost; it is taken again"
            );
            self.tell.send_replace(Standing::Lost(cause));
            drop(session);
            match self.again(&former).await {
                Ok(again) => (session, former) = again,
                Err(held) => {
                    tracing::error!(at = self.place.at, holder = held.holder, "another has taken the tables");
                    self.tell.send_replace(Standing::Theirs(held));
                    return;
                }
            }
            tracing::info!(at = self.place.at, "the right to work on the tables is held again");
            self.tell.send_replace(Standing::Ours);
        }
    }

    /// Asks the session again and again, and for whoever wants to know; why it is gone.
    async fn until_lost(&mut self, session: &mut dyn Session) -> String {
        loop {
            let asker = tokio::select! {
                biased;
                asker = self.asked.recv(), if !self.asked.is_closed() => asker,
                () = sleep(ASKED_EVERY) => None,
            };
            match timeout(ANSWERS_WITHIN, session.query("SELECT 1", &[])).await {
                Ok(Ok(_)) => {
                    // Who asked may be gone.
                    let _ = asker.map(|asker| asker.send(()));
                }
                Ok(Err(error)) => return error.cause(),
                Err(_) => return format!("no answer within {} s", ANSWERS_WITHIN.as_secs()),
            }
        }
    }

    /// Takes the locks again as soon as the server is to be had; whoever else has them.
    async fn again(&mut self, former: &Former) -> Result<Taken, Held> {
        let mut theirs_since: Option<Instant> = None;
        loop {
            // Nobody works on while it is lost: those who asked hear it by their question's end.
            while let Ok(asker) = self.asked.try_recv() {
                drop(asker);
            }
            match timeout(TRY_WITHIN, self.try_again(former)).await {
                Ok(Ok(Ok(taken))) => return Ok(taken),
                Ok(Ok(Err(held))) => {
                    let since = *theirs_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GONE_WITHIN {
                        return Err(held);
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the right to work on the tables can't be taken again yet")
                }
                Err(_) => tracing::debug!("the right to work on the tables can't be taken again in time"),
            }
            sleep(AGAIN_EVERY).await;
        }
    }

    async fn try_again(&self, former: &Former) -> Result<Result<Taken, Held>, DbError> {
        let mut session = self.sessions.take().await?;
        // Where only the network has lost it, the server has it still, and the locks with it.
        self.server.end(session.as_mut(), former).await?;
        if let Some(held) = self.server.own(session.as_mut(), &self.wanted).await? {
            return Ok(Err(held));
        }
        let former = self.server.identify(session.as_mut()).await?;
        Ok(Ok((session, former)))
    }
}
