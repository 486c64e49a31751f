//! A run: the control plane, the mirror, backfill, verification and the API of one migration, in one process.
//!
//! [`Run::start`] is what the worker of `changeover run` does, and what a test or another program may do without any child
//! process. A run may be killed at any moment: what it had begun is gone on with by the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover_api::spec::show_duration;
use changeover_api::{RunFile, Secret, Spec};
use changeover_protocol::Phase;
use changeover_tables::database::Owned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{self, Api, Bound};
use crate::clock::Clock;
use crate::conductor::{Conducting, Conductor, Parts, Plan, Sides};
use crate::connect::{Connected, Elsewhere, anothers, mirroring};
use crate::error::ControlError;
use crate::files::{self, FileLock, Taken};
use crate::flag::FlagFile;
use crate::neighbours;
use crate::over::{self, over};
use crate::rights;
use crate::secret;
use crate::state::{AuditKind, SqliteState};
use crate::supervisor::Watchdog;

/// Where the API listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7400";

/// How often is looked whether the run file is there.
const LOOK_FOR_RUN_FILE: Duration = Duration::from_secs(2);

/// How long a run waits for the rights of one that is just ending: a worker whose parent was killed.
const OWN_WITHIN: Duration = Duration::from_secs(10);
/// After which time it says what it waits for.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// How long a port that is taken is tried for: whoever was killed gives it up in a moment.
const PORT_WITHIN: Duration = Duration::from_secs(3);

/// What to do when another has what was ours.
const TAKEN_FROM_US: &str = "It took it while this run had lost its hold on the database: see which of the two shall go on, and on which machine";

/// How long requests that are under way may take when the run ends.
const ENDING: Duration = Duration::from_secs(2);

/// What a run is told.
#[derive(Debug)]
pub struct RunOptions {
    /// The spec.
    pub spec: Spec,
    /// The state's file; `.changeover/NAME.db` beside the spec, if not given.
    pub state: Option<PathBuf>,
    /// Where the API listens; [`DEFAULT_LISTEN`], if not given.
    pub listen: Option<String>,
    /// The file that holds the flag, from 0 to 3.
    pub flag_file: Option<PathBuf>,
    /// The databases are quiet: the backfill is as fast as they go, and gives way to nobody.
    pub fast: bool,
    /// Whoever watches over the locks that the run holds.
    pub watchdog: Watchdog,
    /// Its clock.
    pub clock: Clock,
}

impl RunOptions {
    /// A run of this spec, by the defaults, that nobody watches.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            state: None,
            listen: None,
            flag_file: None,
            fast: false,
            watchdog: Watchdog::none(),
            clock: Clock::system(),
        }
    }
}

/// A run. Dropping it ends it at whatever it is, as a kill would.
#[derive(Debug)]
pub struct Run {
    conducting: Conducting,
    token: String,
    address: std::net::SocketAddr,
    run_file: PathBuf,
    ending: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Those that keep files in place.
    keeping: JoinSet<()>,
    connected: Connected,
    /// Each ends when another has taken what this run works on.
    losing: JoinSet<ControlError>,
    _owned: Vec<Box<dyn Owned>>,
    _state_lock: FileLock,
}

impl Run {
    /// Starts.
    ///
    /// # Errors
    /// A port that is taken; a store that can't be reached, or whose tables don't fit; another run that has the migration;
    /// a state that can't be used; a spec that changed in a way that can't be gone on with.
    pub async fn start(options: RunOptions) -> Result<Self, ControlError> {
        let RunOptions { spec, state, listen, flag_file, fast, watchdog, clock } = options;
        let listen = listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let state_path = state.unwrap_or_else(|| spec.state_path());
        // Told before its tables are looked for, which have other names now.
        if let Some(over) = over(&state_path, &spec.name).await? {
            return Err(over);
        }
        let run_file = RunFile::path_of(spec.folder(), &spec.name);
        let holder = format!("changeover run of `{}`, process {}", spec.name, watchdog.process());
        let state_lock = lock_state(&state_path, &holder).await?;
        if let Some(over) = over::finish(&state_path, &spec).await? {
            return Err(over);
        }
        // After that lock: another run of this migration is told by its process, and not by its port.
        let bound = Bound::listen_within(&listen, PORT_WITHIN).await?;
        let plan = Plan { fast, ..Plan::of(spec) };
        let connected = Connected::open(&plan.spec, mirroring(&plan.spec), &Elsewhere::new()).await?;
        connected.check()?;
        rights::check(&connected)?;
        let owned = own(&connected, &plan.name, &holder).await?;
        let mut losing = JoinSet::new();
        for taken in owned.iter().map(|owned| owned.taken()) {
            losing.spawn(async move { anothers(taken.await, TAKEN_FROM_US) });
        }
        neighbours::check(&connected, &plan.name).await?;
        let sides = connected.sides(&plan.name).await?;
        check_fences(&sides)?;
        let state = Arc::new(SqliteState::open(&state_path, &plan.name).await?);
        let token = secret::random_hex(32)?;
        let flag_file = FlagFile::of_run(flag_file, &*state).await?;
        let conducting = Conducting::begin(Parts { plan, sides, state, watchdog, clock, flag_file }).await?;
        let (ending, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let address = bound.address();
        let api = Api { conductor: Arc::clone(&conducting.conductor), ending: ended };
        let host = listen.clone();
        let of_api = token.clone();
        tasks.spawn(async move { api::serve(bound, &host, of_api, api).await });
        conducting.conductor.show_flag().await?;
        let mut keeping = JoinSet::new();
        keeping.spawn(Arc::clone(&conducting.conductor).keep_flag());
        let written = RunFile {
            address: address.to_string(),
            token: Secret::new(token.clone()),
            pid: std::process::id(),
            state: Some(std::path::absolute(&state_path).unwrap_or(state_path)),
        };
        written.write(&run_file).map_err(|cause| ControlError::file(&run_file, "the run file", &cause))?;
        keeping.spawn(keep(written, run_file.clone()));
        Ok(Self {
            conducting,
            token,
            address,
            run_file,
            ending,
            tasks,
            keeping,
            connected,
            losing,
            _owned: owned,
            _state_lock: state_lock,
        })
    }

    /// Where its API listens.
    #[must_use]
    pub const fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The token of its API.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The run file.
    #[must_use]
    pub fn run_file(&self) -> &Path {
        &self.run_file
    }

    /// What people may ask of it, within this process.
    #[must_use]
    pub fn conductor(&self) -> &Arc<Conductor> {
        &self.conducting.conductor
    }

    /// Waits until another has taken what this run works on, which it can once the run has lost the sessions that hold it. Then
    /// nothing is done there any more, and the run has to end by [`Run::give_way`]. Cancel-safe.
    pub async fn lost(&mut self) -> ControlError {
        match self.losing.join_next().await {
            Some(Ok(error)) => error,
            _ => std::future::pending().await,
        }
    }

    /// Ends because of [`Run::lost`].
    pub async fn give_way(self, to: &ControlError) {
        self.conductor().note(AuditKind::Failure, format!("the run ends: {to}")).await;
        self.end().await;
    }

    /// Stops in good order: requests end, the run file goes, what stays installed is said.
    pub async fn stop(self) -> Farewell {
        let farewell = Farewell::of(self.conductor()).await;
        match tokio::time::timeout(ENDING, self.conductor().last_look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "how far the logs have come isn't written down"),
            Err(_) => tracing::warn!("how far the logs have come isn't written down: a store doesn't answer"),
        }
        self.conductor().note(AuditKind::Run, "the run ends, because it was told to").await;
        self.end().await;
        farewell
    }

    async fn end(mut self) {
        self.ending.send_replace(true);
        self.keeping.shutdown().await;
        if let Err(error) = files::remove(&self.run_file) {
            tracing::warn!(%error, "the run file stays");
        }
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(ENDING, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.conducting.end().await;
        self.connected.close().await;
    }
}

/// Puts the run file back where somebody deleted it or wrote over it: commands would say that nothing runs here.
async fn keep(run: RunFile, path: PathBuf) {
    loop {
        tokio::time::sleep(LOOK_FOR_RUN_FILE).await;
        let is_ours =
            RunFile::read(&path).is_ok_and(|there| there.pid == run.pid && there.address == run.address);
        if !is_ours && let Err(error) = run.write(&path) {
            tracing::warn!(%error, "the run file can't be put back");
        }
    }
}

/// One run for a state file at a time. Whoever was just killed gives it up in a moment.
pub(crate) async fn lock_state(state: &Path, own: &str) -> Result<FileLock, ControlError> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let began = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let holder = match FileLock::take(&path, own)? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Theirs(holder) => holder.unwrap_or_else(|| "another run of this migration".to_owned()),
        };
        let (what, waited) = (format!("the state {}", state.display()), began.elapsed());
        if waited >= OWN_WITHIN {
            let remedy = "Two runs must not meet: end that one first".to_owned();
            return Err(ControlError::Owned { what, holder, remedy });
        }
        if waited >= TOLD_AFTER && !told {
            tracing::warn!("{what} is taken by {holder}: it is given {} s to end", OWN_WITHIN.as_secs());
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A move keeps writers out on either side: where a store can't, none is begun.
fn check_fences(sides: &Sides) -> Result<(), ControlError> {
    let all = sides.of(Side::Old).iter().chain(sides.of(Side::New));
    match all.map(|store| (store, store.fence())).find(|(_, fence)| fence.is_none()) {
        None => Ok(()),
        Some((store, _)) => Err(ControlError::Refused(format!(
            "store {}: this version can't keep writers out of a {} database, and so moves nothing to it or from it. `changeover \
             copy` copies it while nobody writes, and `changeover verify` compares",
            store.info().name,
            store.info().kind
        ))),
    }
}

async fn own(
    connected: &Connected,
    migration: &str,
    holder: &str,
) -> Result<Vec<Box<dyn Owned>>, ControlError> {
    let deadline = tokio::time::Instant::now() + OWN_WITHIN / 5;
    loop {
        match connected.own(migration, holder).await {
            Err(ControlError::Owned { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

/// What a run says as it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Each line.
    pub lines: Vec<String>,
}

impl Farewell {
    async fn of(conductor: &Conductor) -> Self {
        let record = conductor.barrier.record();
        let name = &conductor.plan.name;
        let spec = conductor.plan.spec.file().display();
        let mut installed = Vec::new();
        for (side, keeper) in &conductor.sides.keepers {
            let things = keeper.installed().await.unwrap_or_default();
            if !things.is_empty() {
                installed.push(format!("  {side}, store {}: {}", keeper.store(), things.join(", ")));
            }
        }
        let mut lines = vec![format!("`{name}` stops in {}.", record.place)];
        if installed.is_empty() {
            lines.push("Nothing of Changeover's stays in the databases.".to_owned());
            return Self { lines };
        }
        lines.push("This stays installed:".to_owned());
        lines.extend(installed);
        if record.place.phase == Phase::Retired {
            lines.push(format!(
                "It is over, and this is still to be removed: changeover run {spec} goes on with that"
            ));
            lines.push(format!("Or by hand: the SQL that `changeover check {spec}` prints"));
            return Self { lines };
        }
        lines.extend(fills(conductor));
        lines.push(format!("To go on from here: changeover run {spec}"));
        lines.push(match record.place.phase {
            Phase::Old | Phase::Shadow => {
                format!("To remove it all (the new side's rows stay): changeover run {spec}, then changeover abort")
            }
            _ => "To remove it: go back by `changeover rollback`, or end by `changeover retire`, with a run there".to_owned(),
        });
        lines.push(format!("Or by hand: the SQL that `changeover check {spec}` prints"));
        Self { lines }
    }
}

/// That a log goes on filling without a run, and how long until its bound at the rate that was seen.
fn fills(conductor: &Conductor) -> Vec<String> {
    let progress = conductor.progress.borrow();
    let authority: Side = conductor.barrier.record().place.phase.step().authority();
    let Some(depth) = progress.logs.get(&authority) else { return Vec::new() };
    let room = depth.bound.saturating_sub(depth.span);
    let how_long = match progress.changes_per_second.filter(|rate| *rate > 0.01) {
        // Positive; a century is as good as for ever.
        Some(rate) => {
            let seconds = (room as f64 / rate).min(3.0e9) as u64;
            format!(
                "about {} at the {rate:.1} changes a second seen",
                show_duration(Duration::from_secs(seconds))
            )
        }
        None => "no changes were seen, so how long that takes isn't known".to_owned(),
    };
    vec![format!(
        "The {authority} side's log goes on filling: {} of {} changes; until its bound: {how_long}.",
        depth.span, depth.bound
    )]
}
