//! Parts of the way: a share of the keys moves first, and phases are left out.
//!
//! The model speaks of one key. With a share there are two kinds of it: one of a slot that moves first, and one of a slot
//! that stays, while the fleet goes through the other's holds. Each is searched through the same moves.

use crate::barrier::{LINEARIZABLE, advance, rollback, settings, world, world_with};
use crate::search::{Expect, check, is_full};
use crate::world::{Ack, Variant, World};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::place::Phases;
use changeover_protocol::{Phase, Settings, Share, Slot};

/// Of two halves, one slot each.
const FIRST: Slot = Slot::new(0);
const STAYS: Slot = Slot::new(1_023);

fn half() -> ControlEvent {
    ControlEvent::Advance { to: Phase::ReverseShadow, share: Share::slots(512) }
}

fn small(world: World) -> World {
    World { writes: if is_full() { 2 } else { 1 }, ..least(world) }
}

/// Enough for what is broken, whichever bounds are asked for.
fn least(world: World) -> World {
    World { writes: 1, reads: 2, ack: Ack::Authority, ..world }
}

/// Half of the keys forward, then the rest; and half of them forward, and back.
fn shares(slot: Slot, bounds: fn(World) -> World) -> [(&'static str, World); 2] {
    let rest = world(Phase::Shadow, &[half(), advance(Phase::ReverseShadow)], Phase::ReverseShadow);
    let back = world(Phase::Shadow, &[half(), rollback(Phase::Shadow)], Phase::Shadow);
    let (rest, back) = (bounds(rest), bounds(back));
    let back = World { reads: if is_full() { 2 } else { 1 }, ..back };
    [("half, and the rest", rest), ("half, and back", back)]
        .map(|(name, world)| (name, World { slot, ..world }))
}

#[test]
fn a_key_is_linearizable_whichever_part_of_the_way_its_slot_goes() {
    for slot in [FIRST, STAYS] {
        for (name, world) in shares(slot, small) {
            check(&format!("{name}, slot {}", slot.number()), world, Expect::Sound);
        }
    }
}

#[test]
fn instances_that_disagree_on_a_key_s_slot_are_found() {
    for (slot, other) in [(FIRST, STAYS), (STAYS, FIRST)] {
        let variant = Variant { other_slot: Some(other), ..Variant::default() };
        let [(name, rest), _] = shares(slot, least);
        let name = format!("{name}, taken for slot {}", other.number());
        check(&name, World { variant, ..rest }, LINEARIZABLE);
    }
}

#[test]
fn a_share_s_own_keys_must_be_in_sync() {
    let variant = Variant { not_drained: true, ..Variant::default() };
    let [(name, rest), _] = shares(FIRST, least);
    check(&format!("{name}, not drained"), World { variant, ..rest }, LINEARIZABLE);
}

fn without(phases: Phases, from: Phase, asks: &[ControlEvent], goal: Phase) -> World {
    world_with(Settings { phases, ..settings() }, from, asks, goal)
}

#[test]
fn with_phases_left_out_a_key_is_linearizable_there_and_back() {
    let no_reverse = Phases { shadow: true, reverse_shadow: false };
    let no_shadow = Phases { shadow: false, reverse_shadow: true };
    for (name, phases, path) in [
        ("old and new alone", Phases::SIMPLE, vec![advance(Phase::New), rollback(Phase::Old)]),
        ("no reverse-shadow", no_reverse, vec![advance(Phase::Shadow), advance(Phase::New)]),
        ("no shadow", no_shadow, vec![advance(Phase::ReverseShadow), rollback(Phase::Old)]),
    ] {
        let goal = if name == "no reverse-shadow" { Phase::New } else { Phase::Old };
        let whole = without(phases, Phase::Old, &path, goal);
        check(name, small(whole.clone()), Expect::Sound);
        let variant = Variant { old_marks: true, ..Variant::default() };
        let uncopied = World { variant, ..least(whole) };
        check(&format!("{name}, not copied"), uncopied, LINEARIZABLE);
    }
}
