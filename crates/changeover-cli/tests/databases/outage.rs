//! Servers that go away and networks that fail, in the middle of everything: between moves the migration heals by itself; a
//! move is completed or given up; nothing that was acknowledged is lost.

use std::sync::Arc;

use changeover_testkit::Relay;
use changeover_testkit::servers::{MariaDb, Postgres};

use crate::live::drive::PHASES;
use crate::live::{Database, Drive, Life, MariaDbTables, PostgresTables, Side, Writer};
use crate::support::wait_for;
use crate::world::{Home, Homes, World};

const ROWS: usize = 100;

/// A server of a kind, and how it is ended and begun again.
enum Server {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

/// How a server goes away.
#[derive(Debug, Clone, Copy)]
enum Ends {
    AsAskedTo,
    Killed,
}

impl Server {
    fn start(home: Home) -> Self {
        match home {
            Home::MariaDb => Self::MariaDb(MariaDb::start(&[])),
            _ => Self::Postgres(Postgres::start(&[])),
        }
    }

    fn database(&self, name: &str) -> Arc<dyn Database> {
        match self {
            Self::Postgres(server) => Arc::new(PostgresTables::make(server, name)),
            Self::MariaDb(server) => Arc::new(MariaDbTables::make(server, name)),
        }
    }

    fn restart(&self, ends: Ends) {
        match (self, ends) {
            (Self::Postgres(server), Ends::AsAskedTo) => server.restart(),
            (Self::Postgres(server), Ends::Killed) => server.kill_and_restart(),
            (Self::MariaDb(server), Ends::AsAskedTo) => server.restart(),
            (Self::MariaDb(server), Ends::Killed) => server.kill_and_restart(),
        }
    }
}

/// A migration between two servers of its own.
struct Outage {
    world: World,
    old: Server,
    new: Server,
}

impl Outage {
    fn new(homes: Homes) -> Self {
        let (old, new) = (Server::start(homes.of(Side::Old)), Server::start(homes.of(Side::New)));
        let world = World::on(
            homes,
            |_, side, name| {
                if side == Side::Old { old.database(name) } else { new.database(name) }
            },
        );
        Self { world, old, new }
    }

    const fn server(&self, side: Side) -> &Server {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }
}

/// Begins to write, and goes into shadow with the copy made.
fn in_shadow(world: &World, drive: &mut Drive<'_>, seed: u64) -> Writer {
    let mut service = world.service(seed).with_outages();
    service.fill(ROWS);
    let writer = Writer::begin(service);
    assert_eq!(drive.go("shadow", &writer), Life::Reached);
    writer
}

/// To the end from wherever it is, with both sides compared on the way.
fn completes(world: &World, drive: &mut Drive<'_>, mut writer: Writer) {
    for phase in ["reverse-shadow", "shadow", "reverse-shadow"] {
        writer = writer.check();
        assert_eq!(drive.go(phase, &writer), Life::Reached);
        drive.writes_on(&writer, 20);
    }
    let service = drive.compare(writer, "in reverse-shadow");
    let writer = Writer::begin(service);
    assert_eq!(drive.go("new", &writer), Life::Reached);
    drive.writes_on(&writer, 10);
    writer.end().assert_held_by(Side::New, "in new");
    assert!(!drive.has_died(), "the worker died");
    world.assert_untouched();
}

/// Makes something happen while moves are asked for, both ways, until it has happened.
fn amid_moves(drive: &Drive<'_>, happens: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let happening = scope.spawn(happens);
        let mut n = 0;
        while !happening.is_finished() {
            // Given up or made, refused because the server is away: whatever comes of it is looked at afterwards.
            let (command, to) = if n % 2 == 0 { ("advance", PHASES[2]) } else { ("rollback", PHASES[1]) };
            let ended = drive.place.changeover(&[command, "--to", to]);
            assert!(ended.code.is_some_and(|code| code != 101), "{command}: {}\n{}", ended.out, ended.err);
            n += 1;
        }
        happening.join().expect("it happens");
    });
}

fn restarted(outage: &Outage, ends: Ends, seed: u64) {
    let mut drive = Drive::new(&outage.world.place);
    let run = drive.run();
    let writer = in_shadow(&outage.world, &mut drive, seed);
    for side in [Side::Old, Side::New] {
        outage.server(side).restart(ends);
        drive.writes_on(&writer, 40);
    }
    run.until("it is in step again", |status| status["verification"]["counts"] == true);
    assert_eq!(drive.go("reverse-shadow", &writer), Life::Reached);
    for side in [Side::New, Side::Old] {
        amid_moves(&drive, || outage.server(side).restart(ends));
        drive.writes_on(&writer, 40);
    }
    completes(&outage.world, &mut drive, writer);
}

#[test]
fn servers_that_are_restarted_cost_no_write_and_no_move() {
    restarted(&Outage::new(Homes::Postgres), Ends::AsAskedTo, 1);
}

#[test]
fn a_mariadb_server_and_its_follower_that_are_restarted_cost_no_write_and_no_move() {
    restarted(&Outage::new(Homes::MariaDbToPostgres), Ends::AsAskedTo, 5);
}

#[test]
fn a_mariadb_server_and_its_authority_that_crash_cost_no_write_and_no_move() {
    restarted(&Outage::new(Homes::PostgresToMariaDb), Ends::Killed, 6);
}

#[test]
fn servers_that_crash_cost_no_write_and_no_move() {
    restarted(&Outage::new(Homes::Postgres), Ends::Killed, 2);
}

/// The network between `changeover run` and the servers; the service has its own.
fn network(homes: Homes, fails: fn(&Relay), seed: u64) {
    let (postgres, mariadb) = (Postgres::shared(), MariaDb::shared());
    let ports = [Side::Old, Side::New].map(|side| match homes.of(side) {
        Home::MariaDb => mariadb.port(),
        _ => postgres.port(),
    });
    let relays = ports.map(|port| Relay::start(("127.0.0.1", port)));
    let world = World::on(homes, |home, side, name| {
        let relay = &relays[usize::from(side == Side::New)];
        match home {
            Home::MariaDb => Arc::new(MariaDbTables::make(mariadb, name).told(|url| relay.through(url))),
            _ => Arc::new(PostgresTables::make(postgres, name).told(|url| relay.through(url))),
        }
    });
    let mut drive = Drive::new(&world.place);
    let run = drive.run();
    let writer = in_shadow(&world, &mut drive, seed);
    for relay in &relays {
        fails(relay);
        drive.writes_on(&writer, 100);
        relay.pass();
        run.until("it is in step again", |status| {
            status["source"] == "run" && status["verification"]["counts"] == true
        });
    }
    assert_eq!(drive.go("reverse-shadow", &writer), Life::Reached);
    for relay in &relays {
        let acknowledged = writer.counter();
        amid_moves(&drive, move || {
            let carried = relay.connections();
            fails(relay);
            // For as long as it takes the service to write so much, or the run to come back.
            let enough = acknowledged() + 60;
            wait_for("the service goes on, or the run connects anew", || {
                acknowledged() >= enough || relay.connections() > carried
            });
            relay.pass();
        });
        drive.writes_on(&writer, 40);
    }
    completes(&world, &mut drive, writer);
}

#[test]
fn a_network_that_falls_silent_holds_nothing_up_for_good() {
    network(Homes::Postgres, Relay::stall, 3);
}

#[test]
fn a_network_to_mariadb_that_falls_silent_holds_nothing_up_for_good() {
    network(Homes::MariaDbToPostgres, Relay::stall, 7);
}

#[test]
fn a_network_that_breaks_off_holds_nothing_up_for_good() {
    network(Homes::Postgres, Relay::drop_all, 4);
}

#[test]
fn a_network_to_mariadb_that_breaks_off_holds_nothing_up_for_good() {
    network(Homes::PostgresToMariaDb, Relay::drop_all, 8);
}
