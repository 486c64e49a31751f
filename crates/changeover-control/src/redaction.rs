//! Whether `redact` names columns that there are: a slip there would show what was to be hidden. And keys, as they may be shown.

use changeover::engine::Links;
use changeover::{Key, Side, Value};
use changeover_api::Spec;
use changeover_api::spec::{EvidenceSpec, Redacted, nearest};
use changeover_protocol::moves::Mirror;
use changeover_tables::plan::{Finding, Plan, Severity, TablePlan};

/// A value as it may be shown.
pub(crate) fn value(redact: &EvidenceSpec, table: &str, column: &str, value: &Value) -> String {
    if redact.redacts(table, column) { "(redacted)".to_owned() } else { value.to_string() }
}

/// The values of a key as they may be shown.
pub(crate) fn key_values(redact: &EvidenceSpec, links: &Links, key: &Key) -> String {
    let table = key.table.as_str();
    let values: Vec<String> = match links.link(&key.table) {
        Ok(link) => {
            let shape = link.shape(Side::New);
            let columns = shape.key.iter().map(|&at| shape.columns[at].as_str());
            columns.zip(key.values()).map(|(column, of)| value(redact, table, column, of)).collect()
        }
        Err(_) => key.values().iter().map(ToString::to_string).collect(),
    };
    values.join(", ")
}

/// A key with its table, as it may be shown.
pub(crate) fn key(redact: &EvidenceSpec, links: &Links, key: &Key) -> String {
    format!("{}({})", key.table, key_values(redact, links, key))
}

/// What `redact` names and no mapping has, on either side.
pub(crate) fn findings(spec: &Spec, plan: &Plan) -> Vec<Finding> {
    // Of a mapping that has no plan it isn't known which columns it has; that is told by itself.
    if plan.tables.len() < spec.tables.len() {
        return Vec::new();
    }
    spec.redacted().filter_map(|named| finding(named, spec, plan)).collect()
}

fn finding(named: Redacted<'_>, spec: &Spec, plan: &Plan) -> Option<Finding> {
    let tables: Vec<&TablePlan> =
        plan.tables.iter().filter(|t| named.mapping.is_none_or(|name| t.name.as_str() == name)).collect();
    let columns = || {
        let infos = tables.iter().flat_map(|table| [&table.old_info, &table.new_info]);
        infos.flat_map(|info| &info.columns).map(|column| column.name.as_str())
    };
    if columns().any(|column| column.eq_ignore_ascii_case(named.column)) {
        return None;
    }
    // A service's answers, which are compared with dual write, may have fields that no table has.
    let may_be_a_field = spec.mirror == Mirror::DualWrite && named.mapping.is_none();
    let (severity, what) = if may_be_a_field {
        (
            Severity::Warning,
            "no column of any mapping, on either side: it hides only what is called so in answers",
        )
    } else if named.mapping.is_some() {
        (Severity::Error, "no column of that mapping, on either side: what was meant would be shown")
    } else {
        (Severity::Error, "no column of any mapping, on either side: what was meant would be shown")
    };
    let remedy = match nearest(named.column, columns()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => {
            let mut all: Vec<&str> = columns().collect();
            all.sort_unstable();
            all.dedup();
            format!("name a column of either side, or mapping.column; there are: {}", all.join(", "))
        }
    };
    Some(Finding {
        severity,
        table: tables.first()?.name.clone(),
        column: Some(named.column.to_owned()),
        what: format!("`redact` names {}, which is {what}", named.column),
        remedy,
    })
}
