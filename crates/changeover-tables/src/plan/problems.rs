//! What stands in the way of a mapping, or should be known, beyond its columns and its key.

use std::collections::BTreeMap;

use changeover::Side;

use super::constraints;
use super::{Finding, Mirroring, Notes, Severity, Source, TablePlan};
use crate::catalog::{Catalog, Domain, IndexPart, Need, TableInfo, TableKind};
use crate::words::{gap, looks_elsewhere, words_of};
use changeover::mapping::{SetExpr, TableMapping};

/// Looks at one mapping.
pub(super) fn look(
    table: &TablePlan,
    mapping: &TableMapping,
    catalogs: (&Catalog, &Catalog),
    mirroring: Mirroring,
    notes: &mut Notes,
) {
    for (side, info, catalog) in
        [(Side::Old, &table.old_info, catalogs.0), (Side::New, &table.new_info, catalogs.1)]
    {
        what_it_is(side, info, notes);
        if side == Side::New || mirroring == Mirroring::Capture {
            writable(side, catalog, notes);
        }
        rights(side, info, mirroring, notes);
        if catalog.kind == "sqlite" {
            collations(side, info, notes);
        }
        if mirroring == Mirroring::Capture {
            constraints::look(side, info, catalog, notes);
            capture(side, info, catalog, notes);
        }
    }
    keys(table, notes);
    types(table, notes);
    left_behind(table, mapping, notes);
    expressions(mapping, notes);
    followers_rules(table, catalogs, notes);
    counters(table, notes);
}

pub(super) const fn word(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

fn what_it_is(side: Side, info: &TableInfo, notes: &mut Notes) {
    let what = match info.kind {
        TableKind::Table => return,
        TableKind::View => "a view",
        TableKind::Virtual => "a virtual table",
        TableKind::Inherited => {
            "one that others inherit from, whose rows are its own to readers and not to triggers"
        }
        TableKind::WithoutTransactions => "a table whose storage engine has no transactions",
    };
    notes.error(
        None,
        format!("the {} side's {} is {what}", word(side), info.name),
        "name the table that holds the rows: only tables can be captured, fenced and written",
    );
}

/// The rights that are missing for what this migration does with the table, each with the SQL that gives it.
fn rights(side: Side, info: &TableInfo, mirroring: Mirroring, notes: &mut Notes) {
    let needed = |need: Need| match need {
        Need::Read => true,
        Need::Write => side == Side::New || mirroring == Mirroring::Capture,
        Need::Capture => mirroring == Mirroring::Capture,
    };
    for right in info.missing_rights.iter().filter(|right| needed(right.need)) {
        notes.error(None, right.what.clone(), format!("{};", right.grant));
    }
}

fn collations(side: Side, info: &TableInfo, notes: &mut Notes) {
    let known = |collation: &str| {
        ["BINARY", "NOCASE", "RTRIM"].iter().any(|known| collation.eq_ignore_ascii_case(known))
    };
    let in_indexes = info.unique.iter().flat_map(|index| &index.parts).map(|part| match part {
        IndexPart::Column { collation, .. } | IndexPart::Expression { collation, .. } => collation,
    });
    let mut used = info.columns.iter().map(|c| &c.collation).chain(in_indexes);
    if let Some(collation) = used.find(|collation| !known(collation)) {
        notes.error(
            None,
            format!(
                "the {} table {} uses the collation {collation}, which the application defines itself",
                word(side),
                info.name
            ),
            "only the application can compare such texts: move to BINARY, NOCASE or RTRIM first",
        );
    }
}

/// A replica isn't what decides, and its writes would be lost, or nobody's.
fn writable(side: Side, catalog: &Catalog, notes: &mut Notes) {
    if let Err((why, remedy)) = &catalog.writable {
        notes.error(
            None,
            format!("the {} side's database {} can't be written: {why}", word(side), catalog.place),
            remedy,
        );
    }
}

fn capture(side: Side, info: &TableInfo, catalog: &Catalog, notes: &mut Notes) {
    if let Err((why, sql)) = &catalog.capturable {
        notes.error(
            None,
            format!("the {} side's database {} can't be captured: {why}", word(side), catalog.place),
            match catalog.kind {
                "sqlite" => format!("run this in it once, while nobody else has it open: {sql}"),
                _ => sql.clone(),
            },
        );
    }
    if let Some((what, remedy)) = &catalog.unseen {
        notes.add(
            Severity::Warning,
            None,
            format!("the {} side's {}: {what}", word(side), info.name),
            remedy.clone(),
        );
    }
    for key in info.foreign_keys.iter().filter_map(|key| key.unseen.as_ref()) {
        notes.error(
            None,
            format!(
                "the {} table {} has the foreign key {key}: no trigger fires for the rows that it changes, so they would be in no \
                 log, and no fence would keep them",
                word(side),
                info.name
            ),
            "make it ON DELETE RESTRICT ON UPDATE RESTRICT, and have the application change these rows itself; or use phases = \
             [\"old\", \"new\"]",
        );
    }
    let has_expression =
        |parts: &[IndexPart]| parts.iter().any(|p| matches!(p, IndexPart::Expression { .. }));
    // Elsewhere nothing removes a row behind a trigger's back.
    let displaces = catalog.kind == "sqlite";
    for index in info.unique.iter().filter(|index| displaces && has_expression(&index.parts)) {
        notes.error(
            None,
            format!(
                "the {} table {} has the unique index {} over an expression: rows that REPLACE removes by it would not be seen",
                word(side),
                info.name,
                index.name
            ),
            "put the expression into a generated column and the index over that column, or use phases = [\"old\", \"new\"]",
        );
    }
}

fn keys(table: &TablePlan, notes: &mut Notes) {
    for (position, part) in table.key.iter().enumerate() {
        constraints::without_scale(table, part, notes);
        let old = table.old_info.column(&part.old);
        if old.is_some_and(|column| !column.not_null) {
            notes.add(
                Severity::Warning,
                Some(&part.old),
                format!("the key's column {} may be NULL: rows with NULL there can't be carried, and are refused by name", part.old),
                "see `check --data` for how many there are",
            );
        }
        let (old_collation, new_collation) =
            (&table.old_index.collations[position], &table.new_index.collations[position]);
        if !old_collation.eq_ignore_ascii_case(new_collation) {
            notes.add(
                Severity::Warning,
                Some(&part.new),
                format!("keys are told apart by {old_collation} on the old side and by {new_collation} on the new one: some may be the same there"),
                "see `check --data` for duplicates of the new key",
            );
        }
    }
}

/// What of the old side's types has no place in the new one's: a line for each kind of values, not for each column.
fn types(table: &TablePlan, notes: &mut Notes) {
    let mut left: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for column in &table.columns {
        let Source::Column(name) = &column.source else { continue };
        let Some(old) = table.old_info.column(name) else { continue };
        let target = &column.target;
        if old.domain == target.domain {
            continue;
        }
        if is_strict(&old.domain) || is_strict(&target.domain) {
            for what in gap(&old.domain, &target.domain).unwrap_or_default() {
                left.entry(what).or_default().push(&target.column);
            }
            continue;
        }
        let declared = |text: &str| if text.is_empty() { "no type".to_owned() } else { text.to_owned() };
        notes.add(
            Severity::Note,
            Some(&target.column),
            format!(
                "{} changes its type from {} to {}: values are converted as the new column would; what isn't {} then is refused by name",
                target.column,
                declared(&old.declared),
                declared(&target.declared),
                target.domain.name()
            ),
            "",
        );
    }
    for (what, columns) in left {
        let columns = columns.join(", ");
        notes.add(
            Severity::Note,
            Some(&columns),
            format!("the new side has no place for {what}, in {columns}: such rows are refused by name"),
            "`check --data` says whether there are any",
        );
    }
}

/// Whether a column's database insists on its type.
const fn is_strict(domain: &Domain) -> bool {
    matches!(domain, Domain::Exact(_))
}

fn left_behind(table: &TablePlan, mapping: &TableMapping, notes: &mut Notes) {
    let named = |column: &str| {
        mapping.set.iter().any(|(_, expr)| match expr {
            SetExpr::Sql(sql) => words_of(sql).any(|w| w.eq_ignore_ascii_case(column)),
            SetExpr::Const(_) => false,
        })
    };
    for column in &table.old_info.columns {
        let carried = table
            .columns
            .iter()
            .any(|c| matches!(&c.source, Source::Column(name) if name.eq_ignore_ascii_case(&column.name)));
        let filters = mapping
            .where_
            .as_ref()
            .is_some_and(|sql| words_of(sql).any(|w| w.eq_ignore_ascii_case(&column.name)));
        let computed = column.generated != crate::catalog::Generated::No;
        if !carried && !filters && !computed && !named(&column.name) {
            let why = if table.new_info.column(&column.name).is_some() {
                "the new table's is made of something else"
            } else {
                "the new table has no such column"
            };
            notes.add(
                Severity::Warning,
                Some(&column.name),
                format!("the old column {} is left behind: {why}", column.name),
                format!("if it is wanted: set = {{ NEW_COLUMN = \"{}\" }}", column.name),
            );
        }
    }
}

/// Expressions whose value isn't the row's alone: the comparison would never end, or the log miss a change.
fn expressions(mapping: &TableMapping, notes: &mut Notes) {
    let set = mapping.set.iter().filter_map(|(column, expr)| match expr {
        SetExpr::Sql(sql) => Some((Some(column.as_str()), sql)),
        SetExpr::Const(_) => None,
    });
    let back = mapping.back.iter().map(|(column, sql)| (Some(column.as_str()), sql));
    for (column, sql) in set.chain(back).chain(mapping.where_.iter().map(|sql| (None, sql))) {
        let has = |words: &[&str]| {
            words_of(sql).find(|w| words.iter().any(|k| w.eq_ignore_ascii_case(k))).map(str::to_owned)
        };
        if let Some(word) = has(&[
            "random",
            "randomblob",
            "current_timestamp",
            "current_time",
            "current_date",
            "now",
            "changes",
            "last_insert_rowid",
        ]) {
            notes.error(
                column,
                format!(
                    "`{sql}` uses {word}: it gives another value each time, and two rows would never be equal"
                ),
                "use an expression over the row's own columns",
            );
        }
        if looks_elsewhere(sql) {
            notes.add(
                Severity::Warning,
                column,
                format!(
                    "`{sql}` looks into other rows: when those change, this row isn't known to have changed"
                ),
                "only verification would find it: use an expression over the row's own columns",
            );
        }
    }
}

/// The new table's own triggers and foreign keys.
fn followers_rules(table: &TablePlan, catalogs: (&Catalog, &Catalog), notes: &mut Notes) {
    for (side, info, catalog) in
        [(Side::New, &table.new_info, catalogs.1), (Side::Old, &table.old_info, catalogs.0)]
    {
        let when =
            if side == Side::New { "while old is the authority" } else { "while new is the authority" };
        let acts =
            !info.triggers.is_empty() || (!info.foreign_keys.is_empty() && !catalog.ignores_foreign_keys);
        if let (Err((why, sql)), true) = (&catalog.silences, acts) {
            notes.error(
                None,
                format!(
                    "the {} table {} has triggers or foreign keys of its own, which would act on what the mirror writes: {why}",
                    word(side),
                    info.name
                ),
                sql.clone(),
            );
            continue;
        }
        for trigger in &info.triggers {
            notes.add(
                Severity::Note,
                None,
                format!(
                    "the trigger {} of the {} table {} is silent for the mirror's writes ({when})",
                    trigger.name,
                    word(side),
                    info.name
                ),
                "what it would write must come from the other side's data",
            );
        }
        for key in &info.foreign_keys {
            notes.add(
                Severity::Note,
                Some(&key.columns.join(", ")),
                format!("the {} table {} refers to {}: the mirror doesn't enforce this while it writes, and levels each table by itself", word(side), info.name, key.parent),
                "see that the other table is mapped too, or that its rows are there",
            );
        }
    }
}

fn counters(table: &TablePlan, notes: &mut Notes) {
    if let (Some(old), None) = (&table.old_info.counter, &table.new_info.counter) {
        notes.add(
            Severity::Warning,
            Some(old),
            format!("the old side never gives out an id of {old} twice (AUTOINCREMENT), the new one may: after its greatest row is deleted"),
            "make the new column INTEGER PRIMARY KEY AUTOINCREMENT too, if ids are kept elsewhere",
        );
    }
}

/// Looks at the mappings together.
pub(super) fn look_across(mappings: &[TableMapping], mirroring: Mirroring, findings: &mut Vec<Finding>) {
    if mirroring == Mirroring::Capture {
        one_side_spread(mappings, findings);
    }
    for (n, a) in mappings.iter().enumerate() {
        for b in &mappings[n + 1..] {
            let mut notes = Notes { table: b.name.clone(), findings: Vec::new() };
            look_at_two(a, b, &mut notes);
            findings.append(&mut notes.findings);
        }
    }
}

/// In a move every store of the side that is left is locked, drained and committed, one after the other. A store that is on
/// both sides would commit what the others have drained into it only with its own lock: a death between two of the commits
/// would lose that.
fn one_side_spread(mappings: &[TableMapping], findings: &mut Vec<Finding>) {
    let both = |store: &str| {
        mappings.iter().any(|m| m.old.store == store) && mappings.iter().any(|m| m.new.store == store)
    };
    for (side, of) in [
        (Side::Old, (|m: &TableMapping| m.old.store.clone()) as fn(&TableMapping) -> String),
        (Side::New, |m: &TableMapping| m.new.store.clone()),
    ] {
        let Some(at) = mappings.iter().find(|m| both(&of(m))) else { continue };
        let Some(other) = mappings.iter().find(|m| of(m) != of(at)) else { continue };
        let mut notes = Notes { table: at.name.clone(), findings: Vec::new() };
        notes.error(
            None,
            format!(
                "the store {} is on both sides, and the {} side has another one, {}: their fences can't be moved together",
                of(at),
                word(side),
                of(other)
            ),
            "make it two migrations, one after the other; or put the new tables into a database of their own",
        );
        findings.append(&mut notes.findings);
        return;
    }
}

fn look_at_two(a: &TableMapping, b: &TableMapping, notes: &mut Notes) {
    if a.name == b.name {
        notes.error(
            None,
            format!("two mappings have the name {}", a.name),
            "give one of them another: [[table]] name = \"…\"",
        );
    }
    if a.new == b.new {
        let apart = a.constants().any(|(column, value)| {
            b.constants().any(|(other, theirs)| other.eq_ignore_ascii_case(column) && theirs != value)
        });
        if !apart {
            notes.error(
                None,
                format!("{} and {} both go to {}, and no constant tells their rows apart: each would take the other's for its own", a.name, b.name, a.new),
                "give both a constant in one column, as set = { source = { const = \"a\" } }",
            );
        }
    }
    if a.old == b.old && a.new != b.new && a.where_ == b.where_ {
        notes.add(
            Severity::Warning,
            None,
            format!("{} feeds both {} and {}: on the way back a row that is deleted in one of them is deleted in {0}, whatever the other has", a.old, a.new, b.new),
            "on the new side, delete in both or in none",
        );
    }
}
