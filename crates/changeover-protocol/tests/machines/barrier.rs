//! The barrier: who is counted, who is waited for, and for how long.

use changeover_protocol::control::{InvalidSettings, Outcome, Refusal, Vitals};
use changeover_protocol::member::OnSilence;
use changeover_protocol::moves::{Mirror, UncleanEvent};
use changeover_protocol::{ControlAction, ControlEvent, Millis, Phase, Settings, Step, Version};

use crate::fleet::{BUDGET, Fleet, LEASE, advance, id, rollback};

#[test]
fn the_next_step_waits_for_every_acknowledgement() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 3);
    fleet.tell(advance(Phase::ReverseShadow));
    assert_eq!(fleet.step(), Step::HoldOld);
    fleet.ack(0);
    fleet.ack(1);
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldOld, "the third hasn't acknowledged");
    fleet.ack(2);
    assert_eq!(fleet.step(), Step::HoldOld, "nobody has looked for dirty keys since");
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.finish();
    assert_eq!(fleet.steps(), [Step::HoldOld, Step::HoldNew, Step::ReverseShadow]);
    assert_eq!(fleet.control.target.phase_shown, Phase::ReverseShadow);
}

#[test]
fn in_a_hold_the_flag_shows_where_the_move_came_from() {
    for (from, to) in [(Phase::Shadow, Phase::ReverseShadow), (Phase::ReverseShadow, Phase::Shadow)] {
        let mut fleet = Fleet::in_phase(from, Settings::default(), 1);
        fleet.tell(if from < to { advance(to) } else { rollback(to) });
        assert!(fleet.step().is_hold());
        assert_eq!(fleet.control.target.phase_shown, from);
    }
}

#[test]
fn nobody_registers_at_a_version_that_is_no_more() {
    let mut fleet = Fleet::new(Settings::default(), 1);
    let expected = fleet.version();
    fleet.tell(advance(Phase::Shadow));
    let late = ControlEvent::Register { id: id(1), expected };
    let Err(Refusal::VersionMoved { current }) = fleet.try_tell(late) else { panic!("it was counted") };
    assert_eq!(current.version, expected.next());
    fleet.tell(ControlEvent::Register { id: id(1), expected: current.version });
    let again = ControlEvent::Register { id: id(1), expected: current.version };
    assert_eq!(fleet.try_tell(again), Err(Refusal::IdentityTaken(id(1))));
}

#[test]
fn an_instance_that_registers_in_a_hold_is_waited_for_from_then_on() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    fleet.tell(advance(Phase::ReverseShadow));
    let expected = fleet.version();
    fleet.tell(ControlEvent::Register { id: id(1), expected });
    fleet.ack(0);
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew, "it has run nothing before the hold");
    fleet.ack(0);
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.ack(1);
    assert_eq!(fleet.step(), Step::ReverseShadow);
}

#[test]
fn a_version_that_was_never_published_cannot_be_acknowledged() {
    let mut fleet = Fleet::new(Settings::default(), 1);
    let named = Version(9);
    let event = ControlEvent::Acknowledge { id: id(0), version: named, vitals: Vitals::default() };
    let current = fleet.version();
    assert_eq!(fleet.try_tell(event), Err(Refusal::VersionUnknown { named, current }));
}

#[test]
fn one_that_said_goodbye_is_not_waited_for_nor_known() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack(0);
    fleet.tell(ControlEvent::Goodbye { id: id(1) });
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew);
    assert_eq!(fleet.try_tell(ControlEvent::Resume { id: id(1) }), Err(Refusal::UnknownInstance(id(1))));
}

#[test]
fn a_move_outside_the_holds_waits_names_who_is_missing_and_is_given_up() {
    let mut fleet = Fleet::new(Settings::default(), 2);
    fleet.tell(advance(Phase::Shadow));
    fleet.ack(0);
    fleet.pass(59_000, &[0]);
    assert_eq!(fleet.step(), Step::Shadow);
    fleet.pass(2_000, &[0]);
    assert_eq!(fleet.turned_around().unwrap().missing, [id(1)]);
    assert_eq!(fleet.step(), Step::Old);
    let begun = fleet.log.iter().any(|a| matches!(a, ControlAction::BeginGeneration { .. }));
    assert!(!begun, "not all of them mirrored");
}

#[test]
fn a_hold_over_its_budget_goes_back_and_names_who_is_missing() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack(0);
    fleet.pass(BUDGET - 1, &[0, 1]);
    assert_eq!(fleet.step(), Step::HoldOld);
    fleet.pass(1, &[0, 1]);
    assert_eq!(fleet.step(), Step::Shadow, "nobody has left hold-old, so nobody is waited for");
    assert_eq!(fleet.turned_around().unwrap().missing, [id(1)]);
    fleet.ack_all();
    assert_eq!(fleet.control.place.phase, Phase::Shadow);
    assert!(fleet.reports().iter().any(|r| r.outcome == Outcome::WentBack));
}

#[test]
fn from_the_second_hold_it_goes_back_without_one_that_is_silent_for_two_leases() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack_all();
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.ack(0);
    // The other is heard, but doesn't acknowledge, until just before the budget is over.
    fleet.pass(BUDGET - LEASE, &[0, 1]);
    fleet.pass(LEASE, &[0]);
    assert_eq!(fleet.step(), Step::HoldOld);
    assert!(
        fleet.control.target.is_second_hold(Step::HoldOld),
        "going back, this is the one that must notice"
    );
    fleet.ack(0);
    fleet.pass(LEASE - 1, &[0]);
    assert_eq!(fleet.step(), Step::HoldOld, "it may not have noticed yet that it is out of touch");
    fleet.pass(1, &[0]);
    assert_eq!(fleet.step(), Step::Shadow);
}

#[test]
fn it_never_goes_on_without_one_that_has_not_acknowledged_the_second_hold() {
    let settings = Settings { hold_budget_ms: Millis(60_000), ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::Shadow, settings, 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack_all();
    fleet.in_sync();
    fleet.ack(0);
    fleet.pass(50_000, &[0]);
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.ack(1);
    assert_eq!(fleet.step(), Step::ReverseShadow);
    fleet.ack(0);
    fleet.pass(2 * LEASE, &[0]);
    assert_eq!(fleet.control.place.phase, Phase::ReverseShadow, "done without the one that is silent now");
    fleet.tell(advance(Phase::New));
    assert_eq!(fleet.step(), Step::ReverseShadow, "but no further");
    fleet.ack(1);
    assert_eq!(fleet.step(), Step::New);
}

#[test]
fn a_forgotten_instances_last_writes_are_waited_for() {
    let mut fleet = Fleet::new(Settings::default(), 2);
    let actions = fleet.tell(ControlEvent::Forget { id: id(1) });
    assert!(actions.contains(&ControlAction::Void(id(1))));
    let forgotten = UncleanEvent::Forgotten { instance: "i1".to_owned() };
    assert!(actions.contains(&ControlAction::Unclean(forgotten)));
    assert_eq!(fleet.control.last_unclean, Some(Millis(0)));
    fleet.tell(advance(Phase::Shadow));
    fleet.pass(29_999, &[0]);
    assert_eq!(fleet.step(), Step::Old, "the server may still run them");
    fleet.pass(1, &[0]);
    assert_eq!(fleet.step(), Step::Shadow);
    let heartbeat = ControlEvent::Heartbeat { id: id(1), acked: Version(1), vitals: Vitals::default() };
    assert_eq!(fleet.try_tell(heartbeat), Err(Refusal::UnknownInstance(id(1))));
}

#[test]
fn silent_instances_are_forgotten_by_themselves_only_where_that_is_asked_for() {
    for (forget_after_ms, left) in [(None, 2), (Some(Millis(600_000)), 1)] {
        let mut fleet = Fleet::new(Settings { forget_after_ms, ..Settings::default() }, 2);
        fleet.pass(599_999, &[0]);
        assert_eq!(fleet.control.instances.len(), 2);
        fleet.pass(1, &[0]);
        assert_eq!(fleet.control.instances.len(), left);
    }
}

#[test]
fn where_silence_is_fenced_a_move_goes_on_without_the_lapsed_and_counts_who_is_back() {
    let fenced = Settings { on_silence: OnSilence::Fence, mirror: Mirror::Capture, ..Settings::default() };
    assert_eq!(fenced.validate(), Ok(()));
    let mut fleet = Fleet::in_phase(Phase::Shadow, fenced, 2);
    fleet.pass(2 * LEASE, &[0]);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack(0);
    let epoch = fleet.control.epoch;
    fleet.tell(ControlEvent::FenceMoved { epoch });
    assert_eq!(fleet.step(), Step::HoldNew);
    fleet.beat(1);
    fleet.ack(0);
    fleet.tell(ControlEvent::FenceOpened { epoch });
    assert_eq!(fleet.step(), Step::HoldNew, "it is back, and has not acknowledged");
    fleet.ack(1);
    fleet.tell(ControlEvent::FenceOpened { epoch });
    assert_eq!(fleet.step(), Step::ReverseShadow);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let fence = Settings { on_silence: OnSilence::Fence, ..Settings::default() };
    assert_eq!(fence.validate(), Err(InvalidSettings::FenceWithoutCapture));
    let long = Settings { hold_lease_ms: Millis(1_001), ..Settings::default() };
    assert_eq!(long.validate(), Err(InvalidSettings::LeaseOverBudget));
    let none = Settings { hold_lease_ms: Millis(0), ..Settings::default() };
    assert_eq!(none.validate(), Err(InvalidSettings::NoTime));
    assert_eq!(Settings::default().validate(), Ok(()));
}

#[test]
fn after_a_restart_every_lease_counts_anew_and_what_was_asked_is_asked_again() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 2);
    fleet.tell(advance(Phase::ReverseShadow));
    fleet.ack_all();
    fleet.now += 2 * LEASE;
    let actions = fleet.tell(ControlEvent::Restarted);
    assert!(actions.contains(&ControlAction::Publish(fleet.control.target.clone())));
    assert!(actions.contains(&ControlAction::CheckSync { version: fleet.version() }));
    assert_eq!(fleet.control.silent(Millis(fleet.now)).count(), 0, "nobody listened: nobody was silent");
}

#[test]
fn a_heartbeat_that_changes_nothing_of_weight_need_not_be_stored() {
    let mut fleet = Fleet::new(Settings::default(), 1);
    let revision = fleet.control.revision;
    fleet.now += 10;
    fleet.beat(0);
    assert_eq!(fleet.control.revision, revision);
    fleet.tell(advance(Phase::Shadow));
    let revision = fleet.control.revision;
    fleet.now += 10;
    fleet.beat(0);
    assert_eq!(fleet.control.revision, revision + 1, "in a move another replica must know who was heard");
}
