//! Digests of runs of rows, computed by the database itself: what is the same needn't travel.
//!
//! # The contract
//!
//! * **Equal digests mean equal rows.** Two digests made by the same method and the same seeds are equal only if both ranges
//!   have the same rows, each value the same to what a comparison of rows tells apart, but for a chance that no migration
//!   will ever meet. Digests that differ mean nothing: the rows are looked at then.
//! * **A row's hash** binds every value to its column and to the other values of its row, the key's among them: values that
//!   run into each other, a NULL beside an empty text, values that two rows have exchanged all show.
//! * **The sum** doesn't depend on the order of the rows, doesn't wrap and doesn't cancel: two sums of 64-bit hashes, each by a
//!   seed of its own, beside the number of rows.
//! * **The method** says all that a digest depends on beyond the rows: two stores are compared only if both say the same.

use async_trait::async_trait;

use super::KeyRange;
use crate::error::StoreError;
use crate::value::{Key, TableName};

/// What a database says of the rows of one range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many they are.
    pub rows: u64,
    /// The sum of their hashes, by each of the seeds.
    pub sums: [i128; 2],
}

/// What the hashes begin with. They are made up for each verification: what two rows' hashes have in common by chance they
/// don't have the next time.
pub type Seeds = [i64; 2];

/// A store that computes digests.
#[async_trait]
pub trait Digests: Send + Sync {
    /// By what the digests of this mapping are made on this side; `None` where they can't be: because one side computes a
    /// column otherwise than the other stores it, or has a type of which the database's hash doesn't tell all that a comparison
    /// tells.
    async fn method(&self, table: &TableName) -> Result<Option<String>, StoreError>;

    /// The keys that end the next ranges of about so many rows, at most so many keys, in the store's own order. Fewer are given
    /// where the key space ends: what lies behind the last is one range more.
    async fn bounds(
        &self,
        table: &TableName,
        after: Option<&Key>,
        rows: u64,
        most: usize,
    ) -> Result<Vec<Key>, StoreError>;

    /// The digests of the canonical images of the rows in these ranges; `None` where some row can't be
    /// computed, and so nothing is known of any.
    async fn digests(
        &self,
        table: &TableName,
        ranges: &[KeyRange],
        seeds: Seeds,
    ) -> Result<Option<Vec<Digest>>, StoreError>;
}
