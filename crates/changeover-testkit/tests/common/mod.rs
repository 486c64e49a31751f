//! Two stores in memory, linked, with writers: what the engine's tests have in common.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{Links, Pair};
use changeover::store::Store;
use changeover::value::{Key, Row};
use changeover_protocol::Side;
use changeover_testkit::{Collation, Mapping, MemoryStore, MemoryTable, Random};

/// The one table.
pub(crate) const TABLE: &str = "bookings";

/// An old side, a new side in capitals, and their link.
pub(crate) struct World {
    pub(crate) old: MemoryStore,
    pub(crate) new: MemoryStore,
    pub(crate) links: Arc<Links>,
}

/// A row of either side.
pub(crate) fn row(id: i64, state: &str, mail: &str) -> Row {
    Row(vec![id.into(), state.into(), mail.into()])
}

fn mapping() -> Mapping {
    Mapping::capitals(TABLE, &["id", "state", "mail"], 1)
}

impl World {
    pub(crate) fn new(collation: Collation) -> Self {
        let table = || MemoryTable::new(mapping());
        Self::of(table().ordered(collation), MemoryStore::new(Side::New, vec![table()]))
    }

    /// With a unique mail on both sides.
    pub(crate) fn unique(collation: Collation) -> Self {
        let table = || MemoryTable::new(mapping()).unique(&[2]);
        Self::of(table().ordered(collation), MemoryStore::new(Side::New, vec![table()]))
    }

    /// With a mail that is unique on the new side alone.
    pub(crate) fn unique_on_the_new_side() -> Self {
        let new = MemoryTable::new(mapping()).unique(&[2]);
        Self::of(MemoryTable::new(mapping()), MemoryStore::new(Side::New, vec![new]))
    }

    /// The new side refuses some rows.
    pub(crate) fn refusing(
        refuses: impl Fn(&Row) -> Option<(String, String)> + Send + Sync + 'static,
    ) -> Self {
        let new = MemoryTable::new(mapping()).refusing(refuses);
        Self::of(MemoryTable::new(mapping()), MemoryStore::new(Side::New, vec![new]))
    }

    /// The new side has conditional puts alone.
    pub(crate) fn conditional() -> Self {
        let new = MemoryStore::conditional(Side::New, vec![MemoryTable::new(mapping())]);
        Self::of(MemoryTable::new(mapping()), new)
    }

    /// Put into slots by the mail.
    pub(crate) fn routed_by_mail() -> Self {
        let table = || MemoryTable::new(mapping()).routed_by(2);
        Self::of(table(), MemoryStore::new(Side::New, vec![table()]))
    }

    /// By another mapping.
    pub(crate) fn mapped(mapping: Mapping) -> Self {
        let table = || MemoryTable::new(mapping.clone());
        Self::of(table(), MemoryStore::new(Side::New, vec![table()]))
    }

    fn of(old: MemoryTable, new: MemoryStore) -> Self {
        let old = MemoryStore::new(Side::Old, vec![old]);
        let pair = Pair {
            table: TABLE.into(),
            old: Arc::new(old.clone()) as Arc<dyn Store>,
            new: Arc::new(new.clone()),
            rules: Vec::new(),
        };
        let links = Arc::new(Links::new(vec![pair]).unwrap());
        Self { old, new, links }
    }

    /// Rows 0 to n on the old side.
    pub(crate) fn fill(&self, n: i64) {
        for id in 0..n {
            self.old.damage_put(TABLE, row(id, "booked", &format!("mail-{id}")));
        }
    }

    /// Both sides hold the same rows in the canonical image.
    pub(crate) fn assert_level(&self) {
        let sorted = |store: &MemoryStore| {
            let mut rows = store.rows(TABLE);
            rows.sort_by(|a, b| changeover::engine::cmp_keys(&a.0, &b.0));
            rows
        };
        let (old, new) = (sorted(&self.old), sorted(&self.new));
        for row in &old {
            assert!(new.contains(row), "the new side lacks {row:?}");
        }
        for row in &new {
            assert!(old.contains(row), "the new side has {row:?}, and the old doesn't");
        }
        assert_eq!(old.len(), new.len());
    }
}

/// An application: inserts, updates, deletes, re-inserts, changes of a key, and exchanges of unique values, some in
/// transactions that overlap.
pub(crate) async fn write_for_a_while(store: MemoryStore, seed: u64, writes: u64) {
    let mut random = Random::new(seed);
    for n in 0..writes {
        let mut tx = store.begin_write().await;
        let id = random.below(200) as i64;
        let state = format!("s{n}");
        match random.below(6) {
            0 => tx.delete(&Key::new(TABLE, id)),
            1 => {
                // Another key for the row: two dirty keys.
                tx.delete(&Key::new(TABLE, id));
                tx.put(TABLE, row(id + 1_000, &state, &format!("mail-{id}")));
            }
            2 => {
                let other = random.below(200) as i64;
                tx.put(TABLE, row(id, &state, &format!("mail-{other}")));
                tx.put(TABLE, row(other, &state, &format!("mail-{id}")));
            }
            _ => tx.put(TABLE, row(id, &state, &format!("mail-{id}"))),
        }
        if random.chance(0.3) {
            tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(20))).await;
        }
        // One that breaks a unique key is refused, and nothing of it is there.
        let _refused = tx.commit();
        if random.chance(0.5) {
            tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(4))).await;
        }
    }
}

/// Answers when the log is empty.
pub(crate) async fn until_drained(store: &MemoryStore) {
    for _ in 0..100_000 {
        if store.logged().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still in the log: {:?}", store.logged());
}
