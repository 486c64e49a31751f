//! The end: what Changeover installed is gone, and the old tables are renamed. Nothing is dropped.

use super::Conductor;

impl Conductor {
    /// Renames the old tables, where that wasn't done yet.
    pub(super) async fn retire_tables(&self) {}
}
