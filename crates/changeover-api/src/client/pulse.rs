//! The instance's pulse: heartbeats and acknowledgements, one at a time, often enough for the lease.
//!
//! Each answer brings the present target, so that the pulse is also the poll behind the event stream. A lease is
//! counted from the *sending* of what was answered, so the clock is looked at before.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use changeover::Migration;
use changeover::protocol::member::{OnSilence, Standing};
use changeover::protocol::target::Version;
use changeover::protocol::{Millis, Target};
use changeover::switch::SwitchHandle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::ClientError;
use super::http::{Call, Http};
use super::instance::HealthSender;
use crate::wire::{Acknowledge, ErrorCode, Heartbeat, TargetAnswer, Vitals};

/// The shortest time between two beats.
const BEAT_MIN: Duration = Duration::from_millis(20);

/// The longest pause after a beat that wasn't answered.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Where beats go: the control plane, or a test's stand-in.
pub(super) trait Plane: Send + Sync + 'static {
    /// Sends one, and gives the answer.
    fn beat(&self, beat: Beat) -> impl Future<Output = Result<TargetAnswer, ClientError>> + Send;
}

/// One beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beat {
    /// The version acknowledged last.
    pub(super) acked: Version,
    /// It is an acknowledgement that the control plane isn't known to have heard.
    pub(super) is_news: bool,
    /// How the instance is.
    pub(super) vitals: Vitals,
    /// How long its answer is waited for.
    pub(super) within: Duration,
}

/// The control plane, as an instance talks to it.
#[derive(Debug, Clone)]
pub(super) struct OverHttp {
    pub(super) http: Http,
    pub(super) instance: String,
}

impl Plane for OverHttp {
    async fn beat(&self, beat: Beat) -> Result<TargetAnswer, ClientError> {
        let Beat { acked, is_news, vitals, within } = beat;
        let call = |rest: &str, doing: &str| {
            Call::post(self.http.instance_path(&self.instance, rest), doing, within).repeatable()
        };
        let call = if is_news {
            call("acknowledge", "acknowledging").json(&Acknowledge { version: acked.0, vitals })?
        } else {
            call("heartbeat", "sending a heartbeat").json(&Heartbeat { acked: acked.0, vitals })?
        };
        self.http.send(call).await
    }
}

/// How long to wait between two beats: half a lease; a fifth of it where the lease counts.
pub(super) fn interval(standing: &Standing) -> Duration {
    let lease = Duration::from_millis(standing.target.hold_lease_ms.0);
    let counts = standing.on_silence == OnSilence::Fence || standing.target.has_hold();
    (if counts { lease / 5 } else { lease / 2 }).max(BEAT_MIN)
}

/// How long to wait after so many beats in a row that weren't answered: as before while the lease counts, where going
/// silent costs requests; else longer each time.
pub(super) fn pause(standing: &Standing, failures: u32) -> Duration {
    let interval = interval(standing);
    if standing.target.has_hold() || standing.on_silence == OnSilence::Fence {
        return interval;
    }
    (interval * 2_u32.saturating_pow(failures.min(8))).min(PAUSE_MAX.max(interval))
}

/// When the last beat was sent that was answered, by the switch's clock: whoever answered it believes this instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<AtomicU64>);

impl Answered {
    fn note(&self, sent: Millis) {
        self.0.fetch_max(sent.0, Ordering::Relaxed);
    }

    /// Whether one was answered that was sent later than this.
    pub(super) fn since(&self, moment: Millis) -> bool {
        self.0.load(Ordering::Relaxed) > moment.0
    }
}

/// Why the pulse ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// The control plane doesn't count this instance.
    Rejected,
    /// The switch isn't driven any more.
    DriverGone,
}

/// Beats until it is told to stop, or has nobody to beat for.
pub(super) async fn run(
    plane: impl Plane,
    switch: SwitchHandle,
    migration: Migration,
    nudge: &Notify,
    (health, answers): (&HealthSender, &Answered),
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut acknowledged = switch.acknowledged();
    // What the control plane is known to have heard. Registration counts as an acknowledgement; a beat more is no harm.
    let mut heard = Version(0);
    let mut failures = 0_u32;
    loop {
        let acked = *acknowledged.borrow_and_update();
        let standing = switch.standing();
        let within = interval(&standing).max(Duration::from_millis(100)) * 2;
        let beat = Beat { acked, is_news: acked > heard, vitals: migration.vitals().into(), within };
        let sent = switch.now();
        let answered = tokio::select! {
            answered = plane.beat(beat) => answered,
            () = stopped(&mut stop) => return Ended::Stopped,
        };
        match answered {
            Ok(answer) => {
                heard = heard.max(acked);
                failures = 0;
                match Target::try_from(answer.target) {
                    Ok(target) => {
                        if switch.answered(sent, target).await.is_err() {
                            return Ended::DriverGone;
                        }
                        answers.note(sent);
                        health.heard();
                    }
                    Err(invalid) => health.failed(&format!("a target that can't be one: {invalid}")),
                }
            }
            Err(error) if error.code() == Some(ErrorCode::UnknownInstance) => {
                health.rejected(&error.to_string());
                return if switch.rejected().await.is_ok() { Ended::Rejected } else { Ended::DriverGone };
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                health.failed(&error.to_string());
            }
        }
        let next = Instant::now() + pause(&switch.standing(), failures);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            // A new target may have begun a hold; an acknowledgement goes out at once.
            () = nudge.notified() => {}
            changed = acknowledged.changed() => if changed.is_err() { return Ended::DriverGone },
            () = stopped(&mut stop) => return Ended::Stopped,
        }
    }
}

/// Ready when `stop` is true, or nobody is left to say so.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use changeover::clock::RuntimeClock;
    use changeover::protocol::InstanceId;
    use changeover::{Phase, Step};

    use super::super::instance::health;
    use super::*;
    use crate::wire::{InstanceSettings, WireError};

    /// A control plane that keeps every beat with its time, and answers as the test says.
    #[derive(Clone)]
    struct Fake {
        start: Instant,
        beats: Arc<Mutex<Vec<(u64, Beat)>>>,
        answer: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    }

    enum Answer {
        Present(Target),
        Code(ErrorCode),
        Nothing,
    }

    impl Fake {
        fn new(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
            Self { start: Instant::now(), beats: Arc::default(), answer: Arc::new(answer) }
        }

        fn times(&self) -> Vec<u64> {
            self.beats.lock().unwrap().iter().map(|(at, _)| *at).collect()
        }
    }

    impl Plane for Fake {
        async fn beat(&self, beat: Beat) -> Result<TargetAnswer, ClientError> {
            let at = u64::try_from(self.start.elapsed().as_millis()).unwrap();
            let n = {
                let mut beats = self.beats.lock().unwrap();
                beats.push((at, beat));
                beats.len() - 1
            };
            let doing = "a test".to_owned();
            match (self.answer)(n) {
                Answer::Present(target) => Ok(TargetAnswer {
                    target: (&target).into(),
                    settings: InstanceSettings::from(&changeover::protocol::Settings::default()),
                }),
                Answer::Code(code) => {
                    Err(ClientError::Said { doing, error: Box::new(WireError::new(code, "no")) })
                }
                Answer::Nothing => {
                    tokio::time::sleep(beat.within).await;
                    Err(ClientError::NoAnswer { doing, address: "x".to_owned(), cause: "none".to_owned() })
                }
            }
        }
    }

    fn target(version: u64, step: Step) -> Target {
        let mut target = Target::uniform(Version(version), step, Phase::Shadow, Millis(500));
        target.hold_budget_ms = Some(Millis(2_000));
        target
    }

    fn member(target: Target) -> (Migration, SwitchHandle) {
        let builder = Migration::builder("bookings").clock(RuntimeClock::start());
        let sent = builder.now();
        builder.register(InstanceId::new("web-1"), target, sent).unwrap()
    }

    /// Runs the pulse for so long; how it ended, if it did.
    async fn pulse(fake: &Fake, switch: &SwitchHandle, migration: &Migration, ms: u64) -> Option<Ended> {
        let (_stop, stopped) = watch::channel(false);
        let (health, _seen) = health();
        let nudge = Notify::new();
        let answers = Answered::default();
        let run = run(fake.clone(), switch.clone(), migration.clone(), &nudge, (&health, &answers), stopped);
        tokio::time::timeout(Duration::from_millis(ms), run).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_twice_in_a_lease_and_five_times_where_the_lease_counts() {
        let (migration, switch) = member(target(1, Step::Shadow));
        let fake = Fake::new(|n| {
            Answer::Present(if n < 4 { target(1, Step::Shadow) } else { target(2, Step::HoldOld) })
        });
        assert_eq!(pulse(&fake, &switch, &migration, 1_500).await, None);
        let times = fake.times();
        assert_eq!(times[..4], [0, 250, 500, 750]);
        // The fifth answer brings the hold; its acknowledgement goes out at once, then a beat each 100 ms.
        let in_hold: Vec<_> = times.iter().filter(|&&at| at > 1_010).collect();
        assert!(in_hold.windows(2).all(|pair| pair[1] - pair[0] <= 105), "{times:?}");
        assert!(in_hold.len() >= 4, "{times:?}");
        let news: Vec<_> =
            fake.beats.lock().unwrap().iter().filter(|(_, b)| b.is_news).map(|(_, b)| b.acked).collect();
        assert_eq!(news, [Version(1), Version(2)]);
        assert_eq!(switch.standing().target.version, Version(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_is_sent_until_it_is_answered() {
        let (migration, switch) = member(target(7, Step::Shadow));
        let fake =
            Fake::new(|n| if n < 3 { Answer::Nothing } else { Answer::Present(target(7, Step::Shadow)) });
        assert_eq!(pulse(&fake, &switch, &migration, 20_000).await, None);
        let beats = fake.beats.lock().unwrap();
        assert!(beats[..4].iter().all(|(_, beat)| beat.is_news && beat.acked == Version(7)), "{beats:?}");
        assert!(beats[4..].iter().all(|(_, beat)| !beat.is_news), "{beats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_hold_it_does_not_tire_and_the_lease_lapses_when_nobody_answers() {
        let (migration, switch) = member(target(1, Step::HoldNew));
        let fake = Fake::new(|_| Answer::Nothing);
        assert_eq!(pulse(&fake, &switch, &migration, 2_000).await, None);
        // Each waits 200 ms for its answer and 100 ms before the next.
        assert!(fake.times().windows(2).all(|pair| pair[1] - pair[0] <= 310), "{:?}", fake.times());
        let standing = switch.standing();
        assert!(standing.heard_until.is_some_and(|until| until < switch.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn out_of_a_hold_it_asks_less_and_less_often() {
        let (migration, switch) = member(target(1, Step::Shadow));
        let fake = Fake::new(|_| Answer::Code(ErrorCode::State));
        assert_eq!(pulse(&fake, &switch, &migration, 60_000).await, None);
        let beats = fake.times().len();
        assert!((28..=40).contains(&beats), "{beats} in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_counted_refuses_from_then_on() {
        let (migration, switch) = member(target(1, Step::Shadow));
        let fake = Fake::new(|_| Answer::Code(ErrorCode::UnknownInstance));
        assert_eq!(pulse(&fake, &switch, &migration, 5_000).await, Some(Ended::Rejected));
        tokio::task::yield_now().await;
        assert!(switch.standing().closed.is_some());
        assert_eq!(fake.times(), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_with_a_hole_is_never_routed_by() {
        let (migration, switch) = member(target(1, Step::Shadow));
        let mut broken = target(9, Step::New);
        broken.assignments[0].slots.to = 5;
        let fake = Fake::new(move |_| Answer::Present(broken.clone()));
        assert_eq!(pulse(&fake, &switch, &migration, 1_000).await, None);
        assert_eq!(switch.standing().target.version, Version(1));
    }
}
