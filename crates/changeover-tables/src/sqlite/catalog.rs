//! What a SQLite database says of its tables.

use rusqlite::Connection;

use super::sql;
use crate::catalog::{
    Catalog, ColumnInfo, Domain, Engine, ForeignKey, Generated, IndexPart, Origin, TableInfo, TableKind,
    TriggerInfo, UniqueIndex,
};

/// Reads the catalogue of the database. Changes nothing.
pub(super) fn read(connection: &Connection, store: &str, place: &str) -> rusqlite::Result<Catalog> {
    let mut statement = connection.prepare(
        "SELECT name, type, wr, strict FROM pragma_table_list \
         WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'changeover\\_%' ESCAPE '\\' \
         ORDER BY name",
    )?;
    let listed = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<Vec<(String, String, bool, bool)>, _>>()?;
    let mut tables = Vec::with_capacity(listed.len());
    for (name, kind, without_rowid, strict) in listed {
        tables.push(table(connection, &name, &kind, without_rowid, strict)?);
    }
    let text =
        |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, String>(0));
    let number =
        |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    Ok(Catalog {
        store: store.to_owned(),
        kind: "sqlite",
        engine: Engine::Sqlite,
        place: place.to_owned(),
        tables,
        unseen: None,
        capturable: capturable(&text("journal_mode")?),
        writable: Ok(()),
        silences: Ok(()),
        ignores_foreign_keys: true,
        utf8_order: text("encoding")? == "UTF-8",
        bytes: u64::try_from(number("page_count")? * number("page_size")?).unwrap_or_default(),
    })
}

fn capturable(journal_mode: &str) -> Result<(), (String, String)> {
    if journal_mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err((
        format!(
            "its journal mode is {journal_mode}: a reader would block every writer, and a long read the application"
        ),
        "PRAGMA journal_mode = WAL;".to_owned(),
    ))
}

fn table(
    connection: &Connection,
    name: &str,
    kind: &str,
    without_rowid: bool,
    strict: bool,
) -> rusqlite::Result<TableInfo> {
    let kind = match kind {
        "table" => TableKind::Table,
        "view" => TableKind::View,
        _ => TableKind::Virtual,
    };
    let (mut columns, primary_key) = columns(connection, name, strict)?;
    let row_number = row_number(connection, name, &columns, &primary_key, without_rowid)?;
    let indexes = indexes(connection, name)?;
    let unique = unique(name, indexes.iter().map(|(index, _)| index).cloned().collect(), row_number.as_ref());
    let mut counter = None;
    for column in &mut columns {
        let (collation, counts) = collation(connection, name, &column.name)?;
        column.collation = collation;
        if counts {
            counter = Some(column.name.clone());
        }
        // A row number is never NULL, whatever the declaration says.
        column.not_null |= row_number.as_deref() == Some(column.name.as_str());
    }
    Ok(TableInfo {
        missing_rights: Vec::new(),
        comment: None,
        schema: None,
        name: name.to_owned(),
        kind,
        columns,
        primary_key,
        unique,
        indexes: plain_indexes(connection, name)?,
        clauses: clauses(connection, name)?,
        foreign_keys: foreign_keys(connection, name)?,
        triggers: triggers(connection, name)?,
        counter,
        row_number,
        without_row_number: without_rowid,
        strict,
        definition: definition(connection, name)?,
    })
}

fn columns(
    connection: &Connection,
    table: &str,
    strict: bool,
) -> rusqlite::Result<(Vec<ColumnInfo>, Vec<String>)> {
    let mut statement = connection.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let mut key = Vec::new();
    let mut columns = Vec::new();
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let declared: String = row.get(1)?;
        let place: i64 = row.get(4)?;
        if place > 0 {
            key.push((place, name.clone()));
        }
        columns.push(ColumnInfo {
            domain: domain(&declared, strict),
            name,
            declared,
            not_null: row.get(2)?,
            default: row.get(3)?,
            generated: match row.get::<_, i64>(5)? {
                2 => Generated::Virtual,
                3 => Generated::Stored,
                _ => Generated::No,
            },
            collation: String::new(),
            as_text: false,
            computed_by: None,
            comment: None,
        });
    }
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// What a declared type makes of a column: SQLite's rules of affinity, and what the word says beyond them.
fn domain(declared: &str, strict: bool) -> Domain {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if declared.is_empty() || (strict && declared == "ANY") {
        Domain::Any
    } else if has(&["INT"]) {
        Domain::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Domain::Text
    } else if has(&["BLOB"]) {
        Domain::Bytes
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Domain::Real
    } else if has(&["NUM", "DEC", "BOOL", "MONEY"]) {
        Domain::Number
    } else {
        Domain::Loose
    }
}

/// The column that is the row's own number: a primary key of one column whose type is exactly INTEGER, and which has no
/// index of its own (`INTEGER PRIMARY KEY DESC` has one).
fn row_number(
    connection: &Connection,
    table: &str,
    columns: &[ColumnInfo],
    primary_key: &[String],
    without_rowid: bool,
) -> rusqlite::Result<Option<String>> {
    let [only] = primary_key else { return Ok(None) };
    let is_integer = columns.iter().any(|c| c.name == *only && c.declared.eq_ignore_ascii_case("INTEGER"));
    if without_rowid || !is_integer {
        return Ok(None);
    }
    let indexed: i64 = connection.query_row(
        "SELECT count(*) FROM pragma_index_list(?1) WHERE origin = 'pk'",
        [table],
        |row| row.get(0),
    )?;
    Ok((indexed == 0).then(|| only.clone()))
}

fn indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(UniqueIndex, bool)>> {
    let mut statement = connection.prepare(
        "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY seq DESC",
    )?;
    let listed = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(String, String, bool)>, _>>()?;
    let mut found = Vec::new();
    for (name, origin, partial) in listed {
        let sql: Option<String> =
            connection
                .query_row("SELECT max(sql) FROM sqlite_schema WHERE name = ?1", [&name], |row| row.get(0))?;
        let (written, condition) = sql.as_deref().map(sql::index_parts).unwrap_or_default();
        let origin = match origin.as_str() {
            "pk" => Origin::PrimaryKey,
            "u" => Origin::Constraint,
            _ => Origin::Index,
        };
        let parts = index_parts(connection, &name, &written)?;
        let index =
            UniqueIndex { name, origin, parts, partial: condition.filter(|_| partial), deferrable: false };
        found.push((index, partial));
    }
    Ok(found)
}

fn index_parts(connection: &Connection, index: &str, written: &[String]) -> rusqlite::Result<Vec<IndexPart>> {
    let mut statement = connection
        .prepare("SELECT seqno, cid, name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let mut parts = Vec::new();
    let mut rows = statement.query([index])?;
    while let Some(row) = rows.next()? {
        let collation: String = row.get::<_, Option<String>>(3)?.unwrap_or_else(|| "BINARY".to_owned());
        let at = usize::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
        parts.push(match row.get::<_, Option<String>>(2)? {
            Some(name) => IndexPart::Column { name, collation },
            None => IndexPart::Expression { sql: written.get(at).cloned().unwrap_or_default(), collation },
        });
    }
    Ok(parts)
}

/// The unique indexes, the primary key first; a row number is one without an index.
fn unique(table: &str, mut indexes: Vec<UniqueIndex>, row_number: Option<&String>) -> Vec<UniqueIndex> {
    indexes.sort_by_key(|index| index.origin != Origin::PrimaryKey);
    if let Some(column) = row_number {
        let part = IndexPart::Column { name: column.clone(), collation: "BINARY".to_owned() };
        let own = UniqueIndex {
            name: table.to_owned(),
            origin: Origin::PrimaryKey,
            parts: vec![part],
            partial: None,
            deferrable: false,
        };
        indexes.insert(0, own);
    }
    indexes
}

fn plain_indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name FROM pragma_index_list(?1) WHERE NOT \"unique\" \
         AND name NOT LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

fn clauses(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql: Option<String> = connection.query_row(
        "SELECT max(sql) FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?1)",
        [table],
        |row| row.get(0),
    )?;
    Ok(sql.as_deref().map(sql::table_clauses).unwrap_or_default())
}

fn foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut statement = connection.prepare(
        "SELECT id, \"table\", \"from\", \"to\", on_delete FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut found: Vec<(i64, ForeignKey)> = Vec::new();
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if found.last().is_none_or(|(last, _)| *last != id) {
            let (parent, on_delete) = (row.get(1)?, row.get(4)?);
            let key = ForeignKey {
                columns: Vec::new(),
                parent,
                parent_columns: Vec::new(),
                on_delete,
                unseen: None,
            };
            found.push((id, key));
        }
        if let Some((_, key)) = found.last_mut() {
            key.columns.push(row.get(2)?);
            key.parent_columns.extend(row.get::<_, Option<String>>(3)?);
        }
    }
    Ok(found.into_iter().map(|(_, key)| key).collect())
}

fn triggers(connection: &Connection, table: &str) -> rusqlite::Result<Vec<TriggerInfo>> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?1) \
         AND name NOT LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    statement.query_map([table], |row| Ok(TriggerInfo { name: row.get(0)?, sql: row.get(1)? }))?.collect()
}

/// A column's own collation, and whether its values come from a counter. SQLite tells them only by a call, no pragma.
fn collation(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<(String, bool)> {
    match connection.column_metadata(Some("main"), table, column) {
        Ok((_, Some(collation), .., counts)) => Ok((collation.to_string_lossy().into_owned(), counts)),
        // A view's column has none of its own.
        Ok(_) | Err(rusqlite::Error::SqliteFailure(..)) => Ok(("BINARY".to_owned(), false)),
        Err(error) => Err(error),
    }
}

/// The table's definition with its indexes and triggers, but for Changeover's own.
pub(super) fn definition(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare_cached(
        "SELECT sql FROM sqlite_schema WHERE lower(tbl_name) = lower(?1) AND sql IS NOT NULL \
         AND name NOT LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY type = 'table' DESC, name",
    )?;
    let parts =
        statement.query_map([table], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(parts.join(";\n"))
}
