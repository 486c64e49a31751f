//! One comparison of both sides for the conductor, with its progress carried to whoever looks.

use changeover::engine::{Authority, VerifyOptions};

use super::Conductor;
use super::progress::VerifyProgress;
use crate::comparison::{Comparison, TableReport, found_so_far, walked};
use crate::error::ControlError;

impl Conductor {
    pub(super) async fn compare(
        &self,
        authority: &Authority,
        repairs: bool,
        began_ms: u64,
    ) -> Result<Vec<TableReport>, ControlError> {
        let options = VerifyOptions {
            rows_per_second_max: self.plan.spec.verification.rate,
            // In a hold nobody writes; but a guard that nobody contends for costs little, and is right at all times.
            ..VerifyOptions::new(authority.clone())
        };
        let comparison = Comparison {
            links: &self.sides.links,
            options,
            repairs,
            redact: &self.plan.spec.evidence,
            paused: Some(self.paused.subscribe()),
        };
        let mut told = |progress: &_| {
            let (rows, rows_all) = walked(progress);
            let verify =
                Some(VerifyProgress { rows, rows_all, differences: found_so_far(progress), began_ms });
            self.progress.send_modify(|all| all.verify = verify);
        };
        Ok(comparison.run(&mut told).await?)
    }
}
