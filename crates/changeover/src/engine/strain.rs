//! When a walk over the tables rests: a replica of either side lags, or either side has much to do.
//!
//! A replica's lag is told in time, from the primary's own positions: the age of the newest one that the replica has reached. It
//! needs no clock of the replica's, and grows while a replica stands still, which what the servers themselves say of a lag
//! doesn't always.

use std::collections::VecDeque;
use std::time::Duration;

use changeover_protocol::Side;
use tokio::time::Instant;

use super::pair::Link;
use crate::store::strain::Strain;

/// How often both sides are looked at, and how long the walk rests before it looks again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many positions are remembered, one for each look: a lag is told up to their age.
const REMEMBERED: usize = 600;

/// How much either side may have to bear before the walk rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrainLimits {
    /// A replica may be so far behind; `None`: nobody looks.
    pub lag: Option<Duration>,
    /// So many of the application's statements may run at once; `None`: nobody looks.
    pub running: Option<u64>,
}

impl StrainLimits {
    /// Nothing is looked at.
    #[must_use]
    pub const fn none() -> Self {
        Self { lag: None, running: None }
    }
}

impl Default for StrainLimits {
    /// Replicas may lag by 10 s.
    fn default() -> Self {
        Self { lag: Some(Duration::from_secs(10)), running: None }
    }
}

/// Watches both sides.
#[derive(Debug)]
pub(super) struct Watch {
    limits: StrainLimits,
    looked: Option<Instant>,
    sides: [Past; 2],
    /// Why the walk rests, as of the last look.
    why: Option<String>,
    /// Whether it was said that a side doesn't tell.
    complained: bool,
}

/// Where a primary's log was, and when: oldest first.
#[derive(Debug, Default)]
struct Past(VecDeque<(Instant, u64)>);

impl Watch {
    pub(super) fn new(limits: StrainLimits) -> Self {
        Self { limits, looked: None, sides: Default::default(), why: None, complained: false }
    }

    /// Why the walk should rest, as of the last look.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Looks at both sides, unless it has just done so. What can't be seen holds nothing up.
    pub(super) async fn look(&mut self, link: &Link) {
        if self.limits == StrainLimits::none() || self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.why = None;
        for side in [Side::Old, Side::New] {
            match link.store(side).strain().await {
                Ok(strain) => {
                    let why = self.judge(side, &strain);
                    self.why = self.why.take().or(why);
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(%error, "how this server fares can't be seen: nothing gives way for it");
                }
                Err(_) => {}
            }
        }
        self.looked = Some(Instant::now());
    }

    fn judge(&mut self, side: Side, strain: &Strain) -> Option<String> {
        let past = &mut self.sides[usize::from(side == Side::New)];
        let now = Instant::now();
        past.note(now, strain.position);
        if let (Some(running), Some(limit)) = (strain.running, self.limits.running)
            && running > limit
        {
            return Some(format!("{running} statements run on the {side} side (running, at most {limit})"));
        }
        let limit = self.limits.lag?;
        let lags = strain.replicas.iter().map(|replica| (past.lag(now, replica.position), replica));
        let (lag, replica) = lags.max_by_key(|(lag, _)| *lag)?;
        (lag > limit).then(|| {
            format!(
                "the {side} side's replica {} is {} s behind (lag, at most {} s)",
                replica.name,
                lag.as_secs(),
                limit.as_secs()
            )
        })
    }
}

impl Past {
    fn note(&mut self, now: Instant, position: Option<u64>) {
        let Some(position) = position else { return };
        // Another server's log has come in the place of this one.
        if self.0.back().is_some_and(|(_, last)| *last > position) {
            self.0.clear();
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((now, position));
    }

    /// For how long the primary has been past this position, as far as is remembered.
    fn lag(&self, now: Instant, position: u64) -> Duration {
        let passed = self.0.iter().find(|(_, was)| *was > position);
        passed.map_or(Duration::ZERO, |(at, _)| now - *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::strain::Replica;

    fn strain(position: u64, replica: u64) -> Strain {
        let replicas = vec![Replica { name: "r1".to_owned(), position: replica }];
        Strain { running: Some(3), position: Some(position), replicas }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_stands_still_falls_behind_by_time() {
        let mut watch = Watch::new(StrainLimits { lag: Some(Duration::from_secs(5)), running: None });
        for second in 0..20_u64 {
            // The primary writes 100 bytes a second; the replica stands still from the third second on.
            let why = watch.judge(Side::New, &strain(second * 100, (second * 100).min(300)));
            let behind = second.saturating_sub(4);
            assert_eq!(why.is_some(), behind > 5, "{second}: {why:?}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let why = watch.judge(Side::New, &strain(2_000, 300)).expect("it stands still");
        assert_eq!(why, "the new side's replica r1 is 16 s behind (lag, at most 5 s)");
        assert_eq!(watch.judge(Side::New, &strain(2_100, 2_050)), None, "it has caught up");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_primary_has_no_lag_however_long_it_is_idle() {
        let mut watch = Watch::new(StrainLimits::default());
        for _ in 0..100 {
            assert_eq!(watch.judge(Side::Old, &strain(500, 500)), None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(watch.sides[0].0.len() <= REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_another_log_begins_anew() {
        let mut watch = Watch::new(StrainLimits::default());
        for second in 0..2_000 {
            watch.judge(Side::Old, &strain(second, second));
        }
        assert_eq!(watch.sides[0].0.len(), REMEMBERED);
        watch.judge(Side::Old, &strain(7, 7));
        assert_eq!(watch.sides[0].0.len(), 1);
    }

    #[test]
    fn more_statements_than_the_limit_are_told_with_the_side() {
        let mut watch = Watch::new(StrainLimits { lag: None, running: Some(2) });
        let why = watch.judge(Side::Old, &strain(0, 0)).expect("three run");
        assert_eq!(why, "3 statements run on the old side (running, at most 2)");
    }
}
