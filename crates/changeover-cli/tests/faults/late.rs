//! A sync that is late: its keys were claimed before a move. If the move doesn't wait for it, the side that it writes to has
//! become the authority by the time that it goes on, and has taken a write of the same key: that write must stay.

use std::path::Path;
use std::time::Duration;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover_control::Conductor;
use changeover_protocol::fault::FaultPoint;
use changeover_protocol::{Phase, Share};
use tokio::time::{Instant, sleep, timeout};

use crate::in_process::{shown, start};
use crate::live::drive::FLAG;
use crate::support::Place;
use crate::world;

const WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// So long the late one waits to be overtaken.
const LATE_BY: Duration = Duration::from_millis(700);

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
    let _plan = FaultPlan::new().with(FaultPoint::ClaimTaken, 1, Fault::Pause(pause.clone())).install();
    write(&place, case.near).await;
    pause.reached().await;
    let moved = go(conductor, &flag, case.to);
    let overtaken = async {
        let moved_on = async || until("the flag says so", || shown(&flag) == case.to.flag()).await;
        if timeout(LATE_BY, moved_on()).await.is_err() {
            pause.go_on();
            moved_on().await;
        }
        write(&place, case.far).await;
        pause.go_on();
    };
    tokio::join!(moved, overtaken);

    // Further writes go the other way; when they have arrived, the late one has come to its end.
    let (witness, db, table) = match case.to {
        Phase::Shadow => {
            (("old.db", "INSERT INTO labels VALUES ('witness', 'held', 0)"), "new.db", "label WHERE name")
        }
        _ => (("new.db", "INSERT INTO label VALUES ('witness', 'HELD', 0)"), "old.db", "labels WHERE label"),
    };
    write(&place, witness).await;
    let there = format!("SELECT count(*) FROM {table} = 'witness'");
    until("the mirror goes on", || place.number(db, &there) == 1).await;
    assert_eq!(place.rows(case.far.0, case.question), [case.answer], "what was acknowledged is there");
    FaultPlan::uninstall();
    run.stop().await;
}

/// On another thread, as an application of its own does: the run goes on meanwhile, and gives its locks up.
async fn write(place: &Place, (db, sql): (&'static str, &'static str)) {
    let db = place.open(db);
    tokio::task::spawn_blocking(move || db.execute_batch(sql).expect(sql)).await.expect("it ends");
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
