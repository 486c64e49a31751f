//! The logs' depth: how many keys are dirty, whether a log is full, and whether the way back from `new` is over.

use changeover::Side;
use changeover::store::capture::Depth;
use changeover_protocol::control::ControlEvent;
use changeover_protocol::moves::{UncleanEvent, WayBack};
use changeover_protocol::{Control, Phase};

use super::{must_capture, needs_log};
use crate::conductor::{Conductor, install};
use crate::error::ControlError;

impl Conductor {
    pub(super) async fn look_at_logs(&self) -> Result<(), ControlError> {
        let record = self.barrier.record();
        for side in [Side::Old, Side::New] {
            let mut all = Depth::default();
            let mut any = false;
            for store in self.sides.of(side) {
                let Some(log) = store.capture() else { continue };
                if !needs_log(&record, side) || !log.installed().await? {
                    continue;
                }
                let depth = log.depth().await?;
                any = true;
                all.entries += depth.entries;
                all.oldest_ms = all.oldest_ms.max(depth.oldest_ms);
                all.span = all.span.max(depth.span);
                all.bound = all.bound.max(depth.bound);
                all.overflowed |= depth.overflowed;
                if depth.overflowed {
                    self.overflowed(side).await?;
                }
            }
            self.note_depth(side, any.then_some(all));
            if any {
                self.look_at_bound(&record, side, all).await?;
            }
        }
        Ok(())
    }

    /// The bounds that the spec gives may be others than when the logs were installed. Whether they are these now.
    pub(super) async fn bound_logs(&self) -> Result<bool, ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(false) };
        let record = self.barrier.record();
        if record.shift.is_some() || self.stopped().is_some() {
            return Ok(false);
        }
        for side in [Side::Old, Side::New].into_iter().filter(|side| must_capture(&record, *side)) {
            for log in self.sides.of(side).iter().filter_map(|store| store.capture()) {
                if !log.installed().await? {
                    // Put back by whoever also tells that it was gone.
                    return Ok(false);
                }
            }
            match install::capture(&self.sides, side, self.plan.bounds).await {
                Err(_) if self.sides.has_lost_columns().await? => return Ok(false),
                done => done?,
            }
        }
        Ok(true)
    }

    fn note_depth(&self, side: Side, depth: Option<Depth>) {
        let now = self.clock.now().0;
        let drainable = self.drainable();
        self.progress.send_modify(|progress| {
            match depth {
                Some(depth) => progress.logs.insert(side, depth),
                None => progress.logs.remove(&side),
            };
            let few = progress.logs.values().all(|depth| depth.entries <= drainable);
            if few != progress.dirty_few || progress.dirty_since_ms == 0 {
                (progress.dirty_few, progress.dirty_since_ms) = (few, now);
            }
        });
    }

    /// How many keys can be synced within the hold's budget.
    fn drainable(&self) -> u64 {
        self.progress.borrow().drainable(self.plan.settings.hold_budget_ms.0)
    }

    /// Changes weren't logged. The log begins anew, and the verification that follows repairs what was missed: it reads
    /// every row after the log began, so that nothing falls between.
    ///
    /// Never within a move, nor while one is being judged: an emptied log would say that no key is dirty. Until then the log's
    /// mark keeps the move from going on.
    async fn overflowed(&self, side: Side) -> Result<(), ControlError> {
        let Ok(_nobody_moves) = self.moving.try_lock() else { return Ok(()) };
        if self.barrier.record().shift.is_some() {
            return Ok(());
        }
        let bounds = self.plan.bounds;
        for store in self.sides.of(side) {
            let Some(log) = store.capture() else { continue };
            if log.depth().await?.overflowed {
                install::patiently(|| log.reset()).await?;
                install::patiently(|| log.install(install::capture_options(side, bounds))).await?;
            }
        }
        self.tell(ControlEvent::Unclean(UncleanEvent::LogOverflowed { side })).await;
        Ok(())
    }

    async fn look_at_bound(&self, record: &Control, side: Side, depth: Depth) -> Result<(), ControlError> {
        let in_way_back = record.place.phase == Phase::New && record.shift.is_none() && side == Side::New;
        if in_way_back && record.way_back == WayBack::Open {
            let now = self.clock.now();
            let too_long = now.since(record.since) >= self.plan.way_back_ms;
            // Not while somebody prepares the way back.
            let nobody_moves = self.moving.try_lock();
            let still = self.barrier.record().revision == record.revision;
            if (too_long || depth.span >= depth.bound) && nobody_moves.is_ok() && still {
                let why = if too_long { "its time is over" } else { "its log is at its bound" };
                self.tell(ControlEvent::WayBackEnded).await;
                install::remove_capture(&self.sides, Side::New).await?;
                self.alert(format!(
                    "the way back from new has ended, because {why}: a rollback fills the old side anew"
                ))
                .await;
                return Ok(());
            }
        }
        if depth.bound > 0 && depth.span >= depth.bound / 2 {
            self.alert(format!("the {side} side's log is over half of its bound of {} changes", depth.bound))
                .await;
        }
        Ok(())
    }
}
