//! What every kind of server has: a folder, a port, an account, a supervisor; being started, asked whether it is ready,
//! ended.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::account::Account;
use super::port;
use super::supervisor::Supervisor;

/// How long a server may take to be ready: a busy machine with two cores takes a second.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often one that isn't ready is asked.
const ASKED_EVERY: Duration = Duration::from_millis(15);
/// How often a start is tried while a port or what the last server has left is still in use.
const STARTS: u32 = 20;
/// How much room there must be in memory for servers to have their folders there, in bytes.
const IN_MEMORY_FROM: u64 = 4 << 30;

/// A server's process, and all that goes with it.
#[derive(Debug)]
pub(super) struct Instance {
    // Dropped before the folder: it ends the server.
    supervisor: Mutex<Supervisor>,
    pub(super) folder: TempDir,
    pub(super) account: Account,
    pub(super) port: u16,
    /// Whether all tests of the process use it, so that none may stop it.
    pub(super) shared: bool,
    names: AtomicU32,
}

/// A folder of this account's, where temporary ones are: its path is short, as a socket's must be.
pub(super) fn folder(account: Account) -> TempDir {
    let mut named = tempfile::Builder::new();
    named.prefix("changeover-");
    // In memory where there is room: a new PostgreSQL database is 300 files, which take four times as long on a disk that
    // others write to. Whoever sets TMPDIR has decided.
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory).is_ok_and(|is| is.f_bavail * is.f_frsize > IN_MEMORY_FROM);
    let in_memory = roomy && std::env::var_os("TMPDIR").is_none();
    let folder = if in_memory { named.tempdir_in(memory) } else { named.tempdir() };
    let folder = folder.expect("a temporary folder");
    account.own(folder.path());
    folder
}

/// Writes a file of this account's.
pub(super) fn write(account: Account, path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    account.own(path);
}

impl Instance {
    /// The instance of a server that isn't started yet.
    pub(super) fn new(folder: TempDir, account: Account, supervisor: Supervisor) -> Self {
        let supervisor = Mutex::new(supervisor);
        Self { supervisor, folder, account, port: 0, shared: false, names: AtomicU32::new(0) }
    }

    /// Starts the server for the first time, on a free port that `configure` writes into its settings.
    pub(super) fn start_on_free_port(
        &mut self,
        configure: impl Fn(&Self),
        ready: impl Fn(&Self) -> Result<(), String>,
    ) {
        let mut why = String::new();
        for _ in 0..STARTS {
            self.port = port::number();
            configure(self);
            match self.try_start(&mut self.supervisor(), &ready) {
                Ok(()) => return,
                Err(died) => why = died,
            }
            assert!(in_use(&why), "{why}");
        }
        panic!("{why}");
    }

    /// Ends the server by this signal if it runs.
    pub(super) fn stop(&self, signal: &str) {
        self.assert_own();
        self.supervisor().end(signal);
    }

    /// Ends the server by this signal if it runs, and starts it again on its port.
    pub(super) fn restart(&self, signal: &str, ready: impl Fn(&Self) -> Result<(), String>) {
        self.assert_own();
        let mut supervisor = self.supervisor();
        supervisor.end(signal);
        for _ in 0..STARTS {
            let Err(why) = self.try_start(&mut supervisor, &ready) else { return };
            assert!(in_use(&why), "{why}");
            // What was killed is still on its way out: its shared memory, its socket.
            thread::sleep(10 * ASKED_EVERY);
        }
        panic!("the server doesn't start again: {}", self.log());
    }

    /// Starts the server and waits until it answers; if it doesn't, it is ended, and the error says why.
    fn try_start(
        &self,
        supervisor: &mut Supervisor,
        ready: &impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let before = self.log().len();
        supervisor.start();
        let begun = Instant::now();
        loop {
            // Looked at first: what answers while ours is dead would be another.
            let alive = supervisor.alive();
            let Err(refused) = ready(self) else { return Ok(()) };
            if !alive || begun.elapsed() > READY_WITHIN {
                supervisor.end("KILL");
                let log = self.log();
                let log = log.get(before..).unwrap_or(&log);
                let what = if alive { "isn't ready in time" } else { "ended while it started" };
                return Err(format!("the server {what}: {refused}\nIts log:\n{log}"));
            }
            thread::sleep(ASKED_EVERY);
        }
    }

    /// Whether the server's process runs.
    pub(super) fn alive(&self) -> bool {
        self.supervisor().alive()
    }

    /// The log of all its runs.
    pub(super) fn log(&self) -> String {
        fs::read(self.path("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// A path in its folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A name that this instance hasn't given yet, which any server takes without quotes.
    pub(super) fn unique(&self, hint: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let hint: String = hint.chars().take(40).map(plain).collect();
        let hint = if hint.starts_with(|c: char| c.is_ascii_lowercase()) { hint } else { format!("t{hint}") };
        // 32 characters are what MariaDB and MySQL 5.7 take for a user; none needs more to be told apart.
        let hint: String = hint.chars().take(24).collect();
        format!("{hint}_{}", self.names.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn assert_own(&self) {
        assert!(!self.shared, "other tests use the shared server: start one to stop it");
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server couldn't start because of something that goes by itself, or by taking another port.
fn in_use(why: &str) -> bool {
    // PostgreSQL's port and shared memory, the port of both, InnoDB's files.
    ["already in use", "still in use", "Unable to lock"].iter().any(|said| why.contains(said))
}

/// Runs a client with this on its stdin, and gives what it printed; an error is what it said on stderr.
pub(super) fn run_client(mut command: Command, input: &str) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut stdin = client.stdin.take().expect("it is piped");
    let output = thread::scope(|scope| {
        // Beside the reading, so that neither waits for the other. One that ends early says why on stderr.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        client.wait_with_output()
    });
    let output = output.unwrap_or_else(|e| panic!("{name}: {e}"));
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    }
}

/// For a URL: everything but letters and digits, as a password may have anything.
pub(super) fn percent(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}
