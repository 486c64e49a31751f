//! The engine's verification as this crate runs it: its progress carried on, what it found repaired where that was asked
//! for, and told in a form that can be kept and shown: bounded, and redacted as the spec says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use changeover::engine::verify::{self, ColumnDifference, TableReport as Found, VerifyReport};
use changeover::engine::{
    Difference, DifferenceKind, Links, Verification, VerifyHandle, VerifyOptions, VerifyProgress,
};
use changeover::store::Refusal;
use changeover::{Key, Side, StoreError, Value};
use changeover_api::spec::EvidenceSpec;
use serde::Serialize;
use tokio::sync::watch;

use crate::redaction;

/// How often a comparison is gone on with that comes no further, and the first pause before that, which doubles.
const TRIES: u32 = 5;
const AGAIN_FIRST: Duration = Duration::from_millis(100);

/// What was found in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The mapping's name.
    pub table: String,
    /// Rows on the old side.
    pub rows_old: u64,
    /// Rows on the new side.
    pub rows_new: u64,
    /// Bytes of the values that were compared, of both sides.
    #[serde(skip)]
    pub bytes: u64,
    /// Rows that the new side had before the copy: those that the old side lacks are deleted by it.
    pub rows_new_before: u64,
    /// Rows copied.
    pub rows_copied: u64,
    /// Rows compared.
    pub rows_compared: u64,
    /// Those of them that weren't read, since both databases made the same digest of them.
    pub compared_by_digest: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Rows that the follower lacks.
    pub missing: u64,
    /// Rows that only the follower has.
    pub extra: u64,
    /// Rows that are equal only by a rule.
    pub equal_by_rule: u64,
    /// The same for each rule, by its name: a row may need several.
    pub by_rule: BTreeMap<String, u64>,
    /// Rows that can't be mapped, written or compared.
    pub refused: u64,
    /// Rows that were written anew.
    pub repaired: u64,
    /// Rows that are equal only with the changes that are on their way to the follower, or wait in the log for a way back.
    pub on_their_way: u64,
    /// The differences, as many as are kept.
    #[serde(skip)]
    pub differences: Vec<DifferenceReport>,
    /// The rows that are refused, as many as are kept.
    #[serde(skip)]
    pub refusals: Vec<RefusalReport>,
}

impl TableReport {
    /// Rows that aren't as they should be.
    #[must_use]
    pub const fn wrong(&self) -> u64 {
        self.different() + self.refused
    }

    /// What was tried to be written and refused is told as that, with its cause, and not as missing: so many rows, those that
    /// a comparison finds refused by itself among them, and some of them by name.
    pub(crate) fn explain(&mut self, refused: u64, refusals: Vec<RefusalReport>) {
        let more = refused.saturating_sub(self.refused).min(self.missing + self.differing);
        let missing = more.min(self.missing);
        self.refused += more;
        self.missing -= missing;
        self.differing -= more - missing;
        for refusal in refusals {
            if self.refusals.iter().any(|known| known.key == refusal.key && known.why == refusal.why) {
                continue;
            }
            let first =
                self.differences.iter().find(|found| found.key == refusal.key).map(|found| found.kind);
            match first {
                // One line for each column.
                Some("differing") => self.differences.retain(|found| found.key != refusal.key),
                Some(_) => {
                    if let Some(at) = self.differences.iter().position(|found| found.key == refusal.key) {
                        self.differences.remove(at);
                    }
                }
                None => {}
            }
            self.refusals.push(refusal);
        }
    }

    /// Rows that differ, are missing or extra.
    #[must_use]
    pub const fn different(&self) -> u64 {
        self.differing + self.missing + self.extra
    }
}

/// A row that can't be mapped, written or compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalReport {
    /// The mapping's name.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The column, where it is one column's fault.
    pub column: Option<String>,
    /// The value, where it is one value's fault.
    pub value: Option<String>,
    /// Why.
    pub why: String,
}

/// One difference: of one column, or of a whole row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceReport {
    /// The mapping's name.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// `differing`, `missing` (the follower lacks the row) or `extra` (only it has it).
    pub kind: &'static str,
    /// The column, where it is about one.
    pub column: Option<String>,
    /// The old side's value.
    pub old: Option<String>,
    /// The new side's value.
    pub new: Option<String>,
    /// Of a row that only the old side has: all of its values, by the new side's columns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub old_row: BTreeMap<String, String>,
    /// The same of a row that only the new side has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub new_row: BTreeMap<String, String>,
}

/// What is to be compared, and how.
pub(crate) struct Comparison<'c> {
    pub(crate) links: &'c Arc<Links>,
    pub(crate) options: VerifyOptions,
    /// Whether the follower's rows that differ are written anew.
    pub(crate) repairs: bool,
    /// Which columns' values aren't shown.
    pub(crate) redact: &'c EvidenceSpec,
    /// Rests while this says so.
    pub(crate) paused: Option<watch::Receiver<bool>>,
}

impl<'c> Comparison<'c> {
    /// Of everything, while nobody writes.
    pub(crate) fn quiet(links: &'c Arc<Links>, redact: &'c EvidenceSpec) -> Self {
        let options = VerifyOptions { quiet: true, ..VerifyOptions::new(Side::Old) };
        Self { links, options, repairs: false, redact, paused: None }
    }

    /// Compares, tells its progress, and repairs. May be dropped at any await.
    ///
    /// # Errors
    /// What a store meets: then nothing is known.
    pub(crate) async fn run(
        self,
        told: &mut (dyn FnMut(&VerifyProgress) + Send),
    ) -> Result<Vec<TableReport>, StoreError> {
        let report = self.walk(told).await?;
        let mut tables: Vec<TableReport> = report.tables.iter().map(table_report).collect();
        self.show(&mut tables, &report.differences);
        Ok(tables)
    }

    /// The whole way, gone on from the last checkpoint where a store was out of reach for a moment: hours may lie behind it.
    async fn walk(&self, told: &mut (dyn FnMut(&VerifyProgress) + Send)) -> Result<VerifyReport, StoreError> {
        let mut options = VerifyOptions { repair: self.repairs, ..self.options.clone() };
        let (mut tried, mut pause) = (0, AGAIN_FIRST);
        loop {
            let (verification, handle) = Verification::new(Arc::clone(self.links), options.clone());
            let report = tokio::select! {
                biased;
                report = verification.run() => report,
                never = follow(&handle, self.paused.clone(), told) => match never {},
            };
            let progress = handle.progress();
            told(&progress);
            match report {
                Err(error) if error.retryable() => {
                    let came_further = options.resume.as_ref() != Some(&progress.checkpoint);
                    if came_further {
                        (tried, pause) = (0, AGAIN_FIRST);
                    }
                    tried += 1;
                    if tried > TRIES {
                        return Err(error);
                    }
                    tracing::warn!(%error, "the comparison goes on from where it was");
                    options.resume = Some(progress.checkpoint);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                ended => return ended,
            }
        }
    }

    fn show(&self, tables: &mut [TableReport], differences: &[Difference]) {
        for difference in differences {
            let name = difference.key.table.as_str();
            let Some(table) = tables.iter_mut().find(|report| report.table == name) else { continue };
            let key = self.key(&difference.key);
            if difference.kind == DifferenceKind::Refused {
                let why = difference.why.clone().unwrap_or_default();
                let column = difference.columns.first();
                let value = column
                    .and_then(|c| c.old.as_ref().map(|value| self.value(name, c.column.as_str(), value)));
                let column = column.map(|column| column.column.clone());
                table.refusals.push(RefusalReport { table: name.to_owned(), key, column, value, why });
                continue;
            }
            let line = |column: Option<String>, old, new| DifferenceReport {
                table: name.to_owned(),
                key: key.clone(),
                kind: difference.kind.name(),
                column,
                old,
                new,
                old_row: BTreeMap::new(),
                new_row: BTreeMap::new(),
            };
            if difference.kind != DifferenceKind::Differing {
                let row = |of: fn(&ColumnDifference) -> Option<&Value>| {
                    let columns = difference.columns.iter();
                    let shown = |c: &ColumnDifference| {
                        of(c).map(|value| (c.column.clone(), self.value(name, &c.column, value)))
                    };
                    columns.filter_map(shown).collect()
                };
                let (old_row, new_row) = (row(|c| c.old.as_ref()), row(|c| c.new.as_ref()));
                table.differences.push(DifferenceReport { old_row, new_row, ..line(None, None, None) });
                continue;
            }
            for column in &difference.columns {
                let value =
                    |value: &Option<Value>| value.as_ref().map(|v| self.value(name, &column.column, v));
                table.differences.push(line(
                    Some(column.column.clone()),
                    value(&column.old),
                    value(&column.new),
                ));
            }
        }
    }

    /// A refusal as it may be shown.
    pub(crate) fn refusal(&self, refusal: &Refusal) -> RefusalReport {
        let table = refusal.key.table.as_str();
        let value = refusal.column.as_ref().zip(refusal.value.as_ref());
        RefusalReport {
            table: table.to_owned(),
            key: self.key(&refusal.key),
            column: refusal.column.clone(),
            value: value.map(|(column, value)| self.value(table, column, value)),
            why: refusal.why.clone(),
        }
    }

    fn value(&self, table: &str, column: &str, value: &Value) -> String {
        redaction::value(self.redact, table, column, value)
    }

    fn key(&self, key: &Key) -> String {
        redaction::key_values(self.redact, self.links, key)
    }
}

/// Carries pause and resume to the verification, and its progress to whoever looks.
async fn follow(
    handle: &VerifyHandle,
    mut paused: Option<watch::Receiver<bool>>,
    told: &mut (dyn FnMut(&VerifyProgress) + Send),
) -> std::convert::Infallible {
    let mut progress = handle.subscribe();
    loop {
        let rests = paused.as_mut().is_some_and(|paused| *paused.borrow_and_update());
        if rests {
            handle.pause();
        } else {
            handle.resume();
        }
        told(&progress.borrow_and_update().clone());
        let pause = async {
            match &mut paused {
                Some(paused) => paused.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = pause => {}
            changed = progress.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn table_report(found: &Found) -> TableReport {
    TableReport {
        table: found.table.as_str().to_owned(),
        rows_old: found.rows_old,
        rows_new: found.rows_new,
        bytes: found.bytes,
        rows_compared: found.compared,
        compared_by_digest: found.by_digest,
        differing: found.differing,
        missing: found.missing,
        extra: found.extra,
        equal_by_rule: found.equal_by_rule,
        by_rule: found.by_rule.iter().filter(|(_, rows)| *rows > 0).cloned().collect(),
        refused: found.refused,
        on_their_way: found.under_guard,
        repaired: found.repaired,
        ..TableReport::default()
    }
}

/// The rows that a verification has walked, and those that there are, about; of the authority's side alone.
pub(crate) fn walked(progress: &VerifyProgress) -> (u64, u64) {
    let compared: u64 = progress.checkpoint.tables.iter().map(|table| table.rows_old).sum();
    (compared, progress.estimate / 2)
}

/// Differences that a verification has found so far.
pub(crate) fn found_so_far(progress: &VerifyProgress) -> u64 {
    progress.checkpoint.tables.iter().map(verify::TableReport::differences).sum()
}
