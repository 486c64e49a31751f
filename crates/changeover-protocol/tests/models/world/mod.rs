//! The world of the first model: instances with their operations, the control plane, two registers, syncs under a
//! guard, a backfill, and what can go wrong.
//!
//! `Control` and `Member` are run as they are. Where a variant must be broken, it is the world that lies to them,
//! or leaves them out.

mod faults;
mod instances;
mod start;
mod workers;

use std::sync::Arc;

pub(crate) use start::record_in;
use stateright::{Model, Property};

use crate::history::{Entry, is_linearizable};
use changeover_protocol::fence::{Fence, SideFence};
use changeover_protocol::member::{Remembered, Ticket};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{
    Control, ControlEvent, InstanceId, Member, MemberAction, MemberEvent, MemberSettings, Millis, Phase,
    Side, Slot, Step, Target, Version,
};

pub(crate) const LEASE: Millis = Millis(100);

/// When a write is acknowledged to its caller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ack {
    Both,
    Authority,
}

/// Who decides what the fleet executes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Driver {
    /// The control machine.
    Control,
    /// A list of steps; with a barrier, each waits for all to acknowledge the one before.
    Script { steps: Vec<Step>, barrier: bool },
}

/// How the world departs from the design.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variant {
    /// The backfill begins as soon as the target is published.
    pub(crate) backfill_early: bool,
    /// A generation counts as done without a copy: the chunk marks of the one before count.
    pub(crate) old_marks: bool,
    /// Syncs hold no guard.
    pub(crate) no_guard: bool,
    /// A dead instance's writes outlive the lifetime that was declared, and its keys are repaired meanwhile.
    pub(crate) writes_outlive: bool,
    /// A step file outlives its instance's goodbye.
    pub(crate) file_survives_goodbye: bool,
    /// A silent instance's acknowledgements are forged.
    pub(crate) forge_for_silent: bool,
    /// A silent instance begins no writes by itself.
    pub(crate) silent_writes_nothing: bool,
    /// A silent instance's clock stands still: it doesn't notice.
    pub(crate) silent_clock_stands: bool,
    /// The second hold's acknowledgements are forged.
    pub(crate) forge_second_hold: bool,
    /// Workers don't look at the guard's word.
    pub(crate) word_ignored: bool,
    /// Node 1 takes the key for one of this slot.
    pub(crate) other_slot: Option<Slot>,
    /// A move is told that no key is dirty, whichever are.
    pub(crate) not_drained: bool,
}

/// The bounds of one model.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) nodes: usize,
    pub(crate) driver: Driver,
    pub(crate) ack: Ack,
    pub(crate) writes: u8,
    pub(crate) reads: u8,
    /// The slot of the one key: with a share, one that moves first or one that stays.
    pub(crate) slot: Slot,
    /// The record and the members that it begins with.
    pub(crate) control: Control,
    /// What both sides hold at the beginning.
    pub(crate) values: [u8; 2],
    /// What is asked of the control plane, in this order, each once the one before is completed.
    pub(crate) asks: Vec<ControlEvent>,
    /// Asked at any time, once, even while a move is under way.
    pub(crate) reversal: Option<ControlEvent>,
    /// Node 0 may crash once, and is then forgotten or started again.
    pub(crate) crash: bool,
    /// Node 0 may fall silent once, and be heard again.
    pub(crate) silence: bool,
    /// Node 0 may stop in good order, once.
    pub(crate) stop: bool,
    /// How many workers repair what the dead left.
    pub(crate) workers: usize,
    /// How often time passes, and by how much.
    pub(crate) passes: u8,
    pub(crate) pass: Millis,
    pub(crate) variant: Variant,
    /// The phase that is to be come to rest in, in some run.
    pub(crate) goal: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    member: Member,
    up: bool,
    cut: bool,
    was_cut: bool,
    clock: Millis,
    file: Option<Arc<Remembered>>,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    Begun { side: Side, mirrored: bool, ticket: Ticket },
    Written { side: Side },
    SyncRead { side: Side, value: u8 },
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Op {
    wrote: Option<u8>,
    read: Option<u8>,
    stage: Stage,
    node: u8,
    version: Version,
    answered: bool,
    refused: bool,
    before: u8,
    dirty: bool,
    ghost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sync {
    from: Side,
    value: u8,
    cleans: u8,
}

/// A worker's repair of what a dead instance left dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Repair {
    Claimed { from: Side, cleans: u8, word: Version },
    Read(Sync),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    control: Arc<Control>,
    targets: Arc<Vec<Target>>,
    nodes: Vec<Arc<Node>>,
    values: [u8; 2],
    /// Who holds the key's guard on either side: an operation, or a worker (255).
    guards: [Option<u8>; 2],
    ops: Vec<Op>,
    words: [Version; 2],
    repairs: [Option<Repair>; 2],
    copy: Option<Sync>,
    copied: bool,
    fences: [SideFence; 2],
    fence: Option<Fence>,
    locked: bool,
    asked: usize,
    reversed: bool,
    crashed: bool,
    stopped: bool,
    passed: u8,
    now: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    SeeNext(usize),
    SeeLatest(usize),
    Begin(usize, usize),
    Go(usize),
    Repair(usize),
    Copy,
    Sync,
    Fence,
    Publish,
    Ask,
    Reverse,
    Crash,
    Forget,
    Restart,
    Cut,
    Heal,
    Stop,
    Pass,
    Forge,
}

const WORKER: u8 = 255;

fn at(side: Side) -> usize {
    usize::from(side == Side::New)
}

fn node_mut(state: &mut State, n: usize) -> &mut Node {
    Arc::make_mut(&mut state.nodes[n])
}

pub(crate) fn id(n: usize) -> InstanceId {
    InstanceId::new(format!("i{n}"))
}

impl World {
    fn member_settings(&self) -> MemberSettings {
        let s = &self.control.settings;
        MemberSettings {
            write_lifetime_ms: s.write_lifetime_ms,
            drift_per_mille: 10,
            on_silence: s.on_silence,
        }
    }

    fn captures(&self) -> bool {
        self.control.settings.mirror == Mirror::Capture
    }

    // ---- the control plane

    fn tell(&self, state: &mut State, event: ControlEvent) -> bool {
        let Ok(change) = state.control.apply(state.now, event) else { return false };
        // How often a record was stored is no part of what the protocol depends on.
        state.control = Arc::new(Control { revision: 0, ..change.next });
        let newest = state.targets.last().map(|t| t.version);
        if newest != Some(state.control.target.version) {
            let missing = change.actions.into_iter().filter_map(|action| match action {
                changeover_protocol::ControlAction::Publish(target) if Some(target.version) > newest => {
                    Some(target)
                }
                _ => None,
            });
            Arc::make_mut(&mut state.targets).extend(missing);
        }
        if state.control.backfill.is_none() {
            (state.copied, state.copy) = (false, None);
        }
        true
    }

    fn latest(state: &State) -> &Target {
        state.targets.last().unwrap()
    }

    fn dirty(state: &State) -> u64 {
        state.ops.iter().filter(|op| op.dirty).count() as u64
    }

    /// Whether the move under way is about the key.
    fn moves(&self, state: &State) -> bool {
        let shift = state.control.shift.as_ref();
        shift.is_some_and(|shift| shift.from.step(self.slot) != shift.to.step(self.slot))
    }

    /// A key that doesn't move may be dirty.
    fn is_in_sync(&self, state: &State) -> bool {
        let clean = Self::dirty(state) == 0 && state.guards == [None; 2];
        clean || self.variant.not_drained || !self.moves(state)
    }

    /// The whole history, with what both sides hold at rest as one more read.
    fn is_linearizable(&self, state: &State) -> bool {
        let entries: Vec<Entry> = state
            .ops
            .iter()
            .map(|op| Entry {
                wrote: op.wrote.filter(|_| op.stage != Stage::Idle && !op.refused),
                read: op.read,
                answered: op.answered,
                before: op.before,
            })
            .collect();
        let last = self.is_at_rest(state).then(|| {
            let authority = Self::latest(state).step(self.slot).authority();
            state.values[at(authority)]
        });
        is_linearizable(&entries, 0, last)
    }

    /// What may happen besides operations and instances' looking: a superset, cheaply found.
    fn other_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let control = &state.control;
        let mut offer = |condition: bool, action| {
            if condition {
                actions.push(action);
            }
        };
        let (up, node) = (state.nodes[0].up, &state.nodes[0]);
        let copying = control.backfill.is_some_and(|b| !b.done) || self.variant.backfill_early;
        let forges = self.variant.forge_for_silent || self.variant.forge_second_hold;
        let left = state.ops.iter().any(|op| op.dirty && op.ghost);
        for worker in 0..self.workers {
            offer(left || state.repairs[worker].is_some(), Action::Repair(worker));
        }
        offer(copying, Action::Copy);
        offer(control.shift.as_ref().is_some_and(|s| s.asked.is_some()), Action::Sync);
        offer(self.captures() && control.shift.is_some(), Action::Fence);
        offer(self.driver != Driver::Control, Action::Publish);
        offer(self.driver == Driver::Control && state.asked < self.asks.len(), Action::Ask);
        offer(self.reversal.is_some() && !state.reversed, Action::Reverse);
        offer(forges, Action::Forge);
        offer(self.crash && !state.crashed, Action::Crash);
        offer(state.crashed && !up, Action::Forget);
        offer(!up, Action::Restart);
        offer(self.silence && !node.was_cut, Action::Cut);
        offer(self.silence && node.cut, Action::Heal);
        offer(self.stop && !state.stopped, Action::Stop);
        offer(state.passed < self.passes, Action::Pass);
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let ended = state.ops.iter().all(|op| matches!(op.stage, Stage::Ended | Stage::Idle));
        let seen = state.nodes.iter().all(|n| !n.up || n.member.version() == Self::latest(state).version);
        let script_done = match &self.driver {
            Driver::Control => state.control.shift.is_none() && state.asked == self.asks.len(),
            Driver::Script { steps, .. } => state.targets.len() > steps.len(),
        };
        let copied = state.control.backfill.is_none_or(|b| b.done);
        ended && seen && script_done && copied && Self::dirty(state) == 0 && state.repairs == [None; 2]
    }

    fn sides_agree(&self, state: &State) -> bool {
        let mirrored = Self::latest(state).step(self.slot).is_mirrored();
        !mirrored || !self.is_at_rest(state) || state.values[0] == state.values[1]
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let control = self.control.clone();
        let node = |n: usize| {
            let target = control.target.clone();
            let (member, actions) =
                Member::registered(id(n), self.member_settings(), Millis(0), Millis(0), target);
            let file = actions.into_iter().find_map(|action| match action {
                MemberAction::Remember(remembered) => Some(Arc::new(remembered)),
                _ => None,
            });
            Arc::new(Node {
                member,
                up: true,
                cut: false,
                was_cut: false,
                clock: Millis(0),
                file,
                gone: false,
            })
        };
        let idle = Op {
            wrote: None,
            read: None,
            stage: Stage::Idle,
            node: 0,
            version: Version(0),
            answered: false,
            refused: false,
            before: 0,
            dirty: false,
            ghost: false,
        };
        let writes = (1..=self.writes).map(|value| Op { wrote: Some(value), ..idle });
        let reads = (0..self.reads).map(|_| idle);
        let authority = control.target.step(self.slot).authority();
        let epoch = control.epoch;
        let word = |side| SideFence { open: side == authority, epoch };
        let mut state = State {
            targets: Arc::new(vec![control.target.clone()]),
            nodes: (0..self.nodes).map(node).collect(),
            control: Arc::new(control),
            values: self.values,
            guards: [None; 2],
            ops: writes.chain(reads).collect(),
            words: [Version(0); 2],
            repairs: [None; 2],
            copy: None,
            copied: false,
            fences: [word(Side::Old), word(Side::New)],
            fence: None,
            locked: false,
            asked: 0,
            reversed: false,
            crashed: false,
            stopped: false,
            passed: 0,
            now: Millis(0),
        };
        for n in 0..self.nodes {
            let version = state.targets[0].version;
            self.feed(&mut state, n, MemberEvent::Remembered { version });
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let latest = Self::latest(state).version;
        for n in 0..self.nodes {
            let (up, version) = (state.nodes[n].up, state.nodes[n].member.version());
            if up && version < latest {
                actions.push(Action::SeeNext(n));
                if version.next() < latest {
                    actions.push(Action::SeeLatest(n));
                }
            }
        }
        for op in 0..state.ops.len() {
            match state.ops[op].stage {
                Stage::Idle => actions.extend((0..self.nodes).map(|n| Action::Begin(op, n))),
                Stage::Ended => {}
                _ => actions.push(Action::Go(op)),
            }
        }
        self.other_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let s = &mut state;
        let shift_waits = |s: &State| {
            s.control
                .shift
                .as_ref()
                .is_some_and(|f| f.asked == Some(s.control.target.version) && f.synced.is_none())
        };
        match action {
            Action::SeeNext(n) => {
                let version = s.nodes[n].member.version();
                let next = s.targets.iter().find(|t| t.version > version)?.clone();
                self.see(s, n, next);
            }
            Action::SeeLatest(n) => {
                let latest = Self::latest(s).clone();
                self.see(s, n, latest);
            }
            Action::Begin(op, n) => self.begin(s, op, n)?,
            Action::Go(op) => self.go(s, op)?,
            Action::Repair(worker) => self.repair(s, worker)?,
            Action::Copy => self.copy(s)?,
            Action::Sync if shift_waits(s) && self.is_in_sync(s) => self.find_in_sync(s),
            Action::Fence if self.captures() => self.fence(s)?,
            Action::Publish => self.publish(s)?,
            Action::Ask => {
                let event = self.asks.get(s.asked)?.clone();
                if s.control.shift.is_some()
                    || s.control.backfill.is_some_and(|b| !b.done)
                    || !self.tell(s, event)
                {
                    return None;
                }
                s.asked += 1;
            }
            Action::Reverse if !s.reversed && s.asked == self.asks.len() => {
                let event = self.reversal.clone()?;
                if !self.tell(s, event) {
                    return None;
                }
                s.reversed = true;
            }
            Action::Crash if self.crash && !s.crashed => self.crash(s),
            Action::Forget if s.crashed && !s.nodes[0].up => {
                if !self.tell(s, ControlEvent::Forget { id: id(0) }) {
                    return None;
                }
                // Whoever forgets asserts that the file is gone too.
                node_mut(s, 0).file = None;
            }
            Action::Restart if !s.nodes[0].up => self.restart(s)?,
            Action::Cut if self.silence && !s.nodes[0].was_cut => {
                let node = node_mut(s, 0);
                (node.cut, node.was_cut) = (true, true);
            }
            Action::Heal if self.silence && s.nodes[0].cut => {
                node_mut(s, 0).cut = false;
                self.heartbeat(s, 0);
            }
            Action::Stop if self.stop && !s.stopped => {
                s.stopped = true;
                self.feed(s, 0, MemberEvent::Stop);
                self.settle(s, 0);
            }
            Action::Pass if s.passed < self.passes => self.pass(s),
            Action::Forge => self.forge(s)?,
            _ => return None,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("linearizable", |world: &Self, state: &State| world.is_linearizable(state)),
            Property::always("sides equal at rest", |world: &Self, state: &State| world.sides_agree(state)),
            Property::sometimes("comes to rest where it was to go", |world: &Self, state: &State| {
                let there = match world.driver {
                    Driver::Control => state.control.place.phase == world.goal,
                    Driver::Script { .. } => Self::latest(state).step(world.slot) == world.goal.step(),
                };
                let used = state.ops.iter().all(|op| op.stage == Stage::Ended && (op.answered || op.refused));
                there && used && world.is_at_rest(state)
            }),
        ]
    }
}
