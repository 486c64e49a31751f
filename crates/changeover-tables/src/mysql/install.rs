//! How MariaDB and MySQL keep what is ours: tables beside the user's own. Whatever defines or drops a table commits by itself
//! here, so that each of these may be repeated.

use std::time::Duration;

use async_trait::async_trait;
use changeover::Value;

use super::capture::{DEFINING, DEFINING_WAIT};
use super::catalog::text;
use super::dialect::GUARD;
use super::syntax::Mysql;
use super::triggers::MIRROR;
use crate::catalog::TableInfo;
use crate::installed::Installed;
use crate::server::dialect::{Dialect as _, Statement};
use crate::server::install::Installs;
use crate::server::session::{DbError, Session};
use crate::server::store::Inner;
use crate::shape::SideTable;
use crate::syntax::Syntax as _;

/// All that is ours but the guards' rows and the mirror's, which are nobody's: triggers first, then tables.
const LIST: &str = "SELECT 'trigger', TRIGGER_NAME, CONCAT(EVENT_OBJECT_SCHEMA, '.', EVENT_OBJECT_TABLE) FROM information_schema.TRIGGERS \
    WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, 11) = 'changeover_' \
    UNION ALL SELECT 'table', TABLE_NAME, '' FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
    AND LEFT(TABLE_NAME, 11) = 'changeover_' AND TABLE_NAME NOT IN (?, ?) ORDER BY 1 DESC, 2";

/// Open transactions: those of sessions in this database, then others, the oldest first. Which tables they are at the server
/// doesn't tell.
const BLOCKERS: &str = "SELECT CONCAT('connection ', trx_mysql_thread_id, ' (', USER, ', in its transaction since ', trx_started, ')') \
    FROM information_schema.INNODB_TRX JOIN information_schema.PROCESSLIST ON ID = trx_mysql_thread_id \
    WHERE ID <> CONNECTION_ID() ORDER BY COALESCE(DB = DATABASE(), 0) DESC, trx_started LIMIT 5";

/// For so long at most a lock is waited for behind which writers, or whoever uses a table, would wait for us. MariaDB counts a
/// statement's time, which is more exact than the seconds of the locks' own time-outs.
pub(super) const LONGEST: Duration = Duration::from_millis(500);

fn schema_of(table: &TableInfo) -> Value {
    table.schema.as_ref().map_or(Value::Null, |schema| schema.as_str().into())
}

#[async_trait]
impl Installs for Mysql {
    async fn list(&self, session: &mut dyn Session) -> Result<Vec<Installed>, DbError> {
        let rows = session.query(LIST, &[GUARD.into(), MIRROR.into()]).await?;
        let thing =
            |row: &Vec<Value>| Ok(Installed { kind: text(row, 0)?, name: text(row, 1)?, on: text(row, 2)? });
        rows.iter().map(thing).collect()
    }

    fn removal(&self, thing: &Installed) -> Vec<String> {
        let what = match thing.kind.as_str() {
            "trigger" => "TRIGGER",
            "table" => "TABLE",
            // A trigger is all that there is of it.
            _ => return Vec::new(),
        };
        vec![format!("DROP {what} IF EXISTS {}", self.name(&thing.name))]
    }

    fn remove_last(&self) -> Vec<String> {
        vec![format!("DROP TABLE IF EXISTS {}, {}", self.own(GUARD), self.own(MIRROR))]
    }

    fn begin_change(&self, lock_wait: Duration) -> String {
        let (seconds, wait) =
            (whole_seconds(lock_wait.min(LONGEST)), lock_wait.min(LONGEST).as_secs_f64().max(0.001));
        format!(
            "SET SESSION innodb_lock_wait_timeout = {seconds} /*M!100300 , SESSION max_statement_time = {wait} */; \
             START TRANSACTION READ WRITE"
        )
    }

    fn defines_in_transactions(&self) -> bool {
        false
    }

    /// Everybody who uses a table waits behind who defines something on it: not for long.
    fn begin_removal(&self, lock_wait: Duration) -> String {
        let seconds = whole_seconds(lock_wait);
        format!(
            "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = {seconds}; \
             DO GET_LOCK({DEFINING}, {DEFINING_WAIT})"
        )
    }

    fn end_removal(&self) -> String {
        format!("DO RELEASE_LOCK({DEFINING})")
    }

    fn is_there(&self, table: &TableInfo) -> Statement {
        let sql = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
        Statement::new(sql, vec![schema_of(table), table.name.as_str().into()])
    }

    fn rename(&self, table: &TableInfo, name: &str) -> String {
        let renamed = TableInfo { name: name.to_owned(), ..table.clone() };
        format!("RENAME TABLE {} TO {}", self.table(table), self.table(&renamed))
    }

    fn blockers(&self, _tables: &[&str]) -> Statement {
        Statement::new(BLOCKERS, Vec::new())
    }

    async fn next_of_counter(
        &self,
        session: &mut dyn Session,
        table: &SideTable,
        _column: &str,
    ) -> Result<Option<i64>, DbError> {
        let step = session.query("SELECT CAST(@@auto_increment_increment AS SIGNED)", &[]).await?;
        let Some(Value::Int(step)) = step.first().and_then(|row| row.first()) else { return Ok(None) };
        let next = counter(session, table).await?;
        Ok(next.map(|next| next.saturating_add((*step).max(1) - 1)))
    }

    /// By a row that is put in and taken back: that leaves the counter behind it, for good, and needs no lock on the table. To
    /// set it by the table's definition would end the transaction, and wait for every reader.
    async fn set_counter(
        &self,
        inner: &Inner,
        session: &mut dyn Session,
        table: &SideTable,
        column: &str,
        next: i64,
    ) -> Result<(), DbError> {
        if counter(session, table).await?.is_none_or(|there| there >= next) {
            return Ok(());
        }
        let mut other = inner.sessions.take().await?;
        inner.make_own_tables(other.as_mut()).await?;
        let seconds = whole_seconds(inner.manners.lock_wait);
        // What the row lacks is made up, and nothing is asked of it.
        other
            .batch(&format!(
                "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', SESSION lock_wait_timeout = {seconds} \
                 /*M!100300 , SESSION check_constraint_checks = 0 */; {}; INSERT IGNORE INTO {} ({}) VALUES ({}); ROLLBACK",
                self.begin_mirror(&inner.migration, inner.manners.lock_wait, false),
                table.table,
                self.name(column),
                next - 1
            ))
            .await?;
        if counter(session, table).await?.is_none_or(|there| there < next) {
            // No such row can be there: by the definition, then.
            other.batch(&format!("ALTER TABLE {} AUTO_INCREMENT = {next}", table.table)).await?;
        }
        // Its settings aren't those that a session has.
        drop(other);
        Ok(())
    }
}

/// The number that a table gives out next, if it has a counter.
async fn counter(session: &mut dyn Session, table: &SideTable) -> Result<Option<i64>, DbError> {
    let sql = "SELECT CAST(AUTO_INCREMENT AS SIGNED) FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
    let rows = session.query(sql, &[schema_of(&table.info), table.info.name.as_str().into()]).await?;
    Ok(match rows.first().and_then(|row| row.first()) {
        Some(Value::Int(next)) => Some(*next),
        _ => None,
    })
}

/// The servers' time-outs count whole seconds, and at least one.
pub(super) fn whole_seconds(time: Duration) -> u128 {
    time.as_millis().div_ceil(1_000).max(1)
}
