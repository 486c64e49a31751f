//! What a demo comes to: the figures, for a person and as one JSON object.

use std::sync::atomic::Ordering;

use changeover_history::Linearizable;
use serde::Serialize;

use super::phases::Phase;
use super::proof::Proof;
use super::script;
use super::script_naive;
use super::service::PLANTED;
use super::story::Story;
use super::traffic::{Operation, Tally};
use super::{DemoArgs, grouped};

/// Everything that `demo --json` says.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// How it was moved: `changeover`, or `naive`.
    pub(super) moved_by: &'static str,
    pub(super) requests: u64,
    /// Requests refused, or without a known outcome although their instance lives.
    pub(super) failed_requests: u64,
    /// The first of their reasons.
    pub(super) first_failure: Option<String>,
    /// Requests that were in flight in the instance that was killed.
    pub(super) cut_off_by_the_kill: u64,
    pub(super) acknowledged_writes: u64,
    pub(super) lost_writes: u64,
    pub(super) operations_checked: u64,
    pub(super) max_concurrency_per_key: usize,
    pub(super) linearizable: bool,
    /// Keys whose history isn't linearizable, and those that the checker couldn't decide on.
    pub(super) keys_not_linearizable: u64,
    pub(super) keys_undecided: usize,
    pub(super) rows_backfilled: u64,
    pub(super) rows_verified: u64,
    pub(super) differences: u64,
    pub(super) mismatches_planted: usize,
    pub(super) mismatches_found: usize,
    /// The longest write that a hold overlapped, as its client saw it.
    pub(super) longest_write_hold_ms: f64,
    pub(super) rollbacks: u32,
    pub(super) phases: Vec<Phase>,
    /// One lost write, in words.
    pub(super) lost_for_example: Option<String>,
    /// One key's history that no order explains, in words.
    pub(super) wrong_for_example: Option<String>,
}

impl Report {
    /// What the clients and the checker say; the rest is for the caller to fill in.
    pub(super) fn of(moved_by: &'static str, operations: &[Operation], tally: &Tally, proof: &Proof) -> Self {
        let verdict = &proof.verdict;
        Self {
            moved_by,
            requests: operations.len() as u64,
            failed_requests: tally.failed.load(Ordering::Relaxed),
            first_failure: tally.first_failure.get().cloned(),
            cut_off_by_the_kill: tally.cut_off.load(Ordering::Relaxed),
            acknowledged_writes: tally.acknowledged.load(Ordering::Relaxed),
            lost_writes: proof.lost_writes(),
            operations_checked: verdict.operations_checked,
            max_concurrency_per_key: verdict.max_concurrency_per_key,
            linearizable: verdict.linearizable() == Linearizable::Yes,
            keys_not_linearizable: verdict.violating_keys,
            keys_undecided: verdict.undecided.len(),
            rows_backfilled: 0,
            rows_verified: 0,
            differences: 0,
            mismatches_planted: 0,
            mismatches_found: 0,
            longest_write_hold_ms: 0.0,
            rollbacks: 0,
            phases: Vec::new(),
            lost_for_example: proof.example(),
            wrong_for_example: verdict.violations.first().map(ToString::to_string),
        }
    }

    /// The report of a run by Changeover.
    pub(super) fn routed(ran: &script::Ran, proof: &Proof) -> Self {
        Self {
            rows_backfilled: ran.rows_backfilled,
            rows_verified: ran.rows_verified,
            differences: ran.differences,
            mismatches_planted: PLANTED.len(),
            mismatches_found: ran.mismatches_found,
            longest_write_hold_ms: (ran.longest_write_hold_ms * 10.0).round() / 10.0,
            rollbacks: ran.rollbacks,
            phases: ran.phases.report(),
            ..Self::of("changeover", &ran.operations, &ran.tally, proof)
        }
    }

    /// The report of a naive run.
    pub(super) fn naive(ran: &script_naive::Ran, proof: &Proof) -> Self {
        Self {
            rows_backfilled: ran.rows_copied,
            rollbacks: ran.rollbacks,
            phases: ran.phases.report(),
            ..Self::of("naive", &ran.operations, &ran.tally, proof)
        }
    }

    /// Whether nothing was lost, nothing went back in time, nothing differed and nothing failed.
    pub(super) fn is_clean(&self) -> bool {
        self.lost_writes == 0
            && self.linearizable
            && self.failed_requests == 0
            && self.differences == 0
            && self.mismatches_found == self.mismatches_planted
    }

    /// Tells a person.
    pub(super) fn tell(&self, story: &mut Story, args: &DemoArgs) {
        let verdict = |story: &mut Story, good: bool, text: String| {
            if good { story.good(&text) } else { story.bad(&text) }
        };
        verdict(
            story,
            self.lost_writes == 0,
            match self.lost_writes {
                0 => format!(
                    "All {} acknowledged writes are there, or were overwritten by later ones.",
                    grouped(self.acknowledged_writes)
                ),
                lost => format!(
                    "{} of {} acknowledged writes are lost.",
                    grouped(lost),
                    grouped(self.acknowledged_writes)
                ),
            },
        );
        if let Some(example) = &self.lost_for_example {
            story.say(&format!("For example: {example}."));
        }
        verdict(
            story,
            self.linearizable,
            if self.linearizable {
                format!(
                    "The history of every key is linearizable: {} operations checked, up to {} at once on one key.",
                    grouped(self.operations_checked),
                    self.max_concurrency_per_key
                )
            } else {
                format!(
                    "The histories of {} keys are not linearizable: somebody saw a value go back in time, or a write vanish.{}",
                    grouped(self.keys_not_linearizable),
                    if self.keys_undecided > 0 {
                        format!(" {} more are undecided.", self.keys_undecided)
                    } else {
                        String::new()
                    }
                )
            },
        );
        if self.moved_by == "changeover" {
            verdict(
                story,
                self.failed_requests == 0,
                format!(
                    "{} requests, {} failed{}.",
                    grouped(self.requests),
                    self.failed_requests,
                    if self.cut_off_by_the_kill > 0 {
                        format!(
                            " (and {} in flight in the instance that was killed)",
                            self.cut_off_by_the_kill
                        )
                    } else {
                        String::new()
                    }
                ),
            );
            story.good(&format!(
                "The longest that a client's write took while a hold was on: {:.0} ms.",
                self.longest_write_hold_ms
            ));
        } else {
            story.say("The same move by Changeover, with the same slow new side, loses nothing:");
            let slow = args.slow_new.unwrap_or(super::NAIVE_DELAY_MS);
            story.say(&format!("  changeover demo --slow-new {slow}"));
        }
        if let Some(why) = self.first_failure.as_ref().filter(|_| self.failed_requests > 0) {
            story.bad(&format!("The first failure: {why}"));
        }
    }

    /// Prints the object.
    #[allow(clippy::print_stdout, reason = "the object is what was asked for")]
    pub(super) fn print(&self) -> Result<(), String> {
        println!("{}", serde_json::to_string_pretty(self).map_err(|e| e.to_string())?);
        Ok(())
    }
}
