//! The pool of a database's sessions: so many at once and no more, each waited for within a bound.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool::managed::{Manager, Object, Pool, PoolError, Timeouts};

use super::session::{DbError, Session, Sessions, Trouble};

/// How long one attempt to connect may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// How long a session is waited for.
const WAIT: Duration = Duration::from_secs(30);

/// Makes a kind of server's connections, and says what a session over one of them is.
pub(crate) trait Connects: Manager<Error = DbError> + Sized {
    type Session: Session + From<Object<Self>> + 'static;
}

/// The pool, shared by whoever has a copy.
pub(crate) struct SessionPool<C: Connects>(Pool<C>);

impl<C: Connects> std::fmt::Debug for SessionPool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SessionPool").field(&self.0.status()).finish()
    }
}

impl<C: Connects> SessionPool<C> {
    pub(crate) fn new(connector: C, most: usize) -> Result<Arc<Self>, DbError> {
        // Making a connection may be more than one attempt, and the settings.
        let timeouts = Timeouts { wait: Some(WAIT), create: Some(2 * CONNECT), recycle: Some(CONNECT) };
        let pool = Pool::builder(connector)
            .max_size(most)
            .timeouts(timeouts)
            .runtime(deadpool::Runtime::Tokio1)
            .build();
        let pool = pool.map_err(|error| DbError::ours(Trouble::Other, error.to_string()))?;
        Ok(Arc::new(Self(pool)))
    }

    pub(crate) async fn connect(&self) -> Result<C::Session, DbError> {
        match self.0.get().await {
            Ok(connection) => Ok(connection.into()),
            Err(PoolError::Backend(error)) => Err(error),
            Err(error) => Err(DbError::ours(Trouble::Gone, format!("no session was to be had: {error}"))),
        }
    }
}

#[async_trait]
impl<C> Sessions for SessionPool<C>
where
    C: Connects + 'static,
    C::Type: Send + Sync,
{
    async fn take(&self) -> Result<Box<dyn Session>, DbError> {
        Ok(Box::new(self.connect().await?))
    }

    fn close(&self) {
        self.0.close();
    }
}
