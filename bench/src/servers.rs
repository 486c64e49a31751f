//! What is measured on real servers: the servers, a table on both sides, and the spec between them.
//!
//! The servers are the test kit's own, started for the run and gone with it. What is the limit and what is ours runs on the
//! same ones by turns, each from the same state.

pub(crate) mod capture;
pub(crate) mod copy;
pub(crate) mod pipe;
pub(crate) mod table;
pub(crate) mod verify;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use changeover_testkit::servers::{MariaDb, Postgres};
use rusqlite::Connection;

pub(crate) use self::table::Table;

/// The servers of a run, each started when it is first needed.
#[derive(Default)]
pub(crate) struct Servers {
    postgres: OnceCell<Postgres>,
    mariadb: OnceCell<MariaDb>,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
    Sqlite,
}

impl Kind {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::Sqlite => "SQLite",
        }
    }
}

/// A database of its own on one of the servers, or a file.
pub(crate) enum Place<'s> {
    Postgres { server: &'s Postgres, database: String },
    MariaDb { server: &'s MariaDb, database: String },
    Sqlite { path: PathBuf, _folder: tempfile::TempDir },
}

impl Servers {
    /// A new, empty database.
    pub(crate) fn place(&self, kind: Kind) -> Result<Place<'_>, String> {
        Ok(match kind {
            Kind::Postgres => {
                let server = self.postgres.get_or_init(|| Postgres::start(&[]));
                Place::Postgres { server, database: server.create_database("bench") }
            }
            Kind::MariaDb => {
                let server = self.mariadb.get_or_init(|| MariaDb::start(&[]));
                Place::MariaDb { server, database: server.create_database("bench") }
            }
            Kind::Sqlite => {
                let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
                Place::Sqlite { path: folder.path().join("bench.db"), _folder: folder }
            }
        })
    }
}

impl Place<'_> {
    /// Which kind it is.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Postgres { .. } => Kind::Postgres,
            Self::MariaDb { .. } => Kind::MariaDb,
            Self::Sqlite { .. } => Kind::Sqlite,
        }
    }

    /// As a spec names it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres { server, database } => server.url(database),
            Self::MariaDb { server, database } => server.url(database),
            Self::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
        }
    }

    /// Runs statements; what they answered, where the place is a server.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        match self {
            Self::Postgres { server, database } => server.try_psql(database, sql),
            Self::MariaDb { server, database } => server.try_sql(database, sql),
            Self::Sqlite { path, .. } => {
                let connection = Connection::open(path).map_err(|e| e.to_string())?;
                connection.execute_batch(sql).map_err(|e| e.to_string())?;
                Ok(String::new())
            }
        }
    }

    /// Makes a table of so many rows, and brings it to rest.
    pub(crate) fn fill(&self, table: Table, rows: u64) -> Result<(), String> {
        self.sql(&table.create(self.kind()))?;
        if rows > 0 {
            self.sql(&table.fill(self.kind(), rows))?;
        }
        self.rest(table)
    }

    /// Brings a table to rest.
    pub(crate) fn rest(&self, table: Table) -> Result<(), String> {
        match self.kind() {
            // As a table is that nobody has just written: whoever reads it first would pay for its hint bits.
            Kind::Postgres => self.sql(&format!("VACUUM (FREEZE, ANALYZE) {0}; CHECKPOINT", table.name())),
            Kind::MariaDb => self.sql(&format!("ANALYZE TABLE {}", table.name())),
            Kind::Sqlite => Ok(String::new()),
        }
        .map(drop)
    }

    /// Empties a table, so that the next run begins as the last did.
    pub(crate) fn empty(&self, table: Table) -> Result<(), String> {
        match self.kind() {
            Kind::Postgres => self.sql(&format!("TRUNCATE {}; CHECKPOINT", table.name())),
            Kind::MariaDb => self.sql(&format!("TRUNCATE {}", table.name())),
            Kind::Sqlite => self.sql(&format!("DELETE FROM {}", table.name())),
        }
        .map(drop)
    }
}

/// A folder with `bench.toml`, for a table of one name on both sides.
pub(crate) fn spec(old: &Place<'_>, new: &Place<'_>, table: Table) -> Result<tempfile::TempDir, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let named = |place: &Place<'_>, store: &str| match place.kind() {
        Kind::Postgres => format!("{store}:public.{}", table.name()),
        Kind::MariaDb | Kind::Sqlite => format!("{store}:{}", table.name()),
    };
    let text = format!(
        "format = 1\nname = \"bench\"\nmirror = \"capture\"\nphases = [\"old\", \"new\"]\n\n\
         [store.old]\nurl = \"{}\"\n[store.new]\nurl = \"{}\"\n\n\
         [[table]]\nold = \"{}\"\nnew = \"{}\"\nkey = {{ id = \"id\" }}\n",
        old.url(),
        new.url(),
        named(old, "old"),
        named(new, "new"),
    );
    write(folder.path(), "bench.toml", &text)?;
    Ok(folder)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    std::fs::write(folder.join(name), text).map_err(|e| format!("{name}: {e}"))
}
