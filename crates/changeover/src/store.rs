//! The `Store` trait: one side of a migration in one database, as the engine sees it.
//!
//! It is batch-first: keys and rows come in sets. What not every store can do is a *capability*, asked for
//! by a method that answers `None` by default: guarded transactions ([`guard`]), conditional puts
//! ([`conditional`]), a capture log ([`capture`]), a fence ([`fence`]), digests of its rows ([`digest`]), rows
//! that pass unread ([`unread`]).
//!
//! # The contract
//!
//! * **Now.** [`Store::read`] and [`Store::scan`] see everything that was committed before the call was made,
//!   on the primary: each in a fresh transaction, never in one that was open before.
//! * **The canonical image.** Rows are compared in the new side's shape, on both sides: the old side computes
//!   it (the spec's `set` runs in the store that is read), the new side reads its columns. A row outside the
//!   mapping (its `where`, its constants) is absent.
//! * **Nothing in silence.** A row that can't be read, mapped or written is a [`Refusal`] with its key, column
//!   and cause; the rest of the batch goes on. A stream that breaks off is an error, never an end.
//! * **Cancellation.** Every future may be dropped at any await. A transaction that isn't committed is rolled
//!   back; a commit under way may or may not happen, and the caller treats it as not known.
//! * **Idempotency.** Everything that installs, removes, marks or discards may be repeated.
//! * **Panics.** None.

pub mod capture;
pub mod conditional;
pub mod digest;
pub mod fence;
pub mod guard;
pub mod strain;
mod stream;
pub mod unread;

use async_trait::async_trait;
use changeover_protocol::Side;

pub use self::stream::{BatchBudget, RowBatch, RowSender, RowStream};
use crate::error::StoreError;
use crate::value::{Key, Row, TableName, Value};

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its name in the spec.
    pub name: String,
    /// The kind of database: `sqlite`, `postgres`, …
    pub kind: &'static str,
    /// The side that it is.
    pub side: Side,
}

/// One mapping as a store carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The mapping's name.
    pub table: TableName,
    /// The columns of the canonical image, in order: the new side's.
    pub columns: Vec<String>,
    /// Where in the canonical image the key's values stand, in the order of the spec's `key`.
    pub key: Vec<usize>,
    /// Where in the canonical image the values stand that make a row's slot: the key's, or that of `route_by`.
    pub route: Vec<usize>,
    /// The columns of the write-back image, in order: the old side's. Empty where there is no way back.
    pub back_columns: Vec<String>,
    /// How the scans of this store are ordered.
    pub order: KeyOrder,
}

impl TableShape {
    /// The key of a row in the canonical image.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Key {
        Key::composite(self.table.clone(), self.key.iter().map(|&at| row.0[at].clone()).collect())
    }
}

/// The order in which a store's scans come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// By the key's values: NULL, then numbers by their value, then text by its bytes, then bytes. Two sides
    /// that both say this may be merged.
    Binary,
    /// By a collation of the store's own, that nobody else can follow.
    Own,
}

/// The shape in which rows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// The new side's columns: what is compared, and what is written to the new side.
    Canonical,
    /// The old side's columns, computed by the new side (the spec's `back`): what is written to the old side.
    /// Only the new side can be asked for it.
    Back,
}

/// A run of keys of one mapping in the order of the store that is asked: after `after`, up to and including
/// `upto`. Open at an end that is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The key before the first.
    pub after: Option<Key>,
    /// The last key.
    pub upto: Option<Key>,
}

/// A row or a value that can't be carried, compared or written: named, counted, and never dropped in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The row.
    pub key: Key,
    /// The column, where it is one column's fault.
    pub column: Option<String>,
    /// The value, where it is one value's fault. Whoever shows it redacts it.
    pub value: Option<Value>,
    /// Why, and what could be done.
    pub why: String,
}

/// One side of a migration in one database. See the module for the contract.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What the store says of itself.
    fn info(&self) -> &StoreInfo;

    /// The mappings that this store takes part in.
    fn tables(&self) -> &[TableShape];

    /// What must not change unnoticed: the server's identity, and the definition of the tables. Two different
    /// answers in the life of a migration are an unclean event.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// The rows with these keys, each at the place of its key; `None` where there is none. Rows that can't be
    /// read are in the answer's refusals, and `None` too.
    async fn read(&self, table: &TableName, keys: &[Key], image: Image) -> Result<Rows, StoreError> {
        self.read_within(table, keys, image, usize::MAX).await
    }

    /// The same for as many of the first keys as fit into about so many bytes, and for one at least: the answer may be
    /// shorter than the keys. How large rows are is known only to who reads them.
    async fn read_within(
        &self,
        table: &TableName,
        keys: &[Key],
        image: Image,
        bytes: usize,
    ) -> Result<Rows, StoreError>;

    /// The rows of a range, in the store's own key order, in batches within the budget. The whole scan sees one
    /// state, that of its beginning.
    async fn scan(
        &self,
        table: &TableName,
        range: &KeyRange,
        image: Image,
        budget: BatchBudget,
    ) -> Result<RowStream, StoreError>;

    /// The key that is `rows` rows after `after` in the store's own order, or one a little before it, which needn't be a row's:
    /// never are there more rows up to it. `None` where fewer are left, so that what is left, to the end of the key space, is
    /// one chunk.
    async fn cut(&self, table: &TableName, after: Option<&Key>, rows: u64)
    -> Result<Option<Key>, StoreError>;

    /// For each key, how many of the bounds lie before it (are less than it) in the store's own order: with the
    /// upper bounds of the chunks in order, the number of its chunk. Evaluated by the store, so that no
    /// collation has to be guessed.
    async fn locate(&self, table: &TableName, keys: &[Key], bounds: &[Key])
    -> Result<Vec<usize>, StoreError>;

    /// About how many rows the mapping has on this side; for progress only.
    async fn estimate(&self, table: &TableName) -> Result<u64, StoreError>;

    /// How the server fares at this moment, its replicas included: what a copy gives way for. A store that knows nothing of it
    /// answers an empty one.
    async fn strain(&self) -> Result<strain::Strain, StoreError> {
        Ok(strain::Strain::default())
    }

    /// Transactions that hold a guard. A store has these, or [`Store::conditional`].
    fn guarded(&self) -> Option<&dyn guard::Guarded> {
        None
    }

    /// Puts that are conditional on a fencing token, for stores without transactions.
    fn conditional(&self) -> Option<&dyn conditional::Conditional> {
        None
    }

    /// A log of changed keys, written in the application's own transactions.
    fn capture(&self) -> Option<&dyn capture::CaptureLog> {
        None
    }

    /// A fence that refuses the application's writes.
    fn fence(&self) -> Option<&dyn fence::Fence> {
        None
    }

    /// Digests of runs of rows, by which those that are the same needn't be read.
    fn digests(&self) -> Option<&dyn digest::Digests> {
        None
    }

    /// Rows as the database itself lays them out, for another of its kind.
    fn unread(&self) -> Option<&dyn unread::Unread> {
        None
    }
}

/// What must not change unnoticed. See [`Store::identity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The server or the file.
    pub server: String,
    /// How far its log of changes has come; `None` without one.
    pub log: Option<LogMark>,
    /// Each mapping's table definition, in a form that changes when it does, by the mapping's name.
    pub tables: Vec<(TableName, String)>,
}

/// How far a log of changes has come, and which log that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMark {
    /// A name that was made up for this log alone: one that is made again begins anew.
    pub log: String,
    /// The newest entry that it has, or had.
    pub newest: i64,
}

impl LogMark {
    /// Whether this is an older content than the one that was seen before, as of a file that was put back from a backup: in
    /// one log the ids never fall. Only marks that were read one after the other can be compared.
    #[must_use]
    pub fn is_older_than(&self, before: &Self) -> bool {
        self.log == before.log && self.newest < before.newest
    }
}

/// The answer to [`Store::read`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// One for each key that was asked for, in that order.
    pub rows: Vec<Option<Row>>,
    /// The rows that are there but can't be read.
    pub refused: Vec<Refusal>,
}

impl Rows {
    /// How large the last row is: for whoever fills an answer up to a bound.
    #[must_use]
    pub fn last_size(&self) -> usize {
        self.rows.last().and_then(Option::as_ref).map_or(0, Row::size)
    }
}
