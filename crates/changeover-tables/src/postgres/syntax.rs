//! How PostgreSQL writes the small pieces of SQL, and what is particular to it in the statements that all servers share.

use std::fmt::Write as _;
use std::time::Duration;

use changeover::store::guard::Scope;
use changeover::value::Array;
use changeover::{TableName, Value};

use super::catalog::OF_THE_TYPE;
use super::merge;
use crate::catalog::{ColumnInfo, Domain, TableInfo};
use crate::server::dialect::{Dialect, Script, Statement, Step};
use crate::server::digest::Hashes;
use crate::server::install::Captures;
use crate::shape::{Merge, SideTable, tag};
use crate::syntax::Syntax;
use crate::types::Exact;

/// The schema of all that is ours.
pub(super) const SCHEMA: &str = "changeover";

/// PostgreSQL.
#[derive(Debug)]
pub(crate) struct Postgres;

impl Syntax for Postgres {
    fn name(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn table(&self, info: &TableInfo) -> String {
        match &info.schema {
            Some(schema) => format!("{}.{}", self.name(schema), self.name(&info.name)),
            None => self.name(&info.name),
        }
    }

    /// What is no number is a text without a type, which takes the type of what stands beside it.
    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null => "NULL".to_owned(),
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Decimal(_) => {
                value.plain().unwrap_or_default().into_owned()
            }
            Value::Single(_) => format!("'{}'::real", value.plain().unwrap_or_default()),
            Value::Real(_) => format!("'{}'::double precision", value.plain().unwrap_or_default()),
            Value::Bytes(bytes) => {
                let mut literal = "'\\x".to_owned();
                for byte in bytes {
                    // Writing into memory doesn't fail.
                    let _ = write!(literal, "{byte:02x}");
                }
                // Whatever the session's setting says of a backslash in a plain text.
                format!("E{}'::bytea", literal.replace('\\', "\\\\"))
            }
            Value::Opaque(opaque) => text(&String::from_utf8_lossy(&opaque.bytes)),
            other => text(&other.plain().unwrap_or_default()),
        }
    }

    fn placeholder(&self, number: usize) -> String {
        format!("${number}")
    }

    fn read(&self, column: &ColumnInfo) -> String {
        let name = self.name(&column.name);
        if column.as_text { format!("{name}::text") } else { name }
    }

    fn write(&self, column: Option<&ColumnInfo>, placeholder: String) -> String {
        match column {
            Some(column) if column.as_text => format!("{placeholder}::text::{}", column.declared),
            _ => placeholder,
        }
    }

    fn overriding(&self) -> &'static str {
        " OVERRIDING SYSTEM VALUE"
    }

    fn collated(&self, column: &str, own: Option<&str>, collation: &str) -> String {
        let quoted = self.name(column);
        match collation {
            _ if own == Some(collation) => quoted,
            "BINARY" => format!("{quoted} COLLATE \"C\""),
            OF_THE_TYPE => quoted,
            other => format!("{quoted} COLLATE {other}"),
        }
    }

    fn is_constant(&self, _info: &TableInfo, quoted: &str, _column: &str, literal: &str) -> String {
        if literal == "NULL" { format!("{quoted} IS NULL") } else { format!("{quoted} = {literal}") }
    }
}

/// A text as a literal, whatever the session's setting says of backslashes.
pub(super) fn text(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A type's name without its length or precision, by which a value would be cut or rounded without a word.
pub(super) fn unbounded(declared: &str) -> String {
    let Some((before, rest)) = declared.split_once('(') else { return declared.to_owned() };
    let after = rest.split_once(')').map_or("", |(_, after)| after);
    match before.trim() {
        "character" => "bpchar".to_owned(),
        "bit" => "bit varying".to_owned(),
        before => format!("{before}{after}"),
    }
}

/// Locks that a transaction takes by two numbers: the first is the migration's.
fn advisory(function: &str, class: i32, object: i64) -> Statement {
    let object = i32::try_from(object).unwrap_or(i32::MAX);
    Statement::new(
        format!("SELECT {function}($1, $2)"),
        vec![Value::Int(class.into()), Value::Int(object.into())],
    )
}

/// The lock that whoever opens the fence takes alone.
const FENCE: i64 = -1;
/// The lock of whoever writes marks and nothing else.
const MARKS: i64 = -2;

/// The lock of a whole table: its chunks take it alone, its keys share it. Above those of the stripes.
fn gate(table: &TableName) -> i64 {
    (1 << 20) + tag(table.as_str()) % (1 << 30)
}

pub(super) fn class(migration: &str) -> i32 {
    let hash = u32::try_from(tag(&format!("changeover:{migration}"))).unwrap_or_default();
    i32::from_ne_bytes(hash.to_ne_bytes())
}

/// The statement that whoever opens the fence waits by for all guards to be given up.
pub(super) fn fence_lock(guarded: &str) -> Statement {
    advisory("pg_advisory_xact_lock", class(guarded), FENCE)
}

impl Postgres {
    pub(super) fn array_type(&self, table: &SideTable, at: usize) -> String {
        let column = table.info.column(&table.key[at].name);
        format!("{}[]", column.map_or("text".to_owned(), |column| unbounded(&column.declared)))
    }

    /// One array for each column of the key, of these keys' values.
    pub(super) fn columns_of(keys: &[Vec<Value>], columns: usize) -> Vec<Value> {
        let column = |at: usize| keys.iter().map(|key| key.get(at).cloned().unwrap_or(Value::Null)).collect();
        (0..columns).map(|at| Value::Array(Box::new(Array::of(column(at))))).collect()
    }
}

impl Dialect for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn captures(&self) -> Option<&'static dyn Captures> {
        Some(&Postgres)
    }

    fn hashes(&self) -> Option<&'static dyn Hashes> {
        Some(&Postgres)
    }

    fn passes_unread(&self) -> bool {
        true
    }

    fn merge(&self, table: &SideTable) -> Option<Merge> {
        merge::of(table)
    }

    fn server(&self) -> &'static str {
        "PostgreSQL"
    }

    fn syntax(&self) -> &'static dyn Syntax {
        &Postgres
    }

    fn begin_snapshot(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0"
    }

    fn begin_mirror(&self, migration: &str, lock_wait: Duration, silent: bool) -> String {
        // Where triggers aren't silent, a unique constraint that waits for the commit would only fail there, with nobody's name.
        let silence = if silent {
            "; SET LOCAL session_replication_role = replica"
        } else {
            "; SET CONSTRAINTS ALL IMMEDIATE"
        };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}; \
             SET LOCAL changeover.mirror = {}{silence}",
            lock_wait.as_millis().max(1),
            text(migration)
        )
    }

    fn guard(&self, guarded: &str, scope: Scope<'_>, stripes: &[i64]) -> Vec<(Statement, usize)> {
        let class = class(guarded);
        let one = |function: &str, object: i64| (advisory(function, class, object), 1);
        let mut locks = vec![one("pg_advisory_xact_lock_shared", FENCE)];
        match scope {
            Scope::Marks => locks.push(one("pg_advisory_xact_lock", MARKS)),
            Scope::Chunk(chunk) => locks.push(one("pg_advisory_xact_lock", gate(&chunk.table))),
            Scope::Keys(keys) => {
                let mut gates: Vec<i64> = keys.iter().map(|key| gate(&key.table)).collect();
                gates.sort_unstable();
                gates.dedup();
                locks.extend(gates.into_iter().map(|gate| one("pg_advisory_xact_lock_shared", gate)));
                let each = stripes.iter().map(|stripe| Value::Int(*stripe)).collect();
                let all = Statement::new(
                    "SELECT pg_advisory_xact_lock($1, stripe) FROM unnest($2::int4[]) AS t(stripe)",
                    vec![Value::Int(class.into()), Value::Array(Box::new(Array::of(each)))],
                );
                locks.push((all, stripes.len()));
            }
        }
        locks
    }

    fn has_one_of(&self, table: &SideTable, keys: &[Vec<Value>]) -> Statement {
        let params = Self::columns_of(keys, table.key.len());
        let sql = match table.key.as_slice() {
            [key] => format!("{} = ANY ($1::{})", key.collated, self.array_type(table, 0)),
            all => {
                let columns: Vec<&str> = all.iter().map(|key| key.collated.as_str()).collect();
                let arrays: Vec<String> =
                    (0..all.len()).map(|at| format!("${}::{}", at + 1, self.array_type(table, at))).collect();
                format!("({}) IN (SELECT * FROM unnest({}))", columns.join(", "), arrays.join(", "))
            }
        };
        Statement { sql, params }
    }

    fn keys_at_once(&self) -> usize {
        1_000
    }

    fn less(&self, table: &SideTable, left: &[Vec<Value>], right: &[Vec<Value>]) -> Statement {
        let columns = table.order.len();
        let mut params = Self::columns_of(left, columns);
        params.extend(Self::columns_of(right, columns));
        let names = |side: &str| (0..columns).map(|n| format!("{side}{n}")).collect::<Vec<_>>();
        let (a, b) = (names("a"), names("b"));
        let arrays: Vec<String> = (0..2 * columns)
            .map(|n| format!("${}::{}", n + 1, self.array_type(table, table.order[n % columns])))
            .collect();
        let collated: Vec<String> = a
            .iter()
            .enumerate()
            .map(|(n, name)| {
                let key = &table.key[table.order[n]];
                let has_bytes = matches!(&key.own, Domain::Exact(ty) if matches!(ty.of, Exact::Text(_)));
                match key.collation.as_str() {
                    "BINARY" if has_bytes => format!("{name} COLLATE \"C\""),
                    "BINARY" | OF_THE_TYPE => name.clone(),
                    other => format!("{name} COLLATE {other}"),
                }
            })
            .collect();
        let sql = format!(
            "SELECT {} FROM unnest({}) WITH ORDINALITY AS t({}, {}, n) ORDER BY n",
            self.compare_rows(&collated, "<", &b),
            arrays.join(", "),
            a.join(", "),
            b.join(", ")
        );
        Statement { sql, params }
    }

    fn typed(&self, column: &ColumnInfo, placeholder: &str) -> String {
        format!("{}::{}", self.write(Some(column), placeholder.to_owned()), column.declared)
    }

    fn own(&self, table: &str) -> String {
        format!("{SCHEMA}.{}", self.name(table))
    }

    fn create_own(&self, _guarded: &str) -> String {
        format!(
            "CREATE SCHEMA IF NOT EXISTS {SCHEMA}; \
             CREATE TABLE IF NOT EXISTS {SCHEMA}.changeover_chunk (migration text NOT NULL, mapping text NOT NULL, \
             generation bigint NOT NULL, number bigint NOT NULL, range_after bytea, range_upto bytea, \
             done smallint NOT NULL, row_count bigint NOT NULL, PRIMARY KEY (migration, mapping, generation, number)); \
             CREATE TABLE IF NOT EXISTS {SCHEMA}.changeover_fence (migration text NOT NULL, side text NOT NULL, \
             state text NOT NULL, epoch bigint NOT NULL, PRIMARY KEY (migration, side)); \
             CREATE TABLE IF NOT EXISTS {SCHEMA}.changeover_meta (migration text NOT NULL, name text NOT NULL, \
             note text NOT NULL, PRIMARY KEY (migration, name))"
        )
    }

    fn own_exists(&self, table: &str) -> Statement {
        Statement::new(
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1::text AND c.relname = $2::text",
            vec![SCHEMA.into(), table.into()],
        )
    }

    fn put(&self, table: &str, columns: &[&str], keys: usize) -> String {
        let placeholders: Vec<String> = (1..=columns.len()).map(|n| self.placeholder(n)).collect();
        let set: Vec<String> = columns[keys..].iter().map(|c| format!("{c} = EXCLUDED.{c}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            self.own(table),
            columns.join(", "),
            placeholders.join(", "),
            columns[..keys].join(", "),
            set.join(", ")
        )
    }

    fn is_same(&self, left: &str, right: &str) -> String {
        format!("{left} IS NOT DISTINCT FROM {right}")
    }

    /// Small tables are counted; of large ones the server's own guess is taken.
    fn probe(&self) -> Script {
        let step = |what, sql, remedy| Step { what, sql, remedy, first: false, optional: false };
        Script {
            begin: "BEGIN",
            save: Some(("SAVEPOINT changeover_probe", "ROLLBACK TO SAVEPOINT changeover_probe")),
            steps: vec![
                Step {
                    first: true,
                    ..step(
                        "make the schema changeover, and a table in it",
                        "DO $$ BEGIN IF to_regnamespace('changeover') IS NULL THEN CREATE SCHEMA changeover; END IF; END $$; CREATE TABLE changeover.changeover_probe (id bigint PRIMARY KEY, n int)",
                        "GRANT CREATE ON DATABASE … TO …; or make the schema, and GRANT USAGE, CREATE ON SCHEMA changeover TO …",
                    )
                },
                step(
                    "make a trigger and its function, and switch it to ALWAYS",
                    "CREATE FUNCTION changeover.changeover_probe() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                     SET search_path = pg_catalog AS 'BEGIN RETURN NULL; END'; \
                     CREATE TRIGGER changeover_probe AFTER INSERT ON changeover.changeover_probe FOR EACH ROW \
                     EXECUTE FUNCTION changeover.changeover_probe(); \
                     ALTER TABLE changeover.changeover_probe ENABLE ALWAYS TRIGGER changeover_probe",
                    "see that the role may use plpgsql (GRANT USAGE ON LANGUAGE plpgsql), and that no event trigger forbids it",
                ),
                step(
                    "write a row, change it, delete it",
                    "INSERT INTO changeover.changeover_probe VALUES (1, 1); UPDATE changeover.changeover_probe SET n = 2; \
                     DELETE FROM changeover.changeover_probe",
                    "see that the server is no standby, and not read-only",
                ),
                step(
                    "lock a table against writers",
                    "LOCK TABLE changeover.changeover_probe IN SHARE ROW EXCLUSIVE MODE NOWAIT",
                    "GRANT UPDATE on the tables",
                ),
                step(
                    "take an advisory lock",
                    "SELECT pg_try_advisory_xact_lock(4242)",
                    "GRANT EXECUTE on it",
                ),
                Step {
                    optional: true,
                    ..step(
                        "silence triggers and foreign keys for a transaction",
                        "SET LOCAL session_replication_role = replica",
                        "where tables have any: GRANT SET ON PARAMETER session_replication_role TO … (since PostgreSQL 15)",
                    )
                },
                Step {
                    optional: true,
                    ..step(
                        "make a temporary table",
                        "CREATE TEMPORARY TABLE changeover_probe_own (n int) ON COMMIT DROP",
                        "for check --data: GRANT TEMPORARY ON DATABASE … TO …",
                    )
                },
            ],
            end: "ROLLBACK",
        }
    }

    fn trial(&self, table: &TableInfo) -> String {
        format!(
            "CREATE TEMPORARY TABLE changeover_trial (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED \
             INCLUDING IDENTITY)",
            self.table(table)
        )
    }

    fn own_trial(&self) -> &'static str {
        "pg_temp.changeover_trial"
    }

    fn trial_right(&self) -> &'static str {
        "GRANT TEMPORARY ON DATABASE … TO …"
    }

    fn estimate(&self, table: &SideTable) -> Statement {
        const COUNTED: u32 = 100_000;
        Statement::new(
            format!(
                "SELECT CASE WHEN n <= {COUNTED} THEN n ELSE greatest(n, (SELECT reltuples::int8 FROM \
                 pg_catalog.pg_class WHERE oid = $1::text::regclass)) END \
                 FROM (SELECT count(*) AS n FROM (SELECT 1 FROM {} LIMIT {COUNTED} + 1) AS few) AS counted",
                table.table
            ),
            vec![table.table.as_str().into()],
        )
    }

    /// A server that is a replica itself has no position of its own. Of other roles' statements and of replicas' positions only
    /// members of `pg_monitor` see anything.
    fn strain(&self) -> &'static str {
        "SELECT 'position', '', CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8 END \
         UNION ALL SELECT 'replica', coalesce(nullif(application_name, ''), 'unnamed') || coalesce(' at ' || host(client_addr), ''), \
         pg_wal_lsn_diff(replay_lsn, '0/0')::int8 FROM pg_catalog.pg_stat_replication WHERE replay_lsn IS NOT NULL \
         UNION ALL SELECT 'unseen', '', count(*) FROM pg_catalog.pg_stat_replication WHERE state IS NULL \
         UNION ALL SELECT 'running', '', count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active' \
         AND backend_type = 'client backend' AND application_name NOT LIKE 'changeover%'"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_mean_the_same_whatever_a_session_says_of_backslashes() {
        assert_eq!(Postgres.literal(&"it's".into()), "'it''s'");
        assert_eq!(Postgres.literal(&"a\\b'".into()), "E'a\\\\b'''");
        assert_eq!(Postgres.literal(&vec![1_u8, 0xff].into()), "E'\\\\x01ff'::bytea");
        assert_eq!(Postgres.literal(&Value::Real(f64::INFINITY)), "'inf'::double precision");
    }

    #[test]
    fn no_type_cuts_or_rounds_a_value_on_its_way() {
        assert_eq!(unbounded("character varying(10)"), "character varying");
        assert_eq!(unbounded("character(5)"), "bpchar");
        assert_eq!(unbounded("timestamp(3) without time zone"), "timestamp without time zone");
        assert_eq!(unbounded("numeric(10,2)"), "numeric");
        assert_eq!(unbounded("bit(5)"), "bit varying");
        assert_eq!(unbounded("integer"), "integer");
    }
}
