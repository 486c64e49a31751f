//! What a MariaDB or MySQL database says of its tables.

use std::collections::HashMap;
use std::sync::Arc;

use changeover::Value;

use super::capturable;
use super::codec::ENGINE;
use super::exact::{Declared, Flavour, exact};
use super::session::MySession;
use super::syntax::{Mysql, SETS, UUIDS, is_address};
use crate::catalog::{
    ColumnInfo, Domain, ForeignKey, Generated, IndexPart, Origin, TableInfo, TableKind, TriggerInfo,
    UniqueIndex,
};
use crate::server::session::{DbError, Session, Trouble};
use crate::syntax::Syntax as _;
use crate::types::{Exact, ExactType};

/// Without our own, and without MariaDB's sequences.
const TABLES: &str = "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COMMENT FROM information_schema.TABLES \
    WHERE TABLE_SCHEMA = DATABASE() AND LEFT(TABLE_NAME, 11) <> 'changeover_' AND TABLE_TYPE <> 'SEQUENCE' \
    ORDER BY TABLE_NAME";

const COLUMNS: &str = "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT, IS_NULLABLE, DATA_TYPE, COLUMN_TYPE, \
    CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, \
    CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION, COLUMN_COMMENT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
    ORDER BY TABLE_NAME, ORDINAL_POSITION";

/// The primary key first. Only MySQL knows parts that are expressions.
fn indexes_sql(flavour: Flavour) -> String {
    let expression = if flavour.mariadb { "NULL" } else { "EXPRESSION" };
    format!(
        "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, {expression} \
         FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
         ORDER BY TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
    )
}

/// MySQL's have no table, but for the one that the constraint is of.
fn checks_sql(flavour: Flavour) -> &'static str {
    if flavour.mariadb {
        "SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = DATABASE() ORDER BY TABLE_NAME, CONSTRAINT_NAME"
    } else {
        "SELECT t.TABLE_NAME, c.CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS c \
         JOIN information_schema.TABLE_CONSTRAINTS t ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA \
         AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME AND t.CONSTRAINT_TYPE = 'CHECK' \
         WHERE c.CONSTRAINT_SCHEMA = DATABASE() ORDER BY t.TABLE_NAME, c.CONSTRAINT_NAME"
    }
}

const FOREIGN_KEYS: &str = "SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, \
    IF(k.REFERENCED_TABLE_SCHEMA = DATABASE(), k.REFERENCED_TABLE_NAME, \
    CONCAT(k.REFERENCED_TABLE_SCHEMA, '.', k.REFERENCED_TABLE_NAME)), k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE \
    FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
    ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
    WHERE k.TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME IS NOT NULL \
    ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION";

const TRIGGERS: &str = "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT \
    FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, 11) <> 'changeover_' \
    ORDER BY EVENT_OBJECT_TABLE, TRIGGER_NAME";

/// The tables and views of a database.
pub(super) async fn tables(
    session: &mut MySession,
    flavour: Flavour,
    database: &str,
) -> Result<Vec<TableInfo>, DbError> {
    let mut tables = Vec::new();
    for row in session.query(TABLES, &[]).await? {
        tables.push(empty(database, &row)?);
    }
    let places = tables.iter().enumerate().map(|(at, table)| (table.name.clone(), at)).collect();
    let mut found = Found { tables, places };
    let checks = found.checks(session.query(checks_sql(flavour), &[]).await?)?;
    found.columns(session.query(COLUMNS, &[]).await?, flavour, &checks)?;
    found.indexes(session.query(&indexes_sql(flavour), &[]).await?)?;
    found.foreign_keys(session.query(FOREIGN_KEYS, &[]).await?)?;
    found.triggers(session.query(TRIGGERS, &[]).await?)?;
    for table in &mut found.tables {
        if table.kind != TableKind::View {
            table.definition = definition(session, table).await?.unwrap_or_default();
        }
    }
    Ok(found.tables)
}

/// The database's size.
pub(super) async fn bytes(session: &mut MySession) -> Result<u64, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS SIGNED) FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA = DATABASE()";
    let rows = session.query(sql, &[]).await?;
    Ok(rows.first().and_then(|row| number(row, 0)).unwrap_or_default())
}

/// What a table is, in one line that changes when anything of it does, or when it was made again; `None`: it is gone. The
/// triggers that are ours aren't part of it.
pub(super) async fn definition(
    session: &mut dyn Session,
    table: &TableInfo,
) -> Result<Option<String>, DbError> {
    let created = match session.query(&format!("SHOW CREATE TABLE {}", Mysql.table(table)), &[]).await {
        Err(error) if error.trouble == Trouble::Schema => return Ok(None),
        other => other?,
    };
    let mut all =
        created.first().map(|row| text(row, 1)).transpose()?.map(without_counter).unwrap_or_default();
    let schema = table.schema.as_ref().map_or(Value::Null, |schema| schema.as_str().into());
    let named = [schema, table.name.as_str().into()];
    let triggers = "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT FROM information_schema.TRIGGERS \
                    WHERE EVENT_OBJECT_SCHEMA = COALESCE(?, DATABASE()) AND EVENT_OBJECT_TABLE = ? \
                    AND LEFT(TRIGGER_NAME, 11) <> 'changeover_' ORDER BY 1";
    for row in session.query(triggers, &named).await? {
        for at in 0..row.len() {
            all.push('\n');
            all.push_str(&text(&row, at)?);
        }
    }
    all.push_str(&capturable::ids(session, &named).await?.join(", "));
    let made = "SELECT SHA2(?, 256), CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES \
                WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
    let [schema, name] = named;
    let rows = session.query(made, &[all.into(), schema, name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(format!("made {}, {}", optional(row, 1)?.unwrap_or_default(), text(row, 0)?)))
}

/// The next number that a table gives out isn't part of what it is.
fn without_counter(sql: String) -> String {
    const COUNTER: &str = " AUTO_INCREMENT=";
    let Some(at) = sql.rfind(COUNTER) else { return sql };
    let after = sql[at + COUNTER.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{after}", &sql[..at])
}

fn empty(database: &str, row: &[Value]) -> Result<TableInfo, DbError> {
    let engine = optional(row, 2)?;
    let kind = match (text(row, 1)?.as_str(), engine.as_deref()) {
        ("BASE TABLE" | "SYSTEM VERSIONED", Some("InnoDB")) => TableKind::Table,
        ("BASE TABLE" | "SYSTEM VERSIONED", _) => TableKind::WithoutTransactions,
        _ => TableKind::View,
    };
    Ok(TableInfo {
        missing_rights: Vec::new(),
        comment: noted(row, 3)?,
        schema: Some(database.to_owned()),
        name: text(row, 0)?,
        kind,
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique: Vec::new(),
        indexes: Vec::new(),
        clauses: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        counter: None,
        row_number: None,
        without_row_number: true,
        strict: true,
        definition: String::new(),
    })
}

/// The tables as they are put together.
struct Found {
    tables: Vec<TableInfo>,
    places: HashMap<String, usize>,
}

impl Found {
    /// The table that a row of the catalogue is of, by its first column.
    fn table(&mut self, row: &[Value]) -> Result<Option<&mut TableInfo>, DbError> {
        let at = self.places.get(&text(row, 0)?);
        Ok(at.and_then(|at| self.tables.get_mut(*at)))
    }

    /// The CHECKs; those that say that a column is JSON are told by themselves, as tables with their columns' names in quotes.
    fn checks(&mut self, rows: Vec<Vec<Value>>) -> Result<Vec<(String, String)>, DbError> {
        let mut json = Vec::new();
        for row in rows {
            let clause = text(&row, 1)?;
            let Some(table) = self.table(&row)? else { continue };
            let column = clause.strip_prefix("json_valid(").and_then(|rest| rest.strip_suffix(')'));
            match column.filter(|column| column.starts_with('`') && column.ends_with('`')) {
                Some(column) => json.push((table.name.clone(), column.to_owned())),
                None => table.clauses.push(format!("CHECK ({clause})")),
            }
        }
        Ok(json)
    }

    fn columns(
        &mut self,
        rows: Vec<Vec<Value>>,
        flavour: Flavour,
        json: &[(String, String)],
    ) -> Result<(), DbError> {
        for row in rows {
            let Some(table) = self.table(&row)? else { continue };
            let name = text(&row, 1)?;
            let is_json = json.iter().any(|(of, column)| *of == table.name && *column == Mysql.name(&name));
            let extra = text(&row, 13)?.to_ascii_lowercase();
            if extra.contains("auto_increment") {
                table.counter = Some(name.clone());
                table.row_number = Some(name.clone());
            }
            if let Some((_, by)) = extra.split_once("on update ") {
                table.clauses.push(format!("ON UPDATE {} of {name}", by.to_ascii_uppercase()));
            }
            table.columns.push(column(&row, name, &extra, is_json, flavour)?);
        }
        Ok(())
    }

    fn indexes(&mut self, rows: Vec<Vec<Value>>) -> Result<(), DbError> {
        for row in rows {
            let Some(table) = self.table(&row)? else { continue };
            let index = text(&row, 1)?;
            if number(&row, 2) != Some(0) {
                if table.indexes.last() != Some(&index) {
                    table.indexes.push(index);
                }
                continue;
            }
            let part = part(table, &row)?;
            let is_primary = index == "PRIMARY";
            if let (true, IndexPart::Column { name, .. }) = (is_primary, &part) {
                table.primary_key.push(name.clone());
            }
            match table.unique.last_mut().filter(|last| last.name == index) {
                Some(last) => last.parts.push(part),
                None => {
                    let origin = if is_primary { Origin::PrimaryKey } else { Origin::Index };
                    let (parts, partial) = (vec![part], None);
                    table.unique.push(UniqueIndex { name: index, origin, parts, partial, deferrable: false });
                }
            }
        }
        Ok(())
    }

    fn foreign_keys(&mut self, rows: Vec<Vec<Value>>) -> Result<(), DbError> {
        let mut last = (String::new(), String::new());
        for row in rows {
            let this = (text(&row, 0)?, text(&row, 1)?);
            let Some(table) = self.table(&row)? else { continue };
            if this != last {
                let unseen = acts_unseen(&text(&row, 1)?, &text(&row, 5)?, &text(&row, 6)?);
                table.foreign_keys.push(ForeignKey {
                    unseen,
                    columns: Vec::new(),
                    parent: text(&row, 3)?,
                    parent_columns: Vec::new(),
                    on_delete: text(&row, 5)?,
                });
                last = this;
            }
            if let Some(key) = table.foreign_keys.last_mut() {
                key.columns.push(text(&row, 2)?);
                key.parent_columns.push(text(&row, 4)?);
            }
        }
        Ok(())
    }

    fn triggers(&mut self, rows: Vec<Vec<Value>>) -> Result<(), DbError> {
        for row in rows {
            let (name, when, what, does) = (text(&row, 1)?, text(&row, 2)?, text(&row, 3)?, text(&row, 4)?);
            if let Some(table) = self.table(&row)? {
                table.triggers.push(TriggerInfo { name, sql: format!("{when} {what} FOR EACH ROW {does}") });
            }
        }
        Ok(())
    }
}

/// A foreign key that changes rows itself: no trigger fires for those.
fn acts_unseen(name: &str, on_delete: &str, on_update: &str) -> Option<String> {
    let acts = |rule: &str| matches!(rule, "CASCADE" | "SET NULL" | "SET DEFAULT");
    let rules = [("ON DELETE", on_delete), ("ON UPDATE", on_update)];
    let acting: Vec<String> = rules
        .into_iter()
        .filter(|(_, rule)| acts(rule))
        .map(|(event, rule)| format!("{event} {rule}"))
        .collect();
    (!acting.is_empty()).then(|| format!("{name} ({})", acting.join(", ")))
}

fn column(
    row: &[Value],
    name: String,
    extra: &str,
    is_json: bool,
    flavour: Flavour,
) -> Result<ColumnInfo, DbError> {
    let narrow = |at: usize| number(row, at).and_then(|n| u32::try_from(n).ok());
    let declared = Declared {
        data_type: text(row, 4)?.to_ascii_lowercase(),
        column_type: text(row, 5)?,
        characters: number(row, 6),
        octets: number(row, 7),
        precision: narrow(8),
        scale: narrow(9),
        fraction: narrow(10).and_then(|n| u8::try_from(n).ok()),
        charset: optional(row, 11)?,
        is_json,
    };
    let of = exact(&declared, flavour);
    let generated = match extra {
        _ if extra.contains("virtual generated") => Generated::Virtual,
        _ if extra.contains("stored generated") || extra.contains("persistent") => Generated::Stored,
        _ => Generated::No,
    };
    Ok(ColumnInfo {
        collation: collation(&declared, &of, optional(row, 12)?),
        as_text: is_address(&declared.data_type),
        declared: if is_json { "json".to_owned() } else { declared.column_type },
        domain: Domain::Exact(Arc::new(ExactType { engine: ENGINE, of })),
        not_null: text(row, 3)? == "NO",
        default: default(optional(row, 2)?, extra, flavour),
        generated,
        computed_by: noted(row, 14)?,
        comment: noted(row, 15)?,
        name,
    })
}

/// As it is compared: `BINARY` where that is by its bytes and nothing else. Most collations that call themselves binary take
/// spaces at the end for nothing.
fn collation(declared: &Declared, of: &Exact, own: Option<String>) -> String {
    let binary = "BINARY".to_owned();
    match of {
        Exact::Uuid => UUIDS.to_owned(),
        // Not by the text that they travel as.
        Exact::Text(_) if is_address(&declared.data_type) => declared.data_type.clone(),
        Exact::Set(_) => SETS.to_owned(),
        Exact::Text(_) | Exact::Json(_) => match own {
            Some(own) if declared.data_type != "char" && orders_by_bytes(&own) => binary,
            Some(own) => own,
            None => binary,
        },
        _ => binary,
    }
}

/// As UTF-8 has them.
fn orders_by_bytes(collation: &str) -> bool {
    let Some((charset, rest)) = collation.split_once('_') else { return collation == "binary" };
    matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii") && matches!(rest, "nopad_bin" | "0900_bin")
}

/// As SQL: MySQL gives a text without its quotes.
fn default(default: Option<String>, extra: &str, flavour: Flavour) -> Option<String> {
    let default = default?;
    let is_sql = flavour.mariadb || extra.contains("default_generated") || default.parse::<f64>().is_ok();
    match default.as_str() {
        "NULL" if flavour.mariadb => None,
        _ if is_sql => Some(default),
        _ => Some(super::syntax::quoted(default.as_bytes())),
    }
}

/// A text that is empty where there is none.
fn noted(row: &[Value], at: usize) -> Result<Option<String>, DbError> {
    Ok(optional(row, at)?.filter(|text| !text.is_empty()))
}

/// A part of an index. The first characters of a column aren't the column: they are an expression over it.
fn part(table: &TableInfo, row: &[Value]) -> Result<IndexPart, DbError> {
    let Some(name) = optional(row, 3)? else {
        let sql = optional(row, 5)?.unwrap_or_default();
        return Ok(IndexPart::Expression { sql, collation: "BINARY".to_owned() });
    };
    let collation =
        table.column(&name).map_or_else(|| "BINARY".to_owned(), |column| column.collation.clone());
    Ok(match number(row, 4) {
        None => IndexPart::Column { name, collation },
        Some(length) => {
            IndexPart::Expression { sql: format!("LEFT({}, {length})", Mysql.name(&name)), collation }
        }
    })
}

pub(super) fn number(row: &[Value], at: usize) -> Option<u64> {
    match row.get(at) {
        Some(Value::Int(n)) => u64::try_from(*n).ok(),
        Some(Value::Uint(n)) => Some(*n),
        _ => None,
    }
}

pub(super) fn text(row: &[Value], at: usize) -> Result<String, DbError> {
    match row.get(at) {
        Some(Value::Text(text)) => Ok(text.clone()),
        // Some of MySQL's own are of no character set.
        Some(Value::Bytes(bytes)) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(DbError::ours(Trouble::Other, format!("the catalogue's column {at} is {other:?}"))),
    }
}

fn optional(row: &[Value], at: usize) -> Result<Option<String>, DbError> {
    if row.get(at).is_none_or(Value::is_null) { Ok(None) } else { text(row, at).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_left_out_and_nothing_else() {
        let sql = "CREATE TABLE `t` (\n  `AUTO_INCREMENT=5` int\n) ENGINE=InnoDB AUTO_INCREMENT=512 DEFAULT CHARSET=utf8mb4";
        let left = without_counter(sql.to_owned());
        assert_eq!(
            left,
            "CREATE TABLE `t` (\n  `AUTO_INCREMENT=5` int\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        );
    }

    #[test]
    fn only_what_is_compared_by_its_bytes_is_called_binary() {
        for name in ["utf8mb4_nopad_bin", "utf8mb4_0900_bin", "ascii_nopad_bin", "binary"] {
            assert!(orders_by_bytes(name), "{name}");
        }
        for name in ["utf8mb4_bin", "utf8mb4_general_ci", "latin1_nopad_bin", "utf8mb4_0900_as_cs"] {
            assert!(!orders_by_bytes(name), "{name}");
        }
    }
}
