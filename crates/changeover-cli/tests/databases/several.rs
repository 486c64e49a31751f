//! Several old tables that become one, and one that becomes several: in databases of several kinds, and in one database.

use std::fmt::Write as _;
use std::sync::Arc;

use changeover_testkit::servers::Postgres;

use crate::live::drive::FLAG;
use crate::live::{
    At, Database, Databases, FULL, Keys, Kind, PostgresTables, Service, Shape, Side, SqliteFile, lives,
};
use crate::support::Place;
use crate::world::{Fixed, create};

/// How many rows each logical table has before anything moves.
const ROWS: usize = 120;

/// How many write at once.
const CLIENTS: i64 = 3;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Postgres,
    Sqlite,
}

const COLUMNS: &[Kind] = &[Kind::Word, Kind::Number, Kind::Bytes, Kind::Unique];

const OLD: At = At {
    db: "old",
    table: "bookings",
    key: &["id"],
    values: &["state", "price", "note", "ref"],
    fixed: &[],
    upper: false,
};

const NEW: At = At {
    db: "new",
    table: "booking",
    key: &["booking_id"],
    values: &["status", "price", "note", "reference"],
    fixed: &[],
    upper: true,
};

const EU: At = At { fixed: &[("region", "'eu'")], ..NEW };
const US: At = At { fixed: &[("region", "'us'")], ..NEW };

/// Two databases with the same keys.
const SOURCES: &[Shape] = &[
    Shape { keys: Keys::Int, kinds: COLUMNS, old: At { db: "eu", ..OLD }, new: EU },
    Shape { keys: Keys::Int, kinds: COLUMNS, old: At { db: "us", ..OLD }, new: US },
];

/// The same in one database, where the new table is too.
const IN_ONE: &[Shape] = &[
    Shape {
        keys: Keys::Int,
        kinds: COLUMNS,
        old: At { db: "one", table: "bookings_eu", ..OLD },
        new: At { db: "one", ..EU },
    },
    Shape {
        keys: Keys::Int,
        kinds: COLUMNS,
        old: At { db: "one", table: "bookings_us", ..OLD },
        new: At { db: "one", ..US },
    },
];

/// Flights and trains were in one table.
const PARTS: &[Shape] = &[
    Shape {
        keys: Keys::Shared,
        kinds: COLUMNS,
        old: At { table: "trips", fixed: &[("kind", "'flight'")], ..OLD },
        new: At { table: "flight", ..NEW },
    },
    Shape {
        keys: Keys::Shared,
        kinds: COLUMNS,
        old: At { table: "trips", fixed: &[("kind", "'train'")], ..OLD },
        new: At { table: "train", ..NEW },
    },
];

/// One old table's rows in two new ones that are in two databases.
const APART: &[Shape] = &[
    Shape { new: At { db: "flights", ..PARTS[0].new }, ..PARTS[0] },
    Shape { new: At { db: "trains", ..PARTS[1].new }, ..PARTS[1] },
];

const GATE: &str =
    "\n[backfill]\nchunk_rows = 40\n\n[gate]\nbake = { reverse-shadow = \"0s\", new = \"0s\" }\n";

/// Rows of `trips` that no mapping takes.
const BUSES: &str =
    "INSERT INTO trips (id, kind, state, ref) VALUES (-1, 'bus', 'held', 'b1'), (-2, 'bus', 'gone', 'b2')";

struct World {
    place: Place,
    databases: Databases,
    shapes: &'static [Shape],
}

impl World {
    /// The tables of these shapes in these databases, and a spec. A table that several shapes have has what tells their rows
    /// apart: `fixed` is what that is on the new side.
    fn new(homes: &[(&'static str, Home)], shapes: &'static [Shape], fixed: Fixed) -> Self {
        let place = Place::empty();
        let make = |(name, home): &(&'static str, Home)| -> (&'static str, Arc<dyn Database>) {
            match home {
                Home::Postgres => (*name, Arc::new(PostgresTables::make(Postgres::shared(), name))),
                Home::Sqlite => {
                    let file = SqliteFile::new(&place.path(&format!("{name}.db")));
                    (&file as &dyn Database).sql("PRAGMA journal_mode = WAL");
                    (*name, Arc::new(file))
                }
            }
        };
        let databases = Databases::new(homes.iter().map(make));
        let mut spec = "format = 1\nname = \"bookings\"\n".to_owned();
        for (name, _) in homes {
            write!(spec, "\n[store.{name}]\nurl = {:?}\n", databases.get(name).url()).expect("a text");
        }
        let mut made = Vec::new();
        for (n, shape) in shapes.iter().enumerate() {
            for (side, fixed) in [(Side::Old, Fixed::Beside), (Side::New, fixed)] {
                let at = shape.at(side);
                if !made.contains(&(at.db, at.table)) {
                    made.push((at.db, at.table));
                    let database = databases.get(at.db);
                    database.sql(&create(database, shape, side, fixed));
                }
            }
            spec += &table(n, shape);
        }
        place.write("bookings.toml", spec + GATE);
        Self { place, databases, shapes }
    }

    fn lives(&self, seed: u64) {
        let flag = self.place.path(FLAG);
        let mut service = Service::of_clients(CLIENTS, &self.databases, &flag, self.shapes, seed);
        service.fill(ROWS);
        lives(&self.place, &self.databases, service, FULL);
    }
}

/// The spec of one mapping.
fn table(n: usize, shape: &Shape) -> String {
    let (old, new) = (&shape.old, &shape.new);
    let mut set = vec!["status = \"upper(state)\"".to_owned(), "reference = \"ref\"".to_owned()];
    let mut back = vec!["state = \"lower(status)\"".to_owned(), "ref = \"reference\"".to_owned()];
    let constant =
        |(column, value): &(&str, &str)| format!("{column} = {{ const = \"{}\" }}", value.trim_matches('\''));
    set.extend(new.fixed.iter().map(constant));
    back.extend(old.fixed.iter().map(constant));
    let where_: String =
        old.fixed.iter().map(|(column, value)| format!("where = \"{column} = {value}\"\n")).collect();
    format!(
        "\n[[table]]\nname = \"part {n}\"\nold = \"{}:{}\"\nnew = \"{}:{}\"\nkey = {{ id = \"booking_id\" }}\n\
         {where_}set = {{ {} }}\nback = {{ {} }}\n",
        old.db,
        old.table,
        new.db,
        new.table,
        set.join(", "),
        back.join(", ")
    )
}

#[test]
fn two_postgresql_databases_become_one_and_each_row_goes_back_to_where_it_came_from() {
    let homes = [("eu", Home::Postgres), ("us", Home::Postgres), ("new", Home::Postgres)];
    World::new(&homes, SOURCES, Fixed::InTheKey).lives(11);
}

#[test]
fn a_postgresql_database_and_a_file_become_one_postgresql_database() {
    let homes = [("eu", Home::Postgres), ("us", Home::Sqlite), ("new", Home::Postgres)];
    World::new(&homes, SOURCES, Fixed::InTheKey).lives(12);
}

#[test]
fn two_tables_of_a_postgresql_database_become_a_third_of_it() {
    World::new(&[("one", Home::Postgres)], IN_ONE, Fixed::InTheKey).lives(13);
}

#[test]
fn one_table_of_postgresqls_becomes_two() {
    let world = World::new(&[("old", Home::Postgres), ("new", Home::Postgres)], PARTS, Fixed::Beside);
    world.databases.get("old").sql(BUSES);
    world.lives(14);
    let buses = "SELECT count(*) FROM trips WHERE kind = 'bus' AND state IN ('held', 'gone')";
    assert_eq!(world.databases.get("old").number(buses), 2);
}

#[test]
fn one_table_of_postgresqls_becomes_two_of_which_one_is_in_a_file() {
    let homes = [("old", Home::Postgres), ("flights", Home::Postgres), ("trains", Home::Sqlite)];
    World::new(&homes, APART, Fixed::Beside).lives(15);
}

/// Keys that both sources have, where the new table knows nothing that tells them apart; and a value that it wants only once.
#[test]
fn what_collides_is_found_beforehand_and_by_the_copy_which_takes_nothing_from_the_other() {
    for (new, collides) in [
        ("booking_id bigint PRIMARY KEY, reference text", "key"),
        ("booking_id bigint, reference text UNIQUE, PRIMARY KEY (booking_id, region)", "value"),
    ] {
        let homes = [("eu", Home::Postgres), ("us", Home::Postgres), ("new", Home::Postgres)];
        let world = World::new(&homes, SOURCES, Fixed::InTheKey);
        let [eu, us, one] = ["eu", "us", "new"].map(|name| world.databases.get(name));
        one.sql(&format!(
            "DROP TABLE booking; CREATE TABLE booking (region text NOT NULL, status text, price bigint, note bytea, {new})"
        ));
        eu.sql("INSERT INTO bookings (id, state, ref) VALUES (1, 'held', 'a'), (2, 'held', 'b')");
        let key = if collides == "key" { 2 } else { 3 };
        let value = if collides == "key" { "c" } else { "b" };
        us.sql(&format!("INSERT INTO bookings (id, state, ref) VALUES ({key}, 'gone', '{value}')"));

        // Of values the rows are asked one source at a time: another's is met by the copy.
        let report = world.place.json(&["check", "bookings.toml", "--data"], i32::from(collides == "key"));
        for part in 0..2 {
            let found = report["data"][part]["collisions"].as_array().expect("collisions").len();
            assert_eq!(found, usize::from(collides == "key"), "{report}");
        }
        let report = world.place.json(&["copy", "bookings.toml"], 1);
        let refusals = report["refusals"].as_array().expect("refusals");
        assert_eq!(refusals.len(), 1, "{report}");
        assert_eq!(
            (&refusals[0]["table"], &refusals[0]["key"]),
            (&"part 1".into(), &key.to_string().into()),
            "{report}"
        );
        let rows = one.rows("SELECT booking_id || ' ' || region || ' ' || reference FROM booking ORDER BY 1");
        assert_eq!(rows, ["1 eu a", "2 eu b"], "{report}");
    }
}
