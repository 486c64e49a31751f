//! What a measurement says: the figure, the limit that it stands beside, and the share of the limit reached.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// One measured case. `ratio` is the share of the limit that was reached: higher is better, 1 is the limit itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Case {
    /// Which bench: `switch`, `copy`, …
    pub(crate) bench: &'static str,
    /// What was measured.
    pub(crate) case: String,
    /// The median of the runs.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The median of the limit's runs, in the same unit.
    pub(crate) limit: f64,
    /// What the limit is.
    pub(crate) limit_is: &'static str,
    /// The share of the limit reached.
    pub(crate) ratio: f64,
    /// The share below which the measurement has failed, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
}

impl Case {
    /// A rate: more is better.
    pub(crate) fn rate(
        bench: &'static str,
        case: impl Into<String>,
        unit: &'static str,
        value: f64,
        (limit_is, limit): (&'static str, f64),
    ) -> Self {
        Self { bench, case: case.into(), value, unit, limit, limit_is, ratio: value / limit, floor: None }
    }

    /// A cost: less is better.
    pub(crate) fn cost(
        bench: &'static str,
        case: impl Into<String>,
        unit: &'static str,
        value: f64,
        (limit_is, limit): (&'static str, f64),
    ) -> Self {
        Self { bench, case: case.into(), value, unit, limit, limit_is, ratio: limit / value, floor: None }
    }
}

impl Case {
    /// The same, which fails if less than this share of the limit is reached.
    pub(crate) fn at_least(self, share: f64) -> Self {
        Self { floor: Some(share), ..self }
    }

    /// What a person is told of a case that failed.
    pub(crate) fn failure(&self) -> Option<String> {
        let floor = self.floor.filter(|floor| self.ratio < *floor)?;
        Some(format!(
            "{}, {}: {} {} beside {}: a share of {:.2}, and it must be {floor:.2}",
            self.bench,
            self.case,
            figure(self.value),
            self.unit,
            figure(self.limit),
            self.ratio
        ))
    }
}

/// The middle of several runs.
pub(crate) fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All cases, for a person.
pub(crate) fn table(cases: &[Case]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["bench", "case", "value", "limit", "unit", "share of the limit", "the limit is"]);
    for case in cases {
        table.add_row([
            case.bench.to_owned(),
            case.case.clone(),
            figure(case.value),
            figure(case.limit),
            case.unit.to_owned(),
            format!("{:.2}", case.ratio),
            case.limit_is.to_owned(),
        ]);
    }
    for at in [2, 3, 5] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn figure(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
