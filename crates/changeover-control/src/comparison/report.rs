//! What a comparison reports of each table; serialisable, bounded, redacted.

use std::collections::{BTreeMap, HashSet};

use changeover::engine::Link;
use changeover::rules::RowRules;
use changeover::store::Refusal;
use changeover::{Key, Side};
use changeover_api::spec::EvidenceSpec;
use serde::Serialize;

use super::refusal_report;

/// How many differences and refusals of one table are shown one by one; all are counted.
const SHOWN_MAX: usize = 1_000;

/// What was found in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The mapping's name.
    pub table: String,
    /// Rows on the old side.
    pub rows_old: u64,
    /// Rows on the new side.
    pub rows_new: u64,
    /// Rows copied.
    pub rows_copied: u64,
    /// Rows compared.
    pub rows_compared: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Rows of the old side that the new side lacks.
    pub missing: u64,
    /// Rows of the new side that the old side lacks.
    pub extra: u64,
    /// Rows that are equal only by a rule.
    pub equal_by_rule: u64,
    /// The same for each rule: a row may need several.
    pub by_rule: BTreeMap<String, u64>,
    /// Rows that can't be mapped, written or compared.
    pub refused: u64,
    /// Rows that were written anew.
    pub repaired: u64,
    /// The differences, the first thousand.
    #[serde(skip)]
    pub differences: Vec<DifferenceReport>,
    /// The refusals, the first thousand.
    #[serde(skip)]
    pub refusals: Vec<RefusalReport>,
}

/// One difference: of one column, or a row that is on one side alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceReport {
    /// The mapping's name.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// `differing`, `missing` (the new side lacks the row) or `extra` (the old side does).
    pub kind: &'static str,
    /// The column, where one differs.
    pub column: Option<String>,
    /// The old side's value.
    pub old: Option<String>,
    /// The new side's value.
    pub new: Option<String>,
}

/// A row that can't be mapped, written or compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalReport {
    /// The mapping's name.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The side that it is on.
    pub side: String,
    /// The column, where it is one column's fault.
    pub column: Option<String>,
    /// The value, where it is one value's fault.
    pub value: Option<String>,
    /// Why.
    pub why: String,
}

impl TableReport {
    pub(super) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), ..Self::default() }
    }

    /// Rows that aren't as they should be.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.differing + self.missing + self.extra + self.refused
    }

    /// Differences, without what can't be compared.
    #[must_use]
    pub fn different(&self) -> u64 {
        self.differing + self.missing + self.extra
    }

    pub(super) fn by_rule(&mut self, rules: &[usize], names: &RowRules) {
        self.equal_by_rule += 1;
        for &at in rules {
            if let Some(rule) = names.rules().get(at) {
                *self.by_rule.entry(rule.to_string()).or_default() += 1;
            }
        }
    }

    /// Counts each row that was refused once, whatever was asked of it.
    pub(super) fn refuse(
        &mut self,
        refusals: Vec<Refusal>,
        known: &mut HashSet<Key>,
        link: &Link,
        redact: &EvidenceSpec,
        side: Side,
    ) {
        for refusal in refusals {
            // What is remembered is bounded; beyond, one may be counted twice, and none not at all.
            if known.len() < 100_000 && !known.insert(refusal.key.clone()) {
                continue;
            }
            self.refused += 1;
            if self.refusals.len() < SHOWN_MAX {
                self.refusals.push(refusal_report(redact, link, &refusal, side));
            }
        }
    }

    pub(super) fn show(&mut self, difference: DifferenceReport) {
        if self.differences.len() < SHOWN_MAX {
            self.differences.push(difference);
        }
    }
}
