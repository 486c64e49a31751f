//! Ways back: over several phases, in the middle of a move, and past the end of one.

use changeover_protocol::control::{Generation, Refusal};
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{ControlAction, ControlEvent, Phase, Place, Settings, Share, Side, Step};

use crate::fleet::{BUDGET, Fleet, advance, rollback};

#[test]
fn a_rollback_over_several_phases_fills_the_old_side_first() {
    let mut fleet = Fleet::in_phase(Phase::New, Settings::default(), 1);
    fleet.tell(rollback(Phase::Old));
    assert_eq!(fleet.step(), Step::ReverseShadow);
    let actions = fleet.ack(0);
    let generation = Generation(2);
    let begins = ControlAction::BeginGeneration { generation, toward: Side::Old, in_hold: false };
    assert!(actions.contains(&begins));
    fleet.pass(600_000, &[0]);
    assert_eq!(fleet.step(), Step::ReverseShadow, "no hold waits for a backfill");
    fleet.tell(ControlEvent::GenerationDone { generation });
    fleet.finish();
    let path = [Step::ReverseShadow, Step::HoldNew, Step::HoldOld, Step::Shadow, Step::Old];
    assert_eq!(fleet.steps(), path);
}

#[test]
fn within_the_way_back_its_log_is_drained_instead() {
    let captured = Settings { mirror: Mirror::Capture, ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::New, captured, 1);
    let actions = fleet.tell(rollback(Phase::ReverseShadow));
    assert!(actions.contains(&ControlAction::DrainWayBack));
    assert_eq!(fleet.step(), Step::New);
    assert!(fleet.tell(ControlEvent::Restarted).contains(&ControlAction::DrainWayBack));
    fleet.tell(ControlEvent::WayBackDrained);
    assert_eq!(fleet.step(), Step::ReverseShadow);
    assert!(!fleet.ack(0).iter().any(|a| matches!(a, ControlAction::BeginGeneration { .. })));
}

#[test]
fn past_the_way_back_the_old_side_is_filled_anew() {
    let captured = Settings { mirror: Mirror::Capture, ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::New, captured, 1);
    assert!(matches!(fleet.tell(ControlEvent::WayBackEnded)[..], [ControlAction::EndGeneration { .. }]));
    fleet.tell(rollback(Phase::ReverseShadow));
    assert!(
        fleet.ack(0).iter().any(|a| matches!(a, ControlAction::BeginGeneration { toward: Side::Old, .. }))
    );
}

#[test]
fn a_rollback_turns_a_move_around_wherever_it_is() {
    for stop_at in [Step::HoldOld, Step::HoldNew] {
        let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
        fleet.tell(advance(Phase::ReverseShadow));
        fleet.go_to(stop_at);
        fleet.tell(rollback(Phase::Old));
        fleet.finish();
        assert_eq!(fleet.control.place, Place::whole(Phase::Old), "from {stop_at}");
        assert!(!fleet.steps().contains(&Step::ReverseShadow));
    }
}

/// Found by the model: `reverse-shadow` was published, an instance wrote to the new side under it, and the move was
/// turned around as if nobody had written since the holds.
#[test]
fn a_move_that_has_landed_is_gone_back_from_with_all_that_this_needs() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.go_to(Step::ReverseShadow);
    fleet.ack(0);
    fleet.tell(rollback(Phase::Shadow));
    assert_eq!(fleet.step(), Step::HoldNew, "the fleet comes from there: no acknowledgement is needed");
    fleet.ack_all();
    assert_eq!(fleet.step(), Step::HoldNew, "keys may be dirty: somebody wrote");
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldOld);
}

#[test]
fn back_from_new_before_all_have_acknowledged_it_fills_the_old_side_too() {
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 2);
    fleet.tell(advance(Phase::New));
    fleet.ack(0);
    fleet.pass(120_000, &[0]);
    assert_eq!(fleet.step(), Step::New, "somebody may have written there: it isn't given up by itself");
    assert_eq!(fleet.turned_around(), None);
    fleet.tell(rollback(Phase::ReverseShadow));
    assert_eq!(fleet.step(), Step::ReverseShadow);
    fleet.ack(0);
    assert!(
        fleet.ack(1).iter().any(|a| matches!(a, ControlAction::BeginGeneration { toward: Side::Old, .. }))
    );
}

#[test]
fn a_rollback_cuts_off_what_hangs_and_outlives_its_writes() {
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 2);
    fleet.tell(rollback(Phase::Shadow));
    assert_eq!(fleet.control.target.cut_off_ms, Some(Settings::default().hold_budget_ms));
    fleet.ack(0);
    fleet.pass(BUDGET + 30_000, &[0, 1]);
    assert_eq!(fleet.step(), Step::HoldNew, "the other waits for its writes' lifetime");
    fleet.ack(1);
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldOld);
}

#[test]
fn a_rollback_that_cannot_hold_goes_back_where_it_came_from() {
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 2);
    fleet.tell(rollback(Phase::Shadow));
    fleet.pass(2 * BUDGET + 30_000, &[0, 1]);
    assert_eq!(fleet.step(), Step::ReverseShadow);
    assert!(fleet.turned_around().is_some());
}

#[test]
fn a_key_that_cannot_be_synced_holds_writes_no_longer_than_the_budget() {
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 1);
    fleet.tell(rollback(Phase::Shadow));
    fleet.ack(0);
    fleet.pass(BUDGET + 1_000, &[0]);
    assert_eq!(fleet.step(), Step::ReverseShadow, "nothing hangs, so there is nothing to outlive");
    assert!(fleet.turned_around().is_some());
}

#[test]
fn after_the_sync_what_hangs_is_outlived_again() {
    let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 2);
    fleet.tell(rollback(Phase::Shadow));
    fleet.ack(0);
    fleet.ack(1);
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldOld);
    fleet.ack(0);
    fleet.pass(BUDGET + 20_000, &[0, 1]);
    assert_eq!(fleet.step(), Step::HoldOld, "a read of the other hangs, and is cut off");
    fleet.ack(1);
    assert_eq!(fleet.step(), Step::Shadow);
}

#[test]
fn keys_are_left_behind_only_where_that_is_asked_for() {
    for leave_behind in [false, true] {
        let mut fleet = Fleet::in_phase(Phase::ReverseShadow, Settings::default(), 1);
        fleet.tell(ControlEvent::Rollback { to: Phase::Shadow, share: Share::ALL, leave_behind });
        fleet.ack(0);
        let version = fleet.version();
        let found = ControlEvent::KeysInSync { version, dirty: 7, backfill_under_way: false };
        let actions = fleet.tell(found);
        let told = actions.contains(&ControlAction::Unclean(UncleanEvent::LeftBehind { keys: Some(7) }));
        assert_eq!(told, leave_behind);
        assert_eq!(fleet.step() == Step::HoldOld, leave_behind);
    }
}

#[test]
fn a_rollback_goes_back_not_forward() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    for to in [Phase::Shadow, Phase::New] {
        assert!(matches!(fleet.try_tell(rollback(to)), Err(Refusal::NotBack { .. })));
    }
}
