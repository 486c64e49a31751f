//! Who works on a table: locks by name that a session of its own holds for as long as the run lasts. The server gives them up
//! when the session is gone.
//!
//! Such a lock can't be shared. Whoever works on some rows of a table takes one of a few places beside its lock, and whoever
//! works on all of it takes the lock and every place.

use changeover::{StoreError, Value};

use super::session::MySession;
use crate::database::{Owned, Scope};
use crate::server::session::{DbError, Place, Session};
use crate::shape::tag;

/// How many migrations may work on rows of one table.
const PLACES: usize = 8;

/// A session that holds the locks.
pub(super) struct Ownership {
    _session: MySession,
}

impl std::fmt::Debug for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ownership")
    }
}

impl Owned for Ownership {}

impl Ownership {
    pub(super) async fn take(
        mut session: MySession,
        (place, database): (&Place, &str),
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Self, StoreError> {
        let told = |error: DbError| place.error("locking the migration", &error);
        for (what, choice) in locks(database, migration, tables) {
            let mut holder = None;
            let mut taken = false;
            for name in &choice {
                holder = take(&mut session, name).await.map_err(told)?;
                taken = holder.is_none();
                if taken {
                    break;
                }
            }
            if !taken {
                return Err(StoreError::Busy { store: place.store.clone(), what, holder });
            }
        }
        Ok(Self { _session: session })
    }
}

/// What is to be locked: each for people, and the names of which one must be had.
fn locks(database: &str, migration: &str, tables: &[(String, Scope)]) -> Vec<(String, Vec<String>)> {
    // The names are the whole server's, and short.
    let name = |thing: &str| format!("changeover:{:08x}:{:08x}", tag(database), tag(thing));
    let mut all = vec![(format!("the migration {migration}"), vec![name(&format!("run\0{migration}"))])];
    for (table, scope) in tables {
        let what = format!("the table {table}");
        let place = |n: usize| name(&format!("place\0{table}\0{n}"));
        match scope {
            Scope::Whole => all.extend((0..PLACES).map(|n| (what.clone(), vec![place(n)]))),
            Scope::Some(rows) => {
                all.push((format!("{what} where {rows}"), vec![name(&format!("rows\0{table}\0{rows}"))]));
                all.push((what, (0..PLACES).map(place).collect()));
            }
        }
    }
    all
}

/// Takes a lock; whoever has it, if it isn't to be had.
async fn take(session: &mut MySession, name: &str) -> Result<Option<String>, DbError> {
    let taken = session.query("SELECT GET_LOCK(?, 0)", &[name.into()]).await?;
    if matches!(taken.first().and_then(|row| row.first()), Some(Value::Int(1) | Value::Uint(1))) {
        return Ok(None);
    }
    let sql = "SELECT CONCAT('connection ', ID, ' (', USER, '@', HOST, ')') FROM information_schema.PROCESSLIST \
               WHERE ID = IS_USED_LOCK(?)";
    let rows = session.query(sql, &[name.into()]).await?;
    let holder = rows.first().and_then(|row| row.first()).and_then(Value::plain);
    Ok(Some(holder.map_or_else(|| "another run".to_owned(), std::borrow::Cow::into_owned)))
}
