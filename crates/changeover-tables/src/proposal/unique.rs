//! What is unique in a proposed table: its key, by which the mirror finds a row, and whatever else is unique in the old one.

use changeover::mapping::TableMapping;

use super::{Line, collate, goes_over_as, quoted};
use crate::catalog::{IndexPart, TableInfo, UniqueIndex};
use crate::plan::index_over;

/// The old column that is the row's own number, where it has to be said in the new one's own line: because it counts on
/// (AUTOINCREMENT), or because the rows are known by another key. SQLite numbers rows only by a key of one column.
pub(super) fn row_number(mapping: &TableMapping, old: &TableInfo) -> Option<String> {
    let alone = mapping.constants().next().is_none();
    let number = old.counter.as_ref().or(old.row_number.as_ref()).filter(|_| alone)?;
    let is_key = matches!(old_key(mapping, old).as_slice(), [only] if only.eq_ignore_ascii_case(number));
    if old.counter.is_none() && is_key {
        return None;
    }
    goes_over_as(mapping, old, number).map(|_| number.clone())
}

/// The key, and what else is unique; what can't be is told.
pub(super) fn constraints(mapping: &TableMapping, old: &TableInfo) -> Vec<Line> {
    let mut lines = Vec::new();
    let number = row_number(mapping, old);
    let key = old_key(mapping, old);
    let is_number = |columns: &[&str]| {
        columns.len() == 1 && number.as_ref().is_some_and(|number| number.eq_ignore_ascii_case(columns[0]))
    };
    let key_names: Vec<&str> = key.iter().map(String::as_str).collect();
    if !key.is_empty() && !is_number(&key_names) {
        let collations = index_over(old, &key_names, &[]).map(|index| index.collations).unwrap_or_default();
        let parts = key.iter().enumerate().filter_map(|(at, column)| {
            part(mapping, old, column, collations.get(at).map_or("", String::as_str))
        });
        let kind = if number.is_some() { "UNIQUE" } else { "PRIMARY KEY" };
        lines.push(Line::sql(format!("{kind} ({})", with_constants(mapping, parts.collect()))));
    }
    if old.counter.is_some() && number.is_none() {
        lines.push(Line::comment(
            "not taken over: AUTOINCREMENT, which SQLite knows only for a key of one column".to_owned(),
        ));
    }
    for index in &old.unique {
        let Some(columns) = index.columns().filter(|_| index.partial.is_none()) else {
            lines.push(Line::comment(format!("not taken over: the unique index {}", index.name)));
            continue;
        };
        if !is_number(&columns) && !same(&columns, &key_names) {
            lines.push(also_unique(mapping, old, index, &columns));
        }
    }
    lines
}

fn also_unique(mapping: &TableMapping, old: &TableInfo, index: &UniqueIndex, columns: &[&str]) -> Line {
    let parts: Option<Vec<String>> = index
        .parts
        .iter()
        .map(|one| match one {
            IndexPart::Column { name, collation } => part(mapping, old, name, collation),
            IndexPart::Expression { .. } => None,
        })
        .collect();
    match parts {
        Some(parts) => Line::sql(format!("UNIQUE ({})", with_constants(mapping, parts))),
        None => Line::comment(format!("not taken over: UNIQUE ({})", columns.join(", "))),
    }
}

/// The old side's key, by its columns there.
pub(super) fn old_key(mapping: &TableMapping, old: &TableInfo) -> Vec<String> {
    if mapping.key.is_empty() {
        old.primary_key.clone()
    } else {
        mapping.key.iter().map(|part| part.old.clone()).collect()
    }
}

pub(super) fn same(some: &[&str], others: &[&str]) -> bool {
    some.len() == others.len()
        && some.iter().all(|one| others.iter().any(|other| one.eq_ignore_ascii_case(other)))
}

/// A column of an index under its new name; with the index's collation, where that isn't the column's own.
fn part(mapping: &TableMapping, old: &TableInfo, column: &str, collation: &str) -> Option<String> {
    let name = quoted(&goes_over_as(mapping, old, column)?);
    let own = old.column(column).map_or("", |column| column.collation.as_str());
    let own = if own.is_empty() { "BINARY" } else { own };
    if collation.is_empty() || collation.eq_ignore_ascii_case(own) {
        Some(name)
    } else {
        Some(format!("{name}{}", collate(collation)))
    }
}

/// Constants lead: another mapping's rows, which they tell apart, may have the same values.
fn with_constants(mapping: &TableMapping, parts: Vec<String>) -> String {
    let mut all: Vec<String> =
        mapping.constants().map(|(name, _)| quoted(name)).filter(|name| !parts.contains(name)).collect();
    all.extend(parts);
    all.join(", ")
}
