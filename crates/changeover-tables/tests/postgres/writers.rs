//! Writers of every kind: without rights on what is ours, with settings of their own, with odd names; each captured and fenced.

use changeover::Side;
use changeover::store::fence::FenceState;

use super::world::{CAPTURE, World, ask, connect, mapping, refused, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_rights_on_the_table_alone_writes_as_before_and_is_captured_and_fenced() {
    let world =
        World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text, owner text DEFAULT current_user)")
            .await;
    let stores = world.of("items").await;
    stores.capture().await;
    let server = server().await;
    let role = tokio::task::spawn_blocking(|| server.create_role("writer", "it's")).await.unwrap();
    let admin = &world.old_app;
    admin
        .batch_execute(&format!(
            "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON items TO {role}; \
             ALTER TABLE items ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON items USING (owner = current_user); \
             CREATE SCHEMA {role} AUTHORIZATION {role}; INSERT INTO items VALUES (100, 'hidden', 'somebody')"
        ))
        .await
        .unwrap();
    let database = world.urls[0].rsplit('/').next().unwrap().to_owned();
    let app = connect(&server.url_as(&role, "it's", &database)).await;
    // Names of ours, and of what our functions call, lie first in its path.
    app.batch_execute(&format!(
        "CREATE TABLE {role}.\"changeover_log_old:move\" (id int, mapping text); \
         CREATE FUNCTION {role}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'; \
         CREATE FUNCTION {role}.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT 'move'::text$$; \
         CREATE FUNCTION {role}.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'"
    ))
    .await
    .unwrap();
    for (n, settings) in [
        format!("SET search_path = {role}, pg_catalog, public"),
        "SET search_path = ''".to_owned(),
        "SET standard_conforming_strings = off; SET backslash_quote = on".to_owned(),
        "SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET lock_timeout = 1; SET default_transaction_isolation = 'serializable'".to_owned(),
        "SET row_security = on; SET check_function_bodies = off".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        app.batch_execute(&format!("RESET ALL; {settings}")).await.unwrap();
        app.batch_execute(&format!("INSERT INTO public.items VALUES ({n}, 'a')")).await.unwrap();
        app.batch_execute(&format!("UPDATE public.items SET id = {n} + 10 WHERE id = {n}")).await.unwrap();
        let both = [format!("items({n})"), format!("items({})", n + 10)];
        let logged = stores.logged(Side::Old).await;
        assert!(both.iter().all(|key| logged.contains(key)), "{settings}: {logged:?}");
    }
    stores.log(Side::Old).reset().await.unwrap();
    app.batch_execute("RESET ALL; TRUNCATE public.items").await.unwrap();
    let logged = stores.logged(Side::Old).await;
    assert!(
        logged.contains(&"items(100)".to_owned()),
        "rows that the writer doesn't see are gone too: {logged:?}"
    );
    assert_eq!(ask(&app, &format!("SELECT count(*) FROM {role}.\"changeover_log_old:move\"")).await, ["0"]);
    assert_eq!(refused(&app, "SELECT * FROM changeover.changeover_meta").await, "42501");
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    for write in ["INSERT INTO public.items VALUES (1, 'a')", "TRUNCATE public.items"] {
        assert_eq!(refused(&app, &format!("SET search_path = {role}, pg_catalog; {write}")).await, "40001");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_write_is_captured_and_fenced() {
    let sql = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2), (3), (4); \
        CREATE TABLE items (id bigint PRIMARY KEY, name text, gone int REFERENCES parent ON DELETE CASCADE, \
        nulled int REFERENCES parent ON DELETE SET NULL, moved int REFERENCES parent ON UPDATE CASCADE); \
        INSERT INTO items (id, name) SELECT n, 'x' FROM generate_series(1, 20) AS n; \
        UPDATE items SET gone = 1 WHERE id = 5; UPDATE items SET nulled = 2 WHERE id = 6; UPDATE items SET moved = 3 WHERE id = 7";
    let new = "CREATE TABLE items (id bigint PRIMARY KEY, name text, gone int, nulled int, moved int)";
    let world = World::new(sql, new).await;
    let stores = world.of("items").await;
    stores.capture().await;
    stores.copy().await;
    let app = &world.old_app;
    app.batch_execute("CREATE VIEW seen AS SELECT * FROM items").await.unwrap();
    let writes: [(&str, &[i64]); 11] = [
        (
            "INSERT INTO items (id, name) VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            &[1],
        ),
        ("INSERT INTO items (id, name) VALUES (21, 'y') ON CONFLICT DO NOTHING", &[21]),
        ("UPDATE items SET id = 32 WHERE id = 2", &[2, 32]),
        ("DELETE FROM parent WHERE id = 1", &[5]),
        ("DELETE FROM parent WHERE id = 2", &[6]),
        ("UPDATE parent SET id = 33 WHERE id = 3", &[7]),
        (
            "WITH gone AS (DELETE FROM items WHERE id = 8 RETURNING *) INSERT INTO items SELECT id + 100, name FROM gone",
            &[8, 108],
        ),
        ("UPDATE seen SET name = 'through the view' WHERE id = 9", &[9]),
        (
            "SET session_replication_role = replica; UPDATE items SET name = 'z' WHERE id = 10; RESET session_replication_role",
            &[10],
        ),
        (
            "MERGE INTO items USING (VALUES (11)) AS v(id) ON items.id = v.id WHEN MATCHED THEN UPDATE SET name = 'm'",
            &[11],
        ),
        (
            "DO $$ BEGIN UPDATE items SET name = 'kept' WHERE id = 12; BEGIN UPDATE items SET name = 'undone' WHERE id = 13; \
          RAISE EXCEPTION 'x'; EXCEPTION WHEN others THEN NULL; END; END $$",
            &[12],
        ),
    ];
    for (sql, ids) in writes {
        app.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut wanted: Vec<String> = ids.iter().map(|id| format!("items({id})")).collect();
        wanted.sort();
        assert_eq!(stores.logged(Side::Old).await, wanted, "{sql}");
        stores.drain().await;
    }
    let copy = app.copy_in("COPY items (id, name) FROM STDIN").await.unwrap();
    let mut copy = Box::pin(copy);
    futures_util::SinkExt::send(&mut copy, bytes::Bytes::from_static(b"40\tcopied\n41\tcopied\n"))
        .await
        .unwrap();
    copy.as_mut().finish().await.unwrap();
    assert_eq!(stores.logged(Side::Old).await, ["items(40)", "items(41)"]);
    stores.drain().await;
    stores.assert_equal().await;

    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    app.batch_execute("UPDATE items SET gone = NULL WHERE false; INSERT INTO parent VALUES (50)")
        .await
        .unwrap();
    for (sql, _) in &writes[..10] {
        // Those that find no row any more change nothing, and may say so.
        if let Err(error) = app.batch_execute(sql).await {
            assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("40001"), "{sql}");
        }
        app.batch_execute("RESET session_replication_role").await.unwrap();
    }
    for sql in [
        "DELETE FROM parent WHERE id = 33",
        "UPDATE parent SET id = 34 WHERE id = 33",
        "SET session_replication_role = replica; DELETE FROM items WHERE id = 1",
    ] {
        assert_ne!(refused(app, sql).await, "", "{sql}");
    }
    stores.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_need_quotes_and_names_as_long_as_may_be_are_no_trouble() {
    let sql = r#"CREATE SCHEMA "Or""der's"; SET search_path = "Or""der's";
        CREATE TYPE "Kind's" AS ENUM ('a''b', 'C\d');
        CREATE TABLE "select" ("from" bigint, "Key ""2"" %s" text, "group" "Kind's", "User's" text, PRIMARY KEY ("from", "Key ""2"" %s"));
        INSERT INTO "select" VALUES (1, 'a', 'a''b', 'x')"#;
    let world = World::same(sql).await;
    let name = "Or\"der's/select";
    for migration in ["m".repeat(63), "it's \\ \"odd\" é".to_owned()] {
        let stores = world.stores_as(&migration, &[mapping(name, name)], &world.urls).await;
        stores.log(Side::Old).install(CAPTURE).await.unwrap();
        stores.copy().await;
        assert!(stores.log(Side::Old).installed().await.unwrap());
        world
            .old_app
            .batch_execute(r#"INSERT INTO "select" VALUES (2, 'q"''', 'C\d', 'y'); UPDATE "select" SET "Key ""2"" %s" = 'b%s' WHERE "from" = 1"#)
            .await
            .unwrap();
        assert_eq!(stores.log(Side::Old).claim(0, 10).await.unwrap().len(), 3);
        stores.drain().await;
        stores.assert_equal().await;
        world.old_app.batch_execute(r#"TRUNCATE "select""#).await.unwrap();
        stores.drain().await;
        stores.assert_equal().await;
        stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
        assert!(stores.fence(Side::Old).is_whole().await.unwrap());
        assert_eq!(refused(&world.old_app, r#"INSERT INTO "select" VALUES (3, 'c')"#).await, "40001");
        stores.old.remove_installed(None).await.unwrap();
        stores.new.remove_installed(None).await.unwrap();
        let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeover%'";
        assert_eq!(ask(&world.old_app, left).await, ["0"], "{migration}");
        world.old_app.batch_execute(r#"INSERT INTO "select" VALUES (1, 'a', 'a''b', 'x')"#).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_works_under_a_publication_of_all_tables() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    world.old_app.batch_execute("CREATE PUBLICATION everything FOR ALL TABLES").await.unwrap();
    let stores = world.of("items").await;
    stores.capture().await;
    world
        .old_app
        .batch_execute("INSERT INTO items VALUES (1, 'a'); UPDATE items SET name = 'b'")
        .await
        .unwrap();
    stores.drain().await;
    stores.fence(Side::Old).set(FenceState::Moved, 1).await.unwrap();
    stores.fence(Side::Old).set(FenceState::Open, 2).await.unwrap();
    stores.log(Side::Old).reset().await.unwrap();
    stores.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_become_visible_out_of_order_are_neither_lost_nor_slept_through() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let stores = world.of("items").await;
    stores.capture().await;
    let log = stores.log(Side::Old);
    log.changed(0).await;
    let late = world.app(Side::Old).await;
    late.batch_execute("BEGIN; INSERT INTO items VALUES (1, 'took its number first')").await.unwrap();
    world.old_app.batch_execute("INSERT INTO items VALUES (2, 'committed first')").await.unwrap();
    log.changed(5_000).await;
    let first = log.claim(0, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    log.discard(&[first[0].id]).await.unwrap();
    log.changed(0).await;
    let begun = std::time::Instant::now();
    let (_, ()) = tokio::join!(async { late.batch_execute("COMMIT").await.unwrap() }, log.changed(30_000));
    assert!(begun.elapsed().as_secs() < 10, "it slept through a commit");
    let second = log.claim(0, 10).await.unwrap();
    assert!(second.len() == 1 && second[0].id < first[0].id, "{second:?} after {first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_comes_late_as_another_is_discarded_is_not_slept_through() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let stores = world.of("items").await;
    stores.capture().await;
    let log = stores.log(Side::Old);
    let late = world.app(Side::Old).await;
    late.batch_execute("BEGIN; INSERT INTO items VALUES (1, 'late')").await.unwrap();
    world.old_app.batch_execute("INSERT INTO items VALUES (2, 'a'), (3, 'b')").await.unwrap();
    log.changed(0).await;
    let claims = log.claim(0, 10).await.unwrap();
    log.discard(&[claims[0].id]).await.unwrap();
    late.batch_execute("COMMIT").await.unwrap();
    let begun = std::time::Instant::now();
    log.changed(30_000).await;
    assert!(begun.elapsed().as_secs() < 10, "it slept through a commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_writers_do_not_fail_where_the_bound_is_looked_at() {
    let world = World::same("CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let stores = world.of("items").await;
    stores.capture().await;
    let (a, b) = (world.app(Side::Old).await, world.app(Side::Old).await);
    for app in [&a, &b] {
        app.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    }
    for (n, app) in [&a, &b, &a, &b].into_iter().enumerate() {
        let from = n * 100;
        let sql = format!("INSERT INTO items SELECT n, 'x' FROM generate_series({from}, {from} + 99) AS n");
        app.batch_execute(&sql).await.unwrap();
    }
    a.batch_execute("COMMIT").await.unwrap();
    b.batch_execute("COMMIT").await.unwrap();
}
