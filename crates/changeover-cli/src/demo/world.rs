//! The demo's world: two real SQLite databases and the spec between them.
//!
//! A travel agency's bookings service kept flight cancellations in a database of its own. A new flights service takes
//! them over, in a table of another shape: other names, upper-case states, and the fee as a number with its currency
//! where the old side has one text.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

/// How long a statement waits for another process' transaction before it gives up.
const BUSY_TIMEOUT_MS: u32 = 10_000;

const OLD_SCHEMA: &str = "
CREATE TABLE cancellations (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  customer INTEGER NOT NULL,
  flight   TEXT    NOT NULL,
  departs  TEXT    NOT NULL,
  state    TEXT    NOT NULL CHECK (state IN ('open', 'cancelled', 'refunded')),
  fee      TEXT    NOT NULL,
  revision INTEGER NOT NULL
);
CREATE INDEX cancellations_customer ON cancellations (customer);";

const NEW_SCHEMA: &str = "
CREATE TABLE flight_cancellation (
  cancellation_id INTEGER PRIMARY KEY AUTOINCREMENT,
  customer_id     INTEGER NOT NULL,
  flight          TEXT    NOT NULL,
  departure       TEXT    NOT NULL,
  status          TEXT    NOT NULL CHECK (status IN ('OPEN', 'CANCELLED', 'REFUNDED')),
  fee_cents       INTEGER NOT NULL,
  fee_currency    TEXT    NOT NULL,
  revision        INTEGER NOT NULL
) STRICT;
CREATE INDEX flight_cancellation_customer ON flight_cancellation (customer_id);";

/// The migration's name.
pub(super) const NAME: &str = "cancellations";
/// The mapping's name.
pub(super) const TABLE: &str = "cancellation";

/// The migration, as a user would write it.
pub(super) const SPEC: &str = r#"format = 1
name = "cancellations"
mirror = "dual-write"               # the service has the library in it
phases = ["old", "shadow", "reverse-shadow", "new"]
write_lifetime = "1s"               # a write of a process that died is dead with it, on SQLite

[store.bookings]
url = "sqlite:bookings.db"
[store.flights]
url = "sqlite:flights.db"

[[table]]
name = "cancellation"
old = "bookings:cancellations"
new = "flights:flight_cancellation"
key = { id = "cancellation_id" }
keys = "application"                # the service chooses its ids itself, so a share of them can be moved

[table.set]                         # new column = SQL over the old row
customer_id = "customer"
departure = "departs"
status = "upper(state)"
fee_cents = "CAST(round(substr(fee, 1, instr(fee, ' ') - 1) * 100) AS INTEGER)"
fee_currency = "substr(fee, instr(fee, ' ') + 1)"

[table.back]                        # old column = SQL over the new row
customer = "customer_id"
departs = "departure"
state = "lower(status)"
fee = "printf('%.2f %s', fee_cents / 100.0, fee_currency)"

[gate]
mismatch = { max = "0.5 %", over = 500 }
bake = { shadow = "1s", reverse-shadow = "1s", new = "1s" }   # in earnest: days
"#;

/// Where everything of one demo lies.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The folder.
    pub(super) folder: PathBuf,
}

/// A file of a demo's that is in this folder already.
pub(super) fn in_the_way(folder: &Path) -> Option<PathBuf> {
    let world = World { folder: folder.to_owned() };
    [world.old_side(), world.new_side(), world.spec()].into_iter().find(|file| file.exists())
}

impl World {
    /// The old service's database.
    pub(super) fn old_side(&self) -> PathBuf {
        self.folder.join("bookings.db")
    }

    /// The new service's database.
    pub(super) fn new_side(&self) -> PathBuf {
        self.folder.join("flights.db")
    }

    /// The migration's spec.
    pub(super) fn spec(&self) -> PathBuf {
        self.folder.join("cancellations.toml")
    }

    /// Makes both databases, so many rows in the old one, and the spec.
    pub(super) fn create(folder: &Path, rows: u64) -> Result<Self, String> {
        let world = Self { folder: folder.to_owned() };
        let told =
            |what: &str, error: rusqlite::Error| format!("the demo's {what} couldn't be made: {error}");
        fill(&world.old_side(), rows).map_err(|e| told("old database", e))?;
        open(&world.new_side())
            .and_then(|db| db.execute_batch(NEW_SCHEMA))
            .map_err(|e| told("new database", e))?;
        std::fs::write(world.spec(), SPEC).map_err(|e| format!("{}: {e}", world.spec().display()))?;
        Ok(world)
    }
}

fn fill(file: &Path, rows: u64) -> rusqlite::Result<()> {
    let mut db = open(file)?;
    db.execute_batch(OLD_SCHEMA)?;
    let tx = db.transaction()?;
    {
        let mut insert = tx.prepare("INSERT INTO cancellations VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)")?;
        for id in 1..=rows {
            let seed = Booking::seed(id);
            insert.execute(params![
                id as i64,
                seed.customer,
                seed.flight,
                seed.departs,
                seed.state,
                seed.fee
            ])?;
        }
    }
    tx.commit()
}

/// A connection with the settings that every process of the demo uses.
pub(super) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(file)?;
    db.execute_batch(&format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    ))?;
    Ok(db)
}

/// One cancellation as the service shows it, whichever side it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Booking {
    pub(super) id: u64,
    pub(super) customer: i64,
    pub(super) flight: String,
    pub(super) departs: String,
    pub(super) state: String,
    pub(super) fee: String,
    /// Which write put it so: unique, 0 for what was there from the start.
    pub(super) revision: u64,
}

impl Booking {
    /// What the database begins with.
    pub(super) fn seed(id: u64) -> Self {
        let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        Self {
            id,
            customer: (mixed % 40_000) as i64 + 1,
            flight: format!("CO{:04}", mixed % 977),
            departs: format!(
                "2026-{:02}-{:02} {:02}:{:02}",
                mixed % 12 + 1,
                mixed % 28 + 1,
                mixed % 24,
                mixed % 12 * 5
            ),
            state: STATES[(mixed % 3) as usize].to_owned(),
            fee: fee(mixed),
            revision: 0,
        }
    }
}

/// The states of a cancellation.
pub(super) const STATES: [&str; 3] = ["open", "cancelled", "refunded"];

/// A fee as the old side writes it.
pub(super) fn fee(seed: u64) -> String {
    format!("{}.{:02} {}", seed % 400, seed / 7 % 100, ["EUR", "GBP", "USD"][(seed % 3) as usize])
}
