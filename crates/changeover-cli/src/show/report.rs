//! What a copy or a comparison found: the tables with their counts, each difference, each row that can't be carried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use changeover_control::jobs::JobReport;
use changeover_control::{DifferenceReport, RefusalReport, TableReport};
use serde::Serialize;

use super::block::{self, Columns, Shown};
use super::words;
use crate::error::CliError;
use crate::memory;
use crate::terminal::Terminal;

/// How many differences a person is shown; a program is shown all that are kept.
const SHOWN: usize = 20;

/// How many characters of a row a person is shown.
const ROW_SHOWN: usize = 240;

/// How many characters of one value.
const VALUE_SHOWN: usize = 60;

/// The end of a copy or a verification, as programs get it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The migration.
    pub(crate) migration: String,
    /// Whether both sides are equal, and everything could be carried.
    pub(crate) clean: bool,
    /// The old side changed while it was copied: what was copied is no image of one moment.
    pub(crate) changed_meanwhile: bool,
    /// The tables.
    pub(crate) tables: Vec<TableReport>,
    /// Each difference, the first thousand of each table.
    pub(crate) differences: Vec<DifferenceReport>,
    /// Each row that can't be mapped, written or compared, the first thousand of each table.
    pub(crate) refusals: Vec<RefusalReport>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// How long the copy took of that.
    pub(crate) copy_seconds: f64,
    /// Rows for each second: copied, where there was a copy, else compared.
    pub(crate) rows_per_second: f64,
    /// Bytes of rows that were copied or compared, about.
    pub(crate) bytes: u64,
    /// The most memory that this process took.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The state that a verification's result was kept in, for the gates to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept_in: Option<PathBuf>,
    /// What of the mapping is another than the one that the migration's run goes by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) spec_changed: Vec<String>,
    /// Rows that are equal only with changes that wait in the log, and that no run is there to carry.
    pub(crate) waiting: u64,
}

impl Report {
    /// What programs get of a job's report.
    pub(crate) fn of(migration: &str, job: JobReport) -> Self {
        let clean = job.is_clean();
        let JobReport {
            mut tables,
            took,
            copy_took,
            bytes,
            changed_meanwhile,
            kept_in,
            spec_changed,
            waiting,
        } = job;
        let copied: u64 = tables.iter().map(|table| table.rows_copied).sum();
        let compared: u64 = tables.iter().map(|table| table.rows_compared).sum();
        let (rows, time) = if copy_took.is_zero() { (compared, took) } else { (copied, copy_took) };
        let per_second = rows as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            migration: migration.to_owned(),
            clean,
            changed_meanwhile,
            differences: tables.iter_mut().flat_map(|table| std::mem::take(&mut table.differences)).collect(),
            refusals: tables.iter_mut().flat_map(|table| std::mem::take(&mut table.refusals)).collect(),
            tables,
            seconds: took.as_secs_f64(),
            copy_seconds: copy_took.as_secs_f64(),
            rows_per_second: per_second,
            bytes,
            peak_memory_bytes: memory::peak_bytes(),
            kept_in,
            spec_changed,
            waiting,
        }
    }

    /// Shows it.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub(crate) fn show(&self, terminal: &Terminal) -> Result<(), CliError> {
        if terminal.json { terminal.answer_json(self) } else { terminal.answer(&self.text(terminal)) }
    }

    fn text(&self, terminal: &Terminal) -> String {
        let mut text = tables(&self.tables, terminal);
        if !self.differences.is_empty() {
            text.push_str(&format!("\n{}\n", terminal.out.strong("Differences")));
            text.push_str(&differences(&self.differences, self.tables.len() > 1, terminal));
        }
        if !self.refusals.is_empty() {
            text.push_str(&format!("\n{}\n", terminal.out.strong("Rows that can't be carried or compared")));
            text.push_str(&refusals(&self.refusals, self.tables.len() > 1, terminal));
        }
        for (rule, rows) in self.tables.iter().flat_map(|table| &table.by_rule) {
            let line = format!(
                "Equal only by rule {}: {}.",
                terminal.out.strong(rule),
                words::counted(*rows, "row")
            );
            text.push_str(&block::paragraph(&line, 0, terminal));
        }
        text
    }

    /// `5,000 rows in 0.3 s, 16,000 rows/s`; the copy and the comparison after it apart.
    pub(crate) fn speed(&self) -> String {
        let memory = self.peak_memory_bytes.map(|peak| format!(", {} of memory", words::bytes(peak)));
        let took = |seconds: f64| words::duration(Duration::from_secs_f64(seconds.max(0.0)));
        let of = |what: &str, rows: u64, seconds: f64| {
            format!("{}{what} in {}", words::counted(rows, "row"), took(seconds))
        };
        let copied: u64 = self.tables.iter().map(|table| table.rows_copied).sum();
        let compared: u64 = self.tables.iter().map(|table| table.rows_compared).sum();
        let rate = words::rate(self.rows_per_second);
        let by_digest: u64 = self.tables.iter().map(|table| table.compared_by_digest).sum();
        let by_digest = match by_digest {
            0 => String::new(),
            rows => format!(" ({} of them by the databases' own digests)", words::count(rows)),
        };
        let done = if self.copy_seconds > 0.0 {
            let then = of(" compared", compared, self.seconds - self.copy_seconds);
            format!("{}, {rate}; {then}", of(" copied", copied, self.copy_seconds))
        } else {
            format!("{}, {rate}", of("", compared, self.seconds))
        };
        done + &by_digest + &memory.unwrap_or_default()
    }

    /// How many of them can't be carried.
    pub(crate) fn refused(&self) -> u64 {
        self.tables.iter().map(|table| table.refused).sum()
    }

    /// How many rows are wrong.
    pub(crate) fn wrong(&self) -> u64 {
        self.tables.iter().map(TableReport::wrong).sum()
    }
}

/// The tables with their counts.
pub(crate) fn tables(tables: &[TableReport], terminal: &Terminal) -> String {
    let copied = tables.iter().any(|table| table.rows_copied > 0);
    let repaired = tables.iter().any(|table| table.repaired > 0);
    let mut headings = vec!["TABLE", "#OLD", "#NEW"];
    if copied {
        headings.push("#COPIED");
    }
    headings.extend(["#COMPARED", "#DIFFER", "#MISSING", "#EXTRA", "#REFUSED"]);
    if repaired {
        headings.push("#REPAIRED");
    }
    let mut shown = Columns::new(terminal, terminal.out, &headings).named(24);
    let wrong = |n: u64| Shown::from(words::count(n)).bad_unless(n == 0);
    for table in tables {
        let mut row: Vec<Shown> = vec![
            words::one_line(&table.table).into(),
            words::count(table.rows_old).into(),
            words::count(table.rows_new).into(),
        ];
        if copied {
            row.push(words::count(table.rows_copied).into());
        }
        row.extend([
            words::count(table.rows_compared).into(),
            wrong(table.differing),
            wrong(table.missing),
            wrong(table.extra),
            wrong(table.refused),
        ]);
        if repaired {
            row.push(words::count(table.repaired).into());
        }
        shown.row(row);
    }
    shown.render()
}

/// The first differences; each with its table, where there are several.
pub(crate) fn differences(list: &[DifferenceReport], several: bool, terminal: &Terminal) -> String {
    let headings = headings(several, &["ROW", "WHAT", "OLD", "NEW"]);
    let mut table = Columns::new(terminal, terminal.out, &headings);
    for difference in list.iter().take(SHOWN) {
        let value = |value: &Option<String>, row: &BTreeMap<String, String>| {
            let whole = || row.iter().map(|(column, value)| format!("{column} = {value}"));
            let text = value.clone().unwrap_or_else(|| whole().collect::<Vec<_>>().join(", "));
            Shown::from(words::shortened(&words::one_line(&text), ROW_SHOWN))
        };
        let what = match (&difference.column, difference.kind) {
            (Some(column), _) => Shown::from(column.clone()),
            (None, "missing") => Shown::from("the follower lacks the row").bad(),
            (None, "extra") => Shown::from("only the follower has the row").bad(),
            (None, kind) => Shown::from(kind).bad(),
        };
        let cells = [
            words::one_line(&difference.key).into(),
            what,
            value(&difference.old, &difference.old_row),
            value(&difference.new, &difference.new_row),
        ];
        table.row(named(several, &difference.table).chain(cells));
    }
    table.render() + &more(list.len(), terminal)
}

/// The first rows that are refused; each with its table, where there are several.
pub(crate) fn refusals(list: &[RefusalReport], several: bool, terminal: &Terminal) -> String {
    let headings = headings(several, &["ROW", "COLUMN", "WHY"]);
    let mut table = Columns::new(terminal, terminal.out, &headings);
    for refusal in list.iter().take(SHOWN) {
        let value = refusal
            .value
            .as_ref()
            .map(|value| format!("{}: ", words::shortened(&words::one_line(value), VALUE_SHOWN)));
        let cells = [
            words::one_line(&refusal.key).into(),
            refusal.column.clone().unwrap_or_default().into(),
            format!("{}{}", value.unwrap_or_default(), words::one_line(&refusal.why)).into(),
        ];
        table.row(named(several, &refusal.table).chain(cells));
    }
    table.render() + &more(list.len(), terminal)
}

fn headings(several: bool, of_row: &[&'static str]) -> Vec<&'static str> {
    several.then_some("TABLE").into_iter().chain(of_row.iter().copied()).collect()
}

fn named(several: bool, table: &str) -> impl Iterator<Item = Shown> {
    several.then(|| Shown::from(words::one_line(table))).into_iter()
}

fn more(all: usize, terminal: &Terminal) -> String {
    match all.saturating_sub(SHOWN) {
        0 => String::new(),
        // Far below what a u64 holds.
        more => format!(
            "  {}\n",
            terminal
                .out
                .faint(format_args!("and {} more by name: --json has them", words::count(more as u64)))
        ),
    }
}
