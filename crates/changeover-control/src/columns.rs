//! The columns of the tables that take part, as the plan was made for them.
//!
//! A plan is made once, as a run begins. A column that comes later isn't in it: nothing would carry it, nor miss it, and it
//! would be left behind without a word. So no move forward is made by a plan that no longer fits its tables; and a run
//! doesn't begin with a plan that carries less than the one before it did.

use std::collections::{BTreeMap, BTreeSet};

use changeover::Side;
use changeover_tables::catalog::TableInfo;
use changeover_tables::plan::{Plan, Source, TablePlan};
use serde::{Deserialize, Serialize};

/// The columns of each table, by what it is called; each as `name TYPE`.
pub(crate) type Tables = BTreeMap<String, BTreeSet<String>>;

/// What a plan knows of its tables' columns. It is kept in the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Columns {
    tables: Tables,
    carried: BTreeSet<Carried>,
}

/// A column that is carried as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Carried {
    mapping: String,
    old_table: String,
    old: String,
    new_table: String,
    new: String,
}

/// How a table is called in what is told of it.
pub(crate) fn called(side: Side, store: &str, table: &str) -> String {
    format!("the {side} table {store}:{table}")
}

/// Its columns.
pub(crate) fn of_table(table: &TableInfo) -> BTreeSet<String> {
    table.columns.iter().map(|c| format!("{} {}", c.name, c.declared).trim_end().to_owned()).collect()
}

impl Columns {
    /// As this plan has them.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut columns = Self::default();
        for table in &plan.tables {
            columns.add(table);
        }
        columns
    }

    fn add(&mut self, plan: &TablePlan) {
        let old_table = called(Side::Old, &plan.old.store, &plan.old.table);
        let new_table = called(Side::New, &plan.new.store, &plan.new.table);
        self.tables.insert(old_table.clone(), of_table(&plan.old_info));
        self.tables.insert(new_table.clone(), of_table(&plan.new_info));
        for column in &plan.columns {
            if let Source::Column(old) = &column.source {
                self.carried.insert(Carried {
                    mapping: plan.name.as_str().to_owned(),
                    old_table: old_table.clone(),
                    old: old.clone(),
                    new_table: new_table.clone(),
                    new: column.target.column.clone(),
                });
            }
        }
    }

    /// In which way the tables are others now than they were for this plan; nothing if they are the same.
    pub(crate) fn differ(&self, now: &Tables) -> Option<String> {
        let told: Vec<String> = self
            .tables
            .iter()
            .filter_map(|(table, before)| {
                let Some(after) = now.get(table) else { return Some(format!("{table} is gone")) };
                let list = |these: &BTreeSet<String>, those: &BTreeSet<String>, what: &str| {
                    let names: Vec<&str> = these.difference(those).map(String::as_str).collect();
                    (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
                };
                let changes = [list(after, before, "has got"), list(before, after, "has lost")];
                let changes: Vec<String> = changes.into_iter().flatten().collect();
                (!changes.is_empty()).then(|| format!("{table} {}", changes.join(" and ")))
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Whether a column that the plan was made for is gone, or has another type.
    pub(crate) fn has_lost(&self, now: &Tables) -> bool {
        self.tables.iter().any(|(table, before)| now.get(table).is_none_or(|after| !before.is_subset(after)))
    }

    /// In which way another plan's tables are others; nothing if they are the same.
    pub(crate) fn differ_from(&self, now: &Self) -> Option<String> {
        self.differ(&now.tables)
    }

    /// The columns that the plan before this one carried, that are there still, and that this one has nowhere to carry to.
    pub(crate) fn lost_since(&self, before: &Self) -> Vec<String> {
        before
            .carried
            .difference(&self.carried)
            .filter(|was| self.has(&was.old_table, &was.old) && !self.has(&was.new_table, &was.new))
            .map(|was| {
                format!(
                    "{} has no column {} any more, and {} of {} went there",
                    was.new_table, was.new, was.old, was.old_table
                )
            })
            .collect()
    }

    /// Whether a table has a column, whatever its type.
    fn has(&self, table: &str, column: &str) -> bool {
        let is_it = |known: &String| {
            let name = known.get(..column.len()).unwrap_or_default();
            let rest = known.get(column.len()..).unwrap_or_default();
            name.eq_ignore_ascii_case(column) && (rest.is_empty() || rest.starts_with(' '))
        };
        self.tables.get(table).is_some_and(|columns| columns.iter().any(is_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(new: &[&str], carried: &[(&str, &str)]) -> Columns {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let tables = [("old".to_owned(), set(&["id INTEGER", "n"])), ("new".to_owned(), set(new))];
        let carried = carried.iter().map(|(old, new)| Carried {
            mapping: "t".into(),
            old_table: "old".into(),
            old: (*old).into(),
            new_table: "new".into(),
            new: (*new).into(),
        });
        Columns { tables: tables.into(), carried: carried.collect() }
    }

    #[test]
    fn a_column_that_came_or_went_is_named() {
        let before = columns(&["id INTEGER", "n"], &[]);
        assert_eq!(before.differ(&before.tables), None);
        let after = columns(&["id INTEGER", "nn TEXT"], &[]);
        assert_eq!(before.differ(&after.tables).unwrap(), "new has got nn TEXT and has lost n");
        assert!(before.differ(&Tables::new()).unwrap().contains("old is gone"));
    }

    #[test]
    fn what_was_carried_and_has_nowhere_to_go_is_lost() {
        let before = columns(&["id INTEGER", "n"], &[("id", "id"), ("n", "n")]);
        let after = columns(&["id INTEGER", "nn"], &[("id", "id")]);
        assert_eq!(after.lost_since(&before).len(), 1);
        // It is there, and goes elsewhere by the spec: that is the spec's to say.
        let elsewhere = columns(&["id INTEGER", "n"], &[("id", "id")]);
        assert!(elsewhere.lost_since(&before).is_empty());
        assert!(before.lost_since(&after).is_empty());
    }
}
