//! What is particular to MariaDB and MySQL in the statements that all servers share.
//!
//! Guards are rows of a table of ours, locked in the transaction that writes: they go with it, whatever becomes of it. A lock by
//! name (`GET_LOCK`) belongs to the session, isn't given up by a rollback, and can't be shared. The rows are made beforehand:
//! where there is none to be locked, both of two waiters get the gap, and then neither can go on.

use std::time::Duration;

use changeover::store::guard::Scope;
use changeover::{TableName, Value};

use super::install::whole_seconds;
use super::syntax::{Mysql, decimal, exact, is_address, label, quoted};
use super::triggers::MIRROR;
use crate::catalog::{ColumnInfo, TableInfo};
use crate::server::dialect::{Dialect, Script, Statement, Step};
use crate::server::install::Captures;
use crate::shape::{KeyColumn, SideTable, tag};
use crate::syntax::Syntax;
use crate::types::Exact;

/// The table of the guards.
pub(super) const GUARD: &str = "changeover_guard";

/// Its rows, for each side of a migration: the stripes' from 0, then the mappings', then these.
const GATES: i64 = 1_024;
const FENCE: i64 = 2 * GATES;
const MARKS: i64 = FENCE + 1;

/// How many keys are asked for at once, at most: a power of two, so that the lists have few lengths.
const KEYS: usize = 512;

/// The row of a whole mapping: its chunks take it alone, its keys share it. Two mappings may have the same, and then wait for
/// each other.
fn gate(table: &TableName) -> i64 {
    GATES + tag(table.as_str()) % GATES
}

/// Locks these rows, in their order, by the primary key and by nothing else.
fn lock(guarded: &str, numbers: &[i64], how: &str) -> Vec<(Statement, usize)> {
    let lock = |numbers: &[i64]| {
        let mut params = vec![Value::from(guarded)];
        params.extend(padded(numbers).map(|number| Value::Int(*number)));
        let sql = format!(
            "SELECT number FROM {} FORCE INDEX (PRIMARY) WHERE guarded = ? AND number IN ({}) ORDER BY number {how}",
            Mysql.name(GUARD),
            list("?", params.len() - 1)
        );
        (Statement::new(sql, params), numbers.len())
    };
    numbers.chunks(KEYS).map(lock).collect()
}

/// A list filled up with its last to a power of two, so that statements of few lengths are prepared.
fn padded<T>(list: &[T]) -> impl Iterator<Item = &T> {
    let missing = list.len().next_power_of_two() - list.len();
    list.iter().chain(list.last().into_iter().cycle().take(missing))
}

fn list(one: &str, times: usize) -> String {
    vec![one; times].join(", ")
}

/// The statement that whoever opens the fence waits by for all guards to be given up.
pub(super) fn fence_lock(guarded: &str) -> Statement {
    lock(guarded, &[FENCE], "FOR UPDATE")
        .into_iter()
        .map(|(statement, _)| statement)
        .next()
        .unwrap_or_default()
}

impl Mysql {
    /// A value of the key, as the server orders those of the column.
    fn ordered(key: &KeyColumn, column: Option<&ColumnInfo>) -> String {
        match column.and_then(exact) {
            Some(Exact::Decimal { precision, scale }) => decimal("?", *precision, *scale),
            Some(Exact::Text(_)) if key.collation == "BINARY" => "CAST(? AS BINARY)".to_owned(),
            Some(Exact::Text(_)) => text_as(&key.collation),
            Some(Exact::Enum(labels)) => label("?", labels),
            Some(Exact::Set(_)) => "CONVERT(? USING utf8mb4) COLLATE utf8mb4_bin".to_owned(),
            Some(Exact::Uuid) => "CAST(? AS UUID)".to_owned(),
            _ => "?".to_owned(),
        }
    }
}

/// A parameter as a text of a collation, which begins with the name of its character set; or as an address.
fn text_as(collation: &str) -> String {
    if is_address(collation) {
        return format!("CAST(? AS {collation})");
    }
    let charset = collation.split('_').next().unwrap_or("utf8mb4");
    format!("CONVERT(? USING {charset}) COLLATE {collation}")
}

impl Dialect for Mysql {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn captures(&self) -> Option<&'static dyn Captures> {
        Some(&Mysql)
    }

    fn server(&self) -> &'static str {
        "The server"
    }

    fn syntax(&self) -> &'static dyn Syntax {
        &Mysql
    }

    fn begin_snapshot(&self) -> &'static str {
        "SET @changeover_mirror = NULL /*!80000 , SESSION max_execution_time = 0 */ \
         /*M!100300 , SESSION max_statement_time = 0 */; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    }

    /// What is set here outlives the transaction, and is taken back before the session is used again; the mark itself doesn't.
    fn begin_mirror(&self, migration: &str, lock_wait: Duration, _silent: bool) -> String {
        let seconds = whole_seconds(lock_wait);
        format!(
            "SET @changeover_mirror = 1, SESSION foreign_key_checks = 0, SESSION innodb_lock_wait_timeout = {seconds}; \
             START TRANSACTION READ WRITE; INSERT INTO {MIRROR} (connection, migration) VALUES (CONNECTION_ID(), {})",
            quoted(migration.as_bytes())
        )
    }

    /// What the mark is made of is never committed.
    fn end_mirror(&self) -> Option<&'static str> {
        Some("DELETE FROM changeover_mirror WHERE connection = CONNECTION_ID()")
    }

    fn guard(&self, guarded: &str, scope: Scope<'_>, stripes: &[i64]) -> Vec<(Statement, usize)> {
        let (shared, alone) = ("LOCK IN SHARE MODE", "FOR UPDATE");
        let mut locks = lock(guarded, &[FENCE], shared);
        match scope {
            Scope::Marks => locks.extend(lock(guarded, &[MARKS], alone)),
            Scope::Chunk(chunk) => locks.extend(lock(guarded, &[gate(&chunk.table)], alone)),
            Scope::Keys(keys) => {
                let mut gates: Vec<i64> = keys.iter().map(|key| gate(&key.table)).collect();
                gates.sort_unstable();
                gates.dedup();
                locks.extend(lock(guarded, &gates, shared));
                locks.extend(lock(guarded, stripes, alone));
            }
        }
        locks
    }

    fn has_one_of(&self, table: &SideTable, keys: &[Vec<Value>]) -> Statement {
        if keys.is_empty() {
            return Statement::new("false", Vec::new());
        }
        let one: Vec<String> = table
            .key
            .iter()
            .map(|part| self.compared_with(table.info.column(&part.name), "?".to_owned()))
            .collect();
        let params: Vec<Value> = padded(keys).flatten().cloned().collect();
        let times = keys.len().next_power_of_two();
        let sql = match (table.key.as_slice(), one.as_slice()) {
            ([part], [one]) => format!("{} IN ({})", part.collated, list(one, times)),
            (parts, one) => {
                // MariaDB looks into no index by a list of rows of values.
                let equal: Vec<String> =
                    parts.iter().zip(one).map(|(part, one)| format!("{} = {one}", part.collated)).collect();
                format!("({})", vec![format!("({})", equal.join(" AND ")); times].join(" OR "))
            }
        };
        Statement { sql, params }
    }

    fn keys_at_once(&self) -> usize {
        KEYS
    }

    /// A union of as many selects: a table of parameters would give them types of its own.
    fn less(&self, table: &SideTable, left: &[Vec<Value>], right: &[Vec<Value>]) -> Statement {
        let parts = table.order.iter().map(|&at| &table.key[at]);
        let one: Vec<String> = parts.map(|part| Self::ordered(part, table.info.column(&part.name))).collect();
        let less = self.compare_rows(&one, "<", &one);
        // A value is named for itself, and again to be told apart from the one that it equals.
        let places = self.compared_in_order(one.len());
        let selects: Vec<String> =
            (0..left.len()).map(|n| format!("SELECT {less} AS less, {n} AS place")).collect();
        let pairs = left.iter().zip(right).flat_map(|(left, right)| {
            let value = |key: &[Value], at: usize| key.get(at).cloned().unwrap_or(Value::Null);
            places.iter().flat_map(|&at| [value(left, at), value(right, at)]).collect::<Vec<_>>()
        });
        Statement { params: pairs.collect(), sql: format!("{} ORDER BY place", selects.join(" UNION ALL ")) }
    }

    fn typed(&self, column: &ColumnInfo, placeholder: &str) -> String {
        match exact(column) {
            Some(Exact::Text(_)) if column.collation == "BINARY" => {
                format!("CONVERT({placeholder} USING utf8mb4)")
            }
            Some(Exact::Text(_)) => text_as(&column.collation).replacen('?', placeholder, 1),
            Some(Exact::Int { min: 0, .. }) => format!("CAST({placeholder} AS UNSIGNED)"),
            Some(Exact::Int { .. }) => format!("CAST({placeholder} AS SIGNED)"),
            Some(Exact::Decimal { precision, scale }) => decimal(placeholder, *precision, *scale),
            Some(Exact::Date { .. }) => format!("CAST({placeholder} AS DATE)"),
            Some(Exact::Timestamp(span) | Exact::Instant(span)) => {
                format!("CAST({placeholder} AS DATETIME({}))", span.digits)
            }
            Some(Exact::Time(span)) => format!("CAST({placeholder} AS TIME({}))", span.digits),
            Some(Exact::Bytes { .. }) => format!("CAST({placeholder} AS BINARY)"),
            Some(Exact::Single { .. } | Exact::Real { .. }) => format!("({placeholder} + 0e0)"),
            _ => placeholder.to_owned(),
        }
    }

    fn own(&self, table: &str) -> String {
        self.name(table)
    }

    fn create_own(&self, guarded: &str) -> String {
        let name =
            |name: &str| format!("{name} VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL");
        let table = |table: &str, columns: &str| {
            format!("CREATE TABLE IF NOT EXISTS {} ({columns}) ENGINE = InnoDB; ", self.name(table))
        };
        let (migration, mapping) = (name("migration"), name("mapping"));
        let mut sql = table(
            "changeover_chunk",
            &format!(
                "{migration}, {mapping}, generation BIGINT NOT NULL, number BIGINT NOT NULL, range_after LONGBLOB, \
                 range_upto LONGBLOB, done SMALLINT NOT NULL, row_count BIGINT NOT NULL, \
                 PRIMARY KEY (migration, mapping, generation, number)"
            ),
        );
        sql.push_str(&table(
            "changeover_fence",
            &format!(
                "{migration}, side VARCHAR(16) NOT NULL, state VARCHAR(16) NOT NULL, epoch BIGINT NOT NULL, \
                 logs TINYINT NOT NULL DEFAULT 0, bound BIGINT NOT NULL DEFAULT 0, \
                 resets BIGINT NOT NULL DEFAULT 1, PRIMARY KEY (migration, side)"
            ),
        ));
        sql.push_str(&table(
            MIRROR,
            &format!("connection BIGINT UNSIGNED NOT NULL PRIMARY KEY, {migration}"),
        ));
        let key = "name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL";
        sql.push_str(&table(
            "changeover_meta",
            &format!("{migration}, {key}, note LONGTEXT NOT NULL, PRIMARY KEY (migration, name)"),
        ));
        let number = "number INT NOT NULL, PRIMARY KEY (guarded, number)";
        sql.push_str(&table(GUARD, &format!("{}, {number}", name("guarded"))));
        sql.push_str(&guard_rows(&self.name(GUARD), &quoted(guarded.as_bytes())));
        sql
    }

    fn own_exists(&self, table: &str) -> Statement {
        Statement::new(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
            vec![table.into()],
        )
    }

    fn put(&self, table: &str, columns: &[&str], keys: usize) -> String {
        let names: Vec<String> = columns.iter().map(|column| self.name(column)).collect();
        let set: Vec<String> = names[keys..].iter().map(|name| format!("{name} = VALUES({name})")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON DUPLICATE KEY UPDATE {}",
            self.own(table),
            names.join(", "),
            list("?", columns.len()),
            set.join(", ")
        )
    }

    fn is_same(&self, left: &str, right: &str) -> String {
        format!("{left} <=> {right}")
    }

    /// Small tables are counted; of large ones the server's own guess is taken.
    fn probe(&self) -> Script {
        let step = |what, sql, remedy| Step { what, sql, remedy, first: false, optional: false };
        Script {
            begin: "DO 0",
            // What defines something is no part of a transaction.
            save: None,
            steps: vec![
                Step {
                    first: true,
                    ..step(
                        "make a table",
                        "DROP TABLE IF EXISTS changeover_probe; CREATE TABLE changeover_probe (id bigint PRIMARY KEY, n int) ENGINE=InnoDB",
                        "GRANT CREATE, DROP, ALTER ON … TO …",
                    )
                },
                step(
                    "make a trigger",
                    "CREATE TRIGGER changeover_probe AFTER INSERT ON changeover_probe FOR EACH ROW SET @changeover_probe = NEW.id",
                    "GRANT TRIGGER ON … TO …; with a binary log also SET GLOBAL log_bin_trust_function_creators = 1, or SUPER",
                ),
                step(
                    "write a row, change it, delete it",
                    "INSERT INTO changeover_probe VALUES (1, 1); UPDATE changeover_probe SET n = 2; DELETE FROM changeover_probe",
                    "GRANT INSERT, UPDATE, DELETE ON … TO …; see that the server isn't read_only",
                ),
                step(
                    "lock rows",
                    "START TRANSACTION; SELECT n FROM changeover_probe LOCK IN SHARE MODE; SELECT n FROM changeover_probe FOR UPDATE; ROLLBACK",
                    "GRANT SELECT, UPDATE ON … TO …",
                ),
                step(
                    "take a named lock",
                    "DO GET_LOCK('changeover_probe', 0); DO RELEASE_LOCK('changeover_probe')",
                    "ask the server's owner",
                ),
                Step {
                    optional: true,
                    ..step(
                        "make a temporary table",
                        "CREATE TEMPORARY TABLE changeover_probe_own (n int); DROP TEMPORARY TABLE changeover_probe_own",
                        "for check --data: GRANT CREATE TEMPORARY TABLES ON … TO …",
                    )
                },
            ],
            end: "DROP TABLE IF EXISTS changeover_probe",
        }
    }

    fn trial(&self, table: &TableInfo) -> String {
        format!("CREATE TEMPORARY TABLE `changeover_trial` LIKE {}", self.table(table))
    }

    fn own_trial(&self) -> &'static str {
        "`changeover_trial`"
    }

    fn trial_right(&self) -> &'static str {
        "GRANT CREATE TEMPORARY TABLES ON … TO …"
    }

    fn estimate(&self, table: &SideTable) -> Statement {
        const COUNTED: u32 = 100_000;
        let schema = table.info.schema.as_ref().map_or(Value::Null, |schema| schema.as_str().into());
        Statement::new(
            format!(
                "SELECT CAST(IF(n <= {COUNTED}, n, GREATEST(n, COALESCE((SELECT TABLE_ROWS FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?), 0))) AS SIGNED) \
                 FROM (SELECT COUNT(*) AS n FROM (SELECT 1 FROM {} LIMIT {}) AS few) AS counted",
                table.table,
                COUNTED + 1
            ),
            vec![schema, table.info.name.as_str().into()],
        )
    }

    /// A primary doesn't know how far its replicas are.
    fn strain(&self) -> &'static str {
        "SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_running'"
    }
}

/// The statement that makes the rows of the guards of a side of a migration, unless they are there: the last is made with all
/// the others.
fn guard_rows(table: &str, guarded: &str) -> String {
    let numbers =
        |by: i64| (0..32).map(|n| format!("SELECT {} AS n", n * by)).collect::<Vec<_>>().join(" UNION ALL ");
    format!(
        "INSERT IGNORE INTO {table} (guarded, number) SELECT {guarded}, a.n + b.n + c.n FROM ({}) AS a, ({}) AS b, \
         (SELECT 0 AS n UNION ALL SELECT {GATES} UNION ALL SELECT {FENCE}) AS c WHERE a.n + b.n + c.n <= {MARKS} \
         AND NOT EXISTS (SELECT 1 FROM {table} AS made WHERE made.guarded = {guarded} AND made.number = {MARKS})",
        numbers(1),
        numbers(32)
    )
}
