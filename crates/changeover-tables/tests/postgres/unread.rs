//! Rows that pass from one PostgreSQL to another unread: the same as read ones for every type, refused by name like those, and
//! never taken for whole where a stream broke or a process ended.

use std::sync::Arc;

use changeover::Side;
use changeover::engine::{Backfill, BackfillOptions, BackfillReport, Coverage, Links, Pair};
use changeover::faults::{Fault, FaultPlan};
use changeover::mapping::SetExpr;
use changeover::protocol::fault::FaultPoint;
use changeover::store::guard::{Chunk, ChunkState, Scope};
use changeover::store::unread::{UnreadLoad, UnreadNext};
use changeover::store::{KeyRange, Refusal, Store};
use changeover::{StoreError, TableName};
use changeover_tables::database::SideStore;
use changeover_testkit::relay::{Direction, Relay};

use super::edges::{EDGES, TYPES};
use super::world::{Stores, World, ask, mapping, server};

const NARROW: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, code int)";
const FILLED: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, code int); \
    INSERT INTO items SELECT n, repeat('x', 500), n % 7 FROM generate_series(1, 3000) n";

/// Chunks of so many rows, so that a small table has several.
fn options(unread: bool) -> BackfillOptions {
    BackfillOptions { chunk_rows_max: 1_000, unread, ..BackfillOptions::quiet() }
}

fn links(stores: &Stores) -> Arc<Links> {
    let pairs = stores.old.tables().iter().map(|shape| {
        let (old, new): (Arc<dyn Store>, Arc<dyn Store>) =
            (Arc::<dyn SideStore>::clone(&stores.old), Arc::<dyn SideStore>::clone(&stores.new));
        Pair { table: shape.table.clone(), old, new, rules: Vec::new() }
    });
    Arc::new(Links::new(pairs.collect()).unwrap())
}

async fn copy(
    stores: &Stores,
    generation: u64,
    options: BackfillOptions,
) -> Result<BackfillReport, StoreError> {
    let links = links(stores);
    links.cover(Side::New, Coverage::Generation(generation));
    Backfill::new(links, Side::New, generation, options).0.run().await
}

async fn passes(stores: &Stores, table: &str) -> bool {
    let table = TableName::from(table.to_owned());
    let [old, new] = [&stores.old, &stores.new].map(|store| store.unread().unwrap());
    let (old, new) = (old.layout(&table).await.unwrap(), new.layout(&table).await.unwrap());
    old.is_some() && old == new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_every_type_is_the_same_whether_somebody_read_it_on_the_way_or_not() {
    let (mut old, mut new) = (TYPES.to_owned(), TYPES.to_owned());
    for (n, (ty, values)) in EDGES.iter().enumerate() {
        let table = format!("CREATE TABLE t{n} (id int PRIMARY KEY, v {ty});");
        old.push_str(&table);
        new.push_str(&table);
        old.push_str(&format!("INSERT INTO t{n} VALUES (0, NULL);"));
        for (id, value) in values.iter().enumerate() {
            old.push_str(&format!("INSERT INTO t{n} VALUES ({id} + 1, ({value})::{ty});"));
        }
    }
    let world = World::new(&old, &new).await;
    let mappings: Vec<_> = (0..EDGES.len()).map(|n| mapping(&format!("t{n}"), &format!("t{n}"))).collect();
    let stores = world.stores(&mappings).await;
    let mut unread = Vec::new();
    for (generation, way) in [(1, true), (2, false)] {
        let report = copy(&stores, generation, options(way)).await.unwrap();
        for (n, (ty, values)) in EDGES.iter().enumerate() {
            let name = format!("t{n}");
            let shown = format!("SELECT id, v::text FROM {name} ORDER BY id");
            let refused: Vec<_> = report.refusals.iter().filter(|r| r.key.table.as_str() == name).collect();
            assert_eq!(refused, Vec::<&Refusal>::new(), "{ty}");
            assert_eq!(ask(&world.new_app, &shown).await, ask(&world.old_app, &shown).await, "{ty}, {way}");
            assert_eq!(report.progress.tables[n].rows, values.len() as u64 + 1, "{ty}");
            if way && passes(&stores, &name).await {
                unread.push(*ty);
            }
            world.new_app.batch_execute(&format!("TRUNCATE {name}")).await.unwrap();
        }
    }
    // What has the server's own numbers in it, or no binary form, doesn't.
    for ty in ["int4", "numeric(10,2)", "char(5)", "jsonb", "timestamptz", "int4[]", "mood", "price", "inet"]
    {
        assert!(unread.contains(&ty), "{ty} was read");
    }
    for ty in ["mood[]", "tiny[]", "address", "hstore", "regclass", "aclitem", "oidvector"] {
        assert!(!unread.contains(&ty), "{ty} passed unread");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_columns_of_one_type_on_both_sides_pass() {
    for (old, new, pass) in [
        ("varchar(20)", "varchar(20)", true),
        // The server would cut spaces, round digits and fill up, and say nothing.
        ("varchar(20)", "varchar(10)", false),
        ("numeric(10,4)", "numeric(10,2)", false),
        ("timestamp", "timestamp(3)", false),
        ("char(5)", "char(8)", false),
        ("int", "bigint", false),
        ("text", "varchar", false),
    ] {
        let sql = |ty| format!("CREATE TABLE items (id int PRIMARY KEY, v {ty})");
        let world = World::new(&sql(old), &sql(new)).await;
        assert_eq!(passes(&world.of("items").await, "items").await, pass, "{old} to {new}");
    }
    let world = World::new(NARROW, NARROW).await;
    let mut computed = mapping("items", "items");
    computed.set.push(("name".to_owned(), SetExpr::Sql("upper(name)".to_owned())));
    assert!(!passes(&world.stores(&[computed]).await, "items").await, "an expression was passed over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_by_keys_of_any_type_leave_nothing_out_and_have_nothing_twice() {
    for (columns, values) in [
        ("a text, b text", "md5(n::text), 'it''s \\ ' || n"),
        ("a char(12), b date", "'k' || n % 50, date '0001-01-01 BC' + n"),
        ("a uuid, b \"char\"", "md5(n::text)::uuid, 'x'"),
        ("a numeric(20,3), b bytea", "n / 3.0, decode(md5(n::text), 'hex')"),
        ("a timestamptz, b int", "timestamptz '2026-03-29 00:00Z' + n * interval '1 minute', n"),
        ("a float8, b interval", "sqrt(n), n * interval '1 hour'"),
    ] {
        let sql = format!("CREATE TABLE items ({columns}, c int, PRIMARY KEY (b, a))");
        let old = format!("{sql}; INSERT INTO items SELECT {values}, n FROM generate_series(1, 3000) n");
        let world = World::new(&old, &sql).await;
        let stores = world.of("items").await;
        assert!(passes(&stores, "items").await, "{columns}");
        let report = copy(&stores, 1, options(true)).await.unwrap();
        assert!(report.progress.tables[0].chunks > 2);
        assert_eq!(report.progress.rows(), 3_000, "{columns}");
        stores.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_isnt_taken_is_named_and_all_others_are_there() {
    let new = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'), code int UNIQUE)";
    let old = format!(
        "{NARROW}; INSERT INTO items SELECT n, 'fine', n FROM generate_series(1, 3000) n; \
         UPDATE items SET name = 'bad' WHERE id = 1700; UPDATE items SET code = 5 WHERE id = 2900"
    );
    let world = World::new(&old, new).await;
    let stores = world.of("items").await;
    assert!(passes(&stores, "items").await);
    let report = copy(&stores, 1, options(true)).await.unwrap();
    let named: Vec<String> = report.refusals.iter().map(|refusal| refusal.key.to_string()).collect();
    assert_eq!(named, ["items(1700)", "items(2900)"]);
    assert!(report.refusals[0].why.contains("items_name_check"), "{}", report.refusals[0].why);
    let progress = &report.progress.tables[0];
    assert_eq!((progress.rows, progress.refused, progress.complete), (2_998, 2, true));
    assert_eq!(ask(&world.new_app, "SELECT count(*), sum(id) FROM items").await, ["2998|4496900"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_is_counted() {
    let world = World::new(FILLED, NARROW).await;
    let report = copy(&world.of("items").await, 1, options(true)).await.unwrap();
    assert_eq!(report.progress.rows(), 3_000);
    assert!(report.progress.bytes > 3_000 * 500 && report.progress.bytes < 3_000 * 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_trigger_of_the_table_leaves_out_are_those_that_it_leaves_out_of_read_ones() {
    let new = format!(
        "{NARROW}; CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.id % 1000 = 7 THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE TRIGGER leave BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION leave(); \
         ALTER TABLE items ENABLE ALWAYS TRIGGER leave"
    );
    let world = World::new(FILLED, &new).await;
    let stores = world.of("items").await;
    assert!(passes(&stores, "items").await);
    let mut rows = Vec::new();
    for (generation, unread) in [(1, true), (2, false)] {
        rows.push(copy(&stores, generation, options(unread)).await.unwrap().progress.rows());
        assert_eq!(ask(&world.new_app, "SELECT count(*), sum(id) FROM items").await, ["2997|4498479"]);
        world.new_app.batch_execute("TRUNCATE items").await.unwrap();
    }
    assert_eq!(rows[0], rows[1]);
}

/// The old and the new side's stores, each by way of a relay.
async fn relayed(world: &World) -> (Stores, [Relay; 2]) {
    let port = server().await.port();
    let relays = [(); 2].map(|()| Relay::start(("127.0.0.1", port)));
    let urls = [0, 1].map(|at| relays[at].through(&world.urls[at]));
    (world.stores_as("move", &[mapping("items", "items")], &urls).await, relays)
}

fn first_chunk() -> Chunk {
    Chunk {
        table: "items".into(),
        generation: 1,
        number: 0,
        after: None,
        upto: None,
        state: ChunkState::Begun,
        rows: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_on_either_side_never_ends_as_done() {
    let world = World::new(FILLED, NARROW).await;
    let (stores, relays) = Box::pin(relayed(&world)).await;
    let [old, new] = [&stores.old, &stores.new];
    let broken = [(0, Direction::ToClient), (1, Direction::ToServer)];
    for (side, direction) in broken {
        // Some of it has come, and some hasn't.
        let mut tx = new.guarded().unwrap().begin(Scope::Chunk(&first_chunk())).await.unwrap();
        relays[side].drop_after(direction, 600_000);
        let unread = old.unread().unwrap();
        let mut stream = unread.scan_unread(&"items".into(), &KeyRange::default()).await.unwrap();
        stream.begun().await;
        let error = tx.load_unread(&"items".into(), stream).await.unwrap_err();
        assert!(error.retryable(), "{error}");
        drop(tx);
        assert_eq!(relays[side].cuts(), 1);
        assert_eq!(ask(&world.new_app, "SELECT count(*) FROM items").await, ["0"]);
    }
    // The same under the engine, which begins the chunk again.
    for (side, direction) in broken {
        relays[side].drop_after(direction, 900_000);
    }
    let report = copy(&stores, 1, options(true)).await.unwrap();
    assert_eq!((relays[0].cuts(), relays[1].cuts()), (2, 2));
    assert_eq!(report.progress.rows(), 3_000);
    stores.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_only_some_of_a_stream_takes_none() {
    let world = World::new(FILLED, NARROW).await;
    let stores = world.of("items").await;
    let unread = stores.old.unread().unwrap();
    let mut stream = unread.scan_unread(&"items".into(), &KeyRange::default()).await.unwrap();
    let (mut rows, mut bytes) = (0, 0);
    while let UnreadNext::Piece(piece) = stream.next().await.unwrap() {
        (rows, bytes) = (rows + piece.rows, bytes + piece.bytes.len() as u64);
        assert!(piece.bytes.len() <= 256 << 10, "a piece of {}", piece.bytes.len());
    }
    assert_eq!(rows, 3_000);
    let stream = unread.scan_unread(&"items".into(), &KeyRange::default()).await.unwrap();
    let mut tx = stores.guarded(Side::New).begin(Scope::Chunk(&first_chunk())).await.unwrap();
    let loaded = tx.load_unread(&"items".into(), stream).await.unwrap();
    assert_eq!(loaded, UnreadLoad::Written { rows, bytes });
    drop(tx);
    assert_eq!(ask(&world.new_app, "SELECT count(*) FROM items").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_at_any_point_of_a_chunk_it_goes_on_to_the_same_end() {
    let points =
        [FaultPoint::ChunkBegun, FaultPoint::ChunkRead, FaultPoint::ChunkWritten, FaultPoint::ChunkDone];
    for point in points {
        for pass in [1, 3] {
            let world = World::new(FILLED, NARROW).await;
            let stores = world.of("items").await;
            let plan = FaultPlan::new().with(point, pass, Fault::Error).install();
            let chunks = BackfillOptions { chunk_rows_max: 500, failures_max: 0, ..options(true) };
            copy(&stores, 1, chunks.clone()).await.unwrap_err();
            assert_eq!(plan.passed(point), pass);
            FaultPlan::uninstall();
            // What changed meanwhile is as it is now, and not as it was read.
            let change =
                "DELETE FROM items WHERE id IN (1, 2999); UPDATE items SET name = 'new' WHERE id % 100 = 3";
            world.old_app.batch_execute(change).await.unwrap();
            let claimed: Vec<_> =
                (1..=3_000).filter(|id| [1, 2_999].contains(id) || id % 100 == 3).collect::<Vec<i64>>();
            let report = copy(&stores, 1, chunks).await.unwrap();
            assert!(report.progress.tables[0].complete, "{point:?}");
            let keys: Vec<_> = claimed.into_iter().map(|id| super::world::key("items", id)).collect();
            stores.level(Side::Old, &keys).await;
            stores.assert_equal().await;
        }
    }
}
