//! Metrics, in Prometheus's text: what the status says, as gauges, and whatever the engine counts.
//!
//! Names and units live here alone: `changeover_…`, `_seconds`, `_bytes`.

use std::sync::OnceLock;

use axum::extract::State;
use changeover_api::wire::Status;
use metrics::{gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::Shared;
use super::failure::Failure;
use crate::status;

/// The recorder of this process: the process's own, unless the program around us has another.
fn recorder() -> &'static (PrometheusHandle, Option<PrometheusRecorder>) {
    static RECORDER: OnceLock<(PrometheusHandle, Option<PrometheusRecorder>)> = OnceLock::new();
    RECORDER.get_or_init(|| match PrometheusBuilder::new().install_recorder() {
        Ok(handle) => (handle, None),
        Err(_) => {
            let own = PrometheusBuilder::new().build_recorder();
            (own.handle(), Some(own))
        }
    })
}

pub(super) async fn show(State(api): Shared) -> Result<String, Failure> {
    let status = status::of_run(&api.conductor).await?;
    let (handle, own) = recorder();
    match own {
        Some(own) => with_local_recorder(own, || set(&status)),
        None => set(&status),
    }
    Ok(handle.render())
}

/// A count as a gauge has it: beyond 2^53 its last digits are lost, which no dashboard shows.
const fn number(n: u64) -> f64 {
    n as f64
}

fn set(status: &Status) {
    let migration = status.migration.clone();
    let put = |name: &'static str, value: f64| gauge!(name, "migration" => migration.clone()).set(value);
    if let Some(flag) = status.flag {
        put("changeover_flag", f64::from(flag));
    }
    put("changeover_share_ratio", status.share_percent / 100.0);
    put("changeover_phase_entered_timestamp_seconds", number(status.since_ms) / 1_000.0);
    put("changeover_rollback_safe", f64::from(u8::from(status.rollback.safe)));
    put("changeover_stopped", f64::from(u8::from(status.stopped.is_some())));
    put("changeover_moving", f64::from(u8::from(status.moving.is_some())));
    put("changeover_instances", number(status.instances.len() as u64));
    put("changeover_instances_silent", number(status.instances.iter().filter(|i| i.silent).count() as u64));
    put("changeover_troubles", number(status.troubles.len() as u64));
    let blocked = status
        .next
        .as_ref()
        .map_or(0, |next| next.blocked_by().count() + usize::from(next.refused.is_some()));
    put("changeover_gates_closed", number(blocked as u64));
    if let Some(backfill) = &status.backfill {
        if let Some(rows) = backfill.rows {
            put("changeover_backfill_rows", number(rows));
        }
        put("changeover_backfill_done", f64::from(u8::from(backfill.done)));
    }
    if let Some(last) = &status.verification.last {
        put("changeover_verification_differences", number(last.differences + last.refused));
        put("changeover_verification_ended_timestamp_seconds", number(last.ended_ms) / 1_000.0);
    }
    put("changeover_verification_counts", f64::from(u8::from(status.verification.counts)));
    for log in &status.logs {
        let put = |name: &'static str, value: f64| {
            gauge!(name, "migration" => migration.clone(), "side" => log.side.name()).set(value);
        };
        put("changeover_log_entries", number(log.entries));
        put("changeover_log_bound_ratio", number(log.span) / number(log.bound.max(1)));
        put("changeover_log_lag_seconds", number(log.lag_ms.unwrap_or(0)) / 1_000.0);
    }
    for compared in &status.comparisons {
        for (outcome, count) in [
            ("match", compared.matches),
            ("mismatch", compared.mismatches),
            ("error", compared.errors),
            ("dropped", compared.dropped),
        ] {
            gauge!(
                "changeover_comparisons", "migration" => migration.clone(), "operation" => compared.operation.clone(),
                "cohort" => compared.cohort.clone(), "outcome" => outcome
            )
            .set(number(count));
        }
    }
}
