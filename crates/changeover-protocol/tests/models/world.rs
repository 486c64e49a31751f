//! The world of the first model: instances with their operations, the control plane, two registers, syncs under a
//! guard, a backfill, and what can go wrong.
//!
//! `Control` and `Member` are run as they are. Where a variant must be broken, it is the world that lies to them,
//! or leaves them out.

use changeover_protocol::control::{Backfill, FenceState};
use changeover_protocol::fence::{Fence, FenceAction, FenceEvent, FenceWrite, SideFence};
use changeover_protocol::member::{Access, Admission, Closed, Remembered, Start, Ticket};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{
    Control, ControlEvent, InstanceId, Member, MemberAction, MemberEvent, MemberSettings, Millis, Phase,
    Share, Side, Slot, Step, Target, Version, Writes,
};
use std::sync::Arc;

use stateright::{Model, Property};

use super::history::{Entry, is_linearizable};

pub(crate) const LEASE: Millis = Millis(100);
const SLOT: Slot = Slot::new(0);

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
}

/// The bounds of one model.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) nodes: usize,
    pub(crate) driver: Driver,
    pub(crate) ack: Ack,
    pub(crate) writes: u8,
    pub(crate) reads: u8,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    control: Arc<Control>,
    targets: Arc<Vec<Target>>,
    nodes: Vec<Arc<Node>>,
    values: [u8; 2],
    /// Who holds the key's guard on either side: an operation, or a worker (255).
    guards: [Option<u8>; 2],
    ops: Vec<Op>,
    repair: Option<Sync>,
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
    Repair,
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

    // ---- instances

    /// Tells the member whatever is true by now, and the control plane what follows from it.
    fn settle(&self, state: &mut State, n: usize) {
        let node = &state.nodes[n];
        if !node.up || node.gone {
            return;
        }
        let version = node.member.version();
        let mine = |op: &&Op| usize::from(op.node) == n && !op.ghost;
        let running = |op: &&Op| matches!(op.stage, Stage::Begun { .. });
        let oldest = state.ops.iter().filter(mine).filter(running).map(|op| op.version).min();
        let mut below = oldest.unwrap_or(version);
        let is_stopping = node.member.standing().closed == Some(Closed::Stopping);
        if is_stopping && oldest.is_none() && !state.ops.iter().filter(mine).any(|op| op.dirty) {
            below = version.next();
        }
        self.feed(state, n, MemberEvent::Drained { below });
    }

    fn feed(&self, state: &mut State, n: usize, event: MemberEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let clock = state.nodes[n].clock;
            for action in node_mut(state, n).member.handle(clock, event) {
                self.act(state, n, action, &mut events);
            }
        }
    }

    fn act(&self, state: &mut State, n: usize, action: MemberAction, events: &mut Vec<MemberEvent>) {
        let node = node_mut(state, n);
        match action {
            MemberAction::Stand(_) => {}
            MemberAction::Remember(remembered) => {
                let version = remembered.version();
                node.file = Some(Arc::new(remembered));
                events.push(MemberEvent::Remembered { version });
            }
            MemberAction::Acknowledge { version } if !node.cut => {
                let vitals = Default::default();
                self.tell(state, ControlEvent::Acknowledge { id: id(n), version, vitals });
            }
            MemberAction::Acknowledge { .. } => {}
            // Whatever hangs is not modelled: everything that began goes on.
            MemberAction::CutOff { .. } => {}
            MemberAction::DeleteFile => {
                if !self.variant.file_survives_goodbye {
                    node.file = None;
                }
                events.push(MemberEvent::FileDeleted);
            }
            MemberAction::Goodbye => {
                node.gone = true;
                node.up = false;
                self.tell(state, ControlEvent::Goodbye { id: id(n) });
            }
        }
    }

    fn see(&self, state: &mut State, n: usize, target: Target) {
        self.feed(state, n, MemberEvent::Target(target));
        self.settle(state, n);
    }

    /// A heartbeat and its answer, at one moment.
    fn heartbeat(&self, state: &mut State, n: usize) {
        let node = &state.nodes[n];
        if !node.up || node.cut {
            return;
        }
        let (acked, sent) = (node.member.acknowledged(), node.clock);
        let event = ControlEvent::Heartbeat { id: id(n), acked, vitals: Default::default() };
        if self.tell(state, event) {
            let target = state.control.target.clone();
            self.feed(state, n, MemberEvent::Answered { sent, target });
            self.settle(state, n);
        } else {
            self.feed(state, n, MemberEvent::Rejected);
        }
    }

    // ---- operations

    fn begin(&self, state: &mut State, op: usize, n: usize) -> Option<()> {
        let first_alike = |state: &State| {
            let is_write = state.ops[op].wrote.is_some();
            state.ops.iter().take(op).all(|o| o.wrote.is_some() != is_write || o.stage != Stage::Idle)
        };
        // Operations of one kind differ only in their names: they begin in the order of those.
        if state.ops[op].stage != Stage::Idle || !state.nodes[n].up || !first_alike(state) {
            return None;
        }
        let node = &state.nodes[n];
        let is_write = state.ops[op].wrote.is_some();
        if is_write && node.cut && self.variant.silent_writes_nothing {
            return None;
        }
        let standing = node.member.standing();
        let access = if is_write { Access::Write } else { Access::Read };
        let Admission::Run(plan) = standing.admit(node.clock, SLOT, access) else { return None };
        let (side, mirrored) = match (is_write, plan.writes) {
            (false, _) => (plan.reads, false),
            (true, Writes::To(side)) => (side, false),
            (true, Writes::Mirrored(side)) => (side, true),
            (true, Writes::Held) => return None,
        };
        let ticket = standing.ticket(standing.target.step(SLOT));
        let before = Self::answered(state);
        let version = node.member.version();
        let dirty = mirrored && !self.captures();
        let stage = Stage::Begun { side, mirrored, ticket };
        state.ops[op] = Op { stage, before, version, node: n as u8, dirty, ..state.ops[op] };
        Some(())
    }

    fn answered(state: &State) -> u8 {
        state.ops.iter().enumerate().fold(0, |mask, (n, op)| if op.answered { mask | 1 << n } else { mask })
    }

    fn go(&self, state: &mut State, n: usize) -> Option<()> {
        let mut op = state.ops[n];
        match (op.stage, op.wrote) {
            (Stage::Begun { side, ticket, .. }, None) => {
                let node = &state.nodes[usize::from(op.node)];
                if node.member.standing().may_answer(node.clock, ticket) {
                    (op.read, op.answered) = (Some(state.values[at(side)]), true);
                }
                op.stage = Stage::Ended;
            }
            (Stage::Begun { side, mirrored, .. }, Some(value)) => {
                self.write(state, &mut op, side, mirrored, value)?;
            }
            (Stage::Written { side }, _) => {
                let guard = &mut state.guards[at(side.other())];
                if guard.is_some() && !self.variant.no_guard {
                    return None;
                }
                *guard = Some(n as u8);
                op.stage = Stage::SyncRead { side, value: state.values[at(side)] };
            }
            (Stage::SyncRead { side, value }, _) => {
                state.values[at(side.other())] = value;
                state.guards[at(side.other())] = None;
                op.dirty = false;
                op.answered |= !op.ghost;
                op.stage = Stage::Ended;
            }
            (Stage::Idle | Stage::Ended, _) => return None,
        }
        state.ops[n] = op;
        if !op.ghost {
            self.settle(state, usize::from(op.node));
        }
        Some(())
    }

    fn write(&self, state: &mut State, op: &mut Op, side: Side, mirrored: bool, value: u8) -> Option<()> {
        if self.captures() {
            let fence = state.fences[at(side)];
            if state.locked && fence.open {
                return None;
            }
            if !fence.open {
                // The store refuses a straggler: nothing has happened.
                (op.refused, op.stage) = (true, Stage::Ended);
                return Some(());
            }
            op.dirty = true;
        }
        state.values[at(side)] = value;
        op.stage = if mirrored || self.captures() { Stage::Written { side } } else { Stage::Ended };
        let now = !mirrored || self.ack == Ack::Authority || self.captures();
        op.answered |= now && !op.ghost;
        Some(())
    }

    /// A worker syncs the keys that a dead instance left dirty, when none of its writes can land any more.
    fn repair(&self, state: &mut State) -> Option<()> {
        let authority = Self::latest(state).step(SLOT).authority();
        let follower = at(authority.other());
        if let Some(sync) = state.repair.take() {
            state.values[at(sync.from.other())] = sync.value;
            state.guards[at(sync.from.other())] = None;
            for (n, op) in state.ops.iter_mut().enumerate() {
                op.dirty &= sync.cleans & (1 << n) == 0;
            }
            return Some(());
        }
        let left =
            |op: &Op| op.dirty && op.ghost && (op.stage == Stage::Ended || self.variant.writes_outlive);
        let cleans = state.ops.iter().enumerate().fold(0, |m, (n, op)| if left(op) { m | 1 << n } else { m });
        if cleans == 0 || state.guards[follower].is_some() {
            return None;
        }
        state.guards[follower] = Some(WORKER);
        state.repair = Some(Sync { from: authority, value: state.values[at(authority)], cleans });
        Some(())
    }

    // ---- the backfill

    fn copy(&self, state: &mut State) -> Option<()> {
        let begun = state.control.backfill.filter(|b| !b.done);
        let toward = match begun {
            Some(Backfill { toward, .. }) => toward,
            None if self.variant.backfill_early && !state.copied => Side::New,
            None => return None,
        };
        if self.variant.old_marks {
            state.copied = true;
        } else if let Some(sync) = state.copy.take() {
            state.values[at(toward)] = sync.value;
            state.guards[at(toward)] = None;
            state.copied = true;
        } else if !state.copied {
            if state.guards[at(toward)].is_some() {
                return None;
            }
            state.guards[at(toward)] = Some(WORKER);
            let from = toward.other();
            state.copy = Some(Sync { from, value: state.values[at(from)], cleans: 0 });
        }
        if let Some(Backfill { generation, .. }) = begun.filter(|_| state.copied) {
            self.tell(state, ControlEvent::GenerationDone { generation });
            state.copied = false;
        }
        Some(())
    }

    // ---- the store's fence

    fn fence(&self, state: &mut State) -> Option<()> {
        let shift = state.control.shift.clone()?;
        let epoch = state.control.epoch;
        let near = if shift.turned { shift.to.phase } else { shift.from.phase }.step().authority();
        let (near, far) = (at(near), at(near.other()));
        if state.fence.is_none() && shift.fence == FenceState::Requested {
            state.fence = Some(Fence::recorded(epoch, false));
        }
        let mut fence = state.fence.clone()?;
        if shift.fence == FenceState::Undoing && fence.epoch() != epoch {
            state.locked = false;
            state.fence = Some(fence.after(FenceEvent::Undo { epoch }));
            return Some(());
        }
        let by = fence.epoch();
        let write = |fences: &mut [SideFence; 2], side: usize, write| {
            fences[side].after(write, by).map(|after| fences[side] = after).is_ok()
        };
        let succeeded = match fence.action() {
            FenceAction::LockNear => {
                state.locked = true;
                true
            }
            FenceAction::DrainNear { .. } if Self::dirty(state) > 0 || state.guards[far].is_some() => {
                return None;
            }
            FenceAction::DrainNear { .. } => true,
            FenceAction::PrepareFar => write(&mut state.fences, far, FenceWrite::Prepare),
            FenceAction::MoveNear => {
                let moved = write(&mut state.fences, near, FenceWrite::Move);
                state.locked = false;
                moved
            }
            FenceAction::AwaitSecondHold => match shift.fence {
                FenceState::Requested => {
                    return self.tell(state, ControlEvent::FenceMoved { epoch }).then_some(());
                }
                FenceState::Opening => true,
                _ => return None,
            },
            FenceAction::OpenFar => write(&mut state.fences, far, FenceWrite::Open),
            FenceAction::TellOpened => {
                state.fence = None;
                return self.tell(state, ControlEvent::FenceOpened { epoch }).then_some(());
            }
            FenceAction::RaiseFar => write(&mut state.fences, far, FenceWrite::Raise),
            FenceAction::ReopenNear => write(&mut state.fences, near, FenceWrite::Reopen),
            FenceAction::TellUndone => {
                state.fence = None;
                return self.tell(state, ControlEvent::FenceUndone { epoch }).then_some(());
            }
            other => unreachable!("{other:?}"),
        };
        assert!(succeeded, "a lone driver's change was refused");
        fence = fence.after(FenceEvent::Succeeded);
        state.fence = Some(fence);
        Some(())
    }

    // ---- what goes wrong

    fn crash(&self, state: &mut State) {
        state.crashed = true;
        node_mut(state, 0).up = false;
        for op in state.ops.iter_mut().filter(|op| op.node == 0) {
            match op.stage {
                Stage::Begun { .. } if op.wrote.is_none() => op.stage = Stage::Ended,
                // With capture workers carry on; the application's own transaction may still commit.
                Stage::Begun { .. } | Stage::Written { .. } | Stage::SyncRead { .. } => op.ghost = true,
                Stage::Idle | Stage::Ended => {}
            }
        }
    }

    /// A step file names a valid instance: a new process goes on from it, though the control plane is away.
    fn restart(&self, state: &mut State) -> Option<()> {
        let node = &state.nodes[0];
        let Start::Resume(remembered) = Start::decide(node.file.as_deref().cloned(), false) else {
            return None;
        };
        let (member, _) = Member::resumed(self.member_settings(), node.clock, remembered);
        let gone = node.gone;
        let next = Node { member, up: true, gone: false, cut: gone, ..Node::clone(node) };
        state.nodes[0] = Arc::new(next);
        if !gone {
            self.tell(state, ControlEvent::Resume { id: id(0) });
        }
        Some(())
    }

    /// Time passes for everyone; those in touch are heard. Writes that nobody waits for any more die.
    fn pass(&self, state: &mut State) {
        state.passed += 1;
        state.now = state.now.plus(self.pass);
        for n in 0..self.nodes {
            if !(state.nodes[n].cut && self.variant.silent_clock_stands) {
                let node = node_mut(state, n);
                node.clock = node.clock.plus(self.pass);
            }
        }
        if self.pass >= self.control.settings.write_lifetime_ms && !self.variant.writes_outlive {
            for (n, op) in state.ops.iter_mut().enumerate().filter(|(_, op)| op.ghost) {
                for guard in &mut state.guards {
                    *guard = guard.filter(|holder| usize::from(*holder) != n);
                }
                op.stage = Stage::Ended;
            }
        }
        for n in 0..self.nodes {
            self.heartbeat(state, n);
        }
        self.tell(state, ControlEvent::Tick);
        for n in 0..self.nodes {
            if state.nodes[n].up {
                self.feed(state, n, MemberEvent::Tick);
            }
        }
    }

    fn forge(&self, state: &mut State) -> Option<()> {
        let version = state.control.target.version;
        let is_second = state.control.target.has_second_hold();
        let n = (0..self.nodes).find(|&n| {
            let node = &state.nodes[n];
            let acked = state.control.instances.get(&id(n)).map(|i| i.acked);
            let forged =
                (self.variant.forge_for_silent && node.cut) || (self.variant.forge_second_hold && is_second);
            forged && acked.is_some_and(|acked| acked < version)
        })?;
        let event = ControlEvent::Acknowledge { id: id(n), version, vitals: Default::default() };
        self.tell(state, event).then_some(())
    }

    fn publish(&self, state: &mut State) -> Option<()> {
        let Driver::Script { steps, barrier } = &self.driver else { return None };
        let done = state.targets.len();
        let step = *steps.get(done - 1)?;
        let current = Self::latest(state).clone();
        let acked = state.nodes.iter().all(|node| node.member.acknowledged() == current.version);
        if *barrier && (!acked || (current.has_hold() && Self::dirty(state) > 0)) {
            return None;
        }
        let mut next = Target::uniform(current.version.next(), step, Phase::Shadow, LEASE);
        next.hold_budget_ms = Some(LEASE);
        Arc::make_mut(&mut state.targets).push(next);
        Some(())
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
            let authority = Self::latest(state).step(SLOT).authority();
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
        offer(state.repair.is_some() || state.ops.iter().any(|op| op.dirty && op.ghost), Action::Repair);
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
        ended && seen && script_done && copied && Self::dirty(state) == 0 && state.repair.is_none()
    }

    fn sides_agree(&self, state: &State) -> bool {
        let mirrored = Self::latest(state).step(SLOT).is_mirrored();
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
        let authority = control.target.step(SLOT).authority();
        let epoch = control.epoch;
        let word = |side| SideFence { open: side == authority, epoch };
        let mut state = State {
            targets: Arc::new(vec![control.target.clone()]),
            nodes: (0..self.nodes).map(node).collect(),
            control: Arc::new(control),
            values: self.values,
            guards: [None; 2],
            ops: writes.chain(reads).collect(),
            repair: None,
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
            Action::Repair => self.repair(s)?,
            Action::Copy => self.copy(s)?,
            Action::Sync if shift_waits(s) && Self::dirty(s) == 0 && s.guards == [None; 2] => {
                let version = s.control.target.version;
                self.tell(s, ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false });
            }
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
                    Driver::Script { .. } => Self::latest(state).step(SLOT) == world.goal.step(),
                };
                let used = state.ops.iter().all(|op| op.stage == Stage::Ended && (op.answered || op.refused));
                there && used && world.is_at_rest(state)
            }),
        ]
    }
}

/// A record whose instances have all acknowledged this phase, with the backfill complete.
pub(crate) fn record_in(phase: Phase, settings: changeover_protocol::Settings, nodes: usize) -> Control {
    let mut control = Control::new(settings, Millis(0));
    let tell = |control: &mut Control, event| *control = control.apply(Millis(0), event).unwrap().next;
    for n in 0..nodes {
        let expected = control.target.version;
        tell(&mut control, ControlEvent::Register { id: id(n), expected });
    }
    for to in Phase::ALL.into_iter().filter(|&p| p > Phase::Old && p <= phase) {
        tell(&mut control, ControlEvent::Advance { to, share: Share::ALL });
        while control.shift.is_some() {
            finish_step(&mut control, nodes);
        }
        if let Some(Backfill { generation, .. }) = control.backfill {
            tell(&mut control, ControlEvent::GenerationDone { generation });
        }
    }
    control.revision = 0;
    control
}

fn finish_step(control: &mut Control, nodes: usize) {
    let tell = |control: &mut Control, event| *control = control.apply(Millis(0), event).unwrap().next;
    let (version, epoch) = (control.target.version, control.epoch);
    for n in 0..nodes {
        let event = ControlEvent::Acknowledge { id: id(n), version, vitals: Default::default() };
        tell(control, event);
    }
    tell(control, ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false });
    tell(control, ControlEvent::FenceMoved { epoch: control.epoch.max(epoch) });
    tell(control, ControlEvent::FenceOpened { epoch: control.epoch.max(epoch) });
}
