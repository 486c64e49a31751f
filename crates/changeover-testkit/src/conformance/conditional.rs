//! Conditional puts: the fencing token.

use changeover::store::conditional::{Conditional, Token};

use super::{Subject, cases, item, key};

cases! {
    Conditional:
        a_key_that_was_never_put_has_no_token,
        a_put_by_an_old_token_changes_nothing,
        the_token_rises_though_the_value_is_the_same,
        a_deleted_row_keeps_its_token;
}

fn store(subject: &Subject) -> &dyn Conditional {
    subject.new.conditional().unwrap()
}

async fn a_key_that_was_never_put_has_no_token(subject: &Subject) {
    assert_eq!(store(subject).get(&key(1)).await.unwrap(), (None, Token(0)));
}

async fn a_put_by_an_old_token_changes_nothing(subject: &Subject) {
    let (a, b) = (item(1, "a").row(), item(1, "b").row());
    let first = store(subject).put_if(&key(1), Some(&a), Token(0)).await.unwrap().unwrap();
    assert!(first > Token(0));
    assert_eq!(store(subject).put_if(&key(1), Some(&b), Token(0)).await.unwrap(), None);
    assert_eq!(store(subject).get(&key(1)).await.unwrap(), (Some(a), first));
}

/// 0 → 1 → 0: a condition on the value would pass here.
async fn the_token_rises_though_the_value_is_the_same(subject: &Subject) {
    let row = item(1, "a").row();
    let first = store(subject).put_if(&key(1), Some(&row), Token(0)).await.unwrap().unwrap();
    let second = store(subject).put_if(&key(1), Some(&row), first).await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(store(subject).put_if(&key(1), Some(&row), first).await.unwrap(), None);
}

async fn a_deleted_row_keeps_its_token(subject: &Subject) {
    let row = item(1, "a").row();
    let first = store(subject).put_if(&key(1), Some(&row), Token(0)).await.unwrap().unwrap();
    let second = store(subject).put_if(&key(1), None, first).await.unwrap().unwrap();
    assert_eq!(store(subject).get(&key(1)).await.unwrap(), (None, second));
    assert!(second > first);
    assert_eq!(store(subject).put_if(&key(1), Some(&row), Token(0)).await.unwrap(), None);
}
