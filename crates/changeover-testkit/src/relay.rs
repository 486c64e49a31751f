//! A TCP relay in front of a server, which does what networks do: takes its time, falls silent, breaks off.
//!
//! It has a thread and a clock of its own, so it is used alike from tests with and without a runtime, and a test's paused
//! clock doesn't stop it. What a method says holds when it returns.

use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::servers::port;

/// How many bytes are carried at once: a delay is for each of these.
const CHUNK: usize = 16 * 1024;
/// How long the relay may take to do what it is told.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// How often it tries to listen again on its port.
const LISTENS_EVERY: Duration = Duration::from_millis(20);

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the clients to the server: requests.
    ToServer,
    /// From the server to the clients: replies.
    ToClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Pass,
    Stall,
    Drop,
}

/// What is done to all connections alike.
#[derive(Debug, Clone, Copy)]
struct Rules {
    flow: Flow,
    delay: Duration,
}

const CALM: Rules = Rules { flow: Flow::Pass, delay: Duration::ZERO };

/// A relay; it ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    port: u16,
    target: SocketAddr,
    /// Dropped to end the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    /// How many bytes may still go to the server and to the clients before the connection is cut that wants more.
    left: Mutex<[Option<u64>; 2]>,
    bytes: [AtomicU64; 2],
    accepted: AtomicU64,
    cuts: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

/// What there is, for those who wait until it is as they said.
#[derive(Debug, Default)]
struct State {
    listening: bool,
    open: u64,
}

impl Relay {
    /// Starts a relay to this address, such as `("127.0.0.1", server.port())`. It passes everything.
    ///
    /// # Panics
    /// If there is no such address.
    pub fn start(target: impl ToSocketAddrs) -> Self {
        let target = target.to_socket_addrs().expect("an address").next().expect("an address");
        let listener = port::free();
        let address = listener.local_addr().expect("the listener's address");
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(CALM),
            left: Mutex::default(),
            bytes: Default::default(),
            accepted: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (end, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let relayed = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = relay(relayed, listener, target) => {}
                    _ = ended => {}
                }
            });
        });
        let relay = Self { shared, port: address.port(), target, end: Some(end), thread: Some(thread) };
        relay.shared.wait_until(|state| state.listening);
        relay
    }

    /// Its port on 127.0.0.1, which it keeps.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same URL, but by way of the relay.
    ///
    /// # Panics
    /// If the URL isn't one of the relay's target.
    #[must_use]
    pub fn through(&self, url: &str) -> String {
        let direct = format!("@{}", self.target);
        assert!(url.contains(&direct), "{url} isn't at {}", self.target);
        url.replacen(&direct, &format!("@127.0.0.1:{}", self.port), 1)
    }

    /// All is well again: bytes flow at once, connections are accepted, nothing is about to be cut. What was held back in
    /// a stall goes on.
    pub fn pass(&self) {
        *self.shared.left() = [None; 2];
        self.shared.rules.send_replace(CALM);
        self.shared.wait_until(|state| state.listening);
    }

    /// Bytes stop flowing, in both directions; connections stay open, and new ones are accepted.
    pub fn stall(&self) {
        self.shared.rules.send_modify(|rules| rules.flow = Flow::Stall);
        self.shared.wait_until(|state| state.listening);
    }

    /// Connections are reset on both sides, and new ones are refused, until [`pass`](Self::pass) or
    /// [`stall`](Self::stall).
    pub fn drop_all(&self) {
        self.shared.rules.send_modify(|rules| rules.flow = Flow::Drop);
        self.shared.wait_until(|state| !state.listening && state.open == 0);
    }

    /// Every chunk takes that much longer from now on, in both directions; no more than 16 KiB are a chunk.
    pub fn delay(&self, delay: Duration) {
        self.shared.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Lets that many more bytes go this way, of all connections together, and resets the connection that wants to send
    /// the next. Once: the others go on.
    ///
    /// With `(ToClient, 0)`, and one client that has just sent its COMMIT, the server commits and the client never hears.
    pub fn drop_after(&self, direction: Direction, bytes: u64) {
        self.shared.left()[direction as usize] = Some(bytes);
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.state().open
    }

    /// How many bytes it has carried this way.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::Relaxed)
    }

    /// How many connections were cut by [`drop_after`](Self::drop_after).
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there has been told on stderr.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn left(&self) -> MutexGuard<'_, [Option<u64>; 2]> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait_until(&self, is: impl Fn(&State) -> bool) {
        let waited = self.changed.wait_timeout_while(self.state(), SETTLED_WITHIN, |state| !is(state));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the relay doesn't do what it is told: {state:?}");
    }

    /// How many of so many bytes may go this way, and whether the connection is cut then.
    fn allowed(&self, direction: Direction, wanted: usize) -> (usize, bool) {
        let left = &mut self.left()[direction as usize];
        match *left {
            Some(few) if few < wanted as u64 => {
                *left = None;
                self.cuts.fetch_add(1, Ordering::Relaxed);
                (few as usize, true)
            }
            Some(enough) => {
                *left = Some(enough - wanted as u64);
                (wanted, false)
            }
            None => (wanted, false),
        }
    }
}

/// A connection in the count of those that are open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|state| state.open -= 1);
    }
}

/// Accepts connections while it may. While it may not, nobody listens on the port, so that they are refused.
async fn relay(shared: Arc<Shared>, first: StdListener, target: SocketAddr) {
    let mut rules = shared.rules.subscribe();
    let address = first.local_addr().expect("the listener's address");
    first.set_nonblocking(true).expect("a listener that doesn't block");
    let mut listener = TcpListener::from_std(first).expect("a listener for tokio");
    loop {
        shared.change(|state| state.listening = true);
        loop {
            tokio::select! {
                biased;
                _ = rules.wait_for(|rules| rules.flow == Flow::Drop) => break,
                Ok((client, _)) = listener.accept() => {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    shared.change(|state| state.open += 1);
                    tokio::spawn(connection(client, target, Open(Arc::clone(&shared))));
                }
            }
        }
        // Closing it would do, but a process that is being started holds a copy of every socket for a moment.
        let _ = shutdown(&listener, Shutdown::Both);
        drop(listener);
        shared.change(|state| state.listening = false);
        // The sender lives as long as `shared`.
        let _ = rules.wait_for(|rules| rules.flow != Flow::Drop).await;
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(LISTENS_EVERY).await,
            }
        };
    }
}

/// One connection, from its acceptance to its end. `open` is dropped after the sockets.
async fn connection(client: TcpStream, target: SocketAddr, open: Open) {
    let shared = &open.0;
    let mut rules = shared.rules.subscribe();
    let mut client = client;
    let mut server = tokio::select! {
        biased;
        _ = rules.wait_for(|rules| rules.flow == Flow::Drop) => return reset(&client),
        connected = TcpStream::connect(target) => match connected {
            Ok(server) => server,
            Err(_) => return reset(&client),
        },
    };
    // What is small and urgent here mustn't wait for more, or every round trip takes 40 ms.
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let both_ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            biased;
            _ = rules.wait_for(|rules| rules.flow == Flow::Drop) => Err(Broken),
            ended = async {
                tokio::try_join!(
                    carry(shared, Direction::ToServer, from_client, to_server),
                    carry(shared, Direction::ToClient, from_server, to_client),
                )
            } => ended.map(drop),
        }
    };
    if both_ended.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// A connection that is to be reset: by a rule, or because the other side of it was.
struct Broken;

/// Carries what comes, until its end: that is carried too.
async fn carry(
    shared: &Shared,
    direction: Direction,
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
) -> Result<(), Broken> {
    let mut rules = shared.rules.subscribe();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await.map_err(|_| Broken)?;
        let delay = rules.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // Looked at when the chunk is about to go: what was under way when the stall began is held back too.
        let _ = rules.wait_for(|rules| rules.flow == Flow::Pass).await;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        let (allowed, cut) = shared.allowed(direction, read);
        // Before they go: whoever has them finds them counted.
        shared.bytes[direction as usize].fetch_add(allowed as u64, Ordering::Relaxed);
        to.write_all(&chunk[..allowed]).await.map_err(|_| Broken)?;
        if cut {
            return Err(Broken);
        }
    }
}

/// Lets the socket's end be a reset instead of an orderly one.
fn reset(stream: &TcpStream) {
    // It fails for a socket that is gone already.
    let _ = stream.set_zero_linger();
}
