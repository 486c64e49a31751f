//! Constraints that a follower doesn't keep as the application would, and keys that it takes for others.

use changeover::Side;

use super::problems::word;
use super::{KeyPlan, Notes, Severity, TablePlan};
use crate::catalog::{Catalog, Domain, TableInfo};
use crate::types::Exact;

/// What a follower doesn't ask, or asks in another order than its rows come in.
pub(super) fn look(side: Side, info: &TableInfo, catalog: &Catalog, notes: &mut Notes) {
    // Where triggers aren't silent, that is an error by itself.
    for index in info.unique.iter().filter(|index| index.deferrable && catalog.silences.is_ok()) {
        let columns = index.columns().unwrap_or_default().join(", ");
        notes.add(
            Severity::Warning,
            Some(&columns),
            format!(
                "the unique constraint {} of the {} table {} is deferrable: the database doesn't ask it while the mirror writes, and \
                 two rows with the same value would lie there",
                index.name,
                word(side),
                info.name
            ),
            format!(
                "make it one that isn't: ALTER TABLE {0} DROP CONSTRAINT \"{1}\", ADD UNIQUE ({columns}); `check --data` tells the rows that have the same",
                info.name, index.name
            ),
        );
    }
    for clause in info.clauses.iter().filter(|clause| clause.starts_with("EXCLUDE")) {
        notes.add(
            Severity::Warning,
            None,
            format!(
                "the {} table {} has {clause}: while it follows, rows come one by one, and two that have changed places are refused \
                 by it again and again",
                word(side),
                info.name
            ),
            "a full verification names such rows, and the gates stay shut; drop the constraint on the side that follows, and put it \
             back once that side answers",
        );
    }
}

/// Numbers that the database takes for one, and that are written in two ways.
pub(super) fn without_scale(table: &TablePlan, part: &KeyPlan, notes: &mut Notes) {
    let is_free = |info: &TableInfo, name: &str| {
        info.column(name).is_some_and(|column| match &column.domain {
            Domain::Exact(exact) => matches!(exact.of, Exact::Decimal { scale: None, .. }),
            _ => false,
        })
    };
    if is_free(&table.old_info, &part.old) || is_free(&table.new_info, &part.new) {
        notes.add(
            Severity::Warning,
            Some(&part.old),
            format!(
                "the key's column {} is numeric without a scale: 1.0 and 1.00 are one number to the database, and two keys to the \
                 mirror. A row whose key is written anew with other zeros may be told as missing and as too many",
                part.old
            ),
            format!("give the column a scale on both sides, as ALTER COLUMN {} TYPE numeric(20, 2)", part.old),
        );
    }
}
