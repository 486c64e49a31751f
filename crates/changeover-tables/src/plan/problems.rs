//! What stands in the way of a mapping, or should be known, beyond its columns and its key.

use super::{Finding, Mirroring, Notes, TablePlan};
use crate::catalog::Catalog;
use crate::mapping::TableMapping;

pub(super) fn look(
    _table: &TablePlan,
    _mapping: &TableMapping,
    _catalogs: (&Catalog, &Catalog),
    _mirroring: Mirroring,
    _notes: &mut Notes,
) {
}

pub(super) fn look_across(_mappings: &[TableMapping], _findings: &mut Vec<Finding>) {}
