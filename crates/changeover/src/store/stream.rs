//! Rows on their way from one store to another: a bounded stream whose end is said, never guessed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Refusal;
use crate::error::StoreError;
use crate::value::{Row, TableName};

/// How large one batch of a scan may be. A single row may exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBudget {
    /// At most so many rows.
    pub rows: usize,
    /// At most about so many bytes.
    pub bytes: usize,
}

impl Default for BatchBudget {
    fn default() -> Self {
        Self { rows: 1_000, bytes: 1 << 20 }
    }
}

/// Some rows of a scan, in order, and those that couldn't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowBatch {
    /// The rows.
    pub rows: Vec<Row>,
    /// The rows that are there but can't be read.
    pub refused: Vec<Refusal>,
}

enum Item {
    Batch(RowBatch),
    End,
}

/// Rows that were read and are no longer needed, on their way back to the one who reads.
///
/// A thread that only allocates and one that only frees meet at the allocator's lock for every row, and leave holes that
/// grow with the table. Rows that come back are filled anew instead.
type Used = Arc<Mutex<Vec<Vec<Row>>>>;

/// How many batches may lie there: as many as a stream can have on its way.
const USED: usize = 4;

/// The receiving end of a scan. Dropping it ends the scan.
#[derive(Debug)]
pub struct RowStream {
    items: mpsc::Receiver<Result<Item, StoreError>>,
    used: Used,
    store: String,
    table: TableName,
    rows: u64,
    ended: bool,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Batch(batch) => write!(f, "Batch({} rows)", batch.rows.len()),
            Self::End => f.write_str("End"),
        }
    }
}

/// The sending end, held by the store.
#[derive(Debug)]
pub struct RowSender {
    items: mpsc::Sender<Result<Item, StoreError>>,
    used: Used,
}

impl RowStream {
    /// A stream that holds at most two batches that nobody has taken yet.
    #[must_use]
    pub fn channel(store: impl Into<String>, table: TableName) -> (RowSender, Self) {
        let (sender, items) = mpsc::channel(2);
        let used = Used::default();
        let stream =
            Self { items, used: Arc::clone(&used), store: store.into(), table, rows: 0, ended: false };
        (RowSender { items: sender, used }, stream)
    }

    /// Gives rows of this stream back that are no longer needed, whatever is in them: their memory serves for those to come.
    /// Nobody has to.
    pub fn give_back(&self, rows: Vec<Row>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < USED {
            used.push(rows);
        }
    }

    /// The next batch; `None` at the end of the range.
    ///
    /// # Errors
    /// What the store met, or [`StoreError::BrokenOff`] if the sender is gone without having said that this is
    /// the end. After an error the stream gives nothing more. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<RowBatch>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        match self.items.recv().await {
            Some(Ok(Item::Batch(batch))) => {
                self.rows += batch.rows.len() as u64;
                Ok(Some(batch))
            }
            Some(Ok(Item::End)) => {
                self.ended = true;
                Ok(None)
            }
            Some(Err(error)) => {
                self.ended = true;
                Err(error)
            }
            None => {
                self.ended = true;
                Err(StoreError::BrokenOff {
                    store: self.store.clone(),
                    table: self.table.clone(),
                    rows: self.rows,
                })
            }
        }
    }
}

impl RowSender {
    /// Rows that were sent and aren't needed any more, to be filled anew; none where none were given back.
    #[must_use]
    pub fn used(&self) -> Vec<Row> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Sends a batch; waits while two are untaken. `false` if nobody wants any more.
    pub async fn send(&self, batch: RowBatch) -> bool {
        self.items.send(Ok(Item::Batch(batch))).await.is_ok()
    }

    /// [`RowSender::send`] for a thread of its own, outside the async runtime.
    pub fn send_blocking(&self, batch: RowBatch) -> bool {
        self.items.blocking_send(Ok(Item::Batch(batch))).is_ok()
    }

    /// Says that all rows were sent. Without it, the receiver sees an error.
    pub async fn end(self) {
        // Nobody there to hear it is no fault of the store's.
        let _ = self.items.send(Ok(Item::End)).await;
    }

    /// [`RowSender::end`] for a thread of its own.
    pub fn end_blocking(self) {
        let _ = self.items.blocking_send(Ok(Item::End));
    }

    /// Ends the stream with an error.
    pub async fn fail(self, error: StoreError) {
        let _ = self.items.send(Err(error)).await;
    }

    /// [`RowSender::fail`] for a thread of its own.
    pub fn fail_blocking(self, error: StoreError) {
        let _ = self.items.blocking_send(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn row(n: i64) -> Row {
        Row(vec![Value::Int(n)])
    }

    #[tokio::test]
    async fn a_sender_that_vanishes_is_never_the_end_of_the_data() {
        let (sender, mut stream) = RowStream::channel("legacy", "bookings".into());
        assert!(sender.send(RowBatch { rows: vec![row(1), row(2)], refused: vec![] }).await);
        drop(sender);
        assert_eq!(stream.next().await.unwrap().unwrap().rows.len(), 2);
        assert!(matches!(stream.next().await, Err(StoreError::BrokenOff { rows: 2, .. })));
    }

    #[tokio::test]
    async fn rows_that_are_given_back_come_to_the_one_who_reads_and_are_bounded() {
        let (sender, stream) = RowStream::channel("legacy", "bookings".into());
        assert!(sender.used().is_empty());
        (0..100).for_each(|n| stream.give_back(vec![row(n)]));
        let mut batches = 0;
        while !sender.used().is_empty() {
            batches += 1;
        }
        assert_eq!(batches, USED);
    }

    #[tokio::test]
    async fn an_end_that_was_said_is_an_end() {
        let (sender, mut stream) = RowStream::channel("legacy", "bookings".into());
        sender.end().await;
        assert!(stream.next().await.unwrap().is_none());
        assert!(stream.next().await.unwrap().is_none());
    }
}
