//! The key of a mapping: which columns, and by which unique index each side finds a row.

use super::{ColumnPlan, KeyPlan, Notes, Source};
use crate::catalog::{ColumnInfo, Domain, IndexPart, TableInfo, UniqueIndex};
use crate::mapping::{KeyColumn, TableMapping};
use crate::types::Exact;

/// How a side finds and orders its rows by the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIndex {
    /// The index's name.
    pub name: String,
    /// The positions of the key's columns in the order in which the index has them.
    pub order: Vec<usize>,
    /// The collation of each of the key's columns in the index, in the order of the spec's `key`.
    pub collations: Vec<String>,
}

/// The key's columns: as the spec says, or the old table's primary key under the same names.
pub(super) fn columns(mapping: &TableMapping, old: &TableInfo, notes: &mut Notes) -> Option<Vec<KeyColumn>> {
    if !mapping.key.is_empty() {
        return Some(mapping.key.clone());
    }
    if old.primary_key.is_empty() {
        notes.error(
            None,
            format!("the table {} has no primary key, and the mapping names no key", old.name),
            no_key_remedy(old),
        );
        return None;
    }
    Some(old.primary_key.iter().map(|name| KeyColumn { old: name.clone(), new: name.clone() }).collect())
}

/// Looks the key's columns up in the canonical image.
pub(super) fn placed(key: &[KeyColumn], columns: &[ColumnPlan], notes: &mut Notes) -> Option<Vec<KeyPlan>> {
    let mut placed = Vec::with_capacity(key.len());
    for part in key {
        let at = columns.iter().position(|column| column.target.column.eq_ignore_ascii_case(&part.new));
        let Some(at) = at else {
            notes.error(
                Some(&part.new),
                format!("the key's column {} isn't a column of the new table that can be written", part.new),
                "name a column of the new table in `key`",
            );
            return None;
        };
        match &columns[at].source {
            Source::Column(old) if old.eq_ignore_ascii_case(&part.old) => {}
            _ => {
                notes.error(
                    Some(&part.new),
                    format!("the key's column {} is also given by `set`", part.new),
                    "a key is made of columns and constants, not of expressions: take it out of `set`, or out of `key`",
                );
                return None;
            }
        }
        placed.push(KeyPlan { old: part.old.clone(), new: columns[at].target.column.clone(), at });
    }
    Some(placed)
}

pub(super) fn old_index(key: &[KeyColumn], old: &TableInfo, notes: &mut Notes) -> Option<KeyIndex> {
    let names: Vec<&str> = key.iter().map(|part| part.old.as_str()).collect();
    unique_over(old, "old", &names, &[], notes)
}

pub(super) fn new_index<'n>(
    key: &[KeyColumn],
    constants: impl Iterator<Item = &'n str>,
    new: &TableInfo,
    notes: &mut Notes,
) -> Option<KeyIndex> {
    let names: Vec<&str> = key.iter().map(|part| part.new.as_str()).collect();
    unique_over(new, "new", &names, &constants.collect::<Vec<_>>(), notes)
}

fn unique_over(
    table: &TableInfo,
    side: &str,
    key: &[&str],
    constants: &[&str],
    notes: &mut Notes,
) -> Option<KeyIndex> {
    // That a column isn't there is told by itself.
    if key.iter().any(|name| table.column(name).is_none()) {
        return None;
    }
    let found = index_over(table, key, constants);
    if found.is_none() {
        let all = key.iter().chain(constants).copied().collect::<Vec<_>>().join(", ");
        notes.error(
            None,
            format!("`key`: no unique index of the {side} table {} is over the key ({all})", table.name),
            no_key_remedy(table),
        );
    }
    found
}

/// The unique index over all of these columns, and else only over constants; the primary key if it is one.
pub(crate) fn index_over(table: &TableInfo, key: &[&str], constants: &[&str]) -> Option<KeyIndex> {
    table.unique.iter().find_map(|index| fits(index, key, constants))
}

fn fits(index: &UniqueIndex, key: &[&str], constants: &[&str]) -> Option<KeyIndex> {
    if index.partial.is_some() || index.deferrable {
        return None;
    }
    let mut order = Vec::new();
    let mut collations = vec![String::new(); key.len()];
    for part in &index.parts {
        let IndexPart::Column { name, collation } = part else { return None };
        if let Some(at) = key.iter().position(|k| k.eq_ignore_ascii_case(name)) {
            order.push(at);
            collations[at].clone_from(collation);
        } else if !constants.iter().any(|c| c.eq_ignore_ascii_case(name)) {
            return None;
        }
    }
    (order.len() == key.len()).then(|| KeyIndex { name: index.name.clone(), order, collations })
}

/// Whether both sides order their keys by the values alone, in the spec's order.
pub(super) fn same_order(
    key: &[KeyPlan],
    old: (&TableInfo, &KeyIndex),
    new: (&TableInfo, &KeyIndex),
) -> bool {
    let plain = |index: &KeyIndex| {
        index.order.iter().copied().eq(0..key.len())
            && index.collations.iter().all(|c| c.eq_ignore_ascii_case("BINARY"))
    };
    let alike = |part: &KeyPlan| match (old.0.column(&part.old), new.0.column(&part.new)) {
        (Some(a), Some(b)) => {
            a.domain == b.domain || whole(old.0, a).is_some_and(|bounds| whole(new.0, b) == Some(bounds))
        }
        _ => false,
    };
    plain(old.1) && plain(new.1) && key.iter().all(alike)
}

/// The least and the greatest value of a column that holds integers and nothing else: all databases order them alike, and where
/// the bounds are the same, each key of one side is one of the other.
fn whole(table: &TableInfo, column: &ColumnInfo) -> Option<(i64, u64)> {
    match &column.domain {
        Domain::Exact(exact) => match exact.of {
            Exact::Int { min, max } => Some((min, max)),
            _ => None,
        },
        Domain::Integer if table.row_number.as_deref() == Some(column.name.as_str()) => {
            Some((i64::MIN, i64::MAX.unsigned_abs()))
        }
        _ => None,
    }
}

/// The keys that a table could be mapped by, in words.
#[must_use]
pub fn key_choices(table: &TableInfo) -> Vec<String> {
    let usable = |index: &UniqueIndex| {
        let columns = index.columns()?;
        (index.partial.is_none() && !index.deferrable).then(|| {
            let null = columns.iter().any(|c| table.column(c).is_some_and(|c| !c.not_null));
            let primary = index.origin == crate::catalog::Origin::PrimaryKey;
            format!(
                "({}){}",
                columns.join(", "),
                if null && !primary { ", where rows with NULL are refused" } else { "" }
            )
        })
    };
    table.unique.iter().filter_map(usable).collect()
}

fn no_key_remedy(table: &TableInfo) -> String {
    let choices = key_choices(table);
    if choices.is_empty() {
        format!(
            "give it one, as by CREATE UNIQUE INDEX {0}_key ON {0} (…) over columns that are NOT NULL; partial indexes, \
             deferrable constraints and indexes over expressions don't do",
            table.name
        )
    } else {
        format!("these could be the key: {}", choices.join("; "))
    }
}
