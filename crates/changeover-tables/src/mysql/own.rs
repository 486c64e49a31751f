//! The locks of whoever works on a table, by name.
//!
//! Such a lock can't be shared. Whoever works on some rows of a table takes one of a few places beside its lock, and whoever
//! works on all of it takes the lock and every place.

use changeover::Value;

use crate::database::Scope;
use crate::server::own::{Former, Held, Wanted};
use crate::server::session::{DbError, Session, Trouble};
use crate::shape::tag;

/// How many migrations may work on rows of one table.
const PLACES: usize = 8;

/// Takes them all, or says which isn't to be had.
pub(super) async fn take(
    session: &mut dyn Session,
    database: &str,
    wanted: &Wanted,
) -> Result<Option<Held>, DbError> {
    for (what, choice) in locks(database, &wanted.migration, &wanted.tables) {
        let mut taken = None;
        for name in &choice {
            taken = take_one(session, name).await?;
            if taken.is_none() {
                break;
            }
        }
        if let Some(holder) = taken {
            return Ok(Some(Held { what, holder }));
        }
    }
    Ok(None)
}

/// Its number, which another may have after a restart of the server, with a lock by a name that nobody else has.
pub(super) async fn identify(session: &mut dyn Session) -> Result<Former, DbError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| DbError::ours(Trouble::Other, error.to_string()))?;
    let mark = format!("changeover:{:032x}", u128::from_ne_bytes(bytes));
    let rows = session.query("SELECT CONNECTION_ID(), GET_LOCK(?, 0)", &[mark.as_str().into()]).await?;
    let number = rows.first().and_then(|row| row.first()).and_then(Value::plain).and_then(|n| n.parse().ok());
    let unknown = || DbError::ours(Trouble::Other, "the server doesn't say which session this is");
    Ok(Former { number: number.ok_or_else(unknown)?, mark })
}

/// Ends a session of our own user.
pub(super) async fn end(session: &mut dyn Session, former: &Former) -> Result<(), DbError> {
    let rows = session.query("SELECT IS_USED_LOCK(?)", &[former.mark.as_str().into()]).await?;
    let holder = rows.first().and_then(|row| row.first()).and_then(Value::plain);
    if holder.is_none_or(|holder| holder != former.number.to_string()) {
        return Ok(());
    }
    match session.batch(&format!("KILL {}", former.number)).await {
        // It has gone meanwhile.
        Err(error) if error.code.starts_with("1094") => Ok(()),
        other => other,
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
async fn take_one(session: &mut dyn Session, name: &str) -> Result<Option<String>, DbError> {
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
