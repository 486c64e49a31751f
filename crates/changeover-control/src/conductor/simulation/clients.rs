//! The applications of a simulation: each looks at the flag now and then, and writes to the side that it names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use changeover::{Key, Row};
use changeover_testkit::memory::{MemoryStore, Refused};
use changeover_testkit::random::Random;
use changeover_testkit::simulation::{KEYS, TABLE, row};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::World;
use super::{PATIENCE, written};

/// How many applications; each has keys of its own, so that the last write of each key is known.
const CLIENTS: u64 = 4;

/// What the clients did, and what must be there.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) writes: u64,
    pub(super) refused: u64,
}

pub(super) struct Clients {
    tasks: JoinSet<Result<Traffic, String>>,
    stop: watch::Sender<bool>,
}

impl Clients {
    pub(super) fn start(world: &World, random: &mut Random) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), watch::Sender::new(false));
        for number in 0..CLIENTS {
            let client = Client {
                stores: [world.old.clone(), world.new.clone()],
                flag: Arc::clone(&world.flag),
                known: *world.flag.borrow(),
                random: random.fork(),
                traffic: Traffic::default(),
            };
            tasks.spawn(client.run(number, stop.subscribe()));
        }
        Self { tasks, stop }
    }

    /// Lets each end what it has begun.
    pub(super) async fn stop(mut self) -> Result<Traffic, String> {
        self.stop.send_replace(true);
        let mut all = Traffic::default();
        while let Some(ended) = self.tasks.join_next().await {
            let traffic = ended.map_err(|error| error.to_string())??;
            all.rows.extend(traffic.rows);
            all.writes += traffic.writes;
            all.refused += traffic.refused;
        }
        Ok(all)
    }
}

struct Client {
    stores: [MemoryStore; 2],
    flag: Arc<watch::Sender<u8>>,
    /// The flag as it was when this client last looked.
    known: u8,
    random: Random,
    traffic: Traffic,
}

impl Client {
    async fn run(mut self, number: u64, stop: watch::Receiver<bool>) -> Result<Traffic, String> {
        let mut keys: BTreeMap<u64, Row> =
            (0..KEYS).filter(|key| key % CLIENTS == number).map(|key| (key, row(key, 0))).collect();
        let mine: Vec<u64> = keys.keys().copied().collect();
        for version in 1_u64.. {
            if *stop.borrow() {
                break;
            }
            let pause = self.random.between(Duration::ZERO, Duration::from_millis(25));
            tokio::time::sleep(pause).await;
            let key = *self.random.pick(&mine);
            let new = (!self.random.chance(0.15)).then(|| row(key, version));
            let writing = tokio::time::timeout(PATIENCE, self.write(key, new.as_ref())).await;
            writing.map_err(|_| {
                format!("the write of {key} is refused for ever, with the flag {}", self.known)
            })?;
            match new {
                Some(new) => keys.insert(key, new),
                None => keys.remove(&key),
            };
            self.traffic.writes += 1;
        }
        self.traffic.rows = keys;
        Ok(self.traffic)
    }

    /// One transaction, and again after each refusal.
    async fn write(&mut self, key: u64, new: Option<&Row>) {
        if self.random.chance(0.4) {
            self.known = *self.flag.borrow();
        }
        loop {
            let store = &self.stores[written(self.known) as usize];
            let mut tx = store.begin_write().await;
            match new {
                Some(row) => tx.put(TABLE, row.clone()),
                None => tx.delete(&Key::new(TABLE, key as i64)),
            }
            let longest = Duration::from_millis(*self.random.pick(&[2, 2, 2, 300]));
            tokio::time::sleep(self.random.between(Duration::ZERO, longest)).await;
            match tx.commit() {
                Ok(()) => return,
                Err(Refused::Fenced | Refused::NotUnique(_)) => self.traffic.refused += 1,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.known = *self.flag.borrow();
        }
    }
}
