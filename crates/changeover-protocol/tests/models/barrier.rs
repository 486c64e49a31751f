//! The first model of the design: instances, the control plane, two registers, in every order that there is.
//!
//! Each test is a row of the design's table "Why two holds: what the model shows". Sound variants are searched to
//! the end; each broken one must be found broken by the same checker.

use crate::search::{Expect, check, is_full};
use crate::world::{Ack, Driver, LEASE, Variant, World, record_in};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::member::OnSilence;
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Millis, Phase, Settings, Share, Slot, Step};

pub(crate) const LINEARIZABLE: Expect = Expect::Violates("linearizable");
const SIDES: Expect = Expect::Violates("sides equal at rest");

pub(crate) fn settings() -> Settings {
    Settings {
        hold_lease_ms: LEASE,
        // Where time-outs aren't the point, they don't come.
        hold_budget_ms: Millis(1_000_000),
        patience_ms: Millis(1_000_000),
        write_lifetime_ms: LEASE,
        ..Settings::default()
    }
}

pub(crate) fn advance(to: Phase) -> ControlEvent {
    ControlEvent::Advance { to, share: Share::ALL }
}

pub(crate) fn rollback(to: Phase) -> ControlEvent {
    ControlEvent::Rollback { to, share: Share::ALL, leave_behind: false }
}

/// Two instances in this phase, two writes and two reads.
pub(crate) fn world(from: Phase, asks: &[ControlEvent], goal: Phase) -> World {
    world_with(settings(), from, asks, goal)
}

pub(crate) fn world_with(settings: Settings, from: Phase, asks: &[ControlEvent], goal: Phase) -> World {
    World {
        nodes: 2,
        driver: Driver::Control,
        ack: Ack::Both,
        writes: 2,
        reads: 2,
        slot: Slot::new(0),
        control: record_in(from, settings, 2),
        values: [0, 0],
        asks: asks.to_vec(),
        reversal: None,
        crash: false,
        silence: false,
        stop: false,
        workers: 1,
        passes: 0,
        pass: LEASE,
        variant: Variant::default(),
        goal,
    }
}

fn forward() -> World {
    world(Phase::Shadow, &[advance(Phase::ReverseShadow)], Phase::ReverseShadow)
}

/// Fewer operations, where processes die or moves turn around and the orders are many.
fn small(world: World) -> World {
    if is_full() { world } else { one_write(world) }
}

/// Fewer still, where time passes too.
fn tiny(world: World) -> World {
    World { reads: if is_full() { 2 } else { 1 }, ..one_write(world) }
}

/// One read more, where the orders are few enough for it.
fn large(world: World) -> World {
    World { reads: world.reads + u8::from(is_full()), ..world }
}

/// Enough for what is broken, whichever bounds are asked for.
fn one_write(world: World) -> World {
    World { writes: 1, ..world }
}

fn script(steps: &[Step], barrier: bool, nodes: usize) -> World {
    World {
        nodes,
        control: record_in(Phase::Shadow, settings(), nodes),
        driver: Driver::Script { steps: steps.to_vec(), barrier },
        ..forward()
    }
}

#[test]
fn six_steps_are_linearizable_acknowledged_after_both() {
    check("six steps, ack both", large(forward()), Expect::Sound);
}

#[test]
fn six_steps_are_linearizable_acknowledged_after_the_authority() {
    let forward = World { ack: Ack::Authority, ..forward() };
    check("six steps, ack authority", large(forward), Expect::Sound);
}

#[test]
fn six_steps_are_linearizable_back_again() {
    let back = world(Phase::ReverseShadow, &[rollback(Phase::Shadow)], Phase::Shadow);
    check("six steps, back", large(World { ack: Ack::Authority, ..back }), Expect::Sound);
}

#[test]
fn a_move_can_turn_around_at_any_point() {
    let reversal = Some(rollback(Phase::Shadow));
    let turned = World { reversal, goal: Phase::Shadow, ack: Ack::Authority, ..forward() };
    check("six steps, turned around", small(turned), Expect::Sound);
}

#[test]
fn a_crash_at_any_point_is_repaired() {
    let crash = World { crash: true, passes: 1, ack: Ack::Authority, ..forward() };
    check("six steps, one crash", small(crash), Expect::Sound);
}

#[test]
fn the_plain_flag_without_a_barrier_loses_writes() {
    let plain = script(&[Step::ReverseShadow, Step::New], false, 2);
    check("plain flag", plain, LINEARIZABLE);
    check("plain flag, at rest", script(&[Step::ReverseShadow], false, 2), SIDES);
}

#[test]
fn four_values_with_a_barrier_are_not_enough() {
    check("four values, barrier", script(&[Step::ReverseShadow], true, 2), LINEARIZABLE);
}

#[test]
fn one_hold_is_not_enough() {
    for hold in [Step::HoldOld, Step::HoldNew] {
        check("one hold", one_write(script(&[hold, Step::ReverseShadow], true, 3)), LINEARIZABLE);
    }
    // The same harness with both holds finds nothing: it is the hold that is missing.
    let both = script(&[Step::HoldOld, Step::HoldNew, Step::ReverseShadow], true, 3);
    check("two holds, by script", small(both), Expect::Sound);
}

#[test]
fn a_backfill_begun_before_all_mirror_leaves_the_sides_apart() {
    let filled = World { values: [0, 9], ..world(Phase::Old, &[advance(Phase::Shadow)], Phase::Shadow) };
    check("backfill", large(filled.clone()), Expect::Sound);
    let variant = Variant { backfill_early: true, ..Variant::default() };
    check("backfill begun early", World { variant, ..filled }, SIDES);
}

#[test]
fn a_lock_free_copy_leaves_the_sides_apart() {
    let variant = Variant { no_guard: true, ..Variant::default() };
    check("syncs without a guard", World { variant, reads: 0, ack: Ack::Authority, ..forward() }, SIDES);
}

#[test]
fn a_dead_instances_write_must_not_outlive_its_lifetime() {
    let variant = Variant { writes_outlive: true, ..Variant::default() };
    let crash = World { crash: true, passes: 1, ack: Ack::Authority, variant, ..forward() };
    check("a dead write lands late", one_write(crash), LINEARIZABLE);
}

#[test]
fn the_backfill_waits_for_a_dead_instances_unmirrored_write() {
    let filled = World { values: [0, 9], ..world(Phase::Old, &[advance(Phase::Shadow)], Phase::Shadow) };
    let crash = World { crash: true, passes: 1, ..filled };
    check("backfill, one crash", small(crash.clone()), Expect::Sound);
    let variant = Variant { writes_outlive: true, ..Variant::default() };
    check("backfill, a dead write lands late", one_write(World { variant, ..crash }), SIDES);
}

#[test]
fn a_worker_that_was_overtaken_by_a_move_must_notice_it() {
    let two = World { crash: true, passes: 1, workers: 2, reads: 0, ..forward() };
    check("two workers, one overtaken", large(two.clone()), Expect::Sound);
    let variant = Variant { word_ignored: true, ..Variant::default() };
    check("the same, not noticed", World { variant, ..two }, LINEARIZABLE);
}

#[test]
fn a_goodbye_takes_the_step_file_with_it() {
    let stop = World { stop: true, ..forward() };
    check("a goodbye", small(stop.clone()), Expect::Sound);
    let variant = Variant { file_survives_goodbye: true, ..Variant::default() };
    check("started after a goodbye", one_write(World { variant, ..stop }), LINEARIZABLE);
}

fn silent(settings: Settings) -> World {
    let forward = world_with(settings, Phase::Shadow, &[advance(Phase::ReverseShadow)], Phase::ReverseShadow);
    World { silence: true, passes: 2, ack: Ack::Authority, ..forward }
}

#[test]
fn a_silent_instance_holds_the_move_up() {
    let timed = Settings { hold_budget_ms: LEASE.times(2), ..settings() };
    check("one falls silent", tiny(silent(timed)), Expect::Sound);
}

#[test]
fn a_silent_instance_must_not_be_left_out_while_it_serves() {
    let left_out = Variant { forge_for_silent: true, ..Variant::default() };
    let still = World { passes: 0, variant: left_out, ..silent(settings()) };
    check("silent one left out", one_write(still.clone()), LINEARIZABLE);
    let variant = Variant { silent_writes_nothing: true, ..left_out };
    check("silent one left out, only reads", one_write(World { variant, ..still }), LINEARIZABLE);
}

#[test]
fn an_instance_silent_in_the_second_hold_must_notice_it() {
    let timed = Settings { hold_budget_ms: LEASE.times(2), ..settings() };
    let variant = Variant { silent_clock_stands: true, ..Variant::default() };
    let back = World { reads: 1, variant, ..silent(timed) };
    check("back without a silent one", one_write(back), LINEARIZABLE);
}

#[test]
fn fenced_silence_lets_the_move_go_on() {
    let fenced = Settings { on_silence: OnSilence::Fence, mirror: Mirror::Capture, ..settings() };
    check("silence fenced", tiny(silent(fenced)), Expect::Sound);
}

#[test]
fn the_fence_opens_only_when_all_read_from_the_new_side() {
    let captured = Settings { mirror: Mirror::Capture, ..settings() };
    let forward = world_with(captured, Phase::Shadow, &[advance(Phase::ReverseShadow)], Phase::ReverseShadow);
    check("capture and fence", small(forward.clone()), Expect::Sound);
    let variant = Variant { forge_second_hold: true, ..Variant::default() };
    check("fence opened early", one_write(World { variant, ..forward }), LINEARIZABLE);
}

#[test]
fn a_captured_move_can_turn_around_until_the_fence_opens() {
    let captured = Settings { mirror: Mirror::Capture, ..settings() };
    let forward = world_with(captured, Phase::Shadow, &[advance(Phase::ReverseShadow)], Phase::ReverseShadow);
    let turned = World { reversal: Some(rollback(Phase::Shadow)), goal: Phase::Shadow, ..forward };
    check("capture, turned around", small(turned), Expect::Sound);
}

#[test]
fn chunk_marks_end_with_their_generation() {
    let again = [rollback(Phase::Old), advance(Phase::Shadow), advance(Phase::ReverseShadow)];
    let again = world(Phase::Shadow, &again, Phase::ReverseShadow);
    let from_new = world(Phase::New, &[rollback(Phase::Shadow)], Phase::Shadow);
    for (name, world) in [("again from old", again), ("back from new", from_new)] {
        let world = World { writes: 1, reads: 1, ack: Ack::Authority, ..world };
        check(&format!("{name}, a new generation"), large(world.clone()), Expect::Sound);
        let variant = Variant { old_marks: true, ..Variant::default() };
        check(&format!("{name}, old marks"), World { variant, ..world }, LINEARIZABLE);
    }
}
