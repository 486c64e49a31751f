//! The demo itself: the service is moved by Changeover, forward, back, and forward again.

use std::sync::Arc;
use std::time::Duration;

use changeover::Phase;
use changeover::protocol::gate::Gate;
use changeover_api::wire::{Moved, Status};
use tokio::net::TcpStream;

use super::control::Plane;
use super::fleet::{Fleet, Orders};
use super::grouped;
use super::phases::Phases;
use super::service::PLANTED;
use super::story::Story;
use super::traffic::{Did, Operation, Tally, Traffic};
use super::wire::{Answer, Line, Request};
use super::world::World;

/// What a run leaves for the proof.
pub(super) struct Ran {
    pub(super) operations: Vec<Operation>,
    pub(super) tally: Arc<Tally>,
    pub(super) phases: Phases,
    pub(super) rollbacks: u32,
    pub(super) rows_backfilled: u64,
    pub(super) rows_verified: u64,
    pub(super) differences: u64,
    pub(super) mismatches_found: usize,
    pub(super) longest_write_hold_ms: f64,
}

/// The instance that is killed.
const VICTIM: usize = 1;

/// One run under way.
struct Script<'a> {
    world: &'a World,
    story: &'a mut Story,
    plane: Plane,
    fleet: Fleet,
    traffic: Traffic,
    phases: Phases,
    /// When each move was under way, in nanoseconds of the clients' clock.
    moves: Vec<(u64, u64)>,
    /// How long to look at each stage.
    pause: Duration,
    /// The new side's artificial delay.
    slow_new: Duration,
}

/// Moves the service, and tells how.
pub(super) async fn run(
    world: &World,
    rows: u64,
    instances: usize,
    seconds: u64,
    slow_new: Duration,
    story: &mut Story,
) -> Result<Ran, String> {
    story
        .say("`changeover run cancellations.toml` is the control plane. It is on nobody's path to the data.");
    let plane = Plane::start(world).await?;
    let orders = Orders { world: world.clone(), slow_new, naive: None, mended: false };
    let fleet = Fleet::start(orders, instances).await?;
    let traffic = Traffic::begin(&fleet.ports(), rows);
    story.watch(Arc::clone(&traffic.tally));
    story.say(&format!(
        "{instances} processes of the service are up; {} clients read, write and delete, each operation recorded.",
        super::traffic::CLIENTS
    ));
    let mut script = Script {
        world,
        story,
        plane,
        fleet,
        traffic,
        phases: Phases::begin(Phase::Old),
        moves: Vec::new(),
        // Backfill, verification and the moves themselves take what they take; the rest is for looking.
        pause: Duration::from_millis(seconds * 1_000 / 12),
        slow_new,
    };
    script.story.wait(script.pause).await;
    let (rows_backfilled, rows_verified, differences) = script.shadow().await?;
    let mismatches_found = script.bugs().await?;
    script.kill().await?;
    script.reverse().await?;
    script.back_and_forward().await?;
    script.leave_old().await?;
    script.end(rows_backfilled, rows_verified, differences, mismatches_found).await
}

impl Script<'_> {
    async fn shadow(&mut self) -> Result<(u64, u64, u64), String> {
        self.story.chapter("Phase 1, shadow: reads from the old side, writes to both.");
        self.plane.advance(self.story, Phase::Shadow, None).await?;
        self.phases.enter(Phase::Shadow.name());
        self.story.say("All processes acknowledged. Each write goes to the old side, then its row is levelled on the new.");
        let status = self
            .plane
            .wait_for(self.story, "the backfill", |s| s.backfill.as_ref().is_some_and(|b| b.done))
            .await?;
        let rows = status.backfill.and_then(|b| b.rows).unwrap_or(0);
        self.story.good(&format!("Backfill: {} rows copied while everybody went on writing.", grouped(rows)));
        let status = self
            .plane
            .wait_for(self.story, "the verification", |s| {
                s.verification.counts && s.verification.last.is_some()
            })
            .await?;
        let (verified, differences) = status.verification.last.map_or((0, 0), |v| (v.rows, v.differences));
        let text = format!("Verification: {} rows compared, {differences} differ.", grouped(verified));
        if differences == 0 {
            self.story.good(&text)
        } else {
            self.story.bad(&text)
        }
        Ok((rows, verified, differences))
    }

    /// The planted bugs are found by the comparison of shadow reads, shown, and mended.
    async fn bugs(&mut self) -> Result<usize, String> {
        self.story.say(
            "The data is right; is the new code? Each read also goes to the new side, off its caller's path, and the \
             answers are compared.",
        );
        let mut shown = [false; PLANTED.len()];
        for _ in 0..300 {
            for mismatch in self.plane.mismatches().await? {
                let kind = PLANTED.iter().position(|(field, _)| mismatch.shape == *field);
                let Some(at) = kind.filter(|at| !shown[*at]) else { continue };
                shown[at] = true;
                let text = |side: &Option<String>| side.clone().unwrap_or_default();
                self.story.bad(&format!(
                    "Mismatch in `{}`, for {}: {}",
                    PLANTED[at].0,
                    text(&mismatch.input),
                    mismatch.detail.clone().unwrap_or_else(|| format!(
                        "{} / {}",
                        text(&mismatch.old),
                        text(&mismatch.new)
                    ))
                ));
            }
            if shown.iter().all(|s| *s) {
                break;
            }
            self.story.wait(Duration::from_millis(200)).await;
        }
        let found = shown.iter().filter(|s| **s).count();
        self.story.say(
            "No client saw any of it: answers come from the old side. The bugs are mended, and counted anew.",
        );
        for port in self.fleet.ports().borrow().clone() {
            mend(port).await?;
        }
        self.fleet.deploy_mended();
        // What was compared before the mending is told within this time; it mustn't count afterwards.
        self.story.wait(Duration::from_secs(2)).await;
        self.plane.mended("the three bugs in the new read path are mended").await?;
        Ok(found)
    }

    async fn kill(&mut self) -> Result<(), String> {
        let pid = self.fleet.pid(VICTIM).map(|pid| format!(" (process {pid})")).unwrap_or_default();
        self.story.chapter(&format!("kill -9: instance {VICTIM}{pid} dies in the middle of its work."));
        self.fleet.kill(VICTIM).await?;
        self.story.wait(self.pause / 3).await;
        self.fleet.restart(VICTIM).await?;
        self.story.good(
            "It is started again, and goes on as the same instance. What it left half-done is levelled.",
        );
        Ok(())
    }

    async fn reverse(&mut self) -> Result<(), String> {
        self.story.chapter(
            "Phase 2, reverse shadow: reads from the new side, writes to both. For 10 % of the keys first.",
        );
        self.forward(Phase::ReverseShadow, Some(10.0)).await?;
        self.story.wait(self.pause).await;
        self.forward(Phase::ReverseShadow, None).await?;
        self.story.say("All keys are read from the new side now, and the old side is kept in step.");
        self.story.wait(self.pause).await;
        Ok(())
    }

    async fn back_and_forward(&mut self) -> Result<(), String> {
        self.story.chapter("Second thoughts: back.");
        let began = self.now();
        let moved = self.plane.rollback(self.story, Phase::Shadow).await?;
        self.moves.push((began, self.now()));
        self.phases.enter(Phase::Shadow.name());
        self.story
            .good(&format!("Rolled back; writes were held for {} ms, and nothing is lost.", moved.held_ms));
        self.story.wait(self.pause).await;
        self.story.say("And forward again.");
        self.forward(Phase::ReverseShadow, None).await?;
        self.story.wait(self.pause).await;
        Ok(())
    }

    async fn leave_old(&mut self) -> Result<(), String> {
        self.story.chapter("Phase 3, new: the old side is left.");
        if self.slow_new.is_zero() {
            self.forward(Phase::New, None).await?;
        } else {
            self.past_the_slow_gate().await?;
        }
        self.story.wait(self.pause).await;
        let moved = self.plane.retire(self.story).await?;
        self.phases.enter(Phase::Retired.name());
        self.story
            .good("Retired: what Changeover installed is gone, and the old table is renamed, not dropped.");
        for note in moved.notes.iter().filter(|note| note.contains("renamed")) {
            self.story.say(&format!("In {note}."));
        }
        self.story.wait(self.pause / 2).await;
        Ok(())
    }

    /// The new side is slower than the old, because it was asked to be: a gate sees it, and somebody answers for it.
    async fn past_the_slow_gate(&mut self) -> Result<(), String> {
        let slow = |s: &Status| {
            let mut shut = s.next.iter().flat_map(|next| next.blocked_by()).peekable();
            shut.peek().is_some() && shut.all(|gate| gate.gate == Gate::ErrorsAndLatency)
        };
        let status = self.plane.wait_for(self.story, "the evidence on latency", slow).await?;
        let why = status.next.iter().flat_map(|next| next.blocked_by()).find_map(|gate| gate.because.clone());
        self.story.bad(&format!("A gate is shut. {}.", why.unwrap_or_default()));
        let reason = format!("the demo was asked for a new side that takes {} ms", self.slow_new.as_millis());
        self.story.say(&format!("An operator overrides it, and the audit keeps the reason: {reason}."));
        let began = self.now();
        let gate = Gate::ErrorsAndLatency;
        let moved = self.plane.advance_past(self.story, Phase::New, gate, &reason).await?;
        self.arrived(began, &moved, Phase::New, None);
        Ok(())
    }

    async fn forward(&mut self, to: Phase, percent: Option<f64>) -> Result<(), String> {
        let began = self.now();
        let moved = self.plane.advance(self.story, to, percent).await?;
        self.arrived(began, &moved, to, percent);
        Ok(())
    }

    fn arrived(&mut self, began: u64, moved: &Moved, to: Phase, percent: Option<f64>) {
        self.moves.push((began, self.now()));
        let share = percent.map(|p| format!(" {p} %")).unwrap_or_default();
        self.phases.enter(&format!("{to}{share}"));
        let held = if moved.held_ms > 0 {
            format!("; writes were held for {} ms", moved.held_ms)
        } else {
            String::new()
        };
        self.story.good(&format!("{to}{share}: all processes agree{held}."));
    }

    async fn end(
        self,
        rows_backfilled: u64,
        rows_verified: u64,
        differences: u64,
        mismatches_found: usize,
    ) -> Result<Ran, String> {
        let Self { story, plane, fleet, traffic, phases, moves, world, .. } = self;
        let tally = Arc::clone(&traffic.tally);
        let operations = traffic.end().await?;
        story.still();
        fleet.stop().await.map_err(|e| format!("{e} (logs: {})", world.folder.display()))?;
        plane.stop().await?;
        let longest_write_hold_ms = longest_write(&operations, &moves);
        Ok(Ran {
            operations,
            tally,
            phases,
            rollbacks: 1,
            rows_backfilled,
            rows_verified,
            differences,
            mismatches_found,
            longest_write_hold_ms,
        })
    }

    fn now(&self) -> u64 {
        self.traffic.clock.elapsed().as_nanos() as u64
    }
}

async fn mend(port: u16) -> Result<(), String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| format!("port {port}: {e}"))?;
    let mut line = Line::new(stream);
    line.send(&Request::Mend).await.map_err(|e| e.to_string())?;
    match line.receive::<Answer>().await {
        Ok(Some(Answer::Done)) => Ok(()),
        other => Err(format!("the bugs couldn't be mended on port {port}: {other:?}")),
    }
}

/// The longest acknowledged write, in milliseconds, that was under way while a move was.
fn longest_write(operations: &[Operation], moves: &[(u64, u64)]) -> f64 {
    let writes = operations.iter().filter(|o| !matches!(o.did, Did::Read(_)) && !o.cut_off);
    let met = writes.filter(|o| moves.iter().any(|(from, to)| o.from_ns < *to && o.to_ns > *from));
    met.map(|o| (o.to_ns - o.from_ns) as f64 / 1e6).fold(0.0, f64::max)
}
