//! Instances, their operations, and what their members are told.

use std::sync::Arc;

use changeover_protocol::member::{Access, Admission, Closed};
use changeover_protocol::{ControlEvent, MemberAction, MemberEvent, Side, Target, Writes};

use super::{Ack, Op, Stage, State, World, at, id, node_mut};

impl World {
    /// Tells the member whatever is true by now, and the control plane what follows from it.
    pub(super) fn settle(&self, state: &mut State, n: usize) {
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

    pub(super) fn feed(&self, state: &mut State, n: usize, event: MemberEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let clock = state.nodes[n].clock;
            for action in node_mut(state, n).member.handle(clock, event) {
                self.act(state, n, action, &mut events);
            }
        }
    }

    pub(super) fn act(
        &self,
        state: &mut State,
        n: usize,
        action: MemberAction,
        events: &mut Vec<MemberEvent>,
    ) {
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

    pub(super) fn see(&self, state: &mut State, n: usize, target: Target) {
        self.feed(state, n, MemberEvent::Target(target));
        self.settle(state, n);
    }

    /// A heartbeat and its answer, at one moment.
    pub(super) fn heartbeat(&self, state: &mut State, n: usize) {
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

    pub(super) fn begin(&self, state: &mut State, op: usize, n: usize) -> Option<()> {
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
        let slot = self.variant.other_slot.filter(|_| n == 1).unwrap_or(self.slot);
        let access = if is_write { Access::Write } else { Access::Read };
        let Admission::Run(plan) = standing.admit(node.clock, slot, access) else { return None };
        let (side, mirrored) = match (is_write, plan.writes) {
            (false, _) => (plan.reads, false),
            (true, Writes::To(side)) => (side, false),
            (true, Writes::Mirrored(side)) => (side, true),
            (true, Writes::Held) => return None,
        };
        let ticket = standing.ticket(standing.target.step(slot));
        let before = Self::answered(state);
        let version = node.member.version();
        let dirty = mirrored && !self.captures();
        let stage = Stage::Begun { side, mirrored, ticket };
        state.ops[op] = Op { stage, before, version, node: n as u8, dirty, ..state.ops[op] };
        Some(())
    }

    pub(super) fn answered(state: &State) -> u8 {
        state.ops.iter().enumerate().fold(0, |mask, (n, op)| if op.answered { mask | 1 << n } else { mask })
    }

    pub(super) fn go(&self, state: &mut State, n: usize) -> Option<()> {
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

    pub(super) fn write(
        &self,
        state: &mut State,
        op: &mut Op,
        side: Side,
        mirrored: bool,
        value: u8,
    ) -> Option<()> {
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
}
