//! The triggers that log the keys of changed rows.
//!
//! They run in the application's own SQLite, which may be older than ours: their SQL keeps to what version 3.9 knows.
//! What other triggers would miss is logged beforehand: with `recursive_triggers` off, which is the default, `REPLACE`
//! removes rows that stand in the way of a unique index without a word to any DELETE trigger.

use changeover::store::capture::CaptureOptions;

use super::install::{log_name, trigger_name};
use super::shape::{SideTable, is_constant};
use super::sql::name;
use crate::catalog::{Domain, IndexPart, UniqueIndex};

/// The kinds of triggers here, as their names begin.
pub(super) const KINDS: [&str; 5] = ["insert", "update", "rekey", "delete", "displace"];

/// The definition of the log's table, for keys of so many columns.
pub(super) fn log_sql(log: &str, columns: usize) -> String {
    let keys: String = (1..=columns).map(|n| format!(", k{n}")).collect();
    format!("CREATE TABLE {} (id INTEGER PRIMARY KEY, mapping INTEGER, at INTEGER, slot{keys})", name(log))
}

/// The triggers of one mapping: their names and definitions.
pub(super) fn capture(table: &SideTable, migration: &str, options: CaptureOptions) -> Vec<(String, String)> {
    let writer = Writer { table, log: name(&log_name(migration, table.side)), options };
    let mut made = Vec::new();
    let mut trigger = |what: &str, event: &str, when: Option<String>, body: String| {
        let trigger = trigger_name(what, migration, table.side, table.name().as_str());
        let when = when.map(|when| format!(" WHEN {when}")).unwrap_or_default();
        let sql =
            format!("CREATE TRIGGER {} {event} ON {}{when} BEGIN {body}; END", name(&trigger), table.table);
        made.push((trigger, sql));
    };
    trigger("insert", "AFTER INSERT", scoped(table, "NEW"), writer.entry("NEW", None));
    trigger("update", "AFTER UPDATE", scoped(table, "NEW"), writer.entry("NEW", None));
    trigger("rekey", "AFTER UPDATE", Some(left_its_place(table)), writer.entry("OLD", None));
    trigger("delete", "AFTER DELETE", scoped(table, "OLD"), writer.entry("OLD", None));
    for (n, index) in displacing(table).into_iter().enumerate() {
        let rows = displaced(table, index);
        trigger(
            &format!("displace{n}_insert"),
            "BEFORE INSERT",
            None,
            writer.entry(&table.table, Some(&rows)),
        );
        let others = format!("{rows} AND NOT ({})", same_key(table, &table.table, "OLD"));
        trigger(
            &format!("displace{n}_update"),
            "BEFORE UPDATE",
            moves_in(index),
            writer.entry(&table.table, Some(&others)),
        );
    }
    made
}

/// Writes the one INSERT of a trigger.
struct Writer<'t> {
    table: &'t SideTable,
    log: String,
    options: CaptureOptions,
}

impl Writer<'_> {
    /// An entry for the row that is called `row` (`NEW`, `OLD`), or for each row that a condition finds.
    fn entry(&self, row: &str, found: Option<&str>) -> String {
        let keys: String = self.table.key.iter().map(|k| format!(", {row}.{}", name(&k.name))).collect();
        let slot = match &self.table.route {
            Some((column, _)) => format!("{row}.{}", name(column)),
            None => "NULL".to_owned(),
        };
        // Milliseconds since 1970, in words that every SQLite understands.
        let now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
        let values = format!("{}, {now}, {slot}{keys}", self.table.tag);
        let columns: String = (1..=self.table.key.len()).map(|n| format!(", k{n}")).collect();
        let (log, from) = (&self.log, found.map(|found| format!(" FROM {} WHERE {found}", self.table.table)));
        if !self.options.overflow {
            return format!(
                "INSERT INTO {log} (mapping, at, slot{columns}) SELECT {values}{}",
                from.unwrap_or_default()
            );
        }
        // The bound is on the newest id less the oldest. At the bound the entry becomes the mark -1, once: a second one is
        // kept out by the condition and not by a conflict, whose handling the application's statement would decide.
        let full = format!(
            "(SELECT max(id) FROM {log}) - (SELECT min(id) FROM {log} WHERE id > 0) >= {}",
            self.options.bound.saturating_sub(1)
        );
        let keep = format!("(NOT ({full}) OR NOT EXISTS (SELECT 1 FROM {log} WHERE id = -1))");
        let limit = if found.is_some() {
            " LIMIT CASE WHEN %FULL% THEN 1 ELSE -1 END".replace("%FULL%", &full)
        } else {
            String::new()
        };
        format!(
            "INSERT INTO {log} (id, mapping, at, slot{columns}) SELECT CASE WHEN {full} THEN -1 END, {values}{} {keep}{limit}",
            from.map_or_else(|| " WHERE".to_owned(), |from| format!("{from} AND")),
        )
    }
}

/// The condition that a row (`NEW`, `OLD`, a table) is the mapping's, where constants say so. The old side's `where` isn't
/// asked: the sync finds out, and a trigger must never fail.
pub(super) fn scoped(table: &SideTable, row: &str) -> Option<String> {
    if table.constants.is_empty() {
        return None;
    }
    let parts = table.constants.iter().map(|(column, literal)| {
        is_constant(&table.info, &format!("{row}.{}", name(column)), column, literal)
    });
    Some(format!("({})", parts.collect::<Vec<_>>().join(" AND ")))
}

/// The condition that an updated row is no longer where it was: another key, another slot, or another mapping's.
fn left_its_place(table: &SideTable) -> String {
    let mut changes: Vec<String> = table.key.iter().map(|k| differs(&k.name, k.own)).collect();
    if let Some((column, _)) = &table.route {
        changes.push(differs(column, Domain::Any));
    }
    let was = scoped(table, "OLD").map(|was| format!("{was} AND ")).unwrap_or_default();
    if let Some(is) = scoped(table, "NEW") {
        changes.push(format!("NOT coalesce({is}, 0)"));
    }
    format!("{was}({})", changes.join(" OR "))
}

/// The condition that a column's value isn't what it was, to the byte. A column without a type holds 1 and 1.0.
fn differs(column: &str, domain: Domain) -> String {
    let column = name(column);
    let mut sql = format!("NEW.{column} IS NOT OLD.{column} COLLATE BINARY");
    if matches!(domain, Domain::Any | Domain::Bytes) {
        sql.push_str(&format!(" OR typeof(NEW.{column}) <> typeof(OLD.{column})"));
    }
    sql
}

/// The unique indexes by which another row may be displaced that isn't logged anyhow, as the row of the same key.
pub(super) fn displacing(table: &SideTable) -> Vec<&UniqueIndex> {
    table.info.unique.iter().filter(|index| !is_exact_key(table, index)).collect()
}

fn is_exact_key(table: &SideTable, index: &UniqueIndex) -> bool {
    let Some(columns) = index.columns().filter(|_| index.partial.is_none()) else { return false };
    let has = |name: &str| columns.iter().any(|c| c.eq_ignore_ascii_case(name));
    let exact = |part: &IndexPart| match part {
        IndexPart::Column { name, collation } => {
            let domain = table.info.column(name).map(|c| c.domain);
            collation.eq_ignore_ascii_case("BINARY")
                && domain != Some(Domain::Any)
                && domain != Some(Domain::Bytes)
        }
        IndexPart::Expression { .. } => false,
    };
    columns.len() == table.key.len() + table.constants.len()
        && table.key.iter().all(|k| has(&k.name))
        && table.constants.iter().all(|(c, _)| has(c))
        && index.parts.iter().all(exact)
}

/// The condition that a row of the table stands in the new row's way in an index.
pub(super) fn displaced(table: &SideTable, index: &UniqueIndex) -> String {
    let mut parts: Vec<String> = index
        .parts
        .iter()
        .filter_map(|part| match part {
            IndexPart::Column { name: column, collation } => {
                let column = name(column);
                Some(format!("{}.{column} = NEW.{column} COLLATE {}", table.table, name(collation)))
            }
            // The plan refuses such an index under capture.
            IndexPart::Expression { .. } => None,
        })
        .collect();
    parts.extend(index.partial.as_ref().map(|partial| format!("({partial}\n)")));
    parts.extend(scoped(table, &table.table));
    parts.join(" AND ")
}

/// The condition that an update moves a row within an index; none for a partial one, where other columns may do so.
pub(super) fn moves_in(index: &UniqueIndex) -> Option<String> {
    let columns = index.columns().filter(|_| index.partial.is_none())?;
    let parts = columns.iter().map(|column| {
        let column = name(column);
        format!("NEW.{column} IS NOT OLD.{column}")
    });
    Some(parts.collect::<Vec<_>>().join(" OR "))
}

fn same_key(table: &SideTable, a: &str, b: &str) -> String {
    let parts = table.key.iter().map(|k| {
        let column = name(&k.name);
        format!("{a}.{column} IS {b}.{column} COLLATE BINARY")
    });
    parts.collect::<Vec<_>>().join(" AND ")
}
