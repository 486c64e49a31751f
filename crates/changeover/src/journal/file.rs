//! The file of the journal, and the thread that writes it: what arrives while the disk is busy goes down together.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use changeover_protocol::Side;
use tokio::sync::{mpsc, oneshot};

use super::record::{Record, decode, encode};
use super::{JournalError, JournalSettings};
use crate::error::StoreError;
use crate::mirror::Ticket;
use crate::value::Key;

/// How many appends may wait for the disk.
const WAITING_MAX: usize = 4_096;
/// At most this many go down together.
const GROUP_MAX: usize = 1_024;
const HEAD: &[u8; 16] = b"changeover-jrnl1";

type Open = HashMap<Ticket, (Side, Vec<Key>)>;
/// The open tickets of a process that died.
type Left = Vec<(Ticket, (Side, Vec<Key>))>;
type Done = oneshot::Sender<Result<(), String>>;

/// The journal's file.
pub(super) struct Journal {
    appends: mpsc::Sender<(Record, Option<Done>)>,
    shared: Arc<Shared>,
    next: AtomicU64,
    path: String,
}

struct Shared {
    open: Mutex<Open>,
    settings: JournalSettings,
    groups: AtomicU64,
    records: AtomicU64,
    sync_micros: AtomicU64,
    sync_micros_longest: AtomicU64,
}

/// What a journal has cost since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Records written.
    pub records: u64,
    /// Groups that they were written in: one `fsync` each.
    pub groups: u64,
    /// The mean time of one group, to disk.
    pub group_mean: Duration,
    /// The longest.
    pub group_longest: Duration,
}

impl Journal {
    /// The journal, the tickets left open in it, and how many bytes of its end were cut off.
    pub(super) fn open(path: &Path, settings: JournalSettings) -> Result<(Self, Left, u64), JournalError> {
        let io = |doing| move |cause| JournalError::Io { path: path.to_owned(), doing, cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("opening"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| JournalError::Taken { path: path.to_owned() })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("reading"))?;
        let is_new = bytes.is_empty();
        // A head that was cut off is a journal that never held anything.
        if !is_new && !bytes.starts_with(HEAD) && !HEAD.starts_with(&bytes) {
            return Err(JournalError::NoJournal { path: path.to_owned() });
        }
        let (open, end, last) = replay(bytes.get(HEAD.len()..).unwrap_or_default());
        let end = HEAD.len() + end;
        let torn = bytes.len().saturating_sub(end) as u64;
        if bytes.len() < HEAD.len() {
            file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(HEAD)).map_err(io("beginning"))?;
        }
        file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(io("cutting"))?;
        file.seek(SeekFrom::End(0)).map_err(io("going to the end of"))?;
        sync_folder(path).map_err(io("syncing the folder of"))?;
        let left: Vec<_> = open.iter().map(|(ticket, keys)| (*ticket, keys.clone())).collect();
        let shared = Arc::new(Shared::new(open, settings));
        let (appends, waiting) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            file,
            path: path.to_owned(),
            bytes: end as u64,
            rewrite_at: settings.rewrite_at_bytes,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("changeover-journal".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(io("beginning a thread for"))?;
        let (next, path) = (AtomicU64::new(last + 1), path.display().to_string());
        Ok((Self { appends, shared, next, path }, left, torn))
    }

    /// Puts keys down, durably.
    pub(super) async fn put(&self, side: Side, keys: &[Key]) -> Result<Ticket, StoreError> {
        let ticket = Ticket(self.next.fetch_add(1, Relaxed));
        {
            let mut open = self.shared.open();
            if open.len() >= self.shared.settings.open_max {
                return Err(self.refused(format!("{} writes are open already", open.len())));
            }
            open.insert(ticket, (side, keys.to_vec()));
        }
        // Whatever happens from here on, dropped at an await included, a ticket that nobody got isn't left behind.
        let mut unused = Unused { journal: self, ticket: Some(ticket) };
        let (done, told) = oneshot::channel();
        let gone = || self.refused("its writer is gone".to_owned());
        self.appends
            .send((Record::Put(ticket, side, keys.to_vec()), Some(done)))
            .await
            .map_err(|_| gone())?;
        told.await.map_err(|_| gone())?.map_err(|cause| self.refused(cause))?;
        unused.ticket = None;
        Ok(ticket)
    }

    /// Takes a ticket out. It needn't be durable: one that comes back is synced once more.
    pub(super) fn clear(&self, ticket: Ticket) -> Option<Vec<Key>> {
        let keys = self.shared.open().remove(&ticket).map(|(_, keys)| keys);
        // No room, or no writer: the record is missed, and the ticket comes back after a crash, which is allowed. A file
        // that is written anew holds only what is open.
        let _ = self.appends.try_send((Record::Clear(ticket), None));
        keys
    }

    pub(super) fn stats(&self) -> JournalStats {
        let shared = &self.shared;
        let groups = shared.groups.load(Relaxed);
        JournalStats {
            records: shared.records.load(Relaxed),
            groups,
            group_mean: Duration::from_micros(shared.sync_micros.load(Relaxed) / groups.max(1)),
            group_longest: Duration::from_micros(shared.sync_micros_longest.load(Relaxed)),
        }
    }

    fn refused(&self, cause: String) -> StoreError {
        StoreError::Refused {
            store: format!("journal {}", self.path),
            doing: "putting keys down".to_owned(),
            cause,
            remedy: "Writes go on, unjournalled; make room on its volume, and verify".to_owned(),
        }
    }
}

/// A ticket that its write never got.
struct Unused<'a> {
    journal: &'a Journal,
    ticket: Option<Ticket>,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.journal.clear(ticket);
        }
    }
}

impl Shared {
    fn new(open: Open, settings: JournalSettings) -> Self {
        Self {
            open: Mutex::new(open),
            settings,
            groups: AtomicU64::new(0),
            records: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
            sync_micros_longest: AtomicU64::new(0),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the records come to: the open tickets, where the last whole record ends, and the last ticket's number.
fn replay(mut bytes: &[u8]) -> (Open, usize, u64) {
    let (mut open, mut end, mut last) = (Open::new(), 0, 0);
    while let Some((record, len)) = decode(bytes) {
        match record {
            Record::Put(ticket, side, keys) => {
                last = last.max(ticket.0);
                open.insert(ticket, (side, keys));
            }
            Record::Clear(ticket) => {
                open.remove(&ticket);
            }
        }
        end += len;
        bytes = &bytes[len..];
    }
    (open, end, last)
}

struct Writer {
    file: File,
    path: PathBuf,
    bytes: u64,
    rewrite_at: u64,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<(Record, Option<Done>)>) {
        let mut group = Vec::new();
        let mut bytes = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            group.push(first);
            while group.len() < GROUP_MAX
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            bytes.clear();
            group.iter().for_each(|(record, _)| encode(record, &mut bytes));
            let is_durable = group.iter().any(|(_, done)| done.is_some());
            let began = Instant::now();
            let written = self.append(&bytes, is_durable);
            self.count(group.len(), began.elapsed());
            for done in group.drain(..).filter_map(|(_, done)| done) {
                // A write that was dropped meanwhile doesn't listen.
                let _ = done.send(written.as_ref().map_err(ToString::to_string).copied());
            }
            if self.bytes > self.rewrite_at {
                self.rewrite();
            }
        }
    }

    fn append(&mut self, bytes: &[u8], is_durable: bool) -> io::Result<()> {
        let write = |file: &mut File| {
            file.write_all(bytes)?;
            if is_durable { file.sync_data() } else { Ok(()) }
        };
        match write(&mut self.file) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record in the middle would hide all that follow: back to where the last whole one ends.
                let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::End(0)));
                Err(error)
            }
        }
    }

    fn count(&self, records: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.groups.fetch_add(1, Relaxed);
        self.shared.records.fetch_add(records as u64, Relaxed);
        self.shared.sync_micros.fetch_add(micros, Relaxed);
        self.shared.sync_micros_longest.fetch_max(micros, Relaxed);
    }

    /// Writes the file anew with what is open. If that fails the old one goes on, and it is tried again when it has
    /// doubled.
    fn rewrite(&mut self) {
        match self.written_anew() {
            Ok((file, bytes)) => {
                (self.file, self.bytes) = (file, bytes);
                self.rewrite_at = self.shared.settings.rewrite_at_bytes.max(bytes * 2);
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the journal couldn't be written anew");
                self.rewrite_at = self.bytes * 2;
            }
        }
    }

    fn written_anew(&self) -> io::Result<(File, u64)> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".next");
        let mut bytes = HEAD.to_vec();
        // Tickets whose record still waits are in it as well: their record then comes twice, and says the same.
        for (ticket, (side, keys)) in self.shared.open().iter() {
            encode(&Record::Put(*ticket, *side, keys.clone()), &mut bytes);
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        sync_folder(&self.path)?;
        Ok((file, bytes.len() as u64))
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
