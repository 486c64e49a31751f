//! From the spec's tables to mappings as the stores carry them out.

use changeover::{TableName, Value};
use changeover_api::spec::{KeyColumn, SetColumn, Source, TableRef, TableSpec};
use changeover_tables::mapping as tables;

/// The mappings of a spec, in its order.
#[must_use]
pub(crate) fn mappings(specs: &[TableSpec]) -> Vec<tables::TableMapping> {
    specs.iter().map(mapping).collect()
}

fn mapping(spec: &TableSpec) -> tables::TableMapping {
    let constants: Vec<(&str, &Value)> = spec
        .key
        .iter()
        .filter_map(|column| match column {
            KeyColumn::OldConst { old, value } => Some((old.as_str(), value)),
            KeyColumn::Columns { .. } => None,
        })
        .collect();
    tables::TableMapping {
        name: TableName::from(spec.name.clone()),
        old: table(&spec.old),
        new: table(&spec.new),
        key: spec
            .key
            .iter()
            .filter_map(|column| match column {
                KeyColumn::Columns { old, new } => {
                    Some(tables::KeyColumn { old: old.clone(), new: new.clone() })
                }
                KeyColumn::OldConst { .. } => None,
            })
            .collect(),
        where_: filter(spec.filter.as_deref(), &constants),
        set: spec.set.iter().map(|set| (set.column.clone(), expression(&set.from))).collect(),
        back: constants
            .iter()
            .map(|(old, value)| ((*old).to_owned(), literal(value)))
            .chain(spec.back.iter().map(|back| (back.column.clone(), back_sql(back))))
            .collect(),
        rules: spec.rules.clone(),
        route_by: spec.route_by.clone(),
    }
}

fn table(table: &TableRef) -> tables::TableRef {
    tables::TableRef { store: table.store.clone(), schema: table.schema.clone(), table: table.table.clone() }
}

fn expression(from: &Source) -> tables::SetExpr {
    match from {
        Source::Sql(sql) => tables::SetExpr::Sql(sql.clone()),
        Source::Const(value) => tables::SetExpr::Const(value.clone()),
    }
}

fn back_sql(back: &SetColumn) -> String {
    match &back.from {
        Source::Sql(sql) => sql.clone(),
        Source::Const(value) => literal(value),
    }
}

/// A column of the old key with one value in every row of the mapping is a condition on the rows, and what the row gets
/// on the way back.
fn filter(own: Option<&str>, constants: &[(&str, &Value)]) -> Option<String> {
    let mut parts: Vec<String> =
        constants.iter().map(|(column, value)| format!("{} = {}", quoted(column), literal(value))).collect();
    parts.extend(own.map(|own| format!("({own})")));
    match parts.len() {
        0 => None,
        1 if constants.is_empty() => own.map(str::to_owned),
        _ => Some(parts.join(" AND ")),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value in SQL that every dialect reads.
fn literal(value: &Value) -> String {
    use std::fmt::Write as _;
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bytes(bytes) => {
            let mut hex = String::with_capacity(bytes.len() * 2 + 3);
            hex.push_str("x'");
            for byte in bytes {
                // Writing to a String can't fail.
                let _ = write!(hex, "{byte:02x}");
            }
            hex.push('\'');
            hex
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_of_the_old_key_is_a_condition_and_the_way_back() {
        let region = Value::from("Zoë's");
        assert_eq!(
            filter(Some("a OR b"), &[("region", &region)]).unwrap(),
            "\"region\" = 'Zoë''s' AND (a OR b)"
        );
        assert_eq!(filter(Some("a OR b"), &[]).unwrap(), "a OR b");
        assert_eq!(filter(None, &[]), None);
    }
}
