//! Digests of the memory store's rows, for stores that were told to compute them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::digest::{Digest, Digests, Seeds};
use changeover::store::{Image, KeyRange};
use changeover::value::{Key, TableName};

use super::MemoryStore;

impl MemoryStore {
    /// From now on digests of this store's rows are to be had.
    pub fn compute_digests(&self) {
        self.shared.digests.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Digests for MemoryStore {
    async fn method(&self, _table: &TableName) -> Result<Option<String>, StoreError> {
        Ok(self.shared.digests.load(Ordering::Relaxed).then(|| "memory".to_owned()))
    }

    async fn bounds(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
        most: usize,
    ) -> Result<Vec<Key>, StoreError> {
        self.shared.suffer("bounds").await?;
        let at = self.shared.asked(table)?;
        let range = KeyRange { after: after.cloned(), upto: None };
        let keys = self.shared.keys(at, &range);
        let step = usize::try_from(rows.max(1)).unwrap_or(usize::MAX);
        Ok(keys.into_iter().skip(step - 1).step_by(step).take(most).collect())
    }

    async fn digests(
        &self,
        table: &TableName,
        ranges: &[KeyRange],
        seeds: Seeds,
    ) -> Result<Option<Vec<Digest>>, StoreError> {
        self.shared.suffer("digests").await?;
        let at = self.shared.asked(table)?;
        let mut digests = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut digest = Digest::default();
            for row in self.shared.snapshot(at, range, Image::Canonical) {
                let Ok(row) = row else { return Ok(None) };
                digest.rows += 1;
                for (sum, seed) in digest.sums.iter_mut().zip(seeds) {
                    let mut hasher = DefaultHasher::new();
                    (seed, &row.0).hash(&mut hasher);
                    *sum += i128::from(hasher.finish());
                }
            }
            digests.push(digest);
        }
        Ok(Some(digests))
    }
}
