//! SIGKILL of the real binary at every point, then resumption.

use changeover_protocol::fault::{Area, FaultPoint};

use crate::live::killed::{Killing, killed_and_completed};
use crate::pool::{first_seed, is_soak, run_all};
use crate::reach::{Reach, on_the_way, reach};
use crate::world;

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    point: FaultPoint,
    /// Which of the times that the point is come by.
    nth: u32,
    /// From which leg of the way on the fault is planted.
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

    fn killing(&self) -> Killing {
        let Self { point, nth, from_leg, first, power_cut, .. } = *self;
        Killing { point, nth, from_leg, first, power_cut }
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
    run_all(&cases(), killed);
}

fn killed(case: &Case) {
    let place = world::place();
    let service = world::service(&place, case.seed);
    killed_and_completed(&place, &world::databases(&place), service, &case.killing());
}
