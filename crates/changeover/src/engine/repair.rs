//! Repair: what a verification found is synced, and looked at again.
//!
//! It has no way of its own to write a row: an extra one goes because the authority, read now, hasn't got it. So a repair
//! of a difference that has healed meanwhile changes nothing.

use std::sync::Arc;

use changeover_protocol::Side;

use super::authority::{Authority, Sided};
use super::pair::Links;
use super::sync::Fate;
use super::verify::{Difference, VerifyOptions, compare_keys};
use crate::error::StoreError;
use crate::store::Refusal;
use crate::value::Key;

/// Keys in one sync.
const KEYS_AT_ONCE: usize = 256;

/// What a repair came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Rows written.
    pub written: u64,
    /// Rows deleted, because the authority lacks them.
    pub deleted: u64,
    /// Rows that were right by then.
    pub unchanged: u64,
    /// Keys that have to wait for their chunk of the backfill.
    pub deferred: Vec<Key>,
    /// Rows that can't be carried.
    pub refused: Vec<Refusal>,
    /// What differs still, looked at again after the sync.
    pub left: Vec<Difference>,
}

impl RepairReport {
    /// Whether every difference is gone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.deferred.is_empty() && self.refused.is_empty() && self.left.is_empty()
    }
}

/// Syncs the rows of these differences, and compares them again. `options` are those of the verification.
///
/// # Errors
/// What a store meets. It may be run again.
pub async fn repair(
    links: &Arc<Links>,
    differences: &[Difference],
    options: &VerifyOptions,
) -> Result<RepairReport, StoreError> {
    let mut report = RepairReport::default();
    // A row that the authority can't give isn't repaired by asking again; the follower's may be.
    // One that no key finds isn't there to be synced, nor to be looked at again.
    let (findable, lost): (Vec<&Difference>, Vec<&Difference>) =
        differences.iter().partition(|difference| difference.key.is_findable());
    let keys: Vec<Key> = findable.into_iter().map(|difference| difference.key.clone()).collect();
    for (authority, keys) in by_authority(links, &options.authority, &keys).await? {
        // Where nobody can say which side is right, none is written: the second look finds the row once more.
        let Some(authority) = authority else { continue };
        let _working = links.work(authority);
        sync(links, authority, &keys, &mut report).await?;
    }
    report.left = compare_keys(links, &keys, options).await?;
    // A row is told once: one that is refused with its cause, not as one that is missing as well.
    report.left.retain(|left| !named(&report.refused, &left.key));
    report.left.extend(lost.into_iter().cloned());
    Ok(report)
}

/// The keys of all tables by their authority, in their order.
async fn by_authority(links: &Links, authority: &Authority, keys: &[Key]) -> Result<Vec<Sided>, StoreError> {
    if let Authority::All(side) = authority {
        return Ok(vec![(Some(*side), keys.to_vec())]);
    }
    let mut all: Vec<Sided> = Vec::new();
    for link in links.links() {
        let of_table: Vec<Key> = keys.iter().filter(|key| key.table == *link.table()).cloned().collect();
        for (side, mut keys) in authority.divide(link, &of_table).await? {
            match all.iter_mut().find(|(of, _)| *of == side) {
                Some((_, all)) => all.append(&mut keys),
                None => all.push((side, keys)),
            }
        }
    }
    Ok(all)
}

async fn sync(
    links: &Arc<Links>,
    authority: Side,
    keys: &[Key],
    report: &mut RepairReport,
) -> Result<(), StoreError> {
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let synced = links.sync(authority, keys).await?;
        report.written += synced.written;
        report.deleted += synced.deleted;
        report.unchanged += synced.unchanged;
        for (key, fate) in keys.iter().zip(synced.fates) {
            match fate {
                Fate::Synced => {}
                Fate::LeftToBackfill | Fate::Deferred => report.deferred.push(key.clone()),
                Fate::Refused(refusal) => report.refused.push(refusal),
            }
        }
    }
    Ok(())
}

fn named(refused: &[Refusal], key: &Key) -> bool {
    refused.iter().any(|refusal| refusal.key == *key)
}
