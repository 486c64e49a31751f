//! The instance: what it runs, when it acknowledges, what it refuses when it is out of touch.

use changeover_protocol::member::{Access, Admission, Closed, OnSilence, Refused, Remembered, Start};
use changeover_protocol::{
    InstanceId, Member, MemberAction, MemberEvent, MemberSettings, Millis, Phase, Side, Slot, Step, Target,
    Version,
};

const LEASE: u64 = 1_000;
/// What is left of the lease with the default margin for drift.
const NOTICED: u64 = 990;
const SLOT: Slot = Slot::new(7);

fn target(version: u64, step: Step) -> Target {
    let mut target = Target::uniform(Version(version), step, Phase::Shadow, Millis(LEASE));
    target.hold_budget_ms = Some(Millis(2_000));
    target
}

fn member_with(settings: MemberSettings, step: Step) -> Member {
    let id = InstanceId::new("i0");
    let (mut member, actions) = Member::registered(id, settings, Millis(0), Millis(0), target(1, step));
    assert!(matches!(actions[..], [MemberAction::Stand(_), MemberAction::Remember(_)]));
    member.handle(Millis(0), MemberEvent::Remembered { version: Version(1) });
    member
}

fn member(step: Step) -> Member {
    member_with(MemberSettings::default(), step)
}

fn acks(actions: &[MemberAction]) -> Vec<u64> {
    let versions = actions.iter().filter_map(|action| match action {
        MemberAction::Acknowledge { version } => Some(version.0),
        _ => None,
    });
    versions.collect()
}

fn see(member: &mut Member, now: u64, version: u64, step: Step) -> Vec<MemberAction> {
    member.handle(Millis(now), MemberEvent::Target(target(version, step)))
}

/// Sees a target, with everything from before ended and the file written.
fn reach(member: &mut Member, now: u64, version: u64, step: Step) {
    see(member, now, version, step);
    let version = Version(version);
    member.handle(Millis(now), MemberEvent::Drained { below: version });
    member.handle(Millis(now), MemberEvent::Remembered { version });
}

fn ask(member: &Member, now: u64, access: Access) -> Admission {
    member.standing().admit(Millis(now), SLOT, access)
}

fn reads_from(member: &Member, now: u64) -> Result<Side, Refused> {
    match ask(member, now, Access::Read) {
        Admission::Run(plan) => Ok(plan.reads),
        Admission::Refuse(why) => Err(why),
        Admission::Wait { .. } => panic!("a read never waits"),
    }
}

#[test]
fn a_target_is_executed_at_once_and_acknowledged_when_all_before_it_has_ended() {
    let mut member = member(Step::Shadow);
    let actions = see(&mut member, 10, 2, Step::HoldOld);
    assert!(matches!(actions[0], MemberAction::Stand(_)));
    assert_eq!(member.version(), Version(2));
    let version = Version(2);
    assert_eq!(acks(&member.handle(Millis(11), MemberEvent::Remembered { version })), []);
    assert_eq!(acks(&member.handle(Millis(12), MemberEvent::Drained { below: Version(1) })), []);
    assert_eq!(acks(&member.handle(Millis(13), MemberEvent::Drained { below: version })), [2]);
    assert_eq!(acks(&member.handle(Millis(14), MemberEvent::Tick)), [], "once");
}

#[test]
fn nothing_is_acknowledged_that_the_step_file_does_not_have() {
    let mut member = member(Step::Shadow);
    see(&mut member, 10, 2, Step::HoldOld);
    assert_eq!(acks(&member.handle(Millis(11), MemberEvent::Drained { below: Version(2) })), []);
    assert_eq!(acks(&member.handle(Millis(12), MemberEvent::Remembered { version: Version(2) })), [2]);
}

#[test]
fn an_older_target_changes_nothing() {
    let mut member = member(Step::Shadow);
    reach(&mut member, 10, 3, Step::HoldNew);
    assert_eq!(see(&mut member, 11, 2, Step::HoldOld), []);
    assert_eq!(member.version(), Version(3));
}

#[test]
fn a_write_with_an_unknown_outcome_keeps_its_version_open_for_its_lifetime() {
    let mut member = member(Step::Shadow);
    member.handle(Millis(100), MemberEvent::UnknownOutcome { version: Version(1) });
    reach(&mut member, 200, 2, Step::HoldOld);
    assert_eq!(acks(&member.handle(Millis(30_099), MemberEvent::Tick)), []);
    assert_eq!(acks(&member.handle(Millis(30_100), MemberEvent::Tick)), [2]);
}

#[test]
fn a_write_whose_session_is_seen_gone_is_waited_for_no_longer() {
    let mut member = member(Step::Shadow);
    member.handle(Millis(100), MemberEvent::UnknownOutcome { version: Version(1) });
    reach(&mut member, 200, 2, Step::HoldOld);
    let settled = MemberEvent::OutcomesSettled { up_to: Version(1) };
    assert_eq!(acks(&member.handle(Millis(201), settled)), [2]);
}

#[test]
fn held_writes_wait_within_the_budget_of_both_holds_together() {
    let mut member = member(Step::Shadow);
    reach(&mut member, 100, 2, Step::HoldOld);
    assert_eq!(ask(&member, 100, Access::Write), Admission::Wait { until: Millis(2_100) });
    for sent in [900, 1_800, 2_050] {
        let current = target(2, Step::HoldOld);
        member.handle(Millis(sent), MemberEvent::Answered { sent: Millis(sent), target: current });
    }
    reach(&mut member, 2_050, 3, Step::HoldNew);
    assert_eq!(ask(&member, 2_050, Access::Write), Admission::Wait { until: Millis(2_100) });
    assert_eq!(ask(&member, 2_100, Access::Write), Admission::Refuse(Refused::HoldOverBudget));
    reach(&mut member, 2_200, 4, Step::ReverseShadow);
    assert!(matches!(ask(&member, 2_200, Access::Write), Admission::Run(_)));
}

#[test]
fn a_hold_without_a_budget_refuses_writes_at_once() {
    let mut member = member(Step::Old);
    let mut hold = target(2, Step::HoldOld);
    hold.hold_budget_ms = None;
    member.handle(Millis(10), MemberEvent::Target(hold));
    assert_eq!(ask(&member, 10, Access::Write), Admission::Refuse(Refused::WritesStopped));
    assert_eq!(reads_from(&member, 10), Ok(Side::Old));
}

#[test]
fn out_of_touch_the_second_hold_refuses_reads_and_the_first_does_not() {
    let mut member = member(Step::Shadow);
    reach(&mut member, 10, 2, Step::HoldOld);
    let until = Millis(2_010);
    assert_eq!(ask(&member, NOTICED, Access::Write), Admission::Wait { until }, "it may wait for word");
    assert_eq!(ask(&member, until.0, Access::Write), Admission::Refuse(Refused::OutOfTouch));
    assert_eq!(reads_from(&member, 100 * LEASE), Ok(Side::Old));
    reach(&mut member, 20, 3, Step::HoldNew);
    assert_eq!(reads_from(&member, NOTICED - 1), Ok(Side::New));
    assert_eq!(reads_from(&member, NOTICED), Err(Refused::OutOfTouch));
}

#[test]
fn on_the_way_back_it_is_the_other_hold() {
    let mut member = member(Step::ReverseShadow);
    for (version, step, refused) in [(2, Step::HoldNew, false), (3, Step::HoldOld, true)] {
        let mut back = target(version, step);
        back.direction = changeover_protocol::Direction::Back;
        member.handle(Millis(10), MemberEvent::Target(back));
        assert_eq!(reads_from(&member, LEASE).is_err(), refused, "{step}");
    }
}

#[test]
fn outside_the_holds_silence_changes_nothing() {
    for step in [Step::Old, Step::Shadow, Step::ReverseShadow, Step::New] {
        let member = member(step);
        assert!(!member.standing().needs_clock(SLOT));
        for access in [Access::Read, Access::Write] {
            assert!(matches!(ask(&member, u64::MAX, access), Admission::Run(_)), "{step}");
        }
    }
}

#[test]
fn where_silence_is_fenced_everything_is_refused() {
    let fenced = MemberSettings { on_silence: OnSilence::Fence, ..MemberSettings::default() };
    let member = member_with(fenced, Step::Shadow);
    for access in [Access::Read, Access::Write] {
        assert!(matches!(ask(&member, NOTICED - 1, access), Admission::Run(_)));
        assert_eq!(ask(&member, NOTICED, access), Admission::Refuse(Refused::OutOfTouch));
    }
}

#[test]
fn the_lease_counts_from_the_sending_not_from_the_answer() {
    let mut member = member(Step::HoldNew);
    let current = target(1, Step::HoldNew);
    member.handle(Millis(900), MemberEvent::Answered { sent: Millis(100), target: current });
    assert!(reads_from(&member, 100 + NOTICED - 1).is_ok());
    assert_eq!(reads_from(&member, 100 + NOTICED), Err(Refused::OutOfTouch));
}

#[test]
fn an_answer_brings_its_target_with_its_lease() {
    let mut member = member(Step::HoldNew);
    let sent = Millis(5 * LEASE);
    member.handle(sent, MemberEvent::Answered { sent, target: target(2, Step::HoldOld) });
    assert_eq!(reads_from(&member, sent.0), Ok(Side::Old), "never the new lease at the old target");
}

#[test]
fn an_answer_from_a_replica_that_lags_brings_no_lease() {
    let mut member = member(Step::Shadow);
    reach(&mut member, 10, 2, Step::HoldNew);
    let sent = Millis(NOTICED - 1);
    member.handle(sent, MemberEvent::Answered { sent, target: target(1, Step::Shadow) });
    assert_eq!(reads_from(&member, NOTICED), Err(Refused::OutOfTouch));
}

#[test]
fn an_answer_is_not_given_out_if_the_lease_lapsed_in_between() {
    let mut member = member(Step::HoldNew);
    let ticket = member.standing().ticket(Step::HoldNew);
    assert!(member.standing().may_answer(Millis(NOTICED - 1), ticket));
    assert!(!member.standing().may_answer(Millis(NOTICED), ticket));
    let sent = Millis(5 * LEASE);
    member.handle(sent, MemberEvent::Answered { sent, target: target(2, Step::Shadow) });
    assert!(
        !member.standing().may_answer(sent, ticket),
        "heard again, but the fleet was elsewhere meanwhile"
    );
    let fresh = member.standing().ticket(Step::Shadow);
    assert!(member.standing().may_answer(Millis(u64::MAX), fresh));
}

#[test]
fn on_the_way_back_what_hangs_is_cut_off_once() {
    let mut member = member(Step::ReverseShadow);
    let mut back = target(2, Step::HoldNew);
    back.cut_off_ms = Some(Millis(2_000));
    member.handle(Millis(100), MemberEvent::Target(back));
    assert_eq!(member.handle(Millis(2_099), MemberEvent::Tick), []);
    let below = Version(2);
    assert_eq!(member.handle(Millis(2_100), MemberEvent::Tick), [MemberAction::CutOff { below }]);
    assert_eq!(member.handle(Millis(2_200), MemberEvent::Tick), []);
}

#[test]
fn a_goodbye_is_said_after_everything_has_ended_and_the_file_is_gone() {
    let mut member = member(Step::Shadow);
    member.handle(Millis(10), MemberEvent::UnknownOutcome { version: Version(1) });
    member.handle(Millis(20), MemberEvent::Stop);
    assert_eq!(ask(&member, 20, Access::Read), Admission::Refuse(Refused::Stopping));
    assert_eq!(member.handle(Millis(30), MemberEvent::Drained { below: Version(2) }), []);
    assert_eq!(member.handle(Millis(30_010), MemberEvent::Tick), [MemberAction::DeleteFile]);
    assert_eq!(member.handle(Millis(30_011), MemberEvent::FileDeleted), [MemberAction::Goodbye]);
}

#[test]
fn one_that_is_not_counted_runs_nothing_and_deletes_its_file() {
    let mut member = member(Step::Shadow);
    let actions = member.handle(Millis(10), MemberEvent::Rejected);
    assert!(actions.contains(&MemberAction::DeleteFile));
    assert_eq!(member.standing().closed, Some(Closed::NotCounted));
    assert_eq!(ask(&member, 10, Access::Read), Admission::Refuse(Refused::NotCounted));
    reach(&mut member, 20, 2, Step::HoldOld);
    assert_eq!(member.acknowledged(), Version(1), "nor does it acknowledge anything");
}

#[test]
fn without_a_valid_file_and_a_control_plane_it_refuses_to_guess() {
    let remembered = |target| Some(Remembered { instance: InstanceId::new("i0"), target });
    let valid = remembered(target(4, Step::Shadow));
    assert!(matches!(Start::decide(valid.clone(), false), Start::Resume(_)));
    assert!(matches!(Start::decide(valid, true), Start::Resume(_)));
    assert_eq!(Start::decide(None, true), Start::Register);
    assert_eq!(Start::decide(None, false), Start::RefuseToGuess);
    let mut torn = target(4, Step::Shadow);
    torn.assignments.clear();
    assert_eq!(Start::decide(remembered(torn), false), Start::RefuseToGuess);
}

#[test]
fn one_that_goes_on_from_its_file_waits_for_the_writes_of_the_process_before() {
    let file = Remembered { instance: InstanceId::new("i0"), target: target(4, Step::HoldNew) };
    let (mut member, _) = Member::resumed(MemberSettings::default(), Millis(0), file);
    assert_eq!(reads_from(&member, 0), Err(Refused::OutOfTouch), "it hasn't been heard of, in a hold");
    reach(&mut member, 10, 5, Step::ReverseShadow);
    assert_eq!(reads_from(&member, 10), Ok(Side::New));
    assert_eq!(acks(&member.handle(Millis(29_999), MemberEvent::Tick)), []);
    assert_eq!(acks(&member.handle(Millis(30_000), MemberEvent::Tick)), [5]);
}
