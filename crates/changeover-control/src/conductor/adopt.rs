//! When the state and the databases disagree: how that is seen, and what `adopt` makes of the databases' word.
//!
//! A state file that was deleted or restored from a backup knows of an earlier place than the stores do. The fences'
//! words and epochs, and what is installed, say where the migration stands; `adopt` makes the record say the same. Any
//! doubt is resolved towards the place where the follower is kept in step, and verification begins anew.

use std::collections::BTreeMap;
use std::time::Duration;

use changeover::Side;
use changeover::store::fence::{FenceAt, FenceState};
use changeover_protocol::control::{Backfill, ControlEvent, Epoch, Instance, Vitals};
use changeover_protocol::moves::{Mirror, UncleanEvent, WayBack};
use changeover_protocol::{Control, InstanceId, Phase, Place, Target, Version};

use super::lives::Lives;
use super::requests::Moved;
use super::start::DISAGREES;
use super::watch::{fence_name, must_be_open};
use super::{Conductor, Sides, install};
use crate::error::ControlError;
use crate::state::AuditKind;

/// How long after the start of a run its instances have to speak, before a record is made without them.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// What the databases of both sides say, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    old: FenceAt,
    new: FenceAt,
    old_captured: bool,
    new_captured: bool,
}

/// A side's fence: open only if all of its stores' are; of the highest epoch.
async fn fence_at(sides: &Sides, side: Side) -> Result<FenceAt, ControlError> {
    let mut all = FenceAt { state: FenceState::Open, epoch: 0 };
    for store in sides.of(side) {
        let Some(fence) = store.fence() else { continue };
        let at = fence.look().await?;
        all.epoch = all.epoch.max(at.epoch);
        // *Moved* says more than *shut*.
        all.state = match (all.state, at.state) {
            (FenceState::Moved, _) | (_, FenceState::Moved) => FenceState::Moved,
            (FenceState::Shut, _) | (_, FenceState::Shut) => FenceState::Shut,
            _ => FenceState::Open,
        };
    }
    Ok(all)
}

async fn captured(sides: &Sides, side: Side) -> Result<bool, ControlError> {
    for store in sides.of(side) {
        if let Some(log) = store.capture()
            && log.installed().await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks the databases of both sides.
pub(super) async fn ask(sides: &Sides) -> Result<Word, ControlError> {
    Ok(Word {
        old: fence_at(sides, Side::Old).await?,
        new: fence_at(sides, Side::New).await?,
        old_captured: captured(sides, Side::Old).await?,
        new_captured: captured(sides, Side::New).await?,
    })
}

/// A fence that was set by a move that the record doesn't know of; nothing if there is none.
pub(super) async fn later_epoch(sides: &Sides, record: &Control) -> Result<Option<String>, ControlError> {
    for side in [Side::Old, Side::New] {
        for store in sides.of(side) {
            let Some(fence) = store.fence() else { continue };
            let at = fence.look().await?;
            if at.epoch > record.epoch.0 {
                return Ok(Some(format!(
                    "the {side} side's fence ({}) was set by move {}, and the state knows moves up to {}: \
                     the state is an older one",
                    store.info().name,
                    at.epoch,
                    record.epoch
                )));
            }
        }
    }
    Ok(None)
}

/// In which way the mark that dual write leaves in the new side while it serves alone says something else than the record,
/// between moves; nothing if they agree. In `reverse-shadow` it may be there or not: it comes before the move and goes after.
pub(super) async fn mark_problem(sides: &Sides, record: &Control) -> Result<Option<String>, ControlError> {
    if sides.of(Side::New).iter().any(|store| store.fence().is_none()) {
        return Ok(None);
    }
    let served = fence_at(sides, Side::New).await?.epoch > 0;
    let what = match record.place.phase {
        Phase::Old | Phase::Shadow if served => "carries the mark of having served alone",
        Phase::New if !served => "carries no mark of serving alone",
        _ => return Ok(None),
    };
    Ok(Some(format!("the new side {what}, and the state says {}: the state is another one", record.place)))
}

/// In which way the fences say something else than the record, between moves; nothing if they agree.
pub(super) async fn fence_problem(sides: &Sides, record: &Control) -> Result<Option<String>, ControlError> {
    if let Some(problem) = later_epoch(sides, record).await? {
        return Ok(Some(problem));
    }
    for side in [Side::Old, Side::New] {
        for store in sides.of(side) {
            let Some(fence) = store.fence() else { continue };
            let at = fence.look().await?;
            let is_open = at.state == FenceState::Open;
            // In `old` a fence that is still shut is one that wasn't removed yet, or that stays after a way back.
            let expected = must_be_open(record.place.phase, side);
            if is_open != expected && record.place.phase != Phase::Old && record.place.phase != Phase::Retired
            {
                return Ok(Some(format!(
                    "the {side} side's fence ({}) is {}, which {} does not allow",
                    store.info().name,
                    fence_name(at.state),
                    record.place
                )));
            }
        }
    }
    Ok(None)
}

/// In which way the databases say that there was a state before this one; asked when there is no record yet.
pub(super) async fn earlier_life(sides: &Sides) -> Result<Option<String>, ControlError> {
    let word = ask(sides).await?;
    let installed = [
        (word.old_captured, "capture on the old side"),
        (word.new_captured, "capture on the new side"),
        (word.old.state != FenceState::Open, "a shut fence on the old side"),
        (word.new.state != FenceState::Open, "a shut fence on the new side"),
        (word.old.epoch.max(word.new.epoch) > 0, "a fence"),
    ];
    Ok(installed.iter().find(|(there, _)| *there).map(|(_, what)| {
        format!(
            "the state is new, but the databases carry {what}, which an earlier run installed: the state file was \
             deleted, or is another one"
        )
    }))
}

/// Where the databases say that the migration stands.
///
/// # Errors
/// If they leave it open.
pub(super) fn phase_of(word: Word, mirror: Mirror, reverse: bool) -> Result<Phase, ControlError> {
    let open = |at: FenceAt| at.state == FenceState::Open;
    if mirror == Mirror::DualWrite {
        // The journals say that both sides were written, not which of them was read; the mark says that the new one was.
        let served = word.new.epoch > 0;
        return match (word.old_captured, word.new_captured) {
            (false, false) if served => Ok(Phase::New),
            (false, false) => Ok(Phase::Old),
            (_, true) if served => Ok(if reverse { Phase::ReverseShadow } else { Phase::New }),
            (true, false) if !served => Ok(Phase::Shadow),
            _ => Err(ControlError::Refused(
                "with dual write the databases don't say which side is read. Put the newest state file back; or, if it is \
                 gone, look at what phase the instances' step files name, and say it: `changeover adopt --phase PHASE`"
                    .to_owned(),
            )),
        };
    }
    match (open(word.old), open(word.new)) {
        (true, true) if !word.old_captured => Ok(Phase::Old),
        (true, _) if word.old_captured => Ok(Phase::Shadow),
        (true, _) => Ok(Phase::Old),
        // `new` keeps a log for the way back, so it looks like `reverse-shadow`; the mirror does no harm there.
        (false, true) if word.new_captured && reverse => Ok(Phase::ReverseShadow),
        (false, true) => Ok(Phase::New),
        // A move between its two commits: neither side has taken a write, so it goes back to the one that says *moved*.
        (false, false) if word.old.state == FenceState::Moved && word.new.state != FenceState::Moved => {
            Ok(if word.old_captured { Phase::Shadow } else { Phase::Old })
        }
        (false, false) => Ok(if reverse { Phase::ReverseShadow } else { Phase::New }),
    }
}

impl Conductor {
    /// The phase that services without the library are to go by. While state and databases disagree, what the databases
    /// say: by the state's word they would read a side that nobody keeps in step, and be refused where they write. `None`
    /// if even that isn't known.
    pub(crate) async fn flag(&self) -> Option<Phase> {
        if self.stopped().is_none() {
            return Some(self.barrier.record().target.phase_shown);
        }
        let word = ask(&self.sides).await.ok()?;
        let settings = &self.plan.settings;
        phase_of(word, settings.mirror, settings.phases.has(Phase::ReverseShadow)).ok()
    }

    /// Takes the databases' word for where the migration stands.
    ///
    /// # Errors
    /// If they leave it open, or can't be asked.
    pub async fn adopt(&self) -> Result<Moved, ControlError> {
        self.adopt_in(None).await
    }

    /// [`Conductor::adopt`] where only the instances know: with dual write the databases may not tell which side is read, and
    /// whoever asks says the phase that the instances' step files say.
    ///
    /// # Errors
    /// The same; and if the databases do tell.
    pub async fn adopt_in(&self, said: Option<Phase>) -> Result<Moved, ControlError> {
        if self.stopped().is_none() {
            return Err(ControlError::Refused(
                "the state and the databases say the same: there is nothing to adopt".to_owned(),
            ));
        }
        // By then every instance has spoken, and said which version it knows: the record's must be a later one.
        tokio::time::sleep_until(self.began + HEARD_WITHIN).await;
        let word = ask(&self.sides).await?;
        let mirror = self.plan.settings.mirror;
        let reverse = self.plan.settings.phases.has(Phase::ReverseShadow);
        let known = self.barrier.record();
        let seen = self.spoken().waiting.clone();
        let is_older = {
            let lives = self.lives();
            seen.values().any(|acked| *acked > known.target.version || !lives.have_published(*acked))
        };
        let phase = match (phase_of(word, mirror, reverse), said) {
            (Ok(phase), Some(said)) if said != phase => {
                return Err(ControlError::Refused(format!(
                    "the databases say {phase}, and not {said}: their word is taken (`changeover adopt`)"
                )));
            }
            (Ok(phase), _) => phase,
            // Both sides are journalled: one of the two phases in which they are.
            (Err(_), Some(said @ (Phase::Shadow | Phase::ReverseShadow)))
                if self.plan.settings.phases.has(said) =>
            {
                said
            }
            (Err(_), Some(said)) => {
                return Err(ControlError::Refused(format!(
                    "both sides are written, so it can't be {said}: say `--phase shadow` or `--phase reverse-shadow`"
                )));
            }
            // The record isn't made out of nothing: where the databases can't tell, it can; unless it is an older one.
            (Err(_), None) if known.place.phase != Phase::Old && !is_older => known.place.phase,
            (Err(error), None) => return Err(error),
        };
        let record = self.adopted(phase, word, &seen);
        self.put_right(phase, word, record.epoch).await?;
        self.sides.forget_generations_below(u64::MAX).await?;
        self.barrier.replace(record).await?;
        // Before the mirror goes on: a row that it brought where the copy is still to come would be there already.
        self.sides.cover(&self.barrier.record());
        self.state.set(DISAGREES, None).await?;
        // They are the right ones, then.
        self.note_identities().await?;
        let lives = Lives::begin_anew(&*self.state).await?;
        *self.lives() = lives;
        self.progress.send_modify(|progress| progress.stopped = None);
        // What the new record asks for is begun.
        self.tell(ControlEvent::Restarted).await;
        self.keep(
            self.line(
                AuditKind::Request,
                format!("adopt: the databases say {phase}; the record says so now"),
            ),
        )
        .await;
        let detail = "the state was adopted from the databases".to_owned();
        let table = self.plan.name.clone();
        self.tell(ControlEvent::Unclean(UncleanEvent::TableChanged { table, detail })).await;
        self.settle_in(phase).await;
        let text = format!("adopted: the migration is in {phase}; it is verified anew");
        Ok(Moved { place: Place::whole(phase), text, held_ms: 0, under_way: false, notes: Vec::new() })
    }

    fn adopted(&self, phase: Phase, word: Word, seen: &BTreeMap<String, Version>) -> Control {
        let known = self.barrier.record();
        let now = self.clock.now();
        let epoch = word.old.epoch.max(word.new.epoch);
        let version = seen.values().copied().max().unwrap_or_default().max(known.target.version).next();
        let mut instances = known.instances.clone();
        for (id, acked) in seen {
            let instance = Instance { acked: *acked, heard: now, vitals: Vitals::default(), lapsed: false };
            instances.entry(InstanceId::new(id.as_str())).or_insert(instance);
        }
        let way_back = if phase == Phase::New && word.new_captured { WayBack::Open } else { WayBack::Closed };
        Control {
            target: Target::uniform(version, phase.step(), phase, self.plan.settings.hold_lease_ms),
            place: Place::whole(phase),
            since: now,
            shift: None,
            instances,
            // Chunk marks of a life that isn't known don't count: in `shadow` everything is copied anew.
            last_generation: known.last_generation.next(),
            backfill: (phase == Phase::Shadow).then_some(Backfill {
                generation: known.last_generation.next(),
                toward: Side::New,
                in_hold: false,
                done: false,
            }),
            epoch: Epoch(epoch.max(known.epoch.0) + 1),
            way_back,
            last_unclean: Some(now),
            ..(*known).clone()
        }
    }

    /// Sets the fences as the phase needs them, under a new epoch, and installs what it needs.
    async fn put_right(&self, phase: Phase, word: Word, epoch: Epoch) -> Result<(), ControlError> {
        let mirror = self.plan.settings.mirror;
        install::before_phase(&self.sides, phase, mirror, epoch, self.plan.bounds).await?;
        if mirror != Mirror::Capture || phase == Phase::Retired {
            return Ok(());
        }
        let authority = phase.step().authority();
        for store in self.sides.of(authority.other()) {
            // In `old` nobody follows; what the new side's fence says is the clean-up's.
            if phase == Phase::Old {
                continue;
            }
            let follower = install::fence_of(&**store)?;
            install::patiently(|| follower.set(FenceState::Shut, epoch.0)).await?;
        }
        if phase.step().is_mirrored() {
            install::capture(&self.sides, authority, self.plan.bounds).await?;
        }
        let at = if authority == Side::Old { word.old } else { word.new };
        if at.state != FenceState::Open {
            for store in self.sides.of(authority) {
                let fence = install::fence_of(&**store)?;
                install::patiently(|| fence.set(FenceState::Open, epoch.0)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(old: (FenceState, u64), new: (FenceState, u64), captured: (bool, bool)) -> Word {
        let at = |(state, epoch)| FenceAt { state, epoch };
        Word { old: at(old), new: at(new), old_captured: captured.0, new_captured: captured.1 }
    }

    #[test]
    fn the_databases_word_says_where_the_migration_stands() {
        use FenceState::{Moved, Open, Shut};
        for (word, phase) in [
            (word((Open, 0), (Open, 0), (false, false)), Phase::Old),
            (word((Open, 0), (Shut, 0), (true, false)), Phase::Shadow),
            (word((Open, 0), (Shut, 0), (false, false)), Phase::Old),
            (word((Moved, 1), (Open, 1), (true, true)), Phase::ReverseShadow),
            (word((Moved, 1), (Open, 1), (false, false)), Phase::New),
            // Between the two commits of a move forward, and of one back.
            (word((Moved, 3), (Shut, 3), (true, true)), Phase::Shadow),
            (word((Moved, 4), (Moved, 5), (true, true)), Phase::ReverseShadow),
        ] {
            assert_eq!(phase_of(word, Mirror::Capture, true).unwrap(), phase, "{word:?}");
        }
    }

    #[test]
    fn with_dual_write_nobody_guesses_which_side_is_read() {
        let both = word((FenceState::Open, 0), (FenceState::Open, 0), (true, true));
        let error = phase_of(both, Mirror::DualWrite, true).unwrap_err();
        assert!(error.to_string().contains("--phase"), "{error}");
        let served = word((FenceState::Open, 0), (FenceState::Open, 1), (false, false));
        assert_eq!(phase_of(served, Mirror::DualWrite, true).unwrap(), Phase::New);
    }
}
