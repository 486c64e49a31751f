//! What a right spec becomes: the design's example, every extension, defaults, and where its values stand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

use std::path::Path;
use std::time::Duration;

use changeover::Value;
use changeover::protocol::Phases;
use changeover::protocol::moves::Mirror;
use changeover::rules::{RoundTo, RuleKind};
use changeover::{Phase, protocol::member::OnSilence};
use changeover_api::spec::{
    Ack, CallsGate, KeyColumn, KeysBy, MismatchGate, SetColumn, Source, Spec, StoreUrl, TableRef, UrlSource,
};
use proptest::prelude::*;

fn design() -> Spec {
    Spec::parse(Path::new("specs/design.toml"), include_str!("specs/design.toml")).unwrap()
}

fn everything() -> Spec {
    Spec::parse(Path::new("everything.toml"), include_str!("specs/everything.toml")).unwrap()
}

fn set(column: &str, from: Source) -> SetColumn {
    SetColumn { column: column.to_owned(), from }
}

#[test]
fn the_designs_example_is_read_as_it_stands_there() {
    let spec = design();
    assert_eq!(spec.name, "bookings");
    assert_eq!((spec.mirror, spec.phases), (Mirror::Capture, Phases::ALL));
    assert_eq!(spec.stores[0].url, UrlSource::Given(StoreUrl::Sqlite { path: "old.db".into() }));
    assert_eq!(spec.stores[1].url, UrlSource::Env("FLIGHTS_URL".to_owned()));
    let table = &spec.tables[0];
    assert_eq!(table.name, "bookings");
    assert_eq!(table.new, TableRef::parse("flights:public.booking").unwrap());
    assert_eq!(table.key, [KeyColumn::Columns { old: "id".to_owned(), new: "booking_id".to_owned() }]);
    assert_eq!(table.filter.as_deref(), Some("kind = 'flight'"));
    assert_eq!(
        table.set,
        [
            set("status", Source::Sql("upper(state)".to_owned())),
            set("region", Source::Const(Value::Text("eu".to_owned())))
        ]
    );
    assert_eq!(table.back, [set("state", Source::Sql("lower(status)".to_owned()))]);
    let kinds: Vec<_> = table.rules.iter().map(|rule| (rule.column.as_str(), &rule.kind)).collect();
    assert_eq!(kinds, [("seen_at", &RuleKind::Round(RoundTo::Millisecond)), ("etag", &RuleKind::Ignore)]);
    assert_eq!(spec.gate.mismatch, Some(MismatchGate { max_percent: 0.01, over: 10_000 }));
    assert_eq!(spec.state_path(), Path::new("specs/.changeover/bookings.db"));
}

#[test]
fn what_is_not_said_has_the_designs_defaults() {
    let spec = design();
    let week = Duration::from_hours(7 * 24);
    assert_eq!(spec.fleet.hold_budget, Duration::from_secs(2));
    assert_eq!(spec.fleet.hold_lease, Duration::from_millis(500));
    assert_eq!(spec.fleet.on_silence, OnSilence::StaticStability);
    assert_eq!((spec.fleet.ack, spec.fleet.forget_after), (Ack::Both, None));
    assert_eq!(spec.gate.bake, [(Phase::ReverseShadow, week), (Phase::New, week)].into());
    assert_eq!(spec.capture.way_back_time, Duration::from_hours(30 * 24));
    assert_eq!(spec.capture.way_back_bytes, 1 << 30);
    assert_eq!(spec.backfill.rate, None);
    let bare = "format = 1\nname = \"calls\"\nmirror = \"dual-write\"";
    let bare = Spec::parse(Path::new("x.toml"), bare).unwrap();
    assert_eq!(bare.phases, Phases::ALL);
    assert_eq!(bare.gate.mismatch, None);
}

#[test]
fn every_extension_is_read() {
    let spec = everything();
    assert_eq!(spec.mirror, Mirror::DualWrite);
    assert_eq!(spec.fleet.ack, Ack::BothOrError);
    assert_eq!(spec.fleet.forget_after, Some(Duration::from_mins(10)));
    assert_eq!(spec.fleet.hold_lease, Duration::from_millis(250));
    assert_eq!(spec.stores[1].url, UrlSource::File("secrets/two.url".into()));
    let table = &spec.tables[0];
    assert_eq!(table.name, "orders-eu");
    assert_eq!(
        table.key[1],
        KeyColumn::OldConst { old: "kind".to_owned(), value: Value::Text("order".to_owned()) }
    );
    assert_eq!(table.set[1].from, Source::Const(Value::Real(1.5)));
    assert_eq!(table.set[2].from, Source::Const(Value::Int(2)));
    assert_eq!(table.rules[0].kind, RuleKind::Tolerance(0.005));
    assert_eq!(table.rules[1].kind, RuleKind::Carry);
    assert_eq!(spec.tables[1].route_by.as_deref(), Some("customer"));
    let calls =
        CallsGate { errors_percent: 2.0, slower_by: 3.0, slack: Duration::from_millis(250), over: 50 };
    assert_eq!(spec.gate.calls, Some(calls));
    assert_eq!((spec.tables[0].keys, spec.tables[1].keys), (KeysBy::Application, KeysBy::Database));
    assert_eq!(spec.gate.bake[&Phase::ReverseShadow], Duration::from_hours(36));
    assert_eq!(spec.backfill.chunk_bytes, 256 << 10);
    assert_eq!(spec.backfill.give_way, Some(Duration::from_millis(50)));
    assert_eq!(spec.verification.rate, Some(20_000));
    assert_eq!(spec.capture.bound, 1_000_000);
    assert_eq!(spec.capture.way_back_bytes, 512 << 20);
    assert!(spec.evidence.redacts("orders-eu", "note") && !spec.evidence.redacts("orders-us", "note"));
}

#[test]
fn later_errors_point_into_the_file() {
    let spec = design();
    let (path, table) = spec.table("bookings").unwrap();
    assert_eq!(table.name, "bookings");
    let at = spec.locate(&format!("{path}.set.status"));
    assert_eq!((at.line, at.column), (16, 19));
    assert_eq!(&spec.text()[at.span], "\"upper(state)\"");
    let at = spec.locate_name(&format!("{path}.set.status"));
    assert_eq!((at.line, at.column), (16, 10));
    assert_eq!(spec.locate("table[0].rules[1].column").line, 18);
    // What the file doesn't have: the nearest that it has.
    assert_eq!(spec.locate("table[0].name").line, 11);
    let error = spec.error_at("table[0].where", "no such column: kind", Some("it has: id, state".to_owned()));
    assert_eq!(error.to_string(), "specs/design.toml:15:9: no such column: kind (it has: id, state)");
}

#[test]
fn a_url_is_found_in_a_file_beside_the_spec() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("everything.toml");
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(&path, include_str!("specs/everything.toml")).unwrap();
    let spec = Spec::read(&path).unwrap();
    let one = spec.resolve_store("one").unwrap();
    assert_eq!(one, StoreUrl::Sqlite { path: folder.path().join("data/one.db") });

    let error = spec.resolve_store("two").unwrap_err();
    assert!(error.message.contains("two.url"), "{error}");
    assert_eq!(error.line, 16);
    std::fs::write(folder.path().join("secrets/two.url"), "# the new one\n\nsqlite:two.db\n").unwrap();
    let two = spec.resolve_store("two").unwrap();
    assert_eq!(two, StoreUrl::Sqlite { path: folder.path().join("two.db") });
    std::fs::write(folder.path().join("secrets/two.url"), "oracle://a:s3cret@db/x").unwrap();
    let error = spec.resolve_store("two").unwrap_err();
    assert!(error.message.contains("oracle://a:***@db/x"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let text = include_str!("specs/design.toml").replace("FLIGHTS_URL", "CHANGEOVER_TEST_THAT_NOBODY_SETS");
    let spec = Spec::parse(Path::new("design.toml"), &text).unwrap();
    let errors = spec.resolve_stores().unwrap_err();
    assert_eq!(errors.errors.len(), 1);
    assert_eq!((errors.errors[0].line, errors.errors[0].column), (9, 11));
    assert!(errors.to_string().contains("CHANGEOVER_TEST_THAT_NOBODY_SETS"), "{errors}");
    assert!(spec.resolve_store("nobody").is_err());
}

proptest! {
    /// Whatever the text, the answer is a spec, or errors that point into it.
    #[test]
    fn no_text_makes_the_reader_panic(
        lines in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        cut in any::<prop::sample::Index>(),
        noise in "\\PC{0,5}",
    ) {
        let all: Vec<_> = include_str!("specs/design.toml")
            .lines()
            .chain(include_str!("specs/everything.toml").lines())
            .collect();
        let mut text: String = lines.iter().map(|line| format!("{}\n", line.get(&all))).collect();
        let places: Vec<_> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
        text.insert_str(*cut.get(&places), &noise);
        if let Err(errors) = Spec::parse(Path::new("x.toml"), &text) {
            prop_assert!(!errors.errors.is_empty());
            for error in errors.errors {
                prop_assert!(error.span.start <= error.span.end && error.span.end <= text.len());
                prop_assert!(error.line <= text.lines().count() + 1);
            }
        }
    }
}
