//! `verify`: a comparison of both sides as they are, beside a service and a run or without them; and repair.

use changeover::Side;
use changeover::engine::VerifyOptions;
use changeover_api::Spec;
use changeover_protocol::Phase;
use changeover_tables::plan::Mirroring;
use tokio::time::Instant;

use super::copy::verify_progress;
use super::{JobReport, Told};
use crate::barrier;
use crate::comparison::Comparison;
use crate::connect::{Connected, Elsewhere};
use crate::error::ControlError;
use crate::state::SqliteState;

/// Compares both sides row by row; with `repair` it writes the follower's rows that differ anew, from the side that is the
/// authority now, and compares again.
///
/// # Errors
/// What stands in the way: a plan that can't be carried out, a store that can't be reached.
pub async fn verify(spec: &Spec, repair: bool, told: Told<'_>) -> Result<JobReport, ControlError> {
    let began = Instant::now();
    let connected = Connected::open(spec, Mirroring::CopyOnly, &Elsewhere::new()).await?;
    connected.check()?;
    let sides = connected.sides(&spec.name).await?;
    let authority = authority(spec).await?;
    let options =
        VerifyOptions { rows_per_second_max: spec.verification.rate, ..VerifyOptions::new(authority) };
    let comparison =
        Comparison { links: &sides.links, options, repairs: repair, redact: &spec.evidence, paused: None };
    let tables = comparison.run(&mut |progress| told(&verify_progress(progress))).await?;
    let took = began.elapsed();
    Ok(JobReport { tables, took, copy_took: std::time::Duration::ZERO, bytes: 0, changed_meanwhile: false })
}

/// The side that answers now: as the state file has it; the old one, where no run ever was.
///
/// # Errors
/// In the middle of a move nobody can say; and in `reverse-shadow` for a part of the keys there are two.
async fn authority(spec: &Spec) -> Result<Side, ControlError> {
    let Some(state) = SqliteState::open_existing(&spec.state_path(), &spec.name).await? else {
        return Ok(Side::Old);
    };
    let Some((_, record)) = barrier::load(&state).await? else { return Ok(Side::Old) };
    match record.target.uniform_step() {
        Some(step) if !step.is_hold() => Ok(step.authority()),
        _ => Err(ControlError::Refused(format!(
            "the migration is {}: which side is right isn't one for all rows. Wait, or ask the run by `changeover status`",
            if record.place.phase == Phase::ReverseShadow && record.place.is_partial() {
                "in reverse-shadow for a share of the keys"
            } else {
                "in the middle of a move"
            }
        ))),
    }
}
