//! Reading: by key, by range, in chunks.

use changeover::engine::cmp_keys;
use changeover::store::{BatchBudget, Image, KeyOrder, KeyRange, Store};
use changeover::value::{Key, Row, TableName};
use changeover_protocol::Side;

use super::{AppWrite, ITEMS, Subject, cases, item, key};

cases! {
    Nothing:
        a_read_sees_what_was_committed_before_it,
        a_read_answers_each_key_at_its_place,
        a_read_within_a_bound_answers_the_first_keys_and_one_at_least,
        a_scan_gives_every_row_once_in_an_order,
        a_scan_keeps_its_budget,
        a_range_excludes_its_first_key_and_includes_its_last,
        a_stream_that_is_dropped_holds_nothing,
        cuts_partition_the_key_space_and_locate_agrees,
        cuts_of_dense_keys_are_as_good_behind_a_gap,
        a_cut_past_the_end_is_none,
        the_identity_is_stable,
        a_table_that_is_not_there_is_an_error,
        both_sides_give_one_canonical_image;
}

fn table() -> TableName {
    ITEMS.into()
}

pub(super) async fn scan(store: &dyn Store, after: Option<Key>, upto: Option<Key>) -> Vec<Row> {
    let range = KeyRange { after, upto };
    let budget = BatchBudget { rows: 3, bytes: 1 << 20 };
    let mut stream = store.scan(&table(), &range, Image::Canonical, budget).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await.unwrap() {
        assert!(batch.refused.is_empty(), "{:?}", batch.refused);
        rows.extend(batch.rows);
    }
    rows
}

async fn a_read_sees_what_was_committed_before_it(subject: &Subject) {
    for n in 0..20 {
        let name = format!("name {n}");
        subject.put(&[item(1, &name)]).await;
        let rows = subject.old.read(&table(), &[key(1)], Image::Canonical).await.unwrap();
        assert_eq!(rows.rows, [Some(item(1, &name).row())]);
    }
    subject.app.write(Side::Old, &[AppWrite::Delete(1)]).await.unwrap();
    let rows = subject.old.read(&table(), &[key(1)], Image::Canonical).await.unwrap();
    assert_eq!(rows.rows, [None]);
}

async fn a_read_answers_each_key_at_its_place(subject: &Subject) {
    subject.put(&[item(1, "a"), item(2, "b"), item(3, "c")]).await;
    let keys = [key(3), key(99), key(1), key(3)];
    let rows = subject.old.read(&table(), &keys, Image::Canonical).await.unwrap();
    let expected = [Some(item(3, "c").row()), None, Some(item(1, "a").row()), Some(item(3, "c").row())];
    assert_eq!(rows.rows, expected);
    assert_eq!(subject.old.read(&table(), &[], Image::Canonical).await.unwrap().rows, []);
}

async fn a_read_within_a_bound_answers_the_first_keys_and_one_at_least(subject: &Subject) {
    let items: Vec<_> = (0..9).map(|n| item(n, &"x".repeat(1_000))).collect();
    subject.put(&items).await;
    let keys: Vec<Key> = (0..9).map(key).collect();
    let within =
        async |bytes| subject.old.read_within(&table(), &keys, Image::Canonical, bytes).await.unwrap().rows;
    assert_eq!(within(1).await, [Some(items[0].row())]);
    let some = within(4_000).await;
    assert!((2..=4).contains(&some.len()), "{}", some.len());
    assert!(some.iter().zip(&items).all(|(row, item)| *row == Some(item.row())), "each at its key's place");
    assert_eq!(within(1 << 20).await.len(), 9);
}

async fn a_scan_gives_every_row_once_in_an_order(subject: &Subject) {
    for n in [5, -3, 12, 0, 7, i64::MAX, i64::MIN] {
        subject.put(&[item(n, "x")]).await;
    }
    let rows = scan(subject.old.as_ref(), None, None).await;
    assert_eq!(rows.len(), 7);
    let again = scan(subject.old.as_ref(), None, None).await;
    assert_eq!(rows, again, "the order is always the same");
    if subject.old.tables()[0].order == KeyOrder::Binary {
        assert!(rows.is_sorted_by(|a, b| cmp_keys(&a.0[..1], &b.0[..1]).is_lt()), "{rows:?}");
    }
}

async fn a_scan_keeps_its_budget(subject: &Subject) {
    let items: Vec<_> = (0..50).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    let budget = BatchBudget { rows: 7, bytes: 1 << 20 };
    let all = KeyRange::default();
    let mut stream = subject.old.scan(&table(), &all, Image::Canonical, budget).await.unwrap();
    let mut seen = 0;
    while let Some(batch) = stream.next().await.unwrap() {
        assert!(batch.rows.len() <= 7);
        seen += batch.rows.len();
    }
    assert_eq!(seen, 50);
    // A row may exceed the budget, and is given all the same.
    let tiny = BatchBudget { rows: 1_000, bytes: 1 };
    let mut stream = subject.old.scan(&table(), &all, Image::Canonical, tiny).await.unwrap();
    let mut batches = 0;
    while let Some(batch) = stream.next().await.unwrap() {
        assert_eq!(batch.rows.len(), 1);
        batches += 1;
    }
    assert_eq!(batches, 50);
}

async fn a_range_excludes_its_first_key_and_includes_its_last(subject: &Subject) {
    let items: Vec<_> = (0..10).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    let all = scan(subject.old.as_ref(), None, None).await;
    let shape = &subject.old.tables()[0];
    let bounds: Vec<Key> = all.iter().map(|row| shape.key_of(row)).collect();
    let between = scan(subject.old.as_ref(), Some(bounds[2].clone()), Some(bounds[6].clone())).await;
    assert_eq!(between, all[3..=6]);
    assert_eq!(scan(subject.old.as_ref(), Some(bounds[9].clone()), None).await, []);
    let one = Some(bounds[4].clone());
    assert_eq!(scan(subject.old.as_ref(), one.clone(), one).await, []);
}

async fn a_stream_that_is_dropped_holds_nothing(subject: &Subject) {
    let items: Vec<_> = (0..2_000).map(|n| item(n, "x")).collect();
    subject.put(&items).await;
    for _ in 0..20 {
        let budget = BatchBudget { rows: 1, bytes: 1 };
        let all = KeyRange::default();
        let mut stream = subject.old.scan(&table(), &all, Image::Canonical, budget).await.unwrap();
        stream.next().await.unwrap();
        drop(stream);
    }
    subject.put(&[item(3, "changed")]).await;
    assert_eq!(scan(subject.old.as_ref(), None, None).await.len(), 2_000);
}

async fn cuts_partition_the_key_space_and_locate_agrees(subject: &Subject) {
    let items: Vec<_> = (0..40).map(|n| item(n * 7 - 100, "x")).collect();
    subject.put(&items).await;
    partitioned(subject, 40).await;
}

/// Dense keys, over which a store may reckon, then a gap wider than all of them, and dense ones again.
async fn cuts_of_dense_keys_are_as_good_behind_a_gap(subject: &Subject) {
    let items: Vec<_> = (0..90).chain(10_000..10_050).map(|id| item(id, "x")).collect();
    subject.put(&items).await;
    partitioned(subject, 140).await;
}

async fn partitioned(subject: &Subject, rows_in_all: usize) {
    let (mut bounds, mut after) = (Vec::new(), None);
    while let Some(upto) = subject.old.cut(&table(), after.as_ref(), 6).await.unwrap() {
        bounds.push(upto.clone());
        after = Some(upto);
        assert!(bounds.len() < 50, "cuts without end");
    }
    let shape = &subject.old.tables()[0];
    let mut seen = 0;
    for chunk in 0..=bounds.len() {
        let from = chunk.checked_sub(1).map(|before| bounds[before].clone());
        let rows = scan(subject.old.as_ref(), from, bounds.get(chunk).cloned()).await;
        assert!(rows.len() <= 6, "a chunk of 6 has {}", rows.len());
        seen += rows.len();
        let keys: Vec<Key> = rows.iter().map(|row| shape.key_of(row)).collect();
        let located = subject.old.locate(&table(), &keys, &bounds).await.unwrap();
        assert!(located.iter().all(|&at| at == chunk), "chunk {chunk}: {located:?}");
    }
    assert_eq!(seen, rows_in_all);
    // A key that has no row has its place too.
    let places = subject.old.locate(&table(), &[key(i64::MIN), key(i64::MAX)], &bounds).await.unwrap();
    let mut ends = places.clone();
    ends.sort_unstable();
    assert_eq!(ends, [0, bounds.len()]);
    assert_eq!(subject.old.locate(&table(), &[key(1)], &[]).await.unwrap(), [0]);
}

async fn a_cut_past_the_end_is_none(subject: &Subject) {
    assert_eq!(subject.old.cut(&table(), None, 1).await.unwrap(), None);
    subject.put(&[item(1, "a"), item(2, "b")]).await;
    assert_eq!(subject.old.cut(&table(), None, 3).await.unwrap(), None);
    assert_eq!(subject.old.cut(&table(), None, u64::MAX).await.unwrap(), None);
}

async fn the_identity_is_stable(subject: &Subject) {
    let before = subject.old.identity().await.unwrap();
    subject.put(&[item(1, "a")]).await;
    let after = subject.old.identity().await.unwrap();
    assert_eq!((&after.server, &after.tables), (&before.server, &before.tables));
    if let (Some(after), Some(before)) = (&after.log, &before.log) {
        assert!(!after.is_older_than(before));
    }
    assert_eq!(before.tables.len(), 1);
}

async fn a_table_that_is_not_there_is_an_error(subject: &Subject) {
    let nowhere: TableName = "nowhere".into();
    assert!(subject.old.read(&nowhere, &[Key::new("nowhere", 1_i64)], Image::Canonical).await.is_err());
    assert!(subject.old.cut(&nowhere, None, 1).await.is_err());
    let budget = BatchBudget::default();
    let scan = subject.old.scan(&nowhere, &KeyRange::default(), Image::Canonical, budget).await;
    let broken = match scan {
        Err(_) => true,
        Ok(mut stream) => stream.next().await.is_err(),
    };
    assert!(broken);
}

async fn both_sides_give_one_canonical_image(subject: &Subject) {
    let values =
        [item(1, ""), item(2, "a'b\"c"), item(3, "Zoë 東京 \u{1F3AC}"), item(4, "line\nbreak\tand  spaces ")];
    for side in [Side::Old, Side::New] {
        let writes: Vec<AppWrite> = values.iter().cloned().map(AppWrite::Put).collect();
        subject.app.write(side, &writes).await.unwrap();
    }
    assert_eq!(subject.rows(Side::Old).await, subject.rows(Side::New).await);
    let back = subject.new.read(&table(), &[key(3)], Image::Back).await.unwrap();
    assert_eq!(back.rows.len(), 1);
    assert!(back.rows[0].is_some());
}
