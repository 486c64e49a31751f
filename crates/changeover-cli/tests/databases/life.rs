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

#[test]
fn a_service_moves_to_other_tables_of_its_own_postgresql_database_and_back_and_there() {
    lived(Homes::OnePostgres, 4);
}
