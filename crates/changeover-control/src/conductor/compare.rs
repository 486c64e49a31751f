//! One comparison of both sides for the conductor, with its progress carried to whoever looks.

use changeover::Side;

use super::Conductor;
use super::progress::VerifyProgress;
use crate::comparison::{Comparison, TableReport};
use crate::error::ControlError;

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
        rows_all: u64,
    ) -> Result<Found, ControlError> {
        let comparison = Comparison {
            links: &self.sides.links,
            authority,
            repairs,
            redact: &self.plan.spec.evidence,
            paused: Some(self.paused.subscribe()),
        };
        let tables = comparison
            .run(&mut |rows, differences| {
                let verify = Some(VerifyProgress { rows, rows_all, differences, began_ms });
                self.progress.send_modify(|all| all.verify = verify);
            })
            .await?;
        let first = |n: usize| tables.iter().flat_map(|table| &table.differences).take(n).collect::<Vec<_>>();
        Ok(Found {
            rows_compared: tables.iter().map(|table| table.rows_compared).sum(),
            both_sides_empty: tables.iter().all(|table| table.rows_old == 0 && table.rows_new == 0),
            differences: tables.iter().map(TableReport::different).sum(),
            refused: tables.iter().map(|table| table.refused).sum(),
            report: serde_json::json!({ "tables": tables, "differences": first(100) }),
        })
    }
}
