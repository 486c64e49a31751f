//! Whose the tables are: of one run at a time, also where that lost the session by which it held them; and of nobody who
//! comes by a replica.

use changeover_testkit::Relay;
use changeover_testkit::servers::Postgres;

use crate::live::{Database, PostgresTables};
use crate::support::Place;

const TABLE: &str = "CREATE TABLE things (id bigint PRIMARY KEY)";

fn database(server: &Postgres, name: &str) -> Box<dyn Database> {
    Box::new(PostgresTables::make(server, name))
}

/// A machine's folder, with a spec that names these databases.
fn machine(old: &str, new: &str) -> Place {
    let place = Place::empty();
    let spec = format!(
        "format = 1\nname = \"bookings\"\n[store.legacy]\nurl = {old:?}\n[store.flights]\nurl = {new:?}\n\
         [[table]]\nold = \"legacy:things\"\nnew = \"flights:things\"\nkey = {{ id = \"id\" }}\n"
    );
    place.write("bookings.toml", spec);
    place
}

#[test]
fn a_run_that_lost_its_tables_to_another_machines_run_ends_and_says_to_whom() {
    let server = Postgres::shared();
    let relay = Relay::start(("127.0.0.1", server.port()));
    let [old, new] = ["old", "new"].map(|name| database(server, name));
    old.sql(TABLE);
    new.sql(TABLE);
    let one = machine(&relay.through(&old.url()), &relay.through(&new.url()));
    let other = machine(&old.url(), &new.url());
    let mut first = one.run();
    let roads = &one.json(&["status"], 0)["roads"];
    assert_eq!((&roads[0]["side"], &roads[0]["writes"]), (&"old".into(), &"binary COPY".into()), "{roads}");
    other.start(&[], &[]).wait().code().map_or_else(|| panic!("killed"), |code| assert_eq!(code, 1));
    assert!(other.read("run.err").contains("is taken by"), "{}", other.read("run.err"));

    relay.drop_all();
    let second = other.run();
    relay.pass();
    assert_eq!(first.wait().code(), Some(1));
    let said = one.read("run.err").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("is taken by") && said.contains("lost its hold"), "{said}");
    second.until("it goes on", |status| {
        status["phase"] == "old" && status["troubles"] == serde_json::json!([])
    });
}

#[test]
fn a_standby_is_refused_as_either_side() {
    let server = Postgres::start(&[]);
    let [old, new] = ["old", "new"].map(|name| database(&server, name));
    old.sql(TABLE);
    new.sql(TABLE);
    let standby = server.standby();
    let at_standby = |url: &str| url.replace(&server.port().to_string(), &standby.port().to_string());
    for place in [machine(&at_standby(&old.url()), &new.url()), machine(&old.url(), &at_standby(&new.url()))]
    {
        let checked = place.changeover(&["check", "bookings.toml"]).expect(1);
        assert!(checked.out.contains("standby"), "{}", checked.out);
        let mut run = place.start(&[], &[]);
        assert_eq!(run.wait().code(), Some(2));
        assert!(place.read("run.err").contains("standby"), "{}", place.read("run.err"));
    }
}
