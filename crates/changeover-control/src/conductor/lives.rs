//! Which versions this state's runs have published, and so which an instance may have acknowledged.
//!
//! Each run that goes on from a record begins with a version of its own, by the clock (see [`crate::barrier`]). What lies
//! between the last that an earlier run has stored and the first of the next was published by a run that this state knows
//! nothing of: it went on from the same record, and the state is an older one, put back.

use changeover_protocol::Version;

use crate::error::ControlError;
use crate::state::StateStore;

/// The setting that they are kept by.
const SETTING: &str = "published";

/// How many runs are told apart; those before count as one.
const KEPT: usize = 200;

/// Runs of versions, from and to, in order. The last is this run's, and open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lives(Vec<(u64, u64)>);

impl Lives {
    /// Begins one for a run that goes on from a record with this version, and whose own first one is `first`; from the
    /// beginning where there was no record.
    ///
    /// # Errors
    /// If the state can't be asked or written.
    pub(super) async fn begin(
        state: &dyn StateStore,
        stored: Option<Version>,
        first: Version,
    ) -> Result<Self, ControlError> {
        let known = state.setting(SETTING).await?;
        let known: Vec<(u64, u64)> =
            known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let lives = Self(known).and(stored, first);
        lives.keep(state).await?;
        Ok(lives)
    }

    fn and(self, stored: Option<Version>, first: Version) -> Self {
        let Some(Version(stored)) = stored else { return Self(vec![(0, u64::MAX)]) };
        let Self(mut all) = self;
        match all.last_mut() {
            // Its first version was told before it could be stored.
            Some((from, to)) => *to = stored.max(*from),
            None => all.push((0, stored)),
        }
        all.push((first.0, u64::MAX));
        let spare = all.len().saturating_sub(KEPT);
        if spare > 0 {
            let before = all[spare].0;
            all.drain(..spare);
            all[0].0 = before.min(all[0].0);
            all.insert(0, (0, before.saturating_sub(1)));
        }
        Self(all)
    }

    /// After the databases' word was adopted: whatever was published before, this record comes after it.
    pub(super) async fn begin_anew(state: &dyn StateStore) -> Result<Self, ControlError> {
        let lives = Self(vec![(0, u64::MAX)]);
        lives.keep(state).await?;
        Ok(lives)
    }

    /// Whether one of them has published this version.
    pub(super) fn have_published(&self, Version(version): Version) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&version))
    }

    async fn keep(&self, state: &dyn StateStore) -> Result<(), ControlError> {
        let text = serde_json::to_string(&self.0)
            .map_err(|cause| ControlError::Stopped { part: "the state", cause: cause.to_string() })?;
        state.set(SETTING, Some(&text)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_run_published_from_the_same_record_is_none_of_theirs() {
        let first = Lives(Vec::new()).and(None, Version(1));
        assert!(first.have_published(Version(7)));
        // Stored at 5; another went on from there to 9 and from 1000 on, and is not known here.
        let back = first.and(Some(Version(5)), Version(2_000));
        for (version, known) in
            [(0, true), (5, true), (6, false), (9, false), (1_000, false), (2_000, true), (2_005, true)]
        {
            assert_eq!(back.have_published(Version(version)), known, "{version}");
        }
        let on = back.and(Some(Version(2_003)), Version(3_000));
        assert!(on.have_published(Version(2_003)) && !on.have_published(Version(2_004)));
        assert!(!on.have_published(Version(9)) && on.have_published(Version(4)));
    }

    #[test]
    fn they_are_bounded_and_what_is_forgotten_counts_as_theirs() {
        let mut lives = Lives(Vec::new()).and(None, Version(1));
        for run in 1..1_000_u64 {
            lives = lives.and(Some(Version(run * 1_000 + 3)), Version((run + 1) * 1_000));
        }
        assert!(lives.0.len() <= KEPT + 1);
        assert!(lives.have_published(Version(500_500)), "long ago");
        assert!(!lives.have_published(Version(999_500)));
    }
}
