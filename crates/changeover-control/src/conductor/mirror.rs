//! The mirror: the engine's drains of the authority's logs, begun and ended with the steps that the fleet executes.
//!
//! In the first hold of a move they go on, so that little is left for the fence; in the second they rest: what was
//! authority until then is drained, and what will be isn't yet. Pause doesn't reach them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use changeover::Side;
use changeover::engine::{Drain, DrainHandle, DrainOptions};
use changeover_protocol::Target;
use changeover_protocol::gate::Stuck;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Conductor;
use super::progress::STAYS_DIRTY;

/// How often the drains are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// After that many keys a rate is worth noting.
const RATE_KEYS: u64 = 100;

/// The drains that there are, for whoever needs them to rest.
///
/// A worker that has claimed a key and is held up before it takes the guard would, once the sides have changed places,
/// put the value of the side that was left over a write to the other. So nobody says that a log is empty, and lets a move
/// go on, while a claim of before is under way.
#[derive(Debug, Default)]
pub(super) struct Drains(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    handles: Vec<DrainHandle>,
    resting: usize,
}

/// The drains rest until this is dropped.
#[derive(Debug)]
pub(super) struct Resting<'d>(&'d Drains);

impl Drains {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, before it begins.
    fn add(&self, handle: &DrainHandle) {
        let mut known = self.known();
        if known.resting > 0 {
            handle.pause();
        }
        known.handles.push(handle.clone());
    }

    /// Lets what is under way end, and nothing begin.
    pub(super) fn stop(&self) {
        self.known().handles.iter().for_each(DrainHandle::stop);
    }

    /// Only these are left.
    fn keep(&self, handles: Vec<DrainHandle>) {
        self.known().handles = handles;
    }

    /// Lets every claim that is under way end. `None` if one doesn't within that time: then all go on.
    pub(super) async fn rest(&self, within: Duration) -> Option<Resting<'_>> {
        let handles = {
            let mut known = self.known();
            known.resting += 1;
            known.handles.iter().for_each(DrainHandle::pause);
            known.handles.clone()
        };
        let resting = Resting(self);
        let all = async {
            for handle in &handles {
                handle.rested().await;
            }
        };
        tokio::time::timeout(within, all).await.ok().map(|()| resting)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        let mut known = self.0.known();
        known.resting -= 1;
        if known.resting == 0 {
            known.handles.iter().for_each(DrainHandle::resume);
        }
    }
}

/// One log's drain.
struct Draining {
    side: Side,
    handle: DrainHandle,
    task: JoinHandle<()>,
    seen: (u64, Instant),
}

impl Drop for Draining {
    fn drop(&mut self) {
        // It may be dropped at any await: what it had begun is done again.
        self.task.abort();
    }
}

/// The sides whose logs are to be drained under a target.
pub(super) fn to_drain(target: &Target) -> Vec<Side> {
    let mut sides = Vec::new();
    for assignment in &target.assignments {
        let step = assignment.step;
        let first_hold = step.is_hold() && step == target.direction.first_hold();
        let side = step.authority();
        if (step.is_mirrored() || first_hold) && !sides.contains(&side) {
            sides.push(side);
        }
    }
    sides
}

impl Conductor {
    /// Drains until it is dropped.
    pub(crate) async fn mirror(self: Arc<Self>) {
        let mut targets = self.barrier.targets();
        let mut way_back = self.draining_way_back.subscribe();
        let mut drains: Vec<Draining> = Vec::new();
        loop {
            let mut wanted = to_drain(&targets.borrow_and_update());
            if *way_back.borrow_and_update() && !wanted.contains(&Side::New) {
                wanted.push(Side::New);
            }
            // What a side has that isn't believed is carried nowhere: it might be an older content.
            if self.stopped().is_some() {
                wanted.clear();
            }
            self.bring_about(&wanted, &mut drains).await;
            self.look_at_drains(&mut drains).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                changed = targets.changed() => if changed.is_err() { return },
                _ = way_back.changed() => {}
            }
        }
    }

    async fn bring_about(&self, wanted: &[Side], drains: &mut Vec<Draining>) {
        let mut kept = Vec::new();
        for draining in drains.drain(..) {
            // One that was stopped, by whoever doubts what its log says, is begun anew where it is wanted again.
            if wanted.contains(&draining.side) && !draining.task.is_finished() {
                kept.push(draining);
            } else {
                // What is under way ends first: a fence's lock that comes next would only wait for it.
                draining.handle.stop();
                let mut draining = draining;
                if tokio::time::timeout(LOOK, &mut draining.task).await.is_err() {
                    draining.task.abort();
                }
            }
        }
        *drains = kept;
        self.drains.keep(drains.iter().map(|draining| draining.handle.clone()).collect());
        for side in wanted {
            if drains.iter().any(|draining| draining.side == *side) {
                continue;
            }
            for store in self.sides.of(*side) {
                if store.capture().is_none() {
                    continue;
                }
                let made =
                    Drain::new(Arc::clone(&self.sides.links), Arc::clone(store), DrainOptions::default());
                match made {
                    Ok((drain, handle)) => {
                        self.drains.add(&handle);
                        let task = tokio::spawn(drain.run());
                        drains.push(Draining { side: *side, handle, task, seen: (0, Instant::now()) });
                    }
                    Err(error) => self.trouble("mirror", &error.to_string()).await,
                }
            }
        }
    }

    /// What the drains say of themselves: rates, rows that can't be carried, what keeps them waiting.
    async fn look_at_drains(&self, drains: &mut [Draining]) {
        let mut failing = None;
        let (mut stuck, mut still) = (Stuck::default(), Vec::new());
        for draining in drains {
            let status = draining.handle.status();
            self.note_rate(draining, status.synced);
            if let Some(error) = status.error {
                failing = Some(error);
            }
            stuck.keys += status.refused;
            if let (None, Some(refusal)) = (&stuck.first, status.refusals.first()) {
                stuck.first = Some(format!("{}: {}", self.shown(&refusal.key), refusal.why));
            }
            for refusal in status.refusals.iter().take(10) {
                let text = format!("{} {STAYS_DIRTY}: {}", self.shown(&refusal.key), refusal.why);
                still.push(text.clone());
                self.alert(text).await;
            }
            if draining.task.is_finished() {
                failing = Some("the drain of a log ended by itself".to_owned());
            }
        }
        self.progress.send_if_modified(|progress| {
            let is_other = progress.stuck != stuck;
            progress.stuck = stuck;
            progress.withdraw_refusals(&still);
            is_other
        });
        match failing {
            Some(why) => self.trouble("mirror", &why).await,
            None => self.well("mirror").await,
        }
    }

    /// A moving average, so that one slow batch doesn't decide; and the changes of a second, for telling how long the log
    /// lasts without a mirror.
    fn note_rate(&self, draining: &mut Draining, synced: u64) {
        let (before, since) = draining.seen;
        let passed = since.elapsed().as_secs_f64();
        if passed < 1.0 && synced - before < RATE_KEYS {
            return;
        }
        draining.seen = (synced, Instant::now());
        let seen = (synced - before) as f64 / passed.max(0.001);
        self.progress.send_modify(|progress| {
            let changes = progress.changes_per_second.get_or_insert(seen);
            *changes = *changes * 0.9 + seen * 0.1;
            if synced - before >= RATE_KEYS {
                progress.sync_rate =
                    Some(progress.sync_rate.map_or(seen, |rate| (rate * 0.9 + seen * 0.1).max(seen)));
            }
        });
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
        assert_eq!(drained(Step::Shadow, Direction::Forward), [Side::Old]);
        assert_eq!(drained(Step::HoldOld, Direction::Forward), [Side::Old]);
        assert_eq!(drained(Step::HoldNew, Direction::Forward), []);
        assert_eq!(drained(Step::HoldNew, Direction::Back), [Side::New]);
        assert_eq!(drained(Step::HoldOld, Direction::Back), []);
        assert_eq!(drained(Step::ReverseShadow, Direction::Back), [Side::New]);
        for step in [Step::Old, Step::New] {
            assert_eq!(drained(step, Direction::Forward), []);
        }
    }

    #[test]
    fn with_a_share_both_sides_logs_are_drained() {
        let place = Place::reversed(Share::slots(103));
        let mut target = at(Step::Shadow, Direction::Forward);
        target.assignments = assignments(|slot| place.step(slot));
        assert_eq!(to_drain(&target), [Side::New, Side::Old]);
    }
}
