//! Whether a share of the keys may be moved: while it is, both sides take new rows. Where both databases give out the ids,
//! each by its own counter, they could give out the same one twice.

use changeover_api::Spec;
use changeover_api::spec::KeysBy;
use changeover_protocol::Phase;
use changeover_protocol::moves::Mirror;
use changeover_tables::plan::{Finding, Plan, Severity, TablePlan};

use crate::error::ControlError;

const REMEDY: &str = "if the application chooses the id of every new row itself, say so: keys = \"application\" in its [[table]]";

/// The tables whose ids both databases give out: each with the old side's column. Not those for which the spec says that
/// the application does it.
pub(crate) fn counted_twice(spec: &Spec, plan: &Plan) -> Vec<(String, String)> {
    let by_database = |table: &&TablePlan| {
        let said = spec.tables.iter().find(|said| said.name == table.name.as_str());
        said.is_none_or(|said| said.keys == KeysBy::Database)
    };
    let tables = plan.tables.iter().filter(by_database);
    tables
        .filter_map(|table| table.numbered_by_both().map(|part| (table.name.to_string(), part.old.clone())))
        .collect()
}

/// What `check` says of it, where shares are possible at all.
pub(crate) fn findings(spec: &Spec, plan: &Plan) -> Vec<Finding> {
    if spec.mirror != Mirror::DualWrite || !spec.phases.list().any(|phase| phase == Phase::ReverseShadow) {
        return Vec::new();
    }
    let finding = |(table, column): (String, String)| Finding {
        severity: Severity::Warning,
        table: table.into(),
        what: format!(
            "both databases may give out the next {column}: with a share of the keys on each side they could give out one \
             twice, so `advance --share` is refused"
        ),
        column: Some(column),
        remedy: REMEDY.to_owned(),
    };
    counted_twice(spec, plan).into_iter().map(finding).collect()
}

/// Refuses a share of the keys.
///
/// # Errors
/// [`ControlError::Refused`], if there is such a table.
pub(crate) fn refuse(counted_twice: &[(String, String)]) -> Result<(), ControlError> {
    let names: Vec<String> =
        counted_twice.iter().map(|(table, column)| format!("{table}.{column}")).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(ControlError::Refused(format!(
        "a share of the keys can't be moved: both databases may give out the next {}, and with new rows on both sides they \
         could give out one twice. Move all keys at once; or, {REMEDY}",
        names.join(" and ")
    )))
}
