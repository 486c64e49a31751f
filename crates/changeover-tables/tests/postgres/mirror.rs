//! The mirror's own writes: what marks them, what they silence, and rows that stand in each other's way.

use std::time::{Duration, Instant};

use changeover::Side;
use changeover::store::fence::FenceState;
use changeover::store::guard::{Change, Scope};
use changeover_testkit::Relay;

use super::world::{CAPTURE, Stores, World, ask, key, mapping, refused, server, until};

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_of_the_mirror_ends_with_its_transaction_and_is_for_its_own_migration_alone() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    // The new side is the old side of a second migration, A -> B -> C.
    let chained = world
        .stores_as("onwards", &[mapping("items", "items")], &[world.urls[1].clone(), world.urls[0].clone()])
        .await;
    chained.log(Side::Old).install(CAPTURE).await.unwrap();
    stores.log(Side::New).install(CAPTURE).await.unwrap();
    stores.capture().await;
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    world.old_app.batch_execute("INSERT INTO items VALUES (1, 'a')").await.unwrap();
    stores.drain().await;
    assert_eq!(
        chained.logged(Side::Old).await,
        ["items(1)"],
        "the second migration must follow what the first one writes"
    );
    assert!(
        stores.logged(Side::New).await.is_empty(),
        "the mirror's own writes are no changes to be carried back"
    );
    // No session of ours is marked any more; what an application does to its own it does to itself.
    let marked = "SELECT current_setting('changeover.mirror', true)";
    let mut tx = stores.guarded(Side::New).begin(Scope::Marks).await.unwrap();
    tx.delete(&"items".into(), &[key("items", 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ask(&world.new_app, marked).await, ["NULL"]);
    let app = &world.new_app;
    app.batch_execute(
        "BEGIN; SET LOCAL changeover.mirror = 'move'; INSERT INTO items VALUES (2, 'passes'); COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(
        refused(app, "INSERT INTO items VALUES (3, 'b')").await,
        "40001",
        "a mark for one transaction has ended with it"
    );
    app.batch_execute("SET changeover.mirror = 'move'; INSERT INTO items VALUES (4, 'passes as well')")
        .await
        .unwrap();
    assert!(stores.logged(Side::New).await.is_empty());
    app.batch_execute("SET changeover.mirror = 'another'").await.unwrap();
    assert_eq!(refused(app, "INSERT INTO items VALUES (5, 'b')").await, "40001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_reads_what_was_committed_before_it_was_got_and_a_paused_put_does_not_land_late() {
    let world = World::same(ITEMS).await;
    let stores = world.of("items").await;
    let one = [key("items", 1)];
    let table = "items".into();
    let first = stores.guarded(Side::New).begin(Scope::Keys(&one)).await.unwrap();
    // The second waits for the first, which puts and commits meanwhile.
    let mut first = first;
    let image = changeover::Row(vec![1.into(), "of the first".into()]);
    let look = world.app(Side::New).await;
    let (second, ()) = tokio::join!(stores.guarded(Side::New).begin(Scope::Keys(&one)), async {
        until(&look, "SELECT count(*) > 0 FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND locktype = 'advisory' AND NOT granted").await;
        let change = Change { key: one[0].clone(), row: Some(image.clone()), back: None };
        first.apply(&[change]).await.unwrap();
        first.commit().await.unwrap();
    });
    let mut second = second.unwrap();
    assert_eq!(second.read(&table, &one).await.unwrap().rows, [Some(image)]);
    // A third is refused for as long as the second is paused, and other keys go on.
    assert!(stores.guarded(Side::New).begin(Scope::Keys(&one)).await.err().unwrap().retryable());
    let other = stores.guarded(Side::New).begin(Scope::Keys(&[key("items", 2)])).await.unwrap();
    drop(other);
    // The server ends the paused one; whatever it still wants to put is in no transaction any more.
    world
        .new_app
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND locktype = 'advisory' AND granted",
        )
        .await
        .unwrap();
    let mut third = loop {
        // The terminated session gives its locks up when it ends, a moment later.
        if let Ok(third) = stores.guarded(Side::New).begin(Scope::Keys(&one)).await {
            break third;
        }
    };
    third.delete(&table, &one).await.unwrap();
    third.commit().await.unwrap();
    let late =
        Change { key: one[0].clone(), row: Some(changeover::Row(vec![1.into(), "late".into()])), back: None };
    assert!(second.apply(&[late]).await.is_err());
    assert!(second.commit().await.is_err());
    assert_eq!(ask(&world.new_app, "SELECT count(*) FROM items").await, ["0"]);
}

const FOLLOWER: &str = "CREATE TABLE parent (id bigint PRIMARY KEY, name text); \
    CREATE TABLE items (id bigint PRIMARY KEY, parent bigint REFERENCES parent ON DELETE CASCADE, name text); \
    CREATE TABLE heard (id bigint); \
    CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO heard VALUES (NEW.id); NEW.name := upper(NEW.name); RETURN NEW; END'; \
    CREATE TRIGGER hear BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION hear()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_followers_own_triggers_and_foreign_keys_are_silent_for_the_mirror() {
    let world = World::new("CREATE TABLE parent (id bigint PRIMARY KEY, name text); CREATE TABLE items (id bigint PRIMARY KEY, parent bigint, name text)", FOLLOWER).await;
    let stores = world.stores(&[mapping("items", "items"), mapping("parent", "parent")]).await;
    stores.capture().await;
    let app = &world.old_app;
    app.batch_execute(
        "INSERT INTO items VALUES (1, 7, 'a'), (2, 7, 'b'); INSERT INTO parent VALUES (7, 'p')",
    )
    .await
    .unwrap();
    stores.drain().await;
    // A parent that is replaced takes its children along nowhere.
    app.batch_execute(
        "DELETE FROM parent; UPDATE items SET name = 'c' WHERE id = 1; INSERT INTO parent VALUES (7, 'q')",
    )
    .await
    .unwrap();
    stores.drain().await;
    stores.assert_equal().await;
    assert_eq!(ask(&world.new_app, "SELECT count(*) FROM heard").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_silence_triggers_is_told_so_and_converges_where_there_are_none() {
    let server = server().await;
    let role = tokio::task::spawn_blocking(|| server.create_role("plain", "x")).await.unwrap();
    let world = World::same("").await;
    let mut urls = world.urls.clone();
    for (url, app) in urls.iter_mut().zip([&world.old_app, &world.new_app]) {
        let database = url.rsplit('/').next().unwrap().to_owned();
        app.batch_execute(&format!(
            "ALTER DATABASE {database} OWNER TO {role}; GRANT ALL ON SCHEMA public TO {role}; SET ROLE {role}; \
             CREATE TABLE items (id bigint PRIMARY KEY, name text, mail text)"
        ))
        .await
        .unwrap();
        *url = server.url_as(&role, "x", &database);
    }
    let deferred = "ALTER TABLE items ADD CONSTRAINT mails UNIQUE (mail) DEFERRABLE INITIALLY DEFERRED";
    world.new_app.batch_execute(deferred).await.unwrap();
    let stores = world.stores_as("move", &[mapping("items", "items")], &urls).await;
    stores.log(Side::Old).install(CAPTURE).await.unwrap();
    stores.fence(Side::New).set(FenceState::Shut, 1).await.unwrap();
    let app = &world.old_app;
    app.batch_execute("INSERT INTO items VALUES (1, 'a', 'm1'), (2, 'b', 'm2')").await.unwrap();
    stores.drain().await;
    // Two that exchange a value under a constraint that is checked at the commit only.
    app.batch_execute("UPDATE items SET mail = CASE id WHEN 1 THEN 'm2' ELSE 'm1' END").await.unwrap();
    stores.drain().await;
    stores.assert_equal().await;
    // Two that have the same, which the follower doesn't take: refused by name.
    app.batch_execute("UPDATE items SET mail = 'same'").await.unwrap();
    let both = [key("items", 1), key("items", 2)];
    assert_eq!(stores.level(Side::Old, &both).await.refused.len(), 1);
    // A trigger of the follower's own would act on what the mirror writes: the plan refuses the table.
    world
        .new_app
        .batch_execute(
            "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER hear BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION hear()",
        )
        .await
        .unwrap();
    let findings = world.findings(&[mapping("items", "items")], &urls).await;
    assert!(findings.contains("session_replication_role"), "{findings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exclusion_constraint_that_two_rows_exchange_values_under_refuses_by_name() {
    let table = "CREATE TABLE items (id bigint PRIMARY KEY, mail text, EXCLUDE USING btree (mail WITH =)); \
        INSERT INTO items VALUES (1, 'a'), (2, 'b')";
    let world = World::same(table).await;
    let stores = world.of("items").await;
    let app = &world.old_app;
    app.batch_execute("UPDATE items SET mail = 'x' WHERE id = 1; UPDATE items SET mail = 'a' WHERE id = 2; UPDATE items SET mail = 'b' WHERE id = 1")
        .await
        .unwrap();
    let applied = stores.level(Side::Old, &[key("items", 1), key("items", 2)]).await;
    assert_eq!(
        applied.refused.len(),
        2,
        "what holds today: nothing in silence, but nothing that converges either"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_deferrable_constraint_a_silenced_mirror_writes_what_the_constraint_forbids() {
    let world = World::new(
        "CREATE TABLE items (id bigint PRIMARY KEY, mail text); INSERT INTO items VALUES (1, 'a'), (2, 'a')",
        "CREATE TABLE items (id bigint PRIMARY KEY, mail text UNIQUE DEFERRABLE)",
    )
    .await;
    let stores = world.of("items").await;
    let applied = stores.level(Side::Old, &[key("items", 1), key("items", 2)]).await;
    // What holds today: PostgreSQL checks such a constraint by a trigger, and that is silent with all others.
    assert_eq!((applied.written, applied.refused.len()), (2, 0));
}

/// Rows that exchange their unique values converge, also where each key is synced alone.
async fn exchange(stores: &Stores, world: &World) {
    let app = &world.old_app;
    for writes in [
        "UPDATE items SET mail = 'x' WHERE id = 1; UPDATE items SET mail = 'm1' WHERE id = 2; UPDATE items SET mail = 'm2' WHERE id = 1",
        "UPDATE items SET mail = 'x' WHERE id = 3; UPDATE items SET mail = 'm3' WHERE id = 4; UPDATE items SET mail = 'm4' WHERE id = 5; \
         UPDATE items SET mail = 'm5' WHERE id = 3",
        "DELETE FROM items WHERE id = 6; INSERT INTO items VALUES (7, 'm6', true)",
    ] {
        app.batch_execute(writes).await.unwrap();
        stores.drain().await;
        stores.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_exchange_unique_values_converge_under_every_kind_of_unique_index() {
    let world = World::same("").await;
    for unique in [
        "ALTER TABLE items ADD UNIQUE (mail)",
        "ALTER TABLE items ADD UNIQUE (mail) DEFERRABLE INITIALLY DEFERRED",
        "CREATE UNIQUE INDEX ON items (mail) WHERE live",
        "CREATE UNIQUE INDEX ON items (lower(mail))",
        "CREATE UNIQUE INDEX ON items (live, mail) NULLS NOT DISTINCT",
    ] {
        for app in [&world.old_app, &world.new_app] {
            app.batch_execute(&format!(
                "DROP TABLE IF EXISTS items; CREATE TABLE items (id bigint PRIMARY KEY, mail text, live boolean); {unique}; \
                 INSERT INTO items SELECT n, 'm' || n, true FROM generate_series(1, 6) AS n"
            ))
            .await
            .unwrap();
        }
        let stores = world.of("items").await;
        stores.capture().await;
        exchange(&stores, &world).await;
        stores.old.remove_installed(None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_exchange_a_null_which_only_one_may_have_converge() {
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, mail text); \
        CREATE UNIQUE INDEX ON items (mail) NULLS NOT DISTINCT; INSERT INTO items VALUES (1, NULL), (2, 'b')";
    let world = World::same(sql).await;
    let stores = world.of("items").await;
    stores.capture().await;
    world.old_app.batch_execute("UPDATE items SET mail = 'x' WHERE id = 2; UPDATE items SET mail = 'b' WHERE id = 1; UPDATE items SET mail = NULL WHERE id = 2").await.unwrap();
    stores.drain().await;
    stores.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rows_that_are_refused_do_not_send_all_the_others_one_by_one() {
    /// There and back takes twice as long.
    const ONE_WAY: Duration = Duration::from_millis(10);
    let table = "CREATE TABLE items (id bigint PRIMARY KEY, name text UNIQUE CHECK (name <> 'bad'))";
    let world = World::new(ITEMS, table).await;
    let relay = Relay::start(("127.0.0.1", server().await.port()));
    let urls = [world.urls[0].clone(), relay.through(&world.urls[1])];
    let stores = stores_of_items(&world, &urls).await;
    // Some are there already, and two of those exchange their names.
    let there = "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 200) n";
    world.new_app.batch_execute(there).await.unwrap();
    let name = |n: i64| match n {
        7 => "item 8".to_owned(),
        8 => "item 7".to_owned(),
        100 | 301 | 500 => "bad".to_owned(),
        _ => format!("item {n}"),
    };
    let change = |n: i64| Change {
        key: key("items", n),
        row: Some(changeover::Row(vec![n.into(), name(n).into()])),
        back: None,
    };
    let changes: Vec<Change> = (1..=500).map(change).collect();
    let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
    let mut tx = stores.guarded(Side::New).begin(Scope::Keys(&keys)).await.unwrap();
    relay.delay(ONE_WAY);
    let began = Instant::now();
    let applied = tx.apply(&changes).await.unwrap();
    let took = began.elapsed();
    relay.pass();
    tx.commit().await.unwrap();
    let refused: Vec<String> = applied.refused.iter().map(|refusal| refusal.key.to_string()).collect();
    assert_eq!(refused, ["items(100)", "items(301)", "items(500)"]);
    let right =
        "SELECT count(*) FROM items WHERE name = 'item ' || CASE id WHEN 7 THEN 8 WHEN 8 THEN 7 ELSE id END";
    assert_eq!(ask(&world.new_app, right).await, ["498"], "498: the 100th keeps its name, two are missing");
    // A row at a time would take three round trips for each of the 302 rows that change.
    assert!(took < 1_200 * ONE_WAY, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_value_that_a_row_wants_is_told_without_a_write() {
    let table = "CREATE TABLE items (id bigint PRIMARY KEY, name text UNIQUE)";
    let world = World::new(ITEMS, table).await;
    let stores = stores_of_items(&world, &world.urls).await;
    world.new_app.batch_execute("INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c')").await.unwrap();
    let change = |id: i64, name: Option<&str>| Change {
        key: key("items", id),
        row: name.map(|name| changeover::Row(vec![id.into(), name.into()])),
        back: None,
    };
    let mut tx = stores.guarded(Side::New).begin(Scope::Keys(&[key("items", 1)])).await.unwrap();
    let cases = [
        (change(1, Some("b")), vec![key("items", 2)]),
        (change(4, Some("c")), vec![key("items", 3)]),
        (change(1, Some("a")), vec![]),
        (change(1, Some("free")), vec![]),
        (change(1, None), vec![]),
    ];
    for (change, holders) in cases {
        assert_eq!(tx.in_the_way(std::slice::from_ref(&change)).await.unwrap(), holders, "{change:?}");
    }
    tx.commit().await.unwrap();
    assert_eq!(ask(&world.new_app, "SELECT string_agg(name, '' ORDER BY id) FROM items").await, ["abc"]);
}

/// One table of this name on both sides, by these URLs.
async fn stores_of_items(world: &World, urls: &[String; 2]) -> Stores {
    world.stores_as("move", &[mapping("items", "items")], urls).await
}
