//! SIGKILL of the real binary at a fault point, while the service writes; then it is started again and completes.

use changeover_protocol::fault::FaultPoint;

use super::database::Databases;
use super::drive::{Drive, Life};
use super::shape::Side;
use super::writer::{Service, Writer};
use crate::support::{Place, wait_for};

/// The way that each case goes, phase by phase.
const WAY: [&str; 5] = ["shadow", "reverse-shadow", "shadow", "reverse-shadow", "new"];

/// Where and how it is killed.
#[derive(Debug, Clone, Copy)]
pub struct Killing {
    pub point: FaultPoint,
    /// Which of the times that the point is come by.
    pub nth: u32,
    /// From which leg of [`WAY`] on the fault is planted.
    pub from_leg: usize,
    /// The fence fails here before, so that it is undone.
    pub first: Option<FaultPoint>,
    /// A power cut: the parent dies with the worker, instead of starting it once more.
    pub power_cut: bool,
}

impl Killing {
    fn faults(&self) -> String {
        let first = self.first.map(|first| format!("{first}:error,")).unwrap_or_default();
        format!("{first}{}:kill:{}", self.point, self.nth)
    }
}

/// Stays in a phase for some writes, so that later passes are come by; or until the worker has died.
fn linger(drive: &Drive<'_>, writer: &Writer) {
    let enough = writer.acknowledged() + 60;
    wait_for("the writer goes on", || writer.acknowledged() >= enough || drive.has_died());
}

/// The way with the fault until it is met, then without it to the end: both sides hold what was predicted.
pub fn killed_and_completed(place: &Place, databases: &Databases, service: Service, case: &Killing) {
    let mut drive = Drive::new(place);
    let mut writer = Writer::begin(service);
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
    wait_for("nothing of ours stays", || databases.installed().is_empty());
    service.assert_held_by(Side::New, "retired");
    assert!(!drive.has_died(), "the worker died without a fault");
}
