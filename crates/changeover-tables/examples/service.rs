//! A service that takes part in a migration by dual write: it connects to `changeover run`, and routes by what it is told.
//!
//! Beside a `bookings.toml` with `mirror = "dual-write"` and a run of it: `cargo run -p changeover-tables --example service`.

#![allow(clippy::print_stdout, reason = "an example that prints what it was answered")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use changeover::engine::TableMirror;
use changeover::{Migration, Side};
use changeover_api::{Connect, Spec};
use rusqlite::{Connection, params};

type Failed = Box<dyn Error + Send + Sync>;

/// The service's own code: two databases, and one query for each.
#[derive(Clone)]
struct Bookings {
    migration: Migration,
    sides: [Arc<Mutex<Connection>>; 2],
}

impl Bookings {
    async fn cancel(&self, id: i64) -> Result<(), Failed> {
        let own = self.clone();
        let write = self.migration.write("booking.cancel", ("bookings", id));
        write.run(move |side| own.query(side, move |db| cancel(db, side, id))).await
    }

    async fn state(&self, id: i64) -> Result<String, Failed> {
        let own = self.clone();
        let read = self.migration.read("booking.state", ("bookings", id)).input(&id);
        read.run(move |side| own.clone().query(side, move |db| state(db, side, id))).await
    }

    /// A thread that blocks would hold up the mirror, and the moves: SQLite's calls go elsewhere.
    async fn query<T: Send + 'static>(
        self,
        side: Side,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let database = Arc::clone(&self.sides[usize::from(side == Side::New)]);
        let asked = move || query(&database.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(asked).await??)
    }
}

fn cancel(db: &Connection, side: Side, id: i64) -> rusqlite::Result<()> {
    let sql = match side {
        Side::Old => "UPDATE bookings SET state = 'cancelled' WHERE id = ?1",
        Side::New => "UPDATE booking SET status = 'CANCELLED' WHERE booking_id = ?1",
    };
    db.execute(sql, params![id]).map(drop)
}

fn state(db: &Connection, side: Side, id: i64) -> rusqlite::Result<String> {
    let sql = match side {
        Side::Old => "SELECT state FROM bookings WHERE id = ?1",
        Side::New => "SELECT lower(status) FROM booking WHERE booking_id = ?1",
    };
    db.query_row(sql, [id], |row| row.get(0))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let spec = Spec::read("bookings.toml".as_ref())?;
    let links = changeover_tables::sqlite::links(&spec.name, &spec.mappings(), &spec.sqlite_files()?).await?;
    let mirror = Arc::new(TableMirror::new(Arc::new(links)));
    let (migration, instance) = Connect::in_folder(&spec.name, spec.folder())
        .instance("web-1")
        .step_file("web-1.step") // on a volume that outlives the process
        .start(|builder| builder.dual_write(mirror))
        .await?;

    let open = |file| Connection::open(file).map(|db| Arc::new(Mutex::new(db)));
    let bookings = Bookings { migration, sides: [open("old.db")?, open("new.db")?] };
    bookings.cancel(42).await?;
    println!("booking 42: {}", bookings.state(42).await?);
    instance.stop().await?; // says goodbye: no move waits for it any longer
    Ok(())
}
