//! The memory store keeps every promise that a store makes, in both of its flavours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

use std::sync::Arc;

use async_trait::async_trait;
use changeover::value::{Row, Value};
use changeover_protocol::Side;
use changeover_testkit::conformance::{self, App, AppWrite, ITEMS, Item, Subject, key};
use changeover_testkit::{Collation, Mapping, MemoryStore, MemoryTable};

struct MemoryApp {
    old: MemoryStore,
    new: MemoryStore,
}

fn row_of(item: &Item) -> Row {
    item.row()
}

impl MemoryApp {
    async fn tx(&self, side: Side, writes: &[AppWrite]) -> changeover_testkit::memory::WriteTx {
        let store = if side == Side::Old { &self.old } else { &self.new };
        let mut tx = store.begin_write().await;
        for write in writes {
            match write {
                AppWrite::Put(item) => tx.put(ITEMS, row_of(item)),
                AppWrite::Delete(id) => tx.delete(&key(*id)),
                AppWrite::Rekey(from, to) => {
                    let mut row = store.raw_row(&key(*from)).unwrap();
                    row.0[0] = Value::Int(*to);
                    tx.delete(&key(*from));
                    tx.put(ITEMS, row);
                }
            }
        }
        tx
    }
}

#[async_trait]
impl App for MemoryApp {
    async fn write(&self, side: Side, writes: &[AppWrite]) -> Result<(), String> {
        self.tx(side, writes).await.commit().map_err(|refused| refused.to_string())
    }

    async fn write_and_roll_back(&self, side: Side, writes: &[AppWrite]) {
        drop(self.tx(side, writes).await);
    }
}

fn table(collation: Collation) -> MemoryTable {
    MemoryTable::new(Mapping::alike(ITEMS, &["id", "name", "code"])).unique(&[2]).ordered(collation)
}

fn subject(old: MemoryStore, new: MemoryStore) -> Subject {
    let app = Arc::new(MemoryApp { old: old.clone(), new: new.clone() });
    Subject { old: Arc::new(old), new: Arc::new(new), app, keep: Box::new(()) }
}

fn strict(collation: Collation) -> MemoryTable {
    table(collation)
        .refusing(|row| row.0[1].is_null().then(|| ("name".to_owned(), "NULL isn't taken".to_owned())))
}

#[tokio::test]
async fn the_memory_store_keeps_its_promises() {
    for collation in [Collation::Binary, Collation::Backwards] {
        let outcome = conformance::run(|| async move {
            let old = MemoryStore::new(Side::Old, vec![table(collation)]);
            subject(old, MemoryStore::new(Side::New, vec![strict(collation)]))
        })
        .await;
        assert!(outcome.not_applicable.iter().all(|name| name.contains("token") || name.contains("same")));
    }
}

#[tokio::test]
async fn a_store_of_conditional_puts_keeps_its_promises() {
    let outcome = conformance::run(|| async {
        let old = MemoryStore::conditional(Side::Old, vec![table(Collation::Binary)]);
        subject(old, MemoryStore::conditional(Side::New, vec![strict(Collation::Binary)]))
    })
    .await;
    assert!(outcome.passed.contains(&"a_put_by_an_old_token_changes_nothing"));
    assert!(outcome.not_applicable.contains(&"two_guards_on_one_key_exclude_each_other"));
}
