//! The control plane of the demo: `changeover run`, the same that a user runs, and its client.

use std::process::Stdio;
use std::time::{Duration, Instant};

use changeover::Phase;
use changeover::protocol::gate::Gate;
use changeover_api::wire::{Advance, Mismatch, MismatchQuery, Moved, Override, Rollback, Status};
use changeover_api::{ClientError, ControlClient, RunFile};
use tokio::process::{Child, Command};

use super::story::Story;
use super::world::{NAME, World};

/// A run that doesn't answer within this time never will.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// How long the demo waits for anything that the migration has to do by itself.
const PATIENCE: Duration = Duration::from_secs(180);
/// After so long the story says what it waits for.
const SAY_WHY_AFTER: Duration = Duration::from_secs(12);
/// A run whose demo ends before its end is killed after this time.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(200);

/// A run and its client.
pub(super) struct Plane {
    process: Process,
    client: ControlClient,
}

/// The run's process. Where the demo ends before its end, so does this, in good order, before its folder goes.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let until = Instant::now() + GONE_WITHIN;
        while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Plane {
    /// Starts `changeover run` on the demo's spec, and waits until it answers.
    pub(super) async fn start(world: &World) -> Result<Self, String> {
        let binary =
            std::env::current_exe().map_err(|e| format!("the command doesn't know its own file: {e}"))?;
        let log = world.folder.join("run.log");
        let log_file = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let out = log_file.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let process = Command::new(binary)
            .arg("run")
            .arg(world.spec())
            .args(["--listen", "127.0.0.1:0", "--until-stdin-ends"])
            .current_dir(&world.folder)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("`changeover run` can't be started: {e}"))?;
        let mut process = Process(process);
        let file = RunFile::path_of(&world.folder, NAME);
        let until = Instant::now() + UP_WITHIN;
        loop {
            if let Ok(client) = ControlClient::of_run(&file)
                && client.status().await.is_ok()
            {
                let client = client.by("demo").map_err(|e| e.to_string())?;
                return Ok(Self { process, client });
            }
            let ended = process.0.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || Instant::now() > until {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("`changeover run` doesn't answer. It said:\n{}", said.trim()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How the migration stands.
    pub(super) async fn status(&self) -> Result<Status, String> {
        self.client.status().await.map_err(|e| e.to_string())
    }

    /// Waits until the status is as wanted, with the story going on.
    pub(super) async fn wait_for(
        &self,
        story: &mut Story,
        what: &str,
        is: impl Fn(&Status) -> bool,
    ) -> Result<Status, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await?;
            if is(&status) {
                return Ok(status);
            }
            if Instant::now() > until {
                return Err(format!("{what} took more than {} s: {}", PATIENCE.as_secs(), blocked(&status)));
            }
            story.wait(LOOK).await;
        }
    }

    /// Goes forward as soon as the gates are open.
    pub(super) async fn advance(
        &self,
        story: &mut Story,
        to: Phase,
        percent: Option<f64>,
    ) -> Result<Moved, String> {
        let ask = Advance { to: Some(to), share_percent: percent, ..Advance::default() };
        self.advance_by(story, to, &ask).await
    }

    /// The same, past one gate that an operator overrides.
    pub(super) async fn advance_past(
        &self,
        story: &mut Story,
        to: Phase,
        gate: Gate,
        reason: &str,
    ) -> Result<Moved, String> {
        let overrides = vec![Override { gate, reason: reason.to_owned() }];
        self.advance_by(story, to, &Advance { to: Some(to), overrides, ..Advance::default() }).await
    }

    async fn advance_by(&self, story: &mut Story, to: Phase, ask: &Advance) -> Result<Moved, String> {
        let until = Instant::now() + PATIENCE;
        let mut patient = Some(Instant::now() + SAY_WHY_AFTER);
        loop {
            match self.client.advance(ask).await {
                Ok(moved) if !moved.under_way => return Ok(moved),
                Ok(_) => return self.arrived(story, to, ask.share_percent).await,
                Err(error) if Instant::now() < until && is_not_yet(&error) => {
                    if patient.is_some_and(|until| Instant::now() > until) {
                        patient = None;
                        story.say(&format!("Not yet: {error}"));
                    }
                    story.wait(LOOK).await;
                }
                Err(error) => return Err(format!("advance to {to}: {error}")),
            }
        }
    }

    async fn arrived(&self, story: &mut Story, to: Phase, percent: Option<f64>) -> Result<Moved, String> {
        let share = percent.unwrap_or(100.0);
        let there = |s: &Status| s.moving.is_none() && s.phase == to && (s.share_percent - share).abs() < 0.2;
        let status = self.wait_for(story, "the move", there).await?;
        Ok(Moved {
            phase: status.phase,
            share_percent: status.share_percent,
            flag: status.phase.flag(),
            text: String::new(),
            held_ms: 0,
            under_way: false,
            notes: Vec::new(),
        })
    }

    /// Goes back, now.
    pub(super) async fn rollback(&self, story: &mut Story, to: Phase) -> Result<Moved, String> {
        let ask = Rollback { to: Some(to), ..Rollback::default() };
        let moved = self.client.rollback(&ask).await.map_err(|e| format!("rollback to {to}: {e}"))?;
        if moved.under_way { self.arrived(story, to, None).await } else { Ok(moved) }
    }

    /// Ends the migration as soon as its gates are open.
    pub(super) async fn retire(&self, story: &mut Story) -> Result<Moved, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.client.retire(&changeover_api::wire::Retire::default()).await {
                Ok(moved) => return Ok(moved),
                Err(error) if Instant::now() < until && is_not_yet(&error) => story.wait(LOOK).await,
                Err(error) => return Err(format!("retire: {error}")),
            }
        }
    }

    /// The mismatches that are kept.
    pub(super) async fn mismatches(&self) -> Result<Vec<Mismatch>, String> {
        let found =
            self.client.mismatches(&MismatchQuery { limit: Some(100), ..MismatchQuery::default() }).await;
        found.map(|m| m.mismatches).map_err(|e| e.to_string())
    }

    /// Says that what caused the mismatches so far was mended: they stay on record, and count no more.
    pub(super) async fn mended(&self, reason: &str) -> Result<(), String> {
        self.client.mended(reason).await.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Ends the run, orderly.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        if let Some(pid) =
            self.process.0.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).map_err(|e| e.to_string())?;
        }
        match tokio::time::timeout(UP_WITHIN, self.process.0.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("`changeover run`: {error}")),
            Err(_) => Err(format!("`changeover run` didn't end within {} s", UP_WITHIN.as_secs())),
        }
    }
}

/// A *no* that waiting may turn into a *yes*: a closed gate, a backfill or a move under way.
fn is_not_yet(error: &ClientError) -> bool {
    error.exit_code() == 1 || error.retryable()
}

fn blocked(status: &Status) -> String {
    let gates = status.next.iter().flat_map(|next| next.blocked_by());
    let words: Vec<String> = gates.filter_map(|gate| gate.because.clone()).collect();
    let troubles = status.troubles.iter().map(|t| format!("{}: {}", t.part, t.why));
    words.into_iter().chain(troubles).collect::<Vec<_>>().join("; ")
}
