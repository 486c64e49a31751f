//! What a PostgreSQL database says of its tables.

use std::collections::HashMap;
use std::sync::Arc;

use changeover::Value;
use tokio_postgres::types::{Kind, Type};

use super::codec::{Codec, exact};
use super::session::{PgSession, meaning};
use super::syntax::{Postgres, SCHEMA};
use crate::catalog::{
    ColumnInfo, Domain, ForeignKey, Generated, IndexPart, MissingRight, Need, Origin, TableInfo, TableKind,
    TriggerInfo, UniqueIndex,
};
use crate::server::session::{DbError, Session, Trouble};
use crate::syntax::Syntax as _;
use crate::types::{Charset, Exact, ExactType, TextType};

/// The tables and views, those first that a name without a schema finds.
const TABLES: &str = "SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', $1::text) \
    ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, 2, 3";

/// Texts of a database whose own collation is C are ordered by their bytes too; where its provider isn't the C library (which
/// older servers don't say), `datcollate` has nothing to do with their order. Every other collation as it stands in SQL, with
/// its schema where it must.
const COLLATION: &str = "CASE WHEN co.oid IS NULL OR (co.collname IN ('C', 'POSIX', 'ucs_basic') \
    AND co.collnamespace = 'pg_catalog'::regnamespace) THEN 'BINARY' \
    WHEN co.oid = '\"default\"'::regcollation AND (SELECT d.datcollate IN ('C', 'POSIX') \
    AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' FROM pg_catalog.pg_database d \
    WHERE d.datname = current_database()) THEN 'BINARY' ELSE co.oid::regcollation::text END";

/// In the place of a collation, for types that have an order of their own: not by their values, nor by the bytes of their text.
pub(super) const OF_THE_TYPE: &str = "OF THE TYPE";

/// Whether a type's values are ordered as the middle form orders them, where no collation says otherwise.
fn is_ordered_by_value(ty: &Type, of: &Exact) -> bool {
    match of {
        Exact::Bool
        | Exact::Int { .. }
        | Exact::Decimal { .. }
        | Exact::Date { .. }
        | Exact::Time(_)
        | Exact::Timestamp(_)
        | Exact::Instant(_)
        | Exact::Uuid
        | Exact::Bytes { .. } => true,
        Exact::Text(_) => is_own_text(ty),
        _ => false,
    }
}

/// Not so `citext`, and what travels as text without being one.
fn is_own_text(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Domain(base) => is_own_text(base),
        _ => matches!(ty.name(), "text" | "varchar" | "bpchar" | "name") && ty.schema() == "pg_catalog",
    }
}

fn columns_sql() -> String {
    format!(
        "SELECT a.attrelid::int8, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, \
         a.attnotnull OR (t.typtype = 'd' AND t.typnotnull), pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
         a.attidentity <> '' OR pg_catalog.pg_get_serial_sequence(pg_catalog.format('%I.%I', n.nspname, c.relname), \
         a.attname) IS NOT NULL OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class s \
         ON s.oid = p.refobjid AND s.relkind = 'S' WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid \
         AND p.refclassid = 'pg_catalog.pg_class'::regclass), a.attgenerated::text, {COLLATION} \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ANY ($1::oid[]) ORDER BY a.attrelid, a.attnum"
    )
}

fn indexes_sql() -> String {
    format!(
        "SELECT i.indrelid::int8, ic.relname::text, i.indisunique AND i.indisvalid, i.indisprimary, \
         (SELECT count(*) FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype = 'u') > 0, \
         a.attname::text, pg_catalog.pg_get_indexdef(i.indexrelid, p.n, true), {COLLATION}, \
         pg_catalog.pg_get_expr(i.indpred, i.indrelid, true), \
         coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false')::boolean AND NOT a.attnotnull \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
         CROSS JOIN LATERAL generate_series(1, i.indnkeyatts::int4) AS p(n) \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.n - 1] AND a.attnum <> 0 \
         LEFT JOIN pg_catalog.pg_collation co ON co.oid = i.indcollation[p.n - 1] \
         WHERE i.indrelid = ANY ($1::oid[]) ORDER BY i.indrelid, i.indisprimary DESC, 2, p.n"
    )
}

const CONSTRAINTS: &str = "SELECT k.conrelid::int8, k.contype::text, pg_catalog.pg_get_constraintdef(k.oid), \
    CASE WHEN k.confrelid = 0 THEN NULL ELSE k.confrelid::regclass::text END, \
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c(n, o) JOIN pg_catalog.pg_attribute a \
    ON a.attrelid = k.conrelid AND a.attnum = c.n ORDER BY c.o), \
    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS c(n, o) JOIN pg_catalog.pg_attribute a \
    ON a.attrelid = k.confrelid AND a.attnum = c.n ORDER BY c.o), k.confdeltype::text \
    FROM pg_catalog.pg_constraint k WHERE k.contype IN ('c', 'f') AND k.conrelid = ANY ($1::oid[]) ORDER BY 1, k.conname";

const TRIGGERS: &str = "SELECT t.tgrelid::int8, t.tgname::text, pg_catalog.pg_get_triggerdef(t.oid, true) \
    FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' \
    AND t.tgname NOT LIKE 'changeover\\_%' AND t.tgrelid = ANY ($1::oid[]) ORDER BY 1, 2";

/// Rights on a table, on its schema, and on the schema that is ours: there it must be usable, or be made.
const RIGHTS: &str = "SELECT c.oid::int8, pg_catalog.pg_get_userbyid(c.relowner)::text, current_user::text, \
    current_database()::text, has_schema_privilege(c.relnamespace, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), \
    has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), \
    pg_catalog.pg_has_role(c.relowner, 'USAGE'), coalesce((SELECT has_schema_privilege(n.oid, 'CREATE') AND \
    has_schema_privilege(n.oid, 'USAGE') FROM pg_catalog.pg_namespace n WHERE n.nspname = 'changeover'), \
    has_database_privilege(current_database(), 'CREATE')) \
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND c.oid = ANY ($1::oid[])";

/// What a table is, in one line that changes when anything of it does: by its number too, so that one that was made again is
/// another. A column's row in the catalogue is of the transaction that last changed it: so `ALTER … TYPE … USING` shows where the
/// type stays the same. The triggers that are ours aren't part of it.
const DEFINITION: &str = "WITH lines AS ( \
    SELECT c.oid AS rel, c.relkind::text || c.relrowsecurity::text || c.relpersistence::text AS line FROM pg_catalog.pg_class c \
    UNION ALL SELECT a.attrelid, concat_ws(' ', 'column', a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    a.attnotnull, a.attidentity, a.attgenerated, a.attcollation, a.xmin, pg_catalog.pg_get_expr(d.adbin, d.adrelid)) \
    FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attnum > 0 AND NOT a.attisdropped \
    UNION ALL SELECT i.indrelid, pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i \
    UNION ALL SELECT k.conrelid, concat_ws(' ', k.conname, pg_catalog.pg_get_constraintdef(k.oid)) FROM pg_catalog.pg_constraint k \
    UNION ALL SELECT t.tgrelid, concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_catalog.pg_trigger t \
    WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'changeover\\_%' \
    UNION ALL SELECT h.inhparent, concat_ws(' ', 'part', h.inhrelid, pg_catalog.pg_get_expr(p.relpartbound, p.oid)) \
    FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid \
    UNION ALL SELECT pg_catalog.to_regclass(n.name)::oid, concat_ws(' ', 'part of', p.parentrelid::oid, p.relid::oid, \
    pg_catalog.pg_get_expr(c.relpartbound, c.oid)) FROM unnest($1::text[]) AS n(name), \
    pg_catalog.pg_partition_tree(pg_catalog.to_regclass(n.name)) AS p JOIN pg_catalog.pg_class c ON c.oid = p.relid) \
    SELECT r::oid::int8, md5(string_agg(line, E'\\n' ORDER BY line)) \
    FROM unnest($1::text[]) AS named(name), pg_catalog.to_regclass(named.name) AS r, lines WHERE lines.rel = r GROUP BY r";

/// The definitions of these tables (as their names stand in SQL), each by the table's own number; those that are gone are left
/// out.
pub(super) async fn definitions(
    session: &mut dyn Session,
    tables: &[String],
) -> Result<Vec<(String, String)>, DbError> {
    let mut all = Vec::with_capacity(tables.len());
    for table in tables {
        let named = Value::Array(Box::new(changeover::value::Array::of(vec![table.as_str().into()])));
        for row in session.query(DEFINITION, &[named]).await? {
            if let [Value::Int(number), Value::Text(digest)] = row.as_slice() {
                all.push((table.clone(), format!("table {number}, {digest}")));
            }
        }
    }
    Ok(all)
}

/// The tables and views of a database.
pub(super) async fn tables(session: &mut PgSession) -> Result<Vec<TableInfo>, DbError> {
    let mut tables = Vec::new();
    let mut at: HashMap<i64, usize> = HashMap::new();
    for row in session.query(TABLES, &[SCHEMA.into()]).await? {
        let kind = match text(&row, 3)?.as_str() {
            "r" | "p" => TableKind::Table,
            "f" => TableKind::Virtual,
            _ => TableKind::View,
        };
        at.insert(number(&row, 0)?, tables.len());
        tables.push(empty(text(&row, 1)?, text(&row, 2)?, kind));
    }
    let numbers: Vec<Value> = at.keys().map(|number| Value::Int(*number)).collect();
    let all = [Value::Array(Box::new(changeover::value::Array::of(numbers)))];
    columns(session, &all, &at, &mut tables).await?;
    indexes(session, &all, &at, &mut tables).await?;
    constraints(session, &all, &at, &mut tables).await?;
    for row in session.query(TRIGGERS, &all).await? {
        let trigger = TriggerInfo { name: text(&row, 1)?, sql: text(&row, 2)? };
        tables[at[&number(&row, 0)?]].triggers.push(trigger);
    }
    rights(session, &all, &at, &mut tables).await?;
    let names: Vec<String> = tables.iter().map(|table| Postgres.table(table)).collect();
    let definitions: HashMap<String, String> = definitions(session, &names).await?.into_iter().collect();
    for (table, name) in tables.iter_mut().zip(&names) {
        table.definition = definitions.get(name).cloned().unwrap_or_default();
    }
    Ok(tables)
}

fn empty(schema: String, name: String, kind: TableKind) -> TableInfo {
    TableInfo {
        schema: Some(schema),
        name,
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
        missing_rights: Vec::new(),
    }
}

async fn columns(
    session: &mut PgSession,
    all: &[Value],
    at: &HashMap<i64, usize>,
    tables: &mut [TableInfo],
) -> Result<(), DbError> {
    let rows = session.query(&columns_sql(), all).await?;
    let mut types: HashMap<i64, Vec<Type>> = HashMap::new();
    for (number, place) in at {
        // A type's parts are told by the driver alone, and to it by a statement.
        let sql = format!("SELECT * FROM {} LIMIT 0", Postgres.table(&tables[*place]));
        let statement = session.client()?.prepare(&sql).await.map_err(|error| meaning(&error))?;
        types.insert(*number, statement.columns().iter().map(|column| column.type_().clone()).collect());
    }
    for row in rows {
        let of = number(&row, 0)?;
        let table = &mut tables[at[&of]];
        let types = types.get(&of).map(Vec::as_slice).unwrap_or_default();
        let Some(ty) = types.get(table.columns.len()) else {
            let what = format!("the columns of {} changed while they were looked at", table.name);
            return Err(DbError::ours(Trouble::Schema, what));
        };
        let modifier = i32::try_from(number(&row, 3)?).unwrap_or(-1);
        let column = column(&row, ty, modifier)?;
        if row.get(6) == Some(&Value::Bool(true)) {
            table.counter.get_or_insert_with(|| column.name.clone());
            table.row_number.get_or_insert_with(|| column.name.clone());
        }
        table.columns.push(column);
    }
    Ok(())
}

fn column(row: &[Value], ty: &Type, modifier: i32) -> Result<ColumnInfo, DbError> {
    let as_text = Codec::of(ty).as_text;
    let of = if as_text { any_text() } else { exact(ty, modifier) };
    let collation = match text(row, 8)? {
        binary if binary == "BINARY" && !is_ordered_by_value(ty, &of) => OF_THE_TYPE.to_owned(),
        collation => collation,
    };
    let generated = if text(row, 7)? == "s" { Generated::Stored } else { Generated::No };
    Ok(ColumnInfo {
        name: text(row, 1)?,
        declared: text(row, 2)?,
        domain: Domain::Exact(Arc::new(ExactType { engine: "postgres", of })),
        not_null: row.get(4) == Some(&Value::Bool(true)),
        // Of a computed column it is the expression.
        default: optional(row, 5)?.filter(|_| generated == Generated::No),
        generated,
        collation,
        as_text,
    })
}

/// What travels as text is text to everybody else.
fn any_text() -> Exact {
    Exact::Text(TextType {
        max_chars: None,
        max_bytes: None,
        nul: false,
        padded: false,
        charset: Charset::Utf8,
    })
}

async fn indexes(
    session: &mut PgSession,
    all: &[Value],
    at: &HashMap<i64, usize>,
    tables: &mut [TableInfo],
) -> Result<(), DbError> {
    for row in session.query(&indexes_sql(), all).await? {
        let table = &mut tables[at[&number(&row, 0)?]];
        let name = text(&row, 1)?;
        if row.get(2) != Some(&Value::Bool(true)) {
            if table.indexes.last() != Some(&name) {
                table.indexes.push(name);
            }
            continue;
        }
        let (is_primary, is_constraint) =
            (row.get(3) == Some(&Value::Bool(true)), row.get(4) == Some(&Value::Bool(true)));
        let mut collation = text(&row, 7)?;
        let column = optional(&row, 5)?.and_then(|name| table.column(&name).cloned());
        if column.is_some_and(|column| column.collation == OF_THE_TYPE) {
            OF_THE_TYPE.clone_into(&mut collation);
        }
        let part = match optional(&row, 5)? {
            // Where two NULLs are the same, as two arrays of them are.
            Some(name) if row.get(9) == Some(&Value::Bool(true)) => {
                IndexPart::Expression { sql: format!("ARRAY[{}]", Postgres.name(&name)), collation }
            }
            Some(name) => IndexPart::Column { name, collation },
            None => IndexPart::Expression { sql: text(&row, 6)?, collation },
        };
        if let (true, IndexPart::Column { name, .. }) = (is_primary, &part) {
            table.primary_key.push(name.clone());
        }
        match table.unique.last_mut().filter(|last| last.name == name) {
            Some(last) => last.parts.push(part),
            None => {
                let origin = match (is_primary, is_constraint) {
                    (true, _) => Origin::PrimaryKey,
                    (_, true) => Origin::Constraint,
                    _ => Origin::Index,
                };
                table.unique.push(UniqueIndex {
                    name,
                    origin,
                    parts: vec![part],
                    partial: optional(&row, 8)?,
                });
            }
        }
    }
    Ok(())
}

async fn constraints(
    session: &mut PgSession,
    all: &[Value],
    at: &HashMap<i64, usize>,
    tables: &mut [TableInfo],
) -> Result<(), DbError> {
    for row in session.query(CONSTRAINTS, all).await? {
        let table = &mut tables[at[&number(&row, 0)?]];
        let Some(parent) = optional(&row, 3)? else {
            table.clauses.push(text(&row, 2)?);
            continue;
        };
        let on_delete = match text(&row, 6)?.as_str() {
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            "r" => "RESTRICT",
            _ => "NO ACTION",
        };
        table.foreign_keys.push(ForeignKey {
            columns: list(&row, 4),
            parent,
            parent_columns: list(&row, 5),
            on_delete: on_delete.to_owned(),
        });
    }
    Ok(())
}

/// What this role may not do with each table: read it, write it, own it, and make the schema of all that is ours.
async fn rights(
    session: &mut PgSession,
    all: &[Value],
    at: &HashMap<i64, usize>,
    tables: &mut [TableInfo],
) -> Result<(), DbError> {
    for row in session.query(RIGHTS, all).await? {
        let table = &mut tables[at[&number(&row, 0)?]];
        let (owner, role, database) = (text(&row, 1)?, text(&row, 2)?, text(&row, 3)?);
        let may = |at: usize| row.get(at) == Some(&Value::Bool(true));
        let (name, to) = (Postgres.table(table), Postgres.name(&role));
        let schema = Postgres.name(table.schema.as_deref().unwrap_or_default());
        let mut lacks = |need: Need, what: String, grant: String| {
            table.missing_rights.push(MissingRight { need, what, grant });
        };
        if !may(4) {
            let what = format!("the role {role} may not use the schema of {name}");
            lacks(Need::Read, what, format!("GRANT USAGE ON SCHEMA {schema} TO {to}"));
        }
        if !may(5) {
            lacks(
                Need::Read,
                format!("the role {role} may not read {name}"),
                format!("GRANT SELECT ON {name} TO {to}"),
            );
        }
        if !may(6) {
            let grant = format!("GRANT INSERT, UPDATE, DELETE ON {name} TO {to}");
            lacks(Need::Write, format!("the role {role} may not write {name}"), grant);
        }
        if !may(7) {
            let what = format!(
                "{name} belongs to {owner}, and {role} isn't a member of it: only an owner may switch triggers on and off"
            );
            lacks(Need::Capture, what, format!("GRANT {} TO {to}", Postgres.name(&owner)));
        }
        if !may(8) {
            let what = format!(
                "the role {role} may not make the schema {SCHEMA} in {database}, where all that is ours has its place"
            );
            let grant = format!("GRANT CREATE ON DATABASE {} TO {to}", Postgres.name(&database));
            lacks(Need::Write, what, grant);
        }
    }
    Ok(())
}

fn list(row: &[Value], at: usize) -> Vec<String> {
    let Some(Value::Array(array)) = row.get(at) else { return Vec::new() };
    let texts = array.elements.iter().filter_map(|element| match element {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

pub(super) fn number(row: &[Value], at: usize) -> Result<i64, DbError> {
    match row.get(at) {
        Some(Value::Int(n)) => Ok(*n),
        other => Err(unexpected(at, other)),
    }
}

pub(super) fn text(row: &[Value], at: usize) -> Result<String, DbError> {
    match row.get(at) {
        Some(Value::Text(text)) => Ok(text.clone()),
        other => Err(unexpected(at, other)),
    }
}

fn optional(row: &[Value], at: usize) -> Result<Option<String>, DbError> {
    if row.get(at).is_none_or(Value::is_null) { Ok(None) } else { text(row, at).map(Some) }
}

fn unexpected(at: usize, found: Option<&Value>) -> DbError {
    DbError::ours(Trouble::Other, format!("the catalogue's column {at} is {found:?}"))
}
