//! What is in a key: told apart to the byte, of any type, and of one mapping or another.

use changeover::Side;
use changeover_tables::mapping::SetExpr;

use super::world::{World, mapping};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_changes_only_for_others_is_two_keys() {
    const ITEMS: &str = "CREATE TABLE items (id VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, name VARCHAR(40))";
    let mut world = World::same(ITEMS).await;
    world.old_app.run("INSERT INTO items VALUES ('abc', 'a'), ('é', 'b'), ('end', 'c')").await;
    let stores = world.of("items").await;
    stores.capture().await;
    for (write, keys) in [
        ("UPDATE items SET id = 'ABC' WHERE id = 'abc'", ["items('ABC')", "items('abc')"]),
        ("UPDATE items SET id = 'e' WHERE id = 'é'", ["items('e')", "items('é')"]),
        ("UPDATE items SET id = 'end ' WHERE id = 'end'", ["items('end ')", "items('end')"]),
    ] {
        world.old_app.run(write).await;
        let logged = stores.logged(Side::Old).await;
        assert_eq!(logged.len(), 2, "{write}: {logged:?}");
        assert!(keys.iter().all(|key| logged.contains(&(*key).to_owned())), "{write}: {logged:?}");
        stores.forget(Side::Old).await;
    }
    // The same value again is one.
    world.old_app.run("UPDATE items SET id = id, name = 'x' WHERE id = 'e'").await;
    assert_eq!(stores.logged(Side::Old).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_type_are_logged_as_they_are_read() {
    for (ty, values) in [
        ("TINYINT UNSIGNED", vec!["0", "255"]),
        ("BIGINT", vec!["-9223372036854775808", "9223372036854775807"]),
        ("BIGINT UNSIGNED", vec!["0", "18446744073709551615"]),
        ("DECIMAL(20,4)", vec!["-1.5000", "1234567890123456.7891"]),
        ("DOUBLE", vec!["0.1", "-1e300"]),
        ("FLOAT", vec!["0.1", "16777216"]),
        ("VARCHAR(30) CHARACTER SET utf8mb4", vec!["'😀 ü'", "'trailing '", "''"]),
        ("CHAR(10)", vec!["'padded'", "'x'"]),
        ("VARBINARY(16)", vec!["x'00ff00'", "x''", "'a  '"]),
        ("BINARY(4)", vec!["x'01'", "x'ffffffff'"]),
        ("DATE", vec!["'2024-02-29'", "'1000-01-01'"]),
        ("DATETIME(6)", vec!["'2026-11-22 08:00:00.123456'", "'0001-01-01 00:00:00'"]),
        ("TIMESTAMP(3)", vec!["'2026-11-22 08:00:00.123'", "'1970-01-02 00:00:01'"]),
        ("TIME(2)", vec!["'-838:59:59'", "'12:00:00.25'"]),
        ("YEAR", vec!["1901", "2155"]),
        ("BIT(12)", vec!["b'0'", "b'111100001111'"]),
        ("ENUM('a','b''c','d,e')", vec!["'b''c'", "'d,e'"]),
        ("SET('x','y')", vec!["''", "'x,y'"]),
        ("UUID", vec!["'12345678-1234-5678-9abc-def012345678'"]),
        ("INET6", vec!["'::1'", "'2001:db8::ff00:42:8329'"]),
    ] {
        let table = format!("CREATE TABLE items (id {ty} NOT NULL PRIMARY KEY, name VARCHAR(40))");
        let mut world = World::same(&table).await;
        let stores = world.of("items").await;
        stores.capture().await;
        let rows: Vec<String> = values.iter().map(|value| format!("({value}, 'a')")).collect();
        // In whatever zone, mode and character set the application is.
        let settings =
            "SET time_zone = 'America/New_York', sql_mode = ''".replace("America/New_York", "-05:00");
        world.old_app.run(&format!("{settings}; INSERT INTO items VALUES {}", rows.join(", "))).await;
        stores.drain_of(Side::Old).await;
        stores.assert_equal().await;
        assert_eq!(super::world::rows(&stores.new, &"items".into()).await.len(), values.len(), "{ty}");
        world.old_app.run("DELETE FROM items").await;
        stores.drain_of(Side::Old).await;
        assert_eq!(super::world::rows(&stores.new, &"items".into()).await.len(), 0, "{ty}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mappings_that_share_a_table_log_their_own_rows() {
    const OLD: &str = "CREATE TABLE eu (id BIGINT PRIMARY KEY, name VARCHAR(40)); CREATE TABLE us LIKE eu";
    const NEW: &str =
        "CREATE TABLE all_of_them (region VARCHAR(4), id BIGINT, name VARCHAR(40), PRIMARY KEY (region, id))";
    let mut world = World::new(OLD, NEW).await;
    let both = ["eu", "us"].map(|region| {
        let mut one = mapping(region, "all_of_them");
        one.set.push(("region".to_owned(), SetExpr::Const(region.into())));
        one
    });
    let stores = world.stores(&both).await;
    stores.log(Side::New).install(super::world::CAPTURE).await.unwrap();
    let app = &mut world.new_app;
    app.run("INSERT INTO all_of_them VALUES ('eu', 1, 'a'), ('us', 2, 'b'), ('xx', 3, 'c')").await;
    let logged = stores.logged(Side::New).await;
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert!(logged[0].starts_with("eu(") && logged[1].starts_with("us("), "{logged:?}");
    stores.forget(Side::New).await;
    // From one to the other, to nobody, and to one that only looks like it.
    app.run("UPDATE all_of_them SET region = 'us' WHERE id = 1").await;
    let logged = stores.logged(Side::New).await;
    assert!(logged.len() == 2 && logged[0].starts_with("eu(") && logged[1].starts_with("us("), "{logged:?}");
    stores.forget(Side::New).await;
    app.run("UPDATE all_of_them SET region = 'US' WHERE id = 2").await;
    let logged = stores.logged(Side::New).await;
    assert!(logged.len() == 1 && logged[0].starts_with("us("), "{logged:?}");
}
