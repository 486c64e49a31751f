//! The stores of a migration, by side: what the conductor asks all of them at once.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::engine::{Coverage, Links};
use changeover::store::Store;
use changeover::{Side, StoreError, TableName};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Control, SlotRange};
use changeover_tables::database::Roads;

use super::install::patiently;
use crate::columns::{Columns, Tables};

/// What a store's kind can do beyond the engine's trait: what it carries of ours, and the end of it.
#[async_trait]
pub(crate) trait Keeper: Send + Sync + 'static {
    /// The store's name in the spec.
    fn store(&self) -> &str;

    /// What this migration has installed: each by its kind and name.
    async fn installed(&self) -> Result<Vec<String>, StoreError>;

    /// By which roads its database is read and written.
    async fn roads(&self) -> Result<Roads, StoreError>;

    /// The columns that its tables have now; a table that is gone is left out.
    async fn columns(&self) -> Result<Tables, StoreError>;

    /// For each table with a counter, the next value that it could give out; without a lock.
    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError>;

    /// Raises the counters to at least these; without a lock.
    async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError>;

    /// Removes what this migration has installed, of either side, but for the fence of the side `fenced`. May be repeated.
    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError>;

    /// Tries whether the side's tables can be renamed, and changes nothing.
    async fn try_retiring(&self) -> Result<(), StoreError>;

    /// Renames the side's tables; each by its old and its new name. May be repeated.
    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError>;
}

/// The stores of a migration.
pub(crate) struct Sides {
    /// Every mapping, as the engine sees it.
    pub(crate) links: Arc<Links>,
    old: Vec<Arc<dyn Store>>,
    new: Vec<Arc<dyn Store>>,
    /// The same stores as what they are, by side.
    pub(crate) keepers: Vec<(Side, Arc<dyn Keeper>)>,
    /// The tables, each with its column, whose ids both sides' databases give out.
    pub(crate) counted_twice: Vec<(String, String)>,
    /// The columns that the plan was made for.
    pub(crate) columns: Columns,
}

impl Sides {
    /// The sides of these mappings.
    pub(crate) fn new(
        links: Links,
        keepers: Vec<(Side, Arc<dyn Keeper>)>,
        counted_twice: Vec<(String, String)>,
        columns: Columns,
    ) -> Self {
        let (old, new) = (links.stores(Side::Old), links.stores(Side::New));
        Self { links: Arc::new(links), old, new, keepers, counted_twice, columns }
    }

    /// In which way the tables are others now than those that the plan was made for; nothing if they are the same.
    pub(crate) async fn outdated(&self) -> Result<Option<String>, StoreError> {
        Ok(self.columns.differ(&self.tables_now().await?))
    }

    /// Whether a column is gone that the tables had when the plan was made; it need not be one that is carried.
    pub(crate) async fn has_lost_columns(&self) -> Result<bool, StoreError> {
        Ok(self.columns.has_lost(&self.tables_now().await?))
    }

    async fn tables_now(&self) -> Result<Tables, StoreError> {
        let mut now = Tables::new();
        for (_, keeper) in &self.keepers {
            now.extend(keeper.columns().await?);
        }
        Ok(now)
    }

    /// The mappings whose new table has rows already, with how many; none once anything of this migration's is there, for
    /// then they are its own.
    pub(crate) async fn occupied(&self) -> Result<Vec<(TableName, u64)>, StoreError> {
        for (_, keeper) in self.keepers.iter().filter(|(side, _)| *side == Side::New) {
            if !keeper.installed().await?.is_empty() {
                return Ok(Vec::new());
            }
        }
        let mut occupied = Vec::new();
        for link in self.links.links() {
            let rows = link.store(Side::New).estimate(link.table()).await?;
            if rows > 0 {
                occupied.push((link.table().clone(), rows));
            }
        }
        Ok(occupied)
    }

    /// The stores of a side, each once.
    pub(crate) fn of(&self, side: Side) -> &[Arc<dyn Store>] {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// Says what the mirror covers, from the record: a generation that is under way, or all. With dual write the instances
    /// write rows of chunks that aren't begun: a claim that was dropped could leave such a row behind for good.
    pub(crate) fn cover(&self, record: &Control) {
        for side in [Side::Old, Side::New] {
            let by_chunks = record.settings.mirror == Mirror::Capture;
            let filling =
                record.backfill.filter(|backfill| by_chunks && backfill.toward == side && !backfill.done);
            let coverage =
                filling.map_or(Coverage::All, |backfill| Coverage::Generation(backfill.generation.0));
            self.links.cover(side, coverage);
        }
    }

    /// How many keys of these slots are in the logs of a side; none where there is no log.
    pub(crate) async fn dirty_in(&self, side: Side, slots: SlotRange) -> Result<u64, StoreError> {
        let mut dirty = 0;
        for store in self.of(side) {
            if let Some(log) = store.capture()
                && log.installed().await?
            {
                dirty += log.dirty_in(slots).await?;
            }
        }
        Ok(dirty)
    }

    /// How many entries are in the logs of a side.
    pub(crate) async fn entries(&self, side: Side) -> Result<u64, StoreError> {
        let mut entries = 0;
        for store in self.of(side) {
            if let Some(log) = store.capture()
                && log.installed().await?
            {
                entries += log.depth().await?.entries;
            }
        }
        Ok(entries)
    }

    /// Removes the chunk marks of generations below this one, on both sides.
    pub(crate) async fn forget_generations_below(&self, generation: u64) -> Result<(), StoreError> {
        for store in self.old.iter().chain(&self.new) {
            if let Some(guarded) = store.guarded() {
                patiently(|| guarded.forget_generations_below(generation)).await?;
            }
        }
        Ok(())
    }
}

/// What becomes of rows that are on the new side before the copy.
pub(crate) fn what_becomes_of(rows: u64) -> String {
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    format!(
        "the new table holds {rows} already: the copy deletes those that the old side lacks, and writes the others anew"
    )
}
