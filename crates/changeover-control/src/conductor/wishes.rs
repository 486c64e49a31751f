//! What people may ask of a run beside its moves: to rest and to go on, to count comparisons anew, to verify now, and to
//! take an instance for gone. Each leaves a line in the audit.

use changeover_protocol::InstanceId;
use changeover_protocol::control::ControlEvent;

use super::Conductor;
use super::gates::{MENDED, window_after};
use super::verify::Due;
use crate::error::ControlError;
use crate::state::{AuditKind, NewAudit};

/// The name of the setting that backfill and verification rest by.
pub(super) const PAUSED: &str = "paused";

impl Conductor {
    /// Lets backfill and verification rest, or go on. The mirror always goes on.
    ///
    /// # Errors
    /// If the state can't be written.
    pub async fn pause(&self, paused: bool) -> Result<(), ControlError> {
        self.state.set(PAUSED, paused.then_some("yes")).await?;
        self.paused.send_replace(paused);
        let what = if paused { "pause" } else { "resume" };
        self.state
            .append_audit(&self.line(AuditKind::Request, format!("{what} of backfill and verification")))
            .await
            .map(drop)
    }

    /// Notes that what caused the mismatches so far was mended: comparisons count anew from the next window on. The samples
    /// are forgotten, the audit says who said so and why.
    ///
    /// # Errors
    /// Without a reason; if the state can't be written.
    pub async fn mended(&self, reason: &str) -> Result<(), ControlError> {
        if reason.trim().is_empty() {
            return Err(ControlError::Refused("say what was mended: it is kept in the audit".to_owned()));
        }
        let from = window_after(self.clock.now().0);
        self.state.set(MENDED, Some(&from.to_string())).await?;
        self.state.clear_samples().await?;
        let text = "mismatches so far are mended, and comparisons count anew".to_owned();
        let line = NewAudit { why: Some(reason.to_owned()), ..self.line(AuditKind::Request, text) };
        self.state.append_audit(&line).await.map(drop)
    }

    /// Asks for a full verification now.
    ///
    /// # Errors
    /// Where nothing is kept in step, there is nothing to verify; while state and databases disagree; if the state can't be
    /// written.
    pub async fn ask_verification(&self, repairs: bool) -> Result<(), ControlError> {
        self.check_not_stopped()?;
        let record = self.barrier.record();
        if !record.place.phase.step().is_mirrored() {
            return Err(ControlError::Refused(format!(
                "in {} nothing is kept in step: `changeover verify SPEC` compares both sides as they are",
                record.place
            )));
        }
        let what = if repairs { "a full verification, with repair" } else { "a full verification" };
        self.state.append_audit(&self.line(AuditKind::Request, what.to_owned())).await?;
        if repairs {
            self.left_by_a_person().await?;
        }
        self.verify_now.send_modify(|due| *due = due.sooner(Due { now: true, repairs }));
        Ok(())
    }

    /// Declares an instance gone: its process and its step file. An unclean event.
    ///
    /// # Errors
    /// If no such instance is counted; while state and databases disagree.
    pub async fn forget(&self, id: &str) -> Result<(), ControlError> {
        self.check_not_stopped()?;
        let record = self.barrier.record();
        if !record.instances.contains_key(&InstanceId::new(id)) {
            let counted: Vec<String> = record.instances.keys().map(ToString::to_string).collect();
            let counted = if counted.is_empty() { "none is".to_owned() } else { counted.join(", ") };
            return Err(ControlError::Refused(format!(
                "no instance {} is counted (those that are: {counted}): there is nothing to forget",
                id.escape_debug()
            )));
        }
        let event = ControlEvent::Forget { id: InstanceId::new(id) };
        let line = self.line(AuditKind::Request, format!("instances forget {id}"));
        self.barrier.apply(event, Some(line)).await.map(drop)
    }
}
