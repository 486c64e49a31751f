//! For a service that takes part with dual write: from its spec's mappings to what its writes are levelled by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use changeover::engine::{Links, Pair};
use changeover::mapping::TableMapping;
use changeover::store::Store;
use changeover::{Side, StoreError};

use super::{SqliteDatabase, SqliteOptions, SqliteStore};
use crate::plan::{Mirroring, Severity, plan};

/// Opens the SQLite databases of a migration and links its mappings: for `TableMirror::new`, by which a service levels what
/// it writes. `files` are the stores' names in the spec, and where each of them is. Installs nothing: `changeover run` does.
///
/// # Errors
/// A file that can't be opened; [`StoreError::Schema`] for a mapping that can't be carried out.
pub async fn links(
    migration: &str,
    mappings: &[TableMapping],
    files: &[(String, PathBuf)],
) -> Result<Links, StoreError> {
    let mut databases = BTreeMap::new();
    let mut catalogs = Vec::new();
    for (store, path) in files {
        let database = SqliteDatabase::open(store.clone(), path, SqliteOptions::default()).await?;
        catalogs.push(database.catalog().await?);
        databases.insert(store.clone(), database);
    }
    let plan = plan(mappings, &catalogs, Mirroring::Capture);
    if let Some(finding) = plan.findings.iter().find(|finding| finding.severity == Severity::Error) {
        return Err(StoreError::Schema {
            store: String::new(),
            table: finding.table.clone(),
            problem: finding.what.clone(),
            remedy: finding.remedy.clone(),
        });
    }
    let mut stores: BTreeMap<(String, Side), Arc<dyn Store>> = BTreeMap::new();
    for table in &plan.tables {
        for (side, name) in [(Side::Old, &table.old.store), (Side::New, &table.new.store)] {
            let known = (name.clone(), side);
            if let (false, Some(database)) = (stores.contains_key(&known), databases.get(name)) {
                let store = SqliteStore::new(Arc::clone(database), migration, side, &plan).await?;
                stores.insert(known, Arc::new(store));
            }
        }
    }
    let of = |store: &str, side| stores.get(&(store.to_owned(), side)).cloned();
    let pairs = plan.tables.iter().filter_map(|table| {
        Some(Pair {
            table: table.name.clone(),
            old: of(&table.old.store, Side::Old)?,
            new: of(&table.new.store, Side::New)?,
            rules: table.rules.clone(),
        })
    });
    Links::new(pairs.collect())
}
