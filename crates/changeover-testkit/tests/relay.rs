//! The relay: what it lets through, holds back, breaks off; and that a COMMIT's reply can be lost by it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use changeover_testkit::Relay;
use changeover_testkit::relay::Direction::{ToClient, ToServer};
use changeover_testkit::servers::Postgres;

/// What is long enough to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(150);

/// A server that sends everything back, as long as the test runs.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut from, mut to) = (stream.as_ref().unwrap().try_clone().unwrap(), stream.unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    address
}

fn client(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends it and gets it back.
fn round_trip(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text.as_bytes());
}

/// Nothing comes, and the connection is open.
fn silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}

fn is_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn passes_and_counts() {
    let relay = Relay::start(echo());
    let mut one = client(&relay);
    round_trip(&mut one, "hello");
    let long = "x".repeat(1_000_000);
    thread::scope(|scope| {
        let mut writer = one.try_clone().unwrap();
        scope.spawn(move || writer.write_all(long.as_bytes()).unwrap());
        one.read_exact(&mut vec![0; 1_000_000]).unwrap();
    });
    let mut two = client(&relay);
    round_trip(&mut two, "again");
    assert_eq!((relay.connections(), relay.open()), (2, 2));
    assert_eq!((relay.bytes(ToServer), relay.bytes(ToClient)), (1_000_010, 1_000_010));

    // An orderly end is carried, and the server's after it.
    two.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(two.read(&mut [0]).unwrap(), 0);
    let begun = Instant::now();
    while relay.open() == 2 && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((relay.connections(), relay.open()), (2, 1));
}

#[test]
fn stalls_and_goes_on() {
    let relay = Relay::start(echo());
    let mut old = client(&relay);
    round_trip(&mut old, "before");
    relay.stall();
    old.write_all(b"held").unwrap();
    let mut new = client(&relay);
    new.write_all(b"back").unwrap();
    silent(&mut old);
    silent(&mut new);
    assert_eq!((relay.open(), relay.bytes(ToServer)), (2, 6));
    relay.pass();
    for (stream, text) in [(&mut old, b"held"), (&mut new, b"back")] {
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, text);
    }
}

#[test]
fn drops_and_refuses_and_is_there_again() {
    let relay = Relay::start(echo());
    let mut stream = client(&relay);
    round_trip(&mut stream, "before");
    relay.drop_all();
    is_reset(&mut stream);
    assert_eq!(relay.open(), 0);
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    relay.pass();
    round_trip(&mut client(&relay), "after");

    // A stall ends in a reset too, and a drop in a stall.
    let mut stream = client(&relay);
    round_trip(&mut stream, "before");
    relay.stall();
    stream.write_all(b"lost").unwrap();
    silent(&mut stream);
    relay.drop_all();
    is_reset(&mut stream);
    relay.stall();
    let mut stream = client(&relay);
    stream.write_all(b"held").unwrap();
    silent(&mut stream);
}

#[test]
fn takes_its_time() {
    let relay = Relay::start(echo());
    let mut stream = client(&relay);
    relay.delay(A_WHILE);
    let begun = Instant::now();
    round_trip(&mut stream, "slow");
    assert!(begun.elapsed() >= 2 * A_WHILE, "there and back in {:?}", begun.elapsed());
    relay.pass();
    let begun = Instant::now();
    round_trip(&mut stream, "fast");
    assert!(begun.elapsed() < 2 * A_WHILE, "there and back in {:?}", begun.elapsed());
}

#[test]
fn cuts_once_after_so_many_bytes() {
    let relay = Relay::start(echo());
    let [mut one, mut two] = [client(&relay), client(&relay)];
    round_trip(&mut one, "before");
    round_trip(&mut two, "before");

    relay.drop_after(ToClient, 7);
    round_trip(&mut one, "1234");
    one.write_all(b"5678").unwrap();
    let mut rest = [0; 3];
    one.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"567");
    is_reset(&mut one);
    assert_eq!((relay.cuts(), relay.bytes(ToClient)), (1, 19));
    round_trip(&mut two, "the others go on");

    relay.drop_after(ToServer, 0);
    two.write_all(b"lost").unwrap();
    is_reset(&mut two);
    assert_eq!((relay.cuts(), relay.bytes(ToServer)), (2, 36));

    relay.drop_after(ToServer, 0);
    relay.pass();
    round_trip(&mut client(&relay), "taken back");
}

#[test]
fn a_target_that_is_away_resets_the_client() {
    let nobody = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    is_reset(&mut client(&Relay::start(nobody)));
}

/// The relay has a runtime and a clock of its own.
#[tokio::test(start_paused = true)]
async fn works_inside_a_runtime_whose_clock_stands_still() {
    let relay = Relay::start(echo());
    relay.delay(Duration::from_millis(1));
    round_trip(&mut client(&relay), "hello");
}

#[test]
fn loses_the_reply_to_a_commit() {
    let server = Postgres::shared();
    let database = server.create_database("relay");
    let relay = Relay::start((Ipv4Addr::LOCALHOST, server.port()));
    let url = relay.through(&server.url(&database));
    server.psql(&database, "CREATE TABLE t (id int)");
    // One message, so its replies come together, after the commit.
    let session = r"BEGIN; INSERT INTO t VALUES (1); SELECT pg_sleep(0.3) \; COMMIT;";
    let told = thread::scope(|scope| {
        let session = scope.spawn(|| server.psql_at(&url, session));
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(0.3)%'";
        while server.psql(&database, sleeping) == "0" {
            assert!(!session.is_finished(), "{:?}", session.join());
        }
        relay.drop_after(ToClient, 0);
        session.join().unwrap()
    });
    assert!(told.unwrap_err().contains("connection to server was lost"));
    assert_eq!(relay.cuts(), 1);
    assert_eq!(server.psql(&database, "SELECT id FROM t"), "1");
}
