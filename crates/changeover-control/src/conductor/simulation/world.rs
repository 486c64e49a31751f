//! What outlives a crash in a simulation: the stores, the state, the flag; and a run over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use changeover::engine::{Links, Pair};
use changeover::store::Store;
use changeover::store::capture::CaptureLog;
use changeover::store::fence::Fence;
use changeover::{Row, StoreError, TableName};
use changeover_api::Spec;
use changeover_protocol::gate::{self, Gate, Limits};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Control, Phase, Side, Step};
use changeover_tables::database::Roads;
use changeover_testkit::memory::{Mapping, MemoryStore, MemoryTable, Sabotage, Weather};
use changeover_testkit::random::Random;
use changeover_testkit::simulation::{KEYS, TABLE, row};
use tokio::sync::watch;

use super::PATIENCE;
use crate::clock::Clock;
use crate::columns::{Columns, Tables};
use crate::conductor::{Conducting, Conductor, Keeper, Parts, Plan, Sides};
use crate::flag::FlagFile;
use crate::state::{AuditEntry, SqliteState, StateStore};
use crate::supervisor::Watchdog;

/// How often a crash takes the state with it.
const STATE_LOST: f64 = 0.15;

/// The lifetime of a write is the fleet's, of the test kit.
const SPEC: &str = r#"
format = 1
name = "simulation"
mirror = "MIRROR"
phases = PHASES
hold_lease = "500ms"
write_lifetime = "1500ms"
[store.a]
url = "sqlite:never-opened-a.db"
[store.b]
url = "sqlite:never-opened-b.db"
[[table]]
old = "a:registers"
new = "b:registers"
key = { id = "id" }
[gate]
bake = { BAKE }
"#;

fn empty_state() -> Result<SqliteState, String> {
    SqliteState::in_memory("simulation").map_err(|error| error.to_string())
}

pub(super) struct World {
    pub(super) old: MemoryStore,
    pub(super) new: MemoryStore,
    /// As services see it.
    pub(super) flag: Arc<watch::Sender<u8>>,
    /// The spec's word.
    mirror: Mirror,
    /// The spec's list.
    phases: &'static str,
    lost: AtomicBool,
    state: Mutex<SqliteState>,
    backup: Mutex<Option<SqliteState>>,
    clock: Clock,
}

impl World {
    pub(super) fn new(sabotage: Sabotage, mirror: Mirror, phases: &'static str) -> Result<Self, String> {
        let store =
            |side| MemoryStore::new(side, vec![MemoryTable::new(Mapping::alike(TABLE, &["id", "version"]))]);
        let (old, new) = (store(Side::Old), store(Side::New));
        for key in 0..KEYS {
            old.damage_put(TABLE, row(key, 0));
        }
        for store in [&old, &new] {
            store.sabotage(sabotage);
        }
        let state = Mutex::new(empty_state()?);
        let flag = Arc::new(watch::Sender::new(Phase::Old.flag()));
        Ok(Self {
            old,
            new,
            flag,
            mirror,
            phases,
            lost: AtomicBool::new(false),
            state,
            backup: Mutex::new(None),
            clock: Clock::runtime(),
        })
    }

    pub(super) fn set_weather(&self, mut weather: impl FnMut() -> Weather) {
        self.old.set_weather(weather());
        self.new.set_weather(weather());
    }

    fn store(&self, side: Side) -> &MemoryStore {
        if side == Side::Old { &self.old } else { &self.new }
    }

    /// Links of a process of its own: what one knows of chunks, no other does.
    pub(super) fn links(&self) -> Result<Links, String> {
        let pair = Pair {
            table: TABLE.into(),
            old: Arc::new(self.old.clone()) as Arc<dyn Store>,
            new: Arc::new(self.new.clone()),
            rules: Vec::new(),
        };
        Links::new(vec![pair]).map_err(|error| error.to_string())
    }

    fn parts(&self) -> Result<Parts, String> {
        let links = self.links()?;
        let keeper = |side| (side, Arc::new(Kept(side, self.store(side).clone())) as Arc<dyn Keeper>);
        let bake = if self.phases.contains("reverse") {
            r#"reverse-shadow = "0s", new = "0s""#
        } else {
            r#"new = "0s""#
        };
        let mirror = if self.mirror == Mirror::Capture { "capture" } else { "dual-write" };
        let text = SPEC.replace("MIRROR", mirror).replace("PHASES", self.phases).replace("BAKE", bake);
        let spec = Spec::parse(Path::new("registers.toml"), &text).map_err(|error| error.to_string())?;
        Ok(Parts {
            plan: Plan::of(spec),
            sides: Sides::new(
                links,
                vec![keeper(Side::Old), keeper(Side::New)],
                Vec::new(),
                Columns::default(),
            ),
            state: Arc::new(self.state()),
            watchdog: Watchdog::none(),
            clock: self.clock,
            flag_file: FlagFile::none(),
        })
    }

    /// Nobody damages anything here, so no verification may have found a difference; but after a state was lost what the
    /// lost one knew of isn't known.
    pub(super) async fn no_difference_was_found(&self) -> Result<(), String> {
        let entries = self.state().audit(None, 100_000).await.map_err(|error| error.to_string())?;
        let differs = |entry: &&AuditEntry| entry.entry.text.contains(" differ, ");
        match entries.iter().find(differs) {
            Some(found) if !self.lost.load(Relaxed) => {
                let reports = self.state().verifications(1_000).await.unwrap_or_default();
                let unequal = reports.into_iter().find(|report| report.evidence.differences > 0);
                Err(format!("{}: {}", found.entry.text, unequal.map(|it| it.report).unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    fn state(&self) -> SqliteState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state's file is gone: what comes next begins with an empty one.
    fn lose_state(&self) -> Result<(), String> {
        self.lost.store(true, Relaxed);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = empty_state()?;
        Ok(())
    }

    /// A copy of the state as it is, for later.
    pub(super) fn back_up(&self) -> Result<(), String> {
        let copy = self.state().copied().map_err(|error| error.to_string())?;
        *self.backup.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        Ok(())
    }

    /// Puts the copy in the state's place, if there is one: the state as it was.
    pub(super) fn put_back(&self) -> Result<Option<SqliteState>, String> {
        let copy = self.backup.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(copy) = copy else { return Ok(None) };
        let copy = copy.copied().map_err(|error| error.to_string())?;
        self.lost.store(true, Relaxed);
        Ok(Some(self.replace_state(copy)))
    }

    /// Another state in the place of this one.
    pub(super) fn replace_state(&self, state: SqliteState) -> SqliteState {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state)
    }

    /// What came last, for whoever looks into a failure.
    pub(super) async fn audit(&self) -> String {
        let entries = self.state().audit(None, 10_000).await.unwrap_or_default();
        // What the mirror and the watch meet of the weather, in passing, is none of it.
        let entries = entries.into_iter().filter(|entry| {
            let text = &entry.entry.text;
            !["mirror: ", "watch: "].iter().any(|part| text.starts_with(part))
        });
        let entries: Vec<AuditEntry> = entries.take(60).collect();
        let line = |entry: &AuditEntry| format!("  {} {}", entry.entry.at_ms % 1_000_000, entry.entry.text);
        entries.iter().rev().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits until nothing is on its way to the follower, where there is one.
    pub(super) async fn until_drained(&self, phase: Phase) -> Result<(), String> {
        let authority = self.store(phase.step().authority());
        let is_drained = || match self.mirror {
            Mirror::Capture => authority.logged().is_empty(),
            Mirror::DualWrite => self.old.logged().is_empty() && self.new.logged().is_empty(),
        };
        let drained = async {
            while phase.step().is_mirrored() && !is_drained() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // What was claimed last is written.
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        let waited = tokio::time::timeout(PATIENCE, drained).await;
        waited.map_err(|_| format!("in {phase} the log isn't drained: {:?}", authority.logged()))
    }

    /// The authority has just these rows, and the follower is as it is.
    pub(super) fn compare(&self, phase: Phase, rows: &BTreeMap<u64, Row>) -> Result<(), String> {
        let wanted: Vec<Row> = rows.values().cloned().collect();
        let found = self.rows(phase);
        if found != wanted {
            return Err(format!("in {phase} the authority has {found:?}, and acknowledged was {wanted:?}"));
        }
        self.are_equal(phase)
    }

    /// The authority's rows.
    pub(super) fn rows(&self, phase: Phase) -> Vec<Row> {
        self.store(phase.step().authority()).raw_rows(TABLE)
    }

    /// The follower is as the authority, where there is one.
    pub(super) fn are_equal(&self, phase: Phase) -> Result<(), String> {
        let authority = phase.step().authority();
        let found = self.rows(phase);
        let follower = self.store(authority.other()).raw_rows(TABLE);
        if phase.step().is_mirrored() && follower != found {
            return Err(format!("in {phase} the sides differ at rest: {found:?} {follower:?}"));
        }
        Ok(())
    }
}

/// What is installed in a memory store.
struct Kept(Side, MemoryStore);

#[async_trait]
impl Keeper for Kept {
    fn store(&self) -> &str {
        "memory"
    }

    async fn installed(&self) -> Result<Vec<String>, StoreError> {
        let captured = CaptureLog::installed(&self.1).await?.then(|| "a log".to_owned());
        let fenced = (Fence::look(&self.1).await?.epoch > 0).then(|| "a fence".to_owned());
        Ok(captured.into_iter().chain(fenced).collect())
    }

    async fn roads(&self) -> Result<Roads, StoreError> {
        Ok(Roads { reads: "memory".to_owned(), writes: "memory".to_owned(), because: None })
    }

    async fn columns(&self) -> Result<Tables, StoreError> {
        Ok(Tables::new())
    }

    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        Ok(Vec::new())
    }

    /// There are none.
    async fn raise_counters(&self, _at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError> {
        CaptureLog::remove(&self.1).await?;
        if let Some(guarded) = self.1.guarded() {
            guarded.forget_generations_below(u64::MAX).await?;
        }
        if fenced == Some(self.0) { Ok(()) } else { Fence::remove(&self.1).await }
    }

    async fn try_retiring(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        Ok(Vec::new())
    }
}

/// A run of the migration, until it crashes.
pub(super) struct Run<'w> {
    world: &'w World,
    conducting: Conducting,
    flag: tokio::task::JoinHandle<()>,
}

impl<'w> Run<'w> {
    /// Begins, and again as long as a store or a reply fails it.
    pub(super) async fn begin(world: &'w World) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..100 {
            match Conducting::begin(world.parts()?).await {
                Ok(conducting) => {
                    let (mut targets, flag) =
                        (conducting.conductor.barrier.targets(), Arc::clone(&world.flag));
                    let conductor = Arc::clone(&conducting.conductor);
                    let flag = tokio::spawn(async move {
                        loop {
                            targets.mark_unchanged();
                            if let Some(phase) = conductor.flag().await {
                                flag.send_replace(phase.flag());
                            }
                            if targets.changed().await.is_err() {
                                return;
                            }
                        }
                    });
                    let run = Self { world, conducting, flag };
                    // With dual write the stores alone don't say which side is the authority.
                    if world.mirror == Mirror::Capture {
                        run.adopt().await?;
                    }
                    return Ok(run);
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("no run begins: {last}"))
    }

    pub(super) const fn world(&self) -> &'w World {
        self.world
    }

    pub(super) fn conductor(&self) -> &Conductor {
        &self.conducting.conductor
    }

    pub(super) const fn conducted(&self) -> &Arc<Conductor> {
        &self.conducting.conductor
    }

    pub(super) fn record(&self) -> Arc<Control> {
        self.conductor().barrier.record()
    }

    /// Whatever happens, state and stores must agree.
    fn is_sane(&self) -> Result<(), String> {
        self.conductor().stopped().map_or(Ok(()), |problem| Err(format!("it stopped: {problem}")))
    }

    /// Dies wherever it is, and begins anew a while later; sometimes without its state.
    pub(super) async fn crash(self, random: &mut Random) -> Result<Self, String> {
        let Self { world, conducting, flag } = self;
        flag.abort();
        drop(conducting);
        tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(700))).await;
        if world.mirror == Mirror::Capture && random.chance(STATE_LOST) {
            let older = if random.chance(0.5) { world.put_back()? } else { None };
            if older.is_none() {
                world.lose_state()?;
            }
        }
        Self::begin(world).await
    }

    /// Where state and stores disagree an operator looks, and takes the stores' word.
    async fn adopt(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..100 {
            if self.conductor().stopped().is_none() {
                return Ok(());
            }
            if let Err(error) = self.conductor().adopt().await {
                last = error.to_string();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("it can't be adopted: {last}"))
    }

    /// Until no move is under way, and no copy.
    pub(super) async fn until_at_rest(&self) -> Result<(), String> {
        let mut records = self.conductor().barrier.records();
        let rest = records.wait_for(|record| {
            record.shift.is_none() && record.backfill.is_none_or(|backfill| backfill.done)
        });
        let waited = tokio::time::timeout(PATIENCE, rest).await.map(drop);
        waited.map_err(|_| {
            let troubles = self.conductor().progress.borrow().troubles.clone();
            format!("no rest: {:?}, {troubles:?}", self.record())
        })?;
        self.is_sane()
    }

    /// After a state was lost, or an older one put back, the sides may be apart: its generation may not be the one that was
    /// under way. The verification's gate says so, until an operator has them repaired.
    pub(super) async fn until_verified(&self) -> Result<(), String> {
        if !self.world.lost.load(Relaxed)
            || !self.record().target.uniform_step().is_some_and(Step::is_mirrored)
        {
            return Ok(());
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        self.conductor().ask_verification(true).await.map_err(|error| error.to_string())?;
        loop {
            let evidence = self.conductor().evidence().await.map_err(|error| error.to_string())?;
            let verdict = gate::evaluate(Gate::Verification, &evidence, &Limits::default());
            if verdict.is_open() {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return Err(format!("it is never verified: {verdict:?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) async fn end(self) {
        self.flag.abort();
        self.conducting.end().await;
    }
}

#[tokio::test]
async fn the_state_in_memory_is_a_state() {
    let state = SqliteState::in_memory("simulation").expect("a state");
    assert!(state.load().await.expect("an answer").is_none());
}
