//! Keys of every kind: found, logged, and located in the server's own order, whatever its collation.

use changeover::store::{BatchBudget, Image, KeyRange};
use changeover::{Key, Side};

use super::world::{World, ask, key, mapping, rows};

/// Keys lie in the order in which the server scans them, each is found by itself, and is logged under what it was and is.
async fn hold(world: &World, name: &str) {
    let stores = world.stores(&[mapping(name, name)]).await;
    stores.capture().await;
    stores.copy().await;
    stores.assert_equal().await;
    for store in [&stores.old, &stores.new] {
        let shape = store.tables()[0].clone();
        let table = &shape.table;
        let keys: Vec<Key> = rows(store, table).await.iter().map(|row| shape.key_of(row)).collect();
        assert!(keys.len() > 3, "{name}");
        let places = store.locate(table, &keys, &keys).await.unwrap();
        assert_eq!(places, (0..keys.len()).collect::<Vec<_>>(), "{name}: {keys:?}");
        let found = store.read(table, &keys, Image::Canonical).await.unwrap();
        assert!(found.rows.iter().all(Option::is_some) && found.refused.is_empty(), "{name}: {found:?}");
        // In pieces of two there is all, once, in the same order.
        let (mut after, mut pieces) = (None, Vec::new());
        loop {
            let upto = store.cut(table, after.as_ref(), 2).await.unwrap();
            let range = KeyRange { after: after.clone(), upto: upto.clone() };
            let mut stream =
                store.scan(table, &range, Image::Canonical, BatchBudget::default()).await.unwrap();
            while let Some(batch) = stream.next().await.unwrap() {
                pieces.extend(batch.rows.iter().map(|row| shape.key_of(row)));
            }
            if upto.is_none() {
                break;
            }
            after = upto;
        }
        assert_eq!(pieces, keys, "{name}");
    }
    world.old_app.batch_execute(&format!("UPDATE {name} SET v = 'changed'")).await.unwrap();
    stores.drain().await;
    stores.assert_equal().await;
    world.old_app.batch_execute(&format!("DELETE FROM {name}")).await.unwrap();
    stores.drain().await;
    stores.assert_equal().await;
    stores.old.remove_installed(None).await.unwrap();
}

const TABLES: &str = "CREATE EXTENSION citext; \
    CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk'); \
    CREATE COLLATION either (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Aloof'); \
    CREATE DOMAIN code AS text NOT NULL CHECK (value <> ''); \
    CREATE TABLE plain (k text PRIMARY KEY, v text); \
    INSERT INTO plain VALUES ('b'), ('B'), ('a'), ('A'), ('ä'), ('z'), ('_'), ('10'), ('9'), ('a b'), ('ab'), (''), ('😀'); \
    CREATE TABLE bytes (k text COLLATE \"C\" PRIMARY KEY, v text); INSERT INTO bytes SELECT k FROM plain; \
    CREATE TABLE phonebook (k text COLLATE german PRIMARY KEY, v text); INSERT INTO phonebook SELECT k FROM plain; \
    CREATE TABLE either (k text COLLATE either PRIMARY KEY, v text); INSERT INTO either SELECT k FROM plain WHERE k NOT IN ('A', 'B'); \
    CREATE TABLE ci (k citext PRIMARY KEY, v text); INSERT INTO ci SELECT k FROM plain WHERE k NOT IN ('A', 'B'); \
    CREATE TABLE fixed (k char(4) PRIMARY KEY, v text); INSERT INTO fixed SELECT k FROM plain; \
    CREATE TABLE coded (k code PRIMARY KEY, v text); INSERT INTO coded SELECT k FROM plain WHERE k <> ''; \
    CREATE TABLE moods (k mood PRIMARY KEY, v text); INSERT INTO moods VALUES ('happy'), ('sad'), ('Aloof'), ('ok'); \
    CREATE TABLE number (k numeric PRIMARY KEY, v text); INSERT INTO number VALUES (1.0), (2), (-1.50), (1e20), (0.001), (10); \
    CREATE TABLE uid (k uuid PRIMARY KEY, v text); INSERT INTO uid SELECT md5(n::text)::uuid FROM generate_series(1, 9) AS n; \
    CREATE TABLE moment (k timestamptz PRIMARY KEY, v text); \
    INSERT INTO moment VALUES ('2026-01-01 00:00:00.000001+02'), ('infinity'), ('-infinity'), ('0044-03-15 BC'), ('2026-01-01'); \
    CREATE TABLE day (k date PRIMARY KEY, v text); INSERT INTO day VALUES ('2026-01-01'), ('infinity'), ('-infinity'), ('0044-03-15 BC'); \
    CREATE TABLE address (k inet PRIMARY KEY, v text); INSERT INTO address VALUES ('10.0.0.1'), ('9.0.0.1'), ('::1'), ('10.0.0.0/8'); \
    CREATE TABLE pair (a text COLLATE \"C\", m mood, b text COLLATE german, n int, v text, PRIMARY KEY (a, m, b, n)); \
    INSERT INTO pair SELECT p.k, m.k, q.k, 1 FROM plain p, moods m, plain q WHERE p.k IN ('a', 'B', 'ab', '_') AND q.k IN ('ä', 'z', 'A')";
const KINDS: [&str; 14] = [
    "plain",
    "bytes",
    "phonebook",
    "either",
    "ci",
    "fixed",
    "coded",
    "moods",
    "number",
    "uid",
    "moment",
    "day",
    "address",
    "pair",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_any_kind_is_located_where_the_server_has_it() {
    let world = World::same(TABLES).await;
    for name in KINDS {
        Box::pin(hold(&world, name)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_a_database_with_a_language_are_located_where_its_language_has_them() {
    // LC_COLLATE says C, and means nothing where the provider is ICU.
    let icu = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'";
    let world = World::with(icu, TABLES, TABLES).await;
    for name in ["plain", "bytes", "ci", "fixed", "coded", "pair"] {
        Box::pin(hold(&world, name)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collation_of_a_schema_that_is_not_searched_is_found() {
    let sql = "CREATE SCHEMA app; CREATE COLLATION app.german (provider = icu, locale = 'de'); \
        CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy', 'z'); CREATE DOMAIN app.code AS text COLLATE app.german; \
        CREATE TABLE app.items (k app.code COLLATE app.german, m app.mood, v text, PRIMARY KEY (k, m)); \
        INSERT INTO app.items SELECT k, m::app.mood FROM unnest('{b,B,ä}'::text[]) AS k, unnest('{z,sad}'::text[]) AS m";
    let world = World::same(sql).await;
    let stores = world.stores(&[mapping("app/items", "app/items")]).await;
    stores.capture().await;
    stores.copy().await;
    let shape = stores.old.tables()[0].clone();
    let keys: Vec<Key> = rows(&stores.old, &shape.table).await.iter().map(|row| shape.key_of(row)).collect();
    let places = stores.old.locate(&shape.table, &keys, &keys).await.unwrap();
    assert_eq!(places, (0..6).collect::<Vec<_>>());
    world.old_app.batch_execute("UPDATE app.items SET v = 'x' WHERE k = 'b'").await.unwrap();
    stores.drain().await;
    stores.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_spelling_alone_changes_is_logged_under_both_and_converges() {
    let world = World::same(TABLES).await;
    for (table, from, to) in
        [("either", "'a'", "'A'"), ("ci", "'a'", "'A'"), ("number", "1.0", "1.00"), ("plain", "'a'", "'c'")]
    {
        let stores = world.of(table).await;
        stores.capture().await;
        stores.copy().await;
        world.old_app.batch_execute(&format!("UPDATE {table} SET k = {to} WHERE k = {from}")).await.unwrap();
        assert_eq!(stores.logged(Side::Old).await.len(), 2, "{table}");
        stores.drain().await;
        stores.assert_equal().await;
        let spelled =
            format!("SELECT count(*) FROM {table} WHERE k::text COLLATE \"C\" = {to}::text COLLATE \"C\"");
        assert_eq!(ask(&world.new_app, &spelled).await, ["1"], "{table}");
        stores.old.remove_installed(None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_type_that_refuses_null_does_not_break_the_other_tables_writes() {
    let sql = "CREATE DOMAIN code AS text NOT NULL; CREATE TABLE coded (k code PRIMARY KEY, v text); \
               CREATE TABLE items (id bigint PRIMARY KEY, v text)";
    let world = World::same(sql).await;
    let stores = world.stores(&[mapping("coded", "coded"), mapping("items", "items")]).await;
    stores.capture().await;
    world
        .old_app
        .batch_execute("INSERT INTO items VALUES (1, 'a'); INSERT INTO coded VALUES ('b', 'c')")
        .await
        .unwrap();
    stores.drain().await;
    stores.assert_equal().await;
    let gone = stores.old.read(&"coded".into(), &[key("coded", "x")], Image::Canonical).await.unwrap();
    assert_eq!(gone.rows, [None]);
}
