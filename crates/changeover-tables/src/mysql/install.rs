//! How MariaDB and MySQL keep what is ours: tables beside the user's own. Whatever defines or drops a table commits by itself
//! here, so that each of these may be repeated.

use std::time::Duration;

use async_trait::async_trait;
use changeover::Value;

use super::catalog::text;
use super::dialect::GUARD;
use super::syntax::Mysql;
use crate::catalog::TableInfo;
use crate::installed::Installed;
use crate::server::dialect::{Dialect as _, Statement};
use crate::server::install::Installs;
use crate::server::session::{DbError, Session};
use crate::shape::SideTable;
use crate::syntax::Syntax as _;

/// All that is ours but the guards' rows, which are nobody's: triggers first, then tables.
const LIST: &str = "SELECT 'trigger', TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
    WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, 11) = 'changeover_' \
    UNION ALL SELECT 'table', TABLE_NAME, '' FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
    AND LEFT(TABLE_NAME, 11) = 'changeover_' AND TABLE_NAME <> ? ORDER BY 1 DESC, 2";

/// Transactions that have locked rows. Which tables these are of the server doesn't tell everybody.
const BLOCKERS: &str = "SELECT CONCAT('connection ', trx_mysql_thread_id, ', in its transaction since ', trx_started) \
    FROM information_schema.INNODB_TRX WHERE trx_rows_locked > 0 AND trx_mysql_thread_id <> CONNECTION_ID() LIMIT 5";

fn schema_of(table: &TableInfo) -> Value {
    table.schema.as_ref().map_or(Value::Null, |schema| schema.as_str().into())
}

#[async_trait]
impl Installs for Mysql {
    async fn list(&self, session: &mut dyn Session) -> Result<Vec<Installed>, DbError> {
        let rows = session.query(LIST, &[GUARD.into()]).await?;
        let thing =
            |row: &Vec<Value>| Ok(Installed { kind: text(row, 0)?, name: text(row, 1)?, on: text(row, 2)? });
        rows.iter().map(thing).collect()
    }

    fn removal(&self, thing: &Installed) -> Vec<String> {
        let what = if thing.kind == "trigger" { "TRIGGER" } else { "TABLE" };
        vec![format!("DROP {what} IF EXISTS {}", self.name(&thing.name))]
    }

    fn remove_last(&self) -> Vec<String> {
        vec![format!("DROP TABLE IF EXISTS {}", self.own(GUARD))]
    }

    fn begin_change(&self, lock_wait: Duration) -> String {
        let seconds = lock_wait.as_millis().div_ceil(1_000).max(1);
        format!(
            "SET SESSION lock_wait_timeout = {seconds}, SESSION innodb_lock_wait_timeout = {seconds}; START TRANSACTION READ WRITE"
        )
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
        let sql = "SELECT CAST(AUTO_INCREMENT AS SIGNED), CAST(@@auto_increment_increment AS SIGNED) \
                   FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
        let params = [schema_of(&table.info), table.info.name.as_str().into()];
        let rows = session.query(sql, &params).await?;
        Ok(match rows.first().map(Vec::as_slice) {
            Some([Value::Int(next), Value::Int(step)]) => Some(next.saturating_add((*step).max(1) - 1)),
            _ => None,
        })
    }

    /// The server takes no number that is below what it has.
    async fn set_counter(
        &self,
        session: &mut dyn Session,
        table: &SideTable,
        _column: &str,
        next: i64,
    ) -> Result<(), DbError> {
        session.batch(&format!("ALTER TABLE {} AUTO_INCREMENT = {next}", table.table)).await
    }
}
