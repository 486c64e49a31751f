//! A sync that is late: its keys were claimed before a move, and it goes on when the side that it writes to has become
//! the authority and has taken a write of the same key.

use std::path::Path;
use std::time::Duration;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover_control::Conductor;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::{Phase, Share};
use tokio::time::{Instant, sleep};

use crate::in_process::{shown, start};
use crate::live::drive::FLAG;
use crate::support::Place;
use crate::world;

const WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One way over the fence.
struct Move {
    from: Phase,
    to: Phase,
    /// The database that is left, and a write there that the mirror is to claim.
    near: (&'static str, &'static str),
    /// The database that is gone to, and a write of the same row there; what it holds then.
    far: (&'static str, &'static str),
    question: &'static str,
    answer: &'static str,
}

#[tokio::test]
async fn a_sync_from_before_the_move_forward_does_not_overwrite_what_came_after_it() {
    late(&Move {
        from: Phase::Shadow,
        to: Phase::ReverseShadow,
        near: ("old.db", "UPDATE labels SET weight = 1 WHERE label = 'late'"),
        far: ("new.db", "UPDATE label SET weight = 2 WHERE name = 'late'"),
        question: "SELECT weight FROM label WHERE name = 'late'",
        answer: "Integer(2)",
    })
    .await;
}

#[tokio::test]
async fn a_sync_from_before_the_move_back_does_not_bring_back_what_was_deleted_after_it() {
    late(&Move {
        from: Phase::ReverseShadow,
        to: Phase::Shadow,
        near: ("new.db", "UPDATE label SET weight = 1 WHERE name = 'late'"),
        far: ("old.db", "DELETE FROM labels WHERE label = 'late'"),
        question: "SELECT count(*) FROM labels WHERE label = 'late'",
        answer: "Integer(0)",
    })
    .await;
}

async fn late(case: &Move) {
    let place = world::place();
    place.sql("old.db", "INSERT INTO labels VALUES ('late', 'held', 0)");
    let run = start(&place).await;
    let (conductor, flag) = (run.conductor(), place.path(FLAG));
    for phase in [Phase::Shadow, Phase::ReverseShadow] {
        if shown(&flag) < case.from.flag() {
            go(conductor, &flag, phase).await;
        }
    }
    until("the mirror has caught up", || {
        place.rows("old.db", "SELECT label, weight FROM labels")
            == place.rows("new.db", "SELECT name, weight FROM label")
    })
    .await;

    // Claimed, and held up there.
    let pause = PausedAt::default();
    let plan = FaultPlan::new().with(FaultPoint::ClaimTaken, 1, Fault::Pause(pause.clone())).install();
    place.sql(case.near.0, case.near.1);
    pause.reached().await;
    let moved = go(conductor, &flag, case.to);
    let overtaken = async {
        until("the flag says so", || shown(&flag) == case.to.flag()).await;
        place.sql(case.far.0, case.far.1);
        pause.go_on();
    };
    tokio::join!(moved, overtaken);
    let passed = plan.passed(FaultPoint::ClaimTaken);
    assert!(passed > 1, "the fence has drained what the mirror had claimed");

    // Further writes go the other way; when they have arrived, the late one has come to its end.
    let witness = match case.to {
        Phase::Shadow => {
            ("old.db", "INSERT INTO labels VALUES ('witness', 'held', 0)", "new.db", "label WHERE name")
        }
        _ => ("new.db", "INSERT INTO label VALUES ('witness', 'HELD', 0)", "old.db", "labels WHERE label"),
    };
    place.sql(witness.0, witness.1);
    let there = format!("SELECT count(*) FROM {} = 'witness'", witness.3);
    until("the mirror goes on", || place.number(witness.2, &there) == 1).await;
    assert_eq!(place.rows(case.far.0, case.question), [case.answer], "what was acknowledged is there");
    FaultPlan::uninstall();
    run.stop().await;
}

async fn go(conductor: &Conductor, flag: &Path, phase: Phase) {
    let deadline = Instant::now() + WITHIN;
    while shown(flag) != phase.flag() {
        let asked = if shown(flag) < phase.flag() {
            conductor.advance(Some(phase), Share::ALL, &[]).await
        } else {
            conductor.rollback(Some(phase), Share::ALL, None).await
        };
        assert!(Instant::now() < deadline, "{phase} isn't reached: {asked:?}");
        sleep(LOOK_EVERY).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(LOOK_EVERY).await;
    }
}
