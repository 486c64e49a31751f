//! What moves in this suite: two tables in two databases, one with generated keys and unique names, one with text keys.

use crate::live::drive::FLAG;
use crate::live::{At, Databases, Keys, Kind, Service, Shape};
use crate::support::Place;

/// Rows of each table before anything moves: several chunks.
const ROWS: usize = 150;

const OLD: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE bookings (
        id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, price INTEGER, note BLOB, ref TEXT NOT NULL UNIQUE);
    CREATE TABLE labels (label TEXT PRIMARY KEY, state TEXT NOT NULL, weight INTEGER);";

const NEW: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE booking (
        booking_id INTEGER PRIMARY KEY AUTOINCREMENT, status TEXT NOT NULL, price INTEGER, note BLOB,
        reference TEXT NOT NULL UNIQUE);
    CREATE TABLE label (name TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, weight INTEGER) WITHOUT ROWID;";

const SPEC: &str = r#"format = 1
name = "bookings"
hold_budget = "1500ms"

[store.legacy]
url = "sqlite:old.db"

[store.flights]
url = "sqlite:new.db"

[[table]]
old = "legacy:bookings"
new = "flights:booking"
key = { id = "booking_id" }
set = { status = "upper(state)", reference = "ref" }
back = { state = "lower(status)", ref = "reference" }

[[table]]
old = "legacy:labels"
new = "flights:label"
key = { label = "name" }
set = { status = "upper(state)" }
back = { state = "lower(status)" }

[backfill]
chunk_rows = 40

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

const SHAPES: &[Shape] = &[
    Shape {
        keys: Keys::Generated,
        kinds: &[Kind::Word, Kind::Number, Kind::Bytes, Kind::Unique],
        old: At {
            db: "old.db",
            table: "bookings",
            key: &["id"],
            values: &["state", "price", "note", "ref"],
            fixed: &[],
            upper: false,
        },
        new: At {
            db: "new.db",
            table: "booking",
            key: &["booking_id"],
            values: &["status", "price", "note", "reference"],
            fixed: &[],
            upper: true,
        },
    },
    Shape {
        keys: Keys::Text,
        kinds: &[Kind::Word, Kind::Number],
        old: At {
            db: "old.db",
            table: "labels",
            key: &["label"],
            values: &["state", "weight"],
            fixed: &[],
            upper: false,
        },
        new: At {
            db: "new.db",
            table: "label",
            key: &["name"],
            values: &["status", "weight"],
            fixed: &[],
            upper: true,
        },
    },
];

/// Both databases with their rows, and the spec.
pub fn place() -> Place {
    let place = Place::empty();
    place.sql("old.db", OLD);
    place.sql("new.db", NEW);
    place.write("bookings.toml", SPEC);
    place
}

/// Both databases, as the service meets them.
pub fn databases(place: &Place) -> Databases {
    Databases::files(&place.path("."), &["old.db", "new.db"])
}

/// The service over them.
pub fn service(place: &Place, seed: u64) -> Service {
    let mut service = Service::new(&databases(place), &place.path(FLAG), SHAPES, seed);
    service.fill(ROWS);
    service
}
