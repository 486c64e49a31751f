//! Whether the instances have spoken since this run began, and whether its record is one for them to go by.
//!
//! With dual write hardly anything but an instance shows that a state is an older one, put back from a backup: it has
//! acknowledged versions that this state never published. So nothing is moved or repaired before they had time to speak.

use std::time::Duration;

use changeover_protocol::moves::Mirror;
use changeover_protocol::{Control, InstanceId, Millis, Phase, Version};

use super::Conductor;
use super::lives::Lives;

/// How long they have, and how often is looked whether they have spoken.
const WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// Whether there are instances, and all of them have spoken since.
fn all_heard(record: &Control, since: Millis) -> bool {
    let mut known = record.instances.values().filter(|instance| !instance.lapsed).peekable();
    known.peek().is_some() && known.all(|instance| instance.heard > since)
}

impl Conductor {
    /// Waits until the instances that the record knows have spoken in this run; or, if it knows none, until whoever there
    /// may be had the time to.
    pub(super) async fn instances_heard(&self) {
        let is_doubtful = |record: &Control| record.place.phase != Phase::Old;
        if self.plan.settings.mirror != Mirror::DualWrite || !is_doubtful(&self.began_with) {
            return;
        }
        let until = self.began + WITHIN;
        while tokio::time::Instant::now() < until
            && !all_heard(&self.barrier.record(), self.began_at)
            && self.stopped().is_none()
        {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// While state and databases disagree nobody is told that it isn't counted: the record isn't believed, and instances go
    /// on at the step they know. Who is heard will be counted when the databases' word is adopted.
    ///
    /// Whoever has acknowledged what this state never published shows that it is an older one, as from a backup.
    ///
    /// # Errors
    /// Why the record isn't believed.
    pub(crate) async fn believed(&self, id: &str, acked: Version) -> Result<(), String> {
        let record = self.barrier.record();
        let known = self.lives().have_published(acked);
        let later = acked > record.target.version || !known;
        if later {
            let (newest, name) = (self.began_with.target.version, id.escape_debug());
            let problem = format!(
                "instance {name} has acknowledged version {acked}, which no run with this state has published (this one began \
                 with {newest}): the state is an older one"
            );
            self.stop(&problem).await;
        }
        let Some(problem) = self.stopped() else { return Ok(()) };
        if later || !record.instances.contains_key(&InstanceId::new(id)) {
            self.note_seen(id, acked);
        }
        Err(problem)
    }

    pub(super) fn lives(&self) -> std::sync::MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// An instance was heard while nothing is done: it will be counted when the databases' word is adopted.
    fn note_seen(&self, id: &str, acked: Version) {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Bounded: identities come from outside.
        if seen.len() < 10_000 || seen.contains_key(id) {
            let known = seen.entry(id.to_owned()).or_default();
            *known = acked.max(*known);
        }
    }
}
