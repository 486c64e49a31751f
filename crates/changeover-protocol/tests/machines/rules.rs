//! What holds whatever happens: random events, in random order, at random times.

use changeover_protocol::control::{Change, Vitals};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{
    Control, ControlAction, ControlEvent, Millis, Phase, Settings, Share, Slot, Target, Version,
};
use proptest::prelude::*;

use crate::fleet::{LEASE, id};

/// What may happen, of which the record decides what comes of it.
#[derive(Debug, Clone)]
enum Happening {
    Ack(usize),
    Beat(usize),
    Advance(Phase, u16),
    Rollback(Phase, u16),
    Pass(u64),
    Answer,
    Forget(usize),
    Join(usize),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let phase = prop::sample::select(Phase::ALL.to_vec());
    let share = prop::sample::select(vec![0_u16, 11, 512, 1024, 1024, 1024]);
    prop_oneof![
        10 => (0_usize..3).prop_map(Happening::Ack),
        3 => (0_usize..3).prop_map(Happening::Beat),
        4 => (phase.clone(), share.clone()).prop_map(|(p, s)| Happening::Advance(p, s)),
        2 => (phase, share).prop_map(|(p, s)| Happening::Rollback(p, s)),
        3 => prop::sample::select(vec![1, 100, LEASE, 2 * LEASE, 30_000]).prop_map(Happening::Pass),
        8 => Just(Happening::Answer),
        1 => (0_usize..3).prop_map(Happening::Forget),
        1 => (0_usize..3).prop_map(Happening::Join),
        1 => Just(Happening::Restart),
    ]
}

fn events(control: &Control, happening: Happening) -> Vec<ControlEvent> {
    let (version, epoch) = (control.target.version, control.epoch);
    let vitals = Vitals::default();
    match happening {
        Happening::Ack(n) => vec![ControlEvent::Acknowledge { id: id(n), version, vitals }],
        Happening::Beat(n) => vec![ControlEvent::Heartbeat { id: id(n), acked: Version(0), vitals }],
        Happening::Advance(to, share) => vec![ControlEvent::Advance { to, share: Share::slots(share) }],
        Happening::Rollback(to, share) => {
            vec![ControlEvent::Rollback { to, share: Share::slots(share), leave_behind: false }]
        }
        Happening::Pass(_) => vec![ControlEvent::Tick],
        Happening::Answer => {
            let done = control.backfill.map(|b| ControlEvent::GenerationDone { generation: b.generation });
            let mut events = vec![
                ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false },
                ControlEvent::FenceMoved { epoch },
                ControlEvent::FenceOpened { epoch },
                ControlEvent::FenceUndone { epoch },
                ControlEvent::WayBackDrained,
            ];
            events.extend(done);
            events
        }
        Happening::Forget(n) => vec![ControlEvent::Forget { id: id(n) }],
        Happening::Join(n) => vec![ControlEvent::Register { id: id(n), expected: version }],
        Happening::Restart => vec![ControlEvent::Restarted],
    }
}

/// What the test knows of an instance: the oldest version that it may still be executing.
struct Seen {
    oldest: Vec<Option<Version>>,
    /// It was left out in a hold: what it may execute there it refuses, so it isn't looked at until it acknowledges.
    excused: Vec<bool>,
    targets: Vec<Target>,
}

impl Seen {
    /// At any time, for each slot, at most two neighbouring steps are executed anywhere.
    fn check(&self, control: &Control) {
        let oldest = self.oldest.iter().zip(&self.excused).filter(|(_, excused)| !**excused);
        let Some(oldest) = oldest.filter_map(|(version, _)| *version).min() else { return };
        let alive: Vec<&Target> = self.targets.iter().filter(|t| t.version >= oldest).collect();
        for slot in (0..1024).step_by(7).map(Slot::new) {
            let steps: Vec<_> = alive.iter().map(|target| target.step(slot)).collect();
            for (a, b) in steps.iter().flat_map(|a| steps.iter().map(move |b| (*a, *b))) {
                assert!(control.settings.phases.are_neighbours(a, b), "{slot}: {a} and {b} in {steps:?}");
            }
        }
    }
}

fn run(settings: Settings, happenings: Vec<Happening>) {
    let mut control = Control::new(settings, Millis(0));
    let mut now = Millis(0);
    let mut seen =
        Seen { oldest: vec![None; 3], excused: vec![false; 3], targets: vec![control.target.clone()] };
    for happening in happenings {
        if let Happening::Pass(ms) = happening {
            now = now.plus(Millis(ms));
        }
        for event in events(&control, happening) {
            let Ok(Change { next, actions, durable }) = control.apply(now, event) else { continue };
            assert_eq!(next.revision, control.revision + u64::from(durable));
            // A silent one may be left out only where a hold lies behind.
            let silent: Vec<_> = next.silent(now).cloned().collect();
            for action in &actions {
                let ControlAction::Publish(target) = action else { continue };
                assert_eq!(target.validate(), Ok(()));
                let last = seen.targets.last().unwrap();
                if target.version == last.version {
                    assert_eq!(target, last, "told again");
                    continue;
                }
                assert_eq!(target.version, last.version.next());
                assert!(target.is_neighbour_of(last, settings.phases));
                let from_hold = last.has_hold();
                seen.targets.push(target.clone());
                for n in (0..3).filter(|&n| from_hold && silent.contains(&id(n))) {
                    seen.excused[n] = true;
                }
            }
            for n in 0..3 {
                let acked = next.instances.get(&id(n)).map(|i| i.acked);
                if acked.is_none() || acked > seen.oldest[n] {
                    seen.excused[n] = false;
                }
                seen.oldest[n] = acked;
            }
            seen.check(&next);
            control = next;
        }
    }
}

fn settings(mirror: Mirror) -> Settings {
    Settings { mirror, patience_ms: Millis(5_000), ..Settings::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn at_most_two_neighbouring_steps_are_executed(list in prop::collection::vec(happening(), 0..120)) {
        run(settings(Mirror::DualWrite), list);
    }

    #[test]
    fn also_with_capture(list in prop::collection::vec(happening(), 0..120)) {
        run(settings(Mirror::Capture), list);
    }

    #[test]
    fn also_with_phases_left_out(
        list in prop::collection::vec(happening(), 0..120),
        shadow: bool,
        reverse_shadow: bool,
    ) {
        let phases = changeover_protocol::Phases { shadow, reverse_shadow };
        run(Settings { phases, ..settings(Mirror::DualWrite) }, list);
    }
}
