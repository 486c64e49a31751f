//! SIGKILL of the real binary at every point, then resumption.

use changeover_protocol::fault::{Area, FaultPoint};

use crate::live::{Drive, Life, Side, Writer};
use crate::pool::{first_seed, is_soak, run_all};
use crate::reach::{Reach, on_the_way, reach};
use crate::support::wait_for;
use crate::world;

/// The way that each case goes, phase by phase.
const WAY: [&str; 5] = ["shadow", "reverse-shadow", "shadow", "reverse-shadow", "new"];

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    point: FaultPoint,
    /// Which of the times that the point is come by.
    nth: u32,
    /// From which leg of [`WAY`] on the fault is planted.
    from_leg: usize,
    /// The fence fails here before, so that it is undone.
    first: Option<FaultPoint>,
    /// A power cut: the parent dies with the worker, instead of starting it once more.
    power_cut: bool,
    seed: u64,
}

impl Case {
    const fn of(point: FaultPoint) -> Self {
        let first = match reach(point) {
            Reach::After(first) => Some(first),
            Reach::OnTheWay | Reach::InTheService => None,
        };
        Self { point, nth: 1, from_leg: 0, first, power_cut: true, seed: 1 }
    }

    fn faults(&self) -> String {
        let first = self.first.map(|first| format!("{first}:error,")).unwrap_or_default();
        format!("{first}{}:kill:{}", self.point, self.nth)
    }
}

/// The default: each point once. In soak: later passes, both ways of the mirror, both ends of the process tree.
fn cases() -> Vec<Case> {
    let once = on_the_way().into_iter().enumerate().map(|(n, point)| Case {
        power_cut: n % 2 == 0,
        seed: n as u64,
        ..Case::of(point)
    });
    let mut cases: Vec<Case> = once.collect();
    if is_soak() {
        for point in on_the_way() {
            let mut more = vec![Case { power_cut: false, seed: 101, ..Case::of(point) }];
            match point.area() {
                // In the mirror of either way, and amid a run of them.
                Area::Claim => {
                    more.push(Case { from_leg: 2, seed: 102, ..Case::of(point) });
                    more.extend([3, 9].map(|nth| Case { nth, seed: 103, ..Case::of(point) }));
                }
                Area::Chunk => more.push(Case { nth: 4, seed: 104, ..Case::of(point) }),
                Area::FenceUndo => {
                    let first = Some(FaultPoint::BackDrained);
                    more.push(Case { first, from_leg: 2, seed: 105, ..Case::of(point) });
                }
                // The second time that the fence goes forward.
                Area::FenceForward => more.push(Case { from_leg: 3, seed: 106, ..Case::of(point) }),
                Area::FenceBack | Area::Write => {}
            }
            cases.extend(more);
        }
    }
    cases.into_iter().map(|case| Case { seed: first_seed() + case.seed, ..case }).collect()
}

#[test]
fn killed_at_every_fault_point_it_goes_on_and_nothing_is_lost() {
    run_all(&cases(), killed_and_completed);
}

/// Stays in a phase for some writes, so that later passes are come by; or until the worker has died.
fn linger(drive: &Drive<'_>, writer: &Writer) {
    let enough = writer.acknowledged() + 60;
    wait_for("the writer goes on", || writer.acknowledged() >= enough || drive.has_died());
}

fn killed_and_completed(case: &Case) {
    let place = world::place();
    let mut drive = Drive::new(&place);
    let mut writer = Writer::begin(world::service(&place, case.seed));
    if case.from_leg > 0 {
        let run = drive.run();
        for phase in &WAY[..case.from_leg] {
            assert_eq!(drive.go(phase, &writer), Life::Reached);
        }
        run.kill();
    }

    // With the fault, until it is met.
    let mut leg = case.from_leg;
    let run = drive.run_into(&case.faults());
    loop {
        let Some(phase) = WAY.get(leg) else { panic!("{} was never come by: {}", case.point, case.faults()) };
        if drive.go(phase, &writer) == Life::Died {
            break;
        }
        if case.nth > 1 {
            linger(&drive, &writer);
        }
        leg += 1;
    }
    if !case.power_cut {
        wait_for("the parent starts the worker once more", || {
            let again = place.read("run.err").matches("ended unasked").count() > 1;
            again || place.changeover(&["status", "bookings", "--json"]).out.contains("\"source\": \"run\"")
        });
    }
    run.kill();

    // Without it, to the end.
    place.write("run.err", "");
    let _run = drive.run();
    for phase in &WAY[leg..4] {
        assert_eq!(drive.go(phase, &writer), Life::Reached);
    }
    drive.writes_on(&writer, 20);
    let verified = place.changeover(&["verify", "bookings.toml", "--json"]);
    assert_eq!(verified.code, Some(0), "verified under writes: {}\n{}", verified.out, verified.err);
    let service = drive.compare(writer, "in reverse-shadow");
    writer = Writer::begin(service);
    assert_eq!(drive.go("new", &writer), Life::Reached);
    drive.writes_on(&writer, 10);
    let service = writer.end();
    service.assert_held_by(Side::New, "in new");
    drive.assert_audit(&WAY);
    place.changeover(&["retire", "--yes"]).expect(0);
    let ours = || place.installed("old.db").len() + place.installed("new.db").len();
    wait_for("nothing of ours stays", || ours() == 0);
    service.assert_held_by(Side::New, "retired");
    assert!(!drive.has_died(), "the worker died without a fault");
}
