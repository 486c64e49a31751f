//! The plan in plain words: what each column becomes, and what can't come back.

mod gap;
mod takes;

use std::collections::BTreeMap;

pub(crate) use self::gap::{gap, is_rare};
pub(crate) use self::takes::takes_all;
use crate::plan::{Finding, Severity, Source, TablePlan};

/// What becomes of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnWords {
    /// The column.
    pub column: String,
    /// What becomes of it, as a sentence without its full stop.
    pub words: String,
}

/// What each column of the new table is made of.
#[must_use]
pub fn forward(table: &TablePlan) -> Vec<ColumnWords> {
    let words = |column: &crate::plan::ColumnPlan| {
        let name = &column.target.column;
        match &column.source {
            Source::Column(old) if old == name => format!("{name} is copied"),
            Source::Column(old) => format!("{name} is {old}"),
            Source::Sql(sql) => format!("{name} becomes {sql}"),
            Source::Const(value) => format!("{name} is always {value}"),
        }
    };
    table.columns.iter().map(|c| ColumnWords { column: c.target.column.clone(), words: words(c) }).collect()
}

/// What each column of the old table is made of on the way back.
#[must_use]
pub fn backward(table: &TablePlan) -> Vec<ColumnWords> {
    let words = |source: &Source, name: &str| match source {
        Source::Column(new) if new == name => format!("{name} is copied back"),
        Source::Column(new) => format!("{name} is {new}"),
        Source::Sql(sql) => format!("{name} becomes {sql}"),
        Source::Const(value) => format!("{name} is always {value}"),
    };
    let mut all: Vec<ColumnWords> = table
        .back
        .iter()
        .map(|c| ColumnWords { column: c.target.column.clone(), words: words(&c.source, &c.target.column) })
        .collect();
    all.extend(table.kept.iter().map(|name| ColumnWords {
        column: name.clone(),
        words: format!("{name} keeps its old value, and takes its default in new rows"),
    }));
    all
}

/// What the types alone say can't come back from the new side to the old one.
#[must_use]
pub fn reversibility(table: &TablePlan) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |severity, column: &str, what: String, remedy: &str| {
        found.push(Finding {
            severity,
            table: table.name.clone(),
            column: Some(column.to_owned()),
            what,
            remedy: remedy.to_owned(),
        });
    };
    for column in &table.columns {
        let name = &column.target.column;
        let goes_back = table.back.iter().any(|back| match &back.source {
            Source::Column(new) => new == name,
            Source::Sql(sql) => words_of(sql).any(|w| w.eq_ignore_ascii_case(name)),
            Source::Const(_) => false,
        });
        if !goes_back && !matches!(column.source, Source::Const(_)) {
            note(
                Severity::Warning,
                name,
                format!(
                    "what the new side writes into {name} doesn't come back: no column of the old table is made of it"
                ),
                "give the old column by `back`",
            );
        }
    }
    let mut left: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for back in &table.back {
        let Source::Column(new) = &back.source else { continue };
        let Some(from) = table.new_info.column(new) else { continue };
        if back.target.not_null && !from.not_null {
            note(
                Severity::Warning,
                new,
                format!(
                    "{new} may be NULL on the new side, and {} may not on the old one: such rows don't come back",
                    back.target.column
                ),
                "give the old column by `back`, as coalesce(…)",
            );
        }
        let gaps = gap(&from.domain, &back.target.domain);
        for what in gaps.iter().flatten() {
            left.entry(what.clone()).or_default().push(new.as_str());
        }
        if gaps.is_none() {
            note(
                Severity::Warning,
                new,
                format!(
                    "{new} holds {} on the new side, {} only {} on the old one: other values don't come back",
                    from.domain.name(),
                    back.target.column,
                    back.target.domain.name()
                ),
                "convert it by `back`, or keep such values out on the new side",
            );
        }
    }
    for (what, columns) in left {
        let columns = columns.join(", ");
        note(
            if is_rare(&what) { Severity::Note } else { Severity::Warning },
            &columns,
            format!(
                "the old side has no place for {what}, which the new side may come to have in {columns}: such rows don't come back"
            ),
            "keep such values out on the new side while there is to be a way back, or convert them by `back`",
        );
    }
    if !table.scope.is_empty() {
        let columns: Vec<&str> = table.scope.iter().map(|(column, _)| column.as_str()).collect();
        let columns = columns.join(", ");
        note(
            Severity::Note,
            &columns,
            format!(
                "rows that are made on the new side come back by their {columns}: where no mapping has its value, nowhere"
            ),
            "see that the service writes no other values while there is to be a way back",
        );
    }
    for index in &table.old_info.unique {
        let Some(columns) = index.columns() else { continue };
        if columns.iter().any(|c| table.kept.iter().any(|k| k.eq_ignore_ascii_case(c))) {
            note(
                Severity::Note,
                &columns.join(", "),
                format!(
                    "({}) is unique on the old side, and not all of it comes back: rows made on the new side may collide there",
                    columns.join(", ")
                ),
                "give these columns by `back`",
            );
        }
    }
    for name in &table.kept {
        note(
            Severity::Note,
            name,
            format!("{name} keeps its old value on the way back, and takes its default in new rows"),
            "",
        );
    }
    found
}

/// The words of an expression, but for those in single quotes; `now` is found there too, where `datetime` looks for it.
pub(crate) fn words_of(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Whether an expression looks into other rows, and so can't be tried with one alone.
pub(crate) fn looks_elsewhere(sql: &str) -> bool {
    words_of(sql).any(|word| word.eq_ignore_ascii_case("select"))
}
