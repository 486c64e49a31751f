//! The triggers that log the keys of changed rows.
//!
//! They run in the application's own SQLite, which may be older than ours: their SQL keeps to what version 3.9 knows.
//! What other triggers would miss is logged beforehand: with `recursive_triggers` off, which is the default, `REPLACE`
//! removes rows that stand in the way of a unique index without a word to any DELETE trigger.

use changeover::Side;

use super::install::{log_name, trigger_name};
use super::sql::name;
use crate::catalog::{Domain, IndexPart, UniqueIndex};
use crate::shape::SideTable;

/// The kinds of triggers here, as their names begin.
pub(super) const KINDS: [&str; 6] = ["insert", "update", "rekey", "delete", "displace", BOUND];

/// The kind of the trigger that keeps the bound.
pub(super) const BOUND: &str = "bound";

/// The definition of the log's table, for keys of so many columns.
pub(super) fn log_sql(log: &str, columns: usize) -> String {
    let keys: String = (1..=columns).map(|n| format!(", k{n}")).collect();
    format!("CREATE TABLE {} (id INTEGER PRIMARY KEY, mapping INTEGER, at REAL, slot{keys})", name(log))
}

/// The triggers of one mapping: their names and definitions.
pub(super) fn capture(table: &SideTable, migration: &str) -> Vec<(String, String)> {
    let log = name(&log_name(migration, table.side));
    let writer = |row: &str, found: Option<&str>| entry(table, &log, row, found);
    let mut made = Vec::new();
    let mut trigger = |what: &str, event: &str, when: Option<String>, body: String| {
        let trigger = trigger_name(what, migration, table.side, table.name().as_str());
        let when = when.map(|when| format!(" WHEN {when}")).unwrap_or_default();
        let sql =
            format!("CREATE TRIGGER {} {event} ON {}{when} BEGIN {body}; END", name(&trigger), table.table);
        made.push((trigger, sql));
    };
    trigger("insert", "AFTER INSERT", scoped(table, "NEW"), writer("NEW", None));
    trigger("update", "AFTER UPDATE", scoped(table, "NEW"), writer("NEW", None));
    trigger("rekey", "AFTER UPDATE", Some(left_its_place(table)), writer("OLD", None));
    trigger("delete", "AFTER DELETE", scoped(table, "OLD"), writer("OLD", None));
    for (n, index) in displacing(table).into_iter().enumerate() {
        let rows = displaced(table, index);
        trigger(&format!("displace{n}_insert"), "BEFORE INSERT", None, writer(&table.table, Some(&rows)));
        let others = format!("{rows} AND NOT ({})", same_key(table, &table.table, "OLD"));
        trigger(
            &format!("displace{n}_update"),
            "BEFORE UPDATE",
            moves_in(index),
            writer(&table.table, Some(&others)),
        );
    }
    made
}

/// Keeps the log's bound, on the newest id less the oldest: a trigger of the log's own, which costs the application next to
/// nothing because it looks only at every so many entries. At the bound it takes the entry out again and leaves the mark -1;
/// the next entry gets the same id, and is looked at too. The mark's INSERT never conflicts: on a conflict the application's
/// own statement would decide what happens.
pub(super) fn bound(migration: &str, side: Side, bound: u64) -> (String, String) {
    let log = name(&log_name(migration, side));
    let trigger = trigger_name(BOUND, migration, side, "log");
    let every = (bound / 16).clamp(1, 64);
    let sql = format!(
        "CREATE TRIGGER {} AFTER INSERT ON {log} WHEN NEW.id % {every} = 0 \
         AND NEW.id - (SELECT min(id) FROM {log} WHERE id > 0) >= {bound} BEGIN \
         DELETE FROM {log} WHERE id = NEW.id; \
         INSERT INTO {log} (id) SELECT -1 WHERE NOT EXISTS (SELECT 1 FROM {log} WHERE id = -1); END",
        name(&trigger)
    );
    (trigger, sql)
}

/// The one INSERT of a trigger, for the row that is called `row` (`NEW`, `OLD`), or for each row that a condition finds.
fn entry(table: &SideTable, log: &str, row: &str, found: Option<&str>) -> String {
    let (mut columns, mut values) = ("mapping, at".to_owned(), format!("{}, julianday('now')", table.tag));
    if let Some((column, _)) = &table.route {
        columns.push_str(", slot");
        values.push_str(&format!(", {row}.{}", name(column)));
    }
    for (n, key) in table.key.iter().enumerate() {
        columns.push_str(&format!(", k{}", n + 1));
        values.push_str(&format!(", {row}.{}", name(&key.name)));
    }
    match found {
        None => format!("INSERT INTO {log} ({columns}) VALUES ({values})"),
        Some(found) => {
            format!("INSERT INTO {log} ({columns}) SELECT {values} FROM {} WHERE {found}", table.table)
        }
    }
}

/// The condition that a row (`NEW`, `OLD`, a table) is the mapping's, where constants say so. The old side's `where` isn't
/// asked: the sync finds out, and a trigger must never fail.
pub(super) fn scoped(table: &SideTable, row: &str) -> Option<String> {
    if table.constants.is_empty() {
        return None;
    }
    let parts = table.constants.iter().map(|(column, literal)| {
        table.syntax.is_constant(&table.info, &format!("{row}.{}", name(column)), column, literal)
    });
    Some(format!("({})", parts.collect::<Vec<_>>().join(" AND ")))
}

/// The condition that an updated row is no longer where it was: another key, another slot, or another mapping's.
fn left_its_place(table: &SideTable) -> String {
    let mut changes: Vec<String> = table.key.iter().map(|k| differs(&k.name, &k.own)).collect();
    if let Some((column, _)) = &table.route {
        changes.push(differs(column, &Domain::Any));
    }
    let was = scoped(table, "OLD").map(|was| format!("{was} AND ")).unwrap_or_default();
    if let Some(is) = scoped(table, "NEW") {
        changes.push(format!("NOT coalesce({is}, 0)"));
    }
    format!("{was}({})", changes.join(" OR "))
}

/// The condition that a column's value isn't what it was, to the byte. A column without a type holds 1 and 1.0.
fn differs(column: &str, domain: &Domain) -> String {
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
            let domain = table.info.column(name).map(|c| &c.domain);
            collation.eq_ignore_ascii_case("BINARY")
                && domain != Some(&Domain::Any)
                && domain != Some(&Domain::Bytes)
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
