//! The control plane and the store's fence: in which order, and when there is no way back.

use changeover_protocol::control::{Epoch, Refusal};
use changeover_protocol::fence::{FenceWrite, SideFence};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{ControlAction, ControlEvent, Phase, Settings, Side, Step};
use proptest::prelude::*;

use crate::fleet::{BUDGET, Fleet, advance, rollback};

fn captured() -> Fleet {
    let settings = Settings { mirror: Mirror::Capture, ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::Shadow, settings, 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet
}

#[test]
fn the_fence_moves_between_the_holds_and_opens_after_them() {
    let mut fleet = captured();
    fleet.ack(0);
    let epoch = fleet.control.epoch.next();
    let start = ControlAction::StartFence { epoch, from: Side::Old, leave_behind: false };
    assert!(fleet.ack(1).contains(&start));
    assert_eq!(fleet.step(), Step::HoldOld);
    fleet.tell(ControlEvent::FenceMoved { epoch });
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.ack(0);
    assert!(fleet.ack(1).contains(&ControlAction::OpenFence { epoch, side: Side::New }));
    assert_eq!(fleet.step(), Step::HoldNew, "not before the new side takes writes");
    fleet.tell(ControlEvent::FenceOpened { epoch });
    assert_eq!(fleet.step(), Step::ReverseShadow);
}

#[test]
fn words_of_another_epoch_change_nothing() {
    let mut fleet = captured();
    fleet.ack_all();
    let stale = Epoch(fleet.control.epoch.0 - 1);
    fleet.tell(ControlEvent::FenceMoved { epoch: stale });
    fleet.tell(ControlEvent::FenceFailed { epoch: stale, because: "old".to_owned() });
    assert_eq!(fleet.step(), Step::HoldOld);
}

#[test]
fn a_fence_that_fails_is_undone_with_a_higher_epoch() {
    let mut fleet = captured();
    fleet.ack_all();
    let epoch = fleet.control.epoch;
    let because = "session 4711 holds a lock".to_owned();
    let actions = fleet.tell(ControlEvent::FenceFailed { epoch, because });
    assert!(actions.contains(&ControlAction::UndoFence { epoch: epoch.next(), from: Side::Old }));
    assert_eq!(fleet.step(), Step::HoldOld, "the old side may not take writes yet");
    assert!(format!("{:?}", fleet.turned_around().unwrap().outcome).contains("4711"));
    fleet.tell(ControlEvent::FenceUndone { epoch: epoch.next() });
    assert_eq!(fleet.step(), Step::Shadow);
}

#[test]
fn from_the_second_hold_readers_are_back_before_the_old_side_takes_writes() {
    let mut fleet = captured();
    fleet.ack_all();
    let epoch = fleet.control.epoch;
    fleet.tell(ControlEvent::FenceMoved { epoch });
    fleet.ack(0);
    fleet.log.clear();
    fleet.pass(BUDGET, &[0, 1]);
    assert_eq!(fleet.step(), Step::HoldOld);
    let undoes = |fleet: &Fleet| fleet.log.iter().any(|a| matches!(a, ControlAction::UndoFence { .. }));
    fleet.ack(0);
    assert!(!undoes(&fleet), "the other may still read from the new side");
    fleet.ack(1);
    assert!(undoes(&fleet));
}

#[test]
fn once_the_other_side_is_being_opened_there_is_only_forward() {
    let mut fleet = captured();
    fleet.ack_all();
    let epoch = fleet.control.epoch;
    fleet.tell(ControlEvent::FenceMoved { epoch });
    fleet.ack_all();
    assert_eq!(fleet.try_tell(rollback(Phase::Shadow)), Err(Refusal::PastNoReturn));
    fleet.pass(10 * BUDGET, &[0, 1]);
    assert_eq!(fleet.step(), Step::HoldNew, "no time-out goes back from here");
    let again = fleet.tell(ControlEvent::Restarted);
    assert!(again.contains(&ControlAction::OpenFence { epoch, side: Side::New }));
    fleet.tell(ControlEvent::FenceOpened { epoch });
    assert_eq!(fleet.step(), Step::ReverseShadow);
}

#[test]
fn the_way_back_is_the_same_with_the_sides_exchanged() {
    let settings = Settings { mirror: Mirror::Capture, ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, settings, 1);
    fleet.tell(rollback(Phase::Shadow));
    let epoch = fleet.control.epoch.next();
    let start = ControlAction::StartFence { epoch, from: Side::New, leave_behind: false };
    assert!(fleet.ack(0).contains(&start));
    fleet.tell(ControlEvent::FenceMoved { epoch });
    assert!(fleet.ack(0).contains(&ControlAction::OpenFence { epoch, side: Side::Old }));
}

/// Writes by drivers of several moves and their undoings, paused and resumed at will.
fn write() -> impl Strategy<Value = (bool, u64)> {
    (any::<bool>(), 5_u64..9)
}

proptest! {
    /// A move's driver does prepare, move, open; an undoing's does raise, reopen, each only after the one before it
    /// succeeded. Whatever the order of the drivers' steps, never do both sides take writes.
    #[test]
    fn never_are_both_sides_open(order in prop::collection::vec(write(), 0..40)) {
        let mut near = SideFence { open: true, epoch: Epoch(4) };
        let mut far = SideFence { open: false, epoch: Epoch(4) };
        // By epoch: odd ones move, even ones undo. How far each has come; `None` once refused.
        let mut drivers = [Some(0_u8); 9];
        for (_, epoch) in order {
            let driver = &mut drivers[epoch as usize];
            let Some(stage) = *driver else { continue };
            let by = Epoch(epoch);
            let after = match (epoch % 2, stage) {
                (1, 0) => far.after(FenceWrite::Prepare, by).map(|f| far = f),
                (1, 1) => near.after(FenceWrite::Move, by).map(|f| near = f),
                (1, 2) => far.after(FenceWrite::Open, by).map(|f| far = f),
                (0, 0) => far.after(FenceWrite::Raise, by).map(|f| far = f),
                (0, 1) => near.after(FenceWrite::Reopen, by).map(|f| near = f),
                _ => continue,
            };
            *driver = after.is_ok().then_some(stage + 1);
            prop_assert!(!(near.open && far.open), "{near:?} {far:?}");
        }
    }
}
