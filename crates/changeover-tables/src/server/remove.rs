//! How all of it goes away again: by us, and by hand.

use std::collections::HashSet;

use changeover::{Side, Value};

use super::chunks;
use super::dialect::Dialect;
use super::fence;
use super::install::{META, exists, is_of};
use super::session::{DbError, Session};
use crate::database::Scope;
use crate::installed::Installed;

/// The tables that all migrations in a database share.
const SHARED: [&str; 3] = [chunks::TABLE, fence::TABLE, META];

/// Removes what one migration has installed on either side, and what is shared once nobody else uses it, within the
/// transaction that is open. The fence of the side `fenced` stays as it is.
pub(crate) async fn remove_of(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    fenced: Option<Side>,
) -> Result<(), DbError> {
    for thing in dialect.list(session).await? {
        let stays = fenced.is_some_and(|side| is_fence(&thing.name, side));
        if is_of(&thing.name, migration) && !stays {
            for statement in dialect.removal(&thing) {
                session.batch(&statement).await?;
            }
        }
    }
    for table in SHARED {
        if !exists(session, dialect, table).await? {
            continue;
        }
        let mut sql =
            format!("DELETE FROM {} WHERE migration = {}", dialect.own(table), dialect.placeholder(1));
        let mut params: Vec<Value> = vec![migration.into()];
        if let Some(side) = fenced.filter(|_| table == fence::TABLE) {
            sql.push_str(&format!(" AND side <> {}", dialect.placeholder(2)));
            params.push(side.name().into());
        }
        session.execute(&sql, &params).await?;
        let left = session.query(&format!("SELECT 1 FROM {} LIMIT 1", dialect.own(table)), &[]).await?;
        if left.is_empty() {
            let thing = Installed { kind: "table".to_owned(), name: table.to_owned(), on: String::new() };
            for statement in dialect.removal(&thing) {
                session.batch(&statement).await?;
            }
        }
    }
    if dialect.list(session).await?.is_empty() {
        for statement in dialect.remove_last() {
            session.batch(&statement).await?;
        }
    }
    Ok(())
}

/// Whether a thing is part of this side's fence.
fn is_fence(name: &str, side: Side) -> bool {
    let kind = name.split(':').next().unwrap_or_default();
    kind.starts_with("changeover_fence") && kind.ends_with(&format!("_{}", side.name()))
}

/// Other migrations that have triggers on these tables, where they can't be at work on other rows: each table with its
/// migration. The tables are named as the list of what is installed names them.
pub(crate) fn strangers(
    installed: &[Installed],
    migration: &str,
    tables: &[(String, Scope)],
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for thing in installed.iter().filter(|thing| thing.kind == "trigger" && !is_of(&thing.name, migration)) {
        let mut parts = thing.name.split(':');
        let (Some(kind), Some(other)) = (parts.next(), parts.next()) else { continue };
        let Some((table, scope)) = tables.iter().find(|(table, _)| *table == thing.on) else { continue };
        // Two may share a table, each with rows of its own. This fence is over all rows.
        let over_all = kind == "changeover_fence_old"
            || kind == "changeover_fence_new"
            || kind.starts_with("changeover_fence_all_");
        let pair = (table.clone(), other.to_owned());
        if (*scope == Scope::Whole || over_all) && !found.contains(&pair) {
            found.push(pair);
        }
    }
    found
}

/// The SQL that removes by hand all that a migration has in a database, and what it may come to have there.
pub(crate) async fn removal_sql(
    session: &mut dyn Session,
    dialect: &dyn Dialect,
    migration: &str,
    may_have: Vec<Installed>,
) -> Result<String, DbError> {
    let there = dialect.list(session).await?;
    let others = there.iter().any(|thing| thing.name.contains(':') && !is_of(&thing.name, migration));
    let mut things = may_have;
    things.extend(there.into_iter().filter(|thing| is_of(&thing.name, migration)));
    let order =
        |thing: &Installed| ["trigger", "function", "table"].iter().position(|kind| thing.kind == *kind);
    things.sort_by_key(|thing| order(thing).unwrap_or(usize::MAX));
    let mut seen = HashSet::new();
    let mut sql = "BEGIN;\n".to_owned();
    for thing in &things {
        for statement in dialect.removal(thing).into_iter().filter(|statement| seen.insert(statement.clone()))
        {
            sql.push_str(&format!("{statement};\n"));
        }
    }
    let mut later = String::new();
    for table in SHARED {
        let of_ours = format!(
            "DELETE FROM {} WHERE migration = {}",
            dialect.own(table),
            dialect.literal(&migration.into())
        );
        let thing = Installed { kind: "table".to_owned(), name: table.to_owned(), on: String::new() };
        let drop = dialect.removal(&thing).join("; ");
        if !exists(session, dialect, table).await? {
            later.push_str(&format!("-- {drop}; -- or: {of_ours};\n"));
        } else if others {
            sql.push_str(&format!("{of_ours};\n"));
        } else {
            sql.push_str(&format!("{drop};\n"));
        }
    }
    sql.push_str("COMMIT;\n");
    if !later.is_empty() {
        sql.push_str("-- Shared by all migrations in this database, and not there yet; drop them when the last one is gone:\n");
        sql.push_str(&later);
    }
    for statement in dialect.remove_last() {
        sql.push_str(&format!("-- When nothing of Changeover's is left: {statement};\n"));
    }
    Ok(sql)
}
