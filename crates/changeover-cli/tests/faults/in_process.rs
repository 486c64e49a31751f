//! Errors and pauses, met in this process: a run of its own for each case, on one thread, under the same writes.
//!
//! A point that fails is tried again or given up, and the migration completes. One that is paused while everything else
//! goes on (for longer than the hold's budget, in soak) must not overwrite what came after it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover_api::Spec;
use changeover_control::{Conductor, Run, RunOptions};
use changeover_protocol::fault::{Area, FaultPoint};
use changeover_protocol::{Phase, Share};
use tokio::time::{Instant, sleep, timeout};

use crate::live::drive::FLAG;
use crate::live::{Service, Side, Writer};
use crate::pool::{first_seed, is_soak, run_all};
use crate::reach::{Reach, on_the_way, reach};
use crate::support::Place;
use crate::world;

const WAY: [Phase; 5] =
    [Phase::Shadow, Phase::ReverseShadow, Phase::Shadow, Phase::ReverseShadow, Phase::New];

/// No phase may take longer to be reached, nor the mirror to catch up.
const WITHIN: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is met at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// It fails, so many times.
    Errors(u64),
    /// It waits until the migration has come to another phase, or for so many milliseconds.
    Pause(u64),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    point: FaultPoint,
    met: Met,
    first: Option<FaultPoint>,
    /// From which leg of [`WAY`] on the fault is planted.
    from_leg: usize,
    seed: u64,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, point) in on_the_way().into_iter().enumerate() {
        let first = match reach(point) {
            Reach::After(first) => Some(first),
            Reach::OnTheWay | Reach::InTheService => None,
        };
        let case = |met, from_leg| Case { point, met, first, from_leg, seed: first_seed() + n as u64 };
        cases.extend([case(Met::Errors(2), 0), case(Met::Pause(250), 0)]);
        if is_soak() {
            // Longer than a hold may last, and than a mirror may be behind.
            cases.extend([case(Met::Errors(7), 0), case(Met::Pause(2_500), 0)]);
            if point.area() == Area::Claim {
                cases.extend((1..5).flat_map(|leg| [case(Met::Errors(2), leg), case(Met::Pause(900), leg)]));
            }
        }
    }
    cases
}

#[test]
fn an_error_or_a_pause_at_any_fault_point_loses_nothing() {
    run_all(&cases(), |case| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(met_and_completed(case));
        FaultPlan::uninstall();
    });
}

async fn met_and_completed(case: &Case) {
    let place = world::place();
    let service = world::service(&place, case.seed);
    let run = start(&place).await;
    let conductor = Arc::clone(run.conductor());
    let flag = place.path(FLAG);
    let writer = Writer::begin(service);
    let mut plan = None;
    for (leg, phase) in WAY.iter().enumerate() {
        if leg == case.from_leg {
            plan = Some(planted(case, &flag).install());
        }
        if *phase == Phase::New {
            break;
        }
        go(&conductor, &flag, *phase, &writer).await;
        writes_on(&writer, 15).await;
    }
    let plan = plan.expect("each case plants its fault");
    let service = compare(writer, "in reverse-shadow").await;
    let writer = Writer::begin(service);
    if case.from_leg + 1 == WAY.len() {
        // The last move may be made before the mirror has had anything to carry.
        come_by(&plan, case.point).await;
    }
    go(&conductor, &flag, Phase::New, &writer).await;
    writes_on(&writer, 10).await;
    let service = end(writer).await;
    service.assert_held_by(Side::New, "in new");
    assert!(plan.passed(case.point) > 0, "{} was never come by", case.point);
    drop(conductor);
    run.stop().await;
}

pub(crate) async fn start(place: &Place) -> Run {
    let spec = Spec::read(&place.path("bookings.toml")).expect("a spec");
    let options = RunOptions {
        listen: Some("127.0.0.1:0".to_owned()),
        flag_file: Some(place.path(FLAG)),
        ..RunOptions::new(spec)
    };
    Run::start(options).await.expect("it starts")
}

/// The plan; whoever is paused goes on when the migration has gone on, or the time is over.
fn planted(case: &Case, flag: &Path) -> FaultPlan {
    let mut plan = FaultPlan::new();
    if let Some(first) = case.first {
        plan = plan.with(first, 1, Fault::Error);
    }
    match case.met {
        Met::Errors(times) => (1..=times).fold(plan, |plan, nth| plan.with(case.point, nth, Fault::Error)),
        Met::Pause(for_ms) => {
            let (paused, flag) = (PausedAt::default(), flag.to_owned());
            let pause = paused.clone();
            tokio::spawn(async move {
                paused.reached().await;
                let at = shown(&flag);
                let elsewhere = async {
                    while shown(&flag) == at {
                        sleep(LOOK_EVERY).await;
                    }
                };
                // It may well stand until the paused one goes on.
                let _ = timeout(Duration::from_millis(for_ms), elsewhere).await;
                paused.go_on();
            });
            plan.with(case.point, 1, Fault::Pause(pause))
        }
    }
}

async fn come_by(plan: &FaultPlan, point: FaultPoint) {
    let passed = async {
        while plan.passed(point) == 0 {
            sleep(LOOK_EVERY).await;
        }
    };
    assert!(timeout(WITHIN, passed).await.is_ok(), "{point} isn't come by in reverse-shadow");
}

/// Asks for a phase until it is reached.
async fn go(conductor: &Conductor, flag: &Path, phase: Phase, writer: &Writer) {
    let deadline = Instant::now() + WITHIN;
    let mut last = String::new();
    while shown(flag) != phase.flag() {
        assert!(writer.is_alive(), "the writer found a difference on the way to {phase}");
        assert!(
            Instant::now() < deadline,
            "{phase} isn't reached: {last}; the writer: {}",
            writer.last_refusal()
        );
        let asked = if shown(flag) < phase.flag() {
            conductor.advance(Some(phase), Share::ALL, &[]).await
        } else {
            conductor.rollback(Some(phase), Share::ALL, None).await
        };
        last = format!("{asked:?}");
        sleep(LOOK_EVERY).await;
    }
}

/// The flag, which says the phase; that of the phase before while a move is under way.
pub(crate) fn shown(flag: &Path) -> u8 {
    std::fs::read_to_string(flag).expect("a flag").trim().parse().expect("a number")
}

async fn writes_on(writer: &Writer, further: u64) {
    let (deadline, enough) = (Instant::now() + WITHIN, writer.acknowledged() + further);
    while writer.acknowledged() < enough {
        assert!(writer.is_alive(), "the writer found a difference");
        assert!(Instant::now() < deadline, "the writer doesn't go on: {}", writer.last_refusal());
        sleep(LOOK_EVERY).await;
    }
}

/// Ends the writer on another thread: the run goes on meanwhile.
async fn end(writer: Writer) -> Service {
    match tokio::task::spawn_blocking(move || writer.end()).await {
        Ok(service) => service,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

async fn compare(writer: Writer, when: &str) -> Service {
    let service = end(writer).await;
    let deadline = Instant::now() + WITHIN / 3;
    while Instant::now() < deadline && !(service.is_held_by(Side::Old) && service.is_held_by(Side::New)) {
        sleep(LOOK_EVERY).await;
    }
    service.assert_held_by(Side::Old, when);
    service.assert_held_by(Side::New, when);
    service
}
