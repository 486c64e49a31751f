//! Whether the instances have spoken since this run began, and whether its record is one for them to go by.
//!
//! With dual write hardly anything but an instance shows that a state is an older one, put back from a backup: it has
//! acknowledged versions that this state never published. So nothing is moved, repaired or told to anybody before those
//! that the record knows have spoken, or had the time to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use changeover_protocol::moves::Mirror;
use changeover_protocol::{InstanceId, Phase, Version};
use tokio::time::Instant;

use super::Conductor;
use super::lives::Lives;

/// How long they have, and how often is looked whether they have spoken.
const WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(25);

/// Identities come from outside.
const KEPT: usize = 10_000;

/// Who has spoken since this run began.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    /// Those that go by what this state has published.
    known: BTreeSet<String>,
    /// Those that were heard while nothing was done, with what they have acknowledged: for `adopt` to count.
    pub(super) waiting: BTreeMap<String, Version>,
}

impl Conductor {
    pub(super) fn spoken(&self) -> MutexGuard<'_, Spoken> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every instance that the record knew at the start has spoken, or had the time to.
    pub(crate) fn is_heard(&self) -> bool {
        let began_with = &self.began_with;
        // In `old` without anybody there is nobody to wait for: as when a migration begins.
        let nobody = began_with.place.phase == Phase::Old && began_with.instances.is_empty();
        if self.plan.settings.mirror != Mirror::DualWrite || nobody {
            return true;
        }
        if Instant::now() >= self.began + WITHIN {
            return true;
        }
        let spoken = self.spoken();
        let mut known = began_with.instances.iter().filter(|(_, instance)| !instance.lapsed).peekable();
        known.peek().is_some() && known.all(|(id, _)| spoken.known.contains(id.to_string().as_str()))
    }

    /// Whether each of them has spoken, or isn't counted any more.
    pub(super) fn nobody_is_unheard(&self) -> bool {
        if self.plan.settings.mirror != Mirror::DualWrite {
            return true;
        }
        let (record, spoken) = (self.barrier.record(), self.spoken());
        let of_then = self.began_with.instances.keys().filter(|id| record.instances.contains_key(id));
        of_then.into_iter().all(|id| spoken.known.contains(id.to_string().as_str()))
    }

    /// Waits until they have; a moment.
    pub(crate) async fn instances_heard(&self) {
        while !self.is_heard() && self.stopped().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// While state and databases disagree nobody is told that it isn't counted: the record isn't believed, and instances go
    /// on at the step they know. Who is heard will be counted when the databases' word is adopted.
    ///
    /// Whoever has acknowledged what this state never published shows that it is an older one, as from a backup.
    ///
    /// # Errors
    /// Why the record isn't believed, or not yet.
    pub(crate) async fn believed(&self, id: &str, acked: Version) -> Result<(), String> {
        let record = self.barrier.record();
        let foreign = acked > record.target.version || !self.lives().have_published(acked);
        if foreign {
            let (newest, name) = (self.began_with.target.version, id.escape_debug());
            let problem = format!(
                "instance {name} has acknowledged version {acked}, which no run with this state has published (this one began \
                 with {newest}): the state is an older one"
            );
            self.stop(&problem).await;
        }
        if let Some(problem) = self.stopped() {
            if foreign || !record.instances.contains_key(&InstanceId::new(id)) {
                self.note_waiting(id, acked);
            }
            return Err(format!("{problem}: waiting for adopt"));
        }
        let mut spoken = self.spoken();
        if spoken.known.len() < KEPT {
            spoken.known.insert(id.to_owned());
        }
        drop(spoken);
        if self.is_heard() {
            Ok(())
        } else {
            Err("this run has just begun, and hears its instances first".to_owned())
        }
    }

    fn note_waiting(&self, id: &str, acked: Version) {
        let waiting = &mut self.spoken().waiting;
        if waiting.len() < KEPT || waiting.contains_key(id) {
            let known = waiting.entry(id.to_owned()).or_default();
            *known = acked.max(*known);
        }
    }
}
