//! SIGKILL of `changeover run` at its fault points, on servers: it is started again, and goes on.
//!
//! In `cargo test` a few points, chosen by what they are in the middle of, with each pair of databases in turn; in soak every
//! point with every pair.

use changeover_protocol::fault::{Area, FaultPoint};

use crate::live::killed::{Killing, killed_and_completed};
use crate::pool::{first_seed, is_soak, run_all};
use crate::reach::{Reach, on_the_way, reach};
use crate::world::{Homes, World};

/// Rows of each table before anything moves: several chunks.
const ROWS: usize = 120;

/// In `cargo test` every so manyth point of each area is met.
const EVERY: usize = 5;

const HOMES: [Homes; 8] = [
    Homes::Postgres,
    Homes::MariaDbToPostgres,
    Homes::SqliteToPostgres,
    Homes::PostgresToMariaDb,
    Homes::PostgresToSqlite,
    Homes::MariaDb,
    Homes::OnePostgres,
    Homes::OneMariaDb,
];

#[derive(Debug, Clone, Copy)]
struct Case {
    homes: Homes,
    killing: Killing,
    seed: u64,
}

fn killing(point: FaultPoint, power_cut: bool) -> Killing {
    let first = match reach(point) {
        Reach::After(first) => Some(first),
        Reach::OnTheWay | Reach::InTheService => None,
    };
    Killing { point, nth: 1, from_leg: 0, first, power_cut }
}

fn cases() -> Vec<Case> {
    let points = on_the_way();
    let case = |homes, n: usize, killing| Case { homes, killing, seed: first_seed() + n as u64 };
    if !is_soak() {
        let few = points.into_iter().enumerate().filter(|(n, _)| n % EVERY == 0);
        // The pairs in turn.
        let homes = |n: usize| HOMES[n % HOMES.len()];
        let few = few
            .enumerate()
            .map(|(nth, (n, point))| case(homes(nth), n, killing(point, nth.is_multiple_of(2))));
        return few.collect();
    }
    let mut cases = Vec::new();
    for homes in HOMES {
        for (n, point) in points.iter().copied().enumerate() {
            cases.push(case(homes, n, killing(point, n.is_multiple_of(2))));
            // The mirror of the other way, and the second time that the fence goes forward.
            match point.area() {
                Area::Claim => {
                    cases.push(case(homes, 100 + n, Killing { from_leg: 2, ..killing(point, true) }));
                }
                Area::FenceForward => {
                    cases.push(case(homes, 200 + n, Killing { from_leg: 3, ..killing(point, true) }));
                }
                Area::FenceBack | Area::FenceUndo | Area::Chunk | Area::Write => {}
            }
        }
    }
    cases
}

#[test]
fn killed_in_the_middle_of_what_it_does_to_a_server_it_goes_on_and_nothing_is_lost() {
    run_all(&cases(), |case| {
        let world = World::of(case.homes);
        let mut service = world.service(case.seed);
        service.fill(ROWS);
        killed_and_completed(&world.place, &world.databases, service, &case.killing);
        world.assert_untouched();
    });
}
