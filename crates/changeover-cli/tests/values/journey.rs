//! There and back again, and what somebody changes afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base::Base;
use crate::column::{Column, Edge, KINDS, Kind};
use crate::support::Place;
use crate::{of_mariadb, of_postgres, of_sqlite};

/// The columns of a kind's own types, each of which lives as long as the test.
fn columns(home: Kind) -> &'static [Column] {
    Vec::leak(match home {
        Kind::Postgres => of_postgres::columns(),
        Kind::MariaDb => of_mariadb::columns(),
        Kind::Sqlite => of_sqlite::columns(),
    })
}

/// What has to be there before the table.
const fn first(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => of_postgres::FIRST,
        Kind::MariaDb => "SELECT 1",
        Kind::Sqlite => "PRAGMA journal_mode = WAL",
    }
}

/// One value, in a row of its own.
struct Thing {
    id: i64,
    column: &'static Column,
    edge: &'static Edge,
}

/// Home, away, and home again.
struct Journey {
    place: Place,
    away: Kind,
    things: Vec<Thing>,
    home: Base,
    back: Base,
}

impl Journey {
    fn new(home: Kind, away: Kind) -> Self {
        let place = Place::empty();
        let columns: Vec<&'static Column> =
            columns(home).iter().filter(|column| column.declared(away).is_some()).collect();
        let edges = columns.iter().flat_map(|column| column.edges.iter().map(move |edge| (*column, edge)));
        let things: Vec<Thing> =
            edges.zip(1..).map(|((column, edge), id)| Thing { id, column, edge }).collect();
        let base = |kind, hint| Base::make(kind, &place, hint, first(kind), &columns);
        let [home, abroad, back] = [(home, "home"), (away, "away"), (home, "back")].map(|(k, h)| base(k, h));
        let row = |t: &Thing| {
            format!("INSERT INTO things (id, {}) VALUES ({}, {});\n", t.column.name, t.id, t.edge.sql)
        };
        home.sql(&things.iter().map(row).collect::<String>());
        for (name, old, new) in
            [("there", &home, &abroad), ("again", &abroad, &back), ("beside", &home, &back)]
        {
            place.write(&format!("{name}.toml"), spec(name, &old.url, &new.url));
        }
        Self { place, away, things, home, back }
    }

    fn name(&self) -> String {
        format!("{:?} to {:?} and back", self.home.kind, self.away)
    }

    fn refused(&self) -> impl Iterator<Item = (&Thing, &'static str)> {
        self.things.iter().filter_map(|thing| Some((thing, thing.edge.refused_by(self.away)?)))
    }

    fn carried(&self) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(|thing| thing.edge.refused_by(self.away).is_none())
    }

    /// Goes away, where what doesn't fit is named and nothing else; and comes back with all that was there.
    fn travels(&self) {
        let expected: Vec<_> = self.refused().collect();
        let report = self.place.json(&["copy", "there.toml"], i32::from(!expected.is_empty()));
        let refusals: BTreeMap<i64, &Value> = list(&report, "refusals").iter().map(|r| (key(r), r)).collect();
        let mut wrong = Vec::new();
        for (thing, why) in &expected {
            let said = refusals.get(&thing.id).copied().unwrap_or(&Value::Null);
            let column = said["column"] == thing.column.name;
            if !column || !said["why"].as_str().is_some_and(|said| said.contains(why)) {
                wrong.push(format!(
                    "{}: {} should be refused ({why}): {said}",
                    thing.column.name, thing.edge.sql
                ));
            }
        }
        for thing in self.carried() {
            if let Some(said) = refusals.get(&thing.id) {
                wrong.push(format!("{}: {} is refused: {said}", thing.column.name, thing.edge.sql));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", self.name(), wrong.join("\n"));
        self.equal(&report);
        self.equal(&self.place.json(&["copy", "again.toml"], 0));
    }

    #[track_caller]
    fn equal(&self, report: &Value) {
        assert_eq!(list(report, "differences"), &Vec::<Value>::new());
        assert_eq!(report["tables"][0]["rows_new"], self.carried().count(), "{report}");
    }

    /// What is there again is what was there, as the database itself writes it.
    fn is_home_again(&self) {
        let places: Vec<_> = self.carried().map(|thing| (thing.id, thing.column)).collect();
        let (was, is) = (self.home.spelled(&places), self.back.spelled(&places));
        let mut wrong = Vec::new();
        for thing in self.carried() {
            let at = (thing.id, thing.column.name);
            let (was, is) = (was.get(&at), is.get(&at));
            if (was != is || is.is_none()) != thing.edge.respelled.contains(&self.away) {
                let (name, sql) = (thing.column.name, thing.edge.sql);
                wrong.push(format!("{name}: {sql} was {was:?} and is {is:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", self.name(), wrong.join("\n"));
    }

    /// Each value that somebody changes, by however little, is found, with its row and column; nothing else is.
    fn corrupted_is_found(&self) {
        let changed: Vec<(&Thing, &str)> =
            self.carried().filter_map(|thing| Some((thing, thing.edge.wrong?))).collect();
        let update = |(thing, wrong): &(&Thing, &str)| {
            format!("UPDATE things SET {} = {wrong} WHERE id = {};\n", thing.column.name, thing.id)
        };
        self.back.sql(&changed.iter().map(update).collect::<String>());
        for spec in ["again.toml", "beside.toml"] {
            let report = self.place.json(&["verify", spec], 1);
            let found: BTreeSet<(i64, &str)> = list(&report, "differences")
                .iter()
                .filter(|difference| difference["kind"] == "differing")
                .map(|difference| (key(difference), difference["column"].as_str().expect("a column")))
                .collect();
            // What never came isn't there.
            let missing = list(&report, "differences").iter().filter(|d| d["kind"] == "missing").count();
            let fits_home = |t: &(&Thing, &str)| t.0.edge.refused_by(self.home.kind).is_none();
            let never = if spec == "beside.toml" { self.refused().filter(fits_home).count() } else { 0 };
            assert_eq!(missing, never, "{}, {spec}: {report}", self.name());
            let mut wrong = Vec::new();
            for (thing, to) in &changed {
                if !found.contains(&(thing.id, thing.column.name)) {
                    wrong.push(format!("{}: {} became {to}", thing.column.name, thing.edge.sql));
                }
            }
            let expected: BTreeSet<(i64, &str)> =
                changed.iter().map(|(thing, _)| (thing.id, thing.column.name)).collect();
            let besides: Vec<_> = found.difference(&expected).collect();
            let name = self.name();
            assert!(
                wrong.is_empty(),
                "{name}, {spec}: not found:\n{}\nbesides: {besides:?}",
                wrong.join("\n")
            );
            // Between two of one kind another spelling is another value.
            let respelled = |at: &(i64, &str)| {
                let of = |thing: &&Thing| (thing.id, thing.column.name) == *at;
                let thing = self.carried().find(of);
                spec == "beside.toml" && thing.is_some_and(|t| t.edge.respelled.contains(&self.away))
            };
            assert!(besides.iter().all(|at| respelled(at)), "{name}, {spec}: found besides: {besides:?}");
        }
    }
}

fn spec(name: &str, old: &str, new: &str) -> String {
    format!(
        "format = 1\nname = \"{name}\"\nphases = [\"old\", \"new\"]\n\n[store.old]\nurl = {old:?}\n\n[store.new]\nurl = {new:?}\n\n\
         [[table]]\nold = \"old:things\"\nnew = \"new:things\"\nkey = {{ id = \"id\" }}\n"
    )
}

#[track_caller]
fn list<'r>(report: &'r Value, name: &str) -> &'r Vec<Value> {
    report[name].as_array().unwrap_or_else(|| panic!("{name}: {report}"))
}

fn key(named: &Value) -> i64 {
    named["key"].as_str().and_then(|key| key.parse().ok()).unwrap_or_else(|| panic!("{named}"))
}

fn every_journey_from(home: Kind) {
    for away in KINDS {
        let journey = Journey::new(home, away);
        journey.travels();
        journey.is_home_again();
        journey.corrupted_is_found();
    }
}

#[test]
fn every_type_of_postgresql_goes_there_and_back_again() {
    every_journey_from(Kind::Postgres);
}

#[test]
fn every_type_of_mariadb_goes_there_and_back_again() {
    every_journey_from(Kind::MariaDb);
}

#[test]
fn every_type_of_sqlite_goes_there_and_back_again() {
    every_journey_from(Kind::Sqlite);
}
