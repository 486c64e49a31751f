//! The columns of a mapping: the canonical image, the write-back image, what scopes the rows, what routes them.

use changeover::Value;
use changeover::rules::{RoundTo, Rule, RuleKind};

use super::{BackPlan, ColumnPlan, KeyPlan, Notes, Route, Severity, Source};
use crate::catalog::{ColumnInfo, Domain, Generated, TableInfo};
use crate::fit::{Allowed, Target};
use crate::mapping::{KeyColumn, SetExpr, TableMapping};
use crate::types::Exact;

/// The canonical image: those columns of the new table that the mapping gives a value.
pub(super) fn canonical(
    mapping: &TableMapping,
    old: &TableInfo,
    new: &TableInfo,
    key: &[KeyColumn],
    notes: &mut Notes,
) -> Option<Vec<ColumnPlan>> {
    let mut sound = known_columns(mapping, old, new, key, notes);
    let mut columns = Vec::new();
    for column in &new.columns {
        let set = mapping.set.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        let from_key = key.iter().find(|part| part.new.eq_ignore_ascii_case(&column.name));
        let source = match (set, from_key) {
            (Some((_, SetExpr::Sql(sql))), _) => Source::Sql(sql.clone()),
            (Some((_, SetExpr::Const(value))), _) => Source::Const(value.clone()),
            (None, Some(part)) => Source::Column(old.column(&part.old)?.name.clone()),
            (None, None) => match old.column(&column.name) {
                Some(same) if !is_renamed_key(key, &same.name) => Source::Column(same.name.clone()),
                _ => {
                    sound &= without_source(column, old, notes);
                    continue;
                }
            },
        };
        if column.generated != Generated::No {
            let what =
                format!("the new column {} is computed by the database, and isn't written", column.name);
            if set.is_some() || from_key.is_some() {
                notes.error(Some(&column.name), what, "take it out of `set` and `key`");
                sound = false;
            } else {
                notes.add(Severity::Note, Some(&column.name), what, "");
            }
            continue;
        }
        let carry = carries(&mapping.rules, &column.name, new);
        let allowed = match from_key {
            // Rows are found by it, exactly.
            Some(_) => Allowed::default(),
            None => allowed(&mapping.rules, &column.name),
        };
        columns.push(ColumnPlan { source, target: Target::of(column, new, carry, allowed) });
    }
    sound.then_some(columns)
}

/// A key column that is called otherwise on the new side doesn't also map to a column of its own name there.
fn is_renamed_key(key: &[KeyColumn], old: &str) -> bool {
    key.iter().any(|part| part.old.eq_ignore_ascii_case(old) && !part.new.eq_ignore_ascii_case(old))
}

fn carries(rules: &[Rule], column: &str, table: &TableInfo) -> bool {
    !table.strict && rules.iter().any(|r| r.kind == RuleKind::Carry && r.column.eq_ignore_ascii_case(column))
}

/// What the rules let this column of the new table lose.
fn allowed(rules: &[Rule], column: &str) -> Allowed {
    let of_column = rules.iter().filter(|rule| rule.column.eq_ignore_ascii_case(column));
    let mut allowed = Allowed::default();
    for rule in of_column {
        match rule.kind {
            RuleKind::Round(unit) => {
                let digits = match unit {
                    RoundTo::Second => 0,
                    RoundTo::Millisecond => 3,
                    RoundTo::Microsecond => 6,
                };
                allowed.round = Some(allowed.round.map_or(digits, |other| other.min(digits)));
            }
            RuleKind::Tolerance(by) => {
                allowed.tolerance = Some(allowed.tolerance.map_or(by, |other| other.max(by)));
            }
            _ => {}
        }
    }
    allowed
}

/// Every name that the mapping uses is a column.
fn known_columns(
    mapping: &TableMapping,
    old: &TableInfo,
    new: &TableInfo,
    key: &[KeyColumn],
    notes: &mut Notes,
) -> bool {
    let mut sound = true;
    let mut want = |table: &TableInfo, side: &str, name: &str, place: &str| {
        if table.column(name).is_none() {
            let all = table.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
            notes.error(
                Some(name),
                format!("`{place}` names {name}, which isn't a column of the {side} table {}", table.name),
                format!("its columns: {all}"),
            );
            sound = false;
        }
    };
    for part in key {
        want(old, "old", &part.old, "key");
        want(new, "new", &part.new, "key");
    }
    for (name, _) in &mapping.set {
        want(new, "new", name, "set");
    }
    for (name, _) in &mapping.back {
        want(old, "old", name, "back");
    }
    for rule in &mapping.rules {
        want(new, "new", &rule.column, "rules");
    }
    sound
}

/// A new column that the mapping gives nothing: fine if it has a default or may be NULL.
fn without_source(column: &ColumnInfo, old: &TableInfo, notes: &mut Notes) -> bool {
    if column.generated != Generated::No {
        return true;
    }
    if column.not_null && column.default.is_none() {
        notes.error(
            Some(&column.name),
            format!(
                "the new column {} is NOT NULL, without a default, and the old table {} has no such column",
                column.name, old.name
            ),
            format!("give it a value: set = {{ {} = \"…\" }}, or a default", column.name),
        );
        return false;
    }
    let takes = column.default.as_ref().map_or_else(|| "NULL".to_owned(), |d| format!("its default, {d}"));
    notes.add(
        Severity::Note,
        Some(&column.name),
        format!(
            "the new column {} isn't given a value: new rows take {takes}; the mirror never touches it",
            column.name
        ),
        "",
    );
    true
}

/// The constants by which the mapping knows its rows of the new table: those on the new key, and those that every mapping
/// onto that table sets.
pub(super) fn scope(
    mapping: &TableMapping,
    all: &[TableMapping],
    new: &TableInfo,
    columns: &[ColumnPlan],
) -> Vec<(String, Value)> {
    let onto_same: Vec<&TableMapping> = all
        .iter()
        .filter(|m| m.new.store == mapping.new.store && m.new.schema == mapping.new.schema)
        .filter(|m| m.new.table.eq_ignore_ascii_case(&mapping.new.table))
        .collect();
    let sets = |m: &TableMapping, name: &str| m.constants().any(|(c, _)| c.eq_ignore_ascii_case(name));
    columns
        .iter()
        .filter_map(|column| match &column.source {
            Source::Const(value) => Some((column.target.column.clone(), value.clone())),
            _ => None,
        })
        .filter(|(name, _)| {
            let in_key = new.primary_key.iter().any(|k| k.eq_ignore_ascii_case(name));
            in_key || (onto_same.len() > 1 && onto_same.iter().all(|m| sets(m, name)))
        })
        .collect()
}

/// The write-back image: the key, what is given by `back`, and what has the same name on both sides; and what is left.
pub(super) fn back(
    mapping: &TableMapping,
    old: &TableInfo,
    new: &TableInfo,
    key: &[KeyPlan],
    columns: &[ColumnPlan],
    notes: &mut Notes,
) -> (Vec<BackPlan>, Vec<String>) {
    let mut image = Vec::new();
    for part in key {
        if let Some(column) = old.column(&part.old) {
            let carry = carries(&mapping.rules, &part.new, old);
            image.push(BackPlan {
                source: Source::Column(part.new.clone()),
                target: Target::of(column, old, carry, Allowed::default()),
            });
        }
    }
    let mut kept = Vec::new();
    for column in &old.columns {
        if column.generated != Generated::No || key.iter().any(|p| p.old.eq_ignore_ascii_case(&column.name)) {
            continue;
        }
        let given = mapping.back.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        let same = columns
            .iter()
            .find(|c| matches!(&c.source, Source::Column(name) if name.eq_ignore_ascii_case(&column.name)));
        let source = match (given, same) {
            (Some((_, sql)), _) => Source::Sql(sql.clone()),
            (None, Some(same)) => Source::Column(same.target.column.clone()),
            (None, None) => {
                kept.push(column.name.clone());
                if column.not_null && column.default.is_none() {
                    notes.add(
                        Severity::Warning,
                        Some(&column.name),
                        format!("the old column {} is NOT NULL, without a default, and has no way back: rows that are made on the new side can't be written to the old one", column.name),
                        format!("back = {{ {} = \"…\" }}", column.name),
                    );
                }
                continue;
            }
        };
        let carry = same.is_some_and(|c| carries(&mapping.rules, &c.target.column, old));
        let allowed = same.map(|c| allowed(&mapping.rules, &c.target.column)).unwrap_or_default();
        image.push(BackPlan { source, target: Target::of(column, old, carry, allowed) });
    }
    for (name, _) in &mapping.back {
        if key.iter().any(|p| p.old.eq_ignore_ascii_case(name)) {
            notes.error(
                Some(name),
                format!("`back` gives the key's column {name}"),
                "take it out of `back`: the key goes back by itself",
            );
        } else if old.column(name).is_some_and(|c| c.generated != Generated::No) {
            notes.error(
                Some(name),
                format!("`back` gives {name}, which the database computes"),
                "take it out of `back`",
            );
        }
    }
    let _ = new;
    (image, kept)
}

/// The rules, with their columns as the new table spells them. One that does nothing is told.
pub(super) fn rules(
    mapping: &TableMapping,
    key: &[KeyPlan],
    columns: &[ColumnPlan],
    notes: &mut Notes,
) -> Vec<Rule> {
    let mut kept = Vec::new();
    let mut idle = |rule: &Rule, what: String, remedy: &str| {
        notes.add(Severity::Warning, Some(&rule.column), what, remedy);
    };
    for rule in &mapping.rules {
        let Some(column) = columns.iter().find(|c| c.target.column.eq_ignore_ascii_case(&rule.column)) else {
            let what = format!("a rule is for {}, which isn't carried, and so isn't compared", rule.column);
            idle(rule, what, "take the rule out");
            continue;
        };
        let name = &column.target.column;
        if rule.kind != RuleKind::Carry && key.iter().any(|part| part.new == *name) {
            let what = format!(
                "`rules`: {name} is the key's, and rows are found by its exact value: this rule does nothing"
            );
            idle(rule, what, "take the rule out");
            continue;
        }
        if let Some(for_what) = never_asked(rule, column, mapping) {
            let holds = column.target.domain.name();
            let what =
                format!("`rules`: this one is for {for_what}, and {name} holds {holds}: it does nothing");
            idle(rule, what, "take the rule out; numbers may differ by tolerance = …");
        }
        kept.push(Rule { column: name.clone(), kind: rule.kind.clone() });
    }
    kept
}

/// What a rule is for, where its column never holds that.
fn never_asked(rule: &Rule, column: &ColumnPlan, mapping: &TableMapping) -> Option<&'static str> {
    let carried = mapping
        .rules
        .iter()
        .any(|other| other.kind == RuleKind::Carry && other.column.eq_ignore_ascii_case(&rule.column));
    match (&rule.kind, &column.target.domain) {
        _ if carried => None,
        (RuleKind::Round(_), Domain::Integer | Domain::Real | Domain::Number | Domain::Bytes) => {
            Some("timestamps as text")
        }
        (RuleKind::Tolerance(_), Domain::Bytes) => Some("numbers"),
        (RuleKind::Round(_), Domain::Exact(exact)) => match exact.of {
            Exact::Time(_)
            | Exact::Timestamp(_)
            | Exact::Instant(_)
            | Exact::Interval { .. }
            | Exact::Text(_) => None,
            _ => Some("times"),
        },
        (RuleKind::Tolerance(_), Domain::Exact(exact)) => match exact.of {
            Exact::Int { .. }
            | Exact::Decimal { .. }
            | Exact::Single { .. }
            | Exact::Real { .. }
            | Exact::Text(_) => None,
            _ => Some("numbers"),
        },
        _ => None,
    }
}

/// By which column rows are put into slots.
pub(super) fn route(
    mapping: &TableMapping,
    columns: &[ColumnPlan],
    new: &TableInfo,
    notes: &mut Notes,
) -> Option<Route> {
    let Some(name) = &mapping.route_by else { return Some(Route::Key) };
    let by_new = columns.iter().find(|c| c.target.column.eq_ignore_ascii_case(name));
    let by_old =
        columns.iter().find(|c| matches!(&c.source, Source::Column(old) if old.eq_ignore_ascii_case(name)));
    match by_new.or(by_old) {
        Some(ColumnPlan { source: Source::Column(old), target }) => {
            Some(Route::Column { old: old.clone(), new: target.column.clone(), target: target.clone() })
        }
        Some(_) => {
            notes.error(
                Some(name),
                format!("`route_by` names {name}, which `set` computes"),
                "a slot key is a column of both tables, so that both sides' triggers can log it",
            );
            None
        }
        None => {
            notes.error(
                Some(name),
                format!(
                    "`route_by` names {name}, which isn't a column that the mapping carries from {} to {}",
                    mapping.old, new.name
                ),
                "name a column that is in both tables",
            );
            None
        }
    }
}
