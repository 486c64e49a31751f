//! What Changeover puts into a user's database: its names, what of it is there, and how all of it goes away again.
//!
//! Every name begins with `changeover_`. Names of one migration end in `:MIGRATION` or `:MIGRATION:MAPPING`.

use changeover::Side;
use rusqlite::{Connection, params};
use std::collections::HashSet;

use crate::installed::Installed;

use super::sql::{name, text};
use super::{chunks, fence};
use crate::database::Scope;

/// The table of what else there is to know: which options capture was installed with.
pub(super) const META: &str = "changeover_meta";

/// The tables that all migrations in a database share.
const SHARED: [&str; 3] = [chunks::TABLE, fence::TABLE, META];

/// The log's table of one side of a migration.
pub(super) fn log_name(migration: &str, side: Side) -> String {
    format!("changeover_log_{}:{migration}", side_name(side))
}

/// A trigger of one mapping.
pub(super) fn trigger_name(what: &str, migration: &str, side: Side, mapping: &str) -> String {
    format!("changeover_{what}_{}:{migration}:{mapping}", side_name(side))
}

pub(super) const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

pub(super) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?1")?.exists([table])
}

/// Lists what is installed, of all migrations.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Installed>> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name FROM sqlite_schema WHERE name LIKE 'changeover\\_%' ESCAPE '\\' \
         AND type IN ('table', 'trigger') ORDER BY type DESC, name",
    )?;
    statement
        .query_map([], |row| Ok(Installed { kind: row.get(0)?, name: row.get(1)?, on: row.get(2)? }))?
        .collect()
}

/// Other migrations that have triggers on these tables, where they can't be at work on other rows: each table with its
/// migration.
pub(super) fn strangers(
    connection: &Connection,
    migration: &str,
    tables: &[(String, Scope)],
) -> rusqlite::Result<Vec<(String, String)>> {
    let mut select = connection.prepare(
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger' \
         AND name LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, on, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut parts = name.split(':');
        let (Some(kind), Some(other)) = (parts.next(), parts.next()) else { continue };
        let Some((table, scope)) = tables.iter().find(|(table, _)| table.eq_ignore_ascii_case(&on)) else {
            continue;
        };
        // Two may share a table, each with rows of its own. A fence over all rows has no condition.
        let over_all = kind.starts_with("changeover_fence_") && !sql.contains(" WHEN ");
        let pair = (table.clone(), other.to_owned());
        if other != migration && (*scope == Scope::Whole || over_all) && !found.contains(&pair) {
            found.push(pair);
        }
    }
    Ok(found)
}

/// The SQL that removes by hand all that a migration has in a database, and what it may come to have there. What is shared
/// with other migrations stays to them.
pub(super) fn removal_sql(
    connection: &Connection,
    migration: &str,
    mut things: Vec<Installed>,
) -> rusqlite::Result<String> {
    things.extend(list(connection)?.into_iter().filter(|thing| is_of(thing, migration)));
    removal(connection, in_order(things), migration)
}

/// Triggers go first: without the log, they would fail.
fn removal(connection: &Connection, mut things: Vec<Installed>, migration: &str) -> rusqlite::Result<String> {
    let mut seen = HashSet::new();
    things.retain(|thing| seen.insert(thing.name.clone()));
    let drops = things.iter().map(drop_sql).collect::<Vec<_>>();
    let (mut now, mut later) = (String::new(), String::new());
    for table in SHARED {
        let of_ours = format!("DELETE FROM {table} WHERE migration = {}", text(migration));
        if !exists(connection, table)? {
            later.push_str(&format!("-- DROP TABLE IF EXISTS {table}; -- or: {of_ours};\n"));
        } else if others_use(connection, table, migration)? {
            now.push_str(&format!("{of_ours};\n"));
        } else {
            now.push_str(&format!("DROP TABLE IF EXISTS {table};\n"));
        }
    }
    if !later.is_empty() {
        later.insert_str(0, "-- Shared by all migrations in this database, and not there yet; drop them when the last one is gone:\n");
    }
    Ok(format!("BEGIN IMMEDIATE;\n{}{now}COMMIT;\n{later}", drops.concat()))
}

fn others_use(connection: &Connection, table: &str, migration: &str) -> rusqlite::Result<bool> {
    connection.prepare(&format!("SELECT 1 FROM {table} WHERE migration <> ?1 LIMIT 1"))?.exists([migration])
}

/// Whether it is this migration's alone.
fn is_of(thing: &Installed, migration: &str) -> bool {
    thing.name.split(':').nth(1) == Some(migration)
}

fn in_order(mut things: Vec<Installed>) -> Vec<Installed> {
    things.sort_by_key(|thing| thing.kind != "trigger");
    things
}

fn drop_sql(thing: &Installed) -> String {
    format!("DROP {} IF EXISTS {};\n", thing.kind.to_ascii_uppercase(), name(&thing.name))
}

/// Removes what one migration has installed on either side, and what is shared once nobody else uses it. The fence of the
/// side `fenced` stays as it is.
pub(super) fn remove_of(
    connection: &Connection,
    migration: &str,
    fenced: Option<Side>,
) -> rusqlite::Result<()> {
    for thing in in_order(list(connection)?) {
        let kind = thing.name.split(':').next().unwrap_or_default();
        let stays = fenced.is_some_and(|side| fence::is_trigger(kind, side));
        if is_of(&thing, migration) && !stays {
            connection.execute_batch(&drop_sql(&thing))?;
        }
    }
    for table in SHARED {
        if exists(connection, table)? {
            let stays = match fenced {
                Some(side) if table == fence::TABLE => format!(" AND side <> '{}'", side_name(side)),
                _ => String::new(),
            };
            connection.execute(&format!("DELETE FROM {table} WHERE migration = ?1{stays}"), [migration])?;
            let left = connection.prepare(&format!("SELECT 1 FROM {table} LIMIT 1"))?.exists([])?;
            if !left {
                connection.execute_batch(&format!("DROP TABLE {table}"))?;
            }
        }
    }
    Ok(())
}

/// A migration's note to itself.
pub(super) fn note(connection: &Connection, migration: &str, key: &str) -> rusqlite::Result<Option<String>> {
    if !exists(connection, META)? {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT max(value) FROM changeover_meta WHERE migration = ?1 AND key = ?2")?
        .query_row(params![migration, key], |row| row.get(0))
}

pub(super) fn put_note(
    connection: &Connection,
    migration: &str,
    key: &str,
    value: &str,
) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS changeover_meta (migration TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, \
         PRIMARY KEY (migration, key)) WITHOUT ROWID",
    )?;
    connection
        .execute("INSERT OR REPLACE INTO changeover_meta VALUES (?1, ?2, ?3)", params![migration, key, value])
        .map(drop)
}

/// Brings these triggers about: those that are there as they should be stay untouched.
pub(super) fn put_triggers(connection: &Connection, wanted: &[(String, String)]) -> rusqlite::Result<()> {
    for (trigger, sql) in wanted {
        if trigger_sql(connection, trigger)?.as_ref() != Some(sql) {
            connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {}; {sql}", name(trigger)))?;
        }
    }
    Ok(())
}

/// Whether these triggers are there, just as they should be.
pub(super) fn has_triggers(connection: &Connection, wanted: &[(String, String)]) -> rusqlite::Result<bool> {
    for (trigger, sql) in wanted {
        if trigger_sql(connection, trigger)?.as_ref() != Some(sql) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn trigger_sql(connection: &Connection, trigger: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT max(sql) FROM sqlite_schema WHERE type = 'trigger' AND name = ?1")?
        .query_row([trigger], |row| row.get(0))
}

/// Drops every trigger of one side of a migration whose kind begins so.
pub(super) fn drop_triggers(
    connection: &Connection,
    kinds: &[&str],
    migration: &str,
    side: Side,
) -> rusqlite::Result<()> {
    for thing in list(connection)? {
        let Some(rest) = thing.name.strip_prefix("changeover_").filter(|_| thing.kind == "trigger") else {
            continue;
        };
        let of_side = format!("_{}:{migration}:", side_name(side));
        if kinds.iter().any(|kind| rest.starts_with(kind)) && rest.contains(&of_side) {
            connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", name(&thing.name)))?;
        }
    }
    Ok(())
}

/// A message inside a trigger, as a literal.
pub(super) fn message(words: &str) -> String {
    text(words)
}
