//! The file that services read the flag from: no move without it, put right when somebody altered it, kept on by the next run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::path::Path;

use changeover_control::{Run, RunOptions};
use changeover_protocol::{Phase, Share};
use common::{World, forward, no_bake, until};

async fn run_with(world: &World, flag: &Path) -> Run {
    let options = RunOptions { flag_file: Some(flag.to_owned()), ..world.options() };
    Run::start(options).await.unwrap()
}

fn says(flag: &Path) -> String {
    std::fs::read_to_string(flag).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_has_arrived_when_the_file_says_so_and_none_begins_while_it_cannot_be_written() {
    let world = World::new(20);
    let folder = world.path("flags");
    std::fs::create_dir(&folder).unwrap();
    let flag = folder.join("bookings.flag");
    let run = run_with(&world, &flag).await;
    assert_eq!(says(&flag), "0");
    forward(run.conductor(), Phase::Shadow).await;
    assert_eq!(says(&flag), "1");
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    // Nothing can be written where there is no folder, whoever one is.
    std::fs::rename(&folder, world.path("elsewhere")).unwrap();
    let error = run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap_err();
    assert!(error.to_string().contains("nothing moves before it can be written"), "{error}");
    assert_eq!(common::status(&run).await.phase, Phase::Shadow);
    let told = async || {
        let status = common::status(&run).await;
        let refused = status.next.and_then(|next| next.refused).unwrap_or_default();
        refused.contains("bookings.flag") && !status.rollback.safe
    };
    until("the status says so too", told).await;
    std::fs::rename(world.path("elsewhere"), &folder).unwrap();
    run.conductor().advance(None, Share::ALL, &no_bake()).await.unwrap();
    assert_eq!(says(&flag), "2");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_did_to_the_file_is_put_right_and_the_next_run_keeps_it() {
    let world = World::new(20);
    let flag = world.path("bookings.flag");
    let run = run_with(&world, &flag).await;
    forward(run.conductor(), Phase::Shadow).await;
    std::fs::write(&flag, "3\n").unwrap();
    until("it is written anew", async || says(&flag) == "1").await;
    std::fs::remove_file(&flag).unwrap();
    until("it is there again", async || says(&flag) == "1").await;
    run.stop().await;
    // Without the option: services read it still.
    let run = world.run().await;
    run.conductor().rollback(None, Share::ALL, None).await.unwrap();
    assert_eq!(says(&flag), "0");
    run.stop().await;
    // One that was taken away is wanted no more.
    std::fs::remove_file(&flag).unwrap();
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    assert!(!flag.exists());
    run.stop().await;
}
