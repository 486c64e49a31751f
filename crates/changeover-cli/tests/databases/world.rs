//! What moves in this suite: a table with a column of every kind, whose keys the database gives out, and the part of another
//! that a condition picks; in databases of whichever kinds.

use std::fmt::Write as _;
use std::sync::Arc;

use changeover_testkit::servers::Postgres;

use crate::live::drive::FLAG;
use crate::live::{At, Database, Databases, Keys, Kind, PostgresTables, Service, Shape, Side, SqliteFile};
use crate::support::Place;

/// Where the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Homes {
    Postgres,
    SqliteToPostgres,
    PostgresToSqlite,
    /// Both sides in one database.
    OnePostgres,
}

/// How many write at once.
const CLIENTS: i64 = 4;

/// The columns of the table that has all kinds: what they hold, and their names on either side.
const ALL: &[(Kind, &str, &str)] = &[
    (Kind::Word, "state", "status"),
    (Kind::Number, "price", "price"),
    (Kind::Bytes, "note", "note"),
    (Kind::Unique, "ref", "reference"),
    (Kind::Flag, "paid", "is_paid"),
    (Kind::Money, "fare", "fare"),
    (Kind::Moment, "made", "made_at"),
    (Kind::Json, "doc", "doc"),
    (Kind::Uuid, "token", "token"),
    (Kind::List, "seats", "seats"),
];

const KINDS: [Kind; ALL.len()] = {
    let mut kinds = [Kind::Word; ALL.len()];
    let mut n = 0;
    while n < ALL.len() {
        kinds[n] = ALL[n].0;
        n += 1;
    }
    kinds
};

const OLD_COLUMNS: [&str; ALL.len()] = names(true);
const NEW_COLUMNS: [&str; ALL.len()] = names(false);

const fn names(old: bool) -> [&'static str; ALL.len()] {
    let mut names = [""; ALL.len()];
    let mut n = 0;
    while n < ALL.len() {
        names[n] = if old { ALL[n].1 } else { ALL[n].2 };
        n += 1;
    }
    names
}

/// The tables, with so many of the columns of [`ALL`].
const fn shapes(
    kinds: &'static [Kind],
    old: &'static [&'static str],
    new: &'static [&'static str],
) -> [Shape; 2] {
    [
        Shape {
            keys: Keys::Generated,
            kinds,
            old: At { db: "old", table: "bookings", key: &["id"], values: old, fixed: &[], upper: false },
            new: At {
                db: "new",
                table: "booking",
                key: &["booking_id"],
                values: new,
                fixed: &[],
                upper: true,
            },
        },
        Shape {
            keys: Keys::Pair,
            kinds: &[Kind::Word, Kind::Number],
            old: At {
                db: "old",
                table: "trips",
                key: &["line", "place"],
                values: &["state", "weight"],
                fixed: &[("kind", "'train'")],
                upper: false,
            },
            new: At {
                db: "new",
                table: "train",
                key: &["line_id", "seat"],
                values: &["status", "weight"],
                fixed: &[],
                upper: true,
            },
        },
    ]
}

const EVERY: &[Shape] = &shapes(&KINDS, &OLD_COLUMNS, &NEW_COLUMNS);
/// Without the list, which SQLite has no column for.
const PLAIN: &[Shape] = &shapes(
    KINDS.split_at(ALL.len() - 1).0,
    OLD_COLUMNS.split_at(ALL.len() - 1).0,
    NEW_COLUMNS.split_at(ALL.len() - 1).0,
);

/// Rows of the old side that aren't the migration's.
const OTHERS: &str = "INSERT INTO trips (line, place, kind, state, weight) \
    VALUES (-1, 'a', 'bus', 'held', 1), (-2, 'b', 'bus', 'gone', 2)";

const TABLES: &str = r#"
[[table]]
old = "OLD:bookings"
new = "NEW:booking"
key = { id = "booking_id" }
set = { status = "upper(state)", reference = "ref", is_paid = "paid", made_at = "made" }
back = { state = "lower(status)", ref = "reference", paid = "is_paid", made = "made_at" }

[[table]]
old = "OLD:trips"
new = "NEW:train"
key = { line = "line_id", place = "seat" }
where = "kind = 'train'"
set = { status = "upper(state)" }
back = { state = "lower(status)", kind = "'train'" }

[backfill]
chunk_rows = 40

[gate]
bake = { reverse-shadow = "0s", new = "0s" }
"#;

/// A folder with a spec, and the databases that it names.
pub struct World {
    pub place: Place,
    pub databases: Databases,
    shapes: &'static [Shape],
}

impl World {
    /// On the server that all tests share.
    pub fn of(homes: Homes) -> Self {
        Self::on(homes, |_, name| PostgresTables::make(Postgres::shared(), name))
    }

    /// On servers of whoever asks: `postgres` makes a database for a side.
    pub fn on(homes: Homes, postgres: impl Fn(Side, &str) -> PostgresTables) -> Self {
        let place = Place::empty();
        let server = |side, name| Arc::new(postgres(side, name)) as Arc<dyn Database>;
        let file = |name: &str| {
            let file: Arc<dyn Database> = Arc::new(SqliteFile::new(&place.path(name)));
            file.sql("PRAGMA journal_mode = WAL");
            file
        };
        let (old, new) = match homes {
            Homes::Postgres => (server(Side::Old, "old"), server(Side::New, "new")),
            Homes::SqliteToPostgres => (file("old.db"), server(Side::New, "new")),
            Homes::PostgresToSqlite => (server(Side::Old, "old"), file("new.db")),
            Homes::OnePostgres => {
                let both = server(Side::Old, "both");
                (Arc::clone(&both), both)
            }
        };
        let shapes = if matches!(homes, Homes::Postgres | Homes::OnePostgres) { EVERY } else { PLAIN };
        let stores: &[(&str, &Arc<dyn Database>)] = if homes == Homes::OnePostgres {
            &[("both", &old)]
        } else {
            &[("legacy", &old), ("flights", &new)]
        };
        let mut spec = "format = 1\nname = \"bookings\"\n".to_owned();
        for (name, database) in stores {
            write!(spec, "\n[store.{name}]\nurl = {:?}\n", database.url()).expect("a text");
        }
        let (first, last) = (stores[0].0, stores[stores.len() - 1].0);
        spec += &TABLES.replace("OLD", first).replace("NEW", last);
        place.write("bookings.toml", spec);
        for shape in shapes {
            old.sql(&create(&*old, shape, Side::Old, Fixed::Beside));
            new.sql(&create(&*new, shape, Side::New, Fixed::Beside));
        }
        old.sql(OTHERS);
        Self { place, databases: Databases::new([("old", old), ("new", new)]), shapes }
    }

    /// The service over them, which has written nothing yet.
    pub fn service(&self, seed: u64) -> Service {
        Service::of_clients(CLIENTS, &self.databases, &self.place.path(FLAG), self.shapes, seed)
    }

    /// What isn't the migration's is as it was.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let old = self.databases.get("old");
        let others = "SELECT count(*) FROM trips WHERE kind = 'bus' AND state IN ('held', 'gone')";
        assert_eq!(old.number(others), 2, "{others}");
    }
}

/// What tells a mapping's rows apart in a table that several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// Columns beside the key.
    Beside,
    /// Columns of the key and of each unique index.
    InTheKey,
}

/// A side's table.
pub fn create(database: &dyn Database, shape: &Shape, side: Side, fixed: Fixed) -> String {
    let at = shape.at(side);
    let mut columns = Vec::new();
    for (column, kind) in at.keys(shape) {
        let declared = match shape.keys {
            Keys::Generated => database.generated(),
            _ => database.column(kind).expect("a type for a key"),
        };
        columns.push(format!("{column} {declared} NOT NULL"));
    }
    let mut key = at.key.to_vec();
    let mut uniques = Vec::new();
    if fixed == Fixed::InTheKey {
        key.extend(at.fixed.iter().map(|(column, _)| *column));
        let unique = at.others(shape).filter(|(_, kind)| *kind == Kind::Unique);
        uniques.extend(unique.map(|(column, _)| format!("UNIQUE ({}, {column})", at.fixed[0].0)));
    }
    for (column, kind) in at.others(shape) {
        let declared = database.column(kind).expect("a type for each column");
        let more = match kind {
            Kind::Unique if fixed == Fixed::InTheKey => " NOT NULL",
            Kind::Unique => " NOT NULL UNIQUE",
            Kind::Word | Kind::Flag | Kind::Moment | Kind::Uuid | Kind::List => " NOT NULL",
            Kind::Number | Kind::Bytes | Kind::Money | Kind::Json => "",
        };
        columns.push(format!("{column} {declared}{more}"));
    }
    for (column, _) in at.fixed {
        columns.push(format!("{column} {} NOT NULL", database.column(Kind::Word).expect("a type for text")));
    }
    if shape.keys != Keys::Generated {
        columns.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    columns.extend(uniques);
    format!("CREATE TABLE {} ({})", at.table, columns.join(", "))
}
