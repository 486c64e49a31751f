//! What goes wrong: crashes, silence, time, and the lies that make a variant broken.

use std::sync::Arc;

use changeover_protocol::member::Start;
use changeover_protocol::{ControlEvent, Member, MemberEvent, Phase, Target};

use super::{Driver, LEASE, Node, Stage, State, World, id, node_mut};

impl World {
    pub(super) fn crash(&self, state: &mut State) {
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
    pub(super) fn restart(&self, state: &mut State) -> Option<()> {
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
    pub(super) fn pass(&self, state: &mut State) {
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

    pub(super) fn forge(&self, state: &mut State) -> Option<()> {
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

    pub(super) fn publish(&self, state: &mut State) -> Option<()> {
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
}
