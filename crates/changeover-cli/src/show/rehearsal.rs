//! What a rehearsal came to.

use std::time::Duration;

use changeover_api::Spec;
use changeover_control::jobs::RehearsalReport;
use serde_json::{Value, json};

use super::block::{self, Columns};
use super::{report, words};
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows a rehearsal.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(rehearsal: &RehearsalReport, spec: &Spec, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(&as_json(rehearsal, spec));
    }
    let mut moves = Columns::new(terminal, terminal.out, &["FROM", "TO", "#TOOK", "#WRITES WAITED"]);
    for step in &rehearsal.moves {
        let held = match step.held_ms {
            0 => "not".to_owned(),
            ms => words::duration(Duration::from_millis(ms)),
        };
        moves.row([
            step.from.name().into(),
            step.to.name().into(),
            words::duration(seconds(step.seconds)).into(),
            held.into(),
        ]);
    }
    let tables = report::tables(&rehearsal.tables, terminal);
    let differences: Vec<_> = rehearsal.tables.iter().flat_map(|table| table.differences.clone()).collect();
    let refusals: Vec<_> = rehearsal.tables.iter().flat_map(|table| table.refusals.clone()).collect();
    let several = rehearsal.tables.len() > 1;
    let mut text = format!("{}\n{tables}", moves.render());
    if !differences.is_empty() {
        text.push_str(&report::differences(&differences, several, terminal));
    }
    if !refusals.is_empty() {
        text.push_str(&report::refusals(&refusals, several, terminal));
    }
    terminal.answer(&text)?;
    if let Some(why) = &rehearsal.stopped {
        terminal.say(
            block::paragraph(&terminal.err.bad(format_args!("It stopped: {why}.")), 0, terminal).trim_end(),
        );
        return Ok(());
    }
    terminal.say(format_args!(
        "The longest that writes waited: {}. The copy took {}. The real one, without its bake times: about {}.",
        words::duration(Duration::from_millis(rehearsal.longest_hold_ms)),
        words::duration(seconds(rehearsal.backfill_seconds)),
        words::duration(seconds(rehearsal.estimated_hours * 3_600.0)),
    ));
    if rehearsal.is_clean() {
        terminal.say(terminal.err.good("It went forward, back and forward, and both sides were equal."));
    } else {
        terminal.say(terminal.err.bad("Some rows were not the same on both sides, or were refused."));
    }
    Ok(())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn as_json(rehearsal: &RehearsalReport, spec: &Spec) -> Value {
    let differences: Vec<_> = rehearsal.tables.iter().flat_map(|table| &table.differences).collect();
    let refusals: Vec<_> = rehearsal.tables.iter().flat_map(|table| &table.refusals).collect();
    json!({
        "migration": spec.name,
        "clean": rehearsal.is_clean(),
        "stopped": rehearsal.stopped,
        "moves": rehearsal.moves,
        "backfill_seconds": rehearsal.backfill_seconds,
        "estimated_hours": rehearsal.estimated_hours,
        "longest_hold_ms": rehearsal.longest_hold_ms,
        "rows": rehearsal.rows,
        "tables": rehearsal.tables,
        "differences": differences,
        "refusals": refusals,
    })
}
