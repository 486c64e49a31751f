//! `--create-tables`: makes the new tables that aren't there, as `check` proposes them.

use changeover_api::Spec;
use changeover_tables::catalog::{Catalog, TableInfo, TableKind};
use changeover_tables::mapping::TableRef;
use changeover_tables::plan::Mirroring;
use changeover_tables::proposal::{Proposed, proposed_table};

use crate::connect::{Connected, Elsewhere};
use crate::error::ControlError;

/// A new table that isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTable {
    /// The mapping.
    pub mapping: String,
    /// The table.
    pub table: TableRef,
    /// What would make it.
    pub proposed: Proposed,
}

/// Makes every new table that is missing, and nothing else. Those that were made.
///
/// # Errors
/// A store that can't be reached; a table that has no key, or a column whose type doesn't follow from the old one, before
/// anything is made; what the database says.
pub async fn create_tables(spec: &Spec) -> Result<Vec<MissingTable>, ControlError> {
    let connected = Connected::open(spec, Mirroring::CopyOnly, &Elsewhere::new()).await?;
    let made = create_in(&connected).await;
    connected.close().await;
    made
}

async fn create_in(connected: &Connected) -> Result<Vec<MissingTable>, ControlError> {
    let missing = missing(connected);
    for one in &missing {
        if !one.proposed.to_choose.is_empty() {
            return Err(ControlError::Refused(format!(
                "{} can't be made by --create-tables: the type of {} doesn't follow from one column of the old table. `changeover \
                 check` shows the CREATE TABLE: choose the type there, and make the table by hand",
                one.table,
                one.proposed.to_choose.join(", ")
            )));
        }
    }
    let mut made: Vec<MissingTable> = Vec::new();
    for one in missing {
        // Several mappings may go to one table; what the first is made of has to do for the others, which the plan says.
        if made.iter().any(|before| before.table == one.table) {
            continue;
        }
        if let Some(database) = connected.databases.get(&one.table.store) {
            database.make_table(&one.proposed.sql).await?;
            made.push(one);
        }
    }
    Ok(made)
}

/// The new tables that aren't there, where the old ones are, and have a key.
pub(super) fn missing(connected: &Connected) -> Vec<MissingTable> {
    let mut missing = Vec::new();
    for mapping in &connected.mappings {
        let (Some((old_in, Some(old))), Some((new_in, None))) =
            (find(connected, &mapping.old), find(connected, &mapping.new))
        else {
            continue;
        };
        let has_key = !mapping.key.is_empty() || !old.primary_key.is_empty();
        if old.kind == TableKind::Table && has_key {
            missing.push(MissingTable {
                mapping: mapping.name.to_string(),
                table: mapping.new.clone(),
                proposed: proposed_table(mapping, (old_in.engine, old), new_in.engine),
            });
        }
    }
    missing
}

/// The database that a table should be in, and the table if it is there.
fn find<'c>(connected: &'c Connected, of: &TableRef) -> Option<(&'c Catalog, Option<&'c TableInfo>)> {
    let catalog = connected.catalogs.iter().find(|catalog| catalog.store == of.store)?;
    Some((catalog, catalog.table(of.schema.as_deref(), &of.table)))
}
