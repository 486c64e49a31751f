//! A whole life: a way through the phases under writes, both sides compared wherever they must be equal, and the end.

use super::database::Databases;
use super::drive::{Drive, Life};
use super::shape::Side;
use super::writer::{Service, Writer};
use crate::support::{Place, wait_for};

/// All four phases: forward, back, forward, complete; back from `new`, and complete again.
pub const FULL: &[&str] =
    &["shadow", "reverse-shadow", "shadow", "reverse-shadow", "new", "reverse-shadow", "new"];

/// A way, phase by phase, under writes; compared wherever both sides must be equal; then retired.
pub fn lives(place: &Place, databases: &Databases, service: Service, way: &[&'static str]) {
    let mut drive = Drive::new(place);
    let mut writer = Writer::begin(service);
    let _run = drive.run();
    for (leg, phase) in way.iter().enumerate() {
        writer = writer.check();
        assert_eq!(drive.go(phase, &writer), Life::Reached);
        drive.writes_on(&writer, 25);
        // In the first shadow after `old` the copy is still being made.
        if *phase == "reverse-shadow" || (*phase == "shadow" && leg > 0 && way[leg - 1] == "reverse-shadow") {
            let verified = place.changeover(&["verify", "bookings.toml", "--json"]);
            assert_eq!(verified.code, Some(0), "{phase}, under writes: {}\n{}", verified.out, verified.err);
        }
        if *phase == "reverse-shadow" {
            writer = Writer::begin(drive.compare(writer, phase));
        }
    }
    let service = writer.end();
    service.assert_held_by(Side::New, "in new");
    drive.assert_audit(way);
    place.changeover(&["retire", "--yes"]).expect(0);
    wait_for("nothing of ours stays", || databases.installed().is_empty());
    service.assert_held_by(Side::New, "retired");
    assert!(!drive.has_died(), "the worker died");
}
