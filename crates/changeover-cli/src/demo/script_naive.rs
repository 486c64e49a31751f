//! The demo's foil: the same service, the same traffic, moved as everybody does it today.
//!
//! A four-value flag in a file, dual writes in the service's code, a copy script. No barrier: each instance reads the
//! flag when it gets to it.

use std::time::Duration;

use changeover::Phase;
use rusqlite::params;

use super::fleet::{Fleet, Orders};
use super::phases::Phases;
use super::story::Story;
use super::traffic::{Operation, Tally, Traffic};
use super::world::{World, open};

/// What the naive run leaves for the proof.
pub(super) struct Ran {
    pub(super) operations: Vec<Operation>,
    pub(super) tally: std::sync::Arc<Tally>,
    pub(super) phases: Phases,
    pub(super) rollbacks: u32,
    pub(super) rows_copied: u64,
}

/// Moves the service by the flag alone, there, back, and there again.
pub(super) async fn run(
    world: &World,
    rows: u64,
    instances: usize,
    seconds: u64,
    slow_new: Duration,
    story: &mut Story,
) -> Result<Ran, String> {
    let flag = world.folder.join("flag");
    let set = |phase: Phase| {
        let part = flag.with_extension("part");
        std::fs::write(&part, phase.flag().to_string())
            .and_then(|()| std::fs::rename(&part, &flag))
            .map_err(|e| format!("{}: {e}", flag.display()))
    };
    set(Phase::Old)?;
    let orders = Orders { world: world.clone(), slow_new, naive: Some(flag.clone()), mended: false };
    let fleet = Fleet::start(orders, instances).await?;
    let traffic = Traffic::begin(&fleet.ports(), rows);
    story.watch(std::sync::Arc::clone(&traffic.tally));
    let slice = Duration::from_millis(seconds * 1000 / 7);

    let mut phases = Phases::begin(Phase::Old);
    story.chapter(
        "The same service, moved as everybody does it: a flag with four values, and two writes in a row.",
    );
    story.wait(slice).await;

    set(Phase::Shadow)?;
    phases.enter(Phase::Shadow.name());
    story.say("Flag 1: the code now writes to both databases. A script copies the old rows meanwhile.");
    story.wait(Duration::from_secs(1)).await;
    let copy = {
        let world = world.clone();
        tokio::task::spawn_blocking(move || copy(&world))
    };
    story.wait(slice).await;
    let rows_copied = copy.await.map_err(|e| e.to_string())?.map_err(|e| format!("the copy script: {e}"))?;

    let mut rollbacks = 0;
    for (phase, text) in [
        (
            Phase::ReverseShadow,
            "Flag 2: reads come from the new side. Each instance finds out when it polls next.",
        ),
        (Phase::Shadow, "Flag 1 again: a rollback."),
        (Phase::ReverseShadow, "Flag 2: forward again."),
        (Phase::New, "Flag 3: the old side is left."),
    ] {
        rollbacks += u32::from(phase == Phase::Shadow);
        set(phase)?;
        phases.enter(phase.name());
        story.say(text);
        story.wait(slice).await;
    }
    let tally = std::sync::Arc::clone(&traffic.tally);
    let operations = traffic.end().await?;
    story.still();
    fleet.stop().await?;
    Ok(Ran { operations, tally, phases, rollbacks, rows_copied })
}

/// The copy script: what isn't there yet is inserted, in batches.
fn copy(world: &World) -> rusqlite::Result<u64> {
    let (old, new) = (open(&world.old_side())?, open(&world.new_side())?);
    let (mut last, mut copied) = (0_i64, 0);
    loop {
        let mut select = old.prepare_cached(
            "SELECT id, customer, flight, departs, upper(state),
               CAST(round(substr(fee, 1, instr(fee, ' ') - 1) * 100) AS INTEGER), substr(fee, instr(fee, ' ') + 1), revision
             FROM cancellations WHERE id > ?1 ORDER BY id LIMIT 2000",
        )?;
        let batch = select
            .query_map([last], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, String>(4)?,
                    row.get::<_, i64>(5)?,
                    row.get::<_, String>(6)?,
                    row.get::<_, i64>(7)?,
                ))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let Some(end) = batch.last() else { return Ok(copied) };
        last = end.0;
        let tx = new.unchecked_transaction()?;
        {
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO flight_cancellation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for r in &batch {
                copied += insert.execute(params![r.0, r.1, r.2, r.3, r.4, r.5, r.6, r.7])? as u64;
            }
        }
        tx.commit()?;
    }
}
