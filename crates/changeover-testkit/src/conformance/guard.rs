//! Guarded transactions: what is written together, what excludes what, what is refused by name.

use std::sync::Arc;
use std::time::Duration;

use changeover::StoreError;
use changeover::store::RowBatch;
use changeover::store::guard::{Change, Chunk, ChunkState, Guarded, GuardedTx, Scope};
use changeover::value::{TableName, Value};
use changeover_protocol::Side;

use super::{ITEMS, Item, Subject, cases, item, key};

cases! {
    Guard:
        what_is_not_committed_is_not_there,
        rows_and_mark_are_there_together,
        a_set_is_deleted_inserted_and_updated,
        what_is_right_already_is_left_alone,
        a_transaction_reads_its_own_writes,
        rows_exchange_unique_values_within_a_set,
        a_row_in_the_way_is_asked_to_join_and_nothing_is_written,
        a_row_that_is_refused_is_named_and_the_others_are_written,
        a_load_puts_rows_in_and_replaces_where_told,
        a_load_names_the_row_in_the_way,
        a_delete_takes_its_keys_and_may_be_repeated,
        two_guards_on_one_key_exclude_each_other,
        a_chunk_excludes_its_keys,
        marks_are_kept_by_generation_and_in_order;
}

fn table() -> TableName {
    ITEMS.into()
}

/// Begins; a guard that isn't got in the store's own time is tried again, for a while.
async fn begin<'a>(guarded: &'a dyn Guarded, scope: Scope<'a>) -> Box<dyn GuardedTx> {
    for _ in 0..100 {
        match guarded.begin(scope).await {
            Err(StoreError::Busy { .. }) => {}
            other => return other.unwrap(),
        }
    }
    panic!("the guard was never got");
}

fn to(item: &Item) -> Change {
    Change { key: item.key(), row: Some(item.row()), back: None }
}

fn gone(id: i64) -> Change {
    Change { key: key(id), row: None, back: None }
}

fn chunk(number: u64, state: ChunkState) -> Chunk {
    let bound = |n: u64| key(n as i64 * 10);
    let after = (number > 0).then(|| bound(number));
    Chunk { table: table(), generation: 1, number, after, upto: Some(bound(number + 1)), state, rows: 0 }
}

async fn applied(subject: &Subject, changes: &[Change]) -> changeover::store::guard::Applied {
    let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
    let mut tx = begin(subject.guarded(), Scope::Keys(&keys)).await;
    let applied = tx.apply(changes).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

async fn what_is_not_committed_is_not_there(subject: &Subject) {
    let mut tx = begin(subject.guarded(), Scope::Chunk(&chunk(0, ChunkState::Begun))).await;
    tx.load(&table(), RowBatch { rows: vec![item(1, "a").row()], refused: vec![] }, false).await.unwrap();
    tx.mark(&chunk(0, ChunkState::Done)).await.unwrap();
    assert!(subject.rows(Side::New).await.is_empty());
    drop(tx);
    // The next guard is got only after the first was rolled back.
    begin(subject.guarded(), Scope::Chunk(&chunk(0, ChunkState::Begun))).await.commit().await.unwrap();
    assert!(subject.rows(Side::New).await.is_empty());
    assert_eq!(subject.guarded().chunks(&table(), 1).await.unwrap(), []);
}

async fn rows_and_mark_are_there_together(subject: &Subject) {
    let mut tx = begin(subject.guarded(), Scope::Chunk(&chunk(0, ChunkState::Begun))).await;
    tx.load(&table(), RowBatch { rows: vec![item(1, "a").row()], refused: vec![] }, false).await.unwrap();
    let done = Chunk { rows: 1, ..chunk(0, ChunkState::Done) };
    tx.mark(&done).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(subject.rows(Side::New).await, [item(1, "a").row()]);
    assert_eq!(subject.guarded().chunks(&table(), 1).await.unwrap(), [done]);
}

async fn a_set_is_deleted_inserted_and_updated(subject: &Subject) {
    let first = applied(subject, &[to(&item(1, "a")), to(&item(2, "b")), gone(3)]).await;
    assert_eq!((first.written, first.deleted), (2, 0));
    let second = applied(subject, &[gone(1), to(&item(2, "changed")), to(&item(3, "c"))]).await;
    assert_eq!((second.written, second.deleted), (2, 1));
    assert_eq!(subject.rows(Side::New).await, [item(2, "changed").row(), item(3, "c").row()]);
}

async fn what_is_right_already_is_left_alone(subject: &Subject) {
    applied(subject, &[to(&item(1, "a")), to(&item(2, "b"))]).await;
    let again = applied(subject, &[to(&item(1, "a")), to(&item(2, "c"))]).await;
    assert_eq!((again.written, again.deleted, again.unchanged), (1, 0, 1));
    assert!(again.refused.is_empty() && again.joins.is_empty());
}

async fn a_transaction_reads_its_own_writes(subject: &Subject) {
    applied(subject, &[to(&item(1, "a"))]).await;
    let keys = [key(1), key(2)];
    let mut tx = begin(subject.guarded(), Scope::Keys(&keys)).await;
    tx.apply(&[gone(1), to(&item(2, "b"))]).await.unwrap();
    let rows = tx.read(&table(), &keys).await.unwrap();
    assert_eq!(rows.rows, [None, Some(item(2, "b").row())]);
}

async fn rows_exchange_unique_values_within_a_set(subject: &Subject) {
    let one = |id: i64, code: &str| item(id, "x").coded(code);
    applied(subject, &[to(&one(1, "A")), to(&one(2, "B")), to(&one(3, "C"))]).await;
    let two = applied(subject, &[to(&one(1, "B")), to(&one(2, "A"))]).await;
    assert!(two.joins.is_empty() && two.refused.is_empty(), "{two:?}");
    let three = applied(subject, &[to(&one(1, "A")), to(&one(2, "C")), to(&one(3, "B"))]).await;
    assert!(three.joins.is_empty() && three.refused.is_empty(), "{three:?}");
    assert_eq!(subject.rows(Side::New).await, [one(1, "A").row(), one(2, "C").row(), one(3, "B").row()]);
    let taken_over = applied(subject, &[gone(1), to(&one(4, "A"))]).await;
    assert!(taken_over.joins.is_empty() && taken_over.refused.is_empty(), "{taken_over:?}");
}

async fn a_row_in_the_way_is_asked_to_join_and_nothing_is_written(subject: &Subject) {
    let one = |id: i64, code: &str| item(id, "x").coded(code);
    applied(subject, &[to(&one(1, "A")), to(&one(2, "B"))]).await;
    let keys = [key(1), key(5)];
    let mut tx = begin(subject.guarded(), Scope::Keys(&keys)).await;
    let asked = tx.apply(&[to(&one(1, "B")), to(&one(5, "E"))]).await.unwrap();
    assert_eq!(asked.joins, [key(2)]);
    assert_eq!((asked.written, asked.deleted), (0, 0));
    tx.commit().await.unwrap();
    assert_eq!(subject.rows(Side::New).await, [one(1, "A").row(), one(2, "B").row()]);
    let joined = applied(subject, &[to(&one(1, "B")), to(&one(5, "E")), to(&one(2, "A"))]).await;
    assert!(joined.joins.is_empty() && joined.refused.is_empty(), "{joined:?}");
}

async fn a_row_that_is_refused_is_named_and_the_others_are_written(subject: &Subject) {
    let bad = Item { name: None, ..item(2, "") };
    assert_eq!(bad.row().0[1], Value::Null);
    let applied = applied(subject, &[to(&item(1, "a")), to(&bad), to(&item(3, "c"))]).await;
    assert_eq!(applied.refused.len(), 1, "{applied:?}");
    assert_eq!(applied.refused[0].key, key(2));
    assert!(!applied.refused[0].why.is_empty());
    assert_eq!(subject.rows(Side::New).await, [item(1, "a").row(), item(3, "c").row()]);
}

async fn a_load_puts_rows_in_and_replaces_where_told(subject: &Subject) {
    let batch = |rows: Vec<Item>| RowBatch { rows: rows.iter().map(Item::row).collect(), refused: vec![] };
    let mark = chunk(0, ChunkState::Begun);
    let mut tx = begin(subject.guarded(), Scope::Chunk(&mark)).await;
    let bad = Item { name: None, ..item(9, "") };
    let first = tx.load(&table(), batch(vec![item(1, "a"), bad, item(2, "b")]), false).await.unwrap();
    assert_eq!(first.refused.iter().map(|r| r.key.clone()).collect::<Vec<_>>(), [key(9)]);
    tx.commit().await.unwrap();
    let mut tx = begin(subject.guarded(), Scope::Chunk(&mark)).await;
    let again = vec![item(1, "a"), item(2, "changed"), item(3, "c")];
    let again = tx.load(&table(), batch(again), true).await.unwrap();
    assert!(again.refused.is_empty() && again.joins.is_empty(), "{again:?}");
    tx.commit().await.unwrap();
    let expected = [item(1, "a").row(), item(2, "changed").row(), item(3, "c").row()];
    assert_eq!(subject.rows(Side::New).await, expected);
}

async fn a_load_names_the_row_in_the_way(subject: &Subject) {
    applied(subject, &[to(&item(1, "x").coded("A"))]).await;
    let mut tx = begin(subject.guarded(), Scope::Chunk(&chunk(0, ChunkState::Begun))).await;
    let rows = vec![item(2, "x").coded("A").row()];
    let asked = tx.load(&table(), RowBatch { rows, refused: vec![] }, true).await.unwrap();
    assert_eq!(asked.joins, [key(1)]);
}

async fn a_delete_takes_its_keys_and_may_be_repeated(subject: &Subject) {
    applied(subject, &[to(&item(1, "a")), to(&item(2, "b"))]).await;
    for deleted in [1, 0] {
        let mut tx = begin(subject.guarded(), Scope::Chunk(&chunk(0, ChunkState::Begun))).await;
        assert_eq!(tx.delete(&table(), &[key(1), key(7)]).await.unwrap(), deleted);
        tx.commit().await.unwrap();
    }
    assert_eq!(subject.rows(Side::New).await, [item(2, "b").row()]);
}

/// Whether another guard on this scope is got while `first` is held.
async fn excluded(subject: &Arc<Subject>, first: Box<dyn GuardedTx>) -> bool {
    let other = Arc::clone(subject);
    let second = tokio::spawn(async move {
        let keys = [key(1)];
        begin(other.guarded(), Scope::Keys(&keys)).await.commit().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    let waits = !second.is_finished();
    first.commit().await.unwrap();
    second.await.unwrap();
    waits
}

async fn two_guards_on_one_key_exclude_each_other(subject: &Arc<Subject>) {
    let keys = [key(1)];
    let first = begin(subject.guarded(), Scope::Keys(&keys)).await;
    assert!(excluded(subject, first).await);
}

async fn a_chunk_excludes_its_keys(subject: &Arc<Subject>) {
    let mark = chunk(0, ChunkState::Begun);
    let first = begin(subject.guarded(), Scope::Chunk(&mark)).await;
    assert!(excluded(subject, first).await);
}

async fn marks_are_kept_by_generation_and_in_order(subject: &Subject) {
    let mut tx = begin(subject.guarded(), Scope::Marks).await;
    for number in [1, 0, 2] {
        tx.mark(&chunk(number, ChunkState::Begun)).await.unwrap();
    }
    tx.mark(&Chunk { generation: 2, ..chunk(0, ChunkState::Begun) }).await.unwrap();
    tx.mark(&chunk(1, ChunkState::Done)).await.unwrap();
    tx.mark(&Chunk { upto: None, ..chunk(3, ChunkState::Begun) }).await.unwrap();
    assert_eq!(tx.chunk(&table(), 1, 1).await.unwrap(), Some(chunk(1, ChunkState::Done)));
    assert_eq!(tx.chunk(&table(), 1, 9).await.unwrap(), None);
    tx.commit().await.unwrap();
    let marks = subject.guarded().chunks(&table(), 1).await.unwrap();
    let numbers: Vec<u64> = marks.iter().map(|chunk| chunk.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(marks[1].state, ChunkState::Done);
    assert_eq!((&marks[1].after, &marks[0].upto), (&Some(key(10)), &Some(key(10))));
    assert_eq!(marks[3].upto, None);
    for _ in 0..2 {
        subject.guarded().forget_generations_below(2).await.unwrap();
        assert_eq!(subject.guarded().chunks(&table(), 1).await.unwrap(), []);
        assert_eq!(subject.guarded().chunks(&table(), 2).await.unwrap().len(), 1);
    }
}
