//! What a run is to do, from the spec: the protocol's settings, the gates' limits, the logs' bounds; and whether a spec that
//! changed since the migration began may be gone on with.

use std::sync::Arc;
use std::time::Duration;

use changeover::engine::{BackfillOptions, StrainLimits};
use changeover_api::Spec;
use changeover_api::spec::{CallsGate, Changed, Effect, Fingerprint, PaceSpec};
use changeover_protocol::chunk::Reading;
use changeover_protocol::gate::{CallLimit, Limits, MismatchLimit};
use changeover_protocol::moves::Mirror;
use changeover_protocol::{Millis, Phase, Settings};

use super::install::Bounds;

/// About how many bytes one entry of a log takes in its database: for turning a bound in bytes into one in entries.
const ENTRY_BYTES: u64 = 100;

/// How long to rest between two verifications, at least; each also rests as long as it took.
const VERIFY_PAUSE: Duration = Duration::from_secs(60);

/// How long a chunk takes where nobody is in its way. Syncs of its rows wait that long.
const CHUNK_TIME_ALONE: Duration = Duration::from_millis(400);

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The migration's name.
    pub name: String,
    /// The spec.
    pub spec: Arc<Spec>,
    /// The protocol's settings.
    pub settings: Settings,
    /// The gates' limits.
    pub limits: Limits,
    /// The logs' bounds, in entries.
    pub(crate) bounds: Bounds,
    /// How long the log of the new side is kept for the way back.
    pub(crate) way_back_ms: Millis,
    /// Whether evidence that passes a limit after a move sends the migration back.
    pub(crate) goes_back_by_itself: bool,
    /// How long to rest between two verifications.
    pub(crate) verify_pause: Duration,
    /// The databases are quiet: the backfill gives way to nobody.
    pub(crate) fast: bool,
}

/// What a changed spec means for a migration that has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpecChange {
    /// In words, each part.
    pub(crate) parts: Vec<String>,
    /// The last verification no longer counts.
    pub(crate) verify: bool,
    /// What may not change in this phase.
    pub(crate) refused: Vec<Changed>,
}

impl Plan {
    /// The plan of a spec.
    #[must_use]
    pub fn of(spec: Spec) -> Self {
        let limits = limits(&spec);
        let settings = settings(&spec);
        let bounds = Bounds {
            mirror: spec.capture.bound,
            way_back: (spec.capture.way_back_bytes / ENTRY_BYTES).max(1),
        };
        Self {
            name: spec.name.clone(),
            settings,
            limits,
            bounds,
            way_back_ms: millis(spec.capture.way_back_time),
            goes_back_by_itself: true,
            verify_pause: VERIFY_PAUSE,
            fast: false,
            spec: Arc::new(spec),
        }
    }

    /// How the backfill runs. In a hold nobody writes, so nothing needs to be guarded, and nobody is in its way. With
    /// dual write the instances sync their keys whatever the chunks' states are, and clear the log behind them: so a
    /// chunk is read under the guard of its range, and never from the log's protection.
    pub(crate) fn backfill(&self, in_hold: bool) -> BackfillOptions {
        let pace = &self.spec.backfill;
        let default = BackfillOptions::default();
        let alone = in_hold || self.fast;
        BackfillOptions {
            chunk_time: if alone { CHUNK_TIME_ALONE } else { default.chunk_time },
            chunk_rows_max: if pace.chunk_rows == PaceSpec::default().chunk_rows {
                default.chunk_rows_max
            } else {
                pace.chunk_rows
            },
            chunk_bytes_max: usize::try_from(pace.chunk_bytes).unwrap_or(usize::MAX).max(1 << 20),
            rows_per_second_max: if alone { None } else { pace.rate },
            response_max: if alone { None } else { pace.give_way.or(default.response_max) },
            limits: if alone {
                StrainLimits::none()
            } else {
                StrainLimits { lag: Some(pace.lag), running: pace.running }
            },
            reading: match (in_hold, self.settings.mirror) {
                (true, _) => Some(Reading::Logged),
                // Instances sync their keys themselves and take them out of the log, whatever their chunk is at: a row
                // that was read before such a sync must not be written after it.
                (false, Mirror::DualWrite) => Some(Reading::Guarded),
                (false, Mirror::Capture) => None,
            },
            ..default
        }
    }

    /// Compares the spec with the one that the migration was last run by.
    pub(crate) fn change_since(&self, earlier: &Fingerprint, phase: Phase) -> SpecChange {
        let mut result = SpecChange::default();
        for change in self.spec.fingerprint().changes_since(earlier) {
            result.parts.push(change.to_string());
            match change.effect {
                Effect::Fixed | Effect::Generation if phase != Phase::Old => result.refused.push(change),
                Effect::Verification => result.verify = true,
                Effect::Fixed | Effect::Generation | Effect::Free => {}
            }
        }
        result
    }
}

/// What to do about a spec that changed in a way that the migration can't go on with.
pub(crate) fn change_it_back(phase: Phase) -> String {
    format!(
        "The migration is in {phase}: change it back; or, with it changed back, run and `changeover rollback --to old` first, \
         and then begin anew with the new one"
    )
}

fn settings(spec: &Spec) -> Settings {
    let fleet = &spec.fleet;
    Settings {
        mirror: spec.mirror,
        phases: spec.phases,
        hold_budget_ms: millis(fleet.hold_budget),
        hold_lease_ms: millis(fleet.hold_lease),
        write_lifetime_ms: millis(fleet.write_lifetime),
        patience_ms: millis(fleet.patience),
        on_silence: fleet.on_silence,
        forget_after_ms: fleet.forget_after.map(millis),
    }
}

fn limits(spec: &Spec) -> Limits {
    let bake = |phase| spec.gate.bake.get(&phase).copied().map_or(Millis(0), millis);
    let default = Limits::default();
    let mismatch = spec.gate.mismatch.as_ref();
    Limits {
        mismatch: mismatch.map(|gate| MismatchLimit { max_rate: gate.max_percent / 100.0, over: gate.over }),
        // Whoever compares reads measures calls.
        calls: spec.gate.calls.or_else(|| mismatch.map(|gate| CallsGate::beside(Some(*gate)))).map(calls),
        bake_old_ms: bake(Phase::Old),
        bake_shadow_ms: bake(Phase::Shadow),
        bake_reverse_shadow_ms: bake(Phase::ReverseShadow),
        bake_new_ms: bake(Phase::New),
        // Nobody can touch the fenced side at all: a shorter bake time is the operator's word on this as well.
        untouched_ms: default.untouched_ms.min(bake(Phase::New)),
    }
}

fn calls(gate: CallsGate) -> CallLimit {
    CallLimit {
        over: gate.over,
        more_errors: gate.errors_percent / 100.0,
        slower_by: gate.slower_by,
        slower_ms: gate.slack.as_secs_f64() * 1_000.0,
    }
}

fn millis(length: Duration) -> Millis {
    Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn plan(where_: &str, extra: &str) -> Plan {
        let text = format!(
            "format = 1\nname = \"bookings\"\n{extra}\n[store.a]\nurl = \"sqlite:a.db\"\n[store.b]\nurl = \"sqlite:b.db\"\n\
             [[table]]\nold = \"a:x\"\nnew = \"b:y\"\nkey = {{ id = \"id\" }}\nwhere = \"{where_}\"\n"
        );
        Plan::of(Spec::parse(Path::new("bookings.toml"), &text).unwrap())
    }

    #[test]
    fn a_mapping_that_changed_in_mid_backfill_is_refused_with_the_remedy() {
        let earlier = plan("kind = 1", "").spec.fingerprint();
        let changed = plan("kind = 2", "");
        assert!(changed.change_since(&earlier, Phase::Old).refused.is_empty(), "nothing has begun");
        let refused = changed.change_since(&earlier, Phase::Shadow).refused;
        assert!(refused.len() == 1 && refused[0].part == "table.x.where", "{refused:?}");
    }

    #[test]
    fn a_setting_may_change_at_any_time() {
        let earlier = plan("kind = 1", "").spec.fingerprint();
        let changed = plan("kind = 1", "hold_budget = \"3s\"").change_since(&earlier, Phase::New);
        assert!(!changed.verify && changed.parts.len() == 1, "{changed:?}");
    }

    #[test]
    fn the_default_bake_times_are_a_week() {
        let limits = plan("1", "").limits;
        assert_eq!(limits.bake_reverse_shadow_ms, Millis(7 * 86_400_000));
        assert_eq!((limits.mismatch, limits.calls), (None, None));
    }

    #[test]
    fn what_calls_may_be_is_the_default_beside_mismatches_unless_the_spec_says_more() {
        let mismatch = "[gate]\nmismatch = { max = \"1 %\", over = 200 }";
        let limits = plan("1", mismatch).limits;
        assert_eq!(limits.calls, Some(CallLimit { over: 200, ..CallLimit::default() }));
        let limits = plan("1", &format!("{mismatch}\ncalls = {{ slower_by = 4.0, slack = \"1s\" }}")).limits;
        let said = CallLimit { over: 200, slower_by: 4.0, slower_ms: 1_000.0, ..CallLimit::default() };
        assert_eq!(limits.calls, Some(said));
    }
}
