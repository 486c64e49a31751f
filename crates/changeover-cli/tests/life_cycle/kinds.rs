//! The kinds of migrations: each with its databases, its spec, and what its rows are to the service.

use crate::live::{At, Databases, Keys, Kind as Column, Shape};
use crate::support::Place;

/// A kind of migration.
pub struct Kind {
    /// Each database that there is.
    pub databases: &'static [&'static str],
    schema: &'static [(&'static str, &'static str)],
    spec: String,
    pub shapes: &'static [Shape],
    /// Rows that aren't the migration's: a database, a query, and how many rows it always finds.
    untouched: Option<(&'static str, &'static str, i64)>,
}

impl Kind {
    /// The databases without a row of the service, and the spec.
    pub fn place(&self) -> Place {
        let place = Place::empty();
        for (db, sql) in self.schema {
            place.sql(db, "PRAGMA journal_mode = WAL");
            place.sql(db, sql);
        }
        place.write("bookings.toml", &self.spec);
        place
    }

    /// Its databases, as the service and the tester meet them.
    pub fn databases(&self, place: &Place) -> Databases {
        Databases::files(&place.path("."), self.databases)
    }

    /// What isn't the migration's is as it was.
    #[track_caller]
    pub fn assert_untouched(&self, place: &Place) {
        if let Some((db, sql, rows)) = self.untouched {
            assert_eq!(place.number(db, sql), rows, "{sql}");
        }
    }
}

const TWO_STORES: &str = r#"format = 1
name = "bookings"

[store.legacy]
url = "sqlite:old.db"

[store.flights]
url = "sqlite:new.db"
"#;

const GATE: &str = r#"
[backfill]
chunk_rows = 40

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

const OLD_BOOKINGS: &str = "CREATE TABLE bookings (
    id INTEGER PRIMARY KEY, state TEXT NOT NULL, price INTEGER, note BLOB, ref TEXT NOT NULL UNIQUE);";
const NEW_BOOKING: &str = "CREATE TABLE booking (
    booking_id INTEGER PRIMARY KEY, status TEXT NOT NULL, price INTEGER, note BLOB, reference TEXT NOT NULL UNIQUE);";

const COLUMNS: &[Column] = &[Column::Word, Column::Number, Column::Bytes, Column::Unique];

const OLD_AT: At = At {
    db: "old.db",
    table: "bookings",
    key: &["id"],
    values: &["state", "price", "note", "ref"],
    fixed: &[],
    upper: false,
};

const NEW_AT: At = At {
    db: "new.db",
    table: "booking",
    key: &["booking_id"],
    values: &["status", "price", "note", "reference"],
    fixed: &[],
    upper: true,
};

const BOOKINGS: &[Shape] = &[Shape { keys: Keys::Int, kinds: COLUMNS, old: OLD_AT, new: NEW_AT }];

const BOOKINGS_TABLE: &str = r#"
[[table]]
old = "legacy:bookings"
new = "flights:booking"
key = { id = "booking_id" }
set = { status = "upper(state)", reference = "ref" }
back = { state = "lower(status)", ref = "reference" }
"#;

/// One table, whose unique values are exchanged and whose keys change.
pub fn swapped() -> Kind {
    Kind {
        databases: &["old.db", "new.db"],
        schema: &[("old.db", OLD_BOOKINGS), ("new.db", NEW_BOOKING)],
        spec: [TWO_STORES, BOOKINGS_TABLE, GATE].concat(),
        shapes: BOOKINGS,
        untouched: None,
    }
}

/// The same with two phases: writes are refused while the copy is made.
pub fn simple() -> Kind {
    let spec =
        swapped().spec.replace("name = \"bookings\"\n", "name = \"bookings\"\nphases = [\"old\", \"new\"]\n");
    Kind { spec: spec.replace("reverse-shadow = \"0s\", ", ""), ..swapped() }
}

/// The same, with both tables in one file.
pub fn one_file() -> Kind {
    const SHAPES: &[Shape] = &[Shape {
        keys: Keys::Int,
        kinds: COLUMNS,
        old: At { db: "both.db", ..OLD_AT },
        new: At { db: "both.db", ..NEW_AT },
    }];
    let store = "format = 1\nname = \"bookings\"\n\n[store.both]\nurl = \"sqlite:both.db\"\n";
    let table = BOOKINGS_TABLE.replace("legacy:", "both:").replace("flights:", "both:");
    Kind {
        databases: &["both.db"],
        schema: &[("both.db", OLD_BOOKINGS), ("both.db", NEW_BOOKING)],
        spec: [store, &table, GATE].concat(),
        shapes: SHAPES,
        untouched: None,
    }
}

/// Keys of two columns, in tables without a rowid, in another order on the new side.
pub fn pairs() -> Kind {
    const SHAPES: &[Shape] = &[Shape {
        keys: Keys::Pair,
        kinds: COLUMNS,
        old: At { table: "seats", key: &["flight", "place"], ..OLD_AT },
        new: At { table: "seat", key: &["flight_id", "seat_code"], ..NEW_AT },
    }];
    const OLD: &str = "CREATE TABLE seats (
        flight INTEGER, place TEXT, state TEXT NOT NULL, price INTEGER, note BLOB, ref TEXT NOT NULL UNIQUE,
        PRIMARY KEY (flight, place)) WITHOUT ROWID;";
    const NEW: &str = "CREATE TABLE seat (
        seat_code TEXT NOT NULL, flight_id INTEGER NOT NULL, status TEXT NOT NULL, price INTEGER, note BLOB,
        reference TEXT NOT NULL UNIQUE, PRIMARY KEY (seat_code, flight_id)) WITHOUT ROWID;";
    let table = r#"
[[table]]
old = "legacy:seats"
new = "flights:seat"
key = { flight = "flight_id", place = "seat_code" }
set = { status = "upper(state)", reference = "ref" }
back = { state = "lower(status)", ref = "reference" }
"#;
    Kind {
        databases: &["old.db", "new.db"],
        schema: &[("old.db", OLD), ("new.db", NEW)],
        spec: [TWO_STORES, table, GATE].concat(),
        shapes: SHAPES,
        untouched: None,
    }
}

/// The same keys, which only a unique index makes keys, over columns that are NOT NULL.
pub fn unkeyed() -> Kind {
    const OLD: &str = "CREATE TABLE seats (
        flight INTEGER NOT NULL, place TEXT NOT NULL, state TEXT NOT NULL, price INTEGER, note BLOB, ref TEXT NOT NULL UNIQUE);
        CREATE UNIQUE INDEX seats_key ON seats (place, flight);";
    const NEW: &str = "CREATE TABLE seat (
        seat_code TEXT NOT NULL, flight_id INTEGER NOT NULL, status TEXT NOT NULL, price INTEGER, note BLOB,
        reference TEXT NOT NULL UNIQUE, UNIQUE (flight_id, seat_code));";
    Kind { schema: &[("old.db", OLD), ("new.db", NEW)], ..pairs() }
}

/// Two old databases with the same keys; a constant tells their rows apart.
pub fn consolidated() -> Kind {
    const NEW: &str = "CREATE TABLE booking (
        booking_id INTEGER NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL, price INTEGER, note BLOB,
        reference TEXT NOT NULL, PRIMARY KEY (region, booking_id), UNIQUE (region, reference));";
    const EU: At = At { fixed: &[("region", "'eu'")], ..NEW_AT };
    const US: At = At { fixed: &[("region", "'us'")], ..NEW_AT };
    const SHAPES: &[Shape] = &[
        Shape { keys: Keys::Int, kinds: COLUMNS, old: At { db: "eu.db", ..OLD_AT }, new: EU },
        Shape { keys: Keys::Int, kinds: COLUMNS, old: At { db: "us.db", ..OLD_AT }, new: US },
    ];
    let mut spec = "format = 1\nname = \"bookings\"\n\n[store.flights]\nurl = \"sqlite:new.db\"\n".to_owned();
    for region in ["eu", "us"] {
        spec += &format!("\n[store.{region}]\nurl = \"sqlite:{region}.db\"\n");
    }
    for region in ["eu", "us"] {
        spec += &BOOKINGS_TABLE
            .replace("legacy:", &format!("{region}:"))
            .replace("[[table]]\n", &format!("[[table]]\nname = \"bookings_{region}\"\n"))
            .replace("set = { ", &format!("set = {{ region = {{ const = \"{region}\" }}, "));
    }
    Kind {
        databases: &["eu.db", "us.db", "new.db"],
        schema: &[("eu.db", OLD_BOOKINGS), ("us.db", OLD_BOOKINGS), ("new.db", NEW)],
        spec: spec + GATE,
        shapes: SHAPES,
        untouched: None,
    }
}

/// Flights and trains were in one table, told apart by a column; buses stay where they are.
pub fn split() -> Kind {
    const OLD: &str = "CREATE TABLE trips (
            id INTEGER PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, price INTEGER, note BLOB,
            ref TEXT NOT NULL UNIQUE);
        INSERT INTO trips (id, kind, state, ref) VALUES (-1, 'bus', 'held', 'b1'), (-2, 'bus', 'gone', 'b2');";
    const NEW: &str = "
        CREATE TABLE flight (booking_id INTEGER PRIMARY KEY, status TEXT NOT NULL, price INTEGER, note BLOB,
            reference TEXT NOT NULL UNIQUE);
        CREATE TABLE train (booking_id INTEGER PRIMARY KEY, status TEXT NOT NULL, price INTEGER, note BLOB,
            reference TEXT NOT NULL UNIQUE);";
    const FLIGHTS: At = At { table: "trips", fixed: &[("kind", "'flight'")], ..OLD_AT };
    const TRAINS: At = At { table: "trips", fixed: &[("kind", "'train'")], ..OLD_AT };
    const SHAPES: &[Shape] = &[
        Shape { keys: Keys::Shared, kinds: COLUMNS, old: FLIGHTS, new: At { table: "flight", ..NEW_AT } },
        Shape { keys: Keys::Shared, kinds: COLUMNS, old: TRAINS, new: At { table: "train", ..NEW_AT } },
    ];
    let mut spec = TWO_STORES.to_owned();
    for kind in ["flight", "train"] {
        spec += &format!(
            r#"
[[table]]
name = "{kind}s"
old = "legacy:trips"
new = "flights:{kind}"
key = {{ id = "booking_id" }}
where = "kind = '{kind}'"
set = {{ status = "upper(state)", reference = "ref" }}
back = {{ state = "lower(status)", ref = "reference", kind = "'{kind}'" }}
"#
        );
    }
    Kind {
        databases: &["old.db", "new.db"],
        schema: &[("old.db", OLD), ("new.db", NEW)],
        spec: spec + GATE,
        shapes: SHAPES,
        untouched: Some((
            "old.db",
            "SELECT count(*) FROM trips WHERE kind = 'bus' AND state IN ('held', 'gone')",
            2,
        )),
    }
}
