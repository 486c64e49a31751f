//! A chunk's rows over rows that are there already: what comes of it is what a look at each row would come to.

use changeover::Side;
use changeover::store::RowBatch;
use changeover::store::guard::{Applied, Scope};

use super::world::{Stores, World, ask, key, rows};

async fn load_over(stores: &Stores, commit: bool) -> Applied {
    let rows = rows(&stores.old, &"items".into()).await;
    let mut tx = stores.guarded(Side::New).begin(Scope::Marks).await.unwrap();
    let batch = RowBatch { rows, refused: vec![] };
    let applied = tx.load(&"items".into(), batch, true).await.unwrap();
    if commit {
        tx.commit().await.unwrap();
    }
    applied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_in_any_bit_is_written_and_what_doesnt_is_left_alone() {
    let sql = "CREATE TYPE address AS (street text, since date); CREATE TYPE mood AS ENUM ('fine', 'bad'); \
        CREATE TABLE items (\"Id\" int PRIMARY KEY, amount numeric, doc json, x float8, home address, moods mood[], \
          twice int GENERATED ALWAYS AS (\"Id\" * 2) STORED)";
    let fill = "INSERT INTO items (\"Id\", amount, doc, x, home, moods) SELECT n, 1.0, '{\"a\": 1}', 0, \
        ROW('a, b', '2026-11-22')::address, '{fine,bad}' FROM generate_series";
    let old = format!("{sql}; {fill}(1, 20) n; UPDATE items SET doc = NULL WHERE \"Id\" = 20");
    let new = format!(
        "{sql}; {fill}(1, 15) n; UPDATE items SET amount = 1.00 WHERE \"Id\" = 1; UPDATE items SET doc = '{{\"a\":1}}' \
         WHERE \"Id\" = 2; UPDATE items SET x = '-0' WHERE \"Id\" = 3; UPDATE items SET home.street = NULL WHERE \"Id\" = 4; \
         UPDATE items SET moods = '[0:1]={{fine,bad}}' WHERE \"Id\" = 5; UPDATE items SET amount = NULL WHERE \"Id\" = 6"
    );
    let world = World::new(&old, &new).await;
    let stores = world.of("items").await;
    let untouched = "SELECT xmin, \"Id\" FROM items WHERE \"Id\" BETWEEN 7 AND 15 ORDER BY 2";
    let before = ask(&world.new_app, untouched).await;
    let applied = load_over(&stores, true).await;
    assert_eq!((applied.written, applied.unchanged, applied.refused.len()), (11, 9, 0));
    stores.assert_equal().await;
    let all = "SELECT items::text FROM items ORDER BY \"Id\"";
    assert_eq!(ask(&world.new_app, all).await, ask(&world.old_app, all).await);
    assert_eq!(ask(&world.new_app, untouched).await, before);
    let applied = load_over(&stores, true).await;
    assert_eq!((applied.written, applied.unchanged), (0, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_all_key_and_a_column_that_no_update_sets() {
    let all_key = "CREATE TABLE items (a int, b text, PRIMARY KEY (b, a))";
    let fill = "INSERT INTO items SELECT n, 'x' || n FROM generate_series";
    let world =
        World::new(&format!("{all_key}; {fill}(1, 9) n"), &format!("{all_key}; {fill}(1, 4) n")).await;
    let applied = load_over(&world.of("items").await, true).await;
    assert_eq!((applied.written, applied.unchanged), (5, 4));
    let always = "CREATE TABLE items (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, name text)";
    let world = World::new(
        &format!("{always}; INSERT INTO items OVERRIDING SYSTEM VALUE VALUES (1, 5, 'a'), (2, 6, 'b')"),
        &format!("{always}; INSERT INTO items OVERRIDING SYSTEM VALUE VALUES (1, 5, 'x'), (2, 7, 'b')"),
    )
    .await;
    let applied = load_over(&world.of("items").await, true).await;
    assert_eq!((applied.written, applied.refused.len()), (1, 1));
    assert_eq!(applied.refused[0].key, key("items", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_way_is_named_and_who_isnt_taken_is_too() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, code int UNIQUE, name text CHECK (name <> 'bad'))";
    let old = "CREATE TABLE items (id int PRIMARY KEY, code int UNIQUE, name text); \
        INSERT INTO items VALUES (1, 10, 'a'), (2, 20, 'bad'), (3, 30, 'c')";
    // Row 9 holds a value that row 3 is to have, and isn't among the chunk's.
    let world = World::new(old, &format!("{sql}; INSERT INTO items VALUES (1, 11, 'a'), (9, 30, 'z')")).await;
    let stores = world.of("items").await;
    let applied = load_over(&stores, false).await;
    assert_eq!((applied.written, applied.joins), (0, vec![key("items", 9)]));
    world.new_app.batch_execute("DELETE FROM items WHERE id = 9").await.unwrap();
    let applied = load_over(&stores, true).await;
    assert_eq!(applied.written, 2);
    assert_eq!(applied.refused.iter().map(|r| r.key.clone()).collect::<Vec<_>>(), [key("items", 2)]);
    assert_eq!(ask(&world.new_app, "SELECT * FROM items ORDER BY id").await, ["1|10|a", "3|30|c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_source_with_the_same_key_are_left_alone() {
    let old = "CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'ours'), (2, 'ours')";
    let new = "CREATE TABLE items (source text, id int, name text, PRIMARY KEY (source, id)); \
        INSERT INTO items VALUES ('other', 1, 'theirs'), ('here', 2, 'before')";
    let world = World::new(old, new).await;
    let mut mapping = super::world::mapping("items", "items");
    mapping.set.push(("source".to_owned(), changeover::mapping::SetExpr::Const("here".into())));
    let stores = world.stores(&[mapping]).await;
    assert_eq!(load_over(&stores, true).await.written, 2);
    let all = ask(&world.new_app, "SELECT * FROM items ORDER BY 1, 2").await;
    assert_eq!(all, ["here|1|ours", "here|2|ours", "other|1|theirs"]);
}
