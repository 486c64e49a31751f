//! Every gap of the fence, both ways: an error there, and a run that ends there. Afterwards one side takes writes and the other
//! refuses them, nothing is lost, and the move can be made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]
#![cfg(feature = "faults")]

mod common;

use std::time::Duration;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover_control::Run;
use changeover_protocol::fault::{Area, FaultPoint};
use changeover_protocol::{Phase, Share};
use common::{World, forward, no_bake, until};

/// Which side takes an application's write, by trying.
fn open_side(world: &World) -> String {
    let old = world.open("old.db").execute("UPDATE bookings SET seats = seats + 1 WHERE id = 5", []);
    let new = world.open("new.db").execute("UPDATE booking SET seats = seats + 1 WHERE booking_id = 5", []);
    match (old, new) {
        (Ok(_), Err(_)) => "old".to_owned(),
        (Err(_), Ok(_)) => "new".to_owned(),
        (Ok(_), Ok(_)) => panic!("both sides take writes"),
        (Err(old), Err(new)) => format!("neither: old {old}; new {new}"),
    }
}

fn points(area: Area) -> impl Iterator<Item = FaultPoint> {
    FaultPoint::ALL.iter().copied().filter(move |point| point.area() == area)
}

/// A migration on the near side of the fence that these points lie on.
async fn before(area: Area) -> (World, Run) {
    let world = World::new(60);
    let run = world.run().await;
    forward(run.conductor(), Phase::Shadow).await;
    until("the copy is verified", async || common::status(&run).await.verification.counts).await;
    if area == Area::FenceBack {
        forward(run.conductor(), Phase::ReverseShadow).await;
    }
    (world, run)
}

/// Asks for the move that comes by these points; it may fail.
async fn ask(run: &Run, area: Area) {
    let conductor = run.conductor();
    let asked = match area {
        Area::FenceBack => conductor.rollback(None, Share::ALL, None).await,
        _ => conductor.advance(None, Share::ALL, &no_bake()).await,
    };
    drop(asked);
}

/// Whatever happened: one side is open before long, and from there the whole way can be gone, with nothing lost.
async fn recovers(world: &World, run: &Run, point: FaultPoint) {
    until(&format!("{point}: no move is under way"), async || common::status(run).await.moving.is_none())
        .await;
    let phase = common::status(run).await.phase;
    let expected = if phase == Phase::Shadow { "old" } else { "new" };
    assert_eq!(open_side(world), expected, "{point}, in {phase}");
    if phase == Phase::ReverseShadow {
        run.conductor().rollback(None, Share::ALL, None).await.unwrap();
        assert_eq!(open_side(world), "old", "{point}");
    }
    forward(run.conductor(), Phase::ReverseShadow).await;
    assert_eq!(open_side(world), "new", "{point}");
    until(&format!("{point}: both sides are equal"), async || world.rows("old") == world.rows("new")).await;
}

#[tokio::test]
async fn an_error_in_any_gap_is_undone_or_gone_on_with() {
    for area in [Area::FenceForward, Area::FenceBack] {
        for point in points(area) {
            let (world, run) = before(area).await;
            let plan = FaultPlan::new().with(point, 1, Fault::Error).install();
            ask(&run, area).await;
            FaultPlan::uninstall();
            assert!(plan.passed(point) > 0, "{point} was never come by");
            recovers(&world, &run, point).await;
            run.stop().await;
        }
    }
}

#[tokio::test]
async fn an_error_while_a_fence_is_undone_is_tried_again() {
    for point in points(Area::FenceUndo) {
        let (world, run) = before(Area::FenceForward).await;
        let plan = FaultPlan::new()
            .with(FaultPoint::ForwardPrepared, 1, Fault::Error)
            .with(point, 1, Fault::Error)
            .install();
        ask(&run, Area::FenceForward).await;
        FaultPlan::uninstall();
        assert!(plan.passed(point) > 0, "{point} was never come by");
        recovers(&world, &run, point).await;
        run.stop().await;
    }
}

#[tokio::test]
async fn a_run_that_ends_in_any_gap_is_gone_on_with() {
    for area in [Area::FenceForward, Area::FenceBack] {
        for point in points(area) {
            let (world, run) = before(area).await;
            let paused = PausedAt::default();
            FaultPlan::new().with(point, 1, Fault::Pause(paused.clone())).install();
            {
                let asked = ask(&run, area);
                tokio::select! {
                    () = asked => panic!("{point} was never come by"),
                    () = paused.reached() => {}
                    () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{point}: nothing happens"),
                }
            }
            drop(run);
            FaultPlan::uninstall();
            let run = world.run().await;
            recovers(&world, &run, point).await;
            run.stop().await;
        }
    }
}
