//! The bookings service's own code: how it reads and writes a cancellation on either side.
//!
//! It knows both tables' shapes and nothing of the migration. The new side's read path has the bugs that the demo
//! plants, until they are mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use changeover::Side;
use changeover::compare::Comparison;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::world::{Booking, World, open};

/// The bugs that are planted in the new side's read path: the field that each one mangles, and what it does.
pub(super) const PLANTED: [(&str, &str); 3] = [
    ("state", "REFUNDED is shown as cancelled"),
    ("fee", "whole amounts lose their cents"),
    ("departs", "flights at midnight show without their time"),
];

/// Statements of one process that wait for a database at one time; further callers wait for a place.
const WAITING_MAX: usize = 1_024;

/// How the service compares two answers: field by field, so that each kind of bug is told once.
pub(super) fn explain(old: &Option<Booking>, new: &Option<Booking>) -> Comparison {
    let (Some(old), Some(new)) = (old, new) else {
        return if old == new {
            Comparison::Match
        } else {
            Comparison::differ("one side has no such row", "")
        };
    };
    let fields = [
        ("id", old.id.to_string(), new.id.to_string()),
        ("customer", old.customer.to_string(), new.customer.to_string()),
        ("flight", old.flight.clone(), new.flight.clone()),
        ("departs", old.departs.clone(), new.departs.clone()),
        ("state", old.state.clone(), new.state.clone()),
        ("fee", old.fee.clone(), new.fee.clone()),
        ("revision", old.revision.to_string(), new.revision.to_string()),
    ];
    let differing: Vec<_> = fields.iter().filter(|(_, old, new)| old != new).collect();
    if differing.is_empty() {
        return Comparison::Match;
    }
    let shape: Vec<&str> = differing.iter().map(|(field, _, _)| *field).collect();
    let detail: Vec<String> =
        differing.iter().map(|(field, old, new)| format!("{field}: {old} / {new}")).collect();
    Comparison::differ(shape.join(", "), detail.join("; "))
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The service's access to one side: one connection for reads and one for writes, each with a thread of its own.
#[derive(Clone)]
struct Database {
    reads: mpsc::Sender<Job>,
    writes: mpsc::Sender<Job>,
}

/// The service's code and data.
#[derive(Clone)]
pub(super) struct Service {
    old: Database,
    new: Database,
    /// The new side's artificial delay, on average: a slow database is never evenly slow.
    slow_new: Duration,
    statements: Arc<AtomicU64>,
    mended: Arc<AtomicBool>,
    /// So that a slow side holds a bounded number of callers.
    places: Arc<Semaphore>,
}

impl Service {
    /// Opens both databases.
    pub(super) fn open(world: &World, slow_new: Duration) -> rusqlite::Result<Self> {
        let database = |file: &std::path::Path| -> rusqlite::Result<Database> {
            Ok(Database { reads: thread(open(file)?), writes: thread(open(file)?) })
        };
        Ok(Self {
            old: database(&world.old_side())?,
            new: database(&world.new_side())?,
            slow_new,
            statements: Arc::new(AtomicU64::new(u64::from(std::process::id()))),
            mended: Arc::new(AtomicBool::new(false)),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// Takes the planted bugs out.
    pub(super) fn mend(&self) {
        self.mended.store(true, Ordering::Relaxed);
    }

    /// The cancellation, as this side has it.
    pub(super) async fn get(&self, side: Side, id: u64) -> Result<Option<Booking>, String> {
        let mended = self.mended.load(Ordering::Relaxed);
        self.on(side, false, move |db| match side {
            Side::Old => db
                .prepare_cached("SELECT id, customer, flight, departs, state, fee, revision FROM cancellations WHERE id = ?1")?
                .query_row([id as i64], from_old)
                .optional(),
            Side::New => db
                .prepare_cached(
                    "SELECT cancellation_id, customer_id, flight, departure, status, fee_cents, fee_currency, revision
                     FROM flight_cancellation WHERE cancellation_id = ?1",
                )?
                .query_row([id as i64], |row| from_new(row, mended))
                .optional(),
        })
        .await
    }

    /// Makes it so on this side.
    pub(super) async fn put(&self, side: Side, booking: Booking) -> Result<(), String> {
        self.on(side, true, move |db| match side {
            Side::Old => db
                .prepare_cached(
                    "INSERT INTO cancellations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO UPDATE SET customer = excluded.customer, flight = excluded.flight,
                       departs = excluded.departs, state = excluded.state, fee = excluded.fee, revision = excluded.revision",
                )?
                .execute(params![
                    booking.id as i64,
                    booking.customer,
                    booking.flight,
                    booking.departs,
                    booking.state,
                    booking.fee,
                    booking.revision as i64
                ]),
            Side::New => {
                let (amount, currency) = booking.fee.split_once(' ').unwrap_or((&booking.fee, "EUR"));
                let cents: i64 = amount.replace('.', "").parse().unwrap_or_default();
                db.prepare_cached(
                    "INSERT INTO flight_cancellation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT (cancellation_id) DO UPDATE SET customer_id = excluded.customer_id,
                       flight = excluded.flight, departure = excluded.departure, status = excluded.status,
                       fee_cents = excluded.fee_cents, fee_currency = excluded.fee_currency, revision = excluded.revision",
                )?
                .execute(params![
                    booking.id as i64,
                    booking.customer,
                    booking.flight,
                    booking.departs,
                    booking.state.to_uppercase(),
                    cents,
                    currency,
                    booking.revision as i64
                ])
            }
        })
        .await
        .map(|_| ())
    }

    /// Removes it from this side.
    pub(super) async fn delete(&self, side: Side, id: u64) -> Result<(), String> {
        self.on(side, true, move |db| {
            let sql = match side {
                Side::Old => "DELETE FROM cancellations WHERE id = ?1",
                Side::New => "DELETE FROM flight_cancellation WHERE cancellation_id = ?1",
            };
            db.prepare_cached(sql)?.execute([id as i64])
        })
        .await
        .map(|_| ())
    }

    /// Between nothing and twice the average.
    fn delay(&self) -> Duration {
        let mixed = self.statements.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        self.slow_new * (mixed % 2_000) as u32 / 1_000
    }

    async fn on<T: Send + 'static>(
        &self,
        side: Side,
        write: bool,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let _place = self.places.acquire().await.map_err(|e| e.to_string())?;
        let database = match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        };
        if side == Side::New && !self.slow_new.is_zero() {
            tokio::time::sleep(self.delay()).await;
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            // A caller that is gone needs no answer.
            let _ = answer.send(work(db).map_err(|e| format!("the {side} database: {e}")));
        });
        let queue = if write { &database.writes } else { &database.reads };
        queue.send(job).await.map_err(|_| format!("the {side} database's thread is gone"))?;
        answered.await.map_err(|_| format!("the {side} database's thread is gone"))?
    }
}

fn thread(mut db: Connection) -> mpsc::Sender<Job> {
    let (sender, mut jobs) = mpsc::channel::<Job>(WAITING_MAX);
    std::thread::spawn(move || {
        while let Some(job) = jobs.blocking_recv() {
            job(&mut db);
        }
    });
    sender
}

fn from_old(row: &Row<'_>) -> rusqlite::Result<Booking> {
    Ok(Booking {
        id: row.get::<_, i64>(0)? as u64,
        customer: row.get(1)?,
        flight: row.get(2)?,
        departs: row.get(3)?,
        state: row.get(4)?,
        fee: row.get(5)?,
        revision: row.get::<_, i64>(6)? as u64,
    })
}

fn from_new(row: &Row<'_>, mended: bool) -> rusqlite::Result<Booking> {
    let (cents, currency): (i64, String) = (row.get(5)?, row.get(6)?);
    let mut booking = Booking {
        id: row.get::<_, i64>(0)? as u64,
        customer: row.get(1)?,
        flight: row.get(2)?,
        departs: row.get(3)?,
        state: row.get::<_, String>(4)?.to_lowercase(),
        fee: format!("{}.{:02} {currency}", cents / 100, cents % 100),
        revision: row.get::<_, i64>(7)? as u64,
    };
    if !mended {
        plant(&mut booking, cents, &currency);
    }
    Ok(booking)
}

/// The planted bugs. See [`PLANTED`].
fn plant(booking: &mut Booking, cents: i64, currency: &str) {
    if booking.state == "refunded" {
        booking.state = "cancelled".to_owned();
    }
    if cents % 100 == 0 {
        booking.fee = format!("{} {currency}", cents / 100);
    }
    if let Some(date) = booking.departs.strip_suffix(" 00:00") {
        booking.departs = date.to_owned();
    }
}
