//! Other migrations on the same tables, as what they have installed there tells: also while no run of theirs is there.
//!
//! A spec whose name is edited in the midst of its migration is another migration: begun in `old`, beside a side that the
//! first has moved away from, it would take for missing what was written since, and delete it.

use changeover_tables::catalog::TableInfo;
use changeover_tables::plan::{Finding, Severity};

use crate::connect::{Connected, full_name};
use crate::error::ControlError;

/// That no other migration is at work on these tables.
///
/// # Errors
/// [`ControlError::Owned`] with the first; what a database meets.
pub(crate) async fn check(connected: &Connected, migration: &str) -> Result<(), ControlError> {
    match found(connected, migration).await?.into_iter().next() {
        None => Ok(()),
        Some(found) => Err(ControlError::Owned {
            what: format!("store {}: the table {}", found.store, found.table),
            holder: format!("the migration `{}`, which has capture or a fence on it", found.other),
            remedy: remedy(&found.other),
        }),
    }
}

/// The same as what `check` tells.
///
/// # Errors
/// What a database meets.
pub(crate) async fn findings(connected: &Connected, migration: &str) -> Result<Vec<Finding>, ControlError> {
    let finding = |found: Stranger| {
        let is_here = |store: &str, table: &TableInfo| {
            store == found.store && full_name(table).eq_ignore_ascii_case(&found.table)
        };
        let mut tables = connected.plan.tables.iter();
        let uses =
            tables.find(|t| is_here(&t.old.store, &t.old_info) || is_here(&t.new.store, &t.new_info));
        Some(Finding {
            severity: Severity::Error,
            table: uses?.name.clone(),
            column: None,
            what: format!(
                "the migration `{}` has capture or a fence on the table {} of store {}",
                found.other, found.table, found.store
            ),
            remedy: remedy(&found.other),
        })
    };
    Ok(found(connected, migration).await?.into_iter().filter_map(finding).collect())
}

struct Stranger {
    store: String,
    table: String,
    other: String,
}

async fn found(connected: &Connected, migration: &str) -> Result<Vec<Stranger>, ControlError> {
    let mut all = Vec::new();
    for (store, database) in &connected.databases {
        let there = database.strangers(migration, &connected.worked_on(store)).await?;
        all.extend(there.into_iter().map(|(table, other)| Stranger { store: store.clone(), table, other }));
    }
    Ok(all)
}

fn remedy(other: &str) -> String {
    format!(
        "End that one first (`changeover retire`, `abort`, or by hand: the SQL that `changeover check` prints with its spec); \
         if it is this one, give the spec its name back: name = \"{other}\""
    )
}
