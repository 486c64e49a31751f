//! Moves forward: shares, left-out phases, what each begins and ends, what keeps them from beginning.

use changeover_protocol::control::{Generation, Refusal, Vitals};
use changeover_protocol::gate::Stuck;
use changeover_protocol::moves::{
    Consequence, Mirror, RollbackFacts, RollbackKind, WayBack, consequence, rollback_safety,
};
use changeover_protocol::{
    ControlAction, ControlEvent, Millis, Phase, Phases, Place, Settings, Share, Side, SlotRange, Step,
};

use crate::fleet::{Fleet, advance, id, rollback};

fn begins(actions: &[ControlAction]) -> Option<(Generation, Side, bool)> {
    actions.iter().find_map(|action| match action {
        ControlAction::BeginGeneration { generation, toward, in_hold } => {
            Some((*generation, *toward, *in_hold))
        }
        _ => None,
    })
}

#[test]
fn the_backfill_begins_when_all_mirror_and_not_before() {
    let mut fleet = Fleet::new(Settings::default(), 2);
    assert_eq!(begins(&fleet.tell(advance(Phase::Shadow))), None);
    assert_eq!(begins(&fleet.ack(0)), None);
    assert_eq!(begins(&fleet.ack(1)), Some((Generation(1), Side::New, false)));
    let early = fleet.try_tell(advance(Phase::ReverseShadow));
    assert_eq!(early, Err(Refusal::BackfillUnderWay(Generation(1))));
}

#[test]
fn each_time_the_mirror_begins_there_is_a_new_generation() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    fleet.tell(rollback(Phase::Old));
    let actions = fleet.ack(0);
    assert!(actions.contains(&ControlAction::EndGeneration { generation: Generation(1) }));
    fleet.tell(advance(Phase::Shadow));
    assert_eq!(begins(&fleet.ack(0)), Some((Generation(2), Side::New, false)));
}

#[test]
fn keys_must_be_found_clean_after_the_hold_was_acknowledged() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    let before = fleet.version();
    fleet.tell(advance(Phase::ReverseShadow));
    let version = fleet.version();
    fleet.in_sync();
    let actions = fleet.ack(0);
    assert!(actions.contains(&ControlAction::CheckSync { version }), "an answer before the question is none");
    for (version, dirty, backfill_under_way) in [(before, 0, false), (version, 1, false), (version, 0, true)]
    {
        fleet.tell(ControlEvent::KeysInSync { version, dirty, backfill_under_way });
        assert_eq!(fleet.step(), Step::HoldOld);
    }
    assert!(
        fleet.tell(ControlEvent::Tick).contains(&ControlAction::CheckSync { version }),
        "it is asked again"
    );
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew);
}

#[test]
fn an_instances_own_dirty_keys_count() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    fleet.tell(advance(Phase::ReverseShadow));
    let version = fleet.version();
    let dirty = Vitals { dirty_keys: 1, slowest_ms: None };
    fleet.tell(ControlEvent::Acknowledge { id: id(0), version, vitals: dirty });
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldOld);
    fleet.beat(0);
    fleet.in_sync();
    assert_eq!(fleet.step(), Step::HoldNew);
}

#[test]
fn operations_that_outlast_the_hold_keep_it_from_beginning() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    let slow = Vitals { dirty_keys: 0, slowest_ms: Some(2_000) };
    let acked = fleet.version();
    fleet.tell(ControlEvent::Heartbeat { id: id(0), acked, vitals: slow });
    let refused = fleet.try_tell(advance(Phase::ReverseShadow)).unwrap_err();
    assert_eq!(refused, Refusal::TooSlow { instance: id(0), slowest_ms: 2_000, budget_ms: 2_000 });
    fleet.tell(rollback(Phase::Old));
    assert_eq!(fleet.step(), Step::Old, "a way back only tells it");
}

#[test]
fn a_share_moves_its_slots_and_no_others() {
    let mut fleet = Fleet::in_phase(Phase::Shadow, Settings::default(), 1);
    let share = |percent| Share::percent(percent).unwrap();
    let to = Phase::ReverseShadow;
    let steps = |fleet: &Fleet| -> Vec<(u16, Step)> {
        fleet.control.target.assignments.iter().map(|a| (a.slots.to, a.step)).collect()
    };
    fleet.tell(ControlEvent::Advance { to, share: share(10.0) });
    assert_eq!(steps(&fleet), [(103, Step::HoldOld), (1024, Step::Shadow)]);
    fleet.finish();
    assert_eq!(steps(&fleet), [(103, Step::ReverseShadow), (1024, Step::Shadow)]);
    assert_eq!(fleet.control.target.phase_shown, Phase::Shadow);
    assert_eq!(fleet.control.place, Place::reversed(share(10.0)));

    fleet.tell(ControlEvent::Advance { to, share: share(50.0) });
    let expected = [(103, Step::ReverseShadow), (512, Step::HoldOld), (1024, Step::Shadow)];
    assert_eq!(steps(&fleet), expected);
    fleet.finish();
    assert!(matches!(fleet.try_tell(advance(Phase::New)), Err(Refusal::NotNext { .. })));

    fleet.tell(ControlEvent::Rollback { to, share: share(1.0), leave_behind: false });
    assert_eq!(steps(&fleet), [(11, Step::ReverseShadow), (512, Step::HoldNew), (1024, Step::Shadow)]);
    fleet.finish();
    fleet.tell(advance(to));
    fleet.finish();
    assert_eq!(fleet.control.target.assignments[0].slots, SlotRange::ALL);
    assert_eq!(fleet.control.target.phase_shown, to);
}

#[test]
fn shares_are_for_dual_write_only() {
    let captured = Settings { mirror: Mirror::Capture, ..Settings::default() };
    let mut fleet = Fleet::in_phase(Phase::Shadow, captured, 1);
    let some = ControlEvent::Advance { to: Phase::ReverseShadow, share: Share::slots(10) };
    assert_eq!(fleet.try_tell(some), Err(Refusal::NoShare));
}

#[test]
fn the_simple_path_copies_in_a_hold_without_a_budget() {
    let simple = Settings { phases: Phases::SIMPLE, ..Settings::default() };
    let mut fleet = Fleet::new(simple, 1);
    fleet.tell(advance(Phase::New));
    assert_eq!(fleet.step(), Step::HoldOld);
    assert_eq!(fleet.control.target.hold_budget_ms, None);
    assert_eq!(begins(&fleet.ack(0)), Some((Generation(1), Side::New, true)));
    fleet.pass(3_600_000, &[0]);
    assert_eq!(fleet.step(), Step::HoldOld, "it takes as long as it takes");
    fleet.tell(ControlEvent::GenerationDone { generation: Generation(1) });
    fleet.finish();
    assert_eq!(fleet.steps(), [Step::HoldOld, Step::HoldNew, Step::New]);
    assert_eq!(fleet.control.backfill, None, "nothing mirrors from here on: the copy grows stale");
}

#[test]
fn the_simple_path_can_be_given_up_in_its_hold() {
    let simple = Settings { phases: Phases::SIMPLE, ..Settings::default() };
    let mut fleet = Fleet::new(simple, 1);
    fleet.tell(advance(Phase::New));
    fleet.ack(0);
    let actions = fleet.tell(rollback(Phase::Old));
    assert!(actions.contains(&ControlAction::EndGeneration { generation: Generation(1) }));
    assert_eq!(fleet.step(), Step::Old);
}

#[test]
fn moves_forward_go_one_phase_at_a_time_and_one_by_one() {
    let mut fleet = Fleet::new(Settings::default(), 1);
    let next = Some(Place::whole(Phase::Shadow));
    let asked = Place::whole(Phase::New);
    assert_eq!(fleet.try_tell(advance(Phase::New)), Err(Refusal::NotNext { asked, next }));
    fleet.tell(advance(Phase::Shadow));
    let second = fleet.try_tell(advance(Phase::Shadow));
    assert_eq!(second, Err(Refusal::MoveUnderWay { to: Place::whole(Phase::Shadow) }));
}

#[test]
fn retired_shows_3_executes_new_and_is_never_left() {
    let mut fleet = Fleet::in_phase(Phase::New, Settings::default(), 1);
    fleet.tell(advance(Phase::Retired));
    fleet.finish();
    assert_eq!(fleet.step(), Step::New);
    assert_eq!(fleet.control.target.phase_shown.flag(), 3);
    for event in [advance(Phase::Retired), rollback(Phase::New)] {
        assert_eq!(fleet.try_tell(event), Err(Refusal::Retired));
    }
}

#[test]
fn what_each_move_means_is_the_designs_table() {
    use Consequence as C;
    use Phase::{New, Old, ReverseShadow, Shadow};
    let of = |from, to, mirror, way_back| consequence(Place::whole(from), Place::whole(to), mirror, way_back);
    for mirror in [Mirror::DualWrite, Mirror::Capture] {
        let of = |from, to| of(from, to, mirror, WayBack::Closed);
        assert_eq!(of(Old, Shadow), C::NewGeneration { toward: Side::New });
        assert_eq!(of(Shadow, Old), C::GenerationEnds);
        assert_eq!(of(Shadow, ReverseShadow), C::PlacesChange);
        assert_eq!(of(ReverseShadow, Shadow), C::PlacesChange);
        assert_eq!(of(ReverseShadow, New), C::MirrorStops);
        assert_eq!(of(Shadow, New), C::GenerationEnds, "no log is kept for a way back");
        assert_eq!(of(New, ReverseShadow), C::NewGeneration { toward: Side::Old });
    }
    assert_eq!(of(New, ReverseShadow, Mirror::Capture, WayBack::Open), C::DrainWayBack);
}

#[test]
fn rollback_is_safe_as_far_as_the_facts_say_so() {
    let facts = |phase| RollbackFacts {
        place: Place::whole(phase),
        entered: Millis(10),
        mirror: Mirror::Capture,
        way_back: WayBack::Open,
        dirty_keys: Some(3),
        drainable_keys: 100,
        stuck: Stuck::default(),
        dirty_since: Millis(20),
        silent: vec![],
        silent_since: Millis(30),
        backfill_toward_old: false,
        fills_in_hold: false,
    };
    let reverse = facts(Phase::ReverseShadow);
    let safety = rollback_safety(&reverse);
    assert_eq!((safety.safe, safety.kind, safety.since), (true, RollbackKind::Instant, Millis(20)));
    let unknown = rollback_safety(&RollbackFacts { dirty_keys: None, ..reverse.clone() });
    assert_eq!((unknown.safe, unknown.kind), (false, RollbackKind::LeavesBehind));
    let many = rollback_safety(&RollbackFacts { dirty_keys: Some(101), ..reverse.clone() });
    assert!(!many.safe && many.because.contains("101"));
    let first = Some("bookings(2): CHECK constraint failed".to_owned());
    let stuck = rollback_safety(&RollbackFacts { stuck: Stuck { keys: 1, first }, ..reverse.clone() });
    assert_eq!((stuck.safe, stuck.kind), (false, RollbackKind::LeavesBehind));
    assert!(stuck.because.contains("bookings(2)"), "{}", stuck.because);
    let filled = RollbackFacts { way_back: WayBack::Closed, fills_in_hold: true, ..facts(Phase::New) };
    assert!(rollback_safety(&filled).because.contains("writes are refused"));
    let silent = rollback_safety(&RollbackFacts { silent: vec!["i7".to_owned()], ..reverse });
    assert!(!silent.safe && silent.because.contains("i7"));
    assert_eq!((silent.kind, silent.since), (RollbackKind::Waits, Millis(30)));
    assert_eq!(rollback_safety(&facts(Phase::New)).kind, RollbackKind::Slow);
    assert_eq!(rollback_safety(&facts(Phase::Retired)).kind, RollbackKind::Never);
}
