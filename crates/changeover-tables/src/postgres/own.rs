//! The locks of whoever works on a table, by number.
//!
//! There is one for the migration, and one for each table and scope. A scope is the whole table, or some of its rows: two
//! migrations may share a table as long as their scopes differ, and neither is the whole.

use changeover::Value;

use super::syntax::{class, text};
use crate::database::Scope;
use crate::server::own::{Former, Held, Wanted};
use crate::server::session::{DbError, Session, Trouble};
use crate::shape::tag;

/// The longest name that a session can have.
const NAME_MAX: usize = 63;

/// Who holds a lock of two numbers.
const HOLDER: &str = "SELECT coalesce(nullif(a.application_name, ''), 'process ' || a.pid) FROM pg_catalog.pg_locks l \
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
    AND l.classid::int8 = ($1::int8 & 4294967295) AND l.objid::int8 = ($2::int8 & 4294967295) AND l.pid <> pg_backend_pid()";

/// One lock: for what it is, for people, and whether others may share it.
struct Lock {
    what: String,
    number: i64,
    shared: bool,
}

/// Takes them all, or says which isn't to be had.
pub(super) async fn take(session: &mut dyn Session, wanted: &Wanted) -> Result<Option<Held>, DbError> {
    let name: String = wanted.holder.chars().filter(char::is_ascii).take(NAME_MAX).collect();
    let set = format!("SET application_name = {}; SET idle_session_timeout = 0", text(&name));
    session.batch(&set).await?;
    for lock in locks(&wanted.migration, &wanted.tables) {
        if let Some(holder) = lock.take(session).await? {
            return Ok(Some(Held { what: lock.what, holder }));
        }
    }
    Ok(None)
}

/// Its process, and when that began.
pub(super) async fn identify(session: &mut dyn Session) -> Result<Former, DbError> {
    let sql =
        "SELECT pid::int8, backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()";
    let rows = session.query(sql, &[]).await?;
    match rows.first().map(Vec::as_slice) {
        Some([Value::Int(number), Value::Text(mark)]) => Ok(Former { number: *number, mark: mark.clone() }),
        _ => Err(DbError::ours(Trouble::Other, "the server doesn't say which session this is")),
    }
}

/// Ends a session of our own role.
pub(super) async fn end(session: &mut dyn Session, former: &Former) -> Result<(), DbError> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
               WHERE pid::int8 = $1 AND backend_start::text = $2";
    session.query(sql, &[Value::Int(former.number), former.mark.as_str().into()]).await.map(drop)
}

fn locks(migration: &str, tables: &[(String, Scope)]) -> Vec<Lock> {
    let lock = |what: String, thing: &str, shared: bool| Lock { what, number: tag(thing), shared };
    let mut all = vec![lock(format!("the migration {migration}"), &format!("run\0{migration}"), false)];
    for (table, scope) in tables {
        let what = format!("the table {table}");
        let whole = format!("table\0{table}");
        match scope {
            Scope::Whole => all.push(lock(what, &whole, false)),
            Scope::Some(rows) => {
                all.push(lock(what.clone(), &whole, true));
                all.push(lock(format!("{what} where {rows}"), &format!("rows\0{table}\0{rows}"), false));
            }
        }
    }
    all
}

impl Lock {
    /// Takes it; whoever has it, if it isn't to be had.
    async fn take(&self, session: &mut dyn Session) -> Result<Option<String>, DbError> {
        let function = if self.shared { "pg_try_advisory_lock_shared" } else { "pg_try_advisory_lock" };
        // The number of a thing has 32 bits, which a lock takes with a sign.
        let number = i32::from_ne_bytes(u32::try_from(self.number).unwrap_or_default().to_ne_bytes());
        let params = [Value::Int(class("changeover").into()), Value::Int(number.into())];
        let taken = session.query(&format!("SELECT {function}($1, $2)"), &params).await?;
        if taken.first().and_then(|row| row.first()) == Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let rows = session.query(HOLDER, &params).await?;
        let holder = rows.first().and_then(|row| row.first()).and_then(Value::plain);
        Ok(Some(holder.map_or_else(|| "another run".to_owned(), std::borrow::Cow::into_owned)))
    }
}
