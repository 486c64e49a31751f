//! Two old databases that become one new table, each by a migration of its own, and each switched by itself: the fence of
//! one doesn't stand in the other's way, though both are over one table.

use std::sync::Arc;

use changeover_testkit::servers::Postgres;

use crate::live::drive::FLAG;
use crate::live::{
    At, Database, Databases, Drive, Keys, Kind, Life, PostgresTables, Service, Shape, Side, SqliteFile,
    Writer,
};
use crate::support::{Place, wait_for};
use crate::world::{Fixed, create};

/// How many rows each source has before anything moves.
const ROWS: usize = 100;

const COLUMNS: &[Kind] = &[Kind::Word, Kind::Number, Kind::Unique];

const fn source(db: &'static str, constant: &'static [(&'static str, &'static str)]) -> Shape {
    let old = At {
        db,
        table: "bookings",
        key: &["id"],
        values: &["state", "price", "ref"],
        fixed: &[],
        upper: false,
    };
    let new = At {
        db: "new",
        table: "booking",
        key: &["booking_id"],
        values: &["status", "price", "reference"],
        fixed: constant,
        upper: true,
    };
    Shape { keys: Keys::Int, kinds: COLUMNS, old, new }
}

const EU: &[Shape] = &[source("eu", &[("region", "'eu'")])];
const US: &[Shape] = &[source("us", &[("region", "'us'")])];

/// The migration of one source, in a folder of its own.
fn migration(name: &'static str, databases: &Databases) -> Place {
    let place = Place::of(name);
    let url = |of: &str| databases.get(of).url();
    place.write(
        "bookings.toml",
        format!(
            r#"format = 1
name = "{name}"

[store.old]
url = {:?}

[store.new]
url = {:?}

[[table]]
old = "old:bookings"
new = "new:booking"
key = {{ id = "booking_id" }}
set = {{ status = "upper(state)", reference = "ref", region = {{ const = "{name}" }} }}
back = {{ state = "lower(status)", ref = "reference" }}

[gate]
bake = {{ reverse-shadow = "0s", new = "0s" }}
"#,
            url(name),
            url("new")
        ),
    );
    place
}

fn each_by_itself(us_in_a_file: bool, seed: u64) {
    let files = Place::empty();
    let server = |name| Arc::new(PostgresTables::make(Postgres::shared(), name)) as Arc<dyn Database>;
    let us: Arc<dyn Database> = if us_in_a_file {
        let file = SqliteFile::new(&files.path("us.db"));
        (&file as &dyn Database).sql("PRAGMA journal_mode = WAL");
        Arc::new(file)
    } else {
        server("us")
    };
    let databases = Databases::new([("eu", server("eu")), ("us", us), ("new", server("new"))]);
    for (db, shape, side) in
        [("eu", &EU[0], Side::Old), ("us", &US[0], Side::Old), ("new", &EU[0], Side::New)]
    {
        let fixed = if side == Side::New { Fixed::InTheKey } else { Fixed::Beside };
        let database = databases.get(db);
        database.sql(&create(database, shape, side, fixed));
    }
    let places = [migration("eu", &databases), migration("us", &databases)];
    let service = |place: &Place, shapes, seed| {
        let mut service = Service::of_clients(2, &databases, &place.path(FLAG), shapes, seed);
        service.fill(ROWS);
        service
    };
    let (eu, us) = (service(&places[0], EU, seed), service(&places[1], US, seed + 1));
    let [mut eu_drive, mut us_drive] = places.each_ref().map(Drive::new);
    let _runs = (eu_drive.run(), us_drive.run());
    let (mut eu, mut us) = (Writer::begin(eu), Writer::begin(us));

    // One is far ahead, and the other's writers go on beside it, on the old side and through a move.
    let mut both = |eu_to: &'static str, us_to: &'static str, mut eu: Writer, mut us: Writer| {
        assert_eq!(eu_drive.go(eu_to, &eu), Life::Reached);
        us_drive.writes_on(&us, 15);
        assert_eq!(us_drive.go(us_to, &us), Life::Reached);
        eu_drive.writes_on(&eu, 15);
        (eu, us) = (eu.check(), us.check());
        for (drive, place, phase) in [(&eu_drive, &places[0], eu_to), (&us_drive, &places[1], us_to)] {
            if phase == "reverse-shadow" {
                let verified = place.changeover(&["verify", "bookings.toml", "--json"]);
                assert_eq!(verified.code, Some(0), "{}: {}", verified.out, verified.err);
            }
            assert!(!drive.has_died(), "the worker died");
        }
        (eu, us)
    };
    (eu, us) = both("shadow", "old", eu, us);
    (eu, us) = both("reverse-shadow", "shadow", eu, us);
    (eu, us) = both("new", "reverse-shadow", eu, us);
    (eu, us) = both("reverse-shadow", "shadow", eu, us);
    (eu, us) = both("shadow", "reverse-shadow", eu, us);
    (eu, us) = both("reverse-shadow", "new", eu, us);
    (eu, us) = both("new", "new", eu, us);
    for service in [eu.end(), us.end()] {
        service.assert_held_by(Side::New, "in new");
    }
    for place in &places {
        place.changeover(&["retire", "--yes"]).expect(0);
    }
    wait_for("nothing of ours stays", || databases.installed().is_empty());
}

#[test]
fn each_source_is_switched_by_itself() {
    each_by_itself(false, 21);
}

#[test]
fn each_source_is_switched_by_itself_though_one_is_a_file() {
    each_by_itself(true, 23);
}
