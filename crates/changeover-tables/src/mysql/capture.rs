//! How MariaDB and MySQL capture and fence: triggers that are always there, and one row that says what they do.
//!
//! The row is locked by its primary key and by nothing else, in a READ COMMITTED transaction, so that no gap is locked, and it
//! is made beforehand: of a row that isn't there two could have the lock. Whoever has it alone has waited for all transactions
//! that have written, keeps new ones out, and leaves readers free.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use changeover::Value;
use changeover::store::capture::CaptureOptions;

use super::catalog::text;
use super::codec::Mark;
use super::dialect::fence_lock;
use super::install::{LONGEST, whole_seconds};
use super::syntax::Mysql;
use super::triggers::{self, full};
use crate::catalog::ColumnInfo;
use crate::server::dialect::{Dialect as _, Statement};
use crate::server::fence;
use crate::server::install::{self, Captures, LogTable, META, Thing, remove_named};
use crate::server::session::{DbError, Session, Trouble};
use crate::server::store::Inner;
use crate::syntax::Syntax as _;
use changeover::store::fence::FenceState;

/// How often a trigger is tried for that is in somebody's way, with pauses from this on that double.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The lock of whoever makes or removes triggers in this database, neither of which is part of a transaction; a session that is
/// gone in the midst of it keeps it until the server has done what it was asked for. And how long it is waited for, in seconds.
pub(super) const DEFINING: &str = "CONCAT('changeover:', SHA1(DATABASE()))";
pub(super) const DEFINING_WAIT: u32 = 5;

/// How many entries are deleted at once.
const DELETED: usize = 10_000;

/// Our triggers, as the server has them.
const TRIGGERS: &str = "SELECT TRIGGER_NAME, CONCAT(ACTION_TIMING, ' ', EVENT_MANIPULATION), EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, \
    ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, 11) = 'changeover_'";

/// The condition that a row is this side's, for parameters.
const THIS_SIDE: &str = "migration = ? AND side = ?";

fn this_side(inner: &Inner) -> [Value; 2] {
    [inner.migration.as_str().into(), inner.info.side.name().into()]
}

/// The options with which nothing of a trigger is decided.
const ANY: CaptureOptions = CaptureOptions { bound: 1, overflow: true };

#[async_trait]
impl Captures for Mysql {
    fn log_type(&self, column: Option<&ColumnInfo>) -> String {
        triggers::log_type(column)
    }

    fn log_column(&self, quoted: &str, ty: &str) -> String {
        if ty == "uuid" { format!("{quoted} AS {}", self.name(Mark::Uuid.name())) } else { quoted.to_owned() }
    }

    async fn prepare(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
        lock_wait: Duration,
    ) -> Result<(), DbError> {
        let mut things = triggers::capture(inner, log, ANY);
        things.extend(triggers::fence(inner));
        let before = there(session).await?;
        if things.iter().all(|thing| is_there(&before, thing)) {
            prepare_log(session, inner, log).await?;
            return prepare_rows(session, inner).await;
        }
        // From here on nobody removes anything: no trigger may be left without what it reads, or every write would fail by it.
        let sql = format!("SELECT COALESCE(GET_LOCK({DEFINING}, {DEFINING_WAIT}), 0)");
        let got = session.query(&sql, &[]).await?;
        if got.first().and_then(|row| row.first()) != Some(&Value::Int(1)) {
            return Err(DbError::ours(
                Trouble::Locked,
                "somebody else makes or removes triggers in this database",
            ));
        }
        prepare_log(session, inner, log).await?;
        prepare_rows(session, inner).await?;
        let there = there(session).await?;
        let missing: Vec<&Thing> = things.iter().filter(|thing| !is_there(&there, thing)).collect();
        session.batch(&waits_for_tables(lock_wait)).await?;
        for thing in missing {
            put(session, thing, there.contains_key(&thing.name)).await?;
        }
        session
            .batch(&format!(
                "SET SESSION lock_wait_timeout = 10 /*M!100300 , max_statement_time = 0 */; DO RELEASE_LOCK({DEFINING})"
            ))
            .await
    }

    /// It is there: whatever defines a table would end the transaction.
    fn make_log(&self, _log: &LogTable) -> Vec<String> {
        Vec::new()
    }

    fn newest(&self, log: &LogTable) -> Statement {
        let sql = "SELECT CAST(COALESCE(AUTO_INCREMENT, 1) AS SIGNED) - 1 FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
        Statement::new(sql, vec![log.name.as_str().into()])
    }

    /// A number of a transaction that hadn't committed may be given out again after a crash.
    fn numbers_outlive_a_crash(&self) -> bool {
        false
    }

    fn capture(&self, inner: &Inner, log: &LogTable, options: CaptureOptions) -> Vec<Thing> {
        triggers::capture(inner, log, options)
    }

    fn fence(&self, inner: &Inner) -> Vec<Thing> {
        triggers::fence(inner)
    }

    async fn switch_capture_on(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        _log: &LogTable,
        options: CaptureOptions,
    ) -> Result<(), DbError> {
        let bound = if options.overflow { i64::try_from(options.bound).unwrap_or(i64::MAX) } else { 0 };
        set_logs(session, inner, true, bound).await
    }

    /// What the fence's row says is all.
    async fn switch_fence(
        &self,
        _session: &mut dyn Session,
        _inner: &Inner,
        _on: bool,
    ) -> Result<(), DbError> {
        Ok(())
    }

    /// The triggers that refuse stay where they may be asked.
    async fn remove_capture(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
    ) -> Result<(), DbError> {
        if stands(session, inner).await?.is_some() {
            set_logs(session, inner, false, 0).await?;
        }
        remove_logging(session, inner, log).await?;
        let at = fence::look(session, inner).await?;
        if at.state == FenceState::Open {
            remove_named(session, self, &triggers::fence(inner)).await?;
            if at.epoch == 0 {
                fence::drop_row(session, inner).await?;
            }
        }
        Ok(())
    }

    /// Where capture is on, all triggers stay: what refuses has nothing to refuse then.
    async fn remove_fence(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
    ) -> Result<(), DbError> {
        let Some(logs) = stands(session, inner).await? else { return Ok(()) };
        let open =
            format!("UPDATE {} SET state = 'open', epoch = 0 WHERE {THIS_SIDE}", self.own(fence::TABLE));
        session.execute(&open, &this_side(inner)).await?;
        if logs {
            return Ok(());
        }
        remove_named(session, self, &triggers::fence(inner)).await?;
        remove_logging(session, inner, log).await?;
        fence::drop_row(session, inner).await
    }

    async fn are_whole(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        things: &[Thing],
    ) -> Result<bool, DbError> {
        let there = there(session).await?;
        Ok(stands(session, inner).await?.is_some() && things.iter().all(|thing| is_there(&there, thing)))
    }

    async fn lock(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        wait: Duration,
        stall: Duration,
    ) -> Result<(), DbError> {
        let (seconds, idle) = (whole_seconds(wait), whole_seconds(stall));
        session
            .batch(&format!(
                "SET SESSION innodb_lock_wait_timeout = {seconds}, SESSION wait_timeout = {idle} /*M!100300 , \
                 SESSION idle_transaction_timeout = {idle}, SESSION idle_write_transaction_timeout = {idle} */; \
                 START TRANSACTION READ WRITE"
            ))
            .await?;
        // MariaDB counts a statement's time in less than seconds.
        let sql = format!(
            "/*M!100300 SET STATEMENT max_statement_time = {} FOR */ SELECT state FROM {} FORCE INDEX (PRIMARY) \
             WHERE {THIS_SIDE} FOR UPDATE",
            wait.as_secs_f64().max(0.001),
            self.own(fence::TABLE)
        );
        match session.query(&sql, &this_side(inner)).await?.len() {
            1 => Ok(()),
            _ => Err(DbError::ours(Trouble::Again, "the fence's row went away in this moment")),
        }
    }

    fn lock_guards(&self, guarded: &str) -> Statement {
        fence_lock(guarded)
    }

    fn now(&self) -> &'static str {
        "CURRENT_TIMESTAMP(3)"
    }

    /// All that there is at first, a piece at a time.
    async fn thin_out(&self, session: &mut dyn Session, log: &LogTable) -> Result<(), DbError> {
        let name = self.own(&log.name);
        let newest = session.query(&format!("SELECT MAX(id) FROM {name}"), &[]).await?;
        let Some(Value::Int(newest)) = newest.first().and_then(|row| row.first()) else { return Ok(()) };
        let delete = format!("DELETE FROM {name} WHERE id <= ? ORDER BY id LIMIT {DELETED}");
        while session.execute(&delete, &[Value::Int(*newest)]).await? > 0 {}
        Ok(())
    }

    /// Not by TRUNCATE, which would end the transaction, and have the numbers begin anew.
    fn empty_log(&self, inner: &Inner, log: &LogTable) -> String {
        format!(
            "DELETE FROM {}; UPDATE {} SET resets = resets + 1 WHERE {}",
            self.own(&log.name),
            self.own(fence::TABLE),
            triggers::this_side(inner)
        )
    }

    fn overflowed(&self, inner: &Inner, _log: &LogTable) -> String {
        format!(
            "SELECT CAST((SELECT note FROM {} WHERE {}) = (SELECT resets FROM {} WHERE {}) AS SIGNED)",
            self.own(META),
            triggers::full_mark(inner),
            self.own(fence::TABLE),
            triggers::this_side(inner)
        )
    }

    fn delete_entries(&self, log: &str, ids: &[i64]) -> Statement {
        let length = ids.len().next_power_of_two();
        let ids = ids.iter().chain(ids.last().into_iter().cycle().take(length - ids.len()));
        let params: Vec<Value> = ids.map(|id| Value::Int(*id)).collect();
        if params.is_empty() {
            return Statement::new(format!("DELETE FROM {log} WHERE false"), params);
        }
        Statement::new(
            format!("DELETE FROM {log} WHERE id IN ({})", vec!["?"; params.len()].join(", ")),
            params,
        )
    }
}

/// Whether this side's row is there, and then whether it says that changes are logged.
async fn stands(session: &mut dyn Session, inner: &Inner) -> Result<Option<bool>, DbError> {
    if !install::exists(session, &Mysql, fence::TABLE).await? {
        return Ok(None);
    }
    let sql = format!("SELECT logs FROM {} WHERE {THIS_SIDE}", Mysql.own(fence::TABLE));
    let rows = session.query(&sql, &this_side(inner)).await?;
    Ok(rows.first().map(|row| row.first() == Some(&Value::Int(1))))
}

/// Waits for the writers that have read the row.
async fn set_logs(session: &mut dyn Session, inner: &Inner, logs: bool, bound: i64) -> Result<(), DbError> {
    let sql = format!("UPDATE {} SET logs = ?, bound = ? WHERE {THIS_SIDE}", Mysql.own(fence::TABLE));
    let [migration, side] = this_side(inner);
    let params = [Value::Int(logs.into()), Value::Int(bound), migration, side];
    match session.execute(&sql, &params).await? {
        1 => Ok(()),
        _ => Err(DbError::ours(Trouble::Again, "the fence's row went away in this moment")),
    }
}

async fn remove_logging(session: &mut dyn Session, inner: &Inner, log: &LogTable) -> Result<(), DbError> {
    remove_named(session, &Mysql, &triggers::capture(inner, log, ANY)).await?;
    session.batch(&format!("DROP TABLE IF EXISTS {}", Mysql.own(&log.name))).await?;
    install::drop_note(session, &Mysql, &inner.migration, &full(inner)).await
}

/// The log, with a column for whatever is in a key.
async fn prepare_log(session: &mut dyn Session, inner: &Inner, log: &LogTable) -> Result<(), DbError> {
    let sql = "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
    let rows = session.query(sql, &[log.name.as_str().into()]).await?;
    let there = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let is_missing = |(name, _): &&(String, String)| !there.contains(name);
    let name = Mysql.own(&log.name);
    let column = |(name, ty): &(String, String)| format!("{} {ty}", Mysql.name(name));
    if there.is_empty() {
        // It isn't the log that was there before, if there was one.
        let known = format!("log_{}", inner.info.side.name());
        install::drop_note(session, &Mysql, &inner.migration, &known).await?;
        let columns: String = log.columns.iter().map(|one| format!(", {}", column(one))).collect();
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {name} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, mapping BIGINT, \
             at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3){columns}) ENGINE = InnoDB"
        );
        return session.batch(&make).await;
    }
    let missing: Vec<String> =
        log.columns.iter().filter(is_missing).map(|one| format!("ADD COLUMN {}", column(one))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    session
        .batch(&format!("SET SESSION lock_wait_timeout = 1; ALTER TABLE {name} {}", missing.join(", ")))
        .await
}

/// The rows that the triggers read.
async fn prepare_rows(session: &mut dyn Session, inner: &Inner) -> Result<(), DbError> {
    // Not by an INSERT that is ignored where the row is there: it would wait for whoever has it.
    if stands(session, inner).await?.is_none() {
        let sql = format!(
            "INSERT IGNORE INTO {} (migration, side, state, epoch, logs, bound) VALUES (?, ?, 'open', 0, 0, 0)",
            Mysql.own(fence::TABLE)
        );
        session.execute(&sql, &this_side(inner)).await?;
    }
    let mark = full(inner);
    if install::note(session, &Mysql, &inner.migration, &mark).await?.is_none() {
        let sql =
            format!("INSERT IGNORE INTO {} (migration, name, note) VALUES (?, ?, '0')", Mysql.own(META));
        session.execute(&sql, &[inner.migration.as_str().into(), mark.into()]).await?;
    }
    Ok(())
}

/// How long what defines a trigger waits for those who use its table, all of whom wait behind it.
fn waits_for_tables(lock_wait: Duration) -> String {
    let wait = lock_wait.min(LONGEST).as_secs_f64().max(0.001);
    format!("SET SESSION lock_wait_timeout = 1 /*M!100300 , max_statement_time = {wait} */")
}

/// Each of our triggers as it is, by its name: the statement that would make it, without its body, and the body.
async fn there(session: &mut dyn Session) -> Result<HashMap<String, (String, String)>, DbError> {
    let mut there = HashMap::new();
    for row in session.query(TRIGGERS, &[]).await? {
        let name = text(&row, 0)?;
        let on = format!("{}.{}", Mysql.name(&text(&row, 2)?), Mysql.name(&text(&row, 3)?));
        let made = triggers::statement(&name, &text(&row, 1)?, &on, "");
        there.insert(name, (made, text(&row, 4)?));
    }
    Ok(there)
}

fn is_there(there: &HashMap<String, (String, String)>, thing: &Thing) -> bool {
    let wanted = thing.make.first().map(String::as_str).unwrap_or_default();
    there.get(&thing.name).is_some_and(|(made, body)| {
        wanted.starts_with(made) && triggers::number_of(wanted) == triggers::number_of(body)
    })
}

/// Makes a trigger, giving way and trying again while somebody is in the way.
async fn put(session: &mut dyn Session, thing: &Thing, is_another: bool) -> Result<(), DbError> {
    let mut pause = FIRST_PAUSE;
    let mut statements = Vec::new();
    if is_another {
        statements.push(format!("DROP TRIGGER IF EXISTS {}", Mysql.name(&thing.name)));
    }
    statements.extend(thing.make.iter().cloned());
    for statement in &statements {
        let mut tries = 1;
        while let Err(error) = session.batch(statement).await {
            if error.trouble != Trouble::Locked || tries >= TRIES {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }
    Ok(())
}
