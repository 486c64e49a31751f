//! The capability of stores without transactions: puts that are conditional on a fencing token.
//!
//! The token stands beside the value and rises with every put, so that a put which was overtaken fails. A
//! condition on the value would not do: it may have gone from 0 to 1 and back to 0.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::value::{Key, Row};

/// The token beside a value. 0: nothing was ever put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token(pub u64);

/// A store that puts one row at a time, on a condition.
#[async_trait]
pub trait Conditional: Send + Sync {
    /// The row in the canonical image, with its token. A row that was deleted keeps its token.
    async fn get(&self, key: &Key) -> Result<(Option<Row>, Token), StoreError>;

    /// Puts the row, or its absence, if the token is still this one. The new token, or `None` if it wasn't.
    async fn put_if(&self, key: &Key, row: Option<&Row>, token: Token) -> Result<Option<Token>, StoreError>;
}
