//! How PostgreSQL installs: all that is ours in one schema, and triggers on the user's tables that are switched on and off by
//! the tables' definition.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use changeover::Value;
use changeover::store::capture::CaptureOptions;
use changeover::value::Array;

use super::catalog::{number, text as text_at};
use super::syntax::{Postgres, SCHEMA, fence_lock, text, unbounded};
use super::triggers;
use crate::catalog::{ColumnInfo, Domain, TableInfo};
use crate::installed::Installed;
use crate::server::dialect::{Dialect as _, Statement};
use crate::server::fence;
use crate::server::install::{Captures, Installs, LogTable, Thing, remove_named};
use crate::server::session::{DbError, Session, Trouble};
use crate::server::store::Inner;
use crate::shape::SideTable;
use crate::syntax::Syntax as _;
use crate::types::{Exact, TextType};

/// All that is ours: triggers first, those of the log last, then what they need. A writer has its table before the log: who
/// locks them in the other order deadlocks with it.
const LIST: &str = "SELECT kind, name, \"on\" FROM ( \
    SELECT 1 AS n, 'trigger' AS kind, t.tgname::text AS name, \
    pg_catalog.format('%I.%I', s.nspname, c.relname) AS \"on\" FROM pg_catalog.pg_trigger t \
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace \
    WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname LIKE 'changeover\\_%' \
    UNION ALL SELECT 2, 'function', p.proname::text, '' FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace WHERE s.nspname = $1::text \
    UNION ALL SELECT 3, 'table', c.relname::text, '' FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = $1::text AND c.relkind = 'r') AS ours \
    ORDER BY n, \"on\" LIKE 'changeover.%', name";

/// How triggers of these names stand on these tables, and not on others that have taken the triggers along with another name:
/// with those that their partitions have of them.
const STAND: &str = "WITH RECURSIVE found AS ( \
    SELECT w.name, w.rel, t.oid AS first, t.oid, t.tgenabled FROM unnest($1::text[], $2::text[]) AS w(name, rel) \
    JOIN pg_catalog.pg_trigger t ON t.tgname = w.name AND t.tgrelid = pg_catalog.to_regclass(w.rel) \
    WHERE NOT t.tgisinternal \
    UNION ALL SELECT f.name, f.rel, f.first, t.oid, t.tgenabled FROM found f \
    JOIN pg_catalog.pg_trigger t ON t.tgparentid = f.oid) \
    SELECT name, rel, CASE WHEN min(tgenabled) = max(tgenabled) THEN min(tgenabled)::text ELSE 'some' END, \
    pg_catalog.obj_description(first, 'pg_trigger') FROM found GROUP BY name, rel, first";

/// The partitions of these tables.
const PARTITIONS: &str = "SELECT t.name, p.relid::regclass::text FROM unnest($1::text[]) AS t(name), \
    pg_catalog.pg_partition_tree(pg_catalog.to_regclass(t.name)) AS p WHERE p.relid <> pg_catalog.to_regclass(t.name)";

/// Who has a lock on these tables that keeps writers out, or is a writer.
const BLOCKERS: &str = "SELECT DISTINCT pg_catalog.format('process %s (%s, %s, in its transaction for %s s)', a.pid, \
    coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename, \
    round(extract(epoch FROM clock_timestamp() - a.xact_start))) FROM pg_catalog.pg_locks l \
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid JOIN pg_catalog.pg_database d ON d.oid = l.database \
    JOIN unnest($1::text[]) AS t(name) ON l.relation = pg_catalog.to_regclass(t.name) OR EXISTS (SELECT 1 FROM \
    pg_catalog.pg_partition_tree(pg_catalog.to_regclass(t.name)) AS p WHERE p.relid = l.relation) \
    WHERE d.datname = current_database() AND l.granted AND l.pid <> pg_backend_pid() AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') LIMIT 5";

fn ids(log: &LogTable) -> String {
    Postgres.own(&log.name.replacen("changeover_log_", "changeover_ids_", 1))
}

/// The mark that the log overflowed: a sequence that was called. What it says is read and set past all snapshots, so that two
/// serializable transactions which only log aren't taken for two that have read what the other wrote.
pub(super) fn full(log: &LogTable) -> String {
    Postgres.own(&log.name.replacen("changeover_log_", "changeover_full_", 1))
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Value {
    Value::Array(Box::new(Array::of(texts.into_iter().map(Value::from).collect())))
}

#[async_trait]
impl Captures for Postgres {
    /// The plain type that holds the values: never a domain, which may refuse the NULL that an entry of another mapping has
    /// there, nor a type of a schema that isn't always searched.
    fn log_type(&self, column: Option<&ColumnInfo>) -> String {
        let Some(column) = column.filter(|column| !column.as_text) else { return "text".to_owned() };
        let Domain::Exact(ty) = &column.domain else { return "text".to_owned() };
        let plain = match &ty.of {
            Exact::Bool => "boolean",
            Exact::Int { .. } => "bigint",
            Exact::Decimal { .. } => "numeric",
            Exact::Single { .. } => "real",
            Exact::Real { .. } => "double precision",
            Exact::Text(TextType { padded: true, .. }) => "bpchar",
            Exact::Text(_) => "text",
            Exact::Bytes { .. } => "bytea",
            Exact::Date { .. } => "date",
            Exact::Time(_) => "time",
            Exact::Timestamp(_) => "timestamp",
            Exact::Instant(_) => "timestamptz",
            Exact::Interval { .. } => "interval",
            Exact::Uuid => "uuid",
            _ => return unbounded(&column.declared),
        };
        plain.to_owned()
    }

    fn make_log(&self, log: &LogTable) -> Vec<String> {
        let (table, ids, full) = (self.own(&log.name), ids(log), full(log));
        let mut make = vec![
            format!("CREATE SEQUENCE IF NOT EXISTS {ids}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id bigint PRIMARY KEY DEFAULT nextval({}), mapping bigint, \
                 at timestamptz NOT NULL DEFAULT clock_timestamp()) \
                 WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000)",
                text(&ids)
            ),
            format!("ALTER SEQUENCE {ids} OWNED BY {table}.id"),
            format!("CREATE SEQUENCE IF NOT EXISTS {full}"),
            format!("ALTER SEQUENCE {full} OWNED BY {table}.id"),
        ];
        let column = |(name, ty): &(String, String)| {
            format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {ty}", self.name(name))
        };
        make.extend(log.columns.iter().map(column));
        make
    }

    async fn prepare(
        &self,
        _session: &mut dyn Session,
        _inner: &Inner,
        _log: &LogTable,
        _lock_wait: Duration,
    ) -> Result<(), DbError> {
        Ok(())
    }

    /// What a sequence has given out is in the server's log before the number is.
    fn numbers_outlive_a_crash(&self) -> bool {
        true
    }

    fn newest(&self, log: &LogTable) -> Statement {
        Statement::new(
            format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}", ids(log)),
            Vec::new(),
        )
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
        log: &LogTable,
        options: CaptureOptions,
    ) -> Result<(), DbError> {
        put_all(session, &triggers::capture(inner, log, options), true).await
    }

    async fn switch_fence(&self, session: &mut dyn Session, inner: &Inner, on: bool) -> Result<(), DbError> {
        put_all(session, &triggers::fence(inner), on).await
    }

    async fn remove_capture(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        log: &LogTable,
    ) -> Result<(), DbError> {
        let options = CaptureOptions { bound: 1, overflow: true };
        remove_named(session, self, &triggers::capture(inner, log, options)).await?;
        session.batch(&format!("DROP TABLE IF EXISTS {}", self.own(&log.name))).await
    }

    async fn remove_fence(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        _log: &LogTable,
    ) -> Result<(), DbError> {
        remove_named(session, self, &triggers::fence(inner)).await?;
        fence::drop_row(session, inner).await
    }

    async fn are_whole(
        &self,
        session: &mut dyn Session,
        _inner: &Inner,
        things: &[Thing],
    ) -> Result<bool, DbError> {
        let things = with_partitions(session, things).await?;
        let there = stand(session, &things).await?;
        let whole = |thing: &Thing| {
            there.get(&place_of(thing)).is_some_and(|(on, digest)| on == "A" && *digest == thing.digest())
        };
        Ok(things.iter().all(whole))
    }

    async fn lock(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
        wait: Duration,
        stall: Duration,
    ) -> Result<(), DbError> {
        let lock = format!(
            "{}; SET LOCAL idle_in_transaction_session_timeout = {}; LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
            self.begin_change(wait),
            stall.as_millis().max(1),
            fence::tables(inner).join(", ")
        );
        session.batch(&lock).await
    }

    fn lock_guards(&self, guarded: &str) -> Statement {
        fence_lock(guarded)
    }

    fn now(&self) -> &'static str {
        "clock_timestamp()"
    }

    /// TRUNCATE is short.
    async fn thin_out(&self, _session: &mut dyn Session, _log: &LogTable) -> Result<(), DbError> {
        Ok(())
    }

    /// By TRUNCATE and ALTER SEQUENCE, which take effect with the transaction, and for old snapshots too.
    fn empty_log(&self, _inner: &Inner, log: &LogTable) -> String {
        format!("TRUNCATE {}; ALTER SEQUENCE {} RESTART", self.own(&log.name), full(log))
    }

    fn overflowed(&self, _inner: &Inner, log: &LogTable) -> String {
        format!("SELECT is_called::int FROM {}", full(log))
    }

    fn delete_entries(&self, log: &str, ids: &[i64]) -> Statement {
        let ids = ids.iter().map(|id| Value::Int(*id)).collect();
        let all = Value::Array(Box::new(Array::of(ids)));
        Statement::new(format!("DELETE FROM {log} WHERE id = ANY ($1::int8[])"), vec![all])
    }
}

#[async_trait]
impl Installs for Postgres {
    async fn list(&self, session: &mut dyn Session) -> Result<Vec<Installed>, DbError> {
        let rows = session.query(LIST, &[SCHEMA.into()]).await?;
        let thing = |row: &Vec<Value>| {
            Ok(Installed { kind: text_at(row, 0)?, name: text_at(row, 1)?, on: text_at(row, 2)? })
        };
        rows.iter().map(thing).collect()
    }

    /// A function with what uses it: by hand, the triggers of partitions that came later may be there still.
    fn removal(&self, thing: &Installed) -> Vec<String> {
        let name = self.name(&thing.name);
        vec![match thing.kind.as_str() {
            "trigger" => format!("DROP TRIGGER IF EXISTS {name} ON {}", thing.on),
            "function" => format!("DROP FUNCTION IF EXISTS {SCHEMA}.{name}() CASCADE"),
            _ => format!("DROP TABLE IF EXISTS {SCHEMA}.{name}"),
        }]
    }

    fn remove_last(&self) -> Vec<String> {
        vec![format!("DROP SCHEMA IF EXISTS {SCHEMA}")]
    }

    /// Locks are waited for no longer than half of the server's `deadlock_timeout`: if the application waits for us at the same
    /// time, we give up before the server looks for deadlocks and ends somebody's transaction, which might be the application's.
    fn begin_change(&self, lock_wait: Duration) -> String {
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
             SELECT pg_catalog.set_config('lock_timeout', greatest(1, least({}, setting::int8 / 2))::text, true) \
             FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'",
            lock_wait.as_millis().max(1)
        )
    }

    fn defines_in_transactions(&self) -> bool {
        true
    }

    fn begin_removal(&self, lock_wait: Duration) -> String {
        self.begin_change(lock_wait)
    }

    fn is_there(&self, table: &TableInfo) -> Statement {
        let sql = "SELECT 1 WHERE pg_catalog.to_regclass($1::text) IS NOT NULL";
        Statement::new(sql, vec![self.table(table).into()])
    }

    fn rename(&self, table: &TableInfo, name: &str) -> String {
        format!("ALTER TABLE {} RENAME TO {}", self.table(table), self.name(name))
    }

    fn blockers(&self, tables: &[&str]) -> Statement {
        Statement::new(BLOCKERS, vec![texts(tables.iter().copied())])
    }

    async fn next_of_counter(
        &self,
        session: &mut dyn Session,
        table: &SideTable,
        column: &str,
    ) -> Result<Option<i64>, DbError> {
        let Some(sequence) = sequence(session, table, column).await? else { return Ok(None) };
        let steps =
            "SELECT seqincrement, seqcache FROM pg_catalog.pg_sequence WHERE seqrelid = $1::text::regclass";
        let steps = session.query(steps, &[sequence.as_str().into()]).await?;
        let steps = steps.first().map(Vec::as_slice).unwrap_or_default();
        // What sessions have taken and not used yet lies at or below the last value; one more lot is left, for a session that
        // takes it in this moment: no lock of a table keeps it from that.
        let ahead = number(steps, 0)?.max(1).saturating_mul(number(steps, 1)?.max(1));
        let rows = session.query(&format!("SELECT last_value, is_called FROM {sequence}"), &[]).await?;
        match rows.first().map(Vec::as_slice) {
            Some([Value::Int(last), Value::Bool(called)]) => {
                let lot = if *called { last.saturating_add(ahead) } else { last.saturating_add(ahead - 1) };
                Ok(Some(lot.saturating_add(1)))
            }
            _ => Err(DbError::ours(Trouble::Other, format!("the sequence {sequence} has no last value"))),
        }
    }

    async fn set_counter(
        &self,
        _inner: &Inner,
        session: &mut dyn Session,
        table: &SideTable,
        column: &str,
        next: i64,
    ) -> Result<(), DbError> {
        let Some(sequence) = sequence(session, table, column).await? else { return Ok(()) };
        let sql = "SELECT setval($1::text::regclass, $2, false)";
        session.query(sql, &[sequence.into(), Value::Int(next)]).await.map(drop)
    }
}

/// Makes those of these that aren't there as they should be, and switches all of them on or off.
async fn put_all(session: &mut dyn Session, things: &[Thing], on: bool) -> Result<(), DbError> {
    let things = &with_partitions(session, things).await?;
    let there = stand(session, things).await?;
    let (wanted, switch) = if on { ("A", "ENABLE ALWAYS") } else { ("D", "DISABLE") };
    let mut switches: Vec<(&str, Vec<String>)> = Vec::new();
    for thing in things {
        let known = there.get(&place_of(thing));
        let is_right = known.is_some_and(|(_, digest)| *digest == thing.digest());
        // What is to be off needn't be there.
        if known.is_none() && !on {
            continue;
        }
        let name = Postgres.name(&thing.name);
        if !is_right {
            for statement in &thing.make {
                session.batch(statement).await?;
            }
            let digest = text(&thing.digest());
            session.batch(&format!("COMMENT ON TRIGGER {name} ON {} IS {digest}", thing.on)).await?;
        }
        if !is_right || known.is_some_and(|(enabled, _)| enabled != wanted) {
            let action = format!("{switch} TRIGGER {name}");
            match switches.iter_mut().find(|(table, _)| *table == thing.on) {
                Some((_, actions)) => actions.push(action),
                None => switches.push((&thing.on, vec![action])),
            }
        }
    }
    for (table, actions) in switches {
        session.batch(&format!("ALTER TABLE {table} {}", actions.join(", "))).await?;
    }
    Ok(())
}

fn place_of(thing: &Thing) -> (String, String) {
    (thing.name.clone(), thing.on.clone())
}

/// How those of the triggers that are there stand, by name and table: switched on or off, and the number that they were made
/// with.
async fn stand(
    session: &mut dyn Session,
    things: &[Thing],
) -> Result<HashMap<(String, String), (String, String)>, DbError> {
    let names = texts(things.iter().map(|thing| thing.name.as_str()));
    let tables = texts(things.iter().map(|thing| thing.on.as_str()));
    let mut there = HashMap::new();
    for row in session.query(STAND, &[names, tables]).await? {
        let digest = row.get(3).and_then(|digest| digest.plain().map(std::borrow::Cow::into_owned));
        let place = (text_at(&row, 0)?, text_at(&row, 1)?);
        there.insert(place, (text_at(&row, 2)?, digest.unwrap_or_default()));
    }
    Ok(there)
}

/// The triggers with those that each partition needs for itself: what fires for a whole statement isn't given to partitions by
/// the server, and they can be truncated alone.
async fn with_partitions(session: &mut dyn Session, things: &[Thing]) -> Result<Vec<Thing>, DbError> {
    let mut all = things.to_vec();
    let of_statements = || things.iter().filter(|thing| triggers::is_of_statement(thing));
    let tables = texts(of_statements().map(|thing| thing.on.as_str()));
    for row in session.query(PARTITIONS, &[tables]).await? {
        let (table, partition) = (text_at(&row, 0)?, text_at(&row, 1)?);
        let its = of_statements().filter(|thing| thing.on == table);
        let its: Vec<Thing> = its.map(|thing| triggers::on_partition(thing, &partition)).collect();
        // Two mappings of one table have it twice here.
        all.extend(its.into_iter().filter(|thing| !all.contains(thing)).collect::<Vec<_>>());
    }
    Ok(all)
}

/// The sequence that gives a column its values, as its name stands in SQL: its own, or one that its default names.
async fn sequence(
    session: &mut dyn Session,
    table: &SideTable,
    column: &str,
) -> Result<Option<String>, DbError> {
    let sql = "SELECT coalesce(pg_catalog.pg_get_serial_sequence($1::text, $2::text), (SELECT min(s.oid::regclass::text) \
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
        JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid \
        AND p.refclassid = 'pg_catalog.pg_class'::regclass JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S' \
        WHERE a.attrelid = pg_catalog.to_regclass($1::text) AND a.attname = $2::text))";
    let rows = session.query(sql, &[table.table.as_str().into(), column.into()]).await?;
    Ok(match rows.into_iter().next().and_then(|row| row.into_iter().next()) {
        Some(Value::Text(sequence)) => Some(sequence),
        _ => None,
    })
}
