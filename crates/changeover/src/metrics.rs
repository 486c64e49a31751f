//! The names of all metrics that a service's exporter shows, with their units. Values come from
//! [`Migration::evidence`](crate::Migration::evidence); whoever exports them does it under these names.
//!
//! Labels: `migration`, `operation`, `cohort` (`control`, `treatment`), and those named here.

/// Calls by `side`. In steps `old` and `new` an estimate.
pub const CALLS_TOTAL: &str = "changeover_calls_total";
/// Calls that answered with an error, by `side`. Exact.
pub const CALLS_FAILED_TOTAL: &str = "changeover_calls_failed_total";
/// How long calls took, by `side`: a histogram in seconds.
pub const CALL_SECONDS: &str = "changeover_call_seconds";
/// Comparisons by `outcome`: `match`, `rule` (with the label `rule`), `transient`, `persistent`, `error-old`, `error-new`,
/// `error-both`.
pub const COMPARISONS_TOTAL: &str = "changeover_comparisons_total";
/// Shadow calls that weren't made or compared, by `reason`.
pub const COMPARISONS_DROPPED_TOTAL: &str = "changeover_comparisons_dropped_total";
/// Shadow calls under way.
pub const SHADOW_CALLS_RUNNING: &str = "changeover_shadow_calls_running";
/// Writes that wait for a hold to end.
pub const WRITES_WAITING: &str = "changeover_writes_waiting";
/// Writes that waited for a hold to end.
pub const WRITES_HELD_TOTAL: &str = "changeover_writes_held_total";
/// The longest such wait, in seconds.
pub const WRITE_HELD_LONGEST_SECONDS: &str = "changeover_write_held_longest_seconds";
/// Writes whose keys were left dirty.
pub const WRITES_LEFT_DIRTY_TOTAL: &str = "changeover_writes_left_dirty_total";
/// Writes that ended without a known outcome.
pub const WRITES_UNKNOWN_TOTAL: &str = "changeover_writes_unknown_total";
/// Keys put down that aren't known to be synced.
pub const DIRTY_KEYS: &str = "changeover_dirty_keys";
/// Operations under way, about.
pub const OPERATIONS_RUNNING: &str = "changeover_operations_running";
/// Events.
pub const EVENTS_TOTAL: &str = "changeover_events_total";
/// Unclean events.
pub const UNCLEAN_EVENTS_TOTAL: &str = "changeover_unclean_events_total";
