//! The race that the switch is made of: many threads enter and leave while the standing changes under them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use changeover_protocol::Phase;

use super::*;
use crate::clock::SystemClock;

/// More than this many versions in one run, or the run is over time.
const VERSIONS: usize = 20_000;
const THREADS: usize = 8;
const AT_MOST: Duration = Duration::from_secs(5);

fn standing(version: u64, step: Step) -> Standing {
    use changeover_protocol::target::Target;
    use changeover_protocol::time::Millis;
    Standing {
        target: Target::uniform(Version(version), step, Phase::Old, Millis(500)).into(),
        held_until: None,
        heard_until: None,
        lapses: 0,
        on_silence: OnSilence::StaticStability,
        closed: None,
    }
}

/// What the threads do under each version, as counted by themselves.
struct Seen {
    running: Vec<AtomicI64>,
    drained: Vec<AtomicBool>,
    too_late: AtomicU64,
    operations: AtomicU64,
    stop: AtomicBool,
}

fn operate(switch: &Switch, seen: &Seen, n: usize) {
    while !seen.stop.load(SeqCst) {
        let entered = switch.enter();
        let version = usize::try_from(entered.standing().target.version.0).unwrap();
        seen.running[version].fetch_add(1, SeqCst);
        if seen.drained[version].load(SeqCst) {
            seen.too_late.fetch_add(1, SeqCst);
        }
        // Some end on another thread's time slice, as a task does that was moved.
        if seen.operations.fetch_add(1, SeqCst).is_multiple_of(64 + n as u64) {
            std::thread::yield_now();
        }
        if seen.drained[version].load(SeqCst) {
            seen.too_late.fetch_add(1, SeqCst);
        }
        seen.running[version].fetch_sub(1, SeqCst);
        drop(entered);
    }
}

#[test]
fn once_a_version_has_drained_nothing_runs_under_it() {
    let switch = Switch::new(standing(0, Step::Old), Arc::new(SystemClock));
    let seen = Seen {
        running: (0..=VERSIONS).map(|_| AtomicI64::new(0)).collect(),
        drained: (0..=VERSIONS).map(|_| AtomicBool::new(false)).collect(),
        too_late: AtomicU64::new(0),
        operations: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let mut epochs = Epochs::new(Version(0));
    let began = Instant::now();
    let mut changes = 0;
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (switch, seen) = (&switch, &seen);
            scope.spawn(move || operate(switch, seen, n));
        }
        for version in 1..=VERSIONS as u64 {
            if began.elapsed() > AT_MOST / 5 {
                break;
            }
            // Several versions may be draining at one time: only when all epochs are taken is one waited for.
            while epochs.free().is_none() {
                let before = epochs.versions;
                epochs.free_drained(&switch);
                for freed in
                    before.iter().zip(&epochs.versions).filter_map(|(was, is)| was.filter(|_| is.is_none()))
                {
                    let freed = usize::try_from(freed.0).unwrap();
                    seen.drained[freed].store(true, SeqCst);
                    assert_eq!(seen.running[freed].load(SeqCst), 0, "version {freed} was told as drained");
                }
                std::thread::yield_now();
                assert!(began.elapsed() < AT_MOST, "no version drains");
            }
            let at = epochs.free().unwrap();
            switch.stand(at, standing(version, if version % 2 == 0 { Step::Old } else { Step::Shadow }));
            epochs.versions[at] = Some(Version(version));
            epochs.current = at;
            changes += 1;
        }
        seen.stop.store(true, SeqCst);
    });
    assert_eq!(seen.too_late.load(SeqCst), 0);
    assert!(changes > 50, "only {changes} changes were tried");
    assert!((0..EPOCHS).all(|epoch| switch.stripes.is_idle(epoch)));
}

#[test]
fn an_operation_may_leave_from_another_thread() {
    let switch = Arc::new(Switch::new(standing(1, Step::Old), Arc::new(SystemClock)));
    let task = switch.enter().into_task(&switch);
    assert_eq!(switch.running(), 1);
    std::thread::spawn(move || task.end()).join().unwrap();
    assert!(switch.stripes.is_idle(0));
}

#[test]
fn a_task_that_was_thrown_away_never_counts_as_ended() {
    let switch = Arc::new(Switch::new(standing(1, Step::Old), Arc::new(SystemClock)));
    drop(switch.enter().into_task(&switch));
    assert!(!switch.stripes.is_idle(0));
}

#[test]
fn the_short_way_is_for_old_and_new_alone() {
    for step in Step::ALL {
        let switch = Switch::new(standing(1, step), Arc::new(SystemClock));
        let expected = match step {
            Step::Old => Some(Side::Old),
            Step::New => Some(Side::New),
            _ => None,
        };
        assert_eq!(switch.enter().short_way(), expected, "{step}");
    }
    let mut fenced = standing(1, Step::Old);
    fenced.on_silence = OnSilence::Fence;
    assert_eq!(Switch::new(fenced, Arc::new(SystemClock)).enter().short_way(), None);
}
