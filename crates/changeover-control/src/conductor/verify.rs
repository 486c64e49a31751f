//! Verification: once after the backfill, then again and again with a rest between, and at once after an unclean event.
//!
//! After an event that may have lost changes it repairs what it finds under the rows' guards; then a second one says
//! whether both sides are equal. Without such an event it changes nothing: a difference is shown, and closes a gate.

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::Authority;
use changeover_protocol::gate::VerificationEvidence;
use changeover_protocol::{Control, Millis};

use super::Conductor;
use crate::error::ControlError;
use crate::state::{AuditKind, VerificationRecord};
use crate::verified;

const AGAIN: Duration = Duration::from_secs(15);

/// How long to rest after a verification that found something.
const UNCLEAN_PAUSE: Duration = Duration::from_secs(5);

/// A verification that is due before its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Now.
    pub(crate) now: bool,
    /// And repairs what it finds.
    pub(crate) repairs: bool,
}

impl Due {
    /// What serves both.
    pub(crate) const fn sooner(self, other: Self) -> Self {
        Self { now: self.now || other.now, repairs: self.repairs || other.repairs }
    }
}

/// The setting that a repair is due by: it outlives the process.
const REPAIR_DUE: &str = "repair-due";

/// The setting that says that what differs is for a person to look at before it is overwritten: one side may have rows that
/// no other has. Until a verification finds no difference, or a person asks for the repair.
const FOR_A_PERSON: &str = "differences-for-a-person";

/// Whether there is something to verify: both sides are kept in step, no move is under way, and the copy is made.
pub(crate) fn authority_to_verify(migration: &str, record: &Control) -> Option<Authority> {
    let mirrored = record.target.assignments.iter().all(|slots| slots.step.is_mirrored());
    let copied = record.backfill.is_none_or(|backfill| backfill.done);
    (record.shift.is_none() && mirrored && copied).then(|| Authority::of(migration, &record.target))
}

impl Conductor {
    /// Verifies until it is dropped.
    pub(crate) async fn verify(self: Arc<Self>) {
        let mut records = self.barrier.records();
        let mut due = self.verify_now.subscribe();
        loop {
            // In a phase with nothing to verify, and while it rests, nothing is done.
            let ready = records.wait_for(|record| self.to_verify(record).is_some()).await;
            let Ok(authority) = ready.map(|record| self.to_verify(&record)) else { return };
            let Some(authority) = authority else { continue };
            self.unpaused().await;
            // Which side is right isn't known, while state and databases disagree.
            let mut progress = self.progress.subscribe();
            if progress.wait_for(|progress| progress.stopped.is_none()).await.is_err() {
                return;
            }
            let asked = self.take_due(&mut due);
            // Whoever wasn't heard may know better than this state which side is right: shown is what differs, not written.
            let repairs = self.remember_repair(asked.repairs).await
                && self.nobody_is_unheard()
                && !self.is_for_a_person().await;
            let began = tokio::time::Instant::now();
            // It may be another by now.
            if self.to_verify(&self.barrier.record()).as_ref() != Some(&authority) {
                continue;
            }
            let done = self.guarded_by_phase(&authority, repairs).await;
            let clean = match done {
                Ok(Some(record)) => {
                    self.well("verification").await;
                    if repairs {
                        self.forget_repair().await;
                    }
                    let clean = record.evidence.differences == 0 && record.evidence.refused == 0;
                    let unclean = self.barrier.record().last_unclean;
                    let still = unclean.is_none_or(|at| at < record.evidence.began);
                    if clean
                        && still
                        && let Err(error) = self.state.set(FOR_A_PERSON, None).await
                    {
                        self.trouble("state", &error.to_string()).await;
                    }
                    clean
                }
                // The phase moved on meanwhile.
                Ok(None) => continue,
                Err(error) => {
                    self.trouble("verification", &error.to_string()).await;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            // At least as long a rest as the work took, so that it never takes more than half of anything. What wasn't clean
            // is looked at again soon: somebody may be mending it.
            let least = if clean { self.plan.verify_pause } else { UNCLEAN_PAUSE };
            let rest = least.max(began.elapsed());
            let mut others = records.clone();
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = due.wait_for(|due| due.now) => {}
                () = self.unverified(&mut others) => {}
            }
        }
    }

    fn to_verify(&self, record: &Control) -> Option<Authority> {
        authority_to_verify(&self.plan.spec.name, record)
    }

    fn take_due(&self, due: &mut tokio::sync::watch::Receiver<Due>) -> Due {
        let taken = self.verify_now.send_replace(Due::default());
        due.mark_unchanged();
        taken
    }

    /// Until there is something to verify of which nothing was verified yet: a new generation is done.
    async fn unverified(&self, records: &mut tokio::sync::watch::Receiver<Arc<Control>>) {
        let known = records.borrow().backfill.map(|backfill| backfill.generation);
        // The barrier's end is this task's end as well.
        let _ = records
            .wait_for(|record| {
                self.to_verify(record).is_some()
                    && record.backfill.map(|backfill| backfill.generation) != known
            })
            .await;
    }

    async fn unpaused(&self) {
        let mut paused = self.paused.subscribe();
        let _ = paused.wait_for(|paused| !paused).await;
    }

    /// A repair that is due must not be forgotten by a restart.
    async fn remember_repair(&self, asked: bool) -> bool {
        if asked {
            if let Err(error) = self.state.set(REPAIR_DUE, Some("yes")).await {
                self.trouble("state", &error.to_string()).await;
            }
            return true;
        }
        matches!(self.state.setting(REPAIR_DUE).await, Ok(Some(_)))
    }

    /// From now on nothing that differs is overwritten by itself.
    pub(super) async fn leave_to_a_person(&self) {
        if let Err(error) = self.state.set(FOR_A_PERSON, Some("yes")).await {
            self.trouble("state", &error.to_string()).await;
        }
    }

    async fn is_for_a_person(&self) -> bool {
        // Where it isn't known, nothing is overwritten.
        !matches!(self.state.setting(FOR_A_PERSON).await, Ok(None))
    }

    /// A person has looked, and asks for the repair.
    pub(super) async fn left_by_a_person(&self) -> Result<(), ControlError> {
        self.state.set(FOR_A_PERSON, None).await
    }

    async fn forget_repair(&self) {
        if let Err(error) = self.state.set(REPAIR_DUE, None).await {
            self.trouble("state", &error.to_string()).await;
        }
    }

    /// One verification, given up as soon as the phase doesn't allow it any more.
    async fn guarded_by_phase(
        &self,
        authority: &Authority,
        repairs: bool,
    ) -> Result<Option<VerificationRecord>, ControlError> {
        let mut records = self.barrier.records();
        let mut progress = self.progress.subscribe();
        let stopped = progress.wait_for(|progress| progress.stopped.is_some());
        let moved_on = records.wait_for(|record| self.to_verify(record).as_ref() != Some(authority));
        tokio::select! {
            result = self.verify_once(authority, repairs) => result.map(Some),
            _ = moved_on => {
                self.progress.send_modify(|all| all.verify = None);
                Ok(None)
            }
            _ = stopped => {
                self.progress.send_modify(|all| all.verify = None);
                Ok(None)
            }
        }
    }

    /// One full verification of every pair; its result is kept.
    pub(super) async fn verify_once(
        &self,
        authority: &Authority,
        repairs: bool,
    ) -> Result<VerificationRecord, ControlError> {
        let began = self.clock.now();
        let record = self.barrier.record();
        let tables = self.compare(authority, repairs, began.0).await?;
        self.progress.send_modify(|all| all.verify = None);
        let generation = record.backfill.map(|b| b.generation).unwrap_or(record.last_generation);
        let result = verified::record(&tables, generation, began, self.clock.now());
        let before = self.state.verifications(1).await?.pop();
        self.state.put_verification(&result).await?;
        let told = verified::sentence(&result, &tables);
        // A week's bake time has thousands of them: the audit has what is new, `status` the last.
        let repaired = tables.iter().any(|table| table.repaired > 0);
        let is_known =
            before.is_some_and(|before| is_the_same(&before.evidence, &result.evidence, record.last_unclean));
        if is_known && !repaired {
            tracing::debug!("{told}");
        } else {
            self.note(AuditKind::Copy, told).await;
        }
        Ok(result)
    }
}

/// Whether the same was known before, with nothing between that made it doubtful.
fn is_the_same(
    before: &VerificationEvidence,
    now: &VerificationEvidence,
    last_unclean: Option<Millis>,
) -> bool {
    let found = |one: &VerificationEvidence| (one.generation, one.differences, one.refused);
    let doubtful = last_unclean.is_some_and(|at| at >= before.began);
    found(before) == found(now) && !doubtful
}
