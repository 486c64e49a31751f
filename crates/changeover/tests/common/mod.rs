//! What the tests of the library share: two stores in memory, and a mirror between them that can be made to hang, to
//! fail, or to panic.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use changeover::Builder;
use changeover::clock::RuntimeClock;
use changeover::mirror::{Levelled, Mirror, Ticket};
use changeover::protocol::member::InstanceId;
use changeover::protocol::target::{Target, Version};
use changeover::protocol::{Millis, Phase, Step};
use changeover::switch::SwitchHandle;
use changeover::{Key, Migration, Refused, Side, StoreError, Value};

/// The error of the service in these tests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failed {
    Refused(Refused),
    Store(&'static str),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What a follower does when it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Well,
    Hangs,
    Fails,
    Panics,
}

/// What a write left: its ticket, its keys, and how long it may still be carried out.
pub(crate) type LeftDirty = (Option<Ticket>, Vec<Key>, Duration);

/// Both sides, and what the mirror knows.
pub(crate) struct Stores {
    pub(crate) rows: [Mutex<BTreeMap<i64, i64>>; 2],
    pub(crate) mood: Mutex<Mood>,
    pub(crate) journal: Mutex<BTreeMap<Ticket, Vec<Key>>>,
    pub(crate) dirty: Mutex<Vec<LeftDirty>>,
    pub(crate) journal_fails: Mutex<bool>,
    next: AtomicU64,
}

impl Stores {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: [Mutex::default(), Mutex::default()],
            mood: Mutex::new(Mood::Well),
            journal: Mutex::default(),
            dirty: Mutex::default(),
            journal_fails: Mutex::new(false),
            next: AtomicU64::new(1),
        })
    }

    pub(crate) fn get(&self, side: Side, id: i64) -> Option<i64> {
        self.rows[side as usize].lock().unwrap().get(&id).copied()
    }

    pub(crate) fn put(&self, side: Side, id: i64, value: i64) {
        self.rows[side as usize].lock().unwrap().insert(id, value);
    }

    pub(crate) fn is_level(&self) -> bool {
        *self.rows[0].lock().unwrap() == *self.rows[1].lock().unwrap()
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// What a repair does: syncs all that is dirty.
    pub(crate) fn repair(&self, authority: Side) {
        for (ticket, keys, _) in self.dirty.lock().unwrap().drain(..) {
            keys.iter().for_each(|key| self.sync(authority, key));
            ticket.map(|ticket| self.journal.lock().unwrap().remove(&ticket));
        }
    }

    fn sync(&self, authority: Side, key: &Key) {
        let [Value::Int(id)] = key.values() else { panic!("keys are integers here") };
        let value = self.get(authority, *id);
        let mut follower = self.rows[authority.other() as usize].lock().unwrap();
        match value {
            Some(value) => follower.insert(*id, value),
            None => follower.remove(id),
        };
    }

    pub(crate) fn dirty_keys(&self) -> BTreeSet<String> {
        self.dirty.lock().unwrap().iter().flat_map(|(_, keys, _)| keys).map(ToString::to_string).collect()
    }
}

/// The mirror between the two. It yields at every step, so that there are awaits to be dropped at.
pub(crate) struct MemoryMirror(pub(crate) Arc<Stores>);

#[async_trait]
impl Mirror for MemoryMirror {
    async fn journal(&self, _: Side, keys: &[Key]) -> Result<Ticket, StoreError> {
        tokio::task::yield_now().await;
        if *self.0.journal_fails.lock().unwrap() {
            return Err(StoreError::Fault("journal"));
        }
        let ticket = Ticket(self.0.next.fetch_add(1, SeqCst));
        self.0.journal.lock().unwrap().insert(ticket, keys.to_vec());
        Ok(ticket)
    }

    async fn level(&self, authority: Side, keys: &[Key]) -> Result<Levelled, StoreError> {
        tokio::task::yield_now().await;
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Well => {}
            Mood::Hangs => std::future::pending().await,
            Mood::Fails => return Err(StoreError::Fault("level")),
            Mood::Panics => panic!("planted"),
        }
        keys.iter().for_each(|key| self.0.sync(authority, key));
        tokio::task::yield_now().await;
        Ok(Levelled { synced: keys.len() as u64, ..Levelled::default() })
    }

    async fn clear(&self, ticket: Ticket) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.0.journal.lock().unwrap().remove(&ticket);
        Ok(())
    }

    async fn leave_dirty(&self, _: Side, ticket: Option<Ticket>, keys: &[Key], settle_after: Duration) {
        tokio::task::yield_now().await;
        self.0.dirty.lock().unwrap().push((ticket, keys.to_vec(), settle_after));
    }

    fn dirty(&self) -> u64 {
        self.0.journal.lock().unwrap().values().map(|keys| keys.len() as u64).sum()
    }
}

/// A builder on the runtime's clock, mirroring between these stores.
pub(crate) fn builder(stores: &Arc<Stores>) -> Builder {
    Migration::builder("bookings")
        .clock(RuntimeClock::start())
        .dual_write(Arc::new(MemoryMirror(Arc::clone(stores))))
        .write_lifetime(Duration::from_secs(30))
}

/// A target of one step for all slots.
pub(crate) fn target(version: u64, step: Step) -> Target {
    let mut target = Target::uniform(Version(version), step, Phase::Shadow, Millis(500));
    target.hold_budget_ms = step.is_hold().then_some(Millis(2_000));
    target
}

/// An instance that was registered at this step.
pub(crate) fn registered(builder: Builder, step: Step) -> (Migration, SwitchHandle) {
    let sent = builder.now();
    builder.register(InstanceId::new("a"), target(1, step), sent).unwrap()
}

/// Writes a row by the migration.
pub(crate) async fn write(
    migration: &Migration,
    stores: &Arc<Stores>,
    id: i64,
    value: i64,
) -> Result<(), Failed> {
    let stores = Arc::clone(stores);
    migration
        .write("booking.put", ("booking", id))
        .run(move |side| async move {
            tokio::task::yield_now().await;
            stores.put(side, id, value);
            tokio::task::yield_now().await;
            Ok(())
        })
        .await
}
