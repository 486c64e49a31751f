//! The memory store as a [`Store`]: reading.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::capture::CaptureLog;
use changeover::store::conditional::Conditional;
use changeover::store::digest::Digests;
use changeover::store::fence::Fence;
use changeover::store::guard::Guarded;
use changeover::store::{
    BatchBudget, Identity, Image, KeyRange, Refusal, RowBatch, RowStream, Rows, Store, StoreInfo, TableShape,
};
use changeover::value::{Key, Row, TableName};
use changeover_protocol::Side;
use tokio::time::Instant;

use super::data::SortKey;
use super::{MemoryStore, Sabotage, Shared};

impl Shared {
    /// The place of a table that the engine asks for.
    pub(super) fn asked(&self, table: &TableName) -> Result<usize, StoreError> {
        let place = self.tables.iter().position(|t| t.mapping.table == *table);
        place.ok_or_else(|| StoreError::Schema {
            store: self.info.name.clone(),
            table: table.clone(),
            problem: "isn't here".into(),
            remedy: "Name one that is.".into(),
        })
    }

    /// A row in the image that was asked for.
    pub(super) fn image(&self, at: usize, row: &Row, image: Image) -> Result<Option<Row>, Refusal> {
        match (image, self.info.side) {
            (Image::Back, Side::New) => Ok(Some((self.tables[at].mapping.back)(row))),
            (Image::Back, Side::Old) => panic!("the old side has no write-back image"),
            (Image::Canonical, _) => self.canonical(at, row).map_err(|(column, why)| Refusal {
                key: self.key_of_raw(at, row),
                column: Some(column),
                value: None,
                why,
            }),
        }
    }

    /// Milliseconds on the runtime's clock, which tests pause.
    pub(super) fn now_ms(&self) -> i64 {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let now = Instant::now().into_std();
        let since = now.saturating_duration_since(*START.get_or_init(|| now));
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn bounds(&self, at: usize, range: &KeyRange) -> (Bound<SortKey>, Bound<SortKey>) {
        let sort = |key: &Key| self.tables[at].sort(key.values().to_vec());
        let after = range.after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(sort(key)));
        let upto = range.upto.as_ref().map_or(Bound::Unbounded, |key| Bound::Included(sort(key)));
        (after, upto)
    }

    /// The keys of a range, in the store's order.
    pub(super) fn keys(&self, at: usize, range: &KeyRange) -> Vec<Key> {
        let rows = self.snapshot(at, range, Image::Canonical);
        rows.into_iter()
            .map(|row| match row {
                Ok(row) => self.shapes[at].key_of(&row),
                Err(refusal) => refusal.key,
            })
            .collect()
    }

    /// The rows of a range, as they are now.
    pub(super) fn snapshot(&self, at: usize, range: &KeyRange, image: Image) -> Vec<Result<Row, Refusal>> {
        let (after, upto) = self.bounds(at, range);
        if let (Bound::Excluded(a), Bound::Included(b)) = (&after, &upto)
            && a >= b
        {
            return Vec::new();
        }
        let table = self.seen(at);
        let rows = table.rows.range((after, upto));
        rows.filter_map(|(_, row)| self.image(at, row, image).transpose()).collect()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.shared.info
    }

    fn tables(&self) -> &[TableShape] {
        &self.shared.shapes
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.shared.suffer("identity").await?;
        let tables = self.shared.shapes.iter();
        Ok(Identity {
            log: None,
            server: self.state().server.clone(),
            tables: tables.map(|shape| (shape.table.clone(), shape.columns.join(", "))).collect(),
        })
    }

    async fn read_within(
        &self,
        table: &TableName,
        keys: &[Key],
        image: Image,
        bytes: usize,
    ) -> Result<Rows, StoreError> {
        self.shared.suffer("read").await?;
        let at = self.shared.asked(table)?;
        let mut answer = Rows::default();
        let seen = self.shared.breaks(Sabotage::LaggingReads).then(|| self.shared.seen(at));
        let state = self.state();
        let mut size = 0;
        for key in keys {
            if size >= bytes {
                break;
            }
            let row = seen
                .as_ref()
                .unwrap_or(&state.tables[at])
                .rows
                .get(&self.shared.tables[at].sort(key.values().to_vec()));
            match row.map(|row| self.shared.image(at, row, image)) {
                Some(Ok(row)) => answer.rows.push(row),
                Some(Err(refusal)) => {
                    answer.refused.push(refusal);
                    answer.rows.push(None);
                }
                None => answer.rows.push(None),
            }
            size += answer.last_size();
        }
        self.shared.largest_read.fetch_max(size, Ordering::Relaxed);
        Ok(answer)
    }

    async fn scan(
        &self,
        table: &TableName,
        range: &KeyRange,
        image: Image,
        budget: BatchBudget,
    ) -> Result<RowStream, StoreError> {
        self.shared.suffer("scan").await?;
        let at = self.shared.asked(table)?;
        let rows = self.shared.snapshot(at, range, image);
        let (sender, stream) = RowStream::channel(self.shared.info.name.clone(), table.clone());
        let store = self.clone();
        tokio::spawn(async move {
            let mut batch = RowBatch::default();
            let mut bytes = 0;
            for row in rows {
                match row {
                    Ok(row) => {
                        bytes += row.size();
                        batch.rows.push(row);
                    }
                    Err(refusal) => batch.refused.push(refusal),
                }
                if batch.rows.len() + batch.refused.len() >= budget.rows || bytes >= budget.bytes {
                    bytes = 0;
                    if let Err(error) = store.shared.suffer("batch").await {
                        return sender.fail(error).await;
                    }
                    if !sender.send(std::mem::take(&mut batch)).await {
                        return;
                    }
                }
            }
            if !(batch.rows.is_empty() && batch.refused.is_empty()) {
                let _wanted = sender.send(batch).await;
            }
            sender.end().await;
        });
        Ok(stream)
    }

    async fn cut(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Option<Key>, StoreError> {
        self.shared.suffer("cut").await?;
        let at = self.shared.asked(table)?;
        let range = KeyRange { after: after.cloned(), upto: None };
        let (after, upto) = self.shared.bounds(at, &range);
        let state = self.state();
        let nth = state.tables[at].rows.range((after, upto)).nth(rows.saturating_sub(1) as usize);
        Ok(nth.map(|(sort, _)| Key::composite(table.clone(), sort.values.clone())))
    }

    async fn locate(
        &self,
        table: &TableName,
        keys: &[Key],
        bounds: &[Key],
    ) -> Result<Vec<usize>, StoreError> {
        self.shared.suffer("locate").await?;
        let at = self.shared.asked(table)?;
        let sort = |key: &Key| self.shared.tables[at].sort(key.values().to_vec());
        let bounds: Vec<SortKey> = bounds.iter().map(sort).collect();
        Ok(keys.iter().map(|key| bounds.partition_point(|bound| *bound < sort(key))).collect())
    }

    async fn estimate(&self, table: &TableName) -> Result<u64, StoreError> {
        self.shared.suffer("estimate").await?;
        let at = self.shared.asked(table)?;
        Ok(self.state().tables[at].rows.len() as u64)
    }

    fn guarded(&self) -> Option<&dyn Guarded> {
        (!self.shared.conditional).then_some(self)
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        self.shared.conditional.then_some(self)
    }

    fn capture(&self) -> Option<&dyn CaptureLog> {
        (!self.shared.conditional).then_some(self)
    }

    fn digests(&self) -> Option<&dyn Digests> {
        Some(self)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        (!self.shared.conditional).then_some(self)
    }
}

/// How long the memory store waits for a lock of its own.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(1);
