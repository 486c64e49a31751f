//! The triggers on MariaDB and MySQL: those that log the keys of changed rows, and those that refuse the application's writes.
//!
//! Whatever defines a trigger commits by itself here, so they are made once, and what they do is decided by the fence's row,
//! which each reads *with a lock*: a transaction whose snapshot is older than a move finds the row as it is now, and whoever has
//! locked the row alone knows that no writer's transaction is open. The row is only written by whoever has locked it so. That the
//! log is full is another row, which a writer marks, and which all others read without a lock: with the number of times that the log
//! has been emptied, which is in the fence's row, so that a snapshot from before the last time takes it for full no more. (A table
//! has one kind of lock in all statements of a trigger, the strongest, which a serializable transaction's plain reads take too; and
//! SKIP LOCKED isn't heard there. So what marks is a trigger apart.)
//!
//! The mirror's own writes are told by a row that its transaction has put into a table of ours under the number of its
//! connection, and takes out again before it commits: nobody else ever sees it. A variable of the session says only that it is
//! worth a look, so that an application's write never asks that table.
//!
//! They run with the rights of who made them, and in the SQL mode of our sessions; but each of their SELECTs has a LIMIT, or the
//! application's `sql_select_limit` would be its. Without the row nobody knows who may write: it is refused, and logged.

use changeover::store::capture::CaptureOptions;

use super::syntax::{Mysql, exact, is_address, quoted};
use crate::catalog::ColumnInfo;
use crate::server::dialect::Dialect as _;
use crate::server::fence::TABLE as FENCE;
use crate::server::install::{LogTable, META, Thing, thing_name};
use crate::server::store::Inner;
use crate::shape::SideTable;
use crate::syntax::{Syntax as _, expression};
use crate::types::Exact;

/// The table of the mirror's marks.
pub(super) const MIRROR: &str = "changeover_mirror";

/// The longest text that a SIGNAL can carry, in characters.
const MESSAGE_MAX: usize = 128;

/// So often the log's bound is looked at until it is reached.
const LOOKS: u32 = 16;

/// The error of a read in a snapshot that is older than the table. Who can't read the fence's row for that is refused, and may try
/// again; for the rest, what such a transaction writes is logged.
const YOUNGER: u16 = 1412;

/// The statement that makes a trigger, of its parts; the same as [`Thing::make`] has.
pub(super) fn statement(name: &str, when: &str, on: &str, body: &str) -> String {
    format!("CREATE TRIGGER {} {when} ON {on} FOR EACH ROW {body}", Mysql.name(name))
}

/// The note that says whether a side's log is full.
pub(super) fn full(inner: &Inner) -> String {
    format!("full_{}", inner.info.side.name())
}

fn thing(inner: &Inner, table: &SideTable, what: &str, when: &str, body: &str) -> Thing {
    let name = thing_name(what, &inner.migration, inner.info.side, Some(table.name().as_str()));
    of(name, when, &table.table, body)
}

fn of(name: String, when: &str, on: &str, body: &str) -> Thing {
    let plain = Thing { make: vec![statement(&name, when, on, body)], on: on.to_owned(), name };
    let marked = body.replacen("BEGIN", &format!("BEGIN /* {} */", plain.digest()), 1);
    Thing { make: vec![statement(&plain.name, when, on, &marked)], ..plain }
}

/// The number that a trigger was made with, of its statement or its body: the server doesn't give every character of a body back.
pub(super) fn number_of(sql: &str) -> Option<&str> {
    let (_, rest) = sql.split_once("BEGIN /* ")?;
    rest.split_once(" */").map(|(number, _)| number)
}

/// Which row of the fences' is this side's.
pub(super) fn this_side(inner: &Inner) -> String {
    let (migration, side) = (quoted(inner.migration.as_bytes()), quoted(inner.info.side.name().as_bytes()));
    format!("migration = {migration} AND side = {side}")
}

/// Finds out whether it is this migration's mirror that writes.
fn look_at_mirror(inner: &Inner) -> String {
    format!(
        "IF @changeover_mirror IS NOT NULL THEN SELECT COUNT(*) INTO changeover_mine FROM {MIRROR} \
         WHERE connection = CONNECTION_ID() AND migration = {} LIMIT 1; END IF; ",
        quoted(inner.migration.as_bytes())
    )
}

/// The condition that a row (`NEW`, `OLD`) is the mapping's, where constants say so. The old side's `where` isn't asked: the
/// sync finds out, and a trigger that logs must never fail.
fn scoped(table: &SideTable, row: &str) -> Option<String> {
    let parts = table.constants.iter().map(|(column, literal)| {
        Mysql.is_constant(&table.info, &format!("{row}.{}", Mysql.name(column)), column, literal)
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("({})", parts.join(" AND ")))
}

/// ` AND …` where there is a condition.
fn and(condition: Option<String>) -> String {
    condition.map(|condition| format!(" AND {condition}")).unwrap_or_default()
}

/// What logs the changes of all mappings. The bound isn't part of them: it is in the fence's row.
pub(super) fn capture(inner: &Inner, log: &LogTable, _options: CaptureOptions) -> Vec<Thing> {
    let mut things = Vec::new();
    for (table, place) in inner.tables.iter().zip(&log.places) {
        let entry = Entry { inner, log, place, table };
        let (old, new) = (scoped(table, "OLD"), scoped(table, "NEW"));
        let either = old.clone().zip(new.clone()).map(|(old, new)| format!("({old} OR {new})"));
        let insert_new = match &new {
            Some(new) => format!("IF {new} THEN {} END IF; ", entry.insert("NEW")),
            None => entry.insert("NEW"),
        };
        let was = old.clone().map_or_else(String::new, |old| format!("{old} AND "));
        let update =
            format!("{insert_new} IF {was}{} THEN {} END IF; ", left_its_place(table), entry.insert("OLD"));
        for (what, when, condition, inserts) in [
            ("insert", "AFTER INSERT", new, entry.insert("NEW")),
            ("update", "AFTER UPDATE", either, update),
            ("delete", "AFTER DELETE", old, entry.insert("OLD")),
        ] {
            things.push(thing(inner, table, what, when, &entry.body(condition, &inserts)));
        }
    }
    things.push(bound(inner, log));
    things
}

/// What an entry of a mapping is made of.
struct Entry<'e> {
    inner: &'e Inner,
    log: &'e LogTable,
    place: &'e (Vec<usize>, Option<usize>),
    table: &'e SideTable,
}

impl Entry<'_> {
    /// The statement that logs one row.
    fn insert(&self, row: &str) -> String {
        let (keys, slot) = self.place;
        let mut columns = vec!["mapping".to_owned()];
        let mut values = vec![self.table.tag.to_string()];
        let names = self.table.key.iter().map(|key| key.name.as_str());
        let routed = self.table.route.as_ref().map(|(column, _)| column.as_str());
        for (&at, name) in keys.iter().chain(slot).zip(names.chain(routed)) {
            columns.push(Mysql.name(&self.log.columns[at].0));
            values.push(format!("{row}.{}", Mysql.name(name)));
        }
        let log = Mysql.own(&self.log.name);
        format!("INSERT INTO {log} ({}) VALUES ({});", columns.join(", "), values.join(", "))
    }

    /// A trigger's body: logs by these statements, unless it is the mirror that writes, capture is off, or the log is full.
    fn body(&self, condition: Option<String>, inserts: &str) -> String {
        let mark = full_mark(self.inner);
        // Where the row was taken away by hand, everything is logged: that nothing is whole is found out.
        format!(
            "BEGIN DECLARE changeover_mine INT DEFAULT 0; DECLARE changeover_logs INT DEFAULT 1; \
             DECLARE changeover_bound, changeover_resets, changeover_full, changeover_id BIGINT DEFAULT 0; \
             DECLARE CONTINUE HANDLER FOR {YOUNGER} BEGIN END; \
             {mirror}IF changeover_mine = 0{condition} THEN \
             SELECT logs, bound, resets INTO changeover_logs, changeover_bound, changeover_resets FROM {FENCE} WHERE {row} \
             LIMIT 1 LOCK IN SHARE MODE; \
             IF changeover_logs THEN IF changeover_bound > 0 THEN \
             SELECT CAST(note AS SIGNED) INTO changeover_full FROM {META} WHERE {mark} LIMIT 1; END IF; \
             IF changeover_bound = 0 OR changeover_full <> changeover_resets THEN {inserts} \
             SET changeover_id = LAST_INSERT_ID(); {bound}END IF; END IF; END IF; END",
            mirror = look_at_mirror(self.inner),
            condition = and(condition),
            row = this_side(self.inner),
            bound = self.keep_bound(),
        )
    }

    /// Now and then, so seldom that writers don't meet there, an entry is touched, and by that the bound is looked at.
    fn keep_bound(&self) -> String {
        let log = Mysql.own(&self.log.name);
        format!(
            "IF changeover_bound > 0 AND changeover_id % GREATEST(1, changeover_bound DIV {LOOKS}) < @@auto_increment_increment THEN \
             UPDATE {log} SET mapping = mapping WHERE id = changeover_id; END IF; "
        )
    }
}

/// Keeps the log's bound, on the newest id less the oldest: who reaches it leaves the mark. A trigger of the log's own, so that
/// what logs only reads the mark, by which serializable writers share it. An old snapshot has entries that are long gone: whether
/// the oldest is there is asked with a lock.
fn bound(inner: &Inner, log: &LogTable) -> Thing {
    let name = Mysql.own(&log.name);
    let schema = inner.tables.first().and_then(|table| table.info.schema.as_ref());
    let on = schema.map_or_else(|| name.clone(), |schema| format!("{}.{name}", Mysql.name(schema)));
    let body = format!(
        "BEGIN DECLARE changeover_bound, changeover_resets, changeover_oldest, changeover_there BIGINT DEFAULT 0; \
         DECLARE CONTINUE HANDLER FOR {YOUNGER} BEGIN END; \
         SELECT bound, resets INTO changeover_bound, changeover_resets FROM {FENCE} WHERE {row} LIMIT 1 LOCK IN SHARE MODE; \
         SELECT MIN(id) INTO changeover_oldest FROM {name} WHERE id > 0 LIMIT 1; \
         IF changeover_bound > 0 AND NEW.id - changeover_oldest >= changeover_bound THEN \
         SELECT COUNT(*) INTO changeover_there FROM {name} WHERE id = changeover_oldest LIMIT 1 LOCK IN SHARE MODE; \
         IF changeover_there THEN UPDATE {META} SET note = changeover_resets WHERE {mark}; END IF; END IF; END",
        row = this_side(inner),
        mark = full_mark(inner),
    );
    of(thing_name("bound", &inner.migration, inner.info.side, Some("log")), "AFTER UPDATE", &on, &body)
}

/// The row that says when a side's log was full: with how many it had been emptied by then.
pub(super) fn full_mark(inner: &Inner) -> String {
    let (migration, name) = (quoted(inner.migration.as_bytes()), quoted(full(inner).as_bytes()));
    format!("migration = {migration} AND name = {name}")
}

/// The condition that an updated row is no longer where it was: another key, another slot, or another mapping's.
fn left_its_place(table: &SideTable) -> String {
    let mut changes: Vec<String> = table.key.iter().map(|key| differs(table, &key.name)).collect();
    changes.extend(table.route.as_ref().map(|(column, _)| differs(table, column)));
    changes.extend(scoped(table, "NEW").map(|is| format!("{is} IS NOT TRUE")));
    format!("({})", changes.join(" OR "))
}

/// The condition that a column's value isn't what it was, to the byte: what a collation takes for one may be two to others.
fn differs(table: &SideTable, column: &str) -> String {
    let info = table.info.column(column);
    let form = |row: &str| {
        let value = format!("{row}.{}", Mysql.name(column));
        match info.filter(|info| !info.as_text).and_then(exact) {
            Some(Exact::Text(_) | Exact::Enum(_) | Exact::Set(_) | Exact::Json(_)) => {
                format!("CAST({value} AS BINARY)")
            }
            Some(Exact::Single { .. } | Exact::Real { .. }) => format!("CAST({value} AS CHAR)"),
            _ => value,
        }
    };
    format!("NOT ({} <=> {})", form("NEW"), form("OLD"))
}

/// The type in which the log keeps a column's values: never one that refuses what the column has, and texts in a character set
/// that has them all.
pub(super) fn log_type(column: Option<&ColumnInfo>) -> String {
    const TEXT: &str = "TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    let Some(column) = column else { return TEXT.to_owned() };
    let Some(ty) = exact(column) else { return TEXT.to_owned() };
    let declared = column.declared.to_ascii_lowercase();
    match ty {
        Exact::Int { max, .. } if *max > i64::MAX.unsigned_abs() => "BIGINT UNSIGNED".to_owned(),
        Exact::Int { .. } => "BIGINT".to_owned(),
        Exact::Single { .. } => "FLOAT".to_owned(),
        Exact::Real { .. } => "DOUBLE".to_owned(),
        Exact::Text(_) if is_address(&declared) => declared,
        Exact::Text(_) | Exact::Enum(_) | Exact::Json(_) => TEXT.to_owned(),
        Exact::Bytes { .. } => "BLOB".to_owned(),
        // A TIMESTAMP that isn't called so would be set by itself.
        Exact::Instant(_) => format!("{declared} NULL DEFAULT NULL"),
        _ => declared,
    }
}

/// What refuses the application's writes, with an error of the class that a transaction may be tried again after. Not with the
/// number of a deadlock: a client that trusts that one takes its transaction for rolled back, and this undoes the statement alone.
pub(super) fn fence(inner: &Inner) -> Vec<Thing> {
    let mut things = Vec::new();
    for table in &inner.tables {
        fence_of(inner, table, &mut things);
    }
    things
}

fn fence_of(inner: &Inner, table: &SideTable, things: &mut Vec<Thing>) {
    let mut add = |what: &str, when: &str, condition: Option<String>| {
        things.push(thing(inner, table, what, when, &refusing(inner, table, condition)));
    };
    if table.scope.is_none() {
        // Beforehand: or a row that is there already would meet a unique index first, which isn't an error to try again after.
        add("fence_all_insert", "BEFORE INSERT", None);
        add("fence_all_update", "BEFORE UPDATE", None);
        add("fence_all_delete", "BEFORE DELETE", None);
        return;
    }
    // Some of the rows: which ones is known for certain only when all other triggers have had their say.
    let is_in = |row: &str| scoped(table, row).unwrap_or_else(|| in_scope(table, row));
    let (old, new) = (is_in("OLD"), is_in("NEW"));
    let either = format!("({old} OR {new})");
    for (what, when, condition) in [
        ("fence_early_insert", "BEFORE INSERT", &new),
        ("fence_early_update", "BEFORE UPDATE", &either),
        ("fence_early_delete", "BEFORE DELETE", &old),
        ("fence_insert", "AFTER INSERT", &new),
        ("fence_update", "AFTER UPDATE", &either),
    ] {
        add(what, when, Some(condition.clone()));
    }
}

/// The condition that a row (`NEW`, `OLD`) is the mapping's by the spec's own SQL.
fn in_scope(table: &SideTable, row: &str) -> String {
    let columns = table.info.columns.iter().map(|column| {
        let name = Mysql.name(&column.name);
        format!("{row}.{name} AS {name}")
    });
    let columns: Vec<String> = columns.collect();
    let scope = table.scope.as_deref().unwrap_or("true");
    format!(
        "EXISTS (SELECT 1 FROM (SELECT {}) AS {} WHERE {})",
        columns.join(", "),
        Mysql.name(&table.info.name),
        expression(scope)
    )
}

fn refusing(inner: &Inner, table: &SideTable, condition: Option<String>) -> String {
    format!(
        "BEGIN DECLARE changeover_mine INT DEFAULT 0; DECLARE changeover_state VARCHAR(16); \
         DECLARE CONTINUE HANDLER FOR {YOUNGER} BEGIN END; {mirror}IF changeover_mine = 0{condition} THEN \
         SELECT state INTO changeover_state FROM {FENCE} WHERE {row} LIMIT 1 LOCK IN SHARE MODE; \
         IF NOT (changeover_state <=> 'open') THEN SIGNAL SQLSTATE '40001' SET MESSAGE_TEXT = {message}; END IF; END IF; END",
        mirror = look_at_mirror(inner),
        condition = and(condition),
        row = this_side(inner),
        message = quoted(message(&table.info.name, &inner.migration).as_bytes()),
    )
}

/// In words that are right whether this side is the follower or has been left; with the longest names cut.
fn message(table: &str, migration: &str) -> String {
    let words = |table: &str| {
        format!(
            "changeover: {table} isn't written here now (migration {migration}): roll back, look at the flag, run it all again"
        )
    };
    let all = words(table);
    if all.chars().count() <= MESSAGE_MAX {
        return all;
    }
    let short =
        "changeover: this table isn't written here now: roll back, look at the flag, run it all again";
    let room = MESSAGE_MAX.saturating_sub(short.chars().count() + 3);
    let cut: String = migration.chars().take(room).collect();
    format!("{short} ({cut})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_fits_whatever_the_names_are() {
        for (table, migration) in [("t", "m"), (&*"t".repeat(64), &*"é".repeat(200)), ("orders", "shop")] {
            let said = message(table, migration);
            assert!(said.chars().count() <= MESSAGE_MAX && said.contains("roll back"), "{said}");
        }
        assert!(message("orders", "shop").contains("orders") && message("orders", "shop").contains("shop"));
    }
}
