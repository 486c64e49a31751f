//! The plan: what follows from a mapping and from what both databases say of their tables.
//!
//! Whatever stands in the way is a [`Finding`], with what to do about it; a mapping that can't be carried out at all has
//! findings of [`Severity::Error`], and may have no plan.

mod columns;
mod constraints;
mod key;
mod problems;

use std::collections::HashSet;

use changeover::rules::Rule;
use changeover::{TableName, Value};

pub(crate) use self::key::index_over;
pub use self::key::{KeyIndex, key_choices};
use crate::catalog::{Catalog, TableInfo};
use crate::fit::Target;
use crate::mapping::{TableMapping, TableRef};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// May hurt: somebody should look at it.
    Warning,
    /// The migration can't be run like this.
    Error,
}

/// Something about a mapping that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// The mapping.
    pub table: TableName,
    /// The column, where it is about one.
    pub column: Option<String>,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where nothing needs to be done.
    pub remedy: String,
}

/// Where a canonical column's value comes from on the old side.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A column of the old table.
    Column(String),
    /// An expression over the old row.
    Sql(String),
    /// A constant.
    Const(Value),
}

/// One column of the canonical image.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnPlan {
    /// Where its value comes from.
    pub source: Source,
    /// The new table's column.
    pub target: Target,
}

/// One column of the write-back image.
#[derive(Debug, Clone, PartialEq)]
pub struct BackPlan {
    /// Where its value comes from: a column of the new table, or an expression over the new row.
    pub source: Source,
    /// The old table's column.
    pub target: Target,
}

/// One column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlan {
    /// The old table's column.
    pub old: String,
    /// The new table's column.
    pub new: String,
    /// Where it stands in the canonical image.
    pub at: usize,
}

/// By what rows are put into slots.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// The whole key.
    Key,
    /// A column: its name on the old side and on the new one. Its text is that of the new side's value.
    Column {
        /// On the old side.
        old: String,
        /// On the new side.
        new: String,
        /// The new side's column.
        target: Target,
    },
}

/// One mapping as it will be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePlan {
    /// The mapping's name.
    pub name: TableName,
    /// The old table.
    pub old: TableRef,
    /// The new table.
    pub new: TableRef,
    /// What the old table is.
    pub old_info: TableInfo,
    /// What the new table is.
    pub new_info: TableInfo,
    /// The canonical image.
    pub columns: Vec<ColumnPlan>,
    /// The key, in the spec's order.
    pub key: Vec<KeyPlan>,
    /// The unique index of the old table that finds a row by its key.
    pub old_index: KeyIndex,
    /// The unique index of the new table that finds a row by its key and the constants.
    pub new_index: KeyIndex,
    /// Which rows of the old table take part.
    pub where_: Option<String>,
    /// The constants that tell this mapping's rows of the new table from others'.
    pub scope: Vec<(String, Value)>,
    /// The write-back image: the key's columns first.
    pub back: Vec<BackPlan>,
    /// The old table's columns that have no way back: they keep their value, and take the default in new rows.
    pub kept: Vec<String>,
    /// What may differ.
    pub rules: Vec<Rule>,
    /// By what rows are put into slots.
    pub route: Route,
    /// Whether both sides order their keys by the values alone, in the spec's order.
    pub same_order: bool,
    /// Whether texts are ordered by their UTF-8 bytes, on the old side and on the new one.
    pub utf8_order: (bool, bool),
}

impl TablePlan {
    /// The key's column whose values both databases give out themselves, each by a counter of its own.
    #[must_use]
    pub fn numbered_by_both(&self) -> Option<&KeyPlan> {
        let is = |column: &Option<String>, name: &str| {
            column.as_ref().is_some_and(|column| column.eq_ignore_ascii_case(name))
        };
        self.key
            .iter()
            .find(|part| is(&self.old_info.row_number, &part.old) && is(&self.new_info.row_number, &part.new))
    }
}

/// All mappings of a migration, and what was found about them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The mappings that can be carried out.
    pub tables: Vec<TablePlan>,
    /// What was found, the heaviest first.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// Whether nothing stands in the way.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }
}

/// How the follower is kept in step, as far as the plan is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirroring {
    /// Triggers log the keys of changed rows: while it lasts, on whichever side is the authority.
    Capture,
    /// Copied once; nothing is installed on the old side.
    CopyOnly,
}

/// Makes the plan of a migration from its mappings and the catalogues of the stores that they name.
#[must_use]
pub fn plan(mappings: &[TableMapping], catalogs: &[Catalog], mirroring: Mirroring) -> Plan {
    let mut plan = Plan::default();
    for mapping in mappings {
        let mut notes = Notes { table: mapping.name.clone(), findings: Vec::new() };
        let made = table_plan(mapping, mappings, catalogs, &mut notes);
        if let Some((table, old, new)) = made {
            problems::look(&table, mapping, (old, new), mirroring, &mut notes);
            plan.tables.push(table);
        }
        plan.findings.append(&mut notes.findings);
    }
    problems::look_across(mappings, mirroring, &mut plan.findings);
    // What is to be said of a database is said once, not for each of its tables.
    let of_a_database =
        |finding: &Finding| catalogs.iter().any(|catalog| finding.what.contains(&catalog.place));
    let mut said = HashSet::new();
    plan.findings.retain(|finding| !of_a_database(finding) || said.insert(finding.what.clone()));
    plan.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    plan
}

/// Collects what is found about one mapping.
pub(crate) struct Notes {
    table: TableName,
    findings: Vec<Finding>,
}

impl Notes {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        column: Option<&str>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            table: self.table.clone(),
            column: column.map(str::to_owned),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    pub(crate) fn error(&mut self, column: Option<&str>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, column, what, remedy);
    }
}

fn table_plan<'c>(
    mapping: &TableMapping,
    all: &[TableMapping],
    catalogs: &'c [Catalog],
    notes: &mut Notes,
) -> Option<(TablePlan, &'c Catalog, &'c Catalog)> {
    let old = find(&mapping.old, catalogs, false, notes);
    let new = find(&mapping.new, catalogs, old.is_some(), notes);
    let ((old_catalog, old), (new_catalog, new)) = (old?, new?);
    let key = key::columns(mapping, old, notes)?;
    let old_index = key::old_index(&key, old, notes);
    let Some(columns) = columns::canonical(mapping, old, new, &key, notes) else {
        // What else is wrong is told at once: whoever mends the columns would meet it next.
        let _ = key::new_index(&key, mapping.constants().map(|(column, _)| column), new, notes);
        return None;
    };
    let placed: Vec<KeyPlan> = key::placed(&key, &columns, notes)?;
    let scope = columns::scope(mapping, all, new, &columns);
    let new_index = key::new_index(&key, scope.iter().map(|(column, _)| column.as_str()), new, notes);
    let (key, old_index, new_index) = (placed, old_index?, new_index?);
    let (back, kept) = columns::back(mapping, old, new, &key, &columns, notes);
    let route = columns::route(mapping, &columns, new, notes)?;
    let same_order = key::same_order(&key, (old, &old_index), (new, &new_index))
        && old_catalog.utf8_order
        && new_catalog.utf8_order;
    let rules = columns::rules(mapping, &key, &columns, notes);
    let table = TablePlan {
        name: mapping.name.clone(),
        old: mapping.old.clone(),
        new: mapping.new.clone(),
        old_info: old.clone(),
        new_info: new.clone(),
        columns,
        key,
        old_index,
        new_index,
        where_: mapping.where_.clone(),
        scope,
        back,
        kept,
        rules,
        route,
        same_order,
        utf8_order: (old_catalog.utf8_order, new_catalog.utf8_order),
    };
    Some((table, old_catalog, new_catalog))
}

fn find<'c>(
    table: &TableRef,
    catalogs: &'c [Catalog],
    can_be_made: bool,
    notes: &mut Notes,
) -> Option<(&'c Catalog, &'c TableInfo)> {
    let Some(catalog) = catalogs.iter().find(|catalog| catalog.store == table.store) else {
        notes.error(None, format!("there is no store {}", table.store), "name one of the spec's stores");
        return None;
    };
    let Some(info) = catalog.table(table.schema.as_deref(), &table.table) else {
        if can_be_made {
            notes.error(
                None,
                format!("there is no table {table}"),
                "`changeover check` proposes one; `copy` and `run` make it by --create-tables",
            );
            return None;
        }
        let near = catalog.tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
        notes.error(
            None,
            format!("there is no table {table}"),
            if near.is_empty() {
                "the database has no tables".to_owned()
            } else {
                format!("the database has: {near}")
            },
        );
        return None;
    };
    Some((catalog, info))
}
