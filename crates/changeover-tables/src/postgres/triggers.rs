//! The triggers on PostgreSQL: those that log the keys of changed rows, and those that refuse the application's writes.
//!
//! Each has a function of its own, which runs with our rights and a search path of its own, so that it works for every
//! application and is nobody's to trick. A trigger fires `ALWAYS`: also for writers that act as a replica. The mirror's own
//! writes are told by a setting of their transaction.

use changeover::store::capture::CaptureOptions;

use super::install::full;
use super::syntax::{Postgres, text};
use crate::catalog::{ColumnInfo, Domain};
use crate::server::dialect::Dialect as _;
use crate::server::install::{LogTable, Thing, thing_name};
use crate::server::store::Inner;
use crate::shape::SideTable;
use crate::syntax::{Syntax as _, expression};
use crate::types::Exact;

/// A trigger on its way to being a [`Thing`].
struct Trigger<'t> {
    what: &'t str,
    /// As in `AFTER INSERT`.
    event: &'t str,
    each: &'t str,
    when: Option<String>,
    /// Its statements, up to and with the RETURN.
    body: String,
    /// What the function is besides: its rights and its search path.
    security: &'t str,
}

const SECURE: &str = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp";
/// For what calls the spec's own SQL: it finds what our sessions find, and means what it means to them, whatever the
/// application's session is set to.
const OURS: &str = "SET search_path FROM CURRENT SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'iso_8601' \
    SET extra_float_digits = 1 SET bytea_output = 'hex' SET xmloption = 'content' SET standard_conforming_strings = on";
const ROW: &str = "ROW";
const STATEMENT: &str = "STATEMENT";

/// Whether it fires once for a statement, and not for each row.
pub(super) fn is_of_statement(thing: &Thing) -> bool {
    thing.make.last().is_some_and(|trigger| trigger.contains(" FOR EACH STATEMENT "))
}

/// The same on a partition of its table.
pub(super) fn on_partition(thing: &Thing, partition: &str) -> Thing {
    let (from, to) = (format!(" ON {} FOR EACH", thing.on), format!(" ON {partition} FOR EACH"));
    let make = thing.make.iter().map(|statement| statement.replacen(&from, &to, 1)).collect();
    Thing { name: thing.name.clone(), on: partition.to_owned(), make }
}

fn thing(inner: &Inner, mapping: &str, on: &str, trigger: &Trigger<'_>) -> Thing {
    let name = thing_name(trigger.what, &inner.migration, inner.info.side, Some(mapping));
    let (quoted, function) = (Postgres.name(&name), Postgres.own(&name));
    let when = trigger.when.as_ref().map(|when| format!(" WHEN ({when})")).unwrap_or_default();
    Thing {
        make: vec![
            format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {} AS {}",
                trigger.security,
                text(&format!("BEGIN {} END", trigger.body))
            ),
            format!(
                "CREATE OR REPLACE TRIGGER {quoted} {} ON {on} FOR EACH {}{when} EXECUTE FUNCTION {function}()",
                trigger.event, trigger.each
            ),
        ],
        name,
        on: on.to_owned(),
    }
}

/// The condition that it isn't this migration's mirror that writes.
fn not_the_mirror(migration: &str) -> String {
    format!("pg_catalog.current_setting('changeover.mirror', true) IS DISTINCT FROM {}", text(migration))
}

/// The condition that a row (`NEW`, `OLD`, a table) is the mapping's, where constants say so. The old side's `where` isn't
/// asked: the sync finds out, and a trigger that logs must never fail.
fn scoped(table: &SideTable, row: &str) -> Option<String> {
    let parts = table.constants.iter().map(|(column, literal)| {
        Postgres.is_constant(&table.info, &format!("{row}.{}", Postgres.name(column)), column, literal)
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("({})", parts.join(" AND ")))
}

fn and(parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// What logs the changes of all mappings.
pub(super) fn capture(inner: &Inner, log: &LogTable, options: CaptureOptions) -> Vec<Thing> {
    let mut things = Vec::new();
    for (table, place) in inner.tables.iter().zip(&log.places) {
        of_table(inner, table, &Entry { log, place, table, options }, &mut things);
    }
    things.push(bound(inner, log, options));
    things
}

/// What an entry of a mapping is made of.
struct Entry<'e> {
    log: &'e LogTable,
    place: &'e (Vec<usize>, Option<usize>),
    table: &'e SideTable,
    options: CaptureOptions,
}

impl Entry<'_> {
    /// The log's columns, and what they get of a row (`NEW`, `OLD`, a table).
    fn lists(&self, row: &str) -> (String, String) {
        let (keys, slot) = self.place;
        let mut columns = vec!["mapping".to_owned()];
        let mut values = vec![self.table.tag.to_string()];
        let names = self.table.key.iter().map(|key| key.name.as_str());
        let routed = self.table.route.as_ref().map(|(column, _)| column.as_str());
        for (&at, name) in keys.iter().chain(slot).zip(names.chain(routed)) {
            columns.push(Postgres.name(&self.log.columns[at].0));
            let as_text = self.table.info.column(name).is_some_and(|column| column.as_text);
            let cast = if as_text { "::text" } else { "" };
            values.push(format!("{row}.{}{cast}", Postgres.name(name)));
        }
        (columns.join(", "), values.join(", "))
    }

    fn full(&self) -> String {
        format!("(SELECT is_called FROM {})", full(self.log))
    }

    /// The statement that logs one row.
    fn insert(&self, row: &str) -> String {
        let (log, (columns, values)) = (Postgres.own(&self.log.name), self.lists(row));
        if self.options.overflow {
            format!("INSERT INTO {log} ({columns}) SELECT {values} WHERE NOT {}; RETURN NULL;", self.full())
        } else {
            format!("INSERT INTO {log} ({columns}) VALUES ({values}); RETURN NULL;")
        }
    }

    /// The statements that log all rows of what is truncated; where they are more than the log may have, the mark that it
    /// overflowed. A partition has a trigger of its own that does so; only for one that hasn't (it came later) its parent does.
    fn insert_all(&self) -> String {
        let log = Postgres.own(&self.log.name);
        let (columns, values) = self.lists("t");
        let condition = scoped(self.table, "t").map(|scoped| format!(" WHERE {scoped}")).unwrap_or_default();
        let insert = text(&format!("INSERT INTO {log} ({columns}) SELECT {values} FROM "));
        let all = format!("EXECUTE {insert} || part || {};", text(&format!(" AS t{condition}")));
        let parts = "SELECT TG_RELID WHERE NOT EXISTS (SELECT 1 FROM pg_partition_tree(TG_RELID)) UNION ALL \
            SELECT p.relid FROM pg_partition_tree(TG_RELID) AS p WHERE p.isleaf AND (p.relid = TG_RELID OR NOT EXISTS \
            (SELECT 1 FROM pg_trigger AS g WHERE g.tgrelid = p.relid AND g.tgname = TG_NAME AND g.tgenabled = 'A'))";
        let bound = self.options.bound;
        // What a snapshot that is older doesn't see is truncated all the same.
        let body = if self.options.overflow {
            format!(
                "EXIT WHEN {}; EXECUTE 'SELECT count(*) >= {bound} FROM (SELECT 1 FROM ' || part || ' LIMIT {bound}) AS few' \
                 INTO many; IF many OR current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN \
                 PERFORM setval({}, 1); EXIT; END IF; {all}",
                self.full(),
                text(&full(self.log))
            )
        } else {
            all
        };
        format!(
            "DECLARE part regclass; many boolean; BEGIN FOR part IN {parts} LOOP {body} END LOOP; END; RETURN NULL;"
        )
    }
}

fn of_table(inner: &Inner, table: &SideTable, entry: &Entry<'_>, things: &mut Vec<Thing>) {
    let others = || Some(not_the_mirror(&inner.migration));
    let mut add = |what: &str, event: &str, each: &str, when: Option<String>, body: String| {
        let trigger = Trigger { what, event, each, when, body, security: SECURE };
        things.push(thing(inner, table.name().as_str(), &table.table, &trigger));
    };
    add("insert", "AFTER INSERT", ROW, and([others(), scoped(table, "NEW")]), entry.insert("NEW"));
    add("update", "AFTER UPDATE", ROW, and([others(), scoped(table, "NEW")]), entry.insert("NEW"));
    let left = and([others(), scoped(table, "OLD"), Some(left_its_place(table))]);
    add("rekey", "AFTER UPDATE", ROW, left, entry.insert("OLD"));
    add("delete", "AFTER DELETE", ROW, and([others(), scoped(table, "OLD")]), entry.insert("OLD"));
    add("truncate", "BEFORE TRUNCATE", STATEMENT, others(), entry.insert_all());
}

/// The condition that an updated row is no longer where it was: another key, another slot, or another mapping's.
fn left_its_place(table: &SideTable) -> String {
    let mut changes: Vec<String> = table.key.iter().map(|key| differs(table, &key.name)).collect();
    changes.extend(table.route.as_ref().map(|(column, _)| differs(table, column)));
    changes.extend(scoped(table, "NEW").map(|is| format!("{is} IS NOT TRUE")));
    format!("({})", changes.join(" OR "))
}

/// The condition that a column's value isn't what it was, to the byte: what is equal to PostgreSQL (`1.0` and `1.00`, or two
/// spellings under a collation that takes them for one) may be two to others.
fn differs(table: &SideTable, column: &str) -> String {
    let exact = |column: &ColumnInfo| match &column.domain {
        Domain::Exact(ty) => matches!(
            ty.of,
            Exact::Bool
                | Exact::Int { .. }
                | Exact::Uuid
                | Exact::Date { .. }
                | Exact::Timestamp(_)
                | Exact::Instant(_)
        ),
        _ => false,
    };
    let form = if table.info.column(column).is_some_and(exact) { "" } else { "::text COLLATE \"C\"" };
    let column = Postgres.name(column);
    format!("NEW.{column}{form} IS DISTINCT FROM OLD.{column}{form}")
}

/// Keeps the log's bound, on the newest id less the oldest: a trigger of the log's own, which looks only at every so many
/// entries, and by that so seldom that serializable transactions don't meet there. At the bound it leaves the mark; with that
/// there, nothing is logged any more.
fn bound(inner: &Inner, log: &LogTable, options: CaptureOptions) -> Thing {
    let name = Postgres.own(&log.name);
    let every = (options.bound / 16).max(1);
    let when = if options.overflow { format!("NEW.id % {every} = 0") } else { "false".to_owned() };
    let body = format!(
        "IF NEW.id - (SELECT min(id) FROM {name} WHERE id > 0) >= {} THEN \
         PERFORM setval({}, 1); RETURN NULL; END IF; RETURN NEW;",
        options.bound,
        text(&full(log))
    );
    let trigger = Trigger {
        what: "bound",
        event: "BEFORE INSERT",
        each: ROW,
        when: Some(when),
        body,
        security: SECURE,
    };
    thing(inner, "log", &name, &trigger)
}

/// What refuses the application's writes, with an error that a transaction may be tried again after (its class is that of
/// serialization failures).
pub(super) fn fence(inner: &Inner) -> Vec<Thing> {
    let mut things = Vec::new();
    for table in &inner.tables {
        fence_of(inner, table, &mut things);
    }
    things
}

fn fence_of(inner: &Inner, table: &SideTable, things: &mut Vec<Thing>) {
    let others = || Some(not_the_mirror(&inner.migration));
    let refuse = refuse(inner, table);
    let mut add = |what: &str, event: &str, each: &str, when: Option<String>, body: &str, security: &str| {
        let trigger = Trigger { what, event, each, when, body: body.to_owned(), security };
        things.push(thing(inner, table.name().as_str(), &table.table, &trigger));
    };
    add("fence_truncate", "BEFORE TRUNCATE", STATEMENT, others(), &refuse, SECURE);
    if table.scope.is_none() {
        add("fence", "BEFORE INSERT OR UPDATE OR DELETE", ROW, others(), &refuse, SECURE);
        return;
    }
    // Some of the rows: which ones is known for certain only when the server has computed its columns, and all other triggers
    // have had their say. What can be told beforehand is refused beforehand: or a row that this side has already would meet a
    // unique index first, and that isn't an error to try again after.
    match (scoped(table, "OLD"), scoped(table, "NEW")) {
        (Some(old), Some(new)) => {
            let either = format!("({old} OR {new})");
            for (what, event, condition) in [
                ("fence_early_insert", "BEFORE INSERT", &new),
                ("fence_early_update", "BEFORE UPDATE", &either),
                ("fence_insert", "AFTER INSERT", &new),
                ("fence_update", "AFTER UPDATE", &either),
                ("fence_delete", "AFTER DELETE", &old),
            ] {
                add(what, event, ROW, and([others(), Some(condition.clone())]), &refuse, SECURE);
            }
        }
        // The spec's own SQL is asked of the row as it was and as it is.
        _ => {
            let scope = table.scope.as_deref().unwrap_or("true");
            let is_in = |row: &str| {
                let alias = Postgres.name(&table.info.name);
                format!("EXISTS (SELECT 1 FROM (SELECT ({row}).*) AS {alias} WHERE {})", expression(scope))
            };
            let body = format!(
                "IF TG_OP <> 'INSERT' THEN IF {} THEN {refuse} END IF; END IF; \
                 IF TG_OP <> 'DELETE' THEN IF {} THEN {refuse} END IF; RETURN NEW; END IF; RETURN OLD;",
                is_in("OLD"),
                is_in("NEW")
            );
            // What the server computes isn't known yet; but the row may be there already.
            let same = table.key.iter().map(|key| {
                let name = Postgres.name(&key.name);
                format!("{}.{name} = NEW.{name}", Postgres.name(&table.info.name))
            });
            let same: Vec<String> = same.collect();
            let alias = Postgres.name(&table.info.name);
            let early = format!(
                "IF TG_OP = 'INSERT' THEN IF EXISTS (SELECT 1 FROM {} AS {alias} WHERE {} AND {}) THEN {refuse} END IF; \
                 END IF; {body}",
                table.table,
                same.join(" AND "),
                expression(scope)
            );
            add("fence_early", "BEFORE INSERT OR UPDATE", ROW, others(), &early, OURS);
            add("fence_where", "AFTER INSERT OR UPDATE OR DELETE", ROW, others(), &body, OURS);
        }
    }
}

/// The statement that refuses, in words that are right whether this side is the follower or has been left.
fn refuse(inner: &Inner, table: &SideTable) -> String {
    let words = format!(
        "changeover: {} is kept in step with {} by the migration {}, and isn't written here now",
        table.info.name, table.other, inner.migration
    );
    let hint = "roll back, look at the flag, and run the whole transaction again";
    format!("RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = {}, HINT = {};", text(&words), text(hint))
}
