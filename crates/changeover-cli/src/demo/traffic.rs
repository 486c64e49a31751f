//! The demo's clients: steady reads and writes over loopback sockets, every one of them recorded.
//!
//! All clients live in this one process, so that every operation's beginning and end is on one monotonic clock. An
//! operation whose connection broke has an unknown outcome: it is recorded as such, and never repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::wire::{Answer, Line, Request};
use super::world::{Booking, STATES, fee};

/// How many clients there are.
pub(super) const CLIENTS: u64 = 24;
/// So many keys take a third of the traffic, so that several clients meet on one.
const HOT_KEYS: u64 = 12;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(12);
/// A client that gets no answer for so long takes the outcome for unknown.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// Read the revision; `None`: there was no such row.
    Read(Option<u64>),
    /// Put this revision.
    Put(u64),
    /// Removed the row.
    Delete,
}

/// How one operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With an answer.
    Well,
    /// It certainly did nothing.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// One operation, as its client saw it. Times are nanoseconds since the clients began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) client: u64,
    pub(super) key: u64,
    pub(super) did: Did,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) ended: Ended,
    /// Its connection broke off while it waited: its instance was killed.
    pub(super) cut_off: bool,
}

/// What everybody may look at while the clients run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests with an end, of any kind.
    pub(super) requests: AtomicU64,
    /// Writes that were acknowledged.
    pub(super) acknowledged: AtomicU64,
    /// Requests that were refused, or whose outcome isn't known although their instance lives.
    pub(super) failed: AtomicU64,
    /// Requests in flight in an instance that was killed.
    pub(super) cut_off: AtomicU64,
    /// The first reason of a failure, for the story.
    pub(super) first_failure: std::sync::OnceLock<String>,
}

/// The clients at work.
pub(super) struct Traffic {
    pub(super) tally: Arc<Tally>,
    pub(super) clock: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<Operation>>>,
}

/// Where the instances listen: it changes when one is started again.
pub(super) type Ports = watch::Receiver<Vec<u16>>;

impl Traffic {
    /// Sets all clients to work on a table of so many rows.
    pub(super) fn begin(ports: &Ports, rows: u64) -> Self {
        let (tally, stop, clock) =
            (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)), Instant::now());
        let clients = (0..CLIENTS)
            .map(|number| {
                let client = Client {
                    number,
                    rows,
                    ports: ports.clone(),
                    tally: Arc::clone(&tally),
                    stop: Arc::clone(&stop),
                    clock,
                    random: Random(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                    writes: 0,
                    line: None,
                };
                tokio::spawn(client.work())
            })
            .collect();
        Self { tally, clock, stop, clients }
    }

    /// Lets every client finish what it is at; all that they did, in no order.
    pub(super) async fn end(self) -> Result<Vec<Operation>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.map_err(|e| format!("a client of the demo broke: {e}"))?);
        }
        Ok(all)
    }
}

struct Client {
    number: u64,
    rows: u64,
    ports: Ports,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    clock: Instant,
    random: Random,
    writes: u64,
    line: Option<(u16, Line)>,
}

impl Client {
    async fn work(mut self) -> Vec<Operation> {
        let mut done = Vec::new();
        // Spread over the pause, so that the clients don't march in step.
        tokio::time::sleep(PAUSE * self.number as u32 / CLIENTS as u32).await;
        while !self.stop.load(Ordering::Relaxed) {
            let (key, did, request) = self.next_request();
            if let Err(why) = self.connect().await {
                self.failed(why);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let from_ns = self.now();
            let (did, ended, cut_off) = self.ask(did, &request).await;
            done.push(Operation {
                client: self.number,
                key,
                did,
                from_ns,
                to_ns: self.now(),
                ended,
                cut_off,
            });
            tokio::time::sleep(PAUSE).await;
        }
        done
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn next_request(&mut self) -> (u64, Did, Request) {
        let hot = self.random.below(3) == 0;
        // A tenth more keys than rows: so rows come into being and vanish.
        let key = 1 + if hot {
            self.random.below(HOT_KEYS)
        } else {
            self.random.below(self.rows + self.rows / 10 + 1)
        };
        match self.random.below(100) {
            0..70 => (key, Did::Read(None), Request::Get { id: key }),
            70..96 => {
                self.writes += 1;
                let revision = ((self.number + 1) << 32) | self.writes;
                let booking = Booking {
                    revision,
                    state: STATES[self.random.below(3) as usize].to_owned(),
                    fee: fee(self.random.below(1 << 20)),
                    ..Booking::seed(key)
                };
                (key, Did::Put(revision), Request::Put { booking })
            }
            _ => (key, Did::Delete, Request::Delete { id: key }),
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        let ports = self.ports.borrow().clone();
        if let Some((port, _)) = &self.line
            && ports.contains(port)
        {
            return Ok(());
        }
        self.line = None;
        let mut why = "no instance is up".to_owned();
        for turn in 0..ports.len() {
            let port = ports[(self.number as usize + turn) % ports.len()];
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => {
                    self.line = Some((port, Line::new(stream)));
                    return Ok(());
                }
                Err(error) => why = format!("port {port}: {error}"),
            }
        }
        Err(why)
    }

    /// Sends the request and takes the answer.
    async fn ask(&mut self, did: Did, request: &Request) -> (Did, Ended, bool) {
        let Some((_, line)) = &mut self.line else { return (did, Ended::Failed, false) };
        let exchange = async {
            line.send(request).await?;
            line.receive::<Answer>().await
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(Ok(Some(Answer::Found { booking }))) => {
                (Did::Read(booking.map(|b| b.revision)), Ended::Well, false)
            }
            Ok(Ok(Some(Answer::Done))) => {
                self.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                (did, Ended::Well, false)
            }
            Ok(Ok(Some(Answer::Failed { why }))) => {
                self.failed(why);
                (did, Ended::Failed, false)
            }
            Ok(Ok(Some(Answer::Unknown { why }))) => {
                self.failed(why);
                (did, Ended::Unknown, false)
            }
            // The connection broke: its instance was killed.
            Ok(Ok(None) | Err(_)) => {
                self.line = None;
                self.tally.cut_off.fetch_add(1, Ordering::Relaxed);
                (did, Ended::Unknown, true)
            }
            Err(_) => {
                self.line = None;
                self.failed(format!("no answer for {} s", PATIENCE.as_secs()));
                (did, Ended::Unknown, false)
            }
        }
    }

    fn failed(&self, why: String) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        // Only the first is told; all are counted.
        let _ = self.tally.first_failure.set(why);
    }
}

/// Numbers that look random and are the same in every run: xorshift with 64 bits (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
