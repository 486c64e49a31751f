//! The capability to carry a chunk's rows unread: as the bytes in which a database of the same kind takes them.
//!
//! It is only a faster road: what comes of it is what would come of [`Store::scan`](super::Store::scan) and
//! [`GuardedTx::load`](super::guard::GuardedTx::load), to the last bit. So a store offers it for a mapping only where nothing on
//! the way from one side to the other computes, converts, rounds or refuses a value; and whoever meets a row that can't go this
//! way says so, and leaves the whole chunk to the careful road, which names the row.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::KeyRange;
use crate::error::StoreError;
use crate::value::TableName;

/// A store whose rows can pass unread.
#[async_trait]
pub trait Unread: Send + Sync {
    /// How the rows of a mapping are laid out when they pass unread; `None` if they can't. They pass only between two stores
    /// whose layouts are equal.
    async fn layout(&self, table: &TableName) -> Result<Option<Layout>, StoreError>;

    /// The rows of a range, those of a [`Store::scan`](super::Store::scan) of the canonical image, as they were committed when
    /// the call was made or later, all at one moment.
    async fn scan_unread(&self, table: &TableName, range: &KeyRange) -> Result<UnreadStream, StoreError>;
}

/// The form of a mapping's rows: format, columns, types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(pub String);

/// Some bytes of a stream of rows. A row may begin in one and end in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadPiece {
    /// The bytes.
    pub bytes: Bytes,
    /// How many rows end in them.
    pub rows: u64,
}

/// What came of a stream of unread rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadLoad {
    /// All of its rows were written.
    Written {
        /// How many they were.
        rows: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Nothing was written: the rows have to be read, and one of them named.
    Careful,
}

/// What comes next of a stream.
#[derive(Debug)]
pub enum UnreadNext {
    /// More of it.
    Piece(UnreadPiece),
    /// All of it was there, as the sender has said.
    End,
    /// There is a row that can't pass this way.
    Careful,
}

/// The receiving end. Dropping it ends the reading.
#[derive(Debug)]
pub struct UnreadStream {
    items: mpsc::Receiver<Result<UnreadNext, StoreError>>,
    first: Option<Result<UnreadNext, StoreError>>,
    store: String,
    table: TableName,
    rows: u64,
}

/// The sending end, held by the store.
#[derive(Debug)]
pub struct UnreadSender {
    items: mpsc::Sender<Result<UnreadNext, StoreError>>,
}

impl UnreadStream {
    /// A stream that holds at most four pieces that nobody has taken yet.
    #[must_use]
    pub fn channel(store: impl Into<String>, table: TableName) -> (UnreadSender, Self) {
        let (sender, items) = mpsc::channel(4);
        (UnreadSender { items: sender }, Self { items, first: None, store: store.into(), table, rows: 0 })
    }

    /// Waits until the reading has begun: until there is something that [`UnreadStream::next`] gives at once.
    pub async fn begun(&mut self) {
        if self.first.is_none() {
            self.first = Some(self.receive().await);
        }
    }

    /// What comes next. After the end, after an error and after [`UnreadNext::Careful`] nobody asks any more.
    ///
    /// # Errors
    /// What the store met, or [`StoreError::BrokenOff`] if the sender is gone without having said that this is the end.
    pub async fn next(&mut self) -> Result<UnreadNext, StoreError> {
        let next = match self.first.take() {
            Some(first) => first,
            None => self.receive().await,
        };
        if let Ok(UnreadNext::Piece(piece)) = &next {
            self.rows += piece.rows;
        }
        next
    }

    async fn receive(&mut self) -> Result<UnreadNext, StoreError> {
        self.items.recv().await.unwrap_or_else(|| {
            Err(StoreError::BrokenOff {
                store: self.store.clone(),
                table: self.table.clone(),
                rows: self.rows,
            })
        })
    }
}

impl UnreadSender {
    /// Sends a piece; waits while four are untaken. `false` if nobody wants any more.
    pub async fn send(&self, piece: UnreadPiece) -> bool {
        self.items.send(Ok(UnreadNext::Piece(piece))).await.is_ok()
    }

    /// Says that all rows were sent. Without it, the receiver sees an error.
    pub async fn end(self) {
        // Nobody there to hear it is no fault of the store's.
        let _ = self.items.send(Ok(UnreadNext::End)).await;
    }

    /// Says that a row can't pass this way, whatever was sent before.
    pub async fn careful(self) {
        let _ = self.items.send(Ok(UnreadNext::Careful)).await;
    }

    /// Ends the stream with an error.
    pub async fn fail(self, error: StoreError) {
        let _ = self.items.send(Err(error)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sender_that_vanishes_is_never_the_end_of_the_data() {
        let (sender, mut stream) = UnreadStream::channel("legacy", "bookings".into());
        assert!(sender.send(UnreadPiece { bytes: Bytes::from_static(b"rows"), rows: 2 }).await);
        drop(sender);
        stream.begun().await;
        assert!(matches!(stream.next().await, Ok(UnreadNext::Piece(piece)) if piece.rows == 2));
        assert!(matches!(stream.next().await, Err(StoreError::BrokenOff { rows: 2, .. })));
    }

    #[tokio::test]
    async fn what_was_waited_for_isnt_lost() {
        let (sender, mut stream) = UnreadStream::channel("legacy", "bookings".into());
        sender.end().await;
        stream.begun().await;
        stream.begun().await;
        assert!(matches!(stream.next().await, Ok(UnreadNext::End)));
    }
}
