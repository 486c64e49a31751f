//! What Changeover puts into a user's database: its names, the log of changed keys, and what a dialect has to make of it.
//!
//! Every name begins with `changeover_`. Names of one migration end in `:MIGRATION` or `:MIGRATION:MAPPING`, where servers have
//! room for them; else in numbers that stand for both.

use std::time::Duration;

use async_trait::async_trait;
use changeover::store::capture::CaptureOptions;
use changeover::{Side, Value};

use super::dialect::{Dialect, Statement};
use super::session::{DbError, Session};
use super::store::Inner;
use crate::catalog::{ColumnInfo, TableInfo};
use crate::installed::Installed;
use crate::shape::{SideTable, tag};

/// The table of what else there is to know: which options capture was installed with.
pub(crate) const META: &str = "changeover_meta";

/// The longest name that every server keeps whole, in bytes.
const NAME_MAX: usize = 63;

/// The name of something of a migration's side; of one of its mappings, where one is given.
pub(crate) fn thing_name(what: &str, migration: &str, side: Side, mapping: Option<&str>) -> String {
    let beginning = format!("changeover_{what}_{}", side.name());
    let whole = match mapping {
        Some(mapping) => format!("{beginning}:{migration}:{mapping}"),
        None => format!("{beginning}:{migration}"),
    };
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let number = |name: &str| format!("{:08x}", tag(name));
    match mapping {
        Some(mapping) => format!("{beginning}:#{}:#{}", number(migration), number(mapping)),
        None => format!("{beginning}:#{}", number(migration)),
    }
}

/// Whether a name is that of something of this migration's alone.
pub(crate) fn is_of(name: &str, migration: &str) -> bool {
    let of = name.split(':').nth(1);
    of == Some(migration) || of == Some(&format!("#{:08x}", tag(migration)))
}

/// The log of one side of a migration: a table whose columns hold the keys of all of its mappings.
#[derive(Debug, Clone)]
pub(crate) struct LogTable {
    /// Its bare name.
    pub(crate) name: String,
    /// The columns for keys and slots: each with its type, and shared by what has the same place and type.
    pub(crate) columns: Vec<(String, String)>,
    /// For each mapping, by its place: where the values of its key are among the columns, and that of its slot.
    pub(crate) places: Vec<(Vec<usize>, Option<usize>)>,
}

impl LogTable {
    pub(crate) fn new(captures: &dyn Captures, migration: &str, side: Side, tables: &[SideTable]) -> Self {
        let mut log =
            Self { name: thing_name("log", migration, side, None), columns: Vec::new(), places: Vec::new() };
        for table in tables {
            let mut key = Vec::with_capacity(table.key.len());
            for (n, part) in table.key.iter().enumerate() {
                key.push(log.place(captures, &format!("k{}", n + 1), table.info.column(&part.name)));
            }
            let slot = table.route.as_ref();
            let slot = slot.map(|(column, _)| log.place(captures, "slot", table.info.column(column)));
            log.places.push((key, slot));
        }
        log
    }

    fn place(&mut self, captures: &dyn Captures, what: &str, column: Option<&ColumnInfo>) -> usize {
        let ty = column.map_or_else(|| captures.log_type(None), |column| captures.log_type(Some(column)));
        let plain: String = ty
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        let name =
            if plain.len() > 40 { format!("{what}_{:08x}", tag(&ty)) } else { format!("{what}_{plain}") };
        match self.columns.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => {
                self.columns.push((name, ty));
                self.columns.len() - 1
            }
        }
    }
}

/// Something that is installed on a table and acts there: a trigger, with whatever it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thing {
    /// Its name.
    pub(crate) name: String,
    /// The table, as it stands in SQL.
    pub(crate) on: String,
    /// The statements that make it, or make it anew.
    pub(crate) make: Vec<String>,
}

impl Thing {
    /// A number that changes when it does: it is installed with it.
    pub(crate) fn digest(&self) -> String {
        let all = self.make.join("\n");
        let hash = all
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        format!("changeover {hash:016x}")
    }
}

/// How a dialect keeps house in a user's database.
#[async_trait]
pub(crate) trait Installs: Send + Sync {
    /// What is installed in the database, of all migrations: what acts first, then what it needs.
    async fn list(&self, session: &mut dyn Session) -> Result<Vec<Installed>, DbError>;

    /// The statements that remove one of these; may be repeated.
    fn removal(&self, thing: &Installed) -> Vec<String>;

    /// What is left to be removed when nothing else of ours is there.
    fn remove_last(&self) -> Vec<String>;

    /// Begins a transaction that switches capture or the fence: its locks are waited for only so long.
    fn begin_change(&self, lock_wait: Duration) -> String;

    /// Whether what defines and removes things is part of a transaction. Where it isn't, each such statement commits by itself,
    /// and all of ours may be repeated.
    fn defines_in_transactions(&self) -> bool;

    /// Begins what removes or renames: the transaction, where such things are part of one. Locks are waited for only so long.
    fn begin_removal(&self, lock_wait: Duration) -> String;

    /// Ends it, where such things aren't part of a transaction.
    fn end_removal(&self) -> String {
        "SELECT 1".to_owned()
    }

    /// Whether a table is there: a statement that answers a row if it is.
    fn is_there(&self, table: &TableInfo) -> Statement;

    /// Gives a table another name.
    fn rename(&self, table: &TableInfo, name: &str) -> String;

    /// Who stands in the way of a lock on these tables: a statement that answers texts.
    fn blockers(&self, tables: &[&str]) -> Statement;

    /// The next value that the counter of this column could give out, with what is cached or in steps; `None` where none is
    /// left.
    async fn next_of_counter(
        &self,
        session: &mut dyn Session,
        table: &SideTable,
        column: &str,
    ) -> Result<Option<i64>, DbError>;

    /// Makes this the next value of the column's counter. Whatever transaction is open stays open.
    async fn set_counter(
        &self,
        inner: &Inner,
        session: &mut dyn Session,
        table: &SideTable,
        column: &str,
        next: i64,
    ) -> Result<(), DbError>;
}

/// How a dialect captures changes and refuses writes.
#[async_trait]
pub(crate) trait Captures: Send + Sync {
    /// The type in which the log keeps the values of a column; for anything, where the column isn't known.
    fn log_type(&self, column: Option<&ColumnInfo>) -> String;

    /// A column of the log in a select list, given its name in quotes and its type.
    fn log_column(&self, quoted: &str, ty: &str) -> String {
        let _ = ty;
        quoted.to_owned()
    }

    /// Brings about what capture and the fence are made of, before a transaction that switches them begins: nothing where
    /// definitions are part of a transaction. What is there changes nothing until it is switched on. May be repeated.
    async fn prepare(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
        lock_wait: Duration,
    ) -> Result<(), DbError>;

    /// The statements that bring the log's table about in the transaction that switches capture on; may be repeated.
    fn make_log(&self, log: &LogTable) -> Vec<String>;

    /// How many numbers the log has given out, or might have: a statement that answers one number.
    fn newest(&self, log: &LogTable) -> Statement;

    /// Whether a number that was given out is known to be still, once the server has crashed.
    fn numbers_outlive_a_crash(&self) -> bool;

    /// What logs the changes of all mappings.
    fn capture(&self, inner: &Inner, log: &LogTable, options: CaptureOptions) -> Vec<Thing>;

    /// What refuses the application's writes.
    fn fence(&self, inner: &Inner) -> Vec<Thing>;

    /// Switches capture on with these options, or brings what is on to them, within the transaction that is open.
    async fn switch_capture_on(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
        options: CaptureOptions,
    ) -> Result<(), DbError>;

    /// Switches what refuses writes on or off, within the transaction that is open, which has the fence's row written already.
    async fn switch_fence(&self, session: &mut dyn Session, inner: &Inner, on: bool) -> Result<(), DbError>;

    /// Removes what logs, and the log; may be repeated.
    async fn remove_capture(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
    ) -> Result<(), DbError>;

    /// Removes what refuses, and the fence's row; may be repeated.
    async fn remove_fence(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
    ) -> Result<(), DbError>;

    /// Whether all of these are there, just as they were made, and switched on.
    async fn are_whole(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        things: &[Thing],
    ) -> Result<bool, DbError>;

    /// Begins a transaction that has locked this side's tables against writers, and ends by itself when its holder stalls.
    async fn lock(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        wait: Duration,
        stall: Duration,
    ) -> Result<(), DbError>;

    /// Waits until nobody holds a guard on this side, and none is given until the transaction ends.
    fn lock_guards(&self, guarded: &str) -> Statement;

    /// The time now, by the server's clock.
    fn now(&self) -> &'static str;

    /// Deletes what can be deleted of the log before the lock, so that the lock is short.
    async fn thin_out(&self, session: &mut dyn Session, log: &LogTable) -> Result<(), DbError>;

    /// Deletes all of the log's entries, with the mark that it overflowed, so that no transaction which writes from now on
    /// takes it for full: within a transaction that has locked this side's tables against writers.
    fn empty_log(&self, inner: &Inner, log: &LogTable) -> String;

    /// Whether the log has the mark that it overflowed: a query for a number.
    fn overflowed(&self, inner: &Inner, log: &LogTable) -> String;

    /// Deletes the log's entries with these numbers.
    fn delete_entries(&self, log: &str, ids: &[i64]) -> Statement;
}

/// Removes what is installed under these names.
pub(crate) async fn remove_named(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    things: &[Thing],
) -> Result<(), DbError> {
    let is_named = |there: &Installed| things.iter().any(|thing| thing.name == there.name);
    for thing in dialect.list(session).await?.iter().filter(|thing| is_named(thing)) {
        for statement in dialect.removal(thing) {
            session.batch(&statement).await?;
        }
    }
    Ok(())
}

/// Whether one of our own tables is there.
pub(crate) async fn exists(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    table: &str,
) -> Result<bool, DbError> {
    let statement = dialect.own_exists(table);
    Ok(!session.query(&statement.sql, &statement.params).await?.is_empty())
}

/// A migration's note to itself.
pub(crate) async fn note(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    key: &str,
) -> Result<Option<String>, DbError> {
    if !exists(session, dialect, META).await? {
        return Ok(None);
    }
    let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
    let table = dialect.own(META);
    let sql = format!("SELECT note FROM {table} WHERE migration = {first} AND name = {second}");
    let rows = session.query(&sql, &[migration.into(), key.into()]).await?;
    Ok(match rows.into_iter().next().and_then(|row| row.into_iter().next()) {
        Some(Value::Text(note)) => Some(note),
        _ => None,
    })
}

pub(crate) async fn put_note(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    key: &str,
    note: &str,
) -> Result<(), DbError> {
    let sql = dialect.put(META, &["migration", "name", "note"], 2);
    session.execute(&sql, &[migration.into(), key.into(), note.into()]).await.map(drop)
}

pub(crate) async fn drop_note(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    key: &str,
) -> Result<(), DbError> {
    let (first, second) = (dialect.placeholder(1), dialect.placeholder(2));
    let sql = format!("DELETE FROM {} WHERE migration = {first} AND name = {second}", dialect.own(META));
    session.execute(&sql, &[migration.into(), key.into()]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_of_its_migration_still() {
        let short = thing_name("insert", "flights", Side::Old, Some("bookings"));
        assert_eq!(short, "changeover_insert_old:flights:bookings");
        let long = "m".repeat(60);
        let name = thing_name("insert", &long, Side::Old, Some("bookings"));
        assert!(name.len() <= NAME_MAX && is_of(&name, &long) && is_of(&short, "flights"), "{name}");
        assert!(!is_of(&name, "flights") && !is_of("changeover_chunk", "flights"));
        assert_ne!(name, thing_name("insert", &long, Side::Old, Some("seats")));
    }
}
