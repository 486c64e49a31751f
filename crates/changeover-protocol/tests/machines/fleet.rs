//! A control plane's record with a fleet that does as it is told, for the tests to disturb.

use changeover_protocol::control::{Change, MoveReport, Outcome, Refusal, Vitals};
use changeover_protocol::{
    Control, ControlAction, ControlEvent, InstanceId, Millis, Phase, Settings, Share, Step, Version,
};

pub(crate) const LEASE: u64 = 500;
pub(crate) const BUDGET: u64 = 2_000;

pub(crate) fn id(n: usize) -> InstanceId {
    InstanceId::new(format!("i{n}"))
}

pub(crate) struct Fleet {
    pub(crate) control: Control,
    pub(crate) now: u64,
    /// Every action so far.
    pub(crate) log: Vec<ControlAction>,
}

impl Fleet {
    /// So many instances, in `old`.
    pub(crate) fn new(settings: Settings, instances: usize) -> Self {
        let mut fleet = Self { control: Control::new(settings, Millis(0)), now: 0, log: vec![] };
        for n in 0..instances {
            let expected = fleet.control.target.version;
            fleet.tell(ControlEvent::Register { id: id(n), expected });
        }
        fleet
    }

    /// So many instances, in this phase, with everything done that lies on the way.
    pub(crate) fn in_phase(phase: Phase, settings: Settings, instances: usize) -> Self {
        let mut fleet = Self::new(settings, instances);
        for to in settings.phases.list().filter(|&p| p > Phase::Old && p <= phase) {
            fleet.tell(advance(to));
            fleet.finish();
        }
        assert_eq!(fleet.control.place.phase, phase);
        fleet.log.clear();
        fleet
    }

    pub(crate) fn try_tell(&mut self, event: ControlEvent) -> Result<Vec<ControlAction>, Refusal> {
        let Change { next, actions, durable } = self.control.apply(Millis(self.now), event)?;
        assert_eq!(next.revision, self.control.revision + u64::from(durable));
        self.control = next;
        self.log.extend(actions.clone());
        Ok(actions)
    }

    pub(crate) fn tell(&mut self, event: ControlEvent) -> Vec<ControlAction> {
        self.try_tell(event).unwrap()
    }

    pub(crate) fn ack(&mut self, n: usize) -> Vec<ControlAction> {
        let version = self.control.target.version;
        self.tell(ControlEvent::Acknowledge { id: id(n), version, vitals: Vitals::default() })
    }

    /// All whom the control plane counts acknowledge the present target.
    pub(crate) fn ack_all(&mut self) {
        let version = self.control.target.version;
        let ids: Vec<InstanceId> = self.control.instances.keys().cloned().collect();
        for id in ids {
            self.tell(ControlEvent::Acknowledge { id, version, vitals: Vitals::default() });
        }
    }

    pub(crate) fn beat(&mut self, n: usize) {
        let acked = self.control.instances[&id(n)].acked;
        self.tell(ControlEvent::Heartbeat { id: id(n), acked, vitals: Vitals::default() });
    }

    /// Time passes in half leases, in which these instances are heard.
    pub(crate) fn pass(&mut self, ms: u64, heard: &[usize]) {
        let end = self.now + ms;
        while self.now < end {
            self.now = (self.now + LEASE / 2).min(end);
            for &n in heard {
                self.beat(n);
            }
            self.tell(ControlEvent::Tick);
        }
    }

    pub(crate) fn in_sync(&mut self) -> Vec<ControlAction> {
        let version = self.control.target.version;
        self.tell(ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false })
    }

    /// Whatever the record waits for comes true, until no move is under way and no backfill.
    pub(crate) fn finish(&mut self) {
        for _ in 0..40 {
            if self.control.shift.is_none() && self.control.backfill.is_none_or(|b| b.done) {
                return;
            }
            self.ack_all();
            self.in_sync();
            let epoch = self.control.epoch;
            self.tell(ControlEvent::FenceMoved { epoch });
            self.tell(ControlEvent::FenceOpened { epoch });
            self.tell(ControlEvent::FenceUndone { epoch });
            self.tell(ControlEvent::WayBackDrained);
            if let Some(backfill) = self.control.backfill {
                self.tell(ControlEvent::GenerationDone { generation: backfill.generation });
            }
        }
        panic!("it never ends: {:?}", self.control.shift);
    }

    /// All acknowledge, and nothing is dirty, until this step is published.
    pub(crate) fn go_to(&mut self, step: Step) {
        for _ in 0..4 {
            if self.step() == step {
                return;
            }
            self.ack_all();
            self.in_sync();
        }
        panic!("{step} isn't reached: {:?}", self.control.target);
    }

    pub(crate) fn step(&self) -> Step {
        self.control.target.uniform_step().unwrap()
    }

    pub(crate) fn version(&self) -> Version {
        self.control.target.version
    }

    /// The steps published since the log was cleared.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let published = self.log.iter().filter_map(|action| match action {
            ControlAction::Publish(target) => target.uniform_step(),
            _ => None,
        });
        published.collect()
    }

    pub(crate) fn reports(&self) -> Vec<&MoveReport> {
        let reports = self.log.iter().filter_map(|action| match action {
            ControlAction::Report(report) => Some(report),
            _ => None,
        });
        reports.collect()
    }

    pub(crate) fn turned_around(&self) -> Option<&MoveReport> {
        self.reports().into_iter().find(|r| matches!(r.outcome, Outcome::TurnedAround(_)))
    }
}

pub(crate) fn advance(to: Phase) -> ControlEvent {
    ControlEvent::Advance { to, share: Share::ALL }
}

pub(crate) fn rollback(to: Phase) -> ControlEvent {
    ControlEvent::Rollback { to, share: Share::ALL, leave_behind: false }
}
