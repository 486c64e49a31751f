//! One generation of the backfill, from its beginning or from where an earlier run came to.
//!
//! The follower's chunk marks are the truth on how far it is. A failure that may pass is waited out; any other is shown,
//! and looked at again after a while: somebody makes room on a disk, or gives back a right, and the copy goes on.

use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover::engine::{Authority, Backfill, BackfillHandle, BackfillProgress, BackfillReport, Coverage};
use changeover_protocol::control::{ControlEvent, Generation};
use changeover_protocol::moves::Mirror;

use super::Conductor;
use super::install::patiently;
use super::progress::CopyProgress;
use crate::copied;
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
        self.progress.borrow().copy.as_ref().map_or(0, |copy| copy.rows)
    }

    async fn try_generation(
        &self,
        generation: Generation,
        toward: Side,
        in_hold: bool,
    ) -> Result<(), ControlError> {
        let began_ms = self.clock.now().0;
        if self.plan.settings.mirror == Mirror::Capture {
            self.sides.links.cover(toward, Coverage::Generation(generation.0));
        }
        self.begin_generation(generation, toward).await?;
        let known = self.state.generation().await?.filter(|known| known.number == generation.0);
        let record = known.unwrap_or_else(|| GenerationRecord {
            number: generation.0,
            toward,
            began_ms,
            done_ms: None,
            ended_ms: None,
            plan: self.plan.spec.fingerprint().mapping(),
        });
        self.state.put_generation(&record).await?;
        let links = Arc::clone(&self.sides.links);
        let (backfill, handle) = Backfill::new(links, toward, generation.0, self.plan.backfill(in_hold));
        tokio::select! {
            report = backfill.run() => self.copied(&report?, began_ms).await,
            () = self.follow_copy(&handle, began_ms) => {}
        }
        self.sides.links.cover(toward, Coverage::All);
        if in_hold {
            self.verify_in_hold(toward.other()).await?;
        }
        let done_ms = self.clock.now().0;
        let copy = self.progress.borrow().copy.clone();
        if let Some(copy) = copy {
            copied::keep(&*self.state, generation.0, &copy, done_ms).await?;
        }
        self.progress.send_modify(|all| {
            if let Some(copy) = &mut all.copy {
                copy.done_ms = Some(done_ms);
            }
        });
        self.state.put_generation(&GenerationRecord { done_ms: Some(done_ms), ..record }).await
    }

    /// Carries pause and resume to the copy, and its progress to whoever looks; never ends by itself.
    async fn follow_copy(&self, handle: &BackfillHandle, began_ms: u64) {
        let (mut paused, mut progress) = (self.paused.subscribe(), handle.subscribe());
        loop {
            if *paused.borrow_and_update() {
                handle.pause();
            } else {
                handle.resume();
            }
            let seen = progress.borrow_and_update().clone();
            self.show_copy(&seen, began_ms);
            tokio::select! {
                _ = paused.changed() => {}
                changed = progress.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    fn show_copy(&self, seen: &BackfillProgress, began_ms: u64) {
        let shown = CopyProgress {
            rows: seen.rows(),
            rows_all: seen.estimate(),
            rows_per_second: seen.rows_per_second,
            left_ms: seen.left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            waits_for: seen.waiting.clone(),
            chunks_done: seen.tables.iter().map(|table| table.chunks).sum(),
            refused: seen.tables.iter().map(|table| table.refused).sum(),
            began_ms,
            done_ms: None,
            tables: seen.tables.clone(),
        };
        self.progress.send_modify(|all| all.copy = Some(shown));
    }

    /// The copy is made; rows that couldn't be carried are named.
    async fn copied(&self, report: &BackfillReport, began_ms: u64) {
        self.show_copy(&report.progress, began_ms);
        for refusal in report.refusals.iter().take(10) {
            self.alert(format!("{} can't be carried: {}", self.shown(&refusal.key), refusal.why)).await;
        }
    }

    /// With writes refused, both sides must be equal before the way goes on; what the copy left apart is repaired once.
    async fn verify_in_hold(&self, authority: Side) -> Result<(), ControlError> {
        for repairs in [true, false] {
            let result = self.verify_once(&Authority::All(authority), repairs).await?;
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

impl Conductor {
    /// Before the first chunk of a generation: marks of earlier ones are removed, and a log that overflowed begins anew.
    /// Once a chunk is begun the log's entries count, so they are left alone.
    async fn begin_generation(&self, generation: Generation, toward: Side) -> Result<(), ControlError> {
        let mut begun = false;
        for follower in self.sides.of(toward) {
            let Some(guarded) = follower.guarded() else { continue };
            patiently(|| guarded.forget_generations_below(generation.0)).await?;
            for shape in follower.tables() {
                begun |= !guarded.chunks(&shape.table, generation.0).await?.is_empty();
            }
        }
        // With dual write an entry may be all that knows of a row which an instance wrote to the follower.
        if begun || self.plan.settings.mirror == Mirror::DualWrite {
            return Ok(());
        }
        for authority in self.sides.of(toward.other()) {
            if let Some(log) = authority.capture()
                && log.installed().await?
            {
                patiently(|| log.reset()).await?;
            }
        }
        Ok(())
    }
}
