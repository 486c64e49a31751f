//! The mirror's worker: drains the authority's log to the follower, for as long as the fleet executes a step that mirrors.
//!
//! It looks at the target with every round. In the first hold of a move it goes on, so that little is left for the fence;
//! in the second it rests: what was authority until then is drained, and what will be isn't yet. Pause doesn't reach it.

use std::sync::Arc;
use std::time::Duration;

use changeover::Side;
use changeover_protocol::{SlotRange, Target};

use super::Conductor;

/// How long to wait for a change before the target is looked at again.
const LOOK_MS: u64 = 250;

const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(5);

/// The slots whose changes are to be drained, by the side that is their authority.
pub(super) fn to_drain(target: &Target) -> Vec<(Side, SlotRange)> {
    let mut list: Vec<(Side, SlotRange)> = Vec::new();
    for assignment in &target.assignments {
        let step = assignment.step;
        let first_hold = step.is_hold() && step == target.direction.first_hold();
        if !(step.is_mirrored() || first_hold) {
            continue;
        }
        match list.last_mut() {
            Some((side, slots)) if *side == step.authority() && slots.to == assignment.slots.from => {
                slots.to = assignment.slots.to;
            }
            _ => list.push((step.authority(), assignment.slots)),
        }
    }
    list
}

impl Conductor {
    /// Drains until it is dropped.
    pub(crate) async fn mirror(self: Arc<Self>) {
        let mut pause = AGAIN_FIRST;
        loop {
            match self.mirror_round().await {
                Ok(0) => {
                    self.well("mirror").await;
                    self.rest().await;
                }
                Ok(_) => {
                    self.well("mirror").await;
                    pause = AGAIN_FIRST;
                }
                Err(error) => {
                    self.trouble("mirror", &error.to_string()).await;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_LAST);
                }
            }
        }
    }

    /// One batch of each log; how many keys were synced.
    async fn mirror_round(&self) -> Result<u64, crate::ControlError> {
        let target = self.barrier.targets().borrow().clone();
        let mut synced = 0;
        for (side, slots) in to_drain(&target) {
            for pair in &self.pairs {
                if pair.store(side).capture().is_none() {
                    continue;
                }
                let began = tokio::time::Instant::now();
                let drained = pair.drain(side, slots).await?;
                synced += drained.synced;
                if drained.synced >= 100 {
                    self.note_rate(drained.synced as f64 / began.elapsed().as_secs_f64().max(0.001));
                }
                if let Some(refusal) = drained.refused.first() {
                    let text = format!("{} can't be carried: {}", refusal.key, refusal.why);
                    self.alert(text).await;
                }
            }
        }
        Ok(synced)
    }

    /// A moving average, so that one slow batch doesn't decide.
    fn note_rate(&self, seen: f64) {
        self.progress.send_modify(|progress| {
            progress.sync_rate = Some(progress.sync_rate.map_or(seen, |rate| rate * 0.9 + seen * 0.1));
        });
    }

    /// Until something may have been logged, or the target changes.
    async fn rest(&self) {
        let mut targets = self.barrier.targets();
        let target = targets.borrow_and_update().clone();
        let side = to_drain(&target).first().map(|(side, _)| *side);
        let changed = async {
            match side.and_then(|side| self.pairs.first().and_then(|pair| pair.store(side).capture())) {
                Some(log) if self.pairs.len() == 1 => log.changed(LOOK_MS).await,
                _ => tokio::time::sleep(Duration::from_millis(LOOK_MS / 5)).await,
            }
        };
        tokio::select! {
            () = changed => {}
            _ = targets.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeover_protocol::target::{Direction, assignments};
    use changeover_protocol::{Millis, Phase, Place, Share, Step, Version};

    fn at(step: Step, direction: Direction) -> Target {
        let mut target = Target::uniform(Version(1), step, Phase::Shadow, Millis(500));
        target.direction = direction;
        target
    }

    #[test]
    fn only_what_is_authority_now_is_drained() {
        let drained = |step, direction| to_drain(&at(step, direction));
        let all = SlotRange::ALL;
        assert_eq!(drained(Step::Shadow, Direction::Forward), [(Side::Old, all)]);
        assert_eq!(drained(Step::HoldOld, Direction::Forward), [(Side::Old, all)]);
        assert_eq!(drained(Step::HoldNew, Direction::Forward), []);
        assert_eq!(drained(Step::HoldNew, Direction::Back), [(Side::New, all)]);
        assert_eq!(drained(Step::HoldOld, Direction::Back), []);
        assert_eq!(drained(Step::ReverseShadow, Direction::Back), [(Side::New, all)]);
        for step in [Step::Old, Step::New] {
            assert_eq!(drained(step, Direction::Forward), []);
        }
    }

    #[test]
    fn with_a_share_each_side_s_log_is_drained_for_its_own_slots() {
        let place = Place::reversed(Share::slots(103));
        let mut target = at(Step::Shadow, Direction::Forward);
        target.assignments = assignments(|slot| place.step(slot));
        let low = SlotRange { from: 0, to: 103 };
        let high = SlotRange { from: 103, to: 1024 };
        assert_eq!(to_drain(&target), [(Side::New, low), (Side::Old, high)]);
    }
}
