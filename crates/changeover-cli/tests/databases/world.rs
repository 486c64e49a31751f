//! What moves in this suite: a table with a column of every kind, whose keys the database gives out, and the part of another
//! that a condition picks; in databases of whichever kinds.

use std::fmt::Write as _;
use std::sync::Arc;

use changeover_testkit::servers::{MariaDb, Postgres};

use crate::live::drive::FLAG;
use crate::live::{
    At, Database, Databases, Keys, Kind, MariaDbTables, PostgresTables, Service, Shape, Side, SqliteFile,
};
use crate::support::Place;

/// Where the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Homes {
    Postgres,
    SqliteToPostgres,
    PostgresToSqlite,
    /// Both sides in one database.
    OnePostgres,
    MariaDb,
    MariaDbToPostgres,
    PostgresToMariaDb,
    MariaDbToSqlite,
    SqliteToMariaDb,
    /// Both sides in one database.
    OneMariaDb,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Postgres,
    MariaDb,
    File,
}

impl Homes {
    /// The old side's and the new one's.
    const fn kinds(self) -> (Home, Home) {
        match self {
            Self::Postgres | Self::OnePostgres => (Home::Postgres, Home::Postgres),
            Self::SqliteToPostgres => (Home::File, Home::Postgres),
            Self::PostgresToSqlite => (Home::Postgres, Home::File),
            Self::MariaDb | Self::OneMariaDb => (Home::MariaDb, Home::MariaDb),
            Self::MariaDbToPostgres => (Home::MariaDb, Home::Postgres),
            Self::PostgresToMariaDb => (Home::Postgres, Home::MariaDb),
            Self::MariaDbToSqlite => (Home::MariaDb, Home::File),
            Self::SqliteToMariaDb => (Home::File, Home::MariaDb),
        }
    }

    /// A side's.
    pub const fn of(self, side: Side) -> Home {
        match (self.kinds(), side) {
            ((old, _), Side::Old) => old,
            ((_, new), Side::New) => new,
        }
    }

    const fn in_one(self) -> bool {
        matches!(self, Self::OnePostgres | Self::OneMariaDb)
    }
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
    /// On the servers that all tests share.
    pub fn of(homes: Homes) -> Self {
        Self::on(homes, |home, _, name| match home {
            Home::MariaDb => Arc::new(MariaDbTables::make(MariaDb::shared(), name)),
            _ => Arc::new(PostgresTables::make(Postgres::shared(), name)),
        })
    }

    /// On servers of whoever asks: `make` makes a database of a kind for a side.
    pub fn on(homes: Homes, make: impl Fn(Home, Side, &str) -> Arc<dyn Database>) -> Self {
        let place = Place::empty();
        let database = |home, side, name: &str| {
            if home != Home::File {
                return make(home, side, name);
            }
            let file: Arc<dyn Database> = Arc::new(SqliteFile::new(&place.path(&format!("{name}.db"))));
            file.sql("PRAGMA journal_mode = WAL");
            file
        };
        let (of_old, of_new) = homes.kinds();
        let (old, new) = if homes.in_one() {
            let both = database(of_old, Side::Old, "both");
            (Arc::clone(&both), both)
        } else {
            (database(of_old, Side::Old, "old"), database(of_new, Side::New, "new"))
        };
        let shapes = if matches!(homes, Homes::Postgres | Homes::OnePostgres) { EVERY } else { PLAIN };
        let stores: &[(&str, &Arc<dyn Database>)] =
            if homes.in_one() { &[("both", &old)] } else { &[("legacy", &old), ("flights", &new)] };
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
