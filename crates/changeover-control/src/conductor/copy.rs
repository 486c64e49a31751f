//! One generation of the backfill, from its beginning or from where an earlier run came to.
//!
//! The follower's chunk marks are the truth on how far it is. A failure that may pass is waited out; any other is shown,
//! and looked at again after a while: somebody makes room on a disk, or gives back a right, and the copy goes on.

use std::time::Duration;

use changeover::Side;
use changeover_protocol::control::{ControlEvent, Generation};

use super::progress::CopyProgress;
use super::{Conductor, Pair};
use crate::error::ControlError;
use crate::state::{AuditKind, GenerationRecord};

const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(30);

impl Conductor {
    /// Makes a generation, until it is complete or this is dropped.
    pub(super) async fn make_generation(&self, generation: Generation, toward: Side, in_hold: bool) {
        let mut pause = AGAIN_FIRST;
        loop {
            let rows_before = self.rows_copied();
            match self.try_generation(generation, toward, in_hold).await {
                Ok(()) => break,
                Err(error) => {
                    self.trouble("backfill", &error.to_string()).await;
                    if self.rows_copied() > rows_before {
                        pause = AGAIN_FIRST;
                    }
                    tokio::time::sleep(pause).await;
                    pause = if error.retryable() { (pause * 2).min(AGAIN_LAST) } else { AGAIN_LAST };
                }
            }
        }
        self.well("backfill").await;
        self.note(AuditKind::Copy, format!("generation {generation} of the backfill is complete")).await;
        self.tell(ControlEvent::GenerationDone { generation }).await;
    }

    fn rows_copied(&self) -> u64 {
        self.progress.borrow().copy.map_or(0, |copy| copy.rows)
    }

    async fn try_generation(
        &self,
        generation: Generation,
        toward: Side,
        in_hold: bool,
    ) -> Result<(), ControlError> {
        let now = self.clock.now().0;
        let mut rows_all = 0;
        for pair in &self.pairs {
            begin(pair, generation, toward).await?;
            rows_all += pair.estimate(toward.other()).await?;
        }
        let known = self.state.generation().await?.filter(|known| known.number == generation.0);
        let record = known.unwrap_or_else(|| GenerationRecord {
            number: generation.0,
            toward,
            began_ms: now,
            done_ms: None,
            ended_ms: None,
            plan: self.plan.spec.fingerprint().mapping(),
        });
        self.state.put_generation(&record).await?;
        let progress = CopyProgress { rows_all, began_ms: now, ..CopyProgress::default() };
        self.progress.send_modify(|all| all.copy = Some(progress));
        for pair in &self.pairs {
            pair.backfill(self, generation, toward).await?;
        }
        if in_hold {
            self.verify_in_hold(toward.other()).await?;
        }
        let done_ms = self.clock.now().0;
        self.progress.send_modify(|all| {
            if let Some(copy) = &mut all.copy {
                copy.done_ms = Some(done_ms);
            }
        });
        self.state.put_generation(&GenerationRecord { done_ms: Some(done_ms), ..record }).await
    }

    /// With writes refused, both sides must be equal before the way goes on; what the copy left apart is repaired once.
    async fn verify_in_hold(&self, authority: Side) -> Result<(), ControlError> {
        for repairs in [true, false] {
            let result = self.verify_once(authority, repairs).await?;
            if result.evidence.differences == 0 && result.evidence.refused == 0 {
                return Ok(());
            }
        }
        Err(ControlError::Refused(
            "the copy that was made with writes refused differs from what it was made of: see the last verification \
             (`changeover status`), or go back (`changeover rollback`)"
                .to_owned(),
        ))
    }
}

/// Before the first chunk of a generation: marks of earlier ones are removed, and a log that overflowed begins anew. Once a
/// chunk is begun the log's entries count, so it is left alone.
async fn begin(pair: &Pair, generation: Generation, toward: Side) -> Result<(), ControlError> {
    let follower = pair.store(toward);
    let mut begun = false;
    if let Some(guarded) = follower.guarded() {
        guarded.forget_generations_below(generation.0).await?;
        for shape in follower.tables() {
            begun |= !guarded.chunks(&shape.table, generation.0).await?.is_empty();
        }
    }
    if begun {
        return Ok(());
    }
    if let Some(log) = pair.store(toward.other()).capture()
        && log.installed().await?
    {
        super::install::patiently(|| log.reset()).await?;
    }
    Ok(())
}
