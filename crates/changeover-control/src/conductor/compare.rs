//! One comparison of both sides for the conductor, with its progress carried to whoever looks.

use changeover::Side;
use changeover::engine::VerifyOptions;

use super::Conductor;
use super::progress::VerifyProgress;
use crate::comparison::{Comparison, TableReport, found_so_far, walked};
use crate::error::ControlError;

/// How many differences are kept with a verification's result.
const KEPT: usize = 100;

/// What was found.
pub(super) struct Found {
    pub(super) rows_compared: u64,
    pub(super) both_sides_empty: bool,
    pub(super) differences: u64,
    pub(super) refused: u64,
    pub(super) report: serde_json::Value,
}

impl Conductor {
    pub(super) async fn compare(
        &self,
        authority: Side,
        repairs: bool,
        began_ms: u64,
    ) -> Result<Found, ControlError> {
        let options = VerifyOptions {
            rows_per_second_max: self.plan.spec.verification.rate,
            // In a hold nobody writes; but a guard that nobody contends for costs little, and is right at all times.
            ..VerifyOptions::new(authority)
        };
        let comparison = Comparison {
            links: &self.sides.links,
            options,
            repairs,
            redact: &self.plan.spec.evidence,
            paused: Some(self.paused.subscribe()),
        };
        let tables = {
            let mut told = |progress: &_| {
                let (rows, rows_all) = walked(progress);
                let verify =
                    Some(VerifyProgress { rows, rows_all, differences: found_so_far(progress), began_ms });
                self.progress.send_modify(|all| all.verify = verify);
            };
            comparison.run(&mut told).await?
        };
        let differences: Vec<_> = tables.iter().flat_map(|table| &table.differences).take(KEPT).collect();
        let refusals: Vec<_> = tables.iter().flat_map(|table| &table.refusals).take(KEPT).collect();
        Ok(Found {
            rows_compared: tables.iter().map(|table| table.rows_compared).sum(),
            both_sides_empty: tables.iter().all(|table| table.rows_old == 0 && table.rows_new == 0),
            differences: tables.iter().map(TableReport::different).sum(),
            refused: tables.iter().map(|table| table.refused).sum(),
            report: serde_json::json!({ "tables": tables, "differences": differences, "refusals": refusals }),
        })
    }
}
