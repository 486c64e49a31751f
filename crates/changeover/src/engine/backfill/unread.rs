//! Chunks whose rows pass unread: where both stores lay them out alike, they go in another form of the same road. Chunks, marks,
//! guards and fault points are those of any chunk; one with a row that isn't taken this way is read again, and goes the other.

use changeover_protocol::Side;

use super::chunk::{Copied, Copier, Loaded};
use crate::error::StoreError;
use crate::store::guard::{Chunk, GuardedTx};
use crate::store::unread::{UnreadLoad, UnreadStream};
use crate::store::{Image, KeyRange, RowBatch, RowStream};

/// The rows of a chunk on their way.
pub(super) enum Rows {
    Read { first: Option<RowBatch>, stream: RowStream },
    Unread(UnreadStream),
}

impl Rows {
    /// Waits until the reading has begun.
    pub(super) async fn begun(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Read { first, stream } => *first = stream.next().await?,
            Self::Unread(stream) => stream.begun().await,
        }
        Ok(())
    }
}

impl Copier<'_> {
    /// Whether rows can pass unread from one side to the other.
    pub(super) async fn can_pass_unread(&self) -> Result<bool, StoreError> {
        // The old side is written in its own shape, and a row of it that is right already is left alone.
        let (Side::Old, Some(from), Some(to)) =
            (self.authority_side, self.authority.unread(), self.store.unread())
        else {
            return Ok(false);
        };
        let table = self.link.table();
        Ok(match from.layout(table).await? {
            None => false,
            from => from == to.layout(table).await?,
        })
    }

    /// Begins to read a chunk.
    pub(super) async fn rows_of(&self, chunk: &Chunk, replace: bool) -> Result<Rows, StoreError> {
        let range = KeyRange { after: chunk.after.clone(), upto: chunk.upto.clone() };
        match self.authority.unread() {
            Some(unread) if self.passes_unread && !replace => {
                Ok(Rows::Unread(unread.scan_unread(&chunk.table, &range).await?))
            }
            _ => Ok(Rows::Read { first: None, stream: self.read(chunk).await? }),
        }
    }

    async fn read(&self, chunk: &Chunk) -> Result<RowStream, StoreError> {
        let range = KeyRange { after: chunk.after.clone(), upto: chunk.upto.clone() };
        self.authority.scan(&chunk.table, &range, Image::Canonical, self.budget).await
    }

    /// Writes a chunk's rows, in the form in which they come.
    pub(super) async fn load_rows(
        &self,
        tx: &mut dyn GuardedTx,
        chunk: &Chunk,
        rows: Rows,
        replace: bool,
    ) -> Result<Loaded, StoreError> {
        let unread = match rows {
            Rows::Read { first, stream } => return self.load(tx, chunk, first, stream, replace).await,
            Rows::Unread(stream) => stream,
        };
        match tx.load_unread(&chunk.table, unread).await? {
            UnreadLoad::Written { rows, bytes } => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                Ok(Loaded { copied: Copied { rows, bytes, ..Copied::default() }, ..Loaded::default() })
            }
            UnreadLoad::Careful => {
                tracing::debug!(table = %chunk.table, number = chunk.number, "a chunk's rows are read after all");
                // The chunk was begun long before: what is read now is no older than what was read first.
                let mut stream = self.read(chunk).await?;
                let first = stream.next().await?;
                self.load(tx, chunk, first, stream, replace).await
            }
        }
    }
}
