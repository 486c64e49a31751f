//! The barrier: who is counted, who has acknowledged, who is silent, and who may be left out.

use super::{Change, Control, ControlAction, Ghost, Instance, Refusal, Vitals};
use crate::member::{InstanceId, OnSilence};
use crate::moves::UncleanEvent;
use crate::target::Version;
use crate::time::Millis;

impl Control {
    pub(super) fn register(&mut self, now: Millis, id: InstanceId, expected: Version) -> Result<(), Refusal> {
        if self.instances.contains_key(&id) {
            return Err(Refusal::IdentityTaken(id));
        }
        if expected != self.target.version {
            return Err(Refusal::VersionMoved { current: self.target.clone() });
        }
        let instance = Instance { acked: expected, heard: now, vitals: Vitals::default(), lapsed: false };
        self.instances.insert(id, instance);
        Ok(())
    }

    /// Whoever is heard is live again, and may from now on act on the target that the answer carries.
    pub(super) fn hear(&mut self, now: Millis, id: &InstanceId) -> Result<(), Refusal> {
        let instance = self.instances.get_mut(id).ok_or_else(|| Refusal::UnknownInstance(id.clone()))?;
        instance.heard = instance.heard.max(now);
        instance.lapsed = false;
        Ok(())
    }

    pub(super) fn hear_all(&mut self, now: Millis) {
        for instance in self.instances.values_mut() {
            instance.heard = instance.heard.max(now);
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Millis,
        id: &InstanceId,
        version: Version,
        vitals: Vitals,
    ) -> Result<(), Refusal> {
        self.hear(now, id)?;
        let current = self.target.version;
        if version > current {
            return Err(Refusal::VersionUnknown { named: version, current });
        }
        if let Some(instance) = self.instances.get_mut(id) {
            instance.acked = instance.acked.max(version);
            instance.vitals = vitals;
        }
        Ok(())
    }

    pub(super) fn goodbye(&mut self, id: &InstanceId) -> Result<(), Refusal> {
        self.instances.remove(id).map(|_| ()).ok_or_else(|| Refusal::UnknownInstance(id.clone()))
    }

    /// The instance is gone for good, but the servers may still run its last writes: until they can't, the
    /// barrier waits for its ghost.
    pub(super) fn forget(
        &mut self,
        now: Millis,
        id: &InstanceId,
        actions: &mut Vec<ControlAction>,
    ) -> Result<(), Refusal> {
        self.goodbye(id)?;
        let until = now.plus(self.settings.write_lifetime_ms);
        self.ghosts.push(Ghost { instance: id.clone(), until });
        actions.push(ControlAction::Void(id.clone()));
        self.unclean(now, UncleanEvent::Forgotten { instance: id.0.clone() }, actions);
        Ok(())
    }

    /// What time does to instances: leases lapse where silence is fenced, the long silent are forgotten where
    /// the spec says so, ghosts' writes die.
    pub(super) fn age(&mut self, now: Millis, actions: &mut Vec<ControlAction>) {
        self.ghosts.retain(|ghost| now < ghost.until);
        if self.settings.on_silence == OnSilence::Fence {
            let silent: Vec<InstanceId> = self.silent(now).cloned().collect();
            for id in silent {
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.lapsed = true;
                }
            }
        }
        if let Some(after) = self.settings.forget_after_ms {
            let gone = self.instances.iter().filter(|(_, i)| now.since(i.heard) >= after);
            let gone: Vec<InstanceId> = gone.map(|(id, _)| id.clone()).collect();
            for id in gone {
                // It is there: it was found a moment ago.
                let _ = self.forget(now, &id, actions);
            }
        }
    }

    /// Those that have not been heard for their lease *and one more*: by then each has noticed it itself.
    pub fn silent(&self, now: Millis) -> impl Iterator<Item = &InstanceId> {
        let patience = self.settings.hold_lease_ms.times(2);
        self.instances.iter().filter(move |(_, i)| now.since(i.heard) >= patience).map(|(id, _)| id)
    }

    /// Live instances that have not acknowledged the present target.
    pub fn missing(&self) -> impl Iterator<Item = &InstanceId> {
        let version = self.target.version;
        self.instances.iter().filter(move |(_, i)| !i.lapsed && i.acked < version).map(|(id, _)| id)
    }

    /// Whether every live instance has acknowledged the present target, and no ghost's write can land.
    pub(super) fn all_acknowledged(&self, now: Millis) -> bool {
        self.missing().next().is_none() && self.ghosts.iter().all(|ghost| now >= ghost.until)
    }

    /// The same without those that are silent. Right only where a hold lies behind: there a silent instance
    /// refuses whatever could do harm.
    pub(super) fn all_but_silent_acknowledged(&self, now: Millis) -> bool {
        let patience = self.settings.hold_lease_ms.times(2);
        let version = self.target.version;
        self.instances.values().all(|i| i.lapsed || i.acked >= version || now.since(i.heard) >= patience)
    }

    /// Whether every live instance that has acknowledged the present target had no dirty key when it was heard
    /// last.
    pub(super) fn no_dirty_journal(&self) -> bool {
        self.instances.values().all(|i| i.lapsed || i.vitals.dirty_keys == 0)
    }
}

impl Change {
    /// Whether anything changed at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.durable && self.actions.is_empty()
    }
}
