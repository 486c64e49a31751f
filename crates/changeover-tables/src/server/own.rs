//! Who works on a database's tables: locks that a session of its own holds for as long as the run lasts. The server gives them
//! up when the session is gone.

use changeover::StoreError;
use tokio::sync::Mutex;

use super::session::{Place, Session};
use super::store::Server;
use crate::database::{Owned, Scope};

/// Who wants to work on what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) migration: &'a str,
    /// The tables, each with which of its rows.
    pub(crate) tables: &'a [(String, Scope)],
    /// Shown to whoever comes second, where the server shows it.
    pub(crate) holder: &'a str,
}

/// What somebody else has: what it is, and who has it, both for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) what: String,
    pub(crate) holder: String,
}

/// A session that holds the locks.
pub(super) struct Ownership {
    _session: Mutex<Box<dyn Session>>,
}

impl std::fmt::Debug for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ownership")
    }
}

impl Owned for Ownership {}

impl Ownership {
    pub(super) async fn take(
        server: &dyn Server,
        mut session: Box<dyn Session>,
        place: &Place,
        wanted: Wanted<'_>,
    ) -> Result<Self, StoreError> {
        let held = server.own(session.as_mut(), wanted).await;
        match held.map_err(|error| place.error("locking the migration", &error))? {
            None => Ok(Self { _session: Mutex::new(session) }),
            Some(Held { what, holder }) => {
                Err(StoreError::Busy { store: place.store.clone(), what, holder: Some(holder) })
            }
        }
    }
}
