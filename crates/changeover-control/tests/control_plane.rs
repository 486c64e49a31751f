//! The control plane as others meet it: over HTTP, beside another run, with a state that was lost or put back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::time::Duration;

use changeover_api::wire::{Advance, ErrorCode, StatusSource};
use changeover_api::{ClientError, ControlClient};
use changeover_control::jobs;
use changeover_control::{ControlError, Run, status_of_file};
use changeover_protocol::{Phase, Share};
use common::{World, forward, post, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A request by hand: its status line and its body.
async fn raw(run: &Run, head: &str) -> String {
    common::exchange(run, &format!("{head}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nothing_but_the_flag_is_told() {
    let world = World::new(5);
    let run = world.run().await;
    let status = "GET /v1/migrations/bookings/status HTTP/1.1\r\nHost: localhost";
    let refused = raw(&run, status).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.contains("\"code\":\"token\"") && refused.contains("NAME.run"), "{refused}");
    let with_token = format!("{status}\r\nAuthorization: Bearer {}", run.token());
    assert!(raw(&run, &with_token).await.starts_with("HTTP/1.1 200"));
    let flag = raw(&run, "GET /v1/migrations/bookings/flag HTTP/1.1\r\nHost: 127.0.0.1").await;
    assert!(flag.contains("{\"flag\":0,\"phase\":\"old\"}"), "{flag}");
    let rebound = raw(&run, "GET /v1/migrations/bookings/flag HTTP/1.1\r\nHost: evil.example").await;
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    let metrics =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}", run.token());
    let metrics = raw(&run, &metrics).await;
    assert!(metrics.contains("changeover_flag{migration=\"bookings\"} 0"), "{metrics}");
    let answer = post(&run, "advance", "{\"too\":\"x\"}").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("bad-request"), "{answer}");
    run.stop().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_file_is_its_owner_s_alone_and_goes_with_the_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(5);
    let run = world.run().await;
    let file = run.run_file().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&file).unwrap();
    until("it is put back", async || file.exists()).await;
    std::fs::write(&file, "garbage").unwrap();
    until("it is written anew", async || ControlClient::of_run(&file).is_ok()).await;
    run.stop().await;
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_shut_says_what_it_needs_over_the_wire_too() {
    let world = World::new(50);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    let client = ControlClient::of_run(run.run_file()).unwrap();
    until("the copy is verified", async || client.status().await.unwrap().verification.counts).await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    let error = client.advance(&Advance::default()).await.unwrap_err();
    let ClientError::Said { error, .. } = error else { panic!("{error}") };
    assert_eq!(error.code, ErrorCode::Gates);
    assert!(error.message.contains("bake-time"), "{error}");
    let status = client.status().await.unwrap();
    assert_eq!(status.source, StatusSource::Run);
    assert!(status.rollback.safe, "{:?}", status.rollback);
    assert!(status.next.unwrap().blocked_by().count() >= 1);
    assert!(
        status.installed.iter().any(|thing| thing.what.contains("changeover_log")),
        "{:?}",
        status.installed
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_is_refused_by_the_state_and_by_the_databases() {
    let world = World::new(5);
    let run = world.run().await;
    let mut options = world.options();
    // Another state file doesn't help: the databases know who is at work.
    options.state = Some(world.path("other.db"));
    let error = Run::start(options).await.unwrap_err();
    assert!(matches!(error, ControlError::Owned { .. }), "{error}");
    let error = Run::start(world.options()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    // Nor may another migration take its port.
    let other = World::new(5);
    let mut options = other.options();
    options.listen = Some(run.address().to_string());
    let error = Run::start(options).await.unwrap_err();
    assert!(error.to_string().contains("--listen"), "{error}");
    run.stop().await;
    world.run().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_there_without_a_run_and_says_so() {
    let world = World::new(20);
    let path = world.spec().state_path();
    assert!(status_of_file(world.spec(), &path).await.unwrap().is_none());
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    run.stop().await;
    let status = status_of_file(world.spec(), &path).await.unwrap().unwrap();
    assert_eq!((status.source, status.phase), (StatusSource::StateFile, Phase::Shadow));
    assert!(!status.rollback.safe, "nothing is kept in step without a run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_what_stays_and_how_to_go_on() {
    let world = World::new(20);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the log was looked at", async || !common::status(&run).await.logs.is_empty()).await;
    let said = run.stop().await.lines.join("\n");
    for part in
        ["stays installed", "changeover_log_old", "goes on filling", "changeover run", "changeover abort"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_that_changed_is_refused_and_nothing_is_lost() {
    let world = World::new(200);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    run.stop().await;
    let text = std::fs::read_to_string(world.path("bookings.toml")).unwrap();
    std::fs::write(world.path("bookings.toml"), text.replace("upper(state)", "trim(upper(state))")).unwrap();
    let error = Run::start(world.options()).await.unwrap_err().to_string();
    assert!(error.contains("set") && error.contains("rollback --to old"), "{error}");
    // Nor does anybody write the follower's rows by it; but what differs may be looked at.
    let before = world.rows("new");
    let error = jobs::verify(&world.spec(), None, true, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("table.bookings.set"), "{error}");
    assert_eq!(world.rows("new"), before);
    let looked = jobs::verify(&world.spec(), None, false, &mut |_| {}).await.unwrap();
    assert!(looked.spec_changed[0].contains("table.bookings.set") && looked.kept_in.is_none(), "{looked:?}");
    std::fs::write(world.path("bookings.toml"), text).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::ReverseShadow).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_somebody_drops_is_put_back_and_what_was_missed_is_repaired() {
    let world = World::new(100);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    let old = world.open("old.db");
    let triggers: Vec<String> = {
        let mut select = old
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'changeover%'")
            .unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for trigger in &triggers {
        old.execute_batch(&format!("DROP TRIGGER \"{trigger}\"")).unwrap();
    }
    old.execute("UPDATE bookings SET seats = 55 WHERE id = 3", []).unwrap();
    until("what was missed is repaired", async || world.rows("new")[&3].1 == 55).await;
    until("and verified", async || common::status(&run).await.verification.counts).await;
    let audit = ControlClient::of_run(run.run_file()).unwrap().audit(&Default::default()).await.unwrap();
    assert!(audit.entries.iter().any(|entry| entry.kind == "unclean"), "{audit:#?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_lets_the_mirror_go_on() {
    let world = World::new(100);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is made", async || world.rows("new").len() == 100).await;
    run.conductor().pause(true).await.unwrap();
    world.open("old.db").execute("UPDATE bookings SET seats = 44 WHERE id = 3", []).unwrap();
    until("the mirror goes on", async || world.rows("new")[&3].1 == 44).await;
    assert!(common::status(&run).await.paused);
    drop(run);
    tokio::time::timeout(Duration::from_secs(30), world.run()).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_falls_silent_is_named_and_can_be_forgotten() {
    let world = World::new(50);
    world.write_spec("patience = \"1s\"\nwrite_lifetime = \"1s\"");
    let run = world.run().await;
    let registered = post(&run, "instances", "{\"instance\":\"web-1\",\"expected\":1}").await;
    assert!(registered.starts_with("HTTP/1.1 200"), "{registered}");
    let error = run.conductor().advance(Some(Phase::Shadow), Share::ALL, &[]).await.unwrap_err();
    assert!(matches!(error, ControlError::GivenUp { .. }) && error.to_string().contains("web-1"), "{error}");
    until("nothing stays installed", async || world.installed("old.db").is_empty()).await;
    run.conductor().forget("web-1").await.unwrap();
    let beat = post(&run, "instances/web-1/heartbeat", "{\"acked\":1}").await;
    assert!(beat.starts_with("HTTP/1.1 410") && beat.contains("unknown-instance"), "{beat}");
    forward(run.conductor(), Phase::Shadow).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_begins_with_the_present_target_and_ends_with_the_run() {
    let world = World::new(5);
    let run = world.run().await;
    let mut stream = tokio::net::TcpStream::connect(run.address()).await.unwrap();
    let head = format!(
        "GET /v1/migrations/bookings/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        run.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0_u8; 4096];
    while !seen.contains("\"step\":\"old\"") {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(seen.contains("event: target") && seen.contains("id: 1"), "{seen}");
    forward(run.conductor(), Phase::Shadow).await;
    while !seen.contains("\"step\":\"shadow\"") {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    tokio::time::timeout(Duration::from_secs(10), run.stop()).await.unwrap();
}
