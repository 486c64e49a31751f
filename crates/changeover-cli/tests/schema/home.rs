//! Databases of each kind for one test.

use changeover_testkit::servers::{MariaDb, Postgres};

use crate::support::Place;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// A database of one's own.
pub struct Home {
    kind: Kind,
    /// The database's name, or its file's.
    pub name: String,
}

impl Home {
    /// An empty one; a file lies in this place.
    pub fn make(kind: Kind, place: &Place, name: &str) -> Self {
        let name = match kind {
            Kind::Sqlite => {
                let file = format!("{name}.db");
                place.sql(&file, "PRAGMA journal_mode = WAL");
                file
            }
            Kind::Postgres => Postgres::shared().create_database(name),
            Kind::MariaDb => MariaDb::shared().create_database(name),
        };
        Self { kind, name }
    }

    pub fn url(&self) -> String {
        match self.kind {
            Kind::Sqlite => format!("sqlite:{}", self.name),
            Kind::Postgres => Postgres::shared().url(&self.name),
            Kind::MariaDb => MariaDb::shared().url(&self.name),
        }
    }

    #[track_caller]
    pub fn sql(&self, place: &Place, sql: &str) {
        match self.kind {
            Kind::Sqlite => place.sql(&self.name, sql),
            Kind::Postgres => drop(Postgres::shared().psql(&self.name, sql)),
            Kind::MariaDb => drop(MariaDb::shared().sql(&self.name, sql)),
        }
    }

    /// The rows of a query, a line each.
    #[track_caller]
    pub fn rows(&self, place: &Place, sql: &str) -> String {
        match self.kind {
            Kind::Sqlite => place.rows(&self.name, sql).join("\n"),
            Kind::Postgres => Postgres::shared().psql(&self.name, sql).trim_end().to_owned(),
            Kind::MariaDb => MariaDb::shared().sql(&self.name, sql).trim_end().to_owned(),
        }
    }
}

/// An old and a new database, and a spec between them.
pub struct Pair {
    pub place: Place,
    pub old: Home,
    pub new: Home,
}

impl Pair {
    pub fn of(old: Kind, new: Kind) -> Self {
        let place = Place::empty();
        let (old, new) = (Home::make(old, &place, "old"), Home::make(new, &place, "new"));
        Self { place, old, new }
    }

    /// Writes `m.toml` with these tables.
    pub fn spec(&self, tables: &str) {
        let text = format!(
            "format = 1\nname = \"m\"\nphases = [\"old\", \"new\"]\n\n[store.old]\nurl = \"{}\"\n[store.new]\nurl = \"{}\"\n\n{tables}",
            self.old.url(),
            self.new.url()
        );
        self.place.write("m.toml", text);
    }
}
