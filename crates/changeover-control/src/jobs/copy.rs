//! `copy`: everything once, and a comparison. For databases that nobody writes to meanwhile, which is looked at.

use changeover::engine::{Backfill, BackfillOptions, BackfillReport, Coverage};
use changeover::{Side, StoreError};
use changeover_api::Spec;
use changeover_tables::database::Watch;
use changeover_tables::plan::Mirroring;
use tokio::time::Instant;

use super::{JobProgress, JobReport, Stage, Told};
use crate::comparison::{Comparison, walked};
use crate::conductor::Sides;
use crate::connect::{Connected, Elsewhere};
use crate::error::ControlError;
use crate::neighbours;

/// The generation that a copy's chunk marks have. A run's begin anew with another number, and forget them.
const GENERATION: u64 = 1;

/// So many failures in a row, each of which might pass, end a copy; a run has more patience.
const FAILURES_MAX: u32 = 3;

/// Copies everything to the new side and compares it. Cut off, it goes on when called again, from what was applied.
///
/// # Errors
/// What stands in the way: a plan that can't be carried out, a store that can't be reached, a run that is at work.
pub async fn copy(spec: &Spec, told: Told<'_>) -> Result<JobReport, ControlError> {
    let connected = Connected::open(spec, Mirroring::CopyOnly, &Elsewhere::new()).await?;
    let report = copy_between(&connected, spec, told).await;
    connected.close().await;
    report
}

async fn copy_between(connected: &Connected, spec: &Spec, told: Told<'_>) -> Result<JobReport, ControlError> {
    let began = Instant::now();
    connected.check()?;
    let holder = format!("changeover copy of `{}`, process {}", spec.name, std::process::id());
    let _owned = connected.own(&spec.name, &holder).await?;
    let sides = connected.sides(&spec.name).await?;
    neighbours::check(connected, &spec.name).await?;
    refuse_beside_a_run(&sides, &spec.name).await?;
    let mut before = sides.occupied().await?;
    let mut watches = Watches::begin(connected).await?;
    let BackfillReport { progress, refusals, .. } = copy_rows(&sides, spec, told).await?;
    raise_counters(&sides).await?;
    let copy_took = began.elapsed();
    // The copy is whole: its marks have done their work.
    for (_, keeper) in sides.keepers.iter().filter(|(side, _)| *side == Side::New) {
        keeper.remove_installed(None).await?;
    }
    let mut tables = compare_for(&sides, spec, told).await?;
    for table in &mut tables {
        if let Some(copied) = progress.tables.iter().find(|copied| copied.table.as_str() == table.table) {
            table.rows_copied = copied.rows;
            let of_table = refusals.iter().filter(|refusal| refusal.key.table == copied.table);
            let shown = Comparison::quiet(&sides.links, &spec.evidence);
            table.explain(copied.refused, of_table.map(|refusal| shown.refusal(refusal)).collect());
        }
        if let Some(at) = before.iter().position(|(name, _)| name.as_str() == table.table) {
            table.rows_new_before = before.swap_remove(at).1;
        }
    }
    let changed_meanwhile = watches.changed().await?;
    Ok(JobReport {
        tables,
        took: began.elapsed(),
        copy_took,
        bytes: progress.bytes,
        changed_meanwhile,
        kept_in: None,
        spec_changed: Vec::new(),
        waiting: 0,
    })
}

/// A migration that a run has begun is the run's to go on with: a copy would take its marks and triggers away.
async fn refuse_beside_a_run(sides: &Sides, migration: &str) -> Result<(), ControlError> {
    match super::installed_by_a_run(sides).await? {
        None => Ok(()),
        Some((side, what)) => Err(ControlError::Refused(format!(
            "a run of `{migration}` has begun: {what} is installed on the {side} side. Go on with `changeover run`, or \
             end it by `changeover abort`, and then copy"
        ))),
    }
}

/// An id that the old side gave out and whose row is gone isn't given out again by the new one.
async fn raise_counters(sides: &Sides) -> Result<(), ControlError> {
    let mut counters = Vec::new();
    for (_, keeper) in sides.keepers.iter().filter(|(side, _)| *side == Side::Old) {
        counters.extend(keeper.counters().await?);
    }
    for (_, keeper) in sides.keepers.iter().filter(|(side, _)| *side == Side::New) {
        keeper.raise_counters(&counters).await?;
    }
    Ok(())
}

async fn copy_rows(sides: &Sides, spec: &Spec, told: Told<'_>) -> Result<BackfillReport, StoreError> {
    let pace = &spec.backfill;
    let options = BackfillOptions {
        rows_per_second_max: pace.rate,
        response_max: pace.give_way,
        // Somebody waits for it, and may call again: it goes on from here.
        failures_max: FAILURES_MAX,
        ..BackfillOptions::quiet()
    };
    sides.links.cover(Side::New, Coverage::Generation(GENERATION));
    let (backfill, handle) =
        Backfill::new(std::sync::Arc::clone(&sides.links), Side::New, GENERATION, options);
    let mut progress = handle.subscribe();
    let follow = async {
        loop {
            let seen = progress.borrow_and_update().clone();
            told(&JobProgress {
                stage: Stage::Copy,
                rows: seen.rows(),
                rows_all: seen.estimate(),
                rows_per_second: seen.rows_per_second,
                left: seen.left,
                waiting: seen.waiting,
            });
            if progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        report = backfill.run() => report,
        () = follow => Err(StoreError::Fault("the copy's progress ended before it")),
    }
}

/// A comparison of both sides while nobody writes.
pub(super) async fn compare_for(
    sides: &Sides,
    spec: &Spec,
    told: Told<'_>,
) -> Result<Vec<crate::comparison::TableReport>, StoreError> {
    let comparison = Comparison::quiet(&sides.links, &spec.evidence);
    comparison.run(&mut |progress| told(&verify_progress(progress))).await
}

/// A verification's progress as jobs tell it.
pub(super) fn verify_progress(progress: &changeover::engine::VerifyProgress) -> JobProgress {
    let (rows, rows_all) = walked(progress);
    JobProgress {
        stage: Stage::Verify,
        rows,
        rows_all,
        rows_per_second: progress.rows_per_second / 2.0,
        left: progress.left,
        waiting: None,
    }
}

/// Sees whether somebody else wrote to the old databases.
struct Watches(Vec<Box<dyn Watch>>);

impl Watches {
    async fn begin(connected: &Connected) -> Result<Self, ControlError> {
        let mut watches = Vec::new();
        for (store, database) in &connected.databases {
            let old = connected.plan.tables.iter().filter(|table| table.old.store == *store);
            let tables: Vec<_> =
                old.map(|table| (table.old_info.schema.clone(), table.old_info.name.clone())).collect();
            let in_one = connected.plan.tables.iter().any(|table| table.new.store == *store);
            // The copy's own writes can't be told from others'; the comparison finds what they left apart.
            if !tables.is_empty() && !in_one {
                watches.push(database.watch(&tables).await?);
            }
        }
        Ok(Self(watches))
    }

    async fn changed(&mut self) -> Result<bool, ControlError> {
        for watch in &mut self.0 {
            if watch.changed().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
