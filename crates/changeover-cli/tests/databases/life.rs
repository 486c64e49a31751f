//! The whole life of a migration, for each pair of kinds of databases.

use crate::live::{FULL, lives};
use crate::world::{Homes, World};

/// How many rows each logical table has before anything moves.
const ROWS: usize = 200;

fn lived(homes: Homes, seed: u64) {
    let world = World::of(homes);
    let mut service = world.service(seed);
    service.fill(ROWS);
    lives(&world.place, &world.databases, service, FULL);
    world.assert_untouched();
}

#[test]
fn a_service_on_postgresql_moves_to_postgresql_and_back_and_there() {
    lived(Homes::Postgres, 1);
}

#[test]
fn a_service_on_sqlite_moves_to_postgresql_and_back_and_there() {
    lived(Homes::SqliteToPostgres, 2);
}

#[test]
fn a_service_on_postgresql_moves_to_sqlite_and_back_and_there() {
    lived(Homes::PostgresToSqlite, 3);
}

/// A unique index over columns that are NOT NULL is a key, too.
#[test]
fn a_service_whose_table_has_no_primary_key_moves_and_back_and_there() {
    let world = World::of(Homes::Postgres);
    let (old, new) = (world.databases.get("old"), world.databases.get("new"));
    old.sql("ALTER TABLE trips DROP CONSTRAINT trips_pkey; CREATE UNIQUE INDEX ON trips (place, line)");
    new.sql("ALTER TABLE train DROP CONSTRAINT train_pkey, ADD UNIQUE (line_id, seat)");
    let mut service = world.service(5);
    service.fill(ROWS);
    lives(&world.place, &world.databases, service, FULL);
    world.assert_untouched();
}

#[test]
fn a_service_on_mariadb_moves_to_mariadb_and_back_and_there() {
    lived(Homes::MariaDb, 5);
}

#[test]
fn a_service_on_mariadb_moves_to_postgresql_and_back_and_there() {
    lived(Homes::MariaDbToPostgres, 6);
}

#[test]
fn a_service_on_postgresql_moves_to_mariadb_and_back_and_there() {
    lived(Homes::PostgresToMariaDb, 7);
}

#[test]
fn a_service_on_mariadb_moves_to_sqlite_and_back_and_there() {
    lived(Homes::MariaDbToSqlite, 8);
}

#[test]
fn a_service_on_sqlite_moves_to_mariadb_and_back_and_there() {
    lived(Homes::SqliteToMariaDb, 9);
}

#[test]
fn a_service_moves_to_other_tables_of_its_own_mariadb_database_and_back_and_there() {
    lived(Homes::OneMariaDb, 10);
}

#[test]
fn a_service_moves_to_other_tables_of_its_own_postgresql_database_and_back_and_there() {
    lived(Homes::OnePostgres, 4);
}
