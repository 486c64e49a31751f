//! What a verification found, and where it stands.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::VerifyOptions;
use crate::engine::pair::Link;
use crate::engine::repair::RepairReport;
use crate::store::Refusal;
use crate::value::{Key, TableName, Value};

/// Values larger than this are kept as they are shown: cut, with their length.
const KEPT_BYTES: usize = 4_096;

/// How two sides differ in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// Both have the row, and it isn't the same.
    Differing,
    /// The authority has it, the follower lacks it.
    Missing,
    /// The follower has it, the authority lacks it.
    Extra,
    /// It can't be read, mapped or compared.
    Refused,
}

impl DifferenceKind {
    /// The name that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Differing => "differing",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One column of a row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    /// The column, by the new side's name.
    pub column: String,
    /// The old side's value, in the canonical image; `None` if it has no such row. Whoever shows it redacts it. A value over
    /// 4 KiB is kept as the text that shows it.
    pub old: Option<Value>,
    /// The new side's.
    pub new: Option<Value>,
}

/// One row that isn't the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The row.
    pub key: Key,
    /// How it differs.
    pub kind: DifferenceKind,
    /// In which columns. Of a row that one side lacks: all of the other's.
    pub columns: Vec<ColumnDifference>,
    /// Why a row is refused.
    pub why: Option<String>,
}

pub(super) fn kept(value: &Value) -> Value {
    if value.size() > KEPT_BYTES { Value::Text(value.to_string()) } else { value.clone() }
}

/// What was found of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The mapping's name.
    pub table: TableName,
    /// Rows of the old side that are in the mapping.
    pub rows_old: u64,
    /// Rows of the new side that are in the mapping.
    pub rows_new: u64,
    /// Bytes of the values of both sides' rows that were read, in the canonical image: each row once, however often it was looked
    /// at.
    pub bytes: u64,
    /// Pairs of rows compared.
    pub compared: u64,
    /// Those of them that the databases' own digests showed to be the same, and that weren't read.
    pub by_digest: u64,
    /// Pairs that count as equal only by a rule.
    pub equal_by_rule: u64,
    /// Each rule, by its name, with the pairs that needed it.
    pub by_rule: Vec<(String, u64)>,
    /// Pairs that differ.
    pub differing: u64,
    /// Rows that the follower lacks.
    pub missing: u64,
    /// Rows that only the follower has.
    pub extra: u64,
    /// Rows that can't be read, mapped or compared.
    pub refused: u64,
    /// Rows that differed at first, and no more when they were looked at again.
    pub transient: u64,
    /// Keys that were dirty at each look, and were compared under their guard.
    pub under_guard: u64,
    /// Rows that differed, and are the same since they were written anew.
    pub repaired: u64,
}

impl TableReport {
    fn new(link: &Link) -> Self {
        Self {
            table: link.table().clone(),
            rows_old: 0,
            rows_new: 0,
            bytes: 0,
            compared: 0,
            by_digest: 0,
            equal_by_rule: 0,
            by_rule: link.rules().rules().iter().map(|rule| (rule.to_string(), 0)).collect(),
            differing: 0,
            missing: 0,
            extra: 0,
            refused: 0,
            transient: 0,
            under_guard: 0,
            repaired: 0,
        }
    }

    /// Rows that aren't the same, of whatever kind.
    #[must_use]
    pub const fn differences(&self) -> u64 {
        self.differing + self.missing + self.extra + self.refused
    }

    /// Counts pairs that were shown to be the same, and weren't read.
    pub(super) const fn same_by_digest(&mut self, pairs: u64) {
        self.rows_old += pairs;
        self.rows_new += pairs;
        self.compared += pairs;
        self.by_digest += pairs;
    }

    /// What a look at rows has counted, but for pairs that were the same at once.
    pub(super) const fn doubted(&self) -> u64 {
        self.differences() + self.transient + self.under_guard + self.repaired
    }

    /// Counts a pair that is equal by these rules.
    pub(super) fn by_rules(&mut self, rules: &[usize]) {
        self.equal_by_rule += 1;
        for &rule in rules {
            self.by_rule[rule].1 += 1;
        }
    }
}

/// Where a verification stands after a whole segment: enough to go on from, and all that it found until there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyCheckpoint {
    /// The place of the table among the mappings.
    pub place: usize,
    /// Whether the table's second pass has begun.
    pub second_pass: bool,
    /// The last key that was done.
    pub after: Option<Key>,
    /// What was found.
    pub tables: Vec<TableReport>,
    /// The first differences, as many as are kept.
    pub differences: Vec<Difference>,
}

/// What one segment adds.
pub(super) struct Findings {
    pub(super) table: TableReport,
    pub(super) differences: Vec<Difference>,
    /// How many more differences are kept.
    pub(super) room: usize,
    /// Those that wait to be repaired, where that was asked for; they count when they differ still.
    pub(super) to_repair: Option<Vec<Difference>>,
}

impl Findings {
    /// A row that can't be read, mapped or compared.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let Refusal { key, column, value, why } = refusal;
        let column =
            column.map(|column| ColumnDifference { column, old: value.as_ref().map(kept), new: None });
        let columns = column.into_iter().collect();
        self.add(Difference { key, kind: DifferenceKind::Refused, columns, why: Some(why) });
    }

    pub(super) fn add(&mut self, difference: Difference) {
        match &mut self.to_repair {
            Some(waiting) => waiting.push(difference),
            None => self.keep(difference),
        }
    }

    /// What came of a repair: what differs still, and what the repair itself couldn't write, counts.
    pub(super) fn repaired(&mut self, before: &[Difference], report: RepairReport) {
        let waiting = self.to_repair.take();
        let left = report.left.iter().map(|difference| &difference.key);
        let wrong: HashSet<&Key> = left.chain(report.refused.iter().map(|refusal| &refusal.key)).collect();
        for healed in before.iter().filter(|difference| !wrong.contains(&difference.key)) {
            self.table.repaired += 1;
            // The second look compared a pair that wasn't one at the first.
            self.table.compared += u64::from(healed.kind == DifferenceKind::Missing);
        }
        report.left.into_iter().for_each(|difference| self.keep(difference));
        report.refused.into_iter().for_each(|refusal| self.refuse(refusal));
        self.to_repair = waiting;
    }

    fn keep(&mut self, difference: Difference) {
        match difference.kind {
            DifferenceKind::Differing => self.table.differing += 1,
            DifferenceKind::Missing => self.table.missing += 1,
            DifferenceKind::Extra => self.table.extra += 1,
            DifferenceKind::Refused => self.table.refused += 1,
        }
        if self.room > 0 {
            self.room -= 1;
            self.differences.push(difference);
        }
    }
}

impl VerifyCheckpoint {
    pub(super) fn start(links: &[Link]) -> Self {
        let tables = links.iter().map(TableReport::new).collect();
        Self { place: 0, second_pass: false, after: None, tables, differences: Vec::new() }
    }

    pub(super) fn next_table(&mut self) {
        (self.place, self.second_pass, self.after) = (self.place + 1, false, None);
    }

    /// What the next segment adds to.
    pub(super) fn findings(&self, options: &VerifyOptions) -> Findings {
        let room = options.differences_kept.saturating_sub(self.differences.len());
        let table = self.tables[self.place].clone();
        Findings { table, differences: Vec::new(), room, to_repair: options.repair.then(Vec::new) }
    }

    pub(super) fn take(&mut self, found: Findings) {
        self.tables[self.place] = found.table;
        self.differences.extend(found.differences);
    }

    /// Rows walked, of both sides.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_old + table.rows_new).sum()
    }
}

/// How far a verification is.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyProgress {
    /// Where it stands.
    pub checkpoint: VerifyCheckpoint,
    /// About how many rows there are, of both sides.
    pub estimate: u64,
    /// Rows a second, of both sides, in this run.
    pub rows_per_second: f64,
    /// About how long it will take still; `None` before that can be told.
    pub left: Option<Duration>,
    /// Whether somebody paused it.
    pub paused: bool,
}

impl VerifyProgress {
    pub(super) const fn at(checkpoint: VerifyCheckpoint) -> Self {
        Self { checkpoint, estimate: 0, rows_per_second: 0.0, left: None, paused: false }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Each table.
    pub tables: Vec<TableReport>,
    /// The first differences, as many as are kept.
    pub differences: Vec<Difference>,
    /// How long this run took.
    pub took: Duration,
}

impl VerifyReport {
    /// Whether no row differs, is missing, extra or refused.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences_found() == 0
    }

    /// How many do.
    #[must_use]
    pub fn differences_found(&self) -> u64 {
        self.tables.iter().map(TableReport::differences).sum()
    }

    /// Whether there was nothing to compare.
    #[must_use]
    pub fn both_sides_empty(&self) -> bool {
        self.tables.iter().all(|table| table.rows_old == 0 && table.rows_new == 0)
    }
}
